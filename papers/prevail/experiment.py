"""Domains compared on our corpora, and time against the size of programs, after PREVAIL (PLDI'19).

    python papers/prevail/experiment.py [--fresh] [--corpora examples suite] [--out papers/prevail]

Makes ``results.md`` and four figures.  ``--fresh`` verifies everything anew, in one process at a time, as measuring
times demands, three times, all domains in turn each time; without it kept verdicts are used, with the times of when
they were made.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import pandas as pd

from prevail_py import assemble, verify
from prevail_py._render import Table
from prevail_py.objects.program import Program
from prevail_py.research.experiment import Picture, cactus, failures, grid, precision_and_time, select, summary
from prevail_py.research.oracle_report import commit_text

HERE: Final = Path(__file__).resolve().parent
CORPORA: Final = ("examples", "suite", "xdp-tools", "libbpf-tools", "verifier")
DOMAINS: Final[Mapping[str, str]] = {
    "interval": "intervals",
    "interval*tnum": "intervals, known bits",
    "interval*congruence": "intervals, congruences",
    "interval*zones": "intervals, zones",
    "interval*octagons": "intervals, octagons",
    "interval*tnum*zones": "the default: intervals, known bits, zones",
    "interval*tnum*octagons": "intervals, known bits, octagons",
    "interval*tnum*zones*equalities": "the default and equations",
}
LIKE: Final[Mapping[str, tuple[str, str]]] = {
    "interval": ("#E69F00", "o"),
    "interval*zones": ("#0072B2", "^"),
    "interval*octagons": ("#CC3311", "s"),
}
"""What is put together in the same way, none of it fused, with its colour and mark: fit to be compared by time."""
REPEATS: Final = 3
NUMBERS: Final = (4, 8, 15, 30, 60)
"""How many numbers are related at once, where growth is measured."""
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {"one state": {"disjuncts": 1, "smt": False}}
DECIDED: Final = ("SAFE", "UNKNOWN")


def measure(corpora: Sequence[str], fresh: bool) -> pd.DataFrame:
    """A row for each program and domain; ``seconds`` is the median where each is verified anew."""
    runs = [grid(list(DOMAINS), corpora, OPTIONS, fresh=fresh) for _ in range(REPEATS if fresh else 1)]
    rows = runs[0]
    rows["seconds"] = pd.concat([run.seconds for run in runs], axis=1).median(axis=1)
    return rows


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
    """Time against size: a dot for each program, in intervals, and with zones and octagons."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for domain, (colour, marker) in LIKE.items():
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


def related(count: int) -> Program:
    """A program that reads bytes of a packet, demands that each is at most the next one, and uses all of them then.

    They stay on the stack, up to 60 of them, so every two are related at once.
    """
    lines = [
        "r6 = *(u32 *)(r1 + 0)",
        "r2 = *(u32 *)(r1 + 4)",
        "r0 = 2",
        "r3 = r6",
        f"r3 += {count}",
        "if r3 > r2 goto out",
    ]
    for place in range(count):
        lines += [f"r2 = *(u8 *)(r6 + {place})", f"*(u64 *)(r10 - {8 * place + 8}) = r2"]
        lines += ["if r1 > r2 goto out"] if place else []
        lines += ["r1 = r2"]
    for place in range(count):
        lines += [f"r2 = *(u64 *)(r10 - {8 * place + 8})", "r0 += r2"]
    return assemble("\n".join([*lines, "out:", "exit"]), name=f"related {count}")


def growth() -> pd.DataFrame:
    """Median CPU seconds for programs that relate so many numbers, a column for each of :data:`LIKE`, in turn."""
    found = []
    for count in NUMBERS:
        program = related(count)
        seconds: dict[str, list[float]] = {domain: [] for domain in LIKE}
        for _ in range(2 * REPEATS + 1):
            for domain, times in seconds.items():
                verdict = verify(program, domain, 1, smt=False)
                if not verdict.is_safe:
                    raise ValueError(f"{program.name} is {verdict.kind} in {domain}")
                times.append(verdict.seconds)
        found.append({domain: median(times) for domain, times in seconds.items()})
    return pd.DataFrame(found, index=pd.Index(NUMBERS, name="numbers"))


def growth_picture(times: pd.DataFrame) -> Picture:
    """Time against the count of related numbers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for domain, (colour, marker) in LIKE.items():
        axes.plot(list(times.index), list(times[domain]), color=colour, marker=marker, label=domain)
    axes.set(xscale="log", yscale="log", xlabel="numbers that are related at once", ylabel="CPU seconds")
    axes.set_xticks(list(times.index), [str(count) for count in times.index])
    axes.minorticks_off()
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    return Picture(figure)


def growth_table(times: pd.DataFrame) -> Table:
    """The same in milliseconds."""
    lines = [(str(count), *(f"{1e3 * line[domain]:.1f}" for domain in LIKE)) for count, line in times.iterrows()]
    return Table(("numbers", *(DOMAINS[domain] for domain in LIKE)), tuple(lines), frozenset(range(1 + len(LIKE))))


def only_in(rows: pd.DataFrame, domain: str, other: str) -> list[str]:
    """The programs, with their corpora, that one domain proves and the other one does not."""
    one, two = (select(rows, name).set_index(["corpus", "object", "program"]).verdict for name in (domain, other))
    return [
        f"{corpus}: {program}" for corpus, _, program in one.index[(one == "SAFE") & (two.reindex(one.index) != "SAFE")]
    ]


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


def text(rows: pd.DataFrame, times: pd.DataFrame, command: str) -> str:
    """The document with the tables."""
    about = next(iter(rows.attrs["about"].values()))
    provenance = [
        f"- {name}: {corpus['objects']} objects, {Path(corpus['provenance']).name}"  # of a folder its name will do
        for name, corpus in about["corpora"].items()
    ]
    pair = ("interval*octagons", "interval*zones")
    lines = [
        "# Domains compared",
        "",
        f"Made by `{command}` at {commit_text()}, on {about['machine']}.",
        "One state at each join, without the solver. Programs are counted that are meant to pass; times are CPU",
        "seconds of all programs, in ratio to intervals, and of one process at a time: of each program the median of",
        f"{REPEATS} runs, all domains in turn.",
        "",
        *_lines(comparison(rows)),
        "",
        "*exponent* is that of time in instructions, over programs of 16 instructions and more; the median of time",
        "for an instruction stands beside it.",
        "",
        f"Unsafe programs of the suite that a domain proves: {', '.join(wrong(rows)) or 'none'}.",
        "",
        f"Octagons prove, and zones do not: {', '.join(only_in(rows, *pair)) or 'nothing'}.",
        f"Zones prove, and octagons do not: {', '.join(only_in(rows, *reversed(pair))) or 'nothing'}.",
        "",
        "Milliseconds for a program in which so many numbers are related at once, by a chain of comparisons:",
        "",
        *_lines(growth_table(times)),
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
    times = growth()
    (given.out / "results.md").write_text(text(rows, times, "make papers"), encoding="utf-8")
    good = meant_to_pass(rows)
    cactus(good, title="programs that are meant to pass").save(given.out / "cactus.png")
    precision_and_time(good, title="programs that are meant to pass").save(given.out / "precision.png")
    scaling(rows).save(given.out / "scaling.png")
    growth_picture(times).save(given.out / "growth.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
