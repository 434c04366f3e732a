"""eBPF objects that lie inside other files: libbpf skeletons put them, byte for byte, into the data of an executable.

An object is found by its ELF header (64 bits, little-endian, relocatable, machine eBPF) and ends where its furthest
section, or its table of section headers, ends.  Only what those headers say is read, so a file costs time linear in
its size.  ELF gABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from prevail_py.objects.container import MACHINE_BPF, MAX_SECTIONS

__all__ = ["Carved", "carve"]

# e_ident up to the version, then e_type, e_machine; what follows it in the header, from e_version.
_MAGIC: Final = b"\x7fELF\x02\x01\x01"
_KIND: Final = struct.pack("<HH", 1, MACHINE_BPF)
_HEADER: Final = struct.Struct("<IQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_HEADER_SIZE: Final = 64
_NO_BITS: Final = 8


class Carved(NamedTuple):
    """An object: ``offset`` in the file that holds it, and its bytes."""

    offset: int
    data: bytes


def carve(data: bytes) -> tuple[Carved, ...]:
    """The eBPF objects inside ``data``, in its order; an object file holds itself.

    What has the header of an object but no consistent table of sections inside ``data`` is not an object.
    """
    found = []
    position = data.find(_MAGIC)
    while position >= 0:
        size = _size(memoryview(data)[position:])
        if size:
            found.append(Carved(position, data[position : position + size]))
        position = data.find(_MAGIC, position + max(size, 1))
    return tuple(found)


def _size(data: memoryview) -> int:
    """How many bytes the object at the start of ``data`` has; 0 where there is none."""
    if len(data) < _HEADER_SIZE or data[16:20] != _KIND:
        return 0
    _, _, _, table, _, header, _, _, step, count, _ = _HEADER.unpack_from(data, 20)
    if header != _HEADER_SIZE or step != _SECTION.size or not 0 < count <= MAX_SECTIONS:
        return 0
    end = table + count * step
    if table < _HEADER_SIZE or end > len(data):
        return 0
    for _, kind, _, _, offset, size, _, _, _, _ in _SECTION.iter_unpack(data[table:end]):
        if kind != _NO_BITS:
            end = max(end, offset + size)
    return end if end <= len(data) else 0
