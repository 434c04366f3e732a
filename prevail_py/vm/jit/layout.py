"""What native code and Python share: one block of words for each run, and a table of the regions that it has met.

Registers have a *tag* beside their word: 0 for a number, 1 while uninitialised, otherwise the number of the region that
a pointer was derived from, an index into the table.  Each entry of the table is :data:`ENTRY_WORDS` words.  Entries
0 and 1 stand for no memory at all, so that one test of bounds refuses numbers and uninitialised registers as well.

Everything is an unsigned word of 64 bits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["ENTRY_WORDS", "NUMBER", "STATE_WORDS", "UNINITIALISED", "Entry", "Slot", "Status"]

NUMBER: Final = 0
UNINITIALISED: Final = 1


class Slot(IntEnum):
    """Places in the block of a run: R0 to R10, their tags, and more.

    The first 24 words are packed and unpacked together in :mod:`prevail_py.vm.jit.runtime`.
    """

    WORDS = 0
    TAGS = 11
    PC = 22
    """The slot of the program where to go on."""
    LEFT = 23
    """How many instructions may still run."""
    STEP = 24
    """The address of the function that lets the reference execute one instruction."""
    TABLE = 25
    """The address of the table of regions."""
    PACKET = 26
    """Data, data_end and data_meta as the program sees them, and the tag of the packet."""


STATE_WORDS: Final = 30


class Entry(IntEnum):
    """Places in an entry of the table."""

    BASE = 0
    """The address of the region, as the program sees it."""
    HOST = 1
    """Where its bytes are in this process."""
    READABLE = 2
    """How many bytes native code may load; 0 where each load is the reference's."""
    WRITABLE = 3
    """How many bytes it may store to."""
    WRITTEN = 4
    """Where the bytes are, in this process, that say which bytes are initialised; 0: all are."""
    SPILLED = 5
    """Bit n: a pointer may be spilled at offset 8 * n, modulo 64 of them."""
    LIVE = 6
    """Whether the region is there still: 0 or 1.  A number is always there."""


ENTRY_WORDS: Final = 8


class Status(IntEnum):
    """What the function that executes one instruction says, and what native code ends with."""

    NEXT = 0
    """Go on with the next instruction; never the end."""
    MOVED = 1
    """Go on at :attr:`Slot.PC`, with the registers that are in the block; never the end."""
    STOP = 2
    """The run is over, or in another program."""
    HAND_OVER = 3
    """The reference must go on from :attr:`Slot.PC`: fuel runs short, or nothing was compiled for it."""
