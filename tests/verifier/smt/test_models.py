"""Bytes of models and what queries cost: as Z3 says one at a time, and never more than there is."""

from __future__ import annotations

import pytest
import z3

from prevail_py.verifier.smt.budget import Budget
from prevail_py.verifier.smt.models import bytes_of, number_of

TOP = (1 << 64) - 1


def _array(name: str) -> z3.ArrayRef:
    return z3.Array(name, z3.BitVecSort(64), z3.BitVecSort(8))


def _written() -> z3.ArrayRef:
    array = z3.K(z3.BitVecSort(64), z3.BitVecVal(9, 8))
    for place, byte in ((TOP, 1), (0, 2), (3, 3), (3, 4), (1 << 40, 5)):
        array = z3.Store(array, place, byte)
    return array


def _computed() -> z3.ExprRef:
    place = z3.BitVec("place", 64)
    return z3.Lambda([place], z3.Extract(7, 0, place * 3))


@pytest.mark.parametrize("start", [0, 2, TOP, TOP - 2, (1 << 40) - 1])
@pytest.mark.parametrize("value", [_written(), _computed(), _array("open")], ids=["written", "computed", "open"])
def test_bytes(value: z3.ExprRef, start: int) -> None:
    array, solver = _array("array"), z3.Solver()
    solver.add(array == value)
    assert solver.check() == z3.sat
    model = solver.model()
    wanted = bytes(number_of(model, z3.Select(array, start + place & TOP)) for place in range(6))
    assert bytes_of(model, array, 6, start) == wanted


def _hard(context: z3.Context) -> z3.Solver:
    """A prime as a product: more than there is."""
    solver = z3.SolverFor("QF_BV", ctx=context)
    one, other = (z3.BitVec(name, 64, context) for name in "ab")
    solver.add(one * other == (1 << 31) - 1, one > 1, other > 1, one < 1 << 31, other < 1 << 31)
    return solver


@pytest.mark.parametrize("building", [False, True])
def test_a_budget_is_spent_once(building: bool) -> None:
    context = z3.Context()
    budget = Budget(20_000, 8_000, building)
    answers = []
    while not budget.is_spent:
        answers.append(budget.check(_hard(context)))
        assert budget.queries == len(answers) < 20
    assert all(answer == z3.unknown for answer in answers)
    assert len(answers) > 1
    spent, queries = budget.spent, budget.queries
    easy = z3.Solver(ctx=context)
    assert budget.check(easy) == z3.unknown
    assert (budget.spent, budget.queries) == (spent, queries)
    assert Budget(1_000_000).check(easy) == z3.sat
