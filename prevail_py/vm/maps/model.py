"""What all maps have in common: the protocols that the machine relies on, update flags, errors, checks of keys.

A map has two sides.  *Programs* reach it through helpers, which report failure as a negative error number and get a
pointer to the value itself.  *The user* sees a mutable mapping from keys to values in bytes (for per-CPU maps: to a
list with the value of each CPU), whose failures are exceptions.
"""

from __future__ import annotations

import errno
import os
from enum import IntFlag
from typing import Final, Protocol, TypeAlias, TypeGuard

from prevail_py.objects.program import MapSpec

__all__ = [
    "ENOTSUPP",
    "Content",
    "ListMap",
    "Map",
    "MapError",
    "MapFlag",
    "UpdateFlag",
    "ValueMap",
    "check",
    "flags_error",
    "has_values",
    "index_of",
    "is_list",
    "key_of",
    "require",
    "require_cpu",
]

Content: TypeAlias = bytes | list[bytes]
"""A value as the user sees it: bytes, or those of each CPU."""


class UpdateFlag(IntFlag):
    """Flags of an update (uapi ``linux/bpf.h``)."""

    ANY = 0
    NOEXIST = 1
    EXIST = 2
    LOCK = 4


class MapFlag(IntFlag):
    """The flags of a map's definition (uapi ``linux/bpf.h``, ``BPF_F_*``)."""

    NO_PREALLOC = 1 << 0
    NO_COMMON_LRU = 1 << 1
    NUMA_NODE = 1 << 2
    RDONLY = 1 << 3
    WRONLY = 1 << 4
    ZERO_SEED = 1 << 6
    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8
    MMAPABLE = 1 << 10
    PRESERVE_ELEMS = 1 << 11
    INNER_MAP = 1 << 12


ENOTSUPP: Final = 524
"""The kernel's own error number for what an object does not support; user space has no name for it."""


class MapError(ValueError):
    """A map that cannot be made, or an operation of the user that Linux would refuse with ``errno``."""

    def __init__(self, name: str, number: int, reason: str = "") -> None:
        code = "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, str(number))
        text = "Operation not supported" if number == ENOTSUPP else os.strerror(number)
        super().__init__(f"map {name!r}: {code}: {reason or text}")
        self.errno = number


class Map(Protocol):
    """Any map."""

    @property
    def spec(self) -> MapSpec: ...


class ValueMap(Protocol):
    """A map whose values are memory that programs can point to.

    Values live in numbered *slots*, ``0 <= slot < slots``, once for each of ``cpus`` CPUs (1 where the map is not
    per-CPU); the memory of a slot never moves.  ``find`` gives the slot of a key; the pointer that a program got from
    it stays valid after the element was deleted, when the slot may come to hold another one: so it is in Linux, where
    elements are preallocated.  ``insert`` and ``remove`` return 0 or a negative error number.
    """

    @property
    def spec(self) -> MapSpec: ...
    @property
    def slots(self) -> int: ...
    @property
    def cpus(self) -> int: ...
    @property
    def writable(self) -> bool:
        """Whether programs may write values."""
        ...

    def find(self, key: bytes) -> int | None: ...
    def value(self, slot: int, cpu: int) -> memoryview: ...
    def insert(self, key: bytes, value: bytes, flags: int, cpu: int) -> int: ...
    def remove(self, key: bytes) -> int: ...


class ListMap(Protocol):
    """A map without keys that programs push values to (queue, stack, bloom filter).

    ``push`` returns 0 or a negative error number, and so do ``pop`` and ``peek`` with the value, zeros on an error.
    ``peek`` is given what the program's memory holds: a bloom filter answers whether it holds that, and changes
    nothing.
    """

    @property
    def spec(self) -> MapSpec: ...
    def push(self, value: bytes, flags: int) -> int: ...
    def pop(self) -> tuple[int, bytes]: ...
    def peek(self, value: bytes) -> tuple[int, bytes]: ...


def is_list(map: Map) -> TypeGuard[ListMap]:
    """Whether programs push values to a map."""
    return hasattr(map, "push")


def has_values(map: Map) -> TypeGuard[ValueMap]:
    """Whether programs can point to the values of a map."""
    return hasattr(map, "find")


def require_cpu(map: Map, cpu: int) -> None:
    """Raise ValueError where a map has no value of its own for this CPU, though it has for others."""
    if has_values(map) and 1 < map.cpus <= cpu:
        raise ValueError(f"map {map.spec.name!r} was made for {map.cpus} CPUs and cannot be used on CPU {cpu}")


def flags_error(flags: int, exists: bool) -> int:
    """0, or the negative error number of an update with these flags (kernel/bpf/hashtab.c, ``check_flags``)."""
    if flags > UpdateFlag.EXIST:
        return -errno.EINVAL  # also BPF_F_LOCK, which wants a spin lock in the value, and no map here has one
    if exists and flags & UpdateFlag.NOEXIST:
        return -errno.EEXIST
    if not exists and flags & UpdateFlag.EXIST:
        return -errno.ENOENT
    return 0


def check(spec: MapSpec, error: int) -> None:
    """Raise the error number that an operation returned, if it is one."""
    if error:
        raise MapError(spec.name, -error)


def key_of(spec: MapSpec, key: object) -> bytes:
    """A key given by the user, checked for its length."""
    if not isinstance(key, bytes | bytearray | memoryview):
        raise MapError(spec.name, errno.EINVAL, f"a key must be bytes, not {type(key).__name__}")
    if len(key) != spec.key_size:
        raise MapError(spec.name, errno.EINVAL, f"a key has {spec.key_size} bytes, not {len(key)}")
    return bytes(key)


def index_of(key: bytes) -> int:
    """The index that the four bytes of a key of an array denote."""
    return int.from_bytes(key, "little")


def require(spec: MapSpec, condition: bool, reason: str, number: int = errno.EINVAL) -> None:
    """Refuse a definition that Linux refuses."""
    if not condition:
        raise MapError(spec.name, number, reason)
