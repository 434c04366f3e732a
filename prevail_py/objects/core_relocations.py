"""CO-RE: fitting the instructions of an object to the types of the kernel that it is loaded for.

The compiler records which instructions depend on the layout of which types (``.BTF.ext``); here each is compared with
the types of the target and rewritten, as libbpf does before it hands a program to the kernel.

Three things can be wrong.  A record that makes no sense in itself is an :class:`ObjectError`.  A relocation that
libbpf refuses (ambiguous, or too large for its instruction) makes the programs that contain it unsupported, with the
reason.  A field, type or enumerator that the target does not have poisons the instruction: it may not be reached, which
is for the verifier to prove.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prevail_py.isa.instructions import LoadImmediate64
from prevail_py.objects.btf import Btf, essential_name
from prevail_py.objects.btf_ext import BtfExt, CoreRelocation, between
from prevail_py.objects.core_patch import POISON, UnfitError, patch
from prevail_py.objects.core_specs import RelocationKind, Spec, parse_spec
from prevail_py.objects.core_types import RelocationError, kinds_compatible
from prevail_py.objects.core_values import Resolution, resolve
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.functions import Function
from prevail_py.objects.relocations import SLOT
from prevail_py.objects.target import Missing, Target, TargetBtf

__all__ = ["relocate_core"]

_TARGETLESS: Final = RelocationKind.TYPE_ID_LOCAL


def relocate_core(functions: Sequence[Function], info: BtfExt, btf: Btf | None, target: Target) -> None:
    """Apply all CO-RE relocations to the code of ``functions``.  Raises :class:`ObjectError`."""
    if btf is None or not info.core:
        return
    relocator = _Relocator(btf, target)
    done: set[tuple[str, int]] = set()
    for function in functions:
        records = info.core.get(function.section.name)
        if records is None or function.malformed:
            continue
        if (function.section.name, function.section.index) not in done:
            done.add((function.section.name, function.section.index))
            _check_offsets(function, records)
        found = [records[i] for i in between(records, function.start, function.end)]
        if found:
            relocator.relocate(function, found)


def _check_offsets(function: Function, records: list[CoreRelocation]) -> None:
    section = function.section
    for record in records:
        if record.offset % SLOT or record.offset >= len(section.data):
            raise ObjectError(
                f"section {section.name} offset {record.offset:#x}",
                f"CO-RE relocation outside of the section's {len(section.data) // SLOT} slots",
            )


class _Relocator:
    """The relocations of one object, in order: candidates of a type that did not match once are not tried again."""

    def __init__(self, btf: Btf, target: Target) -> None:
        self._btf: Final = btf
        self._target: Final = target
        self._candidates: Final[dict[int, list[tuple[Btf, int]]]] = {}
        self._resolutions: Final[dict[tuple[int, int, int], Resolution | RelocationError]] = {}

    def relocate(self, function: Function, records: Sequence[CoreRelocation]) -> None:
        code = list(function.code)
        seen: set[int] = set()
        for record in records:
            slot = (record.offset - function.start) // SLOT
            place = f"{function.place} slot {slot}"
            if slot in seen or slot in function.fixups.at:
                raise ObjectError(place, "relocated twice")
            seen.add(slot)
            kind, spec = self._parse(record, place)
            try:
                resolution = self._resolve(kind, spec, record)
                patched = patch(code[slot], resolution)
            except UnfitError as error:
                raise ObjectError(place, f"CO-RE relocation, {kind} of {spec}: {error}") from None
            except RelocationError as error:
                function.fixups.unsupported.append(f"co-re: {kind} of {spec}: {error}")
                continue
            except Missing as missing:
                function.fixups.unsupported.append(f"co-re: {missing}")
                continue
            if kind is not _TARGETLESS:
                function.fixups.target = self._target.btf
            if patched is not None:
                code[slot] = patched
                continue
            if isinstance(code[slot], LoadImmediate64):
                code[slot + 1] = POISON
                function.fixups.poisoned[slot + 1] = _description(kind, spec, resolution)
            code[slot] = POISON
            function.fixups.poisoned[slot] = _description(kind, spec, resolution)
        function.code = tuple(code)

    def _parse(self, record: CoreRelocation, place: str) -> tuple[RelocationKind, Spec]:
        try:
            kind = RelocationKind(record.kind)
        except ValueError:
            raise ObjectError(place, f"CO-RE relocation of unknown kind {record.kind}") from None
        try:
            spec = parse_spec(self._btf, record.type, self._btf.string(record.access), kind)
            if kind is not _TARGETLESS and not self._btf.type(record.type).name:
                raise RelocationError("a type without a name")
        except RelocationError as error:
            raise ObjectError(place, f"CO-RE relocation, {kind}: {error}") from None
        return kind, spec

    def _resolve(self, kind: RelocationKind, spec: Spec, record: CoreRelocation) -> Resolution:
        key = (record.type, record.access, record.kind)
        known = self._resolutions.get(key)
        if known is None:
            known = self._resolutions[key] = self._resolve_first(kind, spec)
        if isinstance(known, RelocationError):
            raise known
        return known

    def _resolve_first(self, kind: RelocationKind, spec: Spec) -> Resolution | RelocationError:
        try:
            if kind is _TARGETLESS:
                return resolve(kind, spec, ())[0]
            target = self._target.btf
            candidates = self._candidates.get(spec.root)
            if candidates is None:
                candidates = _candidates(self._btf, spec.root, target)
            resolution, matching = resolve(kind, spec, candidates)
        except RelocationError as error:
            return error
        self._candidates[spec.root] = [candidates[i] for i in matching] or candidates
        return resolution


def _candidates(local: Btf, root: int, target: TargetBtf) -> list[tuple[Btf, int]]:
    """The types of the target that a relocation of ``root`` may mean: the kernel's, else its modules'."""
    type = local.type(root)
    name = essential_name(type.name)

    def among(btf: Btf) -> list[tuple[Btf, int]]:
        return [(btf, id) for id in btf.flavours(name) if kinds_compatible(btf.kind(id), type.kind)]

    return among(target.types) or [candidate for module in target.modules() for candidate in among(module)]


def _description(kind: RelocationKind, spec: Spec, resolution: Resolution) -> str:
    if resolution.new is None:
        return f"CO-RE relocation, {kind} of {spec}: not in the target BTF"
    return (
        f"CO-RE relocation, {kind} of {spec}: {resolution.old_size} bytes here, {resolution.new_size} in the target, "
        "which an access cannot be fitted to"
    )
