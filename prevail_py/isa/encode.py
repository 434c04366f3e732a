"""Instructions to bytes: the inverse of :mod:`prevail_py.isa.decode`, driven by the same opcode rows."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, assert_never

from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
    Branch,
    ByteOrder,
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
    STORE_RELEASE,
    CallKind,
    Form,
)
from prevail_py.words import Comparison

__all__ = ["EncodeError", "encode", "encode_instruction"]


class EncodeError(ValueError):
    """This instruction has no encoding: ``reason`` says why, ``slot`` says where in the program."""

    def __init__(self, slot: int, reason: str) -> None:
        super().__init__(slot, reason)
        self.slot: Final = slot
        self.reason: Final = reason

    def __str__(self) -> str:
        return f"slot {self.slot}: {self.reason}"


_LAYOUT: Final = struct.Struct("<BBhi")

# OPCODES read the other way: from what a row says to its opcode.
_OPCODE: Final = {
    (row.form, row.alu, row.order, row.comparison, row.width, row.size, row.signed): opcode
    for opcode, row in OPCODES.items()
}
_UNSIGNED_VARIANTS: Final = {signed: unsigned for unsigned, signed in SIGNED_VARIANTS.items()}
_ATOMIC_IMMEDIATES: Final = {operation: imm for imm, operation in ATOMIC_CODES.items()}


def encode(code: Sequence[Instruction | None]) -> bytes:
    """The bytes of a program: ``encode(decode(data)) == data``.

    ``code`` may hold None for the second slot of a wide load, as :func:`prevail_py.isa.decode.decode` returns it; such
    entries are skipped.  Raises :class:`EncodeError` for an instruction that has no encoding, such as an offset that
    does not fit.
    """
    data = bytearray()
    for instruction in code:
        if instruction is not None:
            try:
                data += encode_instruction(instruction)
            except EncodeError as error:
                raise EncodeError(len(data) // _LAYOUT.size, error.reason) from None
    return bytes(data)


def encode_instruction(instruction: Instruction) -> bytes:
    """The 8 bytes (16 for a wide load) of one instruction; raises :class:`EncodeError` with slot 0."""
    match instruction:
        case Alu(op, width, dst, src):
            offset = int(op in _UNSIGNED_VARIANTS)
            op = _UNSIGNED_VARIANTS.get(op, op)
            if isinstance(src, Immediate):
                return _slot(_opcode(Form.ALU_K, alu=op, width=width), dst, 0, offset, src.value)
            return _slot(_opcode(Form.ALU_X, alu=op, width=width), dst, src, offset, 0)
        case MoveSignExtend(width, dst, src, source_bits):
            if source_bits not in (8, 16, 32) or source_bits >= width:
                raise EncodeError(0, f"no sign extension from {source_bits} to {width} bits")
            return _slot(_opcode(Form.ALU_X, alu=AluOp.MOV, width=width), dst, src, source_bits, 0)
        case AddressSpaceCast(dst, src, to_space, from_space):
            if not (0 <= to_space <= 0xFFFF and 0 <= from_space <= 0xFFFF):
                raise EncodeError(0, f"no cast from address space {from_space} to {to_space}: they have 16 bits")
            imm = (to_space << 16 | from_space) - (to_space >> 15 << 32)
            return _slot(_opcode(Form.ALU_X, alu=AluOp.MOV, width=64), dst, src, ADDRESS_SPACE_CAST, imm)
        case Negate(width, dst):
            return _slot(_opcode(Form.NEG, width=width), dst, 0, 0, 0)
        case EndianSwap(order, bits, dst):
            if bits not in (16, 32, 64):
                raise EncodeError(0, f"no byte swap of {bits} bits")
            return _slot(_opcode(Form.END, order=order), dst, 0, 0, bits)
        case LoadImmediate64(dst, low, high, pseudo):
            if high and pseudo in SINGLE_IMMEDIATE:
                raise EncodeError(0, f"a wide load of subtype {pseudo.name} has one immediate")
            return _slot(_opcode(Form.LOAD_IMMEDIATE), dst, pseudo, 0, low) + _slot(0, 0, 0, 0, high)
        case Load(dst, base, offset, size, signed):
            return _slot(_opcode(Form.LOAD, size=size, signed=signed), dst, base, offset, 0)
        case Store(base, offset, size, src):
            if isinstance(src, Immediate):
                return _slot(_opcode(Form.STORE_K, size=size), base, 0, offset, src.value)
            return _slot(_opcode(Form.STORE_X, size=size), base, src, offset, 0)
        case Atomic(op, fetch, size, base, offset, src):
            operation = _ATOMIC_IMMEDIATES.get((op, fetch))
            if operation is None:
                raise EncodeError(0, f"atomic {op.value} always fetches")
            if size not in (4, 8):
                raise EncodeError(0, f"no atomic operation on {size} bytes")
            return _slot(_opcode(Form.ATOMIC, size=size), base, src, offset, operation)
        case LoadAcquire(dst, base, offset, size):
            return _slot(_opcode(Form.ATOMIC, size=size), dst, base, offset, LOAD_ACQUIRE)
        case StoreRelease(base, offset, size, src):
            return _slot(_opcode(Form.ATOMIC, size=size), base, src, offset, STORE_RELEASE)
        case LoadPacket(size, offset, index):
            if index is None:
                return _slot(_opcode(Form.PACKET_ABSOLUTE, size=size), 0, 0, 0, offset)
            return _slot(_opcode(Form.PACKET_INDIRECT, size=size), 0, index, 0, offset)
        case Jump(offset, wide):
            if wide:
                return _slot(_opcode(Form.JUMP_WIDE), 0, 0, 0, offset)
            return _slot(_opcode(Form.JUMP), 0, 0, offset, 0)
        case Branch(comparison, width, dst, src, offset):
            if isinstance(src, Immediate):
                return _slot(_opcode(Form.BRANCH_K, comparison=comparison, width=width), dst, 0, offset, src.value)
            return _slot(_opcode(Form.BRANCH_X, comparison=comparison, width=width), dst, src, offset, 0)
        case Call(helper):
            return _slot(_opcode(Form.CALL), 0, CallKind.HELPER, 0, helper)
        case CallLocal(offset):
            return _slot(_opcode(Form.CALL), 0, CallKind.LOCAL, 0, offset)
        case CallKfunc(btf_id, module):
            return _slot(_opcode(Form.CALL), 0, CallKind.KFUNC, module, btf_id)
        case CallRegister(register):
            return _slot(_opcode(Form.CALL_REGISTER), register, 0, 0, 0)
        case Exit():
            return _slot(_opcode(Form.EXIT), 0, 0, 0, 0)
        case MayGoto(offset):
            return _slot(_opcode(Form.MAY_GOTO), 0, 0, offset, 0)
    assert_never(instruction)


def _opcode(
    form: Form,
    *,
    alu: AluOp | None = None,
    order: ByteOrder | None = None,
    comparison: Comparison | None = None,
    width: int = 0,
    size: int = 0,
    signed: bool = False,
) -> int:
    opcode = _OPCODE.get((form, alu, order, comparison, width, size, signed))
    if opcode is None:
        operation = alu or order or comparison
        what = f"{form.value} {operation.name}" if operation else form.value
        raise EncodeError(0, f"no opcode for {what} of {f'{size} bytes' if size else f'{width} bits'}")
    return opcode


def _slot(opcode: int, dst: int, src: int, offset: int, imm: int) -> bytes:
    try:
        return _LAYOUT.pack(opcode, dst | src << 4, offset, imm)
    except struct.error:
        if not -(1 << 15) <= offset < 1 << 15:
            raise EncodeError(0, f"offset {offset} does not fit into 16 bits") from None
        raise EncodeError(0, f"immediate {imm} does not fit into 32 bits") from None
