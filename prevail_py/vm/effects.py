"""What every instruction does, with every access checked: the semantics that all engines are compared with.

It is written to be compared with RFC 9669, section by section.  What an instruction computes comes from
:mod:`prevail_py.isa.semantics`; this module adds the effects: memory, control flow, calls.  What a program violates is
raised as a :class:`Fault`, which :mod:`prevail_py.vm.interpreter` turns into a trap.
"""

from __future__ import annotations

from typing import assert_never

from prevail_py.isa.flow import function_address
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
from prevail_py.isa.semantics import immediate_word
from prevail_py.vm.fault import Fault
from prevail_py.vm.machine import Callback, Code, Machine
from prevail_py.vm.maps import has_values
from prevail_py.vm.memory import Region, RegionKind
from prevail_py.vm.outcome import TrapKind
from prevail_py.words import INT, WORD_BITS, Comparison, OpKind, WordOp, compare, evaluate, to_signed

__all__ = ["call_helper", "end", "step"]


def step(machine: Machine, code: Code) -> int | None:
    """Execute the instruction at ``machine.pc`` and set ``next_pc``; R0 where it ends the program."""
    pc = machine.pc
    instruction = code.instructions[pc] if 0 <= pc < len(code.instructions) else None
    machine.next_pc = pc + 1
    match instruction:
        # Arithmetic: RFC 9669 sections 4.1 and 4.2
        case Alu() | MoveSignExtend() | Negate() | EndianSwap():
            _compute(machine, instruction.dst, code.operations[pc], code.operands[pc])
        # Jumps: section 4.3
        case Branch(comparison, width, dst, src, offset):
            if compare(INT, comparison, machine.read(dst), _source(machine, src)[0], width):
                machine.next_pc = pc + 1 + offset
        case Jump(offset):
            machine.next_pc = pc + 1 + offset
        case MayGoto(offset):
            frame = machine.calls[-1]
            if frame.may_goto_left > 0:
                frame.may_goto_left -= 1
            else:
                machine.next_pc = pc + 1 + offset
        case Exit():
            return end(machine)
        # Calls: sections 4.3.1 and 4.3.2
        case Call(helper):
            call_helper(machine, helper)
        case CallLocal(offset):
            _call(machine, pc + 1 + offset)
        case CallRegister(register):
            _call_register(machine, register)
        case CallKfunc():
            name = machine.program.symbols.get(pc)
            which = f" ({name})" if name else ""
            raise Fault(TrapKind.UNSUPPORTED, f"calls of kernel functions{which} are not modelled")
        # Memory: sections 5.1 to 5.3
        case Load(dst, base, offset, size):
            machine.write(dst, *_load(machine, base, offset, size, code.operations[pc]))
        case LoadAcquire(dst, base, offset, size):
            machine.write(dst, *_load(machine, base, offset, size))
        case Store(base, offset, size, src):
            _store(machine, base, offset, size, src)
        case StoreRelease(base, offset, size, register):
            _store(machine, base, offset, size, register)
        case Atomic():
            _atomic(machine, instruction, code.operations[pc])
        # Wide loads: section 5.4
        case LoadImmediate64(dst):
            if instruction.is_assertion:
                raise Fault(TrapKind.USER_ASSERTION, "an assertion of the program does not hold")
            machine.next_pc = pc + 2
            machine.write(dst, *_wide(machine, instruction))
        case AddressSpaceCast():
            raise Fault(TrapKind.UNSUPPORTED, "address space casts are not modelled")
        # Legacy packet access: section 5.5
        case LoadPacket():
            return _load_packet(machine, instruction)
        case None:
            raise Fault(TrapKind.UNSUPPORTED, f"control flow leaves the program: no instruction starts at slot {pc}")
        case _:
            assert_never(instruction)
    return None


# Arithmetic ---------------------------------------------------------------------------------------------------------


def _source(machine: Machine, operand: Operand) -> tuple[int, Region | None]:
    """The word that an operand stands for, and its provenance."""
    if isinstance(operand, Register):
        return machine.read(operand), machine.provenance[operand]
    return immediate_word(operand.value), None


def _compute(machine: Machine, dst: Register, op: WordOp | None, sources: tuple[Operand, ...]) -> None:
    """``dst = op(sources)``, or a copy of the only source."""
    first, provenance = _source(machine, sources[0])
    if op is None:
        machine.write(dst, first, provenance)
    elif len(sources) == 1:
        kept = None if provenance is None else _pointer_result(op, (provenance,))
        machine.write(dst, evaluate(INT, op, (first,)), kept)
    else:
        second, other = _source(machine, sources[1])
        kept = None if provenance is other is None else _pointer_result(op, (provenance, other))
        machine.write(dst, evaluate(INT, op, (first, second)), kept)


def _pointer_result(op: WordOp, provenance: tuple[Region | None, ...]) -> Region | None:
    """The provenance of what ``op`` computes from pointers.

    Only a number can be added to or subtracted from a pointer, at 64 bits, and two pointers into the same region be
    subtracted from each other, which gives a number.
    """
    if not any(region is not None and not region.live for region in provenance):
        match op.kind, op.width, provenance:
            case (OpKind.ADD, 64, (region, None) | (None, region)) | (OpKind.SUB, 64, (region, None)):
                return region
            case (OpKind.SUB, _, (Region() as left, Region() as right)) if left is right:
                return None
    involved = " and ".join("a number" if region is None else f"a pointer to {region}" for region in provenance)
    raise Fault(TrapKind.POINTER_ARITHMETIC, f"{op.kind.value} of {op.width} bits on {involved}")


# Memory -------------------------------------------------------------------------------------------------------------


def _address(machine: Machine, base: Register, offset: int) -> tuple[Region, int]:
    value, region = machine.read(base), machine.provenance[base]
    if region is not None:
        return region, value + offset & 0xFFFFFFFFFFFFFFFF
    if value == 0:
        raise Fault(TrapKind.NULL_DEREFERENCE, f"r{base} is null", offset & 0xFFFFFFFFFFFFFFFF)
    raise Fault(TrapKind.NOT_A_POINTER, f"r{base} is the number {value:#x}", value + offset & 0xFFFFFFFFFFFFFFFF)


def _load(
    machine: Machine, base: Register, offset: int, size: int, op: WordOp | None = None
) -> tuple[int, Region | None]:
    """The word loaded, which ``op`` extends from the bytes read, and its provenance where it is a pointer."""
    region, address = _address(machine, base, offset)
    if region.kind is RegionKind.CONTEXT and machine.context is not None:
        value, provenance = machine.context.load(address, size, op is not None)
    else:
        value, provenance = region.load(address, size)
    return (value, provenance) if op is None else (evaluate(INT, op, (value,)), None)


def _store(machine: Machine, base: Register, offset: int, size: int, src: Operand) -> None:
    region, address = _address(machine, base, offset)
    value, provenance = _source(machine, src)
    if region.kind is RegionKind.CONTEXT and machine.context is not None:
        machine.context.store(address, size, value, provenance)
        return
    if provenance is not None and not machine.plain:
        region.require_no_leak(provenance, address, size)
    region.store(address, size, value, provenance)


def _atomic(machine: Machine, instruction: Atomic, word_op: WordOp | None) -> None:
    op, size, src = instruction.op, instruction.size, instruction.src
    region, address = _address(machine, instruction.base, instruction.offset)
    operand, provenance = machine.read(src), machine.provenance[src]
    if region.kind is RegionKind.CONTEXT:
        raise Fault(TrapKind.CONTEXT_ACCESS, "an atomic operation on the context", address)
    expected = machine.read(Register.R0) if op is AtomicOp.CMPXCHG else 0
    old, _ = region.load(address, size)
    if provenance is not None and not machine.plain:
        region.require_no_leak(provenance, address, size)
    if word_op is not None:
        new = evaluate(INT, word_op, (old, operand))
    elif op is AtomicOp.CMPXCHG and not compare(INT, Comparison.EQ, old, expected, 8 * size):
        new = old
    else:
        new = operand
    region.store(address, size, new)
    if instruction.fetch:
        machine.write(Register.R0 if op is AtomicOp.CMPXCHG else src, old)


def _wide(machine: Machine, instruction: LoadImmediate64) -> tuple[int, Region | None]:
    match instruction.pseudo:
        case Pseudo.IMMEDIATE:
            return instruction.value, None
        case Pseudo.MAP_INDEX:
            region = machine.map_region(_map_index(machine, instruction))
            return region.base, region
        case Pseudo.MAP_INDEX_VALUE:
            index = _map_index(machine, instruction)
            map = machine.maps[index]
            if not has_values(map):
                raise Fault(TrapKind.UNSUPPORTED, f"map {map.spec.name!r} has no values to point to")
            region = machine.value_region(index, 0)
            return region.base + (instruction.high & 0xFFFFFFFF), region
        case Pseudo.FUNCTION:
            region = machine.function_region(function_address(machine.pc, instruction))
            return region.base, region
        case Pseudo.MAP_FD | Pseudo.MAP_VALUE | Pseudo.BTF_ID:
            raise Fault(
                TrapKind.UNSUPPORTED, f"a wide load of a {instruction.pseudo.name}, which only Linux can resolve"
            )
    assert_never(instruction.pseudo)


def _map_index(machine: Machine, instruction: LoadImmediate64) -> int:
    maps = machine.calls[-1].maps
    if not 0 <= instruction.low < len(maps):
        raise Fault(TrapKind.UNSUPPORTED, f"map {instruction.low} of a program that has {len(maps)}")
    return maps[instruction.low]


def _load_packet(machine: Machine, instruction: LoadPacket) -> int | None:
    """``r0 = ntoh(packet[offset + index])``; a load outside of the packet ends the function with 0.

    R6 must be the context of a program that runs on socket buffers; R1 to R5 are clobbered.
    """
    value, region = machine.read(Register.R6), machine.provenance[Register.R6]
    offset = instruction.offset + (0 if instruction.index is None else machine.read(instruction.index))
    offset = to_signed(offset, 32)
    if machine.packet is None or machine.context is None or machine.context.program_type.context_struct != "__sk_buff":
        raise Fault(TrapKind.UNSUPPORTED, "a legacy packet load in a program that does not run on socket buffers")
    if region is not machine.context.region or value != region.base:
        raise Fault(TrapKind.NOT_A_POINTER, "r6 is not the context, through which legacy loads reach the packet")
    if offset < 0:
        raise Fault(TrapKind.UNSUPPORTED, f"a legacy packet load at offset {offset}, relative to a header")
    machine.clobber_arguments()
    if offset + instruction.size > len(machine.packet):
        machine.write(Register.R0, 0)
        return end(machine)
    start = machine.packet.start + offset
    machine.write(Register.R0, int.from_bytes(machine.packet.frame[start : start + instruction.size], "big"))
    return None


# Calls --------------------------------------------------------------------------------------------------------------


def call_helper(machine: Machine, number: int) -> None:
    """See :func:`prevail_py.vm.helpers.table.call_helper`, which is imported when a program first calls a helper."""
    from prevail_py.vm.helpers.table import call_helper

    call_helper(machine, number)


def _call(machine: Machine, target: int) -> None:
    """Call a subprogram: it has the arguments and a stack of its own."""
    frame = machine.calls[-1]
    machine.enter(frame.code, frame.maps, machine.pc)
    machine.next_pc = target


def _call_register(machine: Machine, register: Register) -> None:
    """Call the helper whose number is in a register, or the function that it points to."""
    number, region = machine.read(register), machine.provenance[register]
    if region is None:
        call_helper(machine, number)
        return
    function = machine.function_at(region)
    if function is None or number != region.base:
        raise Fault(TrapKind.NOT_A_POINTER, f"r{register} points to {region}, not to a function of the program")
    _call(machine, function)


def end(machine: Machine) -> int | None:
    """Return from a subprogram, or end the program with R0, which must then be a result that its type allows."""
    if len(machine.calls) > 1:
        callback = machine.calls[-1].callback
        if callback is None:
            machine.leave()
        else:
            _end_callback(machine, callback)
        return None
    result = machine.read(Register.R0)
    program_type = machine.calls[-1].code.program_type
    if program_type is None:
        return result
    provenance = machine.provenance[Register.R0]
    if provenance is not None:
        raise Fault(TrapKind.POINTER_LEAK, f"a pointer to {provenance} is returned")
    if program_type.return_range is not None:
        lowest, highest = program_type.return_range
        if not lowest <= to_signed(result, WORD_BITS) <= highest:
            raise Fault(TrapKind.RETURN_RANGE, f"{to_signed(result, WORD_BITS)} is not within {lowest}..{highest}")
    if machine.references:
        raise Fault(TrapKind.UNRELEASED_REFERENCE, f"{len(machine.references)} references were not released")
    return result


def _end_callback(machine: Machine, callback: Callback) -> None:
    """Return from a function that a helper called: with 0 or 1, nothing else (``prepare_func_exit`` in Linux)."""
    result, provenance = machine.read(Register.R0), machine.provenance[Register.R0]
    if provenance is not None:
        raise Fault(TrapKind.POINTER_LEAK, f"a callback returns a pointer to {provenance}")
    if result > 1:
        raise Fault(TrapKind.RETURN_RANGE, f"a callback returns {to_signed(result, WORD_BITS)}, neither 0 nor 1")
    machine.leave()
    callback.returned(machine, result)
