"""Bounds on loops: found where there is one, held against runs, never claimed for loops that may not end."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.cli.main import main
from prevail_py.domains.lattice import Range
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import Program
from prevail_py.research.families import FAMILIES
from prevail_py.research.generate import program as generated
from prevail_py.research.suite import pairs
from prevail_py.verifier import termination, verify
from prevail_py.verifier.termination import Termination
from prevail_py.vm.interpreter import run
from prevail_py.vm.outcome import OutOfFuel


def bounds(text: str) -> Termination:
    found = verify(Program("p", "xdp", "xdp", assemble_text(text)), termination=True).termination
    assert found is not None
    return found


def test_it_is_not_asked_for_by_default() -> None:
    assert verify(Program("p", "xdp", "xdp", assemble_text("r0 = 0\nexit"))).termination is None


def test_straight_code() -> None:
    assert bounds("r0 = 0\nexit") == Termination((), 2)


def test_a_counter() -> None:
    found = bounds("r0 = 0\nagain:\nr0 += 1\nif r0 < 10 goto again\nexit")
    (loop,) = found.loops
    assert loop.turns == 9
    assert loop.measure == "r0 grows by at least 1 between 0 and 9"
    assert found.instructions == 2 + 2 * 10


def test_nested_loops() -> None:
    found = bounds("""
        r0 = 0
        rows:
        r1 = 5
        columns:
        r1 += -1
        if r1 != 0 goto columns
        r0 += 2
        if r0 < 8 goto rows
        exit""")
    assert [loop.turns for loop in found.loops] == [3, 4]
    assert found.instructions == 2 + 4 * (1 + 2 + 5 * 2)


def test_a_callback() -> None:
    found = bounds("""
        r1 = 7
        r2 = subprog[6] ll
        r3 = 0
        r4 = 0
        call 181
        r0 = 0
        exit
        r0 = 0
        exit""")
    assert found.instructions == 7 + 7 * 2


ENDLESS = {
    "nothing changes": "r0 = 0\nagain:\ngoto again",
    "the counter is reset": "r0 = 0\nagain:\nr0 += 1\nif r0 < 10 goto again\nr0 = 0\ngoto again",
    "the counter is reset sometimes": """
        r2 = *(u32 *)(r1 + 12)
        r0 = 0
        again:
        r0 += 1
        if r0 != r2 goto on
        r0 = 0
        on:
        if r0 < 10 goto again
        exit""",
    "one way round does not count": """
        r0 = 0
        again:
        r2 = *(u32 *)(r1 + 12)
        if r2 == 0 goto again
        r0 += 1
        if r0 < 10 goto again
        exit""",
    "the counter goes both ways": """
        r0 = 5
        again:
        r2 = *(u32 *)(r1 + 12)
        r0 += 1
        if r2 == 7 goto on
        r0 += -2
        on:
        if r0 < 10 goto again
        exit""",
    "the counter wraps at 8 bits": "r0 = 0\nagain:\nr0 += 1\nr0 &= 255\nif r0 < 300 goto again\nexit",
    "the counter wraps at 32 bits": "r0 = 0\nagain:\nw0 += 2\nif w0 != 1 goto again\nexit",
    "the counter wraps at 64 bits": "r0 = 0\nagain:\nr0 += 2\nif r0 != 1 goto again\nexit",
    "a step of nothing": """
        r2 = *(u32 *)(r1 + 12)
        r2 &= 1
        r0 = 0
        again:
        r0 += r2
        if r0 < 10 goto again
        exit""",
    "the inner loop takes back what the outer one adds": """
        r0 = 0
        outer:
        r0 += 5
        inner:
        r0 += -1
        if r0 s> 0 goto inner
        if r0 < 10 goto outer
        exit""",
    "a callee takes back what the loop adds": """
        r6 = 0
        again:
        r6 += 1
        *(u64 *)(r10 - 8) = r6
        r1 = r10
        r1 += -8
        call pc+4
        r6 = *(u64 *)(r10 - 8)
        if r6 < 10 goto again
        r0 = 0
        exit
        *(u64 *)(r1 + 0) = 0
        r0 = 0
        exit""",
    "two ways into the loop": """
        r2 = *(u32 *)(r1 + 12)
        r0 = 0
        if r2 == 0 goto middle
        again:
        r0 = 0
        middle:
        r0 += 1
        if r0 < 10 goto again
        exit""",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_no_bound_is_claimed_for(name: str) -> None:
    found = bounds(ENDLESS[name])
    assert not found.is_proved
    assert any(loop.turns is None for loop in found.loops)


ENDING = {
    "one of two counters": """
        r0 = 0
        r2 = 0
        again:
        r2 += 1
        if r2 == 100 goto out
        r0 += 1
        r0 &= 7
        goto again
        out:
        exit""",
    "a step of one or two": """
        r2 = *(u32 *)(r1 + 12)
        r2 &= 1
        r2 += 1
        r0 = 0
        again:
        r0 += r2
        if r0 < 10 goto again
        exit""",
    "a pointer": """
        r2 = *(u32 *)(r1 + 4)
        r1 = *(u32 *)(r1 + 0)
        again:
        r3 = r1
        r3 += 1
        if r3 > r2 goto out
        r1 += 1
        goto again
        out:
        r0 = 0
        exit""",
    "a counter on the stack": """
        *(u64 *)(r10 - 8) = 0
        again:
        r1 = *(u64 *)(r10 - 8)
        r1 += 1
        *(u64 *)(r10 - 8) = r1
        if r1 < 20 goto again
        r0 = 0
        exit""",
}


@pytest.mark.parametrize("name", ENDING)
def test_a_bound_is_found_for(name: str) -> None:
    made = Program("p", "xdp", "xdp", assemble_text(ENDING[name]))
    found = verify(made, termination=True).termination
    assert found is not None
    assert found.instructions is not None
    assert run(made, packet=bytes(100)).steps <= found.instructions


@pytest.mark.parametrize("name", [name for name, pair in pairs().items() if pair.proved])
def test_the_suite_ends_in_time(name: str) -> None:
    made = pairs()[name].safe
    found = verify(made, termination=True).termination
    assert found is not None
    assert found.is_proved == (name != "doubling")  # what is shifted has no constant step
    random = Random(name)
    for length in (0, 1, 4, 20, 64, 100):
        execution = run(made, packet=random.randbytes(length))
        assert found.instructions is None or execution.steps <= found.instructions


@pytest.mark.parametrize("family", ["loop", "loops_in_sequence", "nested_loops", "calls"])
def test_families(family: str) -> None:
    made = FAMILIES[family](6)
    found = verify(made, termination=True).termination
    assert found is not None
    assert found.instructions is not None
    assert run(made, packet=bytes(64)).steps <= found.instructions


def exceeded(seeds: range) -> list[int]:
    """The seeds of generated programs that run longer than their bound."""
    wrong = []
    for seed in seeds:
        made = generated(seed, 12, True)
        verdict = verify(made, termination=True)
        if not verdict.is_safe or verdict.termination is None or verdict.termination.instructions is None:
            continue
        random = Random(seed)
        for length in (0, 14, 60):
            execution = run(made, packet=random.randbytes(length), fuel=50_000)
            endless = isinstance(execution.outcome, OutOfFuel) and verdict.termination.instructions < 50_000
            if endless or execution.steps > verdict.termination.instructions:
                wrong.append(seed)
    return wrong


def test_generated_programs_keep_to_their_bounds() -> None:
    assert not exceeded(range(40))


@pytest.mark.parametrize("bug", ["every step counts", "half the range"])
def test_planted_bugs_are_caught(monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    if bug == "every step counts":
        monkeypatch.setattr(termination, "_step", lambda *arguments: Range(1, 1))
        assert any(bounds(text).is_proved for text in ENDLESS.values())
    else:
        real = termination._step
        monkeypatch.setattr(termination, "_step", lambda *arguments: Range(*(2 * bound for bound in real(*arguments))))
        found = bounds(ENDING["a counter on the stack"])
        assert found.instructions is not None
        made = Program("p", "xdp", "xdp", assemble_text(ENDING["a counter on the stack"]))
        assert run(made, packet=bytes(64)).steps > found.instructions


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(examples.path("xdp_options"))
    assert main(["verify", "--termination", path]) == 0
    assert "termination: at most" in capsys.readouterr().out
    assert main(["verify", "--termination", "--json", path]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)["programs"][0]
    assert document["termination"]["proved"]
    assert document["termination"]["loops"][0]["turns"] <= 40
