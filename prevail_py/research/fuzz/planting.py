"""Faults by name, planted in the workers of a campaign: to measure whether the campaign finds them, and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module

from prevail_py.research.museum.switch import switched

__all__ = ["planting"]


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
    with switched(), fault:
        yield


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
