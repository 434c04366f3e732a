"""Random histories of facts beside concrete runs: whatever was defined, assumed, refined, forgotten or joined, no value
is lost.

A :class:`History` takes a domain of facts and several concrete runs through the same random operations.  Each run gives
every symbol a word; comparisons are assumed as they turn out in all of the runs.  After every step each run must be in
the concretization and within all ranges and differences that the domain claims.  :data:`PROPERTIES` are what holds of
every domain, each a function of a source of choices and the domain's top; they raise AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final

from prevail_py.domains.lattice import NO_SYMBOL, Phi, Symbol, Term, constant, matched
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate, to_signed

__all__ = ["PROPERTIES", "History", "inclusion_is_sound", "phis_of", "read", "sides"]

_MASK: Final = (1 << 64) - 1
_EDGES: Final = (0, 1, 2, 4, 8, 127, 128, 255, 256, 1500, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
                 (1 << 63) - 2, (1 << 63) - 1, 1 << 63, (1 << 63) + 1,
                 _MASK - (1 << 31), _MASK - 8, _MASK - 1, _MASK)  # fmt: skip
_OPERATIONS: Final = (
    *(WordOp(kind, width) for kind in OpKind if kind.arity == 2 for width in (64, 32)),
    # What relations come from, more often.
    *[WordOp(OpKind.ADD), WordOp(OpKind.SUB)] * 6,
    *(WordOp(OpKind.NEG, w) for w in (32, 64)),
    *(WordOp(OpKind.ZEXT, w) for w in (8, 16, 32)),
    *(WordOp(OpKind.SEXT, w, s) for w in (32, 64) for s in (8, 16, 32) if s < w),
    *(WordOp(OpKind.BSWAP, w) for w in (16, 32, 64)),
)

_Run = dict[Symbol, int]


def value_of(term: Term, run: Mapping[Symbol, int]) -> int:
    base = 0 if term.symbol == NO_SYMBOL else run[term.symbol]
    return base + term.offset & _MASK


def read(word: int, width: int, signed: bool) -> int:
    """The reading of the low ``width`` bits."""
    return to_signed(word, width) if signed else word & ((1 << width) - 1)


class History:
    """A domain of facts and concrete runs that it must describe."""

    def __init__(self, random: Random, top: Callable[[], Any], runs: int = 1, first: Symbol = 1) -> None:
        self.random = random
        self.facts = top()
        self.runs: list[_Run] = [{} for _ in range(runs)]
        self.next = first

    def fork(self, runs: Sequence[_Run], first: Symbol) -> History:
        other = History(self.random, lambda: self.facts, 0, first)
        other.runs = [dict(run) for run in runs]
        return other

    # Choices --------------------------------------------------------------------------------------------------------

    def word(self) -> int:
        match self.random.randrange(4):
            case 0:
                return self.random.getrandbits(64)
            case 1:
                return self.random.randrange(16)
            case _:
                return self.random.choice(_EDGES) + self.random.randrange(-3, 4) & _MASK

    def offset(self) -> int:
        return self.random.choice((0, 0, 1, 2, 4, 14, 1500, -1, -4, 1 << 31, 1 << 32, 1 << 63, self.word())) & _MASK

    def symbols(self) -> list[Symbol]:
        return sorted(self.runs[0])

    def term(self) -> Term:
        symbols = self.symbols()
        if not symbols or self.random.random() < 0.2:
            return constant(self.word())
        return Term(self.random.choice(symbols), self.offset())

    # Steps ----------------------------------------------------------------------------------------------------------

    def bind(self, values: Sequence[int]) -> None:
        for run, value in zip(self.runs, values, strict=True):
            run[self.next] = value & _MASK
        self.next += 1

    def define(self) -> None:
        op = self.random.choice(_OPERATIONS)
        args = tuple(self.term() for _ in range(op.kind.arity))
        self.facts = self.facts.define(self.next, op, args)
        self.bind([evaluate(INT, op, tuple(value_of(term, run) for term in args)) for run in self.runs])

    def define_between(self) -> None:
        lo = self.random.choice((0, 0, 1, self.word(), -self.random.choice(_EDGES[:16]), -(1 << 63)))
        room = self.random.choice((0, 1, 7, 255, 65535, (1 << 32) - 1, 1 << 40, (1 << 64) - 1))
        hi = min(lo + room, _MASK if lo >= 0 else lo + _MASK)
        values = [self.random.choice((lo, hi, self.random.randint(lo, hi))) for _ in self.runs]
        self.facts = self.facts.define_between(self.next, lo, hi)
        self.bind(values)

    def learn(self, symbol: Symbol | None = None) -> None:
        a = self.term() if symbol is None else Term(symbol, 0)
        b, width = self.term(), self.random.choice((64, 64, 64, 32))
        comparisons = [c for c in Comparison if all(self.holds(c, a, b, width, run) for run in self.runs)]
        if comparisons:
            self.facts = self.facts.assume(self.random.choice(comparisons), a, b, width)

    @staticmethod
    def holds(comparison: Comparison, a: Term, b: Term, width: int, run: _Run) -> bool:
        return compare(INT, comparison, value_of(a, run), value_of(b, run), width)

    def refine(self) -> None:
        if not self.symbols():
            return
        symbol, signed = self.random.choice(self.symbols()), self.random.random() < 0.5
        values = [read(run[symbol], 64, signed) for run in self.runs]
        least, most = (-(1 << 63), (1 << 63) - 1) if signed else (0, _MASK)
        slack = self.random.choice((0, 1, 100, 1 << 32, 1 << 64))
        lo, hi = max(min(values) - slack, least), min(max(values) + self.random.choice((0, slack)), most)
        self.facts = self.facts.refine(symbol, lo, hi, signed)

    def forget(self) -> None:
        dead = [symbol for symbol in self.symbols() if self.random.random() < 0.3]
        self.facts = self.facts.forget(dead)
        for run in self.runs:
            for symbol in dead:
                del run[symbol]

    def step(self) -> None:
        steps = (self.define, self.define, self.define_between, self.learn, self.learn, self.refine)
        self.random.choice((*steps, *steps, self.forget))()
        self.check()

    def go(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    # Checks ---------------------------------------------------------------------------------------------------------

    def check(self, queries: int = 6) -> None:
        assert not self.facts.is_bottom()
        for run in self.runs:
            assert self.facts.contains(run), f"{run} is not in {self.facts!r}"
        for _ in range(queries):
            a, b = self.term(), self.term()
            width, signed = self.random.choice((64, 64, 32)), self.random.random() < 0.5
            lo, hi = self.facts.range(a, width, signed)
            least, most = self.facts.difference(a, b)
            for run in self.runs:
                value = read(value_of(a, run), width, signed)
                assert lo <= value <= hi, f"{a} is {value}, not in {lo}..{hi}: {run}, {self.facts!r}"
                difference = read(value_of(a, run), 64, True) - read(value_of(b, run), 64, True)
                assert least <= difference <= most, f"{a} - {b} is {difference}, not in {least}..{most}: {run}"


def phis_of(random: Random, left: History, right: History) -> list[Phi]:
    """Some symbols of both sides under their own names, and new ones for random pairs of terms."""
    shared = [s for s in left.symbols() if s in right.runs[0] and random.random() < 0.7]
    phis = [Phi(symbol, Term(symbol, 0), Term(symbol, 0)) for symbol in shared]
    return phis + [Phi(1000 + i, left.term(), right.term()) for i in range(random.randrange(5))]


def renamed(phis: Iterable[Phi], history: History, right: bool) -> list[_Run]:
    return [{phi.symbol: value_of(phi.right if right else phi.left, run) for phi in phis} for run in history.runs]


# The properties: each takes a source of choices and a domain, so that planted bugs can be looked for ----------------


def operations_are_sound(random: Random, top: Callable[[], Any]) -> None:
    History(random, top, random.randrange(1, 3)).go(12)


def sides(random: Random, top: Callable[[], Any]) -> tuple[History, History]:
    """Two histories with a common past: the same operations on different concrete values."""
    past = History(random, top, 2)
    past.go(random.randrange(7))
    left, right = past.fork(past.runs[:1], 100), past.fork(past.runs[1:], 200)
    left.go(random.randrange(5))
    right.go(random.randrange(5))
    return left, right


def merges_are_sound(random: Random, top: Callable[[], Any]) -> None:
    left, right = sides(random, top)
    phis = phis_of(random, left, right)
    if random.random() < 0.5:
        merged = left.facts.join(right.facts, phis)
    else:
        merged = left.facts.widen(right.facts, phis, random.choice(((), (8, 1500, 1 << 32, _MASK - 7))))
    both = left.fork([*renamed(phis, left, right=False), *renamed(phis, right, right=True)], 2000)
    both.facts = merged
    both.check(queries=12)
    # What the result still knows of how symbols were computed must be true of both, too.
    for phi in phis:
        both.learn(phi.symbol)
    both.go(3)


def merges_with_bottom_are_sound(random: Random, top: Callable[[], Any]) -> None:
    left, right = sides(random, top)
    phis = phis_of(random, left, right)
    bottom = top().assume(Comparison.EQ, constant(1), constant(2))
    only_left = left.fork(renamed(phis, left, right=False), 2000)
    only_right = right.fork(renamed(phis, right, right=True), 2000)
    only_left.facts, only_right.facts = left.facts.join(bottom, phis), bottom.join(right.facts, phis)
    for history in (only_left, only_right):
        history.check()
        history.go(2)


def inclusion_is_sound(random: Random, top: Callable[[], Any]) -> bool:
    """Whether ``leq`` held: then every run of the smaller side, renamed, is one of the larger."""
    left, right = sides(random, top)
    match random.randrange(4):
        case 0:
            # A join and one of its sides.
            phis = phis_of(random, left, right)
            large = left.facts.join(right.facts, phis)
            match_ = {phi.symbol: phi.left for phi in phis}
            names = [phi.symbol for phi in phis]
        case 1:
            # Two states with the same past: names stand for themselves, or for something similar.
            large = right.facts
            names = right.symbols()
            match_ = {s: Term(s, 0) if s in left.runs[0] and random.random() < 0.8 else left.term() for s in names}
        case 2:
            # A comparison of two words of which nothing else is known.
            other = History(random, top, 1, first=500)
            other.bind([other.word()])
            other.bind([other.word()])
            other.learn(500)
            large, names = other.facts, other.symbols()
            match_ = {symbol: left.term() for symbol in names}
        case _:
            # A state that knows little, under any match.
            other = History(random, top, 1, first=500)
            other.go(random.randrange(1, 4))
            large, names = other.facts, other.symbols()
            match_ = {symbol: left.term() for symbol in names}
    if not left.facts.leq(large, match_):
        return False
    runs = [{s: value_of(matched(Term(s, 0), match_), run) for s in names} for run in left.runs]
    inside = left.fork(runs, 3000)
    inside.facts = large
    inside.check(queries=12)
    for symbol in names:
        inside.learn(symbol)
    inside.go(2)
    return True


def sides_are_included_in_their_join(random: Random, top: Callable[[], Any]) -> None:
    """Not a matter of soundness, but a fixpoint needs it to end."""
    left, right = sides(random, top)
    phis = phis_of(random, left, right)
    joined = left.facts.join(right.facts, phis)
    assert left.facts.leq(joined, {phi.symbol: phi.left for phi in phis} | {p.symbol: p.left for p in phis})
    assert right.facts.leq(joined, {phi.symbol: phi.right for phi in phis})
    assert joined.leq(joined, {})


def calls_are_sound(random: Random, top: Callable[[], Any]) -> None:
    """Two pasts of the same runs, one of them under other names, are taken back to the first names and added up."""
    before = History(random, top, 2)
    before.go(random.randrange(4, 10))
    inside, outside = before.fork(before.runs, before.next), before.fork(before.runs, before.next)
    inside.go(random.randrange(2, 6))
    outside.runs = [{**run, **mine} for run, mine in zip(outside.runs, inside.runs, strict=True)]
    outside.next = inside.next
    outside.go(random.randrange(2, 6))
    names = {symbol: symbol + 1000 for symbol in {s for run in inside.runs for s in run}}
    away = inside.facts.renamed(names)
    for run in inside.runs:
        assert away.contains({names[symbol]: word for symbol, word in run.items()})
    assert not away.symbols() & set(names)
    back = away.renamed({theirs: mine for mine, theirs in names.items()})
    assert back.leq(inside.facts, {}), "renamed twice is the same"
    assert inside.facts.leq(back, {}), "renamed twice is the same"
    both = back.meet(outside.facts)
    for run in outside.runs:
        # What one side has forgotten may be bound anew on the other only under a new name.
        assert both.contains(run)
    for symbol in outside.symbols():
        for signed in (False, True):
            known = both.range(Term(symbol, 0), 64, signed)
            for side in (inside.facts, outside.facts):
                wide = side.range(Term(symbol, 0), 64, signed)
                assert wide.lo <= known.lo, "nothing is lost"
                assert known.hi <= wide.hi, "nothing is lost"


PROPERTIES: Final[dict[str, Callable[[Random, Callable[[], Any]], object]]] = {
    "calls": calls_are_sound,
    "operations": operations_are_sound,
    "merges": merges_are_sound,
    "merges with bottom": merges_with_bottom_are_sound,
    "inclusion": inclusion_is_sound,
    "sides of a join": sides_are_included_in_their_join,
}
