"""Mistakes of interpreters: what instructions do, in the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from prevail_py.isa.instructions import Atomic, AtomicOp, Register
from prevail_py.research.museum.exhibit import Exhibit, Part
from prevail_py.research.museum.switch import Switch
from prevail_py.vm import effects
from prevail_py.vm.machine import Machine
from prevail_py.words import IntAlgebra, OpKind, WordOp, evaluate, mask, to_signed

__all__ = ["EXHIBITS"]

_Evaluate = Callable[[Any, WordOp, tuple[Any, ...]], Any]


def _unmasked_arithmetic_shift(switch: Switch) -> None:
    def ashr(self: IntAlgebra, a: int, b: int, width: int) -> int:
        return to_signed(a, width) >> min(b, width) & mask(width)

    switch.attribute(IntAlgebra, "ashr", ashr)


def _evaluating(switch: Switch, change: Callable[[WordOp, tuple[Any, ...], Any], Any]) -> None:
    """``change`` gets an operation, its operands and its right result."""

    def evaluate_(algebra: Any, op: WordOp, args: tuple[Any, ...]) -> Any:
        return change(op, args, evaluate(algebra, op, args))

    switch.attribute(effects, "evaluate", evaluate_)


def _wide_left_shift(switch: Switch) -> None:
    def change(op: WordOp, args: tuple[int, ...], right: int) -> int:
        if op.kind is OpKind.LSH and op.width == 32:
            return args[0] << (args[1] & 31) & mask(64)
        return right

    _evaluating(switch, change)


def _immediates_without_sign(switch: Switch) -> None:
    original = effects._source

    def source(machine: Machine, operand: Any) -> Any:
        word, provenance = original(machine, operand)
        return (word if isinstance(operand, Register) else word & mask(32)), provenance

    switch.attribute(effects, "_source", source)


def _short_results_with_sign(switch: Switch) -> None:
    def change(op: WordOp, args: tuple[int, ...], right: int) -> int:
        if op.width == 32 and op.kind in (OpKind.ADD, OpKind.SUB, OpKind.MUL):
            return to_signed(right, 32) & mask(64)
        return right

    _evaluating(switch, change)


def _remainder_by_zero_keeps_the_word(switch: Switch) -> None:
    def change(op: WordOp, args: tuple[int, ...], right: int) -> int:
        if op.kind is OpKind.UMOD and op.width == 32 and not args[1] & mask(32):
            return args[0]
        return right

    _evaluating(switch, change)


def _quotient_that_overflows(switch: Switch) -> None:
    original = IntAlgebra.sdiv

    def sdiv(self: IntAlgebra, a: int, b: int, width: int) -> int:
        least, minus_one = 1 << width - 1, mask(width)
        return least - 1 if (a, b) == (least, minus_one) else original(self, a, b, width)

    switch.attribute(IntAlgebra, "sdiv", sdiv)


def _exchange_leaves_the_upper_half(switch: Switch) -> None:
    original = effects._atomic

    def atomic(machine: Machine, instruction: Atomic, word_op: WordOp | None) -> None:
        before = machine.registers[0]
        original(machine, instruction, word_op)
        swapped = instruction.op is AtomicOp.CMPXCHG and instruction.size == 4
        if swapped and before is not None and machine.registers[0] == before & mask(32):
            machine.write(Register.R0, before)

    switch.attribute(effects, "_atomic", atomic)


def _move_of_32_bits_moves_64(switch: Switch) -> None:
    def change(op: WordOp, args: tuple[int, ...], right: int) -> int:
        return args[0] if op == WordOp(OpKind.ZEXT, 32) else right

    _evaluating(switch, change)


def _fetch_into_r0_is_lost(switch: Switch) -> None:
    original = effects._atomic

    def atomic(machine: Machine, instruction: Atomic, word_op: WordOp | None) -> None:
        lost = instruction.src == Register.R0 and instruction.op is not AtomicOp.CMPXCHG
        original(machine, replace(instruction, fetch=False) if lost else instruction, word_op)

    switch.attribute(effects, "_atomic", atomic)


def _exhibit(name: str, summary: str, source: str, plant: Callable[[Switch], None]) -> Exhibit:
    return Exhibit(name, Part.SEMANTICS, summary, source, plant)


EXHIBITS: Final[tuple[Exhibit, ...]] = (
    _exhibit(
        "unmasked ARSH",
        "the amount of an arithmetic shift is not reduced to the width",
        "iovisor/ubpf#411, qmonnet/rbpf#101",
        _unmasked_arithmetic_shift,
    ),
    _exhibit(
        "LSH of 32 bits",
        "a 32-bit shift to the left leaves what it shifts out of the lower half",
        "iovisor/ubpf#255",
        _wide_left_shift,
    ),
    _exhibit(
        "immediates in jumps",
        "immediates are compared without their sign extended",
        "iovisor/ubpf#444",
        _immediates_without_sign,
    ),
    _exhibit(
        "sign of 32-bit results",
        "results of 32-bit arithmetic are extended with their sign",
        "blueshift-gg/sbpf#136",
        _short_results_with_sign,
    ),
    _exhibit(
        "remainder by zero",
        "a 32-bit remainder by zero leaves the upper half, in the machine",
        "CVE-2021-3444; Linux 9b00f1b78809 bpf: Fix truncation handling for mod32 dst reg wrt zero",
        _remainder_by_zero_keeps_the_word,
    ),
    _exhibit(
        "quotient that overflows",
        "the least number divided by -1 is not the least number",
        "CVE-2024-49888 bpf: Fix a sdiv overflow issue",
        _quotient_that_overflows,
    ),
    _exhibit(
        "upper half of an exchange",
        "a 32-bit compare-and-exchange that succeeds does not clear the upper half of R0",
        "Linux 39491867ace5 bpf: Explicitly zero-extend R0 after 32-bit cmpxchg",
        _exchange_leaves_the_upper_half,
    ),
    _exhibit(
        "move of 32 bits",
        "a 32-bit move copies the whole register",
        "solana-labs/rbpf#124 (there in the JIT)",
        _move_of_32_bits_moves_64,
    ),
    _exhibit(
        "fetch into R0",
        "an atomic operation that fetches into R0 leaves R0 as it was",
        "iovisor/ubpf#546 (there in the JIT)",
        _fetch_into_r0_is_lost,
    ),
)
