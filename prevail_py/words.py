"""Words: the one algebra in which every eBPF computation is written.

A *word* is a 64-bit register value.  An eBPF operation is a :class:`WordOp`: a total function from words to a
word.  What each one computes is written once, in :func:`evaluate`, over the small :class:`Algebra` of primitive
bit-vector operations; each reading of the semantics (Python ints, Z3 terms, generated source, LLVM IR) supplies an
algebra and nothing else.  Abstract domains are checked against the same text.

The primitives are total.  Where RFC 9669 (section 4.1) defines a case that a host language traps on or leaves
undefined (division by zero, ``MIN / -1``, shifts by the width or more) the *primitive* has the RFC's result, and the
algebra that implements it guards its own host operations.

An operation of width ``w`` reads the low ``w`` bits of its arguments and zero-extends its ``w``-bit result to the
whole word (RFC 9669 section 4.1: ALU operations clear the upper half).  The size of the whole word is a parameter
(64 in real use) so that operators can be tested exhaustively on words of 4 to 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TypeVar

__all__ = [
    "INT",
    "WORD_BITS",
    "Algebra",
    "Comparison",
    "IntAlgebra",
    "OpKind",
    "WordOp",
    "compare",
    "evaluate",
    "mask",
    "to_signed",
]

WORD_BITS: Final = 64

W = TypeVar("W")
B = TypeVar("B", covariant=True)


def mask(width: int) -> int:
    """The largest unsigned value of ``width`` bits."""
    return (1 << width) - 1


def to_signed(value: int, width: int) -> int:
    """The two's complement reading of the low ``width`` bits of ``value``."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


class Comparison(Enum):
    """A binary predicate on words: the conditions of RFC 9669 section 4.3 and their negations.

    ``SET`` is JSET (``a & b != 0``); ``NOT_SET`` only ever arises as its negation.
    """

    __hash__ = object.__hash__  # members are compared by identity; that of the name is computed in Python

    EQ = "=="
    NE = "!="
    ULT = "<"
    ULE = "<="
    UGT = ">"
    UGE = ">="
    SLT = "s<"
    SLE = "s<="
    SGT = "s>"
    SGE = "s>="
    SET = "&"
    NOT_SET = "!&"

    @property
    def negation(self) -> Comparison:
        """The comparison that holds exactly where this one does not."""
        return _NEGATION[self]

    @property
    def swapped(self) -> Comparison:
        """The comparison ``c`` with ``b c a`` wherever ``a self b``."""
        return _SWAPPED[self]


_C = Comparison
_NEGATION: Final[dict[Comparison, Comparison]] = {
    _C.EQ: _C.NE, _C.NE: _C.EQ, _C.ULT: _C.UGE, _C.UGE: _C.ULT, _C.UGT: _C.ULE, _C.ULE: _C.UGT,
    _C.SLT: _C.SGE, _C.SGE: _C.SLT, _C.SGT: _C.SLE, _C.SLE: _C.SGT, _C.SET: _C.NOT_SET, _C.NOT_SET: _C.SET,
}  # fmt: skip
_SWAPPED: Final[dict[Comparison, Comparison]] = {
    _C.EQ: _C.EQ, _C.NE: _C.NE, _C.ULT: _C.UGT, _C.UGT: _C.ULT, _C.ULE: _C.UGE, _C.UGE: _C.ULE,
    _C.SLT: _C.SGT, _C.SGT: _C.SLT, _C.SLE: _C.SGE, _C.SGE: _C.SLE, _C.SET: _C.SET, _C.NOT_SET: _C.NOT_SET,
}  # fmt: skip


class OpKind(Enum):
    """What a :class:`WordOp` computes, apart from its width."""

    __hash__ = object.__hash__  # members are compared by identity; that of the name is computed in Python

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    UDIV = "udiv"
    UMOD = "umod"
    SDIV = "sdiv"
    SMOD = "smod"
    AND = "and"
    OR = "or"
    XOR = "xor"
    LSH = "lsh"
    RSH = "rsh"
    ARSH = "arsh"
    NEG = "neg"
    ZEXT = "zext"
    SEXT = "sext"
    BSWAP = "bswap"

    @property
    def arity(self) -> int:
        """How many words the operation reads: 1 or 2."""
        return 1 if self in _UNARY else 2


_UNARY: Final = frozenset({OpKind.NEG, OpKind.ZEXT, OpKind.SEXT, OpKind.BSWAP})


@dataclass(frozen=True, slots=True)
class WordOp:
    """An operation on words at a width of ``width`` bits.

    ``ZEXT`` keeps the low ``width`` bits (MOV32, narrow loads, truncation to little endian).  ``SEXT`` sign-extends
    the low ``source`` bits to ``width`` bits (MOVSX, sign-extending loads); ``source`` is 0 for every other kind.
    """

    kind: OpKind
    width: int = WORD_BITS
    source: int = 0

    def __str__(self) -> str:
        return f"{self.kind.value}{f'{self.source}to' if self.source else ''}{self.width}"


class Algebra(Protocol[W, B]):
    """Total primitive operations on bit vectors; ``width`` is that of the arguments, 1 to 64 bits."""

    def const(self, value: int, width: int) -> W: ...
    def add(self, a: W, b: W, width: int) -> W: ...
    def sub(self, a: W, b: W, width: int) -> W: ...
    def mul(self, a: W, b: W, width: int) -> W: ...
    def udiv(self, a: W, b: W, width: int) -> W:
        """Unsigned quotient; 0 where ``b`` is 0."""
        ...

    def umod(self, a: W, b: W, width: int) -> W:
        """Unsigned remainder; ``a`` where ``b`` is 0."""
        ...

    def sdiv(self, a: W, b: W, width: int) -> W:
        """Signed quotient towards zero; 0 where ``b`` is 0, ``a`` for ``MIN / -1``."""
        ...

    def smod(self, a: W, b: W, width: int) -> W:
        """Signed remainder with the sign of ``a``; ``a`` where ``b`` is 0, 0 for ``MIN % -1``."""
        ...

    def bit_and(self, a: W, b: W, width: int) -> W: ...
    def bit_or(self, a: W, b: W, width: int) -> W: ...
    def bit_xor(self, a: W, b: W, width: int) -> W: ...
    def shl(self, a: W, b: W, width: int) -> W:
        """Shift left by ``b`` modulo ``width`` (a power of two); likewise :meth:`lshr` and :meth:`ashr`."""
        ...

    def lshr(self, a: W, b: W, width: int) -> W: ...
    def ashr(self, a: W, b: W, width: int) -> W: ...
    def neg(self, a: W, width: int) -> W: ...
    def bswap(self, a: W, width: int) -> W:
        """Reverse the bytes; ``width`` is a multiple of 8."""
        ...

    def truncate(self, a: W, width: int, to: int) -> W:
        """The low ``to <= width`` bits."""
        ...

    def zero_extend(self, a: W, width: int, to: int) -> W: ...
    def sign_extend(self, a: W, width: int, to: int) -> W: ...
    def compare(self, comparison: Comparison, a: W, b: W, width: int) -> B: ...


def evaluate(algebra: Algebra[W, B], op: WordOp, args: tuple[W, ...], word: int = WORD_BITS) -> W:
    """What ``op`` computes on words of ``word`` bits, in ``algebra``: the semantics of RFC 9669 section 4.1 and 4.2."""
    width = op.width
    a = algebra.truncate(args[0], word, width)
    b = algebra.truncate(args[1], word, width) if len(args) > 1 else a
    match op.kind:
        case OpKind.ADD:
            result = algebra.add(a, b, width)
        case OpKind.SUB:
            result = algebra.sub(a, b, width)
        case OpKind.MUL:
            result = algebra.mul(a, b, width)
        case OpKind.UDIV:
            result = algebra.udiv(a, b, width)
        case OpKind.UMOD:
            result = algebra.umod(a, b, width)
        case OpKind.SDIV:
            result = algebra.sdiv(a, b, width)
        case OpKind.SMOD:
            result = algebra.smod(a, b, width)
        case OpKind.AND:
            result = algebra.bit_and(a, b, width)
        case OpKind.OR:
            result = algebra.bit_or(a, b, width)
        case OpKind.XOR:
            result = algebra.bit_xor(a, b, width)
        case OpKind.LSH:
            result = algebra.shl(a, b, width)
        case OpKind.RSH:
            result = algebra.lshr(a, b, width)
        case OpKind.ARSH:
            result = algebra.ashr(a, b, width)
        case OpKind.NEG:
            result = algebra.neg(a, width)
        case OpKind.ZEXT:
            result = a
        case OpKind.SEXT:
            result = algebra.sign_extend(algebra.truncate(a, width, op.source), op.source, width)
        case OpKind.BSWAP:
            result = algebra.bswap(a, width)
    return algebra.zero_extend(result, width, word)


def compare(algebra: Algebra[W, B], comparison: Comparison, a: W, b: W, width: int, word: int = WORD_BITS) -> B:
    """Whether ``a comparison b`` on the low ``width`` bits of two words (RFC 9669 section 4.3)."""
    return algebra.compare(comparison, algebra.truncate(a, word, width), algebra.truncate(b, word, width), width)


class IntAlgebra:
    """The reading in Python ints: a bit vector of ``width`` bits is an int in ``range(2**width)``."""

    def const(self, value: int, width: int) -> int:
        return value & ((1 << width) - 1)

    def add(self, a: int, b: int, width: int) -> int:
        return (a + b) & ((1 << width) - 1)

    def sub(self, a: int, b: int, width: int) -> int:
        return (a - b) & ((1 << width) - 1)

    def mul(self, a: int, b: int, width: int) -> int:
        return (a * b) & ((1 << width) - 1)

    def udiv(self, a: int, b: int, width: int) -> int:
        return a // b if b else 0

    def umod(self, a: int, b: int, width: int) -> int:
        return a % b if b else a

    def sdiv(self, a: int, b: int, width: int) -> int:
        if not b:
            return 0
        x, y = to_signed(a, width), to_signed(b, width)
        quotient = abs(x) // abs(y)
        return (quotient if (x < 0) == (y < 0) else -quotient) & ((1 << width) - 1)

    def smod(self, a: int, b: int, width: int) -> int:
        if not b:
            return a
        x, y = to_signed(a, width), to_signed(b, width)
        remainder = abs(x) % abs(y)
        return (remainder if x >= 0 else -remainder) & ((1 << width) - 1)

    def bit_and(self, a: int, b: int, width: int) -> int:
        return a & b

    def bit_or(self, a: int, b: int, width: int) -> int:
        return a | b

    def bit_xor(self, a: int, b: int, width: int) -> int:
        return a ^ b

    def shl(self, a: int, b: int, width: int) -> int:
        return (a << (b & (width - 1))) & ((1 << width) - 1)

    def lshr(self, a: int, b: int, width: int) -> int:
        return a >> (b & (width - 1))

    def ashr(self, a: int, b: int, width: int) -> int:
        return (to_signed(a, width) >> (b & (width - 1))) & ((1 << width) - 1)

    def neg(self, a: int, width: int) -> int:
        return -a & ((1 << width) - 1)

    def bswap(self, a: int, width: int) -> int:
        return int.from_bytes(a.to_bytes(width // 8, "little"), "big")

    def truncate(self, a: int, width: int, to: int) -> int:
        return a & ((1 << to) - 1)

    def zero_extend(self, a: int, width: int, to: int) -> int:
        return a

    def sign_extend(self, a: int, width: int, to: int) -> int:
        return to_signed(a, width) & ((1 << to) - 1)

    def compare(self, comparison: Comparison, a: int, b: int, width: int) -> bool:
        match comparison:
            case Comparison.EQ:
                return a == b
            case Comparison.NE:
                return a != b
            case Comparison.ULT:
                return a < b
            case Comparison.ULE:
                return a <= b
            case Comparison.UGT:
                return a > b
            case Comparison.UGE:
                return a >= b
            case Comparison.SLT:
                return to_signed(a, width) < to_signed(b, width)
            case Comparison.SLE:
                return to_signed(a, width) <= to_signed(b, width)
            case Comparison.SGT:
                return to_signed(a, width) > to_signed(b, width)
            case Comparison.SGE:
                return to_signed(a, width) >= to_signed(b, width)
            case Comparison.SET:
                return a & b != 0
            case Comparison.NOT_SET:
                return a & b == 0


INT: Final = IntAlgebra()
