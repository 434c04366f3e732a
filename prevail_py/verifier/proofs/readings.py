"""Two readings of an obligation: on the ints of a model, and on terms of the solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import z3

from prevail_py.verifier.proofs.elements import arbitrary, is_canonical
from prevail_py.verifier.proofs.exploring import Explorer
from prevail_py.verifier.proofs.integers import Bool, Int, condition
from prevail_py.verifier.proofs.relations import BITWISE, OPAQUE, Fact, facts, order
from prevail_py.verifier.proofs.vectors import VectorInt
from prevail_py.verifier.smt.algebra import Z3Algebra
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate, to_signed

__all__ = ["Concrete", "Symbolic"]

_SHIFTS = (OpKind.LSH, OpKind.RSH, OpKind.ARSH)


class Concrete:
    """The reading on ints, with the values that a model gives to the names."""

    def __init__(self, domain: Any, values: Mapping[str, int]) -> None:
        self.domain = domain
        self.width: int = domain.WIDTH
        self.low: int = domain.LOW
        self.values = values

    def element(self, name: str) -> Any:
        return arbitrary(self.domain, lambda part, lo, hi: self.values.get(f"{name}.{part}", lo))

    def word(self, name: str) -> int:
        return self.values.get(name, 0)

    def number(self, name: str, lo: int, hi: int) -> int:
        return self.values.get(name, lo)

    def evaluate(self, op: WordOp, *args: int) -> int:
        return evaluate(INT, op, args, self.width)

    def compare(self, comparison: Comparison, a: int, b: int, width: int) -> bool:
        return compare(INT, comparison, a, b, width, self.width)

    def speak_of(self, integers: Callable[[], tuple[int, ...]]) -> None:
        """There are no contracts here."""

    def know(self, *facts: Fact) -> None:
        """There are no contracts here."""

    def fact(self, kind: OpKind | Comparison, bits: int, x: int) -> Fact:
        y = self.number("y", 0, (1 << bits) - 1)
        if isinstance(kind, Comparison):
            return Fact(kind, bits, x, y, compare(INT, kind, x, y, bits, self.width))
        return Fact(kind, bits, x, y, evaluate(INT, WordOp(kind, bits), (x, y)[: kind.arity], self.width))

    def read(self, word: int, width: int, signed: bool) -> int:
        return to_signed(word, width) if signed else word & ((1 << width) - 1)

    def equal(self, a: int, b: int) -> bool:
        return a == b

    def contains(self, element: Any, word: int) -> bool:
        return bool(element.contains(word))

    def canonical(self, element: Any) -> bool:
        return bool(is_canonical(element))

    def all(self, *conditions: bool) -> bool:
        return all(conditions)

    def any(self, *conditions: bool) -> bool:
        return any(conditions)

    def negation(self, condition: bool) -> bool:
        return not condition


@dataclass(slots=True)
class Symbolic:
    """The reading on Z3 terms."""

    domain: Any
    explorer: Explorer
    op: WordOp | None = None  # the operation that the obligation is about
    fixed: Mapping[str, int] = field(default_factory=dict)  # numbers that are not arbitrary
    least: Mapping[str, int] = field(default_factory=dict)  # numbers that are at least that
    contracts: bool = False  # whether promises stand for functions; then the operation is known by its facts only
    names: dict[str, Any] = field(default_factory=dict)
    elements: dict[str, Any] = field(default_factory=dict)
    known: list[Fact] = field(default_factory=list)
    integers: list[Any] = field(default_factory=list)  # of which contracts may speak that are not about words

    @property
    def width(self) -> int:
        return int(self.domain.WIDTH)

    @property
    def low(self) -> int:
        return int(self.domain.LOW)

    def element(self, name: str) -> Any:
        made = self.elements.get(name)
        if made is None:
            made = arbitrary(self.domain, lambda part, lo, hi: self.number(f"{name}.{part}", lo, hi))
            self.elements[name] = made
            self.explorer.assume(condition(self.canonical(made)))
        return made

    def word(self, name: str) -> Any:
        return self.number(name, 0, (1 << self.width) - 1)

    def number(self, name: str, lo: int, hi: int) -> Any:
        if name in self.fixed:
            return self.fixed[name]
        if name not in self.names:
            least = self.least.get(name, 0)  # it is that and an unknown, which the terms of powers can see
            number: Any
            number, assumptions = self.explorer.encoding.number(name, 0 if least else lo, hi - least)
            self.explorer.solver.add(*assumptions)
            self.names[name] = number + least if least else number
        return self.names[name]

    # What contracts speak of.

    def words(self) -> list[Any]:
        """The words of the obligation."""
        return [number for name, number in self.names.items() if "." not in name]

    def facts(self) -> list[Fact]:
        """What is known of them together."""
        return self.known

    def speak_of(self, integers: Callable[[], tuple[Any, ...]]) -> None:
        """Have contracts speak of these."""
        self.integers += self.explorer.alone(integers)

    def know(self, *facts: Fact) -> None:
        """Have contracts speak of these facts, too."""
        self.known += facts

    def fact(self, kind: OpKind | Comparison, bits: int, x: Any) -> Fact:
        """That an unknown word is ``kind`` of ``x`` and an unknown ``y``, or whether it holds of them."""
        if isinstance(kind, Comparison):
            y = self.number("y", 0, (1 << bits) - 1)
            return Fact(kind, bits, x, y, self.compare(kind, x, y, bits))
        if self.contracts and kind in BITWISE and not isinstance(x, VectorInt):
            y, r = self.number("y", 0, (1 << bits) - 1), self.number("r", 0, (1 << bits) - 1)
            if not self.known:
                self.known += [Fact(kind, bits, x, y, r), Fact(kind, bits, y, x, r)]
                self.explorer.assume(condition(order(WordOp(kind, bits), x, y, r, self.low)))
            return self.known[0]
        y = self.number("y", 0, (1 << bits) - 1 if kind not in _SHIFTS else bits - 1)
        known = Fact(kind, bits, x, y, self.evaluate(WordOp(kind, bits), *(x, y)[: kind.arity]))
        if self.contracts and not self.known:
            self.known.append(known)
        return known

    def prepare(self) -> None:
        """Have the words and facts at hand before the operator runs."""
        if self.contracts and self.op is not None:
            self.evaluate(self.op, *map(self.word, ("x", "y")[: self.op.kind.arity]))

    def _opaquely(self, op: WordOp, args: tuple[Any, ...]) -> Any:
        """The result of the operation, of which nothing is known but the facts of :mod:`..relations`."""
        if "r" not in self.names:
            result = self.number("r", 0, (1 << op.width) - 1)
            x, y = args[0], args[-1]
            if op.kind in _SHIFTS:
                y = y & (op.width - 1)
            self.known += facts(op, x, y, result, self.low)
            self.explorer.assume(condition(order(op, args[0], args[-1], result, self.low)))
        return self.names["r"]

    def evaluate(self, op: WordOp, *args: Any) -> Any:
        if self.contracts and op == self.op and op.kind in OPAQUE:
            return self._opaquely(op, args)
        if self.contracts and op == self.op and "r" not in self.names:
            value = self._evaluated(op, args)
            self.explorer.assume(condition(self.number("r", 0, (1 << op.width) - 1) == value))
        return self.names["r"] if self.contracts and op == self.op else self._evaluated(op, args)

    def _evaluated(self, op: WordOp, args: tuple[Any, ...]) -> Any:
        if isinstance(args[0], VectorInt):
            terms = tuple(args[0].lift(arg).at(self.width) for arg in args)
            return VectorInt.unsigned(evaluate(Z3Algebra(), op, terms, self.width))
        return self.explorer.alone(lambda: evaluate(INT, op, args, self.width))

    def compare(self, comparison: Comparison, a: Any, b: Any, width: int) -> Any:
        if self.contracts and comparison in (Comparison.SET, Comparison.NOT_SET) and not isinstance(a, VectorInt):
            holds, last = Bool(z3.Bool("the comparison")), (1 << width) - 1
            self.known.append(Fact(comparison, width, a & last, b & last, holds))
            return holds
        if isinstance(a, VectorInt):
            return Bool(compare(Z3Algebra(), comparison, a.at(self.width), b.at(self.width), width, self.width))
        return self.explorer.alone(lambda: bool(compare(INT, comparison, a, b, width, self.width)))

    def read(self, word: Any, width: int, signed: bool) -> Any:
        if isinstance(word, VectorInt):
            low = word.at(width)
            return VectorInt.signed(low) if signed else VectorInt.unsigned(low)
        return self.explorer.alone(lambda: to_signed(word, width) if signed else word & ((1 << width) - 1))

    def equal(self, a: Any, b: Any) -> Any:
        return a == b

    def contains(self, element: Any, word: Int) -> Any:
        return self.explorer.alone(lambda: bool(element.contains(word)))

    def canonical(self, element: Any) -> Any:
        return self.explorer.alone(lambda: is_canonical(element))

    def all(self, *conditions: Any) -> Any:
        return Bool(z3.And(*map(condition, conditions)))

    def any(self, *conditions: Any) -> Any:
        return Bool(z3.Or(*map(condition, conditions)))

    def negation(self, value: Any) -> Any:
        return Bool(z3.Not(condition(value)))
