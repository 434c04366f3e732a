"""The maps of a run, by number and by name.

``maps[0]`` is a map of bytes, as the machine uses it, ``maps["flows"]`` a view of one: a Python mapping, typed through
BTF (:mod:`prevail_py.vm.maps.view`, which is imported when a view is asked for).
"""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

from prevail_py.vm.maps.model import Map

__all__ = ["Maps"]


class Maps(tuple[Map, ...]):
    """The maps of a program: by number as they are, by name as views."""

    __slots__ = ()

    @overload
    def __getitem__(self, place: str) -> Any: ...
    @overload
    def __getitem__(self, place: SupportsIndex) -> Map: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Map, ...]: ...
    def __getitem__(self, place: str | SupportsIndex | slice) -> Any:
        """``maps["flows"]`` is the view of the first map of that name.  Raises KeyError, naming those there are."""
        if isinstance(place, str):
            from prevail_py.vm.maps.view import view

            for map in self:
                if map.spec.name == place:
                    return view(map)
            raise KeyError(f"no map {place!r} (there are: {', '.join(self.names) or 'none'})")
        return super().__getitem__(place)

    def __contains__(self, item: object) -> bool:
        return item in self.names if isinstance(item, str) else super().__contains__(item)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(map.spec.name for map in self)

    def __repr__(self) -> str:
        from prevail_py.vm.maps.view import view

        return f"Maps({', '.join(repr(view(map)) for map in self)})"

    def _repr_html_(self) -> str:
        from prevail_py._render import Table
        from prevail_py.vm.maps.view import view

        rows = tuple((str(number), map.spec.name, repr(view(map))) for number, map in enumerate(self))
        return Table(("number", "name", "contents"), rows, frozenset({0}))._repr_html_()
