"""Python values for bytes of a known layout, and back: the codec between memory and what a user writes and reads.

========================== ========================================== =============================================
layout                     decoded                                    also encoded from
========================== ========================================== =============================================
integer, pointer           ``int``                                    bytes of the same size
boolean                    ``bool`` (an ``int`` where it is not 0, 1) ``int``
``float``, ``double``      ``float``                                  ``int``
enum                       :class:`Enumerator`, an ``int`` that has   the name of an enumerator
                           a name; ``int`` where it has none
``char[n]``                ``bytes``, without the zeros at the end    ``str``; what is shorter is filled with zeros
array of unsigned bytes    ``bytes``                                  a sequence of ``int``
other array                ``tuple``                                  any sequence with as many elements
struct, union, section     :class:`Record`                            a mapping (what is not named is 0), a tuple or
                                                                      list with all members, in order
unknown                    ``bytes``
========================== ========================================== =============================================

``encode(layout, decode(layout, data)) == data``, but that a float which is no number may lose its payload.  Everything
may be given as ``bytes`` of its size.

>>> from prevail_py.objects.layout import Aggregate, Field, Scalar
>>> point = Aggregate(8, (Field("x", Scalar(4, "signed"), 0), Field("y", Scalar(4, "signed"), 32)), name="point")
>>> decode(point, encode(point, {"y": -1}))
point(x=0, y=-1)
>>> decode(point, bytes(8)).replace(x=2).x
2
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, assert_never

from prevail_py.objects.layout import Aggregate, Array, Enumeration, Field, Layout, Opaque, Scalar

__all__ = ["CodecError", "Enumerator", "Record", "decode", "encode", "members"]

_FLOATS: Final = {4: struct.Struct("<f"), 8: struct.Struct("<d")}


class CodecError(ValueError):
    """A Python value that is no value of the type; ``place`` is the member, as C writes it, empty for the whole."""

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(f"{place.removeprefix('.')}: {reason}" if place else reason)
        self.reason = reason
        self.place = place

    def within(self, outer: str) -> CodecError:
        """The same, seen from what contains the value."""
        return CodecError(self.reason, outer + self.place)


class Enumerator(int):
    """A value of an enum that has a ``name``."""

    name: str

    def __new__(cls, value: int, name: str) -> Enumerator:
        self = super().__new__(cls, value)
        self.name = name
        return self

    def __repr__(self) -> str:
        return f"<{self.name}: {int(self)}>"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[type[Enumerator], tuple[int, str]]:
        return Enumerator, (int(self), self.name)


class Record(Mapping[str, Any]):
    """A struct or union: a mapping from members to values that has them as attributes too.  It does not change.

    Members of anonymous members are its own, as in C.  It remembers its bytes, padding included: two of the same layout
    are equal where their bytes are, and it equals any other mapping with the same items.  The attribute of a member
    that is called like a method, such as ``items``, is the method: use ``record["items"]``.
    """

    __slots__ = ("_data", "_fields", "_layout")

    def __init__(self, layout: Aggregate, data: bytes) -> None:
        if len(data) != layout.size:
            raise CodecError(f"{len(data)} bytes, not {layout.size}")
        self._layout = layout
        self._data = data
        self._fields = members(layout)

    def __getitem__(self, name: str) -> Any:
        return _read(self._fields[name], self._data)

    def __getattr__(self, name: str) -> Any:
        if name in Record.__slots__ or name not in self._fields:
            raise AttributeError(f"{self._layout.name or 'the value'} has no member {name!r}")
        return self[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._fields]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __bytes__(self) -> bytes:
        return self._data

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Record) and (other._layout is self._layout or other._layout == self._layout):
            return self._data == other._data
        return super().__eq__(other)

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        name = self._layout.name or ("union" if self._layout.union else "struct")
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in self.items())})"

    def __reduce__(self) -> tuple[type[Record], tuple[Aggregate, bytes]]:
        return Record, (self._layout, self._data)

    def replace(self, **changes: Any) -> Record:
        """This with other values of some members.  Raises :class:`CodecError`."""
        data = bytearray(self._data)
        for name, value in changes.items():
            if name not in self._fields:
                raise CodecError(f"no member {name!r}")
            _write(self._fields[name], data, value)
        return Record(self._layout, bytes(data))


def decode(layout: Layout, data: bytes) -> Any:
    """The value that these bytes are, ``layout.size`` of them.  Raises :class:`CodecError` for another number."""
    if len(data) != layout.size:
        raise CodecError(f"{len(data)} bytes, not {layout.size}")
    match layout:
        case Opaque():
            return bytes(data)
        case Scalar(size, "float"):
            return _FLOATS[size].unpack(data)[0]
        case Scalar() | Enumeration():
            return _number(layout, int.from_bytes(data, "little"), 8 * layout.size)
        case Array(Scalar(1, "char")):
            return bytes(data).rstrip(b"\0")
        case Array(Scalar(1, "unsigned")):
            return bytes(data)
        case Array(element, count):
            return tuple(decode(element, data[i * element.size : (i + 1) * element.size]) for i in range(count))
        case Aggregate():
            return Record(layout, bytes(data))
        case _:
            assert_never(layout)


def encode(layout: Layout, value: Any) -> bytes:
    """The bytes of a value.  Raises :class:`CodecError` for a value that the type does not have."""
    if isinstance(value, bytes | bytearray | memoryview) and len(value) == layout.size:
        return bytes(value)
    match layout:
        case Opaque():
            raise CodecError(f"{layout.size} bytes are wanted, not {_shown(value)}")
        case Scalar(size, "float"):
            return _encode_float(size, value)
        case Scalar() | Enumeration():
            return _encode_number(layout, value, 8 * layout.size).to_bytes(layout.size, "little")
        case Array():
            return _encode_array(layout, value)
        case Aggregate():
            return _encode_aggregate(layout, value)
        case _:
            assert_never(layout)


# Numbers ------------------------------------------------------------------------------------------------------------


def _is_signed(layout: Scalar | Enumeration) -> bool:
    return layout.signed if isinstance(layout, Enumeration) else layout.kind in ("signed", "char")


def _number(layout: Scalar | Enumeration, word: int, bits: int) -> int:
    """What ``bits`` bits mean as a number of this type."""
    if _is_signed(layout) and word >> (bits - 1):
        word -= 1 << bits
    if isinstance(layout, Enumeration):
        name = next((name for name, number in layout.values if number == word), None)
        return word if name is None else Enumerator(word, name)
    if layout.kind == "bool" and word < 2:
        return bool(word)
    return word


def _encode_number(layout: Scalar | Enumeration, value: Any, bits: int) -> int:
    """The low ``bits`` bits of a number, which must be one of the type."""
    if isinstance(layout, Enumeration) and isinstance(value, str):
        names = dict(reversed(layout.values))
        if value not in names:
            raise CodecError(f"{value!r} is no enumerator (there are: {', '.join(dict(layout.values))})")
        value = names[value]
    if not isinstance(value, int):
        raise CodecError(f"a number is wanted, not {_shown(value)}")
    low, high = (-(1 << bits - 1), 1 << bits - 1) if _is_signed(layout) else (0, 1 << bits)
    if not low <= value < high:
        raise CodecError(f"{value} is not in [{low}, {high - 1}]")
    return int(value) & ((1 << bits) - 1)


def _encode_float(size: int, value: Any) -> bytes:
    if not isinstance(value, int | float):
        raise CodecError(f"a number is wanted, not {_shown(value)}")
    try:
        data = _FLOATS[size].pack(value)
    except OverflowError:
        raise CodecError(f"{value!r} is too large") from None
    return data


# Arrays and structs -------------------------------------------------------------------------------------------------


def _encode_array(layout: Array, value: Any) -> bytes:
    if isinstance(layout.element, Scalar) and layout.element.kind == "char":
        text = value.encode() if isinstance(value, str) else value
        if isinstance(text, bytes | bytearray):
            if len(text) > layout.count:
                raise CodecError(f"{len(text)} characters do not fit into {layout.count}")
            return bytes(text).ljust(layout.count, b"\0")
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise CodecError(f"{layout.count} elements are wanted, not {_shown(value)}")
    if len(value) != layout.count:
        raise CodecError(f"{layout.count} elements are wanted, not {len(value)}")
    parts = []
    for place, element in enumerate(value):
        try:
            parts.append(encode(layout.element, element))
        except CodecError as error:
            raise error.within(f"[{place}]") from None
    return b"".join(parts)


def _encode_aggregate(layout: Aggregate, value: Any) -> bytes:
    fields = members(layout)
    if isinstance(value, Record) and value._layout == layout:
        return bytes(value)
    if isinstance(value, Mapping):
        given = dict(value)
    elif isinstance(value, tuple | list):
        if layout.union:
            raise CodecError("the value of a union is wanted as a mapping with one member")
        if len(value) != len(fields):
            raise CodecError(f"{len(fields)} members are wanted ({', '.join(fields)}), not {len(value)}")
        given = dict(zip(fields, value, strict=True))
    else:
        raise CodecError(f"members are wanted ({', '.join(fields)}), not {_shown(value)}")
    data, written = bytearray(layout.size), bytearray(layout.size)
    for name, part in given.items():
        if name not in fields:
            raise CodecError(f"no member {name!r} (there are: {', '.join(fields)})")
        field = fields[name]
        bits = field.bits or 8 * field.layout.size
        place = slice(field.offset // 8, (field.offset + bits + 7) // 8)
        before = int.from_bytes(data[place], "little")
        _write(field, data, part)
        changed, known = before ^ int.from_bytes(data[place], "little"), int.from_bytes(written[place], "little")
        # Members of a union may all be given, as in a copy of a decoded value, if they say the same.
        if changed & known:
            raise CodecError("contradicts another member at the same place", f".{name}")
        known |= (1 << bits) - 1 << field.offset % 8
        written[place] = known.to_bytes(len(written[place]), "little")
    return bytes(data)


def members(layout: Aggregate) -> dict[str, Field]:
    """The members by name, those of anonymous members included, with their places in the whole."""
    return {field.name: field for field in _flat(layout, 0)}


def _flat(layout: Aggregate, base: int) -> Iterator[Field]:
    """The named members, those of anonymous members included, at their offsets from the outermost."""
    for field in layout.fields:
        if field.name:
            yield field._replace(offset=base + field.offset)
        elif isinstance(field.layout, Aggregate):
            yield from _flat(field.layout, base + field.offset)


def _read(field: Field, data: bytes) -> Any:
    if field.bits:
        assert isinstance(field.layout, Scalar | Enumeration)
        word = int.from_bytes(data[field.offset // 8 : (field.offset + field.bits + 7) // 8], "little")
        return _number(field.layout, word >> field.offset % 8 & ((1 << field.bits) - 1), field.bits)
    start = field.offset // 8
    return decode(field.layout, data[start : start + field.layout.size])


def _write(field: Field, data: bytearray, value: Any) -> None:
    try:
        if field.bits:
            assert isinstance(field.layout, Scalar | Enumeration)
            start, end = field.offset // 8, (field.offset + field.bits + 7) // 8
            shift, number = field.offset % 8, _encode_number(field.layout, value, field.bits)
            word = int.from_bytes(data[start:end], "little") & ~((1 << field.bits) - 1 << shift)
            data[start:end] = (word | number << shift).to_bytes(end - start, "little")
        else:
            start = field.offset // 8
            data[start : start + field.layout.size] = encode(field.layout, value)
    except CodecError as error:
        raise error.within(f".{field.name}") from None


def _shown(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    return f"{type(value).__name__} {value!r}"[:80]
