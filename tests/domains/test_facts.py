"""Facts against concrete valuations: whatever was defined, assumed, refined, forgotten or joined, no value is lost.

A :class:`History` takes a domain of facts and several concrete runs through the same random operations.  Each run gives
every symbol a word; comparisons are assumed as they turn out in all of the runs.  After every step each run must be in
the concretization and within all ranges and differences that the domain claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prevail_py.domains import facts
from prevail_py.domains.facts_product import FactsProduct
from prevail_py.domains.interval import Interval
from prevail_py.domains.lattice import NO_SYMBOL, Phi, Range, Symbol, Term, constant, matched
from prevail_py.domains.nonrelational import NonRelational
from prevail_py.domains.zones import Zones
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate, to_signed

NAMES = ("interval", "tnum", "interval*tnum", "interval*zones", "tnum*zones", "zones*interval", "interval*tnum*zones")
DOMAINS: dict[str, Callable[[], Any]] = {name: facts(name) for name in NAMES} | {"zones alone": Zones.top}

MASK = (1 << 64) - 1
EDGES = (0, 1, 2, 4, 8, 127, 128, 255, 256, 1500, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
         (1 << 63) - 2, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, MASK - (1 << 31), MASK - 8, MASK - 1, MASK)  # fmt: skip
OPERATIONS = (
    *(WordOp(kind, width) for kind in OpKind if kind.arity == 2 for width in (64, 32)),
    # What relations come from, more often.
    *[WordOp(OpKind.ADD), WordOp(OpKind.SUB)] * 6,
    *(WordOp(OpKind.NEG, w) for w in (32, 64)),
    *(WordOp(OpKind.ZEXT, w) for w in (8, 16, 32)),
    *(WordOp(OpKind.SEXT, w, s) for w in (32, 64) for s in (8, 16, 32) if s < w),
    *(WordOp(OpKind.BSWAP, w) for w in (16, 32, 64)),
)

Run = dict[Symbol, int]


def value_of(term: Term, run: Mapping[Symbol, int]) -> int:
    base = 0 if term.symbol == NO_SYMBOL else run[term.symbol]
    return base + term.offset & MASK


def read(word: int, width: int, signed: bool) -> int:
    return to_signed(word, width) if signed else word & ((1 << width) - 1)


class History:
    """A domain of facts and concrete runs that it must describe."""

    def __init__(self, random: Random, top: Callable[[], Any], runs: int = 1, first: Symbol = 1) -> None:
        self.random = random
        self.facts = top()
        self.runs: list[Run] = [{} for _ in range(runs)]
        self.next = first

    def fork(self, runs: Sequence[Run], first: Symbol) -> History:
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
                return self.random.choice(EDGES) + self.random.randrange(-3, 4) & MASK

    def offset(self) -> int:
        return self.random.choice((0, 0, 1, 2, 4, 14, 1500, -1, -4, 1 << 31, 1 << 32, 1 << 63, self.word())) & MASK

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
            run[self.next] = value & MASK
        self.next += 1

    def define(self) -> None:
        op = self.random.choice(OPERATIONS)
        args = tuple(self.term() for _ in range(op.kind.arity))
        self.facts = self.facts.define(self.next, op, args)
        self.bind([evaluate(INT, op, tuple(value_of(term, run) for term in args)) for run in self.runs])

    def define_between(self) -> None:
        lo = self.random.choice((0, 0, 1, self.word(), -self.random.choice(EDGES[:16]), -(1 << 63)))
        room = self.random.choice((0, 1, 7, 255, 65535, (1 << 32) - 1, 1 << 40, (1 << 64) - 1))
        hi = min(lo + room, MASK if lo >= 0 else lo + MASK)
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
    def holds(comparison: Comparison, a: Term, b: Term, width: int, run: Run) -> bool:
        return compare(INT, comparison, value_of(a, run), value_of(b, run), width)

    def refine(self) -> None:
        if not self.symbols():
            return
        symbol, signed = self.random.choice(self.symbols()), self.random.random() < 0.5
        values = [read(run[symbol], 64, signed) for run in self.runs]
        least, most = (-(1 << 63), (1 << 63) - 1) if signed else (0, MASK)
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


def renamed(phis: Iterable[Phi], history: History, right: bool) -> list[Run]:
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
        merged = left.facts.widen(right.facts, phis, random.choice(((), (8, 1500, 1 << 32, MASK - 7))))
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
    assert bottom.is_bottom() or not bottom.contains({}) or isinstance(bottom, Zones | FactsProduct)
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


PROPERTIES: dict[str, Callable[[Random, Callable[[], Any]], object]] = {
    "operations": operations_are_sound,
    "merges": merges_are_sound,
    "merges with bottom": merges_with_bottom_are_sound,
    "inclusion": inclusion_is_sound,
    "sides of a join": sides_are_included_in_their_join,
}

# By seed: a run is a few hundred choices, more than Hypothesis would shrink in reasonable time.
SETTINGS = settings(max_examples=50)


@pytest.mark.parametrize("prop", PROPERTIES)
@pytest.mark.parametrize("name", DOMAINS)
def test_property(name: str, prop: str) -> None:
    @SETTINGS
    @given(st.integers(0, (1 << 32) - 1))
    def check(seed: int) -> None:
        PROPERTIES[prop](Random(seed), DOMAINS[name])

    check()


@pytest.mark.parametrize("name", DOMAINS)
def test_inclusion_holds_often_enough(name: str) -> None:
    assert sum(inclusion_is_sound(Random(seed), DOMAINS[name]) for seed in range(200)) > 40


# Termination --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("thresholds", [(), (8, 1500, 1 << 32, MASK - 7)], ids=("plain", "thresholds"))
def test_widening_stabilises(name: str, thresholds: tuple[int, ...]) -> None:
    """Ever new states of the same four symbols, related and just out of reach, are all covered after a while."""
    symbols = (1, 2, 3, 4)
    phis = [Phi(symbol, Term(symbol, 0), Term(symbol, 0)) for symbol in symbols]
    for seed in range(4):
        random = Random(f"{name}/{seed}")

        def state(random: Random = random, old: Any = None) -> Any:
            history = History(random, DOMAINS[name])
            for _ in symbols:
                if old is not None and random.random() < 0.6:
                    # One more than what is known already.
                    bound = old.range(Term(history.next, 0), 64, signed := random.random() < 0.5)
                    value = random.choice((bound.lo - 1, bound.hi + 1)) & MASK
                    history.facts = history.facts.refine(history.next, *[read(value, 64, signed)] * 2, signed)
                    history.bind([value])
                elif random.random() < 0.5:
                    history.define_between()
                else:
                    history.define()
            for _ in range(3):
                history.learn()
            return history.facts

        known, changes, quiet = state(), 0, 0
        while quiet < 40:
            new = state(old=known)
            if new.leq(known, {}):
                quiet += 1
                continue
            quiet = 0
            wider = known.widen(new, phis, thresholds)
            assert new.leq(wider, {})
            assert known.leq(wider, {})
            changes += not wider.leq(known, {})
            known = wider
            assert changes < 400, f"still growing: {known!r}"


# Examples: what must be known, and what must not ------------------------------------------------------------------


X, Y, Z = Term(1, 0), Term(2, 0), Term(3, 0)


def bounded(*upper: int, name: str = "interval*tnum*zones") -> Any:
    """Symbols 1, 2, ... between 0 and these bounds."""
    known = facts(name)()
    for symbol, bound in enumerate(upper, 1):
        known = known.define_between(symbol, 0, bound)
    return known


def plus(term: Term, amount: int) -> Term:
    return Term(term.symbol, term.offset + amount & MASK)


def test_a_comparison_of_sums_that_do_not_wrap_bounds_the_difference() -> None:
    known = bounded(1 << 16, (1 << 31) - 1).assume(Comparison.ULE, plus(X, 4), Y)
    assert known.difference(Y, X).lo == 4
    assert known.difference(Y, plus(X, 4)).lo == 0
    assert known.range(Y).lo == 4


def test_a_comparison_of_a_sum_that_may_wrap_says_nothing() -> None:
    """x + 4 s<= y for x = 2**63 - 1 and y = 0."""
    known = facts()().define_between(1, 0, MASK).define_between(2, 0, 1500).assume(Comparison.SLE, plus(X, 4), Y)
    assert known.contains({1: (1 << 63) - 1, 2: 0})
    assert known.difference(Y, X).lo <= -((1 << 63) - 1)


def test_an_unsigned_comparison_of_a_sum_that_may_wrap_is_no_upper_bound() -> None:
    """x + 4 <= y for x = 2**64 - 2 and y = 2."""
    known = facts()().define_between(1, 0, MASK).define_between(2, 0, 1500).assume(Comparison.ULE, plus(X, 4), Y)
    assert known.contains({1: MASK - 1, 2: 2})
    assert known.range(X).hi == MASK


def test_unsigned_comparisons_of_negative_words_say_nothing_of_the_signed_difference() -> None:
    known = bounded(16).define_between(2, -16, -1).assume(Comparison.ULE, X, Y)
    assert known.contains({1: 16, 2: MASK})
    assert known.difference(Y, X).lo <= -17


def test_differences_pass_through_symbols_that_are_forgotten() -> None:
    known = (
        bounded(1 << 20, 1 << 20, 1 << 20).assume(Comparison.ULE, plus(X, 4), Y).assume(Comparison.ULE, plus(Y, 5), Z)
    )
    assert known.difference(Z, X).lo == 9
    assert known.forget([2]).difference(Z, X).lo == 9
    assert 2 not in known.forget([2]).symbols()


def test_a_bound_of_a_difference_that_was_computed_bounds_the_operands() -> None:
    known = bounded(1 << 20, 1 << 20).define(3, WordOp(OpKind.SUB), (X, Y)).assume(Comparison.SGE, Z, constant(14))
    assert known.difference(X, Y).lo == 14


def test_what_is_learnt_of_a_result_narrows_the_operand() -> None:
    known = bounded((1 << 32) - 1).define(2, WordOp(OpKind.SUB, 32), (X, constant(1)))
    assert known.assume(Comparison.ULE, Y, constant(7), 32).range(X) == Range(1, 8)


def test_a_join_keeps_the_weaker_of_two_differences() -> None:
    start = bounded(1 << 20, 1 << 20)
    phis = [Phi(1, X, X), Phi(2, Y, Y)]
    four, nine = (start.assume(Comparison.ULE, plus(X, n), Y) for n in (4, 9))
    assert four.join(nine, phis).difference(Y, X).lo == 4
    assert nine.widen(four, phis).difference(Y, X).lo <= 4


def test_definitions_are_compared() -> None:
    start = bounded((1 << 32) - 1)
    computed = start.define(2, WordOp(OpKind.SUB, 32), (X, constant(1)))
    unrelated = start.define_between(2, 0, (1 << 32) - 1)
    assert computed.leq(unrelated, {})
    assert not unrelated.leq(computed, {})
    assert computed.leq(computed, {})
    again = (
        bounded((1 << 32) - 1)
        .define_between(5, 0, (1 << 32) - 1)
        .define(6, WordOp(OpKind.SUB, 32), (Term(5, 0), constant(1)))
    )
    assert again.leq(computed, {1: Term(5, 0), 2: Term(6, 0)})
    assert not again.leq(computed, {1: X, 2: Term(6, 0)})
    assert computed.contains({1: 0, 2: (1 << 32) - 1})
    assert not computed.contains({1: 0, 2: 5})


# Planted bugs -------------------------------------------------------------------------------------------------------


def _wrap(owner: Any, name: str, change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(owner, name, change(getattr(owner, name)))


def _always_linear(self: Zones, term: Term) -> tuple[Symbol, int]:
    return term.symbol, to_signed(term.offset, 64)


def _unsigned_is_signed(old: Any) -> Any:
    signed = {Comparison.ULT: Comparison.SLT, Comparison.ULE: Comparison.SLE,
              Comparison.UGT: Comparison.SGT, Comparison.UGE: Comparison.SGE}  # fmt: skip
    return lambda self, c, *rest: old(self, signed.get(c, c), *rest)


def _keep_left(old: Any) -> Any:
    return lambda self, other, phis, *rest: old(self, self, [phi._replace(right=phi.left) for phi in phis], *rest)


def _without(*parts: str) -> Callable[[Any], Any]:
    """``leq`` against a copy of the other side that has nothing in these attributes."""

    def change(old: Any) -> Any:
        def leq(self: Any, other: Any, match: Any) -> bool:
            copy = other.forget(())
            for part in parts:
                setattr(copy, part, {})
            return bool(old(self, copy, match))

        return leq

    return change


BUGS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], tuple[str, ...]]] = {
    "edges are one too tight": (
        _wrap(Zones, "_add", lambda old: lambda self, bounds: old(self, [(u, v, c - 1) for u, v, c in bounds])),
        ("zones alone",),
    ),
    "sums are taken not to wrap": (_wrap(Zones, "_linear", lambda old: _always_linear), ("zones alone",)),
    "32-bit comparisons bound 64-bit differences": (
        _wrap(Zones, "assume", lambda old: lambda self, c, a, b, width=64: old(self, c, a, b, 64)),
        ("interval*zones",),
    ),
    "unsigned comparisons of zones are signed": (_wrap(Zones, "assume", _unsigned_is_signed), ("zones alone",)),
    "unsigned comparisons of words are signed": (_wrap(Interval, "restrict", _unsigned_is_signed), ("interval",)),
    "zones join keeps the left": (_wrap(Zones, "join", _keep_left), ("zones alone",)),
    "zones widening keeps the left": (_wrap(Zones, "widen", _keep_left), ("zones alone",)),
    "words join keeps the left": (_wrap(NonRelational, "join", _keep_left), ("interval",)),
    "leq ignores edges": (_wrap(Zones, "leq", _without("_edges")), ("zones alone",)),
    "leq ignores ranges": (_wrap(Zones, "leq", _without("_ranges")), ("zones alone",)),
    "leq ignores definitions": (_wrap(NonRelational, "leq", _without("_definitions")), ("interval",)),
    "the match of leq is ignored": (
        _wrap(NonRelational, "leq", lambda old: lambda self, other, match: old(self, other, {})),
        ("interval",),
    ),
    "definitions survive joins of other operands": (
        _wrap(NonRelational, "_merge", lambda old: lambda self, other, phis, combine: _with_definitions(
            self, old(self, other, phis, combine))),
        ("interval",),
    ),
    "differences are computed backwards": (
        _wrap(Zones, "difference", lambda old: lambda self, a, b: Range(-old(self, a, b).hi, -old(self, a, b).lo)),
        ("zones alone",),
    ),
    "a product refines with the wrong reading": (
        _wrap(Zones, "refine", lambda old: lambda self, symbol, lo, hi, signed=False: old(self, symbol, lo, hi, True)),
        ("interval*zones",),
    ),
    "forgetting passes on half of the distance": (
        _wrap(Zones, "forget", lambda old: lambda self, dead: _halved(old(self, dead))),
        ("zones alone",),
    ),
}  # fmt: skip


def _with_definitions(old: Any, new: Any) -> Any:
    new._definitions.update(old._definitions)
    return new


def _halved(zones: Zones) -> Zones:
    return Zones({pair: bound // 2 for pair, bound in zones._edges.items()}, zones._ranges, zones._subtractions)


def _found(names: Iterable[str], tries: int = 1000) -> bool:
    """Whether some property fails for one of the domains."""
    for seed in range(tries):
        for name in names:
            for check in PROPERTIES.values():
                try:
                    check(Random(seed), DOMAINS[name])
                except AssertionError:
                    return True
    return False


@pytest.mark.parametrize("bug", BUGS)
def test_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, names = BUGS[bug]
    plant(monkeypatch)
    assert _found(names)
