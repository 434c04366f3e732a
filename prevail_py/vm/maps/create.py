"""From a map's definition to a map."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.platforms import platform
from prevail_py.platforms.extensions import FIRST_NUMBER
from prevail_py.vm.environment import Environment
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.bloom import BloomFilter
from prevail_py.vm.maps.collection import Maps
from prevail_py.vm.maps.definition import check_flags
from prevail_py.vm.maps.devices import TargetKind, TargetMap, XdpSocketMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.model import Map, MapError, MapFlag
from prevail_py.vm.maps.queue import QueueMap
from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray
from prevail_py.vm.maps.trie import PrefixMap
from prevail_py.vm.packages import of_packages

__all__ = ["MODELLED", "UnsupportedMap", "create_map", "create_maps"]


class UnsupportedMap:
    """A map that the machine does not model: a program may refer to it, and traps when it gives it to a helper."""

    def __init__(self, spec: MapSpec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        return f"<unsupported map {self.spec.name!r} of type {self.spec.type}>"


# By the numbers of enum bpf_map_type (uapi linux/bpf.h).
_MAKERS: Final[Mapping[int, Callable[[MapSpec, int], Map]]] = {
    1: lambda spec, cpus: HashMap(spec),
    2: lambda spec, cpus: ArrayMap(spec),
    3: lambda spec, cpus: ProgramArray(spec),
    4: lambda spec, cpus: PerfEventArray(spec, cpus),
    5: lambda spec, cpus: HashMap(spec, cpus),
    6: lambda spec, cpus: ArrayMap(spec, cpus),
    9: lambda spec, cpus: HashMap(spec, evicts=True),
    10: lambda spec, cpus: HashMap(spec, cpus, evicts=True),
    11: lambda spec, cpus: PrefixMap(spec),
    12: lambda spec, cpus: MapOfMaps(spec, indexed=True),
    13: lambda spec, cpus: MapOfMaps(spec, indexed=False),
    14: lambda spec, cpus: TargetMap(spec, TargetKind.DEVICE),
    16: lambda spec, cpus: TargetMap(spec, TargetKind.CPU),
    17: lambda spec, cpus: XdpSocketMap(spec),
    22: lambda spec, cpus: QueueMap(spec, newest_first=False),
    23: lambda spec, cpus: QueueMap(spec, newest_first=True),
    25: lambda spec, cpus: TargetMap(spec, TargetKind.DEVICE_HASH),
    27: lambda spec, cpus: RingBuffer(spec),
    30: lambda spec, cpus: BloomFilter(spec),
}

MODELLED: Final = frozenset(_MAKERS)
"""The numbers of the map types that the machine models."""


def create_map(spec: MapSpec, environment: Environment | None = None) -> Map:
    """An empty map (an array of zeros, or of ``spec.initial``) with this definition.

    Per-CPU maps have a value for each of ``environment.cpus``.  Raises :class:`MapError` for a definition that Linux
    refuses or that would take too much memory; a type that is not modelled gives an :class:`UnsupportedMap`.

    Map types of extensions are entry points of the group ``prevail_py.maps``, by name: functions of a definition and
    the number of CPUs that give a :class:`HashMap` or :class:`ArrayMap`, as the type is like the one or the other.
    What they may change is what becomes of updates; a look-up finds what is stored.
    """
    check_flags(spec)
    maker = _MAKERS.get(spec.type) or _of_packages(spec)
    if maker is None or spec.flags & MapFlag.WRONLY_PROG:
        return UnsupportedMap(spec)
    return maker(spec, (environment or Environment()).cpus)


def _of_packages(spec: MapSpec) -> Callable[[MapSpec, int], Map] | None:
    if spec.type < FIRST_NUMBER:
        return None
    kind = platform().map_type(spec.type) or platform("windows").map_type(spec.type)
    if kind is None or kind.name not in {**platform().extensions, **platform("windows").extensions}:
        return None
    maker: Callable[[MapSpec, int], Map] | None = of_packages("prevail_py.maps", kind.name)
    if maker is None:
        return None

    def checked(spec: MapSpec, cpus: int) -> Map:
        made = maker(spec, cpus)
        if not isinstance(made, ArrayMap if kind.index_key else HashMap):
            raise MapError(f"map {spec.name!r}: the package makes no map of type {kind.name}", errno.EOPNOTSUPP)
        return made

    return checked


def create_maps(specs: Iterable[MapSpec], environment: Environment | None = None) -> Maps:
    """A map for each definition, as the ``maps`` of a run."""
    environment = environment or Environment()
    return Maps(create_map(spec, environment) for spec in specs)
