"""Proofs of intervals in parts, each small enough: what the functions below the class promise, and that it is enough.

An operation on intervals computes bounds of the word and of its low half (:mod:`prevail_py.domains.arithmetic`) and
then reduces the two by each other (:func:`prevail_py.domains.halves.reduce`).  As one formula that is too much for a
solver at 64 bits.  So there are three kinds of cells:

* ``bounds``: the function of ``arithmetic`` at one width; that the low half of a result is the operation on low halves;
* ``halves``: exactly the words of the pair are in the reduced pair;
* the operation itself, with *calls of these functions replaced by what was proved of them*: some canonical bounds
  that hold the result if the arguments hold the words.  There it does not matter what the operation computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Self

import z3

from prevail_py.domains import arithmetic, bounds, halves
from prevail_py.domains.bounds import Bounds
from prevail_py.domains.halves import size_of
from prevail_py.verifier.smt.exploring import Explorer, merging
from prevail_py.verifier.smt.integers import UnsupportedError, condition
from prevail_py.verifier.smt.obligations import Claim, Obligation, Setting
from prevail_py.words import OpKind, WordOp

__all__ = ["AtWidth", "Pair", "bounds_obligations", "pair_obligations", "summaries"]

Draw = Callable[[str, int, int], Any]

LOW_OF_LOWS: Final = (OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.AND, OpKind.OR, OpKind.XOR)
"""Operations of which the low half of the result is the operation on the low halves; it is proved, not read there."""


def _arbitrary(half: int, draw: Draw) -> Bounds:
    last = half + half - 1
    return draw("umin", 0, last), draw("umax", 0, last), draw("smin", -half, half - 1), draw("smax", -half, half - 1)


def within(a: Bounds, word: Any, half: int) -> Any:
    """Whether an unsigned word lies within bounds."""
    signed = word - half - half if word >= half else word
    return a[0] <= word and word <= a[1] and a[2] <= signed and signed <= a[3]


class AtWidth:
    """Bounds at one width as a domain of their own: the functions of ``arithmetic``, applied."""

    __slots__ = ("of",)

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32

    def __init__(self, of: Bounds) -> None:
        self.of = of

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The class for another width."""
        return type(cls.__name__, (cls,), {"__slots__": (), "WIDTH": width, "LOW": low})

    @classmethod
    def half(cls) -> int:
        """The sign bit."""
        return 1 << (cls.WIDTH - 1)

    @classmethod
    def arbitrary(cls, draw: Draw) -> Self:
        """See :mod:`prevail_py.verifier.smt.elements`."""
        return cls(_arbitrary(cls.half(), draw))

    def is_canonical(self) -> bool:
        """Whether each bound is attained."""
        return bool(bounds.sync(*self.of, self.half()) == self.of)

    def contains(self, word: int) -> bool:
        """Whether the word is within the bounds."""
        return bool(within(self.of, word, self.half()))

    def apply(self, op: WordOp, *args: Self) -> Self:
        """The function of ``arithmetic`` for ``op``."""
        kind, half = op.kind.value, self.half()
        if kind in halves._BINARY:
            return type(self)(halves._BINARY[kind](self.of, args[0].of, half))
        if kind in halves._SHIFT:
            s0, s1 = arithmetic.shift_amounts(args[0].of, half, self.WIDTH)
            return type(self)(halves._SHIFT[kind](self.of, s0, s1, half))
        return type(self)(arithmetic.neg(self.of, half))

    def __str__(self) -> str:
        return str(self.of)


class Pair:
    """Bounds of the word and of its low half, not reduced: the argument of ``reduce``."""

    __slots__ = ("full", "low")

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32

    def __init__(self, full: Bounds, low: Bounds) -> None:
        self.full = full
        self.low = low

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The class for other widths."""
        return type(cls.__name__, (cls,), {"__slots__": (), "WIDTH": width, "LOW": low})

    @classmethod
    def arbitrary(cls, draw: Draw) -> Self:
        """See :mod:`prevail_py.verifier.smt.elements`."""
        return cls(
            _arbitrary(1 << (cls.WIDTH - 1), lambda name, lo, hi: draw(f"full.{name}", lo, hi)),
            _arbitrary(1 << (cls.LOW - 1), lambda name, lo, hi: draw(f"low.{name}", lo, hi)),
        )

    def is_canonical(self) -> bool:
        """Whether each of the two is canonical by itself, or empty."""
        half, low_half = 1 << (self.WIDTH - 1), 1 << (self.LOW - 1)
        return bool(bounds.sync(*self.full, half) == self.full and bounds.sync(*self.low, low_half) == self.low)

    def contains(self, word: int) -> bool:
        """Whether the word is within both."""
        last = (1 << self.LOW) - 1
        return bool(within(self.full, word, 1 << (self.WIDTH - 1)) and within(self.low, word & last, (last + 1) >> 1))

    def __str__(self) -> str:
        return f"{self.full} low {self.low}"


def bounds_obligations(width: int) -> Iterator[Obligation]:
    """The functions of ``arithmetic`` at ``width`` bits."""
    kinds = [OpKind(kind) for kind in (*halves._BINARY, *halves._SHIFT)]
    for kind in (*kinds, OpKind.NEG):
        yield Obligation(kind.value, width, _arguments(kind), _applied(kind, width))
    for kind in LOW_OF_LOWS:
        yield Obligation(f"low half of {kind.value}", width, lambda s: s.all(), _low_half(kind, width))


def _arguments(kind: OpKind) -> Callable[[Setting], Any]:
    def suppose(s: Setting) -> Any:
        holds = s.contains(s.element("a"), s.word("x"))
        return s.all(holds, s.contains(s.element("b"), s.word("y"))) if kind.arity == 2 else holds

    return suppose


def _applied(kind: OpKind, width: int) -> Callable[[Setting], list[Claim]]:
    op = WordOp(kind, width)

    def claims(s: Setting) -> list[Claim]:
        others, words = ([s.element("b")], [s.word("x"), s.word("y")]) if kind.arity == 2 else ([], [s.word("x")])
        result = s.element("a").apply(op, *others)
        return [
            Claim("the result lacks op(x, y)", s.contains(result, s.evaluate(op, *words))),
            Claim("the result is not canonical", s.canonical(result)),
        ]

    return claims


def _low_half(kind: OpKind, width: int) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        words = s.word("x"), s.word("y")
        half = width // 2
        low = s.read(s.evaluate(WordOp(kind, width), *words), half, False)
        return [Claim("the low half is another", s.equal(low, s.evaluate(WordOp(kind, half), *words)))]

    return claims


def pair_obligations(width: int, low: int) -> Iterator[Obligation]:
    """That ``reduce`` keeps exactly the words of a pair."""

    def claims(s: Setting) -> list[Claim]:
        pair, x = s.element("a"), s.word("x")
        result = type(pair)(*halves.reduce(size_of(width, low), pair.full, pair.low))
        before, after = s.contains(pair, x), s.contains(result, x)
        return [
            Claim("the result lacks x", s.any(s.negation(before), after)),
            Claim("the result gained x", s.any(before, s.negation(after))),
            Claim("the result is not canonical", s.canonical(result)),
        ]

    def suppose(s: Setting) -> Any:
        s.element("a")
        return s.all()

    yield Obligation("reduce", width, suppose, claims)


# What was proved, in place of the functions -----------------------------------------------------------------------


class _Contracts:
    """Makes results of which only the contract is known; ``words`` are those of which it is known."""

    def __init__(self, explorer: Explorer, words: Callable[[], list[Any]]) -> None:
        self.explorer = explorer
        self.words = words
        self.made = 0

    def fresh(self, half: int) -> Bounds:
        """Some canonical bounds, or empty ones."""
        self.made += 1
        name = f"contract {self.made}"

        def draw(part: str, lo: int, hi: int) -> Any:
            number, assumptions = self.explorer.encoding.number(f"{name}.{part}", lo, hi)
            self.explorer.solver.add(*assumptions)
            return number

        result = _arbitrary(half, draw)
        self.explorer.assume(self.term(lambda: bool(bounds.sync(*result, half) == result)))
        return result

    def term(self, question: Callable[[], Any]) -> z3.BoolRef:
        return condition(self.explorer.alone(question))

    def reduce(self, size: Any, full: Bounds, low: Bounds) -> tuple[Bounds, Bounds]:
        """Exactly the words of the pair."""
        result = self.fresh(size.half), self.fresh(size.low_half)
        for word in self.words():
            before, after = self.inside((full, low), word, size), self.inside(result, word, size)
            self.explorer.assume(before == after)
        return result

    def inside(self, pair: tuple[Bounds, Bounds], word: Any, size: Any) -> z3.BoolRef:
        """Whether a word is within a pair."""
        full, low = pair
        return self.term(
            lambda: bool(within(full, word, size.half) and within(low, word & size.low_last, size.low_half))
        )

    def operation(self, op: WordOp, value: Callable[[], Any]) -> Callable[..., Bounds]:
        """Bounds that hold the result's low bits if the arguments hold those of the first two words."""

        def contract(a: Bounds, b: Bounds, half: int) -> Bounds:
            if half.bit_length() != op.width and op.kind not in LOW_OF_LOWS:
                raise UnsupportedError(f"the low half of {op} is not {op.kind.value} of low halves")
            x, y, *_ = self.words()
            last = half + half - 1
            supposed = self.term(lambda: bool(within(a, x & last, half) and within(b, y & last, half)))
            return self.holding(value, supposed, half)

        return contract

    def shift(self, op: WordOp, value: Callable[[], Any], amount: Callable[[], Any]) -> Callable[..., Bounds]:
        """Likewise for a shift by ``s0..s1``, if that range holds the amount."""

        def contract(a: Bounds, s0: Any, s1: Any, half: int) -> Bounds:
            if half.bit_length() != op.width and op.kind is not OpKind.LSH:
                raise UnsupportedError(f"the low half of {op} is not a shift of the low half")
            x = self.words()[0]
            last = half + half - 1
            supposed = self.term(lambda: bool(within(a, x & last, half) and s0 <= amount() and amount() <= s1))
            return self.holding(value, supposed, half)

        return contract

    def holding(self, value: Callable[[], Any], supposed: z3.BoolRef, half: int) -> Bounds:
        """Bounds that hold the low bits of ``value()`` if ``supposed``."""
        result, last = self.fresh(half), half + half - 1
        self.explorer.assume(z3.Implies(supposed, self.term(lambda: bool(within(result, value() & last, half)))))
        return result

    def amounts(self, amount: Callable[[], Any]) -> Callable[..., tuple[Any, Any]]:
        """A range of shift amounts that holds that of the second word if the bounds hold the word."""

        def contract(b: Bounds, half: int, width: int) -> tuple[Any, Any]:
            self.made += 1
            ends = []
            for part in ("s0", "s1"):
                number, assumptions = self.explorer.encoding.number(f"contract {self.made}.{part}", 0, width - 1)
                self.explorer.solver.add(*assumptions)
                ends.append(number)
            y = self.words()[1]
            supposed = self.term(lambda: bool(within(b, y & (half + half - 1), half)))
            holds = self.term(lambda: bool(ends[0] <= amount() and amount() <= ends[1]))
            self.explorer.assume(z3.And(self.term(lambda: bool(ends[0] <= ends[1])), z3.Implies(supposed, holds)))
            return ends[0], ends[1]

        return contract


def summaries(
    explorer: Explorer,
    words: Callable[[], list[Any]],
    op: WordOp | None,
    value: Callable[[], Any],
    amount: Callable[[], Any],
) -> dict[Any, Any]:
    """Replacements by contracts: of ``reduce``, and of the functions for ``op`` (if given, of result ``value()``)."""
    contracts = _Contracts(explorer, words)
    found: dict[Any, Any] = {halves.reduce: merging(contracts.reduce)}
    if op is not None and op.kind.value in halves._BINARY:
        found[halves._BINARY[op.kind.value]] = merging(contracts.operation(op, value))
    if op is not None and op.kind.value in halves._SHIFT:
        found[halves._SHIFT[op.kind.value]] = merging(contracts.shift(op, value, amount))
        found[arithmetic.shift_amounts] = merging(contracts.amounts(amount))
    return found
