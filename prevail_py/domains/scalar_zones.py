"""The verifier's default facts in one record: a :class:`~prevail_py.domains.scalar.Scalar` per symbol, and zones.

This is the reduced product of ``NonRelational[Scalar]`` and :class:`~prevail_py.domains.zones.Zones` with the one
thing that both know of a symbol, its signed range, kept once, in its word.  So there is nothing to exchange: what a
comparison or a relation teaches of a word is at once known to both, backward operators included.  Nothing else is new;
the texts of the two modules say why each step is sound, and a test holds this record against their product.

**Representation.**

- ``_words`` has the word of each symbol that is not top; a word in it is neither top nor bottom.
- ``_upper[u][v] = c`` says ``u - v <= c`` between signed readings, ``u != v``, neither of them the constant zero;
  ``_lower[v][u]`` is the same bound seen from the other end.  No inner dictionary is empty, and a bound is stored only
  where the ranges do not imply it when it is learnt.
- ``_subtractions[z] = (x, y, c)``: ``z = x - y + c`` was computed without wrapping.
- ``_definitions`` has how a symbol was computed, where that holds in this state.
- **Bottom** is ``_bottom`` set, with nothing else in it.

A record is never changed once handed out.  Every operation works on a :meth:`_draft`, of which it owns the dictionary
of words (and, from the first change on, the others), and puts what it changed on a list for :meth:`_settle`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Self, TypeAlias

from prevail_py.domains.lattice import NO_SYMBOL, Definition, Phi, Range, Symbol, Term, matched, renamed_definition
from prevail_py.domains.nonrelational import computes, is_computed
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.scalar_words import compared_with, constant_word, integer_within, signed_between
from prevail_py.domains.statements import Defined, Difference, Statement, Subtraction, of_word
from prevail_py.words import Comparison, OpKind, WordOp, to_signed

__all__ = ["ScalarZones"]

_MIN: Final = -(1 << 63)
_MAX: Final = (1 << 63) - 1
_MASK: Final = (1 << 64) - 1
_SIZE: Final = 1 << 64
_ADD: Final = WordOp(OpKind.ADD)
_TOP: Final = Scalar.top()
_FULL: Final = Range(_MIN, _MAX)
_EMPTY: Final = Range(1, 0)
_ANY_DIFFERENCE: Final = Range(_MIN - _MAX, _MAX - _MIN)

_BACKWARD_DEPTH: Final = 4
"""How many definitions a refinement is pushed through: real chains (load, mask, shift, compare) are shorter."""

_tuple: Final = tuple.__new__  # in a third of the time that Range takes

Related: TypeAlias = dict[Symbol, dict[Symbol, int]]
Bound: TypeAlias = tuple[Symbol, Symbol, int]


class ScalarZones:
    """What is known of all symbols; see the module's text."""

    __slots__ = ("_bottom", "_definitions", "_lower", "_subtractions", "_upper", "_words")

    def __init__(
        self,
        words: dict[Symbol, Scalar],
        definitions: dict[Symbol, Definition],
        upper: Related,
        lower: Related,
        subtractions: dict[Symbol, Bound],
        bottom: bool = False,
    ) -> None:
        """Private: see the module's text for what must hold of the arguments."""
        self._words = words
        self._definitions = definitions
        self._upper = upper
        self._lower = lower
        self._subtractions = subtractions
        self._bottom = bottom

    @classmethod
    def top(cls) -> Self:
        """Nothing known."""
        return cls({}, {}, {}, {}, {})

    @classmethod
    def bottom(cls) -> Self:
        """No state at all."""
        return cls({}, {}, {}, {}, {}, True)

    def __repr__(self) -> str:
        return "bottom" if self._bottom else f"ScalarZones({self._words!r}, {self._upper!r})"

    def is_bottom(self) -> bool:
        """Whether no valuation is allowed."""
        return self._bottom

    def _draft(self) -> Self:
        return type(self)(self._words.copy(), self._definitions, self._upper, self._lower, self._subtractions)

    # Queries -----------------------------------------------------------------------------------------------------

    def _word(self, term: Term) -> Scalar:
        symbol, offset = term
        if symbol == NO_SYMBOL:
            return constant_word(offset)
        word = self._words.get(symbol)
        if word is None:
            return _TOP
        return word.apply(_ADD, constant_word(offset)) if offset else word

    def _signed(self, symbol: Symbol) -> tuple[int, int]:
        """The range of a symbol, read as signed; of the constant zero, too."""
        if symbol == NO_SYMBOL:
            return 0, 0
        word = self._words.get(symbol)
        if word is None:
            return _FULL
        full = word.full
        return full[2], full[3]

    def _linear(self, term: Term) -> tuple[Symbol, int] | None:
        """``(symbol, c)`` with the signed value of the term exactly ``symbol + c``; None where the sum may wrap."""
        symbol, offset = term
        shift = offset if offset <= _MAX else offset - _SIZE
        if symbol == NO_SYMBOL or shift == 0:
            return symbol, shift
        lo, hi = self._signed(symbol)
        return (symbol, shift) if lo + shift >= _MIN and hi + shift <= _MAX else None

    def _is_related(self, symbol: Symbol) -> bool:
        return symbol in self._upper or symbol in self._lower

    def range(self, term: Term, width: int = 64, signed: bool = False) -> Range:
        """Bounds of the low ``width`` bits of a term, read as told."""
        if self._bottom:
            return _EMPTY
        symbol, offset = term
        if symbol == NO_SYMBOL:
            value = to_signed(offset, width) if signed else offset & ((1 << width) - 1)
            return _tuple(Range, (value, value))
        word = self._words.get(symbol, _TOP)
        full = word.full
        if self._upper and (full[2] == _MIN or full[3] == _MAX) and self._is_related(symbol):
            word = self._word_by_relations(symbol, word)
            full = word.full
        if offset:
            if width == 64:
                # The common case, without making a word: the sum wraps for no value, or for all of them.
                lo, hi = full[2:] if signed else full[:2]
                limit = 1 << 63 if signed else _SIZE
                for shift in (offset, offset - _SIZE):
                    if lo + shift >= limit - _SIZE and hi + shift < limit:
                        return _tuple(Range, (lo + shift, hi + shift))
            return word.apply(_ADD, constant_word(offset)).bounds(width, signed)
        if width == 64:
            return _tuple(Range, full[2:] if signed else full[:2])
        return word.bounds(width, signed)

    def _word_by_relations(self, symbol: Symbol, word: Scalar) -> Scalar:
        """``word`` cut down by the relations of its symbol.

        Ranges are passed on along the relations when either changes, so only a range without a bound, as widening
        leaves it, has anything to gain; what is found is never stored in a loop head, or it would undo the widening.
        """
        lo, hi = word.full[2:]
        for other, c in self._lower.get(symbol, {}).items():
            lo = max(lo, self._signed(other)[0] - c)
        hi = min(hi, self._bound(symbol, NO_SYMBOL))
        return word if (lo, hi) == word.full[2:] or lo > hi else word.meet(signed_between(lo, hi))

    def _bound(self, u: Symbol, v: Symbol) -> int:
        """The least known ``c`` with ``u - v <= c``, by shortest path through the relations and the ranges."""
        if u == v:
            return 0
        upper = self._upper
        edges = upper.get(u)
        if edges is None:
            return self._signed(u)[1] - self._signed(v)[0]
        if upper.keys().isdisjoint(edges):
            # The common case: no path is longer than one relation.
            high = self._signed(u)[1]
            for node, c in edges.items():
                most = c + self._signed(node)[1]
                if most < high:
                    high = most
            through = high - self._signed(v)[0]
            return min(edges.get(v, through), through)
        best: dict[Symbol, int] = {u: 0}
        queue = deque([u])
        # Every relaxation yields the length of a real path, so stopping early is sound; the cap guards against
        # negative cycles, which mean a contradiction that has not been noticed yet.
        fuel = 4 * len(upper) + 16
        while queue and fuel:
            fuel -= 1
            node = queue.popleft()
            here = best[node]
            for following, c in upper.get(node, _NOTHING).items():
                if following not in best or here + c < best[following]:
                    best[following] = here + c
                    queue.append(following)
        high = min([length + self._signed(node)[1] for node, length in best.items()])
        through = high - self._signed(v)[0]
        return min(best[v], through) if v in best else through

    def difference(self, a: Term, b: Term) -> Range:
        """Bounds of ``a - b`` as mathematical integers, both read as signed."""
        if self._bottom:
            return _EMPTY
        left, right = self.range(a, signed=True), self.range(b, signed=True)
        lo, hi = left.lo - right.hi, left.hi - right.lo
        if a.symbol == b.symbol or self._is_related(a.symbol) or self._is_related(b.symbol):
            known = self._difference(a, b)
            lo, hi = max(lo, known.lo), min(hi, known.hi)
        return _tuple(Range, (lo, hi))

    def _difference(self, a: Term, b: Term) -> Range:
        """Bounds of ``a - b`` that the relations give."""
        left, right = self._linear(a), self._linear(b)
        if left is None or right is None:
            return _ANY_DIFFERENCE
        shift = left[1] - right[1]
        return Range(shift - self._bound(right[0], left[0]), shift + self._bound(left[0], right[0]))

    # Learning ----------------------------------------------------------------------------------------------------

    def _learn(self, term: Term, word: Scalar, depth: int, changed: list[Symbol]) -> bool:
        """Meet ``term`` with ``word`` in a draft and follow definitions backwards; False on contradiction."""
        symbol, offset = term
        if symbol == NO_SYMBOL:
            return word.contains(offset)
        if offset:
            word = word.apply(_ADD, constant_word(-offset & _MASK))
        old = self._words.get(symbol)
        if old is None:
            if word.is_top():
                return True
        elif word is old:
            return True
        else:
            word = old.meet(word)
            if word.full[0] > word.full[1]:
                return False
            if word == old:
                return True
        self._words[symbol] = word
        changed.append(symbol)
        return not depth or symbol not in self._definitions or self._follow(symbol, word, depth, changed)

    def _follow(self, symbol: Symbol, word: Scalar, depth: int, changed: list[Symbol]) -> bool:
        """What the operands were, of which a symbol of the value ``word`` was computed; False on contradiction."""
        op, args = self._definitions[symbol]
        operands = [self._word(arg) for arg in args]
        narrowed = operands[0].backward(op, word, *operands[1:])
        for arg, before, after in zip(args, operands, narrowed, strict=True):
            if after is before:
                continue
            if after.full[0] > after.full[1] or not self._learn(arg, after, depth - 1, changed):
                return False
        return True

    def _settle(self, changed: list[Symbol]) -> bool:
        """Pass on what is known of changed symbols of a draft; False on contradiction."""
        if not (self._upper or self._subtractions):
            return True
        fuel = 16 + 4 * len(self._upper)
        while changed and fuel:
            fuel -= 1
            symbol = changed.pop()
            difference = self._subtractions.get(symbol)
            if difference is not None:
                x, y, c = difference
                lo, hi = self._signed(symbol)
                if not (self._relate(x, y, hi - c, changed) and self._relate(y, x, c - lo, changed)):
                    return False
            if not self._pass_on(symbol, changed):
                return False
        return True

    def _pass_on(self, symbol: Symbol, changed: list[Symbol]) -> bool:
        """Tighten the ranges of the neighbours of a symbol."""
        above, below = self._lower.get(symbol), self._upper.get(symbol)
        if above:
            most = self._signed(symbol)[1]
            for other, c in above.items():
                lo, hi = self._signed(other)
                if most + c < hi and (
                    most + c < lo
                    or not self._learn(Term(other, 0), signed_between(lo, most + c), _BACKWARD_DEPTH, changed)
                ):
                    return False
        if below:
            least = self._signed(symbol)[0]
            for other, c in below.items():
                lo, hi = self._signed(other)
                if least - c > lo and (
                    least - c > hi
                    or not self._learn(Term(other, 0), signed_between(least - c, hi), _BACKWARD_DEPTH, changed)
                ):
                    return False
        return True

    def _relate(self, u: Symbol, v: Symbol, c: int, changed: list[Symbol]) -> bool:
        """Add ``u - v <= c`` to a draft; False where that closes a negative cycle or leaves an empty range."""
        if u == v:
            return c >= 0
        if u == NO_SYMBOL:
            lo, hi = self._signed(v)
            if -c <= lo:
                return True
            return -c <= hi and self._learn(Term(v, 0), signed_between(-c, hi), _BACKWARD_DEPTH, changed)
        if v == NO_SYMBOL:
            lo, hi = self._signed(u)
            if c >= hi:
                return True
            return c >= lo and self._learn(Term(u, 0), signed_between(lo, c), _BACKWARD_DEPTH, changed)
        known = self._upper.get(u, _NOTHING).get(v)
        if known is not None and known <= c:
            return True
        if self._bound(v, u) + c < 0:
            return False
        if c >= self._bound(u, v):
            return True
        self._upper = {**self._upper, u: {**self._upper.get(u, _NOTHING), v: c}}
        self._lower = {**self._lower, v: {**self._lower.get(v, _NOTHING), u: c}}
        changed += (u, v)
        return True

    def define(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Self:
        """Bind a fresh symbol to ``op(*args)``."""
        if self._bottom:
            return self
        words = [self._word(term) for term in args]
        result = words[0].apply(op, *words[1:])
        if result.full[0] > result.full[1]:
            return self.bottom()
        draft = self._draft()
        if not result.is_top():
            draft._words[symbol] = result
        draft._definitions = {**self._definitions, symbol: (op, args)}
        changed: list[Symbol] = []
        related = all(draft._relate(*bound, changed) for bound in draft._relations(symbol, op, args))
        return draft if related and draft._settle(changed) else self.bottom()

    def _relations(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Sequence[Bound]:
        """How ``op(*args)``, just bound to ``symbol``, relates to its arguments; see :meth:`Zones.define`."""
        kind = op.kind
        if kind is OpKind.ADD or kind is OpKind.SUB:
            return self._sum(symbol, kind, args) if op.width == 64 else ()
        if kind not in _NOT_GREATER or args[0].symbol == NO_SYMBOL:
            return ()
        a = self._linear(args[0])
        if a is None or (kind is OpKind.ZEXT and op.width == 64):
            return ()
        first = self.range(args[0], signed=True)
        # Each gives at most its first argument where that is not negative, truncated or not.
        return ((NO_SYMBOL, symbol, 0), (symbol, NO_SYMBOL, first.hi), (symbol, a[0], a[1])) if first.lo >= 0 else ()

    def _sum(self, symbol: Symbol, kind: OpKind, args: tuple[Term, ...]) -> Sequence[Bound]:
        a, b = self._linear(args[0]), self._linear(args[1])
        if a is None or b is None:
            return ()
        first, second = self.range(args[0], signed=True), self.range(args[1], signed=True)
        if kind is OpKind.SUB:
            lo, hi = first.lo - second.hi, first.hi - second.lo
            exact = self._difference(*args)
            if lo < _MIN or hi > _MAX:
                lo, hi = exact  # a path may bound the difference where the ranges do not
            lo, hi = max(lo, exact.lo), min(hi, exact.hi)
        else:
            lo, hi = first.lo + second.lo, first.hi + second.hi
        if lo < _MIN or hi > _MAX:
            return ()  # it may wrap
        relations: list[Bound] = [(symbol, NO_SYMBOL, hi), (NO_SYMBOL, symbol, -lo)]
        if a[0] != NO_SYMBOL:
            low, high = (second.lo, second.hi) if kind is OpKind.ADD else (-second.hi, -second.lo)
            relations += [(symbol, a[0], high + a[1]), (a[0], symbol, -(low + a[1]))]
        if b[0] != NO_SYMBOL and kind is OpKind.ADD:
            relations += [(symbol, b[0], first.hi + b[1]), (b[0], symbol, -(first.lo + b[1]))]
        if kind is OpKind.SUB and a[0] != NO_SYMBOL and b[0] != NO_SYMBOL:
            self._subtractions = {**self._subtractions, symbol: (a[0], b[0], a[1] - b[1])}
        return relations

    def define_between(self, symbol: Symbol, lo: int, hi: int) -> Self:
        """Bind a fresh symbol to some integer of ``lo..hi``, modulo 2**64."""
        if self._bottom:
            return self
        word = integer_within(lo, hi)
        if word is _TOP:
            return self
        draft = self._draft()
        draft._words[symbol] = word
        return draft

    def assume(self, comparison: Comparison, a: Term, b: Term, width: int = 64) -> Self:
        """Learn that ``a comparison b`` holds on the low ``width`` bits."""
        if self._bottom:
            return self
        if a == b:
            return self.bottom() if comparison in _IRREFLEXIVE else self
        if width == 64:
            if b[0] == NO_SYMBOL:
                if a[0] != NO_SYMBOL:
                    return self._assume_constant(comparison, a, b[1])
            elif a[0] == NO_SYMBOL:
                return self._assume_constant(comparison.swapped, b, a[1])
        left, right = self._word(a), self._word(b)
        new_left, new_right = left.restrict(comparison, right, width)
        if new_left.full[0] > new_left.full[1]:
            return self.bottom()
        two = a[0] != NO_SYMBOL and b[0] != NO_SYMBOL and width == 64
        if new_left is left and new_right is right and not two:
            return self
        draft, changed = self._draft(), list[Symbol]()
        if (
            (new_left is left or draft._learn(a, new_left, _BACKWARD_DEPTH, changed))
            and (new_right is right or draft._learn(b, new_right, _BACKWARD_DEPTH, changed))
            and (not changed or draft._settle(changed))
            and (not two or (draft._compared(comparison, a, b, changed) and draft._settle(changed)))
        ):
            return draft
        return self.bottom()

    def _assume_constant(self, comparison: Comparison, term: Term, value: int) -> Self:
        """Learn how a term that is no constant compares with one."""
        word = self._word(term)
        new = compared_with(comparison, value) if word is _TOP else word.restrict_to(comparison, value)
        if new is word:
            return self
        if new.full[0] > new.full[1]:
            return self.bottom()
        draft, changed = self._draft(), list[Symbol]()
        symbol, offset = term
        if offset:
            learnt = draft._learn(term, new, _BACKWARD_DEPTH, changed)
        else:
            draft._words[symbol] = new
            changed.append(symbol)
            learnt = symbol not in draft._definitions or draft._follow(symbol, new, _BACKWARD_DEPTH, changed)
        return draft if learnt and (not changed or draft._settle(changed)) else self.bottom()

    def _compared(self, comparison: Comparison, a: Term, b: Term, changed: list[Symbol]) -> bool:
        """Relate two compared symbols in a draft, where neither sum can wrap; False on contradiction."""
        left, right = self._linear(a), self._linear(b)
        if left is None or right is None:
            return True
        signed = _UNSIGNED.get(comparison)
        if signed is not None:
            # Signed and unsigned order agree on non-negative words only.
            if self.range(a, signed=True).lo < 0 or self.range(b, signed=True).lo < 0:
                return True
            comparison = signed
        (x, p), (y, q) = left, right
        match comparison:
            case Comparison.EQ:
                return self._relate(x, y, q - p, changed) and self._relate(y, x, p - q, changed)
            case Comparison.SLE:
                return self._relate(x, y, q - p, changed)
            case Comparison.SLT:
                return self._relate(x, y, q - p - 1, changed)
            case Comparison.SGE:
                return self._relate(y, x, p - q, changed)
            case Comparison.SGT:
                return self._relate(y, x, p - q - 1, changed)
            case Comparison.NE:
                lo, hi = self._difference(a, b)
                if lo == 0:
                    return hi != 0 and self._relate(y, x, p - q - 1, changed)
                return hi != 0 or self._relate(x, y, q - p - 1, changed)
            case _:
                return True

    def refine(self, symbol: Symbol, lo: int, hi: int, signed: bool = False) -> Self:
        """Learn that ``symbol``, read as told, lies in ``lo..hi``."""
        if self._bottom:
            return self
        if lo > hi:
            return self.bottom()
        draft, changed = self._draft(), list[Symbol]()
        word = signed_between(lo, hi) if signed else Scalar.between(lo, hi)
        learnt = draft._learn(Term(symbol, 0), word, _BACKWARD_DEPTH, changed) and draft._settle(changed)
        return draft if learnt else self.bottom()

    def forget(self, dead: Iterable[Symbol]) -> Self:
        """Drop symbols, first passing on what they imply between their neighbours."""
        if self._bottom:
            return self
        gone = dead if isinstance(dead, frozenset) else frozenset(dead)
        words, definitions = dict(self._words), self._definitions
        for symbol in gone:
            words.pop(symbol, None)
        if not gone.isdisjoint(definitions):
            definitions = {s: d for s, d in definitions.items() if s not in gone}
        subtractions = self._subtractions
        if subtractions:
            subtractions = {
                z: d for z, d in subtractions.items() if z not in gone and d[0] not in gone and d[1] not in gone
            }
        upper, lower = self._upper, self._lower
        touched = (upper.keys() | lower.keys()) & gone if upper else None
        if touched:
            upper, lower = ({s: dict(others) for s, others in related.items()} for related in (upper, lower))
            for symbol in sorted(touched):
                inward, outward = lower.pop(symbol, _NOTHING), upper.pop(symbol, _NOTHING)
                for u in inward:
                    _drop(upper, u, symbol)
                for v in outward:
                    _drop(lower, v, symbol)
                for u, c in inward.items():
                    for v, d in outward.items():
                        if u != v and c + d < upper.get(u, _NOTHING).get(v, c + d + 1):
                            upper.setdefault(u, {})[v] = c + d
                            lower.setdefault(v, {})[u] = c + d
        return type(self)(words, definitions, upper, lower, subtractions)

    # Calls -------------------------------------------------------------------------------------------------------

    def renamed(self, names: Mapping[Symbol, Symbol]) -> Self:
        """The same of other symbols."""
        name = names.get

        def related(bounds: Related) -> Related:
            return {name(u, u): {name(v, v): c for v, c in others.items()} for u, others in bounds.items()}

        return type(self)(
            {name(symbol, symbol): word for symbol, word in self._words.items()},
            {name(symbol, symbol): renamed_definition(known, names) for symbol, known in self._definitions.items()},
            related(self._upper),
            related(self._lower),
            {name(z, z): (name(x, x), name(y, y), c) for z, (x, y, c) in self._subtractions.items()},
            self._bottom,
        )

    def meet(self, other: Self) -> Self:
        """What both know together."""
        if self._bottom or other._bottom:
            return self if self._bottom else other
        draft, changed = self._draft(), list[Symbol]()
        for symbol, theirs in other._words.items():
            mine = draft._words.get(symbol)
            if mine is theirs:
                continue
            word = theirs if mine is None else mine.meet(theirs)
            if word.full[0] > word.full[1]:
                return self.bottom()
            draft._words[symbol] = word
            changed.append(symbol)
        draft._definitions = {**self._definitions, **other._definitions}
        draft._subtractions = {**other._subtractions, **self._subtractions}
        related = all(draft._relate(u, v, c, changed) for u, others in other._upper.items() for v, c in others.items())
        # A bound of this side may be between words of which the other knows more.
        return draft if related and draft._settle(changed) else self.bottom()

    # Lattice -----------------------------------------------------------------------------------------------------

    def join(self, other: Self, phis: Sequence[Phi]) -> Self:
        """An upper bound in terms of the phis' symbols."""
        if self._bottom or other._bottom:
            return self._join_with_bottom(other, phis)
        words: dict[Symbol, Scalar] = {}
        unrelated = not (self._upper or other._upper)
        ours, others = self._words, other._words
        for symbol, left, right in phis:
            name = left[0]
            if unrelated and left is right and left[1] == 0 and name != NO_SYMBOL:
                here, there = ours.get(name), others.get(name)
                if here is None or there is None:
                    continue
                word = here if here is there else here.join(there)
            else:
                mine, theirs = self._joined_word(left), other._joined_word(right)
                word = mine if mine is theirs else mine.join(theirs)
            if not word.is_top():
                words[symbol] = word
        definitions = self._common_definitions(other, phis)
        if unrelated:
            return type(self)(words, definitions, {}, {}, {})
        candidates = self._candidates(phis, right=False) | other._candidates(phis, right=True)
        return self._with_common_relations(other, phis, words, definitions, candidates, widen=False)

    def widen(self, other: Self, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Self:
        """An upper bound of both, ``self`` the old one; chains of these stabilise.

        Words are widened as they are stored, whatever the relations say of them, and the relations are some of the old
        ones with their old bounds: each part of a chain descends or ascends on its own.
        """
        if self._bottom or other._bottom:
            return self._join_with_bottom(other, phis)
        words: dict[Symbol, Scalar] = {}
        for symbol, left, right in phis:
            old, new = self._word(left), other._joined_word(right)
            word = old if old is new else old.widen(old.join(new), thresholds)
            if not word.is_top():
                words[symbol] = word
        definitions = self._common_definitions(other, phis)
        if not self._upper:
            return type(self)(words, definitions, {}, {}, {})
        # A relation absent on the left was given up or never there: widening must not bring it back.
        candidates = self._candidates(phis, right=False)
        return self._with_common_relations(other, phis, words, definitions, candidates, widen=True)

    def _joined_word(self, term: Term) -> Scalar:
        """The word of a term, relations included."""
        symbol, offset = term
        if not self._upper or symbol == NO_SYMBOL or not self._is_related(symbol):
            return self._word(term)
        word = self._words.get(symbol, _TOP)
        if word.full[2] == _MIN or word.full[3] == _MAX:
            word = self._word_by_relations(symbol, word)
        return word.apply(_ADD, constant_word(offset)) if offset else word

    def _common_definitions(self, other: Self, phis: Sequence[Phi]) -> dict[Symbol, Definition]:
        """Those true on both sides, of symbols that are the same on both sides and in the result."""
        mine, theirs = self._definitions, other._definitions
        if not mine or not theirs:
            return {}
        same = {NO_SYMBOL, *(symbol for symbol, left, right in phis if left == right == (symbol, 0))}
        return {
            symbol: definition
            for symbol, definition in mine.items()
            if symbol in same
            # An operand that is not the same symbol in the result would name another value there.
            and same.issuperset(term.symbol for term in definition[1])
            and definition == theirs.get(symbol)
        }

    def _candidates(self, phis: Sequence[Phi], right: bool) -> set[tuple[Symbol, Symbol]]:
        """Pairs of result symbols that stand for related symbols on one side."""
        if not self._upper:
            return set()
        carriers: dict[Symbol, list[Symbol]] = {}
        for phi in phis:
            carriers.setdefault((phi.right if right else phi.left).symbol, []).append(phi.symbol)
        return {
            (p, q)
            for u, others in self._upper.items()
            if u in carriers
            for v in others
            for p in carriers[u]
            for q in carriers.get(v, ())
            if p != q
        }

    def _with_common_relations(
        self,
        other: Self,
        phis: Sequence[Phi],
        words: dict[Symbol, Scalar],
        definitions: dict[Symbol, Definition],
        candidates: Iterable[tuple[Symbol, Symbol]],
        widen: bool,
    ) -> Self:
        by_symbol = {phi.symbol: phi for phi in phis}
        result = type(self)(words, definitions, {}, {}, {})
        for p, q in sorted(candidates):
            mine = self._difference(by_symbol[p].left, by_symbol[q].left).hi
            theirs = other._difference(by_symbol[p].right, by_symbol[q].right).hi
            if widen and theirs > mine:
                continue
            bound = max(mine, theirs)
            if bound < result._signed(p)[1] - result._signed(q)[0]:
                result._upper.setdefault(p, {})[q] = bound
                result._lower.setdefault(q, {})[p] = bound
        return result

    def _join_with_bottom(self, other: Self, phis: Sequence[Phi]) -> Self:
        """The other side alone, renamed."""
        if self._bottom and other._bottom:
            return self
        alive = other if self._bottom else self
        renamed = [Phi(p.symbol, p.right, p.right) if self._bottom else Phi(p.symbol, p.left, p.left) for p in phis]
        return alive.join(alive, renamed)

    def leq(self, other: Self, match: Mapping[Symbol, Term]) -> bool:
        """Whether all that ``other`` knows, renamed by ``match``, is known here."""
        if self._bottom:
            return True
        if other._bottom:
            return False
        for symbol, wanted in other._words.items():
            term = match.get(symbol)
            word = self._words.get(symbol, _TOP) if term is None else self._word(term)
            if word is not wanted and not word.leq(wanted):
                if term is None:
                    term = Term(symbol, 0)
                if not self._joined_word(term).leq(wanted):
                    return False
        if other._definitions and not all(
            is_computed(self._definitions, match.get(symbol, Term(symbol, 0)), op, [matched(t, match) for t in args])
            for symbol, (op, args) in other._definitions.items()
        ):
            return False
        for u, others in other._upper.items():
            here = match.get(u, Term(u, 0))
            for v, c in others.items():
                if self._difference(here, match.get(v, Term(v, 0))).hi > c:
                    return False
        return all(self._subtracts(match, z, *difference) for z, difference in other._subtractions.items())

    def _subtracts(self, match: Mapping[Symbol, Term], z: Symbol, x: Symbol, y: Symbol, c: int) -> bool:
        """Whether what ``match`` makes of ``z = x - y + c`` is known here, between integers."""
        result, left, right = (self._linear(match.get(symbol, Term(symbol, 0))) for symbol in (z, x, y))
        if result is None or left is None or right is None:
            return False
        if result[0] == left[0] == right[0] == NO_SYMBOL:
            return result[1] == left[1] - right[1] + c
        expected = (left[0], right[0], c + left[1] - right[1] - result[1])
        return self._subtractions.get(result[0]) == expected

    # What is known, for others --------------------------------------------------------------------------------------

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        """Symbols missing from ``valuation`` are unconstrained, so only what is given is checked."""
        if self._bottom:
            return False
        values = {symbol: to_signed(word, 64) for symbol, word in valuation.items()}
        return (
            all(word.contains(valuation[symbol]) for symbol, word in self._words.items() if symbol in valuation)
            and all(
                computes(valuation, symbol, op, args)
                for symbol, (op, args) in self._definitions.items()
                if symbol in valuation
            )
            and all(
                values[u] - values[v] <= c
                for u, others in self._upper.items()
                for v, c in others.items()
                if u in values and v in values
            )
            and all(
                values[z] == values[x] - values[y] + c
                for z, (x, y, c) in self._subtractions.items()
                if {z, x, y} <= values.keys()
            )
        )

    def definition(self, symbol: Symbol) -> Definition | None:
        """How ``symbol`` was computed, where that is known to hold still."""
        return self._definitions.get(symbol)

    def symbols(self) -> frozenset[Symbol]:
        """The symbols about which anything is stored."""
        return frozenset(self._words).union(self._definitions, self._upper, self._lower, self._subtractions)

    def statements(self) -> Iterator[Statement]:
        """All that is known."""
        for symbol, word in self._words.items():
            yield from of_word(symbol, word)
        for u, others in self._upper.items():
            for v, c in others.items():
                yield Difference(u, v, c)
        for symbol, difference in self._subtractions.items():
            yield Subtraction(symbol, *difference)
        for symbol, (op, args) in self._definitions.items():
            yield Defined(symbol, op, args)

    def describe(self, symbol: Symbol) -> str:
        """What is known of one symbol, for people."""
        word = self._words.get(symbol)
        relations = sorted(
            ((u, v), c) for u, others in self._upper.items() for v, c in others.items() if symbol in (u, v)
        )
        differences = ", ".join(f"s{u} - s{v} <= {c}" for (u, v), c in relations)
        return "; ".join(filter(None, ("any" if word is None else str(word), differences)))


def _drop(related: Related, u: Symbol, v: Symbol) -> None:
    others = related[u]
    del others[v]
    if not others:
        del related[u]


_NOTHING: Final[dict[Symbol, int]] = {}

_NOT_GREATER: Final = frozenset({OpKind.AND, OpKind.UDIV, OpKind.UMOD, OpKind.RSH, OpKind.ZEXT})

_IRREFLEXIVE: Final = frozenset({Comparison.NE, Comparison.ULT, Comparison.UGT, Comparison.SLT, Comparison.SGT})

_UNSIGNED: Final[dict[Comparison, Comparison]] = {
    Comparison.ULT: Comparison.SLT,
    Comparison.ULE: Comparison.SLE,
    Comparison.UGT: Comparison.SGT,
    Comparison.UGE: Comparison.SGE,
}
