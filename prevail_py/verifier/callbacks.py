"""Helpers that call a function of the program: ``bpf_loop``, ``bpf_for_each_map_elem``.

Such a call is a loop: the function runs zero or more times, one time after another, in a frame of its own, with what
its arguments let it reach of its callers' memory as the state that is carried along.  The invariant in front of each
turn is found like that of a loop head, by widening and a bounded descent, with the function as the body.  What the
helper passes is new in each turn: a number below that of turns, or any element of the map.

Between turns R1 to R5 hold the arguments of the helper, R0 nothing; while the function runs they are kept with the
caller's R6 to R9 in its frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from prevail_py.domains.lattice import Term, constant
from prevail_py.isa.instructions import Call, Instruction
from prevail_py.verifier.contracts import CALLBACKS, MAX_LOOPS, leave
from prevail_py.verifier.merge import Merge, subsumes
from prevail_py.verifier.partition import add_state
from prevail_py.verifier.scalars import assume, unknown
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
from prevail_py.words import Comparison

__all__ = ["Body", "calls_back", "frame_pointer", "go_through", "leave_frame"]

_JOINS_BEFORE_WIDENING: Final = 1
_DESCENDING_ROUNDS: Final = 2


class Body(Protocol):
    """Solves the function at slot ``function`` for ``entry``: the states at its exits.  ``final``: check it, too."""

    def __call__(self, function: int, entry: list[State], final: bool) -> list[State]: ...


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
    disjuncts: int,
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
        ready.registers[0] = Special.UNINITIALISED
        add_state(before.setdefault(function.region.index, []), ready, disjuncts, setting.fresh)
    for function_pc, entry in sorted(before.items()):
        invariant = _invariant(setting, name, function_pc, entry, disjuncts, thresholds(function_pc), body)
        if final:
            body(function_pc, _entered(setting, name, invariant, disjuncts), True)
        for state in invariant:
            end = state.copy()
            leave(end, unknown(setting, end))
            add_state(after, end, disjuncts, setting.fresh)
    return [state.copy() for state in after]


def _invariant(
    setting: Setting,
    name: str,
    function: int,
    entry: list[State],
    disjuncts: int,
    thresholds: Sequence[int],
    body: Body,
) -> list[State]:
    """What holds before each turn and after the last one."""

    def turn(states: list[State]) -> list[State]:
        entered = _entered(setting, name, states, disjuncts)
        return [_returned(state) for state in body(function, entered, False)] if entered else []

    kept = list(entry)
    joins, changed = 0, True
    while changed:
        changed = False
        how = Merge.WIDEN if joins >= _JOINS_BEFORE_WIDENING else Merge.JOIN
        for state in turn(kept):
            changed |= add_state(kept, state, disjuncts, setting.fresh, how, thresholds)
        joins += changed
    for _ in range(_DESCENDING_ROUNDS if joins else 0):
        descended: list[State] = []
        for state in [*entry, *turn(kept)]:
            add_state(descended, state, disjuncts, setting.fresh)
        if all(any(subsumes(new, old) for new in descended) for old in kept):
            break
        kept = descended
    return kept


def _entered(setting: Setting, name: str, states: Sequence[State], disjuncts: int) -> list[State]:
    """The states in which the function starts a turn."""
    entry: list[State] = []
    for state in states:
        inner = state.copy()
        arguments = inner.registers[1:6]
        inner.frames.append(Frame({}, 0, (*state.registers[6:10], *arguments)))
        inner.registers[:10] = [Special.UNINITIALISED] * 10
        inner.registers[10] = frame_pointer(len(state.frames))
        passed = _loop_turn(setting, inner, arguments) if name == "bpf_loop" else _element(setting, arguments)
        if passed is None:
            continue
        inner.registers[1 : 1 + len(passed)] = passed
        inner.collect(setting.definitions)
        add_state(entry, inner, disjuncts, setting.fresh)
    return entry


def _loop_turn(setting: Setting, state: State, arguments: Sequence[Value]) -> list[Value] | None:
    """The number of the turn, below that of turns and the limit, and the context; None where there is no turn."""
    count, _, context = arguments[:3]
    number = unknown(setting, state, 0, MAX_LOOPS - 1)
    if isinstance(count, Term) and not assume(state, Comparison.ULT, number, count, 64):
        return None
    return [number, context]


def _element(setting: Setting, arguments: Sequence[Value]) -> list[Value] | None:
    """The map, a key, its value, the context; None where the map is none, and the run has trapped."""
    handle, _, context = arguments[:3]
    if not isinstance(handle, Pointer) or handle.region.kind is not RegionKind.MAP:
        return None
    key = Region(RegionKind.MEMORY, size=setting.map_of(handle.region).key_size, name=KEY)
    value = Region(RegionKind.MAP_VALUE, handle.region.index, inner=handle.region.inner, name=handle.region.name)
    return [handle, Pointer(key, NEVER_NULL, ZERO), Pointer(value, NEVER_NULL, ZERO), context]


def _returned(state: State) -> State:
    """After the turn: the helper's arguments are back, the key is gone."""
    outer = state.copy()
    saved = outer.frames[-1].saved
    leave_frame(outer)
    outer.registers[0] = Special.UNINITIALISED
    outer.registers[1:6] = saved[4:9]

    def dangling(value: Value) -> Value:
        gone = isinstance(value, Pointer) and value.region.kind is RegionKind.MEMORY and value.region.name == KEY
        return Special.DANGLING if gone else value

    outer.map_values(dangling)
    return outer


# Frames -----------------------------------------------------------------------------------------------------------


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
