"""Steering reaches what chance does not: magic numbers, contents of maps, the context; always in the same way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.research import shadow
from prevail_py.research.concolic import steer
from prevail_py.research.oracle import examine
from prevail_py.verifier import verify
from prevail_py.verifier.smt.algebra import Z3Algebra
from prevail_py.vm.machine import Machine
from prevail_py.vm.outcome import Trapped
from prevail_py.vm.scenario import Scenario, play

MAPS = (MapSpec("values", 2, 4, 16, 4), MapSpec("table", 1, 4, 8, 16), MapSpec("data", 2, 4, 8, 1, initial=bytes(8)))

PACKET = """
    r6 = r1
    r8 = *(u32 *)(r1 + 4)
    r7 = *(u32 *)(r1 + 0)
    r0 = 2
    r2 = r7
    r2 += {size}
    if r2 > r8 goto end
"""

LOOKUP = """
    r2 = r10
    r2 += -4
    r1 = map[idx:{map}] ll
    call 1
    if r0 == 0 goto end
"""

HERE = assemble_text("r0 = 1")[0]
"""The instruction that steering is meant to reach."""

PROGRAMS = {
    "magic numbers": PACKET.format(size=64)
    + """
        r2 = *(u32 *)(r7 + 40)
        w2 *= 3
        w2 += 77
        if w2 != 0x12345678 goto end
        r2 = *(u16 *)(r7 + 50)
        r2 = be16 r2
        if r2 != 0xbeef goto end
        r3 = *(u8 *)(r7 + 55)
        r2 <<= r3
        r4 = 0xbeef0000 ll
        if r2 != r4 goto end
        r0 = 1""",
    "size": PACKET.format(size=1)
    + """
        r8 -= r7
        if r8 != 777 goto end
        r0 = 1""",
    "pointer that moves": PACKET.format(size=15)
    + """
        r2 = *(u8 *)(r7 + 14)
        r2 &= 15
        r2 <<= 2
        if r2 < 20 goto end
        r7 += r2
        r2 = r7
        r2 += 16
        if r2 > r8 goto end
        r2 = *(u64 *)(r7 + 8)
        r3 = 0x0123456789abcdef ll
        if r2 != r3 goto end
        r0 = 1""",
    "value of an array": PACKET.format(size=14)
    + "*(u32 *)(r10 - 4) = 3"
    + LOOKUP.format(map=0)
    + """
        r2 = *(u64 *)(r0 + 8)
        r0 = 2
        if r2 != 4711 goto end
        r0 = 1""",
    "value that is absent": PACKET.format(size=20)
    + """
        r1 = *(u32 *)(r7 + 16)
        *(u32 *)(r10 - 4) = r1
    """
    + LOOKUP.format(map=1)
    + """
        r2 = *(u64 *)(r0 + 0)
        r0 = 2
        r3 = *(u8 *)(r7 + 19)
        if r3 != 201 goto end
        r2 -= 9
        if r2 s> 4 goto end
        if r2 s< 3 goto end
        r0 = 1""",
    "index that depends on the packet": PACKET.format(size=14)
    + """
        r1 = *(u16 *)(r7 + 12)
        *(u32 *)(r10 - 4) = r1
    """
    + LOOKUP.format(map=0)
    + """
        r2 = *(u32 *)(r0 + 12)
        r0 = 2
        if w2 != -2 goto end
        r0 = 1""",
    "global variable": """
        r6 = r1
        r2 = map[idx:2][0]+4 ll
        r2 = *(u32 *)(r2 + 0)
        r0 = 2
        r3 = *(u32 *)(r6 + 16)
        r3 += 100000
        if r2 != r3 goto end
        r0 = 1""",
    "context": """
        r2 = *(u32 *)(r1 + 16)
        r0 = 2
        if r2 != 0xcafe goto end
        r2 = *(u32 *)(r1 + 12)
        if w2 < 0xfffffff0 goto end
        r0 = 1""",
    "two branches that were both seen": PACKET.format(size=2)
    + """
        r3 = 0
        r1 = *(u8 *)(r7 + 0)
        if r1 != 200 goto +1
        r3 += 1
        r1 = *(u8 *)(r7 + 1)
        if r1 != 100 goto +1
        r3 += 1
        if r3 != 2 goto end
        r0 = 1""",
    "subprogram": PACKET.format(size=8)
    + """
        r1 = *(u32 *)(r7 + 4)
        call local check
        goto end
        ---
    check:
        r0 = 2
        if w1 != 0x600dcafe goto out
        r0 = 1
    out:
        exit""",
}


def program(text: str, program_type: str = "xdp") -> tuple[Program, int]:
    """The program, and the slot of the instruction to reach; -1 where there is none."""
    body, _, subprograms = text.partition("---")
    code = assemble_text(f"{body}\nend:\n{'r0 = 2' if program_type == 'xdp' else 'r0 = 0'}\nexit\n{subprograms}")
    return Program("steered", "", program_type, code, MAPS), code.index(HERE) if HERE in code else -1


def visited(program: Program, scenario: Scenario) -> set[int]:
    slots: set[int] = set()

    def observe(machine: Machine) -> None:
        slots.add(machine.pc)

    play(program, scenario, (observe,))
    return slots


NOTHING = Scenario(b"")


def reaches(program: Program, here: int, start: Scenario = NOTHING) -> bool:
    return any(here in visited(program, scenario) for scenario in steer(program, start, frozenset({here})))


@pytest.mark.parametrize("name", PROGRAMS)
def test_steering_reaches_what_chance_does_not(name: str) -> None:
    target, here = program(PROGRAMS[name])
    verdict = verify(target)
    assert verdict.is_safe, str(verdict)
    assert here in examine(target, verdict, 30).uncovered
    assert reaches(target, here)
    report = examine(target, verdict, 30, steer=steer)
    assert report.uncovered == ()
    assert report.violations == []
    assert 0 < report.steered < 30


def test_steering_finds_a_violation_that_chance_does_not() -> None:
    code, here = program(PROGRAMS["magic numbers"] + "\nr0 = *(u64 *)(r7 - 8)")
    outcomes = [play(code, scenario).outcome for scenario in steer(code, NOTHING, frozenset({here}))]
    assert Trapped in map(type, outcomes)


def test_programs_without_a_packet() -> None:
    text = """
        r2 = *(u64 *)(r1 + 96)
        r3 = 0x1122334455667788 ll
        if r2 != r3 goto end
        r0 = 1"""
    target, here = program(text, "kprobe")
    report = examine(target, verify(target), 5, steer=steer)
    assert report.uncovered == ()
    assert report.violations == []
    assert reaches(target, here, Scenario(None))


def test_contents_that_were_given_stay() -> None:
    target, here = program(PROGRAMS["value that is absent"])
    mine = (1, b"mine", b"contents")
    for scenario in steer(target, Scenario(b"", (mine,)), frozenset({here})):
        assert mine in scenario.contents


def test_a_key_can_be_taken_away() -> None:
    text = "r6 = r1\n*(u32 *)(r10 - 4) = 3" + LOOKUP.format(map=1) + "r0 = 1\nexit"
    target, _ = program(text)
    absent = len(target.code) - 2  # end:
    start = Scenario(b"", ((1, b"\3\0\0\0", bytes(8)),))
    assert absent not in visited(target, start)
    assert [scenario.contents for scenario in steer(target, start, frozenset({absent}))] == [()]


def test_nothing_is_tried_where_nothing_is_missing() -> None:
    target, _ = program(PROGRAMS["context"])
    assert list(steer(target, NOTHING, frozenset())) == []


def test_what_does_not_lead_to_a_missing_block_is_not_tried() -> None:
    text = PACKET.format(size=1) + "if r8 == r7 goto end\nr0 = 1"
    target, _ = program(text)
    entry = frozenset({0})  # no way leads there
    assert list(steer(target, NOTHING, entry)) == []


def test_no_flip_is_tried_twice() -> None:
    """A loop has many ways to be left; each scenario is another one, and all differ."""
    text = (
        PACKET.format(size=40)
        + "\n".join(f"r1 = *(u8 *)(r7 + {place})\nif r1 == 1 goto +1\nr0 = 3" for place in range(6))
        + """
        r1 = *(u8 *)(r7 + 20)
        r1 *= r1
        r1 &= 3
        if r1 != 2 goto end
        r0 = 1"""
    )
    target, here = program(text)
    found = list(steer(target, NOTHING, frozenset({here})))  # no square is 2 modulo 4
    assert len(found) == len(set(found))
    paths = {tuple(sorted(visited(target, scenario))) for scenario in found}
    assert len(paths) == len(found)
    assert 5 < len(found) < 100


def test_hard_questions_are_given_up() -> None:
    text = (
        PACKET.format(size=40)
        + """
        r1 = *(u64 *)(r7 + 0)
        r2 = *(u64 *)(r7 + 8)
        r3 = *(u64 *)(r7 + 16)
        r4 = r1
        r4 *= r2
        r4 ^= r3
        r4 *= r1
        r5 = r2
        r5 *= r3
        r5 *= r5
        r5 += 3
        if r4 != r5 goto end
        r1 *= r3
        r1 %= 1000003
        if r1 != 12345 goto end
        r0 = 1"""
    )
    target, here = program(text)
    assert len(list(steer(target, NOTHING, frozenset({here})))) < 100  # it ends


def _scenarios(names: Sequence[str]) -> str:
    found: list[Scenario] = []
    for name in names:
        target, here = program(PROGRAMS[name])
        found += steer(target, Scenario(b"\1" * 20), frozenset({here}))
    parser = load_object(examples.path("xdp_parser")).programs["xdp_parser"]
    blocks = frozenset(pc for (_, pc), states in verify(parser).invariants.items() if states)
    found += steer(parser, NOTHING, blocks)
    return "\n".join(map(repr, found))


def test_the_same_arguments_give_the_same_scenarios() -> None:
    names = ("magic numbers", "value that is absent", "global variable")
    first = _scenarios(names)
    assert first.count("\n") > 20
    assert _scenarios(names) == first


CHILD = """
import sys
sys.path.insert(0, {folder!r})
from test_concolic import _scenarios
print(_scenarios(("context", "value that is absent")))
"""


def test_the_same_scenarios_whatever_the_hash_seed() -> None:
    script = CHILD.format(folder=os.path.dirname(__file__))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {_scenarios(("context", "value that is absent")) + "\n"}


class _AddsOneTooMany(Z3Algebra):
    def add(self, a: Any, b: Any, width: int) -> Any:
        return a + b + 1


class _ShiftsRight(Z3Algebra):
    def shl(self, a: Any, b: Any, width: int) -> Any:
        return super().lshr(a, b, width)


class _ComparesTheOtherWay(Z3Algebra):
    def compare(self, comparison: Any, a: Any, b: Any, width: int) -> Any:
        return super().compare(comparison.negation, a, b, width)


@pytest.mark.parametrize("broken", [_AddsOneTooMany, _ShiftsRight, _ComparesTheOtherWay])
def test_planted_bugs_make_it_miss(broken: type[Z3Algebra], monkeypatch: pytest.MonkeyPatch) -> None:
    target, here = program(PROGRAMS["magic numbers"])
    assert reaches(target, here)
    monkeypatch.setattr(shadow, "Z3Algebra", broken)
    assert not reaches(target, here)
