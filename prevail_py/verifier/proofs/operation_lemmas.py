"""What the operations on bounds promise: of each, on two intervals of one sign, and on bounds by joining over these.

Bitwise operations are proved as bit vectors.  XOR asks for the least result of the words and of their complements, so
it rests on a promise of the function that has it: the paths of the two calls do not multiply.  Multiplication, division
and remainder are proved by the order of products (:mod:`prevail_py.verifier.proofs.beyond`), whatever the width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from prevail_py.domains import arithmetic, halves
from prevail_py.verifier.proofs.lemmas import at, basics, wrap_integers
from prevail_py.verifier.proofs.obligations import Setting
from prevail_py.verifier.proofs.promises import Promise, both, either, implies
from prevail_py.verifier.proofs.relations import BITWISE, Fact
from prevail_py.verifier.proofs.sets import arbitrary_bounds, canonical, inside, not_empty
from prevail_py.words import OpKind, WordOp, to_signed

__all__ = ["bounds_promises"]

_PIECES: Final = {
    OpKind.MUL: arithmetic._mul,
    OpKind.UDIV: arithmetic._udiv,
    OpKind.UMOD: arithmetic._umod,
    OpKind.SDIV: arithmetic._sdiv,
    OpKind.SMOD: arithmetic._smod,
    OpKind.AND: arithmetic._and,
    OpKind.OR: arithmetic._or,
    OpKind.XOR: arithmetic._xor,
}


def _operation(kind: OpKind, half: int) -> Promise:
    """A function of :mod:`prevail_py.domains.arithmetic` on two bounds."""
    return Promise(
        kind.value,
        halves._BINARY[kind.value],
        half.bit_length(),
        half + half - 1,
        lambda draw: (arbitrary_bounds(draw, half, "0."), arbitrary_bounds(draw, half, "1."), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(not_empty(args[0], half), not_empty(args[1], half)),
        lambda args, result: both(canonical(result, half), result[0] <= result[1]),
        matches=at(half),
        kinds=(kind,),
        relates=lambda args, result, fact: implies(
            both(inside(args[0], fact.first, half), inside(args[1], fact.second, half)),
            inside(result, fact.result, half),
        ),
        rests_on=(_pieces(kind, half), *basics(half)) if kind in _PIECES else (),
    )


def _least_xor(half: int) -> Promise:
    """The least ``x ^ y`` of words ``a..b`` and ``c..d``."""
    last = half + half - 1

    def relates(args: tuple[Any, ...], result: Any, fact: Any) -> Any:
        a, b, c, d = args
        known = both(a <= fact.first, fact.first <= b, c <= fact.second, fact.second <= d)
        return implies(known, result <= fact.result)

    return Promise(
        "least xor",
        arithmetic._min_xor,
        half.bit_length(),
        last,
        lambda draw: tuple(draw(name, 0, last) for name in ("a", "b", "c", "d")),
        lambda draw, args: draw("least", 0, last),
        lambda args: both(args[0] <= args[1], args[2] <= args[3]),
        lambda args, result: both(result >= 0, result <= last),
        kinds=(OpKind.XOR,),
        relates=relates,
    )


def _complements(half: int) -> Callable[[Setting, tuple[Any, ...], Any], tuple[Fact, ...]]:
    """What is asked of the least XOR: of two words, and of two ends, each with the complement of the second."""
    bits, last = half.bit_length(), half + half - 1

    def derived(s: Setting, args: tuple[Any, ...], fact: Any) -> tuple[Fact, ...]:
        def xor(x: Any, y: Any) -> Fact:
            return Fact(OpKind.XOR, bits, x, y, s.evaluate(WordOp(OpKind.XOR, bits), x, y))

        a, c = args[0], args[2]
        return xor(fact.first, last - fact.second), xor(a, c), xor(a, last - c)

    return derived


def _pieces(kind: OpKind, half: int) -> Promise:
    """The operation on two intervals of one sign each, ``a..b`` and ``c..d``."""
    last = half + half - 1

    def supposes(args: tuple[Any, ...]) -> Any:
        ends = [both(lo >= 0, lo <= hi, hi <= last, either(hi < half, lo >= half)) for lo, hi in (args[:2], args[2:4])]
        return both(*ends)

    def relates(args: tuple[Any, ...], result: Any, fact: Any) -> Any:
        a, b, c, d, _ = args
        known = both(a <= fact.first, fact.first <= b, c <= fact.second, fact.second <= d)
        return implies(known, inside(result, fact.result, half))

    return Promise(
        f"{kind.value} of pieces",
        _PIECES[kind],
        half.bit_length(),
        last,
        lambda draw: (*(draw(name, 0, last) for name in ("a", "b", "c", "d")), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        supposes,
        lambda args, result: both(canonical(result, half), result[0] <= result[1]),
        matches=at(half),
        rests_on=(_least_xor(half),) if kind is OpKind.XOR else () if kind in BITWISE else (wrap_integers(half),),
        integers=lambda args, seen: _whole(kind, seen, half) if isinstance(seen, Fact) else (),
        kinds=(kind,),
        relates=relates,
        derived=_complements(half) if kind is OpKind.XOR else lambda s, args, fact: (),
    )


def _whole(kind: OpKind, fact: Fact, half: int) -> tuple[Any, ...]:
    """The integers of which the result is the remainder modulo the size of a word, for each reading of the operands."""
    x, y = fact.first, fact.second
    size = half + half
    if kind is OpKind.MUL:
        return x * y, (x - size) * y, x * (y - size), (x - size) * (y - size)
    if kind not in (OpKind.SDIV, OpKind.SMOD):
        return ()
    if y == 0:
        return (0,)
    x, y = to_signed(x, half.bit_length()), to_signed(y, half.bit_length())
    if kind is OpKind.SMOD:
        rest = abs(x) % abs(y)
        return (rest if x >= 0 else -rest,)
    quotient = abs(x) // abs(y)
    return (quotient if (x < 0) == (y < 0) else -quotient,)


def _factors(half: int) -> Promise:
    """The words of bounds that times a factor, on either side, give one in other bounds."""
    last = half + half - 1

    def relates(args: tuple[Any, ...], result: Any, fact: Any) -> Any:
        x, factor, products, _ = args
        known = inside(products, fact.result, half)
        return both(*(
            implies(both(known, inside(x, word, half), other == factor), inside(result, word, half))
            for word, other in ((fact.first, fact.second), (fact.second, fact.first))
        ))  # fmt: skip

    return Promise(
        "factors",
        halves._factors,
        half.bit_length(),
        last,
        lambda draw: (arbitrary_bounds(draw, half, "x."), draw("factor", 0, last), arbitrary_bounds(draw, half), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: both(not_empty(args[0], half), not_empty(args[2], half)),
        lambda args, result: canonical(result, half),
        matches=at(half),
        same=(0,),
        rests_on=basics(half),
        integers=lambda args, seen: (seen.second,) if isinstance(seen, Fact) else (),
        kinds=(OpKind.MUL,),
        relates=relates,
    )


def _dividends(half: int) -> Promise:
    """The words that divided by some other than 0 give one in bounds."""
    last = half + half - 1

    def relates(args: tuple[Any, ...], result: Any, fact: Any) -> Any:
        divisor, quotients, _ = args
        known = both(inside(quotients, fact.result, half), fact.second == divisor)
        return implies(known, inside(result, fact.first, half))

    return Promise(
        "dividends",
        halves._dividends,
        half.bit_length(),
        last,
        lambda draw: (draw("divisor", 1, last), arbitrary_bounds(draw, half), half),
        lambda draw, args: arbitrary_bounds(draw, half),
        lambda args: not_empty(args[1], half),
        lambda args, result: canonical(result, half),
        matches=at(half),
        rests_on=basics(half),
        kinds=(OpKind.UDIV,),
        relates=relates,
    )


@cache
def bounds_promises(width: int) -> tuple[Promise, ...]:
    """What the functions on bounds of ``width`` bits promise, but for shifts and searches."""
    half = 1 << (width - 1)
    return (
        *basics(half),
        _least_xor(half),
        *(_pieces(kind, half) for kind in _PIECES),
        *(_operation(OpKind(kind), half) for kind in halves._BINARY),
        *(_factors(half), _dividends(half)),
    )
