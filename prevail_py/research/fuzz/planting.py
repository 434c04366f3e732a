"""Faults by name, planted in the workers of a campaign: to measure whether the campaign finds them, and how fast."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module

__all__ = ["forget", "planting"]


@contextmanager
def planting(name: str | None) -> Iterator[None]:
    """The shipped code with a fault in it, for a ``with`` block; without a name, as it is.

    ``name`` is one of :data:`prevail_py.research.museum.EXHIBITS`, or ``module:attribute`` for a function without
    arguments that returns a context manager.  Raises ValueError for a name that is neither.  Not for several threads.
    """
    if name is None:
        yield
        return
    fault = _fault(name)
    forget()
    try:
        with fault:
            yield
    finally:
        forget()


def _fault(name: str) -> AbstractContextManager[None]:
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            make = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"no fault {name!r}: {error}") from error
        found: AbstractContextManager[None] = make()
        return found
    from prevail_py.research.museum import EXHIBITS, planted

    if name not in EXHIBITS:
        raise ValueError(f"no fault {name!r} (there are: {', '.join(EXHIBITS)})")
    return planted(EXHIBITS[name])


_PROOFS = "prevail_py.verifier.proofs"
"""What is remembered there are obligations and compiled functions, which stand for each other by identity."""


def forget() -> None:
    """Empty the caches of functions of this package: they would remember the answers of other code than runs now."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("prevail_py."):
            for value in list(vars(module).values()):
                clear = getattr(value, "cache_clear", None)
                where = getattr(value, "__module__", "")
                if clear is not None and where.startswith("prevail_py.") and not where.startswith(_PROOFS):
                    clear()
