"""What a register or stack cell holds, abstractly: a term, a typed pointer, or something that must not be used.

Pointers are symbolic: ``base`` stands for the address of the region's first byte as far as null checks go (a constant
1 where the pointer cannot be null), ``offset`` is relative to the region.  Copies of a pointer share the base symbol,
so that a null check of one is a null check of all, with no table of pointer ids.

Packet offsets are relative to ``data``; ``data_end`` is the pointer whose offset is the packet's size.
Stack offsets count from the lowest byte of the frame, so R10 is at offset 512.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from prevail_py.domains.lattice import Term, constant

__all__ = [
    "CONTEXT",
    "KEY",
    "MAP",
    "MAP_VALUE",
    "MAX_FRAMES",
    "MEMORY",
    "NEVER_NULL",
    "OBJECT",
    "PACKET",
    "POISON",
    "STACK",
    "STACK_SIZE",
    "UNINITIALISED",
    "UNUSABLE",
    "ZERO",
    "Pointer",
    "Region",
    "RegionKind",
    "Special",
    "Value",
    "region_of",
]

STACK_SIZE: Final = 512
"""Bytes of one stack frame (Linux ``MAX_BPF_STACK``)."""

MAX_FRAMES: Final = 8
"""Call depth, the main program included (Linux ``MAX_CALL_FRAMES``)."""

KEY: Final = "key"
"""The name of the memory that holds the key of an element while a function is called with it."""

ZERO: Final = constant(0)
NEVER_NULL: Final = constant(1)


class RegionKind(Enum):
    """The kinds of memory and handles a pointer can refer to."""

    CONTEXT = "context"
    STACK = "stack"
    PACKET = "packet"
    MAP_VALUE = "map value"
    MAP = "map"
    MEMORY = "memory"
    OBJECT = "kernel object"
    FUNCTION = "function"


@dataclass(frozen=True, slots=True)
class Region:
    """A kind of region and what distinguishes it statically.

    ``index`` is the frame number (0 for the main program), the map's position in the program, or the slot of a
    function.  ``inner`` marks (values of) a map found inside a map.  ``size`` is in bytes for MEMORY and MAP_VALUE.
    ``name`` tells kernel objects apart, and is that of the map.
    """

    kind: RegionKind
    index: int = 0
    size: int = 0
    inner: bool = False
    name: str = ""

    def __str__(self) -> str:
        match self.kind:
            case RegionKind.STACK:
                return f"stack[{self.index}]" if self.index else "stack"
            case RegionKind.MAP | RegionKind.MAP_VALUE:
                name = f"{'inner map of ' if self.inner else ''}{self.name or f'#{self.index}'}"
                return (
                    f"value of {name}" if self.kind is RegionKind.MAP_VALUE else name if self.inner else f"map {name}"
                )
            case RegionKind.OBJECT:
                return self.name
            case kind:
                return str(kind.value)


@lru_cache(maxsize=4096)
def region_of(kind: RegionKind, index: int = 0, size: int = 0, inner: bool = False, name: str = "") -> Region:
    """The region of this description; the same object for the same one, mostly, which makes comparing them fast."""
    return Region(kind, index, size, inner, name)


class Pointer(NamedTuple):
    """``region`` + ``offset`` bytes, or null where ``base`` is 0."""

    region: Region
    base: Term
    offset: Term


class Special(Enum):
    """Values that may be anything and must not be relied upon; each says why."""

    UNINITIALISED = "uninitialised"
    STALE = "stale packet pointer"
    DANGLING = "pointer to memory that is gone"
    UNUSABLE = "different kinds of values on different paths"
    POISON = "unknown because of an earlier failure"


Value: TypeAlias = Term | Pointer | Special

# Up to Python 3.11 a member of an enumeration takes ten times as long to name as a variable, and these are named for
# every instruction.
UNINITIALISED: Final = Special.UNINITIALISED
UNUSABLE: Final = Special.UNUSABLE
POISON: Final = Special.POISON
CONTEXT: Final = RegionKind.CONTEXT
STACK: Final = RegionKind.STACK
PACKET: Final = RegionKind.PACKET
MAP_VALUE: Final = RegionKind.MAP_VALUE
MEMORY: Final = RegionKind.MEMORY
OBJECT: Final = RegionKind.OBJECT
MAP: Final = RegionKind.MAP
