"""What is known on one path: formulas that hold, and unsigned bounds that follow from them at once.

The bounds only ever use what was assumed.  They are there for speed, and to tell constants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prevail_py.checker.words import MASK, Compare, Formula, Node, Word, between, fold, number
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, to_signed

__all__ = ["Dead", "Knowledge"]

Bounds = tuple[int, int]
_FULL: Final = (0, MASK)
_HALF: Final = 1 << 63
_UNSIGNED: Final = {
    Comparison.SLT: Comparison.ULT, Comparison.SLE: Comparison.ULE, Comparison.SGT: Comparison.UGT,
    Comparison.SGE: Comparison.UGE,
}  # fmt: skip
"""Signed comparisons, and what they are on words without sign."""


class Dead(Exception):  # noqa: N818 - an answer
    """No run is on this path: that is proved, and nothing pends."""


class Knowledge:
    """The formulas that hold on a path, and the nodes that there are."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.facts: list[Formula] = []
        self.last = 0  # the highest number of a node
        self._bounds: dict[Node, Bounds] = {}
        self._nodes: dict[tuple[WordOp, tuple[Word, ...]], Node] = {}
        for node in nodes:
            self._add(node)

    def copy(self) -> Knowledge:
        """For a path that parts from this one."""
        other = Knowledge()
        other.facts, other.last = list(self.facts), self.last
        other._bounds, other._nodes = dict(self._bounds), dict(self._nodes)
        return other

    def _add(self, node: Node) -> Word:
        self.last = node.number
        if node.op is not None:
            self._nodes[node.op, node.args] = node
            self._bounds[node] = _apply(node.op, [self.bounds(word) for word in node.args])
        return self.resolved(Word(node, 0))

    def unknown(self, lo: int = 0, hi: int = MASK) -> Word:
        """A new unknown word in ``lo..hi``, unsigned."""
        word = self._add(Node(self.last + 1))
        for fact in between(word, lo, hi) if (lo, hi) != _FULL else ():
            self.assume(fact)
        return word

    def compute(self, op: WordOp, args: tuple[Word, ...]) -> Word:
        """``op(*args)``: the same word for the same arguments, an argument itself where nothing changes it."""
        if op.kind is OpKind.ZEXT and self.bounds(args[0])[1] < 1 << op.width:
            return args[0]
        args = tuple([self.resolved(word) for word in args])
        folded = fold(op, args)
        if folded is not None:
            return folded
        known = self._nodes.get((op, args))
        return self._add(Node(self.last + 1, op, args)) if known is None else self.resolved(Word(known, 0))

    def bounds(self, word: Word) -> Bounds:
        """Bounds of a word, unsigned."""
        if word.node is None:
            return word.offset, word.offset
        lo, hi = self._bounds.get(word.node, _FULL)
        for shift in (word.offset, word.offset - MASK - 1):
            if lo + shift >= 0 and hi + shift <= MASK:
                return lo + shift, hi + shift
        return _FULL

    def resolved(self, word: Word) -> Word:
        """The constant that a word is known to be, or itself."""
        lo, hi = self.bounds(word)
        return number(lo) if lo == hi else word

    # Assuming -----------------------------------------------------------------------------------------------------

    def assume(self, formula: Formula) -> None:
        """Take a formula for granted.  Raises Dead where it is seen not to hold."""
        if self.holds(formula):
            return
        self.facts.append(formula)
        if isinstance(formula, Compare) and self._is_whole(formula):
            comparison, left, right, _ = formula
            for word, relation, other in ((left, comparison, right), (right, comparison.swapped, left)):
                self._narrow(word, _UNSIGNED.get(relation, relation), *self.bounds(other))

    def _is_whole(self, formula: Compare) -> bool:
        """Whether the comparison is one of the whole words, read as unsigned."""
        comparison, left, right, width = formula
        limit = (1 << (width - (comparison in _UNSIGNED))) - 1
        return limit == MASK or max(self.bounds(left)[1], self.bounds(right)[1]) <= limit

    def _narrow(self, word: Word, relation: Comparison, lo: int, hi: int) -> None:
        """A word stands in a relation to some word in ``lo..hi``."""
        least, most = self.bounds(word)
        ends = {Comparison.EQ: (lo, hi), Comparison.ULT: (0, hi - 1), Comparison.ULE: (0, hi),
                Comparison.UGT: (lo + 1, MASK), Comparison.UGE: (lo, MASK)}  # fmt: skip
        if relation is Comparison.NE and lo == hi:
            ends[relation] = least + (least == lo), most - (most == lo)
        lo, hi = ends.get(relation, _FULL)
        lo, hi = max(lo, least), min(hi, most)
        if lo > hi:
            raise Dead
        if word.node is not None and (lo >= word.offset or hi < word.offset):  # else they lie on both sides of a wrap
            least, most = self._bounds.get(word.node, _FULL)
            self._bounds[word.node] = max(lo - word.offset & MASK, least), min(hi - word.offset & MASK, most)
            if self._bounds[word.node][0] > self._bounds[word.node][1]:
                raise Dead

    # Answering ----------------------------------------------------------------------------------------------------

    def holds(self, formula: Formula) -> bool:
        """Whether a formula is at once seen to hold."""
        if formula in self.facts:
            return True
        if not isinstance(formula, Compare):
            plus, less, most = formula
            return sum(self._signed(word)[1] for word in plus) - sum(self._signed(word)[0] for word in less) <= most
        comparison, left, right, width = formula
        (a, b), (c, d) = self.bounds(left), self.bounds(right)
        if left == right and comparison in (Comparison.EQ, Comparison.ULE, Comparison.SLE):
            return True
        if a == b and c == d:
            return compare(INT, comparison, a, c, width)
        decided = {Comparison.ULE: b <= c, Comparison.ULT: b < c, Comparison.NE: b < c or d < a}
        return decided.get(_UNSIGNED.get(comparison, comparison), False) and self._is_whole(formula)

    def _signed(self, word: Word) -> Bounds:
        lo, hi = self.bounds(word)
        return (to_signed(lo, 64), to_signed(hi, 64)) if lo >= _HALF or hi < _HALF else (-_HALF, _HALF - 1)


def _apply(op: WordOp, args: list[Bounds]) -> Bounds:
    """Bounds of an operation on words within bounds."""
    most = (1 << op.width) - 1
    (a, b), (c, d) = ((lo, hi) if hi <= most else (0, most) for lo, hi in (args[0], args[-1]))
    least, far = (c, d) if d < op.width else (0, op.width - 1)  # shifts are modulo the width
    bounds = {
        OpKind.ADD: (a + c, b + d), OpKind.SUB: (a - d, b - c), OpKind.MUL: (a * c, b * d),
        OpKind.LSH: (a << least, b << far), OpKind.RSH: (a >> far, b >> least),
        OpKind.AND: (0, min(b, d)), OpKind.UDIV: (0, b), OpKind.UMOD: (0, min(b, d - 1) if c else b),
    }  # fmt: skip
    bounds[OpKind.OR] = bounds[OpKind.XOR] = 0, (1 << max(b, d).bit_length()) - 1
    lo, hi = bounds.get(op.kind, (0, most))
    return (lo, hi) if lo >= 0 and hi <= most else (0, most)
