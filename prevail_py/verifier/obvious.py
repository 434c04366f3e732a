"""Instructions that are safe at a glance, which most are: executed without making and deciding assertions.

:func:`attempt_of` gives, for the commonest instructions, a function that executes one in a state *if* every assertion
of :func:`~prevail_py.verifier.assertions.assertions_of` obviously holds there, and else leaves the state alone and says
so.  Then the assertions are decided one by one, for the report.  So nothing rests on this module but time, as long as
each attempt asks for no less than the assertions of its instruction; a test compares the two on random states.

An access that is allowed teaches nothing: what :func:`~prevail_py.verifier.regions.learn_access` would conclude from it
is what allowed it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from prevail_py.domains.lattice import Range, Term, constant
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Branch,
    EndianSwap,
    Immediate,
    Instruction,
    Jump,
    Load,
    LoadImmediate64,
    MoveSignExtend,
    Negate,
    Register,
    Store,
)
from prevail_py.isa.semantics import immediate_word, operation
from prevail_py.verifier import regions
from prevail_py.verifier.assertions import Mode
from prevail_py.verifier.scalars import compute
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import State
from prevail_py.verifier.transfer import wide_value
from prevail_py.verifier.values import NEVER_NULL, STACK, STACK_SIZE, UNINITIALISED, Pointer, Value
from prevail_py.words import WordOp, mask

__all__ = ["Attempt", "attempt_of", "initialised"]

Attempt: TypeAlias = Callable[[State], bool]

_R10: Final = Register.R10
_MOV, _ADD, _SUB = AluOp.MOV, AluOp.ADD, AluOp.SUB
_READ, _WRITE = Mode.READ, Mode.WRITE
_MASK: Final = mask(64)
_LOW: Final = mask(32)
_EXTENT: Final = {size: Range(size, size) for size in (1, 2, 4, 8)}

_tuple: Final = tuple.__new__  # in a third of the time that the constructors of these tuples take


def attempt_of(setting: Setting, pc: int, instruction: Instruction) -> Attempt | None:
    """How to execute the instruction in slot ``pc`` at a glance; None where it always takes a closer look."""
    if instruction.__class__ is Alu:
        return _alu(setting, instruction)
    match instruction:
        case Load():
            return None if instruction.signed or instruction.dst is _R10 else _load(setting, instruction)
        case Store():
            return _store(setting, instruction)
        case LoadImmediate64(dst=dst):
            value = None if dst is _R10 or instruction.is_assertion else wide_value(setting, pc, instruction)
            return None if value is None else _always(int(dst), value)
        case Jump():
            return _nothing
        case MoveSignExtend(dst=dst, src=src) if dst is not _R10:
            return _number(setting, instruction, int(dst), int(src))
        case Negate(dst=dst) | EndianSwap(dst=dst) if dst is not _R10:
            return _number(setting, instruction, int(dst), int(dst))
        case _:
            return None


def _alu(setting: Setting, instruction: Alu) -> Attempt | None:
    op, dst, src = instruction.op, instruction.dst, instruction.src
    if dst is _R10:
        return None
    if isinstance(src, Immediate):
        word = immediate_word(src.value)
        if op is _MOV:
            return _always(int(dst), constant(word if instruction.width == 64 else word & _LOW))
        if instruction.width == 64:
            if op is _ADD:
                return _moved(setting, instruction, int(dst), word, word)
            if op is _SUB:
                return _moved(setting, instruction, int(dst), word, -word)
        return _number_and_constant(setting, instruction, int(dst), constant(word))
    if op is _MOV:
        return (
            _copy(int(dst), int(src)) if instruction.width == 64 else _number(setting, instruction, int(dst), int(src))
        )
    pointers = instruction.width == 64 and (op is _ADD or op is _SUB)
    return _numbers(setting, instruction, int(dst), int(src), pointers)


def _operation(instruction: Alu) -> WordOp:
    op = operation(instruction)
    assert op is not None, f"{instruction} copies"
    return op


def initialised(branch: Branch) -> Attempt:
    """Whether the operands of a branch were written on every path, which is all that it asks."""
    left = int(branch.dst)
    right = left if isinstance(branch.src, Immediate) else int(branch.src)

    def attempt(state: State) -> bool:
        registers = state.registers
        return registers[left] is not UNINITIALISED and registers[right] is not UNINITIALISED

    return attempt


def _nothing(state: State) -> bool:
    return True


def _always(dst: int, value: Value) -> Attempt:
    def attempt(state: State) -> bool:
        state.registers[dst] = value
        return True

    return attempt


def _copy(dst: int, src: int) -> Attempt:
    def attempt(state: State) -> bool:
        registers = state.registers
        value = registers[src]
        if value is UNINITIALISED:
            return False
        registers[dst] = value
        return True

    return attempt


def _number(setting: Setting, instruction: Alu | MoveSignExtend | Negate | EndianSwap, dst: int, src: int) -> Attempt:
    op = operation(instruction)
    if op is None:  # 64 bits in the order in which they are
        return lambda state: state.registers[src].__class__ is Term

    def attempt(state: State) -> bool:
        registers = state.registers
        value = registers[src]
        if value.__class__ is not Term:
            return False
        registers[dst] = compute(setting, state, op, (value,))
        return True

    return attempt


def _moved(setting: Setting, instruction: Alu, dst: int, word: int, shift: int) -> Attempt:
    """64-bit addition or subtraction of a constant, of a number or a pointer: mostly there is nothing to learn."""
    op, amount = _operation(instruction), constant(word)

    def attempt(state: State) -> bool:
        registers = state.registers
        value = registers[dst]
        if value.__class__ is Pointer:
            region, base, offset = value
            moved = (
                compute(setting, state, op, (offset, amount))
                if offset[0]
                else _tuple(Term, (0, offset[1] + shift & _MASK))
            )
            registers[dst] = _tuple(Pointer, (region, base, moved))
            return True
        if value.__class__ is Term:
            registers[dst] = (
                compute(setting, state, op, (value, amount))
                if value[0]
                else _tuple(Term, (0, value[1] + shift & _MASK))
            )
            return True
        return False

    return attempt


def _number_and_constant(setting: Setting, instruction: Alu, dst: int, amount: Term) -> Attempt:
    op = _operation(instruction)

    def attempt(state: State) -> bool:
        registers = state.registers
        value = registers[dst]
        if value.__class__ is not Term:
            return False
        registers[dst] = compute(setting, state, op, (value, amount))
        return True

    return attempt


def _numbers(setting: Setting, instruction: Alu, dst: int, src: int, pointers: bool) -> Attempt:
    op = _operation(instruction)

    def attempt(state: State) -> bool:
        registers = state.registers
        left, right = registers[dst], registers[src]
        if right.__class__ is not Term:
            return False
        if left.__class__ is Term:
            registers[dst] = compute(setting, state, op, (left, right))
            return True
        if pointers and left.__class__ is Pointer:
            region, base, offset = left
            registers[dst] = _tuple(Pointer, (region, base, compute(setting, state, op, (offset, right))))
            return True
        return False

    return attempt


def _load(setting: Setting, instruction: Load) -> Attempt:
    dst, base, offset, size = int(instruction.dst), int(instruction.base), instruction.offset, instruction.size
    extent = _EXTENT[size]

    bytes_read = (1 << size) - 1
    may_be_unwritten = setting.policy.uninitialised_stack

    def attempt(state: State) -> bool:
        address = state.registers[base]
        if address.__class__ is not Pointer:
            return False
        if address[0].kind is STACK and not address[2][0] and address[1] == NEVER_NULL:
            # The stack at a constant offset: nothing is asked of the facts.
            at = address[2][1] + offset & _MASK
            if at + size > STACK_SIZE:
                return False
            frame = state.frames[address[0].index]
            if not (may_be_unwritten or frame.initialised >> at & bytes_read == bytes_read):
                return False
            cell = frame.cells.get(at)
            if cell is not None and cell[0] == size:
                state.registers[dst] = cell[1]
                return True
            state.registers[dst] = regions.load(setting, state, regions.offset_by(address, offset), size)
            return True
        if offset:
            address = regions.offset_by(address, offset)
        if regions.violation(setting, state, address, extent, _READ) is not None:
            return False
        state.registers[dst] = regions.load(setting, state, address, size)
        return True

    return attempt


def _store(setting: Setting, instruction: Store) -> Attempt:
    base, offset, size, source = int(instruction.base), instruction.offset, instruction.size, instruction.src
    extent = _EXTENT[size]
    immediate = constant(immediate_word(source.value)) if isinstance(source, Immediate) else None
    register = 0 if isinstance(source, Immediate) else int(source)

    def attempt(state: State) -> bool:
        registers = state.registers
        address, value = registers[base], registers[register] if immediate is None else immediate
        # A pointer that is stored may leak: that takes a closer look.
        if address.__class__ is not Pointer or value.__class__ is not Term:
            return False
        if offset:
            address = regions.offset_by(address, offset)
        if address[0].kind is STACK and not address[2][0] and address[1] == NEVER_NULL:
            if address[2][1] + size > STACK_SIZE:
                return False
        elif regions.violation(setting, state, address, extent, _WRITE) is not None:
            return False
        regions.store(setting, state, address, size, value)
        return True

    return attempt
