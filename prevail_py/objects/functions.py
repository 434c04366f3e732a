"""The functions of an object: which there are, where they begin and end, and their instructions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from prevail_py.isa.decode import DecodeError, decode
from prevail_py.isa.instructions import Instruction
from prevail_py.objects.container import BINDING_LOCAL, Container, Section, SymbolType, Visibility
from prevail_py.objects.core_patch import POISON
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.externs import Externs
from prevail_py.objects.maps import MapTable
from prevail_py.objects.relocations import SLOT, Fixups, Relocator

__all__ = ["Function", "collect_functions"]

MAX_SLOTS: Final = 1_000_000
MAX_FUNCTIONS: Final = 50_000


@dataclass(eq=False, slots=True)
class Function:
    """A function of the object: bytes ``start`` to ``end`` (exclusive) of ``section``.

    It is decoded once, whatever the number of programs that contain it; ``fixups`` is what differs between them.
    ``malformed`` says why the bytes are not eBPF: then the code is a call that no engine makes, in every slot, and
    programs that contain the function are unsupported.
    """

    name: str
    section: Section
    start: int
    end: int
    is_global: bool
    code: tuple[Instruction | None, ...] = ()
    fixups: Fixups = field(default_factory=Fixups)
    malformed: str = ""

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"section {self.section.name} function {self.name}"


def collect_functions(container: Container, maps: MapTable, externs: Externs) -> list[Function]:
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
        if len(functions) > MAX_FUNCTIONS:
            raise ObjectError(f"section {section.name}", f"the object has more than {MAX_FUNCTIONS} functions")
    relocator = Relocator(container, maps, externs)
    for function in functions:
        try:
            function.code = decode(bytes(function.section.data[function.start : function.end]))
        except DecodeError as error:
            # The other programs of the object can be loaded, as libbpf has it: the kernel refuses this one alone.
            function.malformed = f"function {function.name}: {error}"
            function.code = (POISON,) * ((function.end - function.start) // SLOT)
            function.fixups = Fixups(unsupported=[function.malformed], poisoned={0: function.malformed})
            continue
        function.fixups = relocator.fixups(function.section, function.start, function.code, function.name)
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
