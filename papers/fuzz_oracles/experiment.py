"""Two oracles of fuzzing, Buzzer's and that of state embedding, on planted bugs: which finds them, and how soon.

    python papers/fuzz_oracles/experiment.py [--programs 1000] [--out papers/fuzz_oracles]

The same generated programs, the same inputs, the same bugs of the Linux verifier planted in our operators.  The oracle
of *outcomes* notices that a program which was accepted does harm: a trap here, a corrupted map in Buzzer.  The oracle
of *states* notices a concrete state that is outside of what the verifier believed, before each instruction.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prevail_py.objects.program import Program
from prevail_py.research.fuzz.planting import planting
from prevail_py.research.generate import program
from prevail_py.research.oracle import examine
from prevail_py.research.oracle_report import commit_text
from prevail_py.research.planted import BUGS
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import Verdict

HERE: Final = Path(__file__).resolve().parent
RUNS: Final = 3
SIZE: Final = 20


@dataclass(frozen=True, slots=True)
class Found:
    """After how many programs each oracle found a bug, None where it did not; how many of them were SAFE."""

    bug: str
    outcomes: int | None
    states: int | None
    safe: int
    looked_at: int
    seconds: float


def hunt(bug: str | None, programs: Sequence[Program]) -> Found:
    """Look for ``bug`` (None: the shipped code) until both oracles have found it, or no program is left."""
    first: dict[str, int | None] = {"outcomes": None, "states": None}
    start = time.process_time()
    safe = number = 0
    with planting(bug):
        for number, each in enumerate(programs, 1):
            verdict = verify(each, smt=False)
            if not verdict.is_safe:
                continue
            safe += 1
            # A verdict without invariants excludes no state, which leaves the outcome to be judged.
            for oracle, judged in (("outcomes", Verdict(verdict.kind, each)), ("states", verdict)):
                if first[oracle] is None and examine(each, judged, RUNS, seed=number).violations:
                    first[oracle] = number
            if None not in first.values():
                break
    return Found(bug or "none", first["outcomes"], first["states"], safe, number, time.process_time() - start)


def table(found: Sequence[Found], programs: int) -> str:
    """The document with the table."""
    lines = [
        "# Oracles of outcomes and of states",
        "",
        f"Made by `make papers` at {commit_text()}.",
        f"{programs} generated programs of {SIZE} statements, {RUNS} inputs for each that is SAFE.",
        "The number of programs until the oracle found the bug; a dash where it did not.",
        "",
        "| bug | outcomes | states | SAFE of programs looked at | CPU seconds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for each in found:
        outcomes, states = ("-" if number is None else str(number) for number in (each.outcomes, each.states))
        lines.append(f"| {each.bug} | {outcomes} | {states} | {each.safe} of {each.looked_at} | {each.seconds:.1f} |")
    bugs = [each for each in found if each.bug != "none"]
    counts = [sum(getattr(each, oracle) is not None for each in bugs) for oracle in ("outcomes", "states")]
    lines += ["", f"Of {len(bugs)} bugs, outcomes found {counts[0]} and states {counts[1]}."]
    return "\n".join(lines) + "\n"


def picture(found: Sequence[Found], programs: int) -> Any:
    """How many bugs each oracle has found after so many programs."""
    from matplotlib.figure import Figure

    from prevail_py.research.experiment import Picture

    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for oracle, colour, dash in (("states", "#0072B2", "-"), ("outcomes", "#D55E00", "--")):
        times = sorted(getattr(each, oracle) for each in found if getattr(each, oracle) is not None)
        axes.step([1, *times, programs], [0, *range(1, len(times) + 1), len(times)], where="post", color=colour,
                  linestyle=dash, label=oracle)  # fmt: skip
    axes.set(xscale="log", xlabel="programs", ylabel="bugs found", ylim=(0, len(found)))
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return Picture(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all bugs, and write table and figure; 1 if something is found where nothing is planted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=1000, metavar="N")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR")
    given = parser.parse_args(arguments)
    programs = [program(seed, size=SIZE, loops=seed % 4 == 3) for seed in range(given.programs)]
    found = [hunt(bug, programs) for bug in (None, *BUGS)]
    (given.out / "table.md").write_text(table(found, given.programs), encoding="utf-8")
    picture(found[1:], given.programs).save(given.out / "found.png")
    return int(found[0].outcomes is not None or found[0].states is not None)


if __name__ == "__main__":
    raise SystemExit(main())
