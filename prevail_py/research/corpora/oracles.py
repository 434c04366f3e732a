"""The oracle of soundness over whole corpora: run what is SAFE, and hold every step against its invariant.

Each SAFE program of a type that the interpreter can run is run on random inputs and on inputs that the solver chose
(:mod:`prevail_py.research.oracle`), in a child with a limit of wall time.  What comes out is a row for each program,
and a report by corpus and program type with the share of blocks that was reached.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from prevail_py._render import Table
from prevail_py.research.corpora.cache import digest
from prevail_py.research.corpora.columns import NOT_A_VERDICT, Row
from prevail_py.research.corpora.runs import ORACLE, Options, Progress, Run, about, examiner, fingerprint, kept, on_each
from prevail_py.research.corpora.sources import Collection, Item
from prevail_py.research.corpora.tables import Section

__all__ = ["Effort", "examine_all", "oracle_sections", "violations_of"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried for each program: random runs, steered runs at most, seconds of wall time at most."""

    runs: int = 30
    steered: int = 20
    limit: float = 30.0


def examine_all(
    collections: Sequence[Collection],
    cache_folder: Path,
    effort: Effort = Effort(),
    jobs: int = 1,
    backend: str | None = None,
    progress: Progress = lambda items, total: items,
) -> Run:
    """Run the oracle over ``collections``; an object that occurs in several is examined for the first of them."""
    seen: set[str] = set()
    tasks = []
    for collection in collections:
        for item in collection.items:
            content = sha256(item.path.read_bytes()).hexdigest()
            if content not in seen:
                seen.add(content)
                tasks.append((collection.corpus.name, item, content, str(cache_folder), effort))
    return Run(on_each(_examined, tasks, jobs, backend, progress), about(collections, Options(kernel=False)))


def _examined(corpus: str, item: Item, content: str, cache_folder: str, effort: Effort) -> list[Row]:
    key = digest(content, repr((effort.runs, effort.steered)), fingerprint(ORACLE))
    path = Path(cache_folder) / "results" / "oracle" / f"{key}.json"
    return [
        {"corpus": corpus, "object": item.name} | row for row in kept(path, lambda: _rows(item, effort), fresh=False)
    ]


def _rows(item: Item, effort: Effort) -> list[Row]:
    child = examiner(effort.limit)
    return [
        {"program": row["program"], "type": row.get("type")}
        | (child.oracle(item.path, row["program"], effort.runs, effort.steered) if row["program"] else row)
        for row in child.programs(item.path)
    ]


def oracle_sections(run: Run) -> list[Section]:
    """What was run, violations first; then what could not be run to its end, and what was not reached."""
    examined = [row for row in run.rows if "runs" in row]
    violations = [
        (f"{row['object']}/{row['program']}", violation) for row in examined for violation in row["violations"]
    ]
    groups: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in examined:
        groups[row["corpus"], row["type"]].append(row)
    lines = [(*name, *_sums(rows)) for name, rows in sorted(groups.items())]
    header = ("corpus", "type", "programs", "runs", "steered", "steps", "violations", "blocks", "reached", "all")
    table = Table(header, (*lines, ("total", "", *_sums(examined))), frozenset(range(2, len(header))))
    text = (
        f"{len(examined)} SAFE programs were run. *Steered* runs are those whose input the solver chose, *blocks* "
        "those that may be reached according to the invariants, *all* the programs of which every block was reached."
    )
    sections = [Section("What was run", text, table)]
    if violations:
        sections.insert(0, Section("VIOLATIONS", "", Table(("program", "violation"), tuple(violations))))
    early = Counter(reason for row in examined for reason in row["unsupported"])
    if early:
        rows = tuple((reason, str(count)) for reason, count in sorted(early.items(), key=lambda each: (-each[1], each)))
        text = "Runs that met these ended there: neither violations nor evidence."
        sections.append(
            Section("What the interpreter does not run", text, Table(("what", "programs"), rows, frozenset({1})))
        )
    lost = [row for row in run.rows if row.get("verdict") in NOT_A_VERDICT]
    if lost:
        unanswered = tuple((f"{row['object']}/{row['program']}", row["verdict"], str(row["reason"])) for row in lost)
        sections.append(Section("Without an answer", "", Table(("program", "what", "why"), unanswered)))
    return sections


def _sums(rows: Iterable[Row]) -> tuple[str, ...]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update({name: row[name] for name in ("runs", "steered", "steps", "blocks", "covered")})
        total.update({"programs": 1, "violations": len(row["violations"]), "all": row["blocks"] == row["covered"]})
    names = ("programs", "runs", "steered", "steps", "violations")
    share = 100 * total["covered"] / total["blocks"] if total["blocks"] else 100.0
    return (
        *(str(total[name]) for name in names),
        f"{total['covered']}/{total['blocks']}",
        f"{share:.1f}%",
        str(total["all"]),
    )


def violations_of(run: Run) -> list[Any]:
    """All violations that were seen."""
    return [violation for row in run.rows for violation in row.get("violations", ())]
