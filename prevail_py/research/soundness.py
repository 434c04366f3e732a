"""Campaigns against the verifier: random programs, verified, and run where they are SAFE.

``python -m prevail_py.research.soundness --count 1000`` writes programs by seed (:mod:`prevail_py.research.generate`),
verifies each and lets the oracle run those that are SAFE (:mod:`prevail_py.research.oracle`).  A violation, or an
exception of the verifier, is a bug of ours: the program is saved with its seed and the campaign goes on.  The exit
status is 1 where there was one.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from time import monotonic
from typing import TextIO

from prevail_py.isa.disassembler import listing
from prevail_py.research.generate import program
from prevail_py.research.oracle import examine
from prevail_py.verifier import verify

__all__ = ["Result", "Summary", "campaign", "examine_seed", "main"]

INPUTS = 12
"""How often each SAFE program is run."""

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one program: its verdict (``crash`` for an exception), and what went wrong, if anything."""

    seed: int
    size: int
    loops: bool
    verdict: str
    violations: tuple[str, ...] = ()
    coverage: float = 1.0
    unsupported: tuple[str, ...] = ()

    def reproduction(self) -> str:
        """A text to reproduce the failure from: how to make the program again, and its listing."""
        made = program(self.seed, self.size, self.loops)
        head = [
            f"; prevail_py.research.generate.program({self.seed}, {self.size}, loops={self.loops})",
            f"; verdict {self.verdict}; maps are prevail_py.research.generate.MAPS",
            *(f"; {line}" for violation in self.violations for line in violation.splitlines()),
        ]
        return "\n".join([*head, listing(made.code), ""])


@dataclass(slots=True)
class Summary:
    """The counts of a campaign."""

    verdicts: Counter[str] = field(default_factory=Counter)
    failures: list[Result] = field(default_factory=list)
    covered: float = 0.0
    seconds: float = 0.0

    def add(self, result: Result) -> None:
        """Count one program."""
        self.verdicts[result.verdict] += 1
        self.covered += result.coverage if result.verdict == "SAFE" else 0.0
        if result.violations:
            self.failures.append(result)

    def __str__(self) -> str:
        total, safe = self.verdicts.total(), self.verdicts["SAFE"]
        shown = ", ".join(f"{number} {verdict}" for verdict, number in sorted(self.verdicts.items()))
        return (
            f"{total} programs in {self.seconds:.0f} s: {shown}; the oracle entered {self.covered / max(safe, 1):.0%} "
            f"of the blocks of SAFE programs; {len(self.failures)} failures"
        )


def examine_seed(seed: int, size: int = 30, loops: bool = False, inputs: int = INPUTS) -> Result:
    """Write the program of one seed, verify it, and run it if it is SAFE.  Never raises for a fault of the verifier."""
    made = program(seed, size, loops)
    try:
        verdict = verify(made)
        if not verdict.is_safe:
            return Result(seed, size, loops, verdict.kind.value)
        report = examine(made, verdict, inputs, seed=seed)
    except Exception as error:  # whatever it is, it is what a campaign looks for
        return Result(seed, size, loops, "crash", (f"{type(error).__name__}: {error}",))
    return Result(
        seed,
        size,
        loops,
        verdict.kind.value,
        tuple(report.violations),
        report.coverage,
        tuple(sorted(report.unsupported)),
    )


def _examine_batch(seeds: Sequence[int], size: int, loops: bool, inputs: int) -> list[Result]:
    return [examine_seed(seed, size, loops, inputs) for seed in seeds]


def campaign(
    seeds: Iterator[int], size: int, loops: bool, jobs: int, seconds: float | None = None, inputs: int = INPUTS
) -> Iterator[Result]:
    """The results for ``seeds``, in no order; after ``seconds`` no more are started."""
    end = None if seconds is None else monotonic() + seconds
    with ProcessPoolExecutor(jobs) as pool:
        waiting: set[Future[list[Result]]] = set()
        while True:
            while len(waiting) < 2 * jobs and (end is None or monotonic() < end):
                batch = list(islice(seeds, _BATCH))
                if not batch:
                    break
                waiting.add(pool.submit(_examine_batch, batch, size, loops, inputs))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()


class _Progress:
    """One line on a terminal, nothing elsewhere."""

    def __init__(self, stream: TextIO, count: int | None, seconds: float | None) -> None:
        self._stream = stream if stream.isatty() else None
        self._count, self._seconds, self._start = count, seconds, monotonic()

    def show(self, summary: Summary) -> None:
        if self._stream is None:
            return
        done, elapsed = summary.verdicts.total(), monotonic() - self._start
        shares = [done / self._count] if self._count else []
        shares += [elapsed / self._seconds] if self._seconds else []
        share = min(max(shares, default=0.0), 1.0)
        filled = "#" * round(30 * share)
        safe = summary.verdicts["SAFE"]
        self._stream.write(
            f"\r[{filled:<30}] {share:4.0%} {done} programs, {safe} SAFE, "
            f"{len(summary.failures)} failures, {elapsed:.0f} s"
        )
        self._stream.flush()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.write("\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if nothing was found, 1 if something was."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.soundness", description=__doc__)
    parser.add_argument("--count", type=int, help="programs to examine (default: 1000, or no limit with --seconds)")
    parser.add_argument("--seconds", type=float, help="start no more programs after this time")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--size", type=int, default=30, help="statements of each program (default: 30)")
    parser.add_argument("--loops", action="store_true", help="programs with bounded loops")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--inputs", type=int, default=INPUTS, help=f"runs of each SAFE program (default: {INPUTS})")
    parser.add_argument(
        "--out", type=Path, default=Path("out/soundness"), help="where failures go (default: out/soundness)"
    )
    options = parser.parse_args(arguments)
    wanted = 1000 if options.count is None and options.seconds is None else options.count
    seeds = count(options.seed) if wanted is None else iter(range(options.seed, options.seed + wanted))
    summary, progress, start = Summary(), _Progress(sys.stderr, wanted, options.seconds), monotonic()
    results = campaign(seeds, options.size, options.loops, options.jobs, options.seconds, options.inputs)
    for result in results:
        summary.add(result)
        progress.show(summary)
        if result.violations:
            options.out.mkdir(parents=True, exist_ok=True)
            path = options.out / f"seed_{result.seed}{'_loops' if result.loops else ''}.s"
            path.write_text(result.reproduction())
            print(f"{path}: {result.violations[0]}")
    progress.close()
    summary.seconds = monotonic() - start
    print(summary)
    return 1 if summary.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
