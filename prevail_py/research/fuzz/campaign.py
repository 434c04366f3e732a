"""Campaigns: rounds of batches, on one processor, on several, or on a cluster, until the time is over.

A round is a fixed number of batches, whatever the number of jobs, and depends on what the rounds before it found: so
the same settings give the same programs, corpus and findings, however often a campaign is interrupted and wherever its
batches are done.  Time only decides after which batch it ends: none is begun when the time is over, and a campaign that
goes on does the rest of the round first, of what was known when the round began.

>>> report = campaign(Settings(oracles=("soundness",), inputs=1), programs=16, batches=1)
>>> report.programs, report.findings
(16, [])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from random import Random
from time import monotonic, time
from typing import Any, Final, Protocol

from prevail_py.research.fuzz.batch import BATCH, Outcome, Settings, Task, run
from prevail_py.research.fuzz.oracles import ORACLES, Problem
from prevail_py.research.fuzz.planting import planting
from prevail_py.research.fuzz.store import Finding, Store
from prevail_py.research.generate import PROGRAM_TYPES
from prevail_py.vm.engines import ENGINES

__all__ = ["BATCHES", "Progress", "Report", "campaign"]

BATCHES: Final = 8
"""Batches of a round."""

_PARENTS: Final = 12
"""Kept programs that a batch may make others of."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a campaign came to, all of its rounds together, those of earlier calls included.

    ``verdicts`` counts programs by verdict, ``answers`` what the oracles said.  ``branches`` is how many branches of
    the abstract interpreter were taken, ``kept`` how many programs are in the corpus.  ``seconds`` by the clock.
    """

    settings: Settings
    programs: int
    rounds: int
    seconds: float
    verdicts: Counter[str]
    answers: Counter[str]
    branches: int
    kept: int
    findings: list[Finding]

    @property
    def faults(self) -> list[Finding]:
        """The findings that are faults of ours."""
        return [finding for finding in self.findings if not finding.problem.is_doubt]

    @property
    def doubts(self) -> list[Finding]:
        """The findings that may be faults (:attr:`Problem.is_doubt <prevail_py.research.fuzz.Problem.is_doubt>`)."""
        return [finding for finding in self.findings if finding.problem.is_doubt]

    @property
    def first(self) -> Finding | None:
        """The fault that was found first, if any was."""
        return next(iter(self.faults), None)


Progress = Callable[[Report], None]
"""Called after each round."""


class Runner(Protocol):
    """Does batches somewhere, and gives the outcomes of those that were begun, in the order of the tasks.

    None is begun when so many seconds, if any are given, are over; there is one at least.
    """

    def __call__(self, tasks: Sequence[Task], seconds: float | None, /) -> list[Outcome]: ...


def campaign(
    settings: Settings | None = None,
    *,
    seconds: float | None = None,
    programs: int | None = None,
    jobs: int = 1,
    backend: str | None = None,
    db: Path | None = None,
    planted: str | None = None,
    first: bool = False,
    progress: Progress | None = None,
    batches: int = BATCHES,
    clock: Callable[[], float] = monotonic,
) -> Report:
    """Look for faults until ``seconds`` are over, or at least so many ``programs`` were looked at; without both, once.

    ``seconds`` are those of the ``clock``; with that of a process, there has to be one job.  The batch that is under
    way when they are over is done to its end.

    With a ``db`` it is kept there, and a campaign that was there before goes on: limits count from its beginning.
    ``jobs`` processes work on it, or the workers of the joblib ``backend``.  ``planted`` is a fault to plant in the
    workers (:func:`~prevail_py.research.fuzz.planting.planting`); with ``first`` the campaign ends with the first
    fault found.  Raises ValueError for settings that make no sense and for a database of something else.
    """
    settings = settings or Settings()
    if planted is not None:
        settings = replace(settings, planted=planted)
    _check(settings)
    with Store(db, settings) as store, _runner(jobs, backend, clock) as runner:
        while not _over(store, seconds, programs) and not (first and store.has_fault()):
            began = clock()
            left = None if seconds is None else seconds - store.seconds
            tasks = _tasks(store, settings, batches, first)
            outcomes = runner(tasks, left)
            if first:
                outcomes = _up_to_first(outcomes)
            store.add(outcomes, clock() - began, whole=len(outcomes) == len(tasks))
            if progress is not None:
                progress(report_of(store, settings))
            if seconds is None and programs is None:
                break
        return report_of(store, settings)


def _check(settings: Settings) -> None:
    def known(what: str, names: Iterable[str], among: Iterable[str]) -> None:
        for name in names:
            if name not in among:
                raise ValueError(f"no {what} {name!r} (there are: {', '.join(among)})")

    known("oracle", settings.oracles, ORACLES)
    known("program type", settings.program_types, PROGRAM_TYPES)
    known("engine", settings.engines, ENGINES)
    if "kernel" in settings.engines:
        raise ValueError("campaigns run nothing in the kernel (make differential-kernel does)")
    if not settings.oracles or not settings.program_types:
        raise ValueError("a campaign needs an oracle and a program type")
    if "engines" in settings.oracles and len(set(settings.engines)) < 2:
        raise ValueError("there have to be two engines to compare")
    if settings.inputs < 1:
        raise ValueError("a campaign needs an input for each program")
    with planting(settings.planted):
        pass


def _over(store: Store, seconds: float | None, programs: int | None) -> bool:
    late = seconds is not None and store.seconds >= seconds
    return late or (programs is not None and store.programs >= programs)


def _tasks(store: Store, settings: Settings, batches: int, first: bool) -> list[Task]:
    """The batches of the next round that were not done."""
    number, size = store.round, store.size()
    random = Random(f"{settings.seed}/round/{number}")
    features, signatures = store.features(), store.signatures()
    tasks = []
    for index in range(batches):
        # Half of them from the later half of the corpus, which took what is rare.
        chosen = [
            random.randrange(size // 2 if random.random() < 0.5 else 0, size) for _ in range(_PARENTS if size else 0)
        ]
        parents = tuple(store.parents(chosen)) if settings.guided else ()
        tasks.append(Task(settings, number * batches + index, parents, features, signatures, first, BATCH))
    return tasks[store.done :]


def _up_to_first(outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes up to the first with a fault: how many programs that took does not depend on the jobs."""
    for index, outcome in enumerate(outcomes):
        if outcome.has_fault:
            return outcomes[: index + 1]
    return outcomes


def report_of(store: Store, settings: Settings) -> Report:
    """What there is in a database."""
    return Report(
        settings,
        store.programs,
        store.round,
        store.seconds,
        store.counts("verdict"),
        store.counts("answer"),
        store.branches(),
        store.kept(),
        store.findings(),
    )


# Where batches are done ----------------------------------------------------------------------------------------------


def _runner(jobs: int, backend: str | None, clock: Callable[[], float]) -> AbstractContextManager[Runner]:
    if jobs < 1:
        raise ValueError("a campaign needs at least one job")
    if jobs == 1 and backend is None:
        return nullcontext(partial(_here, clock))
    if clock is not monotonic:
        raise ValueError("several jobs have no clock in common but that on the wall")
    return _Parallel(jobs, backend)


def _here(clock: Callable[[], float], tasks: Sequence[Task], seconds: float | None) -> list[Outcome]:
    found: list[Outcome] = []
    end = None if seconds is None else clock() + seconds
    for task in tasks:
        if found and end is not None and clock() >= end:
            break
        found.append(run(task))
        if task.first and found[-1].has_fault:
            break
    return found


class _Parallel:
    """Batches on a joblib backend; where a worker dies, the batch that killed it is a finding."""

    def __init__(self, jobs: int, backend: str | None) -> None:
        self._jobs, self._backend = jobs, backend
        self._parallel: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> Runner:
        self._start()
        return self._run

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        joblib = _joblib()
        try:
            with ExitStack() as stack:
                if self._backend is not None:
                    # Backends of other packages are known to this function only.
                    stack.enter_context(joblib.parallel_config(self._backend, n_jobs=self._jobs))
                self._parallel = stack.enter_context(joblib.Parallel(n_jobs=self._jobs, batch_size=1))
                self._stack = stack.pop_all()
        except (ValueError, ImportError) as error:
            raise ValueError(f"backend {self._backend!r}: {error}") from error

    def _run(self, tasks: Sequence[Task], seconds: float | None) -> list[Outcome]:
        from concurrent.futures.process import BrokenProcessPool

        # The workers of a cluster may have clocks that differ a little: that costs as much of the time, and no more.
        end = None if seconds is None else time() + seconds
        tasks = [task if index == 0 else replace(task, until=end) for index, task in enumerate(tasks)]
        try:
            found = self._do(tasks)
        except BrokenProcessPool:
            # One of them killed its worker: each gets a pool of its own, so that it takes no other one with it.
            found = [self._alone(task) for task in tasks]
        # What was done after one that was not begun is done again, so that their order is that of the tasks.
        return list(takewhile(lambda outcome: outcome.is_begun, found))

    def _do(self, tasks: Sequence[Task]) -> list[Outcome]:
        found: list[Outcome] = self._parallel(_joblib().delayed(run)(task) for task in tasks)
        return found

    def _alone(self, task: Task) -> Outcome:
        from concurrent.futures.process import BrokenProcessPool

        self.__exit__()
        self._start()
        try:
            return self._do([task])[0]
        except BrokenProcessPool as death:
            from prevail_py.research.fuzz.batch import killer

            self.__exit__()
            self._start()
            return killer(task, Problem("engines", "a worker died", str(death).splitlines()[0][:200]))


def _joblib() -> Any:
    try:
        import joblib
    except ImportError as error:
        raise ValueError("several jobs need joblib: pip install 'prevail-py[research]'") from error
    return joblib
