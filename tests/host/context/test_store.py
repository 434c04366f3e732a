"""What survives a restart, what does not, and that nothing in the file is believed."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from prevail_py.host.canonical import encode
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.store import Store
from prevail_py.host.service.programs import from_program
from prevail_py.objects.program import MapSpec
from prevail_py.objects.text import assemble
from tests.host.context.tools import ARRAY, COUNTER, DROP, PASS, UNSAFE, info, load, new_map, refused

Reopen = Callable[[], ExecutionContext]


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def test_pinned_objects_come_back(reopen: Reopen) -> None:
    """With their numbers, contents and statistics; what is not pinned does not."""
    with reopen() as context, context.session() as session:
        load(session, PASS)
        program = load(session, COUNTER, file="counter.o")
        session.call("program_run", handle=program, packet=bytes(60), repeat=3)
        session.call("pin", handle=program, path="/counter")
        session.call("pin", handle=program, path="/again")
    with reopen() as context, context.session() as session:
        assert (set(context.programs), set(context.maps)) == ({2}, {1})
        program = session.call("open_pin", path="/counter")
        found = info(session, program)
        assert (found["run_count"], found["pins"], found["file"]) == (3, ["/again", "/counter"], "counter.o")
        table = session.call("open_id", kind="map", id=1)
        assert session.call("map_lookup", handle=table, key=bytes(4), flags=0)[0] == 3
        assert session.call("program_run", handle=program, packet=bytes(60), repeat=1)["value"] == 2
        assert info(session, load(session, DROP))["id"] == 3  # numbers go on
        session.call("unpin", path="/again")
        session.call("unpin", path="/counter")
    with reopen() as context:
        assert (context.programs, context.maps, context.pins) == ({}, {}, {})


CONTENTS = (
    MapSpec("hash", 1, 4, 8, 4),
    MapSpec("array", 2, 4, 8, 4),
    MapSpec("lru", 9, 4, 8, 4),
    MapSpec("trie", 11, 8, 8, 4, flags=1),
    MapSpec("queue", 22, 0, 8, 4),
    MapSpec("stack", 23, 0, 8, 4),
    MapSpec("devices", 14, 4, 8, 4),
)


def test_contents_of_maps(reopen: Reopen) -> None:
    values = [bytes([each + 1]) * 8 for each in range(3)]
    keys = {8: [key(32) + bytes([each] * 4) for each in range(3)], 4: [key(each) for each in range(3)], 0: [b""] * 3}
    with reopen() as context, context.session() as session:
        for spec in CONTENTS:
            handle = new_map(session, spec)
            for each, value in zip(keys[spec.key_size], values, strict=True):
                session.call("map_update", handle=handle, key=each, value=value, flags=0)
            session.call("pin", handle=handle, path=spec.name)
        per_cpu = new_map(session, MapSpec("per_cpu", 6, 4, 8, 4))
        session.call("map_update", handle=per_cpu, key=key(2), value=values[1], flags=0)
        session.call("pin", handle=per_cpu, path="per_cpu")
    with reopen() as context, context.session() as session:
        for spec in CONTENTS:
            handle = session.call("open_pin", path=spec.name)
            if spec.key_size:
                found = [session.call("map_lookup", handle=handle, key=each, flags=0) for each in keys[spec.key_size]]
                assert found == values, spec.name
            else:
                found = [session.call("map_take", handle=handle, key=b"", flags=0) for _ in values]
                assert found == (values if spec.name == "queue" else values[::-1])
        handle = session.call("open_pin", path="per_cpu")
        assert session.call("map_lookup", handle=handle, key=key(2), flags=0) == values[1]


def test_elements_that_are_objects(reopen: Reopen) -> None:
    jumps = MapSpec("jumps", 3, 4, 4, 2)
    caller = replace(assemble("r2 = map[idx:0] ll\nr3 = 0\ncall 12\nr0 = 7\nexit", name="caller"), maps=(jumps,))
    with reopen() as context, context.session() as session:
        array = new_map(session, jumps)
        first = load(session, caller, [array])
        session.call("map_update", handle=array, key=key(0), value=key(load(session, DROP)), flags=0)
        session.call("map_update", handle=array, key=key(1), value=key(first), flags=0)
        session.call("pin", handle=array, path="jumps")
        outer = new_map(session, MapSpec("outer", 12, 4, 4, 2, inner=ARRAY))
        session.call("map_update", handle=outer, key=key(1), value=key(new_map(session)), flags=0)
        session.call("pin", handle=outer, path="outer")
    with reopen() as context, context.session() as session:
        assert (len(context.programs), len(context.maps)) == (2, 3)
        first = session.call("open_id", kind="program", id=1)
        assert session.call("program_run", handle=first, packet=b"", repeat=1)["value"] == 1
        outer = session.call("open_pin", path="outer")
        assert session.call("map_lookup", handle=outer, key=key(1), flags=0) == key(3)


def test_a_crash_loses_no_pin(reopen: Reopen) -> None:
    """A host that never closes its store: pins were on disk before the call was answered."""
    crashed = reopen()
    session = crashed.session()
    session.call("pin", handle=load(session, COUNTER), path="/p")
    session.call("map_update", handle=1, key=bytes(4), value=bytes([5]) * 16, flags=0)
    crashed.sync()  # what the server does every second
    with reopen() as context:
        assert set(context.pins) == {"/p"}
        assert bytes(context.maps[1].map[bytes(4)]) == bytes([5]) * 16  # type: ignore[index]
    crashed.close()


# The file is no evidence. ----------


def database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_a_program_that_was_put_into_the_file_is_verified(reopen: Reopen, tmp_path: Path) -> None:
    """It does not get in, is named, stays in the file, and can be given up."""
    with reopen() as context, context.session() as session:
        session.call("pin", handle=load(session, PASS), path="/p")
        session.call("pin", handle=load(session, DROP), path="/q")
    with closing(database(tmp_path / "store.sqlite")) as file:
        file.execute("UPDATE program SET program = ? WHERE id = 1", (encode(from_program(UNSAFE)),))
    for _ in range(2):
        with reopen() as context, context.session() as session:
            assert set(context.programs) == {2}
            assert "unsafe" in context.not_restored["/p"]
            assert ["/p", "lost", 0] in session.call("pins")
            assert "not restored" in str(refused(errno.ENOENT, session.call, "open_pin", path="/p"))
            assert info(session, load(session, PASS))["id"] >= 3  # its number is not given away
    with reopen() as context, context.session() as session:
        session.call("unpin", path="/p")
    with reopen() as context:
        assert not context.not_restored
    with closing(database(tmp_path / "store.sqlite")) as file:
        assert file.execute("SELECT id FROM program").fetchall() == [(2,)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE program SET program = x'a0'", "not a map of exactly"),
        ("UPDATE program SET program = x'ff'", "byte 0"),
        ("UPDATE program SET maps = x'80'", "maps"),
        ("UPDATE program SET engine = 'kernel'", "no engine"),
        ("UPDATE map SET spec = x'a0'", "map 1 is not restored"),
        ("UPDATE element SET key = x'00'", "map 1 is not restored"),
        ("DELETE FROM program", "not in the store"),
    ],
)
def test_damage(reopen: Reopen, tmp_path: Path, change: str, reason: str) -> None:
    with reopen() as context, context.session() as session:
        program = load(session, COUNTER)
        session.call("program_run", handle=program, packet=b"x", repeat=1)
        session.call("pin", handle=program, path="/p")
    with closing(database(tmp_path / "store.sqlite")) as file:
        file.execute(change)
    with reopen() as context:
        assert (context.programs, context.maps) == ({}, {})
        assert reason in context.not_restored["/p"]


def test_files_that_are_no_store(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(b"x" * 8192)
    path.chmod(0o600)
    assert "no store" in str(refused(errno.EINVAL, Store, path))
    path.unlink()
    Store(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(database(path)) as file:
        file.execute("UPDATE schema SET version = 2")
    assert "schema 2" in str(refused(errno.EINVAL, Store, path))
    path.chmod(0o644)
    refused(errno.EPERM, Store, path)
    refused(errno.EPERM, Store, "/dev/null")
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        Store(link)
