"""Garbage in: feed damaged objects to loader and verifier and count what comes out.

``python -m prevail_py.research.garbage --count 5000`` mutates object files and demands for every mutant either an
:class:`~prevail_py.objects.errors.ObjectError` of one line or a verdict for each program, within a time limit and a
memory limit.  Anything else (another exception, a hang, a process that died) is a failure; the mutant is written to
``--out`` and its number reproduces it.  Exit status 0 without failures, 1 with, 2 on bad usage.

Mutants run in worker processes with a limit on their address space; a worker that dies is replaced and the mutant
it had begun is the culprit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Final

from prevail_py.research.mutate import mutations

__all__ = ["Outcome", "Report", "judge", "main", "run"]

SECONDS: Final = 5.0
MEBIBYTES: Final = 1024
_PER_SEED: Final = 50  # consecutive mutants of one object


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mutant.

    ``answers`` are "ObjectError" or a verdict kind for each program; ``failure`` is empty if all is well; ``seconds``
    of CPU time; ``mebibytes`` is the largest size so far of the process that did it.
    """

    number: int
    answers: tuple[str, ...]
    seconds: float
    mebibytes: float
    failure: str = ""


@dataclass(slots=True)
class Report:
    """A campaign in numbers."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        """The mutants that got no proper answer, by number."""
        return sorted((outcome for outcome in self.outcomes if outcome.failure), key=lambda outcome: outcome.number)

    def __str__(self) -> str:
        answers = Counter(answer for outcome in self.outcomes for answer in outcome.answers)
        slowest = max(self.outcomes, key=lambda outcome: outcome.seconds)
        lines = [f"{len(self.outcomes)} mutants, {len(self.failures)} failures"]
        lines += [f"  {answer:12} {number}" for answer, number in answers.most_common()]
        lines.append(f"slowest: {slowest.seconds:.2f} s of CPU time (mutant {slowest.number})")
        lines.append(f"largest process: {max(outcome.mebibytes for outcome in self.outcomes):.0f} MiB")
        lines += [f"FAILURE mutant {outcome.number}: {outcome.failure}" for outcome in self.failures]
        return "\n".join(lines)


class _TooSlow(BaseException):
    """Raised by the alarm; no ``except Exception`` in the code under test may swallow it."""


def _alarm(number: int, frame: FrameType | None) -> None:
    raise _TooSlow


def judge(
    number: int, data: bytes, *, verifying: bool = True, seconds: float = SECONDS, mebibytes: float = MEBIBYTES
) -> Outcome:
    """Load and, if ``verifying``, verify one object in this process.  Main thread only: its time limit uses SIGALRM."""
    from prevail_py.objects.elf import load_object
    from prevail_py.objects.errors import ObjectError
    from prevail_py.verifier import verify

    answers: list[str] = []
    failure = ""
    start = time.process_time()
    previous = signal.signal(signal.SIGALRM, _alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 3 * seconds)  # real time, on a machine that does other things too
        try:
            try:
                loaded = load_object(data, name="mutant")
            except ObjectError as error:
                answers.append("ObjectError")
                if "\n" in str(error) or not error.place or not error.reason:
                    failure = f"the error is not one line with place and reason: {error!r}"
            else:
                programs = loaded.programs.values()
                answers += [verify(program).kind.value if verifying else "loaded" for program in programs]
                answers = answers or ["no program"]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TooSlow:
        failure = "hangs"
    except MemoryError:
        failure = "runs out of memory"
    except Exception as error:
        failure = f"{type(error).__name__}: {' '.join(str(error).split())}{_where(error)}"
    finally:
        signal.signal(signal.SIGALRM, previous)
    spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if not failure and spent > seconds:
        failure = f"took {spent:.1f} s"
    if not failure and peak > mebibytes:
        failure = f"the process grew to {peak:.0f} MiB"
    return Outcome(number, tuple(answers), spent, peak, failure)


def _where(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ""
    return f" ({Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno})"


def _mutant(objects: Sequence[bytes], seed: int, number: int) -> bytes:
    """Mutant ``number`` of a campaign: objects take turns of :data:`_PER_SEED`."""
    turn, position = divmod(number, _PER_SEED)
    stream = mutations(objects[turn % len(objects)], seed * 1_000_003 + turn, position + 1)
    for _ in range(position):
        next(stream)
    return next(stream)


def _work(objects: Sequence[bytes], seed: int, numbers: Sequence[int], verifying: bool, connection: Connection) -> None:
    """In a worker: announce a number, judge it, report; what is announced and not reported killed the worker."""
    limit = 2 * MEBIBYTES << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in numbers:
        connection.send(number)
        connection.send(judge(number, _mutant(objects, seed, number), verifying=verifying))
    connection.close()


@dataclass(slots=True)
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    numbers: list[int]
    current: int | None = None


def run(
    objects: Sequence[bytes], count: int, seed: int = 0, jobs: int = 1, *, verifying: bool = True
) -> Iterator[Outcome]:
    """Judge ``count`` mutants of ``objects`` in ``jobs`` worker processes; outcomes as they arrive."""
    context = multiprocessing.get_context("spawn")

    def start(numbers: list[int]) -> _Worker:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(objects, seed, numbers, verifying, theirs), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, numbers)

    workers = [start(list(range(job, count, jobs))) for job in range(min(jobs, count))]
    while workers:
        for ready in wait([worker.connection for worker in workers]):
            worker = next(worker for worker in workers if worker.connection is ready)
            try:
                message = worker.connection.recv()
            except EOFError:
                workers.remove(worker)
                worker.process.join()
                if worker.current is not None:
                    code = worker.process.exitcode
                    yield Outcome(worker.current, (), 0.0, 0.0, f"the process died (exit code {code})")
                    worker.numbers.remove(worker.current)
                if worker.numbers:
                    workers.append(start(worker.numbers))
                continue
            if isinstance(message, Outcome):
                worker.numbers.remove(message.number)
                worker.current = None
                yield message
            else:
                worker.current = message


def _objects(paths: Sequence[str]) -> list[bytes]:
    if paths:
        return [Path(path).read_bytes() for path in paths]
    examples = files("prevail_py.examples")
    return [
        entry.read_bytes() for entry in sorted(examples.iterdir(), key=lambda e: e.name) if entry.name.endswith(".o")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.garbage", description=__doc__.split("\n")[0])
    parser.add_argument("objects", nargs="*", metavar="OBJ", help="object files to damage (default: the examples)")
    parser.add_argument("--count", type=int, default=5000, metavar="N", help="mutants in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, other mutants")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="worker processes (default %(default)s)")
    parser.add_argument("--load-only", action="store_true", help="do not verify what can be loaded")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the mutants that fail")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.jobs < 1:
        parser.error("--count and --jobs must be positive")
    try:
        objects = _objects(options.objects)
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    if not objects:
        parser.error("no object files")
    report = Report()
    for outcome in run(objects, options.count, options.seed, options.jobs, verifying=not options.load_only):
        report.outcomes.append(outcome)
        if outcome.failure and options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"mutant-{options.seed}-{outcome.number}.o").write_bytes(
                _mutant(objects, options.seed, outcome.number)
            )
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
