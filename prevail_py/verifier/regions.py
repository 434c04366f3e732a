"""Memory: whether an access is allowed, what a load yields, what a store leaves behind.

:func:`violation` decides an access of a constant or bounded size in a state.  :func:`load` and :func:`store` assume it
is allowed: they are called in states in which it is, or in which the failure has been noted, and there they must only
be sound for the runs that go on.

Bounds of packet accesses are differences between the packet's size and the offset, taken between mathematical
integers and only where the offset's arithmetic cannot wrap (:mod:`prevail_py.domains.zones`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from prevail_py.domains.lattice import NO_SYMBOL, Range, Term, constant
from prevail_py.platforms.model import FieldKind
from prevail_py.verifier.assertions import AssertionKind, Mode
from prevail_py.verifier.scalars import compute, truncate, unknown
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import (
    CONTEXT,
    KEY,
    MAP_VALUE,
    MEMORY,
    NEVER_NULL,
    OBJECT,
    PACKET,
    POISON,
    STACK,
    STACK_SIZE,
    UNUSABLE,
    ZERO,
    Pointer,
    Region,
    RegionKind,
    Value,
    region_of,
)
from prevail_py.words import Comparison, OpKind, WordOp, mask, to_signed

__all__ = [
    "Violation",
    "learn_access",
    "load",
    "offset_by",
    "overwrite",
    "poison",
    "sign_extended",
    "store",
    "violation",
]

_PACKET: Final = Region(RegionKind.PACKET)

_READ, _WRITE = Mode.READ, Mode.WRITE
_RSH: Final = WordOp(OpKind.RSH)
_LSH: Final = WordOp(OpKind.LSH)
_OR: Final = WordOp(OpKind.OR)
_SIGN_EXTENSION: Final = {size: WordOp(OpKind.SEXT, 64, 8 * size) for size in (1, 2, 4, 8)}
_NE, _ULE = Comparison.NE, Comparison.ULE
_MASK: Final = mask(64)
_MASKS: Final = [mask(8 * size) for size in range(9)]
"""The greatest word of so many bytes."""

_tuple: Final = tuple.__new__  # in a third of the time that the constructors of these tuples take


class Violation(NamedTuple):
    """An assertion that does not (or cannot be shown to) hold: the kind, why, and what would be needed."""

    kind: AssertionKind
    message: str
    needed: str = ""


def offset_by(pointer: Pointer, amount: int) -> Pointer:
    """``pointer`` moved by a constant number of bytes."""
    region, base, (symbol, offset) = pointer
    return _tuple(Pointer, (region, base, _tuple(Term, (symbol, offset + amount & _MASK))))


def violation(
    setting: Setting, state: State, value: Value, size: Range, mode: Mode, name: str = "pointer", shift: int = 0
) -> Violation | None:
    """Why ``size.lo .. size.hi`` bytes at ``value`` may not be touched as ``mode`` says; None where they may.

    ``value`` is what the program calls ``name``, plus ``shift``.
    """
    if not isinstance(value, Pointer):
        what = f"a number ({state.show(value)})" if isinstance(value, Term) else value.value
        return Violation(AssertionKind.NOT_A_POINTER, f"{what} is used as an address", "a pointer")
    region, base, _ = value
    if (state.facts.range(base)[0] if base[0] else base[1]) == 0:
        return Violation(
            AssertionKind.NULL_DEREFERENCE, f"pointer to {region} may be null", "a null check before the access"
        )
    kind = region.kind
    if kind is STACK:
        found = _bounds_violation(state, value, size, STACK_SIZE)
        if found is None and mode is not _WRITE and not setting.policy.uninitialised_stack:
            found = _uninitialised(state, value, size)
        return found
    if kind is PACKET:
        if mode is not _READ and not setting.program_type.read_write_packet:
            return Violation(AssertionKind.READ_ONLY, f"{setting.program_type.name} programs may not write packets")
        return _packet_violation(state, value, size, name, shift)
    if kind is MAP_VALUE:
        spec, readable, writable = setting.values_of(region)
        found = _bounds_violation(state, value, size, spec.value_size)
        if found is None and mode is not _READ and not writable:
            return Violation(AssertionKind.READ_ONLY, f"map {spec.name} is read-only")
        if found is None and mode is not _WRITE and not readable:
            return Violation(AssertionKind.READ_ONLY, f"values of map {spec.name} cannot be read")
        return found
    if kind is CONTEXT:
        return _context_violation(setting, state, value, size, mode)
    if kind is MEMORY:
        if mode is not _READ and region.name == KEY:
            return Violation(AssertionKind.READ_ONLY, "the key of an element may not be changed")
        return _bounds_violation(state, value, size, region.size)
    if kind is OBJECT:
        return _object_violation(setting, state, value, size, mode)
    return Violation(AssertionKind.NOT_A_POINTER, f"{region} is not memory the program may touch")


def _bounds_violation(state: State, pointer: Pointer, size: Range, limit: int) -> Violation | None:
    offset = pointer.offset
    if offset[0] == NO_SYMBOL and offset[1] + size.hi <= limit:
        return None
    known = state.facts.range(offset, signed=True)
    if known.lo >= 0 and known.hi + size.hi <= limit:
        return None
    if pointer.region.kind is STACK:
        # As programs write it: relative to the frame pointer, which is the upper end.
        below = Range(known.lo - limit, known.hi - limit) if known.lo > -(1 << 62) else known
        return Violation(
            AssertionKind.OUT_OF_BOUNDS,
            f"access to the stack at r10 plus {_span(below)}, {_bytes(size)}",
            f"-{limit} <= offset and offset + {size.hi} <= 0" + _also_known(below),
        )
    return Violation(
        AssertionKind.OUT_OF_BOUNDS,
        f"access to {pointer.region} at offset {_span(known)}, {_bytes(size)}, of {limit} bytes",
        f"0 <= offset and offset + {size.hi} <= {limit}" + _also_known(known),
    )


def _also_known(offset: Range) -> str:
    if offset.lo == offset.hi:
        return ""
    bounds = [str(offset.lo)] if offset.lo > -(1 << 62) else []
    bounds += ["offset"] + ([str(offset.hi)] if offset.hi < 1 << 62 else [])
    return f"; known: {' <= '.join(bounds)}" if len(bounds) > 1 else ""


def _span(known: Range) -> str:
    if known.lo == known.hi:
        return str(known.lo)
    if known.lo == -(1 << 63) and known.hi == (1 << 63) - 1:
        return "unknown"
    return f"[{known.lo}, {known.hi}]"


def _bytes(size: Range) -> str:
    count = str(size.hi) if size.lo == size.hi else f"up to {size.hi}"
    return f"{count} byte{'' if size.hi == 1 else 's'}"


def _packet_violation(state: State, pointer: Pointer, size: Range, name: str, shift: int) -> Violation | None:
    offset = pointer.offset
    known = state.facts.range(offset, signed=True)
    if known.lo < 0 and state.facts.difference(offset, state.packet_meta).lo < 0:
        return Violation(
            AssertionKind.OUT_OF_BOUNDS,
            f"access to the packet at offset {_span(known)}, before its start",
            f"packet start <= {_plus(name, shift)}",
        )
    room = state.facts.difference(state.packet_size, offset)
    if room.lo >= size.hi or known.hi + size.hi <= 0:
        return None
    least = max(state.facts.range(state.packet_size).lo, 0)
    return Violation(
        AssertionKind.OUT_OF_BOUNDS,
        f"access to the packet at offset {_span(known)}, {_bytes(size)}, of at least {least} bytes",
        f"{_plus(name, shift + size.hi)} <= packet end"
        + (f"; known: {_plus(name, shift + room.lo)} <= packet end" if room.lo > -(1 << 62) else ""),
    )


def _plus(name: str, amount: int) -> str:
    return f"{name} {'-' if amount < 0 else '+'} {abs(amount)}" if amount else name


def _context_violation(setting: Setting, state: State, pointer: Pointer, size: Range, mode: Mode) -> Violation | None:
    if not setting.program_type.context_known:
        raise Unsupported(f"context of {setting.program_type.name} programs")
    known = state.facts.range(pointer.offset)
    if known.lo != known.hi or size.lo != size.hi:
        return Violation(AssertionKind.CONTEXT_ACCESS, "context access at an offset that is not constant")
    offset, count = known.lo, size.lo
    if mode is _READ:
        allowed = setting.program_type.context_read(offset, count) is not None
    else:
        allowed = mode is _WRITE and setting.program_type.context_write(offset, count)
    if allowed:
        return None
    return Violation(
        AssertionKind.CONTEXT_ACCESS,
        f"{setting.program_type.name} programs may not {mode.value} {_bytes(size)} at offset {offset} of the context",
    )


def _object_violation(setting: Setting, state: State, pointer: Pointer, size: Range, mode: Mode) -> Violation | None:
    item = setting.platform.objects.get(pointer.region.name)
    if item is None:
        raise Unsupported(f"access to the fields of a {pointer.region.name}")
    if item.size is not None:
        return _bounds_violation(state, pointer, size, item.size)
    known = state.facts.range(pointer.offset)
    if known.lo != known.hi or size.lo != size.hi:
        return Violation(AssertionKind.CONTEXT_ACCESS, f"access to a {item.name} at an offset that is not constant")
    if mode is _READ and item.may_read(known.lo, size.lo):
        return None
    return Violation(
        AssertionKind.CONTEXT_ACCESS,
        f"programs may not {mode.value} {_bytes(size)} at offset {to_signed(known.lo, 64)} of a {item.name}",
    )


def sign_extended(setting: Setting, state: State, pointer: Pointer, size: int) -> Violation | None:
    """Why an allowed load of ``size`` bytes may not extend their sign: a pointer in the context has none."""
    if pointer.region.kind is not CONTEXT:
        return None
    offset = state.facts.range(pointer.offset).lo
    field = setting.program_type.context_read(offset, size)
    if field is FieldKind.SCALAR:
        return None
    return Violation(
        AssertionKind.CONTEXT_ACCESS,
        f"the {field.value if field else 'field'} at offset {offset} of the context is no number",
    )


def _uninitialised(state: State, pointer: Pointer, size: Range) -> Violation | None:
    known = state.facts.range(pointer.offset)
    lo, hi = known.lo, known.hi + size.hi
    if hi <= lo:
        return None
    missing = ~_frame(state, pointer).initialised & (((1 << hi - lo) - 1) << lo)
    if not missing:
        return None
    first = (missing & -missing).bit_length() - 1
    return Violation(
        AssertionKind.UNINITIALISED_MEMORY,
        f"reads the stack at r10{first - STACK_SIZE}, which may not have been written",
        f"all of r10{lo - STACK_SIZE} .. r10{hi - 1 - STACK_SIZE} initialised on every path",
    )


def _frame(state: State, pointer: Pointer) -> Frame:
    return state.frames[pointer.region.index]


def learn_access(setting: Setting, state: State, value: Value, size: int) -> bool:
    """What holds after an access of ``size`` bytes that did not trap: not null, and within bounds.

    Runs in which the access is not allowed end there, so this is sound in any state.  False where no run goes on.
    """
    if not isinstance(value, Pointer):
        return value is POISON or value is UNUSABLE
    facts = state.facts
    if value.base.symbol != NO_SYMBOL and facts.range(value.base).lo == 0:
        facts = facts.assume(_NE, value.base, ZERO, 64)
    offset, known = value.offset, facts.range(value.offset, signed=True)
    limit = _limit(setting, state, value.region)
    if limit is not None and (known.lo < 0 or known.hi + size > limit.offset or limit.symbol != NO_SYMBOL):
        if known.lo >= 0 and known.hi < 1 << 32:
            end = Term(offset.symbol, offset.offset + size & mask(64))
            facts = facts.assume(_ULE, end, limit, 64)
        elif limit.symbol == NO_SYMBOL:
            if limit.offset < size:
                return False
            facts = facts.assume(_ULE, offset, constant(limit.offset - size), 64)
    if facts.is_bottom():
        return False
    state.facts = facts
    return True


def _limit(setting: Setting, state: State, region: Region) -> Term | None:
    """The size of a region that has one."""
    kind = region.kind
    if kind is STACK:
        return _STACK_END
    if kind is PACKET:
        return state.packet_size
    if kind is MAP_VALUE:
        return constant(setting.map_of(region).value_size)
    if kind is MEMORY:
        return constant(region.size)
    return None


_STACK_END: Final = constant(STACK_SIZE)


def poison(state: State, culprit: Value) -> None:
    """Mark a value that cannot have been what it was used as, and its copies, so that they are not blamed again."""
    if not isinstance(culprit, Term):
        state.map_values(lambda value: POISON if value == culprit else value)


# Loads ------------------------------------------------------------------------------------------------------------


def load(setting: Setting, state: State, value: Value, size: int, signed: bool = False) -> Value:
    """What a load of ``size`` bytes at ``value`` yields, in runs in which it is allowed."""
    if not isinstance(value, Pointer):
        return POISON
    raw = _load_raw(setting, state, value, size)
    if not signed:
        return raw
    # Only pointer fields of the context yield no number here, and a run that extends their sign has trapped.
    return compute(setting, state, _SIGN_EXTENSION[size], (raw,)) if isinstance(raw, Term) else POISON


def _load_raw(setting: Setting, state: State, pointer: Pointer, size: int) -> Value:
    kind = pointer.region.kind
    if kind is STACK:
        return _load_stack(setting, state, pointer, size)
    if kind is CONTEXT:
        return _load_context(setting, state, pointer, size)
    if kind is MAP_VALUE:
        spec = setting.map_of(pointer.region)
        if spec.read_only and spec.initial is not None:
            known = state.facts.range(pointer.offset)
            if known.lo == known.hi:
                # Read-only for the program and frozen for everybody else: the contents are constants.
                content = spec.initial[known.lo : known.lo + size]
                if len(content) == size:
                    return constant(int.from_bytes(content, "little"))
    # Packets, map values and helper memory may change under us: every load is a new unknown.
    return unknown(setting, state, 0, _MASKS[size])


_SCALAR: Final = FieldKind.SCALAR


def _load_context(setting: Setting, state: State, pointer: Pointer, size: int) -> Value:
    known = state.facts.range(pointer.offset)
    field = setting.program_type.context_read(known.lo, size) if known.lo == known.hi else None
    if field is _SCALAR:
        return unknown(setting, state, 0, _MASKS[size])
    match field:
        case None:
            return POISON
        case FieldKind.PACKET:
            return Pointer(_PACKET, NEVER_NULL, ZERO)
        case FieldKind.PACKET_END:
            return Pointer(_PACKET, NEVER_NULL, state.packet_size)
        case FieldKind.PACKET_META:
            return Pointer(_PACKET, NEVER_NULL, state.packet_meta)
        case FieldKind.SOCK | FieldKind.FLOW_KEYS | FieldKind.NF_HOOK_STATE | FieldKind.SK_BUFF:
            return Pointer(region_of(RegionKind.OBJECT, name=field.value), NEVER_NULL, ZERO)
        case FieldKind.SOCK_OR_NULL | FieldKind.SOCK_COMMON_OR_NULL:
            name = field.value.removesuffix(" or null")
            return Pointer(region_of(RegionKind.OBJECT, name=name), unknown(setting, state), ZERO)
        case _:
            raise Unsupported(f"context field of kind {field.value}")


def _load_stack(setting: Setting, state: State, pointer: Pointer, size: int) -> Value:
    frame = _frame(state, pointer)
    if pointer.offset[0] == NO_SYMBOL:
        return _load_bytes(setting, state, frame, pointer.offset[1], size)
    known = state.facts.range(pointer.offset)
    if known.lo != known.hi:
        touched = [v for o, (s, v) in frame.cells.items() if o + s > known.lo and o < known.hi + size]
        if any(not isinstance(content, Term) for content in touched):
            return UNUSABLE
        return unknown(setting, state, 0, _MASKS[size])
    return _load_bytes(setting, state, frame, known.lo, size)


def _load_bytes(setting: Setting, state: State, frame: Frame, offset: int, size: int) -> Value:
    cell = frame.cells.get(offset)
    if cell is not None and cell[0] == size:
        return cell[1]
    for start in range(max(offset - 7, 0), offset + 1):
        cell = frame.cells.get(start)
        if cell is None or start + cell[0] < offset + size:
            continue
        content = cell[1]
        if not isinstance(content, Term):
            break  # a part of a pointer: some number
        shifted = compute(setting, state, _RSH, (content, constant(8 * (offset - start))))
        return truncate(setting, state, shifted, 8 * size)
    assembled = _assemble(setting, state, frame, offset, size)
    return unknown(setting, state, 0, _MASKS[size]) if assembled is None else assembled


_NO_CELL: Final = 0, UNUSABLE


def _assemble(setting: Setting, state: State, frame: Frame, offset: int, size: int) -> Term | None:
    """The number made of the cells that exactly cover the bytes, None where there is a gap."""
    parts: list[tuple[int, Term]] = []
    at = offset
    while at < offset + size:
        width, content = frame.cells.get(at, _NO_CELL)
        if not isinstance(content, Term) or at + width > offset + size:
            return None
        parts.append((8 * (at - offset), content))
        at += width
    result = ZERO
    for shift, content in parts:
        shifted = compute(setting, state, _LSH, (content, constant(shift)))
        result = compute(setting, state, _OR, (result, shifted))
    return result


# Stores -----------------------------------------------------------------------------------------------------------


def store(setting: Setting, state: State, value: Value, size: int, content: Value) -> None:
    """The effect of storing the low ``size`` bytes of ``content`` at ``value``, in runs in which it is allowed.

    Only stacks are tracked: what is stored elsewhere may be changed by others and is loaded as unknown.
    """
    if not isinstance(value, Pointer) or value.region.kind is not STACK:
        return
    frame = _frame(state, value)
    offset = value.offset
    if offset[0] == NO_SYMBOL:
        at = last = offset[1]
    else:
        at, last = state.facts.range(offset)
    lo, hi = min(at, STACK_SIZE), min(last + size, STACK_SIZE)
    if at != last:
        frame.weaken(lo, hi)
        if not isinstance(content, Term):
            # It is in one of the aligned slots, or in none.
            frame.put(dict.fromkeys(range(-(-lo // 8) * 8, hi - 7, 8), (8, UNUSABLE)))
        return
    touched = frame.touched(lo, hi)
    if touched and (touched[0] != lo or frame.cells[lo][0] != hi - lo):
        left = _left_over(setting, state, frame, lo, hi, touched)
        frame.clobber(lo, hi)
        if left:
            frame.put(left)
    if lo + size > STACK_SIZE:
        return
    frame.initialised |= ((1 << size) - 1) << lo
    if isinstance(content, Term):
        frame.set(lo, (size, truncate(setting, state, content, 8 * size)))
    elif size == 8 and lo % 8 == 0:
        # Provenance is kept for aligned slots only, as in the interpreter.
        frame.set(lo, (8, content))


def _left_over(
    setting: Setting, state: State, frame: Frame, lo: int, hi: int, touched: Sequence[int]
) -> dict[int, tuple[int, Value]]:
    """What is left of the numbers that lie partly in the bytes ``lo..hi`` (exclusive), as cells outside of these."""
    left: dict[int, tuple[int, Value]] = {}
    for start in touched:
        size, content = frame.cells[start]
        end = start + size
        if not isinstance(content, Term):
            continue
        if start < lo:
            left[start] = lo - start, truncate(setting, state, content, 8 * (lo - start))
        if end > hi:
            upper = compute(setting, state, _RSH, (content, constant(8 * (hi - start))))
            left[hi] = end - hi, truncate(setting, state, upper, 8 * (end - hi))
    return left


def overwrite(state: State, pointer: Pointer, size: Range, certain: bool) -> None:
    """The effect of a helper writing ``size.lo .. size.hi`` unknown bytes at ``pointer``; perhaps less, if not certain.

    What it does not write was initialised before.
    """
    if pointer.region.kind is not STACK:
        return
    frame = _frame(state, pointer)
    known = state.facts.range(pointer.offset)
    frame.weaken(min(known.lo, STACK_SIZE), min(known.hi + size.hi, STACK_SIZE))
    if known.lo == known.hi and size.lo > 0 and known.lo + size.lo <= STACK_SIZE:
        if certain:
            frame.clobber(known.lo, known.lo + size.lo)
        frame.initialised |= mask(size.lo) << known.lo
