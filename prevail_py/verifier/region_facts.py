"""From the invariants of a program that is SAFE to what native code may rely upon.

A fact is about a slot and a register, whatever calls led there: what all states before the slot agree on.  Invariants
over-approximate, so a fact that holds in all of them holds in every run that commits no violation, which is every run
of a program that is SAFE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from prevail_py.domains.lattice import NO_SYMBOL, Term
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    Call,
    Instruction,
    Load,
    LoadAcquire,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.objects.region_facts import Place, RegionFact, RegionFacts, digest
from prevail_py.verifier.state import State
from prevail_py.verifier.values import ZERO, Pointer, RegionKind
from prevail_py.words import to_signed

if TYPE_CHECKING:
    from prevail_py.verifier.fixpoint import Fixpoint
    from prevail_py.verifier.termination import Termination

__all__ = ["region_facts"]

_PLACES: Final = {
    RegionKind.CONTEXT: Place.CONTEXT,
    RegionKind.PACKET: Place.PACKET,
    RegionKind.MAP_VALUE: Place.MAP_VALUE,
    RegionKind.MAP: Place.MAP,
    RegionKind.FUNCTION: Place.FUNCTION,
}


def region_facts(fixpoint: Fixpoint, termination: Termination | None) -> RegionFacts:
    """The facts of an analysis that proved its program SAFE."""
    pointers: dict[tuple[int, int], RegionFact] = {}
    reached: set[int] = set()
    spills: set[int] = set()
    fills: set[int] = set()
    unclear: set[int] = set()
    others: set[tuple[int, int]] = set()
    left: set[int] = set()
    right: set[int] = set()
    program = fixpoint.setting.program
    for (calls, start), heads in fixpoint.invariants.items():
        if not heads:
            continue
        for pc, states in fixpoint.walk(calls, fixpoint.graph.block_of(start)):
            if not states:
                continue
            reached.add(pc)
            instruction = program.code[pc]
            assert instruction is not None
            for register in _registers(fixpoint, instruction):
                for state in states:
                    fact = _fact(state, register)
                    if fact is None:
                        if not isinstance(instruction, Call):
                            unclear.add(pc)  # the access was proved by other means than what the state says
                        elif state.registers[register] != ZERO:
                            others.add((pc, register))  # native code tells null from pointers, but nothing else
                    if fact is not None:
                        known = pointers.get((pc, register), fact)
                        if known.place is not fact.place and Place.CONTEXT in (known.place, fact.place):
                            unclear.add(pc)  # fields of the context are not read as other memory is
                        pointers[pc, register] = _join(known, fact)
            match instruction:
                case Store(_, _, 8, src) | StoreRelease(_, _, 8, src) if isinstance(src, int):
                    if any(isinstance(state.registers[src], Pointer) for state in states):
                        spills.add(pc)
                case Load(_, base, offset, 8, False) | LoadAcquire(_, base, offset, 8):
                    if any(_loads_pointer(state, base, offset) for state in states):
                        fills.add(pc)
                case Alu(AluOp.ADD, 64, dst, Register() as src):
                    if any(isinstance(state.registers[dst], Pointer) for state in states):
                        left.add(pc)
                    if any(isinstance(state.registers[src], Pointer) for state in states):
                        right.add(pc)
                case _:
                    pass
    unclear |= left & right | {pc for pc, _ in others & pointers.keys()}
    return RegionFacts(
        digest(program),
        frozenset(reached),
        pointers,
        frozenset(spills),
        frozenset(fills),
        frozenset(right),
        frozenset(unclear),
        None if termination is None else termination.instructions,
    )


def _registers(fixpoint: Fixpoint, instruction: Instruction) -> Sequence[int]:
    """Those through which an instruction accesses memory, and the arguments of a helper: it looks at no others."""
    match instruction:
        case Load(base=base) | LoadAcquire(base=base) | Store(base=base) | StoreRelease(base=base) | Atomic(base=base):
            return (base,)
        case Call(helper):
            setting = fixpoint.setting
            prototype = setting.platform.helper(helper, setting.program.program_type)
            return range(1, 6) if prototype is None else range(1, len(prototype.args) + 1)
        case _:
            return ()


def _fact(state: State, register: int) -> RegionFact | None:
    """What a register points to in a state; None for what is no pointer, through which nothing is accessed."""
    value = state.registers[register]
    if not isinstance(value, Pointer):
        return None
    region, offset = value.region, _constant(value.offset)
    if region.kind is RegionKind.STACK:
        own = region.index == len(state.frames) - 1
        return RegionFact(Place.STACK, 0, offset) if own else RegionFact(Place.FRAME)
    if region.kind in _PLACES and not region.inner:
        return RegionFact(_PLACES[region.kind], region.index, offset)
    return RegionFact(Place.ELSEWHERE)


def _constant(term: Term) -> int | None:
    return to_signed(term.offset, 64) if term.symbol == NO_SYMBOL else None


def _join(a: RegionFact, b: RegionFact) -> RegionFact:
    if a == b:
        return a
    if (a.place, a.index) == (b.place, b.index):
        return RegionFact(a.place, a.index)
    if {a.place, b.place} <= {Place.STACK, Place.FRAME}:
        return RegionFact(Place.FRAME)
    return RegionFact(Place.ELSEWHERE)


def _loads_pointer(state: State, base: int, offset: int) -> bool:
    """Whether an 8-byte load may yield a pointer that is used as one: only a cell of a stack frame can hold one."""
    pointer = state.registers[base]
    if not isinstance(pointer, Pointer) or pointer.region.kind is not RegionKind.STACK:
        return False
    start = _constant(pointer.offset)
    if start is None:
        return any(isinstance(value, Pointer) for frame in state.frames for _, value in frame.cells.values())
    cell = state.frames[pointer.region.index].cells.get(start + offset)
    return cell is not None and isinstance(cell[1], Pointer)
