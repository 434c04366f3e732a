"""Replace instructions by others and keep every jump, call and function address leading to what it led to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from prevail_py.isa.flow import function_address, successors, target
from prevail_py.isa.instructions import (
    Branch,
    CallLocal,
    Instruction,
    Jump,
    LoadImmediate64,
    MayGoto,
    Pseudo,
    slots_of,
)

__all__ = ["Code", "reachable", "rewrite"]

Code: TypeAlias = tuple[Instruction | None, ...]
"""Instructions by slot; None is the second slot of a wide load."""


def rewrite(code: Sequence[Instruction | None], changes: Mapping[int, Sequence[Instruction]]) -> Code:
    """``code`` with the instruction at each slot in ``changes`` replaced by those given, which may be none.

    What led to a replaced instruction leads to the first of its replacements, or to what follows them where there is
    none.  Offsets within a replacement are taken as they are.  Raises ValueError for a jump that leaves the code.

    >>> from prevail_py.isa.instructions import Exit
    >>> rewrite((Jump(1), Exit(), Exit()), {1: ()})
    (Jump(offset=0, wide=False), Exit())
    """
    position: list[int] = []
    result: list[Instruction | None] = []
    kept: dict[int, int] = {}  # from the new slot to the old one
    for pc, instruction in enumerate(code):
        position.append(len(result))
        if pc in changes:
            for new in changes[pc]:
                result += [new] + [None] * (slots_of(new) - 1)
        elif instruction is not None:
            kept[len(result)] = pc
            result += [instruction] + [None] * (slots_of(instruction) - 1)
    position.append(len(result))
    for new_pc, pc in kept.items():
        match code[pc]:
            case (Branch() | Jump() | MayGoto() | CallLocal()) as jump:
                result[new_pc] = replace(jump, offset=_moved(position, target(pc, jump)) - new_pc - 1)
            case LoadImmediate64(pseudo=Pseudo.FUNCTION) as load:
                result[new_pc] = replace(load, low=_moved(position, function_address(pc, load)) - new_pc - 1)
            case _:
                pass
    return tuple(result)


def _moved(position: Sequence[int], pc: int) -> int:
    if not 0 <= pc < len(position):
        raise ValueError(f"a jump to slot {pc} of {len(position) - 1}")
    return position[pc]


def reachable(code: Sequence[Instruction | None], start: int = 0, *, calls: bool = True) -> frozenset[int]:
    """The slots of the instructions that control can come to from ``start``.

    With ``calls`` in subprograms and callbacks too; without, in the function at ``start`` alone.
    """
    found: set[int] = set()
    work = [start]
    while work:
        pc = work.pop()
        if pc in found or not 0 <= pc < len(code):
            continue
        instruction = code[pc]
        if instruction is None:
            continue
        found.add(pc)
        work += successors(code, pc)
        if calls:
            match instruction:
                case CallLocal():
                    work.append(target(pc, instruction))
                case LoadImmediate64(pseudo=Pseudo.FUNCTION):
                    work.append(function_address(pc, instruction))
                case _:
                    pass
    return frozenset(found)
