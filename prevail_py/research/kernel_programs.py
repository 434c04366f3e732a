"""Programs for the differential campaign that the kernel takes part in, and what they run on.

The guard wants them loop-free and short, the verifier careful, and the comparison the same on every run: words that
would come from clock and random numbers are those of a map, which the input fills.  Three kinds take turns: the random
programs that test the verifier, arithmetic on words that the kernel's verifier knows nothing of, and map operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Final, TypeGuard

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    ByteOrder,
    Call,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Load,
    LoadAcquire,
    LoadImmediate64,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.rewrite import reachable, rewrite
from prevail_py.objects.program import MapSpec, Program
from prevail_py.research.generate import program as generated
from prevail_py.research.packets import packets
from prevail_py.words import Comparison, to_signed

__all__ = [
    "bookkeeping",
    "edge_word",
    "elements_for",
    "frames_for",
    "kernel_program_of",
    "repeatable",
    "tame",
]

_EDGES: Final = (
    0,
    1,
    2,
    31,
    32,
    33,
    63,
    64,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 63,
)
_ATOMICS: Final = tuple((op, fetch) for op in AtomicOp for fetch in (False, True) if fetch or op.value[-3:] != "chg")
_COMPARISONS: Final = tuple(c for c in Comparison if c is not Comparison.NOT_SET)


def edge_word(random: Random) -> int:
    """A 64-bit word, at an edge more often than not."""
    word = random.choice((*_EDGES, random.getrandbits(64), random.getrandbits(32), random.getrandbits(8)))
    return (word if random.random() < 0.6 else -word) & (1 << 64) - 1


_WORDS: Final = MapSpec("words", 2, 4, 256, 1)
_SOURCES_OF_WORDS: Final = {5: 8, 7: 4}
"""Clock and random numbers, with the bytes that each gives: their results cannot be compared."""


def tame(seed: int, size: int = 40) -> Program:
    """A loop-free program on words that the verifier knows nothing of, as careful as the verifier wants it to be.

    All arithmetic, on edge values from a map, through registers, stack and atomics; what counts is R0 and the map.
    """
    random = Random(f"tame/{seed}")
    registers = [Register(n) for n in (0, 1, 2, 3, 4, 5, 7, 8, 9)]
    code: list[Instruction | None] = [LoadImmediate64(Register.R6, 0, 0, Pseudo.MAP_INDEX_VALUE), None]
    code += [Load(register, Register.R6, 8 * n, 8) for n, register in enumerate(registers)]
    code += [Store(Register.R10, -8, 8, Register.R2), Store(Register.R10, -16, 8, Register.R3)]
    for remaining in reversed(range(size)):
        dst, src, width = random.choice(registers), random.choice(registers), random.choice((32, 64))
        operand: Operand = src if random.random() < 0.6 else Immediate(to_signed(edge_word(random), 32))
        match random.randrange(16):
            case 0:
                code.append(Negate(width, dst))
            case 1:
                code.append(EndianSwap(random.choice(tuple(ByteOrder)), random.choice((16, 32, 64)), dst))
            case 2 | 3:
                code.append(MoveSignExtend(width, dst, src, random.choice((8, 16, 32) if width == 64 else (8, 16))))
            case 4 | 5 if remaining:
                comparison = random.choice(_COMPARISONS)
                code.append(Branch(comparison, width, dst, operand, random.randrange(min(remaining, 6))))
            case 6 | 7:
                part = random.choice((1, 2, 4, 8))
                base, room = random.choice(((Register.R10, -16), (Register.R6, 72)))
                place = random.randrange(16 - part + 1)
                if base is Register.R10 or random.random() < 0.7:  # the verifier wants accesses to the stack aligned
                    place -= place % part
                place += room
                load = Load(dst, base, place, part, part < 8 and random.random() < 0.5)
                code.append(load if random.random() < 0.5 else Store(base, place, part, operand))
            case 8 | 9:
                op, fetch = random.choice(_ATOMICS)
                base, place = random.choice(((Register.R10, -8), (Register.R6, 80)))
                code += _atomic(Atomic(op, fetch, random.choice((4, 8)), base, place, src))
            case 10:
                code.append(Alu(random.choice((AluOp.SDIV, AluOp.SMOD, AluOp.DIV, AluOp.MOD)), width, dst, src))
            case _:
                code.append(_legal(Alu(random.choice(tuple(AluOp)), width, dst, operand), random))
    code += [Store(Register.R6, 96 + 8 * n, 8, register) for n, register in enumerate(registers)]
    return Program(f"tame_{seed}", "xdp", "xdp", (*code, Exit()), (_WORDS,), licence="GPL")


def _atomic(instruction: Atomic) -> tuple[Instruction, ...]:
    """With an explicit zero extension of R0 after a comparison and exchange of 4 bytes.

    The instruction itself extends (RFC 9669 section 5.3), and x86 does not where the exchange succeeds.  Linux 6.18
    adds a move only if it sees R0 used as 64 bits, and does not see that on a path that it prunes.
    """
    if instruction.op is AtomicOp.CMPXCHG and instruction.size == 4:
        return (instruction, Alu(AluOp.MOV, 32, Register.R0, Register.R0))
    return (instruction,)


def _legal(instruction: Alu, random: Random) -> Alu:
    """Without the constants for which the RFC has a meaning and the verifier a refusal."""
    match instruction:
        case Alu(AluOp.LSH | AluOp.RSH | AluOp.ARSH, width, src=Immediate(value)):
            return replace(instruction, src=Immediate(value % width))
        case Alu(AluOp.DIV | AluOp.MOD | AluOp.SDIV | AluOp.SMOD, src=Immediate(0)):
            return replace(instruction, src=Immediate(random.choice((-1, 3))))
        case _:
            return instruction


_TABLES: Final = (
    MapSpec("hash", 1, 4, 16, 3),
    MapSpec("array", 2, 4, 16, 4),
    MapSpec("percpu", 6, 4, 16, 3),
    MapSpec("percpu hash", 5, 4, 16, 3),
    MapSpec("wide keys", 1, 8, 16, 4),
    MapSpec("ring", 27, 0, 0, 4096),
    _WORDS,
)
_TABLE_WORDS: Final = len(_TABLES) - 1


def bookkeeping(seed: int, size: int = 14) -> Program:
    """A program of ``size`` map operations on few keys, with right and wrong flags, that returns what they returned.

    Tables are so small that they are full now and then.  R7 gathers the results, R8 is a word of the input.
    """
    random = Random(f"bookkeeping/{seed}")
    fp, r0, r1, r2, r3, r4, r7, r8, r9 = (Register(n) for n in (10, 0, 1, 2, 3, 4, 7, 8, 9))

    def mov(dst: Register, source: Register | int) -> Instruction:
        return Alu(AluOp.MOV, 64, dst, source if isinstance(source, Register) else Immediate(source))

    def add(dst: Register, number: int) -> Instruction:
        return Alu(AluOp.ADD, 64, dst, Immediate(number))

    def wide(dst: Register, index: int, pseudo: Pseudo, offset: int = 0) -> list[Instruction | None]:
        return [LoadImmediate64(dst, index, offset, pseudo), None]

    code: list[Instruction | None] = [
        *wide(r9, _TABLE_WORDS, Pseudo.MAP_INDEX_VALUE, 8 * random.randrange(8)),
        Load(r8, r9, 0, 8),
        Load(r3, r9, 8, 8),
        mov(r7, 0),
        Store(fp, -24, 8, r3),
        Store(fp, -16, 8, r8),
    ]
    gather: list[Instruction | None] = [Alu(AluOp.MUL, 64, r7, Immediate(31)), Alu(AluOp.XOR, 64, r7, r0)]
    for _ in range(size):
        index = random.randrange(_TABLE_WORDS)
        table = wide(r1, index, Pseudo.MAP_INDEX)
        if _TABLES[index].type == 27:
            length = random.randrange(1, 17)
            code += [
                *table,
                mov(r2, fp),
                add(r2, -24),
                mov(r3, length),
                mov(r4, random.choice((0, 0, 1, 2, 4))),
                Call(130),
            ]
            code += gather
            continue
        if random.random() < 0.3:
            code += [Alu(AluOp.AND, 64, r8, Immediate(3)), Store(fp, -8, 8, r8)]
        else:
            code.append(Store(fp, -8, 8, Immediate(random.randrange(6))))
        code += [*table, mov(r2, fp), add(r2, -8)]
        match random.randrange(6):
            case 0:
                code += [Call(3), *gather]
            case 1 | 2 | 3:
                code.append(
                    Store(fp, random.choice((-24, -16)), random.choice((4, 8)), Immediate(random.randrange(-9, 9)))
                )
                code += [mov(r3, fp), add(r3, -24), mov(r4, random.choice((0, 0, 1, 2, 3, 4))), Call(2), *gather]
            case _:
                offset, part = random.choice(((0, 8), (8, 8), (4, 4), (14, 2), (15, 1), (1, 4)))
                change: Instruction = Store(r0, offset, part, r7)
                if part == 8 and random.random() < 0.5:
                    change = Atomic(AtomicOp.ADD, random.random() < 0.5, 8, r0, offset, r8)
                code += [Call(1), Branch(Comparison.EQ, 64, r0, Immediate(0), 4), Load(r9, r0, offset, part), change]
                code += [Alu(AluOp.MUL, 64, r7, Immediate(7)), Alu(AluOp.ADD, 64, r7, r9)]
    code += [mov(r0, r7), Exit()]
    return Program(f"bookkeeping_{seed}", "xdp", "xdp", tuple(code), _TABLES, licence="GPL")


def repeatable(program: Program) -> Program:
    """``program`` with words of a map in place of what clock and random numbers give, and as Linux wants its text.

    Linux takes no code that is not reached, and on the stack only aligned accesses: others become narrower.
    """
    index = len(program.maps)
    changes: dict[int, tuple[Instruction, ...]] = {}
    for pc, instruction in enumerate(program.code):
        if isinstance(instruction, Call) and instruction.helper in _SOURCES_OF_WORDS:
            size = _SOURCES_OF_WORDS[instruction.helper]
            offset = 8 * (pc % (_WORDS.value_size // 8))
            address = LoadImmediate64(Register.R0, index, offset, Pseudo.MAP_INDEX_VALUE)
            changes[pc] = (address, Load(Register.R0, Register.R0, 0, size))
        elif isinstance(instruction, Atomic):
            changes[pc] = _atomic(instruction)
        elif _is_access(instruction) and instruction.base == Register.R10:
            changes[pc] = (replace(instruction, size=_alignment(instruction)),)
    code = rewrite(program.code, changes)
    found = reachable(code)
    code = rewrite(code, {pc: () for pc, i in enumerate(code) if i is not None and pc not in found})
    return replace(program, code=code, maps=(*program.maps, _WORDS), licence="GPL")


def _is_access(instruction: Instruction | None) -> TypeGuard[Load | LoadAcquire | Store | StoreRelease]:
    return isinstance(instruction, Load | LoadAcquire | Store | StoreRelease)


def _alignment(access: Load | LoadAcquire | Store | StoreRelease) -> int:
    return min(access.size, access.offset & -access.offset)


def kernel_program_of(number: int) -> Program:
    """Program ``number`` of the campaign that the kernel takes part in: loop-free, and the same on every run."""
    kind, seed = number % 3, number // 3
    if kind == 0:
        return repeatable(generated(seed, size=10 + seed % 25))
    return tame(seed) if kind == 1 else bookkeeping(seed)


def frames_for(number: int, count: int) -> Iterator[bytes]:
    """Packets that a test run takes: with an Ethernet header, and no longer than a page has room for."""
    fitting = (packet for packet in packets(number, 100 * count) if 14 <= len(packet) <= 3000)
    return islice(fitting, count)


def elements_for(program: Program, random: Random) -> dict[int, dict[bytes, bytes]]:
    """Some elements for each map of plain values; words at the edges, keys small."""
    chosen: dict[int, dict[bytes, bytes]] = {}
    for index, spec in enumerate(program.maps):
        if spec.type in (1, 2, 5, 6) and not spec.read_only:
            count = random.randrange(min(spec.max_entries, 5) + 1) if spec != _WORDS else 1
            numbers = random.sample(range(min(spec.max_entries, 5)), min(count, spec.max_entries))
            chosen[index] = {
                number.to_bytes(spec.key_size, "little"): b"".join(
                    edge_word(random).to_bytes(8, "little") for _ in range(-(-spec.value_size // 8))
                )[: spec.value_size]
                for number in numbers
            }
    return chosen
