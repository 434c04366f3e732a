"""Read a ring buffer as its consumer, through the pages that the kernel shares (kernel/bpf/ringbuf.c).

The first page holds the consumer's position, which is ours to write, the second the producer's; then follow the data,
mapped twice in a row so that no record is ever broken.  A record has 8 bytes of header: its length with two flags,
busy and discarded, and the offset of its page.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final, TypeAlias

__all__ = ["Record", "drain"]

Record: TypeAlias = bytes | int
"""What a record holds; of one that was discarded only its size."""

_BUSY: Final = 1 << 31
_DISCARDED: Final = 1 << 30
_HEADER: Final = 8


def drain(descriptor: int, size: int) -> tuple[Record, ...]:
    """The records from the consumer's position up to the first that is still being written, which become free."""
    page = mmap.PAGESIZE
    records: list[Record] = []
    with (
        mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as consumer,
        mmap.mmap(descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page) as shared,
    ):
        (position,) = struct.unpack_from("=Q", consumer)
        (produced,) = struct.unpack_from("=Q", shared)
        while position < produced:
            start = page + position % size
            (header,) = struct.unpack_from("=I", shared, start)
            if header & _BUSY:
                break
            length = header & ~(_BUSY | _DISCARDED)
            content = shared[start + _HEADER : start + _HEADER + length]
            records.append(length if header & _DISCARDED else content)
            position += (_HEADER + length + 7) & ~7
        struct.pack_into("=Q", consumer, 0, position)
    return tuple(records)
