"""What is supported of each map type, found by trying: for the table in the documentation, and tested.

Nothing is listed here by hand.  A map of the type is made and the commands of the user side are tried on it; what
programs may do with it is what the platform says of the helpers that take the type and of what a look-up yields, as far
as the machine has those helpers.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.platforms import platform
from prevail_py.platforms.model import ArgKind, LookupResult, MapType
from prevail_py.vm.environment import Environment
from prevail_py.vm.helpers.table import HELPERS
from prevail_py.vm.maps import commands
from prevail_py.vm.maps.create import MODELLED, create_map
from prevail_py.vm.maps.model import ENOTSUPP, Map, MapError, has_values
from prevail_py.vm.maps.view import FilterView, ListView, MapView, view

__all__ = ["MapSupport", "map_support"]


@dataclass(frozen=True, slots=True)
class MapSupport:
    """One map type.

    ``modelled``: maps of the type can be made; programs that refer to any other map load, and trap where they use it.
    ``helpers`` are the helpers that take the map and are implemented, ``missing_helpers`` those that are not.
    ``lookup`` is what a look-up in a program yields, "" where there is none; ``commands`` those of bpf(2) that the user
    side has.  ``access`` is the Python interface: "mapping", "list", "filter" or "records".  ``redirect_target``: XDP
    programs may send packets to its entries, which a run reports.
    """

    number: int
    name: str
    modelled: bool
    per_cpu: bool
    lookup: str
    redirect_target: bool
    helpers: tuple[str, ...]
    missing_helpers: tuple[str, ...]
    commands: tuple[str, ...]
    access: str

    @property
    def level(self) -> str:
        """ "full": modelled, with every helper; "partial": modelled, some helper is missing; "none"."""
        if not self.modelled:
            return "none"
        return "partial" if self.missing_helpers else "full"


def map_support() -> tuple[MapSupport, ...]:
    """All map types of Linux, by number."""
    return tuple(_support(kind) for _, kind in sorted(platform().map_types.items()))


def _support(kind: MapType) -> MapSupport:
    takers = [name for name in _map_helpers() if platform().map_accepts(kind.number, name)]
    map = create_map(_example(kind), Environment()) if kind.number in MODELLED else None
    return MapSupport(
        number=kind.number,
        name=kind.name,
        modelled=map is not None,
        per_cpu=kind.per_cpu,
        lookup="" if kind.lookup is LookupResult.NOTHING else kind.lookup.value,
        redirect_target="bpf_redirect_map" in takers,
        helpers=tuple(name for name in takers if name in HELPERS),
        missing_helpers=tuple(name for name in takers if name not in HELPERS),
        commands=() if map is None else tuple(name for name in commands.COMMANDS if _has(map, name)),
        access="" if map is None else _access(map),
    )


def _map_helpers() -> tuple[str, ...]:
    """The helpers that take a map."""
    linux = platform()
    found = [linux.helper(id) for id in linux.helper_ids()]
    return tuple(
        helper.name for helper in found if helper is not None and any(arg.kind is ArgKind.MAP for arg in helper.args)
    )


_SIZES: Final[Mapping[str, tuple[int, int, int]]] = {"ringbuf": (0, 0, 4096), "lpm_trie": (8, 8, 2)}
_KEYLESS: Final = frozenset({"queue", "stack", "bloom_filter"})
_POINTERS: Final = frozenset({"prog_array", "perf_event_array", "array_of_maps", "hash_of_maps", "xskmap"})


def _example(kind: MapType) -> MapSpec:
    """A definition that Linux takes."""
    usual = (0 if kind.name in _KEYLESS else 4, 4 if kind.name in _POINTERS else 8, 2)
    inner = MapSpec("inner", 2, 4, 8, 1) if kind.lookup is LookupResult.MAP else None
    return MapSpec(kind.name, kind.number, *_SIZES.get(kind.name, usual), int(kind.name == "lpm_trie"), inner)


def _has(map: Map, name: str) -> bool:
    """Whether a command does anything with the map, be it to report that there is no such key."""
    key, value = bytes(map.spec.key_size), bytes(map.spec.value_size)
    arguments = (key, value) if name == "update" else (key,)
    try:
        commands.COMMANDS[name](map, *arguments)
    except MapError as error:
        refused = {ENOTSUPP, errno.EOPNOTSUPP} if has_values(map) else {ENOTSUPP, errno.EOPNOTSUPP, errno.EINVAL}
        # Elements of arrays stay: their deletion is EINVAL whatever the key.
        return error.errno not in refused and not (name == "delete" and error.errno == errno.EINVAL)
    return True


def _access(map: Map) -> str:
    match view(map):
        case MapView():
            return "mapping"
        case ListView():
            return "list"
        case FilterView():
            return "filter"
        case _:
            return "records"
