"""Longest-prefix match (kernel/bpf/lpm_trie.c).

A key is ``struct bpf_lpm_trie_key_u8``: the length of the prefix in bits, 32 bits wide, then the prefix itself, the
most significant bit of the first byte first.  Bits beyond the length are kept as they were given and mean nothing.

An element is found in a dictionary by its prefix, once for each length that occurs, the longest first: the answers of
Linux's trie, not its data structure.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Final, TypeAlias

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import MapError, MapFlag, UpdateFlag, check, key_of, require
from prevail_py.vm.maps.storage import FreeSlots, Storage

__all__ = ["PrefixMap"]

_LENGTH: Final = 4
_Prefix: TypeAlias = tuple[int, int]  # length, bits


class PrefixMap(MutableMapping[bytes, bytes]):
    """Values by prefix (BPF_MAP_TYPE_LPM_TRIE).

    Programs find the element with the longest prefix of a key.  To the user it is a mapping like any other, in which
    a key is an element or is not; :meth:`match` is what programs see.  Iteration goes as in Linux: longer prefixes
    before those that they extend, else in the order of their bits.
    """

    def __init__(self, spec: MapSpec) -> None:
        """Raises :class:`MapError` for an invalid ``spec``."""
        require(spec, _LENGTH < spec.key_size <= _LENGTH + 256, "a key has a length and up to 256 bytes of prefix")
        require(spec, spec.value_size > 0, "values must have a size")
        require(spec, spec.max_entries > 0, "a trie must have room for an element")
        self.spec = spec
        self.writable = not (spec.read_only or spec.flags & MapFlag.RDONLY_PROG)
        self._bits: Final = 8 * (spec.key_size - _LENGTH)
        self._storage = Storage(spec, spec.max_entries + 1, 1)
        self._elements: dict[_Prefix, tuple[int, bytes]] = {}  # slot and key as given
        self._lengths: Counter[int] = Counter()
        self._free = FreeSlots()

    def __repr__(self) -> str:
        return f"<prefixes {self.spec.name!r}: {len(self)} of {self.spec.max_entries} elements>"

    # For programs ---------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """One more than ``max_entries``."""
        return self._storage.slots

    @property
    def cpus(self) -> int:
        """Values are shared by all CPUs."""
        return 1

    def find(self, key: bytes) -> int | None:
        """The slot of the element with the longest prefix of ``key``; None also for a length that cannot be."""
        length, bits = self._split(key)
        if length > self._bits:
            return None
        for shorter in sorted((known for known in self._lengths if known <= length), reverse=True):
            found = self._elements.get((shorter, bits >> (length - shorter)))
            if found is not None:
                return found[0]
        return None

    def value(self, slot: int, cpu: int) -> memoryview:
        """The memory of one value."""
        return self._storage.value(slot, cpu)

    def insert(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Insert or replace an element, which gets another slot and the key as it is given now."""
        prefix = self._split(key)
        if flags > UpdateFlag.EXIST or prefix[0] > self._bits:
            return -errno.EINVAL
        old = self._elements.get(prefix)
        if old is not None:
            if flags == UpdateFlag.NOEXIST:
                return -errno.EEXIST
        elif flags == UpdateFlag.EXIST:
            return -errno.ENOENT
        elif len(self._elements) >= self.spec.max_entries:
            return -errno.ENOSPC
        slot = self._free.take()
        if old is None:
            self._lengths[prefix[0]] += 1
        else:
            self._free.give_back(old[0])
        self._elements[prefix] = slot, key
        self._storage.write(slot, [value])
        return 0

    def remove(self, key: bytes) -> int:
        """Remove the element with exactly this prefix."""
        prefix = self._split(key)
        if prefix[0] > self._bits:
            return -errno.EINVAL
        old = self._elements.pop(prefix, None)
        if old is None:
            return -errno.ENOENT
        self._free.give_back(old[0])
        self._lengths[prefix[0]] -= 1
        if not self._lengths[prefix[0]]:
            del self._lengths[prefix[0]]
        return 0

    def _split(self, key: bytes) -> _Prefix:
        """The length that the key says, and its first bits: all of them where it says too many."""
        length = int.from_bytes(key[:_LENGTH], "little")
        return length, int.from_bytes(key[_LENGTH:], "big") >> max(0, self._bits - length)

    # For the user ---------------------------------------------------------------------------------------------------

    def match(self, key: bytes) -> bytes | None:
        """The value that programs find for ``key``, None where there is none."""
        slot = self.find(key_of(self.spec, key))
        return None if slot is None else bytes(self._storage.value(slot, 0))

    def normal(self, key: bytes) -> bytes:
        """The key as it was given when the element was set; ``key`` itself if there is no such element."""
        found = self._elements.get(self._split(key_of(self.spec, key)))
        return key if found is None else found[1]

    def __getitem__(self, key: bytes) -> bytes:
        return bytes(self._storage.value(self._elements[self._split(key_of(self.spec, key))][0], 0))

    def __setitem__(self, key: bytes, content: bytes) -> None:
        if self.spec.read_only:
            raise MapError(self.spec.name, errno.EPERM, "the map is frozen")
        (value,) = self._storage.checked(content, per_cpu=False)
        check(self.spec, self.insert(key_of(self.spec, key), value, UpdateFlag.ANY, 0))

    def __delitem__(self, key: bytes) -> None:
        if self.remove(key_of(self.spec, key)):
            raise KeyError(key)

    def __iter__(self) -> Iterator[bytes]:
        return iter([self._elements[prefix][1] for prefix in sorted(self._elements, key=_walk)])

    def __len__(self) -> int:
        return len(self._elements)


def _walk(prefix: _Prefix) -> str:
    """Sorts as a walk through the trie that visits children, 0 before 1, before their parent."""
    length, bits = prefix
    return (f"{bits:0{length}b}" if length else "") + "2"
