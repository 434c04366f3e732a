"""Put other functions in the place of shipped ones, while a proof runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, Final

from prevail_py.verifier.proofs.exploring import merging
from prevail_py.verifier.proofs.rewriting import HOOKS, rewritten

__all__ = ["MERGED", "current_version", "helpers", "hooked", "prepared", "replaced"]

MERGED: Final = frozenset(
    {"from_unsigned", "from_signed", "wrap", "sync", "join", "meet", "contains", "_up", "_down", "next_member"}
)
"""Functions whose paths are worth merging: small ones that much else calls."""


def helpers() -> Iterator[FunctionType]:
    """The plain functions below the classes of the package's domains."""
    from prevail_py.domains import arithmetic, bits, bounds, halves

    for module in (bounds, arithmetic, halves, bits):
        for value in vars(module).values():
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                yield value


def prepared() -> dict[Any, Any]:
    """Each of them compiled for symbolic integers, and merged where that is worth it."""
    return {
        function: merging(rewritten(function)) if function.__name__ in MERGED else rewritten(function)
        for function in helpers()
        if not hasattr(function, "__wrapped__")
    }


def current_version(function: Any) -> Any:
    """The function that is in the place of this one at the moment."""
    return vars(sys.modules[function.__module__]).get(function.__name__, function)


@contextmanager
def replaced(functions: Mapping[Any, Any]) -> Iterator[None]:
    """Replace functions of ``prevail_py.domains`` wherever its modules have them, in tables too."""
    changed: list[tuple[dict[Any, Any], Any, Any]] = []
    by_id = {id(old): new for old, new in functions.items()}

    def scan(names: dict[Any, Any]) -> None:
        for name, value in names.items():
            if id(value) in by_id:
                changed.append((names, name, value))
            elif type(value) is dict and value is not names and not str(name).startswith("__"):
                scan(value)

    modules = [m for n, m in sys.modules.items() if n.startswith("prevail_py.domains") and isinstance(m, ModuleType)]
    for module in modules:
        scan(vars(module))
    for names, name, value in changed:
        names[name] = by_id[id(value)]
    try:
        yield
    finally:
        for names, name, value in changed:
            names[name] = value


@contextmanager
def hooked() -> Iterator[None]:
    """Give the modules of the helpers the names that rewritten functions need."""
    modules = {function.__module__ for function in helpers()}
    for module in modules:
        vars(sys.modules[module]).update(HOOKS)
    try:
        yield
    finally:
        for module in modules:
            for hook in HOOKS:
                del vars(sys.modules[module])[hook]
