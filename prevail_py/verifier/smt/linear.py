"""Symbolic integers in linear arithmetic, for code about bounds: sums, comparisons, multiples, low bits.

``x & (2**k - 1)`` is a remainder and ``x >> k`` a quotient; where the range of ``x`` spans few multiples of ``2**k``,
the usual case of a sum of two words, they are written with comparisons only, which the solver likes better.  Products
of two unknowns, other masks and shifts by unknown amounts have no linear term: :class:`UnsupportedError`.
"""

from __future__ import annotations

from typing import Any

import z3

from prevail_py.verifier.smt.integers import Int, UnsupportedError, Value

__all__ = ["Linear", "LinearInt"]

_FEW = 4


class LinearInt(Int):
    """The integer that the term stands for."""

    __slots__ = ()

    term: z3.ArithRef

    def __init__(self, term: z3.ArithRef, lo: int, hi: int) -> None:
        self.term = term
        self.lo = lo
        self.hi = hi

    def lift(self, value: Value) -> LinearInt:
        return _lift(value)

    def __add__(self, other: Value) -> Value:
        o = _lift(other)
        return LinearInt(self.term + o.term, self.lo + o.lo, self.hi + o.hi)

    def __sub__(self, other: Value) -> Value:
        o = _lift(other)
        return LinearInt(self.term - o.term, self.lo - o.hi, self.hi - o.lo)

    def __mul__(self, other: Value) -> Value:
        o = _lift(other)
        if self.lo != self.hi and o.lo != o.hi:
            raise UnsupportedError("a product of two unknowns is not linear")
        corners = [a * b for a in (self.lo, self.hi) for b in (o.lo, o.hi)]
        return LinearInt(self.term * o.term, min(corners), max(corners))

    def divided(self, other: Value) -> tuple[Value, Value]:
        o = _lift(other)
        if o.lo != o.hi or o.lo <= 0:
            raise UnsupportedError("a quotient by an unknown is not linear")
        quotient = self._quotient(o.lo)
        return quotient, self - quotient * o.lo

    def _quotient(self, divisor: int) -> Any:
        """``self // divisor``, ``divisor > 0``."""
        first, last = self.lo // divisor, self.hi // divisor
        if first == last:
            return first
        if last - first >= _FEW:
            return LinearInt(self.term / divisor, first, last)  # Z3's quotient by a positive number rounds down
        term = z3.IntVal(last)
        for quotient in range(last - 1, first - 1, -1):
            term = z3.If(self.term < (quotient + 1) * divisor, z3.IntVal(quotient), term)
        return LinearInt(term, first, last)

    def __and__(self, other: Value) -> Value:
        o = _lift(other)
        if o.lo != o.hi:
            if self.lo != self.hi:
                raise UnsupportedError("bits of two unknowns are not linear")
            return o & self.lo
        mask = o.lo
        if mask < 0:  # clears low bits, if it is -2**k
            rest = self & ~mask
            return self - rest
        if mask & (mask + 1):
            raise UnsupportedError(f"the bits {mask:#x} of an unknown are not linear")
        if self.lo >= 0 and self.hi <= mask:
            return self
        rest = self - self._quotient(mask + 1) * (mask + 1)
        return LinearInt(rest.term, 0, mask) if isinstance(rest, LinearInt) else rest

    def __or__(self, other: Value) -> Value:
        raise UnsupportedError("a bitwise or is not linear")

    def __xor__(self, other: Value) -> Value:
        raise UnsupportedError("a bitwise exclusive or is not linear")

    def __lshift__(self, other: Value) -> Value:
        return self * (1 << _constant(other))

    def __rshift__(self, other: Value) -> Value:
        quotient: Value = self._quotient(1 << _constant(other))
        return quotient

    def bit_length(self) -> Value:
        """Not linear."""
        raise UnsupportedError("a bit length is not linear")


def _constant(amount: Value) -> int:
    o = _lift(amount)
    if o.lo != o.hi:
        raise UnsupportedError("a shift by an unknown amount is not linear")
    return o.lo


def _lift(value: Value) -> LinearInt:
    if isinstance(value, LinearInt):
        return value
    assert isinstance(value, int)
    return LinearInt(z3.IntVal(value), value, value)


class Linear:
    """The encoding."""

    def solver(self) -> z3.Solver:
        return z3.SimpleSolver()

    def number(self, name: str, lo: int, hi: int) -> tuple[Int, tuple[z3.BoolRef, ...]]:
        term = z3.Int(name)
        return LinearInt(term, lo, hi), (lo <= term, term <= hi)

    def either(self, test: z3.BoolRef, yes: Value, no: Value) -> Value:
        a, b = _lift(yes), _lift(no)
        return LinearInt(z3.If(test, a.term, b.term), min(a.lo, b.lo), max(a.hi, b.hi))

    def value(self, number: Int, model: z3.ModelRef) -> int:
        return int(model.eval(number.term, model_completion=True).as_long())
