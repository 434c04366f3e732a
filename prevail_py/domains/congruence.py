"""Congruences within bounds: words that start somewhere and go on in equal steps, as what walks through an array does.

A :class:`Congruence` is an arithmetic progression of unsigned words, ``lo, lo + stride, ..., hi``; one word has
stride 0.  A bare congruence (Granger 1989) keeps nothing but powers of two once arithmetic may wrap around; with the
bounds it is known where it does not, so that a step of 12 stays a step of 12 (strided intervals: Balakrishnan and
Reps, 2004).

Each element has one form and each form is another set of words, so equality is semantic.  Inclusion and meet are
exact, and joins are least.  **Bottom** is ``(1, 0, 0)``.  Operations that have no case in :meth:`Congruence.apply` keep
the low bits that all words of each argument share, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any, ClassVar, Self

from prevail_py.domains.lattice import Range
from prevail_py.words import INT, Comparison, OpKind, WordOp, evaluate

__all__ = ["Congruence"]


class Congruence:
    """An arithmetic progression of words; see the module's text.  Treat instances as immutable."""

    __slots__ = ("hi", "lo", "stride")

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32
    _sizes: ClassVar[dict[tuple[int, int], Any]] = {}

    def __init__(self, lo: int, hi: int, stride: int) -> None:
        """Private: ``stride`` divides ``hi - lo`` and is 0 only where that is; or all of it is bottom."""
        self.lo, self.hi, self.stride = lo, hi, stride

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The same domain on words of ``width`` bits with a low half of ``low < width`` bits."""
        if (width, low) == (cls.WIDTH, cls.LOW):
            return cls
        if not 0 < low < width:
            raise ValueError(f"no words of {width} bits with a low half of {low}")
        if (width, low) not in cls._sizes:
            body = {"__slots__": (), "WIDTH": width, "LOW": low, "__doc__": cls.__doc__}
            cls._sizes[width, low] = type(cls.__name__, (cls,), body)
        return cls._sizes[width, low]  # type: ignore[no-any-return]

    # Constructors -------------------------------------------------------------------------------------------------

    @classmethod
    def top(cls) -> Self:
        """Every word."""
        return cls(0, (1 << cls.WIDTH) - 1, 1)

    @classmethod
    def bottom(cls) -> Self:
        """No word."""
        return cls(1, 0, 0)

    @classmethod
    def constant(cls, value: int) -> Self:
        """Just ``value``, taken modulo the word size."""
        value &= (1 << cls.WIDTH) - 1
        return cls(value, value, 0)

    @classmethod
    def between(cls, lo: int, hi: int) -> Self:
        """The words with unsigned value in ``lo..hi``."""
        return cls.of(lo, hi, 1)

    @classmethod
    def of(cls, lo: int, hi: int, stride: int) -> Self:
        """``lo``, ``lo + stride`` and so on, as far as ``hi``; bottom where ``lo > hi``."""
        if lo > hi:
            return cls.bottom()
        if stride == 0 or hi - lo < stride:
            return cls(lo, lo, 0)
        return cls(lo, hi - (hi - lo) % stride, stride)

    @classmethod
    def _wrapped(cls, lo: int, hi: int, stride: int, width: int) -> Self:
        """The progression of integers taken modulo ``2**width``."""
        if lo >> width == hi >> width:
            base = lo >> width << width
            return cls.of(lo - base, hi - base, stride)
        stride = gcd(stride, 1 << width)
        return cls.of(lo % stride, (1 << width) - 1, stride)

    # Queries ------------------------------------------------------------------------------------------------------

    def is_bottom(self) -> bool:
        """Whether there is no word in it."""
        return self.lo > self.hi

    def is_top(self) -> bool:
        """Whether every word is in it."""
        return self.lo == 0 and self.hi == (1 << self.WIDTH) - 1 and self.stride == 1

    def bounds(self, width: int = 64, signed: bool = False) -> Range:
        """The least and greatest low ``width`` bits, read as signed or unsigned."""
        if self.lo > self.hi:
            return Range(1, 0)
        lo, hi = (low := self._truncated(width)).lo, low.hi
        half = 1 << (width - 1)
        if not signed or hi < half:
            return Range(lo, hi)
        return Range(lo - half - half, hi - half - half) if lo >= half else Range(-half, half - 1)

    def contains(self, word: int) -> bool:
        """Whether ``word`` is in it."""
        return self.lo <= word <= self.hi and (word == self.lo or (word - self.lo) % self.stride == 0)

    # Lattice ------------------------------------------------------------------------------------------------------

    def leq(self, other: Self) -> bool:
        """Inclusion, exactly."""
        if self.lo > self.hi:
            return True
        step = other.stride or 1
        return (
            other.lo <= self.lo and self.hi <= other.hi and (self.lo - other.lo) % step == 0 and self.stride % step == 0
        )

    def join(self, other: Self) -> Self:
        """The least progression with both: its stride divides both and the distance between them."""
        if self.lo > self.hi or other.lo > other.hi:
            return other if self.lo > self.hi else self
        stride = gcd(self.stride, other.stride, self.lo - other.lo)
        return self.of(min(self.lo, other.lo), max(self.hi, other.hi), stride)

    def meet(self, other: Self) -> Self:
        """The intersection, exactly: by the Chinese remainder theorem it is a progression, too."""
        if self.lo > self.hi or other.lo > other.hi:
            return self.bottom()
        a, b = (self.stride or 1), (other.stride or 1)
        common = gcd(a, b)
        if (other.lo - self.lo) % common:
            return self.bottom()
        step = a // common * b
        inverse = pow(a // common, -1, b // common) if b > common else 0
        first = self.lo + a * ((other.lo - self.lo) // common * inverse % (b // common))
        lo = max(self.lo, other.lo)
        return self.of(lo + (first - lo) % step, min(self.hi, other.hi), step)

    def widen(self, other: Self, thresholds: Sequence[int] = ()) -> Self:
        """An upper bound in which a bound that ``other`` exceeds jumps to a threshold or its extreme.

        Strides descend by division and bounds move outwards from threshold to threshold, so chains are finite.
        """
        both = self.join(other)
        if self.lo > self.hi or both == self:
            return both
        last = (1 << self.WIDTH) - 1
        lo, hi = both.lo, both.hi
        if lo < self.lo:
            lo = max((t for t in thresholds if t <= lo), default=0)
        if hi > self.hi:
            hi = min((t for t in thresholds if last >= t >= hi), default=last)
        return self.of(lo + (both.lo - lo) % both.stride, hi, both.stride)

    def narrow(self, other: Self) -> Self:
        """``self`` with those of its bounds that no word lies beyond cut down by ``other``: each only once."""
        both = self.meet(other)
        if both.lo > both.hi:
            return both
        lo = both.lo if self.lo < self.stride else self.lo
        hi = both.hi if self.hi + self.stride >> self.WIDTH else self.hi
        return self.of(lo, hi, self.stride)

    # Operations ---------------------------------------------------------------------------------------------------

    def _truncated(self, width: int) -> Self:
        return self if self.hi >> width == 0 else self._wrapped(self.lo, self.hi, self.stride, width)

    def apply(self, op: WordOp, *args: Self) -> Self:
        """``op(self, *args)``; see :meth:`prevail_py.domains.lattice.Word.apply`."""
        if self.lo > self.hi or any(arg.lo > arg.hi for arg in args):
            return self.bottom()
        if not self.stride and not any(arg.stride for arg in args):
            return self.constant(evaluate(INT, op, (self.lo, *(arg.lo for arg in args)), self.WIDTH))
        width = op.width
        a = self._truncated(width)
        b = args[0]._truncated(width) if args else a
        match op.kind:
            case OpKind.ADD:
                return self._wrapped(a.lo + b.lo, a.hi + b.hi, gcd(a.stride, b.stride), width)
            case OpKind.SUB:
                return self._wrapped(a.lo - b.hi, a.hi - b.lo, gcd(a.stride, b.stride), width)
            case OpKind.NEG:
                return self._wrapped(-a.hi, -a.lo, a.stride, width)
            case OpKind.MUL:
                stride = gcd(a.lo * b.stride, b.lo * a.stride, a.stride * b.stride)
                return self._wrapped(a.lo * b.lo, a.hi * b.hi, stride, width)
            case OpKind.LSH if not b.stride and width & (width - 1) == 0:
                amount = b.lo & (width - 1)
                return self._wrapped(a.lo << amount, a.hi << amount, a.stride << amount, width)
            case OpKind.RSH | OpKind.ARSH if not b.stride and width & (width - 1) == 0:
                if op.kind is OpKind.RSH or a.hi >> (width - 1) == 0:
                    return a._divided(1 << (b.lo & (width - 1)))
            case OpKind.UDIV if not b.stride:
                return a._divided(b.lo) if b.lo else self.constant(0)
            case OpKind.UMOD if not b.stride:
                return a._modulo(b.lo) if b.lo else a
            case OpKind.AND if not (a.stride and b.stride):
                x, mask = (b, a.lo) if b.stride else (a, b.lo)
                if mask & (mask + 1) == 0:  # the low bits
                    return x._modulo(mask + 1)
            case OpKind.ZEXT:
                return a
            case OpKind.SEXT:
                return self._sign_extended(op)
        return self._low_bits(op, a, b)

    def _divided(self, by: int) -> Self:
        return self.of(self.lo // by, self.hi // by, 1 if self.stride % by else self.stride // by)

    def _modulo(self, by: int) -> Self:
        if self.lo // by == self.hi // by:
            return self.of(self.lo % by, self.hi % by, self.stride)
        stride = gcd(self.stride, by)
        return self.of(self.lo % stride, by - 1, stride)

    def _sign_extended(self, op: WordOp) -> Self:
        a = self._truncated(op.source)
        half, more = 1 << (op.source - 1), (1 << op.width) - (1 << op.source)
        if a.hi < half:
            return a
        if a.lo >= half:
            return self.of(a.lo + more, a.hi + more, a.stride)
        # Both signs: the negative words move up by ``more``, a multiple of two to the power of the source's width.
        return self.of(a.lo, a.hi + more, gcd(a.stride, 1 << op.source))

    def _low_bits(self, op: WordOp, a: Self, b: Self) -> Self:
        """What the low bits of a bitwise operation must be, of which all words of each argument have the same."""
        last = (1 << op.width) - 1
        if op.kind not in (OpKind.AND, OpKind.OR, OpKind.XOR):
            return self.of(0, last, 1)
        stride = gcd(a.stride, b.stride, 1 << op.width)
        return self.of(evaluate(INT, op, (a.lo % stride, b.lo % stride), self.WIDTH), last, stride)

    def backward(self, op: WordOp, out: Self, *args: Self) -> tuple[Self, ...]:
        """Narrowed ``(self, *args)`` given that ``op(self, *args)`` lies in ``out``: sums and truncations only."""
        result: tuple[Self, ...] = (self, *args)
        if any(word.is_bottom() for word in (*result, out)):
            return (self.bottom(),) * len(result)
        if op.kind is OpKind.ZEXT and self.hi >> op.width == 0:
            result = (self.meet(out),)
        elif op.width == self.WIDTH and op.kind in (OpKind.ADD, OpKind.SUB):
            add, sub = WordOp(OpKind.ADD, op.width), WordOp(OpKind.SUB, op.width)
            other = args[0]
            if op.kind is OpKind.ADD:
                result = self.meet(out.apply(sub, other)), other.meet(out.apply(sub, self))
            else:
                result = self.meet(out.apply(add, other)), other.meet(self.apply(sub, out))
        return (self.bottom(),) * len(result) if any(word.is_bottom() for word in result) else result

    def restrict(self, comparison: Comparison, other: Self, width: int = 64) -> tuple[Self, Self]:
        """``(self, other)`` narrowed to where ``self comparison other`` holds on the low ``width`` bits."""
        nothing = self.bottom(), self.bottom()
        if self.lo > self.hi or other.lo > other.hi:
            return nothing
        limit = width - (comparison in _SIGNED)
        if comparison in (Comparison.SET, Comparison.NOT_SET) or (self.hi | other.hi) >> limit:
            return self, other  # bits, or words of which the comparison sees a part or another reading
        match _UNSIGNED.get(comparison, comparison):
            case Comparison.EQ:
                a = b = self.meet(other)
            case Comparison.NE:
                a, b = self._without(other), other._without(self)
            case Comparison.ULT:
                a, b = self._up_to(other.hi - 1), other._from(self.lo + 1)
            case Comparison.ULE:
                a, b = self._up_to(other.hi), other._from(self.lo)
            case Comparison.UGT:
                a, b = self._from(other.lo + 1), other._up_to(self.hi - 1)
            case _:
                a, b = self._from(other.lo), other._up_to(self.hi)
        return nothing if a.is_bottom() or b.is_bottom() else (a, b)

    def _up_to(self, most: int) -> Self:
        return self if self.hi <= most else self.of(self.lo, most, self.stride)

    def _from(self, least: int) -> Self:
        if self.lo >= least:
            return self
        return self.of(least + (self.lo - least) % (self.stride or 1), self.hi, self.stride)

    def _without(self, other: Self) -> Self:
        """Without the one word of ``other`` where that is an end."""
        if other.stride:
            return self
        if other.lo == self.lo:
            return self._from(self.lo + 1)
        return self._up_to(self.hi - 1) if other.lo == self.hi else self

    # Text ---------------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and (self.lo, self.hi, self.stride) == (other.lo, other.hi, other.stride)

    def __hash__(self) -> int:
        return hash((self.lo, self.hi, self.stride))

    def __repr__(self) -> str:
        name = "Congruence" if self.WIDTH == 64 else f"Congruence.at({self.WIDTH}, {self.LOW})"
        return f"{name}.bottom()" if self.is_bottom() else f"{name}.of({self.lo}, {self.hi}, {self.stride})"

    def __str__(self) -> str:
        if self.is_bottom() or self.is_top():
            return "bottom" if self.is_bottom() else "top"
        if not self.stride:
            return str(self.lo)
        return f"[{self.lo}, {self.hi}]" + (f" by {self.stride}" if self.stride > 1 else "")


_UNSIGNED = {
    Comparison.SLT: Comparison.ULT,
    Comparison.SLE: Comparison.ULE,
    Comparison.SGT: Comparison.UGT,
    Comparison.SGE: Comparison.UGE,
}
"""Both readings of words without sign are the same."""

_SIGNED = frozenset(_UNSIGNED)
