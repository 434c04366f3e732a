"""The kernel's JIT as oracle of the semantics: random loop-free programs leave every register as the words say."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Branch,
    ByteOrder,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Load,
    MoveSignExtend,
    Negate,
    Operand,
    Register,
    Store,
)
from prevail_py.isa.semantics import immediate_word, operands, operation
from prevail_py.vm.kernel.answer import KernelAnswer
from prevail_py.vm.kernel.engine import Session
from prevail_py.vm.kernel.memory import run_memory
from prevail_py.words import INT, Comparison, IntAlgebra, compare, evaluate, to_signed

pytestmark = pytest.mark.usefixtures("kernel")

R = Register
# r1 keeps the address of the memory, through which the words come in and, at the end, go out again.
WORDS = (R.R0, R.R2, R.R3, R.R4, R.R5, R.R6, R.R7, R.R8, R.R9)
SHIFTS = frozenset({AluOp.LSH, AluOp.RSH, AluOp.ARSH})
DIVISIONS = frozenset({AluOp.DIV, AluOp.MOD, AluOp.SDIV, AluOp.SMOD})
COMPARISONS = tuple(c for c in Comparison if c is not Comparison.NOT_SET)
EDGES = (0, 1, 2, 31, 32, 33, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63)


def random_word(generator: random.Random) -> int:
    word = generator.choice((*EDGES, generator.getrandbits(64), generator.getrandbits(32), generator.getrandbits(8)))
    return (word if generator.random() < 0.6 else -word) & (2**64 - 1)


def random_immediate(generator: random.Random) -> int:
    return to_signed(random_word(generator), 32)


def random_instruction(generator: random.Random, remaining: int) -> Instruction:
    dst, src = generator.choice(WORDS), generator.choice(WORDS)
    width = generator.choice((32, 64))
    operand: Operand = src if generator.random() < 0.6 else Immediate(random_immediate(generator))
    match generator.randrange(10):
        case 0:
            return Negate(width, dst)
        case 1:
            order = generator.choice(tuple(ByteOrder))
            return EndianSwap(order, generator.choice((16, 32, 64)), dst)
        case 2:
            return MoveSignExtend(width, dst, src, generator.choice((8, 16, 32) if width == 64 else (8, 16)))
        case 3 if remaining > 1:
            return Branch(generator.choice(COMPARISONS), width, dst, operand, generator.randrange(min(remaining, 6)))
        case _:
            op = generator.choice(tuple(AluOp))
            if isinstance(operand, Immediate):  # the verifier refuses constants for which the RFC has a meaning
                if op in SHIFTS:
                    operand = Immediate(operand.value % width)
                elif op in DIVISIONS and operand.value == 0:
                    operand = Immediate(-1)
            return Alu(op, width, dst, operand)


def random_program(generator: random.Random) -> list[Instruction]:
    length = generator.randrange(5, 60)
    body = [random_instruction(generator, length - index - 1) for index in range(length)]
    loads = [Load(register, R.R1, 8 * index, 8) for index, register in enumerate(WORDS)]
    stores = [Store(R.R1, 8 * index, 8, register) for index, register in enumerate(WORDS)]
    return [*loads, *body, *stores, Exit()]


def interpret(program: Sequence[Instruction], words: Sequence[int], algebra: IntAlgebra) -> list[int]:
    """The final words of a program made by :func:`random_program`; its loads and stores only move them."""
    registers = dict(zip(WORDS, words, strict=True))

    def value(operand: Operand) -> int:
        return immediate_word(operand.value) if isinstance(operand, Immediate) else registers[operand]

    pc = 0
    while True:
        instruction = program[pc]
        pc += 1
        match instruction:
            case Alu() | MoveSignExtend() | Negate() | EndianSwap():
                op = operation(instruction)
                args = tuple(value(operand) for operand in operands(instruction))
                registers[instruction.dst] = args[0] if op is None else evaluate(algebra, op, args)
            case Branch(comparison, width, dst, src, offset):
                if compare(algebra, comparison, registers[dst], value(src), width):
                    pc += offset
            case Exit():
                return [registers[register] for register in WORDS]
            case _:
                pass


def divergence(seed: int, programs: int, inputs: int, algebra: IntAlgebra = INT) -> str | None:
    """The first difference between ``algebra`` and the kernel, None where there is none."""
    generator = random.Random(seed)
    accepted = 0
    with Session() as session:
        for number in range(programs):
            program = random_program(generator)
            rows = [[random_word(generator) for _ in WORDS] for _ in range(inputs)]
            memories = [b"".join(word.to_bytes(8, "little") for word in row) for row in rows]
            runs = run_memory(session, encode(program), memories, generated=True)
            assert not isinstance(runs, KernelAnswer), f"program {number}: {runs}"
            accepted += 1
            for row, run in zip(rows, runs, strict=True):
                expected = interpret(program, row, algebra)
                found = [int.from_bytes(run.memory[k : k + 8], "little") for k in range(0, 8 * len(WORDS), 8)]
                if found != expected or run.value != expected[0]:
                    return f"program {number}: {program}\non {row}\nkernel {found}\nwords  {expected}"
    assert accepted == programs
    return None


def test_random_programs_agree() -> None:
    assert divergence(seed=1, programs=300, inputs=6) is None


class _WrongShift(IntAlgebra):
    def shl(self, a: int, b: int, width: int) -> int:
        return (a << b) & ((1 << width) - 1) if b < 256 else 0  # not taken modulo the width


class _WrongSignedDivision(IntAlgebra):
    def sdiv(self, a: int, b: int, width: int) -> int:
        return (to_signed(a, width) // to_signed(b, width)) & ((1 << width) - 1) if b else 0  # rounds down


class _WrongDivisionByZero(IntAlgebra):
    def udiv(self, a: int, b: int, width: int) -> int:
        return a // b if b else (1 << width) - 1


class _WrongExtension(IntAlgebra):
    def zero_extend(self, a: int, width: int, to: int) -> int:
        return self.sign_extend(a, width, to)  # the upper half after a 32-bit operation


class _WrongComparison(IntAlgebra):
    def compare(self, comparison: Comparison, a: int, b: int, width: int) -> bool:
        if comparison is Comparison.SGE:
            return a >= b
        return super().compare(comparison, a, b, width)


@pytest.mark.parametrize(
    "broken", [_WrongShift, _WrongSignedDivision, _WrongDivisionByZero, _WrongExtension, _WrongComparison]
)
def test_planted_bugs_are_seen(broken: Callable[[], IntAlgebra]) -> None:
    assert divergence(seed=2, programs=200, inputs=4, algebra=broken()) is not None
