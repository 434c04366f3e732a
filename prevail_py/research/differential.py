"""A campaign of differential tests: ``python -m prevail_py.research.differential --programs 20000 --inputs 4``.

Generated programs (:mod:`prevail_py.research.generate` and, half of them, :func:`wild`) run on all engines on generated
packets; where two differ the campaign prints the smallest program and input that it can find, and exits with 1.  The
seed of a program is its number, so any part of a campaign can be repeated.

With ``kernel`` among ``--engines`` the programs have no loops, read maps instead of clock and random numbers, and start
with maps that hold something.  Each passes the guard before the worker sees it; all go to one worker process.

``proved`` and ``proved-O0`` are native code without checks (:mod:`prevail_py.vm.jit.proved`) at both tiers: only
programs that the verifier proves SAFE run then.  They count no steps, so that the others must be ``kernel``;
:mod:`prevail_py.research.proved` compares such code with the interpreter.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

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
from prevail_py.research.kernel_programs import edge_word, elements_for, frames_for, kernel_program_of
from prevail_py.research.packets import packets
from prevail_py.vm.differential import FUEL, Divergence, Input, compare, load, text_of
from prevail_py.vm.engines import ENGINES, EngineError, Loaded
from prevail_py.vm.reduction import minimise
from prevail_py.words import Comparison, to_signed

if TYPE_CHECKING:
    from prevail_py.vm.jit.compile import Tier

__all__ = ["PROVED", "Tally", "campaign", "inputs_of", "load_generated", "main", "program_of", "single", "wild"]

PROVED: Final[Mapping[str, Tier]] = {"proved": 2, "proved-O0": 0}
"""Native code without checks, by its tier; only programs that are SAFE run as such."""

_ATOMICS: Final = tuple((op, fetch) for op in AtomicOp for fetch in (False, True) if fetch or op.value[-3:] != "chg")
_COMPARISONS: Final = tuple(c for c in Comparison if c is not Comparison.NOT_SET)
_FEW_STEPS: Final = 200


def wild(seed: int, size: int = 30) -> Program:
    """A program of ``size`` instructions on edge values, registers and eight bytes of stack, with forward branches.

    It ends well more often than not; there are no jumps back, and no more than a few instructions that may trap.
    """
    random = Random(f"wild/{seed}")
    registers = [Register(n) for n in (0, 2, 3, 4, 5, 6, 7, 8, 9)]
    code: list[Instruction | None] = []
    for register in registers:
        word = edge_word(random)
        code += [LoadImmediate64(register, to_signed(word, 32), to_signed(word >> 32, 32)), None]
    code.append(Store(Register.R10, -8, 8, Register.R2))
    code.append(Load(Register.R9, Register.R1, 0, 4))  # the packet, while it is not overwritten
    for remaining in reversed(range(size)):
        dst, src = random.choice(registers), random.choice(registers)
        width = random.choice((32, 64))
        operand: Operand = src if random.random() < 0.6 else Immediate(to_signed(edge_word(random), 32))
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


def single(seed: int) -> Program:
    """A program that returns what one computing instruction makes of two edge values."""
    random = Random(f"single/{seed}")
    code: list[Instruction | None] = []
    for register in (Register.R0, Register.R2):
        word = edge_word(random)
        code += [LoadImmediate64(register, to_signed(word, 32), to_signed(word >> 32, 32)), None]
    width = random.choice((32, 64))
    operand: Operand = Register.R2 if random.random() < 0.6 else Immediate(to_signed(edge_word(random), 32))
    match random.randrange(12):
        case 0:
            code.append(Negate(width, Register.R0))
        case 1:
            code.append(EndianSwap(random.choice(tuple(ByteOrder)), random.choice((16, 32, 64)), Register.R0))
        case 2:
            source = random.choice((8, 16, 32) if width == 64 else (8, 16))
            code.append(MoveSignExtend(width, Register.R0, Register.R2, source))
        case 3:
            code += [
                Branch(random.choice(_COMPARISONS), width, Register.R0, operand, 1),
                Alu(AluOp.MOV, 64, Register.R0, Immediate(1)),
            ]
        case _:
            code.append(Alu(random.choice(tuple(AluOp)), width, Register.R0, operand))
    return Program(f"single_{seed}", "socket", "socket_filter", (*code, Exit()))


def program_of(number: int) -> Program:
    """Program ``number`` of the campaign on our engines."""
    kind, seed = number % 4, number // 4
    return wild(number) if kind < 2 else generated(seed, size=20 + seed % 20, loops=kind == 3)


def inputs_of(program: Program, number: int, count: int, *, cut_off: bool) -> Iterator[Input]:
    """``count`` inputs: packets, contents of maps, and with ``cut_off`` little fuel for the last one."""
    random = Random(f"inputs/{number}")
    given = packets(number, count) if cut_off else frames_for(number, count)
    for index, packet in enumerate(given):
        fuel = random.randrange(_FEW_STEPS) if cut_off and index == count - 1 else FUEL
        yield Input(packet, fuel=fuel, maps={} if cut_off else elements_for(program, random))


@dataclass(slots=True)
class Tally:
    """What a campaign ran and found.

    ``outcomes`` counts how the runs ended on the first engine.  ``compared`` counts the programs that each of the other
    engines ran on all inputs, and ``skipped`` the runs that it did not, with the reason in short.
    """

    programs: int = 0
    runs: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    divergences: list[Divergence] = field(default_factory=list)


def load_generated(program: Program, engines: Sequence[str]) -> dict[str, Loaded]:
    """A generated program on each engine, :data:`PROVED` among them.

    Raises :class:`~prevail_py.vm.engines.EngineError` for a program that is to be proved and is not SAFE, or of which
    no code without checks can be made.
    """
    loaded = load(program, [name for name in engines if name not in PROVED], generated=True)
    if len(loaded) < len(engines):
        from prevail_py.host.gate import facts_of
        from prevail_py.verifier import verify
        from prevail_py.vm.jit.engine import JitEngine

        verdict = verify(program, termination=True)
        facts = facts_of(verdict)
        if facts is None:
            raise EngineError("proved by the solver" if verdict.is_safe else str(verdict.kind))
        for name in PROVED.keys() & set(engines):
            each = JitEngine(PROVED[name]).load(program)
            each.trust(facts)
            if each.proved is None:
                raise EngineError(each.checked_because)
            loaded[name] = each
    return loaded


def campaign(numbers: Sequence[int], inputs: int, engines: Sequence[str], *, stop_at: int = 5) -> Iterator[Tally]:
    """Run the programs with these numbers; the tally after each.  Ends early after ``stop_at`` divergences.

    Where the kernel is one of the engines the programs are others: see :func:`kernel_program_of`.
    """
    tally = Tally()
    with_kernel = "kernel" in engines
    for number in numbers:
        program = kernel_program_of(number) if with_kernel else program_of(number)
        tally.programs += 1
        try:
            loaded = load_generated(program, engines)
        except EngineError as reason:
            tally.refused[_short(str(reason))] += 1
            yield tally
            continue
        ran = Counter[str]()
        for given in inputs_of(program, number, inputs, cut_off=not with_kernel):
            found = compare(program, given, engines, loaded)
            tally.runs += 1
            ran.update(name for name in engines if name not in found.skipped)
            tally.skipped.update(f"{name}: {_short(reason)}" for name, reason in found.skipped.items())
            tally.outcomes[next(iter(found.results.values()), "none").split(" at ")[0].split(" = ")[0]] += 1
            if found.divergence is not None:
                tally.divergences.append(found.divergence)
                break
        tally.compared.update(name for name, count in ran.items() if count == inputs)
        yield tally
        if len(tally.divergences) >= stop_at:
            return


def _short(reason: str) -> str:
    """A reason without the numbers and names that are this program's."""
    reason = reason.split(": ", 1)[-1]
    return re.sub(r"0x[0-9a-f]+|-?\d+", "N", reason)[:60]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign and print what came of it; 1 where engines differ."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.differential", description=__doc__)
    parser.add_argument("--programs", type=int, default=1000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first program")
    parser.add_argument("--inputs", type=int, default=4, metavar="N", help="packets for each program")
    parser.add_argument("--engines", default="interpreter,source", metavar="NAMES")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write what differs there, one file each")
    arguments = parser.parse_args(argv)
    engines = arguments.engines.split(",")
    unknown = [name for name in engines if name not in ENGINES and name not in PROVED]
    if unknown or (PROVED.keys() & set(engines) and not set(engines) <= {*PROVED, "kernel"}):
        parser.error(f"no engine {unknown[0]!r}" if unknown else "proved code is compared with the kernel only")
    began, used, shown = time.monotonic(), time.process_time(), 0.0
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
    for name in engines[1:]:
        print(f"{name}: {tally.compared[name]} programs compared on all inputs")
    for reason, count in tally.refused.most_common(20):
        print(f"  {count:6} programs not run: {reason}")
    for reason, count in tally.skipped.most_common(20):
        print(f"  {count:6} runs not compared with {reason}")
    print(f"{time.monotonic() - began:.1f} s, {time.process_time() - used:.1f} s of CPU time in this process")
    for number, divergence in enumerate(tally.divergences):
        text = text_of(minimise(divergence, loader=load_generated))
        print("\n" + text)
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            (arguments.out / f"divergence-{number}.txt").write_text(text + "\n", encoding="utf-8")
    return 1 if tally.divergences else 0


if __name__ == "__main__":
    sys.exit(main())
