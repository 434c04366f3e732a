"""What the host keeps over a restart: pinned objects and what they need, in a SQLite file.

Nothing in it is evidence.  A program that is read from here has no verdict: it is verified again, with a fresh token,
before it gets in, and one that does not get in stays in the file, unused, under its pins
(:attr:`ExecutionContext.not_restored`).  So whoever can write the file can at most make other programs run that are
SAFE.  It belongs to the user of the host and nobody else may read or write it.

The structure is on disk before a call that changes it is answered.  Contents of maps are written with it, every second
while the host runs, and at its end: what programs wrote in the last second before a crash is lost.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prevail_py.host.canonical import CanonicalError, Plain, decode, encode
from prevail_py.host.context.contents import contents_of, put_back
from prevail_py.host.context.model import Hosted, HostedLink, HostedMap, HostedProgram, HostError
from prevail_py.host.service.programs import MessageError, from_map, from_program, to_map, to_program
from prevail_py.vm.maps.model import MapError

if TYPE_CHECKING:
    from prevail_py.host.context.context import ExecutionContext

__all__ = ["SCHEMA", "Store"]

_LOG: Final = logging.getLogger(__name__)

SCHEMA: Final = 1

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS map (id INTEGER PRIMARY KEY, uid INTEGER, created INTEGER, spec BLOB);
CREATE TABLE IF NOT EXISTS program (id INTEGER PRIMARY KEY, uid INTEGER, created INTEGER, engine TEXT, file TEXT,
                                    run_count INTEGER, run_time INTEGER, program BLOB, maps BLOB);
CREATE TABLE IF NOT EXISTS link (id INTEGER PRIMARY KEY, uid INTEGER, created INTEGER, program INTEGER, hook TEXT,
                                 parameters BLOB, held INTEGER);
CREATE TABLE IF NOT EXISTS entry (map INTEGER, key BLOB, kind TEXT, id INTEGER);
CREATE TABLE IF NOT EXISTS element (map INTEGER, place INTEGER, key BLOB, value BLOB);
CREATE INDEX IF NOT EXISTS element_map ON element (map);
CREATE TABLE IF NOT EXISTS pin (path TEXT PRIMARY KEY, kind TEXT, id INTEGER);
"""
_STRUCTURE: Final = ("map", "program", "link", "entry", "pin")


class Store:
    """One file.  Its methods are called under the lock of the context."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises :class:`HostError` for a file that is not ours, or is no store, and OSError."""
        self.path: Final = Path(path)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise HostError(errno.EPERM, f"{self.path}: not a file that is ours alone")
        self._database: Final = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        self._written: dict[int, bytes] = {}
        self._kept_rows: list[tuple[str, tuple[Any, ...]]] = []
        try:
            self._database.executescript(_TABLES)
            versions = self._database.execute("SELECT version FROM schema").fetchall()
            if not versions:
                self._database.execute("INSERT INTO schema VALUES (?)", (SCHEMA,))
            elif versions != [(SCHEMA,)]:
                raise HostError(errno.EINVAL, f"{self.path}: a store of schema {versions[0][0]}, not {SCHEMA}")
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise HostError(errno.EINVAL, f"{self.path}: no store: {error}") from None
        except HostError:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # Writing -------------------------------------------------------------------------------------------------------

    def save(self, context: ExecutionContext) -> None:
        """Write what the context keeps, in one transaction.  Raises :class:`HostError` where the disk refuses."""
        rows, contents = _rows(context)
        kept_pins = [row for row in self._kept_rows if row[0] == "pin" and not _taken(row, context)]
        if kept_pins:
            rows += kept_pins + [row for row in self._kept_rows if row[0] in ("map", "program")]
        programs = {values[0] for table, values in rows if table == "program"}
        rows += [row for row in self._kept_rows if row[0] == "link" and row[1][3] in programs]
        written = dict(self._written)
        try:
            with closing(self._database.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    for table in _STRUCTURE:
                        cursor.execute(f"DELETE FROM {table}")
                    for table, values in rows:
                        cursor.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
                    kept = {values[0] for table, values in rows if table == "map"}
                    for gone in set(written) - kept:
                        cursor.execute("DELETE FROM element WHERE map = ?", (gone,))
                        del written[gone]
                    for number, elements in contents.items():
                        digest = _digest(elements)
                        if written.get(number) != digest:
                            cursor.execute("DELETE FROM element WHERE map = ?", (number,))
                            cursor.executemany(
                                "INSERT INTO element VALUES (?, ?, ?, ?)",
                                [(number, place, key, value) for place, (key, value) in enumerate(elements)],
                            )
                            written[number] = digest
                    cursor.execute("COMMIT")
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise HostError(errno.EIO, f"{self.path}: {error}") from None
        self._written = written

    # Reading -------------------------------------------------------------------------------------------------------

    def restore(self, context: ExecutionContext) -> None:
        """Make the objects in the file again.  What cannot be made is logged, and stays in the file."""
        rows = {table: self._database.execute(f"SELECT * FROM {table}").fetchall() for table in _STRUCTURE}
        made: dict[tuple[str, int], Hosted] = {}
        failed: dict[tuple[str, int], str] = {}
        for kind in ("map", "program", "link"):
            for row in rows[kind]:
                context.reserve(kind, row[0])
        for row in rows["map"]:
            _attempt("map", row, failed, lambda row=row: self._map(context, row, made))
        for row in rows["program"]:
            _attempt("program", row, failed, lambda row=row: _program(context, row, made))
        for number, key, kind, id in rows["entry"]:
            outer, entry = made.get(("map", number)), made.get((kind, id))
            if isinstance(outer, HostedMap) and isinstance(entry, HostedMap | HostedProgram):
                try:
                    context.set_entry(outer, key, entry)
                except (HostError, MapError) as error:
                    _LOG.error("map %d: an element is lost: %s", number, error)
        for row in rows["link"]:
            _attempt("link", row, failed, lambda row=row: _link(context, row, made))
        for path, kind, id in rows["pin"]:
            hosted = made.get((kind, id))
            if hosted is not None:
                context.pin(path, hosted)
            else:
                context.not_restored[path] = failed.get((kind, id), "it is not in the store")
                _LOG.error("%s is not restored: %s", path, context.not_restored[path])
        self._keep(rows, failed)
        # What was made but is reached by nothing that was: nobody refers to it, and nobody ever will.
        for (kind, number), hosted in made.items():
            if hosted.references == 0 and number in context.table(kind):
                context.retain(hosted)
                context.release(hosted)

    def _map(self, context: ExecutionContext, row: tuple[Any, ...], made: dict[tuple[str, int], Hosted]) -> None:
        number, uid, created, spec = row
        plain = decode(spec)
        frozen = isinstance(plain, dict) and plain.pop("frozen", False) is True
        hosted = context.create_map(to_map(plain), uid, number, created)
        hosted.frozen = frozen
        elements = self._database.execute(
            "SELECT key, value FROM element WHERE map = ? ORDER BY place", (number,)
        ).fetchall()
        try:
            put_back(hosted.map, elements)
        except BaseException:
            context.retain(hosted)
            context.release(hosted)
            raise
        self._written[number] = _digest(elements)
        made["map", number] = hosted

    def _keep(self, rows: dict[str, list[tuple[Any, ...]]], failed: dict[tuple[str, int], str]) -> None:
        """Rows of what was not restored: they are written again as they were."""
        needed = set(failed)
        for row in rows["program"]:
            if ("program", row[0]) in failed:
                needed |= {("map", number) for number in _numbers(row[8])}
        self._kept_rows = [
            (table, row) for table in ("map", "program", "link") for row in rows[table] if (table, row[0]) in needed
        ] + [("pin", row) for row in rows["pin"] if (row[1], row[2]) in failed]


def _attempt(kind: str, row: tuple[Any, ...], failed: dict[tuple[str, int], str], make: Any) -> None:
    try:
        make()
    except (HostError, MapError, MessageError, CanonicalError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        failed[kind, row[0]] = reason or type(error).__name__
        _LOG.error("%s %d is not restored: %s", kind, row[0], failed[kind, row[0]])


def _program(context: ExecutionContext, row: tuple[Any, ...], made: dict[tuple[str, int], Hosted]) -> None:
    number, uid, created, engine, file, run_count, run_time, program, maps = row
    found = []
    for each in _numbers(maps):
        map = made.get(("map", each))
        if not isinstance(map, HostedMap):
            raise MessageError(f"its map {each} is not restored")
        found.append(map)
    hosted = context.load(
        to_program(decode(program)),
        found,
        engine,
        uid,
        file=file,
        number=number,
        created=created,
    )
    hosted.run_count, hosted.run_time = run_count, run_time
    made["program", number] = hosted


def _link(context: ExecutionContext, row: tuple[Any, ...], made: dict[tuple[str, int], Hosted]) -> None:
    number, uid, created, program, hook, parameters, held = row
    found, plain = made.get(("program", program)), decode(parameters)
    if not isinstance(found, HostedProgram) or not isinstance(plain, dict):
        raise MessageError(f"its program {program} is not restored")
    made["link", number] = context.attach(found, plain, uid, hook=hook, held=bool(held), number=number, created=created)


def _numbers(data: bytes) -> list[int]:
    value = decode(data)
    if not isinstance(value, list):
        raise MessageError("not a list of numbers")
    return [each for each in value if isinstance(each, int)]


def _rows(context: ExecutionContext) -> tuple[list[tuple[str, tuple[Any, ...]]], dict[int, list[tuple[bytes, bytes]]]]:
    rows: list[tuple[str, tuple[Any, ...]]] = []
    contents = {}
    for hosted in context.kept():
        common = (hosted.id, hosted.uid, hosted.created)
        match hosted:
            case HostedMap():
                spec = from_map(hosted.map.spec)
                rows.append(("map", (*common, encode(spec | {"frozen": True} if hosted.frozen else spec))))
                rows += [("entry", (hosted.id, key, each.kind, each.id)) for key, each in hosted.entries.items()]
                contents[hosted.id] = contents_of(hosted.map)
            case HostedProgram():
                numbers: Plain = [each.id for each in hosted.maps]
                code = encode(from_program(hosted.program))
                counts = (hosted.run_count, hosted.run_time)
                rows.append(("program", (*common, hosted.engine, hosted.file, *counts, code, encode(numbers))))
            case HostedLink() if hosted.attachment is not None:
                place = (hosted.program.id, hosted.hook.name, encode(hosted.parameters), hosted.held)
                rows.append(("link", (*common, *place)))
    for path, hosted in context.pins.items():
        if not isinstance(hosted, HostedLink) or hosted.attachment is not None:  # a detached link is of no use later
            rows.append(("pin", (path, hosted.kind, hosted.id)))
    return rows, contents


def _taken(row: tuple[str, tuple[Any, ...]], context: ExecutionContext) -> bool:
    """Whether a pin that was not restored has been replaced or given up since."""
    path = row[1][0]
    return path in context.pins or path not in context.not_restored


def _digest(elements: Iterable[tuple[bytes, bytes]]) -> bytes:
    digest = hashlib.sha256()
    for key, value in elements:
        digest.update(b"%d %d " % (len(key), len(value)) + key + value)
    return digest.digest()
