"""Intervals: unsigned and signed bounds of a word, and of its low half, each reduced by the others.

An :class:`Interval` is a pair of :data:`~prevail_py.domains.bounds.Bounds`: ``full`` on the whole word and ``low`` on
its low half (32 of 64 bits).  It stands for the words that satisfy both.  Like the Linux kernel's ``bpf_reg_state`` it
therefore has eight bounds (umin, umax, smin, smax, and the same for the 32-bit subregister); unlike there they are
always fully reduced.

**Canonical form.**  ``full`` and ``low`` are the best bounds of the words and of their low halves.  So equality of
objects is equality of concretizations, and order, join and hash are componentwise.  :func:`_reduced` makes it in one
pass: first each end of a piece of ``full`` moves inwards to the nearest word whose low half is allowed (all of them
are then attained), then ``low`` is cut down to the low halves of what is left.  The ends keep their low halves
through that cut, so nothing changes in a second pass.

**Bottom** is the pair of empty bounds, the same for the whole class.

For speed this is a plain slotted class; treat instances as immutable and make them with the class methods only.
:meth:`Interval.at` gives the same domain on small words, for exhaustive tests.  Method bodies use integer arithmetic
and comparisons on the bounds (see :mod:`prevail_py.domains.bounds`) and never look inside them otherwise, so that
they can be run on symbolic bounds; the exceptions are :meth:`Interval.__hash__` and the text forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, Self

from prevail_py.domains import bounds
from prevail_py.domains.bounds import Bounds
from prevail_py.domains.lattice import Range
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["Interval"]

_C = Comparison

# Dispatch is by the value of the enumeration member: a string, whose hash is cached.
_BINARY: Final[dict[str, Callable[[Bounds, Bounds, int], Bounds]]] = {
    OpKind.ADD.value: bounds.add,
    OpKind.SUB.value: bounds.sub,
    OpKind.MUL.value: bounds.mul,
    OpKind.UDIV.value: bounds.udiv,
    OpKind.UMOD.value: bounds.umod,
    OpKind.SDIV.value: bounds.sdiv,
    OpKind.SMOD.value: bounds.smod,
    OpKind.AND.value: bounds.bit_and,
    OpKind.OR.value: bounds.bit_or,
    OpKind.XOR.value: bounds.bit_xor,
}
_SHIFT: Final[dict[str, Callable[[Bounds, int, int, int], Bounds]]] = {
    OpKind.LSH.value: bounds.lsh,
    OpKind.RSH.value: bounds.rsh,
    OpKind.ARSH.value: bounds.arsh,
}
# The low half of the result is the same operation on the low halves of the arguments.
_LOW_OF_LOWS: Final = frozenset(
    kind.value for kind in (OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.AND, OpKind.OR, OpKind.XOR)
)


class Interval:
    """A set of words between bounds; see the module's text."""

    __slots__ = ("full", "low")

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32
    HALF: ClassVar[int]
    LOW_HALF: ClassVar[int]
    _sizes: ClassVar[dict[tuple[int, int], Any]] = {}
    _top: ClassVar[Any]
    _bottom: ClassVar[Any]

    full: Bounds
    low: Bounds

    def __init__(self, full: Bounds, low: Bounds) -> None:
        """Private: the arguments must be canonical."""
        self.full = full
        self.low = low

    @classmethod
    def _configure(cls) -> None:
        cls.HALF = 1 << (cls.WIDTH - 1)
        cls.LOW_HALF = 1 << (cls.LOW - 1)
        cls._top = cls(bounds.top(cls.HALF), bounds.top(cls.LOW_HALF))
        cls._bottom = cls(bounds.empty(cls.HALF), bounds.empty(cls.LOW_HALF))

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The same domain on words of ``width`` bits with a low half of ``low <= width`` bits."""
        small: Any = cls._sizes.get((width, low))
        if small is None:
            if not 0 < low < width:
                raise ValueError(f"no words of {width} bits with a low half of {low}")
            small = type(cls.__name__, (cls,), {"__slots__": (), "WIDTH": width, "LOW": low, "__doc__": cls.__doc__})
            small._configure()
            cls._sizes[width, low] = small
        return small  # type: ignore[no-any-return]

    # Constructors -------------------------------------------------------------------------------------------------

    @classmethod
    def top(cls) -> Self:
        """Every word."""
        return cls._top  # type: ignore[no-any-return]

    @classmethod
    def bottom(cls) -> Self:
        """No word."""
        return cls._bottom  # type: ignore[no-any-return]

    @classmethod
    def constant(cls, value: int) -> Self:
        """Just ``value``, taken modulo the word size."""
        half, low_half = cls.HALF, cls.LOW_HALF
        return cls(
            bounds.constant(value & (half + half - 1), half),
            bounds.constant(value & (low_half + low_half - 1), low_half),
        )

    @classmethod
    def between(cls, lo: int, hi: int) -> Self:
        """The words with unsigned value in ``lo..hi``."""
        return cls._reduced(bounds.from_unsigned(lo, hi, cls.HALF), cls._top.low)

    @classmethod
    def of(cls, full: Bounds, low: Bounds | None = None) -> Self:
        """The words within ``(umin, umax, smin, smax)`` whose low half is within ``low`` (anything by default)."""
        return cls._reduced(
            bounds.meet(full, cls._top.full, cls.HALF),
            cls._top.low if low is None else bounds.meet(low, cls._top.low, cls.LOW_HALF),
        )

    @classmethod
    def _reduced(cls, full: Bounds, low: Bounds) -> Self:
        """The canonical form of two canonical bounds."""
        umin, umax, smin, smax = full
        if umin > umax or low[0] > low[1]:
            return cls._bottom  # type: ignore[no-any-return]
        half, low_half = cls.HALF, cls.LOW_HALF
        low_size = low_half + low_half
        if umax < low_size:  # the word is the zero extension of its low half
            if umax < low_half and low == full:
                return cls(full, low)
            low = bounds.meet(low, bounds.from_unsigned(umin, umax, low_half), low_half)
            umin, umax, _, _ = low
            return cls((umin, umax, umin, umax), low) if umin <= umax else cls._bottom
        if smin >= -low_half and smax < low_half:  # the word is the sign extension of its low half
            more = half + half - low_size
            view = (umin if umin < half else umin - more, umax - more, smin, smax)
            if low == view:
                return cls(full, low)
            low = bounds.meet(low, view, low_half)
            umin, umax, smin, smax = low
            if umin > umax:
                return cls._bottom  # type: ignore[no-any-return]
            full = (umin if umin < low_half else umin + more, umax if umax < low_half else umax + more, smin, smax)
            return cls(full, low)
        parts = bounds.pieces(full, half)
        if low == cls._top.low:
            for lo, hi in parts:
                if hi - lo >= low_size:
                    return cls(full, low)
        else:
            parts = tuple(_within(parts, low, low_half))
            if not parts:
                return cls._bottom  # type: ignore[no-any-return]
            full = bounds.empty(half)
            for lo, hi in parts:
                full = bounds.join(full, bounds.from_unsigned(lo, hi, half))
        halves = bounds.empty(low_half)
        for lo, hi in parts:
            halves = bounds.join(halves, bounds.wrap(lo, hi, low_half))
        return cls(full, bounds.meet(low, halves, low_half))

    # Queries ------------------------------------------------------------------------------------------------------

    def is_bottom(self) -> bool:
        """Whether there is no word in it."""
        return self.full[0] > self.full[1]

    def is_top(self) -> bool:
        """Whether every word is in it."""
        return self.full == self._top.full and self.low == self._top.low  # type: ignore[no-any-return]

    def bounds(self, width: int = 64, signed: bool = False) -> Range:
        """Bounds of the low ``width`` bits, read as signed or unsigned; the best ones at both of the class's widths."""
        umin, umax, smin, smax = self._view(width)
        return Range(smin, smax) if signed else Range(umin, umax)

    def contains(self, word: int) -> bool:
        """Whether the unsigned ``word`` is in it."""
        umin, umax, smin, smax = self.full
        if word < umin or word > umax:
            return False
        size = self.HALF + self.HALF
        signed = word - size if word >= self.HALF else word
        if signed < smin or signed > smax:
            return False
        umin, umax, smin, smax = self.low
        size = self.LOW_HALF + self.LOW_HALF
        word &= size - 1
        signed = word - size if word >= self.LOW_HALF else word
        return umin <= word <= umax and smin <= signed <= smax

    def common_bits(self) -> tuple[int, int]:
        """The bits all its words share, as ``(value, mask)`` with the unknown bits in ``mask``; not for bottom."""
        value, mask = bounds.common_bits(self.full)
        low_value, low_mask = bounds.common_bits(self.low)
        # A bit is known if either view knows it; ~low_mask would call the bits above the low half known.
        known = (self.LOW_HALF + self.LOW_HALF - 1) & ~low_mask
        return value | low_value, mask & ~known

    def _view(self, width: int) -> Bounds:
        """Bounds of the low ``width`` bits."""
        if width == self.WIDTH:
            return self.full
        if width == self.LOW:
            return self.low
        source, half = (self.low, self.LOW_HALF) if width < self.LOW else (self.full, self.HALF)
        if self.is_bottom():
            return bounds.empty(1 << (width - 1))
        return _project(source, half, 1 << (width - 1))

    # Lattice ------------------------------------------------------------------------------------------------------

    def leq(self, other: Self) -> bool:
        """Inclusion of concretizations, exactly."""
        return bounds.leq(self.full, other.full) and bounds.leq(self.low, other.low)

    def join(self, other: Self) -> Self:
        """The least interval above both; canonical without reduction, as every bound is attained on one side."""
        return type(self)(bounds.join(self.full, other.full), bounds.join(self.low, other.low))

    def meet(self, other: Self) -> Self:
        """The intersection, exactly."""
        full, low = self.full, self.low
        if full == other.full and low == other.low:
            return self
        return self._reduced(
            bounds.meet(full, other.full, self.HALF),
            bounds.meet(low, other.low, self.LOW_HALF),
        )

    def widen(self, other: Self, thresholds: Sequence[int] = ()) -> Self:
        """An upper bound of both in which each of the eight bounds that ``other`` exceeds jumps outwards.

        The result is reduced again, and chains ``x[k+1] = x[k].widen(y[k])`` still become stationary, fast.  They
        ascend, so each of the canonical bounds of ``x[k]`` moves outwards only.  One that moves in step k was exceeded
        and jumped to a *level* (a threshold or an extreme) before reduction; for a bound that did not jump is at most
        its old value after reduction.  Reduction then leaves it at the level, or moves it to the nearest word whose
        low half is an end of ``low``, or (for ``low``) to the low half of an end of ``full``.  So the values it can
        take have the upper half of a level, give or take one, and the low half of a level or of a bound of ``x[0]``:
        a finite set, fixed by ``x[0]`` and the thresholds, and of their size, not of the word's.
        """
        if self.is_bottom():
            return other
        if other.is_bottom():
            return self
        return self._reduced(
            bounds.widen(self.full, other.full, thresholds, self.HALF),
            bounds.widen(self.low, other.low, thresholds, self.LOW_HALF),
        )

    def narrow(self, other: Self) -> Self:
        """Between ``self.meet(other)`` and ``self``: the bounds of ``self`` that are extremes come from ``other``.

        Descending chains become stationary: a bound that changes leaves one of the few extremes for good, or moves
        by reduction after another one did.
        """
        if self.is_bottom() or other.is_bottom():
            return self._bottom  # type: ignore[no-any-return]
        return self._reduced(
            bounds.narrow(self.full, other.full, self.HALF),
            bounds.narrow(self.low, other.low, self.LOW_HALF),
        )

    def restrict_bits(self, value: int, mask: int) -> Self:
        """The words of it that agree with ``value`` outside ``mask``; ``self`` if that is no news."""
        result = self
        low_last = self.LOW_HALF + self.LOW_HALF - 1
        while not result.is_bottom():
            # Each round moves the ends of pieces inwards to the next word with these bits.  Reduction may move them
            # on, to a word whose low half is an end of a piece of low.
            full = bounds.restrict_bits(result.full, value, mask, self.HALF)
            low = bounds.restrict_bits(result.low, value & low_last, mask & low_last, self.LOW_HALF)
            if full is result.full and low is result.low:
                break
            result = self._reduced(full, low)
        return result

    # Operations ---------------------------------------------------------------------------------------------------

    @classmethod
    def _extended(cls, at_width: Bounds, width: int, low: Bounds | None = None) -> Self:
        """A result of ``width`` bits, zero-extended to the word; ``low`` is what is known of its low half."""
        if width == cls.LOW and cls.LOW < cls.WIDTH:
            # Canonical as it is: the word is its low half, and the ends are attained.
            return cls(bounds.from_unsigned(at_width[0], at_width[1], cls.HALF), at_width)
        if width == cls.WIDTH:
            return cls._reduced(at_width, cls._top.low if low is None else low)
        full = bounds.empty(cls.HALF)
        for lo, hi in bounds.pieces(at_width, 1 << (width - 1)):
            full = bounds.join(full, bounds.from_unsigned(lo, hi, cls.HALF))
        return cls._reduced(full, cls._top.low if low is None else low)

    def apply(self, op: WordOp, *args: Self) -> Self:
        """``op(self, *args)``; see :meth:`prevail_py.domains.lattice.Word.apply`."""
        width = op.width
        kind = op.kind._value_
        full = self.full
        if full[0] > full[1]:
            return self
        if args:
            other = args[0]
            if other.full[0] > other.full[1]:
                return other
            half = 1 << (width - 1)
            binary = _BINARY.get(kind)
            if binary is not None:
                if width == self.WIDTH:
                    low = binary(self.low, other.low, self.LOW_HALF) if kind in _LOW_OF_LOWS else None
                    return self._extended(binary(full, other.full, half), width, low)
                return self._extended(binary(self._view(width), other._view(width), half), width)
            s0, s1 = bounds.shift_amounts(other._view(width), half, width)
            if s1 == 0 and width == self.WIDTH:
                return self
            low = None
            if width == self.WIDTH and kind == "lsh":
                low = (0, 0, 0, 0)
                if s0 < self.LOW:
                    low = bounds.lsh(self.low, s0, min(s1, self.LOW - 1), self.LOW_HALF)
                    if s1 >= self.LOW:
                        low = bounds.join(low, (0, 0, 0, 0))
            return self._extended(_SHIFT[kind](self._view(width), s0, s1, half), width, low)
        match kind:
            case "neg":
                low = bounds.neg(self.low, self.LOW_HALF) if width == self.WIDTH else None
                return self._extended(bounds.neg(self._view(width), 1 << (width - 1)), width, low)
            case "zext":
                return self._extended(self._view(width), width, self.low if width > self.LOW else None)
            case "sext":
                source = self._view(op.source)
                low = None
                if width > self.LOW:
                    low = self.low if op.source > self.LOW else _sign_extend(source, op.source, self.LOW)
                return self._extended(_sign_extend(source, op.source, width), width, low)
            case "bswap":
                view = self._view(width)
                if view[0] == view[1]:
                    return self.constant(byte_swap(view[0], width))
                return self._extended(bounds.top(1 << (width - 1)), width)
            case _:
                raise AssertionError(kind)

    def backward(self, op: WordOp, out: Self, *args: Self) -> tuple[Self, ...]:
        """Narrowed ``(self, *args)`` given that ``op(self, *args)`` lies in ``out``."""
        width = op.width
        if self.is_bottom() or out.is_bottom() or (args and args[0].is_bottom()):
            return (self._bottom,) * (1 + len(args))
        if width < self.WIDTH:  # a result of fewer bits is zero-extended
            out = out.meet(self.between(0, (1 << width) - 1))
            if out.is_bottom():
                return (self._bottom,) * (1 + len(args))
        if not args:
            return (self._backward_unary(op, out),)
        other = args[0]
        half = 1 << (width - 1)
        if width not in (self.WIDTH, self.LOW):
            return (self, other)
        a, b, result = self._view(width), other._view(width), out._view(width)
        match op.kind._value_:
            case "add":
                return self._both(other, width, bounds.sub(result, b, half), bounds.sub(result, a, half))
            case "sub":
                return self._both(other, width, bounds.add(result, b, half), bounds.sub(a, result, half))
            case "xor":
                return self._both(other, width, bounds.bit_xor(result, b, half), bounds.bit_xor(result, a, half))
            case "and":  # a & b is at most either
                least = bounds.from_unsigned(result[0], half + half - 1, half)
                return self._both(other, width, least, least)
            case "or":
                most = bounds.from_unsigned(0, result[1], half)
                return self._both(other, width, most, most)
            case "lsh" | "rsh" | "arsh":
                s0, s1 = bounds.shift_amounts(b, half, width)
                if s0 == s1:
                    first = self._backward_shift(op.kind._value_, width, s0, result)
                    return first, self._bottom if first.is_bottom() else other
        return (self, other)

    def _both(self, other: Self, width: int, a: Bounds, b: Bounds) -> tuple[Self, Self]:
        """Both sides met with bounds at ``width`` (the word's or its low half's); both bottom if either is."""
        first, second = self._meet_at(width, a), other._meet_at(width, b)
        if first.is_bottom() or second.is_bottom():
            return self._bottom, self._bottom
        return first, second

    def _meet_at(self, width: int, a: Bounds) -> Self:
        """The words of it whose low ``width`` bits are within ``a``; ``self`` if that is no news."""
        view = self._view(width)
        return self if bounds.leq(view, a) else self._with(width, bounds.meet(view, a, 1 << (width - 1)))

    def _with(self, width: int, view: Bounds) -> Self:
        """The words of it whose low ``width`` bits are within ``view``, which is within the present view."""
        if width == self.WIDTH:
            return self._reduced(view, self.low)
        if width == self.LOW:
            return self._reduced(self.full, view)
        if view[0] > view[1]:
            return self._bottom  # type: ignore[no-any-return]
        # No bounds are kept at this width, but ends of pieces can be moved to words that satisfy it.
        full, low = _tighten(self.full, self.HALF, view, width), self.low
        if width < self.LOW:
            low = _tighten(low, self.LOW_HALF, view, width)
        return self._reduced(full, low)

    def _at_most(self, width: int, most: int) -> Self:
        """The words of it whose low ``width`` bits are at most ``most``, unsigned; likewise the three below."""
        umin, umax, smin, smax = self._view(width)
        if umax <= most:
            return self
        if umin > most:
            return self._bottom  # type: ignore[no-any-return]
        return self._with(width, bounds.sync(umin, most, smin, smax, 1 << (width - 1)))

    def _at_least(self, width: int, least: int) -> Self:
        umin, umax, smin, smax = self._view(width)
        if umin >= least:
            return self
        if umax < least:
            return self._bottom  # type: ignore[no-any-return]
        return self._with(width, bounds.sync(least, umax, smin, smax, 1 << (width - 1)))

    def _at_most_signed(self, width: int, most: int) -> Self:
        umin, umax, smin, smax = self._view(width)
        if smax <= most:
            return self
        if smin > most:
            return self._bottom  # type: ignore[no-any-return]
        return self._with(width, bounds.sync(umin, umax, smin, most, 1 << (width - 1)))

    def _at_least_signed(self, width: int, least: int) -> Self:
        umin, umax, smin, smax = self._view(width)
        if smin >= least:
            return self
        if smax < least:
            return self._bottom  # type: ignore[no-any-return]
        return self._with(width, bounds.sync(umin, umax, least, smax, 1 << (width - 1)))

    def _backward_unary(self, op: WordOp, out: Self) -> Self:
        width = op.width
        result = out._view(width)
        match op.kind._value_:
            case "neg" if width in (self.WIDTH, self.LOW):
                return self._meet_at(width, bounds.neg(result, 1 << (width - 1)))
            case "zext":
                return self._meet_at(width, result)
            case "sext":
                size = 1 << op.source
                fits = bounds.from_signed(-(size >> 1), (size >> 1) - 1, 1 << (width - 1))
                result = bounds.meet(result, fits, 1 << (width - 1))
                if result[0] > result[1]:
                    return self._bottom  # type: ignore[no-any-return]
                return self._meet_at(op.source, _project(result, 1 << (width - 1), size >> 1))
        return self

    def _backward_shift(self, kind: str, width: int, amount: int, result: Bounds) -> Self:
        """The words that, shifted by ``amount`` at ``width``, give one in ``result``."""
        half = 1 << (width - 1)
        ones = (1 << amount) - 1
        umin, umax, smin, smax = result
        if kind == "lsh":  # the low width - amount bits are result >> amount
            lo, hi = (umin + ones) >> amount, umax >> amount
            if lo > hi:
                return self._bottom  # type: ignore[no-any-return]
            kept = width - amount
            return self._meet_at(kept, bounds.from_unsigned(lo, hi, 1 << (kept - 1)))
        if kind == "rsh":
            lo, hi = umin << amount, (umax << amount) | ones
            if lo >= half + half:
                return self._bottom  # type: ignore[no-any-return]
            return self._meet_at(width, bounds.from_unsigned(lo, min(hi, half + half - 1), half))
        lo, hi = max(smin << amount, -half), min((smax << amount) | ones, half - 1)
        if lo > hi:
            return self._bottom  # type: ignore[no-any-return]
        return self._meet_at(width, bounds.from_signed(lo, hi, half))

    def restrict(self, comparison: Comparison, other: Self, width: int = 64) -> tuple[Self, Self]:
        """``(self, other)`` narrowed to where ``self comparison other`` holds on the low ``width`` bits."""
        if self.is_bottom() or other.is_bottom():
            return self._bottom, self._bottom
        a, b = self._view(width), other._view(width)
        aumin, aumax, asmin, asmax = a
        bumin, bumax, bsmin, bsmax = b
        match comparison._value_:
            case "==":
                if width == self.WIDTH:
                    both = self.meet(other)
                    return both, both
                first, second = self._meet_at(width, b), other._meet_at(width, a)
            case "!=":
                half = 1 << (width - 1)
                first, second = self, other
                if bumin == bumax:
                    first = self._meet_at(width, bounds.without(a, bumin, half))
                if aumin == aumax:
                    second = other._meet_at(width, bounds.without(b, aumin, half))
            case "<":
                first, second = self._at_most(width, bumax - 1), other._at_least(width, aumin + 1)
            case "<=":
                first, second = self._at_most(width, bumax), other._at_least(width, aumin)
            case ">":
                first, second = self._at_least(width, bumin + 1), other._at_most(width, aumax - 1)
            case ">=":
                first, second = self._at_least(width, bumin), other._at_most(width, aumax)
            case "s<":
                first, second = self._at_most_signed(width, bsmax - 1), other._at_least_signed(width, asmin + 1)
            case "s<=":
                first, second = self._at_most_signed(width, bsmax), other._at_least_signed(width, asmin)
            case "s>":
                first, second = self._at_least_signed(width, bsmin + 1), other._at_most_signed(width, asmax - 1)
            case "s>=":
                first, second = self._at_least_signed(width, bsmin), other._at_most_signed(width, asmax)
            case "&" | "!&":
                holds, half = comparison is _C.SET, 1 << (width - 1)
                first = self._meet_at(width, _disjoint(a, b, holds, half))
                second = other._meet_at(width, _disjoint(b, a, holds, half))
            case _:
                raise AssertionError(comparison)
        if first.is_bottom() or second.is_bottom():
            return self._bottom, self._bottom
        return first, second

    # Text ---------------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.full == other.full and self.low == other.low

    def __hash__(self) -> int:
        return hash((self.full, self.low))

    def __repr__(self) -> str:
        name = "Interval" if self.WIDTH == 64 else f"Interval.at({self.WIDTH}, {self.LOW})"
        if self.is_bottom():
            return f"{name}.bottom()"
        return f"{name}.of({self.full}, {self.low})"

    def __str__(self) -> str:
        if self.is_bottom():
            return "bottom"
        if self.is_top():
            return "top"
        umin, umax, _, _ = self.full
        if umin == umax:
            return str(umin)
        text = _text(self.full, self.HALF)
        implied = self._reduced(self.full, self._top.low).low
        if self.low != implied:
            text += f" low {_text(self.low, self.LOW_HALF)}"
        return text


def _text(a: Bounds, half: int) -> str:
    umin, umax, smin, smax = a
    if smax < 0:
        return f"[{smin}, {smax}]"
    if umin == 0 and umax == half + half - 1:
        return f"[{smin}, {smax}]"
    if smin == umin or (smin == -half and smax == half - 1):
        return f"[{umin}, {umax}]"
    return f"[{umin}, {smax}]|[{smin}, {umax - half - half}]"


def byte_swap(value: int, width: int) -> int:
    """The bytes of the low ``width`` bits in reverse order."""
    result = 0
    for shift in range(0, width, 8):
        result = (result << 8) | ((value >> shift) & 0xFF)
    return result


def _disjoint(a: Bounds, b: Bounds, holds: bool, half: int) -> Bounds:
    """Bounds of the words x of ``a`` with ``x & y != 0`` for some y in ``b`` (if ``holds``; else ``== 0``)."""
    value, mask = bounds.common_bits(b)
    last = half + half - 1
    if not holds:  # the ones that all y share are zeros of x
        return bounds.restrict_bits(a, 0, last & ~value, half)
    possible = value | mask
    if possible == 0:
        return bounds.empty(half)
    least = possible & -possible
    result = bounds.empty(half)
    for lo, hi in bounds.pieces(a, half):
        if lo & possible == 0:
            lo = (lo | least) & -least
        if hi & possible == 0:
            # Borrow from the lowest one of hi above the least possible bit; all below it becomes ones.
            higher = hi & ~(least + least - 1)
            borrow = higher & -higher
            hi = (hi & ~(borrow + borrow - 1)) | (borrow - 1) if borrow else -1
        if lo <= hi:
            result = bounds.join(result, bounds.from_unsigned(lo, hi, half))
    return result


def _project(a: Bounds, half: int, to_half: int) -> Bounds:
    """The best bounds of the low bits (the ``to_half`` size) of words within ``a``."""
    result = bounds.empty(to_half)
    for lo, hi in bounds.pieces(a, half):
        result = bounds.join(result, bounds.wrap(lo, hi, to_half))
    return result


def _sign_extend(a: Bounds, source: int, width: int) -> Bounds:
    """Bounds at ``width`` bits of the sign extensions of ``source``-bit words within ``a``; exact."""
    umin, umax, smin, smax = a
    half = 1 << (source - 1)
    more = (1 << width) - half - half
    return (umin if umin < half else umin + more, umax if umax < half else umax + more, smin, smax)


def _tighten(a: Bounds, half: int, low: Bounds, width: int) -> Bounds:
    """``a`` with the ends of its pieces moved to words whose low ``width`` bits are within ``low``."""
    low_half = 1 << (width - 1)
    result = bounds.empty(half)
    for lo, hi in _within(bounds.pieces(a, half), low, low_half):
        result = bounds.join(result, bounds.from_unsigned(lo, hi, half))
    return result


def _within(parts: Iterable[tuple[int, int]], low: Bounds, low_half: int) -> Iterator[tuple[int, int]]:
    """The intervals ``parts`` with their ends moved inwards to words whose low part is within ``low``."""
    for lo, hi in parts:
        lo, hi = _up(lo, low, low_half), _down(hi, low, low_half)
        if lo <= hi:
            yield lo, hi


def _up(x: int, low: Bounds, low_half: int) -> int:
    """The least ``y >= x`` whose low part is within ``low``."""
    umin, umax, smin, smax = low
    size = low_half + low_half
    part = x & (size - 1)
    if part < umin:
        return x - part + umin
    if part > umax:
        return x - part + size + umin
    if smax < part < smin + size:  # in the gap between the two pieces
        return x - part + smin + size
    return x


def _down(x: int, low: Bounds, low_half: int) -> int:
    """The greatest ``y <= x`` whose low part is within ``low``; negative if there is none."""
    umin, umax, smin, smax = low
    size = low_half + low_half
    part = x & (size - 1)
    if part > umax:
        return x - part + umax
    if part < umin:
        return x - part - size + umax
    if smax < part < smin + size:
        return x - part + smax
    return x


Interval._configure()
Interval._sizes[Interval.WIDTH, Interval.LOW] = Interval
