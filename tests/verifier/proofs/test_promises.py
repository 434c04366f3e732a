"""Promises of the functions below the domain classes: what they prove, and what they refute."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from prevail_py.domains import arithmetic, bits, bounds, halves
from prevail_py.domains.bounds import Bounds, from_unsigned
from prevail_py.verifier.proofs import beyond
from prevail_py.verifier.proofs.lemmas import pair_promises
from prevail_py.verifier.proofs.obligations import Claim, Obligation
from prevail_py.verifier.proofs.operation_lemmas import bounds_promises
from prevail_py.verifier.proofs.promises import Functions, Promise, implies, lemma
from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, LIMITED, PROVED, Cell, Row, cells
from prevail_py.verifier.proofs.relations import LOW_OF_LOWS
from prevail_py.verifier.proofs.replacing import current_version, replaced
from prevail_py.verifier.proofs.sets import canonical, inside
from prevail_py.words import OpKind


def lemma_row(operation: str, width: int) -> Row:
    """The proof of a function on bounds of ``width`` bits."""
    (promise,) = [each for each in bounds_promises(width) if each.name == operation]
    return Cell("bounds", Functions.at(width, width // 2), lemma(promise)).prove()


@pytest.mark.parametrize("operation", ["add", "sub", "sync", "meet", "from_signed", "hull of 2", "least xor",
                                       "xor of pieces"])  # fmt: skip
def test_bounds_of_64_bits(operation: str) -> None:
    """The functions that the proofs for intervals take for granted."""
    assert lemma_row(operation, 64).result == PROVED


@pytest.mark.parametrize("operation", ["up", "down", "wrap", "project to 8", "reduce"])
def test_halves_of_64_bits(operation: str) -> None:
    """Each keeps every word of the pair; ``reduce`` keeps exactly these, by the promises of the others."""
    found = [cell for cell in cells("interval", 64, [operation]) if cell.name == "halves"]
    assert found
    assert {cell.prove().result for cell in found} == {PROVED}


def or_of_ends(a: Bounds, b: Bounds, half: int) -> Bounds:
    return from_unsigned(a[0] | b[0], a[1] | b[1], half)


def add_that_forgets_to_wrap(a: Bounds, b: Bounds, half: int) -> Bounds:
    return from_unsigned((a[0] + b[0]) & (half + half - 1), half + half - 1, half)


def least_xor_of_prefixes(a: int, b: int, c: int, d: int) -> int:
    """Where both intervals have two words or more, no bit below is known."""
    return (a ^ c) & ~bounds.smear((a ^ b) & (c ^ d))


def least_xor_of_the_nearest_ends(a: int, b: int, c: int, d: int) -> int:
    """The words may be equal further down than the bits in which these ends differ first."""
    if bounds.smear(a ^ b) == bounds.smear(c ^ d):
        return (a ^ c) & ~bounds.smear(a ^ b)
    return min(a ^ d, b ^ c)


def greatest_xor_of_the_greatest(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    lo = arithmetic._min_xor(alo, ahi, blo, bhi)
    return from_unsigned(lo, max(lo, ahi ^ bhi), half)


def complements_in_the_old_order(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    """Of the interval of complements, the ends are swapped."""
    last = half + half - 1
    lo = arithmetic._min_xor(alo, ahi, blo, bhi)
    return from_unsigned(lo, max(lo, last - arithmetic._min_xor(alo, ahi, last - blo, last - bhi)), half)


def and_of_the_ends(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return from_unsigned(alo & blo, ahi & bhi, half)


def or_of_the_greatest(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return from_unsigned(arithmetic._min_or(alo, ahi, blo, bhi), ahi | bhi, half)


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
    ("or", arithmetic.bit_or, or_of_ends),
    ("add", arithmetic.add, add_that_forgets_to_wrap),
    ("low bits", arithmetic._low_bits, without_the_wrap),
    ("before lsh by known amounts", halves._before_shift, before_shift_without_lost_bits),
    ("before rsh by known amounts", halves._before_shift, before_shift_without_lost_bits),
    ("before arsh by known amounts", halves._before_shift, before_shift_without_lost_bits),
    ("moved ends", halves._moved, moved_beyond),
    ("least xor", arithmetic._min_xor, least_xor_of_prefixes),
    ("least xor", arithmetic._min_xor, least_xor_of_the_nearest_ends),
    ("xor of pieces", arithmetic._xor, greatest_xor_of_the_greatest),
    ("xor of pieces", arithmetic._xor, complements_in_the_old_order),
    ("and of pieces", arithmetic._and, and_of_the_ends),
    ("or of pieces", arithmetic._or, or_of_the_greatest),
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


@pytest.mark.parametrize(
    ("promise", "function", "planted"),
    [each for each in BROKEN_PROMISES if each[0] in ("least xor", "xor of pieces", "or of pieces")],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_bitwise_operation_that_is_wrong_is_not_proved_at_64_bits(
    promise: str, function: Any, planted: Callable[..., Any]
) -> None:
    (cell,) = [each for each in cells("interval", 64, [promise]) if each.domain.WIDTH == 64]
    with replaced({function: planted}):
        assert cell.prove().result != PROVED


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
