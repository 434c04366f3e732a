"""What the museum shows: a mistake that somebody made, and how this project's code looks with the same mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.research.museum.switch import Switch, switched

__all__ = ["Exhibit", "Part", "Specimen", "planted"]


class Part(Enum):
    """What of the project has the mistake."""

    OPERATOR = "operator"
    """An abstract operator on words."""
    VERIFIER = "verifier"
    """Anything else that the verifier concludes."""
    SEMANTICS = "semantics"
    """What instructions and helpers do, in the reference interpreter."""
    ENGINE = "engine"
    """An engine that should do what the interpreter does."""


def _map(name: str, kind: str, key: int, value: int, entries: int, initial: bytes | None = None) -> MapSpec:
    found = platform().map_type_by_name(kind)
    assert found is not None
    return MapSpec(name, found.number, key, value, entries, read_only=initial is not None, initial=initial)


MAPS = (
    _map("array", "array", 4, 64, 4),
    _map("small", "array", 4, 8, 4),
    _map("ring", "ringbuf", 0, 0, 4096),
    _map("constants", "array", 4, 16, 1, bytes(16)),
)
"""The maps of all specimens, by index: an array of 64 bytes, one of 8, a ring buffer, data that is read-only."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """An unsafe program in the pattern of the historic exploit or report: one that the mistake makes SAFE.

    ``text`` is assembly, its maps are :data:`MAPS`.
    """

    text: str
    program_type: str = "xdp"

    def program(self, name: str) -> Program:
        """The program, under the name of its exhibit."""
        code = assemble_text(self.text)
        return Program(name, self.program_type, self.program_type, code, maps=MAPS, licence="GPL")


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One mistake.

    ``source`` says who made it: a CVE, a commit of Linux, an issue or pull request of another project, a change of
    this one.  ``plant`` makes it in the shipped code.  ``exposed_by`` names an operation of ``prevail-py prove``, at
    ``bits`` bits of words of ``width``, where the mistake is in an operator.
    """

    name: str
    part: Part
    summary: str
    source: str
    plant: Callable[[Switch], None]
    specimen: Specimen | None = None
    exposed_by: str = ""
    bits: int = 2
    width: int = 4


@contextmanager
def planted(exhibit: Exhibit) -> Iterator[None]:
    """The shipped code with this mistake in it.

    It lasts for the block, in this process: a worker plants for itself.
    """
    with switched() as switch:
        exhibit.plant(switch)
        yield
