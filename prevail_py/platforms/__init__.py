"""Platforms: what programs run on, as data."""

from __future__ import annotations

from functools import cache

from prevail_py.platforms.model import Platform

__all__ = ["Platform", "platform"]


@cache
def platform(name: str = "linux") -> Platform:
    """The platform of this name, with the extensions that are in use.

    Besides the built-in ``linux`` and ``windows`` these are the entry points of group ``prevail_py.platforms`` that
    other packages declare, each a function without arguments that returns a :class:`Platform`.  Raises
    :class:`ValueError` for one that does not exist, and
    :class:`~prevail_py.platforms.extensions.ExtensionError` where the store of extensions is bad.
    """
    from prevail_py.platforms.extensions import extended, in_use

    found = _built(name)
    return extended(found, [each for each in in_use() if each.platform == name])


@cache
def _built(name: str) -> Platform:
    if name == "linux":
        from prevail_py.platforms.linux import build

        return build()
    if name == "windows":
        from prevail_py.platforms import windows

        return windows.build()
    from importlib.metadata import entry_points

    for entry_point in entry_points(group="prevail_py.platforms", name=name):
        found = entry_point.load()()
        if isinstance(found, Platform):
            return found
        raise ValueError(f"entry point {entry_point.value!r} for platform {name!r} does not give a Platform")
    raise ValueError(f"unknown platform {name!r}")
