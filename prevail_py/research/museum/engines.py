"""Mistakes of compilers from eBPF to native code, in the checked code of the LLVM engine or in generated source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from prevail_py.isa.flow import successors
from prevail_py.isa.instructions import Alu, AluOp, Atomic, AtomicOp, Register
from prevail_py.research.museum.exhibit import Exhibit, Part
from prevail_py.research.museum.switch import Switch
from prevail_py.words import Comparison, OpKind, WordOp, evaluate

__all__ = ["EXHIBITS"]

_FAR: Final = 8
_SIGNED_LOW: Final = {
    Comparison.SLT: (Comparison.SLT, Comparison.SLT), Comparison.SLE: (Comparison.SLT, Comparison.SLE),
    Comparison.SGT: (Comparison.SGT, Comparison.SGT), Comparison.SGE: (Comparison.SGT, Comparison.SGE),
}  # fmt: skip


def _computing(switch: Switch, change: Callable[[WordOp], WordOp | None]) -> None:
    """Compile operations as others; None for a copy of the first operand."""
    from prevail_py.vm.jit import arithmetic

    def evaluate_(algebra: Any, op: WordOp, args: tuple[Any, ...]) -> Any:
        other = change(op)
        return args[0] if other is None else evaluate(algebra, other, args)

    switch.attribute(arithmetic, "evaluate", evaluate_)


def _upper_half_of_bitwise(switch: Switch) -> None:
    bitwise = (OpKind.AND, OpKind.OR, OpKind.XOR)
    _computing(switch, lambda op: replace(op, width=64) if op.kind in bitwise else op)


def _move_of_32_bits(switch: Switch) -> None:
    _computing(switch, lambda op: None if op == WordOp(OpKind.ZEXT, 32) else op)


def _shift_by_zero(switch: Switch) -> None:
    from prevail_py.vm.jit.algebra import LlvmAlgebra

    original = LlvmAlgebra._amount

    def amount(self: LlvmAlgebra, b: Any, width: int) -> Any:
        masked = original(self, b, width)
        return self._builder.select(self._is_zero(masked, width), self.const(width // 2, width), masked)

    switch.attribute(LlvmAlgebra, "_amount", amount)


def _shift_clobbers_r3(switch: Switch) -> None:
    from prevail_py.vm.jit import arithmetic
    from prevail_py.vm.jit.emitter import constant
    from prevail_py.vm.jit.layout import NUMBER

    original = arithmetic.compute

    def compute(e: Any, at: Any, instruction: Any) -> None:
        original(e, at, instruction)
        shifts = isinstance(instruction, Alu) and instruction.op in (AluOp.LSH, AluOp.RSH, AluOp.ARSH)
        if shifts and isinstance(instruction.src, Register) and instruction.dst != Register.R3:
            e.set(Register.R3, e.word(instruction.src), constant(NUMBER))

    switch.attribute(arithmetic, "compute", compute)


def _byte_of_another_register(switch: Switch) -> None:
    from prevail_py.vm.jit import access
    from prevail_py.vm.jit.emitter import constant

    write, store = access._write, access.store
    swapped = [False]

    def wrong(e: Any, at: Any, fact: Any, offset: int, place: Any, size: int, word: Any) -> None:
        write(e, at, fact, offset, place, size, e.builder.lshr(word, constant(8)) if swapped[0] else word)

    def store_(e: Any, at: Any, base: Register, offset: int, size: int, src: Any) -> None:
        swapped[0] = size == 1 and src in (Register.R1, Register.R2)
        store(e, at, base, offset, size, src)
        swapped[0] = False

    switch.attribute(access, "_write", wrong)
    switch.attribute(access, "store", store_)


def _displacement(switch: Switch) -> None:
    from prevail_py.vm.jit import lower

    def near(code: Sequence[Any], pc: int) -> tuple[int, ...]:
        fall_through, *jumps = successors(code, pc)
        return (fall_through, *(fall_through if abs(jump - pc) > _FAR else jump for jump in jumps))

    switch.attribute(lower, "successors", near)


def _fetch_into_r0(switch: Switch) -> None:
    from prevail_py.vm.jit import access

    original = access.atomic

    def atomic(e: Any, at: Any, instruction: Atomic) -> None:
        lost = instruction.src == Register.R0 and instruction.op is not AtomicOp.CMPXCHG
        original(e, at, replace(instruction, fetch=False) if lost else instruction)

    switch.attribute(access, "atomic", atomic)


def _immediates(switch: Switch) -> None:
    from prevail_py.vm.jit import emitter

    switch.attribute(emitter, "immediate_word", lambda value: value & 0xFFFFFFFF)


def _signed_comparison_of_halves(switch: Switch) -> None:
    from prevail_py.vm.jit.algebra import LlvmAlgebra

    original = LlvmAlgebra.compare

    def compare(self: LlvmAlgebra, comparison: Comparison, a: Any, b: Any, width: int) -> Any:
        if width != 64 or comparison not in _SIGNED_LOW:
            return original(self, comparison, a, b, width)
        halves = []
        for word in (a, b):
            upper = self.truncate(self._builder.lshr(word, self.const(32, 64)), 64, 32)
            halves.append((upper, self.truncate(word, 64, 32)))
        (a_high, a_low), (b_high, b_low) = halves
        strict, low = _SIGNED_LOW[comparison]
        same = original(self, Comparison.EQ, a_high, b_high, 32)
        return self._builder.select(
            same, original(self, low, a_low, b_low, 32), original(self, strict, a_high, b_high, 32)
        )

    switch.attribute(LlvmAlgebra, "compare", compare)


def _load_with_sign(switch: Switch) -> None:
    from prevail_py.vm.jit import access

    def extended(e: Any, word: Any, size: int, signed: bool) -> Any:
        signed = signed or size == 4
        return word if not signed else evaluate(e.algebra, WordOp(OpKind.SEXT, 64, 8 * size), (word,))

    switch.attribute(access, "_extended", extended)


def _unmasked_shifts(switch: Switch) -> None:
    from prevail_py.vm.source.algebra import SourceAlgebra, Term

    original = SourceAlgebra.lshr

    def lshr(self: SourceAlgebra, a: Term, b: Term, width: int) -> Term:
        right = original(self, a, b, width)
        return replace(right, text=f"(0 if {b} >= {width} else {right})")

    switch.attribute(SourceAlgebra, "lshr", lshr)


def _exhibit(name: str, summary: str, source: str, plant: Callable[[Switch], None]) -> Exhibit:
    return Exhibit(name, Part.ENGINE, summary, source, plant)


EXHIBITS: Final[tuple[Exhibit, ...]] = (
    _exhibit(
        "upper half after AND",
        "32-bit AND, OR and XOR do not clear the upper half",
        "Linux fe121ee531d1 bpf, riscv: clear target register high 32-bits for and/or/xor on ALU32",
        _upper_half_of_bitwise,
    ),
    _exhibit(
        "shift by zero",
        "a shift by zero shifts by half of the width",
        "Linux bb9562cf5c67 arm, bpf: Fix bugs with ALU64 {RSH, ARSH} BPF_K shift by 0",
        _shift_by_zero,
    ),
    _exhibit(
        "register for the amount",
        "a shift by a register clobbers the register that the machine wants the amount in",
        "solana-labs/rbpf#89",
        _shift_clobbers_r3,
    ),
    _exhibit(
        "byte of another register",
        "a store of one byte takes the second byte of two of the registers",
        "Linux aee194b14dd2 bpf, x86: Fix encoding for lower 8-bit registers in BPF_STX BPF_B",
        _byte_of_another_register,
    ),
    _exhibit(
        "branch displacement",
        "a jump that is far goes somewhere else",
        "CVE-2021-29154; Linux e4d4d456436b bpf, x86: Validate computation of branch displacements for x86-64",
        _displacement,
    ),
    _exhibit(
        "fetch into RAX",
        "an atomic operation that fetches into the register that the machine uses itself loses the value",
        "iovisor/ubpf#546",
        _fetch_into_r0,
    ),
    _exhibit(
        "moves of 32 bits",
        "a 32-bit move moves the whole register",
        "solana-labs/rbpf#124",
        _move_of_32_bits,
    ),
    _exhibit(
        "immediates",
        "negative immediates of 64-bit operations are not extended with their sign",
        "solana-labs/rbpf#124",
        _immediates,
    ),
    _exhibit(
        "comparison of halves",
        "a signed comparison of 64 bits compares the lower halves as signed, too",
        "Linux 711aef1bbf88 bpf, x32: Fix bug for BPF_JMP | {BPF_JSGT, BPF_JSLE, BPF_JSLT, BPF_JSGE}",
        _signed_comparison_of_halves,
    ),
    _exhibit(
        "load without extension",
        "a load of four bytes leaves their sign in the upper half",
        "Linux, bpf, x86_32: Fix incorrect encoding in BPF_LDX zero-extension",
        _load_with_sign,
    ),
    _exhibit(
        "unmasked shifts",
        "amounts of shifts are not reduced to the width (in generated source)",
        "solana-labs/rbpf#124",
        _unmasked_shifts,
    ),
)
