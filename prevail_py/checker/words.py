"""Words as terms over unknowns, and formulas about them.

A :class:`Word` is a constant, or a node plus a constant; a node is an unknown (a symbol of an invariant, what a load or
a helper gave) or an operation on words.  Operations and comparisons mean what :mod:`prevail_py.words` says: the checker
has no semantics of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from prevail_py.words import INT, Comparison, OpKind, WordOp, evaluate

__all__ = ["MASK", "NEVER", "ZERO", "AtMost", "Compare", "Formula", "Node", "Word", "between", "equal", "fold",
           "nodes_of", "number", "signed_between", "substitute"]  # fmt: skip

MASK: Final = (1 << 64) - 1


class Node:
    """An unknown word, or ``op`` of ``args``, which have lower numbers; ``below`` are the nodes in it."""

    __slots__ = ("args", "below", "number", "op")

    def __init__(self, number: int, op: WordOp | None = None, args: tuple[Word, ...] = ()) -> None:
        self.number, self.op, self.args = number, op, args
        parts = [word.node.below for word in args if word.node is not None]
        self.below: frozenset[Node] = frozenset((self,)).union(*parts)


class Word(NamedTuple):
    """``node + offset`` modulo 2**64, or the constant ``offset``."""

    node: Node | None
    offset: int

    def plus(self, amount: int) -> Word:
        """The word ``amount`` further on."""
        return Word(self.node, self.offset + amount & MASK)


class Compare(NamedTuple):
    """A comparison of the low ``width`` bits of two words."""

    comparison: Comparison
    left: Word
    right: Word
    width: int = 64


class AtMost(NamedTuple):
    """The sum of some words less that of others, as integers read as signed, is at most ``most``."""

    plus: tuple[Word, ...]
    less: tuple[Word, ...]
    most: int


Formula: TypeAlias = Compare | AtMost


def number(value: int) -> Word:
    """A constant."""
    return Word(None, value & MASK)


ZERO: Final = number(0)
NEVER: Final = Compare(Comparison.NE, ZERO, ZERO)
"""What holds in no run."""


def equal(left: Word, right: Word) -> Formula:
    """Two words are the same."""
    return Compare(Comparison.EQ, left, right)


def between(word: Word, lo: int, hi: int) -> tuple[Formula, ...]:
    """The unsigned word lies in ``lo..hi``."""
    return Compare(Comparison.ULE, number(lo), word), Compare(Comparison.ULE, word, number(hi))


def signed_between(word: Word, lo: int, hi: int) -> tuple[Formula, ...]:
    """The signed word lies in ``lo..hi``."""
    return Compare(Comparison.SLE, number(lo), word), Compare(Comparison.SLE, word, number(hi))


def substitute(formula: Formula, change: Callable[[Word], Word]) -> Formula:
    """The formula about other words."""
    if isinstance(formula, Compare):
        return formula._replace(left=change(formula.left), right=change(formula.right))
    return AtMost(tuple(map(change, formula.plus)), tuple(map(change, formula.less)), formula.most)


def nodes_of(formula: Formula) -> set[Node]:
    """The nodes that a formula itself speaks of."""
    words = formula[1:3] if isinstance(formula, Compare) else formula.plus + formula.less
    return {word.node for word in words if word.node is not None}


def fold(op: WordOp, args: tuple[Word, ...]) -> Word | None:
    """The result where it takes no node: of constants, and of sums with a constant."""
    if all(word.node is None for word in args):
        return number(evaluate(INT, op, tuple([word.offset for word in args])))
    if op.width != 64 or op.kind not in (OpKind.ADD, OpKind.SUB):
        return None
    a, b = args
    if op.kind is OpKind.SUB and a.node is b.node:
        return number(a.offset - b.offset)
    if b.node is None:
        return a.plus(b.offset if op.kind is OpKind.ADD else -b.offset)
    return b.plus(a.offset) if a.node is None and op.kind is OpKind.ADD else None
