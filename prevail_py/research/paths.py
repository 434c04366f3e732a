"""The path of a run: the conditions it depends on, as terms over its inputs.

Inputs are the size and bytes of the packet, the bytes of the context's scalar fields, the initial bytes of map values,
and whether a table has a key that was looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import z3

from prevail_py.verifier.smt.algebra import Predicate, Word, Z3Algebra
from prevail_py.vm.scenario import Scenario

__all__ = ["SIZE", "Condition", "Input", "InputKind", "Lookup", "Term", "Trace"]


class InputKind(IntEnum):
    """What an input is."""

    SIZE = 0
    PACKET = 1
    CONTEXT = 2
    VALUE = 3
    PRESENT = 4


class Input(NamedTuple):
    """One unknown: a byte at ``offset`` of the packet, the context, or the value of ``map`` with ``key``.

    SIZE is the packet's size, a word, and PRESENT whether ``map`` has ``key``, a truth value.
    """

    kind: InputKind
    offset: int = 0
    map: int = 0
    key: bytes = b""


SIZE: Final = Input(InputKind.SIZE)


class Term(NamedTuple):
    """An expression over inputs: of 64 bits in a register, of 8 in memory."""

    expression: Word
    inputs: frozenset[Input]


@dataclass(frozen=True, slots=True)
class Condition:
    """What held at slot ``pc``: had it not, control would have gone to slot ``other``.

    ``other`` is None where there is no other way to go.  ``turn`` identifies the path that goes the same way up to here
    and then the other way; ``lookups`` of the trace came before.
    """

    pc: int
    holds: Predicate
    inputs: frozenset[Input]
    other: int | None
    turn: int
    lookups: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """The program asked for ``key``, whose bytes follow from the inputs as ``terms`` say.

    ``present`` is the input that decided whether it was ``found``, None where a value is always there.
    """

    map: int
    key: bytes
    terms: tuple[Term | None, ...]
    found: bool
    present: Input | None = None


@dataclass(slots=True)
class Trace:
    """One run: the conditions of its path in order, and what its inputs were."""

    scenario: Scenario
    algebra: Z3Algebra
    conditions: list[Condition] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    visited: set[int] = field(default_factory=set)
    packet: bytes = b""
    context: bytes = b""
    sizes: tuple[int, ...] = ()
    values: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    present: dict[Input, bool] = field(default_factory=dict)
    _symbols: dict[Input, z3.ExprRef] = field(default_factory=dict)

    def symbol(self, input: Input) -> z3.ExprRef:
        """The Z3 constant that stands for an input."""
        symbol = self._symbols.get(input)
        if symbol is None:
            name = f"{input.kind.name.lower()} {input.map} {input.key.hex()} {input.offset}"
            context = self.algebra.context
            match input.kind:
                case InputKind.PRESENT:
                    symbol = z3.Bool(name, context)
                case InputKind.SIZE:
                    symbol = z3.BitVec(name, 64, context)
                case _:
                    symbol = z3.BitVec(name, 8, context)
            self._symbols[input] = symbol
        return symbol

    def word(self, input: Input) -> int:
        """What an input was in this run."""
        match input.kind:
            case InputKind.SIZE:
                return len(self.packet)
            case InputKind.PACKET:
                return self.packet[input.offset]
            case InputKind.CONTEXT:
                return self.context[input.offset]
            case InputKind.VALUE:
                return self.values[input.map, input.key][input.offset]
            case InputKind.PRESENT:
                return self.present[input]

    def evaluate(
        self, expression: z3.ExprRef, inputs: Iterable[Input], assignment: Mapping[Input, int] = MappingProxyType({})
    ) -> int:
        """What an expression over ``inputs`` is where some inputs are as assigned and the others as in this run."""
        context, pairs = self.algebra.context, []
        for input in sorted(inputs):
            symbol, word = self.symbol(input), assignment.get(input, self.word(input))
            if z3.is_bool(symbol):
                pairs.append((symbol, z3.BoolVal(bool(word), context)))
            else:
                pairs.append((symbol, z3.BitVecVal(word, symbol.size(), context)))
        result = z3.simplify(z3.substitute(expression, pairs))
        return int(z3.is_true(result)) if z3.is_bool(result) else int(result.as_long())
