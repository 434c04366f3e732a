"""What maps hold before and after a run: read from a JSON file, shown as a table or as JSON.

The file has an object per map, from keys in hexadecimal to values, or a list of pairs with keys of the map's own type:

``{"limits": {"00000000": 10}, "flows": [{"key": {"port": 53, "protocol": 17}, "value": {"packets": 1}}]}``

Keys and values look as in :mod:`prevail_py.objects.json_values`: hexadecimal always does, and BTF says what else.  The
value of a per-CPU map is a list with one for each CPU; a queue, stack or bloom filter has a list of values.  Of other
maps:

============= =================== =====================================================
program array {"program": NAME}   a program of the same object
map of maps   {"map": CONTENTS}   a new inner map, with what the file says of any map
xskmap        {"queue": NUMBER}   the socket of a queue
============= =================== =====================================================

What is shown after a run has the same form, so that it can be given to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prevail_py._render import Table
from prevail_py.cli.support import InputError, bad_input

if TYPE_CHECKING:
    from prevail_py.objects.layout import Layout
    from prevail_py.objects.program import Program
    from prevail_py.vm.environment import Environment
    from prevail_py.vm.maps import Map
    from prevail_py.vm.maps.model import Content
    from prevail_py.vm.maps.view import FilterView, ListView, MapView

__all__ = ["contents_table", "elements", "fill"]

# Before a run -------------------------------------------------------------------------------------------------------


def fill(maps: Sequence[Map], path: str, programs: Mapping[str, Program], environment: Environment) -> None:
    """Update ``maps`` from the file at ``path``; :class:`InputError` names the map and key that do not fit."""
    with bad_input(path), open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(contents, dict) or not all(isinstance(given, dict | list) for given in contents.values()):
        raise InputError(f"{path}: want an object of objects or lists: maps, keys and values")
    filling = _Filling(programs, environment)
    by_name = {map.spec.name: map for map in maps}
    for name, given in contents.items():
        map = by_name.get(name)
        if map is None or not _can_be_filled(map):
            known = ", ".join(name for name, map in by_name.items() if _can_be_filled(map)) or "none"
            raise InputError(f"{path}: the program has no map {name!r} that can be filled (there are: {known})")
        try:
            filling.fill(map, given)
        except _ElementError as error:
            raise InputError(f"{path}: map {name!r}: {error}") from error


def _can_be_filled(map: Map) -> bool:
    from prevail_py.vm.maps.view import FilterView, ListView, MapView, view

    return isinstance(view(map), MapView | ListView | FilterView)


class _ElementError(ValueError):
    """Something in the file does not fit; the message begins with the key."""


class _Filling:
    """``programs`` are those that program arrays may hold; inner maps are made for ``environment``."""

    def __init__(self, programs: Mapping[str, Program], environment: Environment) -> None:
        self._programs = programs
        self._environment = environment

    def fill(self, map: Map, given: Any) -> None:
        """Raises :class:`_ElementError`."""
        from prevail_py.objects.json_values import from_json
        from prevail_py.vm.maps.view import FilterView, ListView, MapView, view

        target = view(map)
        if isinstance(target, MapView):
            for shown, key, value in _pairs(target, given):
                try:
                    target[from_json(target.key_layout, key)] = self._value(target, value)
                except (KeyError, OverflowError, TypeError, ValueError) as error:
                    raise _ElementError(f"key {shown}: {error}") from error
            return
        assert isinstance(target, ListView | FilterView)
        if not isinstance(given, list):
            raise _ElementError("a list of values is wanted")
        # As it is shown: the first is the next to be popped, which in a stack is the last that was pushed.
        numbered = list(enumerate(given))
        for number, value in reversed(numbered) if _is_stack(target) else numbered:
            try:
                plain = from_json(target.value_layout, value)
                if isinstance(target, ListView):
                    target.push(plain)
                else:
                    target.add(plain)
            except ValueError as error:
                raise _ElementError(f"value {number}: {error}") from error

    def _value(self, target: MapView, value: Any) -> Any:
        from prevail_py.objects.json_values import from_json
        from prevail_py.vm.maps import create_map
        from prevail_py.vm.maps.array import ArrayMap
        from prevail_py.vm.maps.devices import XdpSocket, XdpSocketMap
        from prevail_py.vm.maps.hash import HashMap
        from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray

        match target.raw, value:
            case ProgramArray(), {"program": str(name), **rest} if not rest:
                if name not in self._programs:
                    raise ValueError(f"no program {name!r} (there are: {', '.join(self._programs)})")
                return self._programs[name]
            case ProgramArray(), _:
                raise ValueError(f'{{"program": NAME}} is wanted, not {_short(value)}')
            case MapOfMaps(), {"map": dict() | list() as given, **rest} if not rest:
                if target.raw.spec.inner is None:
                    raise ValueError("the object does not say what its inner maps are")
                inner = create_map(target.raw.spec.inner, self._environment)
                self.fill(inner, given)
                return inner
            case MapOfMaps(), _:
                raise ValueError(f'{{"map": CONTENTS}} is wanted, not {_short(value)}')
            case XdpSocketMap(), {"queue": int(queue), **rest} if not rest:
                return XdpSocket(queue)
            case XdpSocketMap(), _:
                raise ValueError(f'{{"queue": NUMBER}} is wanted, not {_short(value)}')
            case (ArrayMap() | HashMap()) as raw, list() if raw.per_cpu:
                return [from_json(target.value_layout, each) for each in value]
            case _:
                return from_json(target.value_layout, value)


def _pairs(target: MapView, given: Any) -> Iterator[tuple[str, Any, Any]]:
    """What to call the key, the key, and the value of each element."""
    if isinstance(given, dict):
        size = target.raw.spec.key_size
        for key, value in given.items():
            try:
                data = bytes.fromhex(key)
            except ValueError:
                data = b""
            if len(data) != size:
                raise _ElementError(f"key {key!r}: {size} bytes in hexadecimal are wanted, or a list of pairs instead")
            yield repr(key), data, value
        return
    for number, pair in enumerate(given):
        if not isinstance(pair, dict) or pair.keys() != {"key", "value"}:
            raise _ElementError(f'element {number}: {{"key": ..., "value": ...}} is wanted, not {_short(pair)}')
        yield json.dumps(pair["key"]), pair["key"], pair["value"]


def _is_stack(target: ListView | FilterView) -> bool:
    from prevail_py.vm.maps.queue import QueueMap

    return isinstance(target.raw, QueueMap) and target.raw.newest_first


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


# After a run --------------------------------------------------------------------------------------------------------


def elements(map: Map) -> list[Any] | None:
    """What a map holds, as :func:`fill` takes it; zeros of arrays are left out.

    The records of a ring buffer or of perf events are in hexadecimal; those of a ring buffer are read by this, and
    gone.  None for a map of which it cannot be said.
    """
    from prevail_py.objects.json_values import to_json
    from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
    from prevail_py.vm.maps.view import ListView, MapView, view

    match view(map):
        case MapView() as shown:
            return [{"key": key, "value": value} for key, value in _elements(shown)]
        case ListView() as shown:
            return [to_json(shown.value_layout, value) for value in shown.raw]
        case RingBuffer() as buffer:
            return [record.hex() for record in buffer.drain()]
        case PerfEventArray() as events:
            return [{"cpu": record.cpu, "data": record.data.hex()} for record in events.records]
        case _:
            return None


def _elements(shown: MapView) -> Iterator[tuple[Any, Any]]:
    from prevail_py.objects.json_values import to_json
    from prevail_py.vm.maps.array import ArrayMap

    if isinstance(shown.raw, ArrayMap):
        items: Iterable[tuple[bytes, Any]] = ((k, v) for k, v in shown.raw.items() if any(map(any, _values(v))))
    else:
        items = shown.raw.items()
    for key, value in items:
        yield to_json(shown.key_layout, key), _element(shown.value_layout, value)


def _values(value: Content) -> list[bytes]:
    return value if isinstance(value, list) else [value]


def _element(layout: Layout, value: Any) -> Any:
    from prevail_py.objects.json_values import to_json
    from prevail_py.objects.program import Program
    from prevail_py.vm.maps.devices import XdpSocket

    match value:
        case bytes():
            return to_json(layout, value)
        case list():
            return [to_json(layout, each) for each in value]
        case Program():
            return {"program": value.name}
        case XdpSocket():
            return {"queue": value.queue}
        case inner:
            return {"map": elements(inner)}


def contents_table(maps: Sequence[Map]) -> Table:
    """The elements of all maps of which they can be said."""
    return Table(("map", "key", "value"), tuple(row for map in maps for row in _rows(map)))


def _rows(map: Map) -> Iterator[tuple[str, str, str]]:
    from prevail_py.vm.maps.view import MapView, view

    keyed = isinstance(view(map), MapView)
    for number, element in enumerate(elements(map) or ()):
        key, value = (element["key"], element["value"]) if keyed else (number, element)
        yield map.spec.name, _text(key), _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
