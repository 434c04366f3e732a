"""Maps of redirection targets: devices, CPUs, AF_XDP sockets (kernel/bpf/devmap.c, cpumap.c, net/xdp/xskmap.c).

Nothing is sent there: a run only says where to.  Programs look at most of them but never change them; that is for the
user, whose values are those that Linux takes: the interface (and a program to run there, which is not run here), the
length of the CPU's queue, the socket.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import Content, MapError, UpdateFlag, check, index_of, key_of, require
from prevail_py.vm.maps.storage import FreeSlots, Storage

__all__ = ["TargetKind", "TargetMap", "XdpSocket", "XdpSocketMap"]


class TargetKind(Enum):
    """What the targets are; only those of DEVICE_HASH are found by any number, all others by an index."""

    DEVICE = "devices"
    DEVICE_HASH = "hashed devices"
    CPU = "CPUs"


_QUEUE_LIMIT: Final = 16384
_SIZES: Final = {TargetKind.DEVICE: (4, 8), TargetKind.DEVICE_HASH: (4, 8), TargetKind.CPU: (4, 8)}


class TargetMap(MutableMapping[bytes, bytes]):
    """Targets by 32-bit key.  A value whose first 32 bits, interface or queue length, are 0 is no target.

    ``kind`` says of what sort; ``indexed``: keys are indices below ``max_entries``.
    """

    def __init__(self, spec: MapSpec, kind: TargetKind) -> None:
        """Raises :class:`MapError` for an invalid ``spec``."""
        require(spec, spec.key_size == 4, "the key has the wrong size")
        require(spec, spec.value_size in _SIZES[kind], "a value has 4 or 8 bytes")
        require(spec, spec.max_entries > 0, "the map must have room for a target")
        self.spec = spec
        self.writable = False
        self.kind = kind
        self.indexed = kind is not TargetKind.DEVICE_HASH
        self._storage = Storage(spec, spec.max_entries, 1)
        self._slot_of: dict[bytes, int] = {}
        self._free = FreeSlots()

    def __repr__(self) -> str:
        return f"<{self.kind.value} {self.spec.name!r}: {len(self)} targets>"

    # For programs ---------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """As many as ``max_entries``."""
        return self._storage.slots

    @property
    def cpus(self) -> int:
        """Targets are shared by all CPUs."""
        return 1

    def find(self, key: bytes) -> int | None:
        """The slot of the target with this key."""
        return self._slot_of.get(key)

    def value(self, slot: int, cpu: int) -> memoryview:
        """The memory of one value."""
        return self._storage.value(slot, cpu)

    def insert(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Set a target, as the user does."""
        number, old = int.from_bytes(value[:4], "little"), self._slot_of.get(key)
        if flags > UpdateFlag.EXIST:
            return -errno.EINVAL
        if self.indexed:
            if index_of(key) >= self.spec.max_entries:
                return -errno.E2BIG
            if flags == UpdateFlag.NOEXIST:
                return -errno.EEXIST
            if self.kind is TargetKind.CPU and number > _QUEUE_LIMIT:
                return -errno.EOVERFLOW
            if number == 0:
                self._slot_of.pop(key, None)
                return 0
            slot = index_of(key)
        else:
            if number == 0:
                return -errno.EINVAL
            if old is not None and flags == UpdateFlag.NOEXIST:
                return -errno.EEXIST
            if old is None and len(self._slot_of) >= self.spec.max_entries:
                return -errno.E2BIG
            slot = self._free.take() if old is None else old
        self._slot_of[key] = slot
        self._storage.write(slot, [value])
        return 0

    def remove(self, key: bytes) -> int:
        """Remove a target.  Where keys are indices it is no error if there is none."""
        if self.indexed:
            if index_of(key) >= self.spec.max_entries:
                return -errno.EINVAL
            self._slot_of.pop(key, None)
            return 0
        slot = self._slot_of.pop(key, None)
        if slot is None:
            return -errno.ENOENT
        self._free.give_back(slot)
        return 0

    # For the user ---------------------------------------------------------------------------------------------------

    def __getitem__(self, key: bytes) -> bytes:
        return bytes(self._storage.value(self._slot_of[key_of(self.spec, key)], 0))

    def __setitem__(self, key: bytes, content: Content) -> None:
        (value,) = self._storage.checked(content, per_cpu=False)
        check(self.spec, self.insert(key_of(self.spec, key), value, UpdateFlag.ANY, 0))

    def __delitem__(self, key: bytes) -> None:
        if key_of(self.spec, key) not in self._slot_of:
            raise KeyError(key)
        check(self.spec, self.remove(bytes(key)))

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self._slot_of))

    def __len__(self) -> int:
        return len(self._slot_of)


@dataclass(frozen=True, slots=True)
class XdpSocket:
    """An AF_XDP socket, as programs see it: the receive queue that it is bound to (``struct bpf_xdp_sock``)."""

    queue: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.queue < 1 << 32:
            raise ValueError(f"{self.queue} is no number of a queue")


class XdpSocketMap(MutableMapping[bytes, XdpSocket]):
    """AF_XDP sockets by index (BPF_MAP_TYPE_XSKMAP); a look-up gives programs a pointer to the socket."""

    def __init__(self, spec: MapSpec) -> None:
        """Raises :class:`MapError` for an invalid ``spec``."""
        require(spec, spec.key_size == 4 and spec.value_size == 4, "keys and values have 4 bytes")
        require(spec, spec.max_entries > 0, "the map must have room for a socket")
        self.spec = spec
        self.writable = False
        self._storage = Storage(spec, spec.max_entries, 1)
        self._sockets: dict[int, XdpSocket] = {}

    def __repr__(self) -> str:
        return f"<sockets {self.spec.name!r}: {len(self)} sockets>"

    # For programs ---------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """One for each index."""
        return self._storage.slots

    @property
    def cpus(self) -> int:
        """Sockets are shared by all CPUs."""
        return 1

    def find(self, key: bytes) -> int | None:
        """The index, if there is a socket."""
        index = index_of(key)
        return index if index in self._sockets else None

    def value(self, slot: int, cpu: int) -> memoryview:
        """The memory of a socket, as programs see it."""
        return self._storage.value(slot, cpu)

    def insert(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Refused: programs do not change the map, and Linux takes a descriptor from user space."""
        return -errno.EOPNOTSUPP

    def remove(self, key: bytes) -> int:
        """Remove a socket; no error if there is none."""
        if index_of(key) >= self.spec.max_entries:
            return -errno.EINVAL
        self._sockets.pop(index_of(key), None)
        return 0

    # For the user ---------------------------------------------------------------------------------------------------

    def __getitem__(self, key: bytes) -> XdpSocket:
        return self._sockets[index_of(key_of(self.spec, key))]

    def __setitem__(self, key: bytes, socket: XdpSocket) -> None:
        index = index_of(key_of(self.spec, key))
        if not isinstance(socket, XdpSocket):
            raise MapError(self.spec.name, errno.EINVAL, f"an XdpSocket is wanted, not {type(socket).__name__}")
        if index >= self.spec.max_entries:
            raise MapError(self.spec.name, errno.E2BIG)
        self._sockets[index] = socket
        self._storage.write(index, [socket.queue.to_bytes(4, "little")])

    def __delitem__(self, key: bytes) -> None:
        del self._sockets[index_of(key_of(self.spec, key))]

    def __iter__(self) -> Iterator[bytes]:
        return (index.to_bytes(4, "little") for index in tuple(self._sockets))

    def __len__(self) -> int:
        return len(self._sockets)
