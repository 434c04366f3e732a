"""The functions of a program as the generator sees them: basic blocks by the slot where they start.

A function is whatever can be reached from its entry without calling or returning; code that two functions share is
generated for each.  Slots where no instruction starts may be reached in programs that nobody checked: such a slot is a
block of its own, and running it is the reference's trap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prevail_py.isa.flow import ends_block, function_address, successors, target
from prevail_py.isa.instructions import CallLocal, Instruction, LoadImmediate64, Pseudo

__all__ = ["Block", "functions", "instruction_at", "recursive"]


@dataclass(frozen=True, slots=True)
class Block:
    """Slots that run one after another, and the blocks that may follow: those of a branch, fall-through first."""

    start: int
    pcs: tuple[int, ...]
    successors: tuple[int, ...]


def instruction_at(code: Sequence[Instruction | None], pc: int) -> Instruction | None:
    """The instruction that starts at a slot, if one does."""
    return code[pc] if 0 <= pc < len(code) else None


def functions(code: Sequence[Instruction | None]) -> dict[int, dict[int, Block]]:
    """The blocks of each function that is called or whose address is taken, by its entry slot; the main one is at 0."""
    found: dict[int, dict[int, Block]] = {}
    pending = [0]
    while pending:
        entry = pending.pop()
        if entry in found:
            continue
        blocks = found[entry] = _blocks(code, entry)
        for block in blocks.values():
            for pc in block.pcs:
                pending.extend(_callee(code, pc))
    return dict(sorted(found.items()))


def recursive(code: Sequence[Instruction | None]) -> bool:
    """Whether the main program is itself called, or may be."""
    return any(_callee(code, pc) == (0,) for pc in range(len(code)))


def _callee(code: Sequence[Instruction | None], pc: int) -> tuple[int, ...]:
    match instruction_at(code, pc):
        case CallLocal() as call:
            return (target(pc, call),)
        case LoadImmediate64(pseudo=Pseudo.FUNCTION) as load:
            return (function_address(pc, load),)
        case _:
            return ()


def _blocks(code: Sequence[Instruction | None], entry: int) -> dict[int, Block]:
    after: dict[int, tuple[int, ...]] = {}
    starts = {entry}
    pending = [entry]
    while pending:
        pc = pending.pop()
        if pc in after:
            continue
        instruction = instruction_at(code, pc)
        after[pc] = () if instruction is None else successors(code, pc)
        if instruction is not None and ends_block(instruction):
            starts.update(after[pc])
        pending.extend(after[pc])
    # A wide load falls through over its second slot, which a jump may reach by mistake: a block of its own, too.
    starts.update(pc for pc in after if instruction_at(code, pc) is None)
    blocks = {}
    for start in sorted(starts):
        pcs = [start]
        while len(after[pcs[-1]]) == 1 and after[pcs[-1]][0] not in starts:
            pcs.append(after[pcs[-1]][0])
        blocks[start] = Block(start, tuple(pcs), after[pcs[-1]])
    return blocks
