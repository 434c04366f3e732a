"""Unsound abstract operators of the Linux verifier, as mistakes in the functions on pairs of bounds here.

Each is the pattern of a fix in Linux, named by its CVE where it has one, else by the fix.  The functions are written
after the description of the mistake, for the representation that this project has; nothing is taken from Linux.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from prevail_py.domains import arithmetic, bounds, halves
from prevail_py.domains.bounds import Bounds
from prevail_py.domains.halves import Halves, Size
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["OPERATOR_BUGS", "PlantedBug"]

_apply, _restrict, _reduce, _within = halves.apply, halves.restrict, halves.reduce, halves._within


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """One mistake.

    ``fix`` is the commit in Linux that mended it; ``where`` the shipped function that gets the mistake and ``what`` the
    function with it; ``exposed_by`` an operation of ``prevail-py prove --domain interval`` that finds it: at ``bits``
    bits of words of ``width``.
    """

    name: str
    summary: str
    fix: str
    where: Callable[..., Any]
    what: Callable[..., Any]
    exposed_by: str
    bits: int = 2
    width: int = 4


def _wide(op: WordOp, size: Size) -> WordOp:
    return WordOp(op.kind, size.width)


def _ends_truncated(size: Size, full: Bounds, low: Bounds) -> Halves:
    full, low = _reduce(size, full, low)
    if full[0] > full[1] or full == size.top:
        return full, low
    lo, hi = full[0] & size.low_last, full[1] & size.low_last
    return full, bounds.meet(low, bounds.from_unsigned(min(lo, hi), max(lo, hi), size.low_half), size.low_half)


def _stale_bounds(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if (
        op.width == size.low
        and op.kind in (OpKind.AND, OpKind.OR, OpKind.XOR)
        and low[0] == low[1]
        and low_[0] == low_[1]
    ):
        return (low[0], low[1], low[0], low[1]), low
    return _apply(size, op, full, low, full_, low_)


def _umin_alone(size: Size, full: Bounds, low: Bounds) -> Halves:
    full, low = _reduce(size, full, low)
    if full[0] <= full[1] and full[0] <= size.low_last:
        low = bounds.meet(low, bounds.from_unsigned(full[0], size.low_last, size.low_half), size.low_half)
    return full, low


def _smax_alone(size: Size, full: Bounds, low: Bounds) -> Halves:
    full, low = _reduce(size, full, low)
    if full[0] <= full[1] and -size.low_half <= full[3] < size.low_half:
        low = bounds.meet(low, bounds.from_signed(-size.low_half, full[3], size.low_half), size.low_half)
    return full, low


def _mov_sign_extends(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if op.kind is OpKind.ZEXT and op.width == size.low:
        return halves._sign_extend(low, size.low, size.width), low
    return _apply(size, op, full, low, full_, low_)


def _shift_before_truncation(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if op.kind is OpKind.RSH and op.width == size.low:
        s0, s1 = arithmetic.shift_amounts(low_, size.low_half, size.low)
        shifted = halves._project(arithmetic.rsh(full, s0, s1, size.half), size.half, size.low_half)
        return (shifted[0], shifted[1], shifted[0], shifted[1]), shifted
    return _apply(size, op, full, low, full_, low_)


def _modulo_zero_keeps_word(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if op.kind is OpKind.UMOD and op.width == size.low and low_[0] == low_[1] == 0:
        return full, low
    return _apply(size, op, full, low, full_, low_)


def _or_of_whole_words(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if op.kind is not OpKind.OR or op.width != size.low:
        return _apply(size, op, full, low, full_, low_)
    whole = arithmetic.bit_or(full, full_, size.half)
    if whole[1] > size.low_last:
        whole = (whole[0] & size.low_last, size.low_last, -size.low_half, size.low_half - 1)
    lo, hi = min(whole[0], whole[1]), max(whole[0], whole[1])
    return (lo, hi, lo, hi), bounds.from_unsigned(lo, hi, size.low_half)


def _signed_bounds_after_mov(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    full, result = _apply(size, op, full, low, full_, low_)
    if op.kind is OpKind.ZEXT and op.width == size.low:
        smin = result[2] if result[2] > 0 else 0
        smax = result[3] if result[3] >= 0 else size.low_last
        full = bounds.meet(full, bounds.from_signed(smin, max(smin, smax), size.half), size.half)
    return full, result


def _ends_kept_by_truncation(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if op.kind is OpKind.ZEXT and op.width == size.low:
        lo, hi = full[0] & size.low_last, full[1] & size.low_last
        lo, hi = min(lo, hi), max(lo, hi)
        return (lo, hi, lo, hi), bounds.from_unsigned(lo, hi, size.low_half)
    return _apply(size, op, full, low, full_, low_)


def _operation_on_whole_words(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if op.kind in (OpKind.ADD, OpKind.SUB) and op.width == size.low:
        return _apply(size, _wide(op, size), full, low, full_, low_)
    return _apply(size, op, full, low, full_, low_)


def _signed_ends_shifted(a: Bounds, s0: int, s1: int, half: int) -> Bounds:
    smin, smax = a[2] >> s1, a[3] >> s0
    return bounds.from_signed(min(smin, smax), max(smin, smax), half)


def _zero_of_whole_word(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if op.kind is OpKind.UDIV and op.width == size.low and full_[0] > 0:
        low_ = bounds.without(low_, 0, size.low_half)
        if low_[0] > low_[1]:
            return size.empty, size.low_empty
    return _apply(size, op, full, low, full_, low_)


def _arsh_of_whole_word(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    if op.kind is OpKind.ARSH and op.width == size.low:
        s0, s1 = arithmetic.shift_amounts(low_, size.low_half, size.low)
        zero_extended = (low[0], low[1], low[0], low[1])
        shifted = arithmetic.arsh(zero_extended, s0, s1, size.half)
        return shifted, halves._project(shifted, size.half, size.low_half)
    return _apply(size, op, full, low, full_, low_)


def _comparison_of_whole_word(
    size: Size, comparison: Comparison, width: int, a: Halves, b: Halves
) -> tuple[Halves, Halves]:
    return _restrict(size, comparison, size.width, a, b)


def _and_trusts_signs(a: Bounds, b: Bounds, half: int) -> Bounds:
    lo, hi = 0, min(a[1], b[1])
    if a[2] >= 0 or b[2] >= 0:
        return bounds.from_unsigned(lo, hi, half)
    return bounds.from_signed(max(a[2], b[2]), max(a[3], b[3], a[2], b[2]), half)


OPERATOR_BUGS: Final[tuple[PlantedBug, ...]] = (
    PlantedBug(
        "CVE-2020-8835",
        "32-bit bounds are the truncated ends of the 64-bit ones, whatever lies between",
        "f2d67fec0b43 bpf: Undo incorrect __reg_bound_offset32 handling",
        halves.reduce, _ends_truncated, "reduce", 4,
    ),
    PlantedBug(
        "CVE-2021-3490",
        "32-bit AND, OR and XOR of constants leave the bounds of the destination as they were",
        "049c4e13714e bpf: Fix alu32 const subreg bound tracking on bitwise operations",
        halves.apply, _stale_bounds, "and",
    ),
    PlantedBug(
        "CVE-2021-31440",
        "a 64-bit lower bound that fits 32 bits becomes the 32-bit one, though the upper one does not fit",
        "10bf4e83167c bpf: Fix propagation of 32 bit unsigned bounds from 64 bit bounds",
        halves.reduce, _umin_alone, "reduce", 4,
    ),
    PlantedBug(
        "b02709587ea3",
        "a signed 64-bit upper bound that fits 32 bits becomes the 32-bit one, though the lower one does not fit",
        "b02709587ea3 bpf: Fix propagation of 32-bit signed bounds from 64-bit bounds",
        halves.reduce, _smax_alone, "reduce", 4,
    ),
    PlantedBug(
        "CVE-2017-16995",
        "a 32-bit move is taken to sign-extend",
        "95a762e2c8c9 bpf: fix incorrect sign extension in check_alu_op()",
        halves.apply, _mov_sign_extends, "zext", 8, 16,
    ),
    PlantedBug(
        "CVE-2018-18445",
        "a 32-bit shift to the right moves bits of the upper half down",
        "b799207e1e18 bpf: 32-bit RSH verification must truncate input before the ALU op",
        halves.apply, _shift_before_truncation, "rsh",
    ),
    PlantedBug(
        "CVE-2021-3444",
        "a 32-bit remainder by zero keeps the upper half of the dividend",
        "9b00f1b78809 bpf: Fix truncation handling for mod32 dst reg wrt zero",
        halves.apply, _modulo_zero_keeps_word, "umod",
    ),
    PlantedBug(
        "CVE-2020-27194",
        "32-bit OR takes its bounds from the 64-bit words",
        "5b9fbeb75b6a bpf: Fix scalar32_min_max_or bounds tracking",
        halves.apply, _or_of_whole_words, "or",
    ),
    PlantedBug(
        "CVE-2021-45402",
        "after a 32-bit move signed 32-bit bounds become 64-bit ones, though a negative word becomes a large one",
        "3cf2b61eb067 bpf: Fix signed bounds propagation after mov32",
        halves.apply, _signed_bounds_after_mov, "zext", 8, 16,
    ),
    PlantedBug(
        "CVE-2017-16996",
        "truncation to 32 bits truncates the ends of the bounds",
        "0c17d1d2c619 bpf: fix incorrect tracking of register size truncation",
        halves.apply, _ends_kept_by_truncation, "zext", 8, 16,
    ),
    PlantedBug(
        "CVE-2017-17852",
        "32-bit addition and subtraction are done on the 64-bit words",
        "468f6eafa6c4 bpf: fix 32-bit ALU op verification",
        halves.apply, _operation_on_whole_words, "add",
    ),
    PlantedBug(
        "CVE-2017-17853",
        "a logical shift to the right shifts signed bounds",
        "4374f256ce81 bpf/verifier: fix bounds calculation on BPF_RSH",
        arithmetic.rsh, _signed_ends_shifted, "rsh", 4,
    ),
    PlantedBug(
        "CVE-2021-3600",
        "a 32-bit divisor is taken to be other than zero where the 64-bit word is",
        "e88b2c6e5a4d bpf: Fix 32 bit src register truncation on div/mod",
        halves.apply, _zero_of_whole_word, "udiv",
    ),
    PlantedBug(
        "0af2ffc93a4b",
        "a 32-bit arithmetic shift takes its sign from bit 63",
        "0af2ffc93a4b bpf: Fix incorrect verifier simulation of ARSH under ALU32",
        halves.apply, _arsh_of_whole_word, "arsh",
    ),
    PlantedBug(
        "JMP32",
        "a 32-bit comparison narrows the whole word",
        "(a mistake to make: Linux has always narrowed the subregister)",
        halves.restrict, _comparison_of_whole_word, "assume <",
    ),
    PlantedBug(
        "signed AND",
        "AND of negative numbers is bounded by the greater of the signed bounds",
        "bpf: Fix latent unsoundness in and/or/xor value tracking (2024; found by Agni)",
        arithmetic.bit_and, _and_trusts_signs, "and", 4,
    ),
)  # fmt: skip
