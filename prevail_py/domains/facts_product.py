"""The reduced product of Facts: every member hears everything, and they exchange ranges through ``refine``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from prevail_py.domains.lattice import NO_SYMBOL, Definition, Facts, Phi, Range, Symbol, Term
from prevail_py.domains.statements import Statement
from prevail_py.words import Comparison, WordOp

__all__ = ["FactsProduct"]


class FactsProduct:
    """Members in the order of reduction: the first is asked first.  Bottom as soon as one member is."""

    __slots__ = ("members",)

    def __init__(self, members: tuple[Facts, ...]) -> None:
        self.members = members

    def __repr__(self) -> str:
        return " * ".join(map(repr, self.members))

    def is_bottom(self) -> bool:
        return any(member.is_bottom() for member in self.members)

    def _reduce(self, members: list[Any], symbols: Iterable[Symbol]) -> Self:
        """Let each member tell the others the ranges it knows of ``symbols``: two rounds at most, so it always ends."""
        symbols = [symbol for symbol in symbols if symbol != NO_SYMBOL]
        for _ in range(2):
            changed = False
            for symbol in symbols:
                if _exchange(members, symbol, signed=False):
                    changed = True
                # Below 2**63 both readings are the same.
                if members[0].range(Term(symbol, 0)).hi >> 63 and _exchange(members, symbol, signed=True):
                    changed = True
            if not changed:
                break
        return type(self)(tuple(members))

    def define(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Self:
        return self._reduce([member.define(symbol, op, args) for member in self.members], (symbol,))

    def define_between(self, symbol: Symbol, lo: int, hi: int) -> Self:
        return type(self)(tuple(member.define_between(symbol, lo, hi) for member in self.members))

    def assume(self, comparison: Comparison, a: Term, b: Term, width: int = 64) -> Self:
        members: list[Any] = list(self.members)
        symbols = (a.symbol, b.symbol)
        # One after the other, so that a member that needs ranges (no wrap-around) already has the new ones.
        for i, member in enumerate(members):
            members[i] = member.assume(comparison, a, b, width)
            if i + 1 < len(members):
                members = list(self._reduce(members, symbols).members)
        return self._reduce(members, symbols)

    def forget(self, dead: Iterable[Symbol]) -> Self:
        gone = frozenset(dead)
        return type(self)(tuple(member.forget(gone) for member in self.members))

    def renamed(self, names: Mapping[Symbol, Symbol]) -> Self:
        members: tuple[Any, ...] = self.members
        return type(self)(tuple(member.renamed(names) for member in members))

    def meet(self, other: Self) -> Self:
        members: tuple[Any, ...] = self.members
        return type(self)(tuple(a.meet(b) for a, b in zip(members, other.members, strict=True)))

    def range(self, term: Term, width: int = 64, signed: bool = False) -> Range:
        if term.symbol == NO_SYMBOL:
            return self.members[0].range(term, width, signed)
        ranges = [member.range(term, width, signed) for member in self.members]
        return Range(max(r.lo for r in ranges), min(r.hi for r in ranges))

    def difference(self, a: Term, b: Term) -> Range:
        ranges = [member.difference(a, b) for member in self.members]
        return Range(max(r.lo for r in ranges), min(r.hi for r in ranges))

    def refine(self, symbol: Symbol, lo: int, hi: int, signed: bool = False) -> Self:
        return self._reduce([member.refine(symbol, lo, hi, signed) for member in self.members], (symbol,))

    def join(self, other: Self, phis: Sequence[Phi]) -> Self:
        pairs = zip(self.members, other.members, strict=True)
        joined = [a.join(b, phis) for a, b in pairs]
        terms = {phi.symbol: (phi.left, phi.right) for phi in phis}
        for index, member in enumerate(joined):
            if not getattr(member, "PARTIAL", False):
                continue
            # It may now speak of symbols that it had no reason to know the ranges of, and others forget.
            for symbol in sorted(member.symbols() - self.members[index].symbols()):
                left, right = terms.get(symbol, (Term(symbol, 0), Term(symbol, 0)))
                mine, theirs = self.range(left, signed=True), other.range(right, signed=True)
                if mine.lo <= mine.hi and theirs.lo <= theirs.hi:
                    lo, hi = min(mine.lo, theirs.lo), max(mine.hi, theirs.hi)
                    joined[index] = joined[index].refine(symbol, lo, hi, signed=True)
        return type(self)(tuple(joined))

    def widen(self, other: Self, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Self:
        # No reduction afterwards: it could undo the widening of one member with bounds of another, for ever.
        pairs = zip(self.members, other.members, strict=True)
        return type(self)(tuple(a.widen(b, phis, thresholds) for a, b in pairs))

    def leq(self, other: Self, match: Mapping[Symbol, Term]) -> bool:
        return self.is_bottom() or all(
            self._below(a, b, match) for a, b in zip(self.members, other.members, strict=True)
        )

    def _below(self, a: Any, b: Any, match: Mapping[Symbol, Term]) -> bool:
        """Order of two members; one that keeps some ranges only is compared with what the others know of them."""
        if getattr(a, "PARTIAL", False):
            return bool(a.leq_given(b, match, self._signed))
        return bool(a.leq(b, match))

    def _signed(self, term: Term) -> Range:
        return self.range(term, signed=True)

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        return all(member.contains(valuation) for member in self.members)

    def definition(self, symbol: Symbol) -> Definition | None:
        """How ``symbol`` was computed, if a member knows."""
        return next((known for member in self.members if (known := member.definition(symbol)) is not None), None)

    def symbols(self) -> frozenset[Symbol]:
        """The symbols about which any member stores anything."""
        return frozenset().union(*(member.symbols() for member in self.members))

    def statements(self) -> Iterator[Statement]:
        """All that the members know."""
        for member in self.members:
            yield from member.statements()

    def describe(self, symbol: Symbol) -> str:
        """What all members say of one symbol, for people."""
        return "; ".join(filter(None, (member.describe(symbol) for member in self.members)))


def _exchange(members: list[Any], symbol: Symbol, signed: bool) -> bool:
    """Give every member the intersection of the ranges they know of ``symbol``; whether one learnt something."""
    term = Term(symbol, 0)
    ranges = [member.range(term, 64, signed) for member in members]
    if ranges.count(ranges[0]) == len(ranges):
        return False
    lo, hi = max(r.lo for r in ranges), min(r.hi for r in ranges)
    changed = False
    for i, known in enumerate(ranges):
        if lo > known.lo or hi < known.hi:
            members[i] = members[i].refine(symbol, lo, hi, signed)
            changed = True
    return changed
