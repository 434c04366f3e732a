"""Programs made of programs that were worth keeping.

Most are made by changing the choices that led to one (:class:`~prevail_py.research.choices.Tape`): those are valid
again.  :func:`damaged` changes instructions instead, so that typing rules are broken a little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final, TypeAlias

from prevail_py.isa.encode import EncodeError, encode
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    Branch,
    Immediate,
    Instruction,
    Load,
    LoadImmediate64,
    MoveSignExtend,
    Register,
    Store,
)
from prevail_py.isa.rewrite import rewrite
from prevail_py.objects.program import Program
from prevail_py.research.choices import Choices
from prevail_py.words import Comparison

__all__ = ["changed_choices", "damaged"]

_EDGES: Final = (0, 1, -1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 65535, 1 << 30, (1 << 31) - 1,
                 -2, -8, -128, -(1 << 31))  # fmt: skip

_Change: TypeAlias = Callable[[Choices, Any], Any]


def changed_choices(random: Random, taken: Sequence[int]) -> list[int]:
    """Some of the choices taken anew, a part left out, doubled or moved; what follows from them may be quite new."""
    tape = list(taken)
    for _ in range(random.choice((1, 1, 2, 4))):
        if not tape:
            break
        at = random.randrange(len(tape))
        end = min(at + random.choice((1, 2, 4, 8, 16)), len(tape))
        match random.randrange(8):
            case 0:
                del tape[at:end]
            case 1:
                tape[at:at] = tape[at:end]
            case 2:
                other = random.randrange(len(tape))
                tape[at:end] = tape[other : other + end - at]
            case 3:
                del tape[at:]
            case 4 | 5:
                tape[at] = max(tape[at] + random.choice((-1, 1)), 0)
            case _:
                tape[at] = random.getrandbits(32)
    return tape


def damaged(choices: Choices, program: Program, changes: int = 1) -> Program:
    """``program`` with so many instructions changed, left out, doubled or exchanged; jumps lead where they led.

    The same program where no change gives one that can be encoded.
    """
    for _ in range(changes):
        for _ in range(4):
            pcs = [pc for pc, instruction in enumerate(program.code) if instruction is not None]
            pc = choices.choice(pcs)
            try:
                code = _damage(choices, program.code, pc, pcs)
                encode(code)
            except (ValueError, EncodeError):
                continue
            program = replace(program, code=code)
            break
    return program


def _damage(
    choices: Choices, code: tuple[Instruction | None, ...], pc: int, pcs: Sequence[int]
) -> tuple[Instruction | None, ...]:
    instruction = code[pc]
    assert instruction is not None
    match choices.randrange(8):
        case 0:
            return rewrite(code, {pc: ()})
        case 1:
            other = code[choices.choice(pcs)]
            if isinstance(other, Alu | Load | Store | MoveSignExtend | Atomic):
                return rewrite(code, {pc: (other, instruction)} if not isinstance(instruction, Branch) else {})
            return code
        case _:
            fields = _CHANGES.get(type(instruction), ())
            if not fields:
                return code
            name, change = choices.choice(fields)
            new = replace(instruction, **{name: change(choices, getattr(instruction, name))})
            return (*code[:pc], new, *code[pc + 1 :])


def _operand(choices: Choices, old: Any) -> Any:
    if isinstance(old, Immediate):
        return Immediate(_immediate(choices, old.value))
    return _register(choices, old)


def _immediate(choices: Choices, old: int) -> int:
    return choices.choice((old + 1, old - 1, -old, old ^ 1 << choices.randrange(31), choices.choice(_EDGES)))


def _register(choices: Choices, old: Register) -> Register:
    return choices.choice(tuple(Register))


def _offset(choices: Choices, old: int) -> int:
    return old + choices.choice((1, -1, 4, -4, 8, -8))


def _size(choices: Choices, old: int) -> int:
    return choices.choice((1, 2, 4, 8))


def _width(choices: Choices, old: int) -> int:
    return 96 - old


def _flip(choices: Choices, old: bool) -> bool:
    return not old


_CHANGES: Final[dict[type, tuple[tuple[str, _Change], ...]]] = {
    Alu: (("src", _operand), ("width", _width), ("op", lambda choices, old: choices.choice(tuple(AluOp))),
          ("dst", _register)),
    Branch: (("src", _operand), ("width", _width), ("dst", _register),
             ("comparison", lambda choices, old: choices.choice(tuple(Comparison)[:-1]))),
    Load: (("offset", _offset), ("size", _size), ("signed", _flip), ("dst", _register), ("base", _register)),
    Store: (("offset", _offset), ("size", _size), ("src", _operand), ("base", _register)),
    Atomic: (("offset", _offset), ("src", _register)),
    MoveSignExtend: (("src", _register), ("dst", _register)),
    LoadImmediate64: (("dst", _register),),
}  # fmt: skip
"""What may be changed of an instruction, and how."""
