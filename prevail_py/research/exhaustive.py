"""Check a word domain against the one semantics, on every word of a few bits.

A set of words of ``n`` bits is a Python int with bit ``w`` set where ``w`` is in it.  With 16 words there are 65,536
sets, so abstraction is a table, and soundness of an operator on two elements is one inclusion of masks::

    check(Interval.at(4, 2))  # a sample of everything, in a second

    checker = Checker(Interval.at(4, 2))
    tally = checker.operator(WordOp(OpKind.ADD, 4), itertools.product(checker.arcs(), repeat=2))
    print(tally.optimal, "of", tally.total, "results are the best ones")

Every method raises :class:`UnsoundError` with the counterexample, or counts how often the result was the best one.
Nothing in it knows a particular domain: a new one is checked by the same calls.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate

__all__ = ["Checker", "Tally", "UnsoundError", "bits", "check", "operations", "widening_steps"]

Element = Any  # an element of the domain under test, which is a class given at run time


class UnsoundError(AssertionError):
    """A domain lost a concrete word, claimed an inclusion that does not hold, or widened without end."""


@dataclass(slots=True)
class Tally:
    """How many results were checked, how many were the best possible, and the words too many in the others."""

    total: int = 0
    optimal: int = 0
    excess: int = 0

    def count(self, result: int, best: int) -> None:
        """Count a sound result with words ``result`` where ``best`` are those of the best abstraction."""
        self.total += 1
        if result == best:
            self.optimal += 1
        else:
            self.excess += (result & ~best).bit_count()


@lru_cache(maxsize=1 << 17)
def bits(mask: int) -> tuple[int, ...]:
    """The positions of the ones of ``mask``, ascending."""
    return tuple(position for position in range(mask.bit_length()) if mask >> position & 1)


def operations(width: int, low: int) -> list[WordOp]:
    """Every operation on words of ``width`` bits, as for 64 and 32: extensions at each width, BSWAP where bytes fit."""
    result = []
    for kind in OpKind:
        if kind in (OpKind.ZEXT, OpKind.SEXT, OpKind.BSWAP):
            continue
        result += [WordOp(kind, width), WordOp(kind, low)]
    result += [WordOp(OpKind.ZEXT, w) for w in range(1, width + 1)]
    result += [WordOp(OpKind.SEXT, w, source) for w in (width, low) for source in range(1, w)]
    result += [WordOp(OpKind.BSWAP, w) for w in range(8, width + 1, 8)]
    return result


class Checker:
    """The tables for one domain class at one size (at most 4 bits for :attr:`elements`, 8 for the rest)."""

    def __init__(self, domain: Any) -> None:
        self.domain = domain
        self.width: int = domain.WIDTH
        self.low: int = domain.LOW
        self.words = range(1 << self.width)
        self.constants = [domain.constant(word) for word in self.words]
        self._gamma: dict[Element, int] = {}
        self._alpha: dict[int, Element] = {0: domain.bottom()}
        self._known: dict[int, tuple[Element, int]] = {}
        self._closures: dict[int, int] = {}

    # Concretization and abstraction -------------------------------------------------------------------------------

    def gamma(self, x: Element) -> int:
        """The words in ``x``."""
        mask = self._gamma.get(x)
        if mask is None:
            mask = sum(1 << word for word in self.words if x.contains(word))
            self._gamma[x] = mask
        return mask

    def _of(self, x: Element) -> int:
        """:meth:`gamma` of an argument: these come again and again, and hashing them takes longer than an operator."""
        known = self._known.get(id(x))
        if known is None or known[0] is not x:
            known = self._known[id(x)] = (x, self.gamma(x))
        return known[1]

    def closure(self, mask: int) -> int:
        """The words in the best abstraction of those in ``mask``."""
        closed = self._closures.get(mask)
        if closed is None:
            closed = self._closures[mask] = self.gamma(self.alpha(mask))
        return closed

    def alpha(self, mask: int) -> Element:
        """The join of the constants in ``mask``: the best abstraction, if joins are least upper bounds.

        That it includes ``mask`` is checked here: elements made by broken joins would make all checks vacuous.
        """
        x = self._alpha.get(mask)
        if x is None:
            rest = mask & (mask - 1)
            x = self.alpha(rest).join(self.constants[(mask ^ rest).bit_length() - 1])
            self._sound(mask, x, "join of constants")
            self._alpha[mask] = x
        return x

    def elements(self) -> list[Element]:
        """Every best abstraction of a set of words, without repetition: bottom, constants, ..., top."""
        if self.width > 4:
            raise ValueError(f"there are 2**{1 << self.width} sets of words of {self.width} bits")
        return list({self.alpha(mask): None for mask in range(1 << (1 << self.width))})

    def arcs(self) -> list[Element]:
        """The best abstractions of all ``lo, lo + 1, ..., hi`` modulo the word size, without repetition."""
        size = len(self.words)
        found: dict[Element, None] = {}
        for start in self.words:
            mask = 0
            for length in range(size):
                mask |= 1 << ((start + length) % size)
                found[self.alpha(mask)] = None
        return list(found)

    # Checks -------------------------------------------------------------------------------------------------------

    def _sound(self, exact: int, result: Element, what: str, *parts: object) -> int:
        """The words of ``result``, which must include ``exact``; ``what`` and its ``parts`` are for the message."""
        mask = self.gamma(result)
        if exact & ~mask:
            missing = bits(exact & ~mask)[0]
            raise UnsoundError(f"{self.domain.__name__}: {what.format(*parts)} is {result}, which lacks {missing}")
        return mask

    def operator(self, op: WordOp, arguments: Iterable[tuple[Element, ...]]) -> Tally:
        """``apply`` on each tuple of arguments."""
        tally, table = Tally(), _Table(op, self.width)
        for args in arguments:
            result = args[0].apply(op, *args[1:])
            exact = table.image(*map(self._of, args))
            tally.count(self._sound(exact, result, "{} of {}", op, args), self.closure(exact))
        return tally

    def backward(self, op: WordOp, cases: Iterable[tuple[Element, ...]]) -> Tally:
        """``backward`` on each ``(out, *args)``; optimal where every argument is narrowed as far as possible."""
        tally, table = Tally(), _Table(op, self.width)
        for out, *args in cases:
            results = args[0].backward(op, out, *args[1:])
            masks = bests = 0
            exacts = table.preimages(self._of(out), *map(self._of, args))
            for position, (arg, exact, result) in enumerate(zip(args, exacts, results, strict=True)):
                mask = self._sound(exact, result, "argument {} of {} of {} in {}", position, op, args, out)
                if mask & ~self._of(arg):
                    raise UnsoundError(f"{self.domain.__name__}: backward {op} let {arg} grow to {result}")
                masks = masks << len(self.words) | mask
                bests = bests << len(self.words) | self.closure(exact)
            tally.count(masks, bests)
        return tally

    def comparison(self, comparison: Comparison, width: int, arguments: Iterable[tuple[Element, Element]]) -> Tally:
        """``restrict`` on each pair of arguments; optimal where both are narrowed as far as possible."""
        holds = [[compare(INT, comparison, a, b, width, self.width) for b in self.words] for a in self.words]
        right = [sum(1 << b for b in self.words if holds[a][b]) for a in self.words]
        left = [sum(1 << a for a in self.words if holds[a][b]) for b in self.words]

        @cache
        def left_of(mask: int) -> int:
            return sum(1 << word for word in self.words if right[word] & mask)

        @cache
        def right_of(mask: int) -> int:
            return sum(1 << word for word in self.words if left[word] & mask)

        tally = Tally()
        for a, b in arguments:
            first, second = a.restrict(comparison, b, width)
            ga, gb = self._of(a), self._of(b)
            exact_a, exact_b = ga & left_of(gb), gb & right_of(ga)
            mask_a = self._sound(exact_a, first, "left of {1} {0.value} {2} on {3} bits", comparison, a, b, width)
            mask_b = self._sound(exact_b, second, "right of {1} {0.value} {2} on {3} bits", comparison, a, b, width)
            if mask_a & ~ga or mask_b & ~gb:
                raise UnsoundError(f"{self.domain.__name__}: {comparison} let {a}, {b} grow to {first}, {second}")
            both = len(self.words)
            best = self.closure(exact_a) << both | self.closure(exact_b)
            tally.count(mask_a << both | mask_b, best)
        return tally

    def lattice(self, pairs: Iterable[tuple[Element, Element]], thresholds: Sequence[int] = ()) -> dict[str, Tally]:
        """``join``, ``meet``, ``widen``, ``narrow`` and ``leq`` on each pair."""
        tallies = {name: Tally() for name in ("join", "meet", "widen", "narrow")}
        for a, b in pairs:
            ga, gb = self._of(a), self._of(b)
            if a.leq(b) and ga & ~gb:
                raise UnsoundError(f"{self.domain.__name__}: {a} is not within {b}")
            joined, met, wide, narrowed = a.join(b), a.meet(b), a.widen(b, thresholds), a.narrow(b)
            mask = self._sound(ga | gb, joined, "join of {} and {}", a, b)
            tallies["join"].count(mask, self.closure(ga | gb))
            mask = self._sound(ga & gb, met, "meet of {} and {}", a, b)
            tallies["meet"].count(mask, self.closure(ga & gb))
            mask = self._sound(ga | gb, wide, "widening of {} by {}", a, b)
            tallies["widen"].count(mask, self.closure(ga | gb))
            mask = self._sound(ga & gb, narrowed, "narrowing of {} by {}", a, b)
            if mask & ~ga:
                raise UnsoundError(f"{self.domain.__name__}: narrowing {a} by {b} grew to {narrowed}")
            tallies["narrow"].count(mask, self.closure(ga & gb))
        return tallies


class _Table:
    """The results of one operation on all words, and on sets of them."""

    def __init__(self, op: WordOp, width: int) -> None:
        words = range(1 << width)
        rights = words if op.kind.arity == 2 else range(1)
        self.arity = op.kind.arity
        self.rows = [[evaluate(INT, op, (a, b)[: self.arity], width) for b in rights] for a in words]
        self._row_images: dict[int, list[int]] = {}

    def _rows_of(self, b: int) -> list[int]:
        """For each word on the left, the results with the words of ``b`` on the right."""
        images = self._row_images.get(b)
        if images is None:
            images = []
            for row in self.rows:
                image = 0
                for position in bits(b):
                    image |= 1 << row[position]
                images.append(image)
            self._row_images[b] = images
        return images

    def image(self, a: int, b: int = 1) -> int:
        """The results on the words of ``a`` and ``b``."""
        rows = self._rows_of(b)
        image = 0
        for word in bits(a):
            image |= rows[word]
        return image

    def preimages(self, out: int, a: int, b: int = 1) -> tuple[int, ...]:
        """The words of ``a`` (and those of ``b``) that take part in a result in ``out``."""
        rows = self._rows_of(b)
        first = sum(1 << word for word in bits(a) if rows[word] & out)
        if self.arity == 1:
            return (first,)
        second = 0
        for x in bits(first):
            row = self.rows[x]
            for y in bits(b & ~second):
                if out >> row[y] & 1:
                    second |= 1 << y
        return first, second


def check(domain: Any, samples: int = 300, seed: int = 0) -> dict[str, Tally]:
    """Every operation, forwards and backwards, every comparison and the lattice of a 4-bit domain, on random elements.

    Half of the elements are arcs.  Raises :class:`UnsoundError` at the first counterexample; otherwise says, for each
    check, how precise it was.
    """
    checker = Checker(domain)
    draw = random.Random(seed)
    elements, arcs = checker.elements(), checker.arcs()
    mixed = [draw.choice(arcs if draw.random() < 0.5 else elements) for _ in range(3 * samples)]
    first, second, third = mixed[:samples], mixed[samples : 2 * samples], mixed[2 * samples :]
    pairs = [*zip(first, second, strict=True)]
    tallies: dict[str, Tally] = {}
    for op in operations(checker.width, checker.low):
        arguments = [(x,) for x in first] if op.kind.arity == 1 else pairs
        tallies[f"{op}"] = checker.operator(op, arguments)
        cases = ((out, *args) for out, args in zip(third, arguments, strict=True))
        tallies[f"{op} backward"] = checker.backward(op, cases)
    for comparison in Comparison:
        for width in (checker.width, checker.low):
            tallies[f"{comparison.name}{width}"] = checker.comparison(comparison, width, pairs)
    return tallies | checker.lattice(pairs, (3, 8))


def widening_steps(
    x: Element, addition: Callable[[Element], Element], thresholds: Sequence[int] = (), limit: int = 500
) -> int:
    """How often ``x`` changes when it is widened by ``addition`` of itself until fifty of these bring nothing new.

    Raises :class:`UnsoundError` after ``limit`` changes, or where a widening is not above both of its arguments.
    """
    steps = quiet = 0
    while quiet < 50:
        y = x.join(addition(x))
        if y == x:
            quiet += 1
            continue
        wide = x.widen(y, thresholds)
        if not y.leq(wide) or wide == x:
            raise UnsoundError(f"widening {x} by {y} gives {wide}")
        x, quiet, steps = wide, 0, steps + 1
        if steps > limit:
            raise UnsoundError(f"widened {limit} times, and still growing: {x}")
    return steps
