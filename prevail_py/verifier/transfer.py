"""The abstract effect of one instruction on one state, changed in place.

The semantics is that of the checked interpreter: a run that violates an assertion ends there.  So after an access has
been analysed the state may assume that it was allowed, which also keeps one cause from being reported twice.
Values that would only exist after a violation are POISON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, assert_never

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
from prevail_py.isa.semantics import Computing, immediate_word, operands, operation
from prevail_py.verifier.helper_effects import call_helper
from prevail_py.verifier.regions import learn_access, load, offset_by, poison, store
from prevail_py.verifier.scalars import assume, compute, unknown
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.values import (
    NEVER_NULL,
    POISON,
    UNINITIALISED,
    ZERO,
    Pointer,
    RegionKind,
    Special,
    Value,
    region_of,
)
from prevail_py.words import Comparison, OpKind, WordOp, mask

__all__ = ["MAX_POINTER_OFFSET", "Condition", "Effect", "branch_of", "effect_of", "wide_value"]

MAX_POINTER_OFFSET: Final = 1 << 32
"""Pointers this near to their region are compared by offset: ``docs/safety.md`` assumes that no region lies nearer
than this to either end of the address space, so that their addresses cannot wrap and none of them is 0."""

Effect: TypeAlias = Callable[[State], None]
"""Executes one instruction on a state, in place."""

Condition: TypeAlias = Callable[[State], bool]
"""Learns that an edge was taken, in place; False where it cannot be."""

_ADD: Final = WordOp(OpKind.ADD)
_SUB: Final = WordOp(OpKind.SUB)
_EQ, _NE = Comparison.EQ, Comparison.NE


def operand(state: State, source: Operand) -> Value:
    """The value of a register or immediate."""
    return constant(immediate_word(source.value)) if isinstance(source, Immediate) else state.registers[source]


def effect_of(setting: Setting, pc: int, instruction: Instruction) -> Effect:
    """What an instruction that stays in its function and does not branch does to a state: decoded once, called often.

    Calling the effect may raise Unsupported; decoding does not, for the instruction may be unreachable.
    """
    match instruction:
        case Alu() | MoveSignExtend() | Negate() | EndianSwap():
            return _alu(setting, instruction)
        case Load(dst, base, offset, size, signed):
            return _load(setting, int(dst), int(base), offset, size, signed)
        case LoadAcquire(dst, base, offset, size):
            return _load(setting, int(dst), int(base), offset, size)
        case Store(base, offset, size, source) | StoreRelease(base, offset, size, source):
            return _store(setting, int(base), offset, size, source)
        case Atomic():
            return lambda state: _atomic(setting, state, instruction)
        case LoadImmediate64():
            return _wide(setting, pc, instruction)
        case Call(helper):
            return lambda state: call_helper(setting, state, helper)
        case Jump():
            return lambda state: None
        case LoadPacket(size, offset):
            if offset < 0:
                return _unsupported("legacy packet loads relative to a header", pc)
            return lambda state: _legacy_load(setting, state, size)
        case CallKfunc():
            return _unsupported(f"kernel function {setting.program.symbols.get(pc, '')}".rstrip(), pc)
        case CallRegister():
            return _unsupported("callx", pc)
        case AddressSpaceCast():
            return _unsupported("address space casts", pc)
        case Branch() | MayGoto() | CallLocal() | Exit():
            raise AssertionError(f"{instruction} changes control and is not a step within a block")
        case _:
            assert_never(instruction)


def _legacy_load(setting: Setting, state: State, size: int) -> None:
    """Where there is no such byte the function has ended: see ``blocks.py``."""
    state.registers[0] = unknown(setting, state, 0, mask(8 * size))
    state.registers[1:6] = [UNINITIALISED] * 5


def _unsupported(what: str, pc: int) -> Effect:
    def effect(state: State) -> None:
        raise Unsupported(what, pc)

    return effect


def _access(setting: Setting, state: State, base: int, offset: int, size: int) -> Value:
    """The address ``base + offset`` after an access of ``size`` bytes there; POISON where none can be allowed."""
    value = state.registers[base]
    address = offset_by(value, offset) if isinstance(value, Pointer) and offset else value
    if learn_access(setting, state, address, size):
        return address
    poison(state, value)
    state.registers[base] = POISON
    return POISON


def _load(setting: Setting, dst: int, base: int, offset: int, size: int, signed: bool = False) -> Effect:
    def effect(state: State) -> None:
        address = _access(setting, state, base, offset, size)
        state.registers[dst] = load(setting, state, address, size, signed)

    return effect


def _store(setting: Setting, base: int, offset: int, size: int, source: Operand) -> Effect:
    def effect(state: State) -> None:
        address = _access(setting, state, base, offset, size)
        store(setting, state, address, size, operand(state, source))

    return effect


def _alu(setting: Setting, instruction: Computing) -> Effect:
    op, dst = operation(instruction), int(instruction.dst)
    first, *others = operands(instruction)
    immediate = constant(immediate_word(first.value)) if isinstance(first, Immediate) else None
    left = -1 if isinstance(first, Immediate) else int(first)
    if op is None:

        def copy(state: State) -> None:
            state.registers[dst] = state.registers[left] if immediate is None else immediate

        return copy
    if not others:

        def unary(state: State) -> None:
            value = state.registers[left] if immediate is None else immediate
            if isinstance(value, Term):
                state.registers[dst] = compute(setting, state, op, (value,))
            else:
                state.registers[dst] = _pointer_arithmetic(setting, state, op, [value])

        return unary
    second = others[0]
    amount = constant(immediate_word(second.value)) if isinstance(second, Immediate) else None
    right = -1 if isinstance(second, Immediate) else int(second)

    def binary(state: State) -> None:
        registers = state.registers
        a, b = registers[left], registers[right] if amount is None else amount
        if isinstance(a, Term) and isinstance(b, Term):
            registers[dst] = compute(setting, state, op, (a, b))
        else:
            registers[dst] = _pointer_arithmetic(setting, state, op, [a, b])

    return binary


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
        case _ if setting.policy.pointer_leaks and _gives_number(op, values):
            return unknown(setting, state, 0, mask(op.width))
        case _:
            return Special.POISON


def _gives_number(op: WordOp, values: list[Value]) -> bool:
    """Whether the result is a number of which nothing is known, where the policy lets pointers leak."""
    if Special.POISON in values:
        return False
    match op.kind:
        case OpKind.ZEXT | OpKind.SEXT | OpKind.NEG | OpKind.BSWAP:
            return True
        case OpKind.SUB:
            return op.width == 32 or not any(isinstance(value, Term) for value in values)
        case _:
            return False


def _same_instance(left: Pointer, right: Pointer) -> bool:
    return left.region == right.region and left.base == right.base


def _atomic(setting: Setting, state: State, instruction: Atomic) -> None:
    size, bits = instruction.size, 8 * instruction.size
    address = _access(setting, state, int(instruction.base), instruction.offset, size)
    old = load(setting, state, address, size)
    # What is stored depends on the old contents, which on shared memory are unknown; nothing is lost by forgetting it.
    if isinstance(address, Pointer):
        store(setting, state, address, size, unknown(setting, state, 0, mask(bits)))
    if instruction.fetch:
        fetched = old if isinstance(old, Term) else Special.POISON
        state.registers[Register.R0 if instruction.op is AtomicOp.CMPXCHG else instruction.src] = fetched


def _wide(setting: Setting, pc: int, instruction: LoadImmediate64) -> Effect:
    dst = int(instruction.dst)
    if instruction.pseudo is Pseudo.IMMEDIATE and pc in setting.program.symbols:
        # An address in the kernel: another one after each boot, and a number to the program.
        def address(state: State) -> None:
            state.registers[dst] = unknown(setting, state)

        return address
    try:
        value = _wide_value(setting, pc, instruction)
    except Unsupported as unsupported:
        return _unsupported(unsupported.what, pc)

    def effect(state: State) -> None:
        state.registers[dst] = value

    return effect


def wide_value(setting: Setting, pc: int, instruction: LoadImmediate64) -> Value | None:
    """What a wide load yields in every state; None where that is not one value, or is not supported."""
    if instruction.pseudo is Pseudo.IMMEDIATE and pc in setting.program.symbols:
        return None
    try:
        return _wide_value(setting, pc, instruction)
    except Unsupported:
        return None


def _wide_value(setting: Setting, pc: int, instruction: LoadImmediate64) -> Value:
    match instruction.pseudo:
        case Pseudo.IMMEDIATE:
            return constant(instruction.value)
        case Pseudo.MAP_INDEX:
            return Pointer(setting.map_region(instruction.low), NEVER_NULL, ZERO)
        case Pseudo.MAP_INDEX_VALUE:
            handle = setting.map_region(instruction.low)
            region = region_of(RegionKind.MAP_VALUE, handle.index, name=handle.name)
            map_type = setting.map_type_of(region)
            if not map_type.index_key or map_type.per_cpu or not map_type.value_access:
                # Only arrays have their first value at a fixed address.
                raise Unsupported(f"the address of a value in a map of type {map_type.name}", pc)
            return Pointer(region, NEVER_NULL, constant(instruction.high & 0xFFFFFFFF))
        case Pseudo.FUNCTION:
            return Pointer(region_of(RegionKind.FUNCTION, pc + 1 + instruction.low), NEVER_NULL, ZERO)
        case Pseudo.MAP_FD | Pseudo.MAP_VALUE:
            raise Unsupported("maps by file descriptor", pc)
        case Pseudo.BTF_ID:
            raise Unsupported(f"address of kernel symbol {setting.program.symbols.get(pc, 'by BTF id')}", pc)
        case _:
            assert_never(instruction.pseudo)


# Branches ---------------------------------------------------------------------------------------------------------


def branch_of(instruction: Branch, taken: bool) -> Condition:
    """What is learnt where the branch goes this way, decoded once; the condition is False where it cannot."""
    comparison = instruction.comparison if taken else instruction.comparison.negation
    width, dst, source = instruction.width, int(instruction.dst), instruction.src
    amount = constant(immediate_word(source.value)) if isinstance(source, Immediate) else None
    other = -1 if isinstance(source, Immediate) else int(source)

    def condition(state: State) -> bool:
        left = state.registers[dst]
        right = state.registers[other] if amount is None else amount
        if left.__class__ is Term and right.__class__ is Term:
            return assume(state, comparison, left, right, width)
        return width != 64 or _branch_on_pointers(state, comparison, left, right)

    return condition


def _branch_on_pointers(state: State, comparison: Comparison, left: Value, right: Value) -> bool:
    if isinstance(left, Term):
        left, right, comparison = right, left, comparison.swapped
    if isinstance(left, Pointer) and isinstance(right, Term):
        return _compare_with_number(state, comparison, left, right)
    if isinstance(left, Pointer) and isinstance(right, Pointer):
        if _same_instance(left, right):
            return _compare_offsets(state, comparison, left, right)
        if comparison is _EQ:
            return _equal_pointers(state, left, right) and _equal_pointers(state, right, left)
    return True


def _equal_pointers(state: State, left: Pointer, right: Pointer) -> bool:
    """What equals the address of something is not null."""
    if left.offset != ZERO or state.facts.range(right.base).lo == 0 or not _near(state, right):
        return True
    return assume(state, _NE, left.base, ZERO, 64)


def _near(state: State, pointer: Pointer) -> bool:
    """Whether the address is so near to its region that it cannot be 0."""
    known = state.facts.range(pointer.offset, signed=True)
    return known.lo > -MAX_POINTER_OFFSET and known.hi < MAX_POINTER_OFFSET


def _compare_with_number(state: State, comparison: Comparison, pointer: Pointer, number: Term) -> bool:
    """A null check: the only comparison of a pointer with a number that says something about the pointer."""
    if number != ZERO or (comparison is not _EQ and comparison is not _NE):
        return True
    if pointer.offset != ZERO:
        # A pointer that is not null and near its region is not 0; of a null pointer plus something nothing is learnt.
        certainly_not_null = state.facts.range(pointer.base).lo > 0
        return not (_near(state, pointer) and certainly_not_null and comparison is _EQ)
    if not assume(state, comparison, pointer.base, ZERO, 64):
        return False
    if comparison is _EQ and pointer.base.symbol != NO_SYMBOL:
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
