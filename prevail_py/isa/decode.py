"""Bytes to instructions: total on valid encodings, and a reason with a position for everything else.

Nothing is lenient here.  A field that an instruction does not use must be zero (RFC 9669 section 3.1), because a
later version of the ISA may give it a meaning that this toolkit would then misread; what the decoder accepts,
:func:`prevail_py.isa.encode.encode` turns back into the very same bytes.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, assert_never

from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
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
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.opcodes import (
    ADDRESS_SPACE_CAST,
    ATOMIC_CODES,
    LOAD_ACQUIRE,
    OPCODES,
    SIGNED_VARIANTS,
    SINGLE_IMMEDIATE,
    SLOT_SIZE,
    STORE_RELEASE,
    CallKind,
    Fields,
    Form,
    Row,
)

__all__ = ["DecodeError", "decode"]


class DecodeError(ValueError):
    """These bytes are not eBPF: ``reason`` says why, ``slot`` (of 8 bytes, from 0) says where."""

    def __init__(self, slot: int, reason: str) -> None:
        super().__init__(slot, reason)
        self.slot: Final = slot
        self.reason: Final = reason

    def __str__(self) -> str:
        return f"slot {self.slot}: {self.reason}"


class _Slot(NamedTuple):
    """The raw fields of one slot; ``pc`` is its position in the program."""

    pc: int
    opcode: int
    dst: int
    src: int
    offset: int
    imm: int


_REGISTERS: Final = tuple(Register)
_LAYOUT: Final = struct.Struct("<BBhi")


def decode(data: bytes) -> tuple[Instruction | None, ...]:
    """The instructions of a program, indexed by slot; None stands for the second slot of a wide load.

    Raises :class:`DecodeError` for the first slot that is not a valid encoding.  Where jumps lead is not looked at.
    """
    if len(data) % SLOT_SIZE:
        raise DecodeError(len(data) // SLOT_SIZE, f"the last slot has {len(data) % SLOT_SIZE} of {SLOT_SIZE} bytes")
    slots = [
        _Slot(pc, opcode, registers & 0xF, registers >> 4, offset, imm)
        for pc, (opcode, registers, offset, imm) in enumerate(_LAYOUT.iter_unpack(data))
    ]
    code: list[Instruction | None] = []
    while len(code) < len(slots):
        slot = slots[len(code)]
        row = OPCODES.get(slot.opcode)
        if row is None:
            raise DecodeError(slot.pc, f"unknown opcode {slot.opcode:#04x}")
        _check_fields(slot, row)
        if row.form is Form.LOAD_IMMEDIATE:
            code += (_load_immediate(slot, slots[slot.pc + 1 : slot.pc + 2]), None)
        else:
            code.append(_instruction(slot, row))
    return tuple(code)


def _check_fields(slot: _Slot, row: Row) -> None:
    """Refuse a reserved field that is not zero and a register that does not exist."""
    fields = row.fields
    if slot.dst and Fields.DST not in fields:
        raise _reserved(slot, "dst", slot.dst)
    if slot.src and Fields.SRC not in fields:
        raise _reserved(slot, "src", slot.src)
    if slot.offset and Fields.OFFSET not in fields:
        raise _reserved(slot, "offset", slot.offset)
    if slot.imm and Fields.IMM not in fields:
        raise _reserved(slot, "imm", slot.imm)
    if slot.dst > Register.R10:
        raise DecodeError(slot.pc, f"register r{slot.dst} in dst does not exist")
    # In calls and wide loads src is not a register but a subtype, which their clauses check.
    if slot.src > Register.R10 and row.form is not Form.CALL and row.form is not Form.LOAD_IMMEDIATE:
        raise DecodeError(slot.pc, f"register r{slot.src} in src does not exist")


def _reserved(slot: _Slot, field: str, value: int) -> DecodeError:
    return DecodeError(slot.pc, f"reserved field {field} of opcode {slot.opcode:#04x} is {value}, not 0")


def _load_immediate(slot: _Slot, rest: list[_Slot]) -> Instruction:
    """The wide load (RFC 9669 section 5.4); ``rest`` holds the slot that follows, where there is one."""
    try:
        pseudo = Pseudo(slot.src)
    except ValueError:
        raise DecodeError(slot.pc, f"wide load of unknown subtype {slot.src}") from None
    if not rest:
        raise DecodeError(slot.pc, "the program ends inside a wide load")
    second = rest[0]
    must_be_zero = {"opcode": second.opcode, "dst": second.dst, "src": second.src, "offset": second.offset}
    if pseudo in SINGLE_IMMEDIATE:
        must_be_zero["imm"] = second.imm
    for field, value in must_be_zero.items():
        if value:
            raise DecodeError(second.pc, f"{field} in the second slot of a wide load is {value}, not 0")
    return LoadImmediate64(_REGISTERS[slot.dst], slot.imm, second.imm, pseudo)


def _instruction(slot: _Slot, row: Row) -> Instruction:
    """The instruction in a slot whose reserved fields are known to be zero and whose registers exist."""
    match row.form:
        case Form.ALU_K:
            return Alu(_alu_op(slot, row), row.width, _REGISTERS[slot.dst], Immediate(slot.imm))
        case Form.ALU_X if row.alu is AluOp.MOV:
            return _move(slot, row)
        case Form.ALU_X:
            return Alu(_alu_op(slot, row), row.width, _REGISTERS[slot.dst], _REGISTERS[slot.src])
        case Form.NEG:
            return Negate(row.width, _REGISTERS[slot.dst])
        case Form.END:
            assert row.order is not None
            if slot.imm not in (16, 32, 64):
                raise DecodeError(slot.pc, f"byte swap of {slot.imm} bits, not 16, 32 or 64")
            return EndianSwap(row.order, slot.imm, _REGISTERS[slot.dst])
        case Form.JUMP:
            return Jump(slot.offset)
        case Form.JUMP_WIDE:
            return Jump(slot.imm, wide=True)
        case Form.BRANCH_K:
            assert row.comparison is not None
            return Branch(row.comparison, row.width, _REGISTERS[slot.dst], Immediate(slot.imm), slot.offset)
        case Form.BRANCH_X:
            assert row.comparison is not None
            return Branch(row.comparison, row.width, _REGISTERS[slot.dst], _REGISTERS[slot.src], slot.offset)
        case Form.CALL:
            return _call(slot)
        case Form.CALL_REGISTER:
            return CallRegister(_REGISTERS[slot.dst])
        case Form.EXIT:
            return Exit()
        case Form.MAY_GOTO:
            return MayGoto(slot.offset)
        case Form.PACKET_ABSOLUTE:
            return LoadPacket(row.size, slot.imm)
        case Form.PACKET_INDIRECT:
            return LoadPacket(row.size, slot.imm, _REGISTERS[slot.src])
        case Form.LOAD:
            return Load(_REGISTERS[slot.dst], _REGISTERS[slot.src], slot.offset, row.size, row.signed)
        case Form.STORE_K:
            return Store(_REGISTERS[slot.dst], slot.offset, row.size, Immediate(slot.imm))
        case Form.STORE_X:
            return Store(_REGISTERS[slot.dst], slot.offset, row.size, _REGISTERS[slot.src])
        case Form.ATOMIC:
            return _atomic(slot, row)
        case Form.LOAD_IMMEDIATE:
            raise AssertionError("a wide load takes two slots")
    assert_never(row.form)


def _alu_op(slot: _Slot, row: Row) -> AluOp:
    """The operation of an ALU row: an offset of 1 makes DIV and MOD signed (RFC 9669 section 4.1)."""
    assert row.alu is not None
    if not slot.offset:
        return row.alu
    if slot.offset != 1:
        raise DecodeError(slot.pc, f"offset {slot.offset} in a division or modulo, not 0 (unsigned) or 1 (signed)")
    return SIGNED_VARIANTS[row.alu]


def _move(slot: _Slot, row: Row) -> Instruction:
    """A register MOV: the offset tells apart the copy, MOVSX (RFC 9669 section 4.1) and Linux's address space cast."""
    dst, src = _REGISTERS[slot.dst], _REGISTERS[slot.src]
    if row.width == 64 and slot.offset == ADDRESS_SPACE_CAST:
        return AddressSpaceCast(dst, src, to_space=slot.imm >> 16 & 0xFFFF, from_space=slot.imm & 0xFFFF)
    if slot.imm:
        raise _reserved(slot, "imm", slot.imm)
    if not slot.offset:
        return Alu(AluOp.MOV, row.width, dst, src)
    if slot.offset not in (8, 16, 32) or slot.offset >= row.width:
        raise DecodeError(slot.pc, f"offset {slot.offset} in a {row.width}-bit register move")
    return MoveSignExtend(row.width, dst, src, slot.offset)


def _call(slot: _Slot) -> Instruction:
    """A call (RFC 9669 section 4.3); the offset is Linux's module index and belongs to kernel functions only."""
    if slot.offset and slot.src != CallKind.KFUNC:
        raise _reserved(slot, "offset", slot.offset)
    match slot.src:
        case CallKind.HELPER:
            return Call(slot.imm)
        case CallKind.LOCAL:
            return CallLocal(slot.imm)
        case CallKind.KFUNC:
            return CallKfunc(slot.imm, slot.offset)
        case _:
            raise DecodeError(slot.pc, f"call of unknown kind {slot.src}")


def _atomic(slot: _Slot, row: Row) -> Instruction:
    """An atomic operation (RFC 9669 section 5.3) or one of Linux's ordered accesses."""
    dst, src = _REGISTERS[slot.dst], _REGISTERS[slot.src]
    if slot.imm == LOAD_ACQUIRE:
        return LoadAcquire(dst, src, slot.offset, row.size)
    if slot.imm == STORE_RELEASE:
        return StoreRelease(dst, slot.offset, row.size, src)
    operation = ATOMIC_CODES.get(slot.imm)
    if operation is None:
        raise DecodeError(slot.pc, f"unknown atomic operation {slot.imm:#x}")
    if row.size < 4:
        raise DecodeError(slot.pc, f"atomic operation {slot.imm:#x} on {row.size} bytes, not 4 or 8")
    op, fetch = operation
    return Atomic(op, fetch, row.size, dst, slot.offset, src)
