"""Statements about numbers of which little is unknown: what operators make of them in a row, and tests of them."""

from __future__ import annotations

from typing import Final

from prevail_py.isa.instructions import Alu, AluOp, Immediate, Load, LoadImmediate64, MoveSignExtend, Operand
from prevail_py.research.generate.statements import COMPARISONS, DIVISIONS, SHIFTS
from prevail_py.research.generate.writer import FP, PKT, TMP, Label, Writer
from prevail_py.words import Comparison

__all__ = ["chain", "test"]

_BINARY: Final = tuple(op for op in AluOp if op is not AluOp.MOV)


def chain(w: Writer) -> None:
    """A few operations in a row on a number of which few bits are unknown."""
    dst = w.target()
    w.move(dst, w.number())
    w.known.numbers.add(dst)
    few = w.random.choice((1, 3, 15, 255, 0xFFFF))
    match w.random.randrange(5):
        case 0:
            w.emit(Alu(AluOp.OR, 64, dst, Immediate(-1 - few)))
        case 1:
            w.emit(Alu(AluOp.AND, 64, dst, Immediate(few)))
            w.emit(Alu(AluOp.LSH, 64, dst, Immediate(w.random.choice((8, 16, 24, 31, 32, 56)))))
        case 2:
            w.emit(Alu(AluOp.AND, w.width(), dst, Immediate(few)))
            w.emit(Alu(AluOp.ADD, 64, dst, Immediate(w.constant())))
        case 3:
            # A constant with an upper half, in the register of statements.
            w.emit(LoadImmediate64(TMP, w.constant(), w.constant()), Alu(AluOp.AND, 64, dst, Immediate(few)))
            w.emit(Alu(w.random.choice((AluOp.ADD, AluOp.OR, AluOp.XOR)), 64, dst, TMP))
        case _:
            w.emit(Alu(AluOp.AND, w.width(), dst, Immediate(few)))
    for _ in range(w.random.randrange(1, 5)):
        # Half of the words have an upper half by now: what 32-bit operations make of it is the question.
        op, width = w.random.choice(_BINARY), w.random.choice((32, 32, 64))
        source: Operand = Immediate(w.constant()) if w.chance(0.75) else w.number()
        if isinstance(source, Immediate) and op in SHIFTS:
            source = Immediate(w.random.choice((1, 4, 8, w.random.randrange(width))))
        if source == Immediate(0) and op in DIVISIONS:
            source = Immediate(3)
        match w.random.randrange(10):
            case 0:
                w.emit(Alu(AluOp.MOV, 32, dst, dst))
            case 1:
                w.emit(MoveSignExtend(*w.random.choice(((32, dst, dst, 8), (32, dst, dst, 16), (64, dst, dst, 32)))))
            case _:
                w.emit(Alu(op, width, dst, source))


def test(w: Writer) -> None:
    """A byte, or a few bits, tested for zero or for something small: what most branches of programs are."""
    dst, offset, other = w.target(), w.initialised(1), Label()
    if w.known.packet is not None and not w.subprogram and w.chance(0.5):
        w.emit(Load(dst, PKT, w.random.randrange(w.known.packet), 1))
    elif offset is not None and w.chance(0.5):
        w.emit(Load(dst, FP, offset, 1))
    else:
        w.move(dst, w.number())
        w.emit(Alu(AluOp.AND, w.width(), dst, Immediate(w.random.choice((1, 3, 15, 128, 255)))))
    w.known.numbers.add(dst)
    comparison = w.random.choice((Comparison.EQ, Comparison.NE, w.random.choice(COMPARISONS)))
    w.branch(comparison, dst, Immediate(w.random.choice((0, 0, 1, 3))), other, w.width())
    before = w.known.copy()
    w.statements(w, w.random.randrange(1, 3))
    w.place(other)
    w.known.join(before)
