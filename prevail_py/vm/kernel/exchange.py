"""The maps of a run, taken into the kernel and brought back.

A program comes with everything that it can reach: its own maps, the maps that are entries of maps, and the programs
that it may tail-call, with their maps.  All go into one request; maps that are shared on our side are shared there.

What cannot be exchanged is refused with the reason: sockets and CPUs as redirect targets, records that nobody has read
yet, map types that the kernel does not let user space list.  A bloom filter goes there empty, and what a program pushes
to it stays there: nobody can list it.  The order of use in LRU tables is not exchanged: after a
run all elements count as used in the order in which the kernel lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias, assert_never

from prevail_py.objects.program import MapSpec, Program
from prevail_py.vm.engines import EngineError
from prevail_py.vm.environment import Environment
from prevail_py.vm.kernel.answer import KernelAnswer
from prevail_py.vm.kernel.engine import load_request
from prevail_py.vm.kernel.loader import Link, LoadRequest, TargetRequest, ring_size
from prevail_py.vm.kernel.results import RESULT, with_result
from prevail_py.vm.kernel.ring import Record
from prevail_py.vm.kernel.wire import Contents, KernelRun
from prevail_py.vm.maps import Map, create_map
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.bloom import BloomFilter
from prevail_py.vm.maps.devices import TargetKind, TargetMap, XdpSocketMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.model import Content
from prevail_py.vm.maps.queue import QueueMap
from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray
from prevail_py.vm.maps.trie import PrefixMap

__all__ = ["Exchange", "kernel_value", "our_value"]

_PER_CPU: Final = frozenset({5, 6, 10})
_Table: TypeAlias = ArrayMap | HashMap | PrefixMap | TargetMap
_Listed: TypeAlias = _Table | RingBuffer | QueueMap


class Exchange:
    """The maps of one program for a series of runs.  Raises :class:`EngineError` for those that cannot be exchanged."""

    def __init__(self, program: Program, maps: Sequence[Map], environment: Environment, cpus: int) -> None:
        self.result: Final = len(maps)
        """The index of the map that receives R0."""
        self._program: Final = program
        self._cpus: Final = cpus
        self._pool: list[Map | None] = [*maps, None]
        self._targets: list[tuple[Program, tuple[int, ...]]] = []
        self._links: list[Link] = []
        for index, map in enumerate(self._pool):  # which grows while it is walked
            if map is not None:
                self._check(map)
                self._follow(index, map, environment)

    def request(self, *, generated: bool = False) -> LoadRequest | KernelAnswer:
        """What to load; the maps of the request are in the order of :attr:`_pool`."""
        request = _wrapped(self._program, self.result, generated)
        if isinstance(request, KernelAnswer):
            return request
        targets = []
        for program, maps in self._targets:
            target = _wrapped(program, len(maps), generated)
            if isinstance(target, KernelAnswer):
                return replace(target, reason=f"tail-call target {program.name}: {target.reason}")
            targets.append(TargetRequest(target.code, (*maps, self.result), target.name, target.functions))
        specs = tuple(RESULT if map is None else map.spec for map in self._pool)
        return replace(request, maps=specs, targets=tuple(targets), links=tuple(self._links))

    def contents(self) -> dict[int, Contents]:
        """The elements to set before the first run: all but those that a new map has anyway."""
        contents: dict[int, Contents] = {}
        for index, map in enumerate(self._pool):
            if isinstance(map, _Table) and not map.spec.read_only:
                fresh = isinstance(map, ArrayMap) and map.spec.initial is None
                elements = {key: kernel_value(value) for key, value in map.items() if not fresh or _any(value)}
                if elements:
                    contents[index] = elements
        return contents

    def records(self) -> dict[int, tuple[bytes, ...]]:
        """The values to push before the first run, the oldest first."""
        queues = [(index, map) for index, map in enumerate(self._pool) if isinstance(map, QueueMap) and len(map)]
        return {index: tuple(map.oldest_first()) for index, map in queues}

    @property
    def wanted(self) -> tuple[int, ...]:
        """Which maps to read after the runs."""
        return tuple(
            index
            for index, map in enumerate(self._pool)
            if map is None or (isinstance(map, _Listed) and not map.spec.read_only and not _is_cpus(map))
        )

    def bring_back(self, run: KernelRun) -> None:
        """Make our maps what those in the kernel are after ``run``."""
        for index, after in run.maps.items():
            table = self._pool[index]
            if isinstance(table, _Table):
                _replace(table, after)
        for index, records in run.records.items():
            buffer = self._pool[index]
            if isinstance(buffer, RingBuffer):
                _append(buffer, records)
            elif isinstance(buffer, QueueMap):
                values = [record for record in records if isinstance(record, bytes)]
                buffer.clear()
                for value in reversed(values) if buffer.newest_first else values:
                    buffer.append(value)

    def _check(self, map: Map) -> None:
        spec = map.spec
        match map:
            case ArrayMap() | HashMap():
                if spec.type in _PER_CPU and map.cpus != self._cpus:
                    raise EngineError(
                        f"map {spec.name!r} has values for {map.cpus} CPUs, those of the kernel {self._cpus}: "
                        f"use Environment(cpus={self._cpus})"
                    )
            case TargetMap() | XdpSocketMap() if not len(map) or not (_is_cpus(map) or isinstance(map, XdpSocketMap)):
                pass
            case BloomFilter() if map.pushes == 0:
                pass
            case PrefixMap() | QueueMap():
                pass
            case RingBuffer():
                if map.used:
                    raise EngineError(f"ring buffer {spec.name!r} has records that were not read")
                if ring_size(spec.max_entries) != spec.max_entries:
                    raise EngineError(f"ring buffer {spec.name!r} would have another size here")
            case PerfEventArray() if not map.open:
                pass
            case ProgramArray() | MapOfMaps():
                pass
            case _:
                raise EngineError(f"the kernel engine does not exchange {map!r}, of type {spec.type}")

    def _follow(self, index: int, map: Map, environment: Environment) -> None:
        if isinstance(map, MapOfMaps):
            for key, inner in map.items():
                self._links.append(Link(index, key, self._index(inner)))
        elif isinstance(map, ProgramArray):
            for number, (key, program) in zip(range(len(map)), map.items(), strict=True):
                target = map.targets()[number]
                maps = target.maps
                if maps is None:
                    maps = tuple(self._map_for(spec, environment) for spec in program.maps)
                    map.install(key, program, maps)
                self._links.append(Link(index, key, len(self._targets)))
                self._targets.append((program, tuple(self._index(each) for each in maps)))

    def _index(self, map: Map) -> int:
        for index, known in enumerate(self._pool):
            if known is map:
                return index
        self._pool.append(map)
        return len(self._pool) - 1

    def _map_for(self, spec: MapSpec, environment: Environment) -> Map:
        """As a tail call chooses: the map with this definition, or else a new one."""
        known = (map for map in self._pool if map is not None and map.spec == spec)
        return next(known, None) or create_map(spec, environment)


def _wrapped(program: Program, index: int, generated: bool) -> LoadRequest | KernelAnswer:
    code = with_result(program.code, index)
    return load_request(replace(program, code=code, subprograms=()), generated=generated)


def _is_cpus(map: Map) -> bool:
    return isinstance(map, TargetMap) and map.kind is TargetKind.CPU


def _any(value: Content) -> bool:
    return any(value) if isinstance(value, bytes) else any(any(each) for each in value)


def kernel_value(value: Content) -> bytes:
    """A value as the kernel shows it to user space: those of all CPUs in order, each padded to 8 bytes."""
    if isinstance(value, bytes):
        return value
    return b"".join(each.ljust(len(each) + 7 & ~7, b"\0") for each in value)


def our_value(spec: MapSpec, value: bytes) -> Content:
    """The inverse of :func:`kernel_value`."""
    if spec.type not in _PER_CPU:
        return value
    stride = spec.value_size + 7 & ~7
    return [value[start : start + spec.value_size] for start in range(0, len(value), stride)]


def _replace(table: _Table, after: Contents) -> None:
    if not isinstance(table, ArrayMap):
        for key in [key for key in table if key not in after]:
            del table[key]
    for key, value in after.items():
        content = our_value(table.spec, value)
        if table.get(key) != content:
            assert isinstance(content, bytes) or isinstance(table, ArrayMap | HashMap)
            table[key] = content  # type: ignore[assignment]


def _append(buffer: RingBuffer, records: Sequence[Record]) -> None:
    for record in records:
        number = buffer.reserve(record if isinstance(record, int) else len(record))
        assert number is not None, "the kernel had room for it"
        match record:
            case bytes():
                buffer.submit(number, record)
            case int():
                buffer.discard(number)
            case _:
                assert_never(record)
