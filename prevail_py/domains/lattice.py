"""The two seams of the abstract-domain framework, as protocols.

A :class:`Word` abstracts the value of one 64-bit machine word; a :class:`Facts` abstracts what is known about all the
*symbols* of a state together.  A symbol stands for one unknown word and is bound once; a :data:`Term` is a constant or
a symbol plus a constant (modulo 2**64), which is how registers and stack cells refer to what is known.

Both are immutable.  Bottom (no concretization) is a value like any other: it is absorbing, and ``is_bottom`` says so.
Soundness is inclusion of concretizations; the laws every implementation must satisfy are in ``tests/domains``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeAlias

from prevail_py.words import Comparison, WordOp

if TYPE_CHECKING:
    from prevail_py.domains.statements import Statement

__all__ = [
    "NO_SYMBOL",
    "Definition",
    "Facts",
    "Framing",
    "Phi",
    "Range",
    "Symbol",
    "Term",
    "Word",
    "constant",
    "matched",
    "renamed_definition",
]

Symbol: TypeAlias = int
NO_SYMBOL: Symbol = 0


class Term(NamedTuple):
    """``symbol + offset`` modulo 2**64, or the constant ``offset`` where ``symbol`` is :data:`NO_SYMBOL`.

    ``offset`` is always in ``range(2**64)``.
    """

    symbol: Symbol
    offset: int


def constant(value: int) -> Term:
    """The term of a constant, taken modulo 2**64."""
    return _tuple(Term, (NO_SYMBOL, value & 0xFFFFFFFFFFFFFFFF))


_tuple = tuple.__new__  # in a third of the time that Term takes


Definition: TypeAlias = tuple[WordOp, tuple[Term, ...]]
"""How a symbol was computed."""


def matched(term: Term, match: Mapping[Symbol, Term]) -> Term:
    """``term`` with its symbol replaced as ``match`` says; a symbol that is not in it stays."""
    found = match.get(term.symbol)
    return term if found is None else Term(found.symbol, found.offset + term.offset & 0xFFFFFFFFFFFFFFFF)


def renamed_definition(definition: Definition, names: Mapping[Symbol, Symbol]) -> Definition:
    """``definition`` with its operands' symbols replaced as ``names`` says; one that is not in it stays."""
    return definition[0], tuple([Term(names.get(symbol, symbol), offset) for symbol, offset in definition[1]])


class Range(NamedTuple):
    """Inclusive bounds of a mathematical integer; empty where ``lo > hi``."""

    lo: int
    hi: int


class Phi(NamedTuple):
    """At a join ``symbol`` stands for ``left`` in the left state and ``right`` in the right one."""

    symbol: Symbol
    left: Term
    right: Term


class Word(Protocol):
    """One abstract machine word.

    ``apply`` over-approximates :func:`prevail_py.words.evaluate` on every choice of arguments.  ``backward`` narrows
    the arguments to (a superset of) those for which ``op`` gives a result in ``out``.  ``restrict`` narrows both sides
    to (a superset of) the pairs for which the comparison on their low ``width`` bits holds.  ``x.widen(y)`` has x the
    old and y the new value and is called with ``y = x.join(new)``; ``thresholds`` are ascending unsigned candidates.
    """

    @classmethod
    def top(cls) -> Self: ...
    @classmethod
    def bottom(cls) -> Self: ...
    @classmethod
    def constant(cls, value: int) -> Self: ...
    @classmethod
    def between(cls, lo: int, hi: int) -> Self:
        """All words whose *unsigned* value lies in ``lo..hi`` (``0 <= lo <= hi < 2**64``)."""
        ...

    def is_bottom(self) -> bool: ...
    def is_top(self) -> bool: ...
    def leq(self, other: Self) -> bool: ...
    def join(self, other: Self) -> Self: ...
    def meet(self, other: Self) -> Self: ...
    def widen(self, other: Self, thresholds: Sequence[int] = ()) -> Self: ...
    def narrow(self, other: Self) -> Self: ...
    def apply(self, op: WordOp, *args: Self) -> Self:
        """``op(self, *args)``: ``self`` is the first argument."""
        ...

    def backward(self, op: WordOp, out: Self, *args: Self) -> tuple[Self, ...]:
        """Narrowed ``(self, *args)`` given that ``op(self, *args)`` lies in ``out``."""
        ...

    def restrict(self, comparison: Comparison, other: Self, width: int = 64) -> tuple[Self, Self]: ...
    def bounds(self, width: int = 64, signed: bool = False) -> Range:
        """Bounds of the low ``width`` (32 or 64) bits read as signed or unsigned; empty at bottom."""
        ...

    def contains(self, word: int) -> bool: ...


class Facts(Protocol):
    """What is known about the symbols of one state.

    ``range`` and ``difference`` answer queries; both are sound over-approximations.  ``join`` and ``widen`` take one
    :class:`Phi` for every symbol of the result, and the result speaks of those symbols only.  ``x.widen(y)`` bounds
    both x (old) and y (new).  ``leq`` matches every symbol of ``other`` to a term of this state, one that is not in the
    match to itself.  Whatever later answers rest on is part of what ``leq`` compares: ranges, relations, definitions.
    """

    def is_bottom(self) -> bool: ...
    def define(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Self:
        """Bind a fresh symbol to ``op(*args)``."""
        ...

    def define_between(self, symbol: Symbol, lo: int, hi: int) -> Self:
        """Bind a fresh symbol to an unknown word: some integer of ``lo..hi`` modulo 2**64; ``lo`` may be negative."""
        ...

    def assume(self, comparison: Comparison, a: Term, b: Term, width: int = 64) -> Self: ...
    def forget(self, dead: Iterable[Symbol]) -> Self: ...
    def range(self, term: Term, width: int = 64, signed: bool = False) -> Range: ...
    def difference(self, a: Term, b: Term) -> Range:
        """Bounds of ``a - b`` as mathematical integers, both read as signed 64-bit words."""
        ...

    def refine(self, symbol: Symbol, lo: int, hi: int, signed: bool = False) -> Self:
        """Learn that ``symbol``, read as told, lies in ``lo..hi``: the channel of reduction between members."""
        ...

    def join(self, other: Self, phis: Sequence[Phi]) -> Self: ...
    def widen(self, other: Self, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Self: ...
    def leq(self, other: Self, match: Mapping[Symbol, Term]) -> bool: ...
    def definition(self, symbol: Symbol) -> Definition | None:
        """How ``symbol`` was computed, where that is known to hold still (a join may have lost it)."""
        ...

    def symbols(self) -> frozenset[Symbol]:
        """The symbols about which anything is stored."""
        ...

    def statements(self) -> Iterator[Statement]:
        """All that is known, as data: their conjunction describes at least the concretization."""
        ...

    def describe(self, symbol: Symbol) -> str:
        """What is known of one symbol, for people; empty for nothing."""
        ...

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        """Whether these unsigned values of (some of) the symbols are allowed: the concretization, on ints."""
        ...


class Framing(Facts, Protocol):
    """What facts can do, in addition, that may be taken apart at a call and put together again (``summaries.py``).

    A domain without it is sound as well: its programs are analysed by inlining calls.
    """

    def renamed(self, names: Mapping[Symbol, Symbol]) -> Self:
        """The same of other symbols; those that are not in ``names`` stay, and no two become one."""
        ...

    def meet(self, other: Self) -> Self:
        """What both know together: a symbol that both speak of stands for the same word.

        Every valuation that both allow is allowed; that no other is need not be.  Where both know how a symbol was
        computed, that is what ``other`` knows.
        """
        ...
