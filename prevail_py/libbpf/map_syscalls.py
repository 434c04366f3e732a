"""The functions of libbpf's ``bpf.h`` on maps and their elements."""

from __future__ import annotations

import errno
from ctypes import c_uint32

from prevail_py.host.context.model import Connection
from prevail_py.host.service.programs import from_map, to_map
from prevail_py.libbpf.backend import current
from prevail_py.libbpf.errors import number, refuse
from prevail_py.objects.program import MapSpec
from prevail_py.platforms import platform

__all__ = [
    "BPF_ANY",
    "BPF_EXIST",
    "BPF_NOEXIST",
    "bpf_map_create",
    "bpf_map_delete_batch",
    "bpf_map_delete_elem",
    "bpf_map_delete_elem_flags",
    "bpf_map_freeze",
    "bpf_map_get_next_key",
    "bpf_map_lookup_and_delete_batch",
    "bpf_map_lookup_and_delete_elem",
    "bpf_map_lookup_and_delete_elem_flags",
    "bpf_map_lookup_batch",
    "bpf_map_lookup_elem",
    "bpf_map_lookup_elem_flags",
    "bpf_map_update_batch",
    "bpf_map_update_elem",
]

BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2


@number
def bpf_map_create(
    map_type: int,
    map_name: str | None,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    map_flags: int = 0,
    inner_map_fd: int | None = None,
    map_extra: int = 0,
) -> int:
    """A descriptor of a new map."""
    inner = None if inner_map_fd is None else spec_of(current(), inner_map_fd)
    spec = MapSpec(map_name or "", map_type, key_size, value_size, max_entries, map_flags, inner, extra=map_extra)
    return create(current(), spec)


def create(backend: Connection, spec: MapSpec) -> int:
    """A handle to a new map.  Raises OSError."""
    handle: int = backend.call("map_create", spec=from_map(spec))
    return handle


def spec_of(backend: Connection, fd: int) -> MapSpec:
    """The definition of a map.  Raises OSError."""
    found = backend.call("info", handle=fd)
    if found["kind"] != "map":
        raise refuse(errno.EINVAL, f"descriptor {fd} is no map")
    return to_map(found["spec"])


def bpf_map_lookup_elem(fd: int, key: bytes, value: bytearray) -> int:
    """Put the value with ``key`` into ``value``."""
    return bpf_map_lookup_elem_flags(fd, key, value, 0)


@number
def bpf_map_lookup_elem_flags(fd: int, key: bytes, value: bytearray, flags: int) -> int:
    """The same with flags."""
    return fill(value, current().call("map_lookup", handle=fd, key=bytes(key), flags=flags, value=bytes(value)))


@number
def bpf_map_update_elem(fd: int, key: bytes, value: bytes, flags: int = BPF_ANY) -> int:
    """Set an element.  The value in a program array or map of maps is a descriptor, in four bytes."""
    current().call("map_update", handle=fd, key=bytes(key), value=bytes(value), flags=flags)
    return 0


def bpf_map_delete_elem(fd: int, key: bytes) -> int:
    """Remove an element."""
    return bpf_map_delete_elem_flags(fd, key, 0)


@number
def bpf_map_delete_elem_flags(fd: int, key: bytes, flags: int) -> int:
    """The same; there are no flags."""
    if flags:
        raise refuse(errno.EINVAL)
    current().call("map_delete", handle=fd, key=bytes(key))
    return 0


@number
def bpf_map_get_next_key(fd: int, key: bytes | None, next_key: bytearray) -> int:
    """Put the key after ``key`` into ``next_key``; -ENOENT after the last."""
    return fill(next_key, current().call("map_next_key", handle=fd, key=None if key is None else bytes(key)))


def bpf_map_lookup_and_delete_elem(fd: int, key: bytes, value: bytearray) -> int:
    """Look an element up and remove it."""
    return bpf_map_lookup_and_delete_elem_flags(fd, key, value, 0)


@number
def bpf_map_lookup_and_delete_elem_flags(fd: int, key: bytes, value: bytearray, flags: int) -> int:
    """The same with flags."""
    return fill(value, current().call("map_take", handle=fd, key=bytes(key), flags=flags))


@number
def bpf_map_freeze(fd: int) -> int:
    """Let nobody but programs change the map any more; -EBUSY where that was done before."""
    current().call("map_freeze", handle=fd)
    return 0


def fill(target: bytearray, data: bytes) -> int:
    """Put a result where the caller wants it: 0.  Raises OSError where it does not fit."""
    if len(target) < len(data):
        raise refuse(errno.EFAULT, f"{len(data)} bytes do not fit into {len(target)}")
    target[: len(data)] = data
    return 0


@number
def bpf_map_lookup_batch(
    fd: int, in_batch: bytes | None, out_batch: bytearray, keys: bytearray, values: bytearray, count: c_uint32
) -> int:
    """Up to ``count`` elements, from where ``in_batch`` (an earlier ``out_batch``) says; -ENOENT with the last ones.

    ``count`` is then the number of those that were found.
    """
    at = 0 if in_batch is None else int.from_bytes(in_batch[:4], "little")
    wanted, count.value = count.value, 0
    found = current().call("map_lookup_batch", handle=fd, at=at, count=wanted)
    fill(keys, b"".join(found["keys"]))
    fill(values, b"".join(found["values"]))
    count.value = len(found["keys"])
    if found["next"] is None:
        raise refuse(errno.ENOENT, "these are the last")
    return fill(out_batch, found["next"].to_bytes(4, "little"))


@number
def bpf_map_lookup_and_delete_batch(
    fd: int, in_batch: bytes | None, out_batch: bytearray, keys: bytearray, values: bytearray, count: c_uint32
) -> int:
    """The same, and removes them: always the first ones that are left."""
    result = bpf_map_lookup_batch(fd, None, out_batch, keys, values, count)
    if result not in (0, -errno.ENOENT):
        return result
    if count.value:
        size = spec_of(current(), fd).key_size
        current().call("map_delete_batch", handle=fd, keys=_split(keys, size, count.value))
    return result


@number
def bpf_map_update_batch(fd: int, keys: bytes, values: bytes, count: c_uint32, *, elem_flags: int = 0) -> int:
    """Set ``count`` elements; it is then the number of those that were."""
    wanted, count.value = count.value, 0
    if wanted == 0:
        return 0
    spec = spec_of(current(), fd)
    arguments = {
        "keys": _split(keys, spec.key_size, wanted),
        "values": _split(values, _width(current(), spec), wanted),
    }
    count.value = current().call("map_update_batch", handle=fd, flags=elem_flags, **arguments)
    if count.value < wanted:  # what was wrong with the next one
        current().call("map_update", handle=fd, key=arguments["keys"][count.value],
                       value=arguments["values"][count.value], flags=elem_flags)  # fmt: skip
    return 0


@number
def bpf_map_delete_batch(fd: int, keys: bytes, count: c_uint32) -> int:
    """Remove ``count`` elements; it is then the number of those that were."""
    wanted, count.value = count.value, 0
    if wanted == 0:
        return 0
    count.value = current().call(
        "map_delete_batch", handle=fd, keys=_split(keys, spec_of(current(), fd).key_size, wanted)
    )
    if count.value < wanted:
        raise refuse(errno.ENOENT, "no element has the next key")
    return 0


def _width(backend: Connection, spec: MapSpec) -> int:
    """Bytes of a value as user space sees it: those of all CPUs, each padded, where they have one each."""
    kind = platform().map_type(spec.type)
    if kind is None or not kind.per_cpu:
        return spec.value_size
    cpus: int = backend.call("status")["cpus"]
    return (spec.value_size + -spec.value_size % 8) * cpus


def _split(data: bytes | bytearray, size: int, count: int) -> list[bytes]:
    if len(data) < size * count:
        raise refuse(errno.EFAULT, f"{count} times {size} bytes are more than {len(data)}")
    return [bytes(data[place * size : (place + 1) * size]) for place in range(count)]
