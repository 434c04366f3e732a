"""Every operator of every word domain on all words of a few bits: sound always, and as precise as the table says.

``golden/word_precision.txt`` records, for each check, how many results are the best abstraction and how many words the
others have too many.  It is compared line by line, so a change of precision in either direction shows; set
``PREVAIL_PY_UPDATE_GOLDEN=1`` to rewrite it.  ``make exhaustive`` (``PREVAIL_PY_EXHAUSTIVE=1``) adds all pairs of
elements with bounds at one width only, and all tnums of 6 bits; that takes some minutes and records nothing.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from prevail_py.domains.congruence import Congruence
from prevail_py.domains.interval import Interval
from prevail_py.domains.product import exchange_ranges, word_product
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.tnum import Tnum
from prevail_py.research.exhaustive import Checker, Tally, operations
from prevail_py.words import Comparison, OpKind, WordOp

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "word_precision.txt"
EXHAUSTIVE = bool(os.environ.get("PREVAIL_PY_EXHAUSTIVE"))
SIZE = (4, 2)
THRESHOLDS = (3, 8, 9, 13)

DOMAINS: dict[str, Any] = {
    "interval": Interval,
    "tnum": Tnum,
    "congruence": Congruence,
    "scalar": Scalar,
    "unaware": word_product(Interval, Tnum, exchange_ranges),  # the same components, through the generic reduction
}


class Cases:
    """The elements of one domain at 4 bits, and which of them to combine."""

    def __init__(self, name: str) -> None:
        self.checker = Checker(DOMAINS[name].at(*SIZE))
        self.all = self.checker.elements()
        self.arcs = self.checker.arcs()
        self.constants = self.checker.constants
        self.name = name

    def pairs(self, width: int = SIZE[0]) -> Iterator[tuple[Any, Any]]:
        """All pairs of tnums; all pairs of arcs of intervals, where the whole word matters; a sample for the rest."""
        draw = random.Random(self.name)
        if self.name == "tnum":
            return product(self.all, repeat=2)
        many = 300 if self.name == "unaware" else 1500
        sample = [(draw.choice(self.all), draw.choice(self.all)) for _ in range(many)]
        if EXHAUSTIVE or (self.name == "interval" and width == SIZE[0]):
            return iter([*product(self.arcs, repeat=2), *sample])
        return iter([*((draw.choice(self.arcs), draw.choice(self.arcs)) for _ in range(many)), *sample])

    def with_constants(self) -> Iterator[tuple[Any, Any]]:
        """Every element (a sample of 100 where there are more) with every constant on the right."""
        elements = self.all if len(self.all) <= 100 else random.Random(self.name).sample(self.all, 100)
        return product(elements, self.constants)

    def triples(self) -> Iterator[tuple[Any, Any, Any]]:
        """Results and arguments for ``backward``."""
        draw = random.Random(self.name)
        pool = [*self.arcs, *draw.choices(self.all, k=len(self.arcs)), *self.constants]
        return zip(*(draw.choices(pool, k=1500) for _ in range(3)), strict=True)


@pytest.fixture(scope="module", params=DOMAINS)
def cases(request: pytest.FixtureRequest) -> Cases:
    return Cases(request.param)


Record = Callable[[str, str, Tally], None]


@pytest.fixture(scope="module")
def record() -> Iterator[Record]:
    """Collects the table, and compares it at the end of the module with the lines of the golden file that it covers."""
    table: dict[str, str] = {}

    def add(domain: str, check: str, tally: Tally) -> None:
        key = f"{domain:11}{check:24}"
        table[key] = f"{key}{tally.total:7}{tally.optimal:7}{100 * tally.optimal / tally.total:7.1f}%{tally.excess:8}"

    yield add
    if EXHAUSTIVE:
        return
    old = {line[:35]: line for line in GOLDEN.read_text().splitlines()[1:]} if GOLDEN.exists() else {}
    if os.environ.get("PREVAIL_PY_UPDATE_GOLDEN"):
        header = f"{'domain':11}{'check':24}{'cases':>7}{'best':>7}{'':>8}{'excess':>8}"
        lines = {**old, **table}
        GOLDEN.write_text("\n".join([header, *(lines[key] for key in sorted(lines))]) + "\n")
        return
    changed = [f"now  {line}\nthen {old.get(key, '(nothing)')}" for key, line in table.items() if old.get(key) != line]
    assert not changed, "precision differs from the golden table:\n" + "\n".join(changed)


OPERATIONS = [*operations(*SIZE)]


@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_operator(op: WordOp, cases: Cases, record: Record) -> None:
    if op.kind.arity == 1:
        record(cases.name, f"{op}", cases.checker.operator(op, ((x,) for x in cases.all)))
        record(cases.name, f"{op} backward", cases.checker.backward(op, ((z, x) for z, x, _ in cases.triples())))
        return
    record(cases.name, f"{op}", cases.checker.operator(op, cases.pairs(op.width)))
    record(cases.name, f"{op} constant", cases.checker.operator(op, cases.with_constants()))
    record(cases.name, f"{op} backward", cases.checker.backward(op, cases.triples()))


@pytest.mark.parametrize("width", SIZE)
@pytest.mark.parametrize("comparison", Comparison, ids=lambda c: c.name)
def test_comparison(comparison: Comparison, width: int, cases: Cases, record: Record) -> None:
    record(cases.name, f"{comparison.name}{width}", cases.checker.comparison(comparison, width, cases.pairs(width)))
    constant = cases.checker.comparison(comparison, width, cases.with_constants())
    record(cases.name, f"{comparison.name}{width} constant", constant)


def test_lattice(cases: Cases, record: Record) -> None:
    for name, tally in cases.checker.lattice(cases.pairs(), THRESHOLDS).items():
        record(cases.name, name, tally)


def test_intervals_have_one_form_each() -> None:
    """Different intervals are different sets, and all combinations of bounds are among them."""
    small = Interval.at(*SIZE)
    checker = Checker(small)
    elements = checker.elements()
    assert len({checker.gamma(x) for x in elements}) == len(elements) == 3176
    draw = random.Random(0)
    for _ in range(5000):
        umin, umax = sorted(draw.choices(range(16), k=2))
        smin, smax = sorted(draw.choices(range(-8, 8), k=2))
        low_umin, low_umax = sorted(draw.choices(range(4), k=2))
        low_smin, low_smax = sorted(draw.choices(range(-2, 2), k=2))
        x = small.of((umin, umax, smin, smax), (low_umin, low_umax, low_smin, low_smax))
        exact = sum(
            1 << w
            for w in range(16)
            if umin <= w <= umax and smin <= w - (w >> 3) * 16 <= smax
            and low_umin <= w % 4 <= low_umax and low_smin <= w % 4 - (w >> 1 & 1) * 4 <= low_smax
        )  # fmt: skip
        assert checker.gamma(x) == exact
        assert checker.alpha(exact) == x


def test_bswap_of_whole_bytes() -> None:
    """Byte swaps need more bits; a sample of arcs of 8-bit words, and two bytes for tnums and intervals."""
    for domain in (Interval, Tnum, Scalar):
        checker = Checker(domain.at(8, 4))
        arcs = [checker.domain.between(lo, hi) for lo in range(0, 256, 13) for hi in range(lo, 256, 11)]
        checker.operator(WordOp(OpKind.BSWAP, 8), ((x,) for x in arcs))
    swap, size = WordOp(OpKind.BSWAP, 16), Tnum.at(16, 8)
    assert size.of(0x1200, 0x00FF).apply(swap) == size.of(0x0012, 0xFF00)
    assert Scalar.at(16, 8).between(0x1200, 0x12FF).apply(swap).bounds(16) == (0x0012, 0xFF12)


if EXHAUSTIVE:

    @pytest.mark.parametrize("op", OPERATIONS, ids=str)
    def test_operator_on_all_one_width_bounds(op: WordOp) -> None:
        """All 1.9 million pairs of the intervals with unsigned and signed bounds at the whole width."""
        checker = Checker(Interval.at(*SIZE))
        top = checker.domain.top()
        elements = [x for x in checker.elements() if x == checker.domain.of(x.full, top.low) or x.is_bottom()]
        checker.operator(op, product(elements, repeat=op.kind.arity))

    @pytest.mark.parametrize("op", operations(6, 3), ids=str)
    def test_operator_on_tnums_of_six_bits(op: WordOp) -> None:
        checker = Checker(Tnum.at(6, 3))
        elements = [checker.domain.of(value, mask) for value in range(64) for mask in range(64) if value & mask == 0]
        checker.operator(op, product(elements, repeat=op.kind.arity))
