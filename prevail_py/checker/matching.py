"""How a claimed state covers the state of a path: a word of the path for each symbol of the claim.

Symbols are existentially quantified, so any choice of words will do.  A symbol that stands in a register or a cell is
what the path has there; an operand is what the operation was applied to; one that stands only in an equation follows
from it.  Whatever is chosen, all that the claim says of its symbols is then required of those words.
"""

from __future__ import annotations

from prevail_py.checker.certificate import Bad, Claim, Pointer, Value
from prevail_py.checker.state import Frame, Path
from prevail_py.checker.words import ZERO, Compare, Formula, Node, Word, definition, equal, substitute
from prevail_py.words import OpKind

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
        saved = [(len(wanted.saved), len(frame.saved)) for wanted, frame in zip(claim.frames, path.frames, strict=True)]
        if len(held) != len(claim.references) or any(a != b for a, b in saved):
            return None
        pairs = list(zip(claim.registers, path.registers, strict=True))
        for wanted, frame in zip(claim.frames, path.frames, strict=True):
            pairs += zip(wanted.saved, frame.saved, strict=True)
        pairs += [(claim.packet_size, path.size), (claim.packet_meta, path.meta)]
        pairs += zip(claim.references, held, strict=True)
        if not all(self._value(wanted, path.value(value)) for wanted, value in pairs):
            return None
        if not all(map(self._frame, range(len(path.frames)))):
            return None
        for fact in claim.facts:
            found = definition(fact)
            if found is not None and found[0] in self.words:
                self._operands(*found)
        for fact in claim.facts:
            self._solve(fact)
        return self.wanted + [substitute(fact, self._replaced) for fact in claim.facts]

    def _value(self, wanted: Value, value: Value) -> bool:
        if isinstance(wanted, Bad):
            return wanted is Bad.UNWRITTEN or value is not Bad.UNWRITTEN
        if isinstance(wanted, Word):
            return isinstance(value, Word) and self._word(wanted, value)
        same = isinstance(value, Pointer) and wanted.region == value.region
        return same and isinstance(value, Pointer) and all(map(self._word, wanted[1:], value[1:]))

    def _word(self, wanted: Word, word: Word) -> bool:
        word = self.path.known.resolved(word)
        if wanted.node is not None and wanted.node not in self.words:
            self.words[wanted.node] = word.plus(-wanted.offset)
            return True
        expected = self.path.known.resolved(self._replaced(wanted))
        if expected.node is None:  # nothing to ask the solver where they cannot be equal
            lo, hi = self.path.known.bounds(word)
            if not lo <= expected.offset <= hi:
                return False
        self.wanted.append(equal(expected, word))
        return True

    def _frame(self, depth: int) -> bool:
        wanted, frame = self.claim.frames[depth], self.path.frames[depth]
        if wanted.initialised & ~frame.initialised:
            return False
        for offset, size, value in wanted.cells:
            if not isinstance(value, Bad) and not self._value(value, self._cell(frame, offset, size)):
                return False
        # A slot of which the claim says nothing holds a number, if it may be read.
        told = {offset for offset, _, value in wanted.cells if not isinstance(value, Word)}
        slots = {at & ~7 for at, (value, _) in frame.bytes.items() if not isinstance(value, Word)} - told
        readable = [slot for slot in slots if wanted.initialised >> slot & 0xFF == 0xFF]
        return all(isinstance(self.path.value(frame.pointer_at(slot) or ZERO), Word) for slot in readable)

    def _cell(self, frame: Frame, offset: int, size: int) -> Value:
        return self.path.value(self.path.read_stack(frame, offset, size))

    def _operands(self, symbol: Node, node: Node) -> None:
        word = self.words[symbol]
        known = None if word.node is None or word.offset else self.path.known.definitions.get(word.node, word.node)
        alike = known is not None and known.op is not None and node.op is not None and known.op.kind is node.op.kind
        if node.op is not None and node.op.source and not alike:
            word = self.path.compute(OpKind.ZEXT, word, width=node.op.source)
        for i, arg in enumerate(node.args):
            if arg.node is not None and arg.node.op is None and arg.node not in self.words:
                self.words[arg.node] = (known.args[i] if alike and known is not None else word).plus(-arg.offset)

    def _solve(self, fact: Formula) -> None:
        """Where a fact is an equation with a sum that one symbol was not met before, take what makes it true."""
        if not isinstance(fact, Compare) or fact.right.node is None or fact.right.node.op is None:
            return
        node = fact.right.node
        (left, right), kind = (node.args * 2)[:2], node.op.kind if node.op is not None else None
        if kind is OpKind.ADD and right.node is not None and right.node.op is None and right.node not in self.words:
            rest = self.path.compute(OpKind.SUB, self._replaced(fact.left), self._replaced(left))
            self.words[right.node] = rest.plus(-fact.right.offset - right.offset)

    def _replaced(self, word: Word) -> Word:
        """A word of the claim in terms of the path; a symbol that stands for nothing is 0."""
        node = word.node
        if node is None:
            return word
        if node not in self.words and node.op is not None:
            self.words[node] = self.path.known.compute(node.op, tuple([self._replaced(arg) for arg in node.args]))
        return self.words.setdefault(node, ZERO).plus(word.offset)
