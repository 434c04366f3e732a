"""Maps of an object: ``bpf_map__*`` of libbpf."""

from __future__ import annotations

import errno

from prevail_py.libbpf.errors import number, refuse
from prevail_py.libbpf.handles import bpf_map, pin_all
from prevail_py.libbpf.map_syscalls import fill, spec_of
from prevail_py.platforms import platform
from prevail_py.platforms.model import LookupResult

__all__ = [
    "bpf_map__autocreate",
    "bpf_map__btf_key_type_id",
    "bpf_map__btf_value_type_id",
    "bpf_map__delete_elem",
    "bpf_map__fd",
    "bpf_map__get_next_key",
    "bpf_map__get_pin_path",
    "bpf_map__ifindex",
    "bpf_map__initial_value",
    "bpf_map__inner_map",
    "bpf_map__is_internal",
    "bpf_map__is_pinned",
    "bpf_map__key_size",
    "bpf_map__lookup_and_delete_elem",
    "bpf_map__lookup_elem",
    "bpf_map__map_extra",
    "bpf_map__map_flags",
    "bpf_map__max_entries",
    "bpf_map__name",
    "bpf_map__numa_node",
    "bpf_map__pin",
    "bpf_map__pin_path",
    "bpf_map__reuse_fd",
    "bpf_map__set_autocreate",
    "bpf_map__set_ifindex",
    "bpf_map__set_initial_value",
    "bpf_map__set_inner_map_fd",
    "bpf_map__set_key_size",
    "bpf_map__set_map_extra",
    "bpf_map__set_map_flags",
    "bpf_map__set_max_entries",
    "bpf_map__set_numa_node",
    "bpf_map__set_pin_path",
    "bpf_map__set_type",
    "bpf_map__set_value_size",
    "bpf_map__type",
    "bpf_map__unpin",
    "bpf_map__update_elem",
    "bpf_map__value_size",
]


def bpf_map__fd(map: bpf_map) -> int:
    """The descriptor; -EINVAL until it exists."""
    return map.fd if map.fd >= 0 else -errno.EINVAL


def bpf_map__name(map: bpf_map) -> str:
    """The name of the variable, or of the section of global data."""
    return map.spec.name


def bpf_map__type(map: bpf_map) -> int:
    """The number of its type."""
    return map.spec.type


def bpf_map__key_size(map: bpf_map) -> int:
    """Bytes."""
    return map.spec.key_size


def bpf_map__value_size(map: bpf_map) -> int:
    """Bytes."""
    return map.spec.value_size


def bpf_map__max_entries(map: bpf_map) -> int:
    """Elements, or bytes of a ring buffer."""
    return map.spec.max_entries


def bpf_map__map_flags(map: bpf_map) -> int:
    """``BPF_F_*``."""
    return map.spec.flags


def bpf_map__map_extra(map: bpf_map) -> int:
    """Hashes of a bloom filter."""
    return map.spec.extra


def bpf_map__btf_key_type_id(map: bpf_map) -> int:
    """In the BTF of the object."""
    return map.spec.key_btf


def bpf_map__btf_value_type_id(map: bpf_map) -> int:
    """In the BTF of the object."""
    return map.spec.value_btf


@number
def bpf_map__set_type(map: bpf_map, type: int) -> int:
    """Before it exists."""
    if platform().map_type(type) is None:
        raise refuse(errno.EINVAL, f"no map type {type}")
    return map.change(type=type)


@number
def bpf_map__set_key_size(map: bpf_map, size: int) -> int:
    """Before it exists."""
    return map.change(key_size=size)


@number
def bpf_map__set_value_size(map: bpf_map, size: int) -> int:
    """Before it exists."""
    return map.change(value_size=size)


@number
def bpf_map__set_max_entries(map: bpf_map, max_entries: int) -> int:
    """Before it exists."""
    return map.change(max_entries=max_entries)


@number
def bpf_map__set_map_flags(map: bpf_map, flags: int) -> int:
    """Before it exists."""
    return map.change(flags=flags)


@number
def bpf_map__set_map_extra(map: bpf_map, map_extra: int) -> int:
    """Before it exists."""
    return map.change(extra=map_extra)


@number
def bpf_map__set_initial_value(map: bpf_map, data: bytes, size: int | None = None) -> int:
    """What a section of global data holds at first.  Of a read-only one the verifier will take it for granted."""
    if map.spec.initial is None or len(data) != len(map.spec.initial):
        raise refuse(errno.EINVAL, f"map {map.spec.name!r} holds no global data of this size")
    return map.change(initial=bytes(data))


def bpf_map__initial_value(map: bpf_map) -> bytes | None:
    """The same."""
    return map.spec.initial


def bpf_map__inner_map(map: bpf_map) -> bpf_map | None:
    """The definition that the maps in a map of maps have; None of any other map."""
    return None if map.spec.inner is None else bpf_map(map.spec.inner, map.backend)


@number
def bpf_map__set_inner_map_fd(map: bpf_map, fd: int) -> int:
    """The definition of this map is what the maps in it shall have."""
    kind = platform().map_type(map.spec.type)
    if kind is None or kind.lookup is not LookupResult.MAP:
        raise refuse(errno.EINVAL, f"map {map.spec.name!r} holds no maps")
    if map.spec.inner is not None:
        raise refuse(errno.EINVAL, f"map {map.spec.name!r} has a definition for the maps in it")
    return map.change(inner=spec_of(map.backend, fd))


def bpf_map__ifindex(map: bpf_map) -> int:
    """0: a map is offloaded to no interface."""
    return 0


@number
def bpf_map__set_ifindex(map: bpf_map, ifindex: int) -> int:
    """Nothing is offloaded: -EOPNOTSUPP for any interface."""
    map.change()
    if ifindex:
        raise refuse(errno.EOPNOTSUPP, "a host offloads no maps")
    return 0


def bpf_map__numa_node(map: bpf_map) -> int:
    """On which node it shall be; a host has one."""
    return map.numa_node


@number
def bpf_map__set_numa_node(map: bpf_map, numa_node: int) -> int:
    """Before it exists; it makes no difference."""
    map.change()
    map.numa_node = numa_node
    return 0


def bpf_map__is_internal(map: bpf_map) -> bool:
    """Whether it is a section of global data."""
    return map.spec.initial is not None


def bpf_map__autocreate(map: bpf_map) -> bool:
    """Whether it is made with its object."""
    return map.autocreate


@number
def bpf_map__set_autocreate(map: bpf_map, autocreate: bool) -> int:
    """Make it with its object, or not."""
    map.change()
    map.autocreate = autocreate
    return 0


@number
def bpf_map__reuse_fd(map: bpf_map, fd: int) -> int:
    """Let the object use a map that exists; programs are verified for its definition."""
    return map.reuse(fd)


@number
def bpf_map__set_pin_path(map: bpf_map, path: str | None) -> int:
    """Where it shall be pinned when it is made."""
    map.pin_path = path
    return 0


def bpf_map__pin_path(map: bpf_map) -> str | None:
    """The same."""
    return map.pin_path


bpf_map__get_pin_path = bpf_map__pin_path


def bpf_map__is_pinned(map: bpf_map) -> bool:
    """Whether we have pinned it, or found it pinned."""
    return map.pinned


@number
def bpf_map__pin(map: bpf_map, path: str | None = None) -> int:
    """Pin it."""
    where = path or map.pin_path
    if where is None:
        raise refuse(errno.EINVAL, f"no path for map {map.spec.name!r}")
    map.require()
    return pin_all([(map, where)])


@number
def bpf_map__unpin(map: bpf_map, path: str | None = None) -> int:
    """Undo it."""
    where = path or map.pin_path
    if where is None:
        raise refuse(errno.EINVAL, f"no path for map {map.spec.name!r}")
    map.backend.call("unpin", path=where)
    map.pinned = False
    return 0


@number
def bpf_map__lookup_elem(
    map: bpf_map, key: bytes, key_sz: int | None, value: bytearray, value_sz: int | None = None, flags: int = 0
) -> int:
    """Put the value with ``key`` into ``value``."""
    found = map.backend.call("map_lookup", handle=map.require(), key=bytes(key), flags=flags, value=bytes(value))
    return fill(value, found)


@number
def bpf_map__update_elem(
    map: bpf_map, key: bytes, key_sz: int | None, value: bytes, value_sz: int | None = None, flags: int = 0
) -> int:
    """Set an element."""
    map.backend.call("map_update", handle=map.require(), key=bytes(key), value=bytes(value), flags=flags)
    return 0


@number
def bpf_map__delete_elem(map: bpf_map, key: bytes, key_sz: int | None = None, flags: int = 0) -> int:
    """Remove an element."""
    map.backend.call("map_delete", handle=map.require(), key=bytes(key))
    return 0


@number
def bpf_map__lookup_and_delete_elem(
    map: bpf_map, key: bytes, key_sz: int | None, value: bytearray, value_sz: int | None = None, flags: int = 0
) -> int:
    """Look an element up and remove it."""
    return fill(value, map.backend.call("map_take", handle=map.require(), key=bytes(key), flags=flags))


@number
def bpf_map__get_next_key(map: bpf_map, cur_key: bytes | None, next_key: bytearray, key_sz: int | None = None) -> int:
    """Put the key after ``cur_key`` into ``next_key``."""
    key = None if cur_key is None else bytes(cur_key)
    return fill(next_key, map.backend.call("map_next_key", handle=map.require(), key=key))
