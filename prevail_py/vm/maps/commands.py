"""The map commands of ``bpf(2)`` on the machine's maps: the same answers as the kernel gives to a process.

Keys and values are bytes as the system call takes them: the values of a per-CPU map are those of all CPUs in order,
each padded to 8 bytes; a queue, stack or bloom filter has an empty key.  Errors are a :class:`MapError` with the
kernel's error number.  What a *program* sees is a little different, and in the helpers: it looks at one CPU's value,
and marks what it looks up as used.

========= ========================== ===========================================================================
function  command                    on
========= ========================== ===========================================================================
lookup    MAP_LOOKUP_ELEM            tables, prefixes (the longest match), devices, queues (the next), bloom filters
update    MAP_UPDATE_ELEM            tables, prefixes, devices; pushes to queues and bloom filters
delete    MAP_DELETE_ELEM            tables, prefixes, devices
next_key  MAP_GET_NEXT_KEY           tables, prefixes, devices
take      MAP_LOOKUP_AND_DELETE_ELEM hash tables, queues
========= ========================== ===========================================================================
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Final

from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.bloom import BloomFilter
from prevail_py.vm.maps.devices import TargetMap, XdpSocketMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.model import ENOTSUPP, Map, MapError, MapFlag, UpdateFlag, check, index_of
from prevail_py.vm.maps.queue import QueueMap
from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.maps.trie import PrefixMap

__all__ = ["COMMANDS", "delete", "lookup", "next_key", "take", "update"]

_PADDING: Final = 8


def lookup(map: Map, key: bytes, flags: int = 0, *, value: bytes = b"") -> bytes:
    """The value with a key; of a queue or stack the next one.  ``value`` is what to ask a bloom filter for."""
    _check_side(map, MapFlag.WRONLY)
    _check_flags(map, flags, 0)
    _check_key(map, key)
    match map:
        case ArrayMap() | HashMap():
            return _joined(map, key)
        case PrefixMap():
            return _found(map, map.match(key))
        case TargetMap():
            return _found(map, map.get(key))
        case QueueMap() | BloomFilter():
            error, content = map.peek(value)
            check(map.spec, error)
            return content
        case XdpSocketMap():
            raise _refused(map, errno.EOPNOTSUPP)
        case _:
            raise _refused(map, ENOTSUPP)


def update(map: Map, key: bytes, value: bytes, flags: int = 0) -> None:
    """Insert or replace an element, or push one."""
    _check_side(map, MapFlag.RDONLY)
    if flags & UpdateFlag.LOCK:
        raise _refused(map, errno.EINVAL)  # no value here has a spin lock
    _check_key(map, key)
    match map:
        case HashMap():
            check(map.spec, map.put(key, _split(map, value), flags))
        case ArrayMap():
            check(map.spec, map.put(key, _split(map, value), flags))
        case PrefixMap() | TargetMap():
            check(map.spec, map.insert(key, _sized(map, value), flags, 0))
        case QueueMap() | BloomFilter():
            check(map.spec, map.push(_sized(map, value), flags))
        case RingBuffer():
            raise _refused(map, ENOTSUPP)
        case _:
            raise _refused(map, errno.EOPNOTSUPP)


def delete(map: Map, key: bytes) -> None:
    """Remove an element."""
    _check_side(map, MapFlag.RDONLY)
    _check_key(map, key)
    match map:
        case ArrayMap() | HashMap() | PrefixMap() | TargetMap() | XdpSocketMap():
            check(map.spec, map.remove(key))
        case QueueMap():
            raise _refused(map, errno.EINVAL)
        case BloomFilter():
            raise _refused(map, errno.EOPNOTSUPP)
        case ProgramArray():
            if key not in map:
                raise _refused(map, errno.E2BIG if index_of(key) >= map.spec.max_entries else errno.ENOENT)
            del map[key]
        case _:
            raise _refused(map, ENOTSUPP)


def next_key(map: Map, key: bytes | None) -> bytes:
    """The key after ``key``, the first where that is None or no key of the map; ENOENT after the last.

    The order of a hash table is its own, here as there.
    """
    _check_side(map, MapFlag.WRONLY)
    if key is not None:
        _check_key(map, key)
    match map:
        case ArrayMap() | XdpSocketMap() | ProgramArray() | PerfEventArray():
            return _next_index(map, key)
        case TargetMap() if map.indexed:
            return _next_index(map, key)
        case HashMap() | PrefixMap() | TargetMap():
            keys = list(map)
            place = 0
            if key is not None:
                normal = map.normal(key) if isinstance(map, PrefixMap) else key
                place = keys.index(normal) + 1 if normal in keys else 0
            if place == len(keys):
                raise _refused(map, errno.ENOENT)
            return keys[place]
        case QueueMap():
            raise _refused(map, errno.EINVAL)
        case BloomFilter():
            raise _refused(map, errno.EOPNOTSUPP)
        case _:
            raise _refused(map, ENOTSUPP)


def take(map: Map, key: bytes, flags: int = 0) -> bytes:
    """Look an element up and remove it."""
    _check_side(map, MapFlag.RDONLY)
    _check_side(map, MapFlag.WRONLY)
    _check_flags(map, flags, UpdateFlag.LOCK if isinstance(map, QueueMap) else 0)
    _check_key(map, key)
    match map:
        case QueueMap():
            _check_flags(map, flags, 0)
            error, value = map.pop()
            check(map.spec, error)
            return value
        case HashMap():
            content = _joined(map, key)
            check(map.spec, map.remove(key))
            return content
        case _:
            raise _refused(map, ENOTSUPP)


COMMANDS: Final[Mapping[str, Callable[..., object]]] = {
    "lookup": lookup,
    "update": update,
    "delete": delete,
    "next_key": next_key,
    "take": take,
}
"""By name: the table of what is supported is made from their answers."""


def _refused(map: Map, number: int) -> MapError:
    return MapError(map.spec.name, number)


def _check_side(map: Map, forbidding: MapFlag) -> None:
    """EPERM where the map was made for the other direction only, or is frozen."""
    if map.spec.flags & forbidding or (forbidding is MapFlag.RDONLY and map.spec.read_only):
        raise _refused(map, errno.EPERM)


def _check_flags(map: Map, flags: int, taken: int) -> None:
    if flags & ~taken:
        raise _refused(map, errno.EINVAL)


def _check_key(map: Map, key: bytes) -> None:
    if len(key) != map.spec.key_size:
        raise _refused(map, errno.EINVAL)


def _found(map: Map, content: bytes | None) -> bytes:
    if content is None:
        raise _refused(map, errno.ENOENT)
    return content


def _joined(map: ArrayMap | HashMap, key: bytes) -> bytes:
    """The values of all CPUs, or the one that they share."""
    if key not in map:
        raise _refused(map, errno.ENOENT)
    content = map[key]
    if isinstance(content, list):
        return b"".join(value + bytes(-len(value) % _PADDING) for value in content)
    return content


def _split(map: ArrayMap | HashMap, value: bytes) -> list[bytes]:
    if not map.per_cpu:
        return [_sized(map, value)]
    size = map.spec.value_size
    stride = size + -size % _PADDING
    if len(value) != stride * map.cpus:
        raise _refused(map, errno.EINVAL)
    return [value[start : start + size] for start in range(0, len(value), stride)]


def _sized(map: Map, value: bytes) -> bytes:
    if len(value) != map.spec.value_size:
        raise _refused(map, errno.EINVAL)
    return value


def _next_index(map: Map, key: bytes | None) -> bytes:
    entries = map.spec.max_entries
    index = entries if key is None else index_of(key)
    if index == entries - 1:
        raise _refused(map, errno.ENOENT)
    return (index + 1 if index < entries else 0).to_bytes(4, "little")
