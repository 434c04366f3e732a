"""Machine words read as integers: what a relation between integers may conclude from operations and comparisons.

Zones and octagons relate *signed* readings of 64-bit words, as mathematical integers.  Machine arithmetic is modulo
2**64, so a comparison of the terms ``x + a`` and ``y + b`` says something about ``x - y`` only where neither sum can
wrap; that is decided from the ranges of the symbols, which reach such a domain through ``refine`` (in a product) or its
own comparisons with constants.  A bound that might rest on a wrapped sum is never stored.

How bounds are kept, and what follows from them, is up to the domain: it says so by the abstract methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, Self

from prevail_py.domains.lattice import NO_SYMBOL, Definition, Range, Symbol, Term
from prevail_py.words import Comparison, OpKind, WordOp, to_signed

__all__ = ["ANY_DIFFERENCE", "EMPTY", "FULL", "MAX", "MIN", "IntegerRelations"]

MIN: Final = -(1 << 63)
MAX: Final = (1 << 63) - 1
FULL: Final = Range(MIN, MAX)
ANY_DIFFERENCE: Final = Range(MIN - MAX, MAX - MIN)
EMPTY: Final = Range(1, 0)


class IntegerRelations(ABC):
    """The part of :class:`~prevail_py.domains.lattice.Facts` that is about wrap-around."""

    __slots__ = ()

    _bottom: bool

    # What is kept, and what follows from it ----------------------------------------------------------------------

    @abstractmethod
    def _contradiction(self) -> Self:
        """Bottom."""

    @abstractmethod
    def _range(self, symbol: Symbol) -> Range:
        """The signed range that is stored of a symbol."""

    @abstractmethod
    def _bounds(self, symbol: Symbol) -> Range:
        """The signed range that is known of a symbol: it may follow from what is stored of others."""

    @abstractmethod
    def _upper(self, u: Symbol, v: Symbol) -> int:
        """The least known ``c`` with ``u - v <= c``; either may be the constant zero."""

    @abstractmethod
    def _add(self, bounds: Iterable[tuple[Symbol, Symbol, int]]) -> Self:
        """Learn ``u - v <= c`` for each triple; bottom where they contradict."""

    @abstractmethod
    def _with_range(self, symbol: Symbol, lo: int, hi: int) -> Self:
        """Learn that a symbol, read as signed, lies in ``lo..hi``, which may be empty."""

    # Queries -----------------------------------------------------------------------------------------------------

    def _linear(self, term: Term) -> tuple[Symbol, int] | None:
        """``(symbol, c)`` with the signed value of the term exactly ``symbol + c``; None where the sum may wrap."""
        symbol, offset = term
        shift = to_signed(offset, 64)
        if symbol == NO_SYMBOL or shift == 0:
            return symbol, shift
        lo, hi = self._range(symbol)
        return (symbol, shift) if lo + shift >= MIN and hi + shift <= MAX else None

    def range(self, term: Term, width: int = 64, signed: bool = False) -> Range:
        if self._bottom:
            return EMPTY
        full = Range(-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else Range(0, (1 << width) - 1)
        linear = self._linear(term)
        if linear is None:
            return full
        symbol, shift = linear
        if symbol == NO_SYMBOL:
            lo = hi = shift
        else:
            lo, hi = self._bounds(symbol)
            lo, hi = lo + shift, hi + shift
        if lo >= full.lo and hi <= full.hi:
            return Range(lo, hi)
        if not signed and hi < 0 and width == 64:
            return Range(lo + (1 << 64), hi + (1 << 64))
        return full

    def difference(self, a: Term, b: Term) -> Range:
        if self._bottom:
            return EMPTY
        left, right = self._linear(a), self._linear(b)
        if left is None or right is None:
            return ANY_DIFFERENCE
        shift = left[1] - right[1]
        upper, lower = self._upper(left[0], right[0]), self._upper(right[0], left[0])
        return Range(-lower + shift, upper + shift)

    # Learning ----------------------------------------------------------------------------------------------------

    def _define_below(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Self:
        """Bind a fresh symbol to an operation that gives at most its first argument, where that is not negative.

        At 32 bits this holds as well: truncation of a word that is not negative does not exceed it.
        """
        a = self._linear(args[0])
        if a is None or a[0] == NO_SYMBOL or op.kind not in (_BELOW if op.width == 64 else _BELOW_NARROW):
            return self
        first = self.range(args[0], signed=True)
        if first.lo < 0:
            return self
        return self._with_range(symbol, 0, first.hi)._add([(symbol, a[0], a[1])])

    def define_between(self, symbol: Symbol, lo: int, hi: int) -> Self:
        if self._bottom:
            return self
        return self._with_range(symbol, lo, hi) if lo >= MIN and hi <= MAX else self

    def assume(self, comparison: Comparison, a: Term, b: Term, width: int = 64) -> Self:
        if self._bottom or width != 64:
            return self
        left, right = self._linear(a), self._linear(b)
        if left is None or right is None:
            return self
        if comparison in _UNSIGNED:
            # Signed and unsigned order agree on non-negative words only.
            if self.range(a, signed=True).lo < 0 or self.range(b, signed=True).lo < 0:
                return self
            comparison = _UNSIGNED[comparison]
        (x, p), (y, q) = left, right
        match comparison:
            case Comparison.EQ:
                return self._add([(x, y, q - p), (y, x, p - q)])
            case Comparison.SLE:
                return self._add([(x, y, q - p)])
            case Comparison.SLT:
                return self._add([(x, y, q - p - 1)])
            case Comparison.SGE:
                return self._add([(y, x, p - q)])
            case Comparison.SGT:
                return self._add([(y, x, p - q - 1)])
            case Comparison.NE:
                between = self.difference(a, b)
                if between.lo == between.hi == 0:
                    return self._contradiction()
                if between.hi == 0:
                    return self._add([(x, y, q - p - 1)])
                if between.lo == 0:
                    return self._add([(y, x, p - q - 1)])
                return self
            case _:
                return self

    def refine(self, symbol: Symbol, lo: int, hi: int, signed: bool = False) -> Self:
        if self._bottom:
            return self
        if not signed:
            if lo > MAX:
                lo, hi = lo - (1 << 64), hi - (1 << 64)
            elif hi > MAX:
                return self
        old = self._range(symbol)
        return self._with_range(symbol, max(old.lo, lo), min(old.hi, hi))

    def definition(self, symbol: Symbol) -> Definition | None:
        """Nothing: how symbols were computed is kept elsewhere."""
        return None


_BELOW: Final = frozenset({OpKind.AND, OpKind.UDIV, OpKind.UMOD, OpKind.RSH})
_BELOW_NARROW: Final = _BELOW | {OpKind.ZEXT}

_UNSIGNED: Final[dict[Comparison, Comparison]] = {
    Comparison.ULT: Comparison.SLT,
    Comparison.ULE: Comparison.SLE,
    Comparison.UGT: Comparison.SGT,
    Comparison.UGE: Comparison.SGE,
}
"""The signed comparison that is the same on words that are not negative."""
