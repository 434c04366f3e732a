"""Tristate numbers: words of which some bits are known.

A :class:`Tnum` is a pair ``(value, mask)`` of :mod:`prevail_py.domains.bits`: bits set in ``mask`` are unknown, the
others are as in ``value``, which has zeros at the unknown ones.  **Bottom** is the one pair with ``value`` and ``mask``
both all ones, which no word satisfies.

Each element has one representation, so equality is semantic.  Chains have at most ``WIDTH + 2`` elements, so meets
serve as narrowing; widening is quicker than joins would be.

For speed this is a plain slotted class; treat instances as immutable and make them with the class methods only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from prevail_py.domains import bits
from prevail_py.domains.bits import Bits
from prevail_py.domains.bounds import smear
from prevail_py.domains.lattice import Range
from prevail_py.words import Comparison, WordOp

__all__ = ["Tnum"]


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
        """The join without the bits above the lowest that it forgets: see :func:`prevail_py.domains.bits.widen`."""
        if self.value & self.mask or other.value & other.mask:
            return self.join(other)
        return type(self)(*bits.widen(self.value, self.mask, other.value, other.mask, self.LAST))

    def narrow(self, other: Self) -> Self:
        """The meet: descending chains are as short."""
        return self.meet(other)

    # Operations ---------------------------------------------------------------------------------------------------

    def apply(self, op: WordOp, *args: Self) -> Self:
        """``op(self, *args)``; see :meth:`prevail_py.domains.lattice.Word.apply`."""
        other = args[0] if args else self
        if self.value & self.mask or other.value & other.mask:
            return self._bottom  # type: ignore[no-any-return]
        value, mask = bits.apply(op, self.value, self.mask, other.value, other.mask)
        return type(self)(value, mask)

    def backward(self, op: WordOp, out: Self, *args: Self) -> tuple[Self, ...]:
        """Narrowed ``(self, *args)`` given that ``op(self, *args)`` lies in ``out``."""
        other = args[0] if args else self
        if self.is_bottom() or other.is_bottom() or out.is_bottom():
            return (self._bottom,) * (1 + len(args))
        a, b = bits.backward(op, (out.value, out.mask), (self.value, self.mask), (other.value, other.mask))
        return self._both(a, b)[: 1 + len(args)]

    def restrict(self, comparison: Comparison, other: Self, width: int = 64) -> tuple[Self, Self]:
        """``(self, other)`` narrowed to where ``self comparison other`` holds on the low ``width`` bits."""
        if self.is_bottom() or other.is_bottom():
            return self._bottom, self._bottom
        return self._both(*bits.restrict(comparison, width, (self.value, self.mask), (other.value, other.mask)))

    def _both(self, a: Bits, b: Bits) -> tuple[Self, Self]:
        """Both made; both bottom if either is."""
        if a[0] & a[1] or b[0] & b[1]:
            return self._bottom, self._bottom
        return type(self)(*a), type(self)(*b)

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


Tnum._configure()
Tnum._sizes[Tnum.WIDTH, Tnum.LOW] = Tnum
