"""Disjunction: a block's entry is a short list of states, not one.

States are kept apart when their kinds of values differ (their *type signature*: merging would lose pointers) and, up
to a bound of K per signature, when they hold different constants: that is what correlates a status code with the
bounds check that set it.  Beyond the bound a new state is merged into the kept one with which it shares most
constants.  The bound makes the number of states per block finite, and everything here is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prevail_py.domains.lattice import NO_SYMBOL, Facts, Symbol, Term
from prevail_py.verifier.merge import Merge, merge, signature, subsumes
from prevail_py.verifier.state import State
from prevail_py.verifier.values import Pointer, Special, Value

__all__ = ["MANY", "MAX_SIGNATURES", "add_state", "constants_of"]

MANY = 64
"""Disjuncts with which loops are to be unrolled rather than cases told apart."""

MAX_SIGNATURES = 64
"""Signatures kept apart per block; beyond it values of different kinds merge into UNUSABLE."""

Shape = tuple[object, ...]


def _constant(value: Value, facts: Facts | None) -> int | None:
    """The constant; with ``facts`` also what is certain because a comparison has left nothing else."""
    if value.__class__ is Pointer:
        value = value[2]
    elif value.__class__ is not Term:
        return None
    symbol, offset = value
    if symbol == NO_SYMBOL:
        return offset
    if facts is None:
        return None
    lo, hi = facts.range(value)
    return lo if lo == hi else None


def constants_of(state: State, disjuncts: int = MANY) -> tuple[int | None, ...]:
    """The constants in registers and, where a frame tracks few cells, on the stack: what tells disjuncts apart.

    With few disjuncts what comparisons have found out counts, too: which case of a ``switch`` this is.  With many it
    would multiply with the turns of loops, which are to be kept apart then.
    """
    facts = state.facts if disjuncts < MANY else None
    out = [_constant(value, facts) for value in state.registers]
    for frame in state.frames:
        if frame.saved:
            out += [_constant(value, facts) for value in frame.saved]
        cells = frame.cells
        if cells:
            out += [_constant(cells[offset][1], facts) for offset in sorted(cells)]
    return tuple(out)


def _kinds(state: State) -> Shape:
    if state.kinds is None:
        state.kinds = signature(state)
    return state.kinds


def _constants(state: State, disjuncts: int) -> tuple[int | None, ...]:
    if state.constants is None:
        state.constants = found = constants_of(state, disjuncts)
        state.places = tuple([value is None for value in found]), [sorted(frame.cells) for frame in state.frames]
    return state.constants


def _agreement(left: State, right: State, disjuncts: int) -> int:
    """How many values are the same constant in both."""
    pairs = zip(_constants(left, disjuncts), _constants(right, disjuncts), strict=False)
    return sum([a is not None and a == b for a, b in pairs])


def _mergeable(left: State, right: State) -> bool:
    return len(left.frames) == len(right.frames) and len(left.references) == len(right.references)


def add_state(
    kept: list[State],
    new: State,
    disjuncts: int,
    fresh: Callable[[], Symbol],
    how: Merge = Merge.JOIN,
    thresholds: Sequence[int] = (),
) -> bool:
    """Add ``new`` to the disjunction ``kept``, in place; False where it was already covered."""
    if not kept:
        kept.append(new)
        return True
    shape = _kinds(new)
    constants = _constants(new, disjuncts) if disjuncts > 1 else ()
    same: list[int] = []
    differing = 0
    for index, state in enumerate(kept):
        other = _kinds(state)
        if other == shape:
            same.append(index)
            if disjuncts > 1 and _constants(state, disjuncts) != constants and state.places == new.places:
                continue  # other constants in the same places: it covers no such state
        elif not _covers(other, shape):
            continue
        # States of one loop mostly differ in the same register, the counter: look there first.
        if _differ(state.registers[differing], new.registers[differing]):
            continue
        found = _contradiction(state.registers, new.registers)
        if found is not None:
            differing = found
        elif subsumes(state, new):
            return False
    if not same:
        if len(kept) < MAX_SIGNATURES or len(set(map(_kinds, kept))) < MAX_SIGNATURES:
            kept.append(new)
            return True
        same = [index for index, state in enumerate(kept) if _mergeable(state, new)]
        if not same:
            kept.append(new)
            return True
    elif len(same) < disjuncts:
        twin = next((i for i in same if _constants(kept[i], disjuncts) == constants), None)
        if twin is None:
            kept.append(new)
            return True
        same = [twin]
    best = same[0] if len(same) == 1 else max(same, key=lambda i: (_agreement(kept[i], new, disjuncts), -i))
    kept[best] = merge(kept[best], new, how, fresh, thresholds)
    return True


def _contradiction(kept: Sequence[Value], new: Sequence[Value]) -> int | None:
    """A register of which ``kept`` holds a constant other than the one in ``new``: then it covers no such state.

    Most comparisons end here, so this looks at nothing but the constants themselves.
    """
    for register, wide in enumerate(kept):
        if wide.__class__ is Term and wide[0] == NO_SYMBOL:
            tight = new[register]
            if tight is not wide and tight.__class__ is Term and tight[0] == NO_SYMBOL and wide != tight:
                return register
    return None


def _differ(wide: Value, tight: Value) -> bool:
    both = wide.__class__ is Term and tight.__class__ is Term
    return both and wide is not tight and wide != tight and wide[0] == tight[0] == NO_SYMBOL  # type: ignore[index]


def _covers(wide: Shape, tight: Shape) -> bool:
    """Whether a state of kind ``wide`` could subsume one of kind ``tight``: it knows less somewhere."""
    return len(wide) == len(tight) and any(part in _KNOWING_LESS for part in wide if isinstance(part, Special))


_KNOWING_LESS = (Special.UNINITIALISED, Special.UNUSABLE, Special.POISON)
