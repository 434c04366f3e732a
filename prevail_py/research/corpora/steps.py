"""What each step of the verifier decides on corpora: domains, equations, disjuncts, discharge, witnesses.

Every program is verified with more and more of it allowed, and each verdict is counted at the first step that gives it.
Where the kernel was asked, the table also tells whether it rejects what is UNSAFE here; where it does not, the program
is listed, with the trap of its witness.

    python -m prevail_py.research.corpora.steps examples xdp-tools --markdown smt.md
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from prevail_py._render import Table
from prevail_py.domains import DEFAULT
from prevail_py.research.corpora.cache import cache_directory
from prevail_py.research.corpora.columns import Row
from prevail_py.research.corpora.registry import find, registry
from prevail_py.research.corpora.runs import Options, Run, execute
from prevail_py.research.corpora.sources import Collection, fetch
from prevail_py.research.corpora.tables import Section, markdown
from prevail_py.verifier.analysis import WITH_EQUALITIES

__all__ = ["STEPS", "main", "step_sections"]

STEPS: Final[Mapping[str, Mapping[str, Any]]] = {
    "domains, one state": {"domain": DEFAULT, "disjuncts": 1, "smt": False},
    "equations": {"domain": WITH_EQUALITIES, "disjuncts": 1, "smt": False},
    "disjuncts": {"smt": False},
    "solver": {},
}
"""What :func:`prevail_py.verifier.verify` is asked for in each step; the last one is what it does by default."""

EARLY: Final = {"disjuncts": 1}
"""The solver after the first attempt already, to see whether it should be asked then."""

Key = tuple[str, str, str]


def step_sections(runs: Mapping[str, Run]) -> list[Section]:
    """Which step decides, agreement with the kernel on what is unsafe, and what the solver costs."""
    last = runs["solver"]
    parts = [_decided(runs), _agreement(last), *_disagreements(last), _cost(runs["disjuncts"], last)]
    return [*parts, _when(runs)] if "early" in runs else parts


def _key(row: Row) -> Key:
    return row["corpus"], row["object"], row["program"]


def _first(rows: Sequence[tuple[str, Row]]) -> tuple[str, str]:
    """The verdict of a program, and the step that decides it."""
    final = rows[-1][1]["verdict"]
    if final == "SAFE":
        return final, next(step if step != "solver" else "discharge" for step, row in rows if row["verdict"] == "SAFE")
    return final, "witness" if final == "UNSAFE" else "none"


def _decided(runs: Mapping[str, Run]) -> Section:
    by_step = {step: {_key(row): row for row in runs[step].rows} for step in STEPS}
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in runs["solver"].rows:
        verdict, step = _first([(step, rows[_key(row)]) for step, rows in by_step.items()])
        counts[row["corpus"], verdict, step] += 1
    lines = tuple((*key, str(number)) for key, number in sorted(counts.items()))
    text = "Each program at the first step that gives its verdict; what no step decides stays UNKNOWN or UNSUPPORTED."
    return Section("What decides", text, Table(("corpus", "verdict", "decided by", "programs"), lines, frozenset({3})))


def _agreement(run: Run) -> Section:
    counts = Counter((row["corpus"], row["kernel"] or "-") for row in run.rows if row["verdict"] == "UNSAFE")
    lines = tuple((*key, str(number)) for key, number in sorted(counts.items()))
    text = "What the kernel's verifier says of programs with a witness: `reject` agrees; `accept` disagrees, see below."
    return Section("Witnesses and the kernel", text, Table(("corpus", "kernel", "programs"), lines, frozenset({2})))


def _disagreements(run: Run) -> list[Section]:
    rows = [row for row in run.rows if row["verdict"] == "UNSAFE" and row["kernel"] == "accept"]
    if not rows:
        return []
    counts = Counter(_why(row) for row in rows)
    lines = tuple(
        (why, str(number), ", ".join(sorted(f"{row['object']}: {row['program']}" for row in rows if _why(row) == why)))
        for why, number in sorted(counts.items())
    )
    text = "Programs that the kernel accepts, and inputs on which they trap in the interpreter."
    return [Section("Where the kernel accepts", text, Table(("trap", "programs", "which"), lines, frozenset({1})))]


def _why(row: Row) -> str:
    return str(row["witness"])


def _cost(before: Run, after: Run) -> Section:
    seconds = {_key(row): row["seconds"] for row in before.rows}
    pairs = [
        (row["verdict"], seconds[_key(row)], row["seconds"])
        for row in after.rows
        if row["seconds"] and seconds.get(_key(row)) and (row["verdict"] in ("UNSAFE", "UNKNOWN") or row["discharged"])
    ]
    lines = []
    for verdict in ("SAFE", "UNSAFE", "UNKNOWN"):
        part = [(old, new) for kind, old, new in pairs if kind == verdict]
        if part:
            extra = [new - old for old, new in part]
            lines.append(
                (
                    verdict,
                    str(len(part)),
                    f"{1e3 * median(extra):.0f}",
                    f"{1e3 * max(extra):.0f}",
                    f"{sum(new for _, new in part) / sum(old for old, _ in part):.1f}",
                )
            )
    text = (
        "CPU time that the solver adds, for the programs for which it is asked (SAFE: those that it proves). Programs "
        "that the domains prove cost nothing more."
    )
    header = ("verdict", "programs", "median ms more", "most ms more", "times as long in all")
    return Section("What the solver costs", text, Table(header, tuple(lines), frozenset(range(1, 5))))


def _when(runs: Mapping[str, Run]) -> Section:
    """What it would cost to ask the solver after the first attempt, and after all others only where that is no help."""
    late = {_key(row): row for row in runs["solver"].rows}
    first = {_key(row): row for row in runs["domains, one state"].rows}
    lines = []
    for verdict in ("SAFE", "UNSAFE", "UNKNOWN"):
        part = [
            (row, late[_key(row)])
            for row in runs["early"].rows
            if first[_key(row)]["verdict"] == "UNKNOWN" and late[_key(row)]["verdict"] == verdict
        ]
        if not part:
            continue
        settled = [row for row, _ in part if row["verdict"] in ("SAFE", "UNSAFE")]
        before = sum(later["seconds"] for _, later in part)
        after = sum(
            row["seconds"] + (0 if row["verdict"] in ("SAFE", "UNSAFE") else later["seconds"]) for row, later in part
        )
        lines.append(
            (verdict, str(len(part)), str(len(settled)), f"{before:.1f}", f"{after:.1f}", f"{after / before:.2f}")
        )
    header = ("verdict", "programs", "settled early", "s late", "s early", "early / late")
    text = (
        "Programs that one state does not prove: CPU seconds where the solver is asked after all attempts (as it is), "
        "and where it is asked after the first one, and again after the others if that settles nothing."
    )
    return Section("When to ask", text, Table(header, tuple(lines), frozenset(range(1, 6))))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps and write the tables."""
    parser = argparse.ArgumentParser(prog="prevail_py.research.corpora.steps", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="a corpus")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--cache", metavar="DIR", help="where everything is kept (~/.cache/prevail-py)")
    parser.add_argument("--fresh", action="store_true", help="use no kept verdicts: for times that can be compared")
    given = parser.parse_args(arguments)
    cache = cache_directory(given.cache)
    known = registry()
    collections: list[Collection] = [fetch(find(name, known), cache) for name in given.names]
    runs = {}
    for step, options in {**STEPS, "early": EARLY}.items():
        print(f"{step} ...", file=sys.stderr, flush=True)
        runs[step] = execute(collections, cache, Options(options, kernel=step == "solver", fresh=given.fresh))
    parts = step_sections(runs)
    command = "make smt-corpora"
    text = markdown("What each step decides", runs["solver"], parts, command)
    if given.markdown:
        Path(given.markdown).write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
