"""The text of instructions."""

from __future__ import annotations

import pytest

from prevail_py.isa.decode import decode
from prevail_py.isa.disassembler import disassemble, listing
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
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
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.words import Comparison

R = Register

TEXTS: list[tuple[Instruction, str]] = [
    (Alu(AluOp.ADD, 32, R.R1, Immediate(5)), "w1 += 5"),
    (Alu(AluOp.SMOD, 64, R.R1, R.R2), "r1 s%= r2"),
    (Alu(AluOp.ARSH, 32, R.R1, R.R2), "w1 s>>= w2"),
    (Alu(AluOp.MOV, 64, R.R1, Immediate(-7)), "r1 = -7"),
    (MoveSignExtend(32, R.R1, R.R2, 8), "w1 = (s8)w2"),
    (Negate(64, R.R1), "r1 = -r1"),
    (EndianSwap(ByteOrder.BE, 16, R.R1), "r1 = be16 r1"),
    (EndianSwap(ByteOrder.SWAP, 64, R.R1), "r1 = bswap64 r1"),
    (AddressSpaceCast(R.R1, R.R2, 0, 1), "r1 = addr_space_cast(r2, 0, 1)"),
    (LoadImmediate64(R.R1, 5), "r1 = 5 ll"),
    (LoadImmediate64(R.R1, -5, -1), "r1 = -5 ll"),
    (LoadImmediate64(R.R1, -5, 0), "r1 = 0xfffffffb ll"),
    (LoadImmediate64(R.R1, 5, -1), "r1 = 0xffffffff00000005 ll"),
    (LoadImmediate64(R.R1, 5, 0, Pseudo.MAP_FD), "r1 = map[fd:5] ll"),
    (LoadImmediate64(R.R1, 5, 16, Pseudo.MAP_VALUE), "r1 = map[fd:5][0]+16 ll"),
    (LoadImmediate64(R.R1, 5, 2, Pseudo.BTF_ID), "r1 = btf[id:5,fd:2] ll"),
    (LoadImmediate64(R.R1, -5, 0, Pseudo.FUNCTION), "r1 = subprog[-5] ll"),
    (LoadImmediate64(R.R1, 5, 0, Pseudo.MAP_INDEX), "r1 = map[idx:5] ll"),
    (LoadImmediate64(R.R1, 5, 0, Pseudo.MAP_INDEX_VALUE), "r1 = map[idx:5][0]+0 ll"),
    (Load(R.R0, R.R1, 4, 4), "r0 = *(u32 *)(r1 + 4)"),
    (Load(R.R0, R.R1, -4, 1, signed=True), "r0 = *(s8 *)(r1 - 4)"),
    (Store(R.R10, -8, 8, R.R3), "*(u64 *)(r10 - 8) = r3"),
    (Store(R.R10, -8, 2, Immediate(-1)), "*(u16 *)(r10 - 8) = -1"),
    (Atomic(AtomicOp.ADD, False, 8, R.R1, 0, R.R2), "lock *(u64 *)(r1 + 0) += r2"),
    (Atomic(AtomicOp.XOR, False, 4, R.R1, 0, R.R2), "lock *(u32 *)(r1 + 0) ^= w2"),
    (Atomic(AtomicOp.ADD, True, 8, R.R1, 8, R.R2), "r2 = atomic_fetch_add((u64 *)(r1 + 8), r2)"),
    (Atomic(AtomicOp.XCHG, True, 4, R.R1, 8, R.R2), "w2 = xchg32_32(r1 + 8, w2)"),
    (Atomic(AtomicOp.CMPXCHG, True, 8, R.R1, -8, R.R2), "r0 = cmpxchg_64(r1 - 8, r0, r2)"),
    (LoadAcquire(R.R0, R.R1, 2, 2), "r0 = load_acquire((u16 *)(r1 + 2))"),
    (StoreRelease(R.R1, 0, 8, R.R2), "store_release((u64 *)(r1 + 0), r2)"),
    (LoadPacket(4, 12), "r0 = *(u32 *)skb[12]"),
    (LoadPacket(2, 0, R.R7), "r0 = *(u16 *)skb[r7]"),
    (LoadPacket(1, -3, R.R7), "r0 = *(u8 *)skb[r7 - 3]"),
    (Jump(0), "goto +0"),
    (Jump(-3), "goto -3"),
    (Jump(70_000, wide=True), "gotol +70000"),
    (Branch(Comparison.UGT, 64, R.R1, R.R2, 3), "if r1 > r2 goto +3"),
    (Branch(Comparison.SLE, 32, R.R1, Immediate(-1), -3), "if w1 s<= -1 goto -3"),
    (Branch(Comparison.SET, 64, R.R1, Immediate(6), 1), "if r1 & 6 goto +1"),
    (Call(1), "call 1"),
    (CallLocal(7), "call local +7"),
    (CallKfunc(123), "call kfunc 123"),
    (CallKfunc(123, 2), "call kfunc 123 module 2"),
    (CallRegister(R.R2), "callx r2"),
    (Exit(), "exit"),
    (MayGoto(2), "may_goto +2"),
]


@pytest.mark.parametrize(("instruction", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_text(instruction: Instruction, text: str) -> None:
    assert disassemble(instruction) == text


def test_with_a_slot_jumps_show_where_they_lead() -> None:
    assert disassemble(Jump(3), 4) == "goto +3 <8>"
    assert disassemble(Branch(Comparison.EQ, 64, R.R1, R.R2, -5), 4) == "if r1 == r2 goto -5 <0>"
    assert disassemble(CallLocal(3), 4) == "call local +3 <8>"
    assert disassemble(Exit(), 4) == "exit"


def test_listing_numbers_slots() -> None:
    code = decode(bytes.fromhex("1800000001000000000000000000000005000000000000009500000000000000"))
    assert listing(code) == "0: r0 = 1 ll\n2: goto +0 <3>\n3: exit\n"
    assert listing(()) == ""
