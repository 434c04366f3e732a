"""Asking every oracle about every exhibit: what is caught, by whom, and in what time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from time import process_time
from typing import Any

from prevail_py._render import Table
from prevail_py.research.museum import EXHIBITS, planted
from prevail_py.research.museum.oracles import ORACLES, Oracle, missing

__all__ = ["Finding", "catches", "control", "survivors", "table", "tour"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What an oracle said of an exhibit: the evidence, empty where it found none, after so many CPU seconds."""

    exhibit: str
    part: str
    oracle: str
    evidence: str
    seconds: float

    @property
    def is_caught(self) -> bool:
        """Whether the fault was noticed."""
        return bool(self.evidence)

    def as_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def catches(exhibit: str, oracle: str, seconds: float) -> Finding:
    """Plant a fault and ask one oracle, which may take so many CPU seconds.

    Where the code with the fault fails by itself, that is evidence, too.  Raises KeyError for a name that is none.
    """
    shown, asked = EXHIBITS[exhibit], ORACLES[oracle]
    if asked.prepare is not None:
        asked.prepare(shown)
    start = process_time()
    with planted(shown):
        try:
            evidence = asked.search(shown, seconds)
        except Exception as error:  # whatever it is: there is none without the fault, as the control shows
            evidence = f"{type(error).__name__}: {error}"
    return Finding(exhibit, shown.part.value, oracle, evidence or "", process_time() - start)


def control(exhibit: str, oracle: str, seconds: float) -> Finding:
    """The same without the fault: an oracle that finds something here would be wrong."""
    shown, asked = EXHIBITS[exhibit], ORACLES[oracle]
    if asked.prepare is not None:
        asked.prepare(shown)
    start = process_time()
    evidence = asked.search(shown, seconds)
    return Finding(exhibit, shown.part.value, oracle, evidence or "", process_time() - start)


def _pairs(exhibits: Iterable[str], oracles: Sequence[Oracle]) -> Iterator[tuple[str, str]]:
    for name in exhibits:
        for oracle in oracles:
            if EXHIBITS[name].part in oracle.parts:
                yield name, oracle.name


def tour(
    exhibits: Sequence[str], oracles: Sequence[str], seconds: float, jobs: int = 1
) -> tuple[int, Iterator[Finding]]:
    """How many pairs there are, and what is found for each, as it comes.

    An oracle is asked about the exhibits that it could see at all.  Several ``jobs`` are processes of their own, and
    need joblib.
    """
    usable = [ORACLES[name] for name in oracles if not missing(ORACLES[name])]
    pairs = list(_pairs(exhibits, usable))
    return len(pairs), _findings(pairs, seconds, jobs)


def _findings(pairs: Sequence[tuple[str, str]], seconds: float, jobs: int) -> Iterator[Finding]:
    if jobs == 1:
        yield from (catches(exhibit, oracle, seconds) for exhibit, oracle in pairs)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, return_as="generator", batch_size=1)
    yield from parallel(delayed(catches)(exhibit, oracle, seconds) for exhibit, oracle in pairs)


def survivors(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The exhibits that no oracle caught, in the order of the museum."""
    found = list(findings)
    caught = {finding.exhibit for finding in found if finding.is_caught}
    return tuple(dict.fromkeys(finding.exhibit for finding in found if finding.exhibit not in caught))


def table(findings: Iterable[Finding], oracles: Sequence[str]) -> Table:
    """One row for each exhibit, with the seconds of each oracle that caught it.

    ``-`` is an oracle that found nothing in its time, an empty cell one that was not asked.
    """
    rows: dict[str, dict[str, str]] = {}
    for finding in findings:
        mark = f"{finding.seconds:.2f}" if finding.is_caught else "-"
        rows.setdefault(finding.exhibit, {})[finding.oracle] = mark
    lines = [
        (EXHIBITS[name].part.value, name, *(cells.get(oracle, "") for oracle in oracles))
        for name, cells in rows.items()
    ]
    right = frozenset(range(2, 2 + len(oracles)))
    return Table(("part", "exhibit", *oracles), tuple(lines), right)
