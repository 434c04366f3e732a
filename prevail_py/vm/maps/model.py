"""What all maps have in common: the protocols that the machine relies on, update flags, errors, checks of keys.

A map has two sides.  *Programs* reach it through helpers, which report failure as a negative error number and get a
pointer to the value itself.  *The user* sees a mutable mapping from keys to values in bytes (for per-CPU maps: to a
list with the value of each CPU), whose failures are exceptions.
"""

from __future__ import annotations

import errno
import os
from enum import IntFlag
from typing import Protocol, TypeAlias, TypeGuard

from prevail_py.objects.program import MapSpec

__all__ = [
    "Content",
    "Map",
    "MapError",
    "MapFlag",
    "UpdateFlag",
    "ValueMap",
    "check",
    "flags_error",
    "has_values",
    "index_of",
    "key_of",
    "require",
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
    """The flags of a map's definition that change what programs may do (uapi ``linux/bpf.h``)."""

    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8


class MapError(ValueError):
    """A map that cannot be made, or an operation of the user that Linux would refuse with ``errno``."""

    def __init__(self, name: str, number: int, reason: str = "") -> None:
        super().__init__(f"map {name!r}: {errno.errorcode.get(number, number)}: {reason or os.strerror(number)}")
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


def has_values(map: Map) -> TypeGuard[ValueMap]:
    """Whether programs can point to the values of a map."""
    return hasattr(map, "find")


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
