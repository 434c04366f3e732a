"""When a type of an object and a type of a kernel count as the same: the rules of CO-RE.

They are libbpf's (``tools/lib/bpf/relo_core.c`` of the Linux kernel), depths included, so that what is relocated here
is relocated there, to the same.  Names are compared without flavours (:func:`~prevail_py.objects.btf.essential_name`).
"""

from __future__ import annotations

from typing import Final

from prevail_py.objects.btf import Btf, BtfType, Kind, essential_name

__all__ = ["COMPOSITES", "ENUMS", "Matcher", "RelocationError", "kinds_compatible", "size_of"]

ENUMS: Final = frozenset({Kind.ENUM, Kind.ENUM64})
COMPOSITES: Final = frozenset({Kind.STRUCT, Kind.UNION})
_SIZED: Final = frozenset({*ENUMS, *COMPOSITES, Kind.INT, Kind.FLOAT, Kind.DATASEC})
_TRANSPARENT: Final = frozenset(
    {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG, Kind.VAR, Kind.DECL_TAG}
)
_MAX_SIZE: Final = (1 << 32) - 1
_DEPTH: Final = 32
_MAX_STEPS: Final = 100_000
_SIGNED: Final = 1 << 24
_INT_OFFSET: Final = 0xFF << 16


class RelocationError(ValueError):
    """A relocation that libbpf refuses, and with it the whole object; the message says why."""


def kinds_compatible(left: Kind, right: Kind) -> bool:
    """Whether two kinds are the same, enumerations of any width being one."""
    return left is right or (left in ENUMS and right in ENUMS)


def size_of(btf: Btf, id: int) -> int:
    """The size in bytes of a value of the type.  Raises :class:`RelocationError` where there is none."""
    count = 1
    for _ in range(_DEPTH):
        found = btf.type(id)
        if found.kind in _SIZED:
            break
        if found.kind is Kind.PTR:
            return _checked(count, 8)
        if found.kind is Kind.ARRAY:
            count = _checked(count, found.count)
        elif found.kind not in _TRANSPARENT:
            raise RelocationError(f"{btf.spell(id)} has no size")
        id = found.type
    else:
        raise RelocationError("a type of no size or too deep to find it")
    return _checked(count, found.size)


def _checked(left: int, right: int) -> int:
    if left * right > _MAX_SIZE:
        raise RelocationError("a type of 4 GiB or more")
    return left * right


def _name(type: BtfType) -> str:
    return "" if type.kind is Kind.VOID else type.name


def _same_names(local: str, target: str) -> bool:
    return essential_name(local) == essential_name(target)


class Matcher:
    """Compares types of ``local`` with types of ``target``.

    Methods raise :class:`RelocationError` where libbpf gives up: types nested too deep, or too many steps.
    """

    def __init__(self, local: Btf, target: Btf) -> None:
        self.local: Final = local
        self.target: Final = target
        self._steps = 0

    def step(self) -> None:
        """Count an elementary comparison; no comparison of sane types takes so many."""
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise RelocationError("types too large to compare")

    def fields_compatible(self, local_id: int, target_id: int) -> bool:
        """Whether a member of one type may stand for one of the other: loosely, sizes and signs are relocated."""
        for _ in range(_DEPTH):
            local, target = self.local.resolve(local_id), self.target.resolve(target_id)
            if local.kind in COMPOSITES and target.kind in COMPOSITES:
                return True
            if not kinds_compatible(local.kind, target.kind):
                return False
            match local.kind:
                case Kind.PTR | Kind.FLOAT:
                    return True
                case Kind.FWD | Kind.ENUM | Kind.ENUM64:
                    return not local.name or not target.name or _same_names(local.name, target.name)
                case Kind.INT:
                    return not (local.encoding | target.encoding) & _INT_OFFSET
                case Kind.ARRAY:
                    local_id, target_id = local.type, target.type
                case _:
                    return False
        raise RelocationError("arrays nested too deep")

    def types_compatible(self, local_id: int, target_id: int, level: int = _DEPTH) -> bool:
        """Whether two types whose names match are the same kind of thing (``bpf_core_type_exists``)."""
        if not kinds_compatible(self.local.kind(local_id), self.target.kind(target_id)):
            return False
        for _ in range(_DEPTH):
            self.step()
            local, target = self.local.resolve(local_id), self.target.resolve(target_id)
            if not kinds_compatible(local.kind, target.kind):
                return False
            match local.kind:
                case Kind.VOID | Kind.STRUCT | Kind.UNION | Kind.ENUM | Kind.ENUM64 | Kind.FWD:
                    return True
                case Kind.INT:
                    return not (local.encoding | target.encoding) & _INT_OFFSET
                case Kind.PTR | Kind.ARRAY:
                    pass
                case Kind.FUNC_PROTO:
                    if len(local.parameters) != len(target.parameters):
                        return False
                    for ours, theirs in zip(local.parameters, target.parameters, strict=True):
                        if level <= 0:
                            raise RelocationError("function types nested too deep")
                        ids = self.local.resolve(ours.type).id, self.target.resolve(theirs.type).id
                        if not self.types_compatible(*ids, level - 1):
                            return False
                case _:
                    return False
            local_id, target_id = local.type, target.type
        raise RelocationError("types nested too deep")

    def types_match(self, local_id: int, target_id: int, behind_pointer: bool = False, level: int = _DEPTH) -> bool:
        """Whether all that the local type has is in the target type too (``bpf_core_type_matches``)."""
        if level <= 0:
            raise RelocationError("types nested too deep")
        for _ in range(_DEPTH):
            self.step()
            local, target = self.local.resolve(local_id), self.target.resolve(target_id)
            if not _same_names(_name(local), _name(target)):
                return False
            match local.kind:
                case Kind.FWD if behind_pointer and target.kind is not Kind.FWD:
                    return target.kind is (Kind.UNION if local.flag else Kind.STRUCT)
                case Kind.FWD:
                    return target.kind is Kind.FWD and local.flag == target.flag
                case Kind.ENUM | Kind.ENUM64:
                    return target.kind in ENUMS and self._enums_match(local, target)
                case Kind.STRUCT | Kind.UNION if behind_pointer:
                    forward = target.kind is Kind.FWD and target.flag == (local.kind is Kind.UNION)
                    return target.kind is local.kind or forward
            if local.kind is not target.kind:
                return False
            match local.kind:
                case Kind.VOID:
                    return True
                case Kind.STRUCT | Kind.UNION:
                    return self._members_match(local, target, level)
                case Kind.INT:
                    return local.size == target.size and not (local.encoding ^ target.encoding) & _SIGNED
                case Kind.PTR:
                    behind_pointer = True
                case Kind.ARRAY:
                    if local.count != target.count:
                        return False
                case Kind.FUNC_PROTO:
                    if len(local.parameters) != len(target.parameters):
                        return False
                    for ours, theirs in zip(local.parameters, target.parameters, strict=True):
                        if not self.types_match(ours.type, theirs.type, behind_pointer, level - 1):
                            return False
                case _:
                    return False
            local_id, target_id = local.type, target.type
        raise RelocationError("types nested too deep")

    def _enums_match(self, local: BtfType, target: BtfType) -> bool:
        if local.size != target.size or len(local.values) > len(target.values):
            return False
        names = {essential_name(value.name) for value in target.values}
        return all(essential_name(value.name) in names for value in local.values)

    def _members_match(self, local: BtfType, target: BtfType, level: int) -> bool:
        if len(local.members) > len(target.members):
            return False
        by_name: dict[str, list[int]] = {}
        for member in target.members:
            by_name.setdefault(essential_name(member.name), []).append(member.type)
        return all(
            any(
                self.types_match(member.type, candidate, False, level - 1)
                for candidate in by_name.get(essential_name(member.name), ())
            )
            for member in local.members
        )
