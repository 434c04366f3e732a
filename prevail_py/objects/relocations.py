"""Relocations: what linking must fill into the instructions of a function.

The kinds of eBPF relocation (LLVM, ``docs/.../llvm_reloc.rst`` of the kernel): ``R_BPF_64_64`` on a wide load,
``R_BPF_64_32`` on a call; the others patch data and debug information, which nothing here reads relocated.  What a
patch depends on (the slot of a callee, the number of a map) is settled for each program, so it is kept as a
:data:`Fixup` until then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from prevail_py.isa.instructions import CallKfunc, CallLocal, Instruction, LoadImmediate64, Pseudo
from prevail_py.objects.container import Container, Relocation, Section, Symbol
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.externs import Externs
from prevail_py.objects.maps import MapTable
from prevail_py.objects.target import TargetBtf

__all__ = [
    "SLOT",
    "CallTarget",
    "DataAddress",
    "Fixup",
    "Fixups",
    "FunctionAddress",
    "MapReference",
    "Relocator",
    "Replacement",
]

SLOT: Final = 8
_R_BPF_NONE: Final = 0
_R_BPF_64_64: Final = 1
_R_BPF_64_32: Final = 10


@dataclass(frozen=True, slots=True)
class MapReference:
    """A wide load of a map; ``map`` is its number in the object."""

    map: int


@dataclass(frozen=True, slots=True)
class DataAddress:
    """A wide load of an address in global data: ``offset`` bytes into the only value of ``map``."""

    map: int
    offset: int


@dataclass(frozen=True, slots=True)
class CallTarget:
    """A call of the function that starts at byte ``offset`` of section ``section``."""

    section: int
    offset: int


@dataclass(frozen=True, slots=True)
class FunctionAddress:
    """A wide load of the address of the function that starts at byte ``offset`` of section ``section``."""

    section: int
    offset: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """Another instruction: what an extern turned into."""

    instruction: Instruction


Fixup: TypeAlias = MapReference | DataAddress | CallTarget | FunctionAddress | Replacement


@dataclass(slots=True)
class Fixups:
    """The fixups of a function by slot, ascending, and what else its instructions need.

    ``unsupported`` lists what is not modelled.  By slot: ``symbols`` names the kernel symbols that instructions refer
    to, ``poisoned`` says why some may not be reached.  ``facts`` are about the host and were relied upon; ``target`` is
    the BTF whose ids or layouts are in the code.
    """

    at: dict[int, Fixup] = field(default_factory=dict)
    unsupported: list[str] = field(default_factory=list)
    symbols: dict[int, str] = field(default_factory=dict)
    poisoned: dict[int, str] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    target: TargetBtf | None = None


class Relocator:
    """Reads the relocations of an object's code.  Methods raise :class:`ObjectError`."""

    def __init__(self, container: Container, maps: MapTable, externs: Externs) -> None:
        self._container: Final = container
        self._maps: Final = maps
        self._externs: Final = externs
        self._by_section: Final[dict[int, Mapping[int, Relocation]]] = {}

    def fixups(self, section: Section, start: int, code: Sequence[Instruction | None], name: str) -> Fixups:
        """What to fill into the function ``name``: ``code``, which starts at byte ``start`` of ``section``."""
        relocations = self._relocations(section)
        found = Fixups()
        for slot, instruction in enumerate(code):
            offset = start + slot * SLOT
            relocation = relocations.get(offset)
            try:
                if relocation is not None:
                    fixup = self._relocated(instruction, relocation, slot, found)
                elif isinstance(instruction, CallLocal):
                    # A call inside the section, resolved by the assembler.
                    fixup = CallTarget(section.index, offset + (1 + instruction.offset) * SLOT)
                elif isinstance(instruction, LoadImmediate64):
                    fixup = _unrelocated(instruction, section, offset, found.unsupported)
                else:
                    fixup = None
                    if isinstance(instruction, CallKfunc):
                        found.unsupported.append("kfunc")
            except _UnfitError as error:
                raise ObjectError(f"section {section.name} function {name} slot {slot}", str(error)) from None
            if fixup is not None:
                found.at[slot] = fixup
        return found

    def _relocations(self, section: Section) -> Mapping[int, Relocation]:
        found = self._by_section.get(section.index)
        if found is None:
            found = self._by_section[section.index] = _by_offset(
                section, self._container.relocations.get(section.index, ())
            )
        return found

    def _relocated(
        self, instruction: Instruction | None, relocation: Relocation, slot: int, found: Fixups
    ) -> Fixup | None:
        if relocation.symbol >= len(self._container.symbols):
            raise _UnfitError(f"relocation names symbol {relocation.symbol} of {len(self._container.symbols)}")
        symbol = self._container.symbols[relocation.symbol]
        match instruction:
            case CallLocal() | CallKfunc() if relocation.type == _R_BPF_64_32:
                if symbol.section == 0:
                    return self._extern(None, symbol, slot, found)
                if isinstance(instruction, CallKfunc):
                    raise _UnfitError("call of a kernel function that the object defines")
                section = self._section_of(symbol)
                if not section.is_code:
                    name = self._container.symbol_name(symbol)
                    raise _UnfitError(f"call of {name!r} in section {section.name}, which holds no code")
                # Against the function itself the call holds -1; against its section, the slot before the target.
                return CallTarget(section.index, symbol.value + (1 + instruction.offset) * SLOT)
            case LoadImmediate64() if relocation.type == _R_BPF_64_64:
                return self._address(instruction, symbol, slot, found)
            case _:
                name = self._container.symbol_name(symbol)
                raise _UnfitError(f"relocation of type {relocation.type} against {name!r} does not fit there")

    def _section_of(self, symbol: Symbol) -> Section:
        if not 0 < symbol.section < len(self._container.sections):
            name = self._container.symbol_name(symbol)
            raise _UnfitError(f"symbol {name!r} is in no section (index {symbol.section:#x})")
        return self._container.sections[symbol.section]

    def _extern(self, load: LoadImmediate64 | None, symbol: Symbol, slot: int, found: Fixups) -> Fixup | None:
        """What stands for an undefined symbol, in a wide load or a call."""
        provided = self._externs.provide(self._container.symbol_name(symbol), load)
        if isinstance(provided, str):
            found.unsupported.append(provided)
            return None
        found.facts += provided.facts
        found.target = provided.target or found.target
        if provided.symbol:
            found.symbols[slot] = provided.symbol
        if provided.poison:
            found.poisoned[slot] = provided.poison
        if provided.kconfig is not None:
            return DataAddress(*provided.kconfig)
        assert provided.instruction is not None
        return Replacement(provided.instruction)

    def _address(self, load: LoadImmediate64, symbol: Symbol, slot: int, found: Fixups) -> Fixup | None:
        """What a relocated wide load refers to."""
        if symbol.section == 0:
            return self._extern(load, symbol, slot, found)
        section = self._section_of(symbol)
        offset = symbol.value + load.low
        if section.is_code:
            return FunctionAddress(section.index, offset)
        if section.index in self._maps.data:
            # One past the end is an address that C allows.
            if not 0 <= offset <= section.size:
                raise _UnfitError(f"address {offset} bytes into the {section.size} of section {section.name}")
            return DataAddress(self._maps.data[section.index], offset)
        if (section.index, offset) in self._maps.at:
            return MapReference(self._maps.at[section.index, offset])
        if section.name in (".maps", "maps") or section.name.startswith("maps/"):
            name = self._container.symbol_name(symbol)
            raise _UnfitError(f"no map is defined at offset {offset} of section {section.name} ({name!r})")
        found.unsupported.append(f"data in section {section.name}")
        return None


class _UnfitError(Exception):
    """A relocation that does not fit its instruction; the caller knows the place."""


def _unrelocated(load: LoadImmediate64, section: Section, offset: int, unsupported: list[str]) -> Fixup | None:
    match load.pseudo:
        case Pseudo.IMMEDIATE:
            return None
        case Pseudo.FUNCTION:
            return FunctionAddress(section.index, offset + (1 + load.low) * SLOT)
        case Pseudo.MAP_FD | Pseudo.MAP_VALUE | Pseudo.BTF_ID:
            unsupported.append(f"{load.pseudo.name} constant")
            return None
        case Pseudo.MAP_INDEX | Pseudo.MAP_INDEX_VALUE:
            # These are ours to write: an index into the maps that the program uses.
            raise _UnfitError(f"{load.pseudo.name} constant without a relocation")
        case _:
            assert_never(load.pseudo)


def _by_offset(section: Section, relocations: Sequence[Relocation]) -> Mapping[int, Relocation]:
    found: dict[int, Relocation] = {}
    for relocation in relocations:
        if relocation.type == _R_BPF_NONE:
            continue
        if relocation.offset % SLOT or relocation.offset >= len(section.data) or relocation.offset in found:
            place = f"section {section.name} offset {relocation.offset:#x}"
            if relocation.offset in found:
                raise ObjectError(place, "relocated twice")
            raise ObjectError(place, f"relocation outside of the section's {len(section.data) // SLOT} slots")
        found[relocation.offset] = relocation
    return found
