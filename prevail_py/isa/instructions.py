"""Every eBPF instruction as a frozen dataclass: RFC 9669 and what Linux added since.

Offsets of jumps and calls are in *slots* of 8 bytes, relative to the slot after the instruction, as encoded.
Immediates are signed 32-bit ints, memory offsets signed 16-bit ints.  :data:`Instruction` is the closed union: match
on it and end with ``assert_never``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, TypeAlias

from prevail_py.words import Comparison

__all__ = [
    "ASSERTION_MARK",
    "AddressSpaceCast",
    "Alu",
    "AluOp",
    "Atomic",
    "AtomicOp",
    "Branch",
    "ByteOrder",
    "Call",
    "CallKfunc",
    "CallLocal",
    "CallRegister",
    "EndianSwap",
    "Exit",
    "Immediate",
    "Instruction",
    "Jump",
    "Load",
    "LoadAcquire",
    "LoadImmediate64",
    "LoadPacket",
    "MayGoto",
    "MoveSignExtend",
    "Negate",
    "Operand",
    "Pseudo",
    "Register",
    "Store",
    "StoreRelease",
    "slots_of",
]


ASSERTION_MARK: Final = 0x70726576_61696C21
"""The constant that ``prevail_assert`` of ``prevail.h`` loads where its condition does not hold, and nobody else."""


class Register(IntEnum):
    """A machine register.  R10 is the read-only frame pointer (RFC 9669 section 2)."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


@dataclass(frozen=True, slots=True)
class Immediate:
    """A signed 32-bit constant; 64-bit operations sign-extend it (RFC 9669 section 4)."""

    value: int


Operand: TypeAlias = Register | Immediate


class AluOp(Enum):
    """The binary operations of the ALU and ALU64 classes (RFC 9669 section 4.1)."""

    __hash__ = object.__hash__  # members are compared by identity; that of the name is computed in Python

    ADD = "+="
    SUB = "-="
    MUL = "*="
    DIV = "/="
    OR = "|="
    AND = "&="
    LSH = "<<="
    RSH = ">>="
    MOD = "%="
    XOR = "^="
    MOV = "="
    ARSH = "s>>="
    SDIV = "s/="
    SMOD = "s%="


class ByteOrder(Enum):
    """What an :class:`EndianSwap` does: convert to little or big endian, or always swap (RFC 9669 section 4.2)."""

    LE = "le"
    BE = "be"
    SWAP = "bswap"


class Pseudo(IntEnum):
    """What the constant of a wide load means: its ``src_reg`` subtype (RFC 9669 section 5.4)."""

    IMMEDIATE = 0
    MAP_FD = 1
    MAP_VALUE = 2
    BTF_ID = 3
    FUNCTION = 4
    MAP_INDEX = 5
    MAP_INDEX_VALUE = 6


class AtomicOp(Enum):
    """Read-modify-write operations (RFC 9669 section 5.3)."""

    ADD = "add"
    OR = "or"
    AND = "and"
    XOR = "xor"
    XCHG = "xchg"
    CMPXCHG = "cmpxchg"


@dataclass(frozen=True, slots=True)
class Alu:
    """``dst = dst op src`` at 32 or 64 bits (``dst = src`` for MOV)."""

    op: AluOp
    width: int
    dst: Register
    src: Operand


@dataclass(frozen=True, slots=True)
class MoveSignExtend:
    """MOVSX: ``dst = (s<source_bits>)src``, at 32 or 64 bits."""

    width: int
    dst: Register
    src: Register
    source_bits: int


@dataclass(frozen=True, slots=True)
class Negate:
    """``dst = -dst`` at 32 or 64 bits."""

    width: int
    dst: Register


@dataclass(frozen=True, slots=True)
class EndianSwap:
    """``dst = le16/be32/bswap64 ... dst``; ``bits`` is 16, 32 or 64, and the rest of ``dst`` is cleared."""

    order: ByteOrder
    bits: int
    dst: Register


@dataclass(frozen=True, slots=True)
class AddressSpaceCast:
    """Linux: ``dst = addr_space_cast(src, to, from)``, a 64-bit MOV with offset 1 and ``imm = to << 16 | from``."""

    dst: Register
    src: Register
    to_space: int
    from_space: int


@dataclass(frozen=True, slots=True)
class LoadImmediate64:
    """The wide load, two slots: ``low`` and ``high`` are the two signed 32-bit immediates as encoded."""

    dst: Register
    low: int
    high: int = 0
    pseudo: Pseudo = Pseudo.IMMEDIATE

    @property
    def value(self) -> int:
        """The unsigned 64-bit constant made of both halves."""
        return (self.low & 0xFFFFFFFF) | (self.high & 0xFFFFFFFF) << 32

    @property
    def is_assertion(self) -> bool:
        """Whether it is what ``prevail_assert`` executes where its condition does not hold."""
        return self.pseudo is Pseudo.IMMEDIATE and self.value == ASSERTION_MARK


@dataclass(frozen=True, slots=True)
class Load:
    """``dst = *(uN/sN *)(base + offset)``; ``size`` in bytes: 1, 2, 4, 8 (signed: 1, 2, 4)."""

    dst: Register
    base: Register
    offset: int
    size: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """``*(uN *)(base + offset) = src``; ``size`` in bytes: 1, 2, 4, 8."""

    base: Register
    offset: int
    size: int
    src: Operand


@dataclass(frozen=True, slots=True)
class Atomic:
    """An atomic read-modify-write of 4 or 8 bytes at ``base + offset``.

    With ``fetch`` the old value goes to ``src`` (always so for XCHG; CMPXCHG compares with and returns in R0).
    """

    op: AtomicOp
    fetch: bool
    size: int
    base: Register
    offset: int
    src: Register


@dataclass(frozen=True, slots=True)
class LoadAcquire:
    """Linux: ``dst = load_acquire((uN *)(base + offset))``; ``size`` in bytes: 1, 2, 4, 8."""

    dst: Register
    base: Register
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class StoreRelease:
    """Linux: ``store_release((uN *)(base + offset), src)``; ``size`` in bytes: 1, 2, 4, 8."""

    base: Register
    offset: int
    size: int
    src: Register


@dataclass(frozen=True, slots=True)
class LoadPacket:
    """Legacy packet load (RFC 9669 section 5.5): ``r0 = ntoh(*(uN *)skb[offset + index])``; ``index`` None for ABS."""

    size: int
    offset: int
    index: Register | None = None


@dataclass(frozen=True, slots=True)
class Jump:
    """``goto +offset``; ``wide``: the JMP32 form with a 32-bit offset (``gotol``)."""

    offset: int
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """``if dst comparison src goto +offset`` on the low ``width`` (32 or 64) bits."""

    comparison: Comparison
    width: int
    dst: Register
    src: Operand
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """Call a helper function by number (RFC 9669 section 4.3.1)."""

    helper: int


@dataclass(frozen=True, slots=True)
class CallLocal:
    """Call the subprogram that starts at the slot ``offset`` after the next one."""

    offset: int


@dataclass(frozen=True, slots=True)
class CallKfunc:
    """Call a kernel function by BTF id; ``module`` is the index into the program's BTF descriptors, 0 for vmlinux."""

    btf_id: int
    module: int = 0


@dataclass(frozen=True, slots=True)
class CallRegister:
    """Call the function whose address or helper number is in ``register`` (``callx``; not accepted by Linux)."""

    register: Register


@dataclass(frozen=True, slots=True)
class Exit:
    """Return from the subprogram, or end the program with R0 as its result."""


@dataclass(frozen=True, slots=True)
class MayGoto:
    """Linux: jump ``offset`` slots once a hidden counter is exhausted, else fall through (``may_goto``)."""

    offset: int


Instruction: TypeAlias = (
    Alu
    | MoveSignExtend
    | Negate
    | EndianSwap
    | AddressSpaceCast
    | LoadImmediate64
    | Load
    | Store
    | Atomic
    | LoadAcquire
    | StoreRelease
    | LoadPacket
    | Jump
    | Branch
    | Call
    | CallLocal
    | CallKfunc
    | CallRegister
    | Exit
    | MayGoto
)


def slots_of(instruction: Instruction) -> int:
    """How many 8-byte slots the encoding takes: 2 for the wide load, otherwise 1."""
    return 2 if isinstance(instruction, LoadImmediate64) else 1
