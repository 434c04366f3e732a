"""Helpers that call a function of the program: ``bpf_loop``, ``bpf_for_each_map_elem``.

Such a call is a loop: the function runs zero or more times, one time after another, in a frame of its own, with what
its arguments let it reach of its callers' memory as the state that is carried along.  The invariant in front of each
turn is found like that of a loop head, by widening and a bounded descent, with the function as the body; a state in
front of a turn is analysed once, however many turns there are (semi-naive iteration).  The helper stops when the
function returns something other than 0, and ``bpf_loop`` when all turns are made.

What the helper passes is new in each turn: a number below that of turns, or any element of the map.  Where the first
attempt at a program did not prove it, turns are *counted*: R0 holds how many were made, as the helper itself knows it,
so that disjuncts tell turns apart, equations relate what the function counts to the number of the turn, and the result
of ``bpf_loop`` is that number.

Between turns R1 to R5 hold the arguments of the helper, R0 the number of turns or nothing; while the function runs they
are kept with the caller's R6 to R9 in its frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, NamedTuple, Protocol

from prevail_py.domains.lattice import Term, constant
from prevail_py.isa.instructions import Call, Instruction
from prevail_py.verifier.helper_effects import leave
from prevail_py.verifier.merge import Merge, subsumes
from prevail_py.verifier.prototypes import CALLBACKS, MAX_LOOPS
from prevail_py.verifier.scalars import assume, compute, unknown
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import (
    KEY,
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
from prevail_py.words import Comparison, OpKind, WordOp, mask

__all__ = ["Add", "Body", "calls_back", "frame_pointer", "go_through", "leave_frame"]

_JOINS_BEFORE_WIDENING: Final = 1
_DESCENDING_ROUNDS: Final = 2
_LOWEST_ERROR: Final = -22
"""What ``bpf_loop`` returns for flags other than 0 (EINVAL); for too many turns it is -7 (E2BIG)."""

_ADD: Final = WordOp(OpKind.ADD)


class Body(Protocol):
    """Solves the function at slot ``function`` for ``entry``: the states at its exits.  ``final``: check it, too."""

    def __call__(self, function: int, entry: list[State], final: bool) -> list[State]: ...


class Add(Protocol):
    """Adds a state to a disjunction, in place; False where it was already covered."""

    def __call__(
        self, kept: list[State], new: State, how: Merge = Merge.JOIN, thresholds: Sequence[int] = ()
    ) -> bool: ...


class _Turn(NamedTuple):
    """What comes of some states in front of a turn: those in front of the next one, and those after the last."""

    again: list[State]
    over: list[State]


def calls_back(setting: Setting, instruction: Instruction) -> bool:
    """Whether this is a call of a helper that calls a function of the program."""
    if not isinstance(instruction, Call):
        return False
    prototype = setting.platform.helper(instruction.helper, setting.program.program_type)
    return prototype is not None and prototype.name in CALLBACKS


def go_through(
    setting: Setting,
    helper: int,
    states: Sequence[State],
    add: Add,
    thresholds: Callable[[int], Sequence[int]],
    body: Body,
    final: bool,
) -> list[State]:
    """The states after the call of ``helper`` in ``states``.  ``thresholds`` are those of a function, by its slot.

    With ``final`` the function is solved once more for good, from the invariant.
    """
    name = setting.platform.helper_name(helper) or ""
    before: dict[int, list[State]] = {}
    after: list[State] = []
    for state in states:
        function = state.registers[2]
        runs = isinstance(function, Pointer) and function.region.kind is RegionKind.FUNCTION
        if not runs or not isinstance(function, Pointer) or len(state.frames) == MAX_FRAMES:
            end = state.copy()  # this run traps
            leave(end, Special.POISON)
            after.append(end)
            continue
        ready = state.copy()
        ready.registers[0] = ZERO if setting.counts_turns else Special.UNINITIALISED
        add(before.setdefault(function.region.index, []), ready)
    for function_pc, entry in sorted(before.items()):
        loop = _Loop(setting, name, function_pc, add, thresholds(function_pc), body)
        invariant, over = loop.solve(entry, final)
        for state in (*over, *filter(None, map(loop.ended, invariant))):
            add(after, state)
    return [state.copy() for state in after]


class _Loop:
    """The turns of one function."""

    def __init__(
        self, setting: Setting, name: str, function: int, add: Add, thresholds: Sequence[int], body: Body
    ) -> None:
        self._setting = setting
        self._name = name
        self._function = function
        self._add = add
        self._thresholds = thresholds
        self._body = body

    def solve(self, entry: Sequence[State], final: bool) -> _Turn:
        """What holds before each turn and after the last one, and what holds where the function ended it all."""
        kept = list(entry)
        over: list[State] = []
        joins, new = 0, kept
        while new:
            how = Merge.WIDEN if joins >= _JOINS_BEFORE_WIDENING else Merge.JOIN
            found = self._turn(new, final=False)
            over += found.over
            before = list(kept)  # which also keeps their identities from being given to new ones
            changed = False
            for state in found.again:
                changed |= self._add(kept, state, how, self._thresholds)
            joins += changed
            # All that comes of a state that was not merged with anything is known.
            known = set(map(id, before))
            new = [state for state in kept if id(state) not in known]
        for _ in range(_DESCENDING_ROUNDS if joins else 0):
            descended: list[State] = []
            found = self._turn(kept, final=False)
            over = found.over
            for state in (*entry, *found.again):
                self._add(descended, state)
            if all(any(subsumes(new, old) for new in descended) for old in kept):
                break
            kept = descended
        if final:
            over = self._turn(kept, final=True).over
        return _Turn(kept, over)

    def _turn(self, states: Sequence[State], final: bool) -> _Turn:
        entry: list[State] = []
        for state in states:
            inner = self._entered(state)
            if inner is not None:
                self._add(entry, inner)
        returned = self._body(self._function, entry, final) if entry else []
        found = _Turn([], [])
        for state in returned:
            self._returned(state, found)
        return found

    def _entered(self, state: State) -> State | None:
        """The state in which the function starts a turn; None where there is none."""
        setting = self._setting
        inner = state.copy()
        kept = inner.registers[:6]
        inner.frames.append(Frame({}, 0, (*state.registers[6:10], *kept[1:], kept[0])))
        inner.registers[:10] = [Special.UNINITIALISED] * 10
        inner.registers[10] = frame_pointer(len(state.frames))
        passed = _loop_turn(setting, inner, kept) if self._name == "bpf_loop" else _element(setting, inner, kept)
        if passed is None:
            return None
        inner.registers[1 : 1 + len(passed)] = passed
        inner.collect(setting.definitions)
        return inner

    def _returned(self, state: State, found: _Turn) -> None:
        """After a turn: the function says whether there is another one."""
        result = state.registers[0]
        outer = _left(state)
        turns = outer.registers[0]
        if isinstance(turns, Term):
            outer.registers[0] = compute(self._setting, outer, _ADD, (turns, constant(1)))
        for comparison, into in ((Comparison.EQ, found.again), (Comparison.NE, found.over)):
            end = outer.copy()
            if isinstance(result, Term) and not assume(end, comparison, result, ZERO, 64):
                continue
            if into is found.over:
                leave(end, self._result(end))
            end.collect(self._setting.definitions)
            into.append(end)

    def ended(self, state: State) -> State | None:
        """The state after the call where no turn follows one in front of which ``state`` holds; None for nowhere."""
        end = state.copy()
        turns, count = end.registers[:2]
        if isinstance(turns, Term) and isinstance(count, Term) and self._certain(end):
            # All turns were made; with an error there would have been none.
            possible = assume(end, Comparison.UGE, turns, count, 64)
            if not possible:
                return None
        leave(end, self._result(end))
        return end

    def _certain(self, state: State) -> bool:
        """Whether this is a ``bpf_loop`` that does not return an error."""
        count, flags = state.registers[1], state.registers[4]
        return (
            self._name == "bpf_loop"
            and flags == ZERO
            and isinstance(count, Term)
            and state.facts.range(count).hi <= MAX_LOOPS
        )

    def _result(self, state: State) -> Value:
        """What the helper returns: the number of turns, or an error."""
        if self._name != "bpf_loop":
            return unknown(self._setting, state)
        if not self._certain(state):
            return unknown(self._setting, state, _LOWEST_ERROR, MAX_LOOPS)
        turns, count = state.registers[:2]
        if isinstance(turns, Term):
            return turns
        made = unknown(self._setting, state, 0, MAX_LOOPS)
        if isinstance(count, Term):
            assume(state, Comparison.ULE, made, count, 64)
        return made


def _loop_turn(setting: Setting, state: State, kept: Sequence[Value]) -> list[Value] | None:
    """The number of the turn, below that of turns and the limit, and the context; None where there is no turn."""
    turns, count, _, context = kept[:4]
    number = turns if isinstance(turns, Term) else unknown(setting, state, 0, MAX_LOOPS - 1)
    if not assume(state, Comparison.ULT, number, constant(MAX_LOOPS), 64):
        return None
    if isinstance(count, Term) and not assume(state, Comparison.ULT, number, count, 64):
        return None
    return [number, context]


def _element(setting: Setting, state: State, kept: Sequence[Value]) -> list[Value] | None:
    """The map, a key, its value, the context; None where the map is none, and the run has trapped."""
    _, handle, _, context = kept[:4]
    if not isinstance(handle, Pointer) or handle.region.kind is not RegionKind.MAP:
        return None
    key = Region(RegionKind.MEMORY, size=setting.map_of(handle.region).key_size, name=KEY)
    value = Region(RegionKind.MAP_VALUE, handle.region.index, inner=handle.region.inner, name=handle.region.name)
    # Not the one object of its kind: another key was passed to a function around this one, other elements have
    # addresses of their own.  So each has a base of its own, which is not null.
    bases = [unknown(setting, state, 1, mask(64)) for _ in (key, value)]
    return [handle, Pointer(key, bases[0], ZERO), Pointer(value, bases[1], ZERO), context]


def _left(state: State) -> State:
    """After the turn: what the helper knows is back, the key is gone."""
    outer = state.copy()
    saved = outer.frames[-1].saved
    leave_frame(outer)
    outer.registers[1:6] = saved[4:9]
    outer.registers[0] = saved[9]

    def dangling(value: Value) -> Value:
        gone = isinstance(value, Pointer) and value.region.kind is RegionKind.MEMORY and value.region.name == KEY
        return Special.DANGLING if gone else value

    outer.map_values(dangling)
    return outer


# Frames -----------------------------------------------------------------------------------------------------------


@cache
def frame_pointer(depth: int) -> Pointer:
    """R10 in frame ``depth``."""
    return Pointer(Region(RegionKind.STACK, depth), NEVER_NULL, constant(STACK_SIZE))


def leave_frame(state: State) -> None:
    """Leave the innermost frame: its memory is gone, the caller's registers come back."""
    frame = state.frames.pop()
    depth = len(state.frames)
    result = state.registers[0]
    state.registers[1:6] = [Special.UNINITIALISED] * 5
    state.registers[6:10] = frame.saved[:4]
    state.registers[10] = frame_pointer(depth - 1)
    state.registers[0] = result

    def dangling(value: Value) -> Value:
        gone = isinstance(value, Pointer) and value.region.kind is RegionKind.STACK and value.region.index >= depth
        return Special.DANGLING if gone else value

    state.map_values(dangling)
