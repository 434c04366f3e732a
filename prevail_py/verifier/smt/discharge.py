"""Discharge: what the domains leave unproved is handed to the solver.

The program is executed symbolically from its entry and from the invariants at loop heads
(:mod:`~prevail_py.verifier.smt.executor`).  For every assertion that the domains leave open in a state, the solver is
asked for a run that comes there and violates it.  If there is none for *any* of them, no run violates anything, by
induction on the run: the executor looks at every instruction in every state, those behind an assertion that was open
included, and behind it states speak of the runs in which it held.

The invariants at loop heads are those of the fixpoint, and it is for them that ``faithful`` matters.  Behind a register
that may be anything (uninitialised, of different kinds on different paths, poison after an earlier failure) the
fixpoint does not follow what an access through it does to the stack.  That is right as long as the failure keeps the
verdict from being SAFE.  Where the solver finds that there is none, the invariants behind may be wrong: so where there
are loops, a fixpoint with such a failure is good for nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import z3

from prevail_py.verifier.assertions import Assertion
from prevail_py.verifier.blocks import BudgetExhausted
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.setting import Unsupported
from prevail_py.verifier.smt.budget import Budget
from prevail_py.verifier.smt.encoding import Encoder
from prevail_py.verifier.smt.executor import Execution, Moment, execute
from prevail_py.verifier.smt.history import Remembering, history_of, starts
from prevail_py.verifier.smt.violations import violated
from prevail_py.verifier.verdict import Discharged

__all__ = ["QUERY_LIMIT", "TOTAL_LIMIT", "Alarm", "Discharge", "discharge"]

QUERY_LIMIT: Final = 2_000_000
"""What one query may cost, in Z3's own unit, so that answers do not depend on the machine: a second or two."""

TOTAL_LIMIT: Final = 4_000_000
"""What all queries about a program may cost together."""


@dataclass(frozen=True, slots=True, eq=False)
class Alarm:
    """An assertion that is not discharged: ``model`` of a run that violates it, or None where the solver gave up."""

    moment: Moment
    assertion: Assertion
    model: z3.ModelRef | None


@dataclass(frozen=True, slots=True)
class Discharge:
    """What came of it: the program is safe where ``alarms`` is empty.  ``spent`` is in units of Z3."""

    execution: Execution
    encoder: Encoder
    discharged: tuple[Discharged, ...]
    alarms: tuple[Alarm, ...]
    spent: int


def discharge(fixpoint: Fixpoint, faithful: bool, most_alarms: int = 1, budget: int | None = None) -> Discharge | None:
    """Ask about everything that is open in a program whose fixpoint is found, until there are ``most_alarms``.

    ``faithful`` tells that no failure of the fixpoint is about a register that may be anything.  None where the program
    cannot be executed symbolically within ``budget`` abstract steps, or the invariants are not to be relied upon.
    """
    try:
        execution = execute(fixpoint, budget)
    except (BudgetExhausted, Unsupported):
        return None
    if not execution.covered or (execution.resumed and not faithful):
        return None
    solver = _Solver()
    discharged: list[Discharged] = []
    alarms: list[Alarm] = []
    for moment in execution.moments:
        for assertion in moment.open:
            answer = solver.ask(execution, moment, assertion)
            if isinstance(answer, Discharged):
                discharged.append(answer)
                continue
            alarms.append(answer)
            if len(alarms) == most_alarms:
                return Discharge(execution, solver.encoder, tuple(discharged), tuple(alarms), solver.budget.spent)
    return Discharge(execution, solver.encoder, tuple(discharged), tuple(alarms), solver.budget.spent)


class _Solver:
    def __init__(self) -> None:
        self.encoder = Encoder()
        self.budget = Budget(TOTAL_LIMIT, QUERY_LIMIT)

    def ask(self, execution: Execution, moment: Moment, assertion: Assertion) -> Discharged | Alarm:
        state, encoder = moment.state, self.encoder
        event = history_of(state)
        assert isinstance(state.facts, Remembering)
        solver = z3.SolverFor("QF_BV", ctx=encoder.context)
        solver.set("random_seed", 0)
        solver.add(encoder.reached(event))
        solver.add(encoder.facts(event, state.facts.known))
        solver.add(violated(execution.setting, state, assertion, encoder))
        before = self.budget.spent
        answer = self.budget.check(solver)
        if answer == z3.unsat:
            begun = tuple((start.calls, start.pc) for start in starts([event]))
            cost = self.budget.spent - before
            return Discharged(moment.calls, moment.pc, repr(assertion), solver.to_smt2(), cost, begun)
        return Alarm(moment, assertion, solver.model() if answer == z3.sat else None)
