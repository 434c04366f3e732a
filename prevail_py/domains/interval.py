"""Intervals: unsigned and signed bounds of a word, and of its low half, each reduced by the others.

An :class:`Interval` is a canonical pair ``full, low`` of :mod:`prevail_py.domains.halves`: the words within the bounds
``full`` whose low half (32 of 64 bits) is within ``low``.  Equality of objects is equality of concretizations, and
order, join and hash are componentwise.  **Bottom** is the pair of empty bounds, the same for the whole class.

For speed this is a plain slotted class; treat instances as immutable and make them with the class methods only.
:meth:`Interval.at` gives the same domain on small words, for exhaustive tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from prevail_py.domains import bounds, halves
from prevail_py.domains.bounds import Bounds
from prevail_py.domains.halves import Halves, Size
from prevail_py.domains.lattice import Range
from prevail_py.words import Comparison, WordOp

__all__ = ["Interval", "text"]


class Interval:
    """A set of words between bounds; see the module's text."""

    __slots__ = ("full", "low")

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32
    SIZE: ClassVar[Size]
    _sizes: ClassVar[dict[tuple[int, int], Any]] = {}
    _top: ClassVar[Any]
    _bottom: ClassVar[Any]

    full: Bounds
    low: Bounds

    def __init__(self, full: Bounds, low: Bounds) -> None:
        """Private: the arguments must be canonical."""
        self.full = full
        self.low = low

    @classmethod
    def _configure(cls) -> None:
        cls.SIZE = size = halves.size_of(cls.WIDTH, cls.LOW)
        cls._top = cls(size.top, size.low_top)
        cls._bottom = cls(size.empty, size.low_empty)

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The same domain on words of ``width`` bits with a low half of ``low <= width`` bits."""
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
        return cls(
            bounds.constant(value & size.last, size.half),
            bounds.constant(value & size.low_last, size.low_half),
        )

    @classmethod
    def between(cls, lo: int, hi: int) -> Self:
        """The words with unsigned value in ``lo..hi``."""
        return cls._reduced(bounds.from_unsigned(lo, hi, cls.SIZE.half), cls.SIZE.low_top)

    @classmethod
    def of(cls, full: Bounds, low: Bounds | None = None) -> Self:
        """The words within ``(umin, umax, smin, smax)`` whose low half is within ``low`` (anything by default)."""
        size = cls.SIZE
        return cls._reduced(
            bounds.meet(full, size.top, size.half),
            size.low_top if low is None else bounds.meet(low, size.low_top, size.low_half),
        )

    @classmethod
    def _reduced(cls, full: Bounds, low: Bounds) -> Self:
        full, low = halves.reduce(cls.SIZE, full, low)
        return cls(full, low)

    # Queries ------------------------------------------------------------------------------------------------------

    def is_bottom(self) -> bool:
        """Whether there is no word in it."""
        return self.full[0] > self.full[1]

    def is_top(self) -> bool:
        """Whether every word is in it."""
        return self.full == self.SIZE.top and self.low == self.SIZE.low_top

    def bounds(self, width: int = 64, signed: bool = False) -> Range:
        """Bounds of the low ``width`` bits, read as signed or unsigned; the best ones at both of the class's widths."""
        umin, umax, smin, smax = halves.view(self.SIZE, self.full, self.low, width)
        return Range(smin, smax) if signed else Range(umin, umax)

    def contains(self, word: int) -> bool:
        """Whether the unsigned ``word`` is in it."""
        return halves.contains(self.SIZE, self.full, self.low, word)

    # Lattice ------------------------------------------------------------------------------------------------------

    def leq(self, other: Self) -> bool:
        """Inclusion of concretizations, exactly."""
        return bounds.leq(self.full, other.full) and bounds.leq(self.low, other.low)

    def join(self, other: Self) -> Self:
        """The least interval above both; canonical without reduction, as every bound is attained on one side."""
        return type(self)(bounds.join(self.full, other.full), bounds.join(self.low, other.low))

    def meet(self, other: Self) -> Self:
        """The intersection, exactly."""
        if self == other:
            return self
        size = self.SIZE
        return self._reduced(
            bounds.meet(self.full, other.full, size.half), bounds.meet(self.low, other.low, size.low_half)
        )

    def widen(self, other: Self, thresholds: Sequence[int] = ()) -> Self:
        """An upper bound of both in which each of the eight bounds that ``other`` exceeds jumps outwards.

        See :func:`prevail_py.domains.halves.widen`.  The result is reduced again, and chains ``x[k+1] =
        x[k].widen(y[k])`` still become stationary, fast.  They ascend, so each of the canonical bounds of ``x[k]`` only
        moves outwards.  One that moves in step k had jumped to a *level* (a threshold or an extreme) before reduction,
        for one that did not jump is at most its old value after it.  Reduction leaves it at the level, or moves it to
        the nearest word whose low half is an end of ``low``, or (for ``low``) to the low half of an end of ``full``.
        So the values it can take have the upper half of a level, give or take one, and the low half of a level or of a
        bound of ``x[0]``: a finite set, fixed by ``x[0]`` and the thresholds, and of their size, not of the word's.
        """
        if self.is_bottom():
            return other
        if other.is_bottom():
            return self
        return self._reduced(*halves.widen(self.SIZE, (self.full, self.low), (other.full, other.low), thresholds))

    def narrow(self, other: Self) -> Self:
        """Between ``self.meet(other)`` and ``self``: the bounds of ``self`` that are extremes come from ``other``.

        Descending chains become stationary: a bound that changes leaves one of the few extremes for good, or moves
        by reduction after another one did.
        """
        if self.is_bottom() or other.is_bottom():
            return self._bottom  # type: ignore[no-any-return]
        size = self.SIZE
        return self._reduced(
            bounds.narrow(self.full, other.full, size.half), bounds.narrow(self.low, other.low, size.low_half)
        )

    def restrict_bits(self, value: int, mask: int) -> Self:
        """The words of it that agree with ``value`` outside ``mask``; ``self`` if that is no news."""
        full, low = halves.restrict_bits(self.SIZE, self.full, self.low, value, mask)
        return self if full is self.full and low is self.low else type(self)(full, low)

    # Operations ---------------------------------------------------------------------------------------------------

    def apply(self, op: WordOp, *args: Self) -> Self:
        """``op(self, *args)``; see :meth:`prevail_py.domains.lattice.Word.apply`."""
        other = args[0] if args else self
        if self.is_bottom() or other.is_bottom():
            return self._bottom  # type: ignore[no-any-return]
        full, low = halves.apply(self.SIZE, op, self.full, self.low, other.full, other.low)
        return self._reduced(full, low)

    def backward(self, op: WordOp, out: Self, *args: Self) -> tuple[Self, ...]:
        """Narrowed ``(self, *args)`` given that ``op(self, *args)`` lies in ``out``."""
        other = args[0] if args else self
        if self.is_bottom() or other.is_bottom() or out.is_bottom():
            return (self._bottom,) * (1 + len(args))
        a, b = halves.backward(self.SIZE, op, (out.full, out.low), (self.full, self.low), (other.full, other.low))
        return self._both(other, a, b)[: 1 + len(args)]

    def restrict(self, comparison: Comparison, other: Self, width: int = 64) -> tuple[Self, Self]:
        """``(self, other)`` narrowed to where ``self comparison other`` holds on the low ``width`` bits."""
        if self.is_bottom() or other.is_bottom():
            return self._bottom, self._bottom
        a, b = halves.restrict(self.SIZE, comparison, width, (self.full, self.low), (other.full, other.low))
        return self._both(other, a, b)

    def _both(self, other: Self, a: Halves, b: Halves) -> tuple[Self, Self]:
        """Both reduced; both bottom if either is."""
        first, second = self._narrowed(a), other._narrowed(b)
        if first.is_bottom() or second.is_bottom():
            return self._bottom, self._bottom
        return first, second

    def _narrowed(self, a: Halves) -> Self:
        full, low = a
        return self if full is self.full and low is self.low else self._reduced(full, low)

    # Text ---------------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.full == other.full and self.low == other.low

    def __hash__(self) -> int:
        return hash((self.full, self.low))

    def __repr__(self) -> str:
        name = "Interval" if self.WIDTH == 64 else f"Interval.at({self.WIDTH}, {self.LOW})"
        if self.is_bottom():
            return f"{name}.bottom()"
        return f"{name}.of({self.full}, {self.low})"

    def __str__(self) -> str:
        return text(self.SIZE, self.full, self.low)


def text(size: Size, full: Bounds, low: Bounds) -> str:
    """Bounds for people: ``[0, 255]``, ``[-4, 7]``, ``[0, 9]|[-5, -1]`` (one interval per sign); ``low`` if news."""
    if full[0] > full[1]:
        return "bottom"
    if full[0] == full[1]:
        return str(full[0])
    implied = halves.reduce(size, full, size.low_top)[1]
    result = "top" if full == size.top else _text(full, size.half)
    return result if low == implied else f"{result} low {_text(low, size.low_half)}"


def _text(a: Bounds, half: int) -> str:
    umin, umax, smin, smax = a
    if smax < 0:
        return f"[{smin}, {smax}]"
    if umin == 0 and umax == half + half - 1:
        return f"[{smin}, {smax}]"
    if smin == umin or (smin == -half and smax == half - 1):
        return f"[{umin}, {umax}]"
    return f"[{umin}, {smax}]|[{smin}, {umax - half - half}]"


Interval._configure()
Interval._sizes[Interval.WIDTH, Interval.LOW] = Interval
