"""Tristate numbers: words of which some bits are known.

A :class:`Tnum` is a pair ``(value, mask)``: bits set in ``mask`` are unknown, the others are as in ``value``, which has
zeros at the unknown bits.  It stands for the words ``x`` with ``x & ~mask == value``.  **Bottom** is the one pair with
``value`` and ``mask`` both all ones, which no word satisfies.

Addition, subtraction and multiplication are the algorithms of Vishwanathan, Shachnai, Narayana and Nagarakatte, "Sound,
Precise, and Fast Abstract Interpretation with Tristate Numbers" (CGO 2022); the first two are optimal there.  All
bitwise operations, shifts and extensions are optimal too.  Each element has one representation, so equality is
semantic; there are chains of at most ``WIDTH + 2`` elements, so joins serve as widening and meets as narrowing.

For speed this is a plain slotted class; treat instances as immutable and make them with the class methods only.
Method bodies use integer arithmetic and comparisons, so that they can be run on symbolic words; loops run at most
``WIDTH`` times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Self

from prevail_py.domains.bounds import next_member, previous_member, smear
from prevail_py.domains.lattice import Range
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["Tnum"]

Bits = tuple[int, int]


class Tnum:
    """A set of words that agree on their known bits; see the module's text."""

    __slots__ = ("mask", "value")

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32
    LAST: ClassVar[int]
    _sizes: ClassVar[dict[tuple[int, int], Any]] = {}
    _top: ClassVar[Any]
    _bottom: ClassVar[Any]

    value: int
    mask: int

    def __init__(self, value: int, mask: int) -> None:
        """Private: ``value & mask`` must be 0."""
        self.value = value
        self.mask = mask

    @classmethod
    def _configure(cls) -> None:
        cls.LAST = (1 << cls.WIDTH) - 1
        cls._top = cls(0, cls.LAST)
        cls._bottom = cls(cls.LAST, cls.LAST)

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The same domain on words of ``width`` bits with a low half of ``low`` bits."""
        small: Any = cls._sizes.get((width, low))
        if small is None:
            if not 0 < low < width:
                raise ValueError(f"no words of {width} bits with a low half of {low}")
            small = type(cls.__name__, (cls,), {"__slots__": (), "WIDTH": width, "LOW": low, "__doc__": cls.__doc__})
            small._configure()
            cls._sizes[width, low] = small
        return small  # type: ignore[no-any-return]

    # Constructors -------------------------------------------------------------------------------------------------

    @classmethod
    def top(cls) -> Self:
        """Every word."""
        return cls._top  # type: ignore[no-any-return]

    @classmethod
    def bottom(cls) -> Self:
        """No word."""
        return cls._bottom  # type: ignore[no-any-return]

    @classmethod
    def constant(cls, value: int) -> Self:
        """Just ``value``, taken modulo the word size."""
        return cls(value & cls.LAST, 0)

    @classmethod
    def between(cls, lo: int, hi: int) -> Self:
        """The least tnum with all words of unsigned value ``lo..hi``: their common prefix is known."""
        mask = smear(lo ^ hi)
        return cls(lo & ~mask, mask)

    @classmethod
    def of(cls, value: int, mask: int) -> Self:
        """The words that agree with ``value`` outside ``mask``."""
        mask &= cls.LAST
        return cls(value & cls.LAST & ~mask, mask)

    # Queries ------------------------------------------------------------------------------------------------------

    def is_bottom(self) -> bool:
        """Whether there is no word in it."""
        return self.value & self.mask != 0

    def is_top(self) -> bool:
        """Whether every word is in it."""
        return self.mask == self.LAST and self.value == 0

    def bounds(self, width: int = 64, signed: bool = False) -> Range:
        """The least and greatest low ``width`` bits, read as signed or unsigned."""
        last = (1 << width) - 1
        value, mask = self.value, self.mask
        if value & mask:
            return Range(1, 0)
        value, mask = value & last, mask & last
        if not signed:
            return Range(value, value | mask)
        sign = (last + 1) >> 1
        least, greatest = value | (mask & sign), (value | mask) & ~(mask & sign)
        return Range(least - ((least & sign) << 1), greatest - ((greatest & sign) << 1))

    def contains(self, word: int) -> bool:
        """Whether ``word`` is in it."""
        return (word ^ self.value) & ~self.mask & self.LAST == 0 and self.value & self.mask == 0

    # Lattice ------------------------------------------------------------------------------------------------------

    def leq(self, other: Self) -> bool:
        """Inclusion of concretizations."""
        if self.value & self.mask:
            return True
        if other.value & other.mask:
            return False
        return (self.mask | (self.value ^ other.value)) & ~other.mask == 0

    def join(self, other: Self) -> Self:
        """The least tnum above both: bits known, and alike, in both."""
        if self.value & self.mask:
            return other
        if other.value & other.mask:
            return self
        mask = self.mask | other.mask | (self.value ^ other.value)
        return type(self)(self.value & ~mask, mask)

    def meet(self, other: Self) -> Self:
        """The intersection."""
        if other.value & other.mask:
            return other
        return self.meet_bits(other.value, other.mask)

    def meet_bits(self, value: int, mask: int) -> Self:
        """The words of it that agree with ``value`` outside ``mask`` (inside, it must be 0); ``self`` if no news."""
        mine = self.mask
        if (mine | (self.value ^ value)) & ~mask == 0:
            return self
        if (self.value ^ value) & ~(mine | mask) or self.value & mine:
            return self._bottom  # type: ignore[no-any-return]
        return type(self)(self.value | value, mine & mask)

    def widen(self, other: Self, thresholds: Sequence[int] = ()) -> Self:
        """The join: a bit can only become unknown once, so chains have at most ``WIDTH + 2`` elements."""
        return self.join(other)

    def narrow(self, other: Self) -> Self:
        """The meet: descending chains are as short."""
        return self.meet(other)

    # Operations ---------------------------------------------------------------------------------------------------

    def apply(self, op: WordOp, *args: Self) -> Self:
        """``op(self, *args)``; see :meth:`prevail_py.domains.lattice.Word.apply`."""
        width = op.width
        last = (1 << width) - 1
        value, mask = self.value, self.mask
        if value & mask:
            return self
        kind = op.kind._value_
        if args:
            other = args[0]
            if other.value & other.mask:
                return other
            value, mask = _BINARY[kind](value & last, mask & last, other.value & last, other.mask & last, width)
        else:
            value, mask = _unary(kind, value & last, mask & last, width, op.source)
        return type(self)(value, mask)

    def backward(self, op: WordOp, out: Self, *args: Self) -> tuple[Self, ...]:
        """Narrowed ``(self, *args)`` given that ``op(self, *args)`` lies in ``out``."""
        width = op.width
        last = (1 << width) - 1
        nothing = (self._bottom,) * (1 + len(args))
        if self.is_bottom() or out.is_bottom() or (args and args[0].is_bottom()) or out.value & ~last:
            return nothing
        # From here on ``(ov, om)`` is the result at its width; what is known of the bits above says nothing more.
        value, mask, ov, om = self.value & last, self.mask & last, out.value & last, out.mask & last
        if not args:
            first = self._meet_low(_backward_unary(op, ov, om), last)
            return (first,)
        other = args[0]
        bv, bm = other.value & last, other.mask & last
        a: Bits
        b: Bits
        match op.kind._value_:
            case "add":
                a, b = _sub(ov, om, bv, bm, width), _sub(ov, om, value, mask, width)
            case "sub":
                a, b = _add(ov, om, bv, bm, width), _sub(value, mask, ov, om, width)
            case "xor":
                a, b = _xor(ov, om, bv, bm, width), _xor(ov, om, value, mask, width)
            case "and":  # a one of the result is one in both; a zero beside a one is a zero
                a, b = _factor(ov, om, bv, last), _factor(ov, om, value, last)
            case "or":  # dually
                a, b = _summand(ov, om, bv, bm, last), _summand(ov, om, value, mask, last)
            case "lsh" | "rsh" | "arsh" if bm & (width - 1) == 0:
                a, b = _unshift(op.kind._value_, ov, om, bv & (width - 1), width), (bv, bm)
            case _:
                return (self, other)
        first, second = self._meet_low(a, last), other._meet_low(b, last)
        return nothing if first.is_bottom() or second.is_bottom() else (first, second)

    def _meet_low(self, bits: Bits, last: int) -> Self:
        """Met with what is known of the low bits, those in ``last``; bottom for impossible bits."""
        value, mask = bits
        if value & mask:
            return self._bottom  # type: ignore[no-any-return]
        return self.meet_bits(value | (self.value & ~last), mask | (self.mask & ~last))

    def restrict(self, comparison: Comparison, other: Self, width: int = 64) -> tuple[Self, Self]:
        """``(self, other)`` narrowed to where ``self comparison other`` holds on the low ``width`` bits."""
        nothing = self._bottom, self._bottom
        if self.is_bottom() or other.is_bottom():
            return nothing
        last = (1 << width) - 1
        av, am, bv, bm = self.value & last, self.mask & last, other.value & last, other.mask & last
        a, b = (av, am), (bv, bm)
        match comparison._value_:
            case "==":
                a, b = b, a
            case "!=":
                a, b = _different(av, am, bv, bm), _different(bv, bm, av, am)
            case "&":
                a, b = _overlapping(av, am, bv | bm), _overlapping(bv, bm, av | am)
            case "!&":
                a, b = (0, last & ~bv), (0, last & ~av)
            case "<":
                a, b = _within(av, am, 0, (bv | bm) - 1, last), _within(bv, bm, av + 1, last, last)
            case "<=":
                a, b = _within(av, am, 0, bv | bm, last), _within(bv, bm, av, last, last)
            case ">" | ">=" | "s>" | "s>=":
                second, first = other.restrict(comparison.swapped, self, width)
                return first, second
            case _:  # signed: adding half to both sides turns it into the unsigned order, and flips the sign bit
                sign = (last + 1) >> 1
                flipped, flipped_ = (av ^ sign) & ~am, (bv ^ sign) & ~bm
                strict = 1 if comparison is Comparison.SLT else 0
                v, m = _within(flipped, am, 0, (flipped_ | bm) - strict, last)
                v_, m_ = _within(flipped_, bm, flipped + strict, last, last)
                a = (v, m) if v & m else ((v ^ sign) & ~m, m)
                b = (v_, m_) if v_ & m_ else ((v_ ^ sign) & ~m_, m_)
        first, second = self._meet_low(a, last), other._meet_low(b, last)
        return nothing if first.is_bottom() or second.is_bottom() else (first, second)

    # Text ---------------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.value == other.value and self.mask == other.mask

    def __hash__(self) -> int:
        return hash((self.value, self.mask))

    def __repr__(self) -> str:
        name = "Tnum" if self.WIDTH == 64 else f"Tnum.at({self.WIDTH}, {self.LOW})"
        if self.is_bottom():
            return f"{name}.bottom()"
        return f"{name}.of({self.value:#x}, {self.mask:#x})"

    def __str__(self) -> str:
        if self.is_bottom():
            return "bottom"
        if self.is_top():
            return "top"
        if self.mask == 0:
            return str(self.value)
        return f"({self.value:#x}; {self.mask:#x})"


_IMPOSSIBLE: Final[Bits] = (1, 1)


# Operations on (value, mask) pairs of ``width`` bits, in and out ---------------------------------------------------


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
    if am == 0:
        av, am, bv, bm = bv, bm, av, am
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
        av, am, bv, bm = av >> 1, am >> 1, bv << 1, bm << 1
    return _add(value, 0, 0, unknown & last, width)


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
            shift = smear(bv - 1).bit_length()
            return av >> shift, am >> shift
    least = (av // (bv | bm)) if bv else 0
    greatest = (av | am) // (bv if bv else 1)
    mask = smear(least ^ greatest)
    return least & ~mask, mask


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
    """The join over all possible amounts; they are at most ``width``."""
    known, unknown = bv & (width - 1), bm & (width - 1)
    if unknown == 0:
        return _shifted(kind, av, am, known, width)
    value, mask = _shifted(kind, av, am, known, width)
    for amount in range(1, width):
        if (amount ^ known) & ~unknown & (width - 1) == 0 and amount & (width - 1) == amount:
            v, m = _shifted(kind, av, am, amount, width)
            mask |= m | (v ^ value)
            value &= ~mask
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


# Backward --------------------------------------------------------------------------------------------------------


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
                return _IMPOSSIBLE
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
            return _IMPOSSIBLE
        return ov >> amount, (om >> amount) | (last & ~(last >> amount))
    high = last & ~(last >> amount)
    if kind == "rsh":
        if ov & high:
            return _IMPOSSIBLE
        return ov << amount & last, (om << amount | lost) & last
    value, mask = _backward_unary(WordOp(OpKind.SEXT, width, width - amount), ov, om)
    if value & mask:
        return _IMPOSSIBLE
    return value << amount & last, (mask << amount | lost) & last


# Restriction -----------------------------------------------------------------------------------------------------


def _different(av: int, am: int, bv: int, bm: int) -> Bits:
    """The words of a that are not the constant b (or any word, if b is none)."""
    if bm or (av ^ bv) & ~am or not _is_power(am):
        return av, am
    if am == 0:
        return _IMPOSSIBLE
    return av | (~bv & am), 0


def _overlapping(av: int, am: int, possible: int) -> Bits:
    """The words of a that have a one in common with ``possible``."""
    if av & possible:
        return av, am
    candidates = am & possible
    if candidates == 0:
        return _IMPOSSIBLE
    return (av | candidates, am & ~candidates) if _is_power(candidates) else (av, am)


def _within(av: int, am: int, lo: int, hi: int, last: int) -> Bits:
    """The words of a of unsigned value ``lo..hi`` (which may be out of range, or inverted)."""
    if lo <= av and av | am <= hi:
        return av, am
    if lo > last or hi < 0:
        return _IMPOSSIBLE
    least, greatest = next_member(lo, av, am, last), previous_member(hi, av, am, last)
    if least > greatest:
        return _IMPOSSIBLE
    mask = smear(least ^ greatest) & am
    return least & ~mask, mask


Tnum._configure()
Tnum._sizes[Tnum.WIDTH, Tnum.LOW] = Tnum
