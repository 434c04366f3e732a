"""A campaign of differential tests: ``python -m prevail_py.research.differential --programs 20000 --inputs 4``.

Generated programs (:mod:`prevail_py.research.generate` and, half of them, :func:`wild`) run on all engines on generated
packets; where two differ the campaign prints the smallest program and input that it can find, and exits with 1.  The
seed of a program is its number, so any part of a campaign can be repeated.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    ByteOrder,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Load,
    LoadImmediate64,
    MoveSignExtend,
    Negate,
    Operand,
    Register,
    Store,
)
from prevail_py.objects.program import Program
from prevail_py.research.generate import program as generated
from prevail_py.research.packets import packets
from prevail_py.vm.differential import FUEL, Divergence, Input, compare, load, minimise, text_of
from prevail_py.words import Comparison, to_signed

__all__ = ["Tally", "campaign", "main", "program_of", "wild"]

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
_FEW_STEPS: Final = 200


def _word(random: Random) -> int:
    word = random.choice((*_EDGES, random.getrandbits(64), random.getrandbits(32), random.getrandbits(8)))
    return (word if random.random() < 0.6 else -word) & (1 << 64) - 1


def wild(seed: int, size: int = 30) -> Program:
    """A program of ``size`` instructions on edge values, registers and eight bytes of stack, with forward branches.

    It ends well more often than not; there are no jumps back, and no more than a few instructions that may trap.
    """
    random = Random(f"wild/{seed}")
    registers = [Register(n) for n in (0, 2, 3, 4, 5, 6, 7, 8, 9)]
    code: list[Instruction | None] = []
    for register in registers:
        word = _word(random)
        code += [LoadImmediate64(register, to_signed(word, 32), to_signed(word >> 32, 32)), None]
    code.append(Store(Register.R10, -8, 8, Register.R2))
    code.append(Load(Register.R9, Register.R1, 0, 4))  # the packet, while it is not overwritten
    for remaining in reversed(range(size)):
        dst, src = random.choice(registers), random.choice(registers)
        width = random.choice((32, 64))
        operand: Operand = src if random.random() < 0.6 else Immediate(to_signed(_word(random), 32))
        match random.randrange(16):
            case 0:
                code.append(Negate(width, dst))
            case 1:
                code.append(EndianSwap(random.choice(tuple(ByteOrder)), random.choice((16, 32, 64)), dst))
            case 2 | 3:
                code.append(MoveSignExtend(width, dst, src, random.choice((8, 16, 32) if width == 64 else (8, 16))))
            case 4 | 5:
                comparison = random.choice(_COMPARISONS)
                code.append(Branch(comparison, width, dst, operand, random.randrange(min(remaining, 6) + 1)))
            case 6:
                place, part = random.randrange(8), random.choice((1, 2, 4, 8))
                place -= place % part if random.random() < 0.7 else 0
                signed = part < 8 and random.random() < 0.5
                code.append(
                    Load(dst, Register.R10, place - 8, part, signed)
                    if random.random() < 0.5
                    else Store(Register.R10, place - 8, min(part, 8 - place & -(8 - place)), operand)
                )
            case 7:
                op, fetch = random.choice(_ATOMICS)
                code.append(Atomic(op, fetch, random.choice((4, 8)), Register.R10, -8, src))
            case 9 if random.random() < 0.3:  # the comparison of 4 bytes succeeds, and the rest of R0 is not zero
                code.append(Load(Register.R0, Register.R10, -8, 8))
                code.append(Atomic(AtomicOp.CMPXCHG, True, 4, Register.R10, -8, src))
            case 10 if random.random() < 0.3:  # MIN / -1
                code += (
                    [LoadImmediate64(dst, 0, -1 << 31), None]
                    if width == 64
                    else [Alu(AluOp.MOV, 32, dst, Immediate(-1 << 31))]
                )
                code.append(Alu(random.choice((AluOp.SDIV, AluOp.SMOD)), width, dst, Immediate(-1)))
            case 8 if random.random() < 0.2:
                base = random.choice((Register.R9, Register.R9, dst))
                code.append(Load(dst, base, random.randrange(8), random.choice((1, 2, 4, 8))))
            case _:
                code.append(Alu(random.choice(tuple(AluOp)), width, dst, operand))
    code += [Alu(AluOp.AND, 64, Register.R0, Immediate(3))] * (random.random() < 0.5)
    return Program(f"wild_{seed}", "socket", "socket_filter", (*code, Exit()))


def program_of(number: int) -> Program:
    """Program ``number`` of the campaign."""
    kind, seed = number % 4, number // 4
    return wild(number) if kind < 2 else generated(seed, size=20 + seed % 20, loops=kind == 3)


@dataclass(slots=True)
class Tally:
    """What a campaign ran and found; ``outcomes`` counts how the runs ended on the first engine."""

    programs: int = 0
    runs: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    divergences: list[Divergence] = field(default_factory=list)


def campaign(numbers: Sequence[int], inputs: int, engines: Sequence[str], *, stop_at: int = 5) -> Iterator[Tally]:
    """Run the programs with these numbers; the tally after each.  Ends early after ``stop_at`` divergences."""
    tally = Tally()
    for number in numbers:
        program = program_of(number)
        loaded = load(program, engines)
        random = Random(f"fuel/{number}")
        for index, packet in enumerate(packets(number, inputs)):
            fuel = random.randrange(_FEW_STEPS) if index == inputs - 1 and "kernel" not in engines else FUEL
            found = compare(program, Input(packet, fuel=fuel), engines, loaded)
            tally.runs += 1
            tally.skipped.update(found.skipped.keys())
            tally.outcomes[next(iter(found.results.values()), "none").split(" at ")[0].split(" = ")[0]] += 1
            if found.divergence is not None:
                tally.divergences.append(found.divergence)
                break
        tally.programs += 1
        yield tally
        if len(tally.divergences) >= stop_at:
            return


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign and print what came of it; 1 where engines differ."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.differential", description=__doc__)
    parser.add_argument("--programs", type=int, default=1000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first program")
    parser.add_argument("--inputs", type=int, default=4, metavar="N", help="packets for each program")
    parser.add_argument("--engines", default="interpreter,source", metavar="NAMES")
    arguments = parser.parse_args(argv)
    engines = arguments.engines.split(",")
    began, shown = time.monotonic(), 0.0
    tally = Tally()
    numbers = range(arguments.first, arguments.first + arguments.programs)
    for tally in campaign(numbers, arguments.inputs, engines):
        if sys.stderr.isatty() and time.monotonic() - shown > 0.2:
            shown = time.monotonic()
            filled = 40 * tally.programs // len(numbers)
            bar = "#" * filled + "." * (40 - filled)
            print(f"\r[{bar}] {tally.programs} of {len(numbers)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"{tally.programs} programs, {tally.runs} runs on {', '.join(engines)}: {len(tally.divergences)} divergences")
    print(f"outcomes: {', '.join(f'{count} {name}' for name, count in tally.outcomes.most_common())}")
    if tally.skipped:
        print(f"skipped: {', '.join(f'{count} by {name}' for name, count in tally.skipped.most_common())}")
    print(f"{time.monotonic() - began:.1f} s")
    for divergence in tally.divergences:
        print("\n" + text_of(minimise(divergence)))
    return 1 if tally.divergences else 0


if __name__ == "__main__":
    sys.exit(main())
