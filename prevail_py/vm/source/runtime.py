"""What generated code calls: the way back to the reference, and the frames of subprograms.

Generated code keeps registers in local variables, the :class:`~prevail_py.vm.machine.Machine` has everything else.
Whatever is not an inlined fast path is left to the reference interpreter: registers go to the machine, the reference
executes *one* instruction (:func:`step`), and the registers come back.  So a trap is always the reference's own, with
its message, slot and address.  Where fuel runs short the reference takes over for good (:func:`hand_over`).

``steps`` in a machine is, while generated code runs, relative to the fuel: minus the instructions that may still run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final, TypeAlias

from prevail_py.vm import effects
from prevail_py.vm.machine import MAX_FRAMES, Frame, Machine
from prevail_py.vm.maps import has_values
from prevail_py.vm.memory import FRAME_SIZE, Region, RegionKind
from prevail_py.vm.source.algebra import NAMES as ALGEBRA_NAMES

__all__ = ["NAMES", "Provenance", "Returned", "Word", "restore"]

Word: TypeAlias = int | None
Provenance: TypeAlias = Region | None
Returned: TypeAlias = tuple[Word, Provenance, int] | None
"""R0, its provenance and the fuel left; None once the run is no longer where generated code thinks it is."""

_LOST: Final = ((None, None),) * 4


def restore(m: Machine, pc: int, steps: int, registers: tuple[Word, ...], provenance: tuple[Provenance, ...]) -> None:
    """Bring the machine up to date: where it is, and its registers R0 to R9 with their provenance."""
    stack = m.calls[-1].stack
    m.pc = pc
    m.steps = steps
    m.registers[:] = *registers, stack.base + FRAME_SIZE
    m.provenance[:] = *provenance, stack


def step(
    m: Machine, pc: int, steps: int, registers: tuple[Word, ...], provenance: tuple[Provenance, ...]
) -> tuple[object, ...]:
    """Let the reference execute the instruction at ``pc``: the registers R0 to R9 after it and their provenance."""
    restore(m, pc, steps, registers, provenance)
    effects.step(m, m.calls[-1].code)
    return (*m.registers[:10], *m.provenance[:10])


def ends(m: Machine, pc: int, steps: int, registers: tuple[Word, ...], provenance: tuple[Provenance, ...]) -> bool:
    """As :func:`step` for an instruction that may end the function, which returns 0 if it does."""
    restore(m, pc, steps, registers, provenance)
    frame = m.calls[-1]
    return effects.step(m, frame.code) is not None or m.calls[-1] is not frame


def hand_over(m: Machine, pc: int, steps: int, registers: tuple[Word, ...], provenance: tuple[Provenance, ...]) -> None:
    """Let the reference go on from ``pc``, which was not executed yet."""
    restore(m, pc, steps, registers, provenance)


def helper(
    m: Machine,
    number: int,
    pc: int,
    steps: int,
    registers: tuple[Word, ...],
    provenance: tuple[Provenance, ...],
) -> tuple[Word, Provenance] | None:
    """Call a helper: R0 and its provenance, or None where control went elsewhere (see :func:`moved`)."""
    restore(m, pc, steps, registers, provenance)
    frame = m.calls[-1]
    m.next_pc = pc + 1
    effects.call_helper(m, number)
    return None if moved(m, frame, pc) else (m.registers[0], m.provenance[0])


def iterate(
    m: Machine,
    number: int,
    pc: int,
    steps: int,
    registers: tuple[Word, ...],
    provenance: tuple[Provenance, ...],
    callbacks: Mapping[int, Callable[..., Returned]],
) -> Returned:
    """Call a helper that calls functions of the program: ``callbacks`` are their generated code, by entry slot.

    The helper decides what is called with what.  A call that ends as it should is followed by the next one here;
    whatever else happens is left to the reference.
    """
    restore(m, pc, steps, registers, provenance)
    frame = m.calls[-1]
    m.next_pc = pc + 1
    effects.call_helper(m, number)
    callee = m.calls[-1]
    if callee is frame:
        return m.registers[0], m.provenance[0], -m.steps
    iteration, function = callee.callback, callbacks.get(m.next_pc)
    if function is None:
        m.pc = m.next_pc
        return None
    assert iteration is not None
    words, pointers = m.registers[1:6], m.provenance[1:6]
    while True:
        result = function(m, -m.steps, *words, *pointers)
        if result is None:
            return None
        value, pointer, left = result
        m.steps = -left
        if m.calls[-1] is not callee or value != 0 or pointer is not None:
            break
        arguments = iteration.next_call()
        if arguments is None:
            m.leave()
            iteration.finish(m)
            return m.registers[0], None, left
        m.renew()
        words, pointers = [None] * 5, [None] * 5
        for place, (word, region) in enumerate(arguments):
            words[place], pointers[place] = word, region
    if m.calls[-1] is callee:
        m.registers[0], m.provenance[0] = value, pointer
        effects.end(m)
    if m.calls[-1] is not frame:  # the reference ended a call, and began the next one
        m.pc = m.next_pc
        return None
    return m.registers[0], m.provenance[0], -m.steps


def values(m: Machine, frame: Frame, index: int) -> tuple[Callable[[bytes], int | None] | None, dict[int, Region]]:
    """How to find the slot of a key in a map of the program, and the values that were found before, by slot.

    The first is None where the map at hand is not what the program says it is: tail calls may come with any maps.
    """
    index_in_machine = frame.maps[index]
    map, spec = m.maps[index_in_machine], frame.code.program.maps[index]
    if not has_values(map) or (map.spec.type, map.spec.key_size) != (spec.type, spec.key_size):
        return None, {}
    return map.find, m.values[index_in_machine]


def value(m: Machine, frame: Frame, index: int, slot: int) -> Region:
    """The value in a slot of a map of the program."""
    index_in_machine = frame.maps[index]
    region = m.values[index_in_machine][slot] = m.value_region(index_in_machine, slot)
    return region


def moved(m: Machine, frame: Frame, pc: int) -> bool:
    """Whether the call at ``pc`` put the machine elsewhere, as a tail call does; it is ready to go on there then."""
    if m.calls[-1] is frame and m.next_pc == pc + 1:
        return False
    m.pc = m.next_pc
    return True


def unwound(m: Machine, frame: Frame, registers: tuple[Word, ...], provenance: tuple[Provenance, ...]) -> None:
    """The reference took over in a callee: put R6 to R9 of ``frame`` where it will look for them on return."""
    callee = m.calls[m.calls.index(frame) + 1]
    callee.saved = tuple(zip(registers, provenance, strict=True))


def enter(m: Machine, call_pc: int) -> None:
    """Begin the frame of a subprogram.  What the caller has in R6 to R9 stays in its variables."""
    calls = m.calls
    caller = calls[-1]
    stack = m.memory.stack_frame(len(calls))
    calls.append(Frame(caller.code, caller.maps, stack, m.environment.may_goto_limit, call_pc, _LOST))


def leave(m: Machine) -> None:
    """End the innermost frame, if it is that of a subprogram and no callback, which :func:`iterate` ends."""
    if len(m.calls) > 1 and m.calls[-1].callback is None:
        m.memory.release(m.calls.pop().stack)


def forget(pointers: dict[int, Region], offset: int, size: int) -> None:
    """The bytes at ``offset`` were overwritten by a number: no pointer that overlaps them is whole any more."""
    for start in range(offset - 7, offset + size):
        pointers.pop(start, None)


NAMES: Final[dict[str, object]] = {
    **ALGEBRA_NAMES,
    **{f"u{size}": Struct(f"<{code}").unpack_from for size, code in ((2, "H"), (4, "I"), (8, "Q"))},
    **{f"w{size}": Struct(f"<{code}").pack_into for size, code in ((2, "H"), (4, "I"), (8, "Q"))},
    **{f"ones{size}": b"\1" * size for size in (1, 2, 4, 8)},
    "CONTEXT": RegionKind.CONTEXT,
    "MAX_FRAMES": MAX_FRAMES,
    **{
        f.__name__: f
        for f in (step, ends, hand_over, helper, moved, iterate, values, value, unwound, enter, leave, forget)
    },
}
"""The globals of generated code."""
