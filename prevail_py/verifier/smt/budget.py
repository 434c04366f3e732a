"""What queries may cost, in Z3's own unit (``rlimit``), so that answers do not depend on the machine."""

from __future__ import annotations

from dataclasses import dataclass

import z3

__all__ = ["Budget"]


@dataclass(slots=True)
class Budget:
    """``total`` bounds what all queries cost together, ``query`` what each does; ``spent`` is what they did so far.

    With ``building``, what is done in the solver's context between queries counts as well.
    """

    total: int
    query: int | None = None
    building: bool = False
    spent: int = 0
    queries: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= self.total

    def check(self, solver: z3.Solver) -> z3.CheckSatResult:
        """The solver's answer within what is left; unknown, without a query, where that is nothing."""
        if self.is_spent:
            return z3.unknown
        left = self.total - self.spent
        solver.set("rlimit", left if self.query is None else min(self.query, left))
        self.queries += 1
        before = self.spent if self.building else _count(solver)
        answer = solver.check()
        self.spent += _count(solver) - before
        return answer


def _count(solver: z3.Solver) -> int:
    """What was spent in the solver's context so far."""
    found = solver.statistics()
    return int(found.get_key_value("rlimit count")) if "rlimit count" in found.keys() else 0  # noqa: SIM118
