"""The symbolic executor: every way through a program, from its entry and from the heads of its loops.

:func:`execute` takes a program whose fixpoint is found and runs the verifier's own transfer functions over it once
more, in topological order, on facts that remember (:mod:`~prevail_py.verifier.smt.history`).  Loops are cut at their
heads: there execution starts anew from the invariant, so that what is executed has no cycles.  A call goes through the
function it calls; the body of a helper that calls back starts from the invariant in front of each turn.  States that
meet are joined where they hold the same kinds of values in the same places and have written the same bytes of the
stack, so there are few of them and their number does not grow with that of paths.

How to use it::

    execution = execute(fixpoint)                    # a Fixpoint that has run
    encoder = Encoder()
    for moment in execution.moments:                 # an instruction to be checked, in one state
        event = history_of(moment.state)
        encoder.reached(event)                       # the condition under which some run comes here
        encoder.term(event, moment.state.registers[3])   # what a number in a register is, as a vector of 64 bits
    for moment in execution.ends:                    # the main program ends: R0 is moment.state.registers[0]
        ...

Registers and stack cells hold what they hold in the abstract domains (:mod:`~prevail_py.verifier.values`): a term, a
pointer (region, base, offset, where base 0 means null and base and offset are terms), or a special that says why the
value may be anything.  ``encoder.term`` turns terms to vectors.  What is loaded from packets, maps and helper memory is
a new unknown each time, as ``docs/safety.md`` demands.  Whoever knows more, because nobody else can change the memory,
finds each load, store and call of a helper in the history, in order (``Loaded``, ``Stored``, ``Called``), and may add
what follows from them: that two loads of one place give the same, say.

The semantics is that of :mod:`~prevail_py.verifier.transfer`: a run that violates an assertion ends there, and after an
instruction the state speaks of the runs that went on.  So a proof must look at *every* moment of an execution: then by
induction on a run, no run violates anything, given that the invariants at loop heads hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from prevail_py.domains.lattice import NO_SYMBOL, Facts, constant
from prevail_py.isa.instructions import (
    Atomic,
    AtomicOp,
    Call,
    CallLocal,
    Exit,
    Instruction,
    Load,
    LoadAcquire,
    LoadPacket,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.verifier.assertions import Assertion, assertions_of
from prevail_py.verifier.blocks import CallString, ended_early
from prevail_py.verifier.check import findings
from prevail_py.verifier.fixpoint import Fixpoint, Solving
from prevail_py.verifier.functions import Prepared
from prevail_py.verifier.merge import Merge, merge, signature
from prevail_py.verifier.regions import offset_by
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.smt.history import Called, Loaded, Remembering, Start, Stored, Update, history_of, record
from prevail_py.verifier.state import State
from prevail_py.verifier.transfer import operand
from prevail_py.verifier.values import NEVER_NULL, Pointer, Region, RegionKind, Value
from prevail_py.words import Comparison

__all__ = ["Execution", "Moment", "execute"]

_MAX_STATES: Final = 64
"""States kept apart per block, beyond which kinds are merged like in the fixpoint."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A slot about to be executed in one state, whose facts are :class:`~.history.Remembering`.

    ``calls`` are the slots of the active calls.  ``open`` are the assertions of the instruction that the abstract
    domains leave unproved in the state.
    """

    calls: CallString
    pc: int
    instruction: Instruction
    state: State
    open: tuple[Assertion, ...] = ()


@dataclass(frozen=True, slots=True)
class Execution:
    """All that was executed.

    ``moments`` are those with open assertions, ``ends`` those at which the main program returns, both in the order of
    execution.  ``setting`` gives meaning to the states.  ``steps`` counts abstract steps, as for a fixpoint.
    ``resumed`` tells whether it rests on invariants of the fixpoint: there are loops.  ``covered`` tells that they were
    all there: otherwise something was left out, and nothing is proved.  ``found`` tells what the states
    are in front of any slot, as after a fixpoint.  ``entry`` is the state in which the program starts.
    """

    setting: Setting
    moments: tuple[Moment, ...]
    ends: tuple[Moment, ...]
    steps: int
    resumed: bool
    covered: bool
    found: Fixpoint
    entry: State


def execute(fixpoint: Fixpoint, budget: int | None = None, turns: int | None = None) -> Execution:
    """Execute the program of a fixpoint that has run.

    With ``turns`` loops are not cut: each is gone through as often, at most, every time it is entered, one turn after
    the other.  What takes more turns is left out, so such an execution shows what may happen and proves nothing.

    Raises BudgetExhausted where that takes more than ``budget`` abstract steps (that of the fixpoint, by default), and
    Unsupported like the fixpoint.
    """
    allowed = fixpoint.budget if budget is None else budget
    region = _Region(fixpoint, allowed) if turns is None else _Unrolled(fixpoint, allowed, turns)
    region.run()
    assert region.entry is not None
    return Execution(
        region.setting,
        tuple(region.moments),
        tuple(region.ends),
        region.steps,
        region.resumed,
        region.covered,
        region,
        region.entry,
    )


class _Region(Fixpoint):
    """A fixpoint without iteration: a component is entered at its head with the invariant, and passed through once."""

    def __init__(self, found: Fixpoint, budget: int) -> None:
        old = found.setting
        top = old.top

        def remembering() -> Facts:
            known = top()
            return Remembering(known, Start(known))

        setting = Setting(old.program, old.platform, remembering, old.policy, old.counts_turns, summaries=False)
        # Invariants of the fixpoint are taken over with their symbols: new ones must be others.
        setting.last = old.last
        setting.definitions = old.definitions
        super().__init__(setting, 1, budget, _unchecked)
        self.found = found
        self.moments: list[Moment] = []
        self.ends: list[Moment] = []
        self.resumed = False
        self.covered = True
        self.entry: State | None = None

    def _initial(self) -> State:
        self.entry = super()._initial()
        return self.entry.copy()

    def _started(self, states: Sequence[State], calls: CallString, pc: int) -> list[State]:
        """States of the fixpoint as places to start from."""
        started = []
        self.resumed = True
        for state in states:
            now = state.copy()
            now.facts = Remembering(state.facts, Start(state.facts, calls, pc, state))
            started.append(now)
        return started

    def _run(self, solving: Solving, position: int, stop: int, final: bool) -> None:
        order, ends = solving.function.order.order, solving.function.order.ends
        for place in range(position, stop):
            node = order[place]
            if ends[place] > place:
                start = solving.function.graph.blocks[node].start
                states = self.found.invariants.get((solving.calls, start), ())
                # Nothing comes to a head of which the fixpoint has no invariant, or it is about other calls.
                self.covered &= bool(states) or not self._gather(solving, node, outside_only=True)
                solving.entries[node] = self._started(states, solving.calls, start)
            else:
                solving.entries[node] = self._gather(solving, node)
            self._visit(solving, node, True)

    def _call_back(
        self, pc: int, instruction: Call, states: Sequence[State], calls: CallString, final: bool
    ) -> list[State]:
        inner = (*calls, pc)
        self.covered &= not states or (calls, pc) in self.found.returns
        for function in self.graph.functions:
            entered = self.found.invariants.get((inner, function.entry_pc))
            if entered:
                self._solve(function, inner, self._started(entered, inner, function.entry_pc), True)
        return self._started(self.found.returns.get((calls, pc), ()), calls, pc)

    def _add(self, kept: list[State], new: State, how: Merge = Merge.JOIN, thresholds: Sequence[int] = ()) -> bool:
        self._spend(1)
        shape = _shape(new)
        twin = next((index for index, state in enumerate(kept) if _shape(state) == shape), None)
        if twin is None and len(kept) >= _MAX_STATES:
            twin = next((index for index, state in enumerate(kept) if _size(state) == _size(new)), None)
        if twin is None:
            kept.append(new)
        else:
            kept[twin] = merge(kept[twin], new, Merge.JOIN, self.setting.fresh)
        return True

    def _execute(
        self, prepared: Prepared, entry: State, calls: CallString, final: bool, replaced: list[State] | None = None
    ) -> list[State]:
        states = [entry.copy()]
        for step in prepared.steps:
            pc, instruction = step.pc, step.instruction
            self._spend(len(states))
            for state in states:
                if isinstance(instruction, Exit) and not calls:
                    self.ends.append(Moment(calls, pc, instruction, state.copy()))
                if step.may_end and replaced is not None and calls:
                    replaced.append(ended_early(self.setting, state, instruction))
                try:
                    note = _noted(pc, instruction, state)
                    if step.attempt is None or not step.attempt(state):
                        self._check(calls, pc, instruction, state)
                        self._demand(pc, instruction, state, False)
                        if step.effect is not None:
                            step.effect(state)
                except Unsupported as unsupported:
                    raise Unsupported(unsupported.what, pc) from unsupported
                if note is not None:
                    note(state)
            if isinstance(step.call, CallLocal):
                states = self._call(pc, step.call, states, calls, True)
            elif step.call is not None:
                states = self._call_back(pc, step.call, states, calls, True)
            if step.call is not None:
                self.returns.setdefault((calls, pc), []).extend(state.copy() for state in states)
        return states

    def _check(self, calls: CallString, pc: int, instruction: Instruction, state: State) -> None:
        """Note what the domains leave open; each assertion is decided on its own, whatever the others are about."""
        assertions = assertions_of(instruction)
        left = tuple(each for each in assertions if findings(self.setting, state, (each,)))
        if left:
            self.moments.append(Moment(calls, pc, instruction, state.copy(), left))


class _Unrolled(_Region):
    """An execution that goes through each loop a bounded number of times, and leaves out what takes more."""

    def __init__(self, found: Fixpoint, budget: int, turns: int) -> None:
        super().__init__(found, budget)
        self._turns = turns

    def _run(self, solving: Solving, position: int, stop: int, final: bool) -> None:
        order, ends = solving.function.order.order, solving.function.order.ends
        place = position
        while place < stop:
            if ends[place] > place:
                self._go_round(solving, place, ends[place])
                place = ends[place]
            else:
                solving.entries[order[place]] = self._gather(solving, order[place])
                self._visit(solving, order[place], True)
                place += 1

    def _go_round(self, solving: Solving, place: int, end: int) -> None:
        function = solving.function
        inside = function.order.order[place:end]
        head = inside[0]
        leaving: dict[tuple[int, int], list[State]] = {}
        exits: dict[int, list[State]] = {}
        entries = self._gather(solving, head, outside_only=True)
        for _ in range(self._turns):
            if not entries:
                break
            for node in inside:
                for edge in range(len(function.block(node).ways)):
                    solving.outs.pop((node, edge), None)
            solving.entries[head] = entries
            self._visit(solving, head, True)
            self._run(solving, place + 1, end, True)
            again: list[State] = []
            for node in inside:
                exits.setdefault(node, []).extend(solving.exits.get(node, ()))
                for edge, way in enumerate(function.block(node).ways):
                    states = solving.outs.get((node, edge), [])
                    if way.target == head:
                        again += states
                    elif way.target not in inside:
                        leaving.setdefault((node, edge), []).extend(states)
            entries = self._merged(again)
        for node in inside:
            for edge in range(len(function.block(node).ways)):
                solving.outs[node, edge] = leaving.get((node, edge), [])
            if solving.calls:
                solving.exits[node] = self._merged(exits.get(node, ()))


def _unchecked(pc: int, assertions: Sequence[Assertion], state: State) -> None:
    raise AssertionError("an execution notes what is open by itself")


def _size(state: State) -> tuple[int, int]:
    return len(state.frames), len(state.references)


def _shape(state: State) -> tuple[object, ...]:
    """What states that are joined have in common: the kinds of their values, and which bytes of stack were written."""
    if state.kinds is None:
        state.kinds = signature(state)
    return (state.kinds, *[frame.initialised for frame in state.frames])


# The record ---------------------------------------------------------------------------------------------------------

_Note: TypeAlias = Callable[[State], None]


def _noted(pc: int, instruction: Instruction, before: State) -> _Note | None:
    """How to record in the history what an instruction does to memory other than the stack; called after it."""
    match instruction:
        case Load(dst, base, offset, size, signed):
            return _note_load(pc, _outside(before, base, offset), size, signed, dst)
        case LoadAcquire(dst, base, offset, size):
            return _note_load(pc, _outside(before, base, offset), size, False, dst)
        case Store(base, offset, size, src) | StoreRelease(base, offset, size, src):
            return _note_store(pc, _outside(before, base, offset), size, operand(before, src))
        case Atomic(base=base, offset=offset):
            return _note_atomic(pc, _outside(before, base, offset), instruction, before)
        case Call(helper):
            return _note_call(pc, helper, before.copy())
        case LoadPacket(size, offset, None) if offset >= 0:
            return _note_legacy(pc, offset, size)
        case _:
            return None


def _outside(state: State, base: Register, offset: int) -> Pointer | None:
    """The address of an access to memory that is no stack."""
    value = state.registers[base]
    if not isinstance(value, Pointer) or value.region.kind is RegionKind.STACK:
        return None
    return offset_by(value, offset)


def _note_load(pc: int, address: Pointer | None, size: int, signed: bool, dst: Register) -> _Note | None:
    if address is None:
        return None
    return lambda after: record(after, Loaded(history_of(after), pc, address, size, signed, after.registers[dst]))


def _note_legacy(pc: int, offset: int, size: int) -> _Note:
    address = Pointer(Region(RegionKind.PACKET), NEVER_NULL, constant(offset))

    def note(after: State) -> None:
        if after.packet_size.symbol != NO_SYMBOL:
            # Where the packet has no such bytes the function has ended.
            after.facts = after.facts.assume(Comparison.ULE, constant(offset + size), after.packet_size)
        record(after, Loaded(history_of(after), pc, address, size, False, after.registers[0], True))

    return note


def _note_store(pc: int, address: Pointer | None, size: int, content: Value | None) -> _Note | None:
    if address is None:
        return None
    return lambda after: record(after, Stored(history_of(after), pc, address, size, content))


def _note_atomic(pc: int, address: Pointer | None, instruction: Atomic, before: State) -> _Note | None:
    if address is None:
        return None
    op, operand, expected = instruction.op, before.registers[instruction.src], before.registers[0]
    result = Register.R0 if op is AtomicOp.CMPXCHG else instruction.src

    def note(after: State) -> None:
        fetched = after.registers[result] if instruction.fetch else None
        update = Update(op, operand, expected, fetched)
        record(after, Stored(history_of(after), pc, address, instruction.size, None, update))

    return note


def _note_call(pc: int, helper: int, before: State) -> _Note:
    return lambda after: record(after, Called(history_of(after), pc, helper, before, after.registers[0]))
