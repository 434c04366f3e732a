"""Pairs of small programs: one that is safe, and a twin that differs in one place and is not.

They are about loops, widths, packet pointers, paths and the stack.  The sources are here: C (``*.c``, with the objects
that clang -O2 makes of them beside them; the ``Makefile`` rebuilds them) and text (``forms.asm``).  ``index.toml`` says
of each pair what is known from outside of this project's verifier: that Linux accepts the safe program, or on which
inputs it was run, and the packet on which the twin traps in the interpreter.

>>> pair = pairs()["top_tested"]
>>> pair.source, pair.safe.name, pair.twin.name
('loops.c', 'top_tested', 'top_tested_unsafe')
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program

__all__ = ["FOLDER", "Inputs", "Pair", "pairs", "program_of_text", "storage"]

FOLDER: Final = Path(__file__).parent
"""Where the sources, the objects and the index are."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A set of packets: every length in ``lengths``, every choice of the bytes at ``places`` from ``values``.

    All other bytes are 0.  The set is exhaustive for a program that reads nothing else.
    """

    lengths: tuple[int, ...]
    places: tuple[int, ...]
    values: tuple[int, ...]

    def __iter__(self) -> Iterator[bytes]:
        for length in self.lengths:
            places = [place for place in self.places if place < length]
            for chosen in product(self.values, repeat=len(places)):
                packet = bytearray(length)
                for place, value in zip(places, chosen, strict=True):
                    packet[place] = value
                yield bytes(packet)


@dataclass(frozen=True, slots=True)
class Pair:
    """A safe program, its twin, and the evidence.

    ``witness`` is a packet on which ``twin`` traps with ``trap``.  ``kernel`` tells that Linux accepts ``safe``,
    ``runs`` on which inputs it was run instead, ``note`` why.  ``proved`` is False where it is not proved.
    """

    name: str
    source: str
    safe: Program
    twin: Program
    witness: bytes
    trap: str
    kernel: bool
    runs: Inputs | None
    proved: bool
    note: str


@cache
def pairs() -> Mapping[str, Pair]:
    """All pairs by name, in the order of the index.  Raises ValueError where index and sources disagree."""
    programs = {**_compiled(), **_assembled()}
    with (FOLDER / "index.toml").open("rb") as file:
        index = tomllib.load(file)
    missing = {name.removesuffix("_unsafe") for name in programs} ^ set(index)
    if missing:
        raise ValueError(f"index.toml and the sources disagree about {', '.join(sorted(missing))}")
    return MappingProxyType({name: _pair(name, row, programs) for name, row in index.items()})


def _pair(name: str, row: Mapping[str, object], programs: Mapping[str, tuple[str, Program]]) -> Pair:
    runs = row.get("runs")
    return Pair(
        name,
        programs[name][0],
        programs[name][1],
        programs[f"{name}_unsafe"][1],
        bytes.fromhex(str(row["witness"])),
        str(row["trap"]),
        bool(row.get("kernel", False)),
        _inputs(runs) if isinstance(runs, dict) else None,
        bool(row.get("proved", True)),
        str(row.get("note", "")),
    )


def _inputs(runs: Mapping[str, list[int]]) -> Inputs:
    values = tuple(runs["values"]) if "values" in runs else tuple(range(256))
    return Inputs(tuple(runs["lengths"]), tuple(runs["places"]), values)


def _compiled() -> dict[str, tuple[str, Program]]:
    return {
        name: (f"{path.stem}.c", program)
        for path in sorted(FOLDER.glob("*.o"))
        for name, program in load_object(path).programs.items()
    }


# Text -------------------------------------------------------------------------------------------------------------

_DROP: Final = "drop:\nr0 = 1\nexit\n"
_INPUT: Final = """
r6 = *(u32 *)(r1 + 0)
r7 = *(u32 *)(r1 + 4)
r2 = r6
r2 += {}
if r2 > r7 goto drop
"""
_TABLE: Final = """
r1 = 0
*(u32 *)(r10 - 4) = r1
r2 = r10
r2 += -4
r1 = map[idx:0] ll
call 1
if r0 == 0 goto drop
r8 = r0
"""


def _assembled() -> dict[str, tuple[str, Program]]:
    table = storage()
    found = {}
    for path in sorted(FOLDER.glob("*.asm")):
        for section in re.split(r"^== ", path.read_text(encoding="ascii"), flags=re.MULTILINE)[1:]:
            name, text = section.split("\n", 1)
            for suffix, choice in (("", 1), ("_unsafe", 2)):
                program = program_of_text(name + suffix, re.sub(r"\{(.*?)\|(.*?)\}", rf"\{choice}", text), table)
                found[program.name] = (path.name, program)
    return found


@cache
def storage() -> MapSpec:
    """The map whose only value `.table` gives the address of."""
    return next(spec for spec in load_object(FOLDER / "loops.o").maps if spec.name == "storage")


def program_of_text(name: str, text: str, storage: MapSpec) -> Program:
    """The program that a section of text stands for, with ``storage`` as its map where it uses one."""
    text = re.sub(r"^\.input (\d+)$", lambda match: _INPUT.format(match[1]), text, flags=re.MULTILINE)
    text = text.replace(".table\n", _TABLE)
    if "goto drop" in text:
        text += _DROP
    program = Program(name, "xdp", "xdp", assemble_text(text), licence="MIT")
    return replace(program, maps=(storage,)) if "map[idx:0]" in text else program
