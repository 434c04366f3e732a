"""Proofs of word operators: what they prove, and what they refute."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import z3

from prevail_py.cli.main import main
from prevail_py.domains import bits, bounds, halves
from prevail_py.domains.bounds import Bounds, from_unsigned
from prevail_py.domains.congruence import Congruence
from prevail_py.domains.interval import Interval
from prevail_py.domains.lattice import Phi, Range, Term
from prevail_py.domains.tnum import Tnum
from prevail_py.domains.zones import Zones
from prevail_py.verifier.proofs.exploring import Explorer
from prevail_py.verifier.proofs.linear import Linear
from prevail_py.verifier.proofs.promises import Draw
from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, LIMITED, PROVED, Limits, Row, cells, prove
from prevail_py.verifier.proofs.replacing import replaced
from prevail_py.verifier.proofs.rewriting import HOOKS
from prevail_py.words import Comparison, OpKind, WordOp, to_signed


def results(domain: Any, *only: str) -> set[str]:
    return {row.result for row in prove(domain, only=only)}


class TestProofs:
    @pytest.mark.parametrize("operation", ["add", "and", "or", "xor", "neg", "zext", "sext8to", "bswap"])
    def test_tnums_of_64_bits(self, operation: str) -> None:
        assert results(Tnum, operation) == {PROVED}

    @pytest.mark.parametrize("operation", ["join", "meet", "leq", "constant", "widen", "narrow", "assume ==", "lsh"])
    def test_tnums_of_16_bits(self, operation: str) -> None:
        assert results(Tnum.at(16, 8), operation) == {PROVED}

    @pytest.mark.parametrize("operation", ["within", "assume <", "assume s>="])
    def test_orders_of_tnums_of_64_bits(self, operation: str) -> None:
        assert {cell.prove().result for cell in cells("tnum", 64, [operation])} == {PROVED}

    @pytest.mark.parametrize("operation", ["mul", "udiv"])
    def test_intervals_of_64_bits_given_the_functions_below(self, operation: str) -> None:
        assert results(Interval, operation) == {PROVED}

    @pytest.mark.parametrize("operation", ["backward rsh", "backward arsh"])
    def test_words_before_shifts(self, operation: str) -> None:
        """By amounts that are known or not."""
        found = [cell for cell in cells("interval", 64, [operation]) if cell.obligation.bits == 64]
        assert [cell.prove().result for cell in found] == [PROVED]

    @pytest.mark.parametrize("operation", ["meet", "join", "leq", "narrow", "assume s<", "sext8to", "neg"])
    def test_intervals_of_64_bits(self, operation: str) -> None:
        assert {cell.prove().result for cell in cells("interval", 64, [operation]) if cell.name == "interval"} == {
            PROVED
        }

    def test_rows_are_json(self) -> None:
        (row, _) = prove(Tnum.at(8, 4), only=["neg"])
        document = row.as_json()
        assert {key: document[key] for key in ("domain", "operation", "width", "result")} == {
            "domain": "Tnum",
            "operation": "neg",
            "width": 8,
            "result": "proved",
        }
        assert document["seconds"] >= 0

    def test_limits_are_said(self) -> None:
        (row, *_) = prove(Tnum.at(16, 8), only=["mul"], limits=Limits(paths=3))
        assert row == Row("Tnum", "mul", 16, 16, LIMITED, row.seconds, 0, "more than 3 paths")


def add_without_carry(av: int, am: int, bv: int, bm: int, width: int) -> tuple[int, int]:
    last = (1 << width) - 1
    return (av + bv) & last & ~(am | bm), (am | bm) & last


def sext_as_zext(a: Bounds, source: int, width: int) -> Bounds:
    return from_unsigned(a[0], a[1], 1 << (width - 1))


def compare_low_half_with_whole_word(size: Any, a: Any, width: int, old: Bounds, new: Bounds) -> Any:
    """What a 32-bit comparison says is taken for the whole word."""
    return a if new is old else (bounds.meet(a[0], from_unsigned(new[0], new[1], size.half), size.half), a[1])


PLANTED: list[tuple[str, Any, Any, str, Callable[..., Any]]] = [
    ("no carry into unknown bits", Tnum, bits._add, "add", add_without_carry),
    ("sign extension without the sign", Interval, halves._sign_extend, "sext8to", sext_as_zext),
    ("32-bit comparison of the whole word", Interval, halves._with, "assume <", compare_low_half_with_whole_word),
]


@pytest.mark.parametrize(("domain", "function", "operation", "planted"), [each[1:] for each in PLANTED],
                         ids=[each[0] for each in PLANTED])  # fmt: skip
def test_planted_mistakes_are_refuted(
    domain: Any, function: Callable[..., Any], operation: str, planted: Callable[..., Any]
) -> None:
    """The counterexample was run again on ints: its text is what happened there."""
    with replaced({function: planted}):
        rows = list(prove(domain.at(16, 8) if operation == "sext8to" else domain.at(4, 2), only=[operation]))
    found = [row for row in rows if row.result == COUNTEREXAMPLE]
    assert found, rows
    assert any(what in found[0].detail for what in ("lacks op(x, y)", "lost its word")), found[0]


class Parity:
    """Even, odd, both or neither: a domain as a reader would write it."""

    __slots__ = ("even", "odd")

    WIDTH = 64
    LOW = 32

    def __init__(self, even: int, odd: int) -> None:
        self.even, self.odd = even, odd

    @classmethod
    def arbitrary(cls, draw: Draw) -> Self:
        return cls(draw("even", 0, 1), draw("odd", 0, 1))

    def is_canonical(self) -> bool:
        return True

    @classmethod
    def constant(cls, value: int) -> Self:
        return cls(1 - (value & 1), value & 1)

    @classmethod
    def between(cls, lo: int, hi: int) -> Self:
        return cls.constant(lo) if lo == hi else cls(1, 1)

    def contains(self, word: int) -> bool:
        return bool(self.odd if word & 1 else self.even)

    def leq(self, other: Self) -> bool:
        return self.even <= other.even and self.odd <= other.odd

    def join(self, other: Self) -> Self:
        return type(self)(self.even | other.even, self.odd | other.odd)

    def apply(self, op: WordOp, *args: Self) -> Self:
        match op.kind:
            case OpKind.ADD | OpKind.SUB:
                (b,) = args
                return type(self)(self.even & b.even | self.odd & b.odd, self.even & b.odd | self.odd & b.even)
            case OpKind.MUL:
                (b,) = args
                return type(self)(self.even | b.even, self.odd & b.odd)
            case _:
                return type(self)(1, 1)

    def bounds(self, width: int = 64, signed: bool = False) -> Range:
        return Range(0, (1 << width) - 1)


def test_a_domain_of_the_readers_own() -> None:
    assert results(Parity, "add", "sub", "mul", "join", "leq", "constant", "between") == {PROVED}


def test_and_its_mistakes() -> None:
    class Wrong(Parity):
        def apply(self, op: WordOp, *args: Parity) -> Wrong:
            return Wrong(self.even & args[0].even, self.odd & args[0].odd)

    (row, _) = prove(Wrong, only=["add"])
    assert row.result == COUNTEREXAMPLE
    assert row.detail.startswith("the result lacks op(x, y)")


def test_names() -> None:
    assert {cell.name for cell in cells("interval", 16)} == {"interval", "bounds", "halves", "facts"}
    with pytest.raises(ValueError, match="no operation is called 'ad'"):
        cells("tnum", 8, ["ad"])
    with pytest.raises(TypeError, match="has no method 'arbitrary'"):
        list(prove(int_like(), only=["neg"]))


def int_like() -> type:
    return type("Blank", (), {"WIDTH": 8, "LOW": 4})


@pytest.mark.parametrize("comparison", [Comparison.EQ, Comparison.SET])
def test_assumptions_about_tnums(comparison: Comparison) -> None:
    assert results(Tnum.at(8, 4), f"assume {comparison.value}") == {PROVED}


def test_examples_in_the_documentation() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "proofs.md"
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 2
    assert results.failed == 0


def test_what_is_assumed_on_a_path_holds_there_only() -> None:
    """Contracts assume things in the middle of a path; on others these may not even be possible."""
    encoding = Linear()
    explorer = Explorer(encoding, encoding.solver())
    x, bounds_of_x = encoding.number("x", 0, 10)
    explorer.solver.add(*bounds_of_x)

    def run() -> bool:
        small = bool(x < 5)
        if small:
            explorer.assume(x.term == 3)
        return small

    found = {small: explorer.check(path) for path, small in explorer.paths(run)}
    assert found == {True: z3.sat, False: z3.sat}


def test_an_operator_that_raises_is_refuted() -> None:
    class Raises(Parity):
        def join(self, other: Parity) -> Raises:
            return Raises(self.even // other.even, self.odd)

    (row,) = prove(Raises, only=["join"])
    assert row.result == COUNTEREXAMPLE
    assert row.detail.startswith("ZeroDivisionError")


class TestCommand:
    def test_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prove", "--domain", "tnum", "--width", "8", "--operation", "add,join"]) == 0
        out = capsys.readouterr().out
        assert "3 cells: 3 proved, 0 limited, 0 counterexample" in out

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prove", "--domain", "tnum", "--width", "8", "--operation", "neg", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [(row["domain"], row["bits"], row["result"]) for row in document["rows"]] == [
            ("tnum", 8, "proved"),
            ("tnum", 4, "proved"),
        ]

    @pytest.mark.parametrize(
        "arguments",
        [["--domain", "octagon"], ["--domain", "tnum", "--operation", "frobnicate"], ["--width", "7"]],
    )
    def test_bad_names(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        try:
            code = main(["prove", *arguments])
        except SystemExit as end:
            code = int(str(end.code))
        assert code == 2
        assert "Traceback" not in capsys.readouterr().err


class TestZones:
    @pytest.mark.parametrize("rule", ["assume s<=", "assume >=", "leq", "widen"])
    def test_a_rule(self, rule: str) -> None:
        (cell,) = cells("zones", 64, [rule])
        assert cell.prove().result == PROVED

    def test_a_comparison_that_ignores_wrapping_is_refuted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The mistake that a bound is kept though one of the sums may have wrapped."""

        def careless(self: Zones, term: Term) -> tuple[int, int]:
            return term.symbol, to_signed(term.offset, 64)

        monkeypatch.setattr(Zones, "_linear", careless)
        (cell,) = cells("zones", 64, ["assume s<="])
        row = cell.prove()
        assert row.result == COUNTEREXAMPLE
        assert row.detail.startswith("the words are lost")

    def test_a_widening_that_keeps_what_grew_is_refuted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where states are merged: the mistake that only the state on the left is asked for differences."""

        def careless(self: Zones, other: Zones, phis: Sequence[Phi], widen: bool) -> Zones:
            return Zones(self._edges, {})

        monkeypatch.setattr(Zones, "_merge", careless)
        (cell,) = cells("zones", 64, ["widen"])
        assert cell.prove().result == COUNTEREXAMPLE

    def test_a_state_merged_wrongly_is_refuted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The mistake is in a merged method: the greatest value is dropped."""

        def careless(self: Zones, symbol: int, lo: int, hi: int) -> Zones:
            return Zones(self._edges, {**self._ranges, symbol: Range(lo, hi - 1)}, self._subtractions)

        monkeypatch.setattr(Zones, "_with_range", careless)
        (cell,) = cells("zones", 64, ["refine"])
        assert cell.prove().result == COUNTEREXAMPLE

    def test_methods_are_as_they_were_afterwards(self) -> None:
        before = dict(vars(Zones))
        (cell,) = cells("zones", 64, ["difference"])
        assert cell.prove().result == PROVED
        assert dict(vars(Zones)) == before


class TestCongruences:
    @pytest.mark.parametrize("operation", ["leq", "assume <", "add"])
    def test_at_four_bits(self, operation: str) -> None:
        assert {cell.prove().result for cell in cells("congruence", 4, [operation])[:1]} == {PROVED}

    def test_a_join_that_forgets_the_distance_is_refuted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def careless(a: Congruence, b: Congruence) -> Congruence:
            return a.of(min(a.lo, b.lo), max(a.hi, b.hi), a.stride)

        monkeypatch.setattr(Congruence, "join", careless)
        (cell,) = cells("congruence", 4, ["join"])
        assert cell.prove().result == COUNTEREXAMPLE
        (cell,) = cells("congruence", 64, ["join"])
        assert cell.prove(Limits(claim=1_000_000)).result == LIMITED

    @pytest.mark.parametrize(
        "operation", ["add", "sub", "mul", "and", "neg", "sext8to", "meet", "assume ==", "assume s<", "progressions",
                      "low bits of xor"]
    )  # fmt: skip
    def test_at_64_bits(self, operation: str) -> None:
        assert {cell.prove().result for cell in cells("congruence", 64, [operation])} == {PROVED}

    @pytest.mark.parametrize(("method", "operation", "wrong"), [
        ("of", "add", lambda x: type(x)(x.lo, x.hi - x.stride, x.stride)),
        ("of", "join", lambda x: type(x)(x.lo, x.hi, 2 * x.stride)),
        ("of", "neg", lambda x: type(x)(x.lo + 1, x.hi + 1, x.stride)),
        ("_modulo", "and", lambda x: type(x)(x.lo, x.hi, 2 * x.stride)),
        ("_low_bits", "or", lambda x: type(x)(x.lo, x.hi, 2 * x.stride)),
        ("_sign_extended", "sext8to", lambda x: type(x)(x.lo, x.hi, 3 * x.stride)),
        ("meet", "assume ==", lambda x: type(x)(x.lo + x.stride, x.hi, x.stride)),
        ("_divided", "rsh by known amounts", lambda x: type(x)(x.lo, x.hi, 2 * x.stride)),
    ])  # fmt: skip
    def test_what_is_wrong_is_not_proved_at_64_bits(
        self, monkeypatch: pytest.MonkeyPatch, method: str, operation: str, wrong: Callable[[Any], Any]
    ) -> None:
        """The facts about products do not contradict one another, or all of this would be proved."""
        right = getattr(Congruence, method)
        if method == "of":
            monkeypatch.setattr(Congruence, "of", classmethod(lambda cls, *args: wrong(right.__func__(cls, *args))))
        else:
            monkeypatch.setattr(Congruence, method, lambda *args: wrong(right(*args)))
        cell = next(cell for cell in cells("congruence", 64, [operation]) if cell.obligation.bits == 64)
        assert cell.prove(Limits(claim=1_000_000)).result == LIMITED


def test_what_an_expression_returns_stays_the_object_that_it_was() -> None:
    """``x if c else y`` of tuples forks: code that asks ``is`` must see the very tuple, or a path would be left out."""
    encoding = Linear()
    explorer = Explorer(encoding, encoding.solver())
    number, assumptions = encoding.number("n", 0, 10)
    explorer.solver.add(*assumptions)
    given = (number, number)
    choice = HOOKS["__ite__"]
    paths = explorer.paths(lambda: choice(number < 5, lambda: given, lambda: (1, 2), True))
    assert sorted(result is given for _, result in paths) == [False, True]
