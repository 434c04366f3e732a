"""Known bits of a word, and every operation on them: what tnums know.

A pair ``(value, mask)`` stands for the words ``x`` with ``x & ~mask == value``: bits set in ``mask`` are unknown, and
``value`` has zeros there.  Every set of words of this form has one such pair.

Addition, subtraction and multiplication are the algorithms of Vishwanathan, Shachnai, Narayana and Nagarakatte, "Sound,
Precise, and Fast Abstract Interpretation with Tristate Numbers" (CGO 2022); the first two give the best result.  So
do all bitwise operations, shifts, extensions and byte swaps.

The functions of one operation take and return pairs of ``width`` bits.  Where no word is left the result is
:data:`IMPOSSIBLE`, or any pair that has a bit set in both.  Only integer arithmetic, comparisons and ``bit_length`` are
applied to values and masks; loops run at most ``width`` times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from prevail_py.domains.bounds import common_prefix, next_member, previous_member, smear
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["IMPOSSIBLE", "Bits", "apply", "backward", "meet_low", "restrict", "widen"]

Bits: TypeAlias = tuple[int, int]

IMPOSSIBLE: Final[Bits] = (1, 1)
"""No word."""


def apply(op: WordOp, value: int, mask: int, value_: int, mask_: int) -> Bits:
    """``op`` on two words of any width (unary operations ignore the second); zero-extended."""
    width = op.width
    last = (1 << width) - 1
    binary = _BINARY.get(op.kind._value_)
    if binary is not None:
        return binary(value & last, mask & last, value_ & last, mask_ & last, width)
    return _unary(op.kind._value_, value & last, mask & last, width, op.source)


def meet_low(value: int, mask: int, low: Bits, width: int) -> Bits:
    """A word of which the low ``width`` bits are also as in ``low``."""
    last = (1 << width) - 1
    lv, lm = low
    if lv & lm or (value ^ lv) & last & ~(mask | lm):
        return IMPOSSIBLE
    return value | lv, mask & (lm | ~last)


def widen(value: int, mask: int, value_: int, mask_: int, last: int) -> Bits:
    """The join, and with the lowest bit that becomes unknown in it all bits above are forgotten.

    Thus a growing counter does not go through one power of two after the other, and what is known of the bits below
    (an alignment, say) is kept.  The bits above can become known again only by something else, such as bounds.
    At most ``width`` steps of a chain change the word, for each makes a lower bit unknown than those before.
    """
    joined = mask | mask_ | (value ^ value_)
    new = joined & ~mask
    joined |= last & -(new & -new)
    return value & ~joined, joined


# Operations ------------------------------------------------------------------------------------------------------


def _add(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    """Bits are unknown where an argument's are, or where the carries of the least and the greatest sum differ."""
    least = av + bv
    mask = (((least + am + bm) ^ least) | am | bm) & ((1 << width) - 1)
    return least & ~mask & ((1 << width) - 1), mask


def _sub(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    """Likewise with borrows: the greatest difference against the least one."""
    difference = av - bv
    mask = (((difference + am) ^ (difference - bm)) | am | bm) & ((1 << width) - 1)
    return difference & ~mask & ((1 << width) - 1), mask


def _mul(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    """The product of the values, plus the sum of what the unknown bits of either may add to it."""
    last = (1 << width) - 1
    value = av * bv & last
    if am | bm == 0:
        return value, 0
    if bm == 0:  # by a constant: go through its bits
        av, am, bv, bm = bv, bm, av, am
    unknown = 0  # the sum of the masks below, as a tnum (0, unknown)
    for _ in range(width):
        if av | am == 0:
            break
        if am & 1:
            more = bv | bm
            unknown = (unknown + more) | unknown | more
        elif av & 1:
            unknown = (unknown + bm) | unknown | bm
        unknown &= last
        av, am, bv, bm = av >> 1, am >> 1, bv << 1 & last, bm << 1 & last
    return _add(value, 0, 0, unknown, width)


def _and(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    value = av & bv
    return value, (av | am) & (bv | bm) & ~value


def _or(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    value = av | bv
    return value, (am | bm) & ~value


def _xor(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    mask = am | bm
    return (av ^ bv) & ~mask, mask


def _is_power(x: int) -> bool:
    return x & (x - 1) == 0


def _udiv(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    if bm == 0:
        if bv == 0:
            return 0, 0
        if am == 0:
            return av // bv, 0
        if _is_power(bv):
            shift = (bv - 1).bit_length()
            return av >> shift, am >> shift
    least = (av // (bv | bm)) if bv else 0
    greatest = (av | am) // (bv if bv else 1)
    return common_prefix(least, greatest)


def _umod(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    if bm == 0:
        if bv == 0:
            return av, am
        if am == 0:
            return av % bv, 0
        if _is_power(bv):
            return av & (bv - 1), am & (bv - 1)
    if av | am < bv:
        return av, am
    # The low bits that divide every possible divisor are kept: a - q*b agrees with a on b's known trailing zeros.
    possible = bv | bm
    trailing = (possible & -possible) - 1
    bound = smear(av | am if bv == 0 or av | am < possible - 1 else possible - 1)
    return av & trailing & bound, (am | ~trailing) & bound


def _sdiv(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    sign = 1 << (width - 1)
    if (av | am | bv | bm) & sign == 0:
        return _udiv(av, am, bv, bm, width)
    last = sign + sign - 1
    if am | bm == 0:
        if bv == 0:
            return 0, 0
        a, b = (last + 1 - av if av & sign else av), (last + 1 - bv if bv & sign else bv)
        return (-(a // b) if (av ^ bv) & sign else a // b) & last, 0
    if bm == 0 and bv == 0:
        return 0, 0
    if bm == 0 and bv == 1:
        return av, am
    if bm == 0 and bv == last:
        return _sub(0, 0, av, am, width)
    return 0, last


def _smod(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    sign = 1 << (width - 1)
    last = sign + sign - 1
    if bm == 0 and bv & sign:  # the sign of the divisor does not matter
        bv = (last + 1 - bv) & last
    if (av | am | bv | bm) & sign == 0 or (bm == 0 and bv == 0):
        return _umod(av, am, bv, bm, width)
    if am | bm == 0:
        a = last + 1 - av if av & sign else av
        return (-(a % bv) if av & sign else a % bv) & last, 0
    # As for umod: a - q*b agrees with a on b's known trailing zeros.
    possible = bv | bm
    trailing = (possible & -possible) - 1
    return av & trailing, (am | ~trailing) & last


def _shifted(kind: str, av: int, am: int, amount: int, width: int) -> Bits:
    last = (1 << width) - 1
    if kind == "lsh":
        return av << amount & last, am << amount & last
    if kind == "rsh":
        return av >> amount, am >> amount
    sign = 1 << (width - 1)  # sign-extend both: an unknown sign bit is copied as unknown
    return ((av ^ sign) - sign) >> amount & last, ((am ^ sign) - sign) >> amount & last


def _shift(kind: str, av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    """The join over all possible amounts: those of the known bits, plus any of the unknown ones.

    One unknown bit of the amount after the other, the word is joined with itself shifted by that much more.  This is
    exact, since a shift moves or copies single bits, and so does to a join what it does to its parts.
    """
    unknown = bm & (width - 1)
    value, mask = _shifted(kind, av, am, bv & (width - 1), width)
    more = 1
    while more < width:
        if unknown & more:
            v, m = _shifted(kind, value, mask, more, width)
            mask |= m | (v ^ value)
            value &= ~mask
        more += more
    return value, mask


def _lsh(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    return _shift("lsh", av, am, bv, bm, width)


def _rsh(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    return _shift("rsh", av, am, bv, bm, width)


def _arsh(av: int, am: int, bv: int, bm: int, width: int) -> Bits:
    return _shift("arsh", av, am, bv, bm, width)


_BINARY: Final[dict[str, Callable[[int, int, int, int, int], Bits]]] = {
    OpKind.ADD.value: _add,
    OpKind.SUB.value: _sub,
    OpKind.MUL.value: _mul,
    OpKind.UDIV.value: _udiv,
    OpKind.UMOD.value: _umod,
    OpKind.SDIV.value: _sdiv,
    OpKind.SMOD.value: _smod,
    OpKind.AND.value: _and,
    OpKind.OR.value: _or,
    OpKind.XOR.value: _xor,
    OpKind.LSH.value: _lsh,
    OpKind.RSH.value: _rsh,
    OpKind.ARSH.value: _arsh,
}


def _byte_swap(x: int, width: int) -> int:
    result = 0
    for shift in range(0, width, 8):
        result = (result << 8) | ((x >> shift) & 0xFF)
    return result


def _sign_extended(x: int, source: int, width: int) -> int:
    sign = 1 << (source - 1)
    return (((x & (sign + sign - 1)) ^ sign) - sign) & ((1 << width) - 1)


def _unary(kind: str, av: int, am: int, width: int, source: int) -> Bits:
    match kind:
        case "neg":
            return _sub(0, 0, av, am, width)
        case "zext":
            return av, am
        case "sext":
            return _sign_extended(av, source, width), _sign_extended(am, source, width)
        case "bswap":
            return _byte_swap(av, width), _byte_swap(am, width)
        case _:
            raise AssertionError(kind)


# Backwards --------------------------------------------------------------------------------------------------------


def backward(op: WordOp, out: Bits, a: Bits, b: Bits) -> tuple[Bits, Bits]:
    """Words ``a`` and ``b`` (unary operations leave that alone) narrowed to where ``op(a, b)`` lies in ``out``."""
    width = op.width
    last = (1 << width) - 1
    ov, om = out
    if ov & ~last:  # a result of fewer bits is zero-extended
        return IMPOSSIBLE, IMPOSSIBLE
    om &= last
    av, am, bv, bm = a[0] & last, a[1] & last, b[0] & last, b[1] & last
    if op.kind.arity == 1:
        return meet_low(*a, _backward_unary(op, ov, om), width), b
    x: Bits
    y: Bits
    match op.kind._value_:
        case "add":
            x, y = _sub(ov, om, bv, bm, width), _sub(ov, om, av, am, width)
        case "sub":
            x, y = _add(ov, om, bv, bm, width), _sub(av, am, ov, om, width)
        case "xor":
            x, y = _xor(ov, om, bv, bm, width), _xor(ov, om, av, am, width)
        case "and":  # a one of the result is one in both; a zero beside a one is a zero
            x, y = _factor(ov, om, bv, last), _factor(ov, om, av, last)
        case "or":  # dually
            x, y = _summand(ov, om, bv, bm, last), _summand(ov, om, av, am, last)
        case "lsh" | "rsh" | "arsh" if bm & (width - 1) == 0:
            return meet_low(*a, _unshift(op.kind._value_, ov, om, bv & (width - 1), width), width), b
        case _:
            return a, b
    return meet_low(*a, x, width), meet_low(*b, y, width)


def _backward_unary(op: WordOp, ov: int, om: int) -> Bits:
    """What the low ``op.width`` bits of the argument must be."""
    width = op.width
    last = (1 << width) - 1
    match op.kind._value_:
        case "neg":
            return _sub(0, 0, ov, om, width)
        case "zext":
            return ov, om
        case "bswap":
            return _byte_swap(ov, width), _byte_swap(om, width)
        case "sext":  # the copies of the sign bit must agree
            low = (1 << op.source) - 1
            copies = last & ~(low >> 1)
            if ov & copies and ~(ov | om) & copies:
                return IMPOSSIBLE
            value, mask = ov & low, om & low
            sign = low - (low >> 1)
            if ov & copies:
                value, mask = value | sign, mask & ~sign
            elif ~(ov | om) & copies:
                mask &= ~sign
            return value, mask | (last & ~low)
        case _:
            raise AssertionError(op)


def _factor(ov: int, om: int, bv: int, last: int) -> Bits:
    """Bits of a, given those of a & b and the known ones of b."""
    zeros = bv & ~(ov | om)
    return ov, last & ~ov & ~zeros


def _summand(ov: int, om: int, bv: int, bm: int, last: int) -> Bits:
    """Bits of a, given those of a | b and of b."""
    zeros = last & ~(ov | om)
    ones = ov & ~(bv | bm)
    return ones, last & ~zeros & ~ones


def _unshift(kind: str, ov: int, om: int, amount: int, width: int) -> Bits:
    """Bits of a, given those of a shifted by ``amount``."""
    last = (1 << width) - 1
    lost = (1 << amount) - 1
    if kind == "lsh":
        if ov & lost:
            return IMPOSSIBLE
        return ov >> amount, (om >> amount) | (last & ~(last >> amount))
    high = last & ~(last >> amount)
    if kind == "rsh":
        if ov & high:
            return IMPOSSIBLE
        return ov << amount & last, (om << amount | lost) & last
    value, mask = _backward_unary(WordOp(OpKind.SEXT, width, width - amount), ov, om)
    if value & mask:
        return IMPOSSIBLE
    return value << amount & last, (mask << amount | lost) & last


# Comparisons ------------------------------------------------------------------------------------------------------


def restrict(comparison: Comparison, width: int, a: Bits, b: Bits) -> tuple[Bits, Bits]:
    """Words ``a`` and ``b`` narrowed to where the comparison holds on their low ``width`` bits."""
    last = (1 << width) - 1
    av, am, bv, bm = a[0] & last, a[1] & last, b[0] & last, b[1] & last
    match comparison._value_:
        case "==":
            x, y = (bv, bm), (av, am)
        case "!=":
            x, y = _different(av, am, bv, bm), _different(bv, bm, av, am)
        case "&":
            x, y = _overlapping(av, am, bv | bm), _overlapping(bv, bm, av | am)
        case "!&":
            x, y = (0, last & ~bv), (0, last & ~av)
        case "<":
            x, y = _within(av, am, 0, (bv | bm) - 1, last), _within(bv, bm, av + 1, last, last)
        case "<=":
            x, y = _within(av, am, 0, bv | bm, last), _within(bv, bm, av, last, last)
        case "s<" | "s<=":  # with the sign bit flipped it is the unsigned order
            sign = last - (last >> 1)
            strict = 1 if comparison is Comparison.SLT else 0
            fv, fv_ = (av ^ sign) & ~am, (bv ^ sign) & ~bm
            x = _flipped(_within(fv, am, 0, (fv_ | bm) - strict, last), sign)
            y = _flipped(_within(fv_, bm, fv + strict, last, last), sign)
        case _:
            y, x = restrict(comparison.swapped, width, b, a)
            return x, y
    return meet_low(*a, x, width), meet_low(*b, y, width)


def _flipped(a: Bits, bit: int) -> Bits:
    """``a`` with the one bit of ``bit`` inverted, where it is known."""
    value, mask = a
    return a if value & mask else ((value ^ bit) & ~mask, mask)


def _different(av: int, am: int, bv: int, bm: int) -> Bits:
    """The words of a that are not the constant b (or any word, if b is none)."""
    if bm or (av ^ bv) & ~am or not _is_power(am):
        return av, am
    if am == 0:
        return IMPOSSIBLE
    return av | (~bv & am), 0


def _overlapping(av: int, am: int, possible: int) -> Bits:
    """The words of a that have a one in common with ``possible``."""
    if av & possible:
        return av, am
    candidates = am & possible
    if candidates == 0:
        return IMPOSSIBLE
    return (av | candidates, am & ~candidates) if _is_power(candidates) else (av, am)


def _within(av: int, am: int, lo: int, hi: int, last: int) -> Bits:
    """The words of a of unsigned value ``lo..hi`` (which may be out of range, or inverted)."""
    if lo <= av and av | am <= hi:
        return av, am
    if lo > last or hi < 0:
        return IMPOSSIBLE
    least, greatest = next_member(lo, av, am, last), previous_member(hi, av, am, last)
    if least > greatest:
        return IMPOSSIBLE
    mask = common_prefix(least, greatest)[1] & am
    return least & ~mask, mask
