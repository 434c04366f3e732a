"""States by hand: overwritten cells, dead values, forgotten symbols, and the text people read."""

from __future__ import annotations

from itertools import product

import pytest

from prevail_py.domains import facts
from prevail_py.domains.lattice import Definition, Term, constant
from prevail_py.verifier.definitions import Definitions
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import NEVER_NULL, ZERO, Pointer, Region, RegionKind, Special, Value
from prevail_py.words import OpKind, WordOp

CONTEXT = Pointer(Region(RegionKind.CONTEXT), NEVER_NULL, ZERO)


def frame(cells: dict[int, tuple[int, Value]], initialised: int = (1 << 512) - 1) -> Frame:
    return Frame(dict(cells), initialised, ())


def state(*frames: Frame) -> State:
    registers: list[Value] = [Special.UNINITIALISED] * 11
    return State(registers, list(frames or [frame({})]), facts()(), ZERO, ZERO)


def test_clobber_removes_exactly_the_cells_it_touches() -> None:
    for start, size, lo, length in product(range(490, 512), (1, 2, 4, 8), range(495, 508), (1, 3, 8)):
        if start + size > 512:
            continue
        made = frame({start: (size, constant(1))})
        made.clobber(lo, lo + length)
        touched = start < lo + length and lo < start + size
        assert (start not in made.cells) == touched, (start, size, lo, length)
        assert made.initialised == (1 << 512) - 1


def test_weaken_keeps_what_may_still_be_a_pointer() -> None:
    made = frame({480: (8, CONTEXT), 488: (8, CONTEXT), 496: (8, constant(3)), 504: (8, Special.STALE)})
    made.weaken(490, 505)
    assert made.cells == {480: (8, CONTEXT), 488: (8, Special.UNUSABLE), 504: (8, Special.UNUSABLE)}


@pytest.mark.parametrize("content", [CONTEXT, Special.STALE, Special.UNUSABLE, Special.DANGLING])
def test_hidden_pointers(content: Value) -> None:
    assert frame({}).hides_pointer(504, content)
    assert not frame({504: (8, CONTEXT)}).hides_pointer(504, content)
    assert not frame({}, initialised=255 << 504 ^ 1 << 507).hides_pointer(504, content)
    assert not frame({}).hides_pointer(504, constant(5))


def test_copies_can_be_changed_independently() -> None:
    original = state(frame({504: (8, CONTEXT)}))
    copy = original.copy()
    copy.registers[1] = CONTEXT
    copy.frames[0].clobber(500, 512)
    copy.frames.append(frame({}))
    copy.frames[0].initialised = 0
    assert original.registers[1] is Special.UNINITIALISED
    assert original.frames[0].cells == {504: (8, CONTEXT)}
    assert len(original.frames) == 1
    assert original.frames[0].initialised


def test_dead_values_are_dropped() -> None:
    made = state(frame({0: (8, CONTEXT)}), frame({0: (8, constant(1)), 8: (8, constant(2)), 16: (4, constant(3))}))
    made.registers[:] = [constant(i) for i in range(11)]
    made.drop_dead(dead_registers=(0, 2, 3, 4, 5, 6, 7, 8), live_stack=0b1000_0000)
    kept = [number for number, value in enumerate(made.registers) if value is not Special.UNINITIALISED]
    assert kept == [1, 9, 10]
    # One live byte keeps its cell; the frames of callers are their own matter.
    assert made.frames[1].cells == {0: (8, constant(1))}
    assert made.frames[1].initialised == 0b1000_0000
    assert made.frames[0].cells == {0: (8, CONTEXT)}
    assert made.frames[0].initialised == (1 << 512) - 1


def definitions_of(table: dict[int, Definition], masks: frozenset[int] = frozenset()) -> Definitions:
    found = Definitions(masks)
    found.update(table)
    return found


def test_a_mask_that_comes_again_is_kept() -> None:
    made = state()
    op = WordOp(OpKind.AND, 64)
    made.facts = facts()().define_between(1, 0, 99).define(2, op, (Term(1, 0), constant(63)))
    made.registers[3] = Term(1, 0)
    table: dict[int, Definition] = {2: (op, (Term(1, 0), constant(63)))}
    again, once = made.copy(), made.copy()
    again.collect(definitions_of(table, frozenset({63})))
    once.collect(definitions_of(table, frozenset({7})))
    assert again.facts.symbols() == {1, 2}
    assert once.facts.symbols() == {1}


def test_symbols_that_nothing_refers_to_are_forgotten() -> None:
    """Those a live symbol was computed from stay, two steps back, for what comparisons tell of them."""
    made = state()
    add = WordOp(OpKind.AND, 64)
    definitions: dict[int, Definition] = {s: (add, (Term(s - 1, 0), constant(0xFF))) for s in range(2, 6)}
    known = facts()().define_between(1, 0, 1000)
    for symbol, (op, args) in definitions.items():
        known = known.define(symbol, op, args)
    made.facts = known.define_between(9, 0, 5)
    made.registers[3] = Term(5, 0)
    made.collect(definitions_of(definitions))
    assert made.facts.symbols() == {3, 4, 5}


def test_every_place_keeps_its_symbols() -> None:
    made = state(Frame({504: (8, Term(2, 4))}, 0, (Term(3, 0), Pointer(CONTEXT.region, Term(4, 0), Term(5, 0)))))
    made.registers[0] = Pointer(CONTEXT.region, Term(6, 0), Term(7, 0))
    made.packet_size, made.packet_meta, made.references = Term(8, 0), Term(9, 0), (Term(10, 0),)
    for symbol in range(1, 12):
        made.facts = made.facts.define_between(symbol, 0, 9)
    made.collect(definitions_of({}))
    assert made.facts.symbols() == set(range(2, 11))


def test_map_values_reaches_every_value() -> None:
    made = state(Frame({504: (8, CONTEXT)}, 0, (CONTEXT,)), frame({8: (8, CONTEXT)}))
    made.registers[:] = [CONTEXT] * 11
    made.map_values(lambda value: Special.STALE)
    assert set(made.values()) == {Special.STALE}
    assert len(list(made.values())) == 14


def test_text() -> None:
    made = state(frame({504: (8, Term(1, 0)), 496: (4, constant(7))}))
    made.facts = made.facts.define_between(1, 0, 9).define_between(2, 14, 1500).define_between(3, 0, 1)
    made.registers[1] = CONTEXT
    made.registers[2] = Term(1, 3)
    made.registers[3] = Pointer(Region(RegionKind.MEMORY, size=16), Term(3, 0), constant(8))
    made.packet_size = Term(2, 0)
    assert str(made).splitlines() == [
        "r1 = context",
        "r2 = s1+3 in [3, 12]",
        "r3 = memory + 8 (n3, maybe null)",
        "*(u32 *)(r10 -16) = 7",
        "*(u64 *)(r10 -8) = s1 in [0, 9]",
        "packet size = s2 in [14, 1500]",
    ]
