"""Certificates: what the fixpoint found, written down for a checker that shares nothing with it.

The document is described in ``docs/certificates.md``.  It has the states at the places that cut all loops: the entries
of functions, the blocks where paths join, and what is behind calls.  What holds between them the checker finds out by
itself.  This module is the only one that knows both the verifier's states and the format.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from prevail_py.cfg.graph import Block, FunctionGraph
from prevail_py.checker.certificate import KIND, SCHEMA, fingerprint
from prevail_py.domains.lattice import NO_SYMBOL, Facts, Symbol, Term
from prevail_py.domains.statements import (
    Bits,
    Congruent,
    Defined,
    Difference,
    Equation,
    InRange,
    Statement,
    Subtraction,
    Sum,
)
from prevail_py.isa.instructions import Call, CallLocal
from prevail_py.verifier.blocks import CallString
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import Pointer, RegionKind, Special, Value
from prevail_py.verifier.verdict import Discharged
from prevail_py.words import OpKind, WordOp

__all__ = ["certificate", "document"]

_MASK: Final = (1 << 64) - 1
_NOTHING: Final = (Special.POISON, Special.UNINITIALISED)
_ADD, _AND, _MUL, _UMOD = WordOp(OpKind.ADD), WordOp(OpKind.AND), WordOp(OpKind.MUL), WordOp(OpKind.UMOD)
_NAMED: Final = frozenset({RegionKind.MEMORY, RegionKind.OBJECT})


def document(certificates: Iterable[dict[str, Any]]) -> str:
    """The certificates of some programs of one object, as JSON: the same text for the same certificates."""
    return json.dumps({"kind": KIND, "schema": SCHEMA, "certificates": list(certificates)}, separators=(",", ":"))


def certificate(fixpoint: Fixpoint, discharged: Sequence[Discharged] = (), faithful: bool = True) -> dict[str, Any]:
    """The certificate of one program that was proved, by the solver where assertions are ``discharged``.

    What the solver found out it found on whole paths from the heads of loops.  So there the certificate leaves out the
    places where paths join, and the checker goes along these paths itself.  Where the fixpoint is not ``faithful``
    (:mod:`prevail_py.verifier.smt.discharge`), nothing but such heads is left.  Likewise in a loop whose invariant
    follows from itself along whole paths only (:meth:`Fixpoint.is_inductive`).
    """
    program = fixpoint.setting.program
    open_ahead = _Ahead(fixpoint, {(each.calls, each.pc) for each in discharged})
    rows: list[tuple[CallString, int, bool, list[State]]] = []
    along_paths = _along_whole_paths(fixpoint)
    ways: dict[int, Counter[int]] = {}  # by function: how many edges lead to each block
    for (calls, slot), states in fixpoint.invariants.items():
        graph = fixpoint.graph.function_at(slot)
        block = graph.block_of(slot)
        if graph.index not in ways:
            ways[graph.index] = Counter(edge.target for other in graph.blocks for edge in other.edges)
        kept = block.id == 0 or ways[graph.index][block.id] > 1
        if (calls, slot) in along_paths:
            kept = False
        elif discharged and kept and not _is_head(fixpoint, calls, graph, block):
            kept = faithful and not open_ahead.from_block(calls, graph, block)
        if kept:
            rows.append((calls, slot, False, states))
    for (calls, slot), states in fixpoint.returns.items():
        block = fixpoint.graph.block_of(slot)
        inside = discharged and isinstance(fixpoint.setting.program.code[slot], CallLocal)
        graph = fixpoint.graph.function_at(slot)
        if not inside or (faithful and not open_ahead.from_block(calls, graph, block)):
            rows.append((calls, slot, True, states))
    return {
        "program": program.name,
        "sha256": fingerprint(program),
        "invariants": [
            {"calls": list(calls), "slot": slot, "after_call": int(after), "states": _states(states)}
            for calls, slot, after, states in sorted(rows, key=lambda row: row[:3])
        ],
    }


def _along_whole_paths(fixpoint: Fixpoint) -> set[tuple[CallString, int]]:
    """The places in loops, apart from heads, where what joins says too little for the head's invariant to follow."""
    found: set[tuple[CallString, int]] = set()
    for calls, slot in fixpoint.invariants:
        graph = fixpoint.graph.function_at(slot)
        block, order = fixpoint.graph.block_of(slot), fixpoint.order_of(graph)
        start = order.order.index(block.id)
        if order.ends[start] > start and not fixpoint.is_inductive(calls, graph, block):
            inside = range(start + 1, order.ends[start])
            found |= {(calls, graph.blocks[order.order[i]].start) for i in inside if order.ends[i] <= i}
    return found


def _is_head(fixpoint: Fixpoint, calls: CallString, graph: FunctionGraph, block: Block) -> bool:
    """Whether execution starts anew there: at the head of a loop, or of a function that a helper calls."""
    by_helper = bool(calls) and isinstance(fixpoint.setting.program.code[calls[-1]], Call)
    order = fixpoint.order_of(graph)
    position = order.order.index(block.id)
    return order.ends[position] > position or (by_helper and block.id == 0)


class _Ahead:
    """Which blocks have one of some places ahead: on a way to the end of the program, heads of loops included."""

    def __init__(self, fixpoint: Fixpoint, places: set[tuple[CallString, int]]) -> None:
        self.graph = fixpoint.graph
        self.places = places
        self._blocks: dict[CallString, set[int]] = {}

    def from_block(self, calls: CallString, graph: FunctionGraph, block: Block) -> bool:
        """Whether a place is ahead of a block, in its function, those that it calls or those that called it."""
        known = self._blocks.get(calls)
        if known is None:
            known = self._blocks[calls] = self._ahead(calls, graph)
        if block.id in known:
            return True
        if not calls:
            return False
        caller = self.graph.function_at(calls[-1])
        return self.from_block(calls[:-1], caller, self.graph.block_of(calls[-1]))

    def _ahead(self, calls: CallString, graph: FunctionGraph) -> set[int]:
        depth = len(calls)
        slots = {pc if at == calls else at[depth] for at, pc in self.places if at[:depth] == calls}
        pending = [block.id for block in graph.blocks if not slots.isdisjoint(block.pcs)]
        found = set(pending)
        while pending:
            new = set(graph.predecessors[pending.pop()]) - found
            found |= new
            pending += new
        return found


def _states(states: Iterable[State]) -> list[dict[str, Any]]:
    written = [_Writer(state).document() for state in states if not state.facts.is_bottom()]
    # The same state may have been reached more than once.
    return list({json.dumps(each): each for each in written}.values())


class _Writer:
    """Writes one state.  Its nodes are symbols, operations that they are known to be, and those in facts."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.statements = sorted(statements_of(state.facts), key=_order)
        self.definitions = {each.symbol: each for each in self.statements if isinstance(each, Defined)}
        self.numbers: dict[Symbol, int] = {NO_SYMBOL: 0}
        self.nodes: list[list[Any]] = []
        self.operations: dict[str, int] = {}
        self._forget_what_is_gone()

    def _forget_what_is_gone(self) -> None:
        """Keep how a symbol was computed only where all operands still stand somewhere, or matter to another symbol.

        The rest says no more of the symbol than its ranges do, and its differences from others, and the
        checker would have to guess the operands.
        """
        state = self.state
        values: list[Value] = [*state.registers, state.packet_size, state.packet_meta, *state.references]
        for frame in state.frames:
            values += [*frame.saved, *(content for _, content in frame.cells.values())]
        standing = {NO_SYMBOL}
        for value in values:
            terms = (value.base, value.offset) if isinstance(value, Pointer) else (value,)
            standing.update(term.symbol for term in terms if isinstance(term, Term))
        reached, pending = set(standing), list(standing)
        while pending:
            defined = self.definitions.get(pending.pop())
            operands = {arg.symbol for arg in defined.args} - reached if defined else set()
            reached |= operands
            pending += operands
        self.definitions = {symbol: each for symbol, each in self.definitions.items() if symbol in reached}
        while True:
            uses = Counter(symbol for each in self.definitions.values() for symbol in {arg.symbol for arg in each.args})
            gone = {s for s, n in uses.items() if n == 1 and s not in standing and s not in self.definitions}
            kept = {s: each for s, each in self.definitions.items() if gone.isdisjoint(a.symbol for a in each.args)}
            if len(kept) == len(self.definitions):
                return
            self.definitions = kept

    def document(self) -> dict[str, Any]:
        state = self.state
        written = {
            "nodes": self.nodes,
            "registers": [self.value(value) for value in state.registers],
            "frames": [self.frame(frame) for frame in state.frames],
            "packet": [self.term(state.packet_size), self.term(state.packet_meta)],
            "references": [self.term(base) for base in state.references],
        }
        return {**written, "facts": self.facts()}

    def term(self, term: Term) -> list[int]:
        self.meet(term.symbol)
        return [self.numbers[term.symbol], term.offset]

    def word(self, symbol: Symbol) -> list[int]:
        return self.term(Term(symbol, 0))

    def meet(self, symbol: Symbol) -> None:
        """Make a node of a symbol, after those of the operands it was computed from."""
        pending = [symbol]
        while pending:
            defined = self.definitions.get(pending[-1])
            unmet = [arg.symbol for arg in defined.args if arg.symbol not in self.numbers] if defined else []
            pending += unmet
            if not unmet and (symbol := pending.pop()) not in self.numbers:
                if defined:
                    self.numbers[symbol] = self.operation(defined.op, *map(self.term, defined.args))[0]
                else:
                    self.nodes.append([])
                    self.numbers[symbol] = len(self.nodes)

    def operation(self, op: WordOp, *args: list[int]) -> list[int]:
        """The node of an operation, as a word."""
        node = [op.kind.value, op.width, op.source, *args]
        number = self.operations.setdefault(str(node), len(self.nodes) + 1)
        if number > len(self.nodes):
            self.nodes.append(node)
        return [number, 0]

    def value(self, value: Value) -> Any:
        if isinstance(value, Term):
            return self.term(value)
        if isinstance(value, Pointer):
            region, name = value.region, value.region.name if value.region.kind in _NAMED else ""
            place = [region.kind.value, region.index, int(region.inner), region.size, name]
            return [*place, self.term(value.base), self.term(value.offset)]
        return "unusable" if value in (Special.STALE, Special.DANGLING, Special.UNUSABLE) else None

    def frame(self, frame: Frame) -> list[Any]:
        cells = [
            [offset, size, "unusable" if content in _NOTHING else self.value(content)]
            for offset, (size, content) in sorted(frame.cells.items())
        ]
        return [f"{frame.initialised:x}", cells, [self.value(value) for value in frame.saved]]

    # Facts --------------------------------------------------------------------------------------------------------

    def facts(self) -> list[list[Any]]:
        """What is known of symbols that stand somewhere, and of those that these were computed from."""
        for each in self.statements:
            if isinstance(each, Equation):
                unmet = [(symbol, c) for symbol, c in each.parts if symbol not in self.numbers]
                if len(unmet) == 1 < len(each.parts) and unmet[0][1] in (1, -1):
                    self.numbers[unmet[0][0]] = self.sum_of(each, *unmet[0])[0]
        statements = [each for each in self.statements if not isinstance(each, Difference)] + self.differences()
        kept = [each for each in statements if self.numbers.keys() >= set(each.symbols())]
        return [fact for each in kept for fact in self.fact(each)]

    def differences(self) -> list[Statement]:
        """The differences between symbols that have a node, those that follow through one that has none included."""
        most = {(each.left, each.right): each.most for each in self.statements if isinstance(each, Difference)}
        for gone in sorted({symbol for pair in most for symbol in pair} - self.numbers.keys()):
            lefts = [(left, c) for (left, right), c in most.items() if right == gone]
            rights = [(right, c) for (left, right), c in most.items() if left == gone]
            most = {pair: c for pair, c in most.items() if gone not in pair}
            for left, a in lefts:
                for right, b in rights:
                    if left != right:
                        most[left, right] = min(a + b, most.get((left, right), a + b))
        return [Difference(*pair, c) for pair, c in sorted(most.items())]

    def fact(self, statement: Statement) -> list[list[Any]]:
        match statement:
            case InRange(symbol, lo, hi, width, signed):
                order, ends = "s<=" if signed else "<=", [[0, lo & _MASK], [0, hi & _MASK]]
                least = -(1 << (width - 1)) if signed else 0
                below = [[order, width, ends[0], self.word(symbol)]] if lo > least else []
                above = [[order, width, self.word(symbol), ends[1]]] if hi < least + (1 << width) - 1 else []
                return below + above
            case Bits(symbol, value, mask):
                known = self.operation(_AND, self.word(symbol), [0, ~mask & _MASK])
                return [["==", 64, [0, value & ~mask & _MASK], known]]
            case Congruent(symbol, divisor, rest):
                return [["==", 64, [0, rest], self.operation(_UMOD, self.word(symbol), [0, divisor])]]
            case Difference(left, right, most):
                return [["sum", [self.word(left)], [self.word(right)], most]]
            case Sum(left, right, most, negated):
                both: list[Any] = [self.word(left), self.word(right)]
                return [["sum", [], both, most] if negated else ["sum", both, [], most]]
            case Subtraction(result, left, right, constant):
                one, other = [self.word(result), self.word(right)], [self.word(left)]
                return [["sum", one, other, constant], ["sum", other, one, -constant]]
            case Defined(symbol, op, args):
                computed = self.operation(op, *map(self.term, args))
                return [["==", 64, self.word(symbol), computed]] if computed != self.word(symbol) else []
            case Equation():
                return [["==", 64, [0, 0], self.sum_of(statement)]]

    def sum_of(self, equation: Equation, symbol: Symbol = NO_SYMBOL, coefficient: int = -1) -> list[int]:
        """The sum of an equation's parts; with a symbol whose coefficient is 1 or -1, what it makes of that one."""
        total = [0, equation.constant * -coefficient & _MASK]
        for other, c in equation.parts:
            if other != symbol:
                times = [0, c * -coefficient & _MASK]
                term = self.word(other) if times[1] == 1 else self.operation(_MUL, self.word(other), times)
                total = self.operation(_ADD, total, term) if total != [0, 0] else term
        return total


def _order(statement: Statement) -> tuple[str, str]:
    return type(statement).__name__, str(statement)


def statements_of(facts: Facts) -> Iterator[Statement]:
    """The statements of facts, or of a domain of somebody's own that has none, the ranges."""
    if hasattr(facts, "statements"):
        yield from facts.statements()
        return
    for symbol in sorted(facts.symbols()):
        for signed in (False, True):
            lo, hi = facts.range(Term(symbol, 0), 64, signed)
            yield InRange(symbol, lo, hi, 64, signed)
