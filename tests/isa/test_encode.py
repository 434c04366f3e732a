"""The encoder refuses what has no encoding; round trips are in ``test_round_trip.py``."""

from __future__ import annotations

import pytest

from prevail_py.isa.encode import EncodeError, encode
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    ByteOrder,
    CallKfunc,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Jump,
    Load,
    LoadImmediate64,
    LoadPacket,
    MoveSignExtend,
    Pseudo,
    Register,
    Store,
)
from prevail_py.words import Comparison

R = Register

NOT_ENCODABLE: list[tuple[Instruction, str]] = [
    (Alu(AluOp.ADD, 16, R.R0, R.R1), "16 bits"),
    (Alu(AluOp.ADD, 64, R.R0, Immediate(1 << 31)), "immediate 2147483648"),
    (Alu(AluOp.ADD, 64, R.R0, Immediate(-(1 << 31) - 1)), "immediate"),
    (MoveSignExtend(32, R.R0, R.R1, 32), "from 32 to 32"),
    (MoveSignExtend(64, R.R0, R.R1, 64), "from 64 to 64"),
    (MoveSignExtend(64, R.R0, R.R1, 1), "from 1 to 64"),
    (AddressSpaceCast(R.R0, R.R1, 0x10000, 0), "address space"),
    (EndianSwap(ByteOrder.BE, 8, R.R0), "8 bits"),
    (LoadImmediate64(R.R0, 1 << 31), "immediate"),
    (LoadImmediate64(R.R0, 1, 1, Pseudo.MAP_FD), "MAP_FD"),
    (Load(R.R0, R.R1, 0, 8, signed=True), "8 bytes"),
    (Load(R.R0, R.R1, 0, 3), "3 bytes"),
    (Load(R.R0, R.R1, 1 << 15, 4), "offset 32768"),
    (Store(R.R1, -(1 << 15) - 1, 4, R.R0), "offset"),
    (Atomic(AtomicOp.XCHG, False, 8, R.R1, 0, R.R2), "always fetches"),
    (Atomic(AtomicOp.CMPXCHG, False, 4, R.R1, 0, R.R2), "always fetches"),
    (Atomic(AtomicOp.ADD, False, 2, R.R1, 0, R.R2), "2 bytes"),
    (LoadPacket(8, 0), "8 bytes"),
    (Jump(1 << 15), "offset"),
    (Jump(1 << 31, wide=True), "immediate"),
    (Branch(Comparison.NOT_SET, 64, R.R0, Immediate(1), 0), "NOT_SET"),
    (Branch(Comparison.EQ, 64, R.R0, Immediate(1), 1 << 20), "offset"),
    (CallKfunc(1, 1 << 15), "offset"),
]


@pytest.mark.parametrize(("instruction", "reason"), NOT_ENCODABLE, ids=lambda x: x if isinstance(x, str) else "")
def test_refuses_what_has_no_encoding(instruction: Instruction, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason) as caught:
        encode([LoadImmediate64(R.R0, 0), None, Exit(), instruction])
    assert caught.value.slot == 3
    assert str(caught.value).startswith("slot 3: ")


def test_none_is_skipped() -> None:
    wide = LoadImmediate64(R.R0, 1, 2)
    assert (
        encode([wide, None, Exit()])
        == encode([wide, Exit()])
        == bytes.fromhex("180000000100000000000000020000009500000000000000")
    )
