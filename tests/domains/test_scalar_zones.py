"""The fused default beside the product that it stands for: the same operations, and never a weaker answer.

Ranges are mostly equal.  The fused record knows more where the product has not passed on what a backward operator found
to its zones.  A product widens words and zones each on its own, with thresholds or without, so that there either may
know more; what is compared of widening is that the fixpoints come out alike, on whole programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prevail_py import examples
from prevail_py.domains import DEFAULT, FACTS, facts
from prevail_py.domains.facts_product import FactsProduct
from prevail_py.domains.lattice import Definition, Phi, Range, Symbol, Term
from prevail_py.domains.scalar_zones import ScalarZones
from prevail_py.objects.elf import load_object
from prevail_py.research import families
from prevail_py.research.histories import PROPERTIES
from prevail_py.verifier import analysis, verify
from prevail_py.words import OpKind, WordOp

FUSED, PRODUCT = facts(DEFAULT), facts(DEFAULT, fused=False)


class Both:
    """Facts that are kept twice; every answer of the fused record is compared with the product's."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self, fused: Any, product: Any, joined: bool = False) -> None:
        self.fused, self.product, self.joined = fused, product, joined

    @classmethod
    def top(cls) -> Both:
        return cls(FUSED(), PRODUCT())

    @property
    def _words(self) -> Any:
        return self.product.members[0]

    def _each(self, name: str, *args: Any) -> Both:
        return Both(getattr(self.fused, name)(*args), getattr(self.product, name)(*args), self.joined)

    def define(self, *args: Any) -> Both:
        return self._each("define", *args)

    def define_between(self, *args: Any) -> Both:
        return self._each("define_between", *args)

    def renamed(self, *args: Any) -> Both:
        return self._each("renamed", *args)

    def meet(self, other: Both) -> Both:
        joined = self.joined or other.joined
        return Both(self.fused.meet(other.fused), self.product.meet(other.product), joined)

    def assume(self, *args: Any) -> Both:
        return self._each("assume", *args)

    def refine(self, *args: Any) -> Both:
        return self._each("refine", *args)

    def forget(self, dead: Iterable[Symbol]) -> Both:
        return self._each("forget", frozenset(dead))

    def join(self, other: Both, phis: Sequence[Phi]) -> Both:
        return Both(self.fused.join(other.fused, phis), self.product.join(other.product, phis), joined=True)

    def widen(self, other: Both, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Both:
        return self.join(other, phis)  # see the module's text

    def is_bottom(self) -> bool:
        assert self.fused.is_bottom() or not self.product.is_bottom()
        return bool(self.fused.is_bottom())

    def leq(self, other: Both, match: Mapping[Symbol, Term]) -> bool:
        fused, product = self.fused.leq(other.fused, match), self.product.leq(other.product, match)
        self.seen["leq alike" if fused == product else "leq differs"] += 1
        return bool(fused and product)

    def _compare(self, fused: Range, product: Range, words: Range) -> Range:
        """``words`` is what the words of the product know without its zones."""
        if self.joined and (fused.lo < product.lo or fused.hi > product.hi):
            assert words.lo <= fused.lo <= fused.hi <= words.hi, f"{fused} is weaker than words alone: {self}"
            self.seen["weaker"] += 1
            return fused
        assert fused.lo >= product.lo, f"{fused} is weaker than {product}: {self}"
        assert fused.hi <= product.hi, f"{fused} is weaker than {product}: {self}"
        self.seen["equal" if fused == product else "tighter"] += 1
        return fused

    def range(self, term: Term, width: int = 64, signed: bool = False) -> Range:
        return self._compare(*(each.range(term, width, signed) for each in (self.fused, self.product, self._words)))

    def difference(self, a: Term, b: Term) -> Range:
        return self._compare(*(each.difference(a, b) for each in (self.fused, self.product, self._words)))

    def definition(self, symbol: Symbol) -> Definition | None:
        known: Definition | None = self.fused.definition(symbol)
        assert known == self.product.definition(symbol)
        return known

    def symbols(self) -> frozenset[Symbol]:
        return frozenset(self.fused.symbols())

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        return bool(self.fused.contains(valuation) and self.product.contains(valuation))

    def __repr__(self) -> str:
        return f"{self.fused!r} | {self.product!r}"


@pytest.mark.parametrize("prop", PROPERTIES)
def test_never_weaker_than_the_product(prop: str) -> None:
    @settings(max_examples=60)
    @given(st.integers(0, (1 << 32) - 1))
    def check(seed: int) -> None:
        PROPERTIES[prop](Random(seed), Both.top)

    check()


def test_mostly_equal_to_the_product() -> None:
    Both.seen.clear()
    for seed in (*range(40), 1116, 1189):
        for check in PROPERTIES.values():
            check(Random(seed), Both.top)
    seen = Both.seen
    assert seen["equal"] > 5000
    assert seen["tighter"] < 0.02 * seen["equal"], seen
    assert 0 < seen["weaker"] < 0.001 * seen["equal"], seen
    assert seen["leq differs"] <= 0.02 * seen["leq alike"], seen


def _documents() -> list[tuple[str, list[str], str]]:
    """Verdict, failures and invariants of every example, and of programs of every family."""
    programs = [program for name in examples.EXAMPLES for program in load_object(examples.path(name)).programs.values()]
    programs += [make(24) for make in (families.diamonds, families.bounds_checks, families.loop, families.long_loop,
                                       families.loops_in_sequence, families.stack_slots, families.calls)]  # fmt: skip
    verdicts = [verify(program, disjuncts=4) for program in programs]
    return [(f"{v.kind} {v.reason}", [str(failure) for failure in v.failures], str(v.invariants)) for v in verdicts]


def test_verdict_documents_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = _documents()
    monkeypatch.setattr(analysis, "facts", lambda name: facts(name, fused=False))
    product = _documents()
    assert [document[:2] for document in fused] == [document[:2] for document in product]
    # In one loop the fused record finds a bound that is better by one.
    assert sum(a == b for a, b in zip(fused, product, strict=True)) >= len(fused) - 1
    assert len(fused) > 25


def test_the_default_is_fused_and_nothing_else_is() -> None:
    assert isinstance(FUSED(), ScalarZones)
    assert isinstance(PRODUCT(), FactsProduct)
    assert isinstance(facts("interval*zones")(), FactsProduct)
    assert "zones" in FACTS


def test_inclusion_compares_computed_differences() -> None:
    """``z = x - y`` is a fact: later a bound on ``z`` bounds ``x - y``."""
    bounded = FUSED().define_between(1, 0, 100).define_between(2, 0, 100)
    computed = bounded.define(3, WordOp(OpKind.SUB), (Term(1, 0), Term(2, 0)))
    same_range = bounded.define_between(3, -100, 100)
    for name in ("_definitions", "_upper", "_lower"):
        setattr(computed, name, {})
    assert computed.leq(computed, {})
    assert not same_range.leq(computed, {})


def test_representation() -> None:
    """No word is top, no inner dictionary empty, and both ends know of every relation."""

    def check(known: ScalarZones) -> None:
        assert all(not word.is_top() and not word.is_bottom() for word in known._words.values())
        assert all(known._upper.values())
        assert all(known._lower.values())
        upper = {(u, v, c) for u, others in known._upper.items() for v, c in others.items()}
        assert upper == {(u, v, c) for v, others in known._lower.items() for u, c in others.items()}
        assert all(u != v and u and v for u, v, _ in upper)

    class Checked(ScalarZones):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    made: list[ScalarZones] = []
    for seed in range(60):
        for prop in PROPERTIES.values():
            prop(Random(seed), Checked.top)
            for known in made:
                check(known)
            made.clear()
