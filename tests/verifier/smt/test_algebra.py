"""The Z3 reading of the word algebra equals the int reading: on all words of 4 bits, and on edges and random words.

Each operation is built once on two variables and then evaluated by substitution, so that what is tested is the term a
solver would see.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
import z3

from prevail_py.research.exhaustive import operations
from prevail_py.verifier.smt.algebra import Z3Algebra
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate, mask

Pairs = Iterable[tuple[int, int]]

WIDE = [
    *(
        WordOp(kind, width)
        for kind in OpKind
        for width in (64, 32)
        if kind not in (OpKind.ZEXT, OpKind.SEXT, OpKind.BSWAP)
    ),
    *(WordOp(OpKind.ZEXT, width) for width in (8, 16, 32)),
    *(WordOp(OpKind.SEXT, width, source) for width in (32, 64) for source in (8, 16, 32) if source < width),
    *(WordOp(OpKind.BSWAP, width) for width in (16, 32, 64)),
]
EDGES = (0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
RANDOM = Random(0)
SAMPLES = [
    *itertools.product(EDGES, EDGES),
    *((RANDOM.getrandbits(64), RANDOM.getrandbits(RANDOM.choice((4, 32, 64)))) for _ in range(100)),
]


def mismatch(term: Any, expected: Any, pairs: Pairs, word: int) -> tuple[int, int] | None:
    """The first pair on which ``term`` of the variables a and b is not ``expected(a, b)``."""
    a, b = z3.BitVec("a", word), z3.BitVec("b", word)
    for x, y in pairs:
        found = z3.simplify(z3.substitute(term, (a, z3.BitVecVal(x, word)), (b, z3.BitVecVal(y, word))))
        value = z3.is_true(found) if z3.is_bool(found) else found.as_long()
        if value != expected(x, y):
            return x, y
    return None


def wrong_operation(algebra: Z3Algebra, op: WordOp, pairs: Pairs, word: int = 64) -> tuple[int, int] | None:
    a, b = z3.BitVec("a", word), z3.BitVec("b", word)
    if op.kind.arity == 1:
        term = evaluate(algebra, op, (a,), word)
        return mismatch(term, lambda x, y: evaluate(INT, op, (x,), word), pairs, word)
    term = evaluate(algebra, op, (a, b), word)
    return mismatch(term, lambda x, y: evaluate(INT, op, (x, y), word), pairs, word)


def wrong_comparison(algebra: Z3Algebra, comparison: Comparison, width: int, pairs: Pairs, word: int = 64) -> Any:
    a, b = z3.BitVec("a", word), z3.BitVec("b", word)
    term = compare(algebra, comparison, a, b, width, word)
    return mismatch(term, lambda x, y: compare(INT, comparison, x, y, width, word), pairs, word)


@pytest.mark.parametrize("op", operations(4, 2), ids=str)
def test_operations_on_all_words_of_4_bits(op: WordOp) -> None:
    assert wrong_operation(Z3Algebra(), op, itertools.product(range(16), range(16)), word=4) is None


@pytest.mark.parametrize("op", WIDE, ids=str)
def test_operations_on_edges_and_random_words(op: WordOp) -> None:
    assert wrong_operation(Z3Algebra(), op, SAMPLES) is None


def test_byte_swap_of_8_bits() -> None:
    assert wrong_operation(Z3Algebra(), WordOp(OpKind.BSWAP, 8), SAMPLES) is None


@pytest.mark.parametrize("comparison", Comparison)
def test_comparisons(comparison: Comparison) -> None:
    for width in (4, 2):
        assert wrong_comparison(Z3Algebra(), comparison, width, itertools.product(range(16), range(16)), 4) is None
    for width in (64, 32):
        assert wrong_comparison(Z3Algebra(), comparison, width, SAMPLES) is None


def test_every_operation_and_comparison_is_covered() -> None:
    assert {op.kind for op in WIDE} == set(OpKind)
    assert {op.kind for op in operations(4, 2)} == set(OpKind) - {OpKind.BSWAP}  # needs whole bytes


def test_constants_wrap() -> None:
    assert Z3Algebra().const(-1, 32).as_long() == mask(32)


def test_a_context_of_ones_own() -> None:
    context = z3.Context()
    x = z3.BitVec("x", 64, context)
    for op in WIDE:
        assert evaluate(Z3Algebra(context), op, (x,) * op.kind.arity).ctx == context


class _DividesAsSmtLib(Z3Algebra):
    def udiv(self, a: Any, b: Any, width: int) -> Any:
        return z3.UDiv(a, b)

    def sdiv(self, a: Any, b: Any, width: int) -> Any:
        return a / b


class _ShiftsAsSmtLib(Z3Algebra):
    def shl(self, a: Any, b: Any, width: int) -> Any:
        return a << b

    def lshr(self, a: Any, b: Any, width: int) -> Any:
        return z3.LShR(a, b)

    def ashr(self, a: Any, b: Any, width: int) -> Any:
        return a >> b


class _ComparesUnsigned(Z3Algebra):
    def compare(self, comparison: Comparison, a: Any, b: Any, width: int) -> Any:
        return super().compare(Comparison.ULT if comparison is Comparison.SLT else comparison, a, b, width)


@pytest.mark.parametrize(
    ("broken", "kinds"),
    [
        (_DividesAsSmtLib, {OpKind.UDIV, OpKind.SDIV}),
        (_ShiftsAsSmtLib, {OpKind.LSH, OpKind.RSH, OpKind.ARSH}),
        (_ComparesUnsigned, {Comparison.SLT}),
    ],
)
def test_planted_bugs_are_found(broken: type[Z3Algebra], kinds: set[object]) -> None:
    found: set[object] = {op.kind for op in WIDE if wrong_operation(broken(), op, SAMPLES) is not None}
    found |= {c for c in Comparison if wrong_comparison(broken(), c, 32, SAMPLES) is not None}
    assert found == kinds
