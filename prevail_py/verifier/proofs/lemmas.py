"""What the functions below the word domains promise: bounds at one width, and pairs of bounds.

An operation on intervals computes bounds of the word and of its low half (:mod:`prevail_py.domains.arithmetic`), cuts
them down (:mod:`prevail_py.domains.halves`) and reduces the two by each other.  As one formula that is too much for a
solver at 64 bits.  Here it is taken apart, from the smallest function upwards; each promise is proved of the function
as it is shipped, given the promises of those below it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from prevail_py.domains import bounds, halves
from prevail_py.domains.halves import Size, size_of
from prevail_py.verifier.proofs.promises import Promise, both, either, implies
from prevail_py.verifier.proofs.sets import (
    arbitrary_bounds,
    arbitrary_pair,
    canonical,
    canonical_pair,
    inside,
    inside_pair,
    low_of,
    not_empty,
)
from prevail_py.words import WORD_BITS, OpKind

__all__ = ["at", "basics", "end", "pair_promises", "wrap_integers"]


def at(half: int) -> Callable[[tuple[Any, ...]], bool]:
    """Calls whose last argument is this ``half``."""
    return lambda args: bool(args[-1] == half)


# Bounds at one width ----------------------------------------------------------------------------------------------


def _of_bounds(
    name: str,
    function: Any,
    half: int,
    count: int,
    same: tuple[int, ...],
    supposes: Callable[[tuple[Any, ...]], Any],
    holds: Callable[[tuple[Any, ...], Any, Any], Any],
) -> Promise:
    """A function from ``count`` canonical bounds and ``half`` to canonical bounds."""
    return Promise(
        name,
        function,
        half.bit_length(),
        half + half - 1,
        lambda draw: (*(arbitrary_bounds(draw, half, f"{i}.") for i in range(count)), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(*(canonical(a, half) for a in args[:count]), supposes(args)),
        lambda args, result: canonical(result, half),
        holds,
        at(half),
        same,
    )


def _always(args: tuple[Any, ...]) -> Any:
    return True


def _meet(half: int) -> Promise:
    def holds(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        return inside(result, word, half) == both(inside(args[0], word, half), inside(args[1], word, half))

    return _of_bounds("meet", bounds.meet, half, 2, (0,), _always, holds)


def _narrow(half: int) -> Promise:
    def holds(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        return implies(both(inside(args[0], word, half), inside(args[1], word, half)), inside(result, word, half))

    return _of_bounds("narrow", bounds.narrow, half, 2, (), _always, holds)


def _threshold(name: str, function: Any, half: int, count: int, signed: bool, up: bool) -> Promise:
    """``_below`` and ``_above``: something between the default, an extreme of the words, and the value."""
    least, most = (-half, half - 1) if signed else (0, half + half - 1)
    default = most if up else least

    def between(args: tuple[Any, ...], result: Any) -> Any:
        value = args[0]
        return both(value <= result, result <= default) if up else both(default <= result, result <= value)

    return Promise(
        f"{name} {count} ({'signed' if signed else 'unsigned'})",
        function,
        half.bit_length(),
        half + half - 1,
        lambda draw: (draw("value", least, most), [draw(f"t{i}", least, most) for i in range(count)], default),
        lambda draw, args: draw("end", least, most),
        lambda args: both(least <= args[0], args[0] <= most, *(both(least <= t, t <= most) for t in args[1])),
        between,
        matches=lambda args: len(args[1]) == count and args[2] == default,
    )


@cache
def thresholds(half: int) -> tuple[Promise, ...]:
    """Of the choice of thresholds: none or one of the caller's, with or without the domain's own three."""
    return tuple(
        _threshold(name, function, half, count, signed, up)
        for count in (1, 3, 4)
        for signed in (False, True)
        for name, function, up in (("below", bounds._below, False), ("above", bounds._above, True))
    )


def _widen(half: int, count: int) -> Promise:
    last = half + half - 1
    words = (last + 1) * (last + 1) - 1  # thresholds are words, which may be wider than these bounds

    def holds(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        return implies(either(inside(args[0], word, half), inside(args[1], word, half)), inside(result, word, half))

    return Promise(
        f"widen to {count}",
        bounds.widen,
        half.bit_length(),
        last,
        lambda draw: (
            arbitrary_bounds(draw, half, "0."), arbitrary_bounds(draw, half, "1."),
            tuple(draw(f"t{i}", 0, words) for i in range(count)), half,
        ),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(
            canonical(args[0], half), canonical(args[1], half), *(both(t >= 0, t <= words) for t in args[2])
        ),
        lambda args, result: canonical(result, half),
        holds,
        lambda args: args[3] == half and len(args[2]) == count,
        rests_on=thresholds(half),
    )  # fmt: skip


def _sync(half: int) -> Promise:
    return Promise(
        "sync",
        bounds.sync,
        half.bit_length(),
        half + half - 1,
        lambda draw: (*arbitrary_bounds(draw, half), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(
            args[0] >= 0, args[0] < half + half, args[1] >= 0, args[1] < half + half,
            -half <= args[2], args[2] < half, -half <= args[3], args[3] < half,
        ),
        lambda args, result: canonical(result, half),
        lambda args, result, word: inside(result, word, half) == inside(args[:4], word, half),
        at(half),
    )  # fmt: skip


def _from_ends(name: str, function: Any, half: int, signed: bool) -> Promise:
    """``from_unsigned`` and ``from_signed``."""
    least, most = (-half, half - 1) if signed else (0, half + half - 1)

    def holds(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        lo, hi, _ = args
        if not signed:
            return inside(result, word, half) == both(lo <= word, word <= hi)
        size = half + half
        negative = both(word >= half, lo + size <= word, word <= hi + size)
        return inside(result, word, half) == either(negative, both(word < half, lo <= word, word <= hi))

    return Promise(
        name,
        function,
        half.bit_length(),
        half + half - 1,
        lambda draw: (draw("lo", least, most), draw("hi", least, most), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(least <= args[0], args[0] <= args[1], args[1] <= most),
        lambda args, result: both(canonical(result, half), result[0] <= result[1]),
        holds,
        at(half),
    )


def _wrap(half: int, last: int) -> Promise:
    """Of integers in the range of words up to ``last``, more than which nobody asks."""
    return Promise(
        "wrap",
        bounds.wrap,
        half.bit_length(),
        last,
        lambda draw: (draw("lo", 0, last), draw("hi", 0, last), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(args[0] >= 0, args[0] <= args[1], args[1] <= last),
        lambda args, result: both(canonical(result, half), result[0] <= result[1]),
        lambda args, result, word: implies(
            both(args[0] <= word, word <= args[1]), inside(result, low_of(word, half), half)
        ),
        at(half),
    )


def wrap_integers(half: int) -> Promise:
    """Of any integers that operations on words compute: each is within by its remainder."""
    most = 1 << 4 * WORD_BITS
    return Promise(
        "wrap of integers",
        bounds.wrap,
        half.bit_length(),
        most,
        lambda draw: (draw("lo", -most, most), draw("hi", -most, most), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: args[0] <= args[1],
        lambda args, result: both(canonical(result, half), result[0] <= result[1]),
        lambda args, result, number: implies(
            both(args[0] <= number, number <= args[1]), inside(result, low_of(number, half), half)
        ),
        at(half),
        about_integers=True,
    )


def end(name: str, function: Any, half: int, last: int, up: bool) -> Promise:
    """``_up`` and ``_down``: the nearest word with a low part within bounds."""
    size = half + half

    def holds(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        x, low, _ = args
        allowed = inside(low, low_of(word, half), half)
        if up:
            return implies(both(allowed, x <= word), result <= word)
        return implies(both(allowed, word <= x), word <= result)

    return Promise(
        name,
        function,
        half.bit_length(),
        last,
        lambda draw: (draw("x", 0, last), arbitrary_bounds(draw, half), half),
        lambda draw, args: draw("y", 0, last + size) if up else draw("y", -size, last),
        lambda args: both(args[0] >= 0, args[0] <= last, not_empty(args[1], half)),
        lambda args, result: (args[0] <= result) if up else (result <= args[0]),
        holds,
        at(half),
        halves=(1 << (last.bit_length() // 2)) - 1,
    )


def _hull(half: int, count: int) -> Promise:
    """The hull of intervals, at most one of each sign."""
    last = half + half - 1

    def supposes(args: tuple[Any, ...]) -> Any:
        parts = args[0]
        if len(parts) == 1:
            lo, hi = parts[0]
            return both(lo >= 0, lo <= hi, hi <= last, either(hi < half, lo >= half))
        (lo, hi), (lo_, hi_) = parts
        return both(lo >= 0, lo <= hi, hi < half, half <= lo_, lo_ <= hi_, hi_ <= last)

    return Promise(
        f"hull of {count}",
        halves._hull,
        half.bit_length(),
        last,
        lambda draw: (tuple((draw(f"lo{i}", 0, last), draw(f"hi{i}", 0, last)) for i in range(count)), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        supposes,
        lambda args, result: both(canonical(result, half), result[0] <= result[1]),
        lambda args, result, word: (
            inside(result, word, half) == either(*(both(lo <= word, word <= hi) for lo, hi in args[0]))
        ),
        lambda args: args[1] == half and len(args[0]) == count,
    )


def _project(half: int, to_half: int) -> Promise:
    return Promise(
        f"project to {to_half.bit_length()}",
        halves._project,
        half.bit_length(),
        half + half - 1,
        lambda draw: (arbitrary_bounds(draw, half), half, to_half),
        lambda draw, args: arbitrary_bounds(draw, to_half),
        lambda args: canonical(args[0], half),
        lambda args, result: canonical(result, to_half),
        lambda args, result, word: implies(inside(args[0], word, half), inside(result, low_of(word, to_half), to_half)),
        lambda args: args[1:] == (half, to_half),
        (),
        (_wrap(to_half, half + half - 1),),
    )


@cache
def basics(half: int) -> tuple[Promise, ...]:
    """The promises of functions that make and combine bounds at one width."""
    return (
        _sync(half),
        _meet(half),
        _narrow(half),
        _from_ends("from_unsigned", bounds.from_unsigned, half, False),
        _from_ends("from_signed", bounds.from_signed, half, True),
        *(_hull(half, count) for count in (1, 2)),
        *thresholds(half),
        *(_widen(half, count) for count in (1, 3, 4)),
    )


# Pairs ------------------------------------------------------------------------------------------------------------


def _reduce(size: Size) -> Promise:
    half, low_half = size.half, size.low_half
    return Promise(
        "reduce",
        halves.reduce,
        size.width,
        size.last,
        lambda draw: (size, *arbitrary_pair(draw, half, low_half)),
        lambda draw, args: arbitrary_pair(draw, half, low_half),
        lambda args: canonical_pair(args[1:], half, low_half),
        lambda args, result: canonical_pair(result, half, low_half),
        lambda args, result, word: (
            inside_pair(result, word, half, low_half) == inside_pair(args[1:], word, half, low_half)
        ),
        lambda args: args[0] is size,
        (),
        (
            *basics(half),
            *basics(low_half),
            _wrap(low_half, size.last),
            end("up", halves._up, low_half, size.last, True),
            end("down", halves._down, low_half, size.last, False),
        ),
    )


# Words ------------------------------------------------------------------------------------------------------------


def _byte_swap(bits: int) -> Promise:
    return Promise(
        "byte swap",
        halves.byte_swap,
        bits,
        (1 << bits) - 1,
        lambda draw: (draw("value", 0, (1 << bits) - 1), bits),
        lambda draw, args: draw("swapped", 0, (1 << bits) - 1),
        lambda args: both(args[0] >= 0, args[0] < 1 << bits),
        lambda args, result: both(result >= 0, result < 1 << bits),
        matches=lambda args: args[1] == bits,
        kinds=(OpKind.BSWAP,),
        relates=lambda args, result, fact: implies(args[0] == fact.first, result == fact.result),
    )


@cache
def pair_promises(width: int, low: int) -> tuple[Promise, ...]:
    """What the functions on pairs promise, and those on ends and between widths."""
    size = size_of(width, low)
    reduce = _reduce(size)
    own = [each for each in reduce.rests_on if each not in (*basics(size.half), *basics(size.low_half))]
    narrow = [1 << (bits - 1) for bits in (8, 16, 32) if bits < width]
    views = [_project(half, to) for to in narrow for half in (size.half, size.low_half) if to < half]
    wraps = [_wrap(to, size.last) for to in narrow if to != size.low_half]
    ends = [end(name, function, to, size.last, up) for to in narrow if to != size.low_half
            for name, function, up in (("up", halves._up, True), ("down", halves._down, False))]  # fmt: skip
    swaps = [_byte_swap(bits) for bits in (8, 16, 32, 64) if bits <= width]
    return (*swaps, *own, *wraps, *ends, *views, reduce)
