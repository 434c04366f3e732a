"""Putting other functions in the place of shipped ones for a while: how a fault is planted and taken out again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, Final

__all__ = ["Switch", "forget", "switched"]

_PACKAGE: Final = "prevail_py"
_FAULTS: Final = ("prevail_py.research.museum", "prevail_py.research.planted")
"""Who names shipped functions to call them from the faulty ones."""

_COMPILED: Final = (
    ("prevail_py.vm.source.engine", "_compiled"),
    ("prevail_py.vm.jit.engine", "_compiled"),
    ("prevail_py.vm.jit.proved.engine", "_compiled"),
)
"""Code that engines keep for each program."""


class Switch:
    """Changes the shipped code until the block of :func:`switched` ends."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def attribute(self, owner: Any, name: str, new: Any) -> None:
        """Give a class, a module or an object another attribute."""
        old = vars(owner)[name]
        setattr(owner, name, new)
        self._stack.callback(setattr, owner, name, old)

    def entry(self, table: dict[Any, Any], key: Any, new: Any) -> None:
        """Give a table another entry."""
        old = table[key]
        table[key] = new
        self._stack.callback(table.__setitem__, key, old)

    def function(self, old: Callable[..., Any], new: Callable[..., Any]) -> None:
        """Put ``new`` wherever a module of the package, or a table in one, has ``old``.

        Whoever imports it in the meantime gets ``new`` and has it taken away, too.  Raises ValueError where no module
        has ``old``: nothing would be changed.
        """
        if not _exchange(old, new):
            raise ValueError(f"no module has {old.__qualname__}")
        self._stack.callback(_exchange, new, old)


def _exchange(old: Any, new: Any) -> int:
    """How many names and entries of tables were changed."""
    places = list(_places(old))
    for names, name in places:
        names[name] = new
    return len(places)


def _places(wanted: Any) -> Iterator[tuple[dict[Any, Any], Any]]:
    for name, module in list(sys.modules.items()):
        ours = name == _PACKAGE or name.startswith(f"{_PACKAGE}.")
        if ours and not name.startswith(_FAULTS) and isinstance(module, ModuleType):
            for key, value in vars(module).items():
                if value is wanted:
                    yield vars(module), key
                elif type(value) is dict and not key.startswith("__"):
                    yield from ((value, entry) for entry, content in value.items() if content is wanted)


@contextmanager
def switched() -> Iterator[Switch]:
    """A block of code in which shipped functions can be changed; afterwards all is as it was."""
    with ExitStack() as stack:
        forget()
        stack.callback(forget)
        yield Switch(stack)


def forget() -> None:
    """Empty what has the answers of other code than runs now: caches of functions of this package, and compiled code.

    Caches without a bound stay.  They hold the one object of its kind: sizes and obligations that are told apart by
    identity, sessions with the kernel, the platform.
    """
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(f"{_PACKAGE}."):
            for value in list(vars(module).values()):
                parameters = getattr(value, "cache_parameters", None)
                if parameters is None or not (value.__module__ or "").startswith(f"{_PACKAGE}."):
                    continue
                if parameters()["maxsize"] is not None:
                    value.cache_clear()
    for name, cache in _COMPILED:
        if name in sys.modules:
            getattr(sys.modules[name], cache).clear()
