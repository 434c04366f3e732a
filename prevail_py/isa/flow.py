"""Where control goes after an instruction: slots, successors and the leaders of basic blocks.

Everything here is arithmetic on slots.  Whether a target exists, starts an instruction and stays within its function
is for the graph builder (:mod:`prevail_py.cfg`) to judge, which also knows what to say about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

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

__all__ = ["Targeting", "ends_block", "function_address", "leaders", "successors", "target"]

Targeting: TypeAlias = Jump | Branch | MayGoto | CallLocal
"""The instructions that name a slot by an offset."""


def target(pc: int, instruction: Targeting) -> int:
    """The slot that ``instruction``, at slot ``pc``, goes to or calls: offsets count from the next slot."""
    return pc + 1 + instruction.offset


def function_address(pc: int, instruction: LoadImmediate64) -> int:
    """The slot of the function whose address a wide load at slot ``pc`` takes (``Pseudo.FUNCTION``).

    Linux counts this offset as it does that of a call, from ``pc + 1``, although the load takes two slots.
    """
    if instruction.pseudo is not Pseudo.FUNCTION:
        raise ValueError(f"a wide load of subtype {instruction.pseudo.name} takes no function's address")
    return pc + 1 + instruction.low


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
        case Jump():
            return (target(pc, instruction),)
        case Branch() | MayGoto():
            return (pc + 1, target(pc, instruction))
        case _:
            return (pc + slots_of(instruction),)


def ends_block(instruction: Instruction) -> bool:
    """Whether control may go anywhere but to the next instruction of the function."""
    return type(instruction) in _ENDING


_ENDING: Final = frozenset({Exit, Jump, Branch, MayGoto})


def leaders(code: Sequence[Instruction | None], start: int, end: int) -> tuple[int, ...]:
    """The slots in ``start..end`` (end exclusive) where basic blocks start, ascending.

    Those are ``start``, the targets of jumps and branches, and what follows a jump, branch or exit.  Targets outside
    the range are left out.
    """
    found = {start}
    for pc in range(start, end):
        if code[pc].__class__ in _ENDING:
            found.add(pc + 1)
            found.update(successors(code, pc))
    return tuple(sorted([pc for pc in found if start <= pc < end]))
