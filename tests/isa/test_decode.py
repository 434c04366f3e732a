"""The decoder accepts what the ISA defines and nothing else, and says where and why it refuses.

``USES`` is written by hand from RFC 9669 and Linux's ``Documentation/bpf`` and ``include/uapi/linux/bpf.h``, on purpose
in another shape than the package's opcode table.
"""

from __future__ import annotations

import random
import struct

import pytest

from prevail_py.isa.decode import DecodeError, decode
from prevail_py.isa.encode import encode
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
from prevail_py.isa.opcodes import OPCODES
from prevail_py.words import Comparison

R = Register

# The fields that opcodes use -> the opcodes.
USES = {
    "dst imm": "04 07 14 17 24 27 44 47 54 57 64 67 74 77 a4 a7 b4 b7 c4 c7 d4 d7 dc",
    "dst src": "0c 0f 1c 1f 2c 2f 4c 4f 5c 5f 6c 6f 7c 7f ac af cc cf",
    "dst imm offset": "34 37 94 97 15 16 25 26 35 36 45 46 55 56 65 66 75 76 a5 a6 b5 b6 c5 c6 d5 d6 62 6a 72 7a",
    "dst src offset": (
        "3c 3f 9c 9f bc 1d 1e 2d 2e 3d 3e 4d 4e 5d 5e 6d 6e 7d 7e ad ae bd be cd ce dd de "
        "61 69 71 79 81 89 91 63 6b 73 7b"
    ),
    "dst src offset imm": "bf c3 cb d3 db",
    "dst": "84 87 8d",
    "offset": "05 e5",
    "imm": "06 20 28 30",
    "src imm": "40 48 50",
    "src imm offset": "85",
    "dst src imm": "18",
    "": "95",
}
FIELDS = {int(opcode, 16): fields.split() for fields, opcodes in USES.items() for opcode in opcodes.split()}
# Values of imm without which an opcode means nothing.
IMM = {0xD4: 16, 0xD7: 32, 0xDC: 64, 0xCB: 0x100, 0xD3: 0x110}


def slot(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, src << 4 | dst, offset, imm)


def whole(opcode: int, **fields: int) -> bytes:
    """A valid instruction with this opcode, but for the fields given."""
    first = slot(opcode, **{"imm": IMM.get(opcode, 0), **fields})
    return first + bytes(8) if opcode == 0x18 else first


def refusal(data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    return caught.value


EXIT = slot(0x95)


def test_hand_written_table_is_complete() -> None:
    assert sum(len(opcodes.split()) for opcodes in USES.values()) == len(FIELDS) == 129
    assert set(FIELDS) == set(OPCODES)


@pytest.mark.parametrize("opcode", range(256), ids=hex)
def test_exactly_the_known_opcodes_are_accepted(opcode: int) -> None:
    if opcode in FIELDS:
        assert encode(decode(whole(opcode))) == whole(opcode)
    else:
        assert (refusal(EXIT + slot(opcode)).slot, refusal(slot(opcode)).slot) == (1, 0)


RESERVED = [(o, field) for o in sorted(FIELDS) for field in ("dst", "src", "offset", "imm") if field not in FIELDS[o]]


@pytest.mark.parametrize(("opcode", "field"), RESERVED, ids=lambda x: f"{x:#x}" if isinstance(x, int) else x)
def test_reserved_fields_must_be_zero(opcode: int, field: str) -> None:
    values = (1, 2, 10, 15) if field in ("dst", "src") else (1, 2, 10, 256, 0x110, 0x7FFF, -1, -0x8000)
    for value in values:
        error = refusal(EXIT * 3 + whole(opcode, **{field: value}))
        assert error.slot == 3
        assert field in error.reason


@pytest.mark.parametrize("opcode", sorted(FIELDS), ids=hex)
@pytest.mark.parametrize("field", ["dst", "src"])
@pytest.mark.parametrize("number", [11, 15])
def test_registers_beyond_r10_do_not_exist(opcode: int, field: str, number: int) -> None:
    error = refusal(EXIT + whole(opcode, **{field: number}))
    assert error.slot == 1
    is_register = field in FIELDS[opcode] and not (field == "src" and opcode in (0x18, 0x85))
    assert f"r{number}" in error.reason or not is_register


VARIANTS: dict[int, dict[str, set[int]]] = {
    **{opcode: {"offset": {0, 1}} for opcode in (0x34, 0x37, 0x3C, 0x3F, 0x94, 0x97, 0x9C, 0x9F)},
    0xBC: {"offset": {0, 8, 16}},
    0xBF: {"offset": {0, 1, 8, 16, 32}, "imm": {0}},
    **{opcode: {"imm": {16, 32, 64}} for opcode in (0xD4, 0xD7, 0xDC)},
    0xC3: {"imm": {0, 1, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1, 0x100, 0x110}},
    0xDB: {"imm": {0, 1, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1, 0x100, 0x110}},
    0xCB: {"imm": {0x100, 0x110}},
    0xD3: {"imm": {0x100, 0x110}},
    0x85: {"src": {0, 1, 2}},
    0x18: {"src": {0, 1, 2, 3, 4, 5, 6}},
}


@pytest.mark.parametrize("opcode", sorted(VARIANTS), ids=hex)
def test_fields_that_select_a_variant_have_no_other_values(opcode: int) -> None:
    for field, allowed in VARIANTS[opcode].items():
        values = range(16) if field == "src" else range(-0x200, 0x200)
        for value in values:
            data = whole(opcode, **{field: value})
            if value in allowed:
                assert encode(decode(data)) == data
            else:
                assert refusal(data).slot == 0, (field, value)


@pytest.mark.parametrize("length", [1, 7, 9, 15, 17])
def test_a_program_is_a_whole_number_of_slots(length: int) -> None:
    error = refusal((EXIT * 3)[:length])
    assert error.slot == length // 8
    assert str(length % 8) in error.reason


def test_a_wide_load_must_not_be_cut_off() -> None:
    assert refusal(EXIT + slot(0x18)).slot == 1


@pytest.mark.parametrize("field", ["opcode", "dst", "src", "offset"])
def test_second_slot_of_a_wide_load_has_an_immediate_only(field: str) -> None:
    fields = {"opcode": 0, field: 1}
    error = refusal(EXIT + slot(0x18) + slot(**fields))
    assert error.slot == 2
    assert field in error.reason


@pytest.mark.parametrize("pseudo", Pseudo)
def test_second_immediate_belongs_to_some_subtypes(pseudo: Pseudo) -> None:
    data = slot(0x18, src=pseudo) + slot(0, imm=1)
    if pseudo in (Pseudo.IMMEDIATE, Pseudo.MAP_VALUE, Pseudo.MAP_INDEX_VALUE, Pseudo.BTF_ID):
        assert encode(decode(data)) == data
    else:
        assert refusal(EXIT + data).slot == 2


def test_module_index_belongs_to_kernel_functions() -> None:
    for kind in (0, 1):
        assert "offset" in refusal(slot(0x85, src=kind, offset=1)).reason


MEANINGS: list[tuple[bytes, Instruction]] = [
    (slot(0x07, 3, 0, 0, -5), Alu(AluOp.ADD, 64, R.R3, Immediate(-5))),
    (slot(0x1C, 3, 4), Alu(AluOp.SUB, 32, R.R3, R.R4)),
    (slot(0x34, 1, 0, 0, 7), Alu(AluOp.DIV, 32, R.R1, Immediate(7))),
    (slot(0x3F, 1, 2, 1), Alu(AluOp.SDIV, 64, R.R1, R.R2)),
    (slot(0x9C, 1, 2, 0), Alu(AluOp.MOD, 32, R.R1, R.R2)),
    (slot(0x97, 1, 0, 1, 9), Alu(AluOp.SMOD, 64, R.R1, Immediate(9))),
    (slot(0xBF, 0, 10), Alu(AluOp.MOV, 64, R.R0, R.R10)),
    (slot(0xBC, 0, 9, 16), MoveSignExtend(32, R.R0, R.R9, 16)),
    (slot(0xBF, 0, 9, 32), MoveSignExtend(64, R.R0, R.R9, 32)),
    (slot(0xBF, 1, 2, 1, 0x10000), AddressSpaceCast(R.R1, R.R2, to_space=1, from_space=0)),
    (slot(0xBF, 1, 2, 1, -1), AddressSpaceCast(R.R1, R.R2, to_space=0xFFFF, from_space=0xFFFF)),
    (slot(0x84, 6), Negate(32, R.R6)),
    (slot(0xD4, 6, 0, 0, 16), EndianSwap(ByteOrder.LE, 16, R.R6)),
    (slot(0xDC, 6, 0, 0, 32), EndianSwap(ByteOrder.BE, 32, R.R6)),
    (slot(0xD7, 6, 0, 0, 64), EndianSwap(ByteOrder.SWAP, 64, R.R6)),
    (slot(0x18, 1, 0, 0, -2) + slot(0, imm=7), LoadImmediate64(R.R1, -2, 7)),
    (slot(0x18, 1, 2, 0, 3) + slot(0, imm=4), LoadImmediate64(R.R1, 3, 4, Pseudo.MAP_VALUE)),
    (slot(0x69, 1, 2, -4), Load(R.R1, R.R2, -4, 2)),
    (slot(0x81, 1, 2, 4), Load(R.R1, R.R2, 4, 4, signed=True)),
    (slot(0x7A, 10, 0, -8, -1), Store(R.R10, -8, 8, Immediate(-1))),
    (slot(0x73, 10, 3, -1), Store(R.R10, -1, 1, R.R3)),
    (slot(0xC3, 1, 2, 4, 0x40), Atomic(AtomicOp.OR, False, 4, R.R1, 4, R.R2)),
    (slot(0xDB, 1, 2, 4, 0xF1), Atomic(AtomicOp.CMPXCHG, True, 8, R.R1, 4, R.R2)),
    (slot(0xD3, 1, 2, 4, 0x100), LoadAcquire(R.R1, R.R2, 4, 1)),
    (slot(0xCB, 1, 2, 4, 0x110), StoreRelease(R.R1, 4, 2, R.R2)),
    (slot(0x28, imm=12), LoadPacket(2, 12)),
    (slot(0x40, src=7, imm=12), LoadPacket(4, 12, R.R7)),
    (slot(0x05, offset=-3), Jump(-3)),
    (slot(0x06, imm=100_000), Jump(100_000, wide=True)),
    (slot(0xA5, 1, 0, 2, 3), Branch(Comparison.ULT, 64, R.R1, Immediate(3), 2)),
    (slot(0x6E, 1, 5, 2), Branch(Comparison.SGT, 32, R.R1, R.R5, 2)),
    (slot(0x45, 1, 0, 2, 3), Branch(Comparison.SET, 64, R.R1, Immediate(3), 2)),
    (slot(0x85, imm=5), Call(5)),
    (slot(0x85, src=1, imm=-5), CallLocal(-5)),
    (slot(0x85, src=2, imm=99, offset=3), CallKfunc(99, 3)),
    (slot(0x8D, 2), CallRegister(R.R2)),
    (slot(0x95), Exit()),
    (slot(0xE5, offset=7), MayGoto(7)),
]


@pytest.mark.parametrize(("data", "instruction"), MEANINGS, ids=lambda x: x.hex() if isinstance(x, bytes) else "")
def test_meaning_of_encodings(data: bytes, instruction: Instruction) -> None:
    assert decode(EXIT + data)[1] == instruction
    assert encode([instruction]) == data


def test_second_slots_are_none() -> None:
    assert decode(whole(0x18) + EXIT) == (LoadImmediate64(R.R0, 0), None, Exit())
    assert decode(b"") == ()


def test_random_bytes_are_refused_or_round_trip() -> None:
    generator = random.Random(9669)
    opcodes = sorted(FIELDS)
    accepted = 0
    for _ in range(40_000):
        opcode = generator.choice(opcodes) if generator.random() < 0.9 else generator.randrange(256)
        fields = {
            "dst": generator.choice((0, 1, 10, 11)),
            "src": generator.choice((0, 0, 1, 2, 10, 12)),
            "offset": generator.choice((0, 0, 1, 8, 16, 32, -1, 64)),
            "imm": generator.choice((0, 0, 1, 16, 32, 64, 0x41, 0xF1, 0x100, 0x110, -1, generator.randrange(1 << 31))),
        }
        data = slot(opcode, **fields) + bytes(8 if opcode == 0x18 else 0)
        try:
            code = decode(data)
        except DecodeError:
            continue
        accepted += 1
        assert encode(code) == data
    assert accepted > 4_000


def test_errors_name_slot_and_reason() -> None:
    error = refusal(EXIT + slot(0xFF))
    assert str(error) == "slot 1: unknown opcode 0xff"
    assert isinstance(error, ValueError)
