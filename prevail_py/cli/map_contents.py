"""What maps hold before and after a run: read from a JSON file, shown as a table.

The file has an object per map, from keys to values in hexadecimal: ``{"limits": {"00000000": "0a000000"}}``.  The value
of a per-CPU map is a list with one for each CPU, that of a program array ``{"program": NAME}``, a program of the same
object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from prevail_py._render import Table
from prevail_py.cli.support import InputError, bad_input

if TYPE_CHECKING:
    from prevail_py.objects.program import Program
    from prevail_py.vm.maps import Map

__all__ = ["contents_table", "fill"]


def fill(maps: Sequence[Map], path: str, programs: Mapping[str, Program]) -> None:
    """Update ``maps`` from the file at ``path``; :class:`InputError` names the map and key that do not fit."""
    with bad_input(path), open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        contents = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(contents, dict) or not all(isinstance(entries, dict) for entries in contents.values()):
        raise InputError(f"{path}: want an object of objects: maps, keys and values")
    by_name = {map.spec.name: map for map in maps}
    for name, entries in contents.items():
        map = by_name.get(name)
        if not isinstance(map, MutableMapping):
            known = ", ".join(name for name, map in by_name.items() if isinstance(map, MutableMapping)) or "none"
            raise InputError(f"{path}: the program has no map {name!r} that can be filled (there are: {known})")
        for key, value in entries.items():
            try:
                map[bytes.fromhex(key)] = _value(value, programs)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}: map {name!r}: key {key!r}: {error}") from error


def _value(value: Any, programs: Mapping[str, Program]) -> Any:
    match value:
        case str():
            return bytes.fromhex(value)
        case list():
            return [bytes.fromhex(part) for part in value]
        case {"program": str(name)}:
            if name not in programs:
                raise ValueError(f"no program {name!r} (there are: {', '.join(programs)})")
            return programs[name]
    raise ValueError(f"{value!r} is neither hexadecimal, nor a list of it, nor a program")


def contents_table(maps: Sequence[Map]) -> Table:
    """The elements of all maps that have values, apart from those that are all zeros."""
    return Table(("map", "key", "value"), tuple(row for map in maps for row in _rows(map)))


def _rows(map: Map) -> Iterator[tuple[str, str, str]]:
    from prevail_py.vm.maps import has_values

    if not has_values(map) or not isinstance(map, Mapping):
        return
    for key, value in map.items():
        parts: list[bytes] = [value] if isinstance(value, bytes) else value
        if any(any(part) for part in parts):
            yield map.spec.name, key.hex(), ", ".join(part.hex() for part in parts)
