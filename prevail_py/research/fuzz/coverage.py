"""Which branches of the abstract interpreter a verification took: the feedback that guides a campaign.

A branch here is not a line of the verifier but what the verifier distinguishes: an instruction with the *shapes* of its
operands (:func:`shape`: which kind of pointer, to the start, behind it or at some offset, maybe null or not; how large
a number may be and whether its sign is known) and whether it was decided at a glance; an edge with the shapes that were
compared and whether it was feasible; a join with what came of it.  :func:`observed` collects them by wrapping what the
fixpoint is made of, so that nothing is paid for it elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, TypeAlias

from prevail_py.cfg.graph import FunctionGraph
from prevail_py.domains.lattice import NO_SYMBOL, Facts, Term
from prevail_py.isa.instructions import (
    Alu,
    Atomic,
    Branch,
    Call,
    EndianSwap,
    Immediate,
    Instruction,
    Load,
    MoveSignExtend,
    Register,
    Store,
)
from prevail_py.verifier import blocks
from prevail_py.verifier.functions import Function, Prepared, Step, Way
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import State
from prevail_py.verifier.values import NEVER_NULL, ZERO, Pointer, Special, Value

__all__ = ["Feature", "number", "observed", "shape"]

Feature: TypeAlias = tuple[object, ...]
"""One branch that was taken, as data."""

_LAST: Final = (1 << 64) - 1


def shape(value: Value, facts: Facts) -> object:
    """What the operators of the domains make a difference by, roughly."""
    if isinstance(value, Special):
        return value.name
    if isinstance(value, Pointer):
        null = "" if value.base == NEVER_NULL else "?" if facts.range(value.base).lo == 0 else "!"
        place = "+" if value.offset.symbol != NO_SYMBOL else "" if value.offset == ZERO else "."
        return value.region.kind.name + null + place
    return _number(value, facts)


def _number(term: Term, facts: Facts) -> tuple[int, ...]:
    """How many bytes the unsigned and signed ends take, as far as they are not those of any word."""
    if term.symbol == NO_SYMBOL:
        word = term.offset
        return (-1, _size(word)) if word <= _LAST // 2 else (-2, _size(_LAST - word))
    unsigned, signed = facts.range(term), facts.range(term, signed=True)
    exact = term.offset != 0
    return (_size(unsigned.lo), _size(unsigned.hi), _size(signed.lo), _size(signed.hi), exact)


def _size(bound: int) -> int:
    """0, 1, or a number that grows with the bytes of a bound; negative for negative ones."""
    size = bound if 0 <= bound < 2 else 2 + (abs(bound).bit_length() + 7) // 8
    return -size if bound < 0 else size


@lru_cache(maxsize=1 << 16)
def number(feature: Feature) -> int:
    """The feature in 32 bits, the same in every process.  Two of some ten thousand may share one: that costs little."""
    return int.from_bytes(hashlib.blake2b(repr(feature).encode(), digest_size=4).digest())


@contextmanager
def observed(seen: set[Feature]) -> Iterator[None]:
    """Collect in ``seen`` what is taken by verifications in this process meanwhile; not for several threads."""

    class Watched(Function):
        """A function of the program, whose blocks are made ready to be watched."""

        __slots__ = ()

        def _ready(self, block: Any) -> Prepared:
            made = super()._ready(block)
            last = self._setting.program.code[block.last]
            return made._replace(
                steps=tuple(_watched(step, seen) for step in made.steps),
                ways=tuple(_watched_way(way, last, index, seen) for index, way in enumerate(made.ways)),
            )

    def prepare(setting: Setting, graph: FunctionGraph) -> Function:
        return Watched(setting, graph)

    def add_state(kept: list[State], new: State, disjuncts: int, *others: Any) -> bool:
        before = len(kept)
        added: bool = original_add(kept, new, disjuncts, *others)
        if before:
            how = others[1].name if len(others) > 1 else "JOIN"
            seen.add(("join", how, disjuncts, min(before, 4), added, len(kept) > before))
        return added

    names = vars(blocks)
    originals = {name: names[name] for name in ("prepare", "add_state")}
    original_add = originals["add_state"]
    names.update(prepare=prepare, add_state=add_state)
    try:
        yield
    finally:
        names.update(originals)


def _watched(step: Step, seen: set[Feature]) -> Step:
    operands = _operands(step.instruction)
    if operands is None:
        return step
    name, registers = operands
    attempt = step.attempt

    def watch(state: State) -> bool:
        held = state.registers
        shapes = [shape(held[register], state.facts) for register in registers]
        done = attempt is not None and attempt(state)
        seen.add((*name, *shapes, done))
        return done

    step.attempt = watch
    return step


def _watched_way(way: Way, last: Instruction | None, index: int, seen: set[Feature]) -> Way:
    condition = way.condition
    if condition is None or not isinstance(last, Branch):
        return way
    name = (*_name(last), index)
    registers = _registers(last)

    def watch(state: State) -> bool:
        shapes = [shape(state.registers[register], state.facts) for register in registers]
        feasible = condition(state)
        seen.add((*name, *shapes, feasible))
        return feasible

    return way._replace(condition=watch)


def _operands(instruction: Instruction) -> tuple[Feature, Sequence[int]] | None:
    found = _registers(instruction)
    return (_name(instruction), found) if found else None


def _registers(instruction: Instruction) -> list[int]:
    """The registers whose values an instruction depends on."""
    match instruction:
        case Alu(dst=dst, src=src) | Branch(dst=dst, src=src):
            return [dst, src] if isinstance(src, Register) else [dst]
        case Load(base=base):
            return [base]
        case Store(base=base, src=src):
            return [base, src] if isinstance(src, Register) else [base]
        case Atomic(base=base, src=src):
            return [base, src]
        case MoveSignExtend(src=src):
            return [src]
        case EndianSwap(dst=dst):
            return [dst]
        case Call():
            return [1, 2, 3]
        case _:
            return []


def _name(instruction: Instruction) -> Feature:
    """An instruction without its registers, and with the size of its constant in place of it."""
    match instruction:
        case Alu(op, width, _, src):
            return ("alu", op.name, width, _constant(src))
        case Branch(comparison, width, _, src):
            return ("branch", comparison.name, width, _constant(src))
        case Load(size=size, signed=signed):
            return ("load", size, signed)
        case Store(size=size, src=src):
            return ("store", size, _constant(src))
        case Atomic(op=op, fetch=fetch, size=size):
            return ("atomic", op.name, fetch, size)
        case MoveSignExtend(width=width, source_bits=source):
            return ("extend", width, source)
        case EndianSwap(order=order, bits=width):
            return ("swap", order.name, width)
        case Call(helper):
            return ("call", helper)
        case _:
            return (type(instruction).__name__,)


def _constant(operand: Any) -> int | None:
    return _size(operand.value) if isinstance(operand, Immediate) else None
