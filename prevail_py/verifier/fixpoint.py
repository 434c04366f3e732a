"""The fixpoint: chaotic iteration over weak topological orders, one function at a time.

Each function is solved on its own order of blocks (Bourdoncle 1993): a component is iterated until its head is stable,
with widening at the head, and then once or twice more without (descending iteration: every iterate of a sound
invariant is sound, so its end needs no proof of convergence).  A call analyses the callee from the caller's state and
goes on with the states of its exits, which amounts to inlining; the depth of calls is bounded by the eight frames that
eBPF allows.

Only the states at block heads are kept.  **Checks run on final states only.**  Outside of components a block is visited
once, when all that leads to it is final, so it is checked on that visit; likewise in the last descending pass of all
components around it.  Where a component is stable before that, its blocks are executed once more, with checks, when the
outermost one is left.  Callees are solved for good by whatever executes the call for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, Protocol, TypeAlias

from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import Block, ControlFlowGraph, FunctionGraph
from prevail_py.cfg.wto import Wto
from prevail_py.isa.flow import target
from prevail_py.isa.instructions import Call, CallLocal, Instruction
from prevail_py.platforms.model import FieldKind
from prevail_py.verifier.assertions import Assertion
from prevail_py.verifier.callbacks import frame_pointer, go_through, leave_frame
from prevail_py.verifier.contracts import packet_moved
from prevail_py.verifier.functions import Function, Prepared, Step, demands_of, prepare
from prevail_py.verifier.globals import Contract, Unfit, after_call, unfit
from prevail_py.verifier.merge import Merge, subsumes
from prevail_py.verifier.partition import MANY, add_state, constants_of
from prevail_py.verifier.scalars import unknown
from prevail_py.verifier.setting import MAX_PACKET_SIZE, METADATA_OFFSETS, Setting, Unsupported
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.summaries import Summaries, can_frame
from prevail_py.verifier.termination import measure
from prevail_py.verifier.values import (
    MAX_FRAMES,
    NEVER_NULL,
    POISON,
    UNINITIALISED,
    ZERO,
    Pointer,
    Region,
    RegionKind,
    Value,
)

__all__ = [
    "BudgetExhausted",
    "CallString",
    "Checker",
    "Fixpoint",
    "Iteration",
    "Loop",
    "Observer",
    "Solving",
    "ended_early",
]

_JOINS_BEFORE_WIDENING: Final = 1
_DESCENDING_ROUNDS: Final = 2
_COMPARISONS_PER_STEP: Final = 16
"""Two states that differ are mostly told apart by their constants: in a fraction of the time of an instruction."""

_COLLECT_EVERY: Final = 64
"""New symbols between collections of dead ones, where paths do not join: so that facts stay small in long blocks."""

_CONTEXT_POINTER: Final = Pointer(Region(RegionKind.CONTEXT), NEVER_NULL, ZERO)

CallString: TypeAlias = tuple[int, ...]
"""The slots of the calls that are active, outermost first; empty in the main program."""

Loop: TypeAlias = tuple[CallString, int]
"""A loop: the calls that lead to its function, and the first slot of its head."""

Checker: TypeAlias = Callable[[int, Sequence[Assertion], State], None]
"""Called with the slot and the assertions of each reachable instruction and every state in which it is reached."""


class Iteration(Enum):
    """What came of another look at the head of a loop: what arrived was joined or widened into it, or was covered; or,
    from then on, the states were found anew without widening, and are smaller or not."""

    JOIN = "join"
    WIDEN = "widen"
    COVERED = "covered"
    DESCEND = "descend"
    STABLE = "stable"


class Observer(Protocol):
    """Whoever watches the iteration (:mod:`prevail_py.verifier.recording`).

    It is told what happens, block by block, and must change nothing: states at block heads are kept for good, so it
    may hold on to them.
    """

    def visited(self, calls: CallString, block: Block, states: Sequence[State], final: bool) -> None:
        """``block`` is about to be executed in ``states``; ``final`` where they are its invariant."""
        ...

    def iterated(
        self,
        calls: CallString,
        head: Block,
        how: Iteration,
        before: Sequence[State],
        arriving: Sequence[State],
        after: Sequence[State],
    ) -> None:
        """The states of the head of a loop were ``before``, those ``arriving`` were looked at, and it has ``after``."""
        ...


class BudgetExhausted(Exception):  # noqa: N818 - an answer, not a mistake
    """The analysis took more abstract steps than allowed; caught where the verdict is made."""


@dataclass(slots=True)
class _Component:
    """A loop being solved: positions in the order, and how far it got."""

    head: int
    start: int
    end: int
    joins: int = 0
    rounds: int = 0


@dataclass(slots=True)
class _Passed:
    """What came of executing a block in the state ``entry``, by edge, and at the exit of the function.

    It holds on to ``entry`` so that no other state can take its identity, by which it is found again.
    """

    entry: State
    edges: list[list[State]]
    exits: list[State]


@dataclass(slots=True)
class Solving:
    """One function being solved from the states ``entry``: what was found so far, by block, and by (block, edge)."""

    function: Function
    calls: CallString
    entry: list[State]
    entries: dict[int, list[State]] = field(default_factory=dict)
    outs: dict[tuple[int, int], list[State]] = field(default_factory=dict)
    exits: dict[int, list[State]] = field(default_factory=dict)
    visited: dict[int, dict[int, _Passed]] = field(default_factory=dict)
    checked: set[int] = field(default_factory=set)


class Fixpoint:
    """Invariants of one program.

    ``invariants`` maps (call string, first slot of a block) to the states with which the block is entered, and
    ``returns`` (call string, slot of a call) to those right after it; both are filled by :meth:`run`.
    ``steps`` is the measure of the budget: instructions times states, and what it takes to compare states where paths
    join.  ``limited`` says whether states were merged that more disjuncts might have kept apart: if not, an analysis
    with more is the same.  With ``measures`` it fills ``loops``: for each loop the most turns each time it is entered,
    None for no bound, and the reason (:mod:`termination`).  Calls of functions in ``contracts``, by index, are not
    followed (:mod:`globals`); ``not_followed`` has their slots.  An ``observer`` watches, and changes nothing.
    """

    def __init__(
        self,
        setting: Setting,
        disjuncts: int,
        budget: int,
        check: Checker,
        measures: bool = False,
        observer: Observer | None = None,
    ) -> None:
        self.setting = setting
        self.disjuncts = disjuncts
        self.budget = budget
        self.check = check
        self.observer = observer
        self.steps = 0
        self.limited = False
        self.graph: ControlFlowGraph = build(setting.program)
        self.invariants: dict[tuple[CallString, int], list[State]] = {}
        self.returns: dict[tuple[CallString, int], list[State]] = {}
        self._functions: dict[int, Function] = {}
        self.measures = measures
        self.loops: dict[Loop, tuple[int | None, str]] = {}
        # Loops are measured for each call string, so that nothing can be shared.
        framed = setting.summaries and not measures and can_frame(setting.top())
        self.summaries: Summaries | None = Summaries(setting) if framed else None
        self.shared_loops = False
        self.contracts: dict[int, Contract] = {}
        self.not_followed: set[int] = set()
        self._demands: dict[int, tuple[tuple[Assertion, ...], tuple[int, ...]]] = {}

    def run(self) -> None:
        """Solve and check the whole program.  Raises Unsupported, BudgetExhausted."""
        if self.graph.recursion:
            names = " -> ".join(self.graph.functions[index].name for index in self.graph.recursion)
            raise Unsupported(f"recursion ({names})", self.graph.functions[self.graph.recursion[0]].entry_pc)
        self._solve(self.graph.entry, (), [self._initial()], final=True)
        # Whoever asks for states within a block makes it ready again; most verdicts are never asked.
        self._functions.clear()
        self._demands.clear()

    def states_before(self, call_string: CallString, pc: int) -> list[State]:
        """The states in which slot ``pc`` may be executed: recomputed from the head of its block.

        Where the function was analysed for another call string only, they say nothing of what is hidden from it.
        """
        sharing = [call_string] if self.summaries is None else self.summaries.sharing(call_string)
        return [state for calls in sharing for state in self._states_before(calls, pc)]

    def _states_before(self, call_string: CallString, pc: int) -> list[State]:
        block = self.graph.block_of(pc)
        states = self.invariants.get((call_string, block.start), [])
        start = 0
        for position, at in enumerate(block.pcs):
            if at < pc and (call_string, at) in self.returns:
                states, start = self.returns[call_string, at], position + 1
        steps = self._function(self.graph.function_at(pc)).block(block.id).steps[start:]
        out = []
        for state in states:
            now = state.copy()
            for step in steps:
                if step.pc == pc:
                    break
                if step.effect is not None:
                    step.effect(now)
            out.append(now)
        return out

    def walk(self, call_string: CallString, block: Block, collects: bool = False) -> Iterator[tuple[int, list[State]]]:
        """Each slot of ``block`` with the states in which it may be executed, as :meth:`states_before` gives them.

        With ``collects`` symbols that nothing refers to are forgotten now and then, as while the block was solved.
        """
        states = [state.copy() for state in self.invariants.get((call_string, block.start), ())]
        for step in self._function(self.graph.function_at(block.start)).block(block.id).steps:
            yield step.pc, [state.copy() for state in states]
            if (call_string, step.pc) in self.returns:
                states = [state.copy() for state in self.returns[call_string, step.pc]]
            elif step.effect is not None:
                for state in states:
                    step.effect(state)
                    if collects and self.setting.last - state.collected > _COLLECT_EVERY:
                        self._collect(state)

    # One function -------------------------------------------------------------------------------------------------

    def _initial(self) -> State:
        setting = self.setting
        registers: list[Value] = [UNINITIALISED] * 11
        registers[1] = _CONTEXT_POINTER
        registers[10] = frame_pointer(0)
        state = State(registers, [Frame({}, 0, ())], setting.top(), ZERO, ZERO)
        if setting.program_type.has_field(FieldKind.PACKET):
            state.packet_size = unknown(setting, state, 0, MAX_PACKET_SIZE)
        if setting.program_type.has_field(FieldKind.PACKET_META):
            state.packet_meta = unknown(setting, state, *METADATA_OFFSETS)
        return state

    def _function(self, graph: FunctionGraph) -> Function:
        known = self._functions.get(graph.index)
        if known is None:
            known = self._functions[graph.index] = prepare(self.setting, graph)
        return known

    def order_of(self, graph: FunctionGraph) -> Wto:
        """The weak topological order in which a function was solved."""
        return self._function(graph).order

    def solve(self, function: FunctionGraph, calls: CallString, enter: Callable[[State], State]) -> list[State]:
        """Solve and check one function on its own, whatever calls it: the states at its exits.

        ``enter`` makes the state in which it is entered of that in which the program starts.
        """
        return self._solve(function, calls, [enter(self._initial())], final=True)

    def _solve(self, graph: FunctionGraph, calls: CallString, entry: list[State], final: bool) -> list[State]:
        """The states at the exits of a function entered with ``entry``; with ``final``, check and keep invariants."""
        function = self._function(graph)
        solving = Solving(function, calls, entry)
        self._run(solving, 0, len(function.order.order), final)
        return [state for node in sorted(solving.exits) for state in solving.exits[node]]

    def _through(self, graph: FunctionGraph, calls: CallString, entry: list[State], final: bool) -> list[State]:
        """:meth:`_solve` for a function that is called: what was found for another call is used again."""
        if self.summaries is None or not self._function(graph).shared:
            return self._solve(graph, calls, entry, final)
        self._spend(len(entry))
        self.shared_loops |= self._function(graph).repeats
        return self.summaries.exits(
            graph.index, calls, entry, final, lambda states: self._solve(graph, calls, states, final)
        )

    def _run(self, solving: Solving, position: int, stop: int, final: bool) -> None:
        """Visit the blocks from ``position`` to ``stop`` of the order, and iterate the components among them."""
        order, ends = solving.function.order.order, solving.function.order.ends
        open_components: list[_Component] = []
        while True:
            if open_components and position == open_components[-1].end:
                component = open_components[-1]
                if self._iterate_again(solving, component):
                    self._visit(solving, component.head, final and _is_last(open_components))
                    position = component.start + 1
                else:
                    open_components.pop()
                    if final and not open_components:
                        for node in order[component.start : component.end]:
                            if node not in solving.checked:
                                self._check_again(solving, node)
                        if self.measures:
                            self._measure(solving, component.start, component.end)
                continue
            if position == stop:
                break
            node, end = order[position], ends[position]
            solving.entries[node] = self._gather(solving, node, outside_only=end > position)
            if end > position:
                open_components.append(_Component(node, position, end))
            self._visit(solving, node, final and _is_last(open_components))
            position += 1

    def _measure(self, solving: Solving, start: int, end: int) -> None:
        """Look for bounds on the loops among the blocks from ``start`` to ``end`` of the order, which are solved."""
        order = solving.function.order
        for position in range(start, end):
            if order.ends[position] > position:
                head = order.order[position]
                steps, budget = self.steps, self.budget
                self.budget = self.steps + budget
                try:
                    found = measure(solving.entries[head], partial(self._turn, solving, position))
                except BudgetExhausted:
                    found = None, ""
                self.steps, self.budget = steps, budget
                loop = solving.calls, solving.function.graph.blocks[head].start
                # The worst of all the states in which the function is called from there.
                known = self.loops.get(loop, (0, ""))
                unbounded = known[0] is None or found[0] is None
                self.loops[loop] = (None, "") if unbounded else max(known, found)

    def _turn(self, solving: Solving, position: int, head_states: list[State]) -> list[State] | None:
        """The states on the edges back to a head, after one turn from ``head_states``; None for two entries."""
        function = solving.function
        head, end = function.order.order[position], function.order.ends[position]
        inside = function.order.order[position + 1 : end]
        for node in inside:
            if not all(function.order.contains(head, source) for source, _ in function.incoming[node]):
                return None
        turn = Solving(function, solving.calls, [])
        turn.entries[head] = head_states
        self._visit(turn, head, final=False)
        self._run(turn, position + 1, end, final=False)
        return [
            state
            for source, edge in function.incoming[head]
            if function.order.contains(head, source)
            for state in turn.outs.get((source, edge), ())
        ]

    def _check_again(self, solving: Solving, node: int) -> None:
        """Check a block of a component that turned out to be solved only after the block's last visit."""
        self._keep(solving, node)
        if not solving.entries[node]:
            return
        prepared = solving.function.block(node)
        for state in solving.entries[node]:
            self._execute(prepared, state, solving.calls, final=True)

    def _keep(self, solving: Solving, node: int) -> None:
        # Once for each state with which the function is called.
        place = solving.calls, solving.function.graph.blocks[node].start
        self.invariants.setdefault(place, []).extend(solving.entries[node])

    def _gather(self, solving: Solving, node: int, outside_only: bool = False) -> list[State]:
        """The states that reach ``node``, merged; for the head of a component, from outside of it only."""
        function, outs = solving.function, solving.outs
        arriving = list(solving.entry) if node == 0 else []
        if node not in function.looping:
            for way in function.incoming[node]:
                arriving += outs.pop(way, ())  # nobody asks again
        else:
            for way in function.incoming[node]:
                if not (outside_only and function.order.contains(node, way[0])):
                    arriving += outs.get(way, ())
        return self._merged(arriving) if len(arriving) > 1 else arriving

    def _merged(self, states: Sequence[State]) -> list[State]:
        kept: list[State] = []
        for state in states:
            self._add(kept, state)
        return kept

    def _add(self, kept: list[State], new: State, how: Merge = Merge.JOIN, thresholds: Sequence[int] = ()) -> bool:
        """Add a state to a disjunction; False where it was already covered."""
        self._spend(1 + len(kept) // _COMPARISONS_PER_STEP)
        if self.limited:
            return add_state(kept, new, self.disjuncts, self.setting.fresh, how, thresholds)
        before = list(kept)
        added = add_state(kept, new, self.disjuncts, self.setting.fresh, how, thresholds)
        if added and len(kept) == len(before):
            for into, now in zip(before, kept, strict=True):
                if into is not now:
                    # Few disjuncts and many are told apart by different constants.
                    self.limited = into.kinds != new.kinds or not all(
                        constants_of(into, many) == constants_of(new, many) for many in (MANY, 1)
                    )
        return added

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > self.budget:
            raise BudgetExhausted

    def _iterate_again(self, solving: Solving, component: _Component) -> bool:
        """Whether the component needs another pass; its head's entry has then been changed."""
        function, head = solving.function, component.head
        if component.rounds == 0:
            kept = list(solving.entries[head])
            how = Merge.WIDEN if component.joins >= _JOINS_BEFORE_WIDENING else Merge.JOIN
            changed = False
            for source, edge in function.incoming[head]:
                if function.order.contains(head, source):
                    for state in solving.outs.get((source, edge), ()):
                        changed |= self._add(kept, state, how, function.thresholds)
            if self.observer is not None:
                seen = Iteration[how.name] if changed else Iteration.COVERED
                self._tell(solving, head, seen, self._arrived(solving, head, back_only=True), kept)
            if changed:
                component.joins += 1
                solving.entries[head] = kept
                return True
            if component.joins == 0:
                return False  # nothing was merged into the head: there is nothing to win back
        if component.rounds == _DESCENDING_ROUNDS:
            return False
        component.rounds += 1
        descended = self._gather(solving, head)
        stable = all(any(subsumes(new, old) for new in descended) for old in solving.entries[head])
        if self.observer is not None:
            seen, after = (Iteration.STABLE, solving.entries[head]) if stable else (Iteration.DESCEND, descended)
            self._tell(solving, head, seen, self._arrived(solving, head, back_only=False), after)
        if stable:
            return False
        solving.entries[head] = descended
        return True

    def _arrived(self, solving: Solving, head: int, back_only: bool) -> list[State]:
        """What reaches the head of a loop, for an observer: from within the loop, or all of it."""
        function = solving.function
        arriving = list(solving.entry) if head == 0 and not back_only else []
        for source, edge in function.incoming[head]:
            if not back_only or function.order.contains(head, source):
                arriving += solving.outs.get((source, edge), ())
        return arriving

    def _tell(
        self, solving: Solving, head: int, how: Iteration, arriving: Sequence[State], after: Sequence[State]
    ) -> None:
        assert self.observer is not None
        block = solving.function.graph.blocks[head]
        self.observer.iterated(solving.calls, block, how, tuple(solving.entries[head]), arriving, tuple(after))

    # One block ----------------------------------------------------------------------------------------------------

    def _visit(self, solving: Solving, node: int, final: bool) -> None:
        entries = solving.entries[node]
        looping = node in solving.function.looping
        if not entries and not looping:
            if final:
                self._keep(solving, node)
                solving.checked.add(node)
            return
        if self.observer is not None:
            block = solving.function.graph.blocks[node]
            self.observer.visited(solving.calls, block, tuple(entries), final)
        prepared = solving.function.block(node)
        if looping:
            # States at block heads never change, so the same one need not be executed again, but perhaps checked.
            before = {} if final else solving.visited.get(node, {})
            now = {id(state): before.get(id(state)) or self._pass(solving, prepared, state, final) for state in entries}
            solving.visited[node] = now
            passed = list(now.values())
        else:
            passed = [self._pass(solving, prepared, state, final) for state in entries]
        if final:
            self._keep(solving, node)
            solving.checked.add(node)
        outs = solving.outs
        for index in range(len(prepared.ways)):
            if len(passed) == 1:
                outs[node, index] = passed[0].edges[index]
            else:
                outs[node, index] = [state for result in passed for state in result.edges[index]]
        if solving.calls:
            exits = [state for result in passed for state in result.exits]
            solving.exits[node] = self._merged(exits) if exits else exits

    def _pass(self, solving: Solving, prepared: Prepared, entry: State, final: bool) -> _Passed:
        """Execute a block and send what comes out along its edges."""
        ways = prepared.ways
        passed = _Passed(entry, [[] for _ in ways], [])
        setting = self.setting
        last = len(ways) - 1
        for end in self._execute(prepared, entry, solving.calls, final, passed.exits):
            if prepared.is_exit:
                if solving.calls:
                    end.collect(setting.definitions)
                    passed.exits.append(end)
                continue
            for index, (_, condition, dead_registers, live_stack, joins) in enumerate(ways):
                state = end if index == last else end.copy()
                if condition is not None and not condition(state):
                    continue
                state.drop_dead(dead_registers, live_stack)
                if joins or setting.last - state.collected > _COLLECT_EVERY:
                    self._collect(state)
                passed.edges[index].append(state)
        return passed

    def _collect(self, state: State) -> None:
        state.collect(self.setting.definitions)
        state.collected = self.setting.last

    def _execute(
        self, prepared: Prepared, entry: State, calls: CallString, final: bool, replaced: list[State] | None = None
    ) -> list[State]:
        """The states after the straight-line instructions of a block, all but a closing branch or exit.

        A tail call may put another program in the place of the function, and a legacy load of the packet may end it:
        the states in which the caller goes on then are added to ``replaced``.
        """
        steps = prepared.steps
        if prepared.is_plain and self.steps + len(steps) <= self.budget:
            return [self._execute_plain(steps, entry.copy(), final)]
        states = [entry.copy()]
        setting = self.setting
        for step in steps:
            self._spend(len(states))
            for state in states:
                if step.may_end and replaced is not None and calls:
                    replaced.append(ended_early(setting, state, step.instruction))
                self._perform(step, state, final)
            call = step.call
            if call is not None:
                if isinstance(call, CallLocal):
                    states = self._call(step.pc, call, states, calls, final)
                else:
                    states = self._call_back(step.pc, call, states, calls, final)
                if final:
                    self.returns.setdefault((calls, step.pc), []).extend(state.copy() for state in states)
        return states

    def _execute_plain(self, steps: Sequence[Step], state: State, final: bool) -> State:
        """Likewise where all instructions go on to the next one, in one state, which is changed."""
        self.steps += len(steps)
        for step in steps:
            try:
                self._perform(step, state, final)
            except Unsupported:
                self.steps -= len(steps) - 1 - steps.index(step)  # those behind it were not executed
                raise
        return state

    def _perform(self, step: Step, state: State, final: bool) -> None:
        """Check, if ``final``, and execute one instruction in a state, which is changed."""
        attempt = step.attempt
        try:
            if attempt is None or not attempt(state):
                self._demand(step.pc, step.instruction, state, final)
                effect = step.effect
                if effect is not None:
                    effect(state)
        except Unsupported as unsupported:
            raise Unsupported(unsupported.what, step.pc) from unsupported
        if self.setting.last - state.collected > _COLLECT_EVERY:
            self._collect(state)

    def _demand(self, pc: int, instruction: Instruction, state: State, final: bool) -> None:
        """Check the assertions of an instruction, if ``final``; runs in which a read fails end there."""
        known = self._demands.get(pc)
        if known is None:
            known = self._demands[pc] = demands_of(instruction)
        assertions, reads = known
        if final and assertions:
            self.check(pc, assertions, state)
        for register in reads:
            if state.registers[register] is UNINITIALISED:
                state.registers[register] = POISON  # this run traps: not to be blamed again

    def _call(
        self, pc: int, instruction: CallLocal, states: Sequence[State], calls: CallString, final: bool
    ) -> list[State]:
        callee = self.graph.function_at(target(pc, instruction) or 0)
        contract = self.contracts.get(callee.index)
        if contract is not None:
            self.not_followed.add(pc)
            if final and any(unfit(self.setting, contract, state) for state in states):
                raise Unfit(callee.index)
            return [after_call(self.setting, contract, state) for state in states]
        entry: list[State] = []
        for state in states:
            depth = len(state.frames)
            if depth == MAX_FRAMES:
                continue  # this call traps
            inner = state.copy()
            inner.frames.append(Frame({}, 0, tuple(state.registers[6:10])))
            inner.registers[0] = UNINITIALISED
            inner.registers[6:10] = [UNINITIALISED] * 4
            inner.registers[10] = frame_pointer(depth)
            inner.collect(self.setting.definitions)
            self._add(entry, inner)
        if not entry:
            return []
        returned = [state.copy() for state in self._through(callee, (*calls, pc), entry, final)]
        for state in returned:
            leave_frame(state)
        return [state.copy() for state in self._merged(returned)]

    def _call_back(
        self, pc: int, instruction: Call, states: Sequence[State], calls: CallString, final: bool
    ) -> list[State]:
        """The states after a helper has called a function of the program any number of times."""
        # Turns that are not counted are all alike, however many states are kept apart.
        self.limited |= not self.setting.counts_turns

        def body(function: int, entry: list[State], final: bool) -> list[State]:
            return self._through(self.graph.function_at(function), (*calls, pc), entry, final)

        def thresholds(function: int) -> Sequence[int]:
            return self._function(self.graph.function_at(function)).thresholds

        return go_through(self.setting, instruction.helper, states, self._add, thresholds, body, final)


def _is_last(open_components: list[_Component]) -> bool:
    """Whether what is visited now is visited for the last time: outside of loops, or in the last pass of each."""
    return not open_components or all(component.rounds == _DESCENDING_ROUNDS for component in open_components)


def ended_early(setting: Setting, state: State, instruction: Instruction) -> State:
    """The end of a subprogram at an instruction that may end it, a tail call or a legacy load, before it goes on."""
    return (_after_tail_call if isinstance(instruction, Call) else _after_legacy_load)(setting, state)


def _after_tail_call(setting: Setting, state: State) -> State:
    """The end of the program that was called in the place of a subprogram.

    It had the context and no pointer to any frame: it may have moved the packet, and returns what it likes.
    """
    end = state.copy()
    packet_moved(setting, end)
    end.registers[0] = unknown(setting, end)
    end.collect(setting.definitions)
    return end


def _after_legacy_load(setting: Setting, state: State) -> State:
    """The end of a subprogram where the packet has no such byte."""
    end = state.copy()
    end.registers[0] = ZERO
    end.collect(setting.definitions)
    return end
