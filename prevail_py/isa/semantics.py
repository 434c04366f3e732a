"""What each computing instruction computes, as :class:`prevail_py.words.WordOp`: the one text every engine reads.

An engine evaluates ``operation(i)`` on the words of ``operands(i)`` and writes the result to ``i.dst``; where there is
no operation the single operand is copied as it is.  Memory, calls and control flow are effects, which each engine
interprets for itself; what passes through memory is described by :func:`load_op` and :func:`atomic_op`.

The machine is little-endian: conversion to little endian truncates, conversion to big endian swaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    AtomicOp,
    ByteOrder,
    EndianSwap,
    MoveSignExtend,
    Negate,
    Operand,
)
from prevail_py.words import WORD_BITS, OpKind, WordOp

__all__ = ["Computing", "alu_op", "atomic_op", "immediate_word", "load_op", "operands", "operation"]

Computing: TypeAlias = Alu | MoveSignExtend | Negate | EndianSwap
"""The instructions that write ``dst`` with a function of registers and constants, and do nothing else."""

_ALU_KINDS: Final[Mapping[AluOp, OpKind]] = MappingProxyType(
    {
        AluOp.ADD: OpKind.ADD, AluOp.SUB: OpKind.SUB, AluOp.MUL: OpKind.MUL, AluOp.DIV: OpKind.UDIV,
        AluOp.MOD: OpKind.UMOD, AluOp.SDIV: OpKind.SDIV, AluOp.SMOD: OpKind.SMOD, AluOp.AND: OpKind.AND,
        AluOp.OR: OpKind.OR, AluOp.XOR: OpKind.XOR, AluOp.LSH: OpKind.LSH, AluOp.RSH: OpKind.RSH,
        AluOp.ARSH: OpKind.ARSH,
    }
)  # fmt: skip

_ATOMIC_KINDS: Final[Mapping[AtomicOp, OpKind]] = MappingProxyType(
    {AtomicOp.ADD: OpKind.ADD, AtomicOp.OR: OpKind.OR, AtomicOp.AND: OpKind.AND, AtomicOp.XOR: OpKind.XOR}
)


def immediate_word(value: int) -> int:
    """The word that an immediate stands for: sign-extended to 64 bits (RFC 9669 section 4.1).

    Operations of 32 bits read its low half only, which is the immediate itself.
    """
    return value & ((1 << WORD_BITS) - 1)


def operation(instruction: Computing) -> WordOp | None:
    """What ``instruction`` computes from its :func:`operands`; None where it copies its one operand unchanged."""
    match instruction:
        case Alu():
            return alu_op(instruction)
        case MoveSignExtend(width=width, source_bits=source_bits):
            return WordOp(OpKind.SEXT, width, source_bits)
        case Negate(width=width):
            return WordOp(OpKind.NEG, width)
        case EndianSwap(ByteOrder.LE, bits):
            return _truncation(bits)
        case EndianSwap(bits=bits):
            return WordOp(OpKind.BSWAP, bits)
    assert_never(instruction)


def operands(instruction: Computing) -> tuple[Operand, ...]:
    """The operands of :func:`operation`, in its order."""
    match instruction:
        case Alu(AluOp.MOV, src=src) | MoveSignExtend(src=src):
            return (src,)
        case Alu(dst=dst, src=src):
            return (dst, src)
        case Negate(dst=dst) | EndianSwap(dst=dst):
            return (dst,)
    assert_never(instruction)


def alu_op(instruction: Alu) -> WordOp | None:
    """The operation of an ALU instruction (RFC 9669 section 4.1); None for the 64-bit MOV, a plain copy."""
    if instruction.op is AluOp.MOV:
        return _truncation(instruction.width)
    return _binary(instruction.op, instruction.width)


@cache
def _binary(op: AluOp, width: int) -> WordOp:
    return WordOp(_ALU_KINDS[op], width)


def load_op(size: int, signed: bool = False) -> WordOp | None:
    """From the ``size`` bytes read, zero-extended, to the word loaded (RFC 9669 sections 5.1 and 5.2).

    None for 8 bytes, which are the word.
    """
    return WordOp(OpKind.SEXT, WORD_BITS, 8 * size) if signed else _truncation(8 * size)


def atomic_op(op: AtomicOp, size: int) -> WordOp | None:
    """From the old memory contents and ``src`` to the new contents (RFC 9669 section 5.3).

    None for XCHG and CMPXCHG, which only move words: XCHG stores ``src``; CMPXCHG stores ``src`` where the old contents
    equal the low ``8 * size`` bits of R0.  The word that a fetch returns is the old contents, zero-extended.
    """
    kind = _ATOMIC_KINDS.get(op)
    return None if kind is None else WordOp(kind, 8 * size)


@cache
def _truncation(bits: int) -> WordOp | None:
    return None if bits == WORD_BITS else WordOp(OpKind.ZEXT, bits)
