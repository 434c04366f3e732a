from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from prevail_py import examples
from prevail_py.domains import DEFAULT, facts
from prevail_py.domains.lattice import Range
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.text import assemble
from prevail_py.platforms import platform
from prevail_py.research.families import nested_loops
from prevail_py.verifier.blocks import BudgetExhausted
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.merge import subsumes
from prevail_py.verifier.recording import How, record
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import State

COUNT = "r1 = 0\nagain:\nr1 += 2\nif r1 < 100 goto again\nr0 = r1\nexit"


def program(stem: str) -> Program:
    return next(iter(load_object(examples.path(stem)).programs.values()))


def plain(program: Program) -> Fixpoint:
    """The same analysis with nobody watching."""
    fixpoint = Fixpoint(Setting(program, platform(), facts(DEFAULT)), 1, 20_000, lambda pc, assertions, state: None)
    fixpoint.run()
    return fixpoint


@pytest.mark.parametrize("stem", ["xdp_options", "xdp_subprogram", "unsafe_scan", "xdp_histogram"])
def test_watching_changes_nothing(stem: str) -> None:
    watched, alone = record(program(stem)), plain(program(stem))
    assert not watched.ending
    assert watched.steps == alone.steps
    last = {(moment.calls, moment.pc): moment for moment in watched.moments}
    assert last.keys() == {key for key, states in alone.invariants.items() if states}
    for key, states in alone.invariants.items():
        if states and len(set(map(len, (states, last[key].after)))) == 1:
            assert [str(state) for state in last[key].after] == [str(state) for state in states]


def test_an_observer_that_changes_something_would_be_noticed() -> None:
    """What the test above rests on: the states that an observer gets are those of the analysis."""

    class Meddler:
        def visited(self, calls: object, block: object, states: Sequence[State], final: bool) -> None:
            for state in states:
                state.registers[1] = state.registers[10]

        def iterated(self, *what: object) -> None:
            pass

    counting = assemble(COUNT)
    meddled = Fixpoint(
        Setting(counting, platform(), facts(DEFAULT)),
        1,
        20_000,
        lambda *_: None,
        observer=Meddler(),
    )
    with pytest.raises(BudgetExhausted):  # the counter never grows
        meddled.run()
    assert plain(counting).steps < 100


def test_what_happens_at_the_head_of_a_loop() -> None:
    recording = record(assemble(COUNT))
    assert recording.heads() == (((), 1),)
    moments = recording.at(1)
    assert [moment.how for moment in moments] == [How.ENTER, How.JOIN, How.WIDEN, How.COVERED, How.STABLE]
    for before, now in pairwise(moments):
        assert now.before == before.after
    for moment in moments[1:3]:  # what is joined or widened covers what was there and what arrived
        for state in (*moment.before, *moment.arriving):
            assert any(subsumes(into, state) for into in moment.after)
    assert "1: enter slot 1" in str(recording)


def test_every_iteration_is_an_upper_bound() -> None:
    recording = record(nested_loops(3))
    grown = [moment for moment in recording.moments if moment.how in (How.JOIN, How.WIDEN, How.COVERED)]
    assert len({(moment.calls, moment.pc) for moment in grown}) == 3
    for moment in grown:
        assert all(any(subsumes(into, state) for into in moment.after) for state in (*moment.before, *moment.arriving))
    for moment in recording.moments:
        if moment.how is How.DESCEND:
            assert all(any(subsumes(old, state) for old in moment.before) for state in moment.after)


def test_the_evolution_of_an_interval() -> None:
    recording = record(assemble(COUNT))
    ranges = [found for _, found in recording.evolution(1, "r1")]
    assert ranges == [Range(0, 0), Range(0, 2), Range(0, 98), Range(0, 98), Range(0, 98)]
    assert recording.evolution(1, 1) == recording.evolution(1, "R1")
    assert [found for _, found in recording.evolution(1, "r7")] == [None] * 5  # uninitialised
    for place in ("r11", 11, "x", "r10+8"):
        with pytest.raises(ValueError, match=r"no register|not a place"):
            recording.evolution(1, place)


def test_what_ends_early_says_so() -> None:
    assert record(nested_loops(3), budget=40).ending == "budget"
    recursive = "call local +1\nexit\ncall local -1\nexit"
    assert record(assemble(recursive)).ending.startswith("recursion")
    with pytest.raises(ValueError, match="unknown domain"):
        record(assemble("exit"), domain="polyhedra")
    with pytest.raises(ValueError, match="at least 1"):
        record(assemble("exit"), disjuncts=0)


def test_the_domain_is_the_one_asked_for() -> None:
    text = "r1 = *(u32 *)(r1 + 12)\nr1 &= 1\nr2 = r1\nr2 <<= 3\nif r2 > 100 goto out\nr0 = r2\nout:\nexit"
    ranges = {domain: record(assemble(text), domain=domain).evolution(5, 2)[-1][1] for domain in ("interval", "tnum")}
    assert ranges["interval"] == Range(0, 8)
    assert ranges["tnum"] == Range(0, 8)


def test_rich_display_is_escaped() -> None:
    hostile = Program("<script>", "xdp", "xdp", assemble(COUNT).code)
    shown = record(hostile)._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "enter, join, widen, covered, stable" in shown
