"""Prove every operator of every word domain, and write the table: ``python -m prevail_py.research.proofs``.

What is limited is tried again at the widths of ``--fallback``, so that the table says how far each operator is proved.
Rows are written as they come (``--rows FILE``, JSON lines), and a run goes on where a file of rows ends.
Exit code 1 for a counterexample, 2 where several processes are asked for and joblib is not installed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from prevail_py.research.oracle_report import commit_text
from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, LIMITED, PROVED, Cell, Limits, Row, cells, provable

__all__ = ["main", "table"]

Task = tuple[str, int, int]
"""A domain, a width, and which of its cells."""

LIMITS: Final = Limits(claim=3_000_000, paths=4096)
"""Of a campaign.  With more the solver takes minutes, and gigabytes, over claims that it does not decide."""

GENEROUS: Final = Limits(claim=100_000_000)
"""Where it does: carries and borrows of known bits, bitwise operations on bounds, two bounds on one difference."""

MEMORY: Final = 3000
"""Megabytes that Z3 may use."""


def limits_of(cell: Cell) -> Limits:
    """What a cell may use."""
    operation = cell.obligation.operation.removeprefix("backward ")
    if cell.name == "bounds" and operation in ("and of pieces", "or of pieces", "xor of pieces"):
        return GENEROUS
    if cell.name in ("zones", "octagons"):
        return GENEROUS
    return GENEROUS if cell.name == "tnum" and operation in ("add", "sub", "neg") else LIMITS


def prove_one(task: Task) -> Row:
    """The row of one cell, in whatever process."""
    name, width, index = task
    import z3

    z3.set_param("memory_max_size", MEMORY)
    cell = cells(name, width)[index]
    return cell.prove(limits_of(cell))


def proved(tasks: Sequence[Task], jobs: int) -> Iterator[Row]:
    """The rows of the cells, in their order."""
    if jobs == 1:
        yield from map(prove_one, tasks)
        return
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=jobs, return_as="generator")(delayed(prove_one)(task) for task in tasks)


def campaign(
    names: Sequence[str], widths: Sequence[int], jobs: int, file: Path | None, without: Sequence[str] = ()
) -> list[Row]:
    """All rows at the first width, and those of limited cells at the following ones; but for operations ``without``."""
    known = _read(file)
    rows = []
    wanted: set[tuple[str, str, str]] | None = None
    for width in widths:
        tasks = []
        for name in names:
            for index, cell in enumerate(cells(name, width)):
                if cell.obligation.operation not in without and (
                    wanted is None
                    or (cell.name, cell.obligation.operation, _part(cell.obligation.bits, width)) in wanted
                ):
                    key = (cell.name, cell.obligation.operation, cell.domain.WIDTH, cell.obligation.bits)
                    if key in known:
                        rows.append(known[key])
                    else:
                        tasks.append((name, width, index))
        tasks.sort(key=lambda task: _is_hard(cells(task[0], width)[task[2]].obligation.operation))
        for row in _counted(tasks, jobs, width):
            rows.append(row)
            if file is not None:
                with file.open("a") as out:
                    out.write(json.dumps(row.as_json()) + "\n")
        wanted = {(row.domain, row.operation, _part(row.bits, width)) for row in rows
                  if row.width == width and row.result == LIMITED}  # fmt: skip
    return rows


def _counted(tasks: Sequence[Task], jobs: int, width: int) -> Iterator[Row]:
    """The rows, with a line on standard error for each that is not proved."""
    for number, row in enumerate(proved(tasks, jobs), 1):
        if row.result != PROVED:
            print(
                f"{number}/{len(tasks)} at {width} bits: {row.domain} {row.operation} {row.bits}: {row.result}",
                file=sys.stderr,
            )
        yield row


def _is_at(row: Row, width: int) -> bool:
    """Whether a row is of a campaign at this width: functions on low halves are among what it rests on."""
    return row.width == width or (row.width == width // 2 and row.domain in ("bits", "bounds", "facts"))


def _is_hard(operation: str) -> bool:
    """Whether a cell may take long: these come last."""
    return operation.split()[0] in ("backward", "define", "mul", "udiv", "umod", "sdiv", "smod", "lsh", "rsh", "arsh")


def _part(bits: int, width: int) -> str:
    """Which part of the word an operation is about: the same at every width."""
    return {width: "word", width // 2: "low half"}.get(bits, str(bits))


def _read(file: Path | None) -> dict[tuple[str, str, int, int], Row]:
    if file is None or not file.exists():
        return {}
    rows = [Row(**json.loads(line)) for line in file.read_text().splitlines()]
    return {(row.domain, row.operation, row.width, row.bits): row for row in rows}


def table(rows: Sequence[Row], first: int, command: str) -> str:
    """The document: counts by domain, what is limited and how far it is proved, and every cell."""
    names = list(dict.fromkeys(row.domain for row in rows))
    lines = [
        "# Proofs of the operators",
        "",
        f"Made by `{command}` at {commit_text()}, with Z3 {version('z3-solver')}. Seconds are CPU time of one process.",
        "What the domains mean and what a cell rests on: [proofs.md](../proofs.md).",
        "",
        f"| domain | cells at {first} bits | proved | limited | counterexamples | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    whole = [row for row in rows if _is_at(row, first)]
    for name in [*names, "all"]:
        mine = [row for row in whole if name in (row.domain, "all")]
        counts = [sum(row.result == result for row in mine) for result in (PROVED, LIMITED, COUNTEREXAMPLE)]
        lines.append(f"| {name} | {len(mine)} | {counts[0]} | {counts[1]} | {counts[2]} "
                     f"| {sum(row.seconds for row in mine):.0f} |")  # fmt: skip
    limited = [row for row in whole if row.result == LIMITED]
    lines += [
        "",
        f"## Limited at {first} bits",
        "",
        "| domain | operation | bits | why | proved at |",
        "| --- | --- | ---: | --- | --- |",
    ]
    for row in limited:
        smaller = [other.width for other in rows if other.result == PROVED and other.width < first
                   and (other.domain, other.operation, _part(other.bits, other.width))
                   == (row.domain, row.operation, _part(row.bits, first))]  # fmt: skip
        at = f"{max(smaller)} bits" if smaller else "-"
        lines.append(f"| {row.domain} | {row.operation} | {row.bits} | {_cell(row.detail)} | {at} |")
    lines += [
        "",
        "## Every cell",
        "",
        "| domain | operation | width | bits | result | seconds |",
        "| --- | --- | ---: | ---: | --- | ---: |",
    ]
    lines += [
        f"| {row.domain} | {row.operation} | {row.width} | {row.bits} | {row.result} | {row.seconds:.2f} |"
        for row in rows
    ]
    return "\n".join(lines).replace("assume |", "assume \\|") + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:120]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.proofs", description=__doc__)
    parser.add_argument("--domain", action="append", choices=provable(), help="which (all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1); several need joblib")
    parser.add_argument("--width", type=int, default=64, help="bits of words (64)")
    parser.add_argument("--fallback", type=int, action="append", help="widths at which to try again what is limited")
    parser.add_argument(
        "--without", action="append", metavar="OPERATION", help="leave out: the table shows the command"
    )
    parser.add_argument("--rows", type=Path, help="a file of rows to go on with")
    parser.add_argument("--out", type=Path, help="where the table goes")
    arguments = parser.parse_args(argv)
    if arguments.jobs != 1 and find_spec("joblib") is None:
        print("joblib: not installed; several jobs need it (pip install 'prevail-py[research]')", file=sys.stderr)
        return 2
    widths = (arguments.width, *(arguments.fallback or ()))
    without = arguments.without or ()
    rows = campaign(arguments.domain or provable(), widths, arguments.jobs, arguments.rows, without)
    command = " ".join(["python -m prevail_py.research.proofs", *(sys.argv[1:] if argv is None else argv)])
    text = table(rows, widths[0], command)
    if arguments.out is not None:
        arguments.out.write_text(text)
    wrong: list[Any] = [row for row in rows if row.result == COUNTEREXAMPLE]
    for row in wrong:
        print(f"{row.domain} {row.operation} at {row.bits} of {row.width} bits: {row.detail}")
    counts = {
        result: sum(row.result == result for row in rows if _is_at(row, widths[0])) for result in (PROVED, LIMITED)
    }
    print(f"{counts[PROVED]} proved and {counts[LIMITED]} limited at {widths[0]} bits; {len(wrong)} counterexamples")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
