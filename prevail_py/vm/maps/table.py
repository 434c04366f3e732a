"""The elements of a hash table in flat memory: which slot has which key, for code that knows no dictionaries.

One block of memory per table, of unsigned words of 64 bits unless said otherwise::

    | header: 8 words | heads: u32[buckets] | next: u32[slots] | order: u64[slots] | keys: slots * stride bytes |

A bucket is a chain of slots, whose numbers count from 1 in it (0: the end); free slots are a chain as well, last in,
first out, and those from ``UNUSED`` on were never used, as in :class:`~prevail_py.vm.maps.storage.FreeSlots`.
``order`` is 0 for a free slot and otherwise grows with each insertion, so that the dictionary can be made again with
its elements in their order.  Keys are padded with zeros to a multiple of 8 bytes.

The slot of a key is a multiplicative hash of its words of 8 bytes: :func:`bucket_of` is what native code computes, too
(:mod:`prevail_py.vm.jit.proved.tables`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final, NamedTuple

from prevail_py.objects.program import MapSpec

__all__ = ["MULTIPLIER", "HashTable", "Header", "TableLayout", "bucket_of"]

MULTIPLIER: Final = 0x9E37_79B9_7F4A_7C15
"""2**64 divided by the golden ratio (Knuth, The Art of Computer Programming, volume 3, section 6.4)."""

_MASK64: Final = (1 << 64) - 1
_MAX_BUCKET_BITS: Final = 24


class Header(IntEnum):
    """The words of the header."""

    COUNT = 0
    FREE = 1
    UNUSED = 2
    ORDER = 3
    """The last one that was given out."""
    LOCK = 4
    """1 while a thread of native code changes the table."""


class TableLayout(NamedTuple):
    """Where the parts of a table are, in bytes from its start."""

    bits: int
    slots: int
    key_size: int
    stride: int
    heads: int
    next: int
    order: int
    keys: int
    size: int

    @classmethod
    def of(cls, spec: MapSpec) -> TableLayout:
        """That of a hash map, which has a slot more than elements."""
        slots = spec.max_entries + 1
        bits = min(max(slots.bit_length(), 3), _MAX_BUCKET_BITS)
        stride = (spec.key_size + 7) & ~7
        heads = 64
        following = heads + (4 << bits)
        order = (following + 4 * slots + 7) & ~7
        keys = order + 8 * slots
        return cls(bits, slots, spec.key_size, stride, heads, following, order, keys, keys + slots * stride)


def bucket_of(key: bytes, bits: int) -> int:
    """The bucket of a key, out of ``1 << bits``."""
    value = 0
    for start in range(0, len(key), 8):
        value = ((value ^ int.from_bytes(key[start : start + 8], "little")) * MULTIPLIER) & _MASK64
        value ^= value >> 32
    return ((value * MULTIPLIER) & _MASK64) >> (64 - bits)


class HashTable:
    """The elements of one map; zeros are an empty table."""

    def __init__(self, spec: MapSpec) -> None:
        self.layout: Final = TableLayout.of(spec)
        # Private: a forked child must not change what its parent has.
        self.memory: Final = memoryview(mmap(-1, self.layout.size, MAP_PRIVATE | MAP_ANONYMOUS))
        self._header: Final = self.memory[:64].cast("Q")

    def fill(self, slot_of: Mapping[bytes, int], freed: Sequence[int], unused: int) -> None:
        """Hold these elements, in their order; ``freed`` are free slots, the last one to be used first."""
        layout, memory = self.layout, self.memory
        memory[:64] = bytes(64)
        memory[layout.heads : layout.keys] = bytes(layout.keys - layout.heads)
        heads, following, order = self._parts()
        for number, (key, slot) in enumerate(slot_of.items(), 1):
            start = layout.keys + slot * layout.stride
            memory[start : start + layout.stride] = key.ljust(layout.stride, b"\0")
            order[slot] = number
            bucket = bucket_of(key, layout.bits)
            following[slot], heads[bucket] = heads[bucket], slot + 1
        free = 0
        for slot in freed:
            following[slot], free = free, slot + 1
        header = self._header
        header[Header.COUNT] = header[Header.ORDER] = len(slot_of)
        header[Header.FREE], header[Header.UNUSED] = free, unused

    def contents(self) -> tuple[dict[bytes, int], list[int], int]:
        """Elements, free slots and the first slot that was never used, as :meth:`fill` takes them."""
        layout, header = self.layout, self._header
        _, following, order = self._parts()
        unused = header[Header.UNUSED]
        elements = sorted((order[slot], slot) for slot in range(unused) if order[slot])
        slot_of = {}
        for _, slot in elements:
            start = layout.keys + slot * layout.stride
            slot_of[bytes(self.memory[start : start + layout.key_size])] = slot
        freed = []
        free = header[Header.FREE]
        while free:
            freed.append(free - 1)
            free = following[free - 1]
        return slot_of, freed[::-1], unused

    def _parts(self) -> tuple[memoryview, memoryview, memoryview]:
        layout, memory = self.layout, self.memory
        heads = memory[layout.heads : layout.next].cast("I")
        following = memory[layout.next : layout.next + 4 * layout.slots].cast("I")
        return heads, following, memory[layout.order : layout.keys].cast("Q")
