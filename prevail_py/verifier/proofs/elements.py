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

from prevail_py.domains.congruence import Congruence
from prevail_py.domains.interval import Interval
from prevail_py.domains.tnum import Tnum
from prevail_py.verifier.proofs.promises import Draw, both, either
from prevail_py.verifier.proofs.sets import arbitrary_pair, canonical_pair

__all__ = ["Draw", "arbitrary", "is_canonical"]


def _interval(domain: Any, draw: Draw) -> Any:
    size = domain.SIZE
    return domain(*arbitrary_pair(draw, size.half, size.low_half))


def _interval_is_canonical(x: Any) -> Any:
    return canonical_pair((x.full, x.low), x.SIZE.half, x.SIZE.low_half)


def _tnum(domain: Any, draw: Draw) -> Any:
    return domain(draw("value", 0, domain.LAST), draw("mask", 0, domain.LAST))


def _tnum_is_canonical(x: Any) -> Any:
    in_range = both(x.value >= 0, x.value <= x.LAST, x.mask >= 0, x.mask <= x.LAST)
    return both(in_range, either(x.value & x.mask == 0, both(x.value == x.LAST, x.mask == x.LAST)))


def _congruence(domain: Any, draw: Draw) -> Any:
    last = (1 << domain.WIDTH) - 1
    return domain(draw("lo", 0, last), draw("hi", 0, last), draw("stride", 0, last))


def _congruence_is_canonical(x: Any) -> Any:
    if x.lo == x.hi:
        return x.stride == 0
    if x.stride == 0 or x.lo > x.hi:
        return both(x.lo == 1, x.hi == 0, x.stride == 0)
    return both(x.lo >= 0, x.hi < 1 << x.WIDTH, (x.hi - x.lo) % x.stride == 0)


_ELEMENTS: Final[dict[type, tuple[Callable[[Any, Draw], Any], Callable[[Any], Any]]]] = {
    Interval: (_interval, _interval_is_canonical),
    Tnum: (_tnum, _tnum_is_canonical),
    Congruence: (_congruence, _congruence_is_canonical),
}


def _adapter(domain: type) -> tuple[Callable[[Any, Draw], Any], Callable[[Any], Any]] | None:
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


def is_canonical(element: Any) -> Any:
    """Whether operations may be given this element."""
    adapter = _adapter(type(element))
    return adapter[1](element) if adapter is not None else element.is_canonical()
