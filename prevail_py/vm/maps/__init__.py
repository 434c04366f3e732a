"""Maps, with the semantics and errors of Linux; to the user Python mappings, typed through BTF (:class:`Maps`)."""

from prevail_py.vm.maps.collection import Maps
from prevail_py.vm.maps.create import UnsupportedMap, create_map, create_maps
from prevail_py.vm.maps.model import ListMap, Map, MapError, UpdateFlag, ValueMap, has_values, is_list

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
]
