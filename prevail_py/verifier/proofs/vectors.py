"""Symbolic integers as bit vectors: every operation of Python's ints, for code about bits.

Python's ints do not overflow, and neither do these: the vector of an :class:`VectorInt` is signed and wide enough for
the range of the integer, which follows from those of the operands.
"""

from __future__ import annotations

import z3

from prevail_py.verifier.proofs.integers import Int, UnsupportedError, Value

__all__ = ["VectorInt", "Vectors"]

_MOST_SHIFT = 1 << 10


def _width(lo: int, hi: int) -> int:
    """The bits of a signed bit vector that holds every integer of ``lo..hi``."""
    return max((lo if lo >= 0 else ~lo).bit_length(), (hi if hi >= 0 else ~hi).bit_length()) + 1


def _resized(term: z3.BitVecRef, width: int) -> z3.BitVecRef:
    size = term.size()
    if size == width:
        return term
    return z3.SignExt(width - size, term) if size < width else z3.Extract(width - 1, 0, term)


class VectorInt(Int):
    """The integer that the signed bit vector ``term`` stands for."""

    __slots__ = ()

    term: z3.BitVecRef

    def __init__(self, term: z3.BitVecRef, lo: int, hi: int) -> None:
        self.lo = lo
        self.hi = hi
        self.term = _resized(term, _width(lo, hi))

    @classmethod
    def unsigned(cls, word: z3.BitVecRef) -> VectorInt:
        """The unsigned reading of a bit vector."""
        return cls(z3.ZeroExt(1, word), 0, (1 << word.size()) - 1)

    @classmethod
    def signed(cls, word: z3.BitVecRef) -> VectorInt:
        """The signed reading of a bit vector."""
        half = 1 << (word.size() - 1)
        return cls(word, -half, half - 1)

    def at(self, width: int) -> z3.BitVecRef:
        """Its low ``width`` bits, in two's complement."""
        return _resized(self.term, width)

    def lift(self, value: Value) -> VectorInt:
        return _lift(value)

    def compared(self, other: Int) -> tuple[z3.BitVecRef, z3.BitVecRef]:
        o = _lift(other)
        width = max(self.term.size(), o.term.size())
        return self.at(width), o.at(width)

    # Arithmetic

    def __add__(self, other: Value) -> Value:
        o = _lift(other)
        lo, hi = self.lo + o.lo, self.hi + o.hi
        width = _width(lo, hi)
        return VectorInt(self.at(width) + o.at(width), lo, hi)

    def __sub__(self, other: Value) -> Value:
        o = _lift(other)
        lo, hi = self.lo - o.hi, self.hi - o.lo
        width = _width(lo, hi)
        return VectorInt(self.at(width) - o.at(width), lo, hi)

    def __mul__(self, other: Value) -> Value:
        o = _lift(other)
        corners = [a * b for a in (self.lo, self.hi) for b in (o.lo, o.hi)]
        lo, hi = min(corners), max(corners)
        width = _width(lo, hi)
        return VectorInt(self.at(width) * o.at(width), lo, hi)

    def divided(self, other: Value) -> tuple[Value, Value]:
        o = _lift(other)
        if o.lo <= 0 <= o.hi and o == 0:
            raise ZeroDivisionError("division of a symbolic integer by zero")
        if self.lo >= 0 and o.lo >= 0:
            width = max(self.term.size(), o.term.size())
            a, b = self.at(width), o.at(width)
            return (
                VectorInt(z3.UDiv(a, b), self.lo // o.hi, self.hi // max(o.lo, 1)),
                VectorInt(z3.URem(a, b), 0, min(self.hi, o.hi - 1)),
            )
        width = max(self.term.size(), o.term.size()) + 1
        a, b = self.at(width), o.at(width)
        zero = z3.BitVecVal(0, width)
        quotient, rest = a / b, z3.SRem(a, b)
        down = z3.And(rest != zero, (rest < zero) != (b < zero))
        most, side = max(abs(self.lo), abs(self.hi)), max(abs(o.lo), abs(o.hi))
        return (
            VectorInt(z3.If(down, quotient - 1, quotient), -most - 1, most),
            VectorInt(z3.If(down, rest + b, rest), -side, side),
        )

    # Bits

    def __and__(self, other: Value) -> Value:
        o = _lift(other)
        if o.lo == o.hi == 0:
            return 0
        width = max(self.term.size(), o.term.size())
        lo, hi = -(1 << (width - 1)), (1 << (width - 1)) - 1
        if self.lo >= 0 or o.lo >= 0:
            lo, hi = 0, min(x.hi for x in (self, o) if x.lo >= 0)
        return VectorInt(self.at(width) & o.at(width), lo, hi)

    def __or__(self, other: Value) -> Value:
        o = _lift(other)
        width, lo, hi = self._spread(o)
        return VectorInt(self.at(width) | o.at(width), lo, hi)

    def __xor__(self, other: Value) -> Value:
        o = _lift(other)
        width, lo, hi = self._spread(o)
        return VectorInt(self.at(width) ^ o.at(width), lo, hi)

    def _spread(self, o: VectorInt) -> tuple[int, int, int]:
        """Width and range of a bitwise combination."""
        width = max(self.term.size(), o.term.size())
        most = (1 << (width - 1)) - 1
        return width, (0 if self.lo >= 0 and o.lo >= 0 else ~most), most

    def __invert__(self) -> Value:
        return VectorInt(~self.term, ~self.hi, ~self.lo)

    def __lshift__(self, other: Value) -> Value:
        if isinstance(other, _BitLength) and self.lo == self.hi == 1:
            return VectorInt(z3.ZeroExt(1, other.smeared) + 1, 1 << other.lo, 1 << other.hi)
        o = _lift(other)
        if o.lo < 0 and o < 0:
            raise ValueError("negative shift count")
        if o.hi > _MOST_SHIFT:
            raise UnsupportedError(f"a shift to the left by up to {o.hi}")
        corners = [x << s for x in (self.lo, self.hi) for s in (max(o.lo, 0), o.hi)]
        lo, hi = min(corners), max(corners)
        width = max(_width(lo, hi), o.term.size())
        return VectorInt(self.at(width) << o.at(width), lo, hi)

    def __rshift__(self, other: Value) -> Value:
        o = _lift(other)
        if o.lo < 0 and o < 0:
            raise ValueError("negative shift count")
        corners = [a >> min(s, _MOST_SHIFT) for a in (self.lo, self.hi) for s in (max(o.lo, 0), o.hi)]
        width = max(self.term.size(), o.term.size())
        return VectorInt(self.at(width) >> o.at(width), min(corners), max(corners))

    def bit_length(self) -> Value:
        """As of int: that of the magnitude; ``1 << x.bit_length()`` is made without a shift."""
        if self.lo < 0 and self < 0:
            length: Value = (-self).bit_length()
            return length
        return _BitLength(self)


class _BitLength(VectorInt):
    """The bit length of an integer, with ``smeared``: all bits from its highest one downwards."""

    __slots__ = ("smeared",)

    smeared: z3.BitVecRef

    def __init__(self, source: VectorInt) -> None:
        least, most = max(source.lo, 0).bit_length(), source.hi.bit_length()
        width = _width(0, most)
        term = z3.BitVecVal(least, width)
        for length in range(least + 1, most + 1):
            reached = z3.Extract(length - 1, length - 1, source.at(length + 1)) == 1
            term = z3.If(reached, z3.BitVecVal(length, width), term)
        super().__init__(term, least, most)
        smeared, step = source.term, 1
        while step < smeared.size():
            smeared = smeared | z3.LShR(smeared, step)
            step += step
        self.smeared = smeared


def _lift(value: Value) -> VectorInt:
    if isinstance(value, VectorInt):
        return value
    assert isinstance(value, int)
    return VectorInt(z3.BitVecVal(value, _width(value, value)), value, value)


class Vectors:
    """The encoding."""

    def solver(self) -> z3.Solver:
        return z3.SolverFor("QF_BV")

    def number(self, name: str, lo: int, hi: int) -> tuple[Int, tuple[z3.BoolRef, ...]]:
        if lo == 0 and hi & (hi + 1) == 0 and hi:
            return VectorInt.unsigned(z3.BitVec(name, hi.bit_length())), ()
        width = _width(lo, hi)
        term = z3.BitVec(name, width)
        return VectorInt(term, lo, hi), (z3.BitVecVal(lo, width) <= term, term <= z3.BitVecVal(hi, width))

    def either(self, test: z3.BoolRef, yes: Value, no: Value) -> Value:
        a, b = _lift(yes), _lift(no)
        lo, hi = min(a.lo, b.lo), max(a.hi, b.hi)
        width = _width(lo, hi)
        return VectorInt(z3.If(test, a.at(width), b.at(width)), lo, hi)

    def value(self, number: Int, model: z3.ModelRef) -> int:
        return int(model.eval(number.term, model_completion=True).as_signed_long())
