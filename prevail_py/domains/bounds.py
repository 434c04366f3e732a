"""Bounds of a word at one width, unsigned and signed at once: their canonical form, order and known bits.

:data:`Bounds` is the tuple ``(umin, umax, smin, smax)``: the words whose unsigned reading lies in ``umin..umax`` *and*
whose signed reading lies in ``smin..smax``.  The unsigned circle is cut at 0 and the signed one at ``half``, so such a
set is exactly *one interval per sign*::

    0              half-1   half          2*half-1        unsigned reading
    |---[ umin .. smax ]---|---[ smin .. umax ]---|
         non-negative            negative                 (one of the two may be missing)

and each set has exactly one *canonical* tuple, in which every bound is attained.  Every function here takes and
returns canonical tuples, :func:`sync` makes them.  Consequences used throughout: inclusion and join are componentwise
and exact; an operation (:mod:`prevail_py.domains.arithmetic`) is lifted from *pieces*, intervals of one sign, by
joining the results over them, which loses nothing: the best abstraction of a union is the join of the best ones.

``half = 2**(width-1)`` stands for the width in every signature; it is always a Python int.  The empty set is the tuple
of inverted extremes (:func:`empty`), which makes it neutral for :func:`join`; other operations must not be given it.

The functions are on the verifier's hot path, hence tuples instead of records.  They use integer arithmetic,
comparisons and (in :func:`smear` only) ``bit_length``, so that they can also be run on symbolic integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = [
    "Bounds",
    "Piece",
    "common_bits",
    "common_prefix",
    "constant",
    "empty",
    "from_signed",
    "from_unsigned",
    "join",
    "leq",
    "meet",
    "narrow",
    "next_member",
    "pieces",
    "previous_member",
    "restrict_bits",
    "smear",
    "sync",
    "top",
    "widen",
    "without",
    "wrap",
]

Bounds: TypeAlias = tuple[int, int, int, int]
Piece: TypeAlias = tuple[int, int]


# Construction -----------------------------------------------------------------------------------------------------


def top(half: int) -> Bounds:
    """Every word."""
    return (0, half + half - 1, -half, half - 1)


def empty(half: int) -> Bounds:
    """No word: the neutral element of :func:`join`."""
    return (half + half - 1, 0, half - 1, -half)


def constant(value: int, half: int) -> Bounds:
    """The one word ``value`` (unsigned reading)."""
    if value < half:
        return (value, value, value, value)
    return (value, value, value - half - half, value - half - half)


def sync(umin: int, umax: int, smin: int, smax: int, half: int) -> Bounds:
    """The canonical tuple of four bounds that are in range but need not agree; :func:`empty` where nothing is left."""
    size = half + half
    # Non-negative words: smax < half keeps high below half.  Negative ones: smin >= -half keeps low_ at half or above.
    low, high = (umin if umin >= smin else smin), (umax if umax <= smax else smax)
    low_, high_ = (umin if umin >= smin + size else smin + size), (umax if umax <= smax + size else smax + size)
    if low <= high:
        if low_ <= high_:
            return (low, high_, low_ - size, high)
        return (low, high, low, high)
    if low_ <= high_:
        return (low_, high_, low_ - size, high_ - size)
    return (size - 1, 0, half - 1, -half)


def from_unsigned(lo: int, hi: int, half: int) -> Bounds:
    """The words ``lo..hi`` by unsigned reading, ``0 <= lo <= hi < 2 * half``."""
    if hi < half:
        return (lo, hi, lo, hi)
    if lo >= half:
        return (lo, hi, lo - half - half, hi - half - half)
    return (lo, hi, -half, half - 1)


def from_signed(lo: int, hi: int, half: int) -> Bounds:
    """The words ``lo..hi`` by signed reading, ``-half <= lo <= hi < half``."""
    if lo >= 0:
        return (lo, hi, lo, hi)
    if hi < 0:
        return (lo + half + half, hi + half + half, lo, hi)
    return (0, half + half - 1, lo, hi)


def wrap(lo: int, hi: int, half: int) -> Bounds:
    """The hull of the integers ``lo..hi`` taken modulo ``2 * half``; any ``lo <= hi``."""
    last = half + half - 1
    if hi - lo >= last:
        return (0, last, -half, half - 1)
    lo &= last
    hi &= last
    if lo <= hi:
        return from_unsigned(lo, hi, half)
    if hi < half <= lo:  # the arc passes through 0 but not through half: an interval of signed readings
        return (0, last, lo - last - 1, hi)
    return (0, last, -half, half - 1)


def pieces(a: Bounds, half: int) -> tuple[Piece, ...]:
    """The one or two intervals of one sign each, by unsigned reading, non-negative first."""
    umin, umax, smin, smax = a
    if umax < half or umin >= half:
        return ((umin, umax),)
    return ((umin, smax), (smin + half + half, umax))


# Order ------------------------------------------------------------------------------------------------------------


def leq(a: Bounds, b: Bounds) -> bool:
    """Inclusion (exact, for ``a`` is canonical)."""
    return a[0] >= b[0] and a[1] <= b[1] and a[2] >= b[2] and a[3] <= b[3]


def join(a: Bounds, b: Bounds) -> Bounds:
    """The least bounds of the union; componentwise because the result's pieces are the hulls of the pieces."""
    if a == b:
        return a
    umin, umax, smin, smax = a
    umin_, umax_, smin_, smax_ = b
    return (
        umin if umin <= umin_ else umin_,
        umax if umax >= umax_ else umax_,
        smin if smin <= smin_ else smin_,
        smax if smax >= smax_ else smax_,
    )


def meet(a: Bounds, b: Bounds, half: int) -> Bounds:
    """The intersection, exactly."""
    if a == b:
        return a
    umin, umax, smin, smax = a
    umin_, umax_, smin_, smax_ = b
    return sync(
        umin if umin >= umin_ else umin_,
        umax if umax <= umax_ else umax_,
        smin if smin >= smin_ else smin_,
        smax if smax <= smax_ else smax_,
        half,
    )


def _below(value: int, thresholds: Sequence[int], default: int) -> int:
    """The largest threshold that is at most ``value``."""
    return max((t for t in thresholds if t <= value), default=default)


def _above(value: int, thresholds: Sequence[int], default: int) -> int:
    """The smallest threshold that is at least ``value``."""
    return min((t for t in thresholds if t >= value), default=default)


def widen(a: Bounds, b: Bounds, thresholds: Sequence[int], half: int) -> Bounds:
    """An upper bound of both in which a bound of ``a`` that ``b`` exceeds jumps to a threshold or its extreme.

    ``thresholds`` are unsigned words of any width; they are read at this one, and as signed words for signed bounds.
    """
    last = half + half - 1
    unsigned = [t & last for t in thresholds]
    signed = [t - last - 1 if t >= half else t for t in unsigned]
    return sync(
        a[0] if b[0] >= a[0] else _below(b[0], unsigned, 0),
        a[1] if b[1] <= a[1] else _above(b[1], unsigned, last),
        a[2] if b[2] >= a[2] else _below(b[2], signed, -half),
        a[3] if b[3] <= a[3] else _above(b[3], signed, half - 1),
        half,
    )


def narrow(a: Bounds, b: Bounds, half: int) -> Bounds:
    """``a`` with those of its bounds that are extremes (of either sign) met with those of ``b``."""
    extremes = (0, half + half - 1, half - 1, half, -half, -1)
    return sync(
        max(a[0], b[0]) if a[0] in extremes else a[0],
        min(a[1], b[1]) if a[1] in extremes else a[1],
        max(a[2], b[2]) if a[2] in extremes else a[2],
        min(a[3], b[3]) if a[3] in extremes else a[3],
        half,
    )


def without(a: Bounds, value: int, half: int) -> Bounds:
    """``a`` without the word ``value`` where that is the end of a piece; else ``a`` itself."""
    umin, umax, smin, smax = a
    signed = value - half - half if value >= half else value
    if value != umin and value != umax and signed != smin and signed != smax:
        return a
    result = empty(half)
    for lo, hi in pieces(a, half):
        if lo == value:
            lo += 1
        if hi == value:
            hi -= 1
        if lo <= hi:
            result = join(result, from_unsigned(lo, hi, half))
    return result


# Known bits -------------------------------------------------------------------------------------------------------


def smear(x: int) -> int:
    """The ones from the highest set bit of ``x >= 0`` downwards: the least ``2**k - 1 >= x``."""
    return (1 << x.bit_length()) - 1


def common_prefix(lo: int, hi: int) -> tuple[int, int]:
    """The bits on which all words of ``lo..hi`` agree, as ``(value, mask)`` with the unknown bits set in ``mask``."""
    mask = smear(lo ^ hi)
    return lo & ~mask, mask


def common_bits(a: Bounds) -> tuple[int, int]:
    """:func:`common_prefix` of all words of ``a``."""
    return common_prefix(a[0], a[1])  # with words of both signs these differ in the sign bit


def next_member(x: int, value: int, mask: int, last: int) -> int:
    """The least ``y >= x`` that agrees with ``value`` outside ``mask``; more than ``last = 2**width - 1`` if none."""
    wrong = (x ^ value) & ~mask & last
    if wrong == 0:
        return x
    through = smear(wrong)
    highest = through - (through >> 1)
    if value & highest:  # x is too small at that bit: raise it, and all below it is as small as can be
        return (x & ~through) | highest | (value & through)
    # x is too large there: carry into the lowest unknown zero bit above
    carry = ~x & mask & ~through
    carry &= -carry
    if carry == 0:
        return last + 1
    return (x & ~(carry + carry - 1)) | carry | (value & (carry - 1))


def previous_member(x: int, value: int, mask: int, last: int) -> int:
    """The greatest ``y <= x`` that agrees with ``value`` outside ``mask``; negative if there is none."""
    return last - next_member(last - x, last & ~value & ~mask, mask, last)


def restrict_bits(a: Bounds, value: int, mask: int, half: int) -> Bounds:
    """The least bounds of the words of ``a`` with ``value`` outside ``mask``; ``a`` itself if that is no news."""
    umin, umax, smin, smax = a
    last = half + half - 1
    if ((umin ^ value) | (umax ^ value) | (smin ^ value) | (smax ^ value)) & ~mask & last == 0:
        return a
    result = empty(half)
    for lo, hi in pieces(a, half):
        lo, hi = next_member(lo, value, mask, last), previous_member(hi, value, mask, last)
        if lo <= hi:
            result = join(result, from_unsigned(lo, hi, half))
    return result
