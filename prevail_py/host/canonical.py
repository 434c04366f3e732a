"""Deterministic CBOR: one encoding for each value, and a decoder that takes nothing else.

The core deterministic encoding of RFC 8949 (section 4.2), for integers of 64 bits, byte strings, text, arrays, maps
with text keys, booleans and null: what tokens and the messages of the verifier service are written in.  Whatever came
over a socket is decoded here, so the decoder is strict: shortest forms only, keys in order and once, lengths within
the input, nesting within :data:`MAX_DEPTH`, nothing behind the value.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from operator import itemgetter
from typing import Final, TypeAlias

__all__ = ["MAX_DEPTH", "CanonicalError", "Plain", "decode", "encode", "plain"]

Plain: TypeAlias = "bool | int | bytes | str | list[Plain] | dict[str, Plain] | None"
"""What can be encoded."""

MAX_DEPTH: Final = 64
"""Arrays and maps within one another."""

_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP, _SIMPLE = 0, 1, 2, 3, 4, 5, 7
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_WIDE: Final = {24: struct.Struct(">B"), 25: struct.Struct(">H"), 26: struct.Struct(">I"), 27: struct.Struct(">Q")}
_SMALLEST: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}


class CanonicalError(ValueError):
    """The bytes are no canonical encoding, or the value has none."""


def encode(value: Plain) -> bytes:
    """The one encoding of ``value``.  Raises :class:`CanonicalError` for what has none."""
    out = bytearray()
    _encode(value, out, 0)
    return bytes(out)


def _encode(value: Plain, out: bytearray, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CanonicalError("nested too deeply")
    match value:
        case None:
            out.append(_NULL)
        case bool():
            out.append(_TRUE if value else _FALSE)
        case int():
            if not -(1 << 64) <= value < 1 << 64:
                raise CanonicalError("an integer of more than 64 bits")
            _head(_UINT if value >= 0 else _NINT, value if value >= 0 else -1 - value, out)
        case bytes():
            _head(_BYTES, len(value), out)
            out += value
        case str():
            data = _utf8(value)
            _head(_TEXT, len(data), out)
            out += data
        case list():
            _head(_ARRAY, len(value), out)
            for item in value:
                _encode(item, out, depth + 1)
        case dict():
            _head(_MAP, len(value), out)
            for key, item in sorted(((encode(key), item) for key, item in _pairs(value)), key=itemgetter(0)):
                out += key
                _encode(item, out, depth + 1)
        case _:
            raise CanonicalError(f"a value of type {type(value).__name__}")


def _pairs(value: dict[str, Plain]) -> list[tuple[str, Plain]]:
    if not all(isinstance(key, str) for key in value):
        raise CanonicalError("a key that is no text")
    return list(value.items())


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CanonicalError(f"no Unicode text: {error.reason}") from None


def _head(major: int, number: int, out: bytearray) -> None:
    if number < 24:
        out.append(major << 5 | number)
        return
    for code in (24, 25, 26, 27):
        if number < 1 << (8 << (code - 24)):
            out.append(major << 5 | code)
            out += _WIDE[code].pack(number)
            return


def decode(data: bytes) -> Plain:
    """The value that ``data`` encodes.  Raises :class:`CanonicalError` unless ``encode`` of it gives ``data`` back."""
    value, end = _decode(data, 0, 0)
    if end != len(data):
        raise CanonicalError(f"byte {end}: {len(data) - end} bytes too many")
    return value


def _decode(data: bytes, at: int, depth: int) -> tuple[Plain, int]:
    if depth > MAX_DEPTH:
        raise CanonicalError(f"byte {at}: nested too deeply")
    if at >= len(data):
        raise CanonicalError(f"byte {at}: cut short")
    major, code = data[at] >> 5, data[at] & 31
    if major == _SIMPLE:
        simple: dict[int, Plain] = {_FALSE: False, _TRUE: True, _NULL: None}
        if data[at] not in simple:
            raise CanonicalError(f"byte {at}: a simple value or number that is not used here")
        return simple[data[at]], at + 1
    start = at
    number, at = _number(data, at + 1, code)
    match major:
        case 0:
            return number, at
        case 1:
            return -1 - number, at
        case 2 | 3:
            if number > len(data) - at:
                raise CanonicalError(f"byte {start}: cut short")
            chunk = data[at : at + number]
            if major == _BYTES:
                return chunk, at + number
            try:
                return chunk.decode(), at + number
            except UnicodeDecodeError:
                raise CanonicalError(f"byte {start}: no UTF-8 text") from None
        case 4:
            items: list[Plain] = []
            for _ in range(_count(data, at, number)):
                item, at = _decode(data, at, depth + 1)
                items.append(item)
            return items, at
        case 5:
            found: dict[str, Plain] = {}
            before = b""
            for _ in range(_count(data, at, 2 * number) // 2):
                key, end = _decode(data, at, depth + 1)
                if not isinstance(key, str):
                    raise CanonicalError(f"byte {at}: a key that is no text")
                if data[at:end] <= before:
                    raise CanonicalError(f"byte {at}: a key out of order")
                before = data[at:end]
                found[key], at = _decode(data, end, depth + 1)
            return found, at
    raise CanonicalError(f"byte {start}: a tag")


def _count(data: bytes, at: int, number: int) -> int:
    """``number`` items take as many bytes at least, so that no short input makes a long loop."""
    if number > len(data) - at:
        raise CanonicalError(f"byte {at}: cut short")
    return number


def _number(data: bytes, at: int, code: int) -> tuple[int, int]:
    if code < 24:
        return code, at
    layout = _WIDE.get(code)
    if layout is None:
        raise CanonicalError(f"byte {at - 1}: a length that is not given, or reserved")
    if layout.size > len(data) - at:
        raise CanonicalError(f"byte {at - 1}: cut short")
    (number,) = layout.unpack_from(data, at)
    if number < _SMALLEST[code]:
        raise CanonicalError(f"byte {at - 1}: a number that is not in its shortest form")
    return int(number), at + layout.size


def plain(value: object) -> Plain:
    """A value of this package as data that can be encoded, different for different values of the same type.

    Dataclasses become their name and their fields (those that count in comparisons), enumerations their name, sets and
    mappings lists in the order of their encodings.  Raises :class:`CanonicalError` for any other type.
    """
    match value:
        case None | bool() | int() | bytes() | str() if not isinstance(value, Enum):
            return value
        case Enum():
            return [type(value).__name__, value.name]
        case frozenset() | set():
            return ["set", *sorted((plain(item) for item in value), key=encode)]
        case Mapping():
            pairs: list[Plain] = [[plain(key), plain(item)] for key, item in value.items()]
            return ["map", *sorted(pairs, key=encode)]
        case _ if is_dataclass(value) and not isinstance(value, type):
            content = {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.compare}
            return [type(value).__name__, content]
        case list() | tuple():
            return [plain(item) for item in value]
    raise CanonicalError(f"a value of type {type(value).__name__}")
