"""Values of a known layout as JSON, and back: what a file or a document says of the memory of a map.

======================= ====================================================================================
layout                  in JSON
======================= ====================================================================================
number, pointer, enum   a number; the name of the enumerator where there is one; ``true`` and ``false``
in network order        hexadecimal (``__be16``, ``__be32``, ``__be64``): the digits in the order of the bytes
``char[n]``             text
bytes, unknown          hexadecimal
other array             a list
struct, union           an object with the members
======================= ====================================================================================

A string of two hexadecimal digits per byte stands for the bytes of anything.  That is no ambiguity: as text it would
not fit.  What is not the same when it is read again (padding with something in it, a float that is no number) is
written so as a whole, hence ``encode(layout, from_json(layout, to_json(layout, data))) == data``.

>>> from prevail_py.objects.layout import Aggregate, Field, Scalar
>>> peer = Aggregate(8, (Field("address", Scalar(4, name="__be32"), 0), Field("hits", Scalar(4), 32)), name="peer")
>>> to_json(peer, bytes([192, 0, 2, 1, 7, 0, 0, 0]))
{'address': 'c0000201', 'hits': 7}
>>> encode(peer, from_json(peer, {"address": "c0000201", "hits": 7})).hex()
'c000020107000000'
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from prevail_py.objects.layout import NETWORK_ORDER, Aggregate, Array, Enumeration, Layout, Opaque, Scalar
from prevail_py.objects.values import CodecError, Enumerator, decode, encode, members

__all__ = ["from_json", "to_json"]


def to_json(layout: Layout, data: bytes) -> Any:
    """What ``json.dumps`` takes, for ``layout.size`` bytes.  Raises :class:`CodecError` for another number."""
    try:
        value = _shown(layout, decode(layout, data))
    except UnicodeDecodeError:  # characters that are no UTF-8
        return data.hex()
    return value if encode(layout, from_json(layout, value)) == data else data.hex()


def from_json(layout: Layout, value: Any) -> Any:
    """What :func:`~prevail_py.objects.values.encode` takes, for a value as ``json.loads`` gives it.

    Raises :class:`CodecError` for a string that is not hexadecimal where only that can be meant.
    """
    match layout, value:
        case Enumeration(values=values), str() if value in dict(values):
            return value
        case _, str() if (data := _bytes(value, layout.size)) is not None:
            return data
        case Opaque() | Array(Scalar(1, "unsigned")), str():
            raise CodecError(f"{layout.size} bytes in hexadecimal are wanted, not {value!r}"[:120])
        case Array(element), list():
            return [from_json(element, each) for each in value]
        case Aggregate(), Mapping():
            fields = members(layout)
            return {
                name: part if name not in fields or fields[name].bits else from_json(fields[name].layout, part)
                for name, part in value.items()
            }
        case _:
            return value


def _bytes(text: str, size: int) -> bytes | None:
    """The bytes that ``2 * size`` hexadecimal digits are."""
    if len(text) != 2 * size:
        return None
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return data if len(data) == size else None  # no white space among the digits


def _shown(layout: Layout, value: Any) -> Any:
    match layout:
        case Aggregate():
            return {name: _member(field.layout, field.bits, value[name]) for name, field in members(layout).items()}
        case Array(Scalar(1, "char")):
            return value.decode()
        case Array(element) if not isinstance(value, bytes):
            return [_shown(element, each) for each in value]
        case Scalar(size, "unsigned", name) if name in NETWORK_ORDER:
            return value.to_bytes(size, "little").hex()
        case Scalar(size, "float") if not isfinite(value):
            return encode(layout, value).hex()
        case _:
            pass
    match value:
        case bytes():
            return value.hex()
        case Enumerator():
            return value.name
        case _:
            return value


def _member(layout: Layout, bits: int, value: Any) -> Any:
    """Bit-fields have no bytes of their own: they are numbers or enumerators."""
    if not bits:
        return _shown(layout, value)
    return value.name if isinstance(value, Enumerator) else value
