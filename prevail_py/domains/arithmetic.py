"""Arithmetic on :data:`~prevail_py.domains.bounds.Bounds`: what operations do to words between bounds, at one width.

An operation is written for *pieces*, intervals of one sign given by their unsigned ends, and lifted by joining the
results over all pairs of pieces (at most four).  Where the result for pieces is the best, so is the lifted one.
"""

from __future__ import annotations

from collections.abc import Callable

from prevail_py.domains.bounds import (
    Bounds,
    Piece,
    empty,
    from_signed,
    from_unsigned,
    join,
    pieces,
    smear,
    top,
    wrap,
)  # fmt: skip

__all__ = [
    "add",
    "arsh",
    "bit_and",
    "bit_or",
    "bit_xor",
    "lsh",
    "mul",
    "neg",
    "rsh",
    "sdiv",
    "shift_amounts",
    "smod",
    "sub",
    "udiv",
    "umod",
]


def _lift(f: Callable[[int, int, int, int, int], Bounds], a: Bounds, b: Bounds, half: int) -> Bounds:
    """Join of ``f(alo, ahi, blo, bhi, half)`` over the pieces of ``a`` and ``b``: at most four."""
    result: Bounds | None = None
    bs = pieces(b, half)
    for alo, ahi in pieces(a, half):
        for blo, bhi in bs:
            one = f(alo, ahi, blo, bhi, half)
            result = one if result is None else join(result, one)
    assert result is not None
    return result


def add(a: Bounds, b: Bounds, half: int) -> Bounds:
    """``a + b``; the best bounds."""
    umin, umax, smin, smax = a
    umin_, umax_, smin_, smax_ = b
    if umin == smin:  # not negative, so its readings agree
        if umin_ == smin_:
            hi = umax + umax_
            if hi < half:
                lo = umin + umin_
                return (lo, hi, lo, hi)
            return from_unsigned(umin + umin_, hi, half)
        if smax_ < 0:
            return from_signed(umin + smin_, umax + smax_, half)
    elif smax < 0 and umin_ == smin_:
        return from_signed(smin + umin_, smax + umax_, half)
    everything = (0, half + half - 1, -half, half - 1)
    if everything in (a, b):
        return everything
    return _lift(_add, a, b, half)


def _add(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return wrap(alo + blo, ahi + bhi, half)


def sub(a: Bounds, b: Bounds, half: int) -> Bounds:
    """``a - b``; the best bounds."""
    umin, umax, smin, smax = a
    umin_, umax_, smin_, smax_ = b
    if (umin == smin and umin_ == smin_) or (smax < 0 and smax_ < 0):  # of one sign: no overflow
        return from_signed(umin - umax_, umax - umin_, half)
    everything = (0, half + half - 1, -half, half - 1)
    if everything in (a, b):
        return everything
    return _lift(_sub, a, b, half)


def _sub(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return wrap(alo - bhi, ahi - blo, half)


def neg(a: Bounds, half: int) -> Bounds:
    """``-a``; the best bounds."""
    return sub((0, 0, 0, 0), a, half)


def mul(a: Bounds, b: Bounds, half: int) -> Bounds:
    """``a * b``; the best bounds where no product overflows, or where all do by the same multiple."""
    umin, umax, smin, _ = a
    umin_, umax_, smin_, _ = b
    if umin == smin and umin_ == smin_ and umax * umax_ < half:
        lo, hi = umin * umin_, umax * umax_
        return (lo, hi, lo, hi)
    return _lift(_mul, a, b, half)


def _mul(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    # Signed readings: they give the narrowest range of products, and the product is the same modulo 2**width.
    if alo >= half:
        alo, ahi = alo - half - half, ahi - half - half
        if blo >= half:
            return wrap(ahi * (bhi - half - half), alo * (blo - half - half), half)
        return wrap(alo * bhi, ahi * blo, half)
    if blo >= half:
        return wrap(ahi * (blo - half - half), alo * (bhi - half - half), half)
    return wrap(alo * blo, ahi * bhi, half)


def udiv(a: Bounds, b: Bounds, half: int) -> Bounds:
    """Unsigned ``a / b``, 0 where ``b`` is 0; the best bounds."""
    return _lift(_udiv, a, b, half)


def _udiv(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    if blo == 0:
        zero = (0, 0, 0, 0)
        return zero if bhi == 0 else join(zero, _udiv(alo, ahi, 1, bhi, half))
    if blo == 1 and alo >= half:  # dividing by 1 keeps the sign bit, dividing by more clears it
        same = from_unsigned(alo, ahi, half)
        return same if bhi == 1 else join(same, _udiv(alo, ahi, 2, bhi, half))
    return from_unsigned(alo // bhi, ahi // blo, half)


def umod(a: Bounds, b: Bounds, half: int) -> Bounds:
    """Unsigned ``a % b``, ``a`` where ``b`` is 0; the best bounds for a constant ``b`` or quotient."""
    return _lift(_umod, a, b, half)


def _umod(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    if blo == 0:
        same = from_unsigned(alo, ahi, half)
        return same if bhi == 0 else join(same, _umod(alo, ahi, 1, bhi, half))
    lo, hi = _remainder(alo, ahi, blo, bhi)
    return from_unsigned(lo, hi, half)


def _remainder(alo: int, ahi: int, blo: int, bhi: int) -> Piece:
    """Bounds of ``a % b`` for integers ``0 <= alo <= a <= ahi`` and ``1 <= blo <= b <= bhi``."""
    quotient = alo // bhi
    if quotient == ahi // blo:  # the same quotient for all pairs
        return alo - quotient * bhi, ahi - quotient * blo
    return 0, (ahi if ahi < bhi - 1 else bhi - 1)


def sdiv(a: Bounds, b: Bounds, half: int) -> Bounds:
    """Signed ``a / b`` towards zero, 0 where ``b`` is 0, MIN for MIN / -1; the best bounds."""
    return _lift(_sdiv, a, b, half)


def _sdiv(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    size = half + half
    if blo == 0:
        zero = (0, 0, 0, 0)
        return zero if bhi == 0 else join(zero, _sdiv(alo, ahi, 1, bhi, half))
    # Divide magnitudes; the quotient of MIN by -1 is half, which wraps to MIN.
    negative = (alo >= half) != (blo >= half)
    if alo >= half:
        alo, ahi = size - ahi, size - alo
    if blo >= half:
        blo, bhi = size - bhi, size - blo
    lo, hi = alo // bhi, ahi // blo
    return wrap(-hi, -lo, half) if negative else wrap(lo, hi, half)


def smod(a: Bounds, b: Bounds, half: int) -> Bounds:
    """Signed ``a % b`` with the sign of ``a``, ``a`` where ``b`` is 0; as precise as :func:`umod`."""
    return _lift(_smod, a, b, half)


def _smod(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    size = half + half
    if blo == 0:
        same = from_unsigned(alo, ahi, half)
        return same if bhi == 0 else join(same, _smod(alo, ahi, 1, bhi, half))
    if blo >= half:
        blo, bhi = size - bhi, size - blo
    if alo < half:
        lo, hi = _remainder(alo, ahi, blo, bhi)
        return wrap(lo, hi, half)
    lo, hi = _remainder(size - ahi, size - alo, blo, bhi)
    return wrap(-hi, -lo, half)


# Bitwise operations: the extremes over two intervals, after Warren, "Hacker's Delight" (2nd ed., section 4-3).  His
# loops look, from the top, for the first bit at which an end can be moved to free all bits below it; a bit can be moved
# iff it is not above the highest bit in which the interval's ends differ.  That makes the loops one mask and one smear.


def _min_or(a: int, b: int, c: int, d: int) -> int:
    """The least ``x | y`` for ``a <= x <= b``, ``c <= y <= d``."""
    x_moves = ~a & c & smear(a ^ b)  # raise x to share a bit that y has anyway, and clear x below it
    y_moves = a & ~c & smear(c ^ d)
    through = smear(x_moves | y_moves)
    highest = through - (through >> 1)
    if x_moves & highest:
        return (a & ~through) | c
    return a | (c & ~through)


def _max_or(a: int, b: int, c: int, d: int) -> int:
    """The greatest ``x | y``: lower one of two equal bits, and set all below it."""
    return b | d | (smear(b & d & (smear(a ^ b) | smear(c ^ d))) >> 1)


def _min_xor(a: int, b: int, c: int, d: int) -> int:
    """The least ``x ^ y`` for ``a <= x <= b``, ``c <= y <= d``.

    At the highest bit k in which either interval's ends differ: if both do, x and y can be equal from there on.  If
    only x's do, x takes y's bit and is then free on one side: x >= a below k where that bit is 0, x <= b where it
    is 1.  Against y <= d (or y >= c) the result follows a ^ d (or b ^ c) down to the first bit where d exceeds a (b
    exceeds c), from where on x and y can be equal.
    """
    x_free, y_free = smear(a ^ b), smear(c ^ d)
    if x_free == y_free:
        return (a ^ c) & ~x_free
    if x_free < y_free:
        a, b, c, d, x_free = c, d, a, b, y_free
    below_k = x_free >> 1
    if c & (x_free - below_k):
        return (b ^ c) & ~smear(b & ~c & below_k)
    return (a ^ d) & ~smear(d & ~a & below_k)


def bit_and(a: Bounds, b: Bounds, half: int) -> Bounds:
    """``a & b``; the best bounds."""
    if a[0] == a[2]:
        if b[0] == b[2]:  # neither is negative
            return _and(a[0], a[1], b[0], b[1], half)
        a, b = b, a
    if b[0] == b[2] and a[0] == 0 and a[3] == half - 1:  # every non-negative word and more, with a mask
        return (0, b[1], 0, b[1])
    return _lift(_and, a, b, half)


def _and(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    # x & y = ~(~x | ~y), with _max_or and _min_or of the complements written out
    free, free_ = smear(alo ^ ahi), smear(blo ^ bhi)
    lo = alo & blo & ~(smear(~alo & ~blo & (free | free_)) >> 1)
    x_moves = ahi & ~bhi & free
    through = smear(x_moves | (bhi & ~ahi & free_))
    if x_moves & (through - (through >> 1)):
        hi = (ahi | through) & bhi
    else:
        hi = ahi & (bhi | through)
    return from_unsigned(lo, hi, half)


def bit_or(a: Bounds, b: Bounds, half: int) -> Bounds:
    """``a | b``; the best bounds."""
    if a[0] == a[2] and b[0] == b[2]:
        return _or(a[0], a[1], b[0], b[1], half)
    everything = (0, half + half - 1, -half, half - 1)
    if a == everything and b[0] == b[2]:
        return (b[0], half + half - 1, b[0] - half, half - 1)
    if b == everything and a[0] == a[2]:
        return (a[0], half + half - 1, a[0] - half, half - 1)
    return _lift(_or, a, b, half)


def _or(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return from_unsigned(_min_or(alo, ahi, blo, bhi), _max_or(alo, ahi, blo, bhi), half)


def bit_xor(a: Bounds, b: Bounds, half: int) -> Bounds:
    """``a ^ b``; the best bounds."""
    if a[0] == a[2] and b[0] == b[2]:
        return _xor(a[0], a[1], b[0], b[1], half)
    everything = (0, half + half - 1, -half, half - 1)
    if everything in (a, b):
        return everything
    return _lift(_xor, a, b, half)


def _xor(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    last = half + half - 1  # x ^ y = ~(x ^ ~y)
    lo = _min_xor(alo, ahi, blo, bhi)
    hi = last - _min_xor(alo, ahi, last - bhi, last - blo)
    return from_unsigned(lo, hi, half)


# Shifts take the inclusive range ``s0 <= s1 < width`` of shift amounts, already reduced modulo the width.


def lsh(a: Bounds, s0: int, s1: int, half: int) -> Bounds:
    """``a << s``; the best bounds for a constant amount, or where nothing is shifted out."""
    umin, umax, smin, smax = a
    if umin == smin and umax << s1 < half:
        lo, hi = umin << s0, umax << s1
        return (lo, hi, lo, hi)
    # All results are multiples of 2**s0: what by, is a word of s0 bits less.
    umin, umax, smin, smax = _low_bits(a, s1 - s0, half, half >> s0)
    return (umin << s0, umax << s0, smin << s0, smax << s0)


def _low_bits(a: Bounds, more: int, half: int, to_half: int) -> Bounds:
    """Bounds of the low bits (of the size that ``to_half`` stands for) of ``x << s``, ``0 <= s <= more``."""
    result = empty(to_half)
    for lo, hi in pieces(a, half):
        if more == 0:
            one = wrap(lo, hi, to_half)
        elif lo >= half:
            lo, hi = (lo - half - half) << more, hi - half - half
            one = wrap(lo, hi, to_half) if lo >= -to_half else top(to_half)
        else:
            hi <<= more
            one = wrap(lo, hi, to_half) if hi < to_half + to_half else top(to_half)
        result = join(result, one)
    return result


def rsh(a: Bounds, s0: int, s1: int, half: int) -> Bounds:
    """``a >> s`` (logical); the best bounds for an exact range of amounts."""
    umin, umax, smin, _ = a
    if umin == smin:
        lo, hi = umin >> s1, umax >> s0
        return (lo, hi, lo, hi)
    result = empty(half)
    for lo, hi in pieces(a, half):
        if lo >= half and s0 == 0:  # shifting by 0 keeps the sign bit, shifting by more clears it
            result = join(result, from_unsigned(lo, hi, half))
            if s1:
                result = join(result, from_unsigned(lo >> s1, hi >> 1, half))
        else:
            result = join(result, from_unsigned(lo >> s1, hi >> s0, half))
    return result


def arsh(a: Bounds, s0: int, s1: int, half: int) -> Bounds:
    """``a >> s`` (arithmetic); the best bounds for an exact range of amounts."""
    umin, umax, smin, _ = a
    if umin == smin:
        lo, hi = umin >> s1, umax >> s0
        return (lo, hi, lo, hi)
    size = half + half
    result = empty(half)
    for lo, hi in pieces(a, half):
        if lo >= half:
            result = join(result, from_signed((lo - size) >> s0, (hi - size) >> s1, half))
        else:
            result = join(result, from_signed(lo >> s1, hi >> s0, half))
    return result


def shift_amounts(b: Bounds, half: int, width: int) -> tuple[int, int]:
    """The least and greatest of ``b & (width - 1)``; exact if ``width`` is a power of two or ``b`` a constant."""
    if b[0] == b[1]:
        return b[0] & (width - 1), b[0] & (width - 1)
    s0, s1 = width - 1, 0
    for lo, hi in pieces(b, half):
        first, last = lo & (width - 1), hi & (width - 1)
        if lo != hi and (hi - lo >= width or first > last or width & (width - 1)):
            return 0, width - 1
        s0, s1 = min(s0, first), max(s1, last)
    return s0, s1
