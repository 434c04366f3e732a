"""Make a program of a finding small: whatever is kept was tried, and the same oracle has the same against us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prevail_py.isa.encode import EncodeError, encode
from prevail_py.isa.instructions import Immediate, Instruction, Jump
from prevail_py.isa.rewrite import Code, rewrite
from prevail_py.objects.program import Program
from prevail_py.research.generate import used_maps

__all__ = ["minimise"]

_NOTHING = Jump(0)


def minimise(program: Program, fails: Callable[[Program], bool], tries: int = 250) -> Program:
    """The smallest program found, in at most so many ``tries``, of which ``fails`` still holds.

    Instructions are left out, in chunks and then one by one; constants become 0 or 1, or half of what they are.
    """
    best, left = program, tries

    def attempt(code: Code) -> bool:
        nonlocal best, left
        if left <= 0 or code == best.code:
            return False
        left -= 1
        candidate = replace(best, code=code)
        try:
            encode(code)
        except EncodeError:
            return False
        if not fails(candidate):
            return False
        best = candidate
        return True

    size = max(len(program.code) // 2, 1)
    while size and left > 0:
        changed, pc = False, 0
        while pc < len(best.code):
            cut = [at for at in range(pc, min(pc + size, len(best.code))) if best.code[at] is not None]
            if cut and attempt(_without(best.code, cut)):
                changed = True  # what followed is at the same place now
            else:
                pc += size
        size = size if changed and size == 1 else size // 2
    for pc in range(len(best.code)):
        for value in (0, 1, 8):
            smaller = _with_constant(best.code, pc, value)
            if smaller is None or attempt(smaller):
                break
    without = replace(best, maps=best.maps[: used_maps(best.code)])
    return without if without != best and fails(without) else best


def _without(code: Code, cut: list[int]) -> Code:
    try:
        return rewrite(code, dict.fromkeys(cut, ()))
    except ValueError:  # a jump led behind the end
        return tuple(_NOTHING if pc in cut and code[pc] is not None else each for pc, each in enumerate(code))


def _with_constant(code: Code, pc: int, value: int) -> Code | None:
    """With a constant that is nearer to 0 at this slot; None where there is no such constant."""
    instruction: Instruction | None = code[pc] if pc < len(code) else None
    operand = getattr(instruction, "src", None)
    if instruction is None or not isinstance(operand, Immediate) or abs(operand.value) <= value:
        return None
    return (*code[:pc], replace(instruction, src=Immediate(value)), *code[pc + 1 :])  # type: ignore[arg-type]
