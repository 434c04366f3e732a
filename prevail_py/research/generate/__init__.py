"""Random programs, most of them safe, to look for holes in the verifier.

:func:`program` writes one by seed: a sequence of statements, each from a generator for one feature (arithmetic, stack,
packets, maps, calls, ...), which knows just enough of what it has written (which registers hold numbers, which bytes of
the stack are written) to be safe most of the time.  Bounds are put close to what is needed, and now and then one too
far: interesting is what the verifier calls SAFE, and whether it is (:mod:`prevail_py.research.soundness`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final, TypeAlias

from prevail_py.isa.instructions import (
    Alu,
    Atomic,
    Branch,
    CallLocal,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Jump,
    Load,
    LoadAcquire,
    LoadImmediate64,
    MoveSignExtend,
    Negate,
    Register,
    Store,
)
from prevail_py.objects.program import Program
from prevail_py.research.generate import functions, statements
from prevail_py.research.generate.writer import CTX, FP, MAPS, PKT, R0, R1, R2, R4, R5, R8, Known, Writer

__all__ = ["FEATURES", "LOOP_FEATURES", "MAPS", "features_of", "program"]


_Statement: TypeAlias = Callable[[Writer], None]

_STATEMENTS: Final[dict[str, tuple[_Statement, int]]] = {
    "arithmetic": (statements.alu, 30),
    "unary": (statements.unary, 6),
    "wide constant": (statements.wide, 2),
    "branch": (statements.conditional, 12),
    "status code": (statements.status, 2),
    "stack store": (statements.store_stack, 8),
    "stack load": (statements.load_stack, 10),
    "variable stack offset": (statements.variable_stack, 5),
    "atomic on the stack": (statements.atomic_stack, 3),
    "spilled context": (statements.spill, 3),
    "packet": (statements.use_packet, 10),
    "variable packet offset": (statements.variable_packet, 5),
    "packet length": (statements.packet_length, 2),
    "packet metadata": (statements.metadata, 1),
    "moved packet": (statements.move_packet, 1),
    "map lookup": (statements.lookup, 4),
    "map update": (statements.update, 2),
    "global data": (statements.global_data, 3),
    "helper": (statements.helper, 3),
    "variable size": (statements.checksum, 2),
    "ring buffer": (statements.ring, 1),
    "call with numbers": (functions.call_numbers, 2),
    "call with memory": (functions.call_memory, 2),
}
"""What programs are made of, with how often each is chosen."""

FEATURES: Final = frozenset(_STATEMENTS)
LOOP_FEATURES: Final = frozenset(
    {"loop: up", "loop: up !=", "loop: down", "loop: down !=", "loop: while", "loop: packet", "loop: 32 bits",
     "loop: 64 bits", "loop: nested", "loop: step 1", "loop: step > 1"}
)  # fmt: skip
"""The names of all features that programs are counted by."""

_NAMES: Final = tuple(_STATEMENTS)
_WEIGHTS: Final = tuple(weight for _, weight in _STATEMENTS.values())
_CALLS: Final = frozenset({"call with numbers", "call with memory"})


def _statements(w: Writer, count: int) -> None:
    w.depth += 1
    for _ in range(count):
        name = w.random.choices(_NAMES, _WEIGHTS)[0]
        if (name == "branch" and w.depth > 3) or (name in _CALLS and w.subprogram):
            name = "arithmetic"
        _statement(w, name)
    w.depth -= 1


def _statement(w: Writer, name: str) -> None:
    """A statement that leaves reserved registers alone: others are tried until one does."""
    for _ in range(20):
        start, targets, calls = len(w.code), len(w.targets), len(w.calls)
        known, features = w.known.copy(), w.features.copy()
        w.features[name] += 1
        _STATEMENTS[name][0](w)
        if not any(_written(instruction) in w.reserved for instruction in w.code[start:]):
            return
        del w.code[start:], w.targets[targets:], w.calls[calls:]
        w.known, w.features, name = known, features, "arithmetic"


def _written(instruction: Instruction | None) -> Register | None:
    match instruction:
        case Alu(dst=dst) | MoveSignExtend(dst=dst) | Negate(dst=dst) | EndianSwap(dst=dst):
            return dst
        case Load(dst=dst) | LoadAcquire(dst=dst) | LoadImmediate64(dst=dst):
            return dst
        case Atomic(fetch=True, src=src):
            return src
        case _:
            return None


def _write(seed: int, size: int, loops: bool) -> tuple[Program, Counter[str]]:
    random = Random(f"{seed}/{size}/{loops}")
    w = Writer(random, Known(set()), _statements, careless=random.random() < 0.5)
    w.move(CTX, R1)
    for offset in range(-16, 0, 8):
        w.emit(Store(FP, offset, 8, Immediate(w.constant())))
        w.wrote(offset, 8)
    w.call(7)
    w.move(R8, R0)
    w.known.numbers.add(R8)
    if w.chance(0.8):
        statements.check_packet(w)
        for register in random.sample((R1, R2, R4, R5), 3):
            size_read = w.random.choice((1, 2, 4))
            w.emit(Load(register, PKT, random.randrange((w.known.packet or 4) - size_read + 1), size_read))
            w.known.numbers.add(register)
    left = size
    while left > 0:
        part = min(left, random.randrange(1, 8))
        w.statements(w, part)
        left -= part
        if loops and w.chance(0.5):
            functions.loop(w)
    if R0 not in w.known.numbers or w.chance(0.5):
        w.move(R0, random.randrange(5))
    w.emit(Exit())
    w.place(w.out)
    w.move(R0, 1)
    w.emit(Exit())
    for position, offset in _link(w, random, size):
        w.code[position] = CallLocal(offset)
    for position, label in w.targets:
        jump = w.code[position]
        assert label.at is not None, "a label that is not placed"
        assert isinstance(jump, Branch | Jump)
        w.code[position] = replace(jump, offset=label.at - position - 1)
    return Program(f"random_{seed}", "xdp", "xdp", tuple(w.code), MAPS), w.features


def _link(w: Writer, random: Random, size: int) -> list[tuple[int, int]]:
    """Write the subprograms that are called, behind the main program: (slot of a call, its offset) of each call."""
    starts: dict[str, int] = {}
    for _, name in list(w.calls):
        if name not in starts:
            starts[name] = len(w.code)
            functions.write_subprogram(w, name, random.randrange(1, max(size // 4, 2)))
    return [(position, starts[name] - position - 1) for position, name in w.calls]


def program(seed: int, size: int = 30, loops: bool = False) -> Program:
    """The program with this seed, of ``size`` statements in its main function; with ``loops``, bounded loops too."""
    return _write(seed, size, loops)[0]


def features_of(seed: int, size: int = 30, loops: bool = False) -> Counter[str]:
    """How often each feature occurs in :func:`program` of the same arguments."""
    return _write(seed, size, loops)[1]
