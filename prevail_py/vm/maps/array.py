"""Arrays, shared or per CPU: every element exists from the start (kernel/bpf/arraymap.c)."""

from __future__ import annotations

import errno
from collections.abc import Iterator, MutableMapping

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import Content, MapError, MapFlag, UpdateFlag, check, index_of, key_of, require
from prevail_py.vm.maps.storage import Storage

__all__ = ["ArrayMap"]


class ArrayMap(MutableMapping[bytes, Content]):
    """``max_entries`` values, found by a 32-bit index; they cannot be deleted.  ``per_cpu``: each CPU has its own.

    A global-data section is an array of one element with given contents, which may be frozen.
    """

    def __init__(self, spec: MapSpec, cpus: int | None = None) -> None:
        """``cpus`` is None for an array that all CPUs share.  Raises :class:`MapError` for an invalid ``spec``."""
        require(spec, spec.key_size == 4, "the key of an array has 4 bytes")
        require(spec, spec.value_size > 0, "values must have a size")
        require(spec, spec.max_entries > 0, "an array must have elements")
        self.spec = spec
        self.writable = not (spec.read_only or spec.flags & MapFlag.RDONLY_PROG)
        self.per_cpu = cpus is not None
        self._storage = Storage(spec, spec.max_entries, cpus or 1)
        if spec.initial is not None:
            require(spec, len(spec.initial) <= spec.value_size, "the contents given do not fit", errno.E2BIG)
            self._storage.value(0, 0)[: len(spec.initial)] = spec.initial

    def __repr__(self) -> str:
        return f"<array {self.spec.name!r}: {len(self)} elements>"

    @property
    def storage(self) -> Storage:
        """The values."""
        return self._storage

    # For programs ---------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """One for each element."""
        return self._storage.slots

    @property
    def cpus(self) -> int:
        """How many values each element has."""
        return self._storage.cpus

    def find(self, key: bytes) -> int | None:
        """The element with this index, None beyond the end."""
        index = index_of(key)
        return index if index < self._storage.slots else None

    slot_of = find
    """No element of an array is ever less used than others."""

    def value(self, slot: int, cpu: int) -> memoryview:
        """The memory of one value."""
        return self._storage.value(slot, cpu)

    def insert(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Overwrite an element, of one CPU only in a per-CPU array."""
        error = self._insert_error(key, flags, UpdateFlag.LOCK)
        if not error:
            self._storage.value(index_of(key), cpu)[:] = value
        return error

    def put(self, key: bytes, values: list[bytes], flags: int) -> int:
        """Overwrite the value of every CPU: 0 or a negative error number."""
        error = self._insert_error(key, flags, UpdateFlag.ANY if self.per_cpu else UpdateFlag.LOCK)
        if not error:
            self._storage.write(index_of(key), values)
        return error

    def remove(self, key: bytes) -> int:
        """Refused: elements of arrays stay."""
        return -errno.EINVAL

    def _insert_error(self, key: bytes, flags: int, ignored: UpdateFlag) -> int:
        # The order of these checks is that of array_map_update_elem, which is what programs call in either case, and of
        # bpf_percpu_array_update, which the user's commands call and which does not set LOCK aside.
        if flags & ~int(ignored) > UpdateFlag.EXIST:
            return -errno.EINVAL
        if index_of(key) >= self._storage.slots:
            return -errno.E2BIG
        if flags & UpdateFlag.NOEXIST:
            return -errno.EEXIST
        return -errno.EINVAL if flags & UpdateFlag.LOCK else 0

    # For the user ---------------------------------------------------------------------------------------------------

    def __getitem__(self, key: bytes) -> Content:
        slot = self.find(key_of(self.spec, key))
        if slot is None:
            raise KeyError(key)
        return self._storage.read(slot, self.per_cpu)

    def __setitem__(self, key: bytes, content: Content) -> None:
        if self.spec.read_only:
            raise MapError(self.spec.name, errno.EPERM, "the map is frozen")
        values = self._storage.checked(content, self.per_cpu)
        check(self.spec, self.put(key_of(self.spec, key), values, UpdateFlag.ANY))

    def __delitem__(self, key: bytes) -> None:
        check(self.spec, self.remove(key_of(self.spec, key)))

    def __iter__(self) -> Iterator[bytes]:
        return (index.to_bytes(4, "little") for index in range(self._storage.slots))

    def __len__(self) -> int:
        return self._storage.slots
