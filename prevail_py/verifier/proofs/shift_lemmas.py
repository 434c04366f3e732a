"""What the functions about shifts of bounds promise, forwards and backwards.

A shift by a known amount is linear, so promises about these are proved for each amount, and what they do to the low
bits of words at each width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from prevail_py.domains import arithmetic, halves
from prevail_py.domains.halves import size_of
from prevail_py.verifier.proofs.lemmas import basics, end, wrap_integers
from prevail_py.verifier.proofs.obligations import Claim, Obligation, Setting, by_known_amounts
from prevail_py.verifier.proofs.promises import Promise, both, implies, lemma
from prevail_py.verifier.proofs.relations import Fact
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
from prevail_py.words import OpKind, WordOp

__all__ = ["known_shifts", "moved_ends", "moved_promises", "shift_promises"]


# Forwards ---------------------------------------------------------------------------------------------------------


def _shift(kind: OpKind, half: int, known: bool) -> Promise:
    """A shift by ``s0..s1``, or by one known amount; the second operand of its facts is the amount."""
    bits = half.bit_length()

    def derived(s: Setting, args: tuple[Any, ...], fact: Any) -> tuple[Fact, ...]:
        more = fact.second - args[1]  # what is shifted by s0 after it was shifted by these
        return (Fact(kind, bits, fact.first, more, s.evaluate(WordOp(kind, bits), fact.first, more)),)

    low_bits = [_low_bits(half, half >> amount, known) for amount in range(bits)]
    return Promise(
        f"{kind.value} by known amounts" if known else kind.value,
        halves._SHIFT[kind.value],
        bits,
        half + half - 1,
        lambda draw: (arbitrary_bounds(draw, half), draw("s0", 0, bits - 1), draw("s1", 0, bits - 1), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(not_empty(args[0], half), args[1] >= 0, args[1] <= args[2], args[2] < bits),
        lambda args, result: both(canonical(result, half), result[0] <= result[1]),
        matches=lambda args: bool(args[3] == half) and known == _is_known(args[1], args[2]),
        by_parts=known or kind is OpKind.LSH,
        rests_on=tuple(low_bits) if kind is OpKind.LSH else basics(half) if not known else (),
        integers=lambda args, seen: (seen.result,) if isinstance(seen, Fact) else (),
        derived=derived if kind is OpKind.LSH and not known else lambda s, args, fact: (),
        kinds=(kind,),
        relates=lambda args, result, fact: implies(
            both(inside(args[0], fact.first, half), args[1] <= fact.second, fact.second <= args[2]),
            inside(result, fact.result, half),
        ),
    )


def _low_bits(half: int, to_half: int, known: bool) -> Promise:
    """Of words that are not shifted, or of those shifted by up to some amount."""
    bits, size = half.bit_length(), half + half

    def relates(args: tuple[Any, ...], result: Any, fact: Any) -> Any:
        shifted = both(inside(args[0], fact.first, half), fact.second <= args[1])
        return implies(shifted, inside(result, low_of(fact.result, to_half), to_half))

    return Promise(
        "low bits" if known else "low bits of shifted words",
        arithmetic._low_bits,
        bits,
        size - 1,
        lambda draw: (arbitrary_bounds(draw, half), 0 if known else draw("more", 0, bits - 1), half, to_half),
        lambda draw, args: arbitrary_bounds(draw, to_half),
        lambda args: not_empty(args[0], half),
        lambda args, result: both(canonical(result, to_half), result[0] <= result[1]),
        lambda args, result, word: (
            implies(inside(args[0], word, half), inside(result, low_of(word, to_half), to_half)) if known else True
        ),
        lambda args: args[2:] == (half, to_half) and known == _is_known(args[1], 0),
        rests_on=(wrap_integers(to_half),),
        integers=lambda args, seen: _unbounded(seen, size) if isinstance(seen, Fact) else (),
        kinds=() if known else (OpKind.LSH,),
        relates=lambda args, result, fact: True if known else relates(args, result, fact),
    )


def _unbounded(fact: Fact, size: int) -> tuple[Any, ...]:
    """What a shift to the left is the remainder of, for both readings of the word."""
    return fact.first << fact.second, (fact.first - size) << fact.second


def _is_known(s0: Any, s1: Any) -> bool:
    return isinstance(s0, int) and isinstance(s1, int) and s0 == s1


def _amounts(half: int) -> Promise:
    """The amounts of a shift: facts of the kind LSH have the word in bounds as first operand, whatever they shift."""
    bits = half.bit_length()
    return Promise(
        "shift amounts",
        arithmetic.shift_amounts,
        bits,
        half + half - 1,
        lambda draw: (arbitrary_bounds(draw, half), half, bits),
        lambda draw, args: (draw("s0", 0, bits - 1), draw("s1", 0, bits - 1)),
        lambda args: not_empty(args[0], half),
        lambda args, result: both(result[0] >= 0, result[0] <= result[1], result[1] < bits),
        matches=lambda args: args[1:] == (half, bits),
        holds=lambda args, result, word: implies(
            inside(args[0], word, half), both(result[0] <= word & (bits - 1), word & (bits - 1) <= result[1])
        ),
    )


# Backwards --------------------------------------------------------------------------------------------------------


def _before(kind: OpKind, half: int) -> Promise:
    """What words were, of which a shift by one known amount is within bounds."""
    bits = half.bit_length()

    def of_what(amount: int) -> int:
        return half >> amount if kind is OpKind.LSH else half

    def relates(args: tuple[Any, ...], result: Any, fact: Any) -> Any:
        _, _, amount, after = args
        kept = of_what(amount)
        known = both(inside(after, fact.result, half), fact.second == amount)
        return implies(known, inside(result[1], low_of(fact.first, kept), kept))

    return Promise(
        f"before {kind.value}",
        halves._before_shift,
        bits,
        half + half - 1,
        lambda draw: (kind.value, bits, draw("amount", 0, bits - 1), arbitrary_bounds(draw, half)),
        lambda draw, args: (of_what(args[2]).bit_length(), arbitrary_bounds(draw, of_what(args[2]))),
        lambda args: not_empty(args[3], half),
        lambda args, result: canonical(result[1], of_what(args[2])),
        matches=lambda args: args[:2] == (kind.value, bits),
        kinds=(kind,),
        relates=relates,
        by_parts=True,
        by_value=2 if kind is OpKind.LSH else None,  # it says how many bits are left
    )


def _moved(width: int, low: int, kept: int) -> Promise:
    """The ends of a pair moved to words with low bits that are within bounds."""
    size = size_of(width, low)
    half, low_half, kept_half = size.half, size.low_half, 1 << (kept - 1)
    return Promise(
        "moved ends",
        halves._moved,
        width,
        size.last,
        lambda draw: (size, *arbitrary_pair(draw, half, low_half), kept, arbitrary_bounds(draw, kept_half, "a.")),
        lambda draw, args: arbitrary_pair(draw, half, low_half),
        lambda args: both(
            *(not_empty(a, half) for a, half in zip(args[1:3], (half, low_half), strict=True)),
            not_empty(args[4], kept_half),
        ),
        lambda args, result: canonical_pair(result, half, low_half),
        lambda args, result, word: implies(
            both(inside_pair(args[1:3], word, half, low_half), inside(args[4], low_of(word, kept_half), kept_half)),
            inside_pair(result, word, half, low_half),
        ),
        lambda args: args[0] is size and args[3] == kept,
        (),
        (*basics(half), *basics(low_half), *_ends(width, kept)),
    )


def _ends(width: int, kept: int) -> tuple[Promise, ...]:
    """``_up`` and ``_down`` for the low ``kept`` bits."""
    return tuple(
        end(name, function, 1 << (kept - 1), (1 << width) - 1, up)
        for name, function, up in (("up", halves._up, True), ("down", halves._down, False))
    )


# What there is ----------------------------------------------------------------------------------------------------


@cache
def shift_promises(width: int) -> tuple[Promise, ...]:
    """What the functions about shifts of ``width`` bits promise."""
    half = 1 << (width - 1)
    kinds = [OpKind(kind) for kind in halves._SHIFT]
    amounts = (_amounts(half),) if width & (width - 1) == 0 else ()
    shifts = (_shift(kind, half, known) for kind in kinds for known in (True, False))
    return (*amounts, *shifts, *(_before(kind, half) for kind in kinds))


def known_shifts(width: int) -> Iterator[Obligation]:
    """The promises about shifts by one known amount, for each, and what these rest on."""
    half = 1 << (width - 1)
    for kind in map(OpKind, halves._SHIFT):
        shift = replace(lemma(_shift(kind, half, True)), operation=kind.value)
        yield by_known_amounts(shift, "of.s0", "of.s1")
        yield by_known_amounts(lemma(_before(kind, half)), "of.amount")
    yield _together("wrap of integers", [wrap_integers(half >> amount) for amount in range(width)])
    for known in (True, False):
        promises = [_low_bits(half, half >> amount, known) for amount in range(width)]
        yield _together(promises[0].name, promises)
    yield _unknown_lsh(half)


def _unknown_lsh(half: int) -> Obligation:
    """Shifts to the left by ``s0..s1``, for each ``s0``: by amounts that are at least that, and in vain by others."""
    promise = _shift(OpKind.LSH, half, False)
    whole = lemma(promise)

    def suppose(s: Setting) -> Any:
        return s.fact(OpKind.LSH, promise.bits, s.word("x")).second < s.number("of.s0", 0, promise.bits - 1)

    def claims(s: Setting) -> list[Claim]:
        args = promise.arguments(lambda name, lo, hi: s.number(f"of.{name}", lo, hi))
        result = promise.result(lambda name, lo, hi: s.number(f"result.{name}", lo, hi), args)
        fact = s.fact(OpKind.LSH, promise.bits, s.word("x"))
        return [Claim("a smaller amount matters", promise.relates(args, result, fact))]

    by_others = Obligation(whole.operation, whole.bits, suppose, claims, rests_on=whole.rests_on)
    parts = (
        replace(whole, fixed={"of.s0": amount}, least={"of.s1": amount, "y": amount}) for amount in range(promise.bits)
    )
    return replace(whole, parts=(by_others, *parts))


@cache
def moved_promises(width: int, low: int) -> tuple[Promise, ...]:
    """What is promised of pairs whose ends are moved, at each width that they have no bounds of."""
    return tuple(_moved(width, low, kept) for kept in range(1, width) if kept != low)


def moved_ends(width: int, low: int) -> Iterator[Obligation]:
    """These promises, and what they rest on."""
    yield _together("moved ends", moved_promises(width, low))
    others = [kept for kept in range(1, width) if kept not in (8, 16, 32, low)]  # of those there are cells elsewhere
    for index, name in enumerate(("up", "down")):
        yield _together(f"{name} at other widths", [_ends(width, kept)[index] for kept in others])


def _together(name: str, promises: Sequence[Promise]) -> Obligation:
    """One cell of all these promises."""
    parts = [lemma(promise) for promise in promises]
    return replace(parts[0], operation=name, bits=max(part.bits for part in parts), parts=tuple(parts))
