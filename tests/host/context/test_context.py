"""Objects of a host: handles, references, numbers, pins, elements that are objects, runs and statistics."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from prevail_py.host.context.context import MAX_MEMORY, ExecutionContext
from prevail_py.host.context.model import Peer
from prevail_py.host.context.protocol import CALLS
from prevail_py.host.context.session import MAX_HANDLES
from prevail_py.objects.program import MapSpec
from prevail_py.objects.text import assemble
from prevail_py.vm.outcome import Trap, TrapKind, Trapped
from tests.host.context.tools import ARRAY, COUNTER, DROP, PASS, UNSAFE, info, load, new_map, refused

JUMPS = MapSpec("jumps", 3, 4, 4, 2)
OUTER = MapSpec("outer", 12, 4, 4, 2, inner=ARRAY)


def test_objects_live_as_long_as_something_refers_to_them(context: ExecutionContext) -> None:
    with context.session() as session:
        program = load(session, COUNTER)
        (counter,) = info(session, program)["maps"]
        session.call("close", handle=1)  # the map, which the program still uses
        assert set(context.maps) == {counter}
        session.call("pin", handle=program, path="kept")
        session.call("close", handle=program)
        assert set(context.programs) == {1}
        session.call("unpin", path="kept")
    assert (context.maps, context.programs) == ({}, {})


def test_a_session_takes_its_handles_along(context: ExecutionContext) -> None:
    one, other = context.session(), context.session()
    load(one, COUNTER)
    assert other.call("open_id", kind="program", id=1) == 1
    one.close()
    assert info(other, 1)["references"] == 1
    refused(errno.EBADF, one.call, "pins")
    other.close()
    assert not context.programs


def test_numbers_are_given_once(context: ExecutionContext) -> None:
    with context.session() as session:
        new_map(session)
        session.call("close", handle=1)
        second = new_map(session)
        assert info(session, second)["id"] == 2
        assert session.call("next_id", kind="map", after=0) == 2
        refused(errno.ENOENT, session.call, "next_id", kind="map", after=2)
        refused(errno.ENOENT, session.call, "open_id", kind="map", id=1)
        refused(errno.EINVAL, session.call, "next_id", kind="pipe", after=0)


def test_runs_and_statistics(context: ExecutionContext) -> None:
    with context.session() as session:
        program = load(session, COUNTER)
        result = session.call("program_run", handle=program, packet=bytes(60), repeat=3)
        assert (result["value"], result["packet"]) == (2, bytes(60))
        found = info(session, program)
        assert (found["run_count"], found["tag"], found["engine"]) == (3, "c7946f8ca3805e04", "interpreter")
        assert found["run_time"] > 0
        value = session.call("map_lookup", handle=1, key=bytes(4), flags=0)
        assert value == (3).to_bytes(8, "little") + (180).to_bytes(8, "little")
        refused(errno.EINVAL, session.call, "program_run", handle=program, packet=b"", repeat=0)
        refused(errno.EINVAL, session.call, "program_run", handle=program, context=bytes(99), repeat=1)


@pytest.mark.parametrize("engine", ["interpreter", "source", "jit-O0"])
def test_engines(context: ExecutionContext, engine: str) -> None:
    with context.session() as session:
        program = load(session, COUNTER, engine=engine)
        assert session.call("program_run", handle=program, packet=bytes(9), repeat=2)["value"] == 2
        assert session.call("map_lookup", handle=1, key=bytes(4), flags=0)[0] == 2
        refused(errno.EINVAL, load, session, engine="kernel")


def test_the_clock_is_the_real_one(context: ExecutionContext) -> None:
    with context.session() as session:
        program = load(session, assemble("call 5\nr0 >>= 32\nexit", name="clock"))
        before = time.monotonic_ns() >> 32
        assert before <= session.call("program_run", handle=program, packet=b"", repeat=1)["value"] <= before + 1


def test_what_does_not_end_is_stopped(context: ExecutionContext) -> None:
    with context.session() as session:
        endless = load(
            session, assemble("again:\nr1 = 1\nif r1 == 1 goto again\nr0 = 2\nexit", name="endless"), engine="source"
        )
        refused(errno.ETIME, session.call, "program_run", handle=endless, packet=b"", repeat=1)


def test_runs_without_end(context: ExecutionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked for them may be gone."""
    monkeypatch.setattr("prevail_py.host.context.program_calls.MAX_SECONDS", 0.05)
    with context.session() as session:
        program = load(session)
        error = refused(errno.ETIME, session.call, "program_run", handle=program, packet=b"", repeat=1 << 20)
        assert "0.05 s" in str(error)
        assert 0 < info(session, program)["run_count"] < 1 << 20


def test_a_program_that_betrays_its_verdict_never_runs_again(
    context: ExecutionContext, caplog: pytest.LogCaptureFixture
) -> None:
    with context.session() as session:
        handle = load(session)
        hosted = context.programs[1]

        class Traitor:
            def run(self, **arguments: Any) -> Any:
                execution = good.run(**arguments)
                return execution._replace(outcome=Trapped(Trap(TrapKind.OUT_OF_BOUNDS, 0, "planted")))

        good, hosted.loaded = hosted.loaded, Traitor()
        error = refused(errno.EFAULT, session.call, "program_run", handle=handle, packet=b"", repeat=1)
        assert "proved SAFE but trapped" in str(error)
        assert "planted" in caplog.text
        hosted.loaded = good
        refused(errno.EFAULT, session.call, "program_run", handle=handle, packet=b"", repeat=1)
        assert "planted" in info(session, handle)["broken"]


# Elements that are objects. ----------


def test_program_arrays(context: ExecutionContext) -> None:
    """Tail calls lead where the element says; the array is emptied when nobody outside can reach it any more."""
    caller = replace(assemble("r2 = map[idx:0] ll\nr3 = 0\ncall 12\nr0 = 7\nexit", name="caller"), maps=(JUMPS,))
    with context.session() as session:
        jumps = new_map(session, JUMPS)
        first = load(session, caller, [jumps])
        run = {"handle": first, "packet": b"", "repeat": 1}
        assert session.call("program_run", **run)["value"] == 7
        target = load(session, DROP)
        key = bytes(4)
        session.call("map_update", handle=jumps, key=key, value=target.to_bytes(4, "little"), flags=0)
        assert session.call("program_run", **run)["value"] == 1
        assert session.call("map_lookup", handle=jumps, key=key, flags=0) == (2).to_bytes(4, "little")
        itself = first.to_bytes(4, "little")
        session.call("map_update", handle=jumps, key=(1).to_bytes(4, "little"), value=itself, flags=0)  # a circle
        session.call("close", handle=target)
        assert set(context.programs) == {1, 2}
        session.call("map_delete", handle=jumps, key=key)
        assert set(context.programs) == {1}
        refused(errno.ENOENT, session.call, "map_delete", handle=jumps, key=key)
        refused(errno.ENOENT, session.call, "map_lookup", handle=jumps, key=key, flags=0)
    assert (context.maps, context.programs) == ({}, {})


def test_tail_calls_stay_within_a_kind(context: ExecutionContext) -> None:
    other = assemble("r0 = 0\nexit", program_type="socket_filter", name="filter")
    with context.session() as session:
        jumps, key = new_map(session, JUMPS), bytes(4)
        session.call("map_update", handle=jumps, key=key, value=load(session).to_bytes(4, "little"), flags=0)
        wrong = load(session, other).to_bytes(4, "little")
        assert "tail calls" in str(
            refused(errno.EINVAL, session.call, "map_update", handle=jumps, key=key, value=wrong, flags=0)
        )
        refused(errno.EINVAL, load, session, replace(other, maps=(JUMPS,)), [jumps])
        mapped = jumps.to_bytes(4, "little")
        refused(errno.EINVAL, session.call, "map_update", handle=jumps, key=key, value=mapped, flags=0)


def test_maps_of_maps(context: ExecutionContext) -> None:
    with context.session() as session:
        outer, inner, key = new_map(session, OUTER), new_map(session), bytes(4)
        session.call("map_update", handle=outer, key=key, value=inner.to_bytes(4, "little"), flags=0)
        session.call("close", handle=inner)
        assert session.call("map_lookup", handle=outer, key=key, flags=0) == (2).to_bytes(4, "little")
        others = (
            replace(ARRAY, value_size=16),
            replace(ARRAY, max_entries=5),
            replace(ARRAY, flags=128),
            replace(ARRAY, type=1),
        )
        for spec in others:
            wrong = new_map(session, spec).to_bytes(4, "little")
            refused(errno.EINVAL, session.call, "map_update", handle=outer, key=key, value=wrong, flags=0)
        spare = new_map(session).to_bytes(4, "little")
        refused(errno.EEXIST, session.call, "map_update", handle=outer, key=key, value=spare, flags=1)
        session.call("map_delete", handle=outer, key=key)
        refused(errno.ENOENT, session.call, "map_update", handle=outer, key=key, value=spare, flags=2)
    assert not context.maps


# Elements in batches, and records. ----------


def test_batches(context: ExecutionContext) -> None:
    with context.session() as session:
        table = new_map(session, MapSpec("table", 1, 4, 4, 10))
        keys = [number.to_bytes(4, "little") for number in range(12)]
        assert session.call("map_update_batch", handle=table, keys=keys, values=keys, flags=0) == 10
        first = session.call("map_lookup_batch", handle=table, at=0, count=7)
        rest = session.call("map_lookup_batch", handle=table, at=first["next"], count=7)
        assert (first["keys"] + rest["keys"], rest["next"]) == (keys[:10], None)
        assert rest["values"] == rest["keys"]
        assert session.call("map_delete_batch", handle=table, keys=keys[9:]) == 1
        refused(errno.ENOENT, session.call, "map_delete_batch", handle=table, keys=keys[9:])
        assert session.call("map_next_key", handle=table) == keys[0]
        assert session.call("map_take", handle=table, key=keys[3], flags=0) == keys[3]
        refused(errno.ENOENT, session.call, "map_lookup", handle=table, key=keys[3], flags=0)


def test_records_wake_whoever_waits(context: ExecutionContext) -> None:
    ring = MapSpec("ring", 27, 0, 0, 4096)
    writer = assemble(
        "r1 = 42\n*(u64 *)(r10 - 8) = r1\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\nr1 = map[idx:0] ll\ncall 130\n"
        "r0 = 2\nexit",
        name="writer",
    )
    with context.session() as session, context.session() as reader:
        program = load(session, replace(writer, maps=(ring,)))
        handle = reader.call("open_id", kind="map", id=1)
        assert reader.call("records_take", handle=handle, limit=9, milliseconds=0) == []
        answers: list[Any] = []
        thread = threading.Thread(
            target=lambda: answers.append(reader.call("records_take", handle=handle, limit=9, milliseconds=10_000))
        )
        thread.start()
        session.call("program_run", handle=program, packet=b"", repeat=1)
        thread.join(timeout=10)
        assert answers == [[[(42).to_bytes(8, "little")]]]


def test_events_are_lost_where_nobody_reads(context: ExecutionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prevail_py.host.context.context.MAX_RECORDS", 3)
    events = MapSpec("events", 4, 4, 4, 1)
    writer = assemble(
        "r6 = 7\n*(u64 *)(r10 - 8) = r6\nr4 = r10\nr4 += -8\nr5 = 8\nr3 = 0xffffffff ll\nr2 = map[idx:0] ll\ncall 25\n"
        "r0 = 2\nexit",
        name="writer",
    )
    with context.session() as session:
        program = load(session, replace(writer, maps=(events,)))
        run = {"handle": program, "packet": b"", "repeat": 5}
        session.call("program_run", **run)
        assert session.call("records_take", handle=1, limit=9, milliseconds=0) == []  # nobody had opened it
        session.call("records_open", handle=1, cpu=0)
        refused(errno.EINVAL, session.call, "records_open", handle=1, cpu=1)
        session.call("program_run", **run)
        record = [0, (7).to_bytes(8, "little")]
        assert session.call("records_take", handle=1, limit=9, milliseconds=0) == [[0, 2], record, record, record]


# What is refused. ----------


def test_unsafe_programs(context: ExecutionContext) -> None:
    with context.session() as session:
        error = refused(errno.EACCES, load, session, UNSAFE)
        assert "context-access" in error.log or "context" in error.log
        refused(errno.EACCES, load, session, replace(PASS, program_type="no_such_type"))
        assert not context.programs


def test_arguments_have_their_types(context: ExecutionContext) -> None:
    wrong: dict[type, Any] = {int: "x", str: 1, bytes: "x", dict: [], list: {}, bool: 1}
    with context.session() as session:
        for name, call in CALLS.items():
            if call.arguments:
                refused(errno.EINVAL, session.call, name)
            refused(errno.EINVAL, session.call, name, surplus=1)
            arguments: dict[str, Any] = {each: wrong[kind] for each, kind in call.arguments.items()}
            if arguments:
                refused(errno.EINVAL, session.call, name, **arguments)
        refused(errno.ENOSYS, session.call, "reboot")
        refused(errno.EBADF, session.call, "info", handle=1)
        refused(errno.EINVAL, session.call, "map_create", spec={})
        new_map(session)
        refused(errno.EINVAL, session.call, "program_run", handle=1, repeat=1)
        refused(errno.EINVAL, session.call, "link_detach", link=1)


def test_looking_only(context: ExecutionContext) -> None:
    with context.session() as session, context.session(Peer(1, 1, 1), may_change=False) as reader:
        load(session, COUNTER)
        handle = reader.call("open_id", kind="map", id=1)
        assert reader.call("map_lookup", handle=handle, key=bytes(4), flags=0) == bytes(16)
        allowed = {name for name, call in CALLS.items() if not call.changes}
        for name in CALLS.keys() - allowed:
            refused(errno.EPERM, reader.call, name)
        assert allowed == {
            "close", "info", "next_id", "open_id", "open_pin", "pins", "sessions", "status", "map_lookup",
            "map_next_key", "map_lookup_batch", "nonce", "program_code",
        }  # fmt: skip


def test_limits(context: ExecutionContext) -> None:
    with context.session() as session:
        new_map(session)
        for _ in range(MAX_HANDLES - 1):
            session.call("open_id", kind="map", id=1)
        refused(errno.EMFILE, session.call, "open_id", kind="map", id=1)
        refused(errno.EMFILE, new_map, session)
    assert not context.maps
    with context.session() as session:
        new_map(session, MapSpec("big", 1, 8, 1 << 16, MAX_MEMORY >> 17))
        refused(errno.ENOMEM, new_map, session, MapSpec("big", 1, 8, 1 << 16, MAX_MEMORY >> 17))
        session.call("close", handle=1)
        new_map(session, MapSpec("big", 1, 8, 1 << 16, MAX_MEMORY >> 17))
        refused(errno.EINVAL, new_map, session, replace(ARRAY, key_size=3))
        refused(errno.EOPNOTSUPP, new_map, session, replace(ARRAY, type=7))
        for path in ("", "a\0b", "x" * 5000):
            refused(errno.EINVAL, session.call, "pin", handle=2, path=path)
