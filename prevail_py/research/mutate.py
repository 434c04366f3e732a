"""Damage object files in ways that reach past the first check: structured mutations of ELF, BTF and code.

Blind byte flips mostly land in debug information or are caught by the magic number.  So each mutation picks a part
of the file first (a header, a section header, a symbol, a relocation, a BTF record, an instruction) and then damages
a field of it: an extreme value, a value taken from elsewhere, a bit.  Several are stacked, and some mutants are also
cut or spliced.  The same bytes, seed and count give the same mutants.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

__all__ = ["mutations"]

_EXTREMES: Final = (
    0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0xFFF1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, 1 << 60,
    (1 << 63) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 1,
)  # fmt: skip

# Fields as (offset, width in bytes).
_ELF_HEADER: Final = (
    (4, 1), (5, 1), (6, 1), (16, 2), (18, 2), (20, 4), (24, 8), (32, 8), (40, 8), (48, 4), (52, 2), (54, 2), (56, 2),
    (58, 2), (60, 2), (62, 2),
)  # fmt: skip
_SECTION_HEADER: Final = ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8))
_SYMBOL: Final = ((0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8))
_RELOCATION: Final = ((0, 8), (8, 4), (12, 4))
_INSTRUCTION: Final = ((0, 1), (1, 1), (2, 2), (4, 4))
_BTF_HEADER: Final = ((0, 2), (2, 1), (3, 1), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4), (28, 4))
_WORD: Final = ((0, 4),)

_SYMTAB, _STRTAB, _NOBITS, _REL = 2, 3, 8, 9


class _Table(NamedTuple):
    """Records of ``size`` bytes from ``start`` to ``end`` and the fields of each."""

    start: int
    end: int
    size: int
    fields: tuple[tuple[int, int], ...]


def mutations(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """``count`` damaged copies of an object file (of any bytes, if need be)."""
    generator = random.Random(seed)
    tables = _tables(data)
    for _ in range(count):
        image = bytearray(data)
        for _ in range(generator.choice((1, 1, 1, 2, 3, 5))):
            _damage(generator, image, tables)
        yield bytes(image)


def _tables(data: bytes) -> list[_Table]:
    """What there is to damage; sections that make no sense are left to the blind mutations."""
    if len(data) < 64 or data[:4] != b"\x7fELF":
        return []
    tables = [_Table(0, 64, 64, _ELF_HEADER)]
    (headers,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    if headers + 64 * count > len(data):
        return tables
    tables.append(_Table(headers, headers + 64 * count, 64, _SECTION_HEADER))
    for i in range(count):
        _, kind, flags, _, start, size = struct.unpack_from("<IIQQQQ", data, headers + 64 * i)
        end = start + size
        if kind == _NOBITS or not size or end > len(data):
            continue
        if kind == _SYMTAB:
            tables.append(_Table(start, end, 24, _SYMBOL))
        elif kind == _REL:
            tables.append(_Table(start, end, 16, _RELOCATION))
        elif flags & 4:
            tables.append(_Table(start, end, 8, _INSTRUCTION))
        elif kind == _STRTAB:
            tables.append(_Table(start, end, 1, ((0, 1),)))
        elif data[start : start + 2] == b"\x9f\xeb":
            tables.append(_Table(start, start + 32, 32, _BTF_HEADER))
            tables.append(_Table(start + 24, end, 4, _WORD))
        else:
            tables.append(_Table(start, end, 4, _WORD))
    return [table for table in tables if table.end - table.start >= table.size]


def _damage(generator: random.Random, image: bytearray, tables: list[_Table]) -> None:
    if not image:
        image += b"\x7fELF"
        return
    operations: tuple[tuple[Callable[[random.Random, bytearray, list[_Table]], None], int], ...] = (
        (_field, 12),
        (_exchange, 3),
        (_flip, 3),
        (_copy, 2),
        (_insert_or_remove, 1),
        (_truncate, 1),
    )
    chosen = generator.choices([f for f, _ in operations], [weight for _, weight in operations])[0]
    chosen(generator, image, tables)


def _field(generator: random.Random, image: bytearray, tables: list[_Table]) -> None:
    """Set one field of one record: to an extreme, near its value, or to what another record has there."""
    if not tables:
        return _flip(generator, image, tables)
    table = generator.choice(tables)
    count = (table.end - table.start) // table.size
    offset, width = generator.choice(table.fields)
    at = table.start + table.size * generator.randrange(count) + offset
    if at + width > len(image):
        return _flip(generator, image, tables)
    old = int.from_bytes(image[at : at + width], "little")
    match generator.randrange(5):
        case 0 | 1:
            value = generator.choice((*_EXTREMES, len(image), len(image) - 1))
        case 2:
            value = old + generator.choice((-8, -4, -1, 1, 4, 8))
        case 3:
            other = table.start + table.size * generator.randrange(count) + offset
            value = int.from_bytes(image[other : other + width], "little")
        case _:
            value = old ^ 1 << generator.randrange(8 * width)
    image[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    return None


def _exchange(generator: random.Random, image: bytearray, tables: list[_Table]) -> None:
    """Swap two records of a table, or write one over the other."""
    if not tables:
        return _flip(generator, image, tables)
    table = generator.choice(tables)
    count = (table.end - table.start) // table.size
    a, b = (table.start + table.size * generator.randrange(count) for _ in range(2))
    one, two = bytes(image[a : a + table.size]), bytes(image[b : b + table.size])
    if len(one) != table.size or len(two) != table.size:
        return _flip(generator, image, tables)
    image[a : a + table.size] = two
    if generator.random() < 0.7:
        image[b : b + table.size] = one
    return None


def _flip(generator: random.Random, image: bytearray, tables: list[_Table]) -> None:
    for _ in range(generator.choice((1, 1, 4, 32))):
        image[generator.randrange(len(image))] ^= 1 << generator.randrange(8)


def _copy(generator: random.Random, image: bytearray, tables: list[_Table]) -> None:
    """Splice: write a piece of the file over another place."""
    length = generator.choice((1, 4, 8, 16, 64, 512))
    source, target = generator.randrange(len(image)), generator.randrange(len(image))
    piece = image[source : source + length][: len(image) - target]
    image[target : target + len(piece)] = piece


def _insert_or_remove(generator: random.Random, image: bytearray, tables: list[_Table]) -> None:
    """Shift the rest of the file, so that all offsets behind are wrong."""
    at, length = generator.randrange(len(image)), generator.choice((1, 4, 8, 24, 64))
    if generator.random() < 0.5:
        image[at:at] = generator.randbytes(length)
    else:
        del image[at : at + length]


def _truncate(generator: random.Random, image: bytearray, tables: list[_Table]) -> None:
    if tables and generator.random() < 0.5:
        table = generator.choice(tables)
        del image[min(len(image), generator.choice((table.start, table.end, table.end - 1))) :]
    else:
        del image[generator.randrange(len(image)) :]
