"""Measure the generator: ``python -m prevail_py.research.bench_generator --programs 60 --out FILE``.

For each program type: how many programs are SAFE, how many have a load, a branch and a helper, and their sizes, for
programs of the default size and for small ones.  Then how many programs a second one core generates, verifies, and runs
on two engines, in CPU time; and how many Hypothesis draws.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Final

from prevail_py.isa.instructions import Branch, Call, Load
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.research.choices import Seeded
from prevail_py.research.generate import PROGRAM_TYPES, SMALL, Shape, write
from prevail_py.research.oracle_report import commit_text
from prevail_py.verifier import verify
from prevail_py.vm.context import takes_packet
from prevail_py.vm.differential import Input, compare, load

__all__ = ["Rates", "Row", "main", "of_type", "rates"]

_ENGINES: Final = ("interpreter", "source")


@dataclass(frozen=True, slots=True)
class Row:
    """The programs of one type: shares from 0 to 1, sizes in instructions."""

    program_type: str
    programs: int
    safe: float
    whole: float
    size: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Programs a second of CPU time: of each step alone and of all together; drawn by Hypothesis, without any step."""

    programs: int
    generate: float
    verify: float
    run: float
    together: float
    hypothesis: float


_RATES: Final = (
    ("generated, verified, and run on two engines", "together"),
    ("generated alone", "generate"),
    ("verified alone", "verify"),
    ("compiled and run on two engines alone", "run"),
    ("drawn by Hypothesis, and nothing else", "hypothesis"),
)


def _programs(kind: str, count: int, size: int) -> list[Program]:
    return [write(Seeded(f"{kind}/{number}"), Shape(kind, size, loops=number % 4 == 0)) for number in range(count)]


def of_type(kind: str, count: int, size: int) -> Row:
    """What the programs of a type are like."""
    made = _programs(kind, count, size)
    safe = sum(verify(program, smt=False).is_safe for program in made)
    whole = sum(all(any(isinstance(i, c) for i in p.code) for c in (Load, Branch, Call)) for p in made)
    return Row(kind, count, safe / count, whole / count, median(program.instruction_count for program in made))


def rates(count: int, size: int) -> Rates:
    """The rates, over ``count`` programs of types in turn; each runs on one input on two engines."""
    spent = {"generate": 0.0, "verify": 0.0, "run": 0.0}

    def step(name: str, began: float) -> float:
        now = process_time()
        spent[name] += now - began
        return now

    for number in range(count):
        kind = PROGRAM_TYPES[number % len(PROGRAM_TYPES)]
        now = process_time()
        program = write(Seeded(f"rate/{number}"), Shape(kind, size, loops=number % 4 == 0))
        now = step("generate", now)
        verify(program, smt=False)
        now = step("verify", now)
        kind_of = platform(program.platform).program_type(program.program_type, program.expected_attach_type)
        given = Input(bytes(64) if takes_packet(kind_of) else None, fuel=5000)
        compare(program, given, _ENGINES, load(program, _ENGINES, generated=True))
        step("run", now)
    by_step = {name: count / seconds for name, seconds in spent.items()}
    return Rates(count, **by_step, together=count / sum(spent.values()), hypothesis=_hypothesis(min(count, 200), size))


def _hypothesis(count: int, size: int) -> float:
    from hypothesis import HealthCheck, Phase, given, settings

    from prevail_py.research.strategies import programs

    drawn = 0

    @settings(
        max_examples=count, database=None, deadline=None, derandomize=True, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(programs(None, size, loops=True))
    def draw(program: Program) -> None:
        nonlocal drawn
        drawn += 1

    began = process_time()
    draw()
    return drawn / (process_time() - began)


def markdown(tables: Mapping[int, Sequence[Row]], measured: Mapping[int, Rates], command: str) -> str:
    """The measurement as a document: ``tables`` has the rows of all types, by size in statements, as ``measured``."""
    lines = [
        "# Generated programs",
        "",
        f"`{command}` at {commit_text()}.",
        "",
        "Verdicts are those of the domains alone: the solver is left out (`smt=False`).",
        "",
        "On one core, in CPU time, programs of all types in turn, every fourth with loops, each on one input on two "
        "engines (interpreter and generated source):",
        "",
        f"| programs a second | {' | '.join(f'of {size} statements' for size in measured)} |",
        f"| --- |{' ---: |' * len(measured)}",
        *(
            f"| {what} | {' | '.join(f'{getattr(rate, name):.0f}' for rate in measured.values())} |"
            for what, name in _RATES
        ),
        "",
    ]
    for size, rows in tables.items():
        lines += [*_table(size, rows), ""]
    return "\n".join(lines)


def _table(size: int, rows: Sequence[Row]) -> list[str]:
    least = min(rows, key=lambda row: row.safe)
    bare = min(rows, key=lambda row: row.whole)
    return [
        f"## {size} statements",
        "",
        f"Of each type {rows[0].programs} programs of {size} statements, every fourth with loops:",
        "",
        "| program type | SAFE | with a load, a branch and a helper | instructions (median) |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {row.program_type} | {row.safe:.0%} | {row.whole:.0%} | {row.size:g} |" for row in rows),
        "",
        f"The least are SAFE of {least.program_type}: {least.safe:.0%}; the least have a load, a branch and a helper "
        f"of {bare.program_type}: {bare.whole:.0%}; the median of the medians is "
        f"{median(row.size for row in rows):g} instructions.",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print or write the document."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.bench_generator", description=__doc__)
    parser.add_argument("--programs", type=int, default=60, metavar="N", help="programs of each type (60)")
    parser.add_argument("--rate", type=int, default=1000, metavar="N", help="programs to measure the rate with (1000)")
    parser.add_argument("--size", type=int, default=8, metavar="N", help="statements of each program (8)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the document there")
    options = parser.parse_args(argv)
    if min(options.programs, options.rate, options.size) < 1:
        parser.error("numbers must be positive")
    sizes = dict.fromkeys((options.size, SMALL))
    tables = {size: [of_type(kind, options.programs, size) for kind in PROGRAM_TYPES] for size in sizes}
    given = sys.argv[1:] if argv is None else list(argv)
    command = shlex.join(["python", "-m", "prevail_py.research.bench_generator", *given])
    text = markdown(tables, {size: rates(options.rate, size) for size in sizes}, command)
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
