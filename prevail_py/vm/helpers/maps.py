"""Helpers on maps."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from prevail_py.platforms.model import LookupResult
from prevail_py.vm.fault import Fault
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Map, ValueMap, has_values
from prevail_py.vm.maps.targets import MapOfMaps
from prevail_py.vm.memory import Region
from prevail_py.vm.outcome import TrapKind

__all__ = ["map_argument", "map_delete_elem", "map_lookup_elem", "map_lookup_percpu_elem", "map_update_elem"]


def map_argument(machine: Machine, argument: Argument) -> Map:
    """The map that a checked MAP argument refers to."""
    assert argument.region is not None
    return machine.map_of(argument.region)


def map_lookup_elem(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """The value (of this CPU) with a key, or the inner map; null where there is none."""
    map, key = map_argument(machine, arguments[0]), arguments[1].memory()
    if isinstance(map, MapOfMaps):
        inner = map.inner(key)
        return None if inner is None else machine.map_region(machine.attach(inner))
    return _value(machine, map, key, None)


def map_lookup_percpu_elem(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """The value that a given CPU has for a key."""
    map, key, cpu = map_argument(machine, arguments[0]), arguments[1].memory(), arguments[2].u32
    if cpu >= machine.environment.cpus:
        return None
    return _value(machine, map, key, cpu)


def map_update_elem(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Insert or replace an element (on this CPU)."""
    map = _changeable(machine, arguments[0])
    if not map.writable:
        return -errno.EPERM  # Linux refuses the program
    cpu = machine.environment.cpu if map.cpus > 1 else 0
    return map.insert(arguments[1].memory(), arguments[2].memory(), arguments[3].value, cpu)


def map_delete_elem(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Remove an element."""
    map = _changeable(machine, arguments[0])
    return map.remove(arguments[1].memory()) if map.writable else -errno.EPERM


def _value(machine: Machine, map: Map, key: bytes, cpu: int | None) -> Region | None:
    map_type = machine.platform.map_type(map.spec.type)
    if not has_values(map) or map_type is None or map_type.lookup is not LookupResult.VALUE:
        raise _unsupported(map, "look-up")
    slot = map.find(key)
    return None if slot is None else machine.value_region(machine.attach(map), slot, cpu)


def _changeable(machine: Machine, argument: Argument) -> ValueMap:
    map = map_argument(machine, argument)
    if not has_values(map):
        raise _unsupported(map, "change")
    return map


def _unsupported(map: Map, what: str) -> Fault:
    return Fault(TrapKind.UNSUPPORTED, f"{what} of map {map.spec.name!r} of type {map.spec.type} is not modelled")
