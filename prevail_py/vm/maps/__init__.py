"""Maps, with the semantics and errors of Linux; to the user Python mappings, typed through BTF (:class:`Maps`)."""

from typing import TYPE_CHECKING, Any

from prevail_py.vm.maps.collection import Maps
from prevail_py.vm.maps.model import ListMap, Map, MapError, UpdateFlag, ValueMap, has_values, is_list, require_cpu

if TYPE_CHECKING:
    from prevail_py.vm.maps.create import UnsupportedMap, create_map, create_maps

__all__ = [
    "ListMap",
    "Map",
    "MapError",
    "Maps",
    "UnsupportedMap",
    "UpdateFlag",
    "ValueMap",
    "create_map",
    "create_maps",
    "has_values",
    "is_list",
    "require_cpu",
]


def __getattr__(name: str) -> Any:
    """What makes maps is imported when a first one is made: it knows all their types."""
    if name in ("UnsupportedMap", "create_map", "create_maps"):
        from prevail_py.vm.maps import create

        return getattr(create, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
