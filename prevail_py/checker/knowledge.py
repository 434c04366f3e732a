"""What is known on one path: formulas that hold, unsigned bounds that follow at once, and Z3 for the rest.

The bounds only ever use what was assumed.  They are there for speed, and to tell constants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from prevail_py.checker.words import (
    MASK,
    NEVER,
    AtMost,
    Cases,
    Compare,
    Formula,
    Node,
    Word,
    between,
    declaration,
    definition,
    fold,
    nodes_of,
    number,
    text,
)  # fmt: skip
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, to_signed

__all__ = ["RESOURCES", "Dead", "Knowledge", "Solver"]

RESOURCES: Final = 20_000_000
"""Z3's measure of effort (``rlimit``) for one question: some seconds."""

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
    """The formulas that hold on a path; ``definitions`` say how symbols were computed."""

    __slots__ = ("_bounds", "_known", "_nodes", "definitions", "facts", "last")

    def __init__(self, last: int = 0) -> None:
        self.facts: list[Formula] = []
        self.definitions: dict[Node, Node] = {}
        self.last = last  # the highest number of a node
        self._known: set[Formula] = set()
        self._bounds: dict[Node, Bounds] = {}
        self._nodes: dict[tuple[WordOp, tuple[Word, ...]], Node] = {}

    def copy(self) -> Knowledge:
        """For a path that parts from this one."""
        other = Knowledge(self.last)
        other.facts, other.definitions = list(self.facts), dict(self.definitions)
        other._known, other._bounds, other._nodes = set(self._known), dict(self._bounds), dict(self._nodes)
        return other

    def unknown(self, lo: int = 0, hi: int = MASK) -> Word:
        """A new unknown word in ``lo..hi``, unsigned."""
        self.last += 1
        word = Word(Node(self.last), 0)
        for fact in between(word, lo, hi) if (lo, hi) != _FULL else ():
            self.assume(fact)
        return word

    def compute(self, op: WordOp, args: tuple[Word, ...]) -> Word:
        """``op(*args)``: the same word for the same arguments, an argument itself where nothing changes it."""
        args = tuple([self.resolved(word) for word in args])
        folded = fold(op, args)
        if folded is not None:
            return folded
        bounds = [self.bounds(word) for word in args]
        if op.kind is OpKind.ZEXT and bounds[0][1] < 1 << op.width:
            return args[0]
        node = self._nodes.get((op, args))
        if node is None:
            self.last += 1
            node = self._nodes[op, args] = Node(self.last, op, args)
            self._bounds[node] = _apply(op, bounds)
        return self.resolved(Word(node, 0))

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
        if formula in self._known:
            return
        self._known.add(formula)
        self.facts.append(formula)
        pending = list(nodes_of(formula))
        while pending:
            node = pending.pop()
            if node.op is not None:
                self._nodes.setdefault((node.op, node.args), node)
            pending += [word.node for word in node.args if word.node is not None]
        found = definition(formula)
        if found is not None and found[1].op is not None:
            self.definitions[found[0]] = found[1]
            self._nodes[found[1].op, found[1].args] = found[0]  # it is called so from now on
        if isinstance(formula, Compare) and self._small(formula):
            self._bound(_UNSIGNED.get(formula.comparison, formula.comparison), formula.left, formula.right)

    def _small(self, formula: Compare) -> bool:
        """Whether the comparison is one of the whole words, read as unsigned."""
        comparison, left, right, width = formula
        limit = (1 << (width - (comparison in _UNSIGNED))) - 1
        return limit == MASK or max(self.bounds(left)[1], self.bounds(right)[1]) <= limit

    def _bound(self, comparison: Comparison, left: Word, right: Word) -> None:
        (a, b), (c, d) = self.bounds(left), self.bounds(right)
        match comparison:
            case Comparison.UGT | Comparison.UGE:
                self._bound(comparison.swapped, right, left)
            case Comparison.EQ:
                self._narrow(left, c, d)
                self._narrow(right, a, b)
            case Comparison.NE if c == d:
                self._narrow(left, a + (a == c), b - (b == c))
            case Comparison.NE if a == b:
                self._narrow(right, c + (c == a), d - (d == a))
            case Comparison.ULT | Comparison.ULE:
                strict = comparison is Comparison.ULT
                self._narrow(left, 0, d - strict)
                self._narrow(right, a + strict, MASK)

    def _narrow(self, word: Word, lo: int, hi: int) -> None:
        known = self.bounds(word)
        lo, hi = max(lo, known[0]), min(hi, known[1])
        if lo > hi:
            raise Dead
        if word.node is not None and (lo >= word.offset or hi < word.offset):  # else they lie on both sides of a wrap
            before = self._bounds.get(word.node, _FULL)
            narrowed = max(lo - word.offset & MASK, before[0]), min(hi - word.offset & MASK, before[1])
            if narrowed[0] > narrowed[1]:
                raise Dead
            self._bounds[word.node] = narrowed

    # Answering ----------------------------------------------------------------------------------------------------

    def holds(self, formula: Formula) -> bool:
        """Whether a formula is at once seen to hold."""
        if formula in self._known:
            return True
        match formula:
            case Compare(comparison, left, right, width):
                (a, b), (c, d) = self.bounds(left), self.bounds(right)
                if left == right and comparison in (Comparison.EQ, Comparison.ULE, Comparison.SLE):
                    return True
                if a == b and c == d:
                    return compare(INT, comparison, a, c, width)
                order = _UNSIGNED.get(comparison, comparison)
                decided = {Comparison.ULE: b <= c, Comparison.ULT: b < c, Comparison.NE: b < c or d < a}
                return decided.get(order, False) and self._small(formula)
            case AtMost(plus, less, most):
                return sum(self._signed(word)[1] for word in plus) - sum(self._signed(word)[0] for word in less) <= most
            case Cases(cases):
                return any(all(map(self.holds, case)) for case in cases)

    def _signed(self, word: Word) -> Bounds:
        lo, hi = self.bounds(word)
        return (to_signed(lo, 64), to_signed(hi, 64)) if lo >= _HALF or hi < _HALF else (-_HALF, _HALF - 1)


def _apply(op: WordOp, args: list[Bounds]) -> Bounds:
    """Bounds of an operation on words within bounds."""
    most = (1 << op.width) - 1
    (a, b), (c, d) = ((lo, hi) if hi <= most else (0, most) for lo, hi in (args[0], args[-1]))
    match op.kind:
        case OpKind.ADD if b + d <= most:
            return a + c, b + d
        case OpKind.SUB if a >= d:
            return a - d, b - c
        case OpKind.MUL if b * d <= most:
            return a * c, b * d
        case OpKind.LSH if c == d and b << (c & (op.width - 1)) <= most:
            return a << (c & (op.width - 1)), b << (c & (op.width - 1))
        case OpKind.RSH if c == d:
            return a >> (c & (op.width - 1)), b >> (c & (op.width - 1))
        case OpKind.AND:
            return 0, min(b, d)
        case OpKind.OR | OpKind.XOR:
            return 0, (1 << max(b, d).bit_length()) - 1
        case OpKind.UMOD if c:
            return 0, min(b, d - 1)
        case OpKind.UDIV | OpKind.UMOD | OpKind.RSH:
            return 0, b
        case _:
            return 0, most


class Solver:
    """Z3, asked in SMT-LIB: one question at a time, each within the same resources; its seed is fixed by default."""

    def __init__(self, resources: int = RESOURCES) -> None:
        self.resources = resources
        self.questions = 0
        self._context: Any = None

    def proves(self, facts: list[Formula], goals: Iterable[Formula] = (NEVER,)) -> bool | None:
        """Whether the goals follow from the facts; None where the resources did not suffice."""
        self.questions += 1
        goals = tuple(goals)
        relevant = _relevant(facts, goals)
        nodes: set[Node] = set()
        pending = [node for formula in (*relevant, *goals) for node in nodes_of(formula)]
        while pending:
            node = pending.pop()
            if node not in nodes:
                nodes.add(node)
                pending += [word.node for word in node.args if word.node is not None]
        lines = [declaration(node) for node in sorted(nodes, key=lambda node: node.number)]
        lines += [f"(assert {text(fact)})" for fact in relevant]
        lines.append(f"(assert (not {text(Cases((goals,)))}))")
        # To Z3 the limit is an option of the process: it is only there while this question is asked.
        limited = f"(set-option :rlimit {self.resources})(check-sat)(set-option :rlimit 0)"
        return {"unsat": True, "sat": False}.get(self._ask("(push)" + "\n".join(lines) + f"{limited}(pop)"))

    def _ask(self, script: str) -> str:
        import z3

        self._context = self._context or z3.Context()
        return str(z3.z3core.Z3_eval_smtlib2_string(self._context.ref(), script)).strip()


def _relevant(facts: list[Formula], goals: tuple[Formula, ...]) -> list[Formula]:
    """The facts about the unknowns of the goals, directly or through others; with NEVER among the goals, all.

    The rest could only matter where it contradicts itself.
    """
    if NEVER in goals:
        return facts
    waiting = [(fact, _unknowns(fact)) for fact in facts]
    reached = set[Node]().union(*map(_unknowns, goals))
    chosen: list[Formula] = []
    grew = True
    while grew:
        near = [pair for pair in waiting if not reached.isdisjoint(pair[1])]
        waiting = [pair for pair in waiting if reached.isdisjoint(pair[1])]
        chosen += [fact for fact, _ in near]
        reached.update(*[unknowns for _, unknowns in near])
        grew = bool(near)
    return chosen


def _unknowns(formula: Formula) -> frozenset[Node]:
    return frozenset().union(*[node.unknowns for node in nodes_of(formula)])
