"""Merging and comparing states, on states that the verifier computes and on machines that reach them.

Random programs are analysed with many disjuncts, so that many states arrive at one place, and run.  A machine that one
of the states describes must be described by every merge of it with another, by every state that is said to cover it,
and by a disjunction to which it was added, whatever its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from random import Random
from typing import Any

import pytest

from prevail_py.domains import facts
from prevail_py.domains.lattice import NO_SYMBOL, Symbol, Term, constant
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.research.generate import program
from prevail_py.research.packets import packets
from prevail_py.verifier import merge as merge_module
from prevail_py.verifier import partition
from prevail_py.verifier.blocks import BudgetExhausted
from prevail_py.verifier.concretization import excludes
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.merge import Merge, merge, signature, subsumes
from prevail_py.verifier.partition import MAX_SIGNATURES, add_state
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import NEVER_NULL, ZERO, Pointer, Region, RegionKind, Special, Value
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import run
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import create_maps
from prevail_py.words import Comparison, OpKind, WordOp

Place = tuple[tuple[int, ...], int]

SEEDS = range(10)
_MOST_STATES = 6


@cache
def analysed(seed: int) -> tuple[Program, dict[Place, list[State]], Callable[[], Symbol]]:
    """A random program, the states at its places where there are several, and the supply of symbols."""
    made = program(seed, size=14, loops=seed % 3 == 2)
    setting = Setting(made, platform(), facts())
    fixpoint = Fixpoint(setting, 64, 60_000, lambda *_: None)
    try:
        fixpoint.run()
    except BudgetExhausted:
        return made, {}, setting.fresh
    several = {place: states[:_MOST_STATES] for place, states in fixpoint.invariants.items() if len(states) > 1}
    return made, several, setting.fresh


Check = Callable[[State], bool]
"""Given the states that describe a machine already, whether another one does."""

Combination = tuple[list[State], list[State]]
"""(parts, whole): a machine described by some part must be described by one of the whole."""


def merges(states: Sequence[State], fresh: Callable[[], Symbol]) -> list[Combination]:
    return [
        ([left, right], [merge_module.merge(left, right, how, fresh)])
        for left in states
        for right in states
        if left is not right and len(left.references) == len(right.references)
        for how in Merge
    ]


def coverings(states: Sequence[State], fresh: Callable[[], Symbol]) -> list[Combination]:
    out = []
    for wide in [*states, *(whole for _, (whole,) in merges(states[:3], fresh))]:
        out += [([tight], [wide]) for tight in states if merge_module.subsumes(wide, tight)]
    return out


def disjunctions(states: Sequence[State], fresh: Callable[[], Symbol]) -> list[Combination]:
    out = []
    for bound in (1, 2, 8):
        for how in Merge:
            for order in (states, states[::-1]):
                kept: list[State] = []
                for state in order:
                    add_state(kept, state, bound, fresh, how)
                out.append((list(states), kept))
    return out


COMBINATIONS = {"merge": merges, "subsumes": coverings, "add_state": disjunctions}


def lost_members(name: str, seeds: Sequence[int] = SEEDS, runs: int = 8) -> tuple[int, list[str]]:
    """How many memberships were checked, and those that do not hold."""
    checked, lost = 0, []
    for seed in seeds:
        made, places, fresh = analysed(seed)
        combined = {place: COMBINATIONS[name](states, fresh) for place, states in places.items()}

        def observe(
            machine: Machine, combined: dict[Place, list[Combination]] = combined, made: Program = made
        ) -> None:
            nonlocal checked
            for parts, whole in combined.get((machine.call_pcs, machine.pc), ()):
                if any(excludes(part, machine) is None for part in parts):
                    checked += 1
                    reasons = [excludes(state, machine) for state in whole]
                    if None not in reasons:
                        lost.append(f"{made.name} at {machine.pc}: {reasons}")

        if combined:
            for number, packet in enumerate(packets(seed, runs)):
                environment = Environment(seed=number)
                maps = create_maps(made.maps, environment)
                run(made, packet=packet, maps=maps, environment=environment, fuel=3000, observers=(observe,))
        if lost:
            break
    return checked, lost


@pytest.mark.parametrize("name", COMBINATIONS)
def test_no_member_is_lost(name: str) -> None:
    checked, lost = lost_members(name)
    assert not lost, lost[0]
    assert checked > 200


# Planted faults -----------------------------------------------------------------------------------------------------


def _forgetful(**changes: Callable[[State, State], Any]) -> Callable[[Any], Any]:
    """``subsumes`` that does not look at some attributes: those of ``old`` are replaced."""

    def change(original: Any) -> Any:
        def subsumes(old: State, new: State) -> bool:
            blind = old.copy()
            for attribute, value in changes.items():
                setattr(blind, attribute, value(old, new))
            return bool(original(blind, new))

        return subsumes

    return change


def _frames(old: State, new: State, **changes: Any) -> list[Frame]:
    frames = [frame.copy() for frame in old.frames]
    for frame in frames:
        for attribute, value in changes.items():
            setattr(frame, attribute, value)
    return frames


def _one_symbol_for_all(original: Any) -> Any:
    def term(self: Any, left: Term, right: Term) -> Term:
        return left if left == right else original(self, Term(left.symbol, 0), Term(right.symbol, 0))

    return term


def _initialised_on_either(original: Any) -> Any:
    def change(left: State, right: State, how: Merge, fresh: Callable[[], Symbol], thresholds: Any = ()) -> State:
        out: State = original(left, right, how, fresh, thresholds)
        for frame, mine, theirs in zip(out.frames, left.frames, right.frames, strict=True):
            frame.initialised = mine.initialised | theirs.initialised
        return out

    return change


def _keep_left_value(original: Any) -> Any:
    return lambda self, left, right: left if isinstance(left, Pointer) else original(self, left, right)


def _left_facts(original: Any) -> Any:
    def change(left: State, right: State, how: Merge, fresh: Callable[[], Symbol], thresholds: Any = ()) -> State:
        blind = right.copy()
        blind.facts = blind.facts.assume(Comparison.NE, ZERO, ZERO)
        return original(left, blind, how, fresh, thresholds)  # type: ignore[no-any-return]

    return change


FAULTS: dict[str, tuple[str, Any, str, Callable[[Any], Any]]] = {
    "distances are forgotten": ("merge", merge_module._Matcher, "term", _one_symbol_for_all),
    "pointers of the left win": ("merge", merge_module._Matcher, "value", _keep_left_value),
    "bytes written on either side": ("merge", merge_module, "merge", _initialised_on_either),
    "facts of the right are lost": ("merge", merge_module, "merge", _left_facts),
    "facts are not compared": (
        "subsumes",
        merge_module,
        "subsumes",
        _forgetful(facts=lambda old, new: facts()()),
    ),
    "everything is covered": ("subsumes", merge_module, "subsumes", lambda original: lambda old, new: True),
    "registers are not compared": (
        "subsumes",
        merge_module,
        "subsumes",
        _forgetful(registers=lambda old, new: [Special.UNINITIALISED] * 11, frames=lambda old, new: new.frames),
    ),
    "new states beyond the bound are dropped": (
        "add_state",
        partition,
        "merge",
        lambda original: lambda left, right, how, fresh, thresholds=(): left,
    ),
    "one signature is as good as another": (
        "add_state",
        partition,
        "subsumes",
        lambda original: lambda old, new: len(old.frames) == len(new.frames),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, owner, attribute, change = FAULTS[fault]
    monkeypatch.setattr(owner, attribute, change(getattr(owner, attribute)))
    _, lost = lost_members(name)
    assert lost


# Made by hand -------------------------------------------------------------------------------------------------------

STACK = Region(RegionKind.STACK, 0)
CONTEXT = Pointer(Region(RegionKind.CONTEXT), NEVER_NULL, ZERO)
_symbols = count(1)


def fresh() -> Symbol:
    return next(_symbols)


def state(
    registers: dict[int, Value] | None = None,
    cells: dict[int, tuple[int, Value]] | None = None,
    initialised: int = 0,
    known: Any = None,
    references: tuple[Term, ...] = (),
) -> State:
    values: list[Value] = [Special.UNINITIALISED] * 11
    values[10] = Pointer(STACK, NEVER_NULL, constant(512))
    for number, value in (registers or {}).items():
        values[number] = value
    written = initialised
    for offset, (size, _) in (cells or {}).items():
        written |= ((1 << size) - 1) << offset
    return State(values, [Frame(dict(cells or {}), written, ())], known or facts()(), ZERO, ZERO, references)


def joined(left: State, right: State) -> State:
    out = merge(left, right, Merge.JOIN, fresh)
    assert subsumes(out, left)
    assert subsumes(out, right)
    return out


def test_equal_values_stay() -> None:
    made = joined(state({1: CONTEXT, 2: constant(5)}), state({1: CONTEXT, 2: constant(5)}))
    assert made.registers[1] == CONTEXT
    assert made.registers[2] == constant(5)


def test_distances_stay() -> None:
    made = joined(state({1: constant(5), 2: constant(9)}), state({1: constant(7), 2: constant(11)}))
    one, two = made.registers[1], made.registers[2]
    assert isinstance(one, Term)
    assert isinstance(two, Term)
    assert one.symbol == two.symbol != NO_SYMBOL
    assert two.offset - one.offset == 4
    assert made.facts.range(one) == (5, 7)


def test_different_distances_do_not() -> None:
    made = joined(state({1: constant(5), 2: constant(9)}), state({1: constant(7), 2: constant(12)}))
    assert made.registers[1].symbol != made.registers[2].symbol  # type: ignore[union-attr]


def test_copies_stay_copies() -> None:
    x, y = fresh(), fresh()
    left = state({1: Term(x, 0), 2: Term(x, 8)}, cells={504: (8, Term(x, 0))})
    right = state({1: Term(y, 0), 2: Term(y, 8)}, cells={504: (8, Term(y, 0))})
    made = joined(left, right)
    base = made.registers[1]
    assert isinstance(base, Term)
    assert made.registers[2] == Term(base.symbol, 8)
    assert made.frames[0].cells[504] == (8, base)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (CONTEXT, constant(0), Special.UNUSABLE),
        (CONTEXT, Special.UNINITIALISED, Special.UNINITIALISED),
        (Special.STALE, Special.STALE, Special.STALE),
        (Special.STALE, CONTEXT, Special.UNUSABLE),
        (Special.POISON, CONTEXT, Special.POISON),
    ],
)
def test_kinds_that_differ(left: Value, right: Value, expected: Value) -> None:
    assert joined(state({1: left}), state({1: right})).registers[1] is expected
    assert joined(state({1: right}), state({1: left})).registers[1] is expected


def test_a_slot_that_may_hold_a_pointer_is_not_a_number() -> None:
    """Written on both sides, by a pointer on one."""
    pointer, number = state(cells={504: (8, CONTEXT)}), state(initialised=255 << 504)
    for left, right in ((pointer, number), (number, pointer)):
        assert joined(left, right).frames[0].cells[504] == (8, Special.UNUSABLE)
    assert not subsumes(number, pointer)
    assert not subsumes(state(cells={504: (4, constant(1)), 508: (4, constant(1))}), pointer)
    # Not all of it written: it may not be read before it is overwritten.
    assert subsumes(state(initialised=127 << 504), pointer)
    assert joined(state(initialised=127 << 504), pointer).frames[0].cells == {}


def test_bytes_written_on_one_side_only_are_not_written() -> None:
    assert joined(state(initialised=0b1100), state(initialised=0b0110)).frames[0].initialised == 0b0100
    assert not subsumes(state(initialised=0b1100), state(initialised=0b0110))
    assert subsumes(state(initialised=0b0100), state(initialised=0b0110))


def test_a_symbol_is_matched_to_one_term_only() -> None:
    x, y, z = fresh(), fresh(), fresh()
    same, two = state({1: Term(x, 0), 2: Term(x, 0)}), state({1: Term(y, 0), 2: Term(z, 0)})
    assert not subsumes(same, two)
    assert subsumes(two, same)
    assert subsumes(same, state({1: constant(5), 2: constant(5)}))
    assert not subsumes(same, state({1: constant(5), 2: constant(6)}))
    assert not subsumes(state({1: constant(5)}), state({1: Term(x, 0)}))


def test_ranges_are_compared_through_the_match() -> None:
    x, y = fresh(), fresh()
    wide = state({1: Term(x, 2)}, known=facts()().define_between(x, 0, 10))
    tight = state({1: Term(y, 0)}, known=facts()().define_between(y, 2, 12))
    assert subsumes(wide, tight)
    assert not subsumes(wide, state({1: Term(y, 1)}, known=tight.facts))


def test_pointers_to_the_same_object_merge_to_pointers_to_the_same_object() -> None:
    region = Region(RegionKind.MAP_VALUE, 1)
    a, b, c = fresh(), fresh(), fresh()

    def pointers(*bases: Symbol) -> State:
        return state({i: Pointer(region, Term(base, 0), ZERO) for i, base in enumerate(bases, 1)})

    one = joined(pointers(a, a), pointers(b, b)).registers
    assert one[1] == one[2]
    two = joined(pointers(a, a), pointers(b, c)).registers
    assert two[1] != two[2]


@pytest.mark.parametrize("extent", ["packet_size", "packet_meta"])
def test_extents_of_the_packet_must_agree(extent: str) -> None:
    ten, twenty = state(), state()
    setattr(ten, extent, constant(10))
    setattr(twenty, extent, constant(20))
    assert not subsumes(ten, twenty)
    assert not subsumes(twenty, ten)
    assert subsumes(ten, ten.copy())
    assert subsumes(joined(ten, twenty), twenty)


def test_numbers_of_references_must_agree() -> None:
    held = state(references=(Term(fresh(), 0),))
    assert not subsumes(held, state())
    assert not subsumes(state(), held)
    assert signature(held) != signature(state())


def _masked(base: Symbol, mask: int = 7, pace: int = 3) -> tuple[Term, Any]:
    """``(x + pace) & mask`` computed in two steps from an unknown byte, and what is known then."""
    known = facts()().define_between(base, 0, 255)
    sum_, masked = fresh(), fresh()
    known = known.define(sum_, WordOp(OpKind.MUL), (Term(base, 0), constant(pace)))
    return Term(masked, 0), known.define(masked, WordOp(OpKind.AND), (Term(sum_, 0), constant(mask)))


def test_what_a_value_was_computed_from_is_matched_along_with_it() -> None:
    old, new = _masked(fresh()), _masked(fresh())
    assert subsumes(state({1: old[0]}, known=old[1]), state({1: new[0]}, known=new[1]))
    for other in (_masked(fresh(), mask=3), _masked(fresh(), pace=5)):
        assert not subsumes(state({1: old[0]}, known=old[1]), state({1: other[0]}, known=other[1]))
    # The same value, and a copy of what it was computed from: they have to be those of one computation.
    base = min(symbol for symbol in old[1].symbols())
    third = _masked(fresh())
    root = min(symbol for symbol in third[1].symbols())
    both = state({1: old[0], 2: Term(base, 0)}, known=old[1])
    assert subsumes(both, state({1: third[0], 2: Term(root, 0)}, known=third[1]))
    stranger = fresh()
    known = third[1].define_between(stranger, 0, 255)
    assert not subsumes(both, state({1: third[0], 2: Term(stranger, 0)}, known=known))


# Disjunctions -------------------------------------------------------------------------------------------------------


def test_the_bound_is_kept() -> None:
    for bound in (1, 3, 8):
        kept: list[State] = []
        for value in range(20):
            assert add_state(kept, state({1: constant(value)}), bound, fresh)
        assert len(kept) == bound
        assert not add_state(kept, state({1: constant(7)}), bound, fresh)


def test_beyond_the_bound_a_state_joins_the_one_that_is_most_like_it() -> None:
    def kept_after(*values: tuple[int, int, int]) -> list[Value]:
        kept: list[State] = []
        for first, second, third in values:
            add_state(kept, state({1: constant(first), 2: constant(second), 3: constant(third)}), 2, fresh)
        assert len(kept) == 2
        return [each.registers[3] for each in kept]

    one, two = kept_after((1, 1, 1), (2, 2, 2), (2, 2, 9))
    assert one == constant(1)
    assert isinstance(two, Term)
    assert two.symbol != NO_SYMBOL
    # The first of several.
    one, two = kept_after((1, 1, 1), (2, 2, 2), (9, 9, 9))
    assert two == constant(2)
    assert one != constant(1)


def test_kinds_are_kept_apart_up_to_a_bound() -> None:
    kept: list[State] = []
    for index in range(MAX_SIGNATURES + 5):
        add_state(kept, state({1: Pointer(Region(RegionKind.MAP_VALUE, index), NEVER_NULL, ZERO)}), 1, fresh)
    assert len(kept) == MAX_SIGNATURES
    # What came beyond the bound is in one of those that were kept.
    last = state({1: Pointer(Region(RegionKind.MAP_VALUE, MAX_SIGNATURES + 4), NEVER_NULL, ZERO)})
    assert any(subsumes(known, last) for known in kept)


def test_widening_a_disjunction_stabilises() -> None:
    for bound in (1, 4):
        kept: list[State] = []
        random, quiet, changes = Random(bound), 0, 0
        while quiet < 30:
            new = state({1: constant(random.getrandbits(64)), 2: constant(random.randrange(1 << 20))})
            if add_state(kept, new, bound, fresh, Merge.WIDEN):
                changes, quiet = changes + 1, 0
                assert changes < 500
            else:
                quiet += 1
        assert len(kept) <= bound
