"""Records that programs write: ``ring_buffer__*`` and ``perf_buffer__*`` of libbpf."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from prevail_py.host.context.model import Connection, HostError
from prevail_py.libbpf.backend import current
from prevail_py.libbpf.errors import number, pointer, refuse

__all__ = [
    "perf_buffer",
    "perf_buffer__buffer_cnt",
    "perf_buffer__consume",
    "perf_buffer__consume_buffer",
    "perf_buffer__free",
    "perf_buffer__new",
    "perf_buffer__new_raw",
    "perf_buffer__poll",
    "ring_buffer",
    "ring_buffer__add",
    "ring_buffer__consume",
    "ring_buffer__free",
    "ring_buffer__new",
    "ring_buffer__poll",
]

SampleCallback: TypeAlias = Callable[[Any, bytes, int], int | None]
PerfSampleCallback: TypeAlias = Callable[[Any, int, bytes, int], None]
PerfLostCallback: TypeAlias = Callable[[Any, int, int], None]
PerfEventCallback: TypeAlias = Callable[[Any, int, bytes], Any]

_PERF_RECORD_LOST, _PERF_RECORD_SAMPLE = 2, 9

_AT_A_TIME: Final = 1024
_SLICE: Final = 200  # milliseconds that one of several buffers is waited for


class ring_buffer:
    """Ring buffers that are read together: descriptor, callback, context of each."""

    def __init__(self, backend: Connection) -> None:
        self.backend: Final = backend
        self.rings: Final[list[tuple[int, SampleCallback, Any]]] = []

    def add(self, map_fd: int, callback: SampleCallback, ctx: Any) -> None:
        """One more.  Raises OSError where the map is no ring buffer."""
        info = self.backend.call("info", handle=map_fd)
        if info["kind"] != "map" or info["spec"]["type"] != 27:
            raise refuse(errno.EINVAL, f"descriptor {map_fd} is no ring buffer")
        self.rings.append((self.backend.call("open_id", kind="map", id=info["id"]), callback, ctx))

    def consume(self, milliseconds: int) -> int:
        """How many records there were; waits for the first.  Raises OSError with what a callback returned."""
        deadline = time.monotonic() + milliseconds / 1000
        taken = 0
        while True:
            left = max(0, int(1000 * (deadline - time.monotonic())))
            for fd, callback, ctx in self.rings:
                wait = 0 if taken else left if len(self.rings) == 1 else min(left, _SLICE // len(self.rings))
                for (record,) in self.backend.call("records_take", handle=fd, limit=_AT_A_TIME, milliseconds=wait):
                    taken += 1
                    result = callback(ctx, record, len(record)) or 0
                    if result < 0:
                        raise refuse(-result)
            if taken or time.monotonic() >= deadline:
                return taken


@pointer
def ring_buffer__new(map_fd: int, sample_cb: SampleCallback, ctx: Any = None) -> ring_buffer:
    """Read a ring buffer: ``sample_cb(ctx, data, size)`` for each record, which may end the reading with -errno."""
    made = ring_buffer(current())
    made.add(map_fd, sample_cb, ctx)
    return made


@number
def ring_buffer__add(rb: ring_buffer, map_fd: int, sample_cb: SampleCallback, ctx: Any = None) -> int:
    """Read another one, too."""
    rb.add(map_fd, sample_cb, ctx)
    return 0


@number
def ring_buffer__poll(rb: ring_buffer, timeout_ms: int) -> int:
    """Wait for records (for ever where ``timeout_ms`` is negative) and consume them: how many there were."""
    return _poll(rb.consume, timeout_ms)


@number
def ring_buffer__consume(rb: ring_buffer) -> int:
    """Consume what is there."""
    return rb.consume(0)


def _poll(consume: Callable[[int], int], timeout_ms: int) -> int:
    if timeout_ms >= 0:
        return consume(timeout_ms)
    while True:
        taken = consume(10_000)
        if taken:
            return taken


def ring_buffer__free(rb: ring_buffer | None) -> None:
    """Give the descriptors back."""
    if rb is not None:
        for fd, _, _ in rb.rings:
            _close(rb.backend, fd)
        rb.rings.clear()


def _close(backend: Connection, fd: int) -> None:
    try:
        backend.call("close", handle=fd)
    except HostError as error:
        if error.errno not in (errno.ECONNRESET, errno.EBADF):
            raise


class perf_buffer:
    """The events of all CPUs in a perf event array."""

    def __init__(
        self, backend: Connection, fd: int, sample: PerfSampleCallback, lost: PerfLostCallback | None, ctx: Any
    ) -> None:
        self.backend: Final = backend
        self.fd: Final = fd
        self.sample: Final = sample
        self.lost: Final = lost
        self.ctx: Final = ctx
        self.cpus: Final[int] = backend.call("status")["cpus"]

    def consume(self, milliseconds: int) -> int:
        """How many records there were; waits for the first."""
        wait = min(milliseconds, 10_000)
        rows = self.backend.call("records_take", handle=self.fd, limit=_AT_A_TIME, milliseconds=wait)
        taken = 0
        for cpu, data in rows:
            if isinstance(data, bytes):
                taken += 1
                self.sample(self.ctx, cpu, data, len(data))
            elif self.lost is not None:
                self.lost(self.ctx, cpu, data)
        return taken


@pointer
def perf_buffer__new(
    map_fd: int,
    page_cnt: int,
    sample_cb: PerfSampleCallback,
    lost_cb: PerfLostCallback | None = None,
    ctx: Any = None,
) -> perf_buffer:
    """Open the events of all CPUs: ``sample_cb(ctx, cpu, data, size)``, ``lost_cb(ctx, cpu, count)``.

    ``page_cnt`` must be a power of two; how much a host keeps does not depend on it.
    """
    if page_cnt <= 0 or page_cnt & (page_cnt - 1):
        raise refuse(errno.EINVAL, f"page_cnt: {page_cnt} is no power of two")
    backend = current()
    info = backend.call("info", handle=map_fd)
    if info["kind"] != "map" or info["spec"]["type"] != 4:
        raise refuse(errno.EINVAL, f"descriptor {map_fd} is no perf event array")
    made = perf_buffer(backend, backend.call("open_id", kind="map", id=info["id"]), sample_cb, lost_cb, ctx)
    for cpu in range(min(made.cpus, info["spec"]["max_entries"] or made.cpus)):
        backend.call("records_open", handle=made.fd, cpu=cpu)
    return made


@number
def perf_buffer__poll(pb: perf_buffer, timeout_ms: int) -> int:
    """Wait for records and consume them: how many there were."""
    return _poll(pb.consume, timeout_ms)


@number
def perf_buffer__consume(pb: perf_buffer) -> int:
    """Consume what is there: 0, as libbpf has it."""
    pb.consume(0)
    return 0


@number
def perf_buffer__consume_buffer(pb: perf_buffer, buf_idx: int) -> int:
    """Consume what is there of a CPU: of the first one everything, since a host runs all programs there."""
    if not 0 <= buf_idx < pb.cpus:
        raise refuse(errno.EINVAL, f"no CPU {buf_idx}")
    if buf_idx == 0:
        pb.consume(0)
    return 0


def perf_buffer__new_raw(
    map_fd: int, page_cnt: int, attr: None, event_cb: PerfEventCallback, ctx: Any = None
) -> perf_buffer | None:
    """The same with whole events, ``event_cb(ctx, cpu, event)``: a ``struct perf_event_header`` and what follows it.

    What the callback returns is not looked at: reading goes on.
    """

    def sample(ctx: Any, cpu: int, data: bytes, size: int) -> None:
        event_cb(ctx, cpu, _event(_PERF_RECORD_SAMPLE, struct.pack("<I", size) + data))

    def lost(ctx: Any, cpu: int, count: int) -> None:
        event_cb(ctx, cpu, _event(_PERF_RECORD_LOST, struct.pack("<QQ", 0, count)))

    return perf_buffer__new(map_fd, page_cnt, sample, lost, ctx)


def _event(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 8)
    return struct.pack("<IHH", kind, 0, 8 + len(body)) + body


def perf_buffer__buffer_cnt(pb: perf_buffer) -> int:
    """How many CPUs there are."""
    return pb.cpus


def perf_buffer__free(pb: perf_buffer | None) -> None:
    """Give the descriptor back."""
    if pb is not None:
        _close(pb.backend, pb.fd)
