"""Maps whose entries are programs or other maps.

Programs reach them through ``bpf_tail_call`` or a look-up and never change them; that is for the user.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from prevail_py.objects.program import MapSpec, Program
from prevail_py.vm.maps.model import Map, MapError, index_of, key_of, require

__all__ = ["MapOfMaps", "ProgramArray", "Target"]

E = TypeVar("E")


class _Entries(Generic[E]):
    """Entries by key, with the checks of an array where keys are indices and of a hash table where they are not."""

    def __init__(self, spec: MapSpec, indexed: bool) -> None:
        require(spec, spec.max_entries > 0, "the map must have room for an entry")
        require(spec, spec.key_size == 4 if indexed else spec.key_size > 0, "the key has the wrong size")
        self.spec = spec
        self.by_key: dict[bytes, E] = {}
        self._indexed = indexed

    def set(self, key: object, entry: E) -> None:
        checked = key_of(self.spec, key)
        full = (
            index_of(checked) >= self.spec.max_entries if self._indexed else len(self.by_key) >= self.spec.max_entries
        )
        if full and checked not in self.by_key:
            raise MapError(self.spec.name, errno.E2BIG)
        self.by_key[checked] = entry

    def get(self, key: object) -> E:
        return self.by_key[key_of(self.spec, key)]

    def delete(self, key: object) -> None:
        del self.by_key[key_of(self.spec, key)]


@dataclass(frozen=True, slots=True)
class Target:
    """A program to tail-call; ``maps`` are those it uses, one for each of ``program.maps``, None if not chosen yet."""

    program: Program
    maps: tuple[Map, ...] | None = None


class ProgramArray(MutableMapping[bytes, Program]):
    """The targets of tail calls (BPF_MAP_TYPE_PROG_ARRAY).

    A program that is simply assigned shares the maps of its first caller that have the same definition, as programs of
    one object file do, and gets new ones for the others; :meth:`install` chooses its maps.
    """

    def __init__(self, spec: MapSpec) -> None:
        require(spec, spec.value_size == 4, "values have 4 bytes")
        self._entries: _Entries[Target] = _Entries(spec, indexed=True)
        self.spec = spec

    def __repr__(self) -> str:
        return f"<program array {self.spec.name!r}: {len(self)} programs>"

    def target(self, index: int) -> Target | None:
        """What is installed at ``index``."""
        return self._entries.by_key.get(index.to_bytes(4, "little"))

    def targets(self) -> tuple[Target, ...]:
        """Everything that is installed."""
        return tuple(self._entries.by_key.values())

    def install(self, key: bytes, program: Program, maps: Sequence[Map]) -> None:
        """Set an entry to a program that uses these maps."""
        if len(maps) != len(program.maps):
            raise MapError(self.spec.name, errno.EINVAL, f"{program.name!r} uses {len(program.maps)} maps")
        self._entries.set(key, Target(program, tuple(maps)))

    def __getitem__(self, key: bytes) -> Program:
        return self._entries.get(key).program

    def __setitem__(self, key: bytes, program: Program) -> None:
        self._entries.set(key, Target(program))

    def __delitem__(self, key: bytes) -> None:
        self._entries.delete(key)

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self._entries.by_key))

    def __len__(self) -> int:
        return len(self._entries.by_key)


class MapOfMaps(MutableMapping[bytes, Map]):
    """An array or hash table whose elements are maps; a look-up yields a reference to the inner map.

    Every inner map has the key size, value size and type of the template, ``spec.inner``; program arrays and maps of
    maps cannot be inner maps.
    """

    def __init__(self, spec: MapSpec, *, indexed: bool) -> None:
        self._entries: _Entries[Map] = _Entries(spec, indexed)
        self.spec = spec

    def __repr__(self) -> str:
        return f"<map of maps {self.spec.name!r}: {len(self)} maps>"

    def inner(self, key: bytes) -> Map | None:
        """The map with this key."""
        return self._entries.by_key.get(key)

    def __getitem__(self, key: bytes) -> Map:
        return self._entries.get(key)

    def __setitem__(self, key: bytes, inner: Map) -> None:
        if isinstance(inner, ProgramArray | MapOfMaps):
            raise MapError(self.spec.name, errno.EINVAL, f"{inner!r} cannot be an inner map")
        template = self.spec.inner
        if template is not None:
            for attribute in ("type", "key_size", "value_size"):
                if getattr(inner.spec, attribute) != getattr(template, attribute):
                    raise MapError(
                        self.spec.name, errno.EINVAL, f"the inner map differs from its template in {attribute}"
                    )
        self._entries.set(key, inner)

    def __delitem__(self, key: bytes) -> None:
        self._entries.delete(key)

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self._entries.by_key))

    def __len__(self) -> int:
        return len(self._entries.by_key)
