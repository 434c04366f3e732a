"""Octagons: bounds ``±x ± y <= c`` between symbols (Miné, "The octagon abstract domain", HOSC 2006).

Symbols are read as *signed* 64-bit words, as zones read them, and the bounds hold between mathematical integers: see
:mod:`prevail_py.domains.integer_relations` for what comparisons say, :mod:`prevail_py.domains.octagon_closure` for
what follows.  Comparisons of terms teach differences only; sums come from operations that do not wrap, ``z = x - y``
bounding ``z + y``, and from joins.

A state is closed, but for what widening returns: that is closed where it is read, and stays as it is where it is
widened again.  Joins are the best that there are: unlike zones they relate symbols that were never compared, where one
is greater on one side and the other one on the other, as two counters are that run against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Self, TypeAlias

from prevail_py.domains.integer_relations import MAX, MIN, IntegerRelations
from prevail_py.domains.lattice import NO_SYMBOL, Phi, Range, Symbol, Term
from prevail_py.domains.octagon_closure import EMPTY_OCTAGON, Bound, Literal, Octagon
from prevail_py.domains.octagon_merging import Side, joined, widened
from prevail_py.domains.statements import Difference, InRange, Statement, Subtraction, Sum
from prevail_py.words import OpKind, WordOp, to_signed

__all__ = ["Octagons"]

Total: TypeAlias = tuple[Literal, Literal, int]
"""``(a, b, c)``: the sum ``a + b + c`` of two literals and a constant."""

_TOP: Final = Octagon({}, {})
_ONES: Final = Term(NO_SYMBOL, (1 << 64) - 1)


class Octagons(IntegerRelations):
    """Bounds of symbols and of sums of two, with or without minus; never changed once it is handed out."""

    __slots__ = ("_bottom", "_octagon", "_totals")

    def __init__(self, octagon: Octagon = _TOP, totals: dict[Symbol, Total] | None = None) -> None:
        self._octagon = octagon
        # z: (a, b, c) where z = a + b + c was computed without wrapping: bounds of z are bounds of a + b.
        self._totals: dict[Symbol, Total] = {} if totals is None else totals
        self._bottom = octagon.is_empty

    @classmethod
    def top(cls) -> Self:
        """Nothing known."""
        return cls()

    def __repr__(self) -> str:
        return "bottom" if self._bottom else f"Octagons({self._octagon!r}, {self._totals!r})"

    def is_bottom(self) -> bool:
        return self._bottom

    def _contradiction(self) -> Self:
        return type(self)(EMPTY_OCTAGON)

    # Queries -----------------------------------------------------------------------------------------------------

    def _range(self, symbol: Symbol) -> Range:
        known = self._octagon.closed()
        return Range(-known.high(-symbol), known.high(symbol))

    _bounds = _range

    def _upper(self, u: Symbol, v: Symbol) -> int:
        return self._octagon.closed().upper(u, -v)

    # Learning ----------------------------------------------------------------------------------------------------

    def _add(self, bounds: Iterable[tuple[Symbol, Symbol, int]]) -> Self:
        return self._learn([(u, -v, c) for u, v, c in bounds])

    def _with_range(self, symbol: Symbol, lo: int, hi: int) -> Self:
        return self._learn([(symbol, 0, hi), (-symbol, 0, -lo)])

    def _learn(self, bounds: Iterable[Bound]) -> Self:
        octagon = self._octagon.learn(bounds)
        if octagon is self._octagon:
            return self
        if self._totals:
            # Once: two sums that depend on each other might pass on ever smaller steps.
            octagon = octagon.learn([bound for z in self._totals for bound in _of_total(octagon, z, self._totals[z])])
        return type(self)(octagon, self._totals) if not octagon.is_empty else self._contradiction()

    def define(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Self:
        if self._bottom:
            return self
        total = _total(op, args)
        if total is None:
            return self._define_below(symbol, op, args)
        a, b, c = total
        known = self._octagon.closed()
        lo, hi = c - known.upper(-a, -b), c + known.upper(a, b)
        if lo < MIN or hi > MAX:
            return self
        # The word and this sum are the same modulo 2**64, and both lie between MIN and MAX: they are the same.
        bounds: list[Bound] = [(symbol, 0, hi), (-symbol, 0, -lo)]
        for one, other in ((a, b), (b, a)):
            if one:
                bounds += [(symbol, -one, known.high(other) + c), (-symbol, one, known.high(-other) - c)]
        result = self._learn(bounds)
        if a and b and a != -b and not result._bottom:
            return type(self)(result._octagon, {**result._totals, symbol: total})
        return result

    def forget(self, dead: Iterable[Symbol]) -> Self:
        """Drop symbols; what they imply between others is known already."""
        if self._bottom:
            return self
        gone = set(dead)
        totals = {z: (a, b, c) for z, (a, b, c) in self._totals.items() if gone.isdisjoint((z, abs(a), abs(b)))}
        return type(self)(self._octagon.without(gone), totals)

    # Calls -------------------------------------------------------------------------------------------------------

    def renamed(self, names: Mapping[Symbol, Symbol]) -> Self:
        """The same of other symbols."""

        def name(symbol: Symbol) -> Symbol:
            return names.get(symbol, symbol)

        def literal(a: Literal) -> Literal:
            return name(a) if a >= 0 else -name(-a)

        totals = {name(z): (literal(a), literal(b), c) for z, (a, b, c) in self._totals.items()}
        return type(self)(self._octagon.renamed(literal), totals)

    def meet(self, other: Self) -> Self:
        """What both know together."""
        if self._bottom or other._bottom:
            return self if self._bottom else other
        return type(self)(self._octagon, {**other._totals, **self._totals})._learn(other._octagon.bounds())

    # Lattice -----------------------------------------------------------------------------------------------------

    def _side(self, terms: Iterable[tuple[Symbol, Term]]) -> Side:
        """What symbols of a result stand for here."""
        return Side(self._octagon.closed(), {symbol: self._linear(term) for symbol, term in terms})

    def join(self, other: Self, phis: Sequence[Phi]) -> Self:
        if self._bottom and other._bottom:
            return self
        left = other if self._bottom else self
        right = self if other._bottom else other
        ours = left._side([(phi.symbol, phi.right if self._bottom else phi.left) for phi in phis])
        theirs = right._side([(phi.symbol, phi.left if other._bottom else phi.right) for phi in phis])
        return type(self)(joined(ours, theirs))

    def widen(self, other: Self, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Self:
        if self._bottom or other._bottom:
            return self.join(other, phis)
        # What is stored here, not what follows from it: see Octagon.closed.
        old = Side(self._octagon, {phi.symbol: self._linear(phi.left) for phi in phis})
        return type(self)(widened(old, other._side([(phi.symbol, phi.right) for phi in phis])))

    def leq(self, other: Self, match: Mapping[Symbol, Term]) -> bool:
        if self._bottom:
            return True
        if other._bottom:
            return False
        symbols = other.symbols()
        side = self._side([(symbol, match.get(symbol, Term(symbol, 0))) for symbol in symbols])
        return all(side.upper(a, b) <= c for a, b, c in other._octagon.bounds()) and all(
            self._adds_up(side, z, total) for z, total in other._totals.items()
        )

    def _adds_up(self, side: Side, z: Symbol, total: Total) -> bool:
        """Whether what ``side`` makes of ``z = a + b + c`` is known here, between integers."""
        a, b, c = total
        images = [side.image(literal) for literal in (z, a, b)]
        if None in images:
            return False
        (result, p), (one, q), (other, r) = (image for image in images if image is not None)
        c += q + r - p
        if result == one == other == NO_SYMBOL:
            return c == 0
        return self._totals.get(result) in ((one, other, c), (other, one, c))

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        """Symbols missing from ``valuation`` are unconstrained, so only what is given is checked."""
        if self._bottom:
            return False
        values = {NO_SYMBOL: 0}
        for symbol, word in valuation.items():
            value = to_signed(word, 64)
            values[symbol], values[-symbol] = value, -value
        given = values.keys()
        return all(
            a not in given or b not in given or values[a] + values[b] <= c for a, b, c in self._octagon.bounds()
        ) and all(
            not {z, a, b} <= given or values[z] == values[a] + values[b] + c for z, (a, b, c) in self._totals.items()
        )

    def symbols(self) -> frozenset[Symbol]:
        """The symbols about which anything is stored."""
        return frozenset(self._octagon.symbols()) | frozenset(self._totals)

    def statements(self) -> Iterator[Statement]:
        """All that is known."""
        known = self._octagon
        for symbol in sorted({abs(a) for a in known.highs}):
            yield InRange(symbol, -known.high(-symbol), known.high(symbol), 64, True)
        for a, b, c in known.of_sums():
            if a < 0 < b:
                yield Difference(b, -a, c)
            else:
                yield Sum(a, b, c) if a > 0 else Sum(-b, -a, c, True)
        for symbol, (a, b, c) in self._totals.items():
            # z = a + b + c with a minus is b less the other; without one, a = z - b - c.
            yield Subtraction(symbol, a, -b, c) if b < 0 else Subtraction(a, symbol, b, -c)

    def describe(self, symbol: Symbol) -> str:
        """The sums and differences known of one symbol, for people."""
        rows = [(a, b, c) for a, b, c in self._octagon.of_sums() if symbol in (abs(a), abs(b))]
        return ", ".join(f"{_signed(b, True)}{_signed(a)} <= {c}" for a, b, c in sorted(rows))


def _signed(a: Literal, first: bool = False) -> str:
    if first:
        return f"s{a}" if a > 0 else f"-s{-a}"
    return f" + s{a}" if a > 0 else f" - s{-a}"


def _of_total(octagon: Octagon, z: Symbol, total: Total) -> list[Bound]:
    """What ``z = a + b + c`` says of ``z``, and of ``a + b``."""
    a, b, c = total
    return [
        (a, b, octagon.high(z) - c),
        (-a, -b, octagon.high(-z) + c),
        (z, 0, octagon.upper(a, b) + c),
        (-z, 0, octagon.upper(-a, -b) - c),
    ]


def _total(op: WordOp, args: tuple[Term, ...]) -> Total | None:
    """The sum of literals that ``op(*args)`` is modulo 2**64, if it is one."""
    if op.width != 64:
        return None
    symbol, offset = args[0]
    match op.kind:
        case OpKind.ADD:
            return symbol, args[1].symbol, to_signed(offset + args[1].offset, 64)
        case OpKind.SUB:
            return symbol, -args[1].symbol, to_signed(offset - args[1].offset, 64)
        case OpKind.NEG:
            return -symbol, 0, to_signed(-offset, 64)
        case OpKind.XOR if _ONES in args:
            # Inverting all bits gives -x - 1.
            symbol, offset = args[0] if args[1] == _ONES else args[1]
            return -symbol, 0, to_signed(-offset - 1, 64)
        case _:
            return None
