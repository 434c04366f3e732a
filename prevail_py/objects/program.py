"""What an object file turns into: programs, linked and self-contained, with the maps they use.

A :class:`Program` is the currency of the package: decoded code indexed by slot, the maps it refers to by position,
source lines, and what could not be modelled.  It is immutable and knows nothing of ELF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from prevail_py.isa.instructions import Instruction

if TYPE_CHECKING:
    from prevail_py.objects.layout import Layout

__all__ = ["Argument", "MapSpec", "Program", "SourceLine", "Subprogram"]


@dataclass(frozen=True, slots=True)
class MapSpec:
    """The definition of a map, sizes in bytes, ``type`` one of Linux's ``enum bpf_map_type`` numbers.

    ``initial`` holds the contents of a global-data section (one element); ``read_only`` says that the program may
    not write them and nobody else will (``BPF_F_RDONLY_PROG`` and frozen, as libbpf makes .rodata).  ``inner`` is the
    template of a map-in-map.  ``key_btf`` and ``value_btf`` are type ids in the object's BTF, 0 when unknown.
    ``key_layout`` and ``value_layout`` say what those types look like; no execution depends on them, and definitions
    that differ only there are equal.  ``extra`` is Linux's ``map_extra``: the number of hashes of a bloom filter.
    """

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    inner: MapSpec | None = None
    initial: bytes | None = None
    read_only: bool = False
    pinning: int = 0
    key_btf: int = 0
    value_btf: int = 0
    extra: int = 0
    key_layout: Layout | None = field(default=None, compare=False, repr=False)
    value_layout: Layout | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SourceLine:
    """Where an instruction comes from: BTF line info.  ``line`` and ``column`` count from 1, 0 when unknown."""

    file: str
    line: int
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Argument(NamedTuple):
    """What BTF says of an argument of a function: a number, or a pointer to something of ``size`` bytes.

    ``pointee`` is the name of a pointer's type, ``void`` where it points to nothing in particular (and of unknown size,
    0); empty for a number.  ``tags`` are its declaration tags (``arg:nonnull``).
    """

    pointee: str = ""
    size: int = 0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subprogram:
    """A function linked into a program: ``start`` and ``end`` are slots, end exclusive.

    ``is_global`` follows the symbol's binding: Linux verifies global functions once, for any arguments.  ``prototype``
    has the arguments of one that returns a number; None where BTF does not say, or says what is none of that.
    """

    name: str
    start: int
    end: int
    is_global: bool = False
    prototype: tuple[Argument, ...] | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Program:
    """One linked program.

    ``code[pc]`` is the instruction that starts at slot ``pc``, or None for the second slot of a wide load.  Map
    references are ``Pseudo.MAP_INDEX`` / ``MAP_INDEX_VALUE`` with an index into ``maps``; function addresses are
    ``Pseudo.FUNCTION`` relative as in the kernel; calls of subprograms are resolved to ``CallLocal``.
    ``subprograms[0]`` is the entry function and starts at slot 0.  ``unsupported`` lists features found while loading
    that the toolkit does not model (such as "kptr in map x"): a program that has any is never verified as SAFE.

    What loading found out about the kernel that the program is for: ``symbols`` names, by slot, the kernel symbol whose
    address or call the instruction is; ``poisoned`` says, by slot, what an instruction needs that the kernel does not
    have, and there the code calls a helper that does not exist, as libbpf has it; ``assumptions`` lists the facts that
    were relied upon; ``target_btf`` is the SHA-256 of the BTF that numbers and layouts in the code come from, empty
    where there are none.  ``hook`` is the kind of hook that the program is for, by the result that it takes
    (:attr:`Platform.hook_rules <prevail_py.platforms.model.Platform.hook_rules>`), empty where that is not known.
    """

    name: str
    section: str
    program_type: str
    code: tuple[Instruction | None, ...]
    maps: tuple[MapSpec, ...] = ()
    subprograms: tuple[Subprogram, ...] = ()
    lines: Mapping[int, SourceLine] = field(default_factory=dict)
    licence: str = ""
    expected_attach_type: str = ""
    platform: str = "linux"
    unsupported: tuple[str, ...] = ()
    symbols: Mapping[int, str] = field(default_factory=dict)
    poisoned: Mapping[int, str] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    target_btf: str = ""
    hook: str = ""

    @property
    def instruction_count(self) -> int:
        """Number of instructions; a wide load counts once."""
        return sum(instruction is not None for instruction in self.code)

    def line_at(self, pc: int) -> SourceLine | None:
        """The source line of ``pc``: that of the nearest line record at or before it in the same subprogram."""
        start = max((s.start for s in self.subprograms if s.start <= pc < s.end), default=0)
        for candidate in range(pc, start - 1, -1):
            line = self.lines.get(candidate)
            if line is not None:
                return line
        return None
