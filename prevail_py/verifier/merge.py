"""Joining and comparing states by matching their symbols.

Two states name the same concrete quantities differently.  Merging walks over both in the same order; every pair of
terms ``(x + a, y + b)`` met becomes a symbol of the result, the same one for every pair with the same ``x``, ``y`` and
``b - a``, so that equalities and constant distances that hold on both sides survive.  The pairs are the
:class:`~prevail_py.domains.lattice.Phi` list from which Facts computes what is known of the new symbols.

A symbol that names the same quantity on both sides (bound before the paths parted) keeps its name; every other one is
new.  Since pairs can only split further from one visit of a loop head to the next, never merge again, the shape of a
head's state stabilises after finitely many visits; widening takes care of the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from operator import itemgetter
from typing import Final

from prevail_py.domains.lattice import NO_SYMBOL, Phi, Symbol, Term
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import Pointer, Special, Value

__all__ = ["Merge", "merge", "signature", "subsumes"]

_MASK = (1 << 64) - 1


_ANYTHING = (Special.UNINITIALISED, Special.UNUSABLE, Special.POISON)
"""What may be any value, as far as the contents of the stack go."""


class Merge(Enum):
    """How the facts of the two states are combined."""

    JOIN = "join"
    WIDEN = "widen"


def signature(state: State) -> tuple[object, ...]:
    """The kinds of all values: states of one signature merge without losing a pointer.

    A tracked scalar on the stack counts like an untracked one, which is what it becomes in a join.
    """
    parts = _kinds(state.registers)
    for frame in state.frames:
        parts += _kinds(frame.saved)
        cells = frame.cells
        pointers = [(offset, cell[1].region) for offset, cell in cells.items() if isinstance(cell[1], Pointer)]
        pointers.sort(key=_first)
        parts.append(tuple(pointers))
    parts.append(len(state.references))
    return tuple(parts)


def _kinds(values: Sequence[Value]) -> list[object]:
    return [
        None if value.__class__ is Term else value.region if isinstance(value, Pointer) else value for value in values
    ]


_first: Final = itemgetter(0)


class _Matcher:
    """Collects the symbols of the result of a merge."""

    def __init__(self, fresh: Callable[[], Symbol]) -> None:
        self._fresh = fresh
        self._names: dict[tuple[Symbol, Symbol, int], tuple[Symbol, int]] = {}
        self.phis: list[Phi] = []

    def term(self, left: Term, right: Term) -> Term:
        (x, a), (y, b) = left, right
        if x == y and a == b:
            if x != NO_SYMBOL and (x, x, 0) not in self._names:
                self._names[x, x, 0] = (x, 0)
                itself = Term(x, 0) if a else left
                self.phis.append(Phi(x, itself, itself))
            return left
        key = (x, y, b - a & _MASK)
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = (self._fresh(), a)
            self.phis.append(Phi(known[0], left, right))
        symbol, first = known
        return Term(symbol, a - first & _MASK)

    def value(self, left: Value, right: Value) -> Value:
        if isinstance(left, Term) and isinstance(right, Term):
            return self.term(left, right)
        if isinstance(left, Pointer) and isinstance(right, Pointer) and left.region == right.region:
            base, offset = self.term(left.base, right.base), self.term(left.offset, right.offset)
            return left if base is left.base and offset is left.offset else Pointer(left.region, base, offset)
        if left is right:
            return left
        for special in (Special.UNINITIALISED, Special.POISON):
            if left is special or right is special:
                return special
        return Special.UNUSABLE


def merge(
    left: State,
    right: State,
    how: Merge,
    fresh: Callable[[], Symbol],
    thresholds: Sequence[int] = (),
) -> State:
    """An upper bound of both states; with WIDEN, ``left`` is the old one and ascending chains stabilise."""
    matcher = _Matcher(fresh)
    size, meta = matcher.term(left.packet_size, right.packet_size), matcher.term(left.packet_meta, right.packet_meta)
    references = tuple(matcher.term(a, b) for a, b in zip(left.references, right.references, strict=True))
    registers = [matcher.value(a, b) for a, b in zip(left.registers, right.registers, strict=True)]
    frames = []
    for mine, theirs in zip(left.frames, right.frames, strict=True):
        cells = {
            offset: (mine.cells[offset][0], matcher.value(mine.cells[offset][1], theirs.cells[offset][1]))
            for offset in sorted(mine.cells.keys() & theirs.cells.keys())
            if mine.cells[offset][0] == theirs.cells[offset][0]
        }
        saved = tuple(matcher.value(a, b) for a, b in zip(mine.saved, theirs.saved, strict=True))
        frame = Frame(cells, mine.initialised & theirs.initialised, saved)
        for offset, (_, content) in [*mine.cells.items(), *theirs.cells.items()]:
            if frame.hides_pointer(offset, content):
                frame.put({offset: (8, Special.UNUSABLE)})
        frames.append(frame)
    if how is Merge.WIDEN:
        facts = left.facts.widen(right.facts, matcher.phis, thresholds)
    else:
        facts = left.facts.join(right.facts, matcher.phis)
    return State(registers, frames, facts, size, meta, references, max(left.collected, right.collected))


def subsumes(old: State, new: State) -> bool:
    """Whether every concrete state of ``new`` is one of ``old``; False when that cannot be shown."""
    if len(old.frames) != len(new.frames) or len(old.references) != len(new.references):
        return False
    match: dict[Symbol, Term] = {}
    facts = new.facts

    def term(wide: Term, tight: Term) -> bool:
        symbol, offset = wide
        if symbol == NO_SYMBOL:
            if tight.symbol == NO_SYMBOL:
                return tight.offset == offset
            known = facts.range(tight)
            return known.lo == known.hi == offset
        wanted = Term(tight.symbol, tight.offset - offset & _MASK)
        return match.setdefault(symbol, wanted) == wanted

    def value(wide: Value, tight: Value) -> bool:
        if isinstance(wide, Term):
            return isinstance(tight, Term) and term(wide, tight)
        if isinstance(wide, Pointer):
            return (
                isinstance(tight, Pointer)
                and wide.region == tight.region
                and term(wide.base, tight.base)
                and term(wide.offset, tight.offset)
            )
        if wide is Special.UNINITIALISED or wide is Special.POISON:
            return True
        if wide is Special.UNUSABLE:
            return tight is not Special.UNINITIALISED
        return wide is tight  # stale, dangling

    for wide, tight in zip(old.registers, new.registers, strict=True):
        if wide is not Special.UNINITIALISED and not value(wide, tight):
            return False
    for theirs, mine in zip(old.frames, new.frames, strict=True):
        if theirs.initialised & ~mine.initialised or not all(map(value, theirs.saved, mine.saved)):
            return False
        for offset, (size, content) in theirs.cells.items():
            if isinstance(content, Special) and content in _ANYTHING:
                continue  # no cell at all, or smaller ones, are covered too
            cell = mine.cells.get(offset)
            if cell is None or cell[0] != size or not value(content, cell[1]):
                return False
        if any(theirs.hides_pointer(offset, content) for offset, (_, content) in mine.cells.items()):
            return False
    if not (term(old.packet_size, new.packet_size) and term(old.packet_meta, new.packet_meta)):
        return False
    if not all(map(term, old.references, new.references)):
        return False
    return _match_operands(old, new, match) and facts.leq(old.facts, match)


def _match_operands(old: State, new: State, match: dict[Symbol, Term]) -> bool:
    """Extend ``match`` to the symbols that matched ones were computed from; False where they were not alike.

    A definition is a fact: what the old state learns of ``y = op(x)`` it learns of ``x``, so that a new state whose
    values merely lie in the same ranges is not one of the old one's.
    """
    waiting = list(match)
    while waiting:
        symbol = waiting.pop()
        wanted = old.facts.definition(symbol)
        term = match[symbol]
        if wanted is None or term.symbol == NO_SYMBOL:
            continue  # whether it holds of constants is for leq to say
        found = new.facts.definition(term.symbol)
        if found is None or term.offset or found[0] != wanted[0]:
            return False
        for mine, theirs in zip(wanted[1], found[1], strict=True):
            if mine.symbol == NO_SYMBOL:
                continue
            operand = Term(theirs.symbol, theirs.offset - mine.offset & _MASK)
            if mine.symbol not in match:
                match[mine.symbol] = operand
                waiting.append(mine.symbol)
            elif match[mine.symbol] != operand:
                return False
    return True
