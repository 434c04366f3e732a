"""Examine object files with the oracle of soundness and report what it saw.

``python -m prevail_py.research.oracle`` verifies every program of the objects (by default those of the examples), runs
the SAFE ones on random inputs and on inputs chosen by the solver, and prints a line for each: runs, how many of them
were steered, steps that were checked, violations, and how many of the blocks that may be reached were.  Exit status 0;
1 on a violation or where too little was reached (``--min-coverage`` for each program, ``--min-total`` for all of them
together); 2 where an object cannot be read.  ``--out`` also writes the report as Markdown, with the commit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import process_time

from prevail_py import examples
from prevail_py._render import Table
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program
from prevail_py.research.oracle import Report, examine
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import Verdict

__all__ = ["Row", "main", "total"]


@dataclass(frozen=True, slots=True)
class Row:
    """One program: its verdict and, if it is SAFE, what the oracle saw in ``seconds`` of CPU time."""

    object: str
    verdict: Verdict
    report: Report | None
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    options = _options(arguments)
    try:
        programs = [
            (Path(path).name, program) for path in options.objects for program in load_object(path).programs.values()
        ]
    except (OSError, ObjectError) as error:
        print(f"oracle: {error}", file=sys.stderr)
        return 2
    rows = [_examined(name, program, options) for name, program in _track(programs)]
    print(json.dumps(_document(rows, options), indent=2) if options.json else _text(rows))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(_markdown(rows, options), encoding="utf-8")
    reasons = list(_complaints(rows, options))
    for reason in reasons:
        print(f"oracle: {reason}", file=sys.stderr)
    return 1 if reasons else 0


def total(rows: Sequence[Row]) -> Report:
    """The sums over all programs that were examined; blocks are numbered through."""
    result = Report("total")
    blocks, covered = 0, 0
    for report in _reports(rows):
        result.runs += report.runs
        result.steered += report.steered
        result.steps += report.steps
        result.violations += report.violations
        result.unsupported |= report.unsupported
        blocks += len(report.blocks)
        covered += len(report.covered)
    result.blocks, result.covered = frozenset(range(blocks)), set(range(covered))
    return result


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m prevail_py.research.oracle", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("objects", nargs="*", metavar="OBJ", help="object files (default: the examples)")
    parser.add_argument("--runs", type=_natural, default=200, metavar="N", help="random runs of each program (200)")
    parser.add_argument("--steered", type=_natural, default=100, metavar="N", help="steered runs at most (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, other random inputs")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the report as Markdown")
    parser.add_argument(
        "--min-coverage", type=_percent, default=0, metavar="PERCENT", help="blocks to reach in each program"
    )
    parser.add_argument("--min-total", type=_percent, default=0, metavar="PERCENT", help="blocks to reach in all")
    options = parser.parse_args(arguments)
    if not options.objects:
        options.objects = [str(examples.path(name)) for name in examples.names()]
    return options


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def _percent(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise ValueError(text)
    return value


def _examined(name: str, program: Program, options: argparse.Namespace) -> Row:
    from prevail_py.research.concolic import steer  # loads the solver

    verdict = verify(program)
    start = process_time()
    if not verdict.is_safe:
        return Row(name, verdict, None, 0.0)
    report = examine(program, verdict, options.runs, options.seed, steer, options.steered)
    return Row(name, verdict, report, process_time() - start)


def _track(programs: Sequence[tuple[str, Program]]) -> Iterator[tuple[str, Program]]:
    """The programs, with a progress bar where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield from programs
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(programs, "examining", console=Console(stderr=True), transient=True)


def _reports(rows: Sequence[Row]) -> list[Report]:
    return [row.report for row in rows if row.report is not None]


def _complaints(rows: Sequence[Row], options: argparse.Namespace) -> Iterator[str]:
    for row in rows:
        if row.report is None:
            continue
        name = f"{row.object}: {row.report.program}"
        yield from (f"{name}: {violation}" for violation in row.report.violations)
        if 100 * row.report.coverage < options.min_coverage:
            missed = ", ".join(map(str, row.report.uncovered))
            yield f"{name}: {row.report.coverage:.1%} of its blocks were reached; not those at slots {missed}"
    if 100 * total(rows).coverage < options.min_total:
        yield f"{total(rows).coverage:.1%} of all blocks were reached"


# The report in its three forms ---------------------------------------------------------------------------------------


_HEADER = ("object", "program", "runs", "steered", "steps", "violations", "blocks", "reached", "seconds", "remarks")


def _table(rows: Sequence[Row]) -> Table:
    lines = [_line(row.object, row.report, row.seconds) for row in rows if row.report is not None]
    lines.append(_line("total", total(rows), sum(row.seconds for row in rows)))
    return Table(_HEADER, tuple(lines), right=frozenset(range(2, 9))).compact()


def _line(object: str, report: Report, seconds: float) -> tuple[str, ...]:
    return (
        object,
        "" if object == "total" else report.program,
        str(report.runs),
        str(report.steered),
        str(report.steps),
        str(len(report.violations)),
        f"{len(report.covered)}/{len(report.blocks)}",
        f"{report.coverage:.1%}",
        f"{seconds:.1f}",
        "" if object == "total" else "; ".join(sorted(report.unsupported)),
    )


def _passed_over(rows: Sequence[Row]) -> str:
    """The programs that were not examined, and their verdicts."""
    names = [f"{row.object}: {row.verdict.program.name} ({row.verdict.kind})" for row in rows if row.report is None]
    return "Not examined, because they are not SAFE: " + ", ".join(names) + "." if names else ""


def _text(rows: Sequence[Row]) -> str:
    return "\n\n".join(filter(None, (str(_table(rows)), _passed_over(rows))))


def _document(rows: Sequence[Row], options: argparse.Namespace) -> Mapping[str, object]:
    return {
        "schema": 1,
        "seed": options.seed,
        "programs": [
            {
                "object": row.object,
                "program": row.verdict.program.name,
                "verdict": str(row.verdict.kind),
                **({} if row.report is None else _figures(row.report)),
            }
            for row in rows
        ],
        "total": {key: value for key, value in _figures(total(rows)).items() if key != "uncovered"},
    }


def _figures(report: Report) -> dict[str, object]:
    return {
        "runs": report.runs,
        "steered": report.steered,
        "steps": report.steps,
        "violations": report.violations,
        "blocks": len(report.blocks),
        "covered": len(report.covered),
        "coverage": round(report.coverage, 4),
        "uncovered": list(report.uncovered),
        "unsupported": sorted(report.unsupported),
    }


def _markdown(rows: Sequence[Row], options: argparse.Namespace) -> str:
    table = _table(rows)
    command = f"--runs {options.runs} --steered {options.steered} --seed {options.seed}"
    rules = ("---:" if column in table.right else "---" for column in range(len(table.header)))
    lines = ["| " + " | ".join(cells) + " |" for cells in (table.header, tuple(rules), *table.rows)]
    return (
        f"""# The oracle of soundness

Every SAFE program is run on random inputs and then on inputs that the solver chose; before each instruction the state
must be one that the invariants allow, and nothing may trap.  *Steered* runs are those the solver chose the input of,
*blocks* those that may be reached according to the invariants.

Written by `python -m prevail_py.research.oracle {command}` with these objects, at
{commit_text()}, with Z3 {version("z3-solver")}.  Seconds are CPU time; all else is the same on every machine.

{chr(10).join(lines)}

{_passed_over(rows)}
""".rstrip()
        + "\n"
    )


def commit_text() -> str:
    """The commit that the package is at, and whether it was changed since."""
    folder = Path(__file__).parent.parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD").strip()
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return "an unknown commit"
    return f"commit {commit}{' with changes' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True, text=True).stdout
