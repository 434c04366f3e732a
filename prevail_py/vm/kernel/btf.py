"""The least type information (BTF) without which the kernel does not take some programs and maps.

A program that passes a function to a helper (``bpf_loop``, ``bpf_for_each_map_elem``) must name every one of its
functions in BTF.  All are described as ``static int f(void)``: that is what makes a function a legal callback, and
with it the kernel verifies each at its call sites, with the arguments it really gets.  Local-storage maps must say
that their key is an int and how large their value is.  Layout: the kernel's ``Documentation/bpf/btf.rst``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["function_information", "map_types"]

_MAGIC: Final = 0xEB9F
_KIND_INT, _KIND_ARRAY, _KIND_FUNC, _KIND_FUNC_PROTO = 1, 3, 12, 13
_SIGNED: Final = 1 << 24
_KIND_SHIFT: Final = 24


@dataclass(slots=True)
class _Builder:
    """Types in order, ids from 1, and the strings that they name."""

    types: bytearray = field(default_factory=bytearray)
    strings: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    count: int = 0

    def add(self, name: str, kind: int, size_or_type: int, *extra: int) -> int:
        offset = 0
        if name:
            offset = len(self.strings)
            self.strings += name.encode() + b"\0"
        self.types += struct.pack(f"<{3 + len(extra)}I", offset, kind << _KIND_SHIFT, size_or_type, *extra)
        self.count += 1
        return self.count

    def integer(self, name: str, size: int) -> int:
        return self.add(name, _KIND_INT, size, _SIGNED | 8 * size)

    def bytes(self) -> bytes:
        size = len(self.types)
        return struct.pack("<HBBIIIII", _MAGIC, 1, 0, 24, 0, size, size, len(self.strings)) + self.types + self.strings


def function_information(functions: Sequence[tuple[int, str]]) -> tuple[bytes, bytes]:
    """(BTF, records of ``struct bpf_func_info``) for functions given as (first slot, name), the first at slot 0."""
    builder = _Builder()
    prototype = builder.add("", _KIND_FUNC_PROTO, builder.integer("int", 4))
    records = b"".join(
        struct.pack("<II", start, builder.add(_identifier(name, start), _KIND_FUNC, prototype))
        for start, name in sorted(functions)
    )
    return builder.bytes(), records


def map_types(value_size: int) -> tuple[bytes, int, int]:
    """(BTF, id of the key's type, id of the value's) for a map from int to ``value_size`` plain bytes."""
    builder = _Builder()
    key = builder.integer("int", 4)
    value = builder.add("", _KIND_ARRAY, 0, builder.integer("char", 1), key, value_size)
    return builder.bytes(), key, value


def _identifier(name: str, start: int) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,100}", name) else f"function_{start}"
