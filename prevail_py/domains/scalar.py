"""The verifier's default word: the reduced product of intervals and tnums in one record.

A :class:`Scalar` holds bounds ``full`` of the word and ``low`` of its low half (:mod:`prevail_py.domains.halves`) and
known bits ``value, mask`` (:mod:`prevail_py.domains.bits`).  It computes what ``word_product(Interval, Tnum,
reduce_bits)`` does, with the same functions, in half the time; a test compares the two.  Only its widening is its own.

**Reduced form** (:meth:`Scalar._reduced`): the ends of all pieces of the bounds agree with the known bits, and every
bit that the bounds have in common is known.  Hence the bounds are at least as good as those that the bits imply,
and joins are reduced as they are: an end of a join is an end of one side, and bits that the joined bounds have in
common are common to each side and known in both.  **Bottom** is one value: empty bounds, and all bits contradictory.

Reduction is monotone, so it cannot undo a widening: the reduced result of a step is above the reduced value before.
So along a chain each bound only moves outwards and each bit is forgotten at most once; and while the bits stay, a
bound goes through no more than the few values that :meth:`prevail_py.domains.interval.Interval.widen` describes (or
the nearest word with these bits).  Chains in practice have a handful of elements: a counter that grows jumps to a
threshold at once, bits and all.

This is the verifier's hottest class, hence plain and slotted; treat instances as immutable and make them with the
class methods only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

from prevail_py.domains import bits, bounds, halves
from prevail_py.domains.bits import Bits
from prevail_py.domains.bounds import Bounds, next_member, previous_member, smear
from prevail_py.domains.halves import Halves, Size
from prevail_py.domains.interval import text
from prevail_py.domains.lattice import Range
from prevail_py.words import Comparison, WordOp

__all__ = ["Scalar"]

# For the other comparisons, reduction by the new bounds finds all that the bits would.
_BITWISE: Final = frozenset(c.value for c in (Comparison.EQ, Comparison.NE, Comparison.SET, Comparison.NOT_SET))

_tuple: Final = tuple.__new__  # in a third of the time that Range takes


class Scalar:
    """A set of words between bounds and with known bits; see the module's text."""

    __slots__ = ("full", "low", "mask", "value")

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32
    SIZE: ClassVar[Size]
    _sizes: ClassVar[dict[tuple[int, int], Any]] = {}
    _top: ClassVar[Any]
    _bottom: ClassVar[Any]

    full: Bounds
    low: Bounds
    value: int
    mask: int

    def __init__(self, full: Bounds, low: Bounds, value: int, mask: int) -> None:
        """Private: the arguments must be reduced."""
        self.full = full
        self.low = low
        self.value = value
        self.mask = mask

    @classmethod
    def _configure(cls) -> None:
        cls.SIZE = size = halves.size_of(cls.WIDTH, cls.LOW)
        cls._top = cls(size.top, size.low_top, 0, size.last)
        cls._bottom = cls(size.empty, size.low_empty, size.last, size.last)

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The same domain on words of ``width`` bits with a low half of ``low < width`` bits."""
        small: Any = cls._sizes.get((width, low))
        if small is None:
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
        size = cls.SIZE
        value &= size.last
        if value < size.low_half:
            same = (value, value, value, value)
            return cls(same, same, value, 0)
        return cls(bounds.constant(value, size.half), bounds.constant(value & size.low_last, size.low_half), value, 0)

    @classmethod
    def between(cls, lo: int, hi: int) -> Self:
        """The words with unsigned value in ``lo..hi``."""
        size = cls.SIZE
        if hi < size.low_half:
            same = (lo, hi, lo, hi)
            mask = smear(lo ^ hi)
            return cls(same, same, lo & ~mask, mask)
        return cls._reduced(bounds.from_unsigned(lo, hi, size.half), size.low_top, 0, size.last)

    @classmethod
    def of(cls, full: Bounds, low: Bounds | None = None, value: int = 0, mask: int | None = None) -> Self:
        """The words within the bounds (umin, umax, smin, smax) that agree with ``value`` outside ``mask``."""
        size = cls.SIZE
        mask = size.last if mask is None else mask & size.last
        return cls._reduced(
            bounds.meet(full, size.top, size.half),
            size.low_top if low is None else bounds.meet(low, size.low_top, size.low_half),
            value & size.last & ~mask,
            mask,
        )

    @classmethod
    def _reduced(cls, full: Bounds, low: Bounds, value: int, mask: int) -> Self:
        """The reduced form of canonical bounds, and bits that may be contradictory."""
        size = cls.SIZE
        umin, umax, _, _ = full
        if value & mask or umin > umax:
            return cls._bottom  # type: ignore[no-any-return]
        if umax < size.low_half:
            # The commonest case, a small word without sign: its low half is itself, so there is one interval, which
            # ends with the non-negative piece of low.
            if low != full:
                umin, umax = (umin if umin >= low[0] else low[0]), (umax if umax <= low[3] else low[3])
                if umin > umax:
                    return cls._bottom  # type: ignore[no-any-return]
                full = (umin, umax, umin, umax)
            if ((umin ^ value) | (umax ^ value)) & ~mask:
                umin, umax = next_member(umin, value, mask, size.last), previous_member(umax, value, mask, size.last)
                if umin > umax:
                    return cls._bottom  # type: ignore[no-any-return]
                full = (umin, umax, umin, umax)
            mask &= smear(umin ^ umax)
            return cls(full, full, umin & ~mask, mask)
        full, low = halves.reduce(size, full, low)
        if mask != size.last:
            full, low = halves.restrict_bits(size, full, low, value, mask)
        umin, umax, _, _ = full
        if umin > umax:
            return cls._bottom  # type: ignore[no-any-return]
        mask &= halves.unknown_bits(size, full, low)
        return cls(full, low, umin & ~mask, mask)  # umin is a member, so it has the known bits

    # Queries ------------------------------------------------------------------------------------------------------

    def is_bottom(self) -> bool:
        """Whether there is no word in it."""
        return self.full[0] > self.full[1]

    def is_top(self) -> bool:
        """Whether every word is in it."""
        size = self.SIZE
        return self.mask == size.last and self.full == size.top and self.low == size.low_top

    def bounds(self, width: int = 64, signed: bool = False) -> Range:
        """Bounds of the low ``width`` bits, read as signed or unsigned."""
        seen = self.full if width == self.WIDTH else halves.view(self.SIZE, self.full, self.low, width)
        return _tuple(Range, seen[2:]) if signed else _tuple(Range, seen[:2])

    def contains(self, word: int) -> bool:
        """Whether the unsigned ``word`` is in it."""
        return (word ^ self.value) & ~self.mask == 0 and halves.contains(self.SIZE, self.full, self.low, word)

    # Lattice ------------------------------------------------------------------------------------------------------

    def leq(self, other: Self) -> bool:
        """Componentwise inclusion."""
        return (
            bounds.leq(self.full, other.full)
            and bounds.leq(self.low, other.low)
            and ((self.mask | (self.value ^ other.value)) & ~other.mask == 0 or self.is_bottom())
        )

    def join(self, other: Self) -> Self:
        """Componentwise; that is reduced."""
        full, full_ = self.full, other.full
        if full[0] > full[1]:
            return other
        if full_[0] > full_[1] or self == other:
            return self
        mask = self.mask | other.mask | (self.value ^ other.value)
        return type(self)(bounds.join(full, full_), bounds.join(self.low, other.low), self.value & ~mask, mask)

    def meet(self, other: Self) -> Self:
        """Componentwise, then reduced."""
        if self is other:
            return self
        size = self.SIZE
        value, mask = bits.meet_low(self.value, self.mask, (other.value, other.mask), size.width)
        full = bounds.meet(self.full, other.full, size.half)
        low = (
            full
            if self.low == self.full and other.low == other.full
            else bounds.meet(self.low, other.low, size.low_half)
        )
        return self._reduced(full, low, value, mask)

    def widen(self, other: Self, thresholds: Sequence[int] = ()) -> Self:
        """Componentwise, then reduced; the module's text says why chains become stationary.

        Leading bits that the old bounds implied are left to the new bounds, which they would stop at each power of two;
        likewise those of the low half.
        """
        if self.is_bottom():
            return other
        if other.is_bottom():
            return self
        size = self.SIZE
        value, mask = bits.widen(self.value, self.mask, other.value, other.mask, size.last)
        leading = ~smear(mask) | (size.low_last & ~smear(mask & size.low_last))
        implied = size.last & leading & ~halves.unknown_bits(size, self.full, self.low)
        full, low = halves.widen(size, (self.full, self.low), (other.full, other.low), thresholds)
        return self._reduced(full, low, value & ~implied, mask | implied)

    def narrow(self, other: Self) -> Self:
        """Componentwise (a meet for bits), then reduced."""
        if self.is_bottom() or other.is_bottom():
            return self._bottom  # type: ignore[no-any-return]
        size = self.SIZE
        value, mask = bits.meet_low(self.value, self.mask, (other.value, other.mask), size.width)
        return self._reduced(
            bounds.narrow(self.full, other.full, size.half),
            bounds.narrow(self.low, other.low, size.low_half),
            value,
            mask,
        )

    # Operations ---------------------------------------------------------------------------------------------------

    def apply(self, op: WordOp, *args: Self) -> Self:
        """``op(self, *args)``; see :meth:`prevail_py.domains.lattice.Word.apply`."""
        other = args[0] if args else self
        full, full_ = self.full, other.full
        if full[0] > full[1] or full_[0] > full_[1]:
            return self._bottom  # type: ignore[no-any-return]
        value, mask = bits.apply(op, self.value, self.mask, other.value, other.mask)
        if mask == 0:
            return self.constant(value)
        full, low = halves.apply(self.SIZE, op, full, self.low, full_, other.low)
        return self._reduced(full, low, value, mask)

    def backward(self, op: WordOp, out: Self, *args: Self) -> tuple[Self, ...]:
        """Narrowed ``(self, *args)`` given that ``op(self, *args)`` lies in ``out``."""
        other = args[0] if args else self
        if self.is_bottom() or other.is_bottom() or out.is_bottom():
            return (self._bottom,) * (1 + len(args))
        a, b = halves.backward(self.SIZE, op, (out.full, out.low), (self.full, self.low), (other.full, other.low))
        x, y = bits.backward(op, (out.value, out.mask), (self.value, self.mask), (other.value, other.mask))
        return self._both(other, a, b, x, y)[: 1 + len(args)]

    def restrict(self, comparison: Comparison, other: Self, width: int = 64) -> tuple[Self, Self]:
        """``(self, other)`` narrowed to where ``self comparison other`` holds on the low ``width`` bits."""
        if self.is_bottom() or other.is_bottom():
            return self._bottom, self._bottom
        x, y = (self.value, self.mask), (other.value, other.mask)
        a, b = halves.restrict(self.SIZE, comparison, width, (self.full, self.low), (other.full, other.low))
        if comparison._value_ in _BITWISE:
            x, y = bits.restrict(comparison, width, x, y)
        return self._both(other, a, b, x, y)

    def restrict_to(self, comparison: Comparison, value: int) -> Self:
        """The first of :meth:`restrict` with the constant ``value``, on whole words: what a branch mostly learns.

        Bottom where no word is left, and ``self`` where that is no news.
        """
        size, full = self.SIZE, self.full
        umin, umax, smin, smax = full
        half = size.half
        if umin > umax:
            return self
        kind = comparison._value_
        if kind == "==":
            if not self.contains(value):
                return self._bottom  # type: ignore[no-any-return]
            return self if umin == umax else self.constant(value)
        if kind == "!=":
            known, mask = self.value, self.mask
            if mask & (mask - 1) == 0 and (known ^ value) & ~mask == 0:  # one other word at most
                return self.constant(value ^ mask) if mask else self._bottom
            new = bounds.without(full, value, half)
        elif kind[0] == "s":
            signed = value - half - half if value >= half else value
            if kind == "s<":
                new = full if smax < signed else halves.at_most_signed(full, signed - 1, half)
            elif kind == "s<=":
                new = full if smax <= signed else halves.at_most_signed(full, signed, half)
            elif kind == "s>":
                new = full if smin > signed else halves.at_least_signed(full, signed + 1, half)
            else:
                new = full if smin >= signed else halves.at_least_signed(full, signed, half)
        elif kind == "<":
            new = full if umax < value else halves.at_most(full, value - 1, half)
        elif kind == "<=":
            new = full if umax <= value else halves.at_most(full, value, half)
        elif kind == ">":
            new = full if umin > value else halves.at_least(full, value + 1, half)
        elif kind == ">=":
            new = full if umin >= value else halves.at_least(full, value, half)
        else:
            return self.restrict(comparison, self.constant(value), size.width)[0]
        return self if new is full else self._reduced(new, self.low, self.value, self.mask)

    def _both(self, other: Self, a: Halves, b: Halves, x: Bits, y: Bits) -> tuple[Self, Self]:
        """Both sides with new bounds and bits; both bottom if either is."""
        first, second = self._narrowed(a, x), other._narrowed(b, y)
        if first.is_bottom() or second.is_bottom():
            return self._bottom, self._bottom
        return first, second

    def _narrowed(self, a: Halves, x: Bits) -> Self:
        full, low = a
        value, mask = x
        if full is self.full and low is self.low and mask == self.mask and value == self.value:
            return self
        return self._reduced(full, low, value, mask)

    # Text ---------------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, type(self))
            and self.mask == other.mask
            and self.value == other.value
            and self.full == other.full
            and self.low == other.low
        )

    def __hash__(self) -> int:
        return hash((self.full, self.low, self.value, self.mask))

    def __repr__(self) -> str:
        name = "Scalar" if self.WIDTH == 64 else f"Scalar.at({self.WIDTH}, {self.LOW})"
        if self.is_bottom():
            return f"{name}.bottom()"
        return f"{name}.of({self.full}, {self.low}, {self.value:#x}, {self.mask:#x})"

    def __str__(self) -> str:
        if self.is_bottom() or self.is_top():
            return "bottom" if self.is_bottom() else "top"
        size = self.SIZE
        result, known = text(size, self.full, self.low), f"({self.value:#x}; {self.mask:#x})"
        if self == self._reduced(self.full, self.low, 0, size.last):
            return result
        if self == self._reduced(size.top, size.low_top, self.value, self.mask):
            return known
        return f"{result} & {known}"


Scalar._configure()
Scalar._sizes[Scalar.WIDTH, Scalar.LOW] = Scalar
