"""What a proof says about the memory that a program touches: for engines that leave out checks because of it.

The verifier makes :class:`RegionFacts` from its invariants, for programs that are SAFE, and native code uses them
(:mod:`prevail_py.vm.jit.proved`).  They are data about one program, named by its :func:`digest`: whoever uses them
compares that first, so that facts can never be used for code that they were not proved of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from prevail_py.isa.encode import encode
from prevail_py.objects.program import Program

__all__ = ["Place", "RegionFact", "RegionFacts", "digest"]


class Place(Enum):
    """The kinds of memory that facts tell apart."""

    CONTEXT = "context"
    STACK = "own frame"
    FRAME = "some frame"
    """A stack frame, but not always the own one: a caller's, whose depth may differ from call to call."""
    PACKET = "packet"
    MAP_VALUE = "map value"
    MAP = "map"
    FUNCTION = "function"
    ELSEWHERE = "elsewhere"
    """One of the above, but not always the same, or memory of another kind: helper memory.  Never the context."""


@dataclass(frozen=True, slots=True)
class RegionFact:
    """What a register points to whenever its instruction is executed, whatever calls led there.

    ``index`` is the position of the map among the program's, for MAP and MAP_VALUE, and the slot of a FUNCTION.
    ``offset`` counts from the start of the region (of the packet: from ``data``), where it is the same every time.
    """

    place: Place
    index: int = 0
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """Facts about the program with this :func:`digest`, all of whose accesses were proved to be within their regions.

    ``pointers`` has, by slot and register, the base of each load, store and atomic operation and the arguments of each
    helper that are pointers.  A slot that no run reaches is not in ``reached``.  ``spills`` are stores of, and
    ``fills`` loads of what may be a pointer; ``from_source`` are 64-bit additions whose right operand is the pointer,
    and ``unclear`` those where it is now the one and now the other, accesses of which no region is known or which are
    to the context only sometimes, and calls with an argument that is now a pointer and now a number.  ``instructions``
    bounds how many a run executes; None where termination was not proved.
    """

    program: str
    reached: frozenset[int]
    pointers: Mapping[tuple[int, int], RegionFact] = field(default_factory=dict)
    spills: frozenset[int] = frozenset()
    fills: frozenset[int] = frozenset()
    from_source: frozenset[int] = frozenset()
    unclear: frozenset[int] = frozenset()
    instructions: int | None = None


def digest(program: Program) -> str:
    """SHA-256 of all of a program that its proof and its native code depend on, in hexadecimal."""
    kind = (program.platform, program.program_type, program.expected_attach_type, program.hook, program.section)
    text = repr((kind, program.maps, sorted(program.poisoned.items())))
    return hashlib.sha256(encode(program.code) + b"\0" + text.encode()).hexdigest()
