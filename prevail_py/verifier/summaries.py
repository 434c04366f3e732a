"""Summaries: a function is analysed once for each state in which it is entered, up to what it can see of it.

A call takes the caller's state apart.  The *visible* part is what the function can read or change: its arguments, the
packet's extent, the references held, and the frames of callers that its arguments lead to, directly or through the
contents of such a frame.  The rest is *hidden*: other frames, the registers that calls keep, and what is known of
their symbols.  The function is analysed from the visible part alone; a second call whose visible part is the same, up
to the names of symbols, gets the same exits.  Each exit is then put together again with what the caller hid.

Why that is sound:

- **No frame is missed.**  A function reaches memory of its callers only through pointers that it holds or loads from
  frames that it reaches; R6 to R9 of the caller are out of its reach.
- **Symbols keep their meaning.**  In a state a symbol is any word that the facts allow, so that one state may cover
  another in which different symbols stand in the same places.  That would cut the link to the caller, whose hidden
  values use the same symbols.  Hence the symbols of the visible part are kept as *ghosts*, values that no instruction
  can change, in the outermost frame: they take part in joins and comparisons, and stand for the same words at the exit
  as at the entry.  All other symbols of an exit are new to the caller, and are renamed where it might know them.
- **Facts of one run add up.**  The caller's facts hold at the exit as they did at the entry, since they are about words
  and not about places: the facts after the call are those of the exit and those of the caller together.
- **What happens everywhere is done to the hidden part, too**: pointers to a packet that has moved are stale, those to
  what was released are dangling, those found to be null are numbers (:func:`_hidden`).

What is known inside the function holds for every call that shares the analysis, since a frame of which nothing is known
may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from prevail_py.domains.lattice import NO_SYMBOL, Facts, Symbol, Term, renamed_definition
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import Pointer, RegionKind, Special, Value

__all__ = ["Summaries", "can_frame"]

Key: TypeAlias = tuple[object, ...]
"""What two visible parts have in common that may be the same: all but what is known of their symbols."""

_RELEASABLE: Final = (RegionKind.MEMORY, RegionKind.OBJECT)


class Visible(NamedTuple):
    """The part of a state that a function can see.

    ``symbols`` are its symbols in the order in which they occur, those last that are only the operands of others and
    not known themselves; the first ``ghosts`` of them are ghosts.  ``reached`` are the callers' frames that are part of
    it.
    """

    state: State
    symbols: tuple[Symbol, ...]
    ghosts: int
    reached: frozenset[int]
    key: Key


@dataclass(slots=True)
class Summary:
    """A function entered with ``entry``: the states at its exits, its own frame left out.

    ``mark`` is the newest symbol from before.  ``owner`` is the call string under which it was checked; None while it
    was not.
    """

    entry: Visible
    exits: list[State]
    mark: Symbol
    owner: tuple[int, ...] | None


def can_frame(facts: Facts) -> bool:
    """Whether such facts can be taken apart at calls and put together again (:class:`~.lattice.Framing`)."""
    members: Sequence[Facts] = getattr(facts, "members", ())
    return hasattr(facts, "renamed") and hasattr(facts, "meet") and all(map(can_frame, members))


class Solve(Protocol):
    """Analyses a function entered in some states with nothing hidden: the states at its exits."""

    def __call__(self, entry: list[State]) -> list[State]: ...


class Summaries:
    """The summaries of one analysis, by function.

    ``shared`` says, for a call string whose function was not analysed for it, under which others it was.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._known: dict[tuple[int, Key], list[Summary]] = {}
        self.shared: dict[tuple[int, ...], list[tuple[int, ...]]] = {}

    @property
    def used(self) -> bool:
        """Whether some function was analysed apart from what called it."""
        return bool(self._known)

    def exits(
        self, function: int, calls: tuple[int, ...], entry: Sequence[State], final: bool, solve: Solve
    ) -> list[State]:
        """The states at the exits of ``function`` for the call string ``calls``, entered in the states ``entry``.

        ``solve`` is asked where an analysis is missing, with one state at a time; where more than two are, with all of
        them together and as they are, for else functions that call one another could multiply them.
        """
        parts = [visible(self._setting, state) for state in entry]
        found = [self._find(function, part, final) for part in parts]
        missing: list[Visible] = []
        for part, known in zip(parts, found, strict=True):
            if known is None and not any(part.key == other.key and same(part, other) for other in missing):
                missing.append(part)
        out: list[State] = []
        if len(missing) > _MOST_TOGETHER:
            rest = [state for state, known in zip(entry, found, strict=True) if known is None]
            out += solve(rest)
        for state, part, known in zip(entry, parts, found, strict=True):
            if known is None and len(missing) <= _MOST_TOGETHER:
                known = self._find(function, part, final) or self._made(function, calls, part, final, solve)
            if known is None:
                continue
            if final and known.owner is not None and known.owner != calls:
                owners = self.shared.setdefault(calls, [])
                if known.owner not in owners:
                    owners.append(known.owner)
            out += put_together(self._setting, known, state, part)
        return out

    def _find(self, function: int, part: Visible, final: bool) -> Summary | None:
        """A summary for ``part``; with ``final`` only one that was checked."""
        for known in self._known.get((function, part.key), ()):
            if (known.owner is not None or not final) and same(known.entry, part):
                return known
        return None

    def _made(self, function: int, calls: tuple[int, ...], part: Visible, final: bool, solve: Solve) -> Summary:
        mark = self._setting.last
        exits = exits_of(self._setting, solve([part.state.copy()]))
        made = Summary(part, exits, mark, calls if final else None)
        of_key = self._known.setdefault((function, part.key), [])
        # What was only a step on the way is not asked for again.
        of_key[:] = [known for known in of_key if known.owner is not None or not same(known.entry, part)]
        of_key.append(made)
        return made

    def sharing(self, calls: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The call strings under which functions were analysed for ``calls``, itself the first."""
        found: list[tuple[int, ...]] = [()]
        for pc in calls:
            longer = [(*prefix, pc) for prefix in found]
            found = list(dict.fromkeys([*longer, *(owner for call in longer for owner in self.shared.get(call, ()))]))
        return found


_MOST_TOGETHER: Final = 2

# Taking apart -----------------------------------------------------------------------------------------------------


def visible(setting: Setting, state: State) -> Visible:
    """The part of ``state``, in which a function has just been entered, that the function can see."""
    reached = _reached(state)
    inner = state.copy()
    inner.frames = [
        Frame(frame.cells, frame.initialised, _no_values(frame))
        if depth in reached
        else Frame({}, 0, _no_values(frame))
        for depth, frame in enumerate(state.frames)
    ]
    walk = _Walk()
    for term in (inner.packet_size, inner.packet_meta, *inner.references):
        walk.value(term)
    for value in inner.registers:
        walk.value(value)
    for depth in sorted(reached):
        frame = inner.frames[depth]
        walk.parts.append((depth, frame.initialised, len(frame.cells)))
        for offset in sorted(frame.cells):
            size, content = frame.cells[offset]
            walk.parts.append((offset, size))
            walk.value(content)
    inner.collect(setting.definitions)
    walk.operands(inner.facts, inner.live_symbols(setting.definitions))
    ghosts = len(walk.numbers)
    inner.facts = inner.facts.forget(inner.facts.symbols() - walk.numbers.keys())
    walk.operands(inner.facts, None)
    symbols = tuple(walk.numbers)
    inner.frames[0].saved = tuple([Term(symbol, 0) for symbol in symbols[:ghosts]])
    ranges = tuple([inner.facts.range(Term(symbol, 0)) for symbol in symbols])
    shape = len(state.frames), len(state.references), state.frames[-1].is_callback, ghosts
    return Visible(inner, symbols, ghosts, reached, (shape, tuple(walk.parts), ranges))


def _no_values(frame: Frame) -> tuple[Value, ...]:
    return (Special.UNINITIALISED,) * len(frame.saved)


def _reached(state: State) -> frozenset[int]:
    """The frames of callers that pointers lead to, starting from the registers."""
    own = len(state.frames) - 1
    found: set[int] = set()
    waiting: list[Value] = list(state.registers)
    while waiting:
        value = waiting.pop()
        if isinstance(value, Pointer) and value.region.kind is RegionKind.STACK:
            depth = value.region.index
            if depth < own and depth not in found:
                found.add(depth)
                waiting += [content for _, content in state.frames[depth].cells.values()]
    return frozenset(found)


class _Walk:
    """Values as they are met, with symbols numbered in that order."""

    def __init__(self) -> None:
        self.parts: list[object] = []
        self.numbers: dict[Symbol, int] = {}

    def _term(self, term: Term) -> tuple[int, int]:
        symbol, offset = term
        if symbol == NO_SYMBOL:
            return -1, offset
        return self.numbers.setdefault(symbol, len(self.numbers)), offset

    def value(self, value: Value) -> None:
        if isinstance(value, Term):
            self.parts.append(self._term(value))
        elif isinstance(value, Pointer):
            self.parts.append((value.region, self._term(value.base), self._term(value.offset)))
        else:
            self.parts.append(value)

    def operands(self, facts: Facts, live: set[Symbol] | None) -> None:
        """Go on with what the symbols met so far were computed from: with those that are ``live``, or with all."""
        waiting = list(self.numbers)
        for symbol in waiting:
            definition = facts.definition(symbol)
            if definition is None:
                continue
            for term in definition[1]:
                if (
                    term.symbol not in self.numbers
                    and term.symbol != NO_SYMBOL
                    and (live is None or term.symbol in live)
                ):
                    waiting.append(term.symbol)
                    self._term(term)
            if live is None:
                self.parts.append((definition[0], *map(self._term, definition[1])))


def same(one: Visible, other: Visible) -> bool:
    """Whether two visible parts with the same key are the same up to the names of symbols."""
    there = {mine: Term(theirs, 0) for mine, theirs in zip(one.symbols, other.symbols, strict=True)}
    back = {theirs: Term(mine, 0) for mine, theirs in zip(one.symbols, other.symbols, strict=True)}
    mine, theirs = one.state.facts, other.state.facts
    return mine.leq(theirs, back) and theirs.leq(mine, there)


# Putting together -------------------------------------------------------------------------------------------------


def exits_of(setting: Setting, states: Sequence[State]) -> list[State]:
    """States at the exits of a function, without what ends with it."""
    out = []
    for state in states:
        end = state.copy()
        end.registers[1:] = [Special.UNINITIALISED] * 10
        frame = end.frames[-1]
        end.frames[-1] = Frame({}, 0, _no_values(frame))
        end.collect(setting.definitions)
        out.append(end)
    return out


def put_together(setting: Setting, summary: Summary, outer: State, part: Visible) -> Iterator[State]:
    """The states at the exits of a function that was entered in ``outer``, whose visible part is ``part``."""
    ghosts = dict(zip(summary.entry.symbols[: part.ghosts], part.symbols[: part.ghosts], strict=True))
    # The call for which the analysis was made may keep the names of what was new in it; others may know them.
    mark = summary.mark if part is summary.entry else setting.last
    for end in summary.exits:
        names = _names(setting, end, ghosts, mark)
        state = _renamed(end, names)
        facts: Any = state.facts
        state.facts = facts.renamed(names).meet(outer.facts)
        if state.facts.is_bottom():
            continue
        hide = _hidden(outer, state)
        for depth, frame in enumerate(outer.frames):
            saved = tuple([hide(value) for value in frame.saved]) if hide else frame.saved
            if depth in part.reached:
                state.frames[depth].saved = saved
                continue
            kept = frame.copy()
            kept.saved = saved
            if hide:
                kept.put({offset: (size, hide(value)) for offset, (size, value) in frame.cells.items()})
            if depth == len(outer.frames) - 1:
                kept = Frame({}, 0, saved)  # it is about to be left
            state.frames[depth] = kept
        state.collect(setting.definitions)
        state.collected = setting.last
        yield state


def _names(setting: Setting, end: State, ghosts: Mapping[Symbol, Symbol], mark: Symbol) -> dict[Symbol, Symbol]:
    """What the caller calls the symbols of an exit."""
    names = dict(ghosts)
    found = end.live_symbols(setting.definitions) | end.facts.symbols()
    for symbol in sorted(found):
        if symbol not in names and symbol <= mark:
            names[symbol] = setting.fresh()
    for symbol in found:
        definition = end.facts.definition(symbol)
        if definition is not None and names.get(symbol, symbol) != symbol:
            setting.definitions[names[symbol]] = renamed_definition(definition, names)
    return names


def _renamed(state: State, names: Mapping[Symbol, Symbol]) -> State:
    def term(old: Term) -> Term:
        return Term(names.get(old.symbol, old.symbol), old.offset)

    def value(old: Value) -> Value:
        if isinstance(old, Term):
            return term(old)
        return Pointer(old.region, term(old.base), term(old.offset)) if isinstance(old, Pointer) else old

    new = state.copy()
    new.map_values(value)
    new.packet_size, new.packet_meta = term(state.packet_size), term(state.packet_meta)
    new.references = tuple(map(term, state.references))
    return new


def _hidden(outer: State, end: State) -> Callable[[Value], Value] | None:
    """What the function did to values that it could not see; None for nothing."""
    moved = (outer.packet_size, outer.packet_meta) != (end.packet_size, end.packet_meta)
    released = any(held not in end.references and end.facts.range(held).hi for held in outer.references)
    null = {
        base
        for base in _bases(outer)
        if base.symbol != NO_SYMBOL and outer.facts.range(base).hi and not end.facts.range(base).hi
    }
    if not (moved or released or null):
        return None

    def change(value: Value) -> Value:
        if not isinstance(value, Pointer):
            return value
        if value.base in null:
            return value.offset
        if moved and value.region.kind is RegionKind.PACKET:
            return Special.STALE
        if released and value.region.kind in _RELEASABLE and value.base.symbol != NO_SYMBOL:
            return value if value.base in end.references else Special.DANGLING
        return value

    return change


def _bases(state: State) -> set[Term]:
    """The bases of all pointers that may be hidden."""
    values = [value for frame in state.frames for value in frame.saved]
    values += [value for frame in state.frames for _, value in frame.cells.values()]
    return {value.base for value in values if isinstance(value, Pointer)}
