"""Merge what the methods of zones return on their paths, states among it.

A state is what its four parts say, and no method asks whether a state *is* another; its caches follow from its parts.
So states that know of the same symbols become one, whose bounds are if-then-else terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import getattr_static
from typing import Any, Final, NamedTuple

from prevail_py.domains import integer_relations, zones
from prevail_py.domains.zones import Zones
from prevail_py.verifier.proofs.exploring import current
from prevail_py.verifier.proofs.rewriting import HOOKS, rewritten

__all__ = ["MERGED_METHODS", "merged_zones"]

MERGED_METHODS: Final = (
    "_linear",
    "_upper",
    "_lower",
    "_bounds",
    "range",
    "difference",
    "_with_range",
    "_passed_on",
    "_add",
)
"""Those of which the paths would multiply otherwise."""


class _Keys:
    """Of which symbols and pairs a state knows something; one object for each such set."""

    __slots__ = ("bottom", "edges", "ranges", "subtractions")

    def __init__(self, state: Zones) -> None:
        self.edges, self.ranges = tuple(state._edges), tuple(state._ranges)
        self.subtractions = tuple((symbol, x, y) for symbol, (x, y, _) in state._subtractions.items())
        self.bottom = state._bottom


class _Parts(NamedTuple):
    """A state as a tuple, which :mod:`..exploring` can merge."""

    keys: _Keys
    edges: tuple[Any, ...]
    ranges: tuple[Any, ...]
    subtractions: tuple[Any, ...]


def _apart(value: Any, known: dict[Any, _Keys]) -> Any:
    if not isinstance(value, Zones):
        return value
    keys = _Keys(value)
    keys = known.setdefault((keys.edges, keys.ranges, keys.subtractions, keys.bottom), keys)
    offsets = tuple(c for _, _, c in value._subtractions.values())
    return _Parts(keys, tuple(value._edges.values()), tuple(value._ranges.values()), offsets)


def _together(value: Any) -> Any:
    if not isinstance(value, _Parts):
        return value
    keys = value.keys
    return Zones(
        dict(zip(keys.edges, value.edges, strict=True)),
        dict(zip(keys.ranges, value.ranges, strict=True)),
        {z: (x, y, c) for (z, x, y), c in zip(keys.subtractions, value.subtractions, strict=True)},
        keys.bottom,
    )


def _merging(method: Callable[..., Any], known: dict[Any, _Keys]) -> Callable[..., Any]:
    """``method`` explored by itself."""

    def wrapper(*args: Any, **named: Any) -> Any:
        explorer = current()
        if explorer is None:
            return method(*args, **named)
        return _together(explorer.merged(lambda: _apart(method(*args, **named), known), ()))

    return wrapper


@contextmanager
def merged_zones() -> Iterator[None]:
    """Have the shipped methods compiled for symbolic integers, and merged, for a while."""
    known: dict[Any, _Keys] = {}  # by value; the objects live as long as their ids are compared
    before = {name: getattr_static(Zones, name) for name in MERGED_METHODS}
    inherited = [name for name in MERGED_METHODS if name not in vars(Zones)]
    shipped = vars(integer_relations), vars(zones)
    for names in shipped:
        names.update(HOOKS)
    for name, method in before.items():
        # Where the hooks are: a method put there by others runs as it is.
        ours = any(method.__globals__ is names for names in shipped)
        setattr(Zones, name, _merging(rewritten(method) if ours else method, known))
    try:
        yield
    finally:
        for name, method in before.items():
            if name in inherited:
                delattr(Zones, name)
            else:
                setattr(Zones, name, method)
        for names in shipped:
            for hook in HOOKS:
                del names[hook]
