"""Words as terms over unknowns, formulas about them, and their reading in SMT-LIB.

A :class:`Word` is a constant, or a node plus a constant; a node is an unknown (a symbol of an invariant, what a load or
a helper gave) or an operation on words.  Operations and comparisons mean what :mod:`prevail_py.words` says, evaluated
over SMT-LIB text: the checker has no semantics of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias, cast

from prevail_py.words import INT, Algebra, Comparison, OpKind, WordOp, compare, evaluate

__all__ = ["MASK", "NEVER", "ZERO", "AtMost", "Cases", "Compare", "Formula", "Node", "Word", "between", "declaration",
           "definition", "equal", "fold", "nodes_of", "number", "signed_between", "substitute", "text"]  # fmt: skip

MASK: Final = (1 << 64) - 1
_WIDE: Final = 68  # bits in which sums of a few signed words and a bound below 2**66 cannot overflow


class Node:
    """An unknown word, or ``op`` of ``args``, which have lower numbers; ``unknowns`` are those in it."""

    __slots__ = ("args", "number", "op", "unknowns")

    def __init__(self, number: int, op: WordOp | None = None, args: tuple[Word, ...] = ()) -> None:
        self.number, self.op, self.args = number, op, args
        parts = [word.node.unknowns for word in args if word.node is not None]
        self.unknowns: frozenset[Node] = frozenset((self,)) if op is None else frozenset().union(*parts)


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


class Cases(NamedTuple):
    """All formulas of one of the cases hold."""

    cases: tuple[tuple[Formula, ...], ...]


Formula: TypeAlias = Compare | AtMost | Cases

NEVER: Final = Cases(())
"""What holds in no run."""


def number(value: int) -> Word:
    """A constant."""
    return Word(None, value & MASK)


ZERO: Final = number(0)


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
    match formula:
        case Compare(comparison, left, right, width):
            return Compare(comparison, change(left), change(right), width)
        case AtMost(plus, less, most):
            return AtMost(tuple(map(change, plus)), tuple(map(change, less)), most)
        case Cases(cases):
            return Cases(tuple([tuple([substitute(each, change) for each in case]) for case in cases]))


def nodes_of(formula: Formula) -> set[Node]:
    """The nodes that a formula itself speaks of."""
    match formula:
        case Compare(_, left, right):
            words = [left, right]
        case AtMost(plus, less):
            words = [*plus, *less]
        case Cases(cases):
            return set().union(*[nodes_of(each) for case in cases for each in case])
    return {word.node for word in words if word.node is not None}


def definition(formula: Formula) -> tuple[Node, Node] | None:
    """The symbol and the operation of a formula that says that one is what the other computes."""
    if not isinstance(formula, Compare) or formula.comparison is not Comparison.EQ or formula.width != 64:
        return None
    (symbol, offset), (node, shift) = formula.left, formula.right
    if symbol is None or node is None or symbol.op is not None or node.op is None or offset or shift:
        return None
    return symbol, node


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


# SMT-LIB ----------------------------------------------------------------------------------------------------------


def _const(value: int, width: int) -> str:
    return f"(_ bv{value & (1 << width) - 1} {width})"


def _binary(name: str) -> Any:
    return lambda self, a, b, width: f"({name} {a} {b})"


def _shift(name: str) -> Any:
    return lambda self, a, b, width: f"({name} {a} (bvand {b} {_const(width - 1, width)}))"


def _division(name: str, by_zero: Callable[[str, int], str]) -> Any:
    return lambda self, a, b, width: f"(ite (= {b} {_const(0, width)}) {by_zero(a, width)} ({name} {a} {b}))"


def _extend(name: str) -> Any:
    return lambda self, a, width, to: a if to == width else f"((_ {name} {to - width}) {a})"


class _SmtLib:
    """The algebra of :mod:`prevail_py.words` over text: its quotients by zero, its shifts modulo the width."""

    add, sub, mul = _binary("bvadd"), _binary("bvsub"), _binary("bvmul")
    bit_and, bit_or, bit_xor = _binary("bvand"), _binary("bvor"), _binary("bvxor")
    shl, lshr, ashr = _shift("bvshl"), _shift("bvlshr"), _shift("bvashr")
    udiv, sdiv = (_division(name, lambda a, width: _const(0, width)) for name in ("bvudiv", "bvsdiv"))
    umod, smod = (_division(name, lambda a, width: a) for name in ("bvurem", "bvsrem"))
    zero_extend, sign_extend = _extend("zero_extend"), _extend("sign_extend")

    def const(self, value: int, width: int) -> str:
        return _const(value, width)

    def neg(self, a: str, width: int) -> str:
        return f"(bvneg {a})"

    def bswap(self, a: str, width: int) -> str:
        return f"(concat {' '.join(f'((_ extract {low + 7} {low}) {a})' for low in range(0, width, 8))})"

    def truncate(self, a: str, width: int, to: int) -> str:
        return a if to == width else f"((_ extract {to - 1} 0) {a})"

    def compare(self, comparison: Comparison, a: str, b: str, width: int) -> str:
        match comparison:
            case Comparison.EQ:
                return f"(= {a} {b})"
            case Comparison.NOT_SET:
                return f"(= (bvand {a} {b}) {_const(0, width)})"
            case Comparison.NE | Comparison.SET:
                return f"(not {self.compare(comparison.negation, a, b, width)})"
            case _:
                return f"(bv{comparison.name.lower()} {a} {b})"


_TEXT: Final = cast(Algebra[str, str], _SmtLib())


def _word(word: Word) -> str:
    if word.node is None:
        return _const(word.offset, 64)
    name = f"n{word.node.number}"
    return f"(bvadd {name} {_const(word.offset, 64)})" if word.offset else name


def declaration(node: Node) -> str:
    """The SMT-LIB command that introduces a node, once those that it is computed from have been."""
    if node.op is None:
        return f"(declare-const n{node.number} (_ BitVec 64))"
    value = evaluate(_TEXT, node.op, tuple([_word(word) for word in node.args]))
    return f"(define-fun n{node.number} () (_ BitVec 64) {value})"


def text(formula: Formula) -> str:
    """The formula in SMT-LIB."""
    match formula:
        case Compare(comparison, left, right, width):
            return compare(_TEXT, comparison, _word(left), _word(right), width)
        case AtMost(plus, less, most):
            sides = [" ".join([_TEXT.sign_extend(_word(word), 64, _WIDE) for word in side]) for side in (plus, less)]
            return f"(bvsle (bvadd {_const(0, _WIDE)} {sides[0]}) (bvadd {_const(most, _WIDE)} {sides[1]}))"
        case Cases(cases):
            return f"(or false {' '.join(f'(and true {chr(32).join(map(text, case))})' for case in cases)})"
