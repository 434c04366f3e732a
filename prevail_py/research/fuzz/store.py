"""Where a campaign keeps what it has: SQLite, content-addressed, one transaction a round.

Programs are under the SHA-256 of what they consist of.  A round is written whole or not at all, or up to a batch where
the time was over, and what it depends on (settings; corpus, branches taken, problems known when it began) is in here,
so a campaign that was killed or ended goes on with the same round and comes to the same result.
"""

from __future__ import annotations

import array
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from prevail_py.research.fuzz.batch import Found, Kept, Outcome, Settings
from prevail_py.research.fuzz.oracles import Effort, Problem

__all__ = ["SCHEMA", "Finding", "Store", "StoreError"]


SCHEMA: Final = 2
_KIND: Final = "prevail-py fuzz campaign"

_TABLES: Final = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE programs (digest TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE corpus (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE REFERENCES programs, taken TEXT NOT NULL,
                     shape TEXT NOT NULL, new INTEGER NOT NULL, round INTEGER NOT NULL);
CREATE TABLE features (number INTEGER PRIMARY KEY, round INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE findings (id INTEGER PRIMARY KEY, signature TEXT NOT NULL UNIQUE, problem TEXT NOT NULL,
                       effort TEXT NOT NULL, digest TEXT NOT NULL REFERENCES programs,
                       smallest TEXT NOT NULL REFERENCES programs, count INTEGER NOT NULL, programs INTEGER NOT NULL,
                       round INTEGER NOT NULL, seconds REAL NOT NULL);
CREATE TABLE counts (kind TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL,
                     PRIMARY KEY (kind, name)) WITHOUT ROWID;
"""


class StoreError(ValueError):
    """The database cannot be used: one line that says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that a campaign found, once for all programs that show it.

    ``document`` is the program as found and ``smallest`` as small as it got (:mod:`prevail_py.research.fuzz.case`);
    ``effort`` finds it again.  ``count`` programs showed it; ``programs`` had been looked at up to the first of them,
    that one included, after ``seconds`` of the campaign.
    """

    signature: str
    problem: Problem
    document: Mapping[str, Any]
    smallest: Mapping[str, Any]
    effort: Effort
    count: int
    programs: int
    seconds: float


class Store:
    """One campaign; without a path it is kept in memory only.  Use as a context manager."""

    def __init__(self, path: Path | None, settings: Settings) -> None:
        """Begin a campaign there, or go on with the one that is there.  Raises :class:`StoreError`."""
        self._path = path
        name = ":memory:" if path is None else str(path)
        try:
            self._db = sqlite3.connect(name, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._open(settings)
        except sqlite3.Error as error:
            raise StoreError(f"{name}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _open(self, settings: Settings) -> None:
        wanted = json.dumps(asdict(settings), sort_keys=True)
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            rows = {
                "kind": _KIND,
                "schema": str(SCHEMA),
                "settings": wanted,
                "round": "0",
                "done": "0",
                "seconds": "0.0",
            }
            self._db.executemany("INSERT INTO about VALUES (?, ?)", rows.items())
            self._db.execute("COMMIT")
            return
        if "about" not in tables or self._about("kind") != _KIND:
            raise StoreError(f"{self._path}: not a database of a campaign")
        if self._about("schema") != str(SCHEMA):
            raise StoreError(f"{self._path}: schema {self._about('schema')}, not {SCHEMA}")
        known = json.loads(self._about("settings"))
        for key, value in json.loads(wanted).items():
            if known.get(key) != value:
                raise StoreError(f"{self._path}: a campaign with {key} {known.get(key)!r}, not {value!r}")

    def _about(self, key: str) -> str:
        row = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return "" if row is None else str(row[0])

    # What a round depends on -----------------------------------------------------------------------------------------

    @property
    def round(self) -> int:
        """The number of the next round, which is how many there were."""
        return int(self._about("round"))

    @property
    def done(self) -> int:
        """How many batches of the next round were done already."""
        return int(self._about("done"))

    @property
    def seconds(self) -> float:
        """How long the rounds took that there were, by the clock."""
        return float(self._about("seconds"))

    @property
    def programs(self) -> int:
        """How many programs were looked at."""
        return self.counts("verdict").total()

    def features(self) -> bytes:
        """The branches that were taken before, as :class:`~prevail_py.research.fuzz.batch.Task` wants them."""
        rows = self._db.execute("SELECT number FROM features WHERE round < ?", (self.round,))
        return array.array("I", [n for (n,) in rows]).tobytes()

    def signatures(self) -> frozenset[str]:
        """The signatures of the problems found before."""
        rows = self._db.execute("SELECT signature FROM findings WHERE round < ?", (self.round,))
        return frozenset(name for (name,) in rows)

    def has_fault(self) -> bool:
        """Whether something was found that is no mere doubt."""
        return any(not finding.problem.is_doubt for finding in self.findings())

    def size(self) -> int:
        """How many programs were kept before."""
        (count,) = self._db.execute("SELECT COUNT(*) FROM corpus WHERE round < ?", (self.round,)).fetchone()
        return int(count)

    def parents(self, positions: Iterable[int]) -> list[tuple[tuple[int, ...], Mapping[str, Any]]]:
        """The kept programs at these positions of the corpus: the choices that they are made of, and their shapes."""
        found = []
        for position in positions:
            row = self._db.execute("SELECT taken, shape FROM corpus WHERE id = ?", (position + 1,)).fetchone()
            found.append((tuple(json.loads(row[0])), json.loads(row[1])))
        return found

    # What a round gives ----------------------------------------------------------------------------------------------

    def add(self, outcomes: Sequence[Outcome], seconds: float, whole: bool = True) -> list[Finding]:
        """Write one round, or what was done of it, which took so long; what was found that was not known before."""
        new: list[str] = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            number, looked_at, before = self.round, self.programs, self.seconds
            for outcome in outcomes:
                self._count("verdict", outcome.verdicts)
                self._count("answer", outcome.answers)
                for kept in outcome.kept:
                    self._keep(kept, number, outcome)
                rows = [(feature, number) for feature in outcome.features]
                self._db.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", rows)
                new += [
                    found.signature
                    for found in outcome.found
                    if self._find(found, number, looked_at + found.position + 1, before + seconds)
                ]
                looked_at += outcome.programs
            now = {"seconds": str(before + seconds)}
            now |= {"round": str(number + 1), "done": "0"} if whole else {"done": str(self.done + len(outcomes))}
            self._db.executemany(
                "UPDATE about SET value = ? WHERE key = ?", [(value, key) for key, value in now.items()]
            )
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return [finding for finding in self.findings() if finding.signature in new]

    def _count(self, kind: str, counts: Counter[str]) -> None:
        self._db.executemany(
            "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(kind, name, count) for name, count in sorted(counts.items())],
        )

    def _program(self, document: Mapping[str, Any]) -> str:
        from prevail_py.research.fuzz.case import digest

        name = digest(document)
        row = (name, json.dumps(document, sort_keys=True))
        self._db.execute("INSERT OR IGNORE INTO programs VALUES (?, ?)", row)
        return name

    def _keep(self, kept: Kept, number: int, outcome: Outcome) -> None:
        name = self._program(kept.document)
        row = (name, json.dumps(kept.taken), json.dumps(kept.shape), kept.new, number)
        self._db.execute(
            "INSERT INTO corpus (digest, taken, shape, new, round) SELECT ?, ?, ?, ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM corpus WHERE digest = ?)",
            (*row, name),
        )

    def _find(self, found: Found, number: int, programs: int, seconds: float) -> bool:
        """Count a problem; True for one that was not known."""
        known = self._db.execute("SELECT id FROM findings WHERE signature = ?", (found.signature,)).fetchone()
        if known is not None:
            self._db.execute("UPDATE findings SET count = count + 1 WHERE id = ?", known)
            return False
        document = self._program(found.document)
        smallest = document if found.smallest is None else self._program(found.smallest)
        problem, effort = (json.dumps(asdict(each), sort_keys=True) for each in (found.problem, found.effort))
        self._db.execute(
            "INSERT INTO findings (signature, problem, effort, digest, smallest, count, programs, round, seconds) "
            "VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)",
            (found.signature, problem, effort, document, smallest, programs, number, seconds),
        )
        return True

    # What there is ---------------------------------------------------------------------------------------------------

    def kept(self) -> int:
        """How many programs are kept."""
        (count,) = self._db.execute("SELECT COUNT(*) FROM corpus").fetchone()
        return int(count)

    def counts(self, kind: str) -> Counter[str]:
        """The sums of ``verdict`` or ``answer`` over all rounds, by name."""
        rows = self._db.execute("SELECT name, count FROM counts WHERE kind = ? ORDER BY name", (kind,))
        return Counter(dict(rows.fetchall()))

    def branches(self) -> int:
        """How many branches were taken."""
        (count,) = self._db.execute("SELECT COUNT(*) FROM features").fetchone()
        return int(count)

    def findings(self) -> list[Finding]:
        """All that was found, the first first."""
        rows = self._db.execute(
            "SELECT signature, problem, a.document, b.document, effort, count, findings.programs, seconds "
            "FROM findings JOIN programs a ON a.digest = findings.digest "
            "JOIN programs b ON b.digest = findings.smallest "
            "ORDER BY findings.programs, findings.id"
        )
        return [
            Finding(
                signature,
                Problem(**json.loads(problem)),
                json.loads(document),
                json.loads(smallest),
                _effort(json.loads(effort)),
                count,
                programs,
                seconds,
            )
            for signature, problem, document, smallest, effort, count, programs, seconds in rows
        ]


def _effort(fields: dict[str, Any]) -> Effort:
    return Effort(**{**fields, "engines": tuple(fields["engines"])})
