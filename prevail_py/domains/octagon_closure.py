"""Octagons of integers: conjunctions of ``±x ± y <= c``, kept closed while they grow (Miné 2006).

A *literal* is ``x`` or ``-x``, and every constraint bounds a sum of two: ``a + b <= c``.  Two of them give a third,
``a + b <= c`` and ``-b + d <= e`` give ``a + d <= c + e``; and ``a + a <= c`` gives ``a <= floor(c / 2)``, rounded
since all values are integers.  An octagon is *closed* (tightly: Bagnara, Hill, Zaffanella 2009) when no bound can be
made smaller by that, so that each is reached by some solution and an octagon without solution is noticed.

Bounds of one literal are kept apart from those of sums, and a bound of ``a + b`` only where it is below the sum of the
bounds of ``a`` and ``b``: what is called strengthening is nothing but how :meth:`Octagon.upper` reads a bound.  It
keeps octagons sparse (Jourdan 2016): literals that only their own bounds relate have no entry.

Words stay out of this: :mod:`prevail_py.domains.octagons` says what is true of machine arithmetic.  Every symbol lies
between the ends of a signed word, whatever else is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from prevail_py.domains.integer_relations import MAX, MIN
from prevail_py.domains.lattice import Symbol

__all__ = ["EMPTY_OCTAGON", "Bound", "Literal", "Octagon"]

Literal: TypeAlias = int
"""``x`` or ``-x`` of a symbol ``x``, or 0, the constant, which is its own negation."""

Bound: TypeAlias = tuple[Literal, Literal, int]
"""``(a, b, c)``: ``a + b <= c``.  With 0 for ``b`` it bounds one literal."""

Sums: TypeAlias = dict[Literal, dict[Literal, int]]


class _Bounds:
    """Bounds of literals and of sums of two literals of different symbols, to be read.

    ``sums[a][b]`` and ``sums[b][a]`` are the same bound, and no inner dictionary is empty.
    """

    __slots__ = ("highs", "sums")

    highs: dict[Literal, int]
    sums: Sums

    def high(self, a: Literal) -> int:
        """The stored upper bound of a literal, or that of every word."""
        known = self.highs.get(a)
        if known is None:
            return MAX if a > 0 else -MIN if a < 0 else 0
        return known

    def upper(self, a: Literal, b: Literal) -> int:
        """The least ``c`` for which ``a + b <= c`` is known."""
        if a == -b:
            return 0
        implied = self.high(a) + self.high(b)
        row = self.sums.get(a)
        return implied if row is None else min(row.get(b, implied), implied)

    def of_sums(self) -> Iterator[Bound]:
        """The stored bounds of sums, each once."""
        for a, row in self.sums.items():
            for b, c in row.items():
                if a < b:
                    yield a, b, c

    def bounds(self) -> Iterator[Bound]:
        """Everything that is stored, each bound once."""
        for a, c in self.highs.items():
            yield a, 0, c
        yield from self.of_sums()


class Octagon(_Bounds):
    """What all these bounds allow; never changed once it is handed out.  Closed, unless it comes from :meth:`raw`."""

    __slots__ = ("_closed", "is_empty")

    def __init__(self, highs: dict[Literal, int], sums: Sums, is_empty: bool = False) -> None:
        """Private: the bounds must be closed."""
        self.highs = highs
        self.sums = sums
        self.is_empty = is_empty
        self._closed: Octagon | None = self

    @classmethod
    def raw(cls, highs: dict[Literal, int], sums: Sums) -> Octagon:
        """An octagon of bounds that need not be closed, as widening leaves them."""
        octagon = cls(highs, sums)
        octagon._closed = None
        return octagon

    def __repr__(self) -> str:
        return "EMPTY_OCTAGON" if self.is_empty else f"Octagon({self.highs!r}, {self.sums!r})"

    def symbols(self) -> set[Symbol]:
        """Those about which something is stored."""
        return {abs(a) for a in self.highs} | {abs(a) for a in self.sums}

    def closed(self) -> Octagon:
        """The same, closed; found once.

        A raw octagon stays raw itself: what is widened next must not have been closed, or chains might never end.
        """
        if self._closed is None:
            self._closed = Octagon(self.highs, {}).learn(self.of_sums())
        return self._closed

    def learn(self, bounds: Iterable[Bound]) -> Octagon:
        """With more bounds, closed; the same object where it is closed and they are known."""
        start = self.closed()
        news = [(a, b, c) for a, b, c in bounds if c < start.upper(a, b)]
        if start.is_empty or not news:
            return start
        draft = _Draft(start)
        for a, b, c in news:
            if not (draft.add(a, b, c) if a and b and a != b else draft.bound(a, b, c)):
                return EMPTY_OCTAGON
        return Octagon(draft.highs, draft.sums)

    def without(self, gone: set[Symbol]) -> Octagon:
        """Nothing of these symbols, all else that follows."""
        if not any(symbol in gone for symbol in self.symbols()):
            return self
        start = self.closed()
        if start.is_empty:
            return start
        highs = {a: c for a, c in start.highs.items() if abs(a) not in gone}
        sums: Sums = {}
        for a, row in start.sums.items():
            if abs(a) not in gone:
                kept = {b: c for b, c in row.items() if abs(b) not in gone}
                if kept:
                    sums[a] = kept
        # Closed: among the others every bound that follows is there already.
        return Octagon(highs, sums)

    def renamed(self, name: Callable[[Symbol], Symbol]) -> Octagon:
        """The same of other symbols, closed or raw as before."""

        def literal(a: Literal) -> Literal:
            return name(a) if a > 0 else -name(-a)

        highs = {literal(a): c for a, c in self.highs.items()}
        sums = {literal(a): {literal(b): c for b, c in row.items()} for a, row in self.sums.items()}
        return Octagon.raw(highs, sums) if self._closed is not self else Octagon(highs, sums, self.is_empty)


EMPTY_OCTAGON: Final = Octagon({}, {}, True)
"""The one without solution."""


def _half(c: int) -> int:
    """The greatest integer ``a`` with ``a + a <= c``: what makes the closure tight."""
    return c // 2


class _Draft(_Bounds):
    """An octagon that grows: closed before and after each bound that is added."""

    __slots__ = ("_own",)

    def __init__(self, start: Octagon) -> None:
        self.highs = dict(start.highs)
        self.sums = dict(start.sums)
        self._own: set[Literal] = set()  # whose rows are not those of the start

    def bound(self, a: Literal, b: Literal, c: int) -> bool:
        """Add a bound that is about one literal, or none: ``a + a <= c``, ``a <= c`` or ``0 <= c``."""
        if a == b:
            return self.at_most(a, _half(c)) if a else c >= 0
        return self.at_most(a or b, c)

    def add(self, a: Literal, b: Literal, c: int) -> bool:
        """Add ``a + b <= c``, of two symbols (or one, where the sum is 0); False where there is no solution then.

        What follows goes through the new bound once, ``i + j`` by ``i - a`` and ``j - b``, or comes from new bounds of
        single literals (Chawdhary, Robbins, King 2019: incremental closure).  Where ``i + b`` learns nothing that way
        no ``i + j`` does, since what was known of ``i + b`` has been passed on before; and the same for ``a + j``.
        """
        if c >= self.upper(a, b):
            return True
        if c + self.upper(-a, -b) < 0:
            return False
        lefts = [(a, 0), *[(i, v) for i, v in self.sums.get(-a, {}).items() if v + c < self.upper(i, b)]]
        rights = [(b, 0), *[(j, w) for j, w in self.sums.get(-b, {}).items() if w + c < self.upper(a, j)]]
        halves: list[tuple[Literal, int]] = []
        for i, v in lefts:
            for j, w in rights:
                total = v + c + w
                if i == j:
                    halves.append((i, _half(total)))
                elif total < self.upper(i, j):
                    self._set(i, j, total)
        halves += [(a, c + self.high(-b)), (b, c + self.high(-a))]
        return all(self.at_most(i, most) for i, most in halves)

    def at_most(self, a: Literal, c: int) -> bool:
        """Bound a literal, and those whose difference to it is bounded; False where there is no solution then.

        This ends, since the bounds were closed and every cycle of differences adds up to 0 or more.
        """
        waiting = [(a, c)]
        while waiting:
            a, c = waiting.pop()
            if c >= self.high(a):
                continue
            if c + self.high(-a) < 0:
                return False
            self.highs[a] = c
            waiting += [(i, c + w) for i, w in self.sums.get(-a, {}).items()]
            self._prune(a)
        return True

    def _set(self, a: Literal, b: Literal, c: int) -> None:
        self._row(a)[b] = c
        self._row(b)[a] = c

    def _row(self, a: Literal) -> dict[Literal, int]:
        if a not in self._own:
            self._own.add(a)
            self.sums[a] = dict(self.sums.get(a, {}))
        return self.sums[a]

    def _prune(self, a: Literal) -> None:
        """Drop bounds of sums that the bounds of their literals imply by now."""
        most = self.high(a)
        for b in [b for b, c in self.sums.get(a, {}).items() if c >= most + self.high(b)]:
            for one, other in ((a, b), (b, a)):
                row = self._row(one)
                del row[other]
                if not row:
                    del self.sums[one]
                    self._own.discard(one)
