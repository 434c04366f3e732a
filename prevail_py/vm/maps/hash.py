"""Hash tables: shared, per CPU, with eviction of the least recently used (kernel/bpf/hashtab.c)."""

from __future__ import annotations

import errno
from collections.abc import Iterator, MutableMapping

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import (
    Content,
    MapError,
    MapFlag,
    UpdateFlag,
    check,
    flags_error,
    key_of,
    require,
)
from prevail_py.vm.maps.storage import FreeSlots, Storage
from prevail_py.vm.maps.table import HashTable

__all__ = ["HashMap"]


class HashMap(MutableMapping[bytes, Content]):
    """At most ``max_entries`` elements, found by their key.

    Replacing an element gives it another slot, where Linux does so: a pointer to the old value still shows the old
    value, until the slot is used again.  Where it is ``per_cpu`` each CPU has a value of its own, and values are
    replaced in place.  Free slots are used last in, first out.  A table that ``evicts`` is never full: where Linux
    approximates, it drops the element that was looked up or updated least recently.

    Native code has a table of the elements instead of the dictionary: :meth:`lend`.  Whichever of the two was changed
    last is right, and the other one is made from it when it is asked for.
    """

    def __init__(
        self,
        spec: MapSpec,
        cpus: int | None = None,
        *,
        evicts: bool = False,
    ) -> None:
        """``cpus`` is None for a table that all CPUs share.  Raises :class:`MapError` for an invalid ``spec``."""
        require(spec, spec.key_size > 0, "the key has the wrong size")
        require(spec, spec.value_size > 0, "values must have a size")
        require(spec, spec.max_entries > 0, "a table must have room for an element")
        self.spec = spec
        self.writable = not (spec.read_only or spec.flags & MapFlag.RDONLY_PROG)
        self._evicts = evicts
        self.per_cpu = cpus is not None
        # One slot more than elements, so that a full table can still replace one.
        self._storage = Storage(spec, spec.max_entries + 1, cpus or 1)
        self._elements: dict[bytes, int] = {}  # the least recently used first, if it evicts
        self._free = FreeSlots()
        self._table: HashTable | None = None
        self._lent = False  # the table may be newer than the dictionary
        self._filled = False  # the table holds what the dictionary does, or is newer

    def __repr__(self) -> str:
        return f"<hash {self.spec.name!r}: {len(self)} of {self.spec.max_entries} elements>"

    # For native code ------------------------------------------------------------------------------------------------

    @property
    def storage(self) -> Storage:
        """The values."""
        return self._storage

    @property
    def evicts(self) -> bool:
        """Whether a full table drops an element; such a one has no table for native code."""
        return self._evicts

    def lend(self) -> HashTable:
        """The elements as a table, which may be changed until anything else is asked of this map."""
        assert not self._evicts
        if self._table is None:
            self._table = HashTable(self.spec)
        if not self._filled:
            self._table.fill(self._elements, self._free.freed, self._free.unused)
            self._filled = True
        self._lent = True
        return self._table

    @property
    def _slot_of(self) -> dict[bytes, int]:
        """The elements, to be read."""
        if self._lent:
            assert self._table is not None
            self._elements, freed, unused = self._table.contents()
            self._free = FreeSlots(freed, unused)
            self._lent = False
        return self._elements

    def _changing(self) -> dict[bytes, int]:
        """The elements, to be changed: what native code had of them is worth nothing after that."""
        elements = self._slot_of
        self._filled = False
        return elements

    # For programs ---------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """One more than ``max_entries``."""
        return self._storage.slots

    @property
    def cpus(self) -> int:
        """How many values each element has."""
        return self._storage.cpus

    def slot_of(self, key: bytes) -> int | None:
        """The slot of the element with this key, which does not count as used."""
        return self._slot_of.get(key)

    def find(self, key: bytes) -> int | None:
        """The slot of the element with this key, which counts as used."""
        elements = self._slot_of
        slot = elements.get(key)
        if slot is not None and self._evicts:
            del elements[key]
            elements[key] = slot
        return slot

    def value(self, slot: int, cpu: int) -> memoryview:
        """The memory of one value."""
        return self._storage.value(slot, cpu)

    def insert(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Insert or replace an element; in a per-CPU table a new one is zero on all CPUs but ``cpu``."""
        if self.per_cpu and key in self._slot_of:
            error = flags_error(flags, True)
            if not error:
                slot = self.find(key)  # which counts as a use
                assert slot is not None
                self._storage.value(slot, cpu)[:] = value
            return error
        values = [bytes(len(value))] * self._storage.cpus
        values[cpu] = value
        return self.put(key, values, flags)

    def remove(self, key: bytes) -> int:
        """Remove an element."""
        slot = self._changing().pop(key, None)
        if slot is None:
            return -errno.ENOENT
        self._free.give_back(slot)
        return 0

    def put(self, key: bytes, values: list[bytes], flags: int) -> int:
        """Insert or replace an element with the value of every CPU: 0 or a negative error number."""
        elements = self._changing()
        old = elements.get(key)
        error = flags_error(flags, old is not None)
        if error:
            return error
        if old is None and len(elements) >= self.spec.max_entries:
            if not self._evicts:
                return -errno.E2BIG
            self.remove(next(iter(elements)))
        if old is not None and self.per_cpu:
            slot = old
        else:
            slot = self._free.take()
            if old is not None:
                self.remove(key)
        self._storage.write(slot, values)
        elements.pop(key, None)
        elements[key] = slot
        return 0

    # For the user ---------------------------------------------------------------------------------------------------

    def __getitem__(self, key: bytes) -> Content:
        slot = self._slot_of.get(key_of(self.spec, key))
        if slot is None:
            raise KeyError(key)
        return self._storage.read(slot, self.per_cpu)

    def __setitem__(self, key: bytes, content: Content) -> None:
        if self.spec.read_only:
            raise MapError(self.spec.name, errno.EPERM, "the map is frozen")
        values = self._storage.checked(content, self.per_cpu)
        check(self.spec, self.put(key_of(self.spec, key), values, UpdateFlag.ANY))

    def __delitem__(self, key: bytes) -> None:
        if self.remove(key_of(self.spec, key)):
            raise KeyError(key)

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self._slot_of))

    def __len__(self) -> int:
        return len(self._slot_of)
