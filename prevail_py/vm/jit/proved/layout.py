"""What proved code and Python share: one block of words for each run.

Registers hold the very words that they hold in the reference, addresses of the virtual address space of
:mod:`prevail_py.vm.memory` included; where the bytes are in this process is known beside them.  Everything in the block
is a word of 64 bits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "ASK",
    "MORE_RANDOM",
    "RANDOM_WORDS",
    "READ_CLOCK",
    "SHADOW_BYTES",
    "SHADOW_FRAMES",
    "SHADOW_SIZE",
    "Field",
    "MapField",
    "Status",
    "block_words",
    "map_field",
]


class Field(IntEnum):
    """Places in the block."""

    RESULT = 0
    """R0 at the end, or what a helper in Python returned."""
    HOST = 1
    """Where the memory is that :attr:`RESULT` of such a helper points to ..."""
    BASE = 2
    """... and its address as the program sees it."""
    DATA = 3
    """The packet, its end and its metadata, as the program sees them."""
    DATA_END = 4
    DATA_META = 5
    FUEL = 6
    """How often loops may still go back, at least once; it is counted where there is no bound on runs."""
    PC = 7
    """Where a run stopped that did not come to its end."""
    HELPER = 8
    """The address of the function that calls a helper in Python."""
    CPU = 9
    NOW = 10
    TICK = 11
    """By how much each reading of the clock advances it; :data:`ASK` where Python has to be asked for the time."""
    RANDOM = 12
    """The address of random numbers, words of 32 bits, ..."""
    RANDOM_NEXT = 13
    """... how many of them were used, ..."""
    RANDOM_COUNT = 14
    """... and how many there are."""
    STACK = 15
    """The address of the stack frame, where helpers in Python may be given pointers into it."""
    MAY_GOTO = 16
    """How often the ``may_goto`` instructions of each call may fall through."""
    SHADOWS = 17
    """The address of :data:`SHADOW_BYTES` for the shadows of pointers in frames, where functions reach into others'."""
    MAPS = 18
    """The first word about maps: :class:`MapField` for each."""


class MapField(IntEnum):
    """What there is for each map."""

    VALUES = 0
    """The address of its values."""
    TABLE = 1
    """The address of the table of its elements, for hash tables."""


def map_field(index: int, field: MapField) -> int:
    """The place of a word about a map."""
    return Field.MAPS + len(MapField) * index + field


def block_words(maps: int) -> int:
    """How many words the block of a program has that uses so many maps."""
    return map_field(maps, MapField.VALUES)


ASK: Final = (1 << 64) - 1
"""Of :attr:`Field.TICK`."""

RANDOM_WORDS: Final = 256
"""How many random numbers are drawn at a time."""


SHADOW_FRAMES: Final = 8
"""As many as calls may nest (``prevail_py.vm.machine.MAX_FRAMES``)."""

SHADOW_SIZE: Final = 32
"""Bytes that the shadow of a pointer takes: where its region is, the region's address and size, and nothing."""

SHADOW_BYTES: Final = SHADOW_FRAMES * 512 // 8 * SHADOW_SIZE

MORE_RANDOM: Final = (1 << 64) - 1
READ_CLOCK: Final = (1 << 64) - 2
"""In place of a slot, when native code calls Python: to draw random numbers, to set :attr:`Field.NOW`."""


class Status(IntEnum):
    """How native code ends."""

    RETURNED = 0
    STOPPED = 1
    """A helper in Python stopped the run: it faulted, or ran another program by a tail call."""
    OUT_OF_FUEL = 2
    TRAPPED = 3
    """In checked mode: an access was not within the region that it was proved to be in."""
    UNREACHABLE = 4
    """An instruction was reached that no run was to reach."""
