"""The functions of an object and the places in them that linking must fill in.

A function is decoded once, whatever the number of programs that contain it; what depends on the program it ends up in
(the slot of a callee, the number of a map) is left as a :data:`Fixup` at a slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from prevail_py.isa.decode import DecodeError, decode
from prevail_py.isa.instructions import CallKfunc, CallLocal, Instruction, LoadImmediate64, Pseudo
from prevail_py.objects.btf import Btf
from prevail_py.objects.container import (
    BINDING_LOCAL,
    Container,
    Relocation,
    Section,
    Symbol,
    SymbolType,
    Visibility,
)
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.maps import MapTable

__all__ = ["CallTarget", "DataAddress", "Fixup", "Function", "FunctionAddress", "MapReference", "collect_functions"]

MAX_SLOTS: Final = 1_000_000
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


Fixup: TypeAlias = MapReference | DataAddress | CallTarget | FunctionAddress


@dataclass(eq=False, slots=True)
class Function:
    """A function of the object: bytes ``start`` to ``end`` (exclusive) of ``section``.

    ``fixups`` by slot, ascending; ``unsupported`` lists what its instructions need that is not modelled.
    """

    name: str
    section: Section
    start: int
    end: int
    is_global: bool
    code: tuple[Instruction | None, ...] = ()
    fixups: dict[int, Fixup] = field(default_factory=dict)
    unsupported: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"section {self.section.name} function {self.name}"


def collect_functions(container: Container, maps: MapTable, btf: Btf | None) -> list[Function]:
    """All functions of the object's code sections, decoded, by section and offset.  Raises :class:`ObjectError`."""
    functions = []
    slots = 0
    for section in container.sections:
        if not section.is_code or not section.size:
            continue
        for function in _functions_of(container, section):
            slots += (function.end - function.start) // SLOT
            if slots > MAX_SLOTS:
                raise ObjectError(function.place, f"the object has more than {MAX_SLOTS} instruction slots")
            functions.append(function)
    relocations = {
        section.index: _by_offset(container, section)
        for section in {f.section.index: f.section for f in functions}.values()
    }
    externs = _externs(btf)
    for function in functions:
        try:
            function.code = decode(bytes(function.section.data[function.start : function.end]))
        except DecodeError as error:
            raise ObjectError(function.place, str(error)) from None
        _find_fixups(function, container, maps, externs, relocations[function.section.index])
    return functions


def _functions_of(container: Container, section: Section) -> list[Function]:
    symbols = [symbol for symbol in container.symbols_in(section) if symbol.type == SymbolType.FUNC]
    if not symbols:
        # Hand-written code without function symbols: the section is one function.
        if len(section.data) % SLOT:
            raise ObjectError(f"section {section.name}", f"{len(section.data)} bytes are no whole number of slots")
        return [Function(section.name, section, 0, len(section.data), is_global=True)]
    functions = []
    for symbol in symbols:
        name = container.symbol_name(symbol)
        end = symbol.value + symbol.size
        if symbol.value % SLOT or symbol.size % SLOT or not 0 < symbol.size <= end <= len(section.data):
            raise ObjectError(
                f"section {section.name} function {name}",
                f"{symbol.size} bytes at offset {symbol.value} of a section of {len(section.data)}",
            )
        visible = symbol.visibility not in (Visibility.HIDDEN, Visibility.INTERNAL)
        functions.append(Function(name, section, symbol.value, end, symbol.binding != BINDING_LOCAL and visible))
    return functions


def _by_offset(container: Container, section: Section) -> Mapping[int, Relocation]:
    found: dict[int, Relocation] = {}
    for relocation in container.relocations.get(section.index, ()):
        place = f"section {section.name} offset {relocation.offset:#x}"
        if relocation.type == _R_BPF_NONE:
            continue
        if relocation.offset % SLOT or relocation.offset >= len(section.data):
            raise ObjectError(place, f"relocation outside of the section's {len(section.data) // SLOT} slots")
        if relocation.offset in found:
            raise ObjectError(place, "relocated twice")
        found[relocation.offset] = relocation
    return found


def _externs(btf: Btf | None) -> Mapping[str, str]:
    """What kind of thing an undefined variable is, by name: libbpf's externs are declared in two sections."""
    kinds: dict[str, str] = {}
    for section, kind in ((".kconfig", "kconfig"), (".ksyms", "ksym")):
        datasec = btf.datasec(section) if btf is not None else None
        if btf is not None and datasec is not None:
            kinds.update((btf.type(variable.type).name, kind) for variable in datasec.variables)
    return kinds


def _find_fixups(
    function: Function,
    container: Container,
    maps: MapTable,
    externs: Mapping[str, str],
    relocations: Mapping[int, Relocation],
) -> None:
    for slot, instruction in enumerate(function.code):
        offset = function.start + slot * SLOT
        relocation = relocations.get(offset)
        if relocation is not None:
            _relocate(function, slot, instruction, relocation, container, maps, externs)
        elif isinstance(instruction, CallLocal):
            # A call inside the section, resolved by the assembler.
            function.fixups[slot] = CallTarget(function.section.index, offset + (1 + instruction.offset) * SLOT)
        elif isinstance(instruction, CallKfunc):
            function.unsupported.append("kfunc")
        elif isinstance(instruction, LoadImmediate64):
            _unrelocated_load(function, slot, offset, instruction)


def _unrelocated_load(function: Function, slot: int, offset: int, load: LoadImmediate64) -> None:
    match load.pseudo:
        case Pseudo.IMMEDIATE:
            pass
        case Pseudo.FUNCTION:
            function.fixups[slot] = FunctionAddress(function.section.index, offset + (1 + load.low) * SLOT)
        case Pseudo.MAP_FD | Pseudo.MAP_VALUE | Pseudo.BTF_ID:
            function.unsupported.append(f"{load.pseudo.name} constant")
        case Pseudo.MAP_INDEX | Pseudo.MAP_INDEX_VALUE:
            # These are ours to write: an index into the maps that the program uses.
            raise ObjectError(f"{function.place} slot {slot}", f"{load.pseudo.name} constant without a relocation")
        case _:
            assert_never(load.pseudo)


def _relocate(
    function: Function,
    slot: int,
    instruction: Instruction | None,
    relocation: Relocation,
    container: Container,
    maps: MapTable,
    externs: Mapping[str, str],
) -> None:
    place = f"{function.place} slot {slot}"
    symbol = container.relocation_symbol(relocation, place)
    name = container.symbol_name(symbol)
    match instruction:
        case CallLocal() if relocation.type == _R_BPF_64_32:
            if symbol.section == 0:
                function.unsupported.append(f"kfunc {name}")
            else:
                # Against the function itself the call holds -1; against its section, the slot before the target.
                target = symbol.value + (1 + instruction.offset) * SLOT
                function.fixups[slot] = CallTarget(_code_section(symbol, name, container, place), target)
        case CallKfunc() if relocation.type == _R_BPF_64_32:
            function.unsupported.append(f"kfunc {name}")
        case LoadImmediate64() if relocation.type == _R_BPF_64_64:
            if symbol.section == 0:
                function.unsupported.append(f"{externs.get(name, 'extern')} {name}")
            else:
                fixup = _address(instruction, symbol, name, container, maps, place)
                if fixup is None:
                    function.unsupported.append(f"data in section {container.sections[symbol.section].name}")
                else:
                    function.fixups[slot] = fixup
        case _:
            raise ObjectError(place, f"relocation of type {relocation.type} against {name!r} does not fit there")


def _section_of(symbol: Symbol, name: str, container: Container, place: str) -> Section:
    if not 0 < symbol.section < len(container.sections):
        raise ObjectError(place, f"symbol {name!r} is in no section (index {symbol.section:#x})")
    return container.sections[symbol.section]


def _code_section(symbol: Symbol, name: str, container: Container, place: str) -> int:
    section = _section_of(symbol, name, container, place)
    if not section.is_code:
        raise ObjectError(place, f"call of {name!r} in section {section.name}, which holds no code")
    return section.index


def _address(
    load: LoadImmediate64, symbol: Symbol, name: str, container: Container, maps: MapTable, place: str
) -> Fixup | None:
    """What a relocated wide load refers to; None if it is in a section that is not modelled."""
    section = _section_of(symbol, name, container, place)
    offset = symbol.value + load.low
    if section.is_code:
        return FunctionAddress(section.index, offset)
    if section.index in maps.data:
        if not 0 <= offset <= section.size:
            raise ObjectError(place, f"address {offset} bytes into the {section.size} of section {section.name}")
        return DataAddress(maps.data[section.index], offset)
    if (section.index, offset) in maps.at:
        return MapReference(maps.at[section.index, offset])
    if section.name == ".maps" or section.name == "maps" or section.name.startswith("maps/"):
        raise ObjectError(place, f"no map is defined at offset {offset} of section {section.name} ({name!r})")
    return None
