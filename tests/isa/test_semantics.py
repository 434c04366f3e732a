"""Instructions become the word operations of the RFC."""

from __future__ import annotations

import pytest

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    AtomicOp,
    ByteOrder,
    EndianSwap,
    Immediate,
    MoveSignExtend,
    Negate,
    Operand,
    Register,
)
from prevail_py.isa.semantics import Computing, alu_op, atomic_op, immediate_word, load_op, operands, operation
from prevail_py.words import INT, OpKind, WordOp, evaluate

R = Register
FIVE = Immediate(5)

OPERATIONS: list[tuple[Computing, WordOp | None, tuple[Operand, ...]]] = [
    (Alu(AluOp.ADD, 64, R.R1, R.R2), WordOp(OpKind.ADD, 64), (R.R1, R.R2)),
    (Alu(AluOp.SUB, 32, R.R1, FIVE), WordOp(OpKind.SUB, 32), (R.R1, FIVE)),
    (Alu(AluOp.DIV, 32, R.R1, FIVE), WordOp(OpKind.UDIV, 32), (R.R1, FIVE)),
    (Alu(AluOp.SDIV, 64, R.R1, FIVE), WordOp(OpKind.SDIV, 64), (R.R1, FIVE)),
    (Alu(AluOp.MOD, 64, R.R1, FIVE), WordOp(OpKind.UMOD, 64), (R.R1, FIVE)),
    (Alu(AluOp.SMOD, 32, R.R1, FIVE), WordOp(OpKind.SMOD, 32), (R.R1, FIVE)),
    (Alu(AluOp.ARSH, 32, R.R1, R.R2), WordOp(OpKind.ARSH, 32), (R.R1, R.R2)),
    (Alu(AluOp.MOV, 64, R.R1, R.R2), None, (R.R2,)),
    (Alu(AluOp.MOV, 32, R.R1, R.R2), WordOp(OpKind.ZEXT, 32), (R.R2,)),
    (MoveSignExtend(32, R.R1, R.R2, 8), WordOp(OpKind.SEXT, 32, 8), (R.R2,)),
    (MoveSignExtend(64, R.R1, R.R2, 32), WordOp(OpKind.SEXT, 64, 32), (R.R2,)),
    (Negate(32, R.R1), WordOp(OpKind.NEG, 32), (R.R1,)),
    (EndianSwap(ByteOrder.LE, 16, R.R1), WordOp(OpKind.ZEXT, 16), (R.R1,)),
    (EndianSwap(ByteOrder.LE, 64, R.R1), None, (R.R1,)),
    (EndianSwap(ByteOrder.BE, 32, R.R1), WordOp(OpKind.BSWAP, 32), (R.R1,)),
    (EndianSwap(ByteOrder.SWAP, 64, R.R1), WordOp(OpKind.BSWAP, 64), (R.R1,)),
]


@pytest.mark.parametrize(("instruction", "op", "reads"), OPERATIONS, ids=lambda x: "")
def test_operations_and_operands(instruction: Computing, op: WordOp | None, reads: tuple[Operand, ...]) -> None:
    assert operation(instruction) == op
    assert operands(instruction) == reads
    assert len(reads) == (1 if op is None else op.kind.arity)


def test_every_alu_operation_has_one() -> None:
    for op in AluOp:
        for width in (32, 64):
            found = alu_op(Alu(op, width, R.R0, R.R1))
            assert (found is None) == (op is AluOp.MOV and width == 64)
            assert found is None or found.width == width


def test_immediates_are_sign_extended() -> None:
    assert [immediate_word(value) for value in (0, 5, -1, -(1 << 31))] == [
        0,
        5,
        0xFFFFFFFF_FFFFFFFF,
        0xFFFFFFFF_80000000,
    ]


def test_a_32_bit_move_of_a_negative_immediate_clears_the_upper_half() -> None:
    move = Alu(AluOp.MOV, 32, R.R0, Immediate(-1))
    op = operation(move)
    assert op is not None
    assert evaluate(INT, op, (immediate_word(-1),)) == 0xFFFFFFFF


def test_loads() -> None:
    assert load_op(8) is None
    assert load_op(2) == WordOp(OpKind.ZEXT, 16)
    assert [load_op(size, signed=True) for size in (1, 2, 4)] == [WordOp(OpKind.SEXT, 64, s) for s in (8, 16, 32)]


def test_atomics() -> None:
    assert atomic_op(AtomicOp.ADD, 4) == WordOp(OpKind.ADD, 32)
    assert [atomic_op(op, 8) for op in AtomicOp] == [
        WordOp(OpKind.ADD),
        WordOp(OpKind.OR),
        WordOp(OpKind.AND),
        WordOp(OpKind.XOR),
        None,
        None,
    ]
