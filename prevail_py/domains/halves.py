"""Bounds of a word together with bounds of its low half: what intervals know, and every operation on it.

A pair ``full, low`` of :data:`~prevail_py.domains.bounds.Bounds` stands for the words within ``full`` whose low half
(32 of 64 bits) is within ``low``.  Like the Linux kernel's ``bpf_reg_state`` it has eight bounds: umin, umax, smin,
smax, and the same for the 32-bit subregister.

**Canonical form** (:func:`reduce`): ``full`` and ``low`` are the best bounds of the words and of their low halves, or
both are empty.  So different canonical pairs are different sets of words, and order and join are componentwise.  It
takes one pass: first each end of a piece of ``full`` moves inwards to the nearest word whose low half is allowed (all
ends are then attained), then ``low`` is cut down to the low halves of what is left.  The ends keep their low halves
through that cut, so nothing changes in a second pass.

All functions take canonical pairs; :func:`apply`, :func:`backward` and :func:`restrict` return pairs that are yet to be
reduced, so that a product can reduce them by more at the same time.  Where there is nothing to learn they return the
very bounds that they were given.  Nothing but integer arithmetic and comparisons is done with the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Final, TypeAlias

from prevail_py.domains import arithmetic, bounds
from prevail_py.domains.bounds import Bounds, smear
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = [
    "Halves",
    "Size",
    "apply",
    "at_least",
    "at_least_signed",
    "at_most",
    "at_most_signed",
    "backward",
    "contains",
    "reduce",
    "restrict",
    "restrict_bits",
    "size_of",
    "unknown_bits",
    "view",
    "widen",
]

Halves: TypeAlias = tuple[Bounds, Bounds]

# Dispatch is by the value of the enumeration member: a string, whose hash is cached.  In Python 3.11 ``_value_`` is
# ten times faster than ``value``.
_BINARY: Final[dict[str, Callable[[Bounds, Bounds, int], Bounds]]] = {
    OpKind.ADD.value: arithmetic.add,
    OpKind.SUB.value: arithmetic.sub,
    OpKind.MUL.value: arithmetic.mul,
    OpKind.UDIV.value: arithmetic.udiv,
    OpKind.UMOD.value: arithmetic.umod,
    OpKind.SDIV.value: arithmetic.sdiv,
    OpKind.SMOD.value: arithmetic.smod,
    OpKind.AND.value: arithmetic.bit_and,
    OpKind.OR.value: arithmetic.bit_or,
    OpKind.XOR.value: arithmetic.bit_xor,
}
_SHIFT: Final[dict[str, Callable[[Bounds, int, int, int], Bounds]]] = {
    OpKind.LSH.value: arithmetic.lsh,
    OpKind.RSH.value: arithmetic.rsh,
    OpKind.ARSH.value: arithmetic.arsh,
}
# The low half of the result is the same operation on the low halves of the arguments.
_LOW_OF_LOWS: Final = frozenset(
    kind.value for kind in (OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.AND, OpKind.OR, OpKind.XOR)
)
_ZERO: Final[Bounds] = (0, 0, 0, 0)


class Size:
    """The two widths of a domain in bits, ``low < width``, and what follows from them."""

    __slots__ = (
        "empty",
        "half",
        "last",
        "low",
        "low_empty",
        "low_half",
        "low_last",
        "low_top",
        "thresholds",
        "top",
        "width",
    )

    def __init__(self, width: int, low: int) -> None:
        if not 0 < low < width:
            raise ValueError(f"no words of {width} bits with a low half of {low}")
        self.width, self.low = width, low
        self.half, self.low_half = 1 << (width - 1), 1 << (low - 1)
        self.last, self.low_last = (1 << width) - 1, (1 << low) - 1
        self.top, self.low_top = bounds.top(self.half), bounds.top(self.low_half)
        self.empty, self.low_empty = bounds.empty(self.half), bounds.empty(self.low_half)
        self.thresholds = (self.low_half - 1, self.low_last, self.last - self.low_half + 1)


@cache
def size_of(width: int, low: int) -> Size:
    """The one :class:`Size` of these widths."""
    return Size(width, low)


def view(size: Size, full: Bounds, low: Bounds, width: int) -> Bounds:
    """Bounds of the low ``width`` bits: the best ones where ``width`` is one of the two kept."""
    if width == size.width:
        return full
    if width == size.low:
        return low
    source, half = (low, size.low_half) if width < size.low else (full, size.half)
    return _project(source, half, 1 << (width - 1))


# Reduction --------------------------------------------------------------------------------------------------------


def reduce(size: Size, full: Bounds, low: Bounds) -> Halves:
    """The canonical form; both empty where no word is left."""
    umin, umax, smin, smax = full
    if umin > umax or low[0] > low[1]:
        return size.empty, size.low_empty
    half, low_half = size.half, size.low_half
    if umax <= size.low_last:  # the word is the zero extension of its low half
        if umax < low_half and low == full:
            return full, low
        low = bounds.meet(low, bounds.from_unsigned(umin, umax, low_half), low_half)
        umin, umax, _, _ = low
        return ((umin, umax, umin, umax), low) if umin <= umax else (size.empty, size.low_empty)
    if smin >= -low_half and smax < low_half:  # the word is the sign extension of its low half
        more = size.last - size.low_last
        seen = (umin if umin < half else umin - more, umax - more, smin, smax)
        if low == seen:
            return full, low
        low = bounds.meet(low, seen, low_half)
        umin, umax, smin, smax = low
        if umin > umax:
            return size.empty, size.low_empty
        return (umin if umin < low_half else umin + more, umax if umax < low_half else umax + more, smin, smax), low
    parts = bounds.pieces(full, half)
    if low != size.low_top:
        inside = tuple(_inside(parts, low, low_half))
        if not inside:
            return size.empty, size.low_empty
        if inside != parts:
            parts, full = inside, _hull(inside, half)
    for lo, hi in parts:
        if hi - lo >= size.low_last:  # there are words with every low half
            return full, low
    halves = size.low_empty
    for lo, hi in parts:
        halves = bounds.join(halves, bounds.wrap(lo, hi, low_half))
    return full, bounds.meet(low, halves, low_half)


def _hull(parts: Iterable[tuple[int, int]], half: int) -> Bounds:
    result = bounds.empty(half)
    for lo, hi in parts:
        result = bounds.join(result, bounds.from_unsigned(lo, hi, half))
    return result


def _inside(parts: Iterable[tuple[int, int]], low: Bounds, low_half: int) -> Iterator[tuple[int, int]]:
    """The intervals ``parts`` with their ends moved inwards to words whose low part is within ``low``."""
    for lo, hi in parts:
        lo, hi = _up(lo, low, low_half), _down(hi, low, low_half)
        if lo <= hi:
            yield lo, hi


def _up(x: int, low: Bounds, low_half: int) -> int:
    """The least ``y >= x`` whose low part is within ``low``."""
    umin, umax, smin, smax = low
    size = low_half + low_half
    part = x & (size - 1)
    if part < umin:
        return x - part + umin
    if part > umax:
        return x - part + size + umin
    if smax < part < smin + size:  # in the gap between the two pieces
        return x - part + smin + size
    return x


def _down(x: int, low: Bounds, low_half: int) -> int:
    """The greatest ``y <= x`` whose low part is within ``low``; negative if there is none."""
    umin, umax, smin, smax = low
    size = low_half + low_half
    part = x & (size - 1)
    if part > umax:
        return x - part + umax
    if part < umin:
        return x - part - size + umax
    if smax < part < smin + size:
        return x - part + smax
    return x


def _project(a: Bounds, half: int, to_half: int) -> Bounds:
    """The best bounds of the low bits (of the size that ``to_half`` stands for) of words within ``a``."""
    if a[0] > a[1]:
        return bounds.empty(to_half)
    result = bounds.empty(to_half)
    for lo, hi in bounds.pieces(a, half):
        result = bounds.join(result, bounds.wrap(lo, hi, to_half))
    return result


def _within(size: Size, full: Bounds, low: Bounds, width: int, a: Bounds) -> Halves:
    """The pair cut down to words whose low ``width`` bits are within ``a``."""
    if width == size.width:
        return (full, low) if bounds.leq(full, a) else (bounds.meet(full, a, size.half), low)
    if width == size.low:
        return (full, low) if bounds.leq(low, a) else (full, bounds.meet(low, a, size.low_half))
    if a[0] > a[1]:
        return size.empty, size.low_empty
    return _moved(size, full, low, width, a)


def _moved(size: Size, full: Bounds, low: Bounds, width: int, a: Bounds) -> Halves:
    """The pair with the ends of its pieces moved to words of which the low ``width`` bits are within ``a``.

    No bounds are kept at such a width, so that is all there is to do.
    """
    half = 1 << (width - 1)
    full = _hull(_inside(bounds.pieces(full, size.half), a, half), size.half)
    if width < size.low:
        low = _hull(_inside(bounds.pieces(low, size.low_half), a, half), size.low_half)
    return full, low


def restrict_bits(size: Size, full: Bounds, low: Bounds, value: int, mask: int) -> Halves:
    """The pair reduced by words agreeing with ``value`` outside ``mask``; the same bounds if that is no news."""
    while full[0] <= full[1]:
        # Each round moves the ends of pieces inwards to the next word with these bits.  Reduction may move them on,
        # to a word whose low half is an end of a piece of low.  It ends, as the pair gets smaller; two rounds were the
        # most in hundreds of thousands of random cases of 4 to 64 bits, and nearly all took one.
        new_full = bounds.restrict_bits(full, value, mask, size.half)
        new_low = bounds.restrict_bits(low, value & size.low_last, mask & size.low_last, size.low_half)
        if new_full is full and new_low is low:
            break
        full, low = reduce(size, new_full, new_low)
    return full, low


def unknown_bits(size: Size, full: Bounds, low: Bounds) -> int:
    """The bits on which words within the pair may differ, by what the bounds have in common."""
    return smear(full[0] ^ full[1]) & ~(size.low_last & ~smear(low[0] ^ low[1]))


def widen(size: Size, a: Halves, b: Halves, thresholds: Sequence[int]) -> Halves:
    """An upper bound of both in which each bound of ``a`` that ``b`` exceeds jumps outwards; yet to be reduced.

    The ends of the low half's range (2**31 - 1, 2**32 - 1, -2**31) are thresholds too: a step from there does not wrap,
    so that a comparison in the loop can still bound it, where a step from the greatest word would.  Bounds of the low
    half that the full ones of ``a`` imply are left to the new full ones, or they would stop these.
    """
    full = bounds.widen(a[0], b[0], (*thresholds, *size.thresholds), size.half)
    if reduce(size, a[0], size.low_top)[1] == a[1]:
        return full, size.low_top
    return full, bounds.widen(a[1], b[1], thresholds, size.low_half)


def contains(size: Size, full: Bounds, low: Bounds, word: int) -> bool:
    """Whether the unsigned ``word`` is within both."""
    umin, umax, smin, smax = full
    signed = word - size.last - 1 if word >= size.half else word
    if word < umin or word > umax or signed < smin or signed > smax:
        return False
    umin, umax, smin, smax = low
    word &= size.low_last
    signed = word - size.low_last - 1 if word >= size.low_half else word
    return umin <= word <= umax and smin <= signed <= smax


# Forwards ---------------------------------------------------------------------------------------------------------


def _extended(size: Size, result: Bounds, width: int, low: Bounds) -> Halves:
    """A result of ``width`` bits, zero-extended to the word; ``low`` is what is known of its low half."""
    if width == size.width:
        return result, low
    umin, umax, _, _ = result
    if width == size.low:
        return (umin, umax, umin, umax), result
    return bounds.from_unsigned(umin, umax, size.half), low


def apply(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    """``op`` on non-empty arguments ``full, low`` and ``full_, low_`` (ignored by unary ones); yet to be reduced."""
    width, kind = op.width, op.kind._value_
    binary = _BINARY.get(kind)
    if binary is not None:
        if width == size.width:
            result = binary(full, full_, size.half)
            if kind not in _LOW_OF_LOWS or low == low_ == size.low_top:
                return result, size.low_top
            return result, binary(low, low_, size.low_half)
        if width == size.low:
            result = binary(low, low_, size.low_half)
            umin, umax, _, _ = result
            return (umin, umax, umin, umax), result
        result = binary(view(size, full, low, width), view(size, full_, low_, width), 1 << (width - 1))
        return _extended(size, result, width, size.low_top)
    shift = _SHIFT.get(kind)
    if shift is not None:
        s0, s1 = arithmetic.shift_amounts(view(size, full_, low_, width), 1 << (width - 1), width)
        result = shift(view(size, full, low, width), s0, s1, 1 << (width - 1))
        if width < size.width:
            return _extended(size, result, width, size.low_top)
        if s1 == 0:
            return full, low
        return result, _low_of_shift(size, kind, low, s0, s1)
    return _apply_unary(size, op, full, low)


def _low_of_shift(size: Size, kind: str, low: Bounds, s0: int, s1: int) -> Bounds:
    """The low half after a shift of the whole word: known for shifts to the left."""
    if kind != "lsh":
        return size.low_top
    if s0 >= size.low:
        return _ZERO
    if s1 < size.low:
        return arithmetic.lsh(low, s0, s1, size.low_half)
    return bounds.join(arithmetic.lsh(low, s0, size.low - 1, size.low_half), _ZERO)


def _apply_unary(size: Size, op: WordOp, full: Bounds, low: Bounds) -> Halves:
    width = op.width
    match op.kind._value_:
        case "neg":
            result = arithmetic.neg(view(size, full, low, width), 1 << (width - 1))
            return _extended(
                size, result, width, arithmetic.neg(low, size.low_half) if width == size.width else size.low_top
            )
        case "zext":
            return _extended(size, view(size, full, low, width), width, low if width > size.low else size.low_top)
        case "sext":
            source = view(size, full, low, op.source)
            result = _sign_extend(source, op.source, width)
            if width <= size.low:
                return _extended(size, result, width, size.low_top)
            return _extended(
                size, result, width, low if op.source > size.low else _sign_extend(source, op.source, size.low)
            )
        case "bswap":
            seen = view(size, full, low, width)
            if seen[0] != seen[1]:
                return _extended(size, bounds.top(1 << (width - 1)), width, size.low_top)
            return _extended(size, bounds.constant(byte_swap(seen[0], width), 1 << (width - 1)), width, size.low_top)
        case _:
            raise AssertionError(op)


def byte_swap(value: int, width: int) -> int:
    """The bytes of the low ``width`` bits in reverse order."""
    result = 0
    for shift in range(0, width, 8):
        result = (result << 8) | ((value >> shift) & 0xFF)
    return result


def _sign_extend(a: Bounds, source: int, width: int) -> Bounds:
    """Bounds at ``width`` bits of the sign extensions of ``source``-bit words within ``a``; exact."""
    umin, umax, smin, smax = a
    half = 1 << (source - 1)
    more = (1 << width) - half - half
    return (umin if umin < half else umin + more, umax if umax < half else umax + more, smin, smax)


# Backwards --------------------------------------------------------------------------------------------------------


def backward(size: Size, op: WordOp, out: Halves, a: Halves, b: Halves) -> tuple[Halves, Halves]:
    """``a`` and ``b`` (ignored by unary operations) cut down to where ``op(a, b)`` lies in ``out``; none is empty."""
    width = op.width
    if width < size.width:  # a result of fewer bits is zero-extended
        last = (1 << width) - 1
        if out[0][1] > last:
            out = reduce(size, bounds.meet(out[0], bounds.from_unsigned(0, last, size.half), size.half), out[1])
            if out[0][0] > out[0][1]:
                return out, out
    result = view(size, *out, width)
    half = 1 << (width - 1)
    if op.kind.arity == 1:
        return _backward_unary(size, op, result, a), b
    if width not in (size.width, size.low):
        return a, b
    x, y = view(size, *a, width), view(size, *b, width)
    match op.kind._value_:
        case "add":
            new_x, new_y = arithmetic.sub(result, y, half), arithmetic.sub(result, x, half)
        case "sub":
            new_x, new_y = arithmetic.add(result, y, half), arithmetic.sub(x, result, half)
        case "xor":
            new_x, new_y = arithmetic.bit_xor(result, y, half), arithmetic.bit_xor(result, x, half)
        case "and":  # x & y is at most either
            new_x = new_y = bounds.from_unsigned(result[0], half + half - 1, half)
        case "or":
            new_x = new_y = bounds.from_unsigned(0, result[1], half)
        case "mul" if y[0] == y[1]:
            new_x, new_y = _factors(x, y[0], result, half), y
        case "mul" if x[0] == x[1]:
            new_x, new_y = x, _factors(y, x[0], result, half)
        case "udiv" if y[0] == y[1] and y[0] != 0:
            new_x, new_y = _dividends(y[0], result, half), y
        case "lsh" | "rsh" | "arsh":
            s0, s1 = arithmetic.shift_amounts(y, half, width)
            if s0 != s1:
                return a, b
            kept, before = _before_shift(op.kind._value_, width, s0, result)
            return _within(size, *a, kept, before), b
        case _:
            return a, b
    return _within(size, *a, width, new_x), _within(size, *b, width, new_y)


def _backward_unary(size: Size, op: WordOp, result: Bounds, a: Halves) -> Halves:
    half = 1 << (op.width - 1)
    match op.kind._value_:
        case "neg":
            return _within(size, *a, op.width, arithmetic.neg(result, half))
        case "zext":
            return _within(size, *a, op.width, result)
        case "sext":
            sign = 1 << (op.source - 1)
            result = bounds.meet(result, bounds.from_signed(-sign, sign - 1, half), half)
            return _within(size, *a, op.source, _project(result, half, sign))
        case _:
            return a


def _factors(x: Bounds, factor: int, result: Bounds, half: int) -> Bounds:
    """The words of ``x`` that times ``factor`` give one in ``result``, where no product overflows."""
    if factor == 0 or x[1] * factor > half + half - 1:
        return x
    least, most = (result[0] + factor - 1) // factor, result[1] // factor
    return bounds.from_unsigned(least, most, half) if least <= most else bounds.empty(half)


def _dividends(divisor: int, result: Bounds, half: int) -> Bounds:
    """The words that divided by ``divisor``, which is not 0, give one in ``result``."""
    least, most = result[0] * divisor, min(result[1] * divisor + divisor - 1, half + half - 1)
    return bounds.from_unsigned(least, most, half) if least <= most else bounds.empty(half)


def _before_shift(kind: str, width: int, amount: int, result: Bounds) -> tuple[int, Bounds]:
    """Of the words that, shifted by ``amount`` at ``width``, give one in ``result``: bounds, and of how many bits."""
    half = 1 << (width - 1)
    ones = (1 << amount) - 1
    umin, umax, smin, smax = result
    if kind == "lsh":  # the low width - amount bits are result >> amount
        lo, hi = (umin + ones) >> amount, umax >> amount
        half >>= amount
        return width - amount, bounds.wrap(lo, hi, half) if lo <= hi else bounds.empty(half)
    if kind == "rsh":
        lo, hi = umin << amount, min((umax << amount) + ones, half + half - 1)
        return width, bounds.from_unsigned(lo, hi, half) if lo <= hi else bounds.empty(half)
    lo, hi = max(smin << amount, -half), min((smax << amount) + ones, half - 1)
    return width, bounds.from_signed(lo, hi, half) if lo <= hi else bounds.empty(half)


# Comparisons ------------------------------------------------------------------------------------------------------


def restrict(size: Size, comparison: Comparison, width: int, a: Halves, b: Halves) -> tuple[Halves, Halves]:
    """``a`` and ``b``, neither of them empty, cut down to where the comparison holds on the low ``width`` bits."""
    x, y = view(size, *a, width), view(size, *b, width)
    umin, umax, smin, smax = x
    umin_, umax_, smin_, smax_ = y
    half = 1 << (width - 1)
    match comparison._value_:
        case "==":
            if width == size.width:  # the low halves are equal too
                full, low = bounds.meet(a[0], b[0], half), bounds.meet(a[1], b[1], size.low_half)
                return (full, low), (full, low)
            new_x = new_y = bounds.meet(x, y, half)
        case "!=":
            new_x = bounds.without(x, umin_, half) if umin_ == umax_ else x
            new_y = bounds.without(y, umin, half) if umin == umax else y
        case "<":
            new_x, new_y = at_most(x, umax_ - 1, half), at_least(y, umin + 1, half)
        case "<=":
            new_x, new_y = at_most(x, umax_, half), at_least(y, umin, half)
        case ">":
            new_x, new_y = at_least(x, umin_ + 1, half), at_most(y, umax - 1, half)
        case ">=":
            new_x, new_y = at_least(x, umin_, half), at_most(y, umax, half)
        case "s<":
            new_x, new_y = at_most_signed(x, smax_ - 1, half), at_least_signed(y, smin + 1, half)
        case "s<=":
            new_x, new_y = at_most_signed(x, smax_, half), at_least_signed(y, smin, half)
        case "s>":
            new_x, new_y = at_least_signed(x, smin_ + 1, half), at_most_signed(y, smax - 1, half)
        case "s>=":
            new_x, new_y = at_least_signed(x, smin_, half), at_most_signed(y, smax, half)
        case "&":
            new_x, new_y = _overlapping(x, y, half), _overlapping(y, x, half)
        case "!&":
            new_x, new_y = _disjoint(x, y, half), _disjoint(y, x, half)
        case _:
            raise AssertionError(comparison)
    return _with(size, a, width, x, new_x), _with(size, b, width, y, new_y)


def _with(size: Size, a: Halves, width: int, old: Bounds, new: Bounds) -> Halves:
    """``a`` with the bounds ``old`` at ``width`` replaced by ``new``."""
    if new is old:
        return a
    if width == size.width:
        return new, a[1]
    if width == size.low:
        return a[0], new
    return _within(size, *a, width, new)


def at_most(a: Bounds, most: int, half: int) -> Bounds:
    """The words of ``a`` of unsigned value at most ``most``; ``a`` where that is no news, like the next three."""
    umin, umax, smin, smax = a
    if umax <= most:
        return a
    return bounds.sync(umin, most, smin, smax, half) if umin <= most else bounds.empty(half)


def at_least(a: Bounds, least: int, half: int) -> Bounds:
    """The words of unsigned value at least ``least``."""
    umin, umax, smin, smax = a
    if umin >= least:
        return a
    return bounds.sync(least, umax, smin, smax, half) if umax >= least else bounds.empty(half)


def at_most_signed(a: Bounds, most: int, half: int) -> Bounds:
    """The words of signed value at most ``most``."""
    umin, umax, smin, smax = a
    if smax <= most:
        return a
    return bounds.sync(umin, umax, smin, most, half) if smin <= most else bounds.empty(half)


def at_least_signed(a: Bounds, least: int, half: int) -> Bounds:
    """The words of signed value at least ``least``."""
    umin, umax, smin, smax = a
    if smin >= least:
        return a
    return bounds.sync(umin, umax, least, smax, half) if smax >= least else bounds.empty(half)


def _disjoint(a: Bounds, b: Bounds, half: int) -> Bounds:
    """The words of ``a`` that may have no one in common with a word of ``b``: none that all of ``b`` share."""
    value, _ = bounds.common_bits(b)
    return bounds.restrict_bits(a, 0, (half + half - 1) & ~value, half)


def _overlapping(a: Bounds, b: Bounds, half: int) -> Bounds:
    """The words of ``a`` that may have a one in common with a word of ``b``."""
    possible = _possible_bits(b)
    if possible == 0:
        return bounds.empty(half)
    parts = []
    for lo, hi in bounds.pieces(a, half):
        if lo & possible == 0:
            lo = _next_with(lo, possible)
        if hi & possible == 0:
            hi = _previous_with(hi, possible)
        if lo <= hi:
            parts.append((lo, hi))
    return _hull(parts, half)


def _possible_bits(a: Bounds) -> int:
    """The bits that are ones in some word of ``a``, by what its words have in common."""
    value, mask = bounds.common_bits(a)
    return value | mask


def _next_with(x: int, possible: int) -> int:
    """The least word above ``x`` that has a one in common with ``possible``, which is not 0; ``x`` has none."""
    least = possible & -possible
    return (x | least) & -least


def _previous_with(x: int, possible: int) -> int:
    """The greatest such word below ``x``; negative if there is none."""
    least = possible & -possible
    # Borrow from the lowest one of x above the least possible bit; all below it becomes ones.
    higher = x & ~(least + least - 1)
    borrow = higher & -higher
    return (x & ~(borrow + borrow - 1)) | (borrow - 1) if borrow else -1
