"""Proofs of word operators: what they prove, and what they refute."""

from __future__ import annotations

import doctest
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Self

import pytest
import z3

from prevail_py.cli.main import main
from prevail_py.domains import arithmetic, bits, bounds, halves
from prevail_py.domains.bounds import Bounds, from_unsigned
from prevail_py.domains.congruence import Congruence
from prevail_py.domains.interval import Interval
from prevail_py.domains.lattice import Phi, Range, Term
from prevail_py.domains.tnum import Tnum
from prevail_py.domains.zones import Zones
from prevail_py.verifier.proofs import beyond
from prevail_py.verifier.proofs.exploring import Explorer
from prevail_py.verifier.proofs.lemmas import pair_promises
from prevail_py.verifier.proofs.linear import Linear
from prevail_py.verifier.proofs.obligations import Claim, Obligation
from prevail_py.verifier.proofs.operation_lemmas import bounds_promises
from prevail_py.verifier.proofs.promises import Draw, Functions, Promise, implies, lemma
from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, LIMITED, PROVED, Cell, Limits, Row, cells, prove
from prevail_py.verifier.proofs.relations import LOW_OF_LOWS
from prevail_py.verifier.proofs.replacing import current_version, replaced
from prevail_py.verifier.proofs.rewriting import HOOKS
from prevail_py.verifier.proofs.sets import canonical, inside
from prevail_py.words import Comparison, OpKind, WordOp, to_signed


def lemma_row(operation: str, width: int) -> Row:
    """The proof of a function on bounds of ``width`` bits."""
    (promise,) = [each for each in bounds_promises(width) if each.name == operation]
    return Cell("bounds", Functions.at(width, width // 2), lemma(promise)).prove()


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

    @pytest.mark.parametrize("operation", ["add", "sub", "sync", "meet", "from_signed", "hull of 2"])
    def test_bounds_of_64_bits(self, operation: str) -> None:
        """The functions that the proofs for intervals take for granted."""
        assert lemma_row(operation, 64).result == PROVED

    @pytest.mark.parametrize("operation", ["up", "down", "wrap", "project to 8", "reduce"])
    def test_halves_of_64_bits(self, operation: str) -> None:
        """Each keeps every word of the pair; ``reduce`` keeps exactly these, by the promises of the others."""
        found = [cell for cell in cells("interval", 64, [operation]) if cell.name == "halves"]
        assert found
        assert {cell.prove().result for cell in found} == {PROVED}

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


def or_of_ends(a: Bounds, b: Bounds, half: int) -> Bounds:
    return from_unsigned(a[0] | b[0], a[1] | b[1], half)


def add_that_forgets_to_wrap(a: Bounds, b: Bounds, half: int) -> Bounds:
    return from_unsigned((a[0] + b[0]) & (half + half - 1), half + half - 1, half)


def sext_as_zext(a: Bounds, source: int, width: int) -> Bounds:
    return from_unsigned(a[0], a[1], 1 << (width - 1))


def compare_low_half_with_whole_word(size: Any, a: Any, width: int, old: Bounds, new: Bounds) -> Any:
    """What a 32-bit comparison says is taken for the whole word."""
    return a if new is old else (bounds.meet(a[0], from_unsigned(new[0], new[1], size.half), size.half), a[1])


PLANTED: list[tuple[str, Any, Any, str, Callable[..., Any]]] = [
    ("no carry into unknown bits", Tnum, bits._add, "add", add_without_carry),
    ("or of the ends", Interval, arithmetic.bit_or, "or", or_of_ends),
    ("a sum that wraps", Interval, arithmetic.add, "add", add_that_forgets_to_wrap),
    ("sign extension without the sign", Interval, halves._sign_extend, "sext8to", sext_as_zext),
    ("32-bit comparison of the whole word", Interval, halves._with, "assume <", compare_low_half_with_whole_word),
]


@pytest.mark.parametrize(("domain", "function", "operation", "planted"), [each[1:] for each in PLANTED],
                         ids=[each[0] for each in PLANTED])  # fmt: skip
def test_planted_mistakes_are_refuted(
    domain: Any, function: Callable[..., Any], operation: str, planted: Callable[..., Any]
) -> None:
    """The counterexample was run again on ints: its text is what happened there."""
    below = function in (arithmetic.add, arithmetic.bit_or)
    with replaced({function: planted}):
        if below:
            rows = [lemma_row(operation, 8)]
        else:
            rows = list(prove(domain.at(16, 8) if operation == "sext8to" else domain.at(4, 2), only=[operation]))
    found = [row for row in rows if row.result == COUNTEREXAMPLE]
    assert found, rows
    assert any(what in found[0].detail for what in ("lacks op(x, y)", "lost its word", "promise", "as promised")), (
        found[0]
    )


def without_the_wrap(a: Bounds, more: int, half: int, to_half: int) -> Bounds:
    last = to_half + to_half - 1
    return from_unsigned(a[0] & last, max(a[0] & last, a[1] & last), to_half)


def common_bits_of_ends(a: Bounds) -> tuple[int, int]:
    return a[0] & a[1], a[0] ^ a[1]


def next_without_carry(x: int, value: int, mask: int, last: int) -> int:
    return (x & mask) | value


def previous_without_borrow(x: int, value: int, mask: int, last: int) -> int:
    return min(x, (x & mask) | value)


def restricted_ends(a: Bounds, value: int, mask: int, half: int) -> Bounds:
    return bounds.sync(max(a[0], value), min(a[1], value), a[2], a[3], half)


def next_with_the_least_bit(x: int, possible: int) -> int:
    return x + (possible & -possible)  # the bits below stay what they were


def previous_with_a_shorter_borrow(x: int, possible: int) -> int:
    least = possible & -possible
    higher = x & ~(least + least - 1)
    return (x & ~(higher & -higher)) | least if higher else -1


def possible_bits_of_the_greatest(a: Bounds) -> int:
    return a[1]


def overlapping_where_the_ends_do(a: Bounds, b: Bounds, half: int) -> Bounds:
    return a if a[0] & b[1] or a[1] & b[1] else bounds.empty(half)


def disjoint_from_possible_bits(a: Bounds, b: Bounds, half: int) -> Bounds:
    return bounds.restrict_bits(a, 0, (half + half - 1) & ~b[1], half)


def before_shift_without_lost_bits(kind: str, width: int, amount: int, result: Bounds) -> tuple[int, Bounds]:
    """Nothing is shifted out, it says."""
    half = 1 << (width - 1)
    umin, umax, smin, smax = result
    match kind:
        case "lsh":
            lo, hi = (umin + (1 << amount) - 1) >> amount, umax >> amount
            return width, from_unsigned(lo, hi, half) if lo <= hi else bounds.empty(half)
        case "rsh":
            last = half + half - 1
            return width, from_unsigned(min(umin << amount, last), min(umax << amount, last), half)
        case _:
            return width, bounds.from_signed(max(smin << amount, -half), min(smax << amount, half - 1), half)


def moved_beyond(size: Any, full: Bounds, low: Bounds, width: int, a: Bounds) -> Any:
    half = 1 << (width - 1)
    return halves._hull(((halves._up(full[0], a, half), full[1]),), size.half), low


def any_next(x: int, value: int, mask: int, last: int) -> int:
    return x  # less than any that there is, but none itself


def prefix_of_the_lower(lo: int, hi: int) -> tuple[int, int]:
    return lo, 0


def within_where_the_least_is(value: int, mask: int, lo: int, hi: int, last: int) -> tuple[int, int]:
    return (value, mask) if lo <= value <= hi else bits.IMPOSSIBLE


def product_of_unsigned_ends(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return bounds.wrap(alo * bhi, ahi * bhi, half) if alo >= half else bounds.wrap(alo * blo, ahi * bhi, half)


def quotient_by_the_least_divisor(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return from_unsigned(alo // max(blo, 1), ahi // max(blo, 1), half)


def remainder_below_the_least_divisor(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return from_unsigned(0, min(ahi, blo - 1) if blo else ahi, half)


def signed_quotient_of_magnitudes(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    """The sign is forgotten."""
    size = half + half
    if alo >= half:
        alo, ahi = size - ahi, size - alo
    if blo >= half:
        blo, bhi = size - bhi, size - blo
    return from_unsigned(0, ahi, half)


def signed_remainder_with_the_sign_of_the_divisor(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return bounds.from_signed(-half, 0, half) if blo >= half else from_unsigned(0, max(ahi, bhi), half)


def shift_of_the_ends(a: Bounds, s0: int, s1: int, half: int) -> Bounds:
    """Both by the least amount."""
    return from_unsigned(a[0] >> s0, a[1] >> s0, half)


def shift_of_the_signed_ends(a: Bounds, s0: int, s1: int, half: int) -> Bounds:
    """A negative one by the greatest amount."""
    return bounds.from_signed(min(a[2] >> s1, a[3] >> s1), max(a[2] >> s1, a[3] >> s0), half)


def shift_without_loss(a: Bounds, s0: int, s1: int, half: int) -> Bounds:
    last = half + half - 1
    return from_unsigned(min(a[0] << s0, last), min(a[1] << s1, last), half)


def low_bits_of_the_least_shift(a: Bounds, more: int, half: int, to_half: int) -> Bounds:
    return halves._project(a, half, to_half)


def factors_rounded_down(x: Bounds, factor: int, result: Bounds, half: int) -> Bounds:
    """Though a product may have overflowed."""
    return x if factor == 0 else from_unsigned(result[0] // factor, result[1] // factor, half)


def dividends_without_remainders(divisor: int, result: Bounds, half: int) -> Bounds:
    least, most = result[0] * divisor, min(result[1] * divisor, half + half - 1)
    return from_unsigned(least, most, half) if least <= most else bounds.empty(half)


BROKEN_PROMISES: list[tuple[str, Any, Callable[..., Any]]] = [
    ("low bits", arithmetic._low_bits, without_the_wrap),
    ("before lsh by known amounts", halves._before_shift, before_shift_without_lost_bits),
    ("before rsh by known amounts", halves._before_shift, before_shift_without_lost_bits),
    ("before arsh by known amounts", halves._before_shift, before_shift_without_lost_bits),
    ("moved ends", halves._moved, moved_beyond),
    ("mul of pieces", arithmetic._mul, product_of_unsigned_ends),
    ("udiv of pieces", arithmetic._udiv, quotient_by_the_least_divisor),
    ("umod of pieces", arithmetic._umod, remainder_below_the_least_divisor),
    ("sdiv of pieces", arithmetic._sdiv, signed_quotient_of_magnitudes),
    ("smod of pieces", arithmetic._smod, signed_remainder_with_the_sign_of_the_divisor),
    ("rsh", arithmetic.rsh, shift_of_the_ends),
    ("arsh", arithmetic.arsh, shift_of_the_signed_ends),
    ("lsh", arithmetic.lsh, shift_without_loss),
    ("low bits of shifted words", arithmetic._low_bits, low_bits_of_the_least_shift),
    ("factors", halves._factors, factors_rounded_down),
    ("dividends", halves._dividends, dividends_without_remainders),
    ("common bits", bounds.common_bits, common_bits_of_ends),
    ("next member", bounds.next_member, next_without_carry),
    ("next member", bounds.next_member, any_next),
    ("previous member", bounds.previous_member, previous_without_borrow),
    ("common prefix", bounds.common_prefix, prefix_of_the_lower),
    ("within", bits._within, within_where_the_least_is),
    ("restrict bits", bounds.restrict_bits, restricted_ends),
    ("next with a common one", halves._next_with, next_with_the_least_bit),
    ("previous with a common one", halves._previous_with, previous_with_a_shorter_borrow),
    ("possible bits", halves._possible_bits, possible_bits_of_the_greatest),
    ("words with a common one", halves._overlapping, overlapping_where_the_ends_do),
    ("words without a common one", halves._disjoint, disjoint_from_possible_bits),
]


@pytest.mark.parametrize(
    ("promise", "function", "planted"), BROKEN_PROMISES, ids=[each[2].__name__ for each in BROKEN_PROMISES]
)
def test_a_promise_that_is_broken_is_refuted(promise: str, function: Any, planted: Callable[..., Any]) -> None:
    """By a counterexample, which was run again on ints; and what is shipped keeps it."""
    (cell,) = [
        each
        for each in (*cells("interval", 8), *cells("tnum", 8))
        if each.obligation.operation == promise and each.domain.WIDTH == 8 and each.name in ("bounds", "bits", "halves")
    ]
    assert cell.prove().result == PROVED
    with replaced({function: planted}):
        assert cell.prove().result == COUNTEREXAMPLE


@pytest.mark.parametrize(
    "promise",
    ["previous member", "restrict bits", "possible bits", "words with a common one", "words without a common one"],
)
def test_promises_at_64_bits(promise: str) -> None:
    (cell,) = [each for each in cells("interval", 64, [promise]) if each.domain.WIDTH == 64]
    assert cell.prove().result == PROVED


def in_order_whatever_the_other_factors(a: Any, b: Any, c: Any, d: Any, ab: Any, cd: Any) -> Any:
    return implies(a <= c, ab <= cd)


def twice_as_large(a: Any, b: Any, ab: Any) -> Any:
    return implies(a >= 1, ab >= b + b)


def without_the_product_of_the_constants(a: Any, b: Any, c: Any, d: Any, ab: Any) -> Any:
    return ab + a * d + b * c


def without_remainders(a: Any, b: Any, qb: Any) -> Any:
    return implies(b >= 1, qb == a)


def four_times_as_large(a: Any, b: Any, of_a: Any, of_b: Any) -> Any:
    return implies(a < b, of_a + of_a + of_a <= of_b)


def no_common_ones(a: Any, b: Any, ones: Any) -> Any:
    return implies(a < b, ones < b - a)


WRONG_FACTS: list[tuple[str, str, Callable[..., Any]]] = [
    ("order of products", "ordered", in_order_whatever_the_other_factors),
    ("small factors", "small_factors", twice_as_large),
    ("sums of products", "expanded", without_the_product_of_the_constants),
    ("quotients", "divided", without_remainders),
    ("powers of two", "powers", four_times_as_large),
    ("common ones", "common_ones", no_common_ones),
]


@pytest.mark.parametrize(("operation", "name", "wrong"), WRONG_FACTS, ids=[each[0] for each in WRONG_FACTS])
def test_what_is_told_of_products_and_bits_is_proved(
    operation: str, name: str, wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = cells("interval", 64, [operation])
    assert cell.prove().result == PROVED
    monkeypatch.setattr(beyond, name, wrong)
    assert cell.prove().result == COUNTEREXAMPLE


@pytest.mark.parametrize("promise", ["mul", "umod", "sdiv", "arsh", "factors"])
def test_multiplication_and_division_of_bounds_of_64_bits(promise: str) -> None:
    """A proof by the order of products does not depend on the width."""
    found = [each for each in cells("interval", 64, [promise]) if each.domain.WIDTH == 64 and each.name == "bounds"]
    assert [cell.prove().result for cell in found] == [PROVED]


def test_numbers_that_are_at_least_something() -> None:
    """In a part for the numbers from 3 on, all of these are; what is wrong of one of them is found."""

    def cell(claim: Callable[[Any], Any]) -> Cell:
        def claims(s: Any) -> list[Claim]:
            return [Claim("no", claim(s.number("n", 0, 7)))]

        return Cell("facts", Functions.at(8, 4), Obligation("least", 8, lambda s: s.all(), claims, least={"n": 3}))

    assert cell(lambda n: n >= 3).prove().result == PROVED
    assert cell(lambda n: n <= 7).prove().result == PROVED
    assert cell(lambda n: n != 7).prove().result == COUNTEREXAMPLE
    assert cell(lambda n: n != 3).prove().detail == "no: n = 0x3"


def test_unknown_functions_stand_for_bits_only_where_models_are_no_counterexamples() -> None:
    """Of ``x & y`` in linear arithmetic little is known: it proves what follows from that, and refutes nothing."""

    def row(claim: Callable[[Any, Any], Any], rests_on: tuple[Promise, ...]) -> Row:
        def claims(s: Any) -> list[Claim]:
            return [Claim("no", claim(s.number("x", 0, 2**32 - 1), s.number("y", 0, 2**32 - 1)))]

        return Cell(
            "bounds", Functions.at(32, 16), Obligation("bits", 32, lambda s: s.all(), claims, rests_on=rests_on)
        ).prove()

    known = bounds_promises(32)[:1]
    assert row(lambda x, y: (x & y) <= x, known).result == PROVED
    assert row(lambda x, y: (x & y) == (y & x), known).result == PROVED
    assert row(lambda x, y: (x & y) == 0, known).result == LIMITED
    assert row(lambda x, y: (x & y) == 0, ()).result == COUNTEREXAMPLE


def test_a_contract_is_not_used_where_it_does_not_hold() -> None:
    """The low half of a quotient is not the quotient of the low halves, whatever a table of the domain says."""
    (cell, *_) = cells("interval", 64, ["udiv"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halves, "_LOW_OF_LOWS", halves._LOW_OF_LOWS | {"udiv"})
        assert cell.prove().result == LIMITED
    assert cell.prove().result == PROVED


def test_a_promise_is_not_kept_to_arguments_that_it_was_not_made_for() -> None:
    """``reduce`` that hands inverted bounds to ``meet`` is not proved by what ``meet`` does with canonical ones."""

    def careless(size: Any, full: Bounds, low: Bounds) -> Any:
        return full, bounds.meet(low, (low[1], low[0], low[2], low[3]), size.low_half)

    (cell,) = [cell for cell in cells("interval", 64, ["reduce"]) if cell.name == "halves"]
    with replaced({halves.reduce: careless}):
        assert cell.prove().result == LIMITED


def test_a_promise_is_kept_to_the_arguments_that_its_lemma_draws() -> None:
    """Of a promise that supposes less than its lemma draws, nothing holds beyond what is drawn."""
    (right,) = [each for each in bounds_promises(4) if each.name == "from_unsigned"]
    wrong = replace(
        right,
        arguments=lambda draw: (draw("lo", 0, 0), draw("hi", 0, 3), 8),
        keeps=lambda args, result: result[1] <= 3,
        holds=lambda args, result, word: True,
    )
    functions = Functions.at(4, 2)
    assert Cell("bounds", functions, lemma(wrong)).prove().result == PROVED

    def claims(s: Any) -> list[Claim]:
        hi = s.number("hi", 0, 15)
        result = current_version(bounds.from_unsigned)(0, hi, 8)
        return [Claim("it is more than 3", result[1] <= 3)]

    def rests_on_it(most: int) -> Row:
        hypothesis = Obligation("hi", 4, lambda s: s.number("hi", 0, 15) <= most, claims, rests_on=(wrong,))
        return Cell("bounds", functions, hypothesis).prove()

    assert rests_on_it(3).result == PROVED
    assert rests_on_it(4).result == COUNTEREXAMPLE


def test_the_vocabulary_of_promises_means_what_the_code_does() -> None:
    half = 4
    for umin, umax in product(range(8), repeat=2):
        for smin, smax in product(range(-4, 4), repeat=2):
            a = (umin, umax, smin, smax)
            assert canonical(a, half) == (bounds.sync(*a, half) == a)
            for word in range(8):
                signed = word - 8 if word >= half else word
                assert inside(a, word, half) == (umin <= word <= umax and smin <= signed <= smax)


def test_promises_are_about_shipped_functions() -> None:
    for promise in (*bounds_promises(16), *pair_promises(16, 8)):
        assert isinstance(promise, Promise)
        module = sys.modules[promise.function.__module__]
        assert vars(module)[promise.function.__name__] is promise.function


@pytest.mark.parametrize("kind", LOW_OF_LOWS)
def test_low_halves(kind: OpKind) -> None:
    """Contracts say so of bounds of 64-bit words; of products it follows for the solver by rewriting."""
    (cell,) = [each for each in cells("interval", 64, [f"low half of {kind.value}"]) if each.domain.WIDTH == 64]
    assert cell.prove().result == PROVED


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
