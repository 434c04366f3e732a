"""The mnemonic syntax of the conformance suite and of uBPF, one statement at a time: ``ldxw %r0, [%r1+4]``.

A mnemonic is looked up in :data:`MNEMONICS`, which says how its operands are read; a suffix of 32 (``add32``,
``jeq32``) selects the 32-bit variant.  What the suite has no name for is named in its manner: ``ldabsw 14``,
``ldindb %r3, 2``, ``ldacqdw %r0, [%r1]``, ``strelw [%r1+4], %r2``, ``may_goto +1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    ByteOrder,
    Call,
    CallKfunc,
    CallLocal,
    CallRegister,
    EndianSwap,
    Exit,
    Jump,
    Load,
    LoadAcquire,
    LoadPacket,
    MayGoto,
    MoveSignExtend,
    Negate,
    Operand,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.statements import (
    DIGITS,
    Statement,
    StatementError,
    immediate,
    number,
    offset_or_label,
    register,
    signed_word,
    wide,
)
from prevail_py.words import Comparison

__all__ = ["MNEMONICS", "parse"]

_STATEMENT: Final = re.compile(r"(lock (?:fetch )?\w+|\w+)(?: (.*))?", re.ASCII)

_Builder: TypeAlias = Callable[..., Statement]
"""Takes the operands as written, one string each."""


def parse(text: str) -> Statement | None:
    """The statement that ``text`` is in this syntax; None where it does not begin with a mnemonic.

    Raises :class:`StatementError` where it does and an operand is wrong.
    """
    match = _STATEMENT.fullmatch(" ".join(text.split()))
    if match is None or match[1] not in MNEMONICS:
        return None
    build, count = MNEMONICS[match[1]]
    operands = [operand.strip() for operand in match[2].split(",")] if match[2] else []
    if len(operands) != count:
        raise StatementError(f"{match[1]} takes {count} operands, not {len(operands)}")
    return build(*operands)


def _register(text: str) -> Register:
    match = re.fullmatch(r"%?r([0-9]+)", text, re.ASCII)
    if match is None:
        raise StatementError(f"{text!r} is not a register")
    return register(match[1])


def _operand(text: str) -> Operand:
    return _register(text) if re.match(r"%|r[0-9]", text) else immediate(text)


def _address(text: str) -> tuple[Register, int]:
    match = re.fullmatch(rf"\[\s*([%\w]+)\s*([+-]\s*{DIGITS})?\s*\]", text, re.ASCII)
    if match is None:
        raise StatementError(f"{text!r} is not an address such as [%r1+4]")
    return _register(match[1]), number(match[2] or "0")


def _alu(op: AluOp, width: int) -> _Builder:
    return lambda dst, src: Statement(Alu(op, width, _register(dst), _operand(src)))


def _negate(width: int) -> _Builder:
    return lambda dst: Statement(Negate(width, _register(dst)))


def _sign_extension(source_bits: int, width: int) -> _Builder:
    return lambda dst, src: Statement(MoveSignExtend(width, _register(dst), _register(src), source_bits))


def _swap(order: ByteOrder, bits: int) -> _Builder:
    return lambda dst: Statement(EndianSwap(order, bits, _register(dst)))


def _branch(comparison: Comparison, width: int) -> _Builder:
    def build(dst: str, src: str, target: str) -> Statement:
        offset, label = offset_or_label(target)
        return Statement(Branch(comparison, width, _register(dst), _operand(src), offset), label)

    return build


def _jump(make: Callable[[int], Jump | MayGoto]) -> _Builder:
    def build(target: str) -> Statement:
        offset, label = offset_or_label(target)
        return Statement(make(offset), label)

    return build


def _load(size: int, signed: bool) -> _Builder:
    return lambda dst, src: Statement(Load(_register(dst), *_address(src), size, signed))


def _store(size: int, from_register: bool) -> _Builder:
    read = _register if from_register else immediate
    return lambda dst, src: Statement(Store(*_address(dst), size, read(src)))


def _load_acquire(size: int) -> _Builder:
    return lambda dst, src: Statement(LoadAcquire(_register(dst), *_address(src), size))


def _store_release(size: int) -> _Builder:
    return lambda dst, src: Statement(StoreRelease(*_address(dst), size, _register(src)))


def _atomic(op: AtomicOp, fetch: bool, size: int) -> _Builder:
    def build(dst: str, src: str) -> Statement:
        base, offset = _address(dst)
        return Statement(Atomic(op, fetch, size, base, offset, _register(src)))

    return build


def _wide(dst: str, value: str) -> Statement:
    return Statement(wide(_register(dst), value))


def _packet_absolute(size: int) -> _Builder:
    return lambda offset: Statement(LoadPacket(size, signed_word(offset, 32)))


def _packet_indirect(size: int) -> _Builder:
    return lambda index, offset: Statement(LoadPacket(size, signed_word(offset, 32), _register(index)))


def _call(text: str) -> Statement:
    """``call 5``, ``call %r2``, and with a word first: ``call helper 5``, ``call local f``, ``call runtime 7``."""
    kind, _, operand = text.rpartition(" ")
    match kind.strip():
        case "" if re.match(r"%|r[0-9]", operand):
            return Statement(CallRegister(_register(operand)))
        case "" | "helper" if operand[0] in "+-0123456789":
            return Statement(Call(signed_word(operand, 32)))
        case "local":
            offset, label = offset_or_label(operand)
            return Statement(CallLocal(offset), label)
        case "runtime":
            return Statement(CallKfunc(signed_word(operand, 32)))
        case _:
            raise StatementError(f"cannot call {text!r}: not a number, a register, or 'local' and a label")


def _call_register(text: str) -> Statement:
    return Statement(CallRegister(_register(text)))


def _exit() -> Statement:
    return Statement(Exit())


_SIZES: Final = {"b": 1, "h": 2, "w": 4, "dw": 8}
_ORDERS: Final = {"le": ByteOrder.LE, "be": ByteOrder.BE, "swap": ByteOrder.SWAP, "bswap": ByteOrder.SWAP}
_BRANCHES: Final = {
    "jeq": Comparison.EQ, "jgt": Comparison.UGT, "jge": Comparison.UGE, "jset": Comparison.SET, "jne": Comparison.NE,
    "jsgt": Comparison.SGT, "jsge": Comparison.SGE, "jlt": Comparison.ULT, "jle": Comparison.ULE,
    "jslt": Comparison.SLT, "jsle": Comparison.SLE,
}  # fmt: skip


def _mnemonics() -> Iterator[tuple[str, tuple[_Builder, int]]]:
    for suffix, width in (("", 64), ("32", 32)):
        for op in AluOp:
            yield f"{op.name.lower()}{suffix}", (_alu(op, width), 2)
        yield f"neg{suffix}", (_negate(width), 1)
        for name, comparison in _BRANCHES.items():
            yield f"{name}{suffix}", (_branch(comparison, width), 3)
        for atomic in AtomicOp:
            always = atomic in (AtomicOp.XCHG, AtomicOp.CMPXCHG)
            yield f"lock {atomic.value}{suffix}", (_atomic(atomic, always, width // 8), 2)
            if not always:
                yield f"lock fetch {atomic.value}{suffix}", (_atomic(atomic, True, width // 8), 2)
    for source, width in ((8, 32), (16, 32), (8, 64), (16, 64), (32, 64)):
        yield f"movsx{source}{width}", (_sign_extension(source, width), 2)
    for name, order in _ORDERS.items():
        for bits in (16, 32, 64):
            yield f"{name}{bits}", (_swap(order, bits), 1)
    for letter, size in _SIZES.items():
        yield f"ldx{letter}", (_load(size, False), 2)
        yield f"st{letter}", (_store(size, False), 2)
        yield f"stx{letter}", (_store(size, True), 2)
        yield f"ldacq{letter}", (_load_acquire(size), 2)
        yield f"strel{letter}", (_store_release(size), 2)
        if size < 8:
            yield f"ldxs{letter}", (_load(size, True), 2)
            yield f"ldabs{letter}", (_packet_absolute(size), 1)
            yield f"ldind{letter}", (_packet_indirect(size), 2)
    yield "lddw", (_wide, 2)
    yield "ja", (_jump(Jump), 1)
    yield "ja32", (_jump(lambda offset: Jump(offset, wide=True)), 1)
    yield "may_goto", (_jump(MayGoto), 1)
    yield "call", (_call, 1)
    yield "callx", (_call_register, 1)
    yield "exit", (_exit, 0)


MNEMONICS: Final[Mapping[str, tuple[_Builder, int]]] = MappingProxyType(dict(_mnemonics()))
"""Mnemonic (two or three words for atomics) -> how to build it, and how many operands it takes."""
