"""The encoding of eBPF as data: one row for every opcode byte that exists.

An instruction is one *slot* of 8 bytes, little-endian (RFC 9669 section 3.1); the wide load takes two::

     byte 0     byte 1       bytes 2-3     bytes 4-7
    +--------+-----+-----+-------------+-----------------+
    | opcode | src | dst |   offset    |       imm       |
    +--------+-----+-----+-------------+-----------------+
     8 bits   4     4     signed 16     signed 32

The low three bits of the opcode are its class; the class says what the other five mean (sections 3.3 to 5)::

     7 6 5 4   3   2 1 0           7 6 5   4 3    2 1 0
    +--------+---+-------+        +------+------+-------+
    |  code  | s | class |        | mode | size | class |
    +--------+---+-------+        +------+------+-------+
     ALU, JMP, JMP32, ALU64        LD, LDX, ST, STX
     s: operand is 0 = imm, 1 = src

:data:`OPCODES` maps each valid opcode byte to its :class:`Row`, which names the :class:`Form` of the instruction, its
parameters, and the :class:`Fields` of the slot it uses.  The fields a row does not use are reserved and must be zero
(section 3.1), and a byte that has no row is not an instruction: there is no third list of exceptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, Flag, IntEnum, auto
from types import MappingProxyType
from typing import Final

from prevail_py.isa.instructions import AluOp, AtomicOp, ByteOrder, Pseudo
from prevail_py.words import Comparison

__all__ = [
    "ADDRESS_SPACE_CAST",
    "ATOMIC_CODES",
    "LOAD_ACQUIRE",
    "OPCODES",
    "SIGNED_VARIANTS",
    "SINGLE_IMMEDIATE",
    "SLOT_SIZE",
    "STORE_RELEASE",
    "CallKind",
    "Fields",
    "Form",
    "InstructionClass",
    "Mode",
    "Row",
]

SLOT_SIZE: Final = 8


class InstructionClass(IntEnum):
    """The low three bits of an opcode (RFC 9669 section 3.3)."""

    LD = 0x00
    LDX = 0x01
    ST = 0x02
    STX = 0x03
    ALU = 0x04
    JMP = 0x05
    JMP32 = 0x06
    ALU64 = 0x07


class Mode(IntEnum):
    """The high three bits of the opcode of a load or store (RFC 9669 section 5)."""

    IMM = 0x00
    ABS = 0x20
    IND = 0x40
    MEM = 0x60
    MEMSX = 0x80
    ATOMIC = 0xC0


class CallKind(IntEnum):
    """What ``src`` says about the ``imm`` of a call (RFC 9669 section 4.3)."""

    HELPER = 0
    LOCAL = 1
    KFUNC = 2


class Fields(Flag):
    """The fields of a slot, apart from the opcode."""

    NONE = 0
    DST = auto()
    SRC = auto()
    OFFSET = auto()
    IMM = auto()


class Form(Enum):
    """How the fields of a slot are to be read.

    The ``K`` forms take their last operand from ``imm``, the ``X`` forms from ``src`` (the letters of RFC 9669).
    """

    ALU_K = "alu-k"
    ALU_X = "alu-x"
    NEG = "neg"
    END = "end"
    JUMP = "jump"
    JUMP_WIDE = "jump-wide"
    BRANCH_K = "branch-k"
    BRANCH_X = "branch-x"
    CALL = "call"
    CALL_REGISTER = "call-register"
    EXIT = "exit"
    MAY_GOTO = "may-goto"
    LOAD_IMMEDIATE = "load-immediate"
    PACKET_ABSOLUTE = "packet-absolute"
    PACKET_INDIRECT = "packet-indirect"
    LOAD = "load"
    STORE_K = "store-k"
    STORE_X = "store-x"
    ATOMIC = "atomic"


@dataclass(frozen=True, slots=True)
class Row:
    """One opcode byte: its form, the fields it uses, and the parameters that its form has.

    ``width`` is in bits (32 or 64) for ALU and branch forms, ``size`` in bytes (1, 2, 4, 8) for loads and stores.
    DIV and MOD stand for their signed variants too: those are told apart by the offset field, not by the opcode.
    """

    opcode: int
    form: Form
    fields: Fields
    alu: AluOp | None = None
    order: ByteOrder | None = None
    comparison: Comparison | None = None
    width: int = 0
    size: int = 0
    signed: bool = False


_X: Final = 0x08  # the source bit: the operand is a register
_WIDTHS: Final = (
    (32, InstructionClass.ALU, InstructionClass.JMP32),
    (64, InstructionClass.ALU64, InstructionClass.JMP),
)

# RFC 9669 section 4.1; 0x80 is NEG and 0xd0 is END, which have one operand.
_ALU_CODES: Final[Mapping[int, AluOp]] = {
    0x00: AluOp.ADD, 0x10: AluOp.SUB, 0x20: AluOp.MUL, 0x30: AluOp.DIV, 0x40: AluOp.OR, 0x50: AluOp.AND,
    0x60: AluOp.LSH, 0x70: AluOp.RSH, 0x90: AluOp.MOD, 0xA0: AluOp.XOR, 0xB0: AluOp.MOV, 0xC0: AluOp.ARSH,
}  # fmt: skip
_NEG: Final = 0x80
_END: Final = 0xD0

# RFC 9669 section 4.3.
_JMP_CODES: Final[Mapping[int, Comparison]] = {
    0x10: Comparison.EQ, 0x20: Comparison.UGT, 0x30: Comparison.UGE, 0x40: Comparison.SET, 0x50: Comparison.NE,
    0x60: Comparison.SGT, 0x70: Comparison.SGE, 0xA0: Comparison.ULT, 0xB0: Comparison.ULE, 0xC0: Comparison.SLT,
    0xD0: Comparison.SLE,
}  # fmt: skip
_JA: Final = 0x00
_CALL: Final = 0x80
_EXIT: Final = 0x90
_JCOND: Final = 0xE0  # Linux: with src 0 (BPF_MAY_GOTO) it is may_goto, and no other src exists

# RFC 9669 section 5: size in bytes -> the size bits of the opcode.
_SIZE_CODES: Final[Mapping[int, int]] = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}

SIGNED_VARIANTS: Final[Mapping[AluOp, AluOp]] = MappingProxyType({AluOp.DIV: AluOp.SDIV, AluOp.MOD: AluOp.SMOD})
"""The operation that offset 1 turns DIV and MOD into (RFC 9669 section 4.1)."""

ADDRESS_SPACE_CAST: Final = 1
"""Linux: the offset that turns a 64-bit register MOV into an address space cast (``BPF_ADDR_SPACE_CAST``)."""

ATOMIC_CODES: Final[Mapping[int, tuple[AtomicOp, bool]]] = MappingProxyType(
    {
        0x00: (AtomicOp.ADD, False), 0x01: (AtomicOp.ADD, True),
        0x40: (AtomicOp.OR, False), 0x41: (AtomicOp.OR, True),
        0x50: (AtomicOp.AND, False), 0x51: (AtomicOp.AND, True),
        0xA0: (AtomicOp.XOR, False), 0xA1: (AtomicOp.XOR, True),
        0xE1: (AtomicOp.XCHG, True),
        0xF1: (AtomicOp.CMPXCHG, True),
    }
)  # fmt: skip
"""The ``imm`` of an atomic of 4 or 8 bytes -> operation and fetch (RFC 9669 section 5.3): XCHG and CMPXCHG fetch."""

LOAD_ACQUIRE: Final = 0x100
STORE_RELEASE: Final = 0x110
"""Linux: the ``imm`` of the two ordered accesses, of any size (``include/uapi/linux/bpf.h``)."""

SINGLE_IMMEDIATE: Final = frozenset({Pseudo.MAP_FD, Pseudo.FUNCTION, Pseudo.MAP_INDEX})
"""The subtypes of the wide load whose second immediate is unused (RFC 9669 section 5.4).

For ``BTF_ID`` the RFC leaves it unused too, but Linux reads the descriptor of a module's BTF there.
"""


def _alu_rows() -> Iterator[Row]:
    dst, src, offset, imm = Fields.DST, Fields.SRC, Fields.OFFSET, Fields.IMM
    for width, alu, _ in _WIDTHS:
        for code, op in _ALU_CODES.items():
            variant = offset if op in SIGNED_VARIANTS else Fields.NONE
            yield Row(code | alu, Form.ALU_K, dst | imm | variant, alu=op, width=width)
            if op is AluOp.MOV:
                # MOVSX puts the source width into the offset, address space casts the spaces into imm as well.
                variant = offset if width == 32 else offset | imm
            yield Row(code | _X | alu, Form.ALU_X, dst | src | variant, alu=op, width=width)
        yield Row(_NEG | alu, Form.NEG, dst, width=width)
    # The source bit of END tells the byte orders apart, and ALU64 has the unconditional swap (section 4.2).
    yield Row(_END | InstructionClass.ALU, Form.END, dst | imm, order=ByteOrder.LE)
    yield Row(_END | _X | InstructionClass.ALU, Form.END, dst | imm, order=ByteOrder.BE)
    yield Row(_END | InstructionClass.ALU64, Form.END, dst | imm, order=ByteOrder.SWAP)


def _jump_rows() -> Iterator[Row]:
    dst, src, offset, imm = Fields.DST, Fields.SRC, Fields.OFFSET, Fields.IMM
    jmp, jmp32 = InstructionClass.JMP, InstructionClass.JMP32
    for width, _, jump in _WIDTHS:
        for code, comparison in _JMP_CODES.items():
            yield Row(code | jump, Form.BRANCH_K, dst | imm | offset, comparison=comparison, width=width)
            yield Row(code | _X | jump, Form.BRANCH_X, dst | src | offset, comparison=comparison, width=width)
    yield Row(_JA | jmp, Form.JUMP, offset)
    yield Row(_JA | jmp32, Form.JUMP_WIDE, imm)
    yield Row(_CALL | jmp, Form.CALL, src | imm | offset)
    # Not in the RFC: the register is in dst, as LLVM since 19 and uBPF write it.
    yield Row(_CALL | _X | jmp, Form.CALL_REGISTER, dst)
    yield Row(_EXIT | jmp, Form.EXIT, Fields.NONE)
    yield Row(_JCOND | jmp, Form.MAY_GOTO, offset)


def _memory_rows() -> Iterator[Row]:
    dst, src, offset, imm = Fields.DST, Fields.SRC, Fields.OFFSET, Fields.IMM
    ld, ldx, st, stx = InstructionClass.LD, InstructionClass.LDX, InstructionClass.ST, InstructionClass.STX
    yield Row(Mode.IMM | _SIZE_CODES[8] | ld, Form.LOAD_IMMEDIATE, dst | src | imm)
    for size, code in _SIZE_CODES.items():
        if size < 8:
            yield Row(Mode.ABS | code | ld, Form.PACKET_ABSOLUTE, imm, size=size)
            yield Row(Mode.IND | code | ld, Form.PACKET_INDIRECT, src | imm, size=size)
            yield Row(Mode.MEMSX | code | ldx, Form.LOAD, dst | src | offset, size=size, signed=True)
        yield Row(Mode.MEM | code | ldx, Form.LOAD, dst | src | offset, size=size)
        yield Row(Mode.MEM | code | st, Form.STORE_K, dst | imm | offset, size=size)
        yield Row(Mode.MEM | code | stx, Form.STORE_X, dst | src | offset, size=size)
        yield Row(Mode.ATOMIC | code | stx, Form.ATOMIC, dst | src | offset | imm, size=size)


def _table() -> Mapping[int, Row]:
    rows = (*_alu_rows(), *_jump_rows(), *_memory_rows())
    table = {row.opcode: row for row in rows}
    if len(table) != len(rows):
        raise AssertionError("two rows for one opcode")
    return MappingProxyType(table)


OPCODES: Final = _table()
"""Every valid opcode byte, 129 of them, and its row."""
