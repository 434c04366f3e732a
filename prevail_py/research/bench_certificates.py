"""What certificates cost: ``python -m prevail_py.research.bench_certificates``.

For each program that is SAFE: the time of its verification, and that of writing the certificate, reading it and
checking it, all in one process, in turns, the best of some rounds each (CPU time).  Then, with ``--corpora``, how many
programs of other corpora the checker accepts, refuses, or does not support.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from glob import glob
from pathlib import Path
from statistics import median
from time import process_time
from typing import NamedTuple, TypeVar

from prevail_py import examples
from prevail_py._render import Table
from prevail_py.checker.certificate import read
from prevail_py.checker.check import Answer, check
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.verifier import verify
from prevail_py.verifier.certificate import document

__all__ = ["Cost", "main", "measure"]

T = TypeVar("T")


class Cost(NamedTuple):
    """One program: seconds of CPU time, bytes of the certificate, and what the checker said."""

    program: Program
    verifying: float
    writing: float
    reading: float
    checking: float
    size: int
    answer: Answer

    @property
    def ratio(self) -> float:
        """All that the certificate costs, in verifications."""
        return (self.writing + self.reading + self.checking) / self.verifying


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = process_time()
    result = work()
    return process_time() - start, result


def measure(program: Program, rounds: int) -> Cost | None:
    """What the certificate of a program costs; None where it is not SAFE."""
    best: Cost | None = None
    for _ in range(rounds):
        verifying, verdict = _timed(lambda: verify(program))
        if not verdict.is_safe:
            return None
        writing, text = _timed(lambda verdict=verdict: document([verdict.certificate()]))  # type: ignore[misc]
        reading, certificates = _timed(lambda text=text: read(text))  # type: ignore[misc]
        checking, answer = _timed(lambda found=certificates[0]: check(program, found))  # type: ignore[misc]
        times = (verifying, writing, reading, checking)
        if best is not None:
            times = tuple(map(min, times, best[1:5]))  # type: ignore[assignment]
        best = Cost(program, *times, len(text), answer)
    return best


def _objects() -> list[Path]:
    paths = [examples.path(name) for name, example in examples.EXAMPLES.items() if example.safe]
    return [*paths, *sorted(map(Path, glob("/usr/lib/*/bpf/x*.o")))]


def _table(costs: Sequence[Cost]) -> str:
    header = (
        "program",
        "instructions",
        "verified",
        "written",
        "read",
        "checked",
        "ratio",
        "questions",
        "KiB",
        "answer",
    )
    rows = [
        (
            cost.program.name,
            str(cost.program.instruction_count),
            *(f"{1000 * spent:.1f}" for spent in cost[1:5]),
            f"{cost.ratio:.1f}",
            str(cost.answer.questions),
            f"{cost.size / 1024:.1f}",
            cost.answer.kind,
        )
        for cost in costs
    ]
    return str(Table(header, tuple(rows), frozenset(range(1, 9))))


def _summary(costs: Sequence[Cost]) -> str:
    ratios = [cost.ratio for cost in costs]
    worst = max(cost.writing + cost.reading + cost.checking for cost in costs)
    kinds = Counter(cost.answer.kind for cost in costs)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (
        f"{len(costs)} SAFE programs: {counts}; ratio to the verification: median {median(ratios):.1f}, "
        f"at most {max(ratios):.1f}; at worst {worst:.2f} s"
    )


def _corpus(name: str) -> Iterable[Program]:
    from prevail_py.research.corpora.cache import cache_directory
    from prevail_py.research.corpora.registry import find, registry
    from prevail_py.research.corpora.sources import fetch, open_item

    for item in fetch(find(name, registry()), cache_directory(None)).items:
        yield from open_item(item.path).programs.values()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a certificate of a SAFE program is not accepted."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.bench_certificates", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many rounds (3)")
    parser.add_argument("--corpora", nargs="*", default=[], metavar="NAME", help="also count in these corpora")
    parser.add_argument("objects", nargs="*", type=Path, help="objects (the examples, and those of xdp-tools)")
    options = parser.parse_args(arguments)
    programs = [each for path in options.objects or _objects() for each in load_object(path).programs.values()]
    costs = [cost for program in programs if (cost := measure(program, options.rounds)) is not None]
    print(f"{_table(costs)}\n\n{_summary(costs)}")
    accepted = all(cost.answer.kind == "accepted" for cost in costs)
    for name in options.corpora:
        found = [cost for program in _corpus(name) if (cost := measure(program, 1)) is not None]
        print(f"\n{name}: {_summary(found)}")
        for cost in found:
            if cost.answer.kind != "accepted":
                print(f"  {cost.program.name}: {cost.answer.kind}, slot {cost.answer.slot}: {cost.answer.reason}")
    return 0 if accepted else 1


if __name__ == "__main__":
    sys.exit(main())
