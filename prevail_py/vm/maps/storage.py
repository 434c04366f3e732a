"""Flat storage for map values: one block of memory per map, the same layout for every engine.

The block is dense.  Value ``slot`` of CPU ``cpu`` is at ``(slot * cpus + cpu) * stride``, where the stride is the
value's size rounded up to 8 bytes, as in Linux; nothing else is in it::

    | slot 0, CPU 0 | slot 0, CPU 1 | ... | slot 1, CPU 0 | ...      each: the value, then up to 7 bytes of padding

An array has a slot for each index, in order, and so have the maps of redirection targets; a hash table and a trie have
one more than ``max_entries``, so that a full one can still replace an element by another (which slot a key has is in a
dictionary beside the block); the values of a queue or stack are in a ring of ``max_entries + 1`` slots.  Code that
knows the address of the block (native code) can compute that of every value.  The block is an anonymous memory
map, which is aligned to a page and does not move, and a large map that is hardly used costs nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import Content, MapError

__all__ = ["MAX_STORAGE", "FreeSlots", "Storage"]

MAX_STORAGE: Final = 1 << 30
"""Bytes that the values of one map may take."""


class Storage:
    """``slots`` values for each of ``cpus`` CPUs, zero at first; all of them are in ``memory``."""

    __slots__ = ("_spec", "cpus", "memory", "size", "slots", "stride")

    def __init__(self, spec: MapSpec, slots: int, cpus: int) -> None:
        """Raises :class:`MapError` (ENOMEM) where the values would take more than :data:`MAX_STORAGE` bytes."""
        self._spec = spec
        self.stride = (spec.value_size + 7) & ~7
        self.size = spec.value_size
        self.slots = slots
        self.cpus = cpus
        total = slots * cpus * self.stride
        if total > MAX_STORAGE:
            raise MapError(spec.name, errno.ENOMEM, f"{total} bytes of values are more than {MAX_STORAGE}")
        # Private: a forked child must not change what its parent has (mmap shares unless told otherwise).
        self.memory = memoryview(mmap(-1, total, MAP_PRIVATE | MAP_ANONYMOUS))

    def value(self, slot: int, cpu: int) -> memoryview:
        """The memory of one value."""
        start = (slot * self.cpus + cpu) * self.stride
        return self.memory[start : start + self.size]

    def read(self, slot: int, per_cpu: bool) -> Content:
        """A value as the user sees it."""
        if per_cpu:
            return [bytes(self.value(slot, cpu)) for cpu in range(self.cpus)]
        return bytes(self.value(slot, 0))

    def checked(self, content: Content, per_cpu: bool) -> list[bytes]:
        """The value of each CPU in what the user gave; raises :class:`MapError` where sizes do not fit."""
        values = content if isinstance(content, list) else [content]
        if isinstance(content, list) != per_cpu or len(values) != self.cpus:
            wanted = f"a list of {self.cpus} values, one per CPU" if per_cpu else "one value in bytes"
            raise MapError(self._spec.name, errno.EINVAL, f"{wanted} is wanted")
        for value in values:
            if len(value) != self.size:
                raise MapError(self._spec.name, errno.EINVAL, f"a value has {self.size} bytes, not {len(value)}")
        return values

    def write(self, slot: int, values: Sequence[bytes]) -> None:
        """Set the value of every CPU."""
        for cpu, value in enumerate(values):
            self.value(slot, cpu)[:] = value


class FreeSlots:
    """Which slots hold no element: those given back are used first, last in, first out, then those never used."""

    __slots__ = ("_freed", "_unused")

    def __init__(self, freed: Sequence[int] = (), unused: int = 0) -> None:
        """``freed`` were given back, in this order; those from ``unused`` on were never used."""
        self._freed: list[int] = list(freed)
        self._unused = unused

    @property
    def freed(self) -> Sequence[int]:
        """Those that were given back, in the order in which they were."""
        return self._freed

    @property
    def unused(self) -> int:
        """The first one that was never used."""
        return self._unused

    def take(self) -> int:
        """A slot; the caller sees to it that there are enough."""
        if self._freed:
            return self._freed.pop()
        self._unused += 1
        return self._unused - 1

    def give_back(self, slot: int) -> None:
        """The element in ``slot`` is gone; its memory stays until the slot is taken again."""
        self._freed.append(slot)
