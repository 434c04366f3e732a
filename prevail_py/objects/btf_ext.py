"""``.BTF.ext``: which function, which source line and which CO-RE relocation belongs to which instruction.

Format: Documentation/bpf/btf.rst of the Linux kernel.  Offsets of instructions are in bytes from the start of the
section that the records are about.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from prevail_py.objects.btf import MAGIC, Btf
from prevail_py.objects.errors import ObjectError

__all__ = ["BtfExt", "CoreRelocation", "FunctionInfo", "LineInfo", "between", "parse_btf_ext"]

_HEADER: Final = struct.Struct("<HBBIIIII")
_CORE: Final = struct.Struct("<II")


class FunctionInfo(NamedTuple):
    """The function that starts at byte ``offset`` has BTF FUNC ``type``."""

    offset: int
    type: int


class LineInfo(NamedTuple):
    """From byte ``offset`` on: offsets of file name and source text in the BTF strings, line and column from 1."""

    offset: int
    file: int
    text: int
    line: int
    column: int


class CoreRelocation(NamedTuple):
    """The instruction at byte ``offset`` depends on the target's layout (``enum bpf_core_relo_kind``)."""

    offset: int
    type: int
    access: int
    kind: int


@dataclass(frozen=True, slots=True)
class BtfExt:
    """Records by name of the section they are about, ascending by offset."""

    functions: Mapping[str, list[FunctionInfo]] = field(default_factory=dict)
    lines: Mapping[str, list[LineInfo]] = field(default_factory=dict)
    core: Mapping[str, list[CoreRelocation]] = field(default_factory=dict)


def between(records: list[LineInfo] | list[CoreRelocation], start: int, end: int) -> Iterator[int]:
    """Positions of the records with ``start <= offset < end`` in a list that ascends by offset."""
    # A record is a tuple that begins with its offset: (start,) sorts before all records at start.
    return iter(range(bisect_left(records, (start,)), bisect_left(records, (end,))))


def parse_btf_ext(data: memoryview, btf: Btf, place: str = ".BTF.ext") -> BtfExt:
    """Parse a ``.BTF.ext`` section.  Raises :class:`ObjectError`."""
    if len(data) < _HEADER.size:
        raise ObjectError(place, f"{len(data)} bytes are too short for a header")
    magic, version, _flags, header, *info = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ObjectError(place, f"magic {magic:#06x} is not {MAGIC:#06x}")
    if version != 1:
        raise ObjectError(place, f"version {version} is not 1")
    if header < _HEADER.size or header > len(data):
        raise ObjectError(place, f"header of {header} bytes in a section of {len(data)}")
    # Sections written before CO-RE have the shorter header.
    info += _CORE.unpack_from(data, _HEADER.size) if header >= _HEADER.size + _CORE.size else (0, 0)
    body = data[header:]
    functions = _records(body, info[0], info[1], 2, btf, f"{place} function info")
    lines = _records(body, info[2], info[3], 4, btf, f"{place} line info")
    core = _records(body, info[4], info[5], 4, btf, f"{place} CO-RE relocations")
    return BtfExt(
        functions={name: sorted(FunctionInfo(*row) for row in rows) for name, rows in functions.items()},
        lines={
            name: sorted(LineInfo(offset, file, text, at >> 10, at & 0x3FF) for offset, file, text, at in rows)
            for name, rows in lines.items()
        },
        core={name: sorted(CoreRelocation(*row) for row in rows) for name, rows in core.items()},
    )


def _records(
    body: memoryview, start: int, length: int, words: int, btf: Btf, place: str
) -> dict[str, list[tuple[int, ...]]]:
    """The first ``words`` words of all records, by section: a record may be longer than what is known today."""
    if length == 0:
        return {}
    if length < 4 or start + length > len(body):
        raise ObjectError(place, f"{length} bytes at {start} reach beyond the section")
    data = body[start : start + length]
    size = int.from_bytes(data[:4], "little")
    if size < 4 * words or size % 4:
        raise ObjectError(place, f"records of {size} bytes, at least {4 * words} expected")
    record = struct.Struct(f"<{words}I{size - 4 * words}x")
    found: dict[str, list[tuple[int, ...]]] = {}
    offset = 4
    while offset < length:
        if offset + 8 > length:
            raise ObjectError(place, "ends inside a section header")
        name, count = struct.unpack_from("<II", data, offset)
        offset += 8
        if count == 0:
            raise ObjectError(place, "a section without records")
        if offset + count * size > length:
            raise ObjectError(place, f"{count} records of {size} bytes at {offset} reach beyond the section")
        rows = found.setdefault(btf.string(name), [])
        rows += record.iter_unpack(data[offset : offset + count * size])
        offset += count * size
    return found
