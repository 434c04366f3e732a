"""What a CO-RE relocation asks about, as a path through types, and its match in the types of a kernel.

The access string ``0:1:2:3`` of a field is an index for the pointer, then one for each struct, union or array on the
way, members without a name included.  Matching keeps to what C code would say: names of members and indices of arrays
(``tools/lib/bpf/relo_core.c``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from prevail_py.objects.btf import Btf, BtfType, Kind, essential_name
from prevail_py.objects.core_types import COMPOSITES, ENUMS, Matcher, RelocationError, size_of

__all__ = ["Accessor", "RelocationKind", "Spec", "match_spec", "parse_spec"]

_MAX_PATH: Final = 64
_MAX_BITS: Final = 1 << 32
_INDEX: Final = re.compile(r"\d{1,10}(?::\d{1,10})*", re.ASCII)


class RelocationKind(IntEnum):
    """``enum bpf_core_relo_kind``."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12

    @property
    def of_field(self) -> bool:
        """Whether it is about a member or element."""
        return self <= RelocationKind.FIELD_RSHIFT_U64

    @property
    def of_enumerator(self) -> bool:
        """Whether it is about an enumerator."""
        return self in (RelocationKind.ENUMVAL_EXISTS, RelocationKind.ENUMVAL_VALUE)

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


class Accessor(NamedTuple):
    """A step: member, enumerator or element ``number`` of ``type`` (for an element, ``type`` is its own)."""

    type: int
    number: int
    name: str | None = None


@dataclass(slots=True)
class Spec:
    """A path from type ``root``, and where in bits it leads.  Type relocations have no path.

    ``depth`` counts all steps, those through members without a name included.
    """

    btf: Btf
    root: int
    path: list[Accessor] = field(default_factory=list)
    bit_offset: int = 0
    depth: int = 0

    def move(self, bits: int) -> None:
        """Go on by so many bits."""
        self.bit_offset += bits
        if not 0 <= self.bit_offset < _MAX_BITS:
            raise RelocationError("an offset of 512 MiB or more")

    def __str__(self) -> str:
        names = [f".{step.name}" if step.name is not None else f"[{step.number}]" for step in self.path[1:]]
        first = self.path[0] if self.path else None
        if first is not None and first.name is not None:
            names.insert(0, f"::{first.name}")
        elif first is not None and first.number:
            names.insert(0, f"[{first.number}]")
        return self.btf.spell(self.root) + "".join(names)


def _is_flexible(btf: Btf, path: list[Accessor], array: BtfType) -> bool:
    """Whether ``array``, where ``path`` leads, is the flexible last member of a struct."""
    last = path[-1]
    return last.name is not None and array.count == 0 and last.number == len(btf.type(last.type).members) - 1


def parse_spec(btf: Btf, root: int, access: str, kind: RelocationKind) -> Spec:
    """What the object says.  Raises :class:`RelocationError` where that makes no sense."""
    spec = Spec(btf, root)
    if not kind.of_field and not kind.of_enumerator:
        btf.type(root)
        if access != "0":
            raise RelocationError(f"access string {access!r} for a type, not '0'")
        return spec
    if _INDEX.fullmatch(access) is None:
        raise RelocationError(f"access string {access!r} is no list of numbers")
    indices = [int(text) for text in access.split(":")]
    if len(indices) > _MAX_PATH or max(indices) >= 1 << 31:
        raise RelocationError(f"access string {access[:20]!r} is too long")
    current = btf.resolve(root)
    if kind.of_enumerator:
        if current.kind not in ENUMS or len(indices) > 1 or indices[0] >= len(current.values):
            raise RelocationError(f"{btf.spell(root)} has no enumerator {access}")
        spec.path.append(Accessor(current.id, indices[0], current.values[indices[0]].name))
        return spec
    spec.path.append(Accessor(current.id, indices[0]))
    spec.depth = len(indices)
    spec.move(indices[0] * size_of(btf, current.id) * 8)
    for index in indices[1:]:
        current = btf.resolve(current.id)
        if current.kind in COMPOSITES:
            if index >= len(current.members):
                raise RelocationError(f"{btf.spell(current.id)} has no member {index} (access string {access!r})")
            member = current.members[index]
            spec.move(member.bit_offset)
            if member.name:
                spec.path.append(Accessor(current.id, index, member.name))
            current = btf.resolve(member.type)
        elif current.kind is Kind.ARRAY:
            element = btf.resolve(current.type)
            if index >= current.count and not _is_flexible(btf, spec.path, current):
                raise RelocationError(f"{btf.spell(current.id)} has no element {index} (access string {access!r})")
            spec.path.append(Accessor(element.id, index))
            spec.move(index * size_of(btf, element.id) * 8)
            current = element
        else:
            raise RelocationError(f"access string {access!r} goes into {btf.spell(current.id)}")
    return spec


def match_spec(local: Spec, kind: RelocationKind, target: Btf, root: int) -> Spec | None:
    """The same in type ``root`` of ``target``; None if it is not there.  Raises :class:`RelocationError`."""
    matcher = Matcher(local.btf, target)
    found = Spec(target, root)
    if kind.of_enumerator:
        return found if _match_enumerator(local, found) else None
    if not kind.of_field:
        same = matcher.types_match if kind is RelocationKind.TYPE_MATCHES else matcher.types_compatible
        return found if same(local.root, root) else None
    id = root
    for number, step in enumerate(local.path):
        current = target.resolve(id)
        if step.name is not None:
            next_id = _match_member(matcher, step, current, found)
            if next_id is None:
                return None
            id = next_id
            continue
        element = current
        if number > 0:
            if current.kind is not Kind.ARRAY:
                return None
            if step.number >= current.count and not _is_flexible(target, found.path, current):
                return None
            element = target.resolve(current.type)
        _deeper(found)
        found.path.append(Accessor(element.id, step.number))
        found.move(step.number * size_of(target, element.id) * 8)
        id = element.id
    return found


def _deeper(spec: Spec) -> None:
    if spec.depth == _MAX_PATH:
        raise RelocationError("types nested too deep")
    spec.depth += 1


def _match_enumerator(local: Spec, found: Spec) -> bool:
    current = found.btf.resolve(found.root)
    if current.kind not in ENUMS:
        return False
    wanted = essential_name(local.path[0].name or "")
    for index, value in enumerate(current.values):
        if essential_name(value.name) == wanted:
            found.path.append(Accessor(current.id, index, value.name))
            return True
    return False


def _match_member(matcher: Matcher, step: Accessor, aggregate: BtfType, found: Spec) -> int | None:
    """Find the member that ``step`` names, in anonymous members too; add it to ``found``.  Its type, None without one.

    The first member of that name decides: if its type is another, there is no match.
    """
    if aggregate.kind not in COMPOSITES:
        return None
    for index, member in enumerate(aggregate.members):
        matcher.step()
        if member.name and member.name != step.name:
            continue
        if member.name:
            local_member = matcher.local.type(step.type).members[step.number]
            if not matcher.fields_compatible(local_member.type, member.type):
                return None
        _deeper(found)
        found.move(member.bit_offset)
        if member.name:
            found.path.append(Accessor(aggregate.id, index, member.name))
            return member.type
        inner = _match_member(matcher, step, matcher.target.resolve(member.type), found)
        if inner is not None:
            return inner
        found.move(-member.bit_offset)
        found.depth -= 1
    return None
