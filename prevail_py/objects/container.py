"""The ELF container: sections, symbols and relocations of a relocatable little-endian eBPF object.

pyelftools identifies the file and reads its headers; tables of fixed-size records are read here, straight from the
section that holds them, so that no count in the file can cost more time or memory than the file has bytes.  Two
checks carry that bound: a section lies inside the file, and all sections together are no larger than the file.
"""

from __future__ import annotations

import io
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from prevail_py.objects.errors import ObjectError

__all__ = [
    "BINDING_LOCAL",
    "Container",
    "Relocation",
    "Section",
    "Symbol",
    "SymbolType",
    "Visibility",
    "parse_container",
    "printable",
    "string_at",
]

MACHINE_BPF: Final = 247
MAX_SECTIONS: Final = 8192
MAX_NAME: Final = 4096

_FLAG_EXECUTABLE: Final = 0x4
_FLAG_COMPRESSED: Final = 0x800
_RESERVED_SECTIONS: Final = 0xFF00
BINDING_LOCAL: Final = 0
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_REL: Final = struct.Struct("<QII")


class SymbolType:
    """``st_info & 15`` of the symbols that matter here (ELF gABI)."""

    NOTYPE: Final = 0
    OBJECT: Final = 1
    FUNC: Final = 2
    SECTION: Final = 3
    FILE: Final = 4


class Visibility:
    """``st_other & 3`` (ELF gABI)."""

    DEFAULT: Final = 0
    INTERNAL: Final = 1
    HIDDEN: Final = 2


@dataclass(frozen=True, slots=True)
class Section:
    """A section; ``data`` is empty where the file holds none (``SHT_NOBITS``), ``size`` is what the header says."""

    index: int
    name: str
    type: str
    flags: int
    size: int
    link: int
    info: int
    data: memoryview

    @property
    def is_code(self) -> bool:
        """Whether it holds instructions."""
        return self.type == "SHT_PROGBITS" and self.flags & _FLAG_EXECUTABLE != 0


class Symbol(NamedTuple):
    """A symbol; ``section`` is an index, 0 for an undefined one.  Ask the container for its name."""

    name_offset: int
    value: int
    size: int
    binding: int
    type: int
    visibility: int
    section: int


class Relocation(NamedTuple):
    """A REL entry: patch at byte ``offset`` of the section with the symbol of index ``symbol``."""

    offset: int
    symbol: int
    type: int


class Container:
    """Sections by index, symbols by index, relocations by the index of the section that they patch."""

    def __init__(
        self,
        sections: tuple[Section, ...],
        symbols: tuple[Symbol, ...],
        names: memoryview,
        relocations: Mapping[int, Sequence[Relocation]],
    ) -> None:
        self.sections: Final = sections
        self.symbols: Final = symbols
        self.relocations: Final = relocations
        self._names: Final = names
        self._by_section: Final[dict[int, list[Symbol]]] = {}
        for symbol in symbols:
            self._by_section.setdefault(symbol.section, []).append(symbol)

    def section(self, name: str) -> Section | None:
        """The first section of this name."""
        return next((section for section in self.sections if section.name == name), None)

    def symbols_in(self, section: Section) -> list[Symbol]:
        """The symbols defined in a section, by their value."""
        return sorted(self._by_section.get(section.index, ()), key=lambda symbol: symbol.value)

    def symbol_name(self, symbol: Symbol) -> str:
        """The name of a symbol; a section symbol without one is called like its section."""
        name = string_at(self._names, symbol.name_offset, "symbol table")
        if not name and symbol.type == SymbolType.SECTION and symbol.section < len(self.sections):
            return self.sections[symbol.section].name
        return name


def printable(data: bytes) -> str:
    """Text of a file as it may be shown: what is not UTF-8 or not printable becomes an escape."""
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def string_at(strings: memoryview, offset: int, place: str) -> str:
    """The NUL-terminated string at ``offset`` of a string table.  Raises :class:`ObjectError`."""
    if offset == 0 and not strings:
        return ""
    if offset >= len(strings):
        raise ObjectError(place, f"name at offset {offset} of a string table of {len(strings)} bytes")
    data = bytes(strings[offset : offset + MAX_NAME])
    end = data.find(0)
    if end < 0:
        reason = "is not terminated" if offset + MAX_NAME > len(strings) else f"is longer than {MAX_NAME} bytes"
        raise ObjectError(place, f"name at offset {offset} {reason}")
    return printable(data[:end])


def parse_container(data: bytes) -> Container:
    """Parse an ELF file held in memory.  Raises :class:`ObjectError`; reads nothing but ``data``."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    if data[:4] != b"\x7fELF":
        raise ObjectError("file", "not an ELF file" if data else "empty")
    if len(data) < 64:
        raise ObjectError("ELF header", f"file of {len(data)} bytes ends inside it")
    if data[4] != 2:
        raise ObjectError("ELF header", "not a 64-bit object")
    if data[5] != 1:
        raise ObjectError("ELF header", "not a little-endian object (big-endian eBPF is not supported)")
    # The machine is checked before pyelftools chooses its tables by it.
    machine = int.from_bytes(data[18:20], "little")
    if machine != MACHINE_BPF:
        raise ObjectError("ELF header", f"machine {machine} is not eBPF ({MACHINE_BPF})")
    if data[16:18] != b"\x01\x00":
        raise ObjectError("ELF header", "not a relocatable object (e_type is not ET_REL)")
    try:
        elf = ELFFile(io.BytesIO(data))
        headers = _section_headers(elf, len(data))
    except (ELFError, UnicodeDecodeError, ValueError, OverflowError, KeyError, IndexError) as error:
        if isinstance(error, ObjectError):
            raise
        raise ObjectError("ELF header", f"malformed ({error or type(error).__name__})") from None
    sections = _sections(headers, int(elf.header["e_shstrndx"]), memoryview(data))
    symbols, names = _symbols(sections)
    return Container(sections, symbols, names, _relocations(sections))


def _section_headers(elf: Any, size: int) -> list[Any]:
    from elftools.common.utils import struct_parse

    start, count, step = (int(elf.header[field]) for field in ("e_shoff", "e_shnum", "e_shentsize"))
    if start == 0 or count == 0:
        raise ObjectError("ELF header", "no sections")
    if step != elf.structs.Elf_Shdr.sizeof():
        raise ObjectError("ELF header", f"section headers of {step} bytes, not {elf.structs.Elf_Shdr.sizeof()}")
    if start + count * step > size:
        raise ObjectError("ELF header", f"{count} section headers at {start:#x} reach beyond the file's {size} bytes")
    if count > MAX_SECTIONS:
        raise ObjectError("ELF header", f"{count} sections, more than {MAX_SECTIONS}")
    return [struct_parse(elf.structs.Elf_Shdr, elf.stream, start + i * step) for i in range(count)]


def _sections(headers: list[Any], names_index: int, data: memoryview) -> tuple[Section, ...]:
    if names_index >= len(headers):
        raise ObjectError("ELF header", f"section names are in section {names_index} of {len(headers)}")
    total = 0
    contents = []
    for index, header in enumerate(headers):
        offset, size, kind = int(header["sh_offset"]), int(header["sh_size"]), str(header["sh_type"])
        if kind in ("SHT_NOBITS", "SHT_NULL"):
            contents.append(data[:0])
            continue
        total += size
        if offset + size > len(data):
            raise ObjectError(f"section {index}", f"{size} bytes at {offset:#x} reach beyond the file's {len(data)}")
        if total > len(data):
            raise ObjectError(f"section {index}", "sections overlap: together they are larger than the file")
        contents.append(data[offset : offset + size])
    return tuple(
        Section(
            index=index,
            name=string_at(contents[names_index], int(header["sh_name"]), f"section {index}"),
            type=str(header["sh_type"]),
            flags=int(header["sh_flags"]),
            size=int(header["sh_size"]),
            link=int(header["sh_link"]),
            info=int(header["sh_info"]),
            data=contents[index],
        )
        for index, header in enumerate(headers)
    )


def _records(section: Section, record: struct.Struct) -> Any:
    if section.flags & _FLAG_COMPRESSED:
        raise ObjectError(f"section {section.name}", "compressed")
    if len(section.data) % record.size:
        raise ObjectError(
            f"section {section.name}", f"{len(section.data)} bytes are no whole number of {record.size}-byte entries"
        )
    return record.iter_unpack(section.data)


def _symbols(sections: tuple[Section, ...]) -> tuple[tuple[Symbol, ...], memoryview]:
    tables = [section for section in sections if section.type == "SHT_SYMTAB"]
    if not tables:
        raise ObjectError("ELF header", "no symbol table")
    if len(tables) > 1:
        raise ObjectError(f"section {tables[1].name}", "a second symbol table")
    table = tables[0]
    if table.link >= len(sections) or sections[table.link].type != "SHT_STRTAB":
        raise ObjectError(f"section {table.name}", f"its names are said to be in section {table.link}, no string table")
    symbols: list[Symbol] = []
    for name, info, other, index, value, size in _records(table, _SYMBOL):
        if len(sections) <= index < _RESERVED_SECTIONS:
            raise ObjectError(f"symbol {len(symbols)}", f"defined in section {index} of {len(sections)}")
        symbols.append(Symbol(name, value, size, info >> 4, info & 15, other & 3, index))
    return tuple(symbols), sections[table.link].data


def _relocations(sections: tuple[Section, ...]) -> Mapping[int, Sequence[Relocation]]:
    relocations: defaultdict[int, list[Relocation]] = defaultdict(list)
    for section in sections:
        if section.type not in ("SHT_REL", "SHT_RELA"):
            continue
        if not 0 < section.info < len(sections):
            raise ObjectError(f"section {section.name}", f"relocates section {section.info} of {len(sections)}")
        target = sections[section.info]
        if section.type == "SHT_RELA" and target.is_code:
            raise ObjectError(f"section {section.name}", "relocations with addends (RELA) are not used by eBPF")
        if section.type == "SHT_REL" and (
            target.is_code or not target.name.startswith((".debug", ".BTF", ".eh_frame"))
        ):
            relocations[target.index] += [
                Relocation(offset, symbol, kind) for offset, kind, symbol in _records(section, _REL)
            ]
    return dict(relocations)
