"""The reading of the word algebra in Z3 bit-vectors.

A bit vector of ``width`` bits is a Z3 term of that sort, a predicate a Z3 Boolean.  SMT-LIB defines every operation on
every input, but not as RFC 9669 does: its quotient by zero is all ones (signed: 1 or -1), and a shift by the width or
more moves every bit out.  Those primitives are guarded here; ``MIN / -1`` and remainders by zero agree, and the guard
of the latter only says so.

>>> from prevail_py.words import OpKind, WordOp, evaluate
>>> import z3
>>> z3.simplify(evaluate(Z3Algebra(), WordOp(OpKind.UDIV), (z3.BitVec("x", 64), z3.BitVecVal(0, 64))))
0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import z3

from prevail_py.words import Comparison

__all__ = ["Predicate", "Word", "Z3Algebra"]

Word: TypeAlias = z3.BitVecRef
Predicate: TypeAlias = z3.BoolRef

_COMPARE: Final[Mapping[Comparison, Callable[[Word, Word], Predicate]]] = {
    Comparison.EQ: lambda a, b: a == b,
    Comparison.NE: lambda a, b: a != b,
    Comparison.ULT: z3.ULT,
    Comparison.ULE: z3.ULE,
    Comparison.UGT: z3.UGT,
    Comparison.UGE: z3.UGE,
    Comparison.SLT: lambda a, b: a < b,
    Comparison.SLE: lambda a, b: a <= b,
    Comparison.SGT: lambda a, b: a > b,
    Comparison.SGE: lambda a, b: a >= b,
    Comparison.SET: lambda a, b: a & b != 0,
    Comparison.NOT_SET: lambda a, b: a & b == 0,
}


class Z3Algebra:
    """The algebra over the terms of one Z3 context, the global one by default."""

    def __init__(self, context: z3.Context | None = None) -> None:
        self.context = context

    def const(self, value: int, width: int) -> Word:
        return z3.BitVecVal(value, width, self.context)

    def add(self, a: Word, b: Word, width: int) -> Word:
        return a + b

    def sub(self, a: Word, b: Word, width: int) -> Word:
        return a - b

    def mul(self, a: Word, b: Word, width: int) -> Word:
        return a * b

    def udiv(self, a: Word, b: Word, width: int) -> Word:
        return self._unless_zero(b, z3.UDiv(a, b), self.const(0, width))

    def umod(self, a: Word, b: Word, width: int) -> Word:
        return self._unless_zero(b, z3.URem(a, b), a)

    def sdiv(self, a: Word, b: Word, width: int) -> Word:
        return self._unless_zero(b, a / b, self.const(0, width))

    def smod(self, a: Word, b: Word, width: int) -> Word:
        return self._unless_zero(b, z3.SRem(a, b), a)

    def bit_and(self, a: Word, b: Word, width: int) -> Word:
        return a & b

    def bit_or(self, a: Word, b: Word, width: int) -> Word:
        return a | b

    def bit_xor(self, a: Word, b: Word, width: int) -> Word:
        return a ^ b

    def shl(self, a: Word, b: Word, width: int) -> Word:
        return a << self._shift(b, width)

    def lshr(self, a: Word, b: Word, width: int) -> Word:
        return z3.LShR(a, self._shift(b, width))

    def ashr(self, a: Word, b: Word, width: int) -> Word:
        return a >> self._shift(b, width)

    def neg(self, a: Word, width: int) -> Word:
        return -a

    def bswap(self, a: Word, width: int) -> Word:
        return a if width == 8 else z3.Concat(*[z3.Extract(low + 7, low, a) for low in range(0, width, 8)])

    def truncate(self, a: Word, width: int, to: int) -> Word:
        return a if to == width else z3.Extract(to - 1, 0, a)

    def zero_extend(self, a: Word, width: int, to: int) -> Word:
        return a if to == width else z3.ZeroExt(to - width, a)

    def sign_extend(self, a: Word, width: int, to: int) -> Word:
        return a if to == width else z3.SignExt(to - width, a)

    def compare(self, comparison: Comparison, a: Word, b: Word, width: int) -> Predicate:
        return _COMPARE[comparison](a, b)

    def _unless_zero(self, b: Word, result: Word, otherwise: Word) -> Word:
        return z3.If(b == 0, otherwise, result)

    def _shift(self, amount: Word, width: int) -> Word:
        return amount & self.const(width - 1, width)
