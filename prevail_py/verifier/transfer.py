"""The abstract effect of one instruction on one state, changed in place.

The semantics is that of the checked interpreter: a run that violates an assertion ends there.  So after an access has
been analysed the state may assume that it was allowed, which also keeps one cause from being reported twice.
Values that would only exist after a violation are POISON.
"""

from __future__ import annotations

from typing import Final, assert_never

from prevail_py.domains.lattice import NO_SYMBOL, Term, constant
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    Atomic,
    AtomicOp,
    Branch,
    Call,
    CallKfunc,
    CallLocal,
    CallRegister,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Jump,
    Load,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    MayGoto,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.semantics import immediate_word, operands, operation
from prevail_py.verifier.contracts import call_helper
from prevail_py.verifier.regions import learn_access, load, offset_by, poison, store
from prevail_py.verifier.scalars import assume, compute, unknown
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.values import NEVER_NULL, ZERO, Pointer, Region, RegionKind, Special, Value
from prevail_py.words import Comparison, OpKind, WordOp, mask

__all__ = ["MAX_POINTER_OFFSET", "branch", "step"]

MAX_POINTER_OFFSET: Final = 1 << 32
"""Pointers this near to their region are compared by offset: ``docs/safety.md`` assumes that no region lies nearer
than this to either end of the address space, so that their addresses cannot wrap and none of them is 0."""

_ADD: Final = WordOp(OpKind.ADD)
_SUB: Final = WordOp(OpKind.SUB)


def operand(state: State, source: Operand) -> Value:
    """The value of a register or immediate."""
    return constant(immediate_word(source.value)) if isinstance(source, Immediate) else state.registers[source]


def step(setting: Setting, state: State, pc: int, instruction: Instruction) -> None:
    """Execute one instruction that stays in its function and does not branch.  Raises Unsupported."""
    registers = state.registers
    match instruction:
        case Alu() | MoveSignExtend() | Negate() | EndianSwap():
            _alu(setting, state, instruction)
        case Load(dst, base, offset, size, signed):
            _load(setting, state, dst, base, offset, size, signed)
        case LoadAcquire(dst, base, offset, size):
            _load(setting, state, dst, base, offset, size)
        case Store(base, offset, size, source):
            address = _access(setting, state, base, offset, size)
            store(setting, state, address, size, operand(state, source))
        case StoreRelease(base, offset, size, source):
            address = _access(setting, state, base, offset, size)
            store(setting, state, address, size, registers[source])
        case Atomic():
            _atomic(setting, state, instruction)
        case LoadImmediate64():
            registers[instruction.dst] = _wide(setting, pc, instruction)
        case Call(helper):
            call_helper(setting, state, helper)
        case Jump():
            pass
        case LoadPacket():
            raise Unsupported("legacy packet loads", pc)
        case CallKfunc():
            raise Unsupported("kernel functions", pc)
        case CallRegister():
            raise Unsupported("callx", pc)
        case AddressSpaceCast():
            raise Unsupported("address space casts", pc)
        case Branch() | MayGoto() | CallLocal() | Exit():
            raise AssertionError(f"{instruction} changes control and is not for step()")
        case _:
            assert_never(instruction)


def _access(setting: Setting, state: State, base: Register, offset: int, size: int) -> Value:
    """The address ``base + offset`` after an access of ``size`` bytes there; POISON where none can be allowed."""
    value = state.registers[base]
    address = offset_by(value, offset) if isinstance(value, Pointer) else value
    if learn_access(setting, state, address, size):
        return address
    poison(state, value)
    state.registers[base] = Special.POISON
    return Special.POISON


def _load(
    setting: Setting, state: State, dst: Register, base: Register, offset: int, size: int, signed: bool = False
) -> None:
    address = _access(setting, state, base, offset, size)
    state.registers[dst] = load(setting, state, address, size, signed)


def _alu(setting: Setting, state: State, instruction: Alu | MoveSignExtend | Negate | EndianSwap) -> None:
    values = [operand(state, source) for source in operands(instruction)]
    op = operation(instruction)
    if op is None:
        result = values[0]
    else:
        terms = tuple(value for value in values if isinstance(value, Term))
        if len(terms) == len(values):
            result = compute(setting, state, op, terms)
        else:
            result = _pointer_arithmetic(setting, state, op, values)
    state.registers[instruction.dst] = result


def _pointer_arithmetic(setting: Setting, state: State, op: WordOp, values: list[Value]) -> Value:
    match op, values:
        case WordOp(OpKind.ADD, 64), [Pointer() as pointer, Term() as amount]:
            return pointer._replace(offset=compute(setting, state, _ADD, (pointer.offset, amount)))
        case WordOp(OpKind.ADD, 64), [Term() as amount, Pointer() as pointer]:
            return pointer._replace(offset=compute(setting, state, _ADD, (pointer.offset, amount)))
        case WordOp(OpKind.SUB, 64), [Pointer() as pointer, Term() as amount]:
            return pointer._replace(offset=compute(setting, state, _SUB, (pointer.offset, amount)))
        case WordOp(OpKind.SUB), [Pointer() as left, Pointer() as right] if _same_instance(left, right):
            return compute(setting, state, op, (left.offset, right.offset))
        case _:
            return Special.POISON


def _same_instance(left: Pointer, right: Pointer) -> bool:
    return left.region == right.region and left.base == right.base


def _atomic(setting: Setting, state: State, instruction: Atomic) -> None:
    size, bits = instruction.size, 8 * instruction.size
    address = _access(setting, state, instruction.base, instruction.offset, size)
    old = load(setting, state, address, size)
    # What is stored depends on the old contents, which on shared memory are unknown; nothing is lost by forgetting it.
    if isinstance(address, Pointer):
        store(setting, state, address, size, unknown(setting, state, 0, mask(bits)))
    if instruction.fetch:
        fetched = old if isinstance(old, Term) else Special.POISON
        state.registers[Register.R0 if instruction.op is AtomicOp.CMPXCHG else instruction.src] = fetched


def _wide(setting: Setting, pc: int, instruction: LoadImmediate64) -> Value:
    match instruction.pseudo:
        case Pseudo.IMMEDIATE:
            return constant(instruction.value)
        case Pseudo.MAP_INDEX:
            return Pointer(setting.map_region(instruction.low), NEVER_NULL, ZERO)
        case Pseudo.MAP_INDEX_VALUE:
            handle = setting.map_region(instruction.low)
            region = Region(RegionKind.MAP_VALUE, handle.index, name=handle.name)
            map_type = setting.map_type_of(region)
            if not map_type.index_key or map_type.per_cpu or not map_type.value_access:
                # Only arrays have their first value at a fixed address.
                raise Unsupported(f"the address of a value in a map of type {map_type.name}", pc)
            return Pointer(region, NEVER_NULL, constant(instruction.high & 0xFFFFFFFF))
        case Pseudo.FUNCTION:
            return Pointer(Region(RegionKind.FUNCTION, pc + 1 + instruction.low), NEVER_NULL, ZERO)
        case Pseudo.MAP_FD | Pseudo.MAP_VALUE:
            raise Unsupported("maps by file descriptor", pc)
        case Pseudo.BTF_ID:
            raise Unsupported("kernel variables by BTF id", pc)
        case _:
            assert_never(instruction.pseudo)


# Branches ---------------------------------------------------------------------------------------------------------


def branch(state: State, instruction: Branch, taken: bool) -> bool:
    """Learn that the branch went this way; False where it cannot."""
    comparison = instruction.comparison if taken else instruction.comparison.negation
    left, right = operand(state, instruction.dst), operand(state, instruction.src)
    if isinstance(left, Term) and isinstance(right, Term):
        return assume(state, comparison, left, right, instruction.width)
    if instruction.width != 64:
        return True
    if isinstance(left, Term):
        left, right, comparison = right, left, comparison.swapped
    if isinstance(left, Pointer) and isinstance(right, Term):
        return _compare_with_number(state, comparison, left, right)
    if isinstance(left, Pointer) and isinstance(right, Pointer) and _same_instance(left, right):
        return _compare_offsets(state, comparison, left, right)
    return True


def _compare_with_number(state: State, comparison: Comparison, pointer: Pointer, number: Term) -> bool:
    """A null check: the only comparison of a pointer with a number that says something about the pointer."""
    if number != ZERO or comparison not in (Comparison.EQ, Comparison.NE):
        return True
    if pointer.offset != ZERO:
        # A pointer that is not null and near its region is not 0; of a null pointer plus something nothing is learnt.
        known = state.facts.range(pointer.offset, signed=True)
        near = known.lo > -MAX_POINTER_OFFSET and known.hi < MAX_POINTER_OFFSET
        certainly_not_null = state.facts.range(pointer.base).lo > 0
        return not (near and certainly_not_null and comparison is Comparison.EQ)
    if not assume(state, comparison, pointer.base, ZERO, 64):
        return False
    if comparison is Comparison.EQ and pointer.base.symbol != NO_SYMBOL:
        _make_null(state, pointer.base)
    return True


def _make_null(state: State, base: Term) -> None:
    """Pointers known to be null are the numbers they are, and there is no reference to give back."""
    state.map_values(lambda value: value.offset if isinstance(value, Pointer) and value.base == base else value)
    state.references = tuple(held for held in state.references if held != base)


def _compare_offsets(state: State, comparison: Comparison, left: Pointer, right: Pointer) -> bool:
    """Addresses in one region compare like offsets, as long as neither address can wrap."""
    signed = _SIGNED.get(comparison)
    if signed is None:
        return True
    # Addresses below a null pointer wrap around: there only offsets that are not negative compare like addresses.
    null = state.facts.range(left.base).lo == 0
    lowest = 0 if null and signed is not comparison else -MAX_POINTER_OFFSET
    for pointer in (left, right):
        known = state.facts.range(pointer.offset, signed=True)
        if known.lo < lowest or known.hi > MAX_POINTER_OFFSET:
            return True
    return assume(state, signed, left.offset, right.offset, 64)


# How offsets compare where unsigned addresses do.  Signed comparisons of addresses say nothing about offsets.
_SIGNED: Final = {
    Comparison.EQ: Comparison.EQ,
    Comparison.NE: Comparison.NE,
    Comparison.ULT: Comparison.SLT,
    Comparison.ULE: Comparison.SLE,
    Comparison.UGT: Comparison.SGT,
    Comparison.UGE: Comparison.SGE,
}
