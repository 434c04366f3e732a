"""Programs for the solver: safe ones that the domains do not prove, and unsafe ones over all kinds of violations.

``alarms.asm`` has pairs like those of :mod:`prevail_py.research.suite`: a safe program that is UNKNOWN without the
solver, and an unsafe twin.  All that a pair depends on is the first bytes of its packet, so running it on many of them
is evidence from outside of the verifier.  ``faults.asm`` has unsafe programs, each with the kind of its violation.

>>> alarms()["square"].inputs, faults()["one_byte_too_far"].kind
(1, 'out-of-bounds')
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.research.suite import program_of_text, storage

__all__ = ["FOLDER", "Alarm", "Fault", "alarms", "faults"]

FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Alarm:
    """A safe program that reads the first ``inputs`` bytes of its packet, and its unsafe twin."""

    name: str
    safe: Program
    twin: Program
    inputs: int


@dataclass(frozen=True, slots=True)
class Fault:
    """An unsafe program, and the ``kind`` of its violation."""

    name: str
    program: Program
    kind: str


def _sections(name: str) -> Iterator[tuple[str, str]]:
    text = (FOLDER / name).read_text(encoding="ascii")
    for section in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, body = section.split("\n", 1)
        yield head, body


@cache
def alarms() -> Mapping[str, Alarm]:
    """All pairs by name, in the order of the file."""
    found = {}
    for name, body in _sections("alarms.asm"):
        inputs = re.search(r"^\.input (\d+)$", body, flags=re.MULTILINE)
        assert inputs is not None, name
        safe, twin = (
            program_of_text(name + suffix, re.sub(r"\{(.*?)\|(.*?)\}", rf"\{choice}", body), storage())
            for suffix, choice in (("", 1), ("_unsafe", 2))
        )
        found[name] = Alarm(name, safe, twin, int(inputs[1]))
    return MappingProxyType(found)


def _map(name: str, kind: str, key: int, value: int, entries: int, **more: object) -> MapSpec:
    found = platform().map_type_by_name(kind)
    assert found is not None, kind
    return replace(MapSpec(name, found.number, key, value, entries), **more)  # type: ignore[arg-type]


@cache
def faults() -> Mapping[str, Fault]:
    """All unsafe programs by name, in the order of the file."""
    maps = (
        _map("array", "array", 4, 64, 16),
        _map("hash", "hash", 8, 48, 128),
        _map("constants", "array", 4, 8, 1, initial=bytes([7, 0, 0, 0, 1, 2, 3, 4]), read_only=True),
        _map("ring", "ringbuf", 0, 0, 4096),
        _map("programs", "prog_array", 4, 4, 4),
    )
    found = {}
    for head, body in _sections("faults.asm"):
        name, kind, *types = head.split()
        text = program_of_text(name, body, maps[0])
        program = replace(text, maps=maps, program_type=types[0] if types else "xdp")
        found[name] = Fault(name, replace(program, section=program.program_type, licence="GPL"), kind)
    return MappingProxyType(found)
