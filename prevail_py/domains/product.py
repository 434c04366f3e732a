"""Reduced products of words: two abstractions of one word that tell each other what they know.

``word_product(A, B, reduce)`` is a class that again satisfies :class:`~prevail_py.domains.lattice.Word`.  ``reduce``
takes one element of each and returns smaller ones with the same common concretization; it should be monotone and
idempotent, for then reducing the result of a widening cannot undo it: every step of a chain is below the next one
componentwise.  :func:`exchange_ranges` works for any two words; :func:`reduce_bits` is the exact exchange between
intervals and tnums, whose product :mod:`prevail_py.domains.scalar` is a faster version of.

Bottom is the pair of bottoms, also where only one component finds the contradiction.  A product of products works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, Protocol, Self, TypeVar

from prevail_py.domains.halves import unknown_bits
from prevail_py.domains.interval import Interval
from prevail_py.domains.lattice import Range, Word
from prevail_py.domains.tnum import Tnum
from prevail_py.words import Comparison, WordOp

__all__ = ["Product", "SizedWord", "exchange_ranges", "reduce_bits", "word_product"]


class SizedWord(Word, Protocol):
    """A :class:`Word` that also exists at other sizes than 64 bits with a low half of 32."""

    WIDTH: ClassVar[int]
    LOW: ClassVar[int]

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]: ...


A = TypeVar("A", bound=SizedWord)
B = TypeVar("B", bound=SizedWord)
Reduction = Callable[[Any, Any], tuple[Any, Any]]


def exchange_ranges(a: A, b: B) -> tuple[A, B]:
    """Reduction for any two words, through the unsigned bounds of the whole word."""
    if a.is_bottom() or b.is_bottom():
        return a.bottom(), b.bottom()
    lo, hi = b.bounds(b.WIDTH)
    a = a.meet(a.between(lo, hi))
    if a.is_bottom():
        return a, b.bottom()
    lo, hi = a.bounds(a.WIDTH)
    b = b.meet(b.between(lo, hi))
    return (a.bottom(), b) if b.is_bottom() else (a, b)


def reduce_bits(interval: Interval, tnum: Tnum) -> tuple[Interval, Tnum]:
    """Reduction of an interval by known bits, and of a tnum by the bits that the bounds have in common.

    One pass is a fixpoint: afterwards the ends of all pieces agree with the tnum, and the bits learnt from the
    interval are bits that all these ends share.
    """
    value, mask = tnum.value, tnum.mask
    if interval.full[0] > interval.full[1] or value & mask:
        return interval.bottom(), tnum.bottom()
    interval = interval.restrict_bits(value, mask)
    umin, umax, _, _ = interval.full
    if umin > umax:
        return interval, tnum.bottom()
    left = mask & unknown_bits(interval.SIZE, interval.full, interval.low)
    return interval, tnum if left == mask else tnum.of(umin, left)


class Product:
    """The words that are in both components; see :func:`word_product`, which makes the usable subclasses.

    A plain slotted class for speed: treat instances as immutable, and make them with the class methods.
    """

    __slots__ = ("first", "second")

    WIDTH: ClassVar[int]
    LOW: ClassVar[int]
    _first: ClassVar[Any]
    _second: ClassVar[Any]
    _reduce: ClassVar[Any]
    _top: ClassVar[Any]
    _bottom: ClassVar[Any]

    first: Any
    second: Any

    def __init__(self, first: Any, second: Any) -> None:
        """Private: the components must be reduced."""
        self.first = first
        self.second = second

    @classmethod
    def of(cls, first: Any, second: Any) -> Self:
        """The words in both ``first`` and ``second``."""
        first, second = cls._reduce(first, second)
        return cls(first, second)

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The product of the components at this size."""
        return word_product(cls._first.at(width, low), cls._second.at(width, low), cls._reduce)  # type: ignore[return-value]

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
        return cls(cls._first.constant(value), cls._second.constant(value))

    @classmethod
    def between(cls, lo: int, hi: int) -> Self:
        """The words with unsigned value in ``lo..hi``."""
        return cls.of(cls._first.between(lo, hi), cls._second.between(lo, hi))

    def is_bottom(self) -> bool:
        """Whether there is no word in it."""
        return self.first.is_bottom()  # type: ignore[no-any-return]

    def is_top(self) -> bool:
        """Whether every word is in it."""
        return self.first.is_top() and self.second.is_top()  # type: ignore[no-any-return]

    def bounds(self, width: int = 64, signed: bool = False) -> Range:
        """The better of the components' bounds."""
        lo, hi = self.first.bounds(width, signed)
        lo_, hi_ = self.second.bounds(width, signed)
        return Range(lo if lo >= lo_ else lo_, hi if hi <= hi_ else hi_)

    def contains(self, word: int) -> bool:
        """Whether ``word`` is in both components."""
        return self.first.contains(word) and self.second.contains(word)  # type: ignore[no-any-return]

    def leq(self, other: Self) -> bool:
        """Componentwise inclusion."""
        return self.first.leq(other.first) and self.second.leq(other.second)  # type: ignore[no-any-return]

    def join(self, other: Self) -> Self:
        """Componentwise, then reduced."""
        if self == other:
            return self
        return self.of(self.first.join(other.first), self.second.join(other.second))

    def meet(self, other: Self) -> Self:
        """Componentwise, then reduced."""
        if self == other:
            return self
        return self.of(self.first.meet(other.first), self.second.meet(other.second))

    def widen(self, other: Self, thresholds: Sequence[int] = ()) -> Self:
        """Componentwise, then reduced; chains become stationary by the module's remark on reductions."""
        return self.of(self.first.widen(other.first, thresholds), self.second.widen(other.second, thresholds))

    def narrow(self, other: Self) -> Self:
        """Componentwise, then reduced."""
        return self.of(self.first.narrow(other.first), self.second.narrow(other.second))

    def apply(self, op: WordOp, *args: Self) -> Self:
        """``op(self, *args)`` in both components, then reduced."""
        if args:
            other = args[0]
            first, second = self.first.apply(op, other.first), self.second.apply(op, other.second)
        else:
            first, second = self.first.apply(op), self.second.apply(op)
        first, second = self._reduce(first, second)
        return self.__class__(first, second)

    def backward(self, op: WordOp, out: Self, *args: Self) -> tuple[Self, ...]:
        """Narrowed ``(self, *args)`` given that ``op(self, *args)`` lies in ``out``."""
        firsts = self.first.backward(op, out.first, *[arg.first for arg in args])
        seconds = self.second.backward(op, out.second, *[arg.second for arg in args])
        args = (self, *args)
        result = tuple(arg._narrowed(*both) for arg, *both in zip(args, firsts, seconds, strict=True))
        if any(word.is_bottom() for word in result):
            return (self.bottom(),) * len(result)
        return result

    def restrict(self, comparison: Comparison, other: Self, width: int = 64) -> tuple[Self, Self]:
        """``(self, other)`` narrowed to where ``self comparison other`` holds on the low ``width`` bits."""
        first, first_ = self.first.restrict(comparison, other.first, width)
        second, second_ = self.second.restrict(comparison, other.second, width)
        a, b = self._narrowed(first, second), other._narrowed(first_, second_)
        return (self._bottom, self._bottom) if a.is_bottom() or b.is_bottom() else (a, b)

    def _narrowed(self, first: Any, second: Any) -> Self:
        """``of(first, second)``, without reducing again what is reduced already."""
        if first is self.first and second is self.second:
            return self
        return self.of(first, second)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.first == other.first and self.second == other.second

    def __hash__(self) -> int:
        return hash((self.first, self.second))

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}.bottom()" if self.is_bottom() else f"{name}.of({self.first!r}, {self.second!r})"

    def __str__(self) -> str:
        first, second = str(self.first), str(self.second)
        if first == second or second == str(self._second.between(*self.first.bounds(self.WIDTH))):
            return first
        return second if self.first.is_top() else f"{first} & {second}"


def word_product(first: Any, second: Any, reduce: Reduction = exchange_ranges) -> type[Product]:
    """The reduced product of two word domains (classes like :class:`SizedWord`) of the same size, as a new class."""
    if (first.WIDTH, first.LOW) != (second.WIDTH, second.LOW):
        raise ValueError(f"cannot combine words of {first.WIDTH} and {second.WIDTH} bits")
    return _combined(first, second, reduce)


@cache
def _combined(first: Any, second: Any, reduce: Reduction) -> type[Product]:
    class Combined(Product):
        __slots__ = ()
        WIDTH = first.WIDTH
        LOW = first.LOW
        _first = first
        _second = second
        _reduce = staticmethod(reduce)

    Combined.__name__ = Combined.__qualname__ = f"{first.__name__}x{second.__name__}"
    Combined.__doc__ = f"The reduced product of {first.__name__} and {second.__name__}."
    Combined._top = Combined(first.top(), second.top())
    Combined._bottom = Combined(first.bottom(), second.bottom())
    return Combined
