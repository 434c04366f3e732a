"""Vectors: the supplied suite assembles, our own cover every opcode, and all of them agree with the semantics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from prevail_py.isa.decode import DecodeError, decode
from prevail_py.isa.encode import encode, encode_instruction
from prevail_py.isa.flow import target
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
    Branch,
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
    slots_of,
)
from prevail_py.isa.opcodes import ATOMIC_CODES, OPCODES, Form
from prevail_py.isa.semantics import immediate_word, operands, operation
from prevail_py.research.conformance import (
    Case,
    Refusal,
    Vector,
    VectorError,
    load_cases,
    load_refusals,
    load_vectors,
    parse_cases,
    parse_refusals,
    parse_vector,
)
from prevail_py.words import INT, Comparison, IntAlgebra, compare, evaluate, mask, to_signed

FOLDER = Path(__file__).resolve().parents[1] / "conformance"
CASES = load_cases(FOLDER)
REFUSALS = load_refusals(FOLDER)

# Opcodes that no engine can run on its own: packet loads need a socket buffer, callx the addresses of functions.
NOT_EXECUTABLE = {
    opcode
    for opcode, row in OPCODES.items()
    if row.form in (Form.PACKET_ABSOLUTE, Form.PACKET_INDIRECT, Form.CALL_REGISTER)
}


# The supplied suite


def test_the_supplied_vectors_assemble_and_match_their_encodings(shared_dir: Path) -> None:
    vectors = load_vectors(shared_dir / "conformance")
    assert len(vectors) >= 313
    assert all(vector.code and vector.result is not None for vector in vectors)
    prescribed = [vector for vector in vectors if vector.raw is not None]
    assert prescribed
    for vector in prescribed:
        assert vector.code == vector.raw, vector.name
    for vector in vectors:
        assert encode(decode(vector.code)) == vector.code


def test_the_supplied_vectors_agree_with_the_semantics(shared_dir: Path) -> None:
    vectors = [v for v in load_vectors(shared_dir / "conformance") if computes(decode(v.code))]
    assert len(vectors) > 150
    for vector in vectors:
        assert run(decode(vector.code), {Register.R2: len(vector.memory)}) == vector.result, vector.name


# A machine of registers, enough for what the semantics describes


def word(operand: Operand, state: Sequence[int]) -> int:
    return state[operand] if isinstance(operand, Register) else immediate_word(operand.value)


def run(code: Sequence[Instruction | None], registers: Mapping[Register, int], algebra: IntAlgebra = INT) -> int:
    """R0 at the exit of a program that :func:`computes`; an endless loop gives -1."""
    state = [registers.get(register, 0) for register in Register]
    pc = 0
    for _ in range(1000):
        instruction = code[pc]
        assert instruction is not None
        match instruction:
            case Alu() | MoveSignExtend() | Negate() | EndianSwap():
                args = tuple(word(operand, state) for operand in operands(instruction))
                op = operation(instruction)
                state[instruction.dst] = args[0] if op is None else evaluate(algebra, op, args)
            case LoadImmediate64(dst):
                state[dst] = instruction.value
            case Branch(comparison, width, dst, src):
                if compare(algebra, comparison, state[dst], word(src, state), width):
                    pc = target(pc, instruction)
                    continue
            case Jump():
                pc = target(pc, instruction)
                continue
            case Exit():
                return state[0]
            case _:
                raise AssertionError(instruction)
        pc += slots_of(instruction)
    return -1


def computes(code: Sequence[Instruction | None]) -> bool:
    kinds = (Alu, MoveSignExtend, Negate, EndianSwap, LoadImmediate64, Branch, Jump, Exit)
    return all(instruction is None or isinstance(instruction, kinds) for instruction in code)


COMPUTING = [case for case in CASES if computes(case.program)]


def test_most_cases_compute() -> None:
    assert len(COMPUTING) > 400
    assert {case.name.split(":")[0] for case in COMPUTING} >= {"alu32.vec", "alu64.vec", "unary.vec", "branches.vec"}


@pytest.mark.parametrize("case", COMPUTING, ids=lambda case: case.name)
def test_our_vectors_agree_with_the_semantics(case: Case) -> None:
    assert run(case.program, {}) == case.result
    assert run(case.body if isinstance(case.body[-1], Exit) else (*case.body, Exit()), case.registers) == case.result


class NoTruncation(IntAlgebra):
    """32-bit operations read whole registers."""

    def truncate(self, a: int, width: int, to: int) -> int:
        return a


class SignExtendedResults(IntAlgebra):
    """32-bit operations sign-extend their results."""

    def zero_extend(self, a: int, width: int, to: int) -> int:
        return to_signed(a, width) & mask(to)


class UnsignedDivision(IntAlgebra):
    """SDIV divides as DIV does."""

    def sdiv(self, a: int, b: int, width: int) -> int:
        return self.udiv(a, b, width)


class SignOfDivisor(IntAlgebra):
    """SMOD has the sign of the divisor, as in Python."""

    def smod(self, a: int, b: int, width: int) -> int:
        return to_signed(a, width) % to_signed(b, width) & mask(width) if b else a


class ZeroModulo(IntAlgebra):
    """MOD by zero gives 0."""

    def umod(self, a: int, b: int, width: int) -> int:
        return a % b if b else 0


class LongShift(IntAlgebra):
    """Shifts do not mask their counts."""

    def lshr(self, a: int, b: int, width: int) -> int:
        return a >> b


class LogicalShift(IntAlgebra):
    """ARSH shifts in zeroes."""

    def ashr(self, a: int, b: int, width: int) -> int:
        return self.lshr(a, b, width)


class NoSwap(IntAlgebra):
    """Byte swaps do nothing."""

    def bswap(self, a: int, width: int) -> int:
        return a


class UnsignedComparison(IntAlgebra):
    """Signed comparisons read unsigned numbers."""

    def compare(self, comparison: Comparison, a: int, b: int, width: int) -> bool:
        unsigned = {Comparison.SLT: Comparison.ULT, Comparison.SGE: Comparison.UGE}
        return super().compare(unsigned.get(comparison, comparison), a, b, width)


BUGS = [NoTruncation, SignExtendedResults, UnsignedDivision, SignOfDivisor, ZeroModulo, LongShift, LogicalShift, NoSwap,
        UnsignedComparison]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_our_vectors_find_planted_bugs(bug: type[IntAlgebra]) -> None:
    assert any(run(case.program, {}, bug()) != case.result for case in COMPUTING)


# Coverage


def variant(instruction: Instruction) -> Instruction:
    """The instruction with its registers, offsets and constants blotted out: what is left selects its semantics."""
    r, k = Register.R0, Immediate(0)
    match instruction:
        case Alu(op, width, _, src):
            return Alu(op, width, r, r if isinstance(src, Register) else k)
        case MoveSignExtend(width, source_bits=bits):
            return MoveSignExtend(width, r, r, bits)
        case Negate(width):
            return Negate(width, r)
        case EndianSwap(order, bits):
            return EndianSwap(order, bits, r)
        case Load(size=size, signed=signed):
            return Load(r, r, 0, size, signed)
        case Store(size=size, src=src):
            return Store(r, 0, size, r if isinstance(src, Register) else k)
        case Atomic(op, fetch, size):
            return Atomic(op, fetch, size, r, 0, r)
        case LoadAcquire(size=size):
            return LoadAcquire(r, r, 0, size)
        case StoreRelease(size=size):
            return StoreRelease(r, 0, size, r)
        case Branch(comparison, width, _, src):
            return Branch(comparison, width, r, r if isinstance(src, Register) else k, 0)
        case Jump(_, wide):
            return Jump(0, wide)
        case LoadImmediate64(pseudo=pseudo):
            return LoadImmediate64(r, 0, 0, pseudo)
        case CallLocal():
            return CallLocal(0)
        case MayGoto():
            return MayGoto(0)
        case Exit():
            return instruction
        case LoadPacket() | CallRegister() | Call() | CallKfunc() | AddressSpaceCast():
            raise AssertionError(f"no engine can run {instruction} on its own")


def in_bodies(cases: Sequence[Case]) -> Counter[Instruction]:
    """In how many cases each variant stands; the wide loads that set initial registers do not count."""
    return Counter(v for case in cases for v in {variant(i) for i in case.body if i is not None})


def test_every_executable_opcode_has_at_least_three_vectors() -> None:
    counts: Counter[int] = Counter()
    for case in CASES:
        counts.update({encode_instruction(i)[0] for i in case.body if i is not None})
    assert set(counts) == set(OPCODES) - NOT_EXECUTABLE
    assert len(counts) == 122
    assert min(counts.values()) >= 3


def test_every_executable_variant_has_at_least_three_vectors() -> None:
    counts = in_bodies(CASES)
    assert {v for v in counts if isinstance(v, Alu)} == {
        Alu(op, width, Register.R0, src)
        for op in AluOp for width in (32, 64) for src in (Register.R0, Immediate(0))
    }  # fmt: skip
    assert sum(isinstance(v, Atomic) for v in counts) == 2 * len(ATOMIC_CODES)
    assert sum(isinstance(v, LoadAcquire | StoreRelease) for v in counts) == 8
    assert sum(isinstance(v, MoveSignExtend) for v in counts) == 5
    assert sum(isinstance(v, EndianSwap) for v in counts) == 9
    assert [v.pseudo for v in counts if isinstance(v, LoadImmediate64)] == [Pseudo.IMMEDIATE]
    assert {v: n for v, n in counts.items() if n < 3} == {}


# Refusals


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_refusals(refusal: Refusal) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(refusal.data)
    assert caught.value.slot == refusal.slot
    assert refusal.reason in caught.value.reason


def test_there_are_refusals_of_every_kind() -> None:
    assert len(REFUSALS) > 100


# The formats


def test_a_vector_has_all_its_sections() -> None:
    text = """# a comment
-- asm
mov %r0, 1 # one
exit
-- raw
0x00000001000000b7
0x0000000000000095
-- mem
00 01
02 # three bytes
-- c
int f(void) { return 1; }
-- result
0x1
"""
    vector = parse_vector(text, "one")
    code = bytes.fromhex("b7000000010000009500000000000000")
    assert vector == Vector("one", "mov %r0, 1 # one\nexit", code, bytes([0, 1, 2]), 1, None, code)


def test_a_vector_may_have_only_raw_code_and_an_error() -> None:
    vector = parse_vector("-- raw\n0x95\n-- error\nno such\nthing\n")
    assert (vector.code, vector.result, vector.error) == (bytes.fromhex("9500000000000000"), None, "no such thing")


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("-- asm\nexit\n", "v", "nothing expected"),
        ("-- result\n1\n", "v", "no program"),
        ("-- asm\nexit\n-- asm\nexit\n-- result\n1\n", "v:3", "second section 'asm'"),
        ("-- what\n", "v:1", "unknown section 'what'"),
        ("#\n-- asm\nexit\nwrong\n-- result\n1\n", "v:4", "'wrong' is not an instruction"),
        ("-- asm\nexit\n-- result\nx\n", "v", "'x' is not a number"),
        ("-- asm\nexit\n-- mem\nxy\n-- result\n1\n", "v", "not bytes"),
        ("-- raw\n0x1ffffffffffffffff\n-- result\n1\n", "v", "64 bits"),
    ],
)
def test_malformed_vectors(text: str, place: str, reason: str) -> None:
    with pytest.raises(VectorError, match=reason) as caught:
        parse_vector(text, "v")
    assert caught.value.place == place


def test_a_case_becomes_a_program() -> None:
    (case,) = parse_cases("# nothing\n\n{ r3=-1 mem=0102 } r0 = r3; r0 += 1 -> 0 # all\n", "x.vec")
    assert (case.name, case.asm, case.memory, case.result) == ("x.vec:3", "r0 = r3; r0 += 1", b"\1\2", 0)
    assert case.registers == {Register.R3: (1 << 64) - 1}
    assert len(case.program) == 2 + 2 + 1
    assert case.vector == Vector("x.vec:3", case.asm, encode(case.program), b"\1\2", 0)


def test_an_exit_is_added_only_where_there_is_none() -> None:
    (case,) = parse_cases("{ } r0 = 1; exit; r0 = 2; exit -> 1")
    assert case.program == case.body


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{ r0=1 } r0 += 1", "a case is written"),
        ("r0 += 1 -> 2", "a case is written"),
        ("{ r0=x } r0 += 1 -> 2", "'x' is not a number"),
        ("{ r10=1 } r0 += 1 -> 2", "neither r0"),
        ("{ mem=00 r1=5 } r0 += 1 -> 2", "hold the memory"),
        ("{ mem=0 } r0 += 1 -> 2", "not bytes"),
        ("{ } r0 +!= 1 -> 2", "not an instruction"),
        ("{ } r0 = 1 -> two", "'two' is not a number"),
    ],
)
def test_malformed_cases(text: str, reason: str) -> None:
    with pytest.raises(VectorError, match=reason) as caught:
        parse_cases("\n" + text, "x.vec")
    assert caught.value.place == "x.vec:2"


def test_malformed_refusals() -> None:
    with pytest.raises(VectorError, match="x:1: a refusal is written"):
        parse_refusals("95 ->", "x")
