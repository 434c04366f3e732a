"""Zones: difference bounds ``x - y <= c`` between symbols that were really compared (Miné 2001, kept sparse).

Symbols are read as *signed* 64-bit words and the bounds hold between mathematical integers; that none rests on a sum
that may have wrapped is the business of :mod:`prevail_py.domains.integer_relations`.

There is no closure: a query searches the few edges there are for a shortest path, with node 0 (the constant zero)
linking the ranges in.  Ranges are passed on along the edges when either changes, so that they can be read off; only a
range without a bound, as widening leaves it, is looked for along the edges (and never stored, or it would undo the
widening).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self, TypeAlias

from prevail_py.domains.integer_relations import FULL, MAX, MIN, IntegerRelations
from prevail_py.domains.lattice import NO_SYMBOL, Phi, Range, Symbol, Term
from prevail_py.domains.statements import Difference, InRange, Statement, Subtraction
from prevail_py.words import OpKind, WordOp, to_signed

__all__ = ["Zones"]

Edges: TypeAlias = dict[tuple[Symbol, Symbol], int]


class Zones(IntegerRelations):
    """Upper bounds on differences of symbols, and a signed range per symbol; never changed once it is handed out."""

    __slots__ = ("_adjacent", "_bottom", "_edges", "_ranges", "_related", "_subtractions")

    def __init__(
        self,
        edges: Edges | None = None,
        ranges: dict[Symbol, Range] | None = None,
        subtractions: dict[Symbol, tuple[Symbol, Symbol, int]] | None = None,
        bottom: bool = False,
    ) -> None:
        self._edges: Edges = {} if edges is None else edges
        self._ranges: dict[Symbol, Range] = {} if ranges is None else ranges
        # z: (x, y, c) where z = x - y + c was computed without wrapping: a bound on z bounds x - y.
        self._subtractions: dict[Symbol, tuple[Symbol, Symbol, int]] = {} if subtractions is None else subtractions
        self._bottom = bottom
        self._adjacent: dict[Symbol, list[tuple[Symbol, int]]] | None = None
        self._related: frozenset[Symbol] | None = None

    @classmethod
    def top(cls) -> Self:
        """Nothing known."""
        return cls()

    def __repr__(self) -> str:
        return "bottom" if self._bottom else f"Zones({self._edges!r}, {self._ranges!r})"

    def is_bottom(self) -> bool:
        return self._bottom

    def _contradiction(self) -> Self:
        return type(self)(bottom=True)

    # Queries -----------------------------------------------------------------------------------------------------

    def _range(self, symbol: Symbol) -> Range:
        return self._ranges.get(symbol, FULL)

    def _is_related(self, symbol: Symbol) -> bool:
        """Whether the symbol has an edge, so that more is known of it than its range."""
        if self._related is None:
            self._related = frozenset([symbol for pair in self._edges for symbol in pair])
        return symbol in self._related

    def _upper(self, u: Symbol, v: Symbol) -> int:
        """The least known ``c`` with ``u - v <= c``, by shortest path."""
        if u == v:
            return 0
        if not self._edges or not (self._is_related(u) or self._is_related(v)):
            hi = 0 if u == NO_SYMBOL else self._range(u).hi
            lo = 0 if v == NO_SYMBOL else self._range(v).lo
            return hi - lo
        if self._adjacent is None:
            self._adjacent = {}
            for (a, b), c in self._edges.items():
                self._adjacent.setdefault(a, []).append((b, c))
        best: dict[Symbol, int] = {u: 0}
        queue = deque([u])
        # Every relaxation yields the length of a real path, so stopping early is sound; the cap guards against
        # negative cycles, which mean a contradiction that has not been noticed yet.
        fuel = 4 * len(self._edges) + 16
        while queue and fuel:
            fuel -= 1
            node = queue.popleft()
            here = best[node]
            for following, c in self._adjacent.get(node, ()):
                if following not in best or here + c < best[following]:
                    best[following] = here + c
                    queue.append(following)
        # Through zero: u - 0 <= min over reached w of path + hi(w), and 0 - v <= -lo(v) likewise from any w' to v.
        candidates = [best[v]] if v in best else []
        high = min(length + (0 if w == NO_SYMBOL else self._range(w).hi) for w, length in best.items())
        low = 0 if v == NO_SYMBOL else self._range(v).lo
        candidates.append(high - low)
        return min(candidates)

    def _bounds(self, symbol: Symbol) -> Range:
        lo, hi = self._range(symbol)
        if self._edges and (lo == MIN or hi == MAX) and self._is_related(symbol):
            return Range(self._lower(symbol), self._upper(symbol, NO_SYMBOL))
        return Range(lo, hi)

    def _lower(self, symbol: Symbol) -> int:
        return max(
            [self._range(symbol).lo]
            + [self._range(u).lo - c for (u, v), c in self._edges.items() if v == symbol and u != NO_SYMBOL]
        )

    # Learning ----------------------------------------------------------------------------------------------------

    def _add(self, bounds: Iterable[tuple[Symbol, Symbol, int]]) -> Self:
        """Add ``u - v <= c`` for each triple; bottom where one closes a negative cycle."""
        result = self
        for u, v, c in bounds:
            if result._bottom:
                break
            if u == v:
                if c < 0:
                    return self._contradiction()
            elif u == NO_SYMBOL:
                lo, hi = result._range(v)
                result = result._with_range(v, max(lo, -c), hi)
            elif v == NO_SYMBOL:
                lo, hi = result._range(u)
                result = result._with_range(u, lo, min(hi, c))
            elif result._upper(v, u) + c < 0:
                return self._contradiction()
            elif c < result._upper(u, v):
                edges = dict(result._edges)
                edges[u, v] = c
                result = type(self)(edges, result._ranges, result._subtractions)._passed_on((u, v))
        return result

    def _with_range(self, symbol: Symbol, lo: int, hi: int) -> Self:
        if lo > hi:
            return self._contradiction()
        if (lo, hi) == self._range(symbol):
            return self
        ranges = dict(self._ranges)
        ranges[symbol] = Range(lo, hi)
        result = type(self)(self._edges, ranges, self._subtractions)
        result._adjacent, result._related = self._adjacent, self._related
        result = result._passed_on((symbol,))
        definition = self._subtractions.get(symbol)
        if definition is not None:
            x, y, c = definition
            return result._add([(x, y, hi - c), (y, x, c - lo)])
        return result

    def _passed_on(self, changed: Iterable[Symbol]) -> Self:
        """Tighten the ranges of the neighbours of ``changed`` symbols, and of theirs; the fuel bounds the work."""
        if not self._edges:
            return self
        waiting = [symbol for symbol in changed if self._is_related(symbol)]
        ranges = self._ranges
        fuel = 2 * len(self._edges) + 2
        while waiting and fuel:
            fuel -= 1
            symbol = waiting.pop()
            here = ranges.get(symbol, FULL)
            for (u, v), c in self._edges.items():
                if v == symbol:
                    old = ranges.get(u, FULL)
                    new = Range(old.lo, min(old.hi, here.hi + c))
                    other = u
                elif u == symbol:
                    old = ranges.get(v, FULL)
                    new = Range(max(old.lo, here.lo - c), old.hi)
                    other = v
                else:
                    continue
                if new != old:
                    if new.lo > new.hi:
                        return self._contradiction()
                    if ranges is self._ranges:
                        ranges = dict(ranges)
                    ranges[other] = new
                    waiting.append(other)
        if ranges is self._ranges:
            return self
        result = type(self)(self._edges, ranges, self._subtractions)
        result._adjacent, result._related = self._adjacent, self._related
        return result

    def define(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Self:
        if self._bottom:
            return self
        if op.width != 64 or op.kind not in (OpKind.ADD, OpKind.SUB):
            return self._define_below(symbol, op, args)
        a, b = self._linear(args[0]), self._linear(args[1])
        if a is None or b is None:
            return self
        first, second = self.range(args[0], signed=True), self.range(args[1], signed=True)
        if op.kind is OpKind.SUB:
            lo, hi = first.lo - second.hi, first.hi - second.lo
            exact = self.difference(args[0], args[1])
            if lo < MIN or hi > MAX:
                lo, hi = exact.lo, exact.hi  # a path may bound the difference where the ranges do not
            lo, hi = max(lo, exact.lo), min(hi, exact.hi)
        else:
            lo, hi = first.lo + second.lo, first.hi + second.hi
        if lo < MIN or hi > MAX:
            return self
        result = self._with_range(symbol, lo, hi)
        bounds: list[tuple[Symbol, Symbol, int]] = []
        if a[0] != NO_SYMBOL:
            # z - x = (±b) + shift of a, as integers, since nothing wraps.
            low, high = (second.lo, second.hi) if op.kind is OpKind.ADD else (-second.hi, -second.lo)
            bounds += [(symbol, a[0], high + a[1]), (a[0], symbol, -(low + a[1]))]
        if b[0] != NO_SYMBOL and op.kind is OpKind.ADD:
            bounds += [(symbol, b[0], first.hi + b[1]), (b[0], symbol, -(first.lo + b[1]))]
        result = result._add(bounds)
        if op.kind is OpKind.SUB and a[0] != NO_SYMBOL and b[0] != NO_SYMBOL and not result._bottom:
            subtractions = dict(result._subtractions)
            subtractions[symbol] = (a[0], b[0], a[1] - b[1])
            result = type(self)(result._edges, result._ranges, subtractions)
        return result

    def forget(self, dead: Iterable[Symbol]) -> Self:
        """Drop symbols, first passing on what they imply between their neighbours."""
        if self._bottom:
            return self
        gone = set(dead)
        edges = self._edges
        touched = {s for pair in edges for s in pair} & gone
        if touched:
            edges = dict(edges)
            for symbol in sorted(touched):
                inward = [(u, c) for (u, v), c in edges.items() if v == symbol]
                outward = [(v, c) for (u, v), c in edges.items() if u == symbol]
                for u, c in inward:
                    for v, d in outward:
                        if u != v and c + d < edges.get((u, v), c + d + 1):
                            edges[u, v] = c + d
                for u, _ in inward:
                    del edges[u, symbol]
                for v, _ in outward:
                    del edges[symbol, v]
        ranges = {s: r for s, r in self._ranges.items() if s not in gone}
        subtractions = {
            z: d for z, d in self._subtractions.items() if z not in gone and d[0] not in gone and d[1] not in gone
        }
        return type(self)(edges, ranges, subtractions)

    # Calls -------------------------------------------------------------------------------------------------------

    def renamed(self, names: Mapping[Symbol, Symbol]) -> Self:
        """The same of other symbols."""
        name = names.get
        return type(self)(
            {(name(u, u), name(v, v)): c for (u, v), c in self._edges.items()},
            {name(symbol, symbol): known for symbol, known in self._ranges.items()},
            {name(z, z): (name(x, x), name(y, y), c) for z, (x, y, c) in self._subtractions.items()},
            self._bottom,
        )

    def meet(self, other: Self) -> Self:
        """What both know together."""
        if self._bottom or other._bottom:
            return self if self._bottom else other
        result = type(self)(self._edges, self._ranges, {**other._subtractions, **self._subtractions})
        for symbol, (lo, hi) in other._ranges.items():
            known = result._range(symbol)
            result = result._with_range(symbol, max(lo, known.lo), min(hi, known.hi))
            if result._bottom:
                return result
        return result._add((u, v, c) for (u, v), c in other._edges.items())

    # Lattice -----------------------------------------------------------------------------------------------------

    def _candidates(self, phis: Sequence[Phi], right: bool) -> set[tuple[Symbol, Symbol]]:
        """Pairs of result symbols that stand for symbols with an edge between them on one side."""
        carriers: dict[Symbol, list[Symbol]] = {}
        for phi in phis:
            term = phi.right if right else phi.left
            carriers.setdefault(term.symbol, []).append(phi.symbol)
        return {(p, q) for u, v in self._edges for p in carriers.get(u, ()) for q in carriers.get(v, ()) if p != q}

    def _merge(self, other: Self, phis: Sequence[Phi], widen: bool) -> Self:
        ranges: dict[Symbol, Range] = {}
        by_symbol = {phi.symbol: phi for phi in phis}
        for phi in phis:
            left, right = self.range(phi.left, signed=True), other.range(phi.right, signed=True)
            lo, hi = min(left.lo, right.lo), max(left.hi, right.hi)
            if widen:
                lo, hi = left.lo if lo == left.lo else MIN, left.hi if hi == left.hi else MAX
            if (lo, hi) != FULL:
                ranges[phi.symbol] = Range(lo, hi)
        candidates = self._candidates(phis, right=False)
        if not widen:
            # An edge absent on the left was given up or never there: widening must not bring it back.
            candidates |= other._candidates(phis, right=True)
        edges: Edges = {}
        for p, q in sorted(candidates):
            left_bound = self.difference(by_symbol[p].left, by_symbol[q].left).hi
            right_bound = other.difference(by_symbol[p].right, by_symbol[q].right).hi
            if widen and right_bound > left_bound:
                continue
            bound = max(left_bound, right_bound)
            implied = ranges.get(p, FULL).hi - ranges.get(q, FULL).lo
            if bound < implied:
                edges[p, q] = bound
        return type(self)(edges, ranges)

    def join(self, other: Self, phis: Sequence[Phi]) -> Self:
        if self._bottom or other._bottom:
            return self._join_with_bottom(other, phis)
        return self._merge(other, phis, widen=False)

    def _join_with_bottom(self, other: Self, phis: Sequence[Phi]) -> Self:
        if self._bottom and other._bottom:
            return self
        alive = other if self._bottom else self
        mirrored = [Phi(p.symbol, p.right, p.right) if self._bottom else Phi(p.symbol, p.left, p.left) for p in phis]
        return alive._merge(alive, mirrored, widen=False)

    def widen(self, other: Self, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Self:
        if self._bottom or other._bottom:
            return self._join_with_bottom(other, phis)
        return self._merge(other, phis, widen=True)

    def leq(self, other: Self, match: Mapping[Symbol, Term]) -> bool:
        if self._bottom:
            return True
        if other._bottom:
            return False
        for symbol, wanted in other._ranges.items():
            known = self.range(match.get(symbol, Term(symbol, 0)), signed=True)
            if known.lo < wanted.lo or known.hi > wanted.hi:
                return False
        return all(
            self.difference(match.get(u, Term(u, 0)), match.get(v, Term(v, 0))).hi <= c
            for (u, v), c in other._edges.items()
        ) and all(self._subtracts(match, z, x, y, c) for z, (x, y, c) in other._subtractions.items())

    def _subtracts(self, match: Mapping[Symbol, Term], z: Symbol, x: Symbol, y: Symbol, c: int) -> bool:
        """Whether what ``match`` makes of ``z = x - y + c`` is known here, between integers."""
        terms = [self._linear(match.get(symbol, Term(symbol, 0))) for symbol in (z, x, y)]
        if None in terms:
            return False
        (result, p), (left, q), (right, r) = (term for term in terms if term is not None)
        if result == left == right == NO_SYMBOL:
            return p == q - r + c
        return self._subtractions.get(result) == (left, right, c + q - r - p)

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        """Symbols missing from ``valuation`` are unconstrained, so only what is given is checked."""
        if self._bottom:
            return False
        values = {symbol: to_signed(word, 64) for symbol, word in valuation.items()}
        return (
            all(symbol not in values or lo <= values[symbol] <= hi for symbol, (lo, hi) in self._ranges.items())
            and all(
                u not in values or v not in values or values[u] - values[v] <= c for (u, v), c in self._edges.items()
            )
            and all(
                not {z, x, y} <= values.keys() or values[z] == values[x] - values[y] + c
                for z, (x, y, c) in self._subtractions.items()
            )
        )

    def symbols(self) -> frozenset[Symbol]:
        """The symbols about which anything is stored."""
        return frozenset(self._ranges) | {s for pair in self._edges for s in pair} | frozenset(self._subtractions)

    def statements(self) -> Iterator[Statement]:
        """All that is known."""
        for symbol, (lo, hi) in self._ranges.items():
            yield InRange(symbol, lo, hi, 64, True)
        for (u, v), c in self._edges.items():
            yield Difference(u, v, c)
        for symbol, difference in self._subtractions.items():
            yield Subtraction(symbol, *difference)

    def describe(self, symbol: Symbol) -> str:
        """The differences known of one symbol, for people."""
        return ", ".join(f"s{u} - s{v} <= {c}" for (u, v), c in sorted(self._edges.items()) if symbol in (u, v))
