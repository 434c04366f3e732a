"""Memory: regions at fixed addresses, and which of them a pointer may touch.

A pointer is a plain 64-bit address together with its *provenance*, the :class:`Region` it was derived from.  Whether
an access is allowed is decided by provenance, never by the address alone: an address that was computed out of one
region into another is still out of bounds, and a number that happens to equal an address is not a pointer.  Provenance
lives in shadow state: beside the registers (in the machine) and, for a pointer that was spilled to memory, in
:attr:`Region.pointers`.

Addresses are deterministic, so that a run can be repeated exactly.  Every region starts its own window of 4 GiB and is
at most 1 GiB long, so that at least 3 GiB separate any two regions; all windows lie between 2**40 and 2**62, far from
where an address would wrap around or change sign::

    1 << 40    context              4 << 40    functions, one window each
    2 << 40    stack, one window    5 << 40    map objects, one window each
               per frame            1 << 48    map values, one window per element and CPU
    3 << 40    packet               1 << 61    memory handed out by helpers, one window each

Regions are mutable records, for they are the machine's memory; identity is what tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Final

from prevail_py.vm.fault import Fault
from prevail_py.vm.outcome import TrapKind

__all__ = [
    "CONTEXT_BASE",
    "FRAME_SIZE",
    "MAX_REGION_SIZE",
    "PACKET_BASE",
    "STACK_BASE",
    "WINDOW",
    "AddressSpace",
    "Region",
    "RegionKind",
    "function_base",
    "map_object_base",
    "map_value_windows",
]

FRAME_SIZE: Final = 512
"""Bytes of stack that each function has of its own (RFC 9669 leaves it to the platform; MAX_BPF_STACK in Linux)."""

MAX_REGION_SIZE: Final = 1 << 30

WINDOW: Final = 1 << 32
CONTEXT_BASE: Final = 1 << 40
STACK_BASE: Final = 2 << 40
PACKET_BASE: Final = 3 << 40
_CODE: Final = 4 << 40
_MAPS: Final = 5 << 40
_MAP_VALUES: Final = 1 << 48
_MEMORY: Final = 1 << 61
_MASK64: Final = (1 << 64) - 1


def map_object_base(index: int) -> int:
    """The address of what references to the map at this position point to."""
    return _MAPS + index * WINDOW


def function_base(number: int) -> int:
    """The address of what a pointer to the function with this number among a program's points to."""
    return _CODE + number * WINDOW


def map_value_windows(counts: Sequence[int]) -> list[int]:
    """The address of the first value of each map of a fresh address space that have so many, as they are attached."""
    first, found = _MAP_VALUES, []
    for count in counts:
        found.append(first)
        first += count * WINDOW
    return found


class RegionKind(Enum):
    """What a region is."""

    CONTEXT = "context"
    STACK = "stack"
    PACKET = "packet"
    MAP_VALUE = "map value"
    MAP = "map"
    MEMORY = "memory"
    SOCKET = "socket"
    FUNCTION = "function"


_OPAQUE: Final = frozenset({RegionKind.MAP, RegionKind.SOCKET, RegionKind.FUNCTION})


@dataclass(slots=True, eq=False)
class Region:
    """``len(data)`` bytes of memory at ``base``, with what the checks need to know about them.

    ``initialised`` holds one byte (0 or 1) per byte of ``data``; None: all of them are.  ``pointers`` maps the offset
    of a spilled pointer to its provenance; None: pointers may not be stored here.  ``live`` is false once the region
    is gone (a frame that returned, a packet that was moved, a record that was submitted): any access then traps.
    ``frame`` numbers stack frames from 0, the entry function's; ``map_index`` is the position of the map in
    :attr:`Machine.maps`.
    """

    kind: RegionKind
    base: int
    data: memoryview
    writable: bool = True
    initialised: bytearray | None = None
    pointers: dict[int, Region] | None = None
    live: bool = True
    frame: int | None = None
    map_index: int | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.data)

    def __str__(self) -> str:
        match self.kind:
            case RegionKind.STACK:
                return f"stack frame {self.frame}"
            case RegionKind.MAP | RegionKind.MAP_VALUE:
                return f"{self.kind.value} (map {self.map_index})"
            case kind:
                return str(kind.value)

    def locate(self, address: int, size: int) -> int:
        """The offset of an access of ``size`` bytes at ``address``, which must lie within the region.

        Raises :class:`Fault`: NOT_A_POINTER where the region is gone or is not memory, OUT_OF_BOUNDS otherwise.
        """
        offset = (address - self.base) & _MASK64
        if offset + size <= self.size and self.live:
            return offset
        if not self.live:
            raise Fault(TrapKind.NOT_A_POINTER, f"stale pointer: this {self} is gone", address)
        if self.kind in _OPAQUE:
            raise Fault(TrapKind.NOT_A_POINTER, f"a {self.kind.value} is not memory", address)
        signed = offset - (1 << 64) if offset >> 63 else offset
        raise Fault(
            TrapKind.OUT_OF_BOUNDS,
            f"{_bytes(size)} at offset {signed} of {self}, which has {_bytes(self.size)}",
            address,
        )

    def load(self, address: int, size: int) -> tuple[int, Region | None]:
        """The unsigned little-endian value of ``size`` bytes, and its provenance where it is a spilled pointer."""
        offset = self.locate(address, size)
        self.require_initialised(offset, size)
        value = int.from_bytes(self.data[offset : offset + size], "little")
        return value, self.pointers.get(offset) if size == 8 and self.pointers else None

    def store(self, address: int, size: int, value: int, provenance: Region | None = None) -> None:
        """Store the low ``size`` bytes of ``value``; all 8 bytes of a pointer keep its provenance, if aligned."""
        offset = self.locate(address, size)
        self.require_writable(address)
        self.put(offset, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))
        if provenance is not None and self.pointers is not None and size == 8 and offset % 8 == 0:
            self.pointers[offset] = provenance

    def require_no_leak(self, provenance: Region, address: int, size: int) -> None:
        """Raise the violation of storing a pointer here, unless it is one that may be stored.

        That is all of a pointer, where :attr:`pointers` are kept; anything else would leak an address.
        """
        self.locate(address, size)
        self.require_writable(address)
        if self.pointers is None:
            raise Fault(TrapKind.POINTER_LEAK, f"a pointer to {provenance} would be stored in {self}", address)
        if size != 8:
            raise Fault(TrapKind.POINTER_LEAK, f"{_bytes(size)} of a pointer to {provenance} would be stored", address)

    def put(self, offset: int, content: bytes) -> None:
        """Overwrite bytes that were located before: they are initialised now, and no part of a pointer."""
        end = offset + len(content)
        self.data[offset:end] = content
        if self.initialised is not None:
            self.initialised[offset:end] = b"\1" * len(content)
        if self.pointers:
            for start in range(offset - 7, end):
                self.pointers.pop(start, None)

    def require_initialised(self, offset: int, size: int) -> None:
        """Raise UNINITIALISED_MEMORY unless each of the located bytes has been written."""
        if self.initialised is not None:
            hole = self.initialised.find(0, offset, offset + size)
            if hole >= 0:
                raise Fault(TrapKind.UNINITIALISED_MEMORY, f"byte {hole} of {self} was never written", self.base + hole)

    def require_writable(self, address: int) -> None:
        """Raise READ_ONLY unless the program may write here."""
        if not self.writable:
            raise Fault(TrapKind.READ_ONLY, f"{self} is read-only", address)

    def blank(self) -> None:
        """Make a stack frame as good as new."""
        assert self.initialised is not None
        assert self.pointers is not None
        if 1 in self.initialised:
            self.data[:] = self.initialised[:] = bytes(self.size)
            self.pointers.clear()
        self.live = True


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


class AddressSpace:
    """Hands out the regions of one run, each in its own window, and knows those that are live."""

    def __init__(self) -> None:
        self._regions: dict[int, Region] = {}
        self._map_regions: dict[int, Region] = {}
        self._frames: dict[int, Region] = {}  # the last one of each number
        self._next_memory = _MEMORY
        self._next_map_value = _MAP_VALUES

    def __iter__(self) -> Iterator[Region]:
        """The live regions, in no particular order."""
        return chain(self._regions.values(), self._map_regions.values())

    def find(self, address: int) -> Region | None:
        """The live region that has a byte at ``address``: to explain a run, never to decide an access."""
        return next((region for region in self if region.base <= address < region.base + region.size), None)

    def context(self, content: bytes | bytearray) -> Region:
        """The context of the program: ``content`` is copied."""
        return self._add(Region(RegionKind.CONTEXT, CONTEXT_BASE, _buffer(content)))

    def stack_frame(self, number: int) -> Region:
        """An uninitialised stack frame; ``base + size`` is its frame pointer."""
        old = self._frames.get(number)
        if old is not None:
            return self.renew(old)
        region = self._frames[number] = Region(
            RegionKind.STACK,
            STACK_BASE + number * WINDOW,
            memoryview(bytearray(FRAME_SIZE)),
            initialised=bytearray(FRAME_SIZE),
            pointers={},
            frame=number,
        )
        return self._add(region)

    def renew(self, old: Region) -> Region:
        """A frame in the place of an old one, whose life ends: it gets the bytes, for nobody reads those any more."""
        old.live = False
        region = Region(old.kind, old.base, old.data, True, old.initialised, old.pointers, frame=old.frame)
        region.blank()
        assert region.frame is not None
        self._frames[region.frame] = self._regions[region.base] = region
        return region

    def packet(self, frame: memoryview, start: int, end: int, *, writable: bool) -> Region:
        """The bytes ``start`` to ``end`` of a packet buffer: the address of each follows from its place in it."""
        return self._add(Region(RegionKind.PACKET, PACKET_BASE + start, frame[start:end], writable))

    def memory(self, content: bytes | bytearray, *, holds_pointers: bool = False) -> Region:
        """Plain initialised memory in a window that no other region of this run had or will have."""
        region = Region(RegionKind.MEMORY, self._next_memory, _buffer(content), pointers={} if holds_pointers else None)
        self._next_memory += WINDOW
        return self._add(region)

    def socket(self, content: bytes) -> Region:
        """A socket, in a window of its own like plain memory: it can be read, never written."""
        region = Region(RegionKind.SOCKET, self._next_memory, _buffer(content), writable=False)
        self._next_memory += WINDOW
        return self._add(region)

    def map_object(self, index: int) -> Region:
        """What a map reference points to: a region without bytes."""
        region = Region(RegionKind.MAP, map_object_base(index), memoryview(b""), map_index=index)
        self._map_regions[region.base] = region
        return region

    def function(self, number: int) -> Region:
        """What a pointer to a function points to: a region without bytes."""
        return self._add(Region(RegionKind.FUNCTION, function_base(number), memoryview(b"")))

    def reserve_map_values(self, count: int) -> int:
        """The first of ``count`` windows in a row for the values of a map.  Raises ValueError if there are none."""
        first = self._next_map_value
        if first + count * WINDOW > _MEMORY:
            raise ValueError(f"no room in the address space for {count} more map values")
        self._next_map_value += count * WINDOW
        return first

    def map_value(
        self,
        first: int,
        number: int,
        data: memoryview,
        map_index: int,
        *,
        writable: bool,
        kind: RegionKind = RegionKind.MAP_VALUE,
    ) -> Region:
        """Value ``number`` of the map whose windows begin at ``first``: always the same region for the same value."""
        base = first + number * WINDOW
        region = self._map_regions.get(base)
        if region is None:
            region = Region(kind, base, data, writable=writable, map_index=map_index)
            self._map_regions[base] = region
        return region

    def succeed(self, region: Region, content: bytes) -> Region:
        """Read-only memory at the address of a region whose life ends with this."""
        self.release(region)
        return self._add(Region(RegionKind.MEMORY, region.base, _buffer(content), writable=False))

    def restart(self, kept: Region) -> None:
        """Forget all regions but ``kept`` and those of maps, whose windows stay theirs."""
        self._next_memory = _MEMORY
        self._regions = {kept.base: kept}
        for frame in self._frames.values():
            frame.live = frame is kept

    def release(self, region: Region) -> None:
        """End the life of a region: pointers to it are stale from now on, its window may be used again."""
        region.live = False
        if self._regions.get(region.base) is region:
            del self._regions[region.base]

    def _add(self, region: Region) -> Region:
        if region.size > MAX_REGION_SIZE:
            raise ValueError(f"a {region.kind.value} of {region.size} bytes is larger than {MAX_REGION_SIZE}")
        self._regions[region.base] = region
        return region


def _buffer(content: bytes | bytearray) -> memoryview:
    return memoryview(bytearray(content))
