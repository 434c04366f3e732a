"""The reading of the word algebra in LLVM IR.

:func:`prevail_py.words.evaluate` in this algebra *emits* what it computes, through an ``IRBuilder`` of llvmlite.  The
primitives are total, as the protocol asks, and no instruction that they emit is ever undefined or poison: divisors are
replaced by 1 where LLVM's division is undefined (by zero, and ``MIN / -1``) and the right result is selected after it,
amounts of shifts are masked, and nothing carries ``nsw``, ``nuw`` or ``exact``.

Values are those of llvmlite, which has no types, or of another builder with the same methods
(:mod:`prevail_py.vm.jit.proved.text`): an integer of the width that the algebra gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeAlias

from llvmlite import ir

from prevail_py.words import Comparison

__all__ = ["Bit", "Kit", "LlvmAlgebra", "Value"]

Value: TypeAlias = Any
"""An ``llvmlite.ir.Value`` of integer type."""

Bit: TypeAlias = Any
"""One of type ``i1``."""

_UNSIGNED: Final[Mapping[Comparison, str]] = {
    Comparison.EQ: "==", Comparison.NE: "!=",
    Comparison.ULT: "<", Comparison.ULE: "<=", Comparison.UGT: ">", Comparison.UGE: ">=",
}  # fmt: skip
_SIGNED: Final[Mapping[Comparison, str]] = {
    Comparison.SLT: "<", Comparison.SLE: "<=", Comparison.SGT: ">", Comparison.SGE: ">=",
}  # fmt: skip


class Kit(Protocol):
    """What goes with a builder: its constants and its types."""

    def constant(self, value: int, width: int) -> Value:
        """The number, which has so many bits."""
        ...

    def integer(self, width: int) -> Any:
        """The type of words of so many bits."""
        ...


class _Llvmlite:
    def constant(self, value: int, width: int) -> Value:
        return ir.Constant(ir.IntType(width), value)

    def integer(self, width: int) -> Any:
        return ir.IntType(width)


class LlvmAlgebra:
    """Emits at the place where ``builder`` is."""

    def __init__(self, builder: Any, kit: Kit | None = None) -> None:
        self._builder: Final = builder
        self._kit: Final[Kit] = kit or _Llvmlite()

    def const(self, value: int, width: int) -> Value:
        return self._kit.constant(value & ((1 << width) - 1), width)

    def add(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.add(a, b)

    def sub(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.sub(a, b)

    def mul(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.mul(a, b)

    def udiv(self, a: Value, b: Value, width: int) -> Value:
        by_zero = self._is_zero(b, width)
        quotient = self._builder.udiv(a, self._one_where(by_zero, b, width))
        return self._builder.select(by_zero, self.const(0, width), quotient)

    def umod(self, a: Value, b: Value, width: int) -> Value:
        by_zero = self._is_zero(b, width)
        remainder = self._builder.urem(a, self._one_where(by_zero, b, width))
        return self._builder.select(by_zero, a, remainder)

    def sdiv(self, a: Value, b: Value, width: int) -> Value:
        by_zero = self._is_zero(b, width)
        # MIN / 1 is the MIN that is asked for.
        undefined = self._builder.or_(by_zero, self._overflows(a, b, width))
        quotient = self._builder.sdiv(a, self._one_where(undefined, b, width))
        return self._builder.select(by_zero, self.const(0, width), quotient)

    def smod(self, a: Value, b: Value, width: int) -> Value:
        by_zero = self._is_zero(b, width)
        # MIN % 1 is the 0 that is asked for.
        undefined = self._builder.or_(by_zero, self._overflows(a, b, width))
        remainder = self._builder.srem(a, self._one_where(undefined, b, width))
        return self._builder.select(by_zero, a, remainder)

    def bit_and(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.and_(a, b)

    def bit_or(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.or_(a, b)

    def bit_xor(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.xor(a, b)

    def shl(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.shl(a, self._amount(b, width))

    def lshr(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.lshr(a, self._amount(b, width))

    def ashr(self, a: Value, b: Value, width: int) -> Value:
        return self._builder.ashr(a, self._amount(b, width))

    def neg(self, a: Value, width: int) -> Value:
        return self._builder.sub(self.const(0, width), a)

    def bswap(self, a: Value, width: int) -> Value:
        if width == 8:
            return a  # the intrinsic is for whole pairs of bytes
        return self._builder.bswap(a)

    def truncate(self, a: Value, width: int, to: int) -> Value:
        return a if to == width else self._builder.trunc(a, self._kit.integer(to))

    def zero_extend(self, a: Value, width: int, to: int) -> Value:
        return a if to == width else self._builder.zext(a, self._kit.integer(to))

    def sign_extend(self, a: Value, width: int, to: int) -> Value:
        return a if to == width else self._builder.sext(a, self._kit.integer(to))

    def compare(self, comparison: Comparison, a: Value, b: Value, width: int) -> Bit:
        if comparison in _UNSIGNED:
            return self._builder.icmp_unsigned(_UNSIGNED[comparison], a, b)
        if comparison in _SIGNED:
            return self._builder.icmp_signed(_SIGNED[comparison], a, b)
        common, zero = self._builder.and_(a, b), self.const(0, width)
        return self._builder.icmp_unsigned("!=" if comparison is Comparison.SET else "==", common, zero)

    # Guards ---------------------------------------------------------------------------------------------------------

    def _amount(self, b: Value, width: int) -> Value:
        return self._builder.and_(b, self.const(width - 1, width))

    def _is_zero(self, b: Value, width: int) -> Bit:
        return self._builder.icmp_unsigned("==", b, self.const(0, width))

    def _overflows(self, a: Value, b: Value, width: int) -> Bit:
        least = self._builder.icmp_unsigned("==", a, self.const(1 << (width - 1), width))
        return self._builder.and_(least, self._builder.icmp_unsigned("==", b, self.const(-1, width)))

    def _one_where(self, undefined: Bit, b: Value, width: int) -> Value:
        return self._builder.select(undefined, self.const(1, width), b)
