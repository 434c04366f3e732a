"""Whether the IR of ``bpf_loop`` over one function of a program calls that as the helper does.

The native function (``prevail_py.vm.jit.proved.calls``) has two places that count: its beginning, and ``s0`` in front
of each turn, where a variable holds how many turns were made.  By induction over these it is enough that the beginning
makes it 0 or returns an error, and that a turn makes one call with the number of turns before it and either goes on,
with one more, or returns how many there were.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

import z3

from prevail_py.verifier.translation.equality import (
    Mistake,
    differences,
    event_differences,
    holds,
    is_status,
    undefined,
)
from prevail_py.verifier.translation.execute import End, Event, State, Term, execute, symbol
from prevail_py.verifier.translation.reader import Function, IrError
from prevail_py.vm.helpers.callbacks import MAX_LOOPS
from prevail_py.vm.jit.proved.layout import Status, block_words
from prevail_py.vm.jit.proved.model import Variant
from prevail_py.vm.jit.proved.plan import Plan

__all__ = ["validate_loop"]

_COUNT: Final = symbol("%count")
_FLAGS: Final = symbol("%flags")
_TURN: Final = "%turn.home"
_HEAD: Final = "s0"


def validate_loop(planned: Plan, variant: Variant, function: Function, entry: int) -> Iterator[Mistake]:
    """What is wrong with the native function that calls the one at slot ``entry``."""
    words = block_words(len(planned.code.program.maps))
    try:
        for end, state in execute(function, "entry", words):
            yield from undefined(entry, state)
            yield from _beginning(entry, end, state)
        for end, state in execute(function, _HEAD, words):
            yield from undefined(entry, state)
            yield from _turn(planned, variant, entry, end, state)
    except IrError as error:
        yield Mistake(entry, str(error))


def _beginning(entry: int, end: End, state: State) -> Iterator[Mistake]:
    yield from event_differences(entry, state, [])
    refused = z3.Or(_FLAGS != 0, z3.UGT(_COUNT, MAX_LOOPS))
    if end.to:
        if end.to != _HEAD or not holds(state.path, z3.Not(refused)):
            yield Mistake(entry, "bpf_loop makes turns that it must refuse")
        yield from differences(entry, state, [("the number of turns", state.cell(_TURN), z3.BitVecVal(0, 64))])
        return
    if not holds(state.path, refused):
        yield Mistake(entry, "bpf_loop refuses to make turns")
    error = z3.If(_FLAGS != 0, z3.BitVecVal(-errno.EINVAL, 64), z3.BitVecVal(-errno.E2BIG, 64))
    yield from _returned(entry, end, state, error)


def _turn(planned: Plan, variant: Variant, entry: int, end: End, state: State) -> Iterator[Mistake]:
    turn = symbol(f"cell {_TURN}")
    done = z3.UGE(turn, _COUNT)
    if holds(state.path, done):
        yield from event_differences(entry, state, [])
        if end.to:
            yield Mistake(entry, "bpf_loop makes more turns than it is to")
        else:
            yield from _returned(entry, end, state, turn)
        return
    if not holds(state.path, z3.Not(done)):
        yield Mistake(entry, "bpf_loop makes more turns than it is to")
    yield from event_differences(entry, state, [Event(f"call f{entry}", 0, _arguments(planned, turn))])
    status, wish = symbol("call 0 0"), symbol("call 0 1")
    on = z3.And(status == 0, wish == 0)
    if end.to:
        if end.to != _HEAD or not holds(state.path, on):
            yield Mistake(entry, "bpf_loop goes on although its function does not say so")
        yield from differences(entry, state, [("the number of turns", state.cell(_TURN), turn + 1)])
    elif holds(state.path, status != 0):
        if not holds(state.path, end.result[0] == status):
            yield Mistake(entry, "the status of a subprogram is lost")
    elif holds(state.path, on):
        if not variant.fuel or not is_status(state, end.result[0], Status.OUT_OF_FUEL):
            yield Mistake(entry, "bpf_loop ends although its function says to go on")
    elif holds(state.path, z3.And(status == 0, wish != 0)):
        yield from _returned(entry, end, state, turn + 1)
    else:
        yield Mistake(entry, "bpf_loop does not look at what its function returns")


def _arguments(planned: Plan, turn: Term) -> tuple[Term, ...]:
    zero = z3.BitVecVal(0, 64)
    found = [symbol("%packet"), symbol("%context"), symbol("%fp"), turn, symbol("%word"), zero, zero, zero]
    for number in range(1, 6):
        if number in planned.shadowed:  # only the context has one
            found += [symbol("%h"), symbol("%v"), symbol("%z")] if number == 2 else [None, None, None]
    return tuple(found)


def _returned(entry: int, end: End, state: State, r0: Term) -> Iterator[Mistake]:
    if not is_status(state, end.result[0], Status.RETURNED):
        yield Mistake(entry, "bpf_loop does not return")
    yield from differences(entry, state, [("r0", end.result[1], r0)])
