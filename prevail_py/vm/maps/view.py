"""Maps as the user sees them, with keys and values as Python values of the types that BTF gives them.

``execution.maps["flows"]`` is such a view (:class:`prevail_py.vm.maps.collection.Maps`); what is done to it is done to
the map itself.

>>> from prevail_py.objects.layout import Aggregate, Field, Scalar
>>> flow = Aggregate(16, (Field("packets", Scalar(8), 0), Field("bytes", Scalar(8), 64)), name="flow")
>>> spec = MapSpec("flows", 1, 4, 16, 100, key_layout=Scalar(4), value_layout=flow)
>>> from prevail_py.vm.maps import create_maps
>>> flows = create_maps([spec])["flows"]
>>> flows[7] = {"packets": 1, "bytes": 60}
>>> flows[7] = flows[7].replace(packets=2)
>>> flows
<flows: hash, 1 of 100 {7: flow(packets=2, bytes=60)}>
>>> flows[7].bytes, 8 in flows
(60, False)

How values look is said in :mod:`prevail_py.objects.values`.  Without BTF they are bytes; a key of an array is a number
in any case, and numbers are accepted where bytes are wanted (in little-endian order).  The value of a per-CPU map is a
list with one for each CPU.  Entries that are programs, maps or sockets are those objects; an inner map is a view.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from ipaddress import IPv4Network, IPv6Network
from itertools import islice
from typing import Any, Final, TypeAlias

from prevail_py.objects.layout import Aggregate, Array, Field, Layout, Opaque, Scalar
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.values import CodecError, Record, decode, encode
from prevail_py.platforms import platform
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.bloom import BloomFilter
from prevail_py.vm.maps.devices import TargetMap, XdpSocket, XdpSocketMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.model import Map
from prevail_py.vm.maps.queue import QueueMap
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray
from prevail_py.vm.maps.trie import PrefixMap

__all__ = ["FilterView", "ListView", "MapView", "view"]

_SHOWN: Final = 4
_SHOWN_IN_TABLE: Final = 50

_Keyed: TypeAlias = ArrayMap | HashMap | PrefixMap | TargetMap | XdpSocketMap | ProgramArray | MapOfMaps


def view(map: Map) -> Any:
    """A :class:`MapView`, :class:`ListView` or :class:`FilterView`; of a map of records, or none, the map itself."""
    match map:
        case QueueMap():
            return ListView(map)
        case BloomFilter():
            return FilterView(map)
        case ArrayMap() | HashMap() | PrefixMap() | TargetMap() | XdpSocketMap() | ProgramArray() | MapOfMaps():
            return MapView(map)
        case _:
            return map


class MapView(MutableMapping[Any, Any]):
    """A map with keys.  What it is given may raise :class:`CodecError` or :class:`MapError`, both ValueErrors.

    ``raw`` is the map of bytes; ``key_layout`` and ``value_layout`` are the types.
    """

    def __init__(self, raw: _Keyed) -> None:
        self.raw: Final = raw
        self.key_layout: Final = _key_layout(raw.spec)
        self.value_layout: Final = raw.spec.value_layout or Opaque(raw.spec.value_size)

    def __getitem__(self, key: Any) -> Any:
        encoded = self._encode_key(key)
        if encoded not in self.raw:
            raise KeyError(key)
        return self._decode_value(self.raw[encoded])

    def __setitem__(self, key: Any, value: Any) -> None:
        encoded, raw = self._encode_key(key), self.raw
        match raw:
            case ArrayMap() | HashMap() if raw.per_cpu:
                if not isinstance(value, list | tuple) or len(value) != raw.cpus:
                    raise CodecError(f"a list of {raw.cpus} values, one per CPU, is wanted")
                raw[encoded] = [_encode(self.value_layout, each) for each in value]
            case ProgramArray():
                if not isinstance(value, Program):
                    raise CodecError(f"a program is wanted, not {type(value).__name__}")
                raw[encoded] = value
            case MapOfMaps():
                inner = value.raw if isinstance(value, MapView | ListView | FilterView) else value
                raw[encoded] = inner
            case XdpSocketMap():
                raw[encoded] = value if isinstance(value, XdpSocket) else XdpSocket(value)
            case _:
                raw[encoded] = _encode(self.value_layout, value)

    def __delitem__(self, key: Any) -> None:
        encoded = self._encode_key(key)
        if encoded not in self.raw:
            raise KeyError(key)
        del self.raw[encoded]

    def __iter__(self) -> Iterator[Any]:
        return (decode(self.key_layout, key) for key in self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __contains__(self, key: object) -> bool:
        return self._encode_key(key) in self.raw

    def match(self, key: Any) -> Any:
        """The value that programs find for a key in a map of prefixes, that of the longest; None if there is none."""
        if not isinstance(self.raw, PrefixMap):
            raise TypeError(f"map {self.raw.spec.name!r} has no prefixes to match")
        found = self.raw.match(self._encode_key(key))
        return None if found is None else self._decode_value(found)

    def __repr__(self) -> str:
        spec = self.raw.spec
        items = [f"{key!r}: {value!r}" for key, value in islice(self.items(), _SHOWN)]
        more = ", ..." if len(self) > _SHOWN else ""
        return f"<{spec.name}: {_kind(spec)}, {len(self)} of {spec.max_entries} {{{', '.join(items)}{more}}}>"

    def _repr_html_(self) -> str:
        from prevail_py._render import Table

        rows = [[*_cells("key", key), *_cells("value", value)] for key, value in islice(self.items(), _SHOWN_IN_TABLE)]
        if not rows:
            return Table((self.raw.spec.name,), (("no elements",),))._repr_html_()
        header = tuple(name for name, _ in max(rows, key=len))
        cells = tuple(tuple(cell for _, cell in row) for row in rows)
        table = Table(header, tuple(row + ("",) * (len(header) - len(row)) for row in cells))._repr_html_()
        left = len(self) - len(rows)
        return table + (f"<p>and {left} more</p>" if left else "")

    def _encode_key(self, key: Any) -> bytes:
        if isinstance(key, IPv4Network | IPv6Network) and isinstance(self.raw, PrefixMap):
            key = key.prefixlen.to_bytes(4, "little") + key.network_address.packed
        return _encode(self.key_layout, key)

    def _decode_value(self, value: Any) -> Any:
        match value:
            case bytes():
                return decode(self.value_layout, value)
            case list():
                return [decode(self.value_layout, each) for each in value]
            case XdpSocket() | Program():
                return value
            case _:
                return view(value)


class ListView:
    """A queue or stack: a sized iterable of values, in the order in which they will be popped."""

    def __init__(self, raw: QueueMap) -> None:
        self.raw: Final = raw
        self.value_layout: Final = raw.spec.value_layout or Opaque(raw.spec.value_size)

    def push(self, value: Any) -> None:
        """Raises :class:`MapError` where the map is full."""
        self.raw.append(_encode(self.value_layout, value))

    def pop(self) -> Any:
        """Take the next value away; raises IndexError where there is none."""
        value = self.peek()
        self.raw.pop()
        return value

    def peek(self) -> Any:
        """The next value; raises IndexError where there is none."""
        error, value = self.raw.peek()
        if error:
            raise IndexError(f"map {self.raw.spec.name!r} is empty")
        return decode(self.value_layout, value)

    def __iter__(self) -> Iterator[Any]:
        return (decode(self.value_layout, value) for value in self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        spec = self.raw.spec
        items = ", ".join(repr(value) for value in islice(self, _SHOWN)) + (", ..." if len(self) > _SHOWN else "")
        return f"<{spec.name}: {_kind(spec)}, {len(self)} of {spec.max_entries} [{items}]>"

    def _repr_html_(self) -> str:
        from prevail_py._render import Table

        rows = tuple((str(place), repr(value)) for place, value in enumerate(islice(self, _SHOWN_IN_TABLE)))
        return Table(("", self.raw.spec.name), rows, frozenset({0}))._repr_html_()


class FilterView:
    """A bloom filter: a container, ``value in view``, that may hold more than was added."""

    def __init__(self, raw: BloomFilter) -> None:
        self.raw: Final = raw
        self.value_layout: Final = raw.spec.value_layout or Opaque(raw.spec.value_size)

    def add(self, value: Any) -> None:
        """Add a value."""
        self.raw.append(_encode(self.value_layout, value))

    def __contains__(self, value: object) -> bool:
        return _encode(self.value_layout, value) in self.raw

    def __repr__(self) -> str:
        return f"<{self.raw.spec.name}: bloom_filter, {self.raw.pushes} added>"


def _key_layout(spec: MapSpec) -> Layout:
    if spec.key_layout is not None:
        return spec.key_layout
    found = platform().map_type(spec.type)
    if found is not None and found.index_key and spec.key_size == 4:
        return Scalar(4)
    if found is not None and found.name == "lpm_trie":
        data = Array(Scalar(1), spec.key_size - 4)
        return Aggregate(spec.key_size, (Field("prefixlen", Scalar(4), 0), Field("data", data, 32)), name="prefix")
    return Opaque(spec.key_size)


def _encode(layout: Layout, value: Any) -> bytes:
    if isinstance(layout, Opaque) and isinstance(value, int):
        return encode(Scalar(layout.size), value)
    return encode(layout, value)


def _kind(spec: MapSpec) -> str:
    found = platform().map_type(spec.type)
    return "map" if found is None else found.name


def _cells(what: str, value: Any) -> Iterator[tuple[str, str]]:
    """Column and text of a value; a struct has a column for each member."""
    if isinstance(value, Record) and len(value):
        for name, part in value.items():
            yield f"{what}.{name}", repr(part)
    else:
        yield what, repr(value)
