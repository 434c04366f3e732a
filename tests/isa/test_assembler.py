"""Both assembly syntaxes, labels, and one-line refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.isa.assembler import AssemblerError, assemble_text
from prevail_py.isa.disassembler import disassemble
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    Call,
    CallKfunc,
    CallLocal,
    CallRegister,
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
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.mnemonic_syntax import MNEMONICS
from prevail_py.research.strategies import instructions
from prevail_py.words import Comparison

R = Register


def one(text: str) -> Instruction:
    (instruction, *rest) = assemble_text(text)
    assert not any(rest)
    assert instruction is not None
    return instruction


LLVM_VARIANTS: list[tuple[str, Instruction]] = [
    # what llvm-objdump and the kernel print besides the text of the disassembler
    ("w0 = *(u32 *)(r1 + 0x4)", Load(R.R0, R.R1, 4, 4)),
    ("r0 = *(u32 *)(r1 +4)", Load(R.R0, R.R1, 4, 4)),
    ("r0=*(u32*)(r1)", Load(R.R0, R.R1, 0, 4)),
    ("*(u8 *)(r1 - 0x1) = w2", Store(R.R1, -1, 1, R.R2)),
    ("*(u8 *)(r1 -1) = 255", Store(R.R1, -1, 1, Immediate(255))),
    ("lock *(u32 *)(r1 +4) += r2", Atomic(AtomicOp.ADD, False, 4, R.R1, 4, R.R2)),
    ("r2 = atomic64_fetch_or((u64 *)(r1 +0), r2)", Atomic(AtomicOp.OR, True, 8, R.R1, 0, R.R2)),
    ("r2 = atomic64_xchg((u64 *)(r1 +0), r2)", Atomic(AtomicOp.XCHG, True, 8, R.R1, 0, R.R2)),
    ("r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)", Atomic(AtomicOp.CMPXCHG, True, 4, R.R1, 0, R.R2)),
    ("w0 = load_acquire((u8 *)(r1 + 0x1))", LoadAcquire(R.R0, R.R1, 1, 1)),
    ("store_release((u32 *)(r1 +0), w2)", StoreRelease(R.R1, 0, 4, R.R2)),
    ("goto pc+3", Jump(3)),
    ("goto pc-3", Jump(-3)),
    ("call pc+3", CallLocal(3)),
    ("may_goto pc+3", MayGoto(3)),
    ("if r1 == 0x5 goto pc+3", Branch(Comparison.EQ, 64, R.R1, Immediate(5), 3)),
    ("goto +0x5 <.text+0x90>", Jump(5)),
    ("if r1 < r2 goto +3 <f+0x40>", Branch(Comparison.ULT, 64, R.R1, R.R2, 3)),
    ("r0 = *(u32 *)skb[r3 + 5]", LoadPacket(4, 5, R.R3)),
    ("r1 = 0xffffffff", Alu(AluOp.MOV, 64, R.R1, Immediate(-1))),
    ("r1 = map[fd:7]", assemble_text("r1 = map[fd:7] ll")[0] or Exit()),
]


@pytest.mark.parametrize(("text", "instruction"), LLVM_VARIANTS, ids=[text for text, _ in LLVM_VARIANTS])
def test_variants_of_the_llvm_syntax(text: str, instruction: Instruction) -> None:
    assert one(text) == instruction


MNEMONIC_TEXTS: list[tuple[str, Instruction]] = [
    ("mov32 %r0, 0", Alu(AluOp.MOV, 32, R.R0, Immediate(0))),
    ("mov %r0, 0xffffffff", Alu(AluOp.MOV, 64, R.R0, Immediate(-1))),
    ("sdiv32 %r1, -3", Alu(AluOp.SDIV, 32, R.R1, Immediate(-3))),
    ("arsh %r1, %r10", Alu(AluOp.ARSH, 64, R.R1, R.R10)),
    ("movsx1632 %r2, %r1", MoveSignExtend(32, R.R2, R.R1, 16)),
    ("ldxw %r0, [%r1+4]", Load(R.R0, R.R1, 4, 4)),
    ("ldxdw %r0, [ %r1 - 0x10 ]", Load(R.R0, R.R1, -16, 8)),
    ("ldxsb %r0, [%r1]", Load(R.R0, R.R1, 0, 1, signed=True)),
    ("stw [%r1+4], 0x44332211", Store(R.R1, 4, 4, Immediate(0x44332211))),
    ("stxh\t[%r1+4],%r2", Store(R.R1, 4, 2, R.R2)),
    ("lddw %r1, 0xffffffff00000001", LoadImmediate64(R.R1, 1, -1)),
    ("lddw %r1, -1", LoadImmediate64(R.R1, -1, -1)),
    ("lock add32 [%r10-8], %r1", Atomic(AtomicOp.ADD, False, 4, R.R10, -8, R.R1)),
    ("lock fetch  xor [%r10-8], %r1", Atomic(AtomicOp.XOR, True, 8, R.R10, -8, R.R1)),
    ("lock cmpxchg [%r10-8], %r1", Atomic(AtomicOp.CMPXCHG, True, 8, R.R10, -8, R.R1)),
    ("jeq %r1, 0x8, +1", Branch(Comparison.EQ, 64, R.R1, Immediate(8), 1)),
    ("jslt32 %r1, %r2, -1", Branch(Comparison.SLT, 32, R.R1, R.R2, -1)),
    ("ja +1", Jump(1)),
    ("ja32 -1", Jump(-1, wide=True)),
    ("call 5", Call(5)),
    ("call helper 5", Call(5)),
    ("call local +2", CallLocal(2)),
    ("call runtime 9", CallKfunc(9)),
    ("call %r2", CallRegister(R.R2)),
    ("callx %r2", CallRegister(R.R2)),
    ("ldabsw 14", LoadPacket(4, 14)),
    ("ldindb %r3, 2", LoadPacket(1, 2, R.R3)),
    ("ldacqdw %r0, [%r1+8]", LoadAcquire(R.R0, R.R1, 8, 8)),
    ("strelb [%r1+8], %r2", StoreRelease(R.R1, 8, 1, R.R2)),
    ("exit", Exit()),
]


@pytest.mark.parametrize(("text", "instruction"), MNEMONIC_TEXTS, ids=[text for text, _ in MNEMONIC_TEXTS])
def test_mnemonic_syntax(text: str, instruction: Instruction) -> None:
    assert one(text) == instruction


@pytest.mark.parametrize("mnemonic", sorted(MNEMONICS))
def test_a_wrong_number_of_operands_is_refused(mnemonic: str) -> None:
    with pytest.raises(AssemblerError, match="line 1: ") as caught:
        assemble_text(mnemonic + " %r1, %r2, %r3, %r4")
    assert "operands" in caught.value.reason


def test_labels_comments_and_empty_lines() -> None:
    code = assemble_text("""
        # a comment
    start:
        r0 = 1 ll              ; two slots
        jeq %r0, 1, done       // either syntax
        if w0 != 2 goto start  # backwards
    a: b: gotol far
        call local far
    far: done:
        exit
    """)
    assert code == (
        LoadImmediate64(R.R0, 1),
        None,
        Branch(Comparison.EQ, 64, R.R0, Immediate(1), 3),
        Branch(Comparison.NE, 32, R.R0, Immediate(2), -4),
        Jump(1, wide=True),
        CallLocal(0),
        Exit(),
    )


def test_exit_names_the_first_exit_unless_it_is_a_label() -> None:
    assert assemble_text("ja exit\nexit\nexit")[0] == Jump(0)
    assert assemble_text("ja exit\nexit\nexit: exit")[0] == Jump(1)


def test_slot_numbers_are_checked() -> None:
    assert assemble_text("0: r0 = 1 ll\n2: exit") == (LoadImmediate64(R.R0, 1), None, Exit())
    with pytest.raises(AssemblerError, match="line 2: marked as slot 1 but stands at slot 2"):
        assemble_text("0: r0 = 1 ll\n1: exit")


def test_nothing_assembles_to_nothing() -> None:
    assert assemble_text("") == assemble_text("\n # nothing \n") == ()


REFUSED = [
    ("r1 += w2", "w2 where the operation has 64 bits"),
    ("w1 += r2", "r2 where the operation has 32 bits"),
    ("r11 = 5", "r11 does not exist"),
    ("w1 = *(u8 *)(w2 + 0)", "w2 where"),
    ("w1 = *(s8 *)(r2 + 0)", "w1 where"),
    ("w1 = *(u64 *)(r2 + 0)", "w1 where"),
    ("r1 = *(s64 *)(r2 + 0)", "8 bytes"),
    ("r1 = *(u8 *)(r2 + 32768)", "offset 32768 does not fit"),
    ("r1 = 0x100000000", "does not fit into 32 bits"),
    ("r1 = -0x80000001", "does not fit into 32 bits"),
    ("r1 = 0x10000000000000000 ll", "does not fit into 64 bits"),
    ("r1 = -r2", "must be the same register"),
    ("r1 = be16 r2", "must be the same register"),
    ("w1 = be16 w1", "w1 where"),
    ("w1 = (s32)w2", "no sign extension"),
    ("r1 = addr_space_cast(r2, 65536, 0)", "16 bits"),
    ("lock *(u16 *)(r1 + 0) += r2", "no atomic operation on 2 bytes"),
    ("r3 = atomic_fetch_add((u64 *)(r1 + 0), r2)", "r3 where only register 2"),
    ("r2 = cmpxchg_64(r1 + 0, r0, r2)", "r2 where only register 0"),
    ("r0 = cmpxchg_64(r1 + 0, r3, r2)", "r3 where only register 0"),
    ("r1 = *(u8 *)skb[0]", "packet loads go to r0"),
    ("r0 = *(u64 *)skb[0]", "no packet load of 8 bytes"),
    ("if r1 !& 5 goto +1", "not an instruction"),
    ("if w1 > r2 goto +1", "r2 where"),
    ("goto nowhere", "no label nowhere"),
    ("goto +40000", "offset 40000 does not fit"),
    ("goto 5", "neither an offset with its sign nor a label"),
    ("gotol +0x80000000", "immediate 2147483648 does not fit"),
    ("jeq %r1, 5", "jeq takes 3 operands, not 2"),
    ("jeq %r1, 5, 7", "neither an offset"),
    ("add %r11, 5", "r11 does not exist"),
    ("add 5, %r1", "'5' is not a register"),
    ("stw [%r1+4], %r2", "not a number"),
    ("stxw [%r1+4], 5", "not a register"),
    ("ldxw %r1, [r2*4]", "not an address"),
    ("call foo", "cannot call 'foo'"),
    ("call 0x1ffffffff", "does not fit"),
    ("mov %r0, " + "9" * 5000, "does not fit"),
    ("add33 %r1, 1", "not an instruction"),
    ("a: a: exit", "label a stands at slot 1 already"),
    ("r0 = ", "not an instruction"),
    ("\u0661 = 5", "not an instruction"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=[text[:40] for text, _ in REFUSED])
def test_refusals_name_the_line_and_the_reason(text: str, reason: str) -> None:
    with pytest.raises(AssemblerError) as caught:
        assemble_text("r0 = 0\n\n" + text)
    assert caught.value.line == 3
    assert reason in caught.value.reason
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


NOISE = st.text("rw0189+-*/&|^=<>!s()[]{}:.,;#%x \t\r\n\u0663\u2028ulk", max_size=12)


@given(st.lists(instructions(), max_size=3), st.data())
def test_garbage_is_refused_with_a_line_or_can_be_encoded(code: list[Instruction], data: st.DataObject) -> None:
    text = "\n".join(disassemble(instruction) for instruction in code)
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    text = text[:at] + data.draw(NOISE) + text[at + cut :]
    try:
        assembled = assemble_text(text)
    except AssemblerError as error:
        assert 1 <= error.line <= text.count("\n") + 1  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        encode(assembled)
