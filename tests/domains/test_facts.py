"""Facts against concrete valuations: whatever was defined, assumed, refined, forgotten or joined, no value is lost.

The histories and the properties are those of :mod:`prevail_py.research.histories`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prevail_py.domains import facts
from prevail_py.domains.interval import Interval
from prevail_py.domains.lattice import Phi, Range, Symbol, Term, constant
from prevail_py.domains.nonrelational import NonRelational
from prevail_py.domains.octagons import Octagons
from prevail_py.domains.scalar_zones import ScalarZones
from prevail_py.domains.zones import Zones
from prevail_py.research.histories import PROPERTIES, History, inclusion_is_sound, read
from prevail_py.words import Comparison, OpKind, WordOp, to_signed

MASK = (1 << 64) - 1
NAMES = ("interval", "tnum", "interval*tnum", "interval*zones", "tnum*zones", "zones*interval", "interval*tnum*zones",
         "congruence", "interval*congruence*zones", "interval*tnum*zones*equalities",
         "interval*tnum*octagons")  # fmt: skip
DOMAINS: dict[str, Callable[[], Any]] = {name: facts(name) for name in NAMES} | {
    "interval*tnum*zones, not fused": facts("interval*tnum*zones", fused=False),
    "zones alone": Zones.top,
    "octagons alone": Octagons.top,
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


def test_ranges_that_another_member_knows() -> None:
    """An equation found at a join speaks of symbols of which the side's own equations did not: see leq_given."""
    PROPERTIES["sides of a join"](Random(16870363), DOMAINS["interval*tnum*zones*equalities"])


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


FUSED = ("interval*tnum*zones",)
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
    "fused: edges are one too tight": (
        _wrap(ScalarZones, "_relate", lambda old: lambda self, u, v, c, changed: old(self, u, v, c - 1, changed)),
        FUSED,
    ),
    "fused: sums are taken not to wrap": (_wrap(ScalarZones, "_linear", lambda old: _always_linear), FUSED),
    "fused: unsigned comparisons are signed": (_wrap(ScalarZones, "_compared", _unsigned_is_signed), FUSED),
    "fused: joins keep the left": (_wrap(ScalarZones, "join", _keep_left), FUSED),
    "fused: widening keeps the left": (_wrap(ScalarZones, "widen", _keep_left), FUSED),
    "fused: leq ignores relations": (_wrap(ScalarZones, "leq", _without("_upper")), FUSED),
    "fused: leq ignores words": (_wrap(ScalarZones, "leq", _without("_words")), FUSED),
    "fused: leq ignores definitions": (_wrap(ScalarZones, "leq", _without("_definitions")), FUSED),
    "fused: the match of leq is ignored": (
        _wrap(ScalarZones, "leq", lambda old: lambda self, other, match: old(self, other, {})),
        FUSED,
    ),
    "fused: all definitions survive joins": (
        _wrap(ScalarZones, "_common_definitions", lambda old: lambda self, other, phis: self._definitions),
        FUSED,
    ),
    "fused: differences are computed backwards": (
        _wrap(ScalarZones, "_difference", lambda old: lambda self, a, b: Range(
            -old(self, a, b).hi, -old(self, a, b).lo)),
        FUSED,
    ),
    "fused: neighbours hear too much": (_wrap(ScalarZones, "_pass_on", lambda old: _generous), FUSED),
    "fused: what is learnt of a sum is taken for its symbol": (
        _wrap(ScalarZones, "_learn", lambda old: lambda self, term, *rest: old(self, Term(term.symbol, 0), *rest)),
        FUSED,
    ),
    "forgetting passes on half of the distance": (
        _wrap(Zones, "forget", lambda old: lambda self, dead: _halved(old(self, dead))),
        ("zones alone",),
    ),
}  # fmt: skip


def _generous(self: ScalarZones, symbol: int, changed: list[int]) -> bool:
    """As if all related symbols were equal."""
    others = [*self._upper.get(symbol, ()), *self._lower.get(symbol, ())]
    return all(self._learn(Term(other, 0), self._word(Term(symbol, 0)), 4, changed) for other in others)


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


def test_zones_are_told_of_negative_numbers() -> None:
    told = Zones.top().define_between(1, -100, 100).refine(1, (1 << 64) - 10, (1 << 64) - 5)
    assert told.range(Term(1, 0), signed=True) == (-10, -5)
