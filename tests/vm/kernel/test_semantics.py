"""The kernel's JIT as oracle of the semantics: random loop-free programs leave every register as our readings say."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

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
from prevail_py.vm import effects, interpreter
from prevail_py.vm.kernel.answer import KernelAnswer
from prevail_py.vm.kernel.engine import Session
from prevail_py.vm.kernel.memory import run_memory
from prevail_py.vm.outcome import Returned
from prevail_py.words import INT, Comparison, IntAlgebra, compare, evaluate, to_signed

pytestmark = pytest.mark.usefixtures("kernel")

R = Register
Reading: TypeAlias = Callable[[Sequence[Instruction], Sequence[int]], list[int]]
"""From a program made by :func:`random_program` and the words it starts with to those that it ends with."""

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


def by_words(program: Sequence[Instruction], words: Sequence[int], algebra: IntAlgebra = INT) -> list[int]:
    """The operations alone; the program's loads and stores only move the words in and out."""
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


def by_interpreter(program: Sequence[Instruction], words: Sequence[int]) -> list[int]:
    execution = interpreter.run_memory(program, pack(words))
    assert isinstance(execution.outcome, Returned), execution.outcome
    assert execution.memory is not None
    final = unpack(execution.memory)
    assert execution.outcome.value == final[0]
    return final


def pack(words: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(WORDS)}Q", *words)


def unpack(memory: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(WORDS)}Q", memory))


def divergence(seed: int, programs: int, inputs: int, reading: Reading) -> str | None:
    """The first difference between ``reading`` and the kernel, None where there is none."""
    generator = random.Random(seed)
    with Session() as session:
        for number in range(programs):
            program = random_program(generator)
            rows = [[random_word(generator) for _ in WORDS] for _ in range(inputs)]
            runs = run_memory(session, encode(program), [pack(row) for row in rows], generated=True)
            assert not isinstance(runs, KernelAnswer), f"program {number}: {runs}"
            for row, run in zip(rows, runs, strict=True):
                expected = reading(program, row)
                found = unpack(run.memory)
                if found != expected or run.value != expected[0]:
                    return f"program {number}: {program}\non {row}\nkernel {found}\nours   {expected}"
    return None


@pytest.mark.parametrize("reading", [by_words, by_interpreter])
def test_random_programs_agree(reading: Reading) -> None:
    assert divergence(seed=1, programs=300, inputs=6, reading=reading) is None


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
    assert divergence(seed=2, programs=200, inputs=4, reading=partial(by_words, algebra=broken())) is not None


def test_a_bug_in_the_interpreter_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "compare", partial(_compare_all_bits, compare))
    assert divergence(seed=2, programs=200, inputs=4, reading=by_interpreter) is not None


def _compare_all_bits(right: Callable[..., bool], algebra: IntAlgebra, how: Comparison, a: int, b: int, _: int) -> bool:
    return right(algebra, how, a, b, 64)
