"""Domains compared on our corpora, and time against the size of programs, after PREVAIL (PLDI'19).

    python papers/prevail/experiment.py [--fresh] [--corpora examples suite] [--out papers/prevail]

Makes ``results.md`` and three figures.  ``--fresh`` verifies everything anew, in one process at a time, as measuring
times demands; without it kept verdicts are used, with the times of when they were made.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from prevail_py._render import Table
from prevail_py.research.experiment import Picture, cactus, failures, grid, precision_and_time, select, summary
from prevail_py.research.oracle_report import commit_text

HERE: Final = Path(__file__).resolve().parent
CORPORA: Final = ("examples", "suite", "xdp-tools", "libbpf-tools", "verifier")
DOMAINS: Final[Mapping[str, str]] = {
    "interval": "intervals",
    "interval*tnum": "intervals, known bits",
    "interval*congruence": "intervals, congruences",
    "interval*zones": "intervals, zones",
    "interval*tnum*zones": "the default: intervals, known bits, zones",
    "interval*tnum*zones*equalities": "the default and equations",
}
ZONES: Final = "interval*tnum*zones"
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {"one state": {"disjuncts": 1, "smt": False}}
DECIDED: Final = ("SAFE", "UNKNOWN")


def measure(corpora: Sequence[str], fresh: bool) -> pd.DataFrame:
    """A row for each program and domain."""
    return grid(list(DOMAINS), corpora, OPTIONS, fresh=fresh)


def meant_to_pass(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of programs of which nothing says that they are to be rejected.

    Those of the suite are told apart by name; the kernel's selftests and the examples say what is expected of them.
    """
    unsafe = rows.program.str.endswith("_unsafe") & (rows.corpus == "suite")
    return rows[~unsafe & (rows.expected.fillna("success") == "success")]


def slope(rows: pd.DataFrame, least: int = 16) -> tuple[float, float]:
    """The exponent of time in instructions, by least squares on logarithms; the median of nanoseconds per instruction.

    Programs of fewer than ``least`` instructions are left out: they measure the start.
    """
    some = rows[(rows.instructions >= least) & rows.verdict.isin(DECIDED) & (rows.seconds > 0)]
    size, seconds = some.instructions.astype(float), some.seconds.astype(float)
    exponent = float(np.polyfit(np.log(size), np.log(seconds), 1)[0])
    return exponent, float((1e9 * seconds / size).median())


def scaling(rows: pd.DataFrame) -> Picture:
    """Time against size: a dot for each program, in the plainest domain and in the default."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for domain, colour, marker in (("interval", "#E69F00", "o"), (ZONES, "#0072B2", "^")):
        some = select(rows, domain)
        some = some[some.verdict.isin(DECIDED) & (some.seconds > 0)]
        exponent, _ = slope(some)
        axes.scatter(
            [float(x) for x in some.instructions], [float(x) for x in some.seconds], s=8, marker=marker, color=colour,
            alpha=0.6, linewidths=0, label=f"{domain}: time grows as size^{exponent:.2f}",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="instructions", ylabel="CPU seconds")
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    return Picture(figure)


def comparison(rows: pd.DataFrame) -> Table:
    """What each domain proves of the programs that are meant to pass, corpus by corpus, and what it costs in all."""
    good = meant_to_pass(rows)
    corpora = list(dict.fromkeys(rows.corpus))
    base = summary(select(rows, "interval")).seconds.iloc[0]
    lines = []
    for domain, about in DOMAINS.items():
        mine = select(good, domain)
        proved = [f"{(part := mine[mine.corpus == name]).verdict.eq('SAFE').sum()} of {len(part)}" for name in corpora]
        total = summary(select(rows, domain)).iloc[0]
        exponent, each = slope(select(rows, domain))
        cost = (f"{total.seconds / base:.2f}", f"{total['peak MiB']:.0f}", f"{exponent:.2f}", f"{each / 1e3:.0f}")
        lines.append((about, *proved, *cost))
    header = ("domain", *corpora, "time, to intervals", "peak MiB", "exponent", "us per instruction")
    return Table(header, tuple(lines), frozenset(range(1, len(header))))


def reasons(rows: pd.DataFrame, most: int = 5) -> Table:
    """Assertions that are not proved in programs that are meant to pass, by class."""
    counts = failures(meant_to_pass(rows))
    names = list(counts.columns[:most])
    lines = [(DOMAINS[domain], *(str(line[name]) for name in names)) for (domain, _), line in counts.iterrows()]
    return Table(("domain", *names), tuple(lines), frozenset(range(1, len(names) + 1)))


def wrong(rows: pd.DataFrame) -> list[str]:
    """Unsafe programs of the suite that a domain proves: there may be none."""
    bad = rows[rows.program.str.endswith("_unsafe") & (rows.corpus == "suite") & (rows.verdict == "SAFE")]
    return [f"{domain}: {program}" for domain, program in zip(bad.domain, bad.program, strict=True)]


def text(rows: pd.DataFrame, command: str) -> str:
    """The document with the tables."""
    about = next(iter(rows.attrs["about"].values()))
    provenance = [
        f"- {name}: {corpus['objects']} objects, {Path(corpus['provenance']).name}"  # of a folder its name will do
        for name, corpus in about["corpora"].items()
    ]
    lines = [
        "# Domains compared",
        "",
        f"Made by `{command}` at {commit_text()}, on {about['machine']}.",
        "One state at each join, without the solver. Programs are counted that are meant to pass; times are CPU",
        "seconds of all programs, in ratio to intervals, and of one process at a time.",
        "",
        *_lines(comparison(rows)),
        "",
        "*exponent* is that of time in instructions, over programs of 16 instructions and more; the median of time",
        "for an instruction stands beside it.",
        "",
        f"Unsafe programs of the suite that a domain proves: {', '.join(wrong(rows)) or 'none'}.",
        "",
        "Assertions that are not proved, in programs that are meant to pass:",
        "",
        *_lines(reasons(rows)),
        "",
        *provenance,
    ]
    return "\n".join(lines) + "\n"


def _lines(table: Table) -> list[str]:
    marks = tuple("---:" if column in table.right else "---" for column in range(len(table.header)))
    return [f"| {' | '.join(cells)} |" for cells in (table.header, marks, *table.rows)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), metavar="NAME")
    parser.add_argument("--fresh", action="store_true", help="verify everything anew")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR")
    given = parser.parse_args(arguments)
    rows = measure(given.corpora, given.fresh)
    (given.out / "results.md").write_text(text(rows, "make papers"), encoding="utf-8")
    good = meant_to_pass(rows)
    cactus(good, title="programs that are meant to pass").save(given.out / "cactus.png")
    precision_and_time(good, title="programs that are meant to pass").save(given.out / "precision.png")
    scaling(rows).save(given.out / "scaling.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
