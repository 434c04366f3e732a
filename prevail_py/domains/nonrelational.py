"""Facts about each symbol on its own: any :class:`~prevail_py.domains.lattice.Word` lifted to Facts.

Besides one word per symbol this keeps how a symbol was computed (``y = op(x)``).  A symbol is bound once, so the
definition stays true for ever, and what is later learnt about ``y`` narrows ``x`` through the word's ``backward``.
Symbols without an entry are top; only symbols that are known to be something are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, Self, TypeVar

from prevail_py.domains.lattice import (
    NO_SYMBOL,
    Definition,
    Phi,
    Range,
    Symbol,
    Term,
    Word,
    matched,
    renamed_definition,
)
from prevail_py.domains.statements import Defined, Statement, of_word
from prevail_py.words import INT, Comparison, OpKind, WordOp, evaluate

__all__ = ["NonRelational", "computes", "is_computed"]

W = TypeVar("W", bound=Word)

_ADD = WordOp(OpKind.ADD)
_MASK = (1 << 64) - 1
_BACKWARD_DEPTH = 4
"""How many definitions a refinement is pushed through: real chains (load, mask, shift, compare) are shorter."""


class NonRelational(Generic[W]):
    """A map from symbols to words of the class ``word``; never changed once it is handed out."""

    __slots__ = ("_bottom", "_definitions", "_word", "_words")

    def __init__(
        self,
        word: type[W],
        words: dict[Symbol, W] | None = None,
        definitions: dict[Symbol, Definition] | None = None,
        bottom: bool = False,
    ) -> None:
        self._word = word
        self._words: dict[Symbol, W] = {} if words is None else words
        self._definitions: dict[Symbol, Definition] = {} if definitions is None else definitions
        self._bottom = bottom

    @classmethod
    def top(cls, word: type[W]) -> Self:
        """Nothing known, with ``word`` as the abstraction of single words."""
        return cls(word)

    def _with(self, words: dict[Symbol, W], definitions: dict[Symbol, Definition] | None = None) -> Self:
        return type(self)(self._word, words, self._definitions if definitions is None else definitions)

    def _contradiction(self) -> Self:
        return type(self)(self._word, bottom=True)

    def __repr__(self) -> str:
        return "bottom" if self._bottom else f"NonRelational({self._words!r})"

    def is_bottom(self) -> bool:
        return self._bottom

    def word_of(self, term: Term) -> W:
        """The abstract word of a term."""
        symbol, offset = term
        if symbol == NO_SYMBOL:
            return self._word.constant(offset)
        word = self._words.get(symbol)
        if word is None:
            return self._word.top()
        return word.apply(_ADD, self._word.constant(offset)) if offset else word

    def define(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Self:
        if self._bottom:
            return self
        operands = [self.word_of(term) for term in args]
        result = operands[0].apply(op, *operands[1:])
        if result.is_bottom():
            return self._contradiction()
        words = dict(self._words)
        if not result.is_top():
            words[symbol] = result
        definitions = dict(self._definitions)
        definitions[symbol] = (op, args)
        return self._with(words, definitions)

    def define_between(self, symbol: Symbol, lo: int, hi: int) -> Self:
        if self._bottom:
            return self
        words = dict(self._words)
        words[symbol] = self._between(lo, hi, signed=lo < 0)
        return self._with(words)

    def _between(self, lo: int, hi: int, signed: bool) -> W:
        if not signed:
            return self._word.between(lo, hi)
        if hi >> 63 > 0:
            return self._word.top()  # neither reading is a range: it lies around both ends
        bound = self._word.constant
        word, _ = self._word.top().restrict(Comparison.SGE, bound(lo & 0xFFFFFFFFFFFFFFFF))
        word, _ = word.restrict(Comparison.SLE, bound(hi & 0xFFFFFFFFFFFFFFFF))
        return word

    def assume(self, comparison: Comparison, a: Term, b: Term, width: int = 64) -> Self:
        if self._bottom:
            return self
        if a == b:
            return self if comparison in _REFLEXIVE else self._contradiction() if comparison in _IRREFLEXIVE else self
        left, right = self.word_of(a), self.word_of(b)
        new_left, new_right = left.restrict(comparison, right, width)
        if new_left.is_bottom() or new_right.is_bottom():
            return self._contradiction()
        words = dict(self._words)
        if self._learn(words, a, new_left, _BACKWARD_DEPTH) and self._learn(words, b, new_right, _BACKWARD_DEPTH):
            return self._with(words)
        return self._contradiction()

    def _learn(self, words: dict[Symbol, W], term: Term, word: W, depth: int) -> bool:
        """Meet ``term`` with ``word`` in ``words`` and follow definitions backwards; False on contradiction."""
        symbol, offset = term
        if symbol == NO_SYMBOL:
            return word.contains(offset)
        if offset:
            word = word.apply(_ADD, self._word.constant(-offset & 0xFFFFFFFFFFFFFFFF))
        old = words.get(symbol)
        if old is None:
            if word.is_top():
                return True
        else:
            word = old.meet(word)
            if word.is_bottom():
                return False
            if word == old:
                return True
        words[symbol] = word
        definition = self._definitions.get(symbol) if depth else None
        if definition is None:
            return True
        op, args = definition
        operands = [self._current(words, arg) for arg in args]
        narrowed = operands[0].backward(op, word, *operands[1:])
        return all(
            not new.is_bottom() and (new == old_word or self._learn(words, arg, new, depth - 1))
            for arg, old_word, new in zip(args, operands, narrowed, strict=True)
        )

    def _current(self, words: dict[Symbol, W], term: Term) -> W:
        return self._with(words).word_of(term)

    def forget(self, dead: Iterable[Symbol]) -> Self:
        if self._bottom:
            return self
        words, definitions = dict(self._words), dict(self._definitions)
        for symbol in dead:
            words.pop(symbol, None)
            definitions.pop(symbol, None)
        return self._with(words, definitions)

    def range(self, term: Term, width: int = 64, signed: bool = False) -> Range:
        if self._bottom:
            return Range(1, 0)
        symbol, offset = term
        if offset and symbol != NO_SYMBOL and width == 64:
            word = self._words.get(symbol)
            if word is not None:
                # The common case, without making a word: the sum wraps for no value, or for all of them.
                lo, hi = word.bounds(64, signed)
                limit = (1 << 63) if signed else (1 << 64)
                for shift in (offset, offset - (1 << 64)):
                    if lo + shift >= limit - (1 << 64) and hi + shift < limit:
                        return Range(lo + shift, hi + shift)
        return self.word_of(term).bounds(width, signed)

    def difference(self, a: Term, b: Term) -> Range:
        left, right = self.range(a, signed=True), self.range(b, signed=True)
        if left.lo > left.hi or right.lo > right.hi:
            return Range(1, 0)
        return Range(left.lo - right.hi, left.hi - right.lo)

    def refine(self, symbol: Symbol, lo: int, hi: int, signed: bool = False) -> Self:
        if self._bottom:
            return self
        if lo > hi:
            return self._contradiction()
        words = dict(self._words)
        if self._learn(words, Term(symbol, 0), self._between(lo, hi, signed), _BACKWARD_DEPTH):
            return self._with(words)
        return self._contradiction()

    def renamed(self, names: Mapping[Symbol, Symbol]) -> Self:
        """The same of other symbols."""
        return type(self)(
            self._word,
            {names.get(symbol, symbol): word for symbol, word in self._words.items()},
            {
                names.get(symbol, symbol): renamed_definition(known, names)
                for symbol, known in self._definitions.items()
            },
            self._bottom,
        )

    def meet(self, other: Self) -> Self:
        """What both know together."""
        if self._bottom or other._bottom:
            return self if self._bottom else other
        words = dict(self._words)
        for symbol, theirs in other._words.items():
            mine = words.get(symbol)
            word = words[symbol] = theirs if mine is None else mine.meet(theirs)
            if word.is_bottom():
                return self._contradiction()
        return self._with(words, {**self._definitions, **other._definitions})

    def _merge(self, other: Self, phis: Sequence[Phi], combine: Callable[[W, W], W]) -> Self:
        words: dict[Symbol, W] = {}
        definitions: dict[Symbol, Definition] = {}
        same = {phi.symbol for phi in phis if phi.left == phi.right == Term(phi.symbol, 0)}
        for phi in phis:
            word = combine(self.word_of(phi.left), other.word_of(phi.right))
            if not word.is_top():
                words[phi.symbol] = word
            if phi.symbol in same:
                definition = self._definitions.get(phi.symbol)
                # An operand that is not the same symbol in the result would name another value there.
                if (
                    definition is not None
                    and definition == other._definitions.get(phi.symbol)
                    and all(term.symbol == NO_SYMBOL or term.symbol in same for term in definition[1])
                ):
                    definitions[phi.symbol] = definition
        return self._with(words, definitions)

    def _only(self, phis: Sequence[Phi], right: bool) -> Self:
        """This state alone, renamed: the join with bottom."""
        words: dict[Symbol, W] = {}
        for phi in phis:
            word = self.word_of(phi.right if right else phi.left)
            if not word.is_top():
                words[phi.symbol] = word
        return self._with(words, {})

    def join(self, other: Self, phis: Sequence[Phi]) -> Self:
        if self._bottom or other._bottom:
            return self._join_with_bottom(other, phis)
        return self._merge(other, phis, lambda left, right: left.join(right))

    def _join_with_bottom(self, other: Self, phis: Sequence[Phi]) -> Self:
        if self._bottom and other._bottom:
            return self
        return other._only(phis, right=True) if self._bottom else self._only(phis, right=False)

    def widen(self, other: Self, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Self:
        if self._bottom or other._bottom:
            return self._join_with_bottom(other, phis)
        return self._merge(other, phis, lambda left, right: left.widen(left.join(right), thresholds))

    def leq(self, other: Self, match: Mapping[Symbol, Term]) -> bool:
        if self._bottom:
            return True
        if other._bottom:
            return False
        return all(
            self.word_of(match.get(symbol, Term(symbol, 0))).leq(word) for symbol, word in other._words.items()
        ) and all(
            is_computed(
                self._definitions, match.get(symbol, Term(symbol, 0)), op, [matched(term, match) for term in args]
            )
            for symbol, (op, args) in other._definitions.items()
        )

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        """Symbols missing from ``valuation`` are unconstrained, so only what is given is checked."""
        if self._bottom:
            return False
        return all(
            symbol not in valuation or word.contains(valuation[symbol]) for symbol, word in self._words.items()
        ) and all(
            symbol not in valuation or computes(valuation, symbol, op, args)
            for symbol, (op, args) in self._definitions.items()
        )

    def definition(self, symbol: Symbol) -> Definition | None:
        """How ``symbol`` was computed, where that is known to hold still."""
        return self._definitions.get(symbol)

    def symbols(self) -> frozenset[Symbol]:
        """The symbols about which anything is stored."""
        return frozenset(self._words) | frozenset(self._definitions)

    def statements(self) -> Iterator[Statement]:
        """All that is known."""
        for symbol, word in self._words.items():
            yield from of_word(symbol, word)
        for symbol, (op, args) in self._definitions.items():
            yield Defined(symbol, op, args)

    def describe(self, symbol: Symbol) -> str:
        """What is known of one symbol, for people."""
        word = self._words.get(symbol)
        return "any" if word is None else str(word)


def is_computed(definitions: Mapping[Symbol, Definition], result: Term, op: WordOp, args: list[Term]) -> bool:
    """Whether ``result`` is known to be ``op(*args)``, by its definition or because all are constants."""
    if result.symbol == NO_SYMBOL:
        return all(term.symbol == NO_SYMBOL for term in args) and (
            evaluate(INT, op, tuple(term.offset for term in args)) == result.offset
        )
    definition = definitions.get(result.symbol)
    return definition is not None and not result.offset and definition[0] == op and list(definition[1]) == args


def computes(valuation: Mapping[Symbol, int], symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> bool:
    """Whether the value of ``symbol`` is ``op(*args)``; True where an operand is not given."""
    words = [0 if symbol == NO_SYMBOL else valuation.get(symbol) for symbol, _ in args]
    if None in words:
        return True
    operands = tuple((word or 0) + offset & _MASK for word, (_, offset) in zip(words, args, strict=True))
    return evaluate(INT, op, operands) == valuation[symbol]


_REFLEXIVE = frozenset({Comparison.EQ, Comparison.ULE, Comparison.UGE, Comparison.SLE, Comparison.SGE})
_IRREFLEXIVE = frozenset({Comparison.NE, Comparison.ULT, Comparison.UGT, Comparison.SLT, Comparison.SGT})
