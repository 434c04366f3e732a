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

from prevail_py.domains.lattice import NO_SYMBOL, Facts, Phi, Symbol, Term
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import POISON, UNINITIALISED, UNUSABLE, Pointer, Special, Value

__all__ = ["Merge", "merge", "signature", "subsumes"]

_MASK = (1 << 64) - 1


_ANYTHING = (UNINITIALISED, UNUSABLE, POISON)
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
        pointers = [(offset, cell[1].region) for offset, cell in frame.cells.items() if isinstance(cell[1], Pointer)]
        if len(pointers) > 1:
            pointers.sort(key=_first)
        parts.append(tuple(pointers))
    parts.append(len(state.references))
    return tuple(parts)


def _kinds(values: Sequence[Value]) -> list[object]:
    return [None if value.__class__ is Term else value[0] if value.__class__ is Pointer else value for value in values]


_first: Final = itemgetter(0)


class _Matcher:
    """Collects the symbols of the result of a merge."""

    __slots__ = ("_fresh", "_names", "_same", "phis")

    def __init__(self, fresh: Callable[[], Symbol]) -> None:
        self._fresh = fresh
        self._same: set[Symbol] = {NO_SYMBOL}  # symbols that are themselves in the result
        self._names: dict[tuple[Symbol, Symbol, int], tuple[Symbol, int]] = {}
        self.phis: list[Phi] = []

    def term(self, left: Term, right: Term) -> Term:
        x, a = left
        y, b = right
        if x == y and a == b:
            if x not in self._same:
                self._same.add(x)
                itself = _tuple(Term, (x, 0)) if a else left
                self.phis.append(_tuple(Phi, (x, itself, itself)))
            return left
        key = (x, y, b - a & _MASK)
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = (self._fresh(), a)
            self.phis.append(_tuple(Phi, (known[0], left, right)))
        symbol, first = known
        return _tuple(Term, (symbol, a - first & _MASK))

    def value(self, left: Value, right: Value) -> Value:
        if left.__class__ is Term:
            if right.__class__ is Term:
                return self.term(left, right)
        elif left.__class__ is Pointer and right.__class__ is Pointer and (left[0] is right[0] or left[0] == right[0]):
            base, offset = self.term(left[1], right[1]), self.term(left[2], right[2])
            return left if base is left[1] and offset is left[2] else _tuple(Pointer, (left[0], base, offset))
        if left is right:
            return left
        if left is UNINITIALISED or right is UNINITIALISED:
            return UNINITIALISED
        if left is POISON or right is POISON:
            return POISON
        return UNUSABLE


_tuple: Final = tuple.__new__  # in a third of the time that the constructors of these tuples take


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
    value = matcher.value
    references = tuple([matcher.term(a, b) for a, b in zip(left.references, right.references, strict=True)])
    registers = [a if a is UNINITIALISED else value(a, b) for a, b in zip(left.registers, right.registers, strict=True)]
    frames = []
    for mine, theirs in zip(left.frames, right.frames, strict=True):
        saved = tuple([value(a, b) for a, b in zip(mine.saved, theirs.saved, strict=True)])
        frames.append(_merged_frame(mine, theirs, value, saved))
    if how is Merge.WIDEN:
        facts = left.facts.widen(right.facts, matcher.phis, thresholds)
    else:
        facts = left.facts.join(right.facts, matcher.phis)
    return State(registers, frames, facts, size, meta, references, max(left.collected, right.collected))


def _merged_frame(
    mine: Frame, theirs: Frame, value: Callable[[Value, Value], Value], saved: tuple[Value, ...]
) -> Frame:
    initialised = mine.initialised & theirs.initialised
    ours, others = mine.cells, theirs.cells
    if not ours and not others:
        return Frame({}, initialised, saved)
    cells: dict[int, tuple[int, Value]] = {}
    for offset in sorted(ours.keys() & others.keys()):
        left, right = ours[offset], others[offset]
        if left[0] == right[0]:
            both = value(left[1], right[1])
            cells[offset] = left if both is left[1] else (left[0], both)
    frame = Frame(cells, initialised, saved)
    for offset, (_, content) in [*ours.items(), *others.items()]:
        if content.__class__ is not Term and frame.hides_pointer(offset, content):
            frame.put({offset: (8, UNUSABLE)})
    return frame


class _Covering:
    """Compares values of a state that may cover another one; ``match`` says what its symbols stand for there."""

    __slots__ = ("_facts", "match")

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.match: dict[Symbol, Term] = {}

    def term(self, wide: Term, tight: Term) -> bool:
        symbol, offset = wide
        if symbol == NO_SYMBOL:
            if tight[0] == NO_SYMBOL:
                return tight[1] == offset
            known = self._facts.range(tight)
            return known.lo == known.hi == offset
        wanted = tight if offset == 0 else _tuple(Term, (tight[0], tight[1] - offset & _MASK))
        found = self.match.setdefault(symbol, wanted)
        return found is wanted or found == wanted

    def value(self, wide: Value, tight: Value) -> bool:
        if wide.__class__ is Term:
            return tight.__class__ is Term and self.term(wide, tight)
        if wide.__class__ is Pointer:
            return (
                tight.__class__ is Pointer
                and (wide[0] is tight[0] or wide[0] == tight[0])
                and self.term(wide[1], tight[1])
                and self.term(wide[2], tight[2])
            )
        if wide is UNINITIALISED or wide is POISON:
            return True
        if wide is UNUSABLE:
            return tight is not UNINITIALISED
        return wide is tight  # stale, dangling


def subsumes(old: State, new: State) -> bool:
    """Whether every concrete state of ``new`` is one of ``old``; False when that cannot be shown."""
    if len(old.frames) != len(new.frames) or len(old.references) != len(new.references):
        return False
    covering = _Covering(new.facts)
    term, value = covering.term, covering.value
    for wide, tight in zip(old.registers, new.registers, strict=True):
        if wide is not UNINITIALISED and not value(wide, tight):
            return False
    for theirs, mine in zip(old.frames, new.frames, strict=True):
        if theirs.initialised & ~mine.initialised or not all(map(value, theirs.saved, mine.saved)):
            return False
        cells = mine.cells
        for offset, (size, content) in theirs.cells.items():
            if content.__class__ is Special and content in _ANYTHING:
                continue  # no cell at all, or smaller ones, are covered too
            cell = cells.get(offset)
            if cell is None or cell[0] != size or not value(content, cell[1]):
                return False
        for offset, (_, content) in cells.items():
            if content.__class__ is not Term and theirs.hides_pointer(offset, content):
                return False
    if not (term(old.packet_size, new.packet_size) and term(old.packet_meta, new.packet_meta)):
        return False
    if not all(map(term, old.references, new.references)):
        return False
    match = covering.match
    return _match_operands(old, new, match) and new.facts.leq(old.facts, match)


def _match_operands(old: State, new: State, match: dict[Symbol, Term]) -> bool:
    """Extend ``match`` to the symbols that matched ones were computed from; False where they were not alike.

    A definition is a fact: what the old state learns of ``y = op(x)`` it learns of ``x``, so that a new state whose
    values merely lie in the same ranges is not one of the old one's.
    """
    definition, definition_ = old.facts.definition, new.facts.definition
    waiting = list(match)
    while waiting:
        symbol = waiting.pop()
        wanted = definition(symbol)
        if wanted is None:
            continue
        term = match[symbol]
        if term[0] == NO_SYMBOL:
            continue  # whether it holds of constants is for leq to say
        found = definition_(term[0])
        if found is None or term[1] or (found[0] is not wanted[0] and found[0] != wanted[0]):
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
