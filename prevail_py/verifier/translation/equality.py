"""Whether two executions do the same: what is asked of Z3, and how a difference is reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import z3

from prevail_py.verifier.translation.execute import Event, State, Term
from prevail_py.vm.jit.proved.layout import Status

__all__ = ["Mistake", "differences", "event_differences", "holds", "is_status", "undefined"]

_RLIMIT: Final = 20_000_000
"""Of Z3, for each question: far above what any takes, so that the answer does not depend on the machine."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """The IR of the block at slot ``pc`` is not what the semantics says, or could not be shown to be."""

    pc: int
    what: str

    def __str__(self) -> str:
        return f"block at slot {self.pc}: {self.what}"


def holds(path: Sequence[z3.BoolRef], condition: z3.BoolRef) -> bool:
    """Whether a condition is known to hold wherever a path leads."""
    if z3.is_true(z3.simplify(condition)):
        return True
    solver = z3.Solver()
    solver.set("rlimit", _RLIMIT)
    solver.add(*path, z3.Not(condition))
    return bool(solver.check() == z3.unsat)


def is_status(state: State, status: Term, wanted: Status) -> bool:
    """Whether a run can only end with this status here."""
    return holds(state.path, status == int(wanted))


def differences(pc: int, state: State, wanted: Sequence[tuple[str, Term, Term]]) -> Iterator[Mistake]:
    """The terms, each with its name, that are not known to be what they should be."""
    for name, got, right in wanted:
        if got is None or not holds(state.path, got == right):
            yield Mistake(pc, f"{name} is {_text(got)}, not {_text(right)}")


def undefined(pc: int, state: State) -> Iterator[Mistake]:
    """What LLVM leaves undefined for some words on the way to a state."""
    for path, condition, line in state.owed:
        if not holds(list(path), condition):
            yield Mistake(pc, f"undefined for some words: {line}")


def event_differences(pc: int, state: State, theirs: Sequence[Event]) -> Iterator[Mistake]:
    """How the events of a state are not the given ones; an operand that is None there may be anything."""
    ours = state.events
    if [(e.kind, e.size, len(e.operands)) for e in ours] != [(e.kind, e.size, len(e.operands)) for e in theirs]:
        yield Mistake(pc, f"it does {_shown(ours)}, not {_shown(theirs)}")
        return
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        pairs = zip(one.operands, other.operands, strict=True)
        wanted = [(f"operand {n} of {one.kind} {number}", a, b) for n, (a, b) in enumerate(pairs) if b is not None]
        yield from differences(pc, state, wanted)


def _text(term: Term) -> str:
    return "nothing" if term is None else str(z3.simplify(term)).replace("\n", " ")[:120]


def _shown(events: Sequence[Event]) -> str:
    return ", ".join(f"{event.kind} of {event.size}" for event in events) or "nothing"
