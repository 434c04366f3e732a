"""Facts that remember how they came about: the record of a symbolic execution.

:class:`Remembering` wraps the facts of any domain.  It answers queries as they do, and beside that keeps a *history*:
what was computed, compared and joined on the way from a start, as a graph of events that only grows.  Run on such
facts, the verifier's own transfer functions are a symbolic executor: nothing of what an instruction does is written
twice.  What the history says of the symbols, :mod:`prevail_py.verifier.smt.encoding` tells to Z3.

A history speaks of the symbols of one chain of states.  A symbol is bound once on each way through it, except that a
:class:`Start` takes over names from outside: there they stand for whatever the facts of the start allow, and nothing
that was recorded elsewhere is true of them.  At a :class:`Join` each symbol of the result is one of two terms,
whichever way was taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple, TypeAlias

from prevail_py.domains.lattice import Definition, Facts, Phi, Range, Symbol, Term
from prevail_py.domains.statements import Statement
from prevail_py.isa.instructions import AtomicOp
from prevail_py.verifier.state import State
from prevail_py.verifier.values import Pointer, Value
from prevail_py.words import Comparison, WordOp

__all__ = [
    "Assumed",
    "Called",
    "Chosen",
    "Defined",
    "Event",
    "Join",
    "Loaded",
    "Remembering",
    "Start",
    "Stored",
    "Update",
    "ancestors",
    "history_of",
    "record",
    "starts",
]

_numbers: Final = count(1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Numbered:
    """``number`` grows along every way, so that events in its order come after what they build on."""

    number: int = field(default_factory=_numbers.__next__)


@dataclass(frozen=True, slots=True, eq=False)
class Start(_Numbered):
    """A place where execution starts, with what is known there: the entry of the program, or the head of a loop.

    ``calls`` are the slots of the active calls and ``pc`` is the slot of the place; ``state`` is the one assumed.
    """

    known: Facts
    calls: tuple[int, ...] = ()
    pc: int = 0
    state: State | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Defined(_Numbered):
    """``symbol`` is ``op(args)``."""

    before: Event
    symbol: Symbol
    op: WordOp
    args: tuple[Term, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen(_Numbered):
    """``symbol`` is some integer of ``lo..hi`` modulo 2**64."""

    before: Event
    symbol: Symbol
    lo: int
    hi: int


@dataclass(frozen=True, slots=True, eq=False)
class Assumed(_Numbered):
    """``left comparison right`` held, on the low ``width`` bits: a branch went this way, an access was allowed."""

    before: Event
    comparison: Comparison
    left: Term
    right: Term
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Join(_Numbered):
    """One of two ways was taken; each symbol of the result is in ``phis``."""

    left: Event
    right: Event
    phis: tuple[Phi, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded(_Numbered):
    """``size`` bytes were loaded from memory that is no stack, and gave ``result``; says nothing of its value.

    ``swapped``: by a legacy load, in network byte order.
    """

    before: Event
    pc: int
    address: Pointer
    size: int
    signed: bool
    result: Value
    swapped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Stored(_Numbered):
    """The low ``size`` bytes of ``content`` were stored to memory that is no stack; None for unknown bytes.

    ``update`` is set where an atomic operation made them of the old ones: the operation, its operand, R0, and what the
    operation fetched, if it did.
    """

    before: Event
    pc: int
    address: Pointer
    size: int
    content: Value | None
    update: Update | None = None


class Update(NamedTuple):
    """An atomic operation: ``expected`` is R0 before it, ``fetched`` what it returned of the old contents."""

    op: AtomicOp
    operand: Value
    expected: Value
    fetched: Value | None


@dataclass(frozen=True, slots=True, eq=False)
class Called(_Numbered):
    """A helper was called in ``state`` (a copy, from before the call) and returned ``result``."""

    before: Event
    pc: int
    helper: int
    state: State
    result: Value


Event: TypeAlias = Start | Defined | Chosen | Assumed | Join | Loaded | Stored | Called


def ancestors(events: Iterable[Event]) -> list[Event]:
    """The events, and all that they build on, in an order in which each comes after what it builds on."""
    found: dict[int, Event] = {}
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        if event.number in found:
            continue
        found[event.number] = event
        match event:
            case Start():
                pass
            case Join(left, right):
                waiting += (left, right)
            case _:
                waiting.append(event.before)
    return [found[number] for number in sorted(found)]


class Remembering:
    """``known``, the facts of some domain, and the ``history`` that led to them; see the module's text.

    It never claims to be below other facts: a history covers another one only where they are the same.  So states with
    histories are joined, not dropped, and a fixpoint over loops would not end.
    """

    __slots__ = ("history", "known")

    def __init__(self, known: Facts, history: Event) -> None:
        self.known = known
        self.history = history

    def is_bottom(self) -> bool:
        return self.known.is_bottom()

    def define(self, symbol: Symbol, op: WordOp, args: tuple[Term, ...]) -> Remembering:
        return Remembering(self.known.define(symbol, op, args), Defined(self.history, symbol, op, args))

    def define_between(self, symbol: Symbol, lo: int, hi: int) -> Remembering:
        return Remembering(self.known.define_between(symbol, lo, hi), Chosen(self.history, symbol, lo, hi))

    def assume(self, comparison: Comparison, a: Term, b: Term, width: int = 64) -> Remembering:
        return Remembering(self.known.assume(comparison, a, b, width), Assumed(self.history, comparison, a, b, width))

    def forget(self, dead: Iterable[Symbol]) -> Remembering:
        return Remembering(self.known.forget(dead), self.history)

    def range(self, term: Term, width: int = 64, signed: bool = False) -> Range:
        return self.known.range(term, width, signed)

    def difference(self, a: Term, b: Term) -> Range:
        return self.known.difference(a, b)

    def refine(self, symbol: Symbol, lo: int, hi: int, signed: bool = False) -> Remembering:
        # What a member of a product tells another follows from the history.
        return Remembering(self.known.refine(symbol, lo, hi, signed), self.history)

    def join(self, other: Remembering, phis: Sequence[Phi]) -> Remembering:
        history = Join(self.history, other.history, tuple(phis))
        return Remembering(self.known.join(other.known, phis), history)

    def widen(self, other: Remembering, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Remembering:
        known = self.known.widen(other.known, phis, thresholds)
        return Remembering(known, Start(known))

    def leq(self, other: Remembering, match: Mapping[Symbol, Term]) -> bool:
        return self.is_bottom() or (self.history is other.history and self.known.leq(other.known, match))

    def definition(self, symbol: Symbol) -> Definition | None:
        return self.known.definition(symbol)

    def symbols(self) -> frozenset[Symbol]:
        return self.known.symbols()

    def statements(self) -> Iterator[Statement]:
        return self.known.statements()

    def describe(self, symbol: Symbol) -> str:
        return self.known.describe(symbol)

    def contains(self, valuation: Mapping[Symbol, int]) -> bool:
        return self.known.contains(valuation)


def history_of(state: State) -> Event:
    """The history of a state of a symbolic execution."""
    assert isinstance(state.facts, Remembering)
    return state.facts.history


def record(state: State, event: Event) -> None:
    """Let the history of a state go on with an event that builds on it."""
    assert isinstance(state.facts, Remembering)
    state.facts = Remembering(state.facts.known, event)


def starts(events: Iterable[Event]) -> Iterator[Start]:
    """Where what is known comes from: the places at which the histories of the events start."""
    return (event for event in ancestors(events) if isinstance(event, Start))
