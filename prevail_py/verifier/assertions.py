"""Assertions as data: what must hold before an instruction for it to be safe.

:func:`assertions_of` attaches them to an instruction without looking at any state; ``check.py`` decides them in a
state.  Each kind of violation has the kind of trap of the same name in the checked interpreter, so that every failure
can be witnessed (``docs/safety.md`` explains each; a test compares the two lists).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, assert_never

from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    Call,
    CallKfunc,
    CallLocal,
    CallRegister,
    EndianSwap,
    Exit,
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
    Register,
    Store,
    StoreRelease,
)

__all__ = [
    "Access",
    "Arithmetic",
    "Assertion",
    "AssertionKind",
    "CallDepth",
    "FramePointer",
    "HelperContract",
    "Initialised",
    "LegacyLoad",
    "Mode",
    "NoLeak",
    "Result",
    "UserAssertion",
    "assertions_of",
]


class AssertionKind(Enum):
    """What is violated; the values are those of ``vm.outcome.TrapKind``."""

    UNINITIALISED_REGISTER = "uninitialised-register"
    NOT_A_POINTER = "not-a-pointer"
    NULL_DEREFERENCE = "null-dereference"
    OUT_OF_BOUNDS = "out-of-bounds"
    UNINITIALISED_MEMORY = "uninitialised-memory"
    READ_ONLY = "read-only"
    CONTEXT_ACCESS = "context-access"
    POINTER_ARITHMETIC = "pointer-arithmetic"
    POINTER_LEAK = "pointer-leak"
    HELPER_UNAVAILABLE = "helper-unavailable"
    HELPER_ARGUMENT = "helper-argument"
    RETURN_RANGE = "return-range"
    CALL_DEPTH = "call-depth"
    UNRELEASED_REFERENCE = "unreleased-reference"
    USER_ASSERTION = "user-assertion"
    UNSUPPORTED = "unsupported"


class Mode(Enum):
    """How memory is touched."""

    READ = "read"
    WRITE = "write"
    ATOMIC = "atomic"


@dataclass(frozen=True, slots=True)
class Initialised:
    """``register`` was written on every path."""

    register: Register


@dataclass(frozen=True, slots=True)
class FramePointer:
    """R10 is never written."""


@dataclass(frozen=True, slots=True)
class Access:
    """``size`` bytes at ``base + offset`` may be touched as ``mode`` says; ``signed`` loads only yield numbers."""

    base: Register
    offset: int
    size: int
    mode: Mode
    signed: bool = False


@dataclass(frozen=True, slots=True)
class NoLeak:
    """``source`` is a number, or all 8 bytes of it are stored in the program's own stack."""

    base: Register
    source: Register
    size: int


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """An operation on ``dst`` (and ``src``) keeps pointers meaningful: only 64-bit addition and subtraction do."""

    op: AluOp | None
    width: int
    dst: Register
    src: Operand | None


@dataclass(frozen=True, slots=True)
class HelperContract:
    """The helper exists for this program type and every argument fits its prototype."""

    helper: int


@dataclass(frozen=True, slots=True)
class LegacyLoad:
    """R6 is the context; the function may end here with 0; ``index`` is a number."""

    index: Register | None


@dataclass(frozen=True, slots=True)
class CallDepth:
    """There is room for one more frame."""


@dataclass(frozen=True, slots=True)
class Result:
    """R0 is a number in the range the program type allows and no reference is left, where the main program ends."""


@dataclass(frozen=True, slots=True)
class UserAssertion:
    """The condition of a ``prevail_assert`` holds: its failure, which is what the instruction marks, is not reached."""


Assertion: TypeAlias = (
    Initialised
    | FramePointer
    | Access
    | NoLeak
    | Arithmetic
    | HelperContract
    | CallDepth
    | Result
    | LegacyLoad
    | UserAssertion
)


def _read(*operands: Operand) -> list[Assertion]:
    seen = dict.fromkeys(operand for operand in operands if isinstance(operand, Register) and operand != Register.R10)
    return [Initialised(register) for register in seen]


def _written(register: Register) -> list[Assertion]:
    return [FramePointer()] if register == Register.R10 else []


def assertions_of(instruction: Instruction) -> tuple[Assertion, ...]:
    """What must hold before ``instruction``, in the order in which it should be reported."""
    match instruction:
        case Alu(op, width, dst, src):
            reads = _read(src) if op is AluOp.MOV else _read(dst, src)
            checked = [] if op is AluOp.MOV and width == 64 else [Arithmetic(op, width, dst, src)]
            return (*reads, *checked, *_written(dst))
        case MoveSignExtend(width, dst, src):
            return (*_read(src), Arithmetic(None, width, src, None), *_written(dst))
        case Negate(width, dst):
            return (*_read(dst), Arithmetic(None, width, dst, None), *_written(dst))
        case EndianSwap(_, bits, dst):
            return (*_read(dst), Arithmetic(None, bits, dst, None), *_written(dst))
        case Load(dst, base, offset, size, signed):
            return (*_read(base), Access(base, offset, size, Mode.READ, signed), *_written(dst))
        case LoadAcquire(dst, base, offset, size):
            return (*_read(base), Access(base, offset, size, Mode.READ), *_written(dst))
        case Store(base, offset, size, src):
            leak = [NoLeak(base, src, size)] if isinstance(src, Register) else []
            return (*_read(base, src), Access(base, offset, size, Mode.WRITE), *leak)
        case StoreRelease(base, offset, size, src):
            return (*_read(base, src), Access(base, offset, size, Mode.WRITE), NoLeak(base, src, size))
        case Atomic(op, fetch, size, base, offset, src):
            reads = _read(base, src, Register.R0) if op is AtomicOp.CMPXCHG else _read(base, src)
            written = _written(src) if fetch and op is not AtomicOp.CMPXCHG else []
            return (*reads, Access(base, offset, size, Mode.ATOMIC), NoLeak(base, src, size), *written)
        case LoadImmediate64(dst):
            return (*((UserAssertion(),) if instruction.is_assertion else ()), *_written(dst))
        case AddressSpaceCast(dst, src):
            return (*_read(src), *_written(dst))
        case Branch(_, _, dst, src):
            return tuple(_read(dst, src))
        case LoadPacket(_, _, index):
            return (*_read(Register.R6, *(() if index is None else (index,))), LegacyLoad(index))
        case Call(helper):
            return (HelperContract(helper),)
        case CallRegister(register):
            return tuple(_read(register))
        case Exit():
            return (Result(),)
        case CallLocal():
            return (CallDepth(),)
        case Jump() | CallKfunc() | MayGoto():
            return ()
        case _:
            assert_never(instruction)
