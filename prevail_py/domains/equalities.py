"""Equalities: linear equations between symbols, modulo 2**64 (Karr 1976, kept small).

They hold what is constant in a loop when two values move at different paces: ``p + n = c`` where a pointer goes up and
a counter down.  Machine arithmetic is a ring, so an equation needs no condition to *hold*; to read bounds off it, the
sum of its terms must be known to have only one multiple of 2**64 between its bounds.

Equations are found at joins, from values that differ by constants on the two sides, and carried through later ones.
They may speak of symbols that nothing else knows any more, such as the value with which a counter started: what is
known is that there is such a word.  Ranges, of signed readings, are kept for symbols in equations only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Self, TypeAlias

from prevail_py.domains.lattice import NO_SYMBOL, Definition, Phi, Range, Symbol, Term
from prevail_py.domains.statements import Equation as EquationStatement
from prevail_py.domains.statements import InRange, Statement
from prevail_py.words import Comparison, WordOp, to_signed

__all__ = ["Equalities"]

_MIN: Final = -(1 << 63)
_MAX: Final = (1 << 63) - 1
_SIZE: Final = 1 << 64
_FULL: Final = Range(_MIN, _MAX)
_EMPTY: Final = Range(1, 0)
_MAX_PACE: Final = 1 << 16
_MAX_EQUATIONS: Final = 16

Equation: TypeAlias = tuple[tuple[tuple[Symbol, int], ...], int]
"""Coefficients by symbol, none of them 0, and a constant: their sum is 0 modulo 2**64.  The first is positive."""


def _equation(coefficients: Mapping[Symbol, int], constant: int) -> Equation:
    parts = sorted((symbol, c) for symbol, c in coefficients.items() if c and symbol != NO_SYMBOL)
    if parts and parts[0][1] < 0:
        parts, constant = [(symbol, -c) for symbol, c in parts], -constant
    return tuple(parts), constant % _SIZE


def _substitute(equation: Equation, terms: Mapping[Symbol, Term]) -> Equation:
    """The equation with symbols replaced by terms; those that are not in ``terms`` stay."""
    coefficients: dict[Symbol, int] = {}
    constant = equation[1]
    for symbol, c in equation[0]:
        new, offset = terms.get(symbol, Term(symbol, 0))
        coefficients[new] = coefficients.get(new, 0) + c
        constant += c * offset
    return _equation(coefficients, constant)


def _reduce(equation: Equation, by: Sequence[Equation]) -> Equation:
    """``equation`` less multiples of others: the empty one where it follows from them."""
    for other in by:
        if not equation[0]:
            break
        pivot = next((part for part in other[0] if part[1] in (1, -1)), None)
        if pivot is None:
            if equation == other:
                return (), 0
            continue
        mine = dict(equation[0])
        factor = mine.get(pivot[0], 0) * pivot[1]
        if factor:
            for symbol, c in other[0]:
                mine[symbol] = mine.get(symbol, 0) - factor * c
            equation = _equation(mine, equation[1] - factor * other[1])
    return equation


class Equalities:
    """Equations, and ranges of the symbols in them; never changed once it is handed out."""

    __slots__ = ("_bottom", "_equations", "_ranges")

    PARTIAL: Final = True
    """Ranges are kept of some symbols only: a product tells those of new ones, and all to :meth:`leq_given`."""

    def __init__(
        self, equations: tuple[Equation, ...] = (), ranges: dict[Symbol, Range] | None = None, bottom: bool = False
    ) -> None:
        self._equations = equations
        self._ranges: dict[Symbol, Range] = {} if ranges is None else ranges
        self._bottom = bottom

    @classmethod
    def top(cls) -> Self:
        """Nothing known."""
        return cls()

    def __repr__(self) -> str:
        return "bottom" if self._bottom else f"Equalities({self._equations!r}, {self._ranges!r})"

    @property
    def equations(self) -> tuple[Equation, ...]:
        """What is known, as :data:`Equation`."""
        return self._equations

    def is_bottom(self) -> bool:
        return self._bottom

    # Queries ------------------------------------------------------------------------------------------------------

    def _speaks_of(self, symbol: Symbol) -> bool:
        return any(symbol == other for parts, _ in self._equations for other, _ in parts)

    def _signed(self, symbol: Symbol) -> Range:
        """The signed range of a symbol: what is stored, and what each equation says of it."""
        lo, hi = self._ranges.get(symbol, _FULL)
        for parts, constant in self._equations:
            mine = next((c for other, c in parts if other == symbol), 0)
            if not mine:
                continue
            # mine * symbol = -(sum of the others), which lies between least and most.
            k = to_signed(constant, 64)
            least = -k - sum(_most(c, self._ranges.get(s, _FULL)) for s, c in parts if s != symbol)
            most = -k - sum(_least(c, self._ranges.get(s, _FULL)) for s, c in parts if s != symbol)
            if mine in (1, -1):
                low, high = (least, most) if mine == 1 else (-most, -least)
                if low < _MIN or high > _MAX:
                    continue  # another word with the same residue may be meant
            else:
                known = Range(lo, hi)
                if _most(mine, known) - least >= _SIZE or most - _least(mine, known) >= _SIZE:
                    continue
                low, high = (-(-least // mine), most // mine) if mine > 0 else (-(most // -mine), -(least // -mine))
            lo, hi = max(lo, low), min(hi, high)
        return Range(lo, hi)

    def range(self, term: Term, width: int = 64, signed: bool = False) -> Range:
        if self._bottom:
            return _EMPTY
        full = Range(-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else Range(0, (1 << width) - 1)
        symbol, offset = term
        shift = to_signed(offset, 64)
        if symbol == NO_SYMBOL:
            lo = hi = shift
        else:
            lo, hi = self._signed(symbol) if self._speaks_of(symbol) else _FULL
            if lo > hi:
                return _EMPTY
            lo, hi = lo + shift, hi + shift
            if lo < _MIN or hi > _MAX:
                return full
        if lo >= full.lo and hi <= full.hi:
            return Range(lo, hi)
        if not signed and hi < 0 and width == 64:
            return Range(lo + _SIZE, hi + _SIZE)
        if symbol == NO_SYMBOL:
            word = offset & ((1 << width) - 1)
            word = to_signed(word, width) if signed else word
            return Range(word, word)
        return full

    def difference(self, a: Term, b: Term) -> Range:
        if self._bottom:
            return _EMPTY
        left, right = self.range(a, signed=True), self.range(b, signed=True)
        return Range(left.lo - right.hi, left.hi - right.lo)

    # Learning -----------------------------------------------------------------------------------------------------

    def define(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Self:
        return self

    def define_between(self, symbol: Symbol, lo: int, hi: int) -> Self:
        return self

    def assume(self, comparison: Comparison, a: Term, b: Term, width: int = 64) -> Self:
        return self

    def refine(self, symbol: Symbol, lo: int, hi: int, signed: bool = False) -> Self:
        if self._bottom or not self._speaks_of(symbol):
            return self
        if not signed:
            if lo > _MAX:
                lo, hi = lo - _SIZE, hi - _SIZE
            elif hi > _MAX:
                return self
        old = self._ranges.get(symbol, _FULL)
        new = Range(max(old.lo, lo), min(old.hi, hi))
        if new == old:
            return self
        if new.lo > new.hi:
            return type(self)(bottom=True)
        return type(self)(self._equations, {**self._ranges, symbol: new})

    def forget(self, dead: Iterable[Symbol]) -> Self:
        """Drop equations that speak of no more than one living symbol; the dead ones in others are still some words."""
        gone = set(dead)
        kept = tuple(e for e in self._equations if sum(symbol not in gone for symbol, _ in e[0]) > 1)
        if len(kept) == len(self._equations):
            return self
        return type(self)(kept, _of(kept, self._ranges), self._bottom)

    # Calls --------------------------------------------------------------------------------------------------------

    def renamed(self, names: Mapping[Symbol, Symbol]) -> Self:
        """The same of other symbols."""
        terms = {symbol: Term(name, 0) for symbol, name in names.items()}
        return type(self)(
            tuple(_substitute(equation, terms) for equation in self._equations),
            {names.get(symbol, symbol): known for symbol, known in self._ranges.items()},
            self._bottom,
        )

    def meet(self, other: Self) -> Self:
        """What both know together, as many equations as are kept."""
        if self._bottom or other._bottom:
            return self if self._bottom else other
        kept = list(self._equations)
        for equation in other._equations:
            if len(kept) < _MAX_EQUATIONS and _reduce(equation, kept) != ((), 0):
                kept.append(equation)
        ranges = dict(self._ranges)
        for symbol, (lo, hi) in other._ranges.items():
            mine = ranges.get(symbol, _FULL)
            ranges[symbol] = Range(max(lo, mine.lo), min(hi, mine.hi))
        if any(lo > hi for lo, hi in ranges.values()):
            return type(self)(bottom=True)
        return type(self)(tuple(kept), _of(kept, ranges))

    # Lattice ------------------------------------------------------------------------------------------------------

    def _carried(self, phis: Sequence[Phi], right: bool, other: Self) -> Iterator[Equation]:
        """The equations of one side in terms of the result."""
        names: dict[Symbol, Term] = {}
        for phi in phis:
            symbol, offset = phi.right if right else phi.left
            names.setdefault(symbol, Term(phi.symbol, -offset % _SIZE))
        for equation in self._equations:
            if all(symbol in names or other._speaks_of(symbol) for symbol, _ in equation[0]):
                yield _substitute(equation, names)

    def _found(self, phis: Sequence[Phi]) -> Iterator[Equation]:
        """Equations between values that differ by constants on the two sides."""
        first: tuple[Phi, int] | None = None
        for phi in phis:
            (x, a), (y, b) = phi.left, phi.right
            pace = to_signed(b - a, 64)
            if x != y or not 0 < abs(pace) <= _MAX_PACE:
                continue
            if first is None:
                first = phi, pace
                continue
            start, other = first
            coefficients = {start.symbol: pace}
            for symbol, c in ((phi.symbol, -other), (start.left.symbol, -pace), (x, other)):
                coefficients[symbol] = coefficients.get(symbol, 0) + c
            yield _equation(coefficients, -pace * start.left.offset + other * a)

    def _merge(self, other: Self, phis: Sequence[Phi], widen: bool) -> Self:
        if not (self._equations or other._equations or not widen):
            return type(self)()
        left = {phi.symbol: phi.left for phi in phis}
        right = {phi.symbol: phi.right for phi in phis}
        candidates = list(self._carried(phis, False, other))
        if not widen:
            candidates += [*other._carried(phis, True, self), *self._found(phis)]
        kept: list[Equation] = []
        for candidate in candidates:
            if len(candidate[0]) < 2 or len(kept) == _MAX_EQUATIONS or _reduce(candidate, kept) == ((), 0):
                continue
            if _reduce(_substitute(candidate, left), self._equations) != ((), 0):
                continue
            if _reduce(_substitute(candidate, right), other._equations) == ((), 0):
                kept.append(candidate)
        ranges: dict[Symbol, Range] = {}
        for symbol in {symbol for parts, _ in kept for symbol, _ in parts}:
            mine = self.range(left.get(symbol, Term(symbol, 0)), signed=True)
            theirs = other.range(right.get(symbol, Term(symbol, 0)), signed=True)
            lo, hi = min(mine.lo, theirs.lo), max(mine.hi, theirs.hi)
            if widen:
                lo, hi = mine.lo if lo == mine.lo else _MIN, mine.hi if hi == mine.hi else _MAX
            if (lo, hi) != _FULL:
                ranges[symbol] = Range(lo, hi)
        return type(self)(tuple(kept), ranges)

    def _renamed(self, phis: Sequence[Phi], right: bool) -> Self:
        """This state alone, in terms of the result: the join with bottom."""
        mirrored = [Phi(p.symbol, p.right, p.right) if right else Phi(p.symbol, p.left, p.left) for p in phis]
        return self._merge(self, mirrored, widen=False)

    def join(self, other: Self, phis: Sequence[Phi]) -> Self:
        if self._bottom or other._bottom:
            return self if self._bottom and other._bottom else self._with_bottom(other, phis)
        return self._merge(other, phis, widen=False)

    def _with_bottom(self, other: Self, phis: Sequence[Phi]) -> Self:
        return other._renamed(phis, right=True) if self._bottom else self._renamed(phis, right=False)

    def widen(self, other: Self, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Self:
        if self._bottom or other._bottom:
            return self if self._bottom and other._bottom else self._with_bottom(other, phis)
        return self._merge(other, phis, widen=True)

    def leq(self, other: Self, match: Mapping[Symbol, Term]) -> bool:
        return self.leq_given(other, match, lambda term: self.range(term, signed=True))

    def leq_given(self, other: Self, match: Mapping[Symbol, Term], signed: Callable[[Term], Range]) -> bool:
        """:meth:`leq` with ``signed`` ranges that a product knows on this side, of which this member has but some."""
        if self._bottom:
            return True
        if other._bottom:
            return False
        for symbol, wanted in other._ranges.items():
            known = signed(match.get(symbol, Term(symbol, 0)))
            if known.lo < wanted.lo or known.hi > wanted.hi:
                return False
        return all(_reduce(_substitute(equation, match), self._equations) == ((), 0) for equation in other._equations)

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        """Symbols missing from ``valuation`` are unconstrained, so only what is given is checked."""
        if self._bottom:
            return False
        values = {symbol: to_signed(word, 64) for symbol, word in valuation.items()}
        return all(
            symbol not in values or lo <= values[symbol] <= hi for symbol, (lo, hi) in self._ranges.items()
        ) and all(
            any(symbol not in values for symbol, _ in parts)
            or (sum(c * values[symbol] for symbol, c in parts) + constant) % _SIZE == 0
            for parts, constant in self._equations
        )

    def definition(self, symbol: Symbol) -> Definition | None:
        """Nothing: how symbols were computed is kept elsewhere."""
        return None

    def symbols(self) -> frozenset[Symbol]:
        """The symbols about which anything is stored."""
        return frozenset(symbol for parts, _ in self._equations for symbol, _ in parts)

    def statements(self) -> Iterator[Statement]:
        """All that is known."""
        for symbol, (lo, hi) in self._ranges.items():
            yield InRange(symbol, lo, hi, 64, True)
        for parts, constant in self._equations:
            yield EquationStatement(parts, constant)

    def describe(self, symbol: Symbol) -> str:
        """The equations that speak of one symbol, for people."""
        return ", ".join(
            " ".join(f"{c:+}*s{s}" for s, c in parts) + f" = {-to_signed(constant, 64)}"
            for parts, constant in self._equations
            if any(s == symbol for s, _ in parts)
        )


def _least(c: int, known: Range) -> int:
    return c * known.lo if c > 0 else c * known.hi


def _most(c: int, known: Range) -> int:
    return c * known.hi if c > 0 else c * known.lo


def _of(equations: Sequence[Equation], ranges: Mapping[Symbol, Range]) -> dict[Symbol, Range]:
    spoken = {symbol for parts, _ in equations for symbol, _ in parts}
    return {symbol: known for symbol, known in ranges.items() if symbol in spoken}
