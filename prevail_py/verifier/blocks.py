"""Blocks: what executing one does to states, functions that are called included.

A block is executed in one state after the other, instruction by instruction; where a function of the program is called,
by an instruction or by a helper, it is entered with what the states of the caller become, and goes on with the states
of its exits.  How a function is solved is for :mod:`prevail_py.verifier.fixpoint`, and for who else takes blocks in
some order (:mod:`prevail_py.verifier.smt.executor`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import Block, ControlFlowGraph, FunctionGraph
from prevail_py.isa.flow import target
from prevail_py.isa.instructions import Call, CallLocal, Instruction
from prevail_py.verifier.assertions import Assertion
from prevail_py.verifier.callbacks import frame_pointer, go_through, leave_frame
from prevail_py.verifier.functions import Function, Prepared, Step, demands_of, prepare
from prevail_py.verifier.globals import Contract, Unfit, after_call, unfit
from prevail_py.verifier.helper_effects import packet_moved
from prevail_py.verifier.merge import Merge
from prevail_py.verifier.partition import MANY, add_state, constants_of
from prevail_py.verifier.scalars import unknown
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import MAX_FRAMES, POISON, UNINITIALISED, ZERO

__all__ = ["Blocks", "BudgetExhausted", "CallString", "Checker", "Passed", "ended_early"]

_COMPARISONS_PER_STEP: Final = 16
"""Two states that differ are mostly told apart by their constants: in a fraction of the time of an instruction."""

_COLLECT_EVERY: Final = 64
"""New symbols between collections of dead ones, where paths do not join: so that facts stay small in long blocks."""

CallString: TypeAlias = tuple[int, ...]
"""The slots of the calls that are active, outermost first; empty in the main program."""

Checker: TypeAlias = Callable[[int, Sequence[Assertion], State], None]
"""Called with the slot and the assertions of each reachable instruction and every state in which it is reached."""


class BudgetExhausted(Exception):  # noqa: N818 - an answer, not a mistake
    """The analysis took more abstract steps than allowed; caught where the verdict is made."""


@dataclass(slots=True)
class Passed:
    """What came of executing a block in the state ``entry``, by edge, and at the exit of the function.

    It holds on to ``entry`` so that no other state can take its identity, by which it is found again.
    """

    entry: State
    edges: list[list[State]]
    exits: list[State]


class Blocks(ABC):
    """The blocks of one program, ready to be executed, and what came of it.

    ``invariants`` maps (call string, first slot of a block) to the states with which the block is entered, and
    ``returns`` (call string, slot of a call) to those right after it.  ``steps`` is the measure of the budget:
    instructions times states, and what it takes to compare states where paths join.  ``limited`` says whether states
    were merged that more disjuncts might have kept apart.  ``check`` is called on final states.  Calls of functions in
    ``contracts``, by index, are not followed (:mod:`globals`); ``not_followed`` has their slots.
    """

    def __init__(self, setting: Setting, disjuncts: int, budget: int, check: Checker) -> None:
        self.setting = setting
        self.disjuncts = disjuncts
        self.budget = budget
        self.check = check
        self.steps = 0
        self.limited = False
        self.graph: ControlFlowGraph = build(setting.program)
        self.invariants: dict[tuple[CallString, int], list[State]] = {}
        self.returns: dict[tuple[CallString, int], list[State]] = {}
        self.contracts: dict[int, Contract] = {}
        self.not_followed: set[int] = set()
        self._functions: dict[int, Function] = {}
        self._demands: dict[int, tuple[tuple[Assertion, ...], tuple[int, ...]]] = {}

    @abstractmethod
    def _through(self, graph: FunctionGraph, calls: CallString, entry: list[State], final: bool) -> list[State]:
        """The states at the exits of a function that is called; with ``final`` for good."""

    def _function(self, graph: FunctionGraph) -> Function:
        known = self._functions.get(graph.index)
        if known is None:
            known = self._functions[graph.index] = prepare(self.setting, graph)
        return known

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

    # Disjunctions of states ---------------------------------------------------------------------------------------

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

    # Instructions -------------------------------------------------------------------------------------------------

    def _pass(self, calls: CallString, prepared: Prepared, entry: State, final: bool) -> Passed:
        """Execute a block and send what comes out along its edges."""
        ways = prepared.ways
        passed = Passed(entry, [[] for _ in ways], [])
        setting = self.setting
        last = len(ways) - 1
        for end in self._execute(prepared, entry, calls, final, passed.exits):
            if prepared.is_exit:
                if calls:
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
