"""What the functions promise that look for words with given bits: the nearest one, and those between bounds.

They are about bits, so they are proved as bit vectors.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from prevail_py.domains import bounds, halves
from prevail_py.verifier.proofs.lemmas import basics
from prevail_py.verifier.proofs.promises import Promise, both, implies
from prevail_py.verifier.proofs.sets import arbitrary_bounds, canonical, inside, not_empty
from prevail_py.words import Comparison

__all__ = ["agrees", "next_member", "previous_member", "search_promises"]


@cache
def _common_bits(half: int) -> Promise:
    last = half + half - 1
    return Promise(
        "common bits",
        bounds.common_bits,
        half.bit_length(),
        last,
        lambda draw: (arbitrary_bounds(draw, half),),
        lambda draw, args: (draw("value", 0, last), draw("mask", 0, last)),
        lambda args: not_empty(args[0], half),
        lambda args, result: result[0] & result[1] == 0,
        lambda args, result, word: implies(inside(args[0], word, half), word & ~result[1] == result[0]),
    )


# The nearest word with known bits ---------------------------------------------------------------------------------


def agrees(word: Any, value: Any, mask: Any) -> Any:
    """Whether a word has the value where bits are known."""
    return word & ~mask == value


@cache
def next_member(half: int) -> Promise:
    """What is promised of :func:`prevail_py.domains.bounds.next_member` for words with ``half`` as their sign."""
    last = half + half - 1

    def holds(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        x, value, mask, _ = args
        return implies(both(agrees(word, value, mask), x <= word), result <= word)

    return Promise(
        "next member",
        bounds.next_member,
        half.bit_length(),
        last,
        lambda draw: (draw("x", 0, last), draw("value", 0, last), draw("mask", 0, last), last),
        lambda draw, args: draw("y", 0, last + 1),
        lambda args: args[1] & args[2] == 0,
        lambda args, result: both(
            args[0] <= result, result <= last + 1, implies(result <= last, agrees(result, args[1], args[2]))
        ),
        holds,
        lambda args: bool(args[3] == last),
    )


@cache
def previous_member(half: int) -> Promise:
    """What is promised of :func:`prevail_py.domains.bounds.previous_member`."""
    last = half + half - 1

    def holds(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        x, value, mask, _ = args
        return implies(both(agrees(word, value, mask), word <= x), word <= result)

    return Promise(
        "previous member",
        bounds.previous_member,
        half.bit_length(),
        last,
        lambda draw: (draw("x", 0, last), draw("value", 0, last), draw("mask", 0, last), last),
        lambda draw, args: draw("y", -1, last),
        lambda args: args[1] & args[2] == 0,
        lambda args, result: both(result >= -1, result <= args[0]),
        holds,
        lambda args: bool(args[3] == last),
        rests_on=(next_member(half),),
        integers=lambda args, word: (last - word,),
    )


@cache
def _restrict_bits(half: int) -> Promise:
    last = half + half - 1
    return Promise(
        "restrict bits",
        bounds.restrict_bits,
        half.bit_length(),
        last,
        lambda draw: (arbitrary_bounds(draw, half), draw("value", 0, last), draw("mask", 0, last), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(not_empty(args[0], half), args[1] & args[2] == 0),
        lambda args, result: canonical(result, half),
        lambda args, result, word: both(
            implies(both(inside(args[0], word, half), agrees(word, args[1], args[2])), inside(result, word, half)),
            implies(inside(result, word, half), inside(args[0], word, half)),
        ),
        lambda args: bool(args[3] == half),
        (0,),
        (next_member(half), previous_member(half)),
    )


# The nearest word with a one in common ----------------------------------------------------------------------------


def _possible_bits(half: int) -> Promise:
    last = half + half - 1

    def relates(args: tuple[Any, ...], result: Any, fact: Any) -> Any:
        return both(
            implies(both(inside(args[0], fact.second, half), fact.result), fact.first & result != 0),
            implies(both(inside(args[0], fact.first, half), fact.result), fact.second & result != 0),
        )

    return Promise(
        "possible bits",
        halves._possible_bits,
        half.bit_length(),
        last,
        lambda draw: (arbitrary_bounds(draw, half),),
        lambda draw, args: draw("possible", 0, last),
        lambda args: not_empty(args[0], half),
        lambda args, result: True,
        rests_on=(_common_bits(half),),
        kinds=(Comparison.SET,),
        relates=relates,
    )


def _with(name: str, function: Any, half: int, up: bool) -> Promise:
    last = half + half - 1

    def holds(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        x, possible = args
        if up:
            return implies(both(word & possible != 0, x <= word), result <= word)
        return implies(both(word & possible != 0, word <= x), word <= result)

    return Promise(
        name,
        function,
        half.bit_length(),
        last,
        lambda draw: (draw("x", 0, last), draw("possible", 0, last)),
        lambda draw, args: draw("y", 0, last) if up else draw("y", -1, last),
        lambda args: both(args[1] != 0, args[0] & args[1] == 0),
        lambda args, result: (args[0] < result) if up else (result < args[0]),
        holds,
    )


def _bitwise(name: str, function: Any, kind: Comparison, half: int, rests_on: tuple[Promise, ...]) -> Promise:
    """The words of the first bounds for which a bitwise comparison may hold with one of the second."""

    def relates(args: tuple[Any, ...], result: Any, fact: Any) -> Any:
        known = both(inside(args[0], fact.first, half), inside(args[1], fact.second, half), fact.result)
        mirrored = both(inside(args[0], fact.second, half), inside(args[1], fact.first, half), fact.result)
        return both(
            implies(known, inside(result, fact.first, half)), implies(mirrored, inside(result, fact.second, half))
        )

    return Promise(
        name,
        function,
        half.bit_length(),
        half + half - 1,
        lambda draw: (arbitrary_bounds(draw, half, "0."), arbitrary_bounds(draw, half, "1."), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(not_empty(args[0], half), not_empty(args[1], half)),
        lambda args, result: canonical(result, half),
        lambda args, result, word: implies(inside(result, word, half), inside(args[0], word, half)),
        lambda args: bool(args[2] == half),
        (0,),
        rests_on,
        kinds=(kind,),
        relates=relates,
    )


def _overlapping(half: int) -> Promise:
    rests_on = (
        _possible_bits(half),
        _with("next with a common one", halves._next_with, half, True),
        _with("previous with a common one", halves._previous_with, half, False),
        *basics(half),
    )
    return _bitwise("words with a common one", halves._overlapping, Comparison.SET, half, rests_on)


def _disjoint(half: int) -> Promise:
    rests_on = (_common_bits(half), _restrict_bits(half))
    return _bitwise("words without a common one", halves._disjoint, Comparison.NOT_SET, half, rests_on)


@cache
def search_promises(width: int) -> tuple[Promise, ...]:
    """What the functions promise that look for words of ``width`` bits."""
    half = 1 << (width - 1)
    overlapping, disjoint = _overlapping(half), _disjoint(half)
    below = (
        _common_bits(half),
        *(each for each in overlapping.rests_on if each not in basics(half)),
        *(next_member(half), previous_member(half), _restrict_bits(half)),
    )
    return (*below, overlapping, disjoint)
