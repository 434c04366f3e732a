"""Hypothesis strategies for words and instructions (needs the ``test`` extra).

:func:`instructions` draws from everything that can be encoded, kind by kind, with edge values favoured: what it returns
is what :func:`prevail_py.isa.decode.decode` can return.  Where jumps lead is left to chance.
"""

from __future__ import annotations

from hypothesis import strategies as st

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
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.opcodes import ATOMIC_CODES, SINGLE_IMMEDIATE
from prevail_py.words import Comparison

__all__ = ["edges", "immediates", "instructions", "offsets", "registers", "words"]


def edges(bits: int) -> tuple[int, ...]:
    """The unsigned values of ``bits`` bits around which arithmetic goes wrong."""
    top, half = 1 << bits, 1 << bits - 1
    return (0, 1, 2, half - 1, half, half + 1, top - 2, top - 1)


def words() -> st.SearchStrategy[int]:
    """Unsigned 64-bit words, with the edges of 8, 16, 32 and 64 bits and of their sign extensions favoured."""
    near = {edge for bits in (8, 16, 32, 64) for edge in edges(bits)}
    extended = {(edge - (1 << bits)) & (1 << 64) - 1 for bits in (8, 16, 32) for edge in edges(bits)[4:]}
    return st.sampled_from(sorted(near | extended)) | st.integers(0, (1 << 64) - 1)


def registers() -> st.SearchStrategy[Register]:
    """Any register."""
    return st.sampled_from(list(Register))


def _signed(bits: int) -> st.SearchStrategy[int]:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return st.sampled_from((low, -1, 0, 1, high)) | st.integers(low, high)


def offsets() -> st.SearchStrategy[int]:
    """What fits into the offset field."""
    return _signed(16)


def immediates() -> st.SearchStrategy[int]:
    """What fits into the immediate field."""
    return _signed(32)


def instructions() -> st.SearchStrategy[Instruction]:
    """Any instruction that has an encoding."""
    reg, off, imm = registers(), offsets(), immediates()
    operand: st.SearchStrategy[Operand] = reg | imm.map(Immediate)
    width, size = st.sampled_from((32, 64)), st.sampled_from((1, 2, 4, 8))
    comparison = st.sampled_from([c for c in Comparison if c is not Comparison.NOT_SET])
    space = st.integers(0, 0xFFFF)
    extension = st.sampled_from(((32, 8), (32, 16), (64, 8), (64, 16), (64, 32)))
    pseudo = st.sampled_from(Pseudo)
    return st.one_of(
        st.builds(Alu, st.sampled_from(AluOp), width, reg, operand),
        st.builds(lambda w, dst, src: MoveSignExtend(w[0], dst, src, w[1]), extension, reg, reg),
        st.builds(Negate, width, reg),
        st.builds(EndianSwap, st.sampled_from(ByteOrder), st.sampled_from((16, 32, 64)), reg),
        st.builds(AddressSpaceCast, reg, reg, space, space),
        st.builds(lambda p, dst, lo, hi: LoadImmediate64(dst, lo, 0 if p in SINGLE_IMMEDIATE else hi, p),
                  pseudo, reg, imm, imm),
        st.builds(Load, reg, reg, off, size),
        st.builds(Load, reg, reg, off, st.sampled_from((1, 2, 4)), st.just(True)),
        st.builds(Store, reg, off, size, operand),
        st.builds(lambda o, s, b, f, r: Atomic(o[0], o[1], s, b, f, r),
                  st.sampled_from(sorted(ATOMIC_CODES.values(), key=repr)), st.sampled_from((4, 8)), reg, off, reg),
        st.builds(LoadAcquire, reg, reg, off, size),
        st.builds(StoreRelease, reg, off, size, reg),
        st.builds(LoadPacket, st.sampled_from((1, 2, 4)), imm, st.none() | reg),
        st.builds(Jump, off),
        st.builds(Jump, imm, st.just(True)),
        st.builds(Branch, comparison, width, reg, operand, off),
        st.builds(Call, imm),
        st.builds(CallLocal, imm),
        st.builds(CallKfunc, imm, off),
        st.builds(CallRegister, reg),
        st.just(Exit()),
        st.builds(MayGoto, off),
    )  # fmt: skip
