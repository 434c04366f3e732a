"""Helpers on maps."""

from __future__ import annotations

from collections.abc import Sequence

from prevail_py.platforms.model import LookupResult
from prevail_py.vm.fault import Fault
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import ListMap, Map, ValueMap, has_values, is_list
from prevail_py.vm.maps.bloom import BloomFilter
from prevail_py.vm.maps.model import MapFlag
from prevail_py.vm.maps.targets import MapOfMaps
from prevail_py.vm.memory import Region
from prevail_py.vm.outcome import TrapKind

__all__ = [
    "map_argument",
    "map_delete_elem",
    "map_lookup_elem",
    "map_lookup_percpu_elem",
    "map_peek_elem",
    "map_pop_elem",
    "map_push_elem",
    "map_update_elem",
]


_WITH_MEMORY = (LookupResult.VALUE, LookupResult.XDP_SOCKET)


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
    cpu = machine.environment.cpu if map.cpus > 1 else 0
    return map.insert(arguments[1].memory(), arguments[2].memory(), arguments[3].value, cpu)


def map_delete_elem(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Remove an element."""
    return _changeable(machine, arguments[0]).remove(arguments[1].memory())


def map_push_elem(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Push a value to a queue, stack or bloom filter."""
    map = _list(machine, arguments[0])
    _require_change(map)
    return map.push(arguments[1].memory(), arguments[2].value)


def map_pop_elem(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Take the next value of a queue or stack away; zeros where there is none."""
    map = _list(machine, arguments[0])
    _require_change(map)
    error, value = map.pop()
    arguments[1].fill(value)
    return error


def map_peek_elem(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Look at the next value of a queue or stack, or ask a bloom filter for the value in memory."""
    map, place = _list(machine, arguments[0]), arguments[1]
    if isinstance(map, BloomFilter):
        return map.peek(place.memory())[0]
    error, value = map.peek(b"")
    place.fill(value)
    return error


def _list(machine: Machine, argument: Argument) -> ListMap:
    map = map_argument(machine, argument)
    if not is_list(map):
        raise _unsupported(map, "push, pop or peek")
    return map


def _value(machine: Machine, map: Map, key: bytes, cpu: int | None) -> Region | None:
    map_type = machine.platform.map_type(map.spec.type)
    if not has_values(map) or map_type is None or map_type.lookup not in _WITH_MEMORY:
        raise _unsupported(map, "look-up")
    slot = map.find(key)
    return None if slot is None else machine.value_region(machine.attach(map), slot, cpu)


def _changeable(machine: Machine, argument: Argument) -> ValueMap:
    map = map_argument(machine, argument)
    if not has_values(map):
        raise _unsupported(map, "change")
    _require_change(map)
    return map


def _require_change(map: Map) -> None:
    """Linux refuses a program that changes a map which is read-only for programs."""
    if map.spec.read_only or map.spec.flags & MapFlag.RDONLY_PROG:
        raise Fault(TrapKind.HELPER_ARGUMENT, f"map {map.spec.name!r} is read-only")


def _unsupported(map: Map, what: str) -> Fault:
    return Fault(TrapKind.UNSUPPORTED, f"{what} of map {map.spec.name!r} of type {map.spec.type} is not modelled")
