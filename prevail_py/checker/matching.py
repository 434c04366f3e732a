"""How a claimed state covers the state of a path: a word of the path for each symbol of the claim.

Symbols are existentially quantified, so any choice of words will do.  A node that stands in a register or a cell is
what the path has there; an operand is what the operation was applied to; any other node is computed from its operands.
Whatever is chosen, all that the claim says of its nodes is then required of those words.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap

from prevail_py.checker.certificate import Bad, Claim, FrameClaim, Pointer, Value
from prevail_py.checker.state import Frame, Path
from prevail_py.checker.words import ZERO, Formula, Node, Word, equal, substitute
from prevail_py.words import OpKind, WordOp

__all__ = ["Matching"]


class Matching:
    """One claim against one path."""

    def __init__(self, path: Path, claim: Claim) -> None:
        self.path, self.claim = path, claim
        self.words: dict[Node, Word] = {}
        self.wanted: list[Formula] = []

    def goals(self) -> list[Formula] | None:
        """What is to be shown for the claim to cover the path; None where it is of another shape."""
        path, claim = self.path, self.claim
        held = [base for base in path.references if path.known.resolved(base) != ZERO]
        pairs: list[tuple[Sequence[Value], Sequence[Value]]] = [(claim.registers, path.registers)]
        pairs += [(claim.packet, path.packet), (claim.references, held)]
        pairs += [(wanted.saved, frame.saved) for wanted, frame in zip(claim.frames, path.frames, strict=True)]
        if not all(starmap(self._values, pairs)) or not all(map(self._frame, claim.frames, path.frames)):
            return None
        for node in reversed(claim.nodes):
            if node.op is not None and node in self.words:
                self._operands(node, node.op)
        for node in claim.nodes:
            self._computed(node)
        return self.wanted + [substitute(fact, self._replaced) for fact in claim.facts]

    def _values(self, wanted: Sequence[Value], values: Sequence[Value]) -> bool:
        return len(wanted) == len(values) and all(map(self._value, wanted, map(self.path.value, values)))

    def _value(self, wanted: Value, value: Value) -> bool:
        if isinstance(wanted, Bad):
            return wanted is Bad.UNWRITTEN or value is not Bad.UNWRITTEN
        if isinstance(wanted, Word):
            return isinstance(value, Word) and self._word(wanted, value)
        same = isinstance(value, Pointer) and wanted.region == value.region
        return same and isinstance(value, Pointer) and all(map(self._word, wanted[1:], value[1:]))

    def _word(self, wanted: Word, word: Word) -> bool:
        if wanted.node is not None and wanted.node not in self.words:
            self.words[wanted.node] = word.plus(-wanted.offset)
            return True
        expected = self._replaced(wanted)
        self.wanted.append(equal(expected, word))
        (a, b), (c, d) = map(self.path.known.bounds, (expected, word))
        return a <= d and c <= b  # else there is nothing to ask the solver: they cannot be equal

    def _frame(self, wanted: FrameClaim, frame: Frame) -> bool:
        if wanted.initialised & ~frame.initialised:
            return False
        for offset, size, value in wanted.cells:
            held = self.path.value(self.path.read_stack(frame, offset, size))
            if not isinstance(value, Bad) and not self._value(value, held):
                return False
        # A slot of which the claim says nothing holds a number, if it may be read.
        told = {offset for offset, _, value in wanted.cells if not isinstance(value, Word)}
        slots = {at & ~7 for at, (value, _) in frame.bytes.items() if not isinstance(value, Word)} - told
        readable = [slot for slot in slots if wanted.initialised >> slot & 0xFF == 0xFF]
        return all(isinstance(self.path.value(frame.pointer_at(slot) or ZERO), Word) for slot in readable)

    def _operands(self, node: Node, op: WordOp) -> None:
        """Choose words for the operands of a node that stands somewhere."""
        word = self.words[node]
        below = () if word.node is None else sorted(word.node.below, key=lambda each: -each.number)
        same = [each for each in below if each.op is not None and each.op.kind is op.kind]
        # A path may have got to the same word in more steps.
        known = next((one for one in same if one is word.node or self.path.shows([equal(Word(one, 0), word)])), None)
        guess = self.path.compute(OpKind.ZEXT, word, width=op.source) if op.source else word
        args = (guess, guess) if known is None else known.args
        for wanted, arg in zip(node.args, args, strict=False):
            if wanted.node is not None:
                self.words.setdefault(wanted.node, arg.plus(-wanted.offset))

    def _computed(self, node: Node) -> None:
        """Give a node its word; a symbol that stands for nothing is 0.  Those that it is computed from have theirs."""
        if node.op is None:
            self.words.setdefault(node, ZERO)
            return
        word = self.path.known.compute(node.op, tuple(map(self._replaced, node.args)))
        if self.words.setdefault(node, word) != word:
            self.wanted.append(equal(self.words[node], word))

    def _replaced(self, word: Word) -> Word:
        """A word of the claim in terms of the path."""
        return word if word.node is None else self.words[word.node].plus(word.offset)
