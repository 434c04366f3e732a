"""Strategies: that what they draw is what they say, and that it shrinks to little."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prevail_py.domains import WORDS
from prevail_py.isa.decode import decode
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Alu, AluOp, Branch, Call, Jump, Load
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.research import bench_generator, generate
from prevail_py.research.choices import Chooser, Seeded, Tape
from prevail_py.research.fuzz import planting
from prevail_py.research.generate import PROGRAM_TYPES, SMALL, Shape, write
from prevail_py.research.generate.writer import Menu, Writer
from prevail_py.research.strategies import abstract_values, nearly_valid_programs, object_of, objects, packets, programs
from prevail_py.verifier import verify

QUICK = settings(
    max_examples=15, database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
SEARCH = settings(max_examples=3000, database=None, deadline=None)


def find(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool], seed: int = 1, **options: Any) -> Any:
    """The smallest example of one search."""
    return hypothesis.find(strategy, condition, random=Random(seed), **options)


def find_small(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool], most: int) -> Program:
    """A program of at most so many instructions, or the last that was found.

    Constants of all modules that are loaded are drawn, too: a seed finds another program where other tests ran before.
    """
    for seed in range(1, 5):
        program: Program = find(strategy, condition, seed, settings=SEARCH)
        if program.instruction_count <= most:
            break
    return program


# What is drawn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROGRAM_TYPES)
def test_most_programs_are_safe(kind: str) -> None:
    """At least 40 % SAFE; a load, a branch and a helper in at least half; a median of 24 instructions."""
    made = [write(Seeded(f"{kind}/{number}"), Shape(kind, size=8, loops=number % 4 == 0)) for number in range(24)]
    safe = [program for program in made if verify(program, smt=False).is_safe]
    assert len(safe) >= 0.4 * len(made)
    whole = [p for p in made if all(any(isinstance(i, c) for i in p.code) for c in (Load, Branch, Call))]
    assert len(whole) >= 0.5 * len(made)
    assert median(program.instruction_count for program in made) >= 24
    assert all(decode(encode(program.code)) == program.code for program in made)
    assert all(program.program_type == kind for program in made)


@QUICK
@given(programs(program_type=None, loops=True))
def test_programs_of_all_types(program: Program) -> None:
    assert program.program_type in PROGRAM_TYPES
    assert decode(encode(program.code)) == program.code


@QUICK
@given(programs("sched_cls", size=10, helpers=("bpf_ktime_get_ns", "bpf_map_lookup_elem")))
def test_helpers_that_may_be_called(program: Program) -> None:
    called = {platform().helper_name(i.helper) for i in program.code if isinstance(i, Call)}
    assert called <= {"bpf_ktime_get_ns", "bpf_map_lookup_elem"}


@QUICK
@given(programs("xdp", size=10, helpers=False, maps=False))
def test_programs_without(program: Program) -> None:
    assert not any(isinstance(i, Call) for i in program.code)
    assert program.maps == ()
    assert not any(isinstance(i, Branch | Jump) and i.offset < 0 for i in program.code)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="no programs of type 'xdq'"):
        programs("xdq")
    with pytest.raises(ValueError, match="no word domain 'intervals'"):
        find(abstract_values("intervals"), bool)


def test_nearly_valid_programs_are_sometimes_wrong() -> None:
    kinds: set[bool] = set()

    @settings(QUICK, max_examples=60)
    @given(nearly_valid_programs(size=4))
    def collect(program: Program) -> None:
        decode(encode(program.code))
        kinds.add(verify(program, smt=False).is_safe)

    collect()
    assert kinds == {True, False}


@QUICK
@given(packets())
def test_packets(packet: bytes) -> None:
    assert len(packet) <= 9014


@pytest.mark.parametrize("domain", [*WORDS])
def test_abstract_values_stand_for_their_word(domain: str) -> None:
    @settings(QUICK, max_examples=150)
    @given(abstract_values(domain))
    def check(pair: tuple[Any, int]) -> None:
        value, word = pair
        assert value.contains(word)
        assert not value.is_bottom()

    check()


def test_an_unsound_domain_is_found_and_shrunk() -> None:
    """A logical shift that shifts signed bounds, planted."""
    with planting("CVE-2017-17853"):
        value, word = find(abstract_values("interval"), lambda pair: not pair[0].contains(pair[1]), settings=SEARCH)
        assert not value.contains(word)


@QUICK
@given(objects())
def test_objects_can_be_loaded(image: bytes) -> None:
    loaded = load_object(image)
    assert 1 <= len(loaded.programs) <= 3
    assert all(not program.unsupported for program in loaded.programs.values())


def test_an_object_holds_the_program() -> None:
    for number in range(12):
        program = write(Seeded(f"object/{number}"), Shape("xdp", size=8))
        (loaded,) = load_object(object_of([program])).programs.values()
        assert loaded.instruction_count == program.instruction_count
        assert verify(loaded, smt=False).kind is verify(program, smt=False).kind


# How it shrinks ------------------------------------------------------------------------------------------------------


def _has(test: Callable[[Any], bool]) -> Callable[[Program], bool]:
    return lambda program: any(test(instruction) for instruction in program.code)


@pytest.mark.parametrize(
    ("what", "most"),
    [
        (lambda i: isinstance(i, Alu) and i.op is AluOp.DIV, 4),
        (lambda i: isinstance(i, Branch), 10),
        (lambda i: isinstance(i, Call) and i.helper == 1, 14),
    ],
    ids=["division", "branch", "look-up"],
)
def test_programs_shrink(what: Callable[[Any], bool], most: int) -> None:
    program = find_small(programs("xdp", size=3), _has(what), most)
    assert program.instruction_count <= most, program


def test_the_smallest_program() -> None:
    assert find(programs("xdp"), lambda program: True, settings=SEARCH).instruction_count == 2


def test_a_planted_fault_shrinks() -> None:
    """A logical shift that shifts signed bounds makes invariants wrong: the smallest program shifts."""
    from prevail_py.research.fuzz import Effort, problems

    with planting("CVE-2017-17853"):
        found = find_small(
            programs("kprobe", size=3, maps=False),
            lambda program: bool(problems(program, "soundness", Effort(inputs=1))),
            12,
        )
    assert found.instruction_count <= 12
    assert any(isinstance(i, Alu) and i.op is AluOp.RSH for i in found.code)


# Choices -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 9), st.integers(-5, 5), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_choices_are_in_range(index: int, start: int, width: int) -> None:
    chooser = Chooser(lambda n: min(index, n - 1))
    assert start <= chooser.randrange(start, start + width) < start + width
    assert 0 <= chooser.random() < 1
    assert chooser.choices("abc", (1, 0, 2))[0] in "ac"
    assert sorted(chooser.sample(range(5), 5)) == [0, 1, 2, 3, 4]


def test_simplest_choices() -> None:
    simplest = Chooser(lambda n: 0)
    assert simplest.randrange(-10, 10) == 0
    assert math.isclose(simplest.random(), 1023 / 1024)
    assert not simplest.more()
    assert simplest.randbytes(3) == bytes(3)


def test_a_tape_plays_again() -> None:
    from random import Random

    tape = Tape(Random(1))
    program = write(tape, Shape("sched_cls", size=8))
    assert write(Tape(Random(2), tape.taken), Shape("sched_cls", size=8)) == program
    assert write(Tape(Random(2), tape.taken[:40]), Shape("sched_cls", size=8)) != program


def test_the_measurement(tmp_path: Path) -> None:
    assert bench_generator.main(["--programs", "4", "--rate", "8", "--out", str(tmp_path / "generator.md")]) == 0
    text = (tmp_path / "generator.md").read_text()
    assert all(f"| {kind} |" in text for kind in PROGRAM_TYPES)
    assert "the solver is left out" in text
    assert "## 8 statements" in text
    assert f"## {SMALL} statements" in text


def test_small_programs_have_24_instructions() -> None:
    made = [write(Seeded(f"{kind}/{number}"), Shape(kind, SMALL)) for kind in PROGRAM_TYPES for number in range(20)]
    assert 21 <= median(program.instruction_count for program in made) <= 27
    for kind in PROGRAM_TYPES:
        mine = [program for program in made if program.program_type == kind]
        whole = [p for p in mine if all(any(isinstance(i, c) for i in p.code) for c in (Load, Branch, Call))]
        assert len(whole) >= 0.5 * len(mine)


@pytest.mark.parametrize(
    "feature", ["values", "record", "socket", "memory for a helper", "mixed kinds", "chain of calls", "callback"]
)
def test_mistakes_are_not_safe(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything is forgotten that can be, hardly a program is SAFE; where nothing is, all are."""
    monkeypatch.setattr(generate, "_menu", lambda shape: Menu((feature,), (1,)))
    monkeypatch.setattr(Writer, "slip", lambda self: 0)
    for mistaken in (False, True):
        monkeypatch.setattr(Writer, "mistake", lambda self, probability=0.0, mistaken=mistaken: mistaken)
        made = [write(Seeded(f"{feature}/{number}"), Shape("sched_cls", size=2)) for number in range(12)]
        safe = sum(verify(program, smt=False).is_safe for program in made)
        assert safe <= 3 if mistaken else safe == len(made)
