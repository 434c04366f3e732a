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
