"""Whether two loop-free programs do the same: proved, refuted by a run, or not known.

Both programs are executed symbolically on one input (:mod:`~prevail_py.verifier.smt.observation`), and the solver is
asked for an input on which what others can see of them differs.  Where there is none they are equivalent.  Where there
is one, both run on it in the interpreter, and only if they differ *there* are they different; else it is an artefact
of what the model leaves open.

The programs have to be SAFE: what is executed symbolically speaks of runs that violate nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from time import process_time
from typing import Final

import z3

from prevail_py.domains import DEFAULT, facts
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.verifier.analysis import default_budget, verify
from prevail_py.verifier.blocks import BudgetExhausted
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.smt.algebra import Predicate
from prevail_py.verifier.smt.budget import Budget
from prevail_py.verifier.smt.encoding import Encoder
from prevail_py.verifier.smt.executor import Execution, execute
from prevail_py.verifier.smt.observation import Entry, Inputs, Observation, Observer
from prevail_py.verifier.smt.replaying import Difference, replayed

__all__ = ["ASSUMPTIONS", "RESULT_BITS", "Equality", "EqualityKind", "prove_equal"]

RESULT_BITS: Final = 32
"""What of R0 is compared: the callers of programs in Linux take a 32-bit number."""

ASSUMPTIONS: Final = (
    "nobody else changes the packet, the context or map values while the program runs",
    "helpers depend on their arguments, on what they are shown, and on the calls before them alone",
)
"""What an equivalence rests on, beyond what the programs' safety does."""

_LIMIT: Final = 40_000_000
"""What all queries may cost together, in Z3's own unit: some ten to twenty seconds."""

_SMALL: Final = (16, 64, 256)
"""Where there is a difference, one on a packet up to these sizes is looked for."""


class EqualityKind(Enum):
    """The possible answers."""

    EQUIVALENT = "EQUIVALENT"
    DIFFERENT = "DIFFERENT"
    UNKNOWN = "UNKNOWN"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Equality:
    """The answer: ``reason`` says why it is not known, ``difference`` is an input on which the programs differ.

    ``queries`` is how often the solver was asked.
    """

    kind: EqualityKind
    left: Program
    right: Program
    reason: str = ""
    difference: Difference | None = None
    assumptions: tuple[str, ...] = ()
    queries: int = 0
    seconds: float = 0.0

    @property
    def is_equivalent(self) -> bool:
        """Whether the programs are proved to do the same."""
        return self.kind is EqualityKind.EQUIVALENT

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.reason}" if self.reason else str(self.kind)]
        if self.difference is not None:
            lines += str(self.difference).splitlines()
        return "\n  ".join([*lines, *(f"assumed: {assumption}" for assumption in self.assumptions)])


def prove_equal(left: Program, right: Program, limit: int = _LIMIT) -> Equality:
    """Prove that two programs do the same on every input, or find an input on which they do not.

    Equal have to be the result (32 bits), the packet and its size, the context, the values of maps, and the calls of
    helpers in their order with their arguments.  Maps are the same where name and definition are.  ``limit`` bounds
    what the solver may spend, in its own unit.  Raises ValueError for programs that are not of one type.
    """
    kinds = [(each.platform, each.program_type, each.expected_attach_type) for each in (left, right)]
    if kinds[0] != kinds[1]:
        texts = [" ".join(filter(None, kind)) for kind in kinds]
        raise ValueError(f"{left.name} is a program of type {texts[0]}, {right.name} of {texts[1]}")
    start = process_time()
    asked = Budget(limit, building=True)
    try:
        kind, reason, difference = _decide(left, right, asked)
    except Unsupported as unsupported:
        kind, reason, difference = EqualityKind.UNKNOWN, f"no model of {unsupported.what}", None
    except BudgetExhausted:
        kind, reason, difference = EqualityKind.UNKNOWN, "the programs take too many steps", None
    assumptions = ASSUMPTIONS if kind is EqualityKind.EQUIVALENT else ()
    spent = process_time() - start
    return Equality(kind, left, right, reason, difference, assumptions, asked.queries, spent)


_Answer = tuple[EqualityKind, str, Difference | None]


def _decide(left: Program, right: Program, asked: Budget) -> _Answer:
    executions = []
    for program in (left, right):
        verdict = verify(program)
        if not verdict.is_safe:
            return EqualityKind.UNKNOWN, f"{program.name} is {verdict.kind}, not SAFE", None
        execution = _execution(program)
        if execution.resumed:
            return EqualityKind.UNKNOWN, f"{program.name} has loops", None
        executions.append(execution)
    encoder = Encoder()
    inputs = Inputs(encoder, _alike(left, right))
    observers = [Observer(inputs, execution, side) for execution, side in zip(executions, ("A", "B"), strict=True)]
    ends = [observer.observe() for observer in observers]
    given = [fact for observer in observers for fact in observer.facts]
    for one in ends[0]:
        for other in ends[1]:
            answer = _ask(left, right, inputs, given, one, other, asked)
            if answer is not None:
                return answer
    return EqualityKind.EQUIVALENT, "", None


def _execution(program: Program) -> Execution:
    setting = Setting(program, platform(program.platform), facts(DEFAULT))
    fixpoint = Fixpoint(setting, 1, default_budget(len(program.code)), lambda pc, assertions, state: None)
    fixpoint.run()
    return execute(fixpoint)


def _alike(left: Program, right: Program) -> frozenset[str]:
    """The names that stand for the same map in both programs.

    Raises Unsupported for a name that stands for different ones, except for read-only data, which each has its own.
    """
    theirs = {spec.name: spec for spec in right.maps}
    found = set()
    for spec in left.maps:
        other = theirs.get(spec.name)
        if other == spec:
            found.add(spec.name)
        elif other is not None and not (spec.read_only and other.read_only):
            raise Unsupported(f"map {spec.name}, which the programs define differently")
    return frozenset(found)


def _ask(
    left: Program,
    right: Program,
    inputs: Inputs,
    given: list[Predicate],
    one: Observation,
    other: Observation,
    asked: Budget,
) -> _Answer | None:
    """None where no input takes the programs to these ends with a difference."""
    encoder = inputs.encoder
    known = [one.reached, other.reached, *one.links, *other.links, *given]
    known += _agreeing(encoder, one, other, known, asked)
    solver = _solver(encoder, known)
    solver.add(_differ(inputs, one, other))
    answer = asked.check(solver)
    if answer == z3.unsat:
        return None
    if answer != z3.sat:
        return EqualityKind.UNKNOWN, "the solver gave up", None
    model = solver.model()
    for size in _SMALL:
        smaller = _solver(encoder, [*solver.assertions(), z3.ULE(inputs.size, encoder.const(size))])
        if asked.check(smaller) == z3.sat:
            model = smaller.model()
            break
    difference = replayed(left, right, inputs, one, model)
    if difference is None:
        return EqualityKind.UNKNOWN, "the input that the solver found makes no difference in the interpreter", None
    return EqualityKind.DIFFERENT, "", difference


def _solver(encoder: Encoder, known: Iterable[Predicate]) -> z3.Solver:
    solver = z3.SolverFor("QF_AUFBV", ctx=encoder.context)
    solver.set("random_seed", 0)
    solver.add(*known)
    return solver


def _agreeing(
    encoder: Encoder, one: Observation, other: Observation, known: list[Predicate], asked: Budget
) -> list[Predicate]:
    """As long as two runs call the same helpers in the same way they get the same from them.

    Mostly that is so in all runs with the same input.  The solver is asked for that first: then what they get is equal
    without a condition, and it need not look at both cases with all that comes behind.
    """
    found: list[Predicate] = []
    before: list[Predicate] = []
    proved = True
    for mine, theirs in zip(one.world.calls, other.world.calls, strict=False):
        same = _same(encoder, mine, theirs)
        proved = proved and not _may(encoder, [*known, *found, z3.Not(same)], asked)
        if not proved:
            before.append(same)
        # What a call gives that is not there is nobody's, so no condition is needed where they are all the same.
        found.append(
            z3.Implies(encoder.all(before), mine.result == theirs.result) if before else mine.result == theirs.result
        )
        found.append(z3.Implies(encoder.all([*before, mine.present, mine.changes]), mine.after == theirs.after))
    return found


def _may(encoder: Encoder, conditions: list[Predicate], asked: Budget) -> bool:
    return bool(asked.check(_solver(encoder, conditions)) != z3.unsat)


def _same(encoder: Encoder, mine: Entry, theirs: Entry) -> Predicate:
    """Whether two calls with the same number are the same, or are both not there."""
    zero = encoder.const(0)
    longest = max(len(mine.words), len(theirs.words))
    words = ([*entry.words, *[zero] * (longest - len(entry.words))] for entry in (mine, theirs))
    equal = [a == b for a, b in zip(*words, strict=True)]
    for a, b in ((mine.values, theirs.values), (mine.packet, theirs.packet), (mine.context, theirs.context)):
        if a is not None and b is not None:
            equal.append(a == b)
        elif a is not None or b is not None:
            # One of them looks at it, the other does not: then their words differ, or neither is there.
            equal.append(encoder.false())
    both = z3.And(mine.present, theirs.present, *equal)
    return z3.Or(both, z3.And(z3.Not(mine.present), z3.Not(theirs.present)))


def _differ(inputs: Inputs, one: Observation, other: Observation) -> Predicate:
    """Whether anything that others can see differs."""
    encoder = inputs.encoder
    low = RESULT_BITS - 1
    found = [z3.Extract(low, 0, one.result) != z3.Extract(low, 0, other.result)]
    mine, theirs = one.world, other.world
    place = z3.BitVec("place", 64, encoder.context)
    if not mine.packet.eq(theirs.packet):
        behind_metadata = z3.ULT(place - inputs.metadata, inputs.size - inputs.metadata)
        inside = z3.Or(behind_metadata, z3.ULT(place, inputs.size))
        found.append(z3.And(inside, z3.Select(mine.packet, place) != z3.Select(theirs.packet, place)))
    for name, a, b in (("context", mine.context, theirs.context), ("values", mine.values, theirs.values)):
        if not a.eq(b):
            # At some place; which is easier on the solver than that two arrays are different ones.
            where = z3.BitVec(f"place in {name}", 64, encoder.context)
            found.append(z3.Select(a, where) != z3.Select(b, where))
    calls = max(len(mine.calls), len(theirs.calls))
    for number in range(calls):
        if number < min(len(mine.calls), len(theirs.calls)):
            found.append(z3.Not(_same(encoder, mine.calls[number], theirs.calls[number])))
        else:
            longer = mine.calls if number < len(mine.calls) else theirs.calls
            found.append(longer[number].present)
    return encoder.any(found)
