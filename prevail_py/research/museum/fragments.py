"""Pieces of the specimens, in assembly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prevail_py.research.museum.exhibit import Exhibit, Part, Specimen
from prevail_py.research.museum.switch import Switch

__all__ = ["COUNTED", "DROP", "INDEX", "PACKET", "PREVAIL", "RESERVE", "SUBMIT", "UPPER_HALF", "exhibit", "lookup"]

PREVAIL: Final = "vbpf/prevail"
"""Where PREVAIL's issues and pull requests are."""

PACKET = """
r6 = *(u32 *)(r1 + 0)
r7 = *(u32 *)(r1 + 4)
r2 = r6
r2 += 8
if r2 > r7 goto drop
"""
DROP = "r0 = 1\nexit\ndrop:\nr0 = 2\nexit"


def lookup(map: int = 0, key: int = 0) -> str:
    """R0 is the value, or null: for all keys from 4 on."""
    return f"*(u32 *)(r10 - 4) = {key}\nr2 = r10\nr2 += -4\nr1 = map[idx:{map}] ll\ncall 1\n"


INDEX = f"{lookup()}if r0 == 0 goto drop\nr0 += r8\nr1 = *(u8 *)(r0 + 0)\n{DROP}"
"""A byte of a value of 64 bytes at the offset in R8."""

UPPER_HALF = f"{PACKET}r8 = *(u8 *)(r6 + 0)\nr8 <<= 32\n"
"""R8 is a word with nothing in its lower half."""

RESERVE = "r1 = map[idx:2] ll\nr2 = 16\nr3 = 0\ncall 131\nif r0 == 0 goto drop\n"
SUBMIT = "r2 = 0\ncall 132\n"

COUNTED = f"r8 = 0\nr7 = 100\nloop:\nr8 += 1\nr7 += -1\nif r7 != 0 goto loop\n{INDEX}"


def exhibit(
    name: str, summary: str, source: str, plant: Callable[[Switch], None], text: str, program_type: str = "xdp"
) -> Exhibit:
    """A mistake of a verifier, with the program that it makes SAFE."""
    return Exhibit(name, Part.VERIFIER, summary, source, plant, Specimen(text, program_type))
