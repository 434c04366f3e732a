"""What the function promises that finds the words with known bits between bounds: comparisons of tnums rest on it.

It asks for the nearest words with these bits (:mod:`prevail_py.verifier.proofs.search_lemmas`), and for the bits on
which all between them agree.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from prevail_py.domains import bits, bounds
from prevail_py.verifier.proofs.promises import Promise, both, either, implies
from prevail_py.verifier.proofs.search_lemmas import agrees, next_member, previous_member

__all__ = ["bits_promises"]


@cache
def _common_prefix(half: int) -> Promise:
    last = half + half - 1
    return Promise(
        "common prefix",
        bounds.common_prefix,
        half.bit_length(),
        last,
        lambda draw: (draw("lo", 0, last), draw("hi", 0, last)),
        lambda draw, args: (draw("value", 0, last), draw("mask", 0, last)),
        lambda args: args[0] <= args[1],
        lambda args, result: result[0] == args[0] & ~result[1],
        lambda args, result, word: implies(
            both(args[0] <= word, word <= args[1]), word & ~result[1] == args[0] & ~result[1]
        ),
    )


@cache
def _within(half: int) -> Promise:
    last = half + half - 1

    def of(args: tuple[Any, ...], result: Any, word: Any) -> Any:
        value, mask, lo, hi, _ = args
        return implies(both(agrees(word, value, mask), lo <= word, word <= hi), agrees(word, *result))

    return Promise(
        "within",
        bits._within,
        half.bit_length(),
        last,
        lambda draw: (
            draw("value", 0, last), draw("mask", 0, last), draw("lo", 0, last + 1), draw("hi", -1, last), last,
        ),
        lambda draw, args: (draw("value", 0, last), draw("mask", 0, last)),
        lambda args: args[0] & args[1] == 0,
        lambda args, result: either(result[0] & result[1] == 0, both(result[0] == 1, result[1] == 1)),
        # Signed order is the unsigned one of words whose sign is flipped, which are words as well.
        lambda args, result, word: both(of(args, result, word), of(args, result, word ^ half)),
        lambda args: bool(args[4] == last),
        rests_on=(next_member(half), previous_member(half), _common_prefix(half)),
        integers=lambda args, word: (word ^ half,),
    )  # fmt: skip


@cache
def bits_promises(width: int) -> tuple[Promise, ...]:
    """What the functions on known bits promise of words of ``width`` bits."""
    half = 1 << (width - 1)
    return _common_prefix(half), _within(half)
