"""Hypothesis strategies for words, instructions, programs, packets, abstract values and objects (``test`` extra).

:func:`instructions` draws from everything that can be encoded, kind by kind, with edge values favoured: what it returns
is what :func:`prevail_py.isa.decode.decode` can return.  Where jumps lead is left to chance.

:func:`programs` draws from the grammar that fast campaigns use, too (:mod:`prevail_py.research.generate`); all choices
are Hypothesis's, so that it shrinks them: fewer statements, simpler ones, smaller constants (``docs/fuzzing.md``).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from hypothesis import strategies as st

from prevail_py.domains import WORDS
from prevail_py.isa.encode import encode
from prevail_py.isa.flow import function_address, target
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
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
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.opcodes import ATOMIC_CODES, SINGLE_IMMEDIATE
from prevail_py.objects.program import Program
from prevail_py.research.choices import Chooser
from prevail_py.research.elf_writer import BtfWriter, ElfWriter
from prevail_py.research.fuzz.mutation import damaged
from prevail_py.research.generate import PROGRAM_TYPES, Shape, write
from prevail_py.research.packets import packet
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate

__all__ = [
    "abstract_values",
    "edges",
    "immediates",
    "instructions",
    "nearly_valid_programs",
    "objects",
    "offsets",
    "packets",
    "programs",
    "registers",
    "words",
]


def edges(bits: int) -> tuple[int, ...]:
    """The unsigned values of ``bits`` bits around which arithmetic goes wrong."""
    top, half = 1 << bits, 1 << bits - 1
    return (0, 1, 2, half - 1, half, half + 1, top - 2, top - 1)


def words() -> st.SearchStrategy[int]:
    """Unsigned 64-bit words, with the edges of 8, 16, 32 and 64 bits and of their sign extensions favoured."""
    near = {edge for bits in (8, 16, 32, 64) for edge in edges(bits)}
    extended = {(edge - (1 << bits)) & (1 << 64) - 1 for bits in (8, 16, 32) for edge in edges(bits)[4:]}
    return st.sampled_from(sorted(near | extended)) | st.integers(0, (1 << 64) - 1)


def registers() -> st.SearchStrategy[Register]:
    """Any register."""
    return st.sampled_from(list(Register))


def _signed(bits: int) -> st.SearchStrategy[int]:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return st.sampled_from((low, -1, 0, 1, high)) | st.integers(low, high)


def offsets() -> st.SearchStrategy[int]:
    """What fits into the offset field."""
    return _signed(16)


def immediates() -> st.SearchStrategy[int]:
    """What fits into the immediate field."""
    return _signed(32)


def instructions() -> st.SearchStrategy[Instruction]:
    """Any instruction that has an encoding."""
    reg, off, imm = registers(), offsets(), immediates()
    operand: st.SearchStrategy[Operand] = reg | imm.map(Immediate)
    width, size = st.sampled_from((32, 64)), st.sampled_from((1, 2, 4, 8))
    comparison = st.sampled_from([c for c in Comparison if c is not Comparison.NOT_SET])
    space = st.integers(0, 0xFFFF)
    extension = st.sampled_from(((32, 8), (32, 16), (64, 8), (64, 16), (64, 32)))
    pseudo = st.sampled_from(Pseudo)
    return st.one_of(
        st.builds(Alu, st.sampled_from(AluOp), width, reg, operand),
        st.builds(lambda w, dst, src: MoveSignExtend(w[0], dst, src, w[1]), extension, reg, reg),
        st.builds(Negate, width, reg),
        st.builds(EndianSwap, st.sampled_from(ByteOrder), st.sampled_from((16, 32, 64)), reg),
        st.builds(AddressSpaceCast, reg, reg, space, space),
        st.builds(lambda p, dst, lo, hi: LoadImmediate64(dst, lo, 0 if p in SINGLE_IMMEDIATE else hi, p),
                  pseudo, reg, imm, imm),
        st.builds(Load, reg, reg, off, size),
        st.builds(Load, reg, reg, off, st.sampled_from((1, 2, 4)), st.just(True)),
        st.builds(Store, reg, off, size, operand),
        st.builds(lambda o, s, b, f, r: Atomic(o[0], o[1], s, b, f, r),
                  st.sampled_from(sorted(ATOMIC_CODES.values(), key=repr)), st.sampled_from((4, 8)), reg, off, reg),
        st.builds(LoadAcquire, reg, reg, off, size),
        st.builds(StoreRelease, reg, off, size, reg),
        st.builds(LoadPacket, st.sampled_from((1, 2, 4)), imm, st.none() | reg),
        st.builds(Jump, off),
        st.builds(Jump, imm, st.just(True)),
        st.builds(Branch, comparison, width, reg, operand, off),
        st.builds(Call, imm),
        st.builds(CallLocal, imm),
        st.builds(CallKfunc, imm, off),
        st.builds(CallRegister, reg),
        st.just(Exit()),
        st.builds(MayGoto, off),
    )  # fmt: skip


# Programs ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _below(n: int) -> st.SearchStrategy[int]:
    return st.integers(0, n - 1)


def _chooser(draw: st.DrawFn) -> Chooser:
    """Hypothesis as what a generator takes its choices from: the first of each is what it shrinks to."""
    return Chooser(lambda n: draw(_below(n)) if n > 1 else 0)


@st.composite
def _shapes(
    draw: st.DrawFn,
    program_type: str | Collection[str] | None,
    size: int,
    loops: bool,
    helpers: bool | Collection[str],
    maps: bool,
) -> Shape:
    if program_type is None:
        program_type = PROGRAM_TYPES
    types = [program_type] if isinstance(program_type, str) else list(program_type)
    kind = draw(st.sampled_from(types)) if len(types) > 1 else types[0]
    allowed = helpers if isinstance(helpers, bool) else frozenset(helpers)
    return Shape(kind, size, loops, allowed, maps)


def programs(
    program_type: str | Collection[str] | None = "xdp",
    size: int = 8,
    loops: bool = False,
    helpers: bool | Collection[str] = True,
    maps: bool = True,
) -> st.SearchStrategy[Program]:
    """Programs that respect the rules of types, nearly all of them SAFE.

    ``program_type`` is one of :data:`prevail_py.research.generate.PROGRAM_TYPES`, several of them, or None for all;
    ``size`` the most statements of the main function (one is up to ten instructions).  ``loops`` says whether jumps
    lead back, ``maps`` whether there are maps, ``helpers`` whether helpers are called, or the names of those that may
    be called (``bpf_ktime_get_ns``).  Raises ValueError for a program type of which none are made.
    """
    for name in [program_type] if isinstance(program_type, str) else program_type or ():
        if name not in PROGRAM_TYPES:
            raise ValueError(f"no programs of type {name!r} (there are: {', '.join(PROGRAM_TYPES)})")
    return _programs(_shapes(program_type, size, loops, helpers, maps))


@st.composite
def _programs(draw: st.DrawFn, shapes: st.SearchStrategy[Shape]) -> Program:
    return write(_chooser(draw), draw(shapes))


@st.composite
def nearly_valid_programs(
    draw: st.DrawFn,
    program_type: str | Collection[str] | None = "xdp",
    size: int = 8,
    loops: bool = False,
    helpers: bool | Collection[str] = True,
    maps: bool = True,
) -> Program:
    """:func:`programs` with one to three instructions changed, left out or doubled: they break rules, a little."""
    program = draw(programs(program_type, size, loops, helpers, maps))
    return damaged(_chooser(draw), program, draw(st.integers(1, 3)))


def packets() -> st.SearchStrategy[bytes]:
    """Frames, mostly well-formed and wrong in many small ways (:mod:`prevail_py.research.packets`)."""
    return _packets()


@st.composite
def _packets(draw: st.DrawFn) -> bytes:
    return packet(_chooser(draw))


# Abstract values -----------------------------------------------------------------------------------------------------

_ORDERS: Final = tuple(each for each in Comparison if each not in (Comparison.SET, Comparison.NOT_SET))

_STEPS: Final = (
    *(WordOp(kind, width) for kind in OpKind if kind.arity == 2 for width in (64, 32)),
    *(WordOp(OpKind.NEG, width) for width in (64, 32)),
    *(WordOp(OpKind.ZEXT, width) for width in (8, 16, 32)),
    *(WordOp(OpKind.SEXT, 64, source) for source in (8, 16, 32)),
)


@st.composite
def abstract_values(draw: st.DrawFn, domain: str | type[Any] = "interval") -> tuple[Any, int]:
    """A value of a word domain, and one of the words that it stands for (unsigned, 64 bits).

    ``domain`` is the name of one (:data:`prevail_py.domains.WORDS`) or the class.  The value is what the domain's own
    operations make of constants and ranges, so anything that analyses may meet.  Raises ValueError for another name.
    """
    if isinstance(domain, str):
        if domain not in WORDS:
            raise ValueError(f"no word domain {domain!r} (there are: {', '.join(sorted(WORDS))})")
        domain = WORDS[domain]
    word = draw(words())
    value: Any = domain.constant(word)
    for _ in range(draw(st.integers(0, 4))):
        match draw(st.integers(0, 3)):
            case 0:
                value = value.join(domain.constant(draw(words())))
            case 1:
                lo, hi = sorted((draw(words()), draw(words())))
                value = value.join(domain.between(lo, hi))
            case 2:
                op, other = draw(st.sampled_from(_STEPS)), draw(words())
                others = [other] if op.kind.arity == 2 else []
                value = value.apply(op, *map(domain.constant, others))
                word = evaluate(INT, op, (word, *others))
            case _:
                comparison, other = draw(st.sampled_from(_ORDERS)), draw(words())
                held = compare(INT, comparison, word, other, 64)
                value = value.restrict(comparison if held else comparison.negation, domain.constant(other))[0]
    return value, word


# Objects -------------------------------------------------------------------------------------------------------------


@st.composite
def objects(draw: st.DrawFn, program_type: str | Collection[str] | None = None, size: int = 4) -> bytes:
    """Object files with one to three programs, their maps and global data, as clang and libbpf lay them out."""
    made = draw(st.lists(programs(program_type, size), min_size=1, max_size=3))
    return object_of(made)


def object_of(made: Collection[Program]) -> bytes:
    """An object file with these programs, which share maps of the same name."""
    elf, btf = ElfWriter(), BtfWriter()
    known = {spec.name: spec for program in made for spec in program.maps}
    defined = [spec for spec in known.values() if spec.initial is None]
    symbols: dict[str, int] = {}
    places = elf.section(".maps", bytes(32 * len(defined))) if defined else 0
    for number, spec in enumerate(defined):
        symbols[spec.name] = elf.symbol(spec.name.replace(" ", "_"), places, 32 * number, 32)
    for spec in known.values():
        if spec.initial is not None:
            data = elf.section((".rodata" if spec.read_only else ".data") + f".{spec.name}", spec.initial)
            symbols[spec.name] = elf.symbol(f"{spec.name}_data", data, 0, len(spec.initial))
    for number, program in enumerate(made):
        code = [_unlinked(instruction) for instruction in program.code]
        text = elf.code(program.section, encode(code))
        calls = {target(pc, i) for pc, i in enumerate(program.code) if isinstance(i, CallLocal)}
        calls |= {
            function_address(pc, i)
            for pc, i in enumerate(program.code)
            if isinstance(i, LoadImmediate64) and i.pseudo is Pseudo.FUNCTION
        }
        starts = [0, *sorted(calls), len(code)]
        for start, end in pairwise(starts):
            name = f"main_{number}" if start == 0 else f"function_{number}_{start}"
            elf.function(name, text, 8 * start, 8 * (end - start), binding=int(start == 0))
        for pc, instruction in enumerate(program.code):
            if isinstance(instruction, LoadImmediate64) and instruction.pseudo in _OF_MAPS:
                elf.relocate(text, 8 * pc, symbols[program.maps[instruction.low].name], 1)
    elf.section("license", b"GPL\0")
    if defined:
        variables = [
            btf.map(
                spec.name.replace(" ", "_"),
                type=spec.type,
                **({"key_size": spec.key_size, "value_size": spec.value_size} if spec.key_size else {}),
                max_entries=spec.max_entries,
            )
            for spec in defined
        ]
        btf.datasec(".maps", variables)
        elf.section(".BTF", btf.build())
    return elf.build()


_OF_MAPS: Final = (Pseudo.MAP_INDEX, Pseudo.MAP_INDEX_VALUE)


def _unlinked(instruction: Instruction | None) -> Instruction | None:
    if isinstance(instruction, LoadImmediate64) and instruction.pseudo in _OF_MAPS:
        return LoadImmediate64(instruction.dst, instruction.high, 0)
    return instruction
