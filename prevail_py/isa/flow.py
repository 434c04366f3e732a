"""Where control goes after an instruction: slots, successors and the leaders of basic blocks.

Everything here is arithmetic on slots.  Whether a target exists, starts an instruction and stays within its function
is for the graph builder (:mod:`prevail_py.cfg`) to judge, which also knows what to say about it.
"""

from __future__ import annotations

from collections.abc import Sequence

from prevail_py.isa.instructions import (
    Branch,
    CallLocal,
    Exit,
    Instruction,
    Jump,
    LoadImmediate64,
    MayGoto,
    Pseudo,
    slots_of,
)

__all__ = ["ends_block", "leaders", "successors", "target"]


def target(pc: int, instruction: Instruction) -> int | None:
    """The slot that ``instruction``, at slot ``pc``, names by an offset; None for instructions that name none.

    Jumps and branches go there, a local call calls it, and a wide load of a function takes its address.  Offsets count
    from the next slot (RFC 9669 section 4.3); in the wide load Linux counts from its first slot, so from ``pc + 1`` too.
    """
    match instruction:
        case Jump(offset) | Branch(offset=offset) | MayGoto(offset) | CallLocal(offset):
            return pc + 1 + offset
        case LoadImmediate64(low=offset, pseudo=Pseudo.FUNCTION):
            return pc + 1 + offset
        case _:
            return None


def successors(code: Sequence[Instruction | None], pc: int) -> tuple[int, ...]:
    """The slots where control may go after the instruction at ``pc``, within its function.

    Empty for an exit, the target of a jump, ``(fall-through, target)`` for a branch or a may_goto even where both are
    the same slot, and the next instruction for everything else, calls included.
    """
    instruction = code[pc]
    if instruction is None:
        raise ValueError(f"slot {pc} is the second half of a wide load")
    match instruction:
        case Exit():
            return ()
        case Jump(offset):
            return (pc + 1 + offset,)
        case Branch(offset=offset) | MayGoto(offset):
            return (pc + 1, pc + 1 + offset)
        case _:
            return (pc + slots_of(instruction),)


def ends_block(instruction: Instruction) -> bool:
    """Whether control may go anywhere but to the next instruction of the function."""
    return isinstance(instruction, Exit | Jump | Branch | MayGoto)


def leaders(code: Sequence[Instruction | None], start: int, end: int) -> tuple[int, ...]:
    """The slots in ``start..end`` (end exclusive) where basic blocks start, ascending.

    Those are ``start``, the targets of jumps and branches, and what follows a jump, branch or exit.  Targets outside
    the range are left out.
    """
    found = {start}
    for pc in range(start, end):
        instruction = code[pc]
        if instruction is not None and ends_block(instruction):
            found.add(pc + 1)
            found.update(successors(code, pc))
    return tuple(sorted(pc for pc in found if start <= pc < end))
