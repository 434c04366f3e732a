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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, Protocol, TypeAlias

from prevail_py.cfg.graph import Block, FunctionGraph
from prevail_py.cfg.wto import Wto
from prevail_py.platforms.model import FieldKind
from prevail_py.verifier.blocks import Blocks, BudgetExhausted, CallString, Checker, Passed
from prevail_py.verifier.callbacks import frame_pointer
from prevail_py.verifier.functions import Function
from prevail_py.verifier.merge import Merge, subsumes
from prevail_py.verifier.scalars import unknown
from prevail_py.verifier.setting import MAX_PACKET_SIZE, METADATA_OFFSETS, Setting, Unsupported
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.summaries import Summaries, can_frame
from prevail_py.verifier.termination import measure
from prevail_py.verifier.values import NEVER_NULL, UNINITIALISED, ZERO, Pointer, Region, RegionKind, Value

__all__ = ["Fixpoint", "Iteration", "Loop", "Observer", "Solving"]

_JOINS_BEFORE_WIDENING: Final = 1
_DESCENDING_ROUNDS: Final = 2
_CONTEXT_POINTER: Final = Pointer(Region(RegionKind.CONTEXT), NEVER_NULL, ZERO)

Loop: TypeAlias = tuple[CallString, int]
"""A loop: the calls that lead to its function, and the first slot of its head."""


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


@dataclass(slots=True)
class _Component:
    """A loop being solved: positions in the order, and how far it got."""

    head: int
    start: int
    end: int
    joins: int = 0
    rounds: int = 0


@dataclass(slots=True)
class Solving:
    """One function being solved from the states ``entry``: what was found so far, by block, and by (block, edge)."""

    function: Function
    calls: CallString
    entry: list[State]
    entries: dict[int, list[State]] = field(default_factory=dict)
    outs: dict[tuple[int, int], list[State]] = field(default_factory=dict)
    exits: dict[int, list[State]] = field(default_factory=dict)
    visited: dict[int, dict[int, Passed]] = field(default_factory=dict)
    checked: set[int] = field(default_factory=set)


class Fixpoint(Blocks):
    """Invariants of one program.

    ``invariants`` and ``returns`` (:class:`~prevail_py.verifier.blocks.Blocks`) are filled by :meth:`run`; where it did
    not get ``limited``, an analysis with more disjuncts is the same.  With ``measures`` it fills ``loops``: for each
    loop the most turns each time it is entered, None for no bound, and the reason (:mod:`termination`).  An
    ``observer`` watches, and changes nothing.
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
        super().__init__(setting, disjuncts, budget, check)
        self.observer = observer
        self.measures = measures
        self.loops: dict[Loop, tuple[int | None, str]] = {}
        # Loops are measured for each call string, so that nothing can be shared.
        framed = setting.summaries and not measures and can_frame(setting.top())
        self.summaries: Summaries | None = Summaries(setting) if framed else None
        self.shared_loops = False

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

    def is_inductive(self, calls: CallString, graph: FunctionGraph, block: Block) -> bool:
        """Whether what the blocks in front of it make of their invariants is in the invariant of ``block``.

        At the head of a loop it need not be: descending iteration ends with states that hold of all runs, which may
        not follow from themselves once paths have joined, for what is merged depends on what came first.
        """
        function = self._function(graph)
        kept = self.invariants.get((calls, block.start), [])
        steps, self.budget = self.steps, self.steps + self.budget
        try:
            return all(
                any(subsumes(wide, new) for wide in kept)
                for source, edge in function.incoming[block.id]
                for state in self.invariants.get((calls, graph.blocks[source].start), ())
                for new in self._pass(calls, function.block(source), state, final=False).edges[edge]
            )
        except BudgetExhausted:
            return False
        finally:
            self.steps, self.budget = steps, self.budget - steps

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
            now = {
                id(state): before.get(id(state)) or self._pass(solving.calls, prepared, state, final)
                for state in entries
            }
            solving.visited[node] = now
            passed = list(now.values())
        else:
            passed = [self._pass(solving.calls, prepared, state, final) for state in entries]
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


def _is_last(open_components: list[_Component]) -> bool:
    """Whether what is visited now is visited for the last time: outside of loops, or in the last pass of each."""
    return not open_components or all(component.rounds == _DESCENDING_ROUNDS for component in open_components)
