"""A program being written: registers and slots, what is known at the next instruction, random choices.

R6 is the context, R7 the packet where :attr:`Known.packet` says so, R9 whatever a statement needs for itself; the other
registers hold numbers.  The stack: eight words of numbers at the top, then slots for pointers, keys, values, counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Branch,
    Call,
    Immediate,
    Instruction,
    Jump,
    LoadImmediate64,
    Operand,
    Register,
)
from prevail_py.objects.program import MapSpec
from prevail_py.research.choices import Choices
from prevail_py.research.generate.surface import XDP, Surface
from prevail_py.words import Comparison

R0, R1, R2, R3, R4, R5, CTX, PKT, R8, TMP, FP = Register
_POOL: Final = (R0, R1, R2, R3, R4, R5, R8)
NUMBERS: Final = 64
"""Bytes at the top of the stack that hold numbers; below are the slots that follow."""
CONTEXT_SLOT, POINTER_SLOT, KEY_SLOT, VALUE_SLOT, COUNTERS, OBJECT_SLOT = -72, -80, -88, -160, -168, -216

MAPS: Final = (
    MapSpec("array", 2, 4, 64, 4),
    MapSpec("hash", 1, 4, 48, 16),
    MapSpec("percpu", 6, 4, 32, 4),
    MapSpec("constants", 2, 4, 16, 1, initial=bytes(range(3, 19)), read_only=True),
    MapSpec("globals", 2, 4, 32, 1, initial=bytes(32)),
    MapSpec("ring", 27, 0, 0, 4096),
    MapSpec("meters", 1, 8, 24, 8),
)

_CONSTANTS: Final = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 127, 128, 255, 256, 0xFFFF, -1, -2, -8, -128, -256,
                     2**31 - 1, -(2**31), -(2**31) + 1)  # fmt: skip


@dataclass(slots=True)
class Label:
    """A place in the code, known once it is reached."""

    at: int | None = None


@dataclass(slots=True)
class Known:
    """What holds where the next instruction goes: registers with numbers, written bytes (bit k: r10-64+k), pointers."""

    numbers: set[Register]
    written: int = 0
    packet: int | None = None
    spilled_context: bool = False

    def copy(self) -> Known:
        return replace(self, numbers=set(self.numbers))

    def join(self, other: Known) -> None:
        """What holds after either of two paths."""
        self.numbers &= other.numbers
        self.written &= other.written
        if self.packet is not None:
            self.packet = None if other.packet is None else min(self.packet, other.packet)
        self.spilled_context &= other.spilled_context


@dataclass(frozen=True, slots=True)
class Menu:
    """The features that statements are chosen from, with how often each is."""

    names: tuple[str, ...]
    weights: tuple[int, ...]


@dataclass(slots=True)
class Writer:
    """A program being written.

    ``statements`` writes some more of them from the ``menu``, ``reserved`` registers are not to be written, ``out`` is
    where a failed check leads, ``surface`` is what the program type offers.  A ``careless`` programmer is off by a
    little now and then.  ``loops`` says whether subprograms may have any.
    """

    random: Choices
    known: Known
    menu: Menu
    statements: Callable[[Writer, int], None]
    careless: bool
    code: list[Instruction | None] = field(default_factory=list)
    targets: list[tuple[int, Label]] = field(default_factory=list)
    calls: list[tuple[int, str]] = field(default_factory=list)
    out: Label = field(default_factory=Label)
    features: Counter[str] = field(default_factory=Counter)
    reserved: frozenset[Register] = frozenset()
    depth: int = 0
    looping: int = 0
    subprogram: bool = False
    loops: bool = False
    surface: Surface = XDP

    # Instructions ---------------------------------------------------------------------------------------------------

    def emit(self, *instructions: Instruction) -> None:
        for instruction in instructions:
            self.code.append(instruction)
            if isinstance(instruction, LoadImmediate64):
                self.code.append(None)

    def move(self, dst: Register, src: Operand | int) -> None:
        self.emit(
            Alu(AluOp.MOV, 64, dst, Immediate(src) if isinstance(src, int) and not isinstance(src, Register) else src)
        )

    def add(self, dst: Register, amount: int) -> None:
        self.emit(Alu(AluOp.ADD, 64, dst, Immediate(amount)))

    def branch(self, comparison: Comparison, dst: Register, src: Operand, label: Label, width: int = 64) -> None:
        self.targets.append((len(self.code), label))
        self.emit(Branch(comparison, width, dst, src, 0))

    def jump(self, label: Label) -> None:
        self.targets.append((len(self.code), label))
        self.emit(Jump(0))

    def place(self, label: Label) -> None:
        label.at = len(self.code)

    def call(self, helper: int, result: bool = True) -> None:
        self.emit(Call(helper))
        self.known.numbers -= {R1, R2, R3, R4, R5}
        (self.known.numbers.add if result else self.known.numbers.discard)(R0)

    # Choices --------------------------------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def slip(self) -> int:
        """0, or how far a careless programmer is off."""
        return self.random.choice((1, 1, 2, 8)) if self.careless and self.chance(0.12) else 0

    def mistake(self, probability: float = 0.25) -> bool:
        """Whether a careless programmer forgets something here."""
        return self.careless and self.chance(probability)

    def number(self) -> Register:
        """A register that holds a number; one is made if there is none."""
        ready = sorted(self.known.numbers)
        if not ready:
            self.move(R0, self.constant())
            self.known.numbers.add(R0)
            return R0
        return self.random.choice(ready)

    def target(self) -> Register:
        return self.random.choice(_POOL)

    def constant(self) -> int:
        return self.random.choice((*_CONSTANTS, self.random.randrange(-(2**31), 2**31)))

    def operand(self) -> Operand:
        return self.number() if self.chance(0.5) else Immediate(self.constant())

    def size(self) -> int:
        return self.random.choice((1, 2, 4, 8))

    def width(self) -> int:
        return self.random.choice((32, 64))

    def bounded(self, dst: Register, last: int) -> None:
        """Put a number of ``0..last`` (or one more, by a slip) into ``dst``, one of the ways compilers bound one."""
        source, last = self.number(), max(last + self.slip(), 0)
        self.move(dst, source)
        match self.random.randrange(7):
            case 0 | 1:
                bits = max((last + 1).bit_length() - 1, 0)
                self.emit(Alu(AluOp.AND, self.width(), dst, Immediate((1 << bits) - 1)))
            case 2:
                self.emit(Alu(AluOp.MOD, self.width(), dst, Immediate(last + 1)))
            case 3:
                bits = max((last + 1).bit_length() - 1, 0)
                width = self.width()
                self.emit(Alu(AluOp.RSH, width, dst, Immediate(min(width - bits, width - 1))))
                if bits == 0:
                    self.move(dst, 0)
            case 4:
                self.branch(Comparison.UGT, dst, Immediate(last), self.out)
            case 5:
                # A check of the low half, after which the upper half is cleared (by a careful programmer).
                self.branch(Comparison.UGT, dst, Immediate(last), self.out, 32)
                if not self.slip():
                    self.emit(Alu(AluOp.MOV, 32, dst, dst))
            case _:
                self.branch(Comparison.SGT, dst, Immediate(last), self.out)
                if not self.slip():
                    self.branch(Comparison.SLT, dst, Immediate(0), self.out)

    def initialised(self, size: int) -> int | None:
        """The offset from R10 of ``size`` written bytes, if there are any."""
        whole = (1 << size) - 1
        found = [at for at in range(0, NUMBERS - size + 1, size) if self.known.written >> at & whole == whole]
        return self.random.choice(found) - NUMBERS if found else None

    def wrote(self, offset: int, size: int) -> None:
        self.known.written |= ((1 << size) - 1) << offset + NUMBERS
