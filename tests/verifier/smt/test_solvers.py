"""Second solvers agree with Z3 on queries of the proofs."""

from __future__ import annotations

import pytest

from prevail_py.domains import bits
from prevail_py.verifier.proofs.prove import PROVED, Cell, cells
from prevail_py.verifier.proofs.replacing import replaced
from prevail_py.verifier.smt.solvers import SAT, UNSAT, SolverError, available, decide

SECOND = ["cvc5", "bitwuzla"]


def needs(solver: str) -> None:
    if not available(solver):
        pytest.skip(f"{solver} is not installed")


def of_bits(operation: str) -> Cell:
    return cells("tnum", 8, [operation])[0]


@pytest.mark.parametrize("solver", ["z3", *SECOND])
def test_answers(solver: str) -> None:
    needs(solver)
    script = "(set-logic QF_BV) (declare-const x (_ BitVec 8)) (assert (= (bvmul x #x0{}) #x07)) (check-sat)"
    assert decide(script.format(3), solver) == SAT
    assert decide(script.format(2), solver) == UNSAT


@pytest.mark.parametrize("solver", SECOND)
@pytest.mark.parametrize("operation", ["add", "join", "backward xor", "assume =="])
def test_agreement_on_bits(operation: str, solver: str) -> None:
    needs(solver)
    cell = of_bits(operation)
    queries = cell.queries()
    assert queries
    assert cell.prove().result == PROVED
    assert [decide(query.text, solver) for query in queries] == [query.answer for query in queries]


@pytest.mark.parametrize("operation", ["meet", "from_unsigned", "up"])
def test_agreement_on_bounds_of_64_bits(operation: str) -> None:
    needs("cvc5")
    for query in cells("interval", 64, [operation])[0].queries()[:8]:
        assert decide(query.text, "cvc5") == query.answer == UNSAT


@pytest.mark.parametrize("solver", SECOND)
def test_a_mistake_is_satisfiable_for_them_too(solver: str) -> None:
    needs(solver)

    def no_carry(av: int, am: int, bv: int, bm: int, width: int) -> tuple[int, int]:
        last = (1 << width) - 1
        return (av + bv) & last & ~(am | bm), (am | bm) & last

    with replaced({bits._add: no_carry}):
        answers = {decide(query.text, solver) for query in of_bits("add").queries()}
    assert SAT in answers


def test_errors() -> None:
    with pytest.raises(SolverError, match="no solver is called 'yices'"):
        decide("(check-sat)", "yices")
    with pytest.raises(SolverError, match="z3: "):
        decide("(assert", "z3")


@pytest.mark.parametrize("solver", SECOND)
def test_what_a_solver_cannot_read(solver: str) -> None:
    needs(solver)
    with pytest.raises(SolverError, match=solver):
        decide("(assert (= x y)) (check-sat)", solver)
