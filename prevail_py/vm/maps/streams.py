"""Maps that programs write records to: perf event arrays and ring buffers.  What was written is a log for the user."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import require

__all__ = ["PerfEventArray", "PerfRecord", "RingBuffer"]


@dataclass(frozen=True, slots=True)
class PerfRecord:
    """What one ``bpf_perf_event_output`` wrote: ``data``, then ``extra`` bytes of the packet it asked to append."""

    cpu: int
    data: bytes
    extra: bytes = b""


class PerfEventArray:
    """One event per CPU (BPF_MAP_TYPE_PERF_EVENT_ARRAY), all of them open unless the user says otherwise.

    ``records`` holds everything that was written, in order.
    """

    def __init__(self, spec: MapSpec, cpus: int) -> None:
        """Where ``max_entries`` is 0 there is an entry for each CPU, as libbpf makes it."""
        require(spec, spec.key_size == 4 and spec.value_size == 4, "keys and values have 4 bytes")
        self.spec = spec
        self.entries = spec.max_entries or cpus
        self.open: set[int] = set(range(min(self.entries, cpus)))
        self.records: list[PerfRecord] = []

    def __repr__(self) -> str:
        return f"<perf event array {self.spec.name!r}: {len(self.records)} records>"

    def output(self, index: int, record: PerfRecord) -> int:
        """Write a record to the event at ``index``: 0 or a negative error number (``__bpf_perf_event_output``)."""
        if index >= self.entries:
            return -errno.E2BIG
        if index not in self.open:
            return -errno.ENOENT
        if index != record.cpu:
            return -errno.EOPNOTSUPP
        self.records.append(record)
        return 0


_HEADER: Final = 8
_DISCARDED: Final = None


class RingBuffer:
    """``max_entries`` bytes shared by all CPUs (BPF_MAP_TYPE_RINGBUF; kernel/bpf/ringbuf.c).

    Each record takes its size and 8 bytes of header, rounded up to 8 bytes, from when it is reserved until the user
    has read it.  Records are read in the order in which they were reserved, and none before an earlier one that is not
    submitted yet.  ``consumed`` counts the bytes that were read.
    """

    def __init__(self, spec: MapSpec) -> None:
        require(spec, spec.key_size == 0 and spec.value_size == 0, "a ring buffer has neither keys nor values")
        size = spec.max_entries
        require(spec, size >= 4096 and size & (size - 1) == 0, "the size is a power of 2 and a multiple of 4096")
        self.spec = spec
        self._used = 0
        self.consumed = 0
        self._next = 0
        self._records: dict[int, tuple[int, bytes | None]] = {}  # by number: bytes taken, contents once submitted
        self._busy: set[int] = set()

    def __repr__(self) -> str:
        return f"<ring buffer {self.spec.name!r}: {len(self._records)} records, {self._used} bytes>"

    @property
    def used(self) -> int:
        """Bytes that records and their headers take."""
        return self._used

    def reserve(self, size: int) -> int | None:
        """Make room for a record of ``size`` bytes and give its number; None where there is no room."""
        taken = (size + _HEADER + 7) & ~7
        # Linux keeps the difference of the positions below the size: a buffer is never completely full.
        if self._used + taken > self.spec.max_entries - 1:
            return None
        number = self._next
        self._next += 1
        self._used += taken
        self._records[number] = (taken, _DISCARDED)
        self._busy.add(number)
        return number

    def submit(self, number: int, content: bytes) -> None:
        """Let the user read a reserved record."""
        self._busy.remove(number)
        self._records[number] = (self._records[number][0], content)

    def discard(self, number: int) -> None:
        """Drop a reserved record: the user will skip it."""
        self._busy.remove(number)

    def take(self, limit: int, size: int) -> list[bytes]:
        """At most ``limit`` records, and not many more than ``size`` bytes, the oldest first."""
        taken: list[bytes] = []
        records = self.drain()
        while len(taken) < limit and size > 0 and (record := next(records, None)) is not None:
            taken.append(record)
            size -= len(record)
        return taken

    def drain(self) -> Iterator[bytes]:
        """Read the records that can be read, which makes room for new ones."""
        for number in list(self._records):
            if number in self._busy:
                return
            taken, content = self._records.pop(number)
            self._used -= taken
            self.consumed += taken
            if content is not _DISCARDED:
                yield content
