"""Symbolic Python integers: what code written for ints may do with them.

An abstract operator is Python code over ints: ``+``, ``&``, ``<<``, comparisons, ``min``, ``if``.  Here the same code
runs on :class:`Int`, which stands for one mathematical integer of a known range.  There are two encodings, each exact:
:mod:`~prevail_py.verifier.proofs.vectors` as bit vectors, for code about bits, and
:mod:`~prevail_py.verifier.proofs.linear` as terms of linear arithmetic, for code about bounds.  (Sums and comparisons
of 64 bits are a long search for a solver that sees bits, and a moment for one that sees integers.)

Comparisons give a :class:`Bool`.  Where Python asks one for its truth (``if``, ``and``, ``while``, ``min``) the run
*forks*: see :mod:`~prevail_py.verifier.proofs.exploring`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self, TypeAlias

import z3

__all__ = ["Bool", "Encoding", "Int", "UnsupportedError", "Value", "condition", "decider", "set_decider"]

Value: TypeAlias = Any
"""An int or an Int; ints are lifted."""


class UnsupportedError(Exception):
    """The code does something with a symbolic integer that this encoding has no term for, or that has no meaning."""


_decide: Callable[[z3.BoolRef], bool] | None = None


def decider() -> Callable[[z3.BoolRef], bool] | None:
    """Who answers conditions at the moment."""
    return _decide


def set_decider(decide: Callable[[z3.BoolRef], bool] | None) -> None:
    """Have conditions answered by ``decide``."""
    global _decide
    _decide = decide


class Bool:
    """A symbolic condition; to ask for its truth forks."""

    __slots__ = ("term",)

    def __init__(self, term: z3.BoolRef) -> None:
        self.term = term

    def __bool__(self) -> bool:
        if _decide is None:
            raise UnsupportedError("a symbolic condition was asked for its truth outside of an exploration")
        return _decide(self.term)

    def __invert__(self) -> Bool:
        return Bool(z3.Not(self.term))

    def __and__(self, other: bool | Bool) -> Bool:
        return Bool(z3.And(self.term, condition(other)))

    def __or__(self, other: bool | Bool) -> Bool:
        return Bool(z3.Or(self.term, condition(other)))

    __rand__ = __and__
    __ror__ = __or__

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, bool | Bool):
            return NotImplemented
        return Bool(self.term == condition(other))

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Bool({z3.simplify(self.term)})"


def condition(value: bool | Bool) -> z3.BoolRef:
    """A Python or symbolic truth value as a Z3 term."""
    return value.term if isinstance(value, Bool) else z3.BoolVal(bool(value))


class Int:
    """The integer that ``term`` stands for, which lies in ``lo..hi``; arithmetic is the encoding's.

    The reflected operators lift the int on the left, and division is Python's: towards minus infinity.
    """

    __slots__ = ("hi", "lo", "term")

    term: Any
    lo: int
    hi: int

    def lift(self, value: Value) -> Self:
        """An int in this encoding."""
        raise NotImplementedError

    def divided(self, other: Value) -> tuple[Value, Value]:
        """Quotient and remainder; raises ZeroDivisionError on a path where the divisor is zero."""
        raise NotImplementedError

    # Each encoding has + - * & | ^ ~ << >> and bit_length.

    def __radd__(self, other: int) -> Any:
        return self.lift(other) + self  # type: ignore[operator]

    def __rsub__(self, other: int) -> Any:
        return self.lift(other) - self  # type: ignore[operator]

    def __rmul__(self, other: int) -> Any:
        return self.lift(other) * self  # type: ignore[operator]

    def __neg__(self) -> Any:
        return self.lift(0) - self  # type: ignore[operator]

    def __invert__(self) -> Any:
        return self.lift(-1) - self  # type: ignore[operator]

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def to_bytes(self, length: int = 1, byteorder: str = "big") -> bytes:
        """Not of an unknown."""
        raise UnsupportedError("the bytes of a symbolic integer")

    def __rand__(self, other: int) -> Any:
        return self & other  # type: ignore[operator]

    def __ror__(self, other: int) -> Any:
        return self | other  # type: ignore[operator]

    def __rxor__(self, other: int) -> Any:
        return self ^ other  # type: ignore[operator]

    def __rlshift__(self, other: int) -> Any:
        return self.lift(other) << self  # type: ignore[operator]

    def __rrshift__(self, other: int) -> Any:
        return self.lift(other) >> self  # type: ignore[operator]

    def __floordiv__(self, other: Value) -> Any:
        return self.divided(other)[0]

    def __rfloordiv__(self, other: int) -> Any:
        return self.lift(other).divided(self)[0]

    def __mod__(self, other: Value) -> Any:
        return self.divided(other)[1]

    def __rmod__(self, other: int) -> Any:
        return self.lift(other).divided(self)[1]

    # Comparisons are settled by the ranges where these do not overlap.

    def compared(self, other: Int) -> tuple[Any, Any]:
        """The two terms made comparable."""
        return self.term, other.term

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, int | Int):
            return NotImplemented
        o = self.lift(other)
        if self.hi < o.lo or o.hi < self.lo:
            return False
        a, b = self.compared(o)
        return Bool(a == b)

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        if equal is NotImplemented or isinstance(equal, bool):
            return equal if equal is NotImplemented else not equal
        return ~equal

    def __lt__(self, other: Value) -> bool | Bool:
        o = self.lift(other)
        if self.hi < o.lo or self.lo >= o.hi:
            return self.hi < o.lo
        a, b = self.compared(o)
        return Bool(a < b)

    def __le__(self, other: Value) -> bool | Bool:
        o = self.lift(other)
        if self.hi <= o.lo or self.lo > o.hi:
            return self.hi <= o.lo
        a, b = self.compared(o)
        return Bool(a <= b)

    def __gt__(self, other: Value) -> bool | Bool:
        return self.lift(other) < self

    def __ge__(self, other: Value) -> bool | Bool:
        return self.lift(other) <= self

    def __bool__(self) -> bool:
        return bool(self != 0)

    __hash__ = object.__hash__

    def __index__(self) -> int:
        raise UnsupportedError("a symbolic integer was used where Python needs a number (range, indexing, int)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({z3.simplify(self.term)}, {self.lo}, {self.hi})"


class Encoding(Protocol):
    """A way to write symbolic integers as Z3 terms."""

    def solver(self) -> z3.Solver:
        """A solver for such terms."""
        ...

    def number(self, name: str, lo: int, hi: int) -> tuple[Int, tuple[z3.BoolRef, ...]]:
        """An unknown integer of ``lo..hi``, and what to assume for that."""
        ...

    def either(self, test: z3.BoolRef, yes: Value, no: Value) -> Value:
        """``yes`` where ``test`` holds, else ``no``."""
        ...

    def value(self, number: Int, model: z3.ModelRef) -> int:
        """Its value in a model."""
        ...
