"""The packet: a buffer with room before and after, and the part of it that the program may touch."""

from __future__ import annotations

from typing import Final

from prevail_py.vm.memory import AddressSpace, Region

__all__ = ["HEADROOM", "TAILROOM", "Packet"]

HEADROOM: Final = 256
"""Bytes before a packet that it can grow into (XDP_PACKET_HEADROOM in Linux)."""

TAILROOM: Final = 320
"""Bytes at the end of each frame that are not for packets (struct skb_shared_info in Linux on 64-bit machines)."""

_PAGE: Final = 4096


class Packet:
    """``frame[start:end]`` is the packet, ``frame[meta:start]`` its metadata, and both are accessible.

    The region changes with the extent: pointers into the old one are stale.  The frame takes as many pages as the
    packet needs, one for those that Linux would take in linear form.

    Two headers have a place of their own in socket buffers: ``frame[link:]`` begins with the link-layer header, which
    may lie before the packet, and ``frame[network:]`` with the network layer's.
    """

    def __init__(self, memory: AddressSpace, content: bytes, *, writable: bool) -> None:
        end = HEADROOM + len(content)
        buffer = bytearray(-(-(end + TAILROOM) // _PAGE) * _PAGE)
        buffer[HEADROOM:end] = content
        self._memory = memory
        self._writable = writable
        self.frame = memoryview(buffer)
        self.meta = self.start = HEADROOM
        self.end = end
        self.link = self.network = HEADROOM
        self.region: Region = memory.packet(self.frame, self.meta, self.end, writable=writable)

    @property
    def limit(self) -> int:
        """Where in the frame a packet must end."""
        return len(self.frame) - TAILROOM

    @property
    def data_meta(self) -> int:
        """The address of the metadata, which is that of the packet where there is none."""
        return self.region.base

    @property
    def data(self) -> int:
        """The address of the packet."""
        return self.region.base + self.start - self.meta

    @property
    def data_end(self) -> int:
        """The address after the packet."""
        return self.region.base + self.end - self.meta

    def __bytes__(self) -> bytes:
        return bytes(self.frame[self.start : self.end])

    def __len__(self) -> int:
        return self.end - self.start

    def move(self, *, meta: int | None = None, start: int | None = None, end: int | None = None) -> None:
        """Change the extent, or only make all pointers to the packet stale."""
        self.meta = self.meta if meta is None else meta
        self.start = self.start if start is None else start
        self.end = self.end if end is None else end
        self._memory.release(self.region)
        self.region = self._memory.packet(self.frame, self.meta, self.end, writable=self._writable)

    # Socket buffers, which have as much room as they need ----------------------------------------------------------

    def insert(self, offset: int, count: int) -> None:
        """Make the packet longer by ``count`` zero bytes at ``offset``; what lies before them moves forward."""
        if count > self.start:
            self._widen(count, 0)
        start = self.start - count
        self.frame[start : start + offset] = bytes(self.frame[self.start : self.start + offset])
        self.frame[start + offset : start + offset + count] = bytes(count)
        self.move(meta=start, start=start)

    def remove(self, offset: int, count: int) -> None:
        """Take out ``count`` bytes at ``offset``; what lies before them moves back."""
        start = self.start + count
        self.frame[start : start + offset] = bytes(self.frame[self.start : self.start + offset])
        self.move(meta=start, start=start)

    def resize(self, length: int) -> None:
        """Cut the end off, or add zeros to it."""
        if self.start + length > self.limit:
            self._widen(0, self.start + length - self.limit)
        end = self.start + length
        if end > self.end:
            self.frame[self.end : end] = bytes(end - self.end)
        self.move(end=end)

    def _widen(self, head: int, tail: int) -> None:
        """Another frame, with so much more room before and after; no pointer into the old one is of use."""
        head = -(-head // _PAGE) * _PAGE
        self.frame = memoryview(bytearray(head) + bytearray(self.frame) + bytearray(-(-tail // _PAGE) * _PAGE))
        self.link += head
        self.network += head
        self.move(meta=self.meta + head, start=self.start + head, end=self.end + head)
