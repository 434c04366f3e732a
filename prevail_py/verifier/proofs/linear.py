"""Symbolic integers in linear arithmetic, for code about bounds: sums, comparisons, multiples, low bits.

``x & (2**k - 1)`` is a remainder and ``x >> k`` a quotient; where the range of ``x`` spans few multiples of ``2**k``,
the usual case of a sum of two words, they are written with comparisons only, which the solver likes better.  Products
of two unknowns, other masks and shifts by unknown amounts have no linear term: :class:`UnsupportedError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import z3

from prevail_py.verifier.proofs.integers import Bool, Int, UnsupportedError, Value, condition

__all__ = ["Beyond", "Linear", "LinearInt", "beyond", "set_beyond"]

_FEW = 4

Beyond: TypeAlias = Callable[[str, "LinearInt", "LinearInt"], Value]
"""Makes something that stands for an operation that is not linear."""

_beyond: Beyond | None = None


def beyond() -> Beyond | None:
    """What does so at the moment."""
    return _beyond


def set_beyond(operation: Beyond | None) -> None:
    """Have this do so."""
    global _beyond
    _beyond = operation


class LinearInt(Int):
    """The integer that the term stands for.

    ``parts`` is None, or ``(k, high, low)`` with ``high * 2**k + low`` the integer and ``low`` in ``0..2**k-1``.
    ``shifted`` is None, or ``(base, k)`` with ``base * 2**k`` the integer.
    """

    __slots__ = ("parts", "shifted")

    term: z3.ArithRef
    parts: tuple[int, Value, Value] | None
    shifted: tuple[LinearInt, int] | None

    def __init__(self, term: z3.ArithRef, lo: int, hi: int, parts: tuple[int, Value, Value] | None = None) -> None:
        self.term = term
        self.lo = lo
        self.hi = hi
        self.parts = parts
        self.shifted = None

    def lift(self, value: Value) -> LinearInt:
        return _lift(value)

    def split(self, k: int) -> tuple[Value, Value] | None:
        """Its quotient and remainder by ``2**k``, where they are known without division."""
        if self.lo == self.hi:
            return self.lo >> k, self.lo & ((1 << k) - 1)
        if self.parts is not None and self.parts[0] == k:
            return self.parts[1:]
        return (0, self) if self.lo >= 0 and self.hi >> k == 0 else None

    def __add__(self, other: Value) -> Value:
        o = _lift(other)
        result = LinearInt(self.term + o.term, self.lo + o.lo, self.hi + o.hi)
        result.parts = _sum(self, o, 1)
        return result

    def __sub__(self, other: Value) -> Value:
        o = _lift(other)
        if self.term.eq(o.term):
            return 0
        result = LinearInt(self.term - o.term, self.lo - o.hi, self.hi - o.lo)
        result.parts = _sum(self, o, -1)
        return result

    def __mul__(self, other: Value) -> Value:
        o = _lift(other)
        for one, other in ((self, o), (o, self)):
            if one.shifted is not None and other.lo != other.hi:
                return (one.shifted[0] * other) << one.shifted[1]
        if self.lo != self.hi and o.lo != o.hi:
            return _unknown("product", self, o, "a product of two unknowns is not linear")
        corners = [a * b for a in (self.lo, self.hi) for b in (o.lo, o.hi)]
        result = LinearInt(self.term * o.term, min(corners), max(corners))
        if o.lo == o.hi and o.lo > 1 and o.lo & (o.lo - 1) == 0:
            result.shifted = self, o.lo.bit_length() - 1
        return result

    def __abs__(self) -> Value:
        """Without a fork, and with its range."""
        if self.lo >= 0:
            return self
        return LinearInt(z3.If(self.term >= 0, self.term, -self.term), 0, max(-self.lo, self.hi))

    def __lt__(self, other: Value) -> bool | Bool:
        o = _lift(other)
        if self.hi < o.lo or self.lo >= o.hi:
            return self.hi < o.lo
        return _before(self, o, strict=True)

    def __le__(self, other: Value) -> bool | Bool:
        o = _lift(other)
        if self.hi <= o.lo or self.lo > o.hi:
            return self.hi <= o.lo
        return _before(self, o, strict=False)

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, int | Int):
            return NotImplemented
        o = _lift(other)
        if self.hi < o.lo or o.hi < self.lo:
            return False
        both = _split(self, o)
        if both is None:
            return Bool(self.term == o.term)
        (_, high, low), (_, high_, low_) = both
        return Bool(z3.And(condition(high == high_), condition(low == low_)))

    __hash__ = object.__hash__

    def divided(self, other: Value) -> tuple[Value, Value]:
        o = _lift(other)
        if o.lo != o.hi or o.lo <= 0:
            quotient = _unknown("quotient", self, o, "a quotient by an unknown is not linear")
        else:
            quotient = self._quotient(o.lo)
        return quotient, self - quotient * o

    def _quotient(self, divisor: int) -> Any:
        """``self // divisor``, ``divisor > 0``."""
        first, last = self.lo // divisor, self.hi // divisor
        if first == last:
            return first
        if self.shifted is not None and divisor & ((1 << self.shifted[1]) - 1) == 0:
            return self.shifted[0]._quotient(divisor >> self.shifted[1])
        if self.parts is not None and divisor & (divisor - 1) == 0 and divisor >> self.parts[0]:
            return self.parts[1] // (divisor >> self.parts[0])
        if last - first >= _FEW:
            return LinearInt(self.term / divisor, first, last)  # Z3's quotient by a positive number rounds down
        term = z3.IntVal(last)
        for quotient in range(last - 1, first - 1, -1):
            term = z3.If(self.term < (quotient + 1) * divisor, z3.IntVal(quotient), term)
        return LinearInt(term, first, last)

    def _remainder(self, k: int) -> Value:
        """``self % 2**k``."""
        if self.lo >= 0 and self.hi >> k == 0:
            return self
        if self.shifted is not None:
            base, at = self.shifted
            return base._remainder(k - at) << at if k > at else 0
        if self.parts is None or k < self.parts[0]:
            low = self if self.parts is None else self.parts[2]
            if low is not self:
                return low & ((1 << k) - 1)
            rest = _without_multiples(self.term, 1 << k)
            if not rest.eq(self.term):
                return LinearInt(rest % (1 << k), 0, (1 << k) - 1)
            rest = self - self._quotient(1 << k) * (1 << k)
            return LinearInt(rest.term, 0, (1 << k) - 1) if isinstance(rest, LinearInt) else rest
        at, high, low = self.parts
        return joined(at, high & ((1 << k - at) - 1), low)

    def __and__(self, other: Value) -> Value:
        o = _lift(other)
        if o.lo != o.hi:
            if self.lo != self.hi:
                return _unknown("and", self, o, "bits of two unknowns are not linear")
            return o & self.lo
        mask = o.lo
        if mask < 0:  # clears low bits, if it is -2**k
            return self - (self & ~mask)
        if mask & (mask + 1):
            return _unknown("and", self, o, f"the bits {mask:#x} of an unknown are not linear")
        return self._remainder(mask.bit_length())

    def __or__(self, other: Value) -> Value:
        return _unknown("or", self, _lift(other), "a bitwise or is not linear")

    def __xor__(self, other: Value) -> Value:
        return _unknown("xor", self, _lift(other), "a bitwise exclusive or is not linear")

    def __lshift__(self, other: Value) -> Value:
        return self * _power(other)

    def __rshift__(self, other: Value) -> Value:
        quotient: Value = self.divided(_power(other))[0]
        return quotient

    def bit_length(self) -> Value:
        """Not linear."""
        raise UnsupportedError("a bit length is not linear")


def joined(k: int, high: Value, low: Value) -> Value:
    """``high * 2**k + low``, split there."""
    if isinstance(high, int) and isinstance(low, int):
        return (high << k) + low
    a, b = _lift(high), _lift(low)
    return LinearInt(a.term * (1 << k) + b.term, (a.lo << k) + b.lo, (a.hi << k) + b.hi, (k, high, low))


def _split(a: LinearInt, b: LinearInt) -> tuple[tuple[int, Value, Value], tuple[int, Value, Value]] | None:
    """Both split at one place, where either is."""
    k = a.parts[0] if a.parts is not None else b.parts[0] if b.parts is not None else 0
    if not k:
        return None
    one, other = a.split(k), b.split(k)
    return None if one is None or other is None else ((k, *one), (k, *other))


def _sum(a: LinearInt, b: LinearInt, sign: int) -> tuple[int, Value, Value] | None:
    """The parts of ``a + b`` or ``a - b``."""
    both = _split(a, b)
    if both is None:
        return None
    (k, high, low), (_, high_, low_) = both
    whole = low + low_ if sign > 0 else low - low_
    carry: Value = whole >> k
    return k, (high + high_ if sign > 0 else high - high_) + carry, whole - (carry << k)


def _before(a: LinearInt, b: LinearInt, strict: bool) -> bool | Bool:
    """The order by high parts, then by low ones: both are small steps for the solver, where one sum is not."""
    both = _split(a, b)
    if both is None:
        return Bool(a.term < b.term if strict else a.term <= b.term)
    (_, high, low), (_, high_, low_) = both
    less = condition(low < low_ if strict else low <= low_)
    return Bool(z3.Or(condition(high < high_), z3.And(condition(high == high_), less)))


def _unknown(operation: str, a: LinearInt, b: LinearInt, why: str) -> Value:
    """What stands for an operation that is not linear, if anything does."""
    if _beyond is None:
        raise UnsupportedError(why)
    return _beyond(operation, a, b)


def _without_multiples(term: z3.ArithRef, size: int) -> z3.ArithRef:
    """A term that is the same modulo ``size``, without such summands as are multiples: it may be that of other numbers.

    Of ``x * y`` and ``(x - size) * (y - size)``, say.
    """
    simple = z3.simplify(term)
    if not z3.is_add(simple):
        return term
    kept = [part for part in simple.children() if _factor(part) % size]
    return z3.Sum([z3.IntVal(0), *kept]) if len(kept) < simple.num_args() else term


def _factor(term: z3.ArithRef) -> int:
    """The integer by which a summand is written."""
    constant = term.arg(0) if z3.is_mul(term) else term
    return int(constant.as_long()) if z3.is_int_value(constant) else 1


def _power(amount: Value) -> Value:
    """Two to an amount by which something is shifted."""
    o = _lift(amount)
    if o.lo < 0 and o < 0:
        raise ValueError("negative shift count")
    return _unknown("power", o, o, "a shift by an unknown amount is not linear") if o.lo != o.hi else 1 << o.lo


def _lift(value: Value) -> LinearInt:
    if isinstance(value, LinearInt):
        return value
    assert isinstance(value, int)
    return LinearInt(z3.IntVal(value), value, value)


class Linear:
    """The encoding; unknowns of more than ``low`` bits are made of two, split there, if it is given."""

    def __init__(self, low: int = 0) -> None:
        self.low = low

    def solver(self) -> z3.Solver:
        return z3.SimpleSolver()

    def number(self, name: str, lo: int, hi: int) -> tuple[Int, tuple[z3.BoolRef, ...]]:
        k = self.low
        if k and hi - lo >> k:
            high, assumptions = self._plain(f"{name} high", lo >> k, hi >> k)
            low, more = self._plain(f"{name} low", 0, (1 << k) - 1)
            whole = joined(k, high, low)
            assert isinstance(whole, LinearInt)
            inside = () if whole.lo >= lo and whole.hi <= hi else (lo <= whole.term, whole.term <= hi)
            return whole, (*assumptions, *more, *inside)
        return self._plain(name, lo, hi)

    def _plain(self, name: str, lo: int, hi: int) -> tuple[LinearInt, tuple[z3.BoolRef, ...]]:
        term = z3.Int(name)
        return LinearInt(term, lo, hi), (lo <= term, term <= hi)

    def either(self, test: z3.BoolRef, yes: Value, no: Value) -> Value:
        a, b = _lift(yes), _lift(no)
        both = _split(a, b)
        if both is not None:
            (k, high, low), (_, high_, low_) = both
            return joined(k, self.either(test, high, high_), self.either(test, low, low_))
        if a.term.eq(b.term):
            return a
        return LinearInt(z3.If(test, a.term, b.term), min(a.lo, b.lo), max(a.hi, b.hi))

    def value(self, number: Int, model: z3.ModelRef) -> int:
        return int(model.eval(number.term, model_completion=True).as_long())
