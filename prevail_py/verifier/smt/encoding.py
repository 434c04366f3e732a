"""From histories to Z3: what a symbol is, and under which condition a state is reached.

A symbol becomes a 64-bit vector.  What was computed is put in the place of its symbol, in the reading of the one
semantics that :mod:`~prevail_py.verifier.smt.algebra` gives; what was loaded, returned or is known of a start only is a
constant of its own.  Where ways join, an unknown truth value says which one was taken, and decides what a symbol is and
what must hold: the formula grows with the program, not with the number of paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

import z3

from prevail_py.domains.equalities import Equalities
from prevail_py.domains.facts_product import FactsProduct
from prevail_py.domains.lattice import NO_SYMBOL, Facts, Symbol, Term
from prevail_py.verifier.smt.algebra import Predicate, Word, Z3Algebra
from prevail_py.verifier.smt.history import (
    Assumed,
    Called,
    Chosen,
    Defined,
    Event,
    Join,
    Loaded,
    Start,
    Stored,
    ancestors,
)
from prevail_py.words import compare, evaluate, mask

__all__ = ["Encoder"]

_RELATED: Final = 48
"""Differences are asked for between so many symbols of a start at most: there are quadratically many."""


class Encoder:
    """Terms of one Z3 context for the events of histories; each event is encoded once.

    :meth:`reached` is the condition for an event, :meth:`term` what a term is after it.  Names of constants depend on
    the order of the calls alone, so that the same calls make the same queries.
    """

    def __init__(self, context: z3.Context | None = None, prefix: str = "") -> None:
        """``prefix`` begins the names of constants, to tell those of several encoders in one context apart."""
        self.context = z3.Context() if context is None else context
        self.prefix = prefix
        self.algebra = Z3Algebra(self.context)
        self._conditions: dict[int, Predicate] = {}
        self._symbols: dict[tuple[int, Symbol], Word] = {}
        self._names = 0
        self.choices: dict[int, Predicate] = {}
        """For each join, by the number of its event: true where its left way was taken."""

    def reached(self, event: Event) -> Predicate:
        """What must hold for the symbols that lead to ``event``."""
        if event.number not in self._conditions:
            for each in ancestors([event]):
                if each.number not in self._conditions:
                    self._conditions[each.number] = self._encode(each)
        return self._conditions[event.number]

    def term(self, event: Event, term: Term) -> Word:
        """What a term of a state with this history is: a vector of 64 bits."""
        symbol, offset = term
        if symbol == NO_SYMBOL:
            return self.algebra.const(offset, 64)
        value = self._symbol(event, symbol)
        return self.algebra.add(value, self.algebra.const(offset, 64), 64) if offset else value

    def const(self, value: int, width: int = 64) -> Word:
        return self.algebra.const(value & mask(width), width)

    def true(self) -> Predicate:
        return z3.BoolVal(True, self.context)

    def false(self) -> Predicate:
        return z3.BoolVal(False, self.context)

    def all(self, conditions: Iterable[Predicate]) -> Predicate:
        """Their conjunction."""
        found = list(conditions)
        return z3.And(found) if found else self.true()

    def any(self, conditions: Iterable[Predicate]) -> Predicate:
        """Their disjunction."""
        found = list(conditions)
        return z3.Or(found) if found else self.false()

    # Events -------------------------------------------------------------------------------------------------------

    def _fresh(self, name: str) -> str:
        self._names += 1
        return f"{self.prefix}{name}.{self._names}"

    def _symbol(self, event: Event, symbol: Symbol) -> Word:
        """What a symbol stands for after an event: looked up backwards."""
        self.reached(event)
        passed = []
        while (event.number, symbol) not in self._symbols:
            passed.append(event.number)
            match event:
                case Start() | Join():
                    # Nothing is recorded of it: it was loaded before any fact was known, or it is unknown by now.
                    self._symbols[event.number, symbol] = z3.BitVec(self._fresh(f"s{symbol}"), 64, self.context)
                case _:
                    event = event.before
        found = self._symbols[event.number, symbol]
        for number in passed[::16]:
            self._symbols[number, symbol] = found
        return found

    def _encode(self, event: Event) -> Predicate:
        match event:
            case Start(known):
                return self.all(self._known(event, known))
            case Defined(before, symbol, op, args):
                words = tuple(self.term(before, arg) for arg in args)
                self._symbols[event.number, symbol] = evaluate(self.algebra, op, words)
                return self._conditions[before.number]
            case Chosen(before, symbol, lo, hi):
                word = z3.BitVec(self._fresh(f"s{symbol}"), 64, self.context)
                self._symbols[event.number, symbol] = word
                condition = self._conditions[before.number]
                if hi - lo >= mask(64):
                    return condition
                return z3.And(condition, z3.ULE(word - self.const(lo), self.const(hi - lo)))
            case Assumed(before, comparison, left, right, width):
                held = compare(self.algebra, comparison, self.term(before, left), self.term(before, right), width)
                return z3.And(self._conditions[before.number], held)
            case Join():
                return self._join(event)
            case Loaded(before) | Stored(before) | Called(before):
                return self._conditions[before.number]
            case _:
                assert_never(event)

    def _join(self, event: Join) -> Predicate:
        left, right = event.left, event.right
        choice = self.choices[event.number] = z3.Bool(self._fresh("way"), self.context)
        for symbol, mine, theirs in event.phis:
            one, other = self.term(left, mine), self.term(right, theirs)
            self._symbols[event.number, symbol] = one if one.eq(other) else z3.If(choice, one, other)
        one_way, other_way = self._conditions[left.number], self._conditions[right.number]
        return one_way if one_way.eq(other_way) else z3.If(choice, one_way, other_way)

    # What is known ------------------------------------------------------------------------------------------------

    def facts(self, event: Event, known: Facts) -> Predicate:
        """What facts say of the symbols after an event.

        Where they are the facts of a state with this history, all of it follows from :meth:`reached` as far as the
        domains are right, and saves the solver the trouble of finding it out.
        """
        return self.all(self._known(event, known))

    def _known(self, event: Event, known: Facts) -> Iterable[Predicate]:
        if known.is_bottom():
            yield self.false()
            return
        symbols = sorted(known.symbols())
        for symbol in symbols:
            yield from self._range(event, known, symbol)
            definition = known.definition(symbol)
            if definition is not None:
                op, args = definition
                computed = evaluate(self.algebra, op, tuple(self._operand(event, arg) for arg in args))
                yield self._operand(event, Term(symbol, 0)) == computed
        yield from self._differences(event, known, symbols[:_RELATED])
        for member in known.members if isinstance(known, FactsProduct) else (known,):
            if isinstance(member, Equalities):
                yield from self._equations(event, member)

    def _operand(self, event: Event, term: Term) -> Word:
        """Like :meth:`term`, for an event that is being encoded."""
        if term.symbol == NO_SYMBOL:
            return self.algebra.const(term.offset, 64)
        if isinstance(event, Start):
            key = event.number, term.symbol
            if key not in self._symbols:
                self._symbols[key] = z3.BitVec(self._fresh(f"s{term.symbol}"), 64, self.context)
            value = self._symbols[key]
            return value + self.const(term.offset) if term.offset else value
        return self.term(event, term)

    def _range(self, event: Event, known: Facts, symbol: Symbol) -> Iterable[Predicate]:
        term = Term(symbol, 0)
        word = self._operand(event, term)
        for width in (64, 32):
            low = self.algebra.truncate(word, 64, width)
            lo, hi = known.range(term, width)
            if lo > 0:
                yield z3.UGE(low, self.const(lo, width))
            if hi < mask(width):
                yield z3.ULE(low, self.const(hi, width))
            least, most = known.range(term, width, signed=True)
            if least > -(1 << (width - 1)) and least != lo:
                yield low >= self.const(least, width)
            if most < (1 << (width - 1)) - 1 and most != hi:
                yield low <= self.const(most, width)

    def _differences(self, event: Event, known: Facts, symbols: list[Symbol]) -> Iterable[Predicate]:
        ranges = {symbol: known.range(Term(symbol, 0), signed=True) for symbol in symbols}
        for place, one in enumerate(symbols):
            for other in symbols[:place]:
                lo, hi = known.difference(Term(one, 0), Term(other, 0))
                above = lo > ranges[one].lo - ranges[other].hi
                below = hi < ranges[one].hi - ranges[other].lo
                if above or below:
                    # Between integers, which the difference of words is not: 66 bits hold it.
                    left, right = self._operand(event, Term(one, 0)), self._operand(event, Term(other, 0))
                    difference = z3.SignExt(2, left) - z3.SignExt(2, right)
                    if above:
                        yield difference >= z3.BitVecVal(lo, 66, self.context)
                    if below:
                        yield difference <= z3.BitVecVal(hi, 66, self.context)

    def _equations(self, event: Event, known: Equalities) -> Iterable[Predicate]:
        for parts, constant in known.equations:
            total = self.const(constant)
            for symbol, factor in parts:
                total = total + self.const(factor) * self._operand(event, Term(symbol, 0))
            yield total == self.const(0)
