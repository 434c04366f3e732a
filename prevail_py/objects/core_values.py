"""What a CO-RE relocation comes to: a number for the object's types and one for the kernel's, or no match.

Rules of ``tools/lib/bpf/relo_core.c`` (libbpf).  The number for the object's own types must already be in the
instruction, which tells whether compiler and loader agree on what the relocation means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from prevail_py.objects.btf import Btf, BtfType, Kind
from prevail_py.objects.core_specs import RelocationKind, Spec, match_spec
from prevail_py.objects.core_types import ENUMS, RelocationError, size_of

__all__ = ["Resolution", "resolve"]

_WORD: Final = (1 << 64) - 1
_ENCODING: Final = 0xF << 24
_SIGNED: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Resolution:
    """What to change in an instruction.  Values are unsigned 64-bit words.

    ``old`` is what it must hold now, unless ``exact`` is false; ``new`` replaces it, None where there is no match and
    the instruction must never be reached.  Of loads and stores the access size changes too, from ``old_size`` to
    ``new_size`` bytes (0: leave it); ``resizable`` says whether that keeps the meaning.
    """

    old: int
    new: int | None
    exact: bool = True
    old_size: int = 0
    new_size: int = 0
    resizable: bool = True


@dataclass(frozen=True, slots=True)
class _Value:
    """One side: its value (None asks for poison), whether the compiler is sure to agree, size and type of a field."""

    value: int | None
    exact: bool = True
    size: int = 0
    type: BtfType | None = None


def resolve(kind: RelocationKind, local: Spec, candidates: Iterable[tuple[Btf, int]]) -> tuple[Resolution, list[int]]:
    """The resolution against all candidate types, which must agree, and the positions of those that match.

    Raises :class:`RelocationError` where they do not agree or libbpf knows no answer.
    """
    if kind is RelocationKind.TYPE_ID_LOCAL:
        return Resolution(local.root, local.root, exact=False), []
    ours = _value(kind, local)
    found: tuple[Spec, Resolution] | None = None
    matching = []
    for position, (btf, root) in enumerate(candidates):
        spec = match_spec(local, kind, btf, root)
        if spec is None:
            continue
        matching.append(position)
        resolution = _combined(ours, _value(kind, spec))
        if found is None:
            found = spec, resolution
        elif spec.bit_offset != found[0].bit_offset:
            offsets = f"bit {found[0].bit_offset} and bit {spec.bit_offset}"
            raise RelocationError(f"ambiguous: at {offsets} of two types of that name")
        elif resolution.new != found[1].new:
            raise RelocationError(f"ambiguous: {found[1].new} and {resolution.new} by two types of that name")
    return found[1] if found is not None else _combined(ours, _absent(kind)), matching


def _absent(kind: RelocationKind) -> _Value:
    """No type or field matches: existence is 0, as is all about a type; nothing can be said of fields."""
    asks = kind in (RelocationKind.FIELD_EXISTS, RelocationKind.ENUMVAL_EXISTS)
    return _Value(0 if asks or not (kind.of_field or kind.of_enumerator) else None)


def _combined(ours: _Value, theirs: _Value) -> Resolution:
    old = ours.value if ours.value is not None else 0
    resolution = Resolution(old & _WORD, None, ours.exact)
    if theirs.value is None:
        return resolution
    return replace(
        resolution,
        new=theirs.value & _WORD,
        old_size=ours.size,
        new_size=theirs.size,
        resizable=ours.size == theirs.size or _zero_extended(ours.type, theirs.type),
    )


def _zero_extended(ours: BtfType | None, theirs: BtfType | None) -> bool:
    """Whether a load of another width still reads the number: pointers do, and integers that are not signed."""
    if ours is None or theirs is None or ours.kind is not theirs.kind:
        return False
    if ours.kind is Kind.INT:
        # As in libbpf: a character that is signed has one more flag and passes.
        return all(type.encoding & _ENCODING != _SIGNED for type in (ours, theirs))
    return ours.kind is Kind.PTR


def _value(kind: RelocationKind, spec: Spec) -> _Value:
    match kind:
        case RelocationKind.FIELD_EXISTS | RelocationKind.ENUMVAL_EXISTS:
            return _Value(1)
        case RelocationKind.TYPE_EXISTS | RelocationKind.TYPE_MATCHES:
            return _Value(1)
        case RelocationKind.TYPE_ID_TARGET | RelocationKind.TYPE_ID_LOCAL:
            return _Value(spec.root, exact=False)
        case RelocationKind.TYPE_SIZE:
            return _Value(size_of(spec.btf, spec.root))
        case RelocationKind.ENUMVAL_VALUE:
            step = spec.path[0]
            type = spec.btf.type(step.type)
            value = type.values[step.number].value
            # libbpf takes enumerators of 32 bits for signed ones, whatever their type says.
            return _Value((value ^ 1 << 31) - (1 << 31) if type.kind is Kind.ENUM and value >= 0 else value)
        case _:
            return _field_value(kind, spec)


def _field_value(kind: RelocationKind, spec: Spec) -> _Value:
    step = spec.path[-1]
    if step.name is None:
        size = size_of(spec.btf, step.type)
        if kind is RelocationKind.FIELD_BYTE_OFFSET:
            return _Value(spec.bit_offset // 8, size=size, type=spec.btf.type(step.type))
        if kind is RelocationKind.FIELD_BYTE_SIZE:
            return _Value(size)
        raise RelocationError(f"{kind} of an array element")
    member = spec.btf.type(step.type).members[step.number]
    type = spec.btf.resolve(member.type)
    is_bitfield = member.bits > 0
    if is_bitfield:
        offset, size = _storage(spec.bit_offset, member.bits, type.size)
        bits = member.bits
    else:
        offset, size = spec.bit_offset // 8, size_of(spec.btf, type.id)
        bits = 8 * size
    match kind:
        case RelocationKind.FIELD_BYTE_OFFSET if is_bitfield:
            return _Value(offset, exact=False)
        case RelocationKind.FIELD_BYTE_OFFSET:
            return _Value(offset, size=size, type=type)
        case RelocationKind.FIELD_BYTE_SIZE:
            return _Value(size, exact=not is_bitfield)
        case RelocationKind.FIELD_SIGNED:
            signed = type.flag if type.kind in ENUMS else type.kind is Kind.INT and type.encoding & _SIGNED != 0
            return _Value(int(signed))
        case RelocationKind.FIELD_LSHIFT_U64:
            shift = 64 - (spec.bit_offset + bits - 8 * offset)
            return _Value(shift & 0xFFFFFFFF, exact=not is_bitfield)
        case RelocationKind.FIELD_RSHIFT_U64:
            return _Value(64 - bits & 0xFFFFFFFF)
        case _:
            raise RelocationError(f"{kind} of a field")


def _storage(bit_offset: int, bits: int, size: int) -> tuple[int, int]:
    """Byte offset and size of the smallest aligned load, from the declared type's on, that holds a bit-field."""
    while size:
        offset = bit_offset // 8 // size * size
        if bit_offset + bits - 8 * offset <= 8 * size:
            return offset, size
        if size >= 8:
            break
        size *= 2
    raise RelocationError("a bit-field that no aligned load of 64 bits holds")
