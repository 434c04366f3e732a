"""What there is to prove of zones: each rule that derives differences, on three symbols.

A state has a range for each of the symbols x, y and z, and one difference bound ``x - y <= c``; words for the symbols
are among those that it allows.  Terms are symbols plus any offset, so sums may wrap.  The claim is always that the
state which the shipped method returns allows the same words (and the new one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from prevail_py.domains.lattice import Phi, Range, Term
from prevail_py.domains.zones import Zones
from prevail_py.verifier.proofs.obligations import Claim, Obligation, Setting
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["ZoneRules", "zone_obligations"]

X, Y, Z, NEW = 1, 2, 3, 4
_WORDS: Final = {X: "x", Y: "y", Z: "z"}
_MIN, _MAX, _LAST = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1


class ZoneRules:
    """The domain of these obligations: zones have one width."""

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32


def _state(s: Setting, name: str = "a", symbols: tuple[int, ...] = (X, Y)) -> Any:
    """A state with a range for each symbol and a bound on the difference of the first two."""
    ranges = {
        symbol: Range(s.number(f"of.{name}.{symbol}.lo", _MIN, _MAX), s.number(f"of.{name}.{symbol}.hi", _MIN, _MAX))
        for symbol in symbols
    }
    return Zones({(X, Y): s.number(f"of.{name}.c", _MIN - _MAX, _MAX - _MIN)}, ranges)


def _valuation(s: Setting, symbols: tuple[int, ...] = (X, Y)) -> dict[int, Any]:
    return {symbol: s.word(_WORDS[symbol]) for symbol in symbols}


def _term(s: Setting, symbol: int) -> Term:
    return Term(symbol, s.number(f"of.offset {symbol}", 0, _LAST))


def _value(s: Setting, symbol: int) -> Any:
    return s.evaluate(WordOp(OpKind.ADD), s.word(_WORDS[symbol]), s.number(f"of.offset {symbol}", 0, _LAST))


def _allowed(s: Setting) -> Any:
    return s.contains(_state(s), _valuation(s))


def zone_obligations() -> Iterator[Obligation]:
    """Every rule."""
    for kind in (OpKind.ADD, OpKind.SUB):
        # Four bounds are added in turn: merged, each would have to do with terms of all paths before it.
        yield Obligation(f"define {kind.value}", 64, _allowed, _defined(kind), apart=True)
    for comparison in Comparison:
        if comparison not in (Comparison.SET, Comparison.NOT_SET):
            yield Obligation(f"assume {comparison.value}", 64, _compared(comparison), _assumed(comparison))
    yield Obligation("difference", 64, _allowed, _difference)
    yield Obligation("range", 64, _allowed, _range)
    yield Obligation("refine", 64, _refinable, _refined)
    yield Obligation("forget", 64, _chained, _forgotten)
    for name in ("join", "widen"):
        yield Obligation(name, 64, _either, _merged(name))
    yield Obligation("leq", 64, _allowed, _leq)


def _defined(kind: OpKind) -> Callable[[Setting], list[Claim]]:
    op = WordOp(kind)

    def claims(s: Setting) -> list[Claim]:
        result = _state(s).define(NEW, op, (_term(s, X), _term(s, Y)))
        value = s.evaluate(op, _value(s, X), _value(s, Y))
        return [Claim("the words are lost", s.contains(result, {**_valuation(s), NEW: value}))]

    return claims


def _compared(comparison: Comparison) -> Callable[[Setting], Any]:
    return lambda s: s.all(_allowed(s), s.compare(comparison, _value(s, X), _value(s, Y), 64))


def _assumed(comparison: Comparison) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        result = _state(s).assume(comparison, _term(s, X), _term(s, Y))
        return [Claim("the words are lost", s.contains(result, _valuation(s)))]

    return claims


def _difference(s: Setting) -> list[Claim]:
    lo, hi = _state(s).difference(_term(s, X), _term(s, Y))
    between = s.read(_value(s, X), 64, True) - s.read(_value(s, Y), 64, True)
    return [Claim("the difference is below", lo <= between), Claim("the difference is above", between <= hi)]


def _range(s: Setting) -> list[Claim]:
    found = []
    for signed in (False, True):
        lo, hi = _state(s).range(_term(s, X), 64, signed)
        seen = s.read(_value(s, X), 64, signed)
        found += [Claim("the word is below", lo <= seen), Claim("the word is above", seen <= hi)]
    return found


def _refinable(s: Setting) -> Any:
    lo, hi = s.number("of.lo", 0, _LAST), s.number("of.hi", 0, _LAST)
    return s.all(_allowed(s), lo <= s.word("x"), s.word("x") <= hi)


def _refined(s: Setting) -> list[Claim]:
    result = _state(s).refine(X, s.number("of.lo", 0, _LAST), s.number("of.hi", 0, _LAST))
    return [Claim("the words are lost", s.contains(result, _valuation(s)))]


def _chain(s: Setting) -> Any:
    """x - y and y - z are bounded."""
    edges = {(X, Y): s.number("of.c", _MIN - _MAX, _MAX - _MIN), (Y, Z): s.number("of.d", _MIN - _MAX, _MAX - _MIN)}
    return Zones(edges, {})


def _chained(s: Setting) -> Any:
    return s.contains(_chain(s), _valuation(s, (X, Y, Z)))


def _forgotten(s: Setting) -> list[Claim]:
    result = _chain(s).forget((Y,))
    return [Claim("the words are lost", s.contains(result, _valuation(s, (X, Z))))]


def _either(s: Setting) -> Any:
    words = _valuation(s)
    return s.any(s.contains(_state(s), words), s.contains(_state(s, "b"), words))


def _merged(name: str) -> Callable[[Setting], list[Claim]]:
    phis = [Phi(symbol, Term(symbol, 0), Term(symbol, 0)) for symbol in (X, Y)]

    def claims(s: Setting) -> list[Claim]:
        a, b = _state(s), _state(s, "b")
        result = a.join(b, phis) if name == "join" else a.widen(b, phis)
        return [Claim("the words are lost", s.contains(result, _valuation(s)))]

    return claims


def _leq(s: Setting) -> list[Claim]:
    a, b = _state(s), _state(s, "b")
    below = a.leq(b, {})
    return [Claim("a.leq(b), but b lacks the words", s.any(s.negation(below), s.contains(b, _valuation(s))))]
