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
from typing import TypeAlias

from prevail_py.domains.lattice import Range, Term
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
    Operand,
    Register,
    Store,
)
from prevail_py.verifier import regions
from prevail_py.verifier.assertions import Mode
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import State
from prevail_py.verifier.transfer import Effect, operand
from prevail_py.verifier.values import Pointer, Special

__all__ = ["Attempt", "attempt_of", "initialised"]

Attempt: TypeAlias = Callable[[State], bool]


def attempt_of(setting: Setting, instruction: Instruction, effect: Effect) -> Attempt | None:
    """How to execute ``instruction``, whose effect is given, at a glance; None where it always takes a closer look."""
    if getattr(instruction, "dst", None) == Register.R10:
        return None
    match instruction:
        case Alu(op, width, dst, src):
            return _alu(op, width, int(dst), src, effect)
        case Load():
            return None if instruction.signed else _load(setting, instruction)
        case Store():
            return _store(setting, instruction)
        case LoadImmediate64() | Jump():
            return _always(effect)
        case MoveSignExtend(src=src):
            return _number(int(src), effect)
        case Negate(dst=dst) | EndianSwap(dst=dst):
            return _number(int(dst), effect)
        case _:
            return None


def _alu(op: AluOp, width: int, dst: int, src: Operand, effect: Effect) -> Attempt:
    if op is AluOp.MOV:
        if isinstance(src, Immediate):
            return _always(effect)
        return _copy(dst, int(src)) if width == 64 else _number(int(src), effect)
    pointers = width == 64 and (op is AluOp.ADD or op is AluOp.SUB)
    if isinstance(src, Immediate):
        return _number_or_pointer(dst, effect) if pointers else _number(dst, effect)
    return _numbers(dst, int(src), pointers, effect)


def initialised(branch: Branch) -> Attempt:
    """Whether the operands of a branch were written on every path, which is all that it asks."""
    left = int(branch.dst)
    right = left if isinstance(branch.src, Immediate) else int(branch.src)

    def attempt(state: State) -> bool:
        registers = state.registers
        return registers[left] is not Special.UNINITIALISED and registers[right] is not Special.UNINITIALISED

    return attempt


def _always(effect: Effect) -> Attempt:
    def attempt(state: State) -> bool:
        effect(state)
        return True

    return attempt


def _copy(dst: int, src: int) -> Attempt:
    def attempt(state: State) -> bool:
        registers = state.registers
        value = registers[src]
        if value is Special.UNINITIALISED:
            return False
        registers[dst] = value
        return True

    return attempt


def _number(register: int, effect: Effect) -> Attempt:
    def attempt(state: State) -> bool:
        if state.registers[register].__class__ is not Term:
            return False
        effect(state)
        return True

    return attempt


def _number_or_pointer(register: int, effect: Effect) -> Attempt:
    def attempt(state: State) -> bool:
        kind = state.registers[register].__class__
        if kind is not Term and kind is not Pointer:
            return False
        effect(state)
        return True

    return attempt


def _numbers(dst: int, src: int, pointers: bool, effect: Effect) -> Attempt:
    def attempt(state: State) -> bool:
        registers = state.registers
        if registers[src].__class__ is not Term:
            return False
        kind = registers[dst].__class__
        if kind is not Term and not (pointers and kind is Pointer):
            return False
        effect(state)
        return True

    return attempt


def _load(setting: Setting, instruction: Load) -> Attempt:
    dst, base, offset, size = int(instruction.dst), int(instruction.base), instruction.offset, instruction.size
    extent = Range(size, size)

    def attempt(state: State) -> bool:
        address = state.registers[base]
        if not isinstance(address, Pointer):
            return False
        if offset:
            address = regions.offset_by(address, offset)
        if regions.violation(setting, state, address, extent, Mode.READ) is not None:
            return False
        state.registers[dst] = regions.load(setting, state, address, size)
        return True

    return attempt


def _store(setting: Setting, instruction: Store) -> Attempt:
    base, offset, size, source = int(instruction.base), instruction.offset, instruction.size, instruction.src
    extent = Range(size, size)

    def attempt(state: State) -> bool:
        address, value = state.registers[base], operand(state, source)
        # A pointer that is stored may leak: that takes a closer look.
        if not isinstance(address, Pointer) or not isinstance(value, Term):
            return False
        if offset:
            address = regions.offset_by(address, offset)
        if regions.violation(setting, state, address, extent, Mode.WRITE) is not None:
            return False
        regions.store(setting, state, address, size, value)
        return True

    return attempt
