"""The results of a campaign as a document."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median

from prevail_py.research.mutants.campaign import SUITE, Result
from prevail_py.research.mutants.changes import KINDS
from prevail_py.research.mutants.draw import SEED, Mutant

__all__ = ["arguments", "document"]


@cache
def arguments() -> Mapping[str, str]:
    """Why each mutant that is known to survive does, by its name."""
    with (Path(__file__).parent / "survivors.toml").open("rb") as file:
        rows = tomllib.load(file)["survivors"]
    return {row["mutant"]: " ".join(row["because"].split()) for row in rows}


def document(
    mutants: Sequence[Mutant], results: Mapping[str, Result], commit: str, command: str, seconds: float, tests: int
) -> str:
    """The document: shares killed by class and kind, every survivor with its argument, every mutant with its end."""
    done = [(mutant, results[mutant.name]) for mutant in mutants if mutant.name in results]
    killed = sum(result.is_killed for _, result in done)
    late = sum(result.outcome in ("timeout", "memory") for _, result in done)
    survivors = [mutant for mutant, result in done if not result.is_killed]
    typical = median([result.seconds for _, result in done if result.is_killed] or [0.0])
    lines = [
        "# Mutants of the verifier",
        "",
        f"`{command}`, at commit {commit}, mutants drawn with seed {SEED}.",
        "",
        *(
            [f"**Unfinished: {len(done)} of {len(mutants)} mutants were tried.**", ""]
            if len(done) < len(mutants)
            else []
        ),
        f"**{killed} of {len(done)} mutants ({killed / max(len(done), 1):.1%}) are killed**, {late} of them by running "
        f"out of the time or the memory that a test has. A killed one takes {typical:.1f} s of CPU time in the median. "
        f"Without a mutant all {tests} tests pass, in {seconds:.0f} s; a change that means nothing survives and one "
        "that must be noticed is killed, or there would be no result.",
        "",
        "Mutants change one place of `prevail_py/domains` or `prevail_py/verifier`. The tests that reach the place are "
        f"run against it, of those in {_code(SUITE)}. What is mutated as what is in "
        "`prevail_py/research/mutants/classes.toml`, the changes are in `changes.py` there.",
        "",
        *_shares("class", done, [mutant.area for mutant, _ in done]),
        "",
        *_shares("change", done, [mutant.change.kind for mutant, _ in done], KINDS),
        "",
        "## Survivors",
        "",
        *(_survivor(mutant) for mutant in survivors),
        *([] if survivors else ["None."]),
        "",
        "## Every mutant",
        "",
        "| class | mutant | end | by |",
        "| --- | --- | --- | --- |",
        *(
            f"| {mutant.area} | {_cell(mutant.name)} | {result.outcome} | {_cell(result.test)} |"
            for mutant, result in done
        ),
        "",
    ]
    return "\n".join(lines)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|').replace('`', ' ')}`" if text else ""


def _shares(
    title: str, done: Sequence[tuple[Mutant, Result]], groups: Sequence[str], notes: Mapping[str, str] | None = None
) -> list[str]:
    total, killed = Counter(groups), Counter[str]()
    for group, (_, result) in zip(groups, done, strict=True):
        killed[group] += result.is_killed
    lines = [f"| {title} | mutants | killed |", "| --- | ---: | ---: |"]
    for group in sorted(total):
        note = f": {notes[group]}" if notes is not None and group in notes else ""
        lines.append(f"| {group}{note} | {total[group]} | {killed[group]} |")
    return lines


def _survivor(mutant: Mutant) -> str:
    because = arguments().get(mutant.name, "**not argued yet**")
    return f"- `{mutant.name.replace('`', ' ')}` ({mutant.area}): {because}"
