"""What a worker does: make some programs, look at each, minimise what is new among the problems found.

A batch depends on its :class:`Task` alone, so that it can be done again, anywhere, with the same :class:`Outcome`.
"""

from __future__ import annotations

import array
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from threading import Lock
from time import process_time, time
from typing import Any, Final

from prevail_py.isa.encode import EncodeError
from prevail_py.objects.program import Program
from prevail_py.research.choices import Seeded, Tape
from prevail_py.research.fuzz.case import digest, to_document
from prevail_py.research.fuzz.coverage import Feature, number, observed
from prevail_py.research.fuzz.minimise import minimise
from prevail_py.research.fuzz.mutation import changed_choices, damaged
from prevail_py.research.fuzz.oracles import Effort, Look, Problem, look, problems, refused, signature
from prevail_py.research.fuzz.planting import planting
from prevail_py.research.generate import PROGRAM_TYPES, Shape, write

__all__ = ["BATCH", "Found", "Kept", "Outcome", "Settings", "Task", "run"]

BATCH: Final = 16
"""Programs of one batch."""

_MUTANTS: Final = 0.5
_DAMAGED: Final = 0.25
_TRIES_OF_DOUBTS: Final = 20
_SIZES: Final = (1, 2, 4, 6, 8, 12, 20)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the programs of a campaign are and how they are looked at; whoever changes it starts another campaign.

    One in ``certificate_every`` programs has its certificate checked, one in ``native_every`` runs as native code;
    0 for none.  ``guided`` says whether programs are made of those kept before.
    """

    seed: int = 0
    oracles: tuple[str, ...] = ("soundness", "engines", "certificate")
    program_types: tuple[str, ...] = PROGRAM_TYPES
    engines: tuple[str, ...] = ("interpreter", "source")
    inputs: int = 3
    certificate_every: int = 4
    native_every: int = 4
    guided: bool = True
    smt: bool = False
    planted: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A program worth keeping: how it was made, and the branches that it was the first to take."""

    digest: str
    document: Mapping[str, Any]
    taken: tuple[int, ...]
    shape: Mapping[str, Any]
    new: int


@dataclass(frozen=True, slots=True)
class Found:
    """A problem with its program, as found and as small as it got; ``position`` counts programs within the batch."""

    position: int
    problem: Problem
    signature: str
    document: Mapping[str, Any]
    effort: Effort
    smallest: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One batch: its number, what to make programs of, and what is known already.

    ``features`` are the numbers of the branches taken so far, ``signatures`` those of the problems found.  With
    ``first`` the batch ends with the first fault.  After ``until``, a time in seconds since the epoch, it is not begun.
    """

    settings: Settings
    number: int
    parents: tuple[tuple[tuple[int, ...], Mapping[str, Any]], ...] = ()
    features: bytes = b""
    signatures: frozenset[str] = frozenset()
    first: bool = False
    programs: int = BATCH
    until: float | None = None


@dataclass(slots=True)
class Outcome:
    """What came of a batch.  ``features`` are the new ones, ``cpu_seconds`` is CPU time of the worker."""

    number: int
    programs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    features: list[int] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    cpu_seconds: float = 0.0
    is_begun: bool = True

    @property
    def has_fault(self) -> bool:
        """Whether something was found that is no mere doubt."""
        return any(not found.problem.is_doubt for found in self.found)


_one_at_a_time = Lock()
"""What is planted and what is observed concerns the whole process; a cluster's worker may have several threads."""


def run(task: Task) -> Outcome:
    """Do one batch.  Raises ValueError for a fault of which nothing is known."""
    if task.until is not None and time() >= task.until:
        return Outcome(task.number, is_begun=False)
    with _one_at_a_time, planting(task.settings.planted):
        return _run(task)


def _run(task: Task) -> Outcome:
    began = process_time()
    outcome = Outcome(task.number)
    known = set(array.array("I", task.features))
    signatures = set(task.signatures)
    for position in range(task.programs):
        random = Random(f"{task.settings.seed}/{task.number}/{position}")
        made, taken, shape = _make(task, random)
        try:
            document = to_document(made)
        except EncodeError:
            continue
        name = digest(document)
        effort = effort_for(task.settings, name)
        seen, features = _look(made, task.settings, name, effort)
        outcome.programs += 1
        outcome.verdicts["failure" if seen.verdict is None else str(seen.verdict.kind)] += 1
        outcome.answers += seen.answers
        new = [feature for feature in features if feature not in known]
        known.update(new)
        outcome.features += new
        if new and taken:
            outcome.kept.append(Kept(name, document, taken, shape, len(new)))
        for problem in seen.problems:
            what = signature(made, problem)
            smallest = None
            if what not in signatures:
                signatures.add(what)
                # Whoever looks for the first fault does not wait for doubts to become small.
                if not (problem.is_doubt and (task.first or problem.is_tedious)):
                    smallest = _smallest(made, problem, effort)
            outcome.found.append(Found(position, problem, what, document, effort, smallest))
        if task.first and outcome.has_fault:
            break
    outcome.cpu_seconds = process_time() - began
    return outcome


def effort_for(settings: Settings, name: str) -> Effort:
    """How hard to look at the program with this digest: the same whenever it turns up."""
    value = int(name[:12], 16)
    native = bool(settings.native_every) and value % settings.native_every == 0
    return Effort(value % (1 << 31), settings.inputs, settings.engines, native, settings.smt)


def _look(made: Program, settings: Settings, name: str, effort: Effort) -> tuple[Look, list[int]]:
    oracles = settings.oracles
    if not settings.certificate_every or int(name[12:20], 16) % settings.certificate_every:
        oracles = tuple(each for each in oracles if each != "certificate")
    features: set[Feature] = set()
    if not settings.guided:
        return look(made, oracles, effort), []
    with observed(features):
        seen = look(made, oracles, effort)
    return seen, sorted({number(feature) for feature in features})


def _make(task: Task, random: Random) -> tuple[Program, tuple[int, ...], Mapping[str, Any]]:
    """A program with the choices that led to it; none where instructions were changed since."""
    settings = task.settings
    given: list[int] = []
    shape: Mapping[str, Any] = {
        "program_type": random.choice(settings.program_types),
        "size": random.choice(_SIZES),
        "loops": random.random() < 0.3,
    }
    if task.parents and random.random() < _MUTANTS:
        taken, shape = random.choice(task.parents)
        given = changed_choices(random, taken)
    tape = Tape(random, given)
    made = write(tape, Shape(**shape))
    if random.random() < _DAMAGED:
        return damaged(Seeded(random.getrandbits(64)), made, random.choice((1, 1, 2))), (), shape
    return made, tuple(tape.taken), shape


def _smallest(made: Program, problem: Problem, effort: Effort) -> Mapping[str, Any]:
    def fails(candidate: Program) -> bool:
        if problem.is_doubt:
            return refused(candidate, effort)
        return any(each.kind == problem.kind for each in problems(candidate, problem.oracle, effort))

    if not fails(made):
        return to_document(made)  # it takes what other oracles did before
    # What the checker refuses takes its solver long, over and over.
    best = minimise(made, fails, _TRIES_OF_DOUBTS) if problem.is_doubt else minimise(made, fails)
    with suppress(EncodeError):
        return to_document(best)
    return to_document(made)


def killer(task: Task, problem: Problem) -> Outcome:
    """The outcome of a batch that killed the process that did it: a finding, of which only the batch is known.

    Its program is the first of the batch; the number of the batch, in the message, finds the others.
    """
    made, _, _ = _make(task, Random(f"{task.settings.seed}/{task.number}/0"))
    document = to_document(made)
    at = Problem(problem.oracle, problem.kind, f"{problem.message} (in batch {task.number})")
    effort = effort_for(task.settings, digest(document))
    found = Found(0, at, f"{problem.oracle}: {problem.kind}", document, effort)
    return Outcome(task.number, task.programs, Counter({"failure": task.programs}), found=[found])
