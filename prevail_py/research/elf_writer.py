"""Write small eBPF objects from scratch: sections, symbols, relocations and BTF, well-formed or deliberately not.

What tests and fuzz campaigns need where no compiler is at hand, or where no compiler would produce the case.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["BtfWriter", "ElfWriter"]

PROGBITS, SYMTAB, STRTAB, NOBITS, REL = 1, 2, 3, 8, 9
ALLOC, EXECUTABLE = 2, 4


class _Strings:
    """A string table; equal strings share their place."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self._known: dict[str, int] = {"": 0}

    def add(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._known[text]


@dataclass(slots=True)
class _Section:
    name: str
    data: bytes
    type: int
    flags: int
    size: int | None = None
    link: int = 0
    info: int = 0
    entry_size: int = 0


@dataclass(slots=True)
class ElfWriter:
    """Builds a relocatable little-endian 64-bit ELF file.

    >>> elf = ElfWriter()
    >>> text = elf.code("xdp", bytes.fromhex("b700000002000000" "9500000000000000"))
    >>> _ = elf.function("main", text, 0, 16)
    >>> elf.build()[:4]
    b'\\x7fELF'
    """

    machine: int = 247
    type: int = 1
    sections: list[_Section] = field(default_factory=list)
    symbols: list[tuple[str, int, int, int, int, int]] = field(default_factory=list)
    relocations: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)

    def section(self, name: str, data: bytes = b"", type: int = PROGBITS, flags: int = ALLOC) -> int:
        """Append a section; its index."""
        self.sections.append(_Section(name, data, type, flags))
        return len(self.sections)

    def code(self, name: str, data: bytes) -> int:
        """Append a section of instructions; its index."""
        return self.section(name, data, flags=ALLOC | EXECUTABLE)

    def bss(self, name: str, size: int) -> int:
        """Append a section of zeros that takes no room in the file; its index."""
        index = self.section(name, type=NOBITS)
        self.sections[-1].size = size
        return index

    def symbol(
        self, name: str, section: int, value: int = 0, size: int = 0, type: int = 1, binding: int = 1, other: int = 0
    ) -> int:
        """Append a symbol (by default a global object); its index."""
        self.symbols.append((name, section, value, size, binding << 4 | type, other))
        return len(self.symbols)

    def function(self, name: str, section: int, value: int, size: int, binding: int = 1) -> int:
        """Append a function symbol; its index."""
        return self.symbol(name, section, value, size, type=2, binding=binding)

    def relocate(self, section: int, offset: int, symbol: int, type: int) -> None:
        """Append a relocation of ``section``."""
        self.relocations.setdefault(section, []).append((offset, symbol, type))

    def build(self) -> bytes:
        """The file."""
        strings = _Strings()
        symbols = bytearray(24)
        for name, section, value, size, info, other in self.symbols:
            symbols += struct.pack("<IBBHQQ", strings.add(name), info, other, section, value, size)
        sections = list(self.sections)
        symtab = len(sections) + 1
        sections.append(_Section(".symtab", bytes(symbols), SYMTAB, 0, link=symtab + 1, info=1, entry_size=24))
        strtab_at = len(sections)
        sections.append(_Section(".strtab", b"", STRTAB, 0))
        for target, entries in self.relocations.items():
            data = b"".join(struct.pack("<QII", offset, type, symbol) for offset, symbol, type in entries)
            name = ".rel" + self.sections[target - 1].name
            sections.append(_Section(name, data, REL, 0, link=symtab, info=target, entry_size=16))
        names = [strings.add(section.name) for section in sections]
        sections[strtab_at].data = bytes(strings.data)
        body = bytearray(64)
        headers = bytearray(64)
        for name_offset, part in zip(names, sections, strict=True):
            body += bytes(-len(body) % 8)
            size = len(part.data) if part.size is None else part.size
            headers += struct.pack(
                "<IIQQQQIIQQ",
                name_offset, part.type, part.flags, 0, len(body), size, part.link, part.info, 8, part.entry_size,
            )  # fmt: skip
            body += part.data
        body += bytes(-len(body) % 8)
        identification = b"\x7fELF\x02\x01\x01" + bytes(9)
        body[:64] = identification + struct.pack(
            "<HHIQQQIHHHHHH",
            self.type, self.machine, 1, 0, 0, len(body), 0, 64, 0, 0, 64, len(sections) + 1, strtab_at + 1,
        )  # fmt: skip
        return bytes(body + headers)


@dataclass(slots=True)
class BtfWriter:
    """Builds ``.BTF`` and ``.BTF.ext``.  Methods that append a type return its id.

    >>> btf = BtfWriter()
    >>> btf.integer("int", 4)
    1
    """

    types: bytearray = field(default_factory=bytearray)
    count: int = 0
    _strings: _Strings = field(default_factory=_Strings)

    def string(self, text: str) -> int:
        """The offset of a string."""
        return self._strings.add(text)

    def add(
        self, kind: int, name: str = "", word: int = 0, length: int = 0, rest: Sequence[int] = (), flag: bool = False
    ) -> int:
        """Append a type of any kind: ``word`` is its size or type, ``rest`` the words that follow."""
        info = kind << 24 | length | flag << 31
        self.types += struct.pack(f"<III{len(rest)}I", self.string(name), info, word, *rest)
        self.count += 1
        return self.count

    def integer(self, name: str, size: int) -> int:
        """Append an INT."""
        return self.add(1, name, size, rest=[8 * size])

    def pointer(self, type: int) -> int:
        """Append a PTR."""
        return self.add(2, word=type)

    def array(self, type: int, count: int) -> int:
        """Append an ARRAY."""
        return self.add(3, rest=[type, type, count])

    def struct(self, name: str, size: int, members: Sequence[tuple[str, int, int]], kind: int = 4) -> int:
        """Append a STRUCT (or UNION, kind 5); members are name, type, offset in bits."""
        rest = [word for name_, type, offset in members for word in (self.string(name_), type, offset)]
        return self.add(kind, name, size, len(members), rest)

    def variable(self, name: str, type: int, linkage: int = 1) -> int:
        """Append a VAR."""
        return self.add(14, name, type, rest=[linkage])

    def datasec(self, name: str, variables: Sequence[int]) -> int:
        """Append a DATASEC with these VARs, as compilers write it: offsets 0."""
        return self.add(15, name, 0, len(variables), [word for id in variables for word in (id, 0, 0)])

    def number(self, value: int) -> int:
        """Append what ``__uint(name, value)`` gives a member: pointer to an array of ``value`` elements."""
        return self.pointer(self.array(self.integer("int", 4), value))

    def map(self, name: str, **attributes: int) -> int:
        """Append a map definition and its VAR: attributes ending in ``_type`` (``value_type``) are pointees."""
        members: list[tuple[str, int, int]] = []
        for attribute, value in attributes.items():
            if attribute.endswith("_type"):
                members.append((attribute.removesuffix("_type"), self.pointer(value), 64 * len(members)))
            else:
                members.append((attribute, self.number(value), 64 * len(members)))
        return self.variable(name, self.struct("", 8 * len(members), members))

    def build(self) -> bytes:
        """The ``.BTF`` section."""
        strings = bytes(self._strings.data)
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(strings))
        return header + bytes(self.types) + strings

    def build_ext(
        self,
        lines: Sequence[tuple[str, int, str, str, int, int]] = (),
        core: Sequence[tuple[str, int, int, str, int]] = (),
    ) -> bytes:
        """The ``.BTF.ext`` section.

        ``lines``: section, byte offset, file, text, line, column; ``core``: section, byte offset, type, access, kind.
        Call it before :meth:`build`: it adds strings.
        """
        line_rows = [
            (
                self.string(section),
                struct.pack("<IIII", offset, self.string(file), self.string(text), line << 10 | column),
            )
            for section, offset, file, text, line, column in lines
        ]
        core_rows = [
            (self.string(section), struct.pack("<IIII", offset, type, self.string(access), kind))
            for section, offset, type, access, kind in core
        ]
        parts = [_subsection(16, rows) for rows in (line_rows, core_rows)]
        at = [0, 0, 0, len(parts[0]), len(parts[0]), len(parts[1])]
        return struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, *at) + b"".join(parts)


def _subsection(size: int, rows: Sequence[tuple[int, bytes]]) -> bytes:
    if not rows:
        return b""
    by_section: dict[int, list[bytes]] = {}
    for section, record in rows:
        by_section.setdefault(section, []).append(record)
    data = struct.pack("<I", size)
    for section, records in by_section.items():
        data += struct.pack("<II", section, len(records)) + b"".join(records)
    return data
