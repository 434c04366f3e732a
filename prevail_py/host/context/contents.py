"""The contents of maps as plain data: what is kept of them when the host ends, and put back when it starts again.

Arrays, hash tables, prefixes, devices, queues and stacks are kept.  Bloom filters, ring buffers and perf event arrays
start empty again: records are for whoever listens, and a filter does not know what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.devices import TargetMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.model import Content, Map
from prevail_py.vm.maps.queue import QueueMap
from prevail_py.vm.maps.trie import PrefixMap

__all__ = ["contents_of", "put_back"]

_Row = tuple[bytes, bytes]


def contents_of(map: Map) -> list[_Row]:
    """The elements, as keys and values; those of a per-CPU map are joined.  Zeros in arrays are left out."""
    match map:
        case ArrayMap() if map.spec.read_only:
            return []  # as its definition says
        case ArrayMap():
            return [(key, value) for key in map if any(value := _joined(map[key]))]
        case HashMap() | PrefixMap() | TargetMap():
            return [(key, _joined(map[key])) for key in map]
        case QueueMap():
            values = list(map)
            return [(b"", value) for value in (reversed(values) if map.newest_first else values)]
        case _:
            return []


def put_back(map: Map, rows: Sequence[_Row]) -> None:
    """Fill a new map of the same definition.  Raises :class:`~prevail_py.vm.maps.model.MapError` for what is not so."""
    for key, value in rows:
        match map:
            case ArrayMap() | HashMap():
                map[key] = _split(value, map.spec.value_size) if map.per_cpu else value
            case PrefixMap() | TargetMap():
                map[key] = value
            case QueueMap():
                map.append(value)
            case _:
                return


def _joined(content: Content) -> bytes:
    return b"".join(content) if isinstance(content, list) else content


def _split(value: bytes, size: int) -> list[bytes]:
    return [value[start : start + size] for start in range(0, len(value), size)]
