"""Measures the verifier: speed over object files, and how its cost grows with the size of programs.

Times are CPU time of this process.  Speed is instructions verified per CPU millisecond, the median of several rounds
over each object.  Growth is the exponent of the least-squares line through (log size, log time) for families of one
shape (:mod:`prevail_py.research.families`): 1 means linear.  Run as ``python -m prevail_py.research.bench``.
"""

from __future__ import annotations

import argparse
import platform as host
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from math import log
from pathlib import Path
from statistics import median
from time import process_time
from typing import Final, NamedTuple

from prevail_py import examples
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program
from prevail_py.research import families
from prevail_py.verifier import Verdict, verify

__all__ = ["Growth", "Speed", "exponent", "growth", "main", "speed"]

INSTALLED: Final = Path("/usr/lib/x86_64-linux-gnu/bpf")
"""Where Debian's xdp-tools and libxdp1 put their objects."""

FAMILIES: Final[dict[str, Callable[[int], Program]]] = {
    "straight line": families.straight_line,
    "diamonds": families.diamonds,
    "stack slots": families.stack_slots,
    "bounds checks": families.bounds_checks,
    "loop (trip count)": families.loop,
    "loop (body)": families.long_loop,
    "loops in sequence": families.loops_in_sequence,
    "calls": families.calls,
    "call tree": families.call_tree,
}
SIZES: Final = (256, 512, 1024, 2048, 4096)


class Speed(NamedTuple):
    """One program: ``seconds`` is the median CPU time of a verification, ``steps`` its abstract steps."""

    name: str
    verdict: str
    instructions: int
    steps: int
    seconds: float

    @property
    def rate(self) -> float:
        """Instructions per CPU millisecond."""
        return self.instructions / self.seconds / 1000 if self.seconds else 0.0


class Growth(NamedTuple):
    """One family: CPU seconds by size, and the fitted exponent."""

    family: str
    seconds: tuple[float, ...]
    steps: tuple[int, ...]
    exponent: float
    steps_exponent: float


def _timed(program: Program, rounds: int, disjuncts: int | None = None) -> tuple[Verdict, float]:
    times, verdict = [], None
    for _ in range(rounds):
        start = process_time()
        verdict = verify(program, disjuncts=disjuncts)
        times.append(process_time() - start)
    assert verdict is not None
    return verdict, median(times)


def speed(programs: Iterable[tuple[str, Program]], rounds: int = 5, disjuncts: int | None = None) -> list[Speed]:
    """The speed on each of the (name, program) pairs, those UNSUPPORTED left out: nothing was analysed."""
    out = []
    for name, program in programs:
        verdict, seconds = _timed(program, rounds, disjuncts)
        if verdict.steps:
            out.append(Speed(name, str(verdict.kind), program.instruction_count, verdict.steps, seconds))
    return out


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of the least-squares line through the logarithms.  Raises ValueError for fewer than two points."""
    if len(sizes) != len(values) or len(sizes) < 2:
        raise ValueError("an exponent needs two sizes at least, and a value for each")
    xs, ys = [log(size) for size in sizes], [log(value) for value in values]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def growth(family: str, sizes: Sequence[int] = SIZES, rounds: int = 3) -> Growth:
    """How the cost of one of :data:`FAMILIES` grows.  Raises ValueError if a member is not SAFE."""
    seconds, steps = [], []
    for size in sizes:
        verdict, time = _timed(FAMILIES[family](size), rounds)
        if not verdict.is_safe:
            raise ValueError(f"{family} of size {size} is {verdict.kind} {verdict.reason}")
        seconds.append(time)
        steps.append(verdict.steps)
    return Growth(family, tuple(seconds), tuple(steps), exponent(sizes, seconds), exponent(sizes, steps))


def _objects(paths: Sequence[Path]) -> Iterable[tuple[str, Program]]:
    for path in paths:
        try:
            loaded = load_object(path)
        except ObjectError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        for program in loaded.programs.values():
            yield f"{path.name}: {program.name}", program


def _commit() -> str:
    result = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return (result.stdout.strip() or "unknown") + (" with changes" if dirty.stdout.strip() else "")


def _total(speeds: Sequence[Speed]) -> float:
    return sum(row.instructions for row in speeds) / sum(row.seconds for row in speeds) / 1000


def _document(speeds: Sequence[Speed], single: Sequence[Speed], grown: Sequence[Growth], command: str) -> str:
    rates = [row.rate for row in speeds]
    total = _total(speeds)
    lines = [
        "# Speed and growth of the verifier",
        "",
        f"Made by `{command}` at commit {_commit()}, {host.python_implementation()} {host.python_version()} on "
        f"{host.machine()}; CPU time, medians. Machines differ and are noisy: compare ratios within one table.",
        "",
        f"## Speed: {total:.1f} instructions per CPU millisecond over all, median of programs {median(rates):.1f}",
        "",
        f"With one state at each join (`disjuncts=1`): {_total(single):.1f} over all, "
        f"median of programs {median([row.rate for row in single]):.1f}.",
        "",
        "| program | verdict | instructions | abstract steps | ms | instructions/ms |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {row.name} | {row.verdict} | {row.instructions} | {row.steps} | {row.seconds * 1000:.1f} "
            f"| {row.rate:.1f} |"
            for row in speeds
        ),
        "",
        f"## Growth: exponents over N = {SIZES[0]} ... {SIZES[-1]}",
        "",
        "| family | " + " | ".join(f"N = {size}, ms" for size in SIZES) + " | exponent of time | of abstract steps |",
        "| --- |" + " ---: |" * (len(SIZES) + 2),
        *(
            f"| {row.family} | "
            + " | ".join(f"{seconds * 1000:.0f}" for seconds in row.seconds)
            + f" | {row.exponent:.2f} | {row.steps_exponent:.2f} |"
            for row in grown
        ),
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write them where ``-o`` says."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.bench", description=__doc__)
    parser.add_argument(
        "objects", nargs="*", type=Path, help="object files; default: the examples and what is installed"
    )
    parser.add_argument("--rounds", type=int, default=5, help="verifications of each object")
    parser.add_argument("--growth-rounds", type=int, default=1, help="verifications of each family member")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    paths = options.objects or [
        *(examples.path(name) for name, example in examples.EXAMPLES.items() if example.safe),
        *sorted(INSTALLED.glob("*.o")),
    ]
    speeds = speed(_objects(paths), options.rounds)
    single = speed(_objects(paths), options.rounds, disjuncts=1)
    grown = [growth(family, rounds=options.growth_rounds) for family in FAMILIES]
    text = _document(
        speeds,
        single,
        grown,
        "python -m prevail_py.research.bench" + (f" -o {options.output}" if options.output else ""),
    )
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
