"""Helpers that write records for user space: perf events and ring buffers."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.maps import map_argument
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps.streams import PerfEventArray, PerfRecord, RingBuffer
from prevail_py.vm.memory import Region

__all__ = [
    "perf_event_output",
    "ringbuf_discard",
    "ringbuf_output",
    "ringbuf_query",
    "ringbuf_reserve",
    "ringbuf_submit",
]

_F_CURRENT_CPU: Final = 0xFFFFFFFF
_CONTEXT_LENGTH: Final = 0xFFFFF << 32
_NO_AND_FORCE_WAKEUP: Final = 3


def perf_event_output(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Write a record to the event of a CPU; on a packet, with as many of its bytes as the flags ask for."""
    events, flags, data = map_argument(machine, arguments[1]), arguments[2].value, arguments[3].memory()
    assert isinstance(events, PerfEventArray)
    index, length = flags & 0xFFFFFFFF, (flags & _CONTEXT_LENGTH) >> 32
    if flags & ~(0xFFFFFFFF | (_CONTEXT_LENGTH if machine.packet is not None else 0)):
        return -errno.EINVAL
    extra = b""
    if machine.packet is not None and length:
        if length > len(machine.packet):
            return -errno.EFAULT
        extra = bytes(machine.packet)[:length]
    cpu = machine.environment.cpu
    return events.output(cpu if index == _F_CURRENT_CPU else index, PerfRecord(cpu, data, extra))


def ringbuf_output(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Copy a record into a ring buffer."""
    buffer, data, flags = _ring(machine, arguments[0]), arguments[1].memory(), arguments[3].value
    if flags & ~_NO_AND_FORCE_WAKEUP:
        return -errno.EINVAL
    number = buffer.reserve(len(data))
    if number is None:
        return -errno.EAGAIN
    buffer.submit(number, data)
    return 0


def ringbuf_reserve(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """Memory for a record, which must be submitted or discarded; null where there is no room."""
    buffer, size, flags = _ring(machine, arguments[0]), arguments[1].value, arguments[2].value
    if flags:
        return None
    number = buffer.reserve(size)
    if number is None:
        return None
    return machine.acquire(buffer, number, size)


def ringbuf_submit(machine: Machine, arguments: Sequence[Argument]) -> None:
    """Pass a record on to the user."""
    region = arguments[0].region
    assert region is not None
    buffer, number = machine.give_back(region)
    buffer.submit(number, bytes(region.data))


def ringbuf_discard(machine: Machine, arguments: Sequence[Argument]) -> None:
    """Drop a record."""
    region = arguments[0].region
    assert region is not None
    buffer, number = machine.give_back(region)
    buffer.discard(number)


def ringbuf_query(machine: Machine, arguments: Sequence[Argument]) -> int:
    """What is known about a ring buffer: 0 bytes to read, 1 its size, 2 and 3 the consumer and producer positions."""
    buffer = _ring(machine, arguments[0])
    match arguments[1].value:
        case 0:
            return buffer.used
        case 1:
            return buffer.spec.max_entries
        case 2:
            return buffer.consumed
        case 3:
            return buffer.consumed + buffer.used
        case _:
            return 0


def _ring(machine: Machine, argument: Argument) -> RingBuffer:
    buffer = map_argument(machine, argument)
    assert isinstance(buffer, RingBuffer)
    return buffer
