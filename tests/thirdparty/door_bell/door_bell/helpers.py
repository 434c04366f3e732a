"""The helpers: to ring, and to ask whose door it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

RINGS: list[int] = []
"""How often the bell rang, each time that it did."""

NAME = b"Ada\0"


def bell_ring(machine: Any, arguments: Sequence[Any]) -> int:
    """Ring ``times`` times, three at most: how often it rang."""
    times = min(arguments[1].value & 0xFFFFFFFF, 3)
    RINGS.append(times)
    return times


def bell_name(machine: Any, arguments: Sequence[Any]) -> int:
    """Write the name at the door into memory, cut off where there is no room: how long it is."""
    arguments[0].fill(NAME[: arguments[0].extent].ljust(arguments[0].extent, b"\0"))
    return len(NAME)
