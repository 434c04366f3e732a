"""Fuzz campaigns against the museum: which oracle of a campaign finds a planted fault first, and after how long.

``python -m prevail_py.research.museum.hunt --draw 15`` draws fifteen exhibits (:func:`drawn`) and lets a campaign look
for each: with the default settings of ``prevail-py fuzz``, the same for all faults, until its CPU time is over.  What
is found is written to ``--keep`` as it comes, so that a hunt that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from time import process_time
from typing import Any, Final

from prevail_py.research.fuzz import Settings, campaign
from prevail_py.research.museum import EXHIBITS
from prevail_py.research.oracle_report import commit_text

__all__ = ["DRAWN", "SECONDS", "Trophy", "drawn", "hunted", "main", "markdown", "resumed"]

DRAWN: Final = 15
SECONDS: Final = 180.0
"""CPU time for each fault."""


@dataclass(frozen=True, slots=True)
class Trophy:
    """What a campaign found of a fault: ``oracle`` and ``kind`` of the first finding, empty where there was none.

    ``programs`` are those that were looked at until then, ``seconds`` is CPU time, with that of planting the fault and
    of making the program small.
    """

    exhibit: str
    part: str
    oracle: str
    kind: str
    programs: int
    seconds: float

    @property
    def is_found(self) -> bool:
        """Whether the campaign found the fault."""
        return bool(self.oracle)

    def as_finding(self) -> dict[str, Any]:
        """As ``prevail-py museum run --json`` has it, of the oracle ``fuzzing``."""
        evidence = f"{self.oracle}: {self.kind} after {self.programs} programs" if self.is_found else ""
        return {
            "exhibit": self.exhibit, "part": self.part, "oracle": "fuzzing", "evidence": evidence,
            "seconds": self.seconds,
        }  # fmt: skip


def drawn(count: int, seed: int = 0) -> list[str]:
    """The names of so many exhibits, each as likely as the others, by a seed: that of campaigns is 0, too."""
    if not 0 < count <= len(EXHIBITS):
        raise ValueError(f"there are {len(EXHIBITS)} exhibits to draw from")
    return Random(seed).sample(list(EXHIBITS), count)


def hunted(exhibit: str, seconds: float) -> Trophy:
    """What a campaign finds of an exhibit in so many CPU seconds.  Raises KeyError for a name that is none."""
    part = EXHIBITS[exhibit].part.value
    start = process_time()
    report = campaign(Settings(), planted=exhibit, seconds=seconds, first=True, clock=process_time)
    spent, first = process_time() - start, report.first
    if first is None:
        return Trophy(exhibit, part, "", "", report.programs, spent)
    return Trophy(exhibit, part, first.problem.oracle, first.problem.kind, first.programs, spent)


def resumed(exhibits: Sequence[str], seconds: float, keep: Path | None) -> Iterator[Trophy]:
    """Hunt them in turn; what ``keep`` has of the same commit is not done again.  ValueError for another file."""
    commit = commit_text()
    known = {} if keep is None or not keep.exists() else _read(keep, commit)
    for exhibit in exhibits:
        found = known.get(exhibit)
        if found is None or not (found.is_found or found.seconds >= seconds):
            found = hunted(exhibit, seconds)
            if keep is not None:
                with keep.open("a") as file:
                    file.write(json.dumps({"commit": commit, **asdict(found)}) + "\n")
        yield found


def _read(path: Path, commit: str) -> dict[str, Trophy]:
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found = [Trophy(**row) for row in rows if row.pop("commit") == commit]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not what a hunt keeps") from error
    return {trophy.exhibit: trophy for trophy in found}


def markdown(trophies: Sequence[Trophy], about: str, seconds: float) -> str:
    """The measurement as a document; ``about`` says how it was taken."""
    found = [trophy for trophy in trophies if trophy.is_found]
    lines = [
        "# Campaigns against planted faults",
        "",
        about,
        "",
        "A campaign for each fault, with the default settings of `prevail-py fuzz`, which ends with the first fault "
        f"that it finds or after {seconds:g} CPU seconds. A doubt is no fault. Times are those of one process, with "
        "planting and with making the program small.",
        "",
        f"**{len(found)} of {len(trophies)} found"
        + (f"; the median takes {median(t.seconds for t in found):.1f} s and " if found else "")
        + (f"{median(t.programs for t in found):g} programs.**" if found else ".**"),
        "",
        "| fault | part | found by | evidence | programs | CPU seconds |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    lines += [
        f"| {t.exhibit} | {t.part} | {t.oracle or '-'} | {t.kind or 'nothing'} | {t.programs} | {t.seconds:.1f} |"
        for t in trophies
    ]
    return "\n".join(lines) + "\n"


def _shown(trophies: Iterable[Trophy]) -> Iterator[Trophy]:
    for trophy in trophies:
        what = f"{trophy.oracle}: {trophy.kind}" if trophy.is_found else "nothing"
        print(f"{trophy.exhibit}: {what}, {trophy.programs} programs, {trophy.seconds:.1f} s", flush=True)
        yield trophy


def main(argv: Sequence[str] | None = None) -> int:
    """The command: 0 where all are found, 1 where one is not, 2 for an option that makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.museum.hunt", description=__doc__)
    parser.add_argument("exhibit", nargs="*", help="names of exhibits (those that are drawn)")
    parser.add_argument("--draw", type=int, default=DRAWN, metavar="N", help=f"draw so many exhibits ({DRAWN})")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"CPU seconds for each ({SECONDS:g})")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="keep what is found there, and go on with what is there"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the findings there, as prevail-py museum run does"
    )
    options = parser.parse_args(argv)
    unknown = [name for name in options.exhibit if name not in EXHIBITS]
    if unknown:
        parser.error(f"no exhibit is called {unknown[0]!r}")
    try:
        names = options.exhibit or drawn(options.draw, options.seed)
        trophies = list(_shown(resumed(names, options.seconds, options.keep)))
    except ValueError as error:
        parser.error(str(error))
    if options.markdown is not None:
        given = sys.argv[1:] if argv is None else list(argv)
        command = shlex.join(["python", "-m", "prevail_py.research.museum.hunt", *given])
        options.markdown.write_text(markdown(trophies, f"`{command}` at {commit_text()}.", options.seconds))
    if options.json is not None:
        rows = [trophy.as_finding() for trophy in trophies]
        lost = [trophy.exhibit for trophy in trophies if not trophy.is_found]
        document = {"schema": 1, "findings": rows, "survivors": lost, "not_asked": {}}
        options.json.write_text(json.dumps(document))
    return 0 if all(trophy.is_found for trophy in trophies) else 1


if __name__ == "__main__":
    sys.exit(main())
