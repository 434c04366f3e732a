"""Refinement on demand: what it proves beyond the domains and beyond Linux, and how large its questions are.

python papers/proof_guided_refinement/experiment.py --markdown papers/proof_guided_refinement/table.md
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from prevail_py._render import Table
from prevail_py.cfg.builder import build
from prevail_py.cfg.wto import weak_topological_order
from prevail_py.objects.program import Program
from prevail_py.research.corpora.tables import markdown_table
from prevail_py.research.suite import pairs
from prevail_py.research.suite.solver import alarms
from prevail_py.verifier import Verdict, verify


@dataclass(frozen=True, slots=True)
class Row:
    """One program: what each verifier says, and the questions that were asked about it."""

    name: str
    linux: bool | None
    domains: bool
    verdict: Verdict
    paths: int

    @property
    def refined(self) -> bool:
        return self.verdict.is_safe and bool(self.verdict.discharged)


def paths_of(program: Program) -> int | None:
    """How many paths lead through the main function; None where there is a loop."""
    function = build(program).functions[0]
    order = weak_topological_order(function)
    if any(end > place for place, end in enumerate(order.ends)):
        return None
    count = {0: 1}
    total = 0
    for node in order.order:
        block = function.blocks[node]
        for successor in block.successors:
            count[successor] = count.get(successor, 0) + count[node]
        total += 0 if block.edges else count[node]
    return total


def measure(programs: Mapping[str, Program], ask: bool) -> list[Row]:
    """A row for each program without loops; with ``ask``, Linux is asked, too."""
    straight = {name: (program, paths) for name, program in programs.items() if (paths := paths_of(program))}
    linux: dict[str, bool] = {}
    if ask:
        from prevail_py.vm.kernel.engine import AnswerKind, ask_kernel_many

        answers = ask_kernel_many([program for program, _ in straight.values()])
        linux = {name: answer.kind is AnswerKind.ACCEPT for name, answer in zip(straight, answers, strict=True)}
    return [
        Row(name, linux.get(name), verify(program, smt=False).is_safe, verify(program), paths)
        for name, (program, paths) in straight.items()
    ]


def table(sets: Mapping[str, Sequence[Row]]) -> Table:
    """The sets side by side."""
    lines = []
    for name, rows in sets.items():
        asked = [row.linux for row in rows if row.linux is not None]
        refined = [row for row in rows if row.refined]
        sizes = [len(each.query) for row in refined for each in row.verdict.discharged]
        costs = [each.rlimit for row in refined for each in row.verdict.discharged]
        lines.append(
            (
                name,
                str(len(rows)),
                f"{sum(asked)} of {len(asked)}" if asked else "not asked",
                str(sum(row.domains for row in rows)),
                str(sum(row.verdict.is_safe for row in rows)),
                str(len(sizes)),
                f"{median(sizes):.0f}" if sizes else "",
                f"{median(costs):.0f}" if costs else "",
                f"{median(1e3 * row.verdict.seconds for row in refined):.0f}" if refined else "",
                f"{median(row.paths for row in rows):.0f}, {max(row.paths for row in rows)}",
            )
        )
    parties = ("Linux accepts", "domains prove", "refined")
    header = ("programs", "number", *parties, "questions", "bytes", "rlimit", "ms", "paths")
    return Table(header, tuple(lines), frozenset(range(1, len(header))))


def markdown(found: Table) -> str:
    """The table as Markdown."""
    return "".join(f"{line}\n" for line in markdown_table(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--no-kernel", action="store_true", help="do not ask Linux")
    given = parser.parse_args(arguments)
    sets = {
        "alarms of the domains": {name: alarm.safe for name, alarm in alarms().items()},
        "suite, without loops": {name: pair.safe for name, pair in pairs().items()},
        "unsafe twins of the alarms": {name: alarm.twin for name, alarm in alarms().items()},
    }
    found = table({name: measure(programs, not given.no_kernel) for name, programs in sets.items()})
    if given.markdown:
        Path(given.markdown).write_text(markdown(found), encoding="utf-8")
    else:
        print(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
