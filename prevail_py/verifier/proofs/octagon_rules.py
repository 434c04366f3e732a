"""What there is to prove of octagons: each rule that derives bounds of sums, on up to three symbols.

A state has a range for each of the symbols x and y, and one bound ``x + y <= c``; that these are closed is not
supposed, since no rule needs it to be sound.  How bounds are closed has obligations of its own, with three sums of
three symbols.  Terms are symbols plus any offset, so sums may wrap.  The claim is always that the state which the
shipped method returns allows the same words (and the new one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from prevail_py.domains.integer_relations import MIN
from prevail_py.domains.lattice import Phi, Term, constant
from prevail_py.domains.octagon_closure import Octagon
from prevail_py.domains.octagons import Octagons
from prevail_py.verifier.proofs.obligations import Claim, Obligation, Setting
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["OctagonRules", "octagon_obligations"]

X, Y, Z, NEW = 1, 2, 3, 4
_WORDS: Final = {X: "x", Y: "y", Z: "z"}
_LAST: Final = (1 << 64) - 1
_LEAST, _MOST = 2 * MIN, -2 * MIN


class OctagonRules:
    """The domain of these obligations: octagons have one width."""

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32


def _sums(bounds: dict[tuple[int, int], Any]) -> dict[int, dict[int, Any]]:
    sums: dict[int, dict[int, Any]] = {}
    for (a, b), c in bounds.items():
        sums.setdefault(a, {})[b] = c
        sums.setdefault(b, {})[a] = c
    return sums


def _state(
    s: Setting, name: str = "a", pair: tuple[int, int] = (X, Y), literals: tuple[int, ...] = (X, -X, Y, -Y)
) -> Any:
    """Bounds of these literals, and one of the sum of two."""
    highs = {a: s.number(f"of.{name}.{a}", MIN, -MIN) for a in literals}
    return Octagons(Octagon(highs, _sums({pair: s.number(f"of.{name}.c", _LEAST, _MOST)})))


def _valuation(s: Setting, symbols: tuple[int, ...] = (X, Y)) -> dict[int, Any]:
    return {symbol: s.word(_WORDS[symbol]) for symbol in symbols}


def _term(s: Setting, symbol: int) -> Term:
    return Term(symbol, s.number(f"of.offset {symbol}", 0, _LAST))


def _value(s: Setting, symbol: int) -> Any:
    return s.evaluate(WordOp(OpKind.ADD), s.word(_WORDS[symbol]), s.number(f"of.offset {symbol}", 0, _LAST))


def _allowed(s: Setting) -> Any:
    return s.contains(_state(s), _valuation(s))


def octagon_obligations() -> Iterator[Obligation]:
    """Every rule."""
    for name, sign in (("to a half", 1), ("to a cycle", -1)):
        yield Obligation(f"close {name}", 64, _allowed_by_three(sign), _closed(sign))
    for kind in (OpKind.ADD, OpKind.SUB, OpKind.NEG):
        yield Obligation(f"define {kind.value}", 64, _allowed, _defined(kind))
    yield Obligation("define inversion", 64, _allowed, _inverted)
    for comparison in Comparison:
        if comparison not in (Comparison.SET, Comparison.NOT_SET):
            yield Obligation(f"assume {comparison.value}", 64, _compared(comparison), _assumed(comparison))
    yield Obligation("difference", 64, _allowed, _difference)
    yield Obligation("range", 64, _allowed, _range)
    yield Obligation("refine", 64, _refinable, _refined)
    yield Obligation("forget", 64, _allowed_by_three(1), _forgotten)
    for name in ("join", "widen"):
        yield Obligation(name, 64, _either, _merged(name))
    yield Obligation("leq", 64, _allowed, _leq)


def _three(s: Setting, sign: int) -> Any:
    """``x + y``, ``z - y`` and ``±x - z`` are bounded: so is ``x + x``, or 0 by what these add up to."""
    bounds = {(X, Y): "c", (-Y, Z): "d", (sign * X, -Z): "e"}
    numbers = {pair: s.number(f"of.{name}", _LEAST, _MOST) for pair, name in bounds.items()}
    return Octagons(Octagon.raw({}, _sums(numbers)))


def _allowed_by_three(sign: int) -> Callable[[Setting], Any]:
    return lambda s: s.contains(_three(s, sign), _valuation(s, (X, Y, Z)))


def _closed(sign: int) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        result = Octagons(_three(s, sign)._octagon.closed())
        return [Claim("the words are lost", s.contains(result, _valuation(s, (X, Y, Z))))]

    return claims


def _forgotten(s: Setting) -> list[Claim]:
    result = _three(s, 1).forget((Y,))
    return [Claim("the words are lost", s.contains(result, _valuation(s, (X, Z))))]


def _defined(kind: OpKind) -> Callable[[Setting], list[Claim]]:
    op = WordOp(kind)

    def claims(s: Setting) -> list[Claim]:
        symbols = (X, Y)[: kind.arity]
        result = _state(s).define(NEW, op, tuple(_term(s, symbol) for symbol in symbols))
        value = s.evaluate(op, *(_value(s, symbol) for symbol in symbols))
        return [Claim("the words are lost", s.contains(result, {**_valuation(s), NEW: value}))]

    return claims


def _inverted(s: Setting) -> list[Claim]:
    op = WordOp(OpKind.XOR)
    result = _state(s).define(NEW, op, (_term(s, X), constant(-1)))
    inverse = s.evaluate(WordOp(OpKind.SUB), _LAST, _value(s, X))  # all ones less the word: no digit is borrowed from
    return [Claim("the words are lost", s.contains(result, {**_valuation(s), NEW: inverse}))]


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


def _sides(s: Setting) -> tuple[Any, Any]:
    """Two states that bound x and y from above only, and a sum each: lower bounds merge alike."""
    return _state(s, "a", (X, Y), (X, Y)), _state(s, "b", (X, -Y), (X, Y))


def _either(s: Setting) -> Any:
    words = _valuation(s)
    return s.any(*(s.contains(side, words) for side in _sides(s)))


def _merged(name: str) -> Callable[[Setting], list[Claim]]:
    phis = [Phi(symbol, Term(symbol, 0), Term(symbol, 0)) for symbol in (X, Y)]

    def claims(s: Setting) -> list[Claim]:
        a, b = _sides(s)
        result = a.join(b, phis) if name == "join" else a.widen(b, phis)
        return [Claim("the words are lost", s.contains(result, _valuation(s)))]

    return claims


def _leq(s: Setting) -> list[Claim]:
    a, b = _state(s), _state(s, "b")
    below = a.leq(b, {})
    return [Claim("a.leq(b), but b lacks the words", s.any(s.negation(below), s.contains(b, _valuation(s))))]
