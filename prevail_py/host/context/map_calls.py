"""Calls about maps: their elements, one by one and in batches, and the records that programs write."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from prevail_py.host.context.model import HostedLink, HostedMap, HostError
from prevail_py.host.service.programs import to_map
from prevail_py.vm.maps import commands
from prevail_py.vm.maps.model import MapError, key_of
from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray

if TYPE_CHECKING:
    from prevail_py.host.canonical import Plain
    from prevail_py.host.context.session import Session

__all__ = [
    "map_create",
    "map_delete",
    "map_delete_batch",
    "map_freeze",
    "map_lookup",
    "map_lookup_batch",
    "map_next_key",
    "map_take",
    "map_update",
    "map_update_batch",
    "records_open",
    "records_take",
]

MAX_BATCH: Final = 1 << 16
MAX_WAIT: Final = 10_000
_RECORD_BYTES: Final = 4 << 20


def map_create(session: Session, spec: Plain) -> int:
    """A new map with this definition."""
    wanted = to_map(spec)
    with session.context.lock:
        return session.adopt(session.context.create_map(wanted, session.peer.uid))


def map_lookup(session: Session, handle: int, key: bytes, flags: int, value: bytes | None) -> bytes:
    """The value with a key, as ``bpf(2)`` gives it; ``value`` is what to ask a bloom filter for."""
    with session.context.lock:
        hosted = session.map(handle)
        return _lookup(hosted, key, flags, value or b"")


def map_update(session: Session, handle: int, key: bytes, value: bytes, flags: int) -> None:
    """Set an element.  Elements of program arrays and maps of maps are given by four bytes with a handle."""
    with session.context.lock:
        _update(session, session.map(handle), key, value, flags)


def map_delete(session: Session, handle: int, key: bytes) -> None:
    """Remove an element."""
    with session.context.lock:
        _delete(session, session.map(handle), key)


def map_freeze(session: Session, handle: int) -> None:
    """Let no client change the elements any more.  Programs still may, as with ``BPF_MAP_FREEZE``."""
    with session.context.lock:
        hosted = _changeable(session.map(handle), errno.EBUSY)
        hosted.frozen = True
        session.context.sync()


def _changeable(hosted: HostedMap, number: int = errno.EPERM) -> HostedMap:
    if hosted.frozen:
        raise HostError(number, f"map {hosted.map.spec.name!r} is frozen")
    return hosted


def map_next_key(session: Session, handle: int, key: bytes | None) -> bytes:
    """The key after ``key``; ENOENT after the last."""
    with session.context.lock:
        return commands.next_key(session.map(handle).map, key)


def map_take(session: Session, handle: int, key: bytes, flags: int) -> bytes:
    """Look an element up and remove it."""
    with session.context.lock:
        return commands.take(_changeable(session.map(handle)).map, key, flags)


def map_lookup_batch(session: Session, handle: int, at: int, count: int) -> Plain:
    """``count`` keys and values from place ``at`` on, and the place of the next, None at the end.

    An element that moves meanwhile may be missed or given twice, as in Linux.
    """
    with session.context.lock:
        hosted = session.map(handle)
        keys = _all_keys(hosted)
        chosen = keys[at : at + _batch(count)] if at >= 0 else []
        values: list[Plain] = [_lookup(hosted, key, 0, b"") for key in chosen]
        after = at + len(chosen)
        return {"keys": list(chosen), "values": values, "next": after if after < len(keys) else None}


def map_update_batch(session: Session, handle: int, keys: list[Plain], values: list[Plain], flags: int) -> int:
    """Set elements in order; how many, up to the first that is refused."""
    if len(keys) != len(values):
        raise HostError(errno.EINVAL, "as many keys as values")
    with session.context.lock:
        hosted = session.map(handle)
        return _each(keys, lambda place, key: _update(session, hosted, key, _bytes(values[place]), flags))


def map_delete_batch(session: Session, handle: int, keys: list[Plain]) -> int:
    """Remove elements in order; how many, up to the first that is not there."""
    with session.context.lock:
        hosted = session.map(handle)
        return _each(keys, lambda place, key: _delete(session, hosted, key))


def records_open(session: Session, handle: int, cpu: int) -> None:
    """Open the event of a CPU in a perf event array: from now on programs can write to it."""
    with session.context.lock:
        events = session.map(handle).map
        if not isinstance(events, PerfEventArray):
            raise HostError(errno.EINVAL, "not a perf event array")
        if not 0 <= cpu < min(events.entries, session.context.environment.cpus):
            raise HostError(errno.EINVAL, f"no event for CPU {cpu}")
        events.open.add(cpu)


def records_take(session: Session, handle: int, limit: int, milliseconds: int) -> Plain:
    """Up to ``limit`` records that programs wrote, the oldest first; waits for the first.

    Of a ring buffer they are ``[bytes]``, of a perf event array ``[cpu, bytes]`` and, first, ``[cpu, lost]`` with the
    number of records that nobody read in time.
    """
    deadline = time.monotonic() + min(max(milliseconds, 0), MAX_WAIT) / 1000
    with session.context.lock:
        hosted = session.map(handle)
        while True:
            taken = _records(hosted, limit)
            left = deadline - time.monotonic()
            if taken or left <= 0:
                return taken
            session.context.records.wait(left)


def _lookup(hosted: HostedMap, key: bytes, flags: int, value: bytes) -> bytes:
    if not isinstance(hosted.map, ProgramArray | MapOfMaps):
        return commands.lookup(hosted.map, key, flags, value=value)
    entry = hosted.entries.get(key_of(hosted.map.spec, key))
    if entry is None:
        raise HostError(errno.ENOENT, "no element has this key")
    return entry.id.to_bytes(4, "little")


def _update(session: Session, hosted: HostedMap, key: bytes, value: bytes, flags: int) -> None:
    _changeable(hosted)
    if not isinstance(hosted.map, ProgramArray | MapOfMaps):
        commands.update(hosted.map, key, value, flags)
        return
    if len(value) != 4 or flags not in (0, 1, 2):
        raise HostError(errno.EINVAL, "an element is four bytes with a handle")
    key = key_of(hosted.map.spec, key)
    if (flags == 1 and key in hosted.entries) or (flags == 2 and key not in hosted.entries):
        raise HostError(errno.EEXIST if flags == 1 else errno.ENOENT, "as the flags demand")
    entry = session.get(int.from_bytes(value, "little"))
    if isinstance(entry, HostedLink):
        raise HostError(errno.EINVAL, "a link is no element")
    session.context.set_entry(hosted, key, entry)


def _delete(session: Session, hosted: HostedMap, key: bytes) -> None:
    _changeable(hosted)
    if isinstance(hosted.map, ProgramArray | MapOfMaps):
        session.context.clear_entry(hosted, key_of(hosted.map.spec, key))
    else:
        commands.delete(hosted.map, key)


def _all_keys(hosted: HostedMap) -> list[bytes]:
    if not hasattr(hosted.map, "__getitem__"):
        raise HostError(errno.EOPNOTSUPP, "the map has no keys")
    return list(hosted.map)  # type: ignore[call-overload, no-any-return]


def _batch(count: int) -> int:
    if not 0 < count <= MAX_BATCH:
        raise HostError(errno.EINVAL, f"a batch has 1 to {MAX_BATCH} elements")
    return count


def _bytes(value: Plain) -> bytes:
    if not isinstance(value, bytes):
        raise HostError(errno.EINVAL, "a list of bytes has something else in it")
    return value


def _each(keys: list[Plain], action: Callable[[int, bytes], None]) -> int:
    _batch(len(keys))
    for place, key in enumerate(keys):
        try:
            action(place, _bytes(key))
        except (HostError, MapError):
            if place == 0:
                raise
            return place
    return len(keys)


def _records(hosted: HostedMap, limit: int) -> list[Plain]:
    if limit <= 0:
        raise HostError(errno.EINVAL, "limit: a positive number")
    taken: list[Plain] = []
    size = 0
    match hosted.map:
        case RingBuffer() as ring:
            taken += [[record] for record in ring.take(limit, _RECORD_BYTES)]
        case PerfEventArray() as events:
            if hosted.lost:
                taken.append([0, hosted.lost])
                hosted.lost = 0
            while events.records and len(taken) < limit and size < _RECORD_BYTES:
                found = events.records.pop(0)
                size += len(found.data) + len(found.extra)
                taken.append([found.cpu, found.data + found.extra])
        case _:
            raise HostError(errno.EINVAL, "the map holds no records")
    return taken
