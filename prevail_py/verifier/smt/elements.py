"""Arbitrary elements of word domains, for proofs: how to make one of unknown integers, and which are canonical.

A domain is in the table below, or says it itself by two methods::

    @classmethod
    def arbitrary(cls, draw: Callable[[str, int, int], int]) -> Self:
        \"\"\"An element of integers that draw(name, lo, hi) chooses.\"\"\"

    def is_canonical(self) -> bool:
        \"\"\"Whether this is a representation that operations make; their arguments are supposed to be, too.\"\"\"

Canonical is what keeps a representation meaningful: without it an operator would be asked about values that never
arise.  Each operation is shown to give canonical results, so the supposition costs nothing.  Bottom is left out: no
word is in it, so nothing is claimed of it but by order and join, which the laws of the domains test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from prevail_py.domains import bounds
from prevail_py.domains.bounds import Bounds
from prevail_py.domains.interval import Interval
from prevail_py.domains.tnum import Tnum

__all__ = ["Draw", "arbitrary", "is_canonical"]

Draw = Callable[[str, int, int], Any]
"""Chooses an integer: its name, and the least and the greatest that it may be."""


def _bounds_of(name: str, half: int, draw: Draw) -> Bounds:
    last = half + half - 1
    return (
        draw(f"{name}.umin", 0, last),
        draw(f"{name}.umax", 0, last),
        draw(f"{name}.smin", -half, half - 1),
        draw(f"{name}.smax", -half, half - 1),
    )


def _interval(domain: Any, draw: Draw) -> Any:
    size = domain.SIZE
    return domain(_bounds_of("full", size.half, draw), _bounds_of("low", size.low_half, draw))


def _interval_is_canonical(x: Any) -> bool:
    size = x.SIZE
    if x.full[0] > x.full[1]:
        return bool(x.full == size.empty and x.low == size.low_empty)
    full: Bounds = x.full
    low: Bounds = x.low
    return bool(bounds.sync(*full, size.half) == full and bounds.sync(*low, size.low_half) == low)


def _tnum(domain: Any, draw: Draw) -> Any:
    return domain(draw("value", 0, domain.LAST), draw("mask", 0, domain.LAST))


def _tnum_is_canonical(x: Any) -> bool:
    if x.value < 0 or x.mask < 0 or x.value > x.LAST or x.mask > x.LAST:
        return False
    return bool(x.value & x.mask == 0 or (x.value == x.LAST and x.mask == x.LAST))


_ELEMENTS: Final[dict[type, tuple[Callable[[Any, Draw], Any], Callable[[Any], bool]]]] = {
    Interval: (_interval, _interval_is_canonical),
    Tnum: (_tnum, _tnum_is_canonical),
}


def _adapter(domain: type) -> tuple[Callable[[Any, Draw], Any], Callable[[Any], bool]] | None:
    for known, adapter in _ELEMENTS.items():
        if issubclass(domain, known):
            return adapter
    return None


def arbitrary(domain: Any, draw: Draw) -> Any:
    """An element of ``domain`` made of integers that ``draw`` chooses, canonical or not.

    Raises TypeError for a domain that is not in the table and has no ``arbitrary``.
    """
    adapter = _adapter(domain)
    if adapter is not None:
        return adapter[0](domain, draw)
    if not hasattr(domain, "arbitrary"):
        raise TypeError(f"{domain.__name__} has no method 'arbitrary' to make its elements for a proof")
    return domain.arbitrary(draw)


def is_canonical(element: Any) -> bool:
    """Whether operations may be given this element."""
    adapter = _adapter(type(element))
    return adapter[1](element) if adapter is not None else bool(element.is_canonical())
