"""Joining and widening octagons whose symbols have other names, or are other terms, on either side.

A :class:`Side` says what each symbol of the result stands for in one octagon: a symbol plus a constant that does not
wrap, or something unknown.  So it bounds sums of literals of the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, product

from prevail_py.domains.integer_relations import MAX, MIN
from prevail_py.domains.lattice import NO_SYMBOL, Symbol
from prevail_py.domains.octagon_closure import Literal, Octagon

__all__ = ["Side", "joined", "widened"]


class Side:
    """One octagon, seen from the symbols of a result."""

    __slots__ = ("_carriers", "images", "octagon")

    def __init__(self, octagon: Octagon, images: Mapping[Symbol, tuple[Symbol, int] | None]) -> None:
        self.octagon = octagon
        self.images = images
        self._carriers: dict[Symbol, list[Symbol]] = {}
        for symbol, image in images.items():
            if image is not None and image[0] != NO_SYMBOL:
                self._carriers.setdefault(image[0], []).append(symbol)

    def image(self, a: Literal) -> tuple[Literal, int] | None:
        """The literal, and the constant added to it, that a literal of the result stands for; None where unknown."""
        found = self.images.get(abs(a), (NO_SYMBOL, 0))
        return found if a > 0 or found is None else (-found[0], -found[1])

    def high(self, a: Literal) -> int:
        """The upper bound of a literal of the result."""
        image = self.image(a)
        machine = MAX if a > 0 else -MIN
        return machine if image is None else min(self.octagon.high(image[0]) + image[1], machine)

    def upper(self, a: Literal, b: Literal) -> int:
        """An upper bound of the sum of two; either may be 0."""
        left, right = self.image(a), self.image(b)
        if left is None or right is None:
            return (self.high(a) if a else 0) + (self.high(b) if b else 0)
        return self.octagon.upper(left[0], right[0]) + left[1] + right[1]

    def related(self) -> set[tuple[Literal, Literal]]:
        """Literals of the result whose sum has a bound of its own: a stored one, or that of two sums with one symbol.

        Each pair once, the smaller one first.
        """
        carriers = self._carriers
        found = {
            (p, q) if p < q else (q, p)
            for a, b, _ in self.octagon.of_sums()
            for p in _signed(carriers.get(abs(a), ()), a)
            for q in _signed(carriers.get(abs(b), ()), b)
        }
        for symbols in carriers.values():
            for one, other in combinations(symbols, 2):
                found |= {(-one, other), (-other, one)}
        return found


def _signed(symbols: Iterable[Symbol], a: Literal) -> list[Literal]:
    return [symbol if a > 0 else -symbol for symbol in symbols]


def joined(left: Side, right: Side) -> Octagon:
    """The least octagon above both, which are closed: so it is closed, and nothing is to be done for that.

    Bounds are the greater ones of both sides.  One that both sides imply by bounds of the literals alone is below what
    the result implies only where one literal is greater on the left, and the other one on the right.
    """
    highs: dict[Literal, int] = {}
    falling: list[Literal] = []
    rising: list[Literal] = []
    for symbol in left.images:
        for a in (symbol, -symbol):
            mine, theirs = left.high(a), right.high(a)
            highs[a] = max(mine, theirs)
            if mine > theirs:
                falling.append(a)
            elif mine < theirs:
                rising.append(a)
    crossing = {(a, b) if a < b else (b, a) for a, b in product(falling, rising) if a != -b}
    octagon = Octagon(_informative(highs), {})
    for a, b in sorted(left.related() | right.related() | crossing):
        _bound(octagon, a, b, max(left.upper(a, b), right.upper(a, b)))
    return octagon


def widened(old: Side, new: Side) -> Octagon:
    """What is stored on the old side and holds on the new one: each bound is kept or given up, and none is made."""
    highs = {a: c for symbol in old.images for a in (symbol, -symbol) if new.high(a) <= (c := old.high(a))}
    octagon = Octagon.raw(_informative(highs), {})
    for a, b in sorted(old.related()):
        most = old.upper(a, b)
        if new.upper(a, b) <= most:
            _bound(octagon, a, b, most)
    return octagon


def _informative(highs: Mapping[Literal, int]) -> dict[Literal, int]:
    """Without the bounds that every word has."""
    return {a: c for a, c in highs.items() if c < (MAX if a > 0 else -MIN)}


def _bound(octagon: Octagon, a: Literal, b: Literal, most: int) -> None:
    """Store a bound in an octagon that is being made, if the bounds of the literals do not imply it."""
    if most < octagon.high(a) + octagon.high(b):
        octagon.sums.setdefault(a, {})[b] = most
        octagon.sums.setdefault(b, {})[a] = most
