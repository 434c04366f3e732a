"""The reading of the word algebra in Python source text.

:func:`prevail_py.words.evaluate` in this algebra *writes* what it computes in :class:`~prevail_py.words.IntAlgebra`: a
vector of bits is an expression whose value is the same int.  The only freedom taken is to leave out masks that change
nothing:

- a bound on the value is carried along, and a mask that covers it is dropped;
- addition, subtraction, multiplication, shifts to the left and masks may read operands that are only *congruent* to
  the right ones modulo ``2**width``, so a truncation before them is dropped, their own result being masked;
- signed order is unsigned order once the sign bits of both sides are inverted.

>>> from prevail_py.words import OpKind, WordOp, evaluate
>>> print(evaluate(SOURCE, WordOp(OpKind.ADD, 32), (name("r1"), SOURCE.const(7, 64))))
(r1 + 7 & 0xffffffff)
>>> print(evaluate(SOURCE, WordOp(OpKind.RSH, 64), (name("r1"), SOURCE.const(3, 64))))
(r1 >> 3)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from prevail_py.words import INT, WORD_BITS, Comparison, to_signed

__all__ = ["NAMES", "SOURCE", "SourceAlgebra", "Term", "name"]

NAMES: Final[Mapping[str, object]] = MappingProxyType(
    {"sdiv": INT.sdiv, "smod": INT.smod, "from_bytes": int.from_bytes}
)
"""What the text refers to beside the names of its operands."""


@dataclass(frozen=True, slots=True)
class Term:
    """An expression, atomic or in parentheses, whose value lies in ``0..bound``.

    ``loose`` is the text of an expression that is congruent to it modulo ``2**width``, width being the term's, and
    cheaper; ``value`` is that of a constant.
    """

    text: str
    bound: int
    loose: str
    value: int | None = None

    def __str__(self) -> str:
        return self.text


def name(text: str, width: int = WORD_BITS) -> Term:
    """A variable that holds a vector of ``width`` bits."""
    return Term(text, (1 << width) - 1, text)


def _term(text: str, bound: int) -> Term:
    return Term(f"({text})", bound, f"({text})")


def _masked(text: str, width: int) -> Term:
    """The low bits of any int: ``text`` binds more tightly than ``&``."""
    return Term(f"({text} & {(1 << width) - 1:#x})", (1 << width) - 1, f"({text})")


_SIGNED: Final = {Comparison.SLT: "<", Comparison.SLE: "<=", Comparison.SGT: ">", Comparison.SGE: ">="}
_UNSIGNED: Final = {
    Comparison.EQ: "==", Comparison.NE: "!=",
    Comparison.ULT: "<", Comparison.ULE: "<=", Comparison.UGT: ">", Comparison.UGE: ">=",
}  # fmt: skip


class SourceAlgebra:
    """The algebra of :class:`Term`; a predicate is the text of a condition."""

    def const(self, value: int, width: int) -> Term:
        value &= (1 << width) - 1
        # A constant with its sign bit set is congruent to a small negative one, which keeps sums below 2**64.
        return Term(str(value), value, str(to_signed(value, width)), value)

    def add(self, a: Term, b: Term, width: int) -> Term:
        if a.value is not None and b.value is None:
            a, b = b, a
        if b.value is not None and b.loose.startswith("-"):
            return _masked(f"{a.loose} - {b.loose[1:]}", width)
        if a.bound + b.bound < 1 << width:
            return _term(f"{a} + {b}", a.bound + b.bound)
        return _masked(f"{a.loose} + {b.loose}", width)

    def sub(self, a: Term, b: Term, width: int) -> Term:
        return _masked(f"{a.loose} - {b if b.value is not None else b.loose}", width)

    def mul(self, a: Term, b: Term, width: int) -> Term:
        if a.bound * b.bound < 1 << width:
            return _term(f"{a} * {b}", a.bound * b.bound)
        return _masked(f"{_factor(a)} * {_factor(b)}", width)

    def udiv(self, a: Term, b: Term, width: int) -> Term:
        if b.value is not None:
            return _term(f"{a} // {b}", a.bound // b.value) if b.value else self.const(0, width)
        return _term(f"{a} // {b} if {b} else 0", a.bound)

    def umod(self, a: Term, b: Term, width: int) -> Term:
        if b.value is not None:
            return _term(f"{a} % {b}", min(a.bound, b.value - 1)) if b.value else a
        return _term(f"{a} % {b} if {b} else {a}", a.bound)

    def sdiv(self, a: Term, b: Term, width: int) -> Term:
        return _call(f"sdiv({a}, {b}, {width})", width)

    def smod(self, a: Term, b: Term, width: int) -> Term:
        return _call(f"smod({a}, {b}, {width})", width)

    def bit_and(self, a: Term, b: Term, width: int) -> Term:
        if b.value is not None:
            return _term(f"{a.loose} & {b}", min(a.bound, b.value))
        return _term(f"{a} & {b}", min(a.bound, b.bound))

    def bit_or(self, a: Term, b: Term, width: int) -> Term:
        return _term(f"{a} | {b}", _ones(a.bound | b.bound))

    def bit_xor(self, a: Term, b: Term, width: int) -> Term:
        return _term(f"{a} ^ {b}", _ones(a.bound | b.bound))

    def shl(self, a: Term, b: Term, width: int) -> Term:
        if b.value is not None:
            shift = b.value & (width - 1)
            if a.bound << shift < 1 << width:
                return _term(f"{a} << {shift}", a.bound << shift)
            return _masked(f"{_factor(a)} << {shift}", width)
        return _masked(f"{_factor(a)} << ({b} & {width - 1})", width)

    def lshr(self, a: Term, b: Term, width: int) -> Term:
        if b.value is not None:
            shift = b.value & (width - 1)
            return _term(f"{a} >> {shift}", a.bound >> shift)
        return _term(f"{a} >> ({b} & {width - 1})", a.bound)

    def ashr(self, a: Term, b: Term, width: int) -> Term:
        shift = str(b.value & (width - 1)) if b.value is not None else f"({b} & {width - 1})"
        return _masked(f"{_signed(a, width)} >> {shift}", width)

    def neg(self, a: Term, width: int) -> Term:
        return _masked(f"-{_factor(a)}", width)

    def bswap(self, a: Term, width: int) -> Term:
        return _call(f'from_bytes({a}.to_bytes({width // 8}, "little"), "big")', width)

    def truncate(self, a: Term, width: int, to: int) -> Term:
        if a.value is not None:
            return self.const(a.value, to)
        if a.bound < 1 << to:
            return a
        return Term(f"({a} & {(1 << to) - 1:#x})", (1 << to) - 1, a.loose)

    def zero_extend(self, a: Term, width: int, to: int) -> Term:
        if a.value is not None:
            return self.const(a.value, to)
        return a if to == width else Term(a.text, a.bound, a.text)  # congruent modulo the old width only

    def sign_extend(self, a: Term, width: int, to: int) -> Term:
        if a.value is not None:
            return self.const(to_signed(a.value, width), to)
        if a.bound < 1 << width - 1:
            return Term(a.text, a.bound, a.text)
        return _masked(_signed(a, width), to)

    def compare(self, comparison: Comparison, a: Term, b: Term, width: int) -> str:
        if comparison in _UNSIGNED:
            return f"{a} {_UNSIGNED[comparison]} {b}"
        if comparison in _SIGNED:
            return f"{_biased(a, width)} {_SIGNED[comparison]} {_biased(b, width)}"
        return f"{a} & {b} {'!=' if comparison is Comparison.SET else '=='} 0"


def _call(text: str, width: int) -> Term:
    return Term(text, (1 << width) - 1, text)


def _factor(a: Term) -> str:
    """The loose text where it may stand beside an operator that binds more tightly than a sign."""
    return f"({a.loose})" if a.loose.startswith("-") else a.loose


def _ones(bound: int) -> int:
    return (1 << bound.bit_length()) - 1


def _signed(a: Term, width: int) -> str:
    """The two's complement reading: inverting the sign bit adds ``2**(width - 1)`` to it."""
    if a.value is not None:
        return f"({to_signed(a.value, width)})"
    half = 1 << width - 1
    return a.text if a.bound < half else f"(({a} ^ {half:#x}) - {half:#x})"


def _biased(a: Term, width: int) -> str:
    """An unsigned number in the order of the signed readings."""
    half = 1 << width - 1
    return str(a.value ^ half) if a.value is not None else f"({a} ^ {half:#x})"


SOURCE: Final = SourceAlgebra()
