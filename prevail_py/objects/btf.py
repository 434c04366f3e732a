"""BTF, the type information of eBPF objects and kernels: an index over the raw bytes, types decoded when asked for.

Format: Documentation/bpf/btf.rst of the Linux kernel.  Type 0 is void.  One pass finds where each type starts and
that all of them lie inside the section; everything else is checked at the access, so that a hostile section costs
time linear in its size.  Type graphs may be cyclic: walks are iterative and bounded.

The BTF of a kernel has some 130 000 types in 5 MB.  Types are found by name through the raw bytes as well (where is the
string, which types name it), so that no table of names is ever built.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Final, NamedTuple

from prevail_py.objects.container import MAX_SECTIONS, printable, string_at
from prevail_py.objects.errors import ObjectError

__all__ = ["Btf", "BtfType", "EnumValue", "Kind", "Member", "Parameter", "Variable", "essential_name", "parse_btf"]

MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("<HBBIIIII")
_TYPE: Final = struct.Struct("<III")
_MAX_DEPTH: Final = 64
_TEXT_LIMIT: Final = 256


class Kind(IntEnum):
    """BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Bytes after the common 12: fixed, and for each of the type's vlen entries.
_FIXED: Final = {Kind.INT: 4, Kind.ARRAY: 12, Kind.VAR: 4, Kind.DECL_TAG: 4}
_EACH: Final = {
    Kind.STRUCT: 12,
    Kind.UNION: 12,
    Kind.ENUM: 8,
    Kind.FUNC_PROTO: 8,
    Kind.DATASEC: 12,
    Kind.ENUM64: 12,
}
# The same in words, 0 for an unknown kind.
_WORDS: Final = tuple(3 + _FIXED.get(Kind(n), 0) // 4 if 0 < n <= max(Kind) else 0 for n in range(32))
_WORDS_EACH: Final = tuple(_EACH.get(Kind(n), 0) // 4 if n <= max(Kind) else 0 for n in range(32))
_FLAVOUR_MARK: Final = b"___"
_SIZED: Final = frozenset({Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.FLOAT, Kind.DATASEC, Kind.ENUM64})
_MODIFIERS: Final = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_POINTER_SIZE: Final = 8


class Member(NamedTuple):
    """A member of a struct or union; ``bits`` is 0 unless it is a bit-field."""

    name: str
    type: int
    bit_offset: int
    bits: int = 0

    @property
    def offset(self) -> int:
        """Its offset in whole bytes."""
        return self.bit_offset // 8


class EnumValue(NamedTuple):
    """One enumerator."""

    name: str
    value: int


class Parameter(NamedTuple):
    """A parameter of a function; the last one is unnamed and void where more may follow."""

    name: str
    type: int


class Variable(NamedTuple):
    """What a DATASEC says of one variable: its VAR type, offset and size in the section (0 until linked)."""

    type: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class BtfType:
    """One type.  Which fields mean something depends on ``kind``.

    ``size`` in bytes; ``type`` what it refers to (pointee, element, aliased type, return type); ``count`` elements of
    an array; ``flag`` the kind flag (signed enum, union forward); ``linkage`` of VAR and FUNC (0 static, 1 global,
    2 extern); ``encoding`` of INT: bits, bit offset, sign as in the raw word; ``component`` of DECL_TAG, -1 for all.
    """

    id: int
    kind: Kind
    name: str
    size: int = 0
    type: int = 0
    count: int = 0
    index_type: int = 0
    flag: bool = False
    linkage: int = 0
    encoding: int = 0
    component: int = -1
    members: tuple[Member, ...] = ()
    values: tuple[EnumValue, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    variables: tuple[Variable, ...] = ()


_VOID: Final = BtfType(0, Kind.VOID, "void")


class Btf:
    """The types of an object or a kernel.  All methods raise :class:`ObjectError` where the data do not make sense.

    With ``base`` this is the split BTF of a kernel module: ids and string offsets go on where those of ``base`` end.
    """

    def __init__(self, types: memoryview, strings: memoryview, place: str, base: Btf | None = None) -> None:
        self._types: Final = types
        self._strings: Final = strings
        self._place: Final = place
        self._base: Final = base
        self._first: Final = 1 if base is None else len(base)
        self._strings_start: Final[int] = 0 if base is None else base._strings_end
        self._strings_end: Final[int] = self._strings_start + len(strings)
        self._offsets, self._names = _index(types, place)
        self._decoded: Final[dict[int, BtfType]] = {0: _VOID}
        self._texts: Final[dict[int, str]] = {}
        self._datasecs: dict[str, BtfType] | None = None
        self._search: tuple[bytes, list[int]] | None = None

    def __len__(self) -> int:
        """The number of types, void and those of the base included: valid ids are below it."""
        return self._first + len(self._offsets)

    def __iter__(self) -> Iterator[BtfType]:
        """The types in ascending order, void and those of the base left out."""
        return (self.type(id) for id in range(self._first, len(self)))

    def __repr__(self) -> str:
        return f"<Btf of {len(self)} types>"

    def string(self, offset: int) -> str:
        """The string at ``offset`` of the string section."""
        if self._base is not None and offset < self._strings_start:
            return self._base.string(offset)
        return string_at(self._strings, offset - self._strings_start, self._place)

    def text(self, offset: int) -> str:
        """Like :meth:`string`, for source lines: what is too long is cut off."""
        found = self._texts.get(offset)
        if found is None:
            found = self._texts[offset] = self._text(offset)
        return found

    def _text(self, offset: int) -> str:
        if offset >= len(self._strings):
            raise ObjectError(self._place, f"text at offset {offset} of {len(self._strings)} bytes of strings")
        return printable(bytes(self._strings[offset : offset + _TEXT_LIMIT]).split(b"\0", 1)[0].strip())

    def type(self, id: int) -> BtfType:
        """The type with this id."""
        found = self._decoded.get(id)
        if found is None:
            if self._base is not None and 0 < id < self._first:
                return self._base.type(id)
            if not 0 < id < len(self):
                raise ObjectError(self._place, f"type {id} of {len(self)}")
            found = self._decoded[id] = self._decode(id)
        return found

    def kind(self, id: int) -> Kind:
        """The kind of a type, without decoding it."""
        if id == 0:
            return Kind.VOID
        if self._base is not None and id < self._first:
            return self._base.kind(id)
        if not 0 < id < len(self):
            raise ObjectError(self._place, f"type {id} of {len(self)}")
        return Kind(self._types[self._offsets[id - self._first] + 7] & 0x1F)

    def resolve(self, id: int) -> BtfType:
        """The type behind typedefs, qualifiers and type tags."""
        for _ in range(_MAX_DEPTH):
            found = self.type(id)
            if found.kind not in _MODIFIERS:
                return found
            id = found.type
        raise ObjectError(f"{self._place} type {id}", f"more than {_MAX_DEPTH} typedefs and qualifiers deep")

    def size_of(self, id: int) -> int:
        """The size in bytes of a value of the type; 0 for void, functions and forward declarations."""
        count = 1
        for _ in range(_MAX_DEPTH):
            found = self.resolve(id)
            if found.kind is Kind.ARRAY:
                count *= found.count
                id = found.type
            elif found.kind is Kind.VAR:
                id = found.type
            elif found.kind is Kind.PTR:
                return count * _POINTER_SIZE
            else:
                return count * found.size
        raise ObjectError(f"{self._place} type {id}", f"arrays more than {_MAX_DEPTH} deep")

    def find(self, name: str, kind: Kind) -> BtfType | None:
        """The first type of this name and kind; those of the base do not count."""
        return next((self.type(id) for id in self.named(name) if self.kind(id) is kind), None)

    def named(self, name: str) -> list[int]:
        """The ids of all types of this name, ascending; those of the base do not count."""
        return self._ids_of(self._strings_like(name.encode() + b"\0")) if name else []

    def flavours(self, name: str) -> list[int]:
        """The ids of all types whose :func:`essential_name` is ``name``, ascending; those of the base do not count."""
        if not name:
            return []
        longer = self._strings_like(name.encode() + _FLAVOUR_MARK)
        return self._ids_of(
            self._strings_like(name.encode() + b"\0")
            + [offset for offset in longer if essential_name(self.string(offset)) == name]
        )

    def _strings_like(self, prefix: bytes) -> list[int]:
        """The offsets of all strings, those of the base included, that names of types may be and start so."""
        found = self._base._strings_like(prefix) if self._base is not None else []
        if self._search is None:
            # A string may be the tail of a longer one, if a linker merged them: of these a list is kept.
            data, start = bytes(self._strings), self._strings_start
            own = (offset - start for offset in set(self._names) if start < offset < self._strings_end)
            self._search = data, sorted(offset for offset in own if data[offset - 1])
        data, tails = self._search
        at = data.find(b"\0" + prefix)
        while at >= 0:
            found.append(self._strings_start + at + 1)
            at = data.find(b"\0" + prefix, at + 1)
        if self._base is not None and data.startswith(prefix):  # only the base begins with an empty string
            found.append(self._strings_start)
        return found + [self._strings_start + offset for offset in tails if data.startswith(prefix, offset)]

    def _ids_of(self, strings: list[int]) -> list[int]:
        """The ids of the types whose name is at one of these offsets, ascending."""
        names, ids = memoryview(self._names).tobytes(), []
        for offset in set(strings):
            wanted = offset.to_bytes(4, sys.byteorder)
            at = names.find(wanted)
            while at >= 0:
                if at % 4 == 0:
                    ids.append(self._first + at // 4)
                at = names.find(wanted, at + 1)
        return sorted(ids)

    def of_kind(self, kind: Kind) -> Iterator[BtfType]:
        """All types of a kind, ascending."""
        for id, offset in enumerate(self._offsets, self._first):
            if self._types[offset + 7] & 0x1F == kind:
                yield self.type(id)

    def datasec(self, name: str) -> BtfType | None:
        """The DATASEC that describes the section of this name."""
        if self._datasecs is None:
            found = list(islice(self.of_kind(Kind.DATASEC), MAX_SECTIONS + 1))
            if len(found) > MAX_SECTIONS:
                raise ObjectError(self._place, f"more than {MAX_SECTIONS} types of kind DATASEC")
            self._datasecs = {section.name: section for section in found}
        return self._datasecs.get(name)

    def member(self, id: int, name: str) -> Member | None:
        """The member ``name`` of a struct or union, looked for in anonymous members too; its offset is absolute."""
        pending, seen = [(id, 0)], set()
        while pending:
            current, base = pending.pop()
            aggregate = self.resolve(current)
            if aggregate.id in seen:
                continue
            seen.add(aggregate.id)
            for member in aggregate.members:
                if member.name == name:
                    return member._replace(bit_offset=base + member.bit_offset)
                if not member.name:
                    pending.append((member.type, base + member.bit_offset))
        return None

    def spell(self, id: int) -> str:
        """The type as C writes it, more or less: ``struct ethhdr *``, ``const u32[4]``."""
        suffix = ""
        for _ in range(_MAX_DEPTH):
            found = self.type(id)
            match found.kind:
                case Kind.PTR:
                    suffix = " *" + suffix.removeprefix(" ")
                case Kind.ARRAY:
                    suffix = f"{suffix}[{found.count}]"
                case Kind.CONST | Kind.VOLATILE | Kind.RESTRICT:
                    suffix = f" {found.kind.name.lower()}{suffix}"
                case Kind.TYPE_TAG:
                    pass
                case Kind.STRUCT | Kind.UNION | Kind.ENUM:
                    return f"{found.kind.name.lower()} {found.name or '{...}'}{suffix}"
                case Kind.FWD:
                    return f"{'union' if found.flag else 'struct'} {found.name}{suffix}"
                case Kind.FUNC_PROTO:
                    return f"function{suffix}"
                case _:
                    return f"{found.name or found.kind.name.lower()}{suffix}"
            id = found.type
        return f"...{suffix}"

    def _decode(self, id: int) -> BtfType:
        offset = self._offsets[id - self._first]
        name_offset, info, word = _TYPE.unpack_from(self._types, offset)
        kind, length, flag = Kind(info >> 24 & 0x1F), info & 0xFFFF, bool(info >> 31)
        name = self.string(name_offset) if name_offset else ""
        size, type = (word, 0) if kind in _SIZED else (0, word)
        rest = self._types[offset + 12 :]
        match kind:
            case Kind.INT:
                return BtfType(id, kind, name, size, encoding=_words(rest, 1)[0])
            case Kind.ARRAY:
                element, index, count = _words(rest, 3)
                return BtfType(id, kind, name, type=element, index_type=index, count=count)
            case Kind.STRUCT | Kind.UNION:
                words = _words(rest, 3 * length)
                members = tuple(
                    Member(
                        self.string(words[i]) if words[i] else "",
                        words[i + 1],
                        words[i + 2] & 0xFFFFFF if flag else words[i + 2],
                        words[i + 2] >> 24 if flag else 0,
                    )
                    for i in range(0, 3 * length, 3)
                )
                return BtfType(id, kind, name, size, flag=flag, members=members)
            case Kind.ENUM:
                words = _words(rest, 2 * length)
                values = tuple(
                    EnumValue(self.string(words[i]), _signed(words[i + 1], 32, flag)) for i in range(0, 2 * length, 2)
                )
                return BtfType(id, kind, name, size, flag=flag, values=values)
            case Kind.ENUM64:
                words = _words(rest, 3 * length)
                values = tuple(
                    EnumValue(self.string(words[i]), _signed(words[i + 1] | words[i + 2] << 32, 64, flag))
                    for i in range(0, 3 * length, 3)
                )
                return BtfType(id, kind, name, size, flag=flag, values=values)
            case Kind.FUNC_PROTO:
                words = _words(rest, 2 * length)
                parameters = tuple(
                    Parameter(self.string(words[i]) if words[i] else "", words[i + 1]) for i in range(0, 2 * length, 2)
                )
                return BtfType(id, kind, name, type=type, parameters=parameters)
            case Kind.DATASEC:
                words = _words(rest, 3 * length)
                variables = tuple(Variable(*words[i : i + 3]) for i in range(0, 3 * length, 3))
                return BtfType(id, kind, name, size, variables=variables)
            case Kind.VAR:
                return BtfType(id, kind, name, type=type, linkage=_words(rest, 1)[0])
            case Kind.FUNC:
                return BtfType(id, kind, name, type=type, linkage=length)
            case Kind.DECL_TAG:
                return BtfType(id, kind, name, type=type, component=_signed(_words(rest, 1)[0], 32, True))
            case _:
                return BtfType(id, kind, name, size=size, type=type, flag=flag)


def essential_name(name: str) -> str:
    """``name`` without its flavour, which is what follows the last ``___`` between two other characters.

    >>> essential_name("task_struct___old"), essential_name("___x"), essential_name("a____b")
    ('task_struct', '___x', 'a____b')
    """
    for at in range(len(name) - 5, -1, -1):
        if name[at + 1 : at + 4] == "___" and name[at] != "_" and name[at + 4] != "_":
            return name[: at + 1]
    return name


def _words(data: memoryview, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", data)


def _signed(word: int, bits: int, signed: bool) -> int:
    return word - (1 << bits) if signed and word >> (bits - 1) else word


def _index(types: memoryview, place: str) -> tuple[array[int], array[int]]:
    """Where each type starts, every one inside ``types``, and where its name does in the string section."""
    offsets, names = array("I"), array("I")
    words = array("I", bytes(types[: len(types) // 4 * 4]))
    if sys.byteorder == "big":
        words.byteswap()
    at, end = 0, len(words)
    while at < end:
        if at + 3 > end:
            raise ObjectError(f"{place} type {len(offsets) + 1}", "the section ends inside it")
        info = words[at + 1]
        number = info >> 24 & 0x1F
        step = _WORDS[number]
        if not step:
            raise ObjectError(f"{place} type {len(offsets) + 1}", f"unknown kind {number}")
        offsets.append(4 * at)
        names.append(words[at])
        at += step + _WORDS_EACH[number] * (info & 0xFFFF)
    if at > end or len(types) % 4:
        raise ObjectError(f"{place} type {len(offsets)}", "the section ends inside it")
    return offsets, names


def parse_btf(data: memoryview, place: str = ".BTF", base: Btf | None = None) -> Btf:
    """Parse a ``.BTF`` section, split from ``base`` if that is given.  Raises :class:`ObjectError`."""
    if len(data) < _HEADER.size:
        raise ObjectError(place, f"{len(data)} bytes are too short for a header")
    magic, version, _flags, header, type_offset, type_length, string_offset, string_length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ObjectError(place, f"magic {magic:#06x} is not {MAGIC:#06x}")
    if version != 1:
        raise ObjectError(place, f"version {version} is not 1")
    if header < _HEADER.size:
        raise ObjectError(place, f"header of {header} bytes is too short")
    parts = []
    for what, offset, length in (("types", type_offset, type_length), ("strings", string_offset, string_length)):
        start = header + offset
        if start + length > len(data):
            raise ObjectError(place, f"{length} bytes of {what} at {start} reach beyond the section's {len(data)}")
        parts.append(data[start : start + length])
    if base is None and parts[1] and parts[1][0] != 0:
        raise ObjectError(place, "the string section does not begin with an empty string")
    return Btf(parts[0], parts[1], place, base)
