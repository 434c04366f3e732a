"""The fixpoint: chaotic iteration over weak topological orders, one function at a time.

Each function is solved on its own order of blocks (Bourdoncle 1993): a component is iterated until its head is stable,
with widening at the head, and then once or twice more without (descending iteration: every iterate of a sound
invariant is sound, so its end needs no proof of convergence).  A call analyses the callee from the caller's state and
goes on with the states of its exits, which amounts to inlining; the depth of calls is bounded by the eight frames that
eBPF allows.

Only the states at block heads are kept.  Checks run in a last pass over the final states, where callees are solved
once more for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import Block, ControlFlowGraph, FunctionGraph
from prevail_py.cfg.liveness import Liveness, liveness
from prevail_py.cfg.wto import Wto, weak_topological_order
from prevail_py.domains.lattice import constant
from prevail_py.isa.flow import target
from prevail_py.isa.instructions import Branch, Call, CallLocal, Exit, Immediate, Instruction, MayGoto, Register
from prevail_py.isa.semantics import immediate_word
from prevail_py.platforms.model import FieldKind
from prevail_py.verifier.assertions import Assertion, Initialised, assertions_of
from prevail_py.verifier.contracts import TAIL_CALL, packet_moved
from prevail_py.verifier.merge import Merge, subsumes
from prevail_py.verifier.partition import add_state
from prevail_py.verifier.scalars import unknown
from prevail_py.verifier.setting import MAX_PACKET_SIZE, METADATA_OFFSETS, Setting, Unsupported
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.transfer import branch, step
from prevail_py.verifier.values import (
    MAX_FRAMES,
    NEVER_NULL,
    STACK_SIZE,
    ZERO,
    Pointer,
    Region,
    RegionKind,
    Special,
    Value,
)
from prevail_py.words import mask

__all__ = ["BudgetExhausted", "CallString", "Checker", "Fixpoint"]

_JOINS_BEFORE_WIDENING: Final = 1
_DESCENDING_ROUNDS: Final = 2
_MAX_THRESHOLDS: Final = 64
_COLLECT_EVERY: Final = 48
"""Instructions of a block between collections of dead symbols, so that facts stay small in long blocks."""

CallString: TypeAlias = tuple[int, ...]
"""The slots of the calls that are active, outermost first; empty in the main program."""

Checker: TypeAlias = Callable[[int, Sequence[Assertion], State], None]
"""Called with the slot and the assertions of each reachable instruction and every state in which it is reached."""


class BudgetExhausted(Exception):  # noqa: N818 - an answer, not a mistake
    """The analysis took more abstract steps than allowed; caught where the verdict is made."""


@dataclass(frozen=True, slots=True)
class _Function:
    """What is known of a function before any fixpoint."""

    graph: FunctionGraph
    order: Wto
    live: Liveness
    thresholds: tuple[int, ...]


@dataclass(slots=True)
class _Component:
    """A loop being solved: positions in the order, and how far it got."""

    head: int
    start: int
    end: int
    joins: int = 0
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class _Passed:
    """What came of executing a block in the state ``entry``, by edge, and at the exit of the function.

    It holds on to ``entry`` so that no other state can take its identity, by which it is found again.
    """

    entry: State
    edges: list[list[State]]
    exits: list[State]


_Outs: TypeAlias = dict[tuple[int, int], list[State]]


class Fixpoint:
    """Invariants of one program.

    ``invariants`` maps (call string, first slot of a block) to the states with which the block is entered, and
    ``returns`` (call string, slot of a call) to those right after it; both are filled by :meth:`run`.
    ``steps`` counts instructions times states, the measure of the budget.
    """

    def __init__(self, setting: Setting, disjuncts: int, budget: int, check: Checker) -> None:
        self.setting = setting
        self.disjuncts = disjuncts
        self.budget = budget
        self.check = check
        self.steps = 0
        self.graph: ControlFlowGraph = build(setting.program)
        self.invariants: dict[tuple[CallString, int], list[State]] = {}
        self.returns: dict[tuple[CallString, int], list[State]] = {}
        self._functions: dict[int, _Function] = {}
        self._demands: dict[int, tuple[tuple[Assertion, ...], tuple[Register, ...]]] = {}

    def run(self) -> None:
        """Solve and check the whole program.  Raises Unsupported, BudgetExhausted."""
        if self.graph.recursion:
            names = " -> ".join(self.graph.functions[index].name for index in self.graph.recursion)
            raise Unsupported(f"recursion ({names})", self.graph.functions[self.graph.recursion[0]].entry_pc)
        self._solve(self.graph.entry, (), [self._initial()], final=True)

    def states_before(self, call_string: CallString, pc: int) -> list[State]:
        """The states in which slot ``pc`` may be executed: recomputed from the head of its block."""
        block = self.graph.block_of(pc)
        states = self.invariants.get((call_string, block.start), [])
        start = 0
        for position, at in enumerate(block.pcs):
            if at < pc and (call_string, at) in self.returns:
                states, start = self.returns[call_string, at], position + 1
        out = []
        for state in states:
            now = state.copy()
            for at in block.pcs[start:]:
                if at == pc:
                    break
                step(self.setting, now, at, self._instruction(at))
            out.append(now)
        return out

    # One function -------------------------------------------------------------------------------------------------

    def _initial(self) -> State:
        setting = self.setting
        registers: list[Value] = [Special.UNINITIALISED] * 11
        registers[1] = Pointer(Region(RegionKind.CONTEXT), NEVER_NULL, ZERO)
        registers[10] = _frame_pointer(0)
        state = State(registers, [Frame({}, 0, ())], setting.top(), ZERO, ZERO)
        fields = {field.kind for field in setting.program_type.pointer_fields}
        if FieldKind.PACKET in fields:
            state.packet_size = unknown(setting, state, 0, MAX_PACKET_SIZE)
        if FieldKind.PACKET_META in fields:
            state.packet_meta = unknown(setting, state, *METADATA_OFFSETS)
        return state

    def _function(self, graph: FunctionGraph) -> _Function:
        known = self._functions.get(graph.index)
        if known is None:
            live = liveness(graph, self.setting.program, self.setting.platform)
            known = _Function(graph, weak_topological_order(graph), live, self._thresholds(graph))
            self._functions[graph.index] = known
        return known

    def _thresholds(self, graph: FunctionGraph) -> tuple[int, ...]:
        """Where widening may stop: the constants the function compares with, and their neighbours."""
        found: set[int] = set()
        for block in graph.blocks:
            instruction = self._instruction(block.last)
            if isinstance(instruction, Branch) and isinstance(instruction.src, Immediate):
                word = immediate_word(instruction.src.value)
                found.update((word - 1 & mask(64), word, word + 1 & mask(64)))
        return tuple(sorted(found)[:_MAX_THRESHOLDS])

    def _demands_of(self, pc: int) -> tuple[tuple[Assertion, ...], tuple[Register, ...]]:
        """The assertions of an instruction, and the registers it may only read when they are initialised."""
        known = self._demands.get(pc)
        if known is None:
            assertions = assertions_of(self._instruction(pc))
            reads = tuple(demand.register for demand in assertions if isinstance(demand, Initialised))
            known = self._demands[pc] = (assertions, reads)
        return known

    def _instruction(self, pc: int) -> Instruction:
        instruction = self.setting.program.code[pc]
        assert instruction is not None, f"slot {pc} starts no instruction"
        return instruction

    def _solve(self, graph: FunctionGraph, calls: CallString, entry: list[State], final: bool) -> list[State]:
        """The states at the exits of a function entered with ``entry``; with ``final``, check and keep invariants."""
        function = self._function(graph)
        entries: dict[int, list[State]] = {}
        outs: _Outs = {}
        exits: dict[int, list[State]] = {}
        visited: dict[int, dict[int, _Passed]] = {}
        order, ends = function.order.order, function.order.ends
        open_components: list[_Component] = []
        position = 0
        while True:
            if open_components and position == open_components[-1].end:
                component = open_components[-1]
                if self._iterate_again(function, component, entry, entries, outs):
                    self._visit(function, component.head, calls, entries, outs, exits, visited)
                    position = component.start + 1
                else:
                    open_components.pop()
                continue
            if position == len(order):
                break
            node, end = order[position], ends[position]
            outside = end > position
            entries[node] = self._gather(function, node, entry, outs, outside_only=outside)
            if outside:
                open_components.append(_Component(node, position, end))
            self._visit(function, node, calls, entries, outs, exits, visited)
            position += 1
        if final:
            for block in graph.blocks:
                # Once for each state with which the function is called.
                self.invariants.setdefault((calls, block.start), []).extend(entries.get(block.id, ()))
                for state in entries.get(block.id, []):
                    self._execute(block, state, calls, final=True)
        return [state for node in sorted(exits) for state in exits[node]]

    def _gather(
        self, function: _Function, node: int, entry: list[State], outs: _Outs, outside_only: bool = False
    ) -> list[State]:
        """The states that reach ``node``, merged; for the head of a component, from outside of it only."""
        kept: list[State] = []
        if node == 0:
            for state in entry:
                add_state(kept, state, self.disjuncts, self.setting.fresh)
        for predecessor in function.graph.predecessors[node]:
            if outside_only and function.order.contains(node, predecessor):
                continue
            for state in self._arriving(function, predecessor, node, outs):
                add_state(kept, state, self.disjuncts, self.setting.fresh)
        return kept

    def _arriving(self, function: _Function, source: int, node: int, outs: _Outs) -> list[State]:
        return [
            state
            for index, edge in enumerate(function.graph.blocks[source].edges)
            if edge.target == node
            for state in outs.get((source, index), ())
        ]

    def _iterate_again(
        self,
        function: _Function,
        component: _Component,
        entry: list[State],
        entries: dict[int, list[State]],
        outs: _Outs,
    ) -> bool:
        """Whether the component needs another pass; its head's entry has then been changed."""
        head = component.head
        if component.rounds == 0:
            kept = list(entries[head])
            how = Merge.WIDEN if component.joins >= _JOINS_BEFORE_WIDENING else Merge.JOIN
            changed = False
            for source in function.graph.predecessors[head]:
                if function.order.contains(head, source):
                    for state in self._arriving(function, source, head, outs):
                        changed |= add_state(kept, state, self.disjuncts, self.setting.fresh, how, function.thresholds)
            if changed:
                component.joins += 1
                entries[head] = kept
                return True
            if component.joins == 0:
                return False  # nothing was merged into the head: there is nothing to win back
        if component.rounds == _DESCENDING_ROUNDS:
            return False
        component.rounds += 1
        descended = self._gather(function, head, entry, outs)
        if all(any(subsumes(new, old) for new in descended) for old in entries[head]):
            return False
        entries[head] = descended
        return True

    # One block ----------------------------------------------------------------------------------------------------

    def _visit(
        self,
        function: _Function,
        node: int,
        calls: CallString,
        entries: dict[int, list[State]],
        outs: _Outs,
        exits: dict[int, list[State]],
        visited: dict[int, dict[int, _Passed]],
    ) -> None:
        block = function.graph.blocks[node]
        before, now = visited.get(node, {}), {}
        for state in entries[node]:
            # States at block heads never change, so the same one need not be executed again.
            result = before.get(id(state))
            now[id(state)] = self._pass(function, block, state, calls) if result is None else result
        visited[node] = now
        for index in range(len(block.edges)):
            outs[node, index] = [state for result in now.values() for state in result.edges[index]]
        exits[node] = []
        for result in now.values():
            for state in result.exits:
                add_state(exits[node], state, self.disjuncts, self.setting.fresh)

    def _pass(self, function: _Function, block: Block, entry: State, calls: CallString) -> _Passed:
        """Execute a block and send what comes out along its edges."""
        passed = _Passed(entry, [[] for _ in block.edges], [])
        last = self._instruction(block.last)
        for end in self._execute(block, entry, calls, final=False, replaced=passed.exits):
            if isinstance(last, Exit):
                end.collect(self.setting.definitions)
                passed.exits.append(end)
                continue
            for index, edge in enumerate(block.edges):
                state = end.copy()
                if isinstance(last, Branch) and not branch(state, last, edge.taken is True):
                    continue
                live = function.live
                state.drop_dead(live.registers_in(edge.target), live.stack_in(edge.target))
                state.collect(self.setting.definitions)
                passed.edges[index].append(state)
        return passed

    def _execute(
        self, block: Block, entry: State, calls: CallString, final: bool, replaced: list[State] | None = None
    ) -> list[State]:
        """The states after the straight-line instructions of ``block``, all but a closing branch or exit.

        A tail call may put another program in the place of the function: the states in which that one returns to the
        caller are added to ``replaced``.
        """
        states = [entry.copy()]
        for count, pc in enumerate(block.pcs, 1):
            instruction = self._instruction(pc)
            self.steps += len(states)
            if self.steps > self.budget:
                raise BudgetExhausted
            assertions, reads = self._demands_of(pc)
            if final:
                for state in states:
                    self.check(pc, assertions, state)
            for state in states:
                for register in reads:
                    if state.registers[register] is Special.UNINITIALISED:
                        state.registers[register] = Special.POISON  # this run traps: not to be blamed again
            if isinstance(instruction, CallLocal):
                states = self._call(pc, instruction, states, calls, final)
                if final:
                    self.returns.setdefault((calls, pc), []).extend(state.copy() for state in states)
            elif not isinstance(instruction, Branch | MayGoto | Exit):
                if instruction == Call(TAIL_CALL) and replaced is not None and calls:
                    replaced.extend(_after_tail_call(self.setting, state) for state in states)
                for state in states:
                    try:
                        step(self.setting, state, pc, instruction)
                    except Unsupported as unsupported:
                        raise Unsupported(unsupported.what, pc) from unsupported
                    if count % _COLLECT_EVERY == 0:
                        state.collect(self.setting.definitions)
        return states

    def _call(
        self, pc: int, instruction: CallLocal, states: Sequence[State], calls: CallString, final: bool
    ) -> list[State]:
        callee = self.graph.function_at(target(pc, instruction) or 0)
        entry: list[State] = []
        for state in states:
            depth = len(state.frames)
            if depth == MAX_FRAMES:
                continue  # this call traps
            inner = state.copy()
            inner.frames.append(Frame({}, 0, tuple(state.registers[6:10])))
            inner.registers[0] = Special.UNINITIALISED
            inner.registers[6:10] = [Special.UNINITIALISED] * 4
            inner.registers[10] = _frame_pointer(depth)
            inner.collect(self.setting.definitions)
            add_state(entry, inner, self.disjuncts, self.setting.fresh)
        if not entry:
            return []
        returned: list[State] = []
        for state in self._solve(callee, (*calls, pc), entry, final):
            outer = state.copy()
            _return(outer)
            add_state(returned, outer, self.disjuncts, self.setting.fresh)
        return [state.copy() for state in returned]


def _frame_pointer(depth: int) -> Pointer:
    return Pointer(Region(RegionKind.STACK, depth), NEVER_NULL, constant(STACK_SIZE))


def _after_tail_call(setting: Setting, state: State) -> State:
    """The end of the program that was called in the place of a subprogram.

    It had the context and no pointer to any frame: it may have moved the packet, and returns what it likes.
    """
    end = state.copy()
    packet_moved(setting, end)
    end.registers[0] = unknown(setting, end)
    end.collect(setting.definitions)
    return end


def _return(state: State) -> None:
    """Leave the innermost frame: its memory is gone, the caller's registers come back."""
    frame = state.frames.pop()
    depth = len(state.frames)
    result = state.registers[0]
    state.registers[1:6] = [Special.UNINITIALISED] * 5
    state.registers[6:10] = list(frame.saved)
    state.registers[10] = _frame_pointer(depth - 1)
    state.registers[0] = result

    def dangling(value: Value) -> Value:
        gone = isinstance(value, Pointer) and value.region.kind is RegionKind.STACK and value.region.index >= depth
        return Special.DANGLING if gone else value

    state.map_values(dangling)
