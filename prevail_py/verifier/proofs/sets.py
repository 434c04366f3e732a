"""What bounds, pairs and known bits mean, as single conditions: the vocabulary of promises.

Each says in terms of the set of words what the code says in its own way; a test compares the two on all small cases.
"""

from __future__ import annotations

from typing import Any

from prevail_py.domains.bounds import Bounds
from prevail_py.domains.halves import Halves
from prevail_py.verifier.proofs.promises import Draw, both, either

__all__ = [
    "arbitrary_bounds",
    "arbitrary_pair",
    "canonical",
    "canonical_pair",
    "empty",
    "inside",
    "inside_pair",
    "low_of",
    "not_empty",
]


def arbitrary_bounds(draw: Draw, half: int, name: str = "") -> Bounds:
    """Four numbers that are in range, and may be anything else."""
    last = half + half - 1
    return (
        draw(f"{name}umin", 0, last),
        draw(f"{name}umax", 0, last),
        draw(f"{name}smin", -half, half - 1),
        draw(f"{name}smax", -half, half - 1),
    )


def arbitrary_pair(draw: Draw, half: int, low_half: int, name: str = "") -> Halves:
    """Bounds of a word and of its low half."""
    return arbitrary_bounds(draw, half, f"{name}full."), arbitrary_bounds(draw, low_half, f"{name}low.")


def empty(a: Bounds, half: int) -> Any:
    """Whether these are the empty bounds."""
    last = half + half - 1
    return both(a[0] == last, a[1] == 0, a[2] == half - 1, a[3] == -half)


def canonical(a: Bounds, half: int) -> Any:
    """Whether each bound is attained by a word within all of them, or they are the empty ones."""
    umin, umax, smin, smax = a
    size = half + half
    positive = both(umin >= 0, umin <= umax, umax < half, smin == umin, smax == umax)
    negative = both(half <= umin, umin <= umax, umax < size, smin == umin - size, smax == umax - size)
    of_both_signs = both(umin >= 0, umin <= smax, smax < half, -half <= smin, smin <= umax - size, umax < size)
    return either(positive, negative, of_both_signs, empty(a, half))


def not_empty(a: Bounds, half: int) -> Any:
    """Whether these are canonical bounds of some words."""
    return both(canonical(a, half), a[0] <= a[1])


def inside(a: Bounds, word: Any, half: int) -> Any:
    """Whether the word ``0..2 * half - 1`` is within bounds in range."""
    umin, umax, smin, smax = a
    size = half + half
    negative = both(word >= half, smin + size <= word, word <= smax + size)
    return both(umin <= word, word <= umax, either(both(word < half, smin <= word, word <= smax), negative))


def low_of(word: Any, low_half: int) -> Any:
    """The low half of a word."""
    return word & (low_half + low_half - 1)


def canonical_pair(a: Halves, half: int, low_half: int) -> Any:
    """Whether both bounds are canonical."""
    return both(canonical(a[0], half), canonical(a[1], low_half))


def inside_pair(a: Halves, word: Any, half: int, low_half: int) -> Any:
    """Whether a word is within the full bounds and its low half within the low ones."""
    return both(inside(a[0], word, half), inside(a[1], low_of(word, low_half), low_half))
