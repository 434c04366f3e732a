"""``prove-equal``: equal pairs are proved, different ones refuted by a run, and a model that is wrong is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from prevail_py.cli.main import main
from prevail_py.examples.functional import FOLDER
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.instructions import Alu, AluOp, Branch, Immediate
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.research.generate import program as generated
from prevail_py.verifier.smt import equality, observation
from prevail_py.verifier.smt.equality import EqualityKind, prove_equal
from prevail_py.verifier.smt.observation import Observer, World
from prevail_py.vm.interpreter import run
from prevail_py.vm.outcome import Returned

PLAIN = load_object(FOLDER / "plain.o").programs
CLEVER = load_object(FOLDER / "clever.o").programs
LESS = load_object(FOLDER / "plain.O1.o").programs

EQUAL = ("swapped", "scaled", "absolute", "bits_set", "sorted", "classified", "counted", "in_range")
DIFFERENT = (
    "midpoint", "checksum", "ends", "swapped_bytes", "counted_once", "stored", "narrow", "rounded",
)  # fmt: skip
UNKNOWN = ("looping", "shortened")

ARRAY = MapSpec("counters", 2, 4, 8, 16)
HASH = MapSpec("flows", 1, 4, 8, 16)
INPUT = "r2 = *(u32 *)(r1 + 12)\n"
PACKET = """
r2 = *(u32 *)(r1 + 4)
r1 = *(u32 *)(r1 + 0)
r3 = r1
r3 += 16
r0 = 2
if r3 > r2 goto out
"""
OUT = "\nout:\nexit"


def _lookup(key: int, index: int = 0) -> str:
    return (
        f"r1 = {key}\n*(u32 *)(r10 - 4) = r1\nr2 = r10\nr2 += -4\nr1 = map[idx:{index}] ll\ncall 1\n"
        "r1 = r0\nr0 = 2\nif r1 == 0 goto out\n"
    )


def _program(text: str, *maps: MapSpec) -> Program:
    return Program("p", "xdp", "xdp", assemble_text(text), licence="GPL", maps=maps)


def _kind(left: str, right: str, *maps: MapSpec) -> EqualityKind:
    return prove_equal(_program(left, *maps), _program(right, *maps)).kind


class TestExamples:
    def test_these_are_all(self) -> None:
        assert sorted((*EQUAL, *DIFFERENT, *UNKNOWN)) == sorted(PLAIN) == sorted(CLEVER) == sorted(LESS)

    @pytest.mark.parametrize("name", EQUAL)
    def test_equal(self, name: str) -> None:
        assert prove_equal(PLAIN[name], CLEVER[name]).is_equivalent

    @pytest.mark.parametrize("name", DIFFERENT)
    def test_different(self, name: str) -> None:
        found = prove_equal(PLAIN[name], CLEVER[name])
        assert found.kind is EqualityKind.DIFFERENT
        assert found.difference is not None
        # Once more, without anything that the comparison knows: results and packets differ, or maps do.
        runs = [run(program, packet=found.difference.packet) for program in (PLAIN[name], CLEVER[name])]
        assert all(isinstance(each.outcome, Returned) for each in runs)
        if name not in ("counted_once", "stored"):
            assert (runs[0].outcome, runs[0].packet) != (runs[1].outcome, runs[1].packet)

    @pytest.mark.parametrize("name", UNKNOWN)
    def test_unknown(self, name: str) -> None:
        found = prove_equal(PLAIN[name], CLEVER[name])
        assert found.kind is EqualityKind.UNKNOWN
        assert {"looping": "has loops", "shortened": "bpf_xdp_adjust_tail"}[name] in found.reason

    @pytest.mark.parametrize("name", [*EQUAL, *DIFFERENT])
    def test_optimisation_changes_nothing(self, name: str) -> None:
        found = prove_equal(PLAIN[name], LESS[name])
        assert found.is_equivalent or found.reason == f"{name} has loops"
        assert found.is_equivalent == (name != "bits_set")


class TestSmallPrograms:
    @pytest.mark.parametrize(
        ("left", "right"),
        [
            (f"{INPUT}r0 = r2\nr0 *= 8\nexit", f"{INPUT}r0 = r2\nr0 <<= 3\nexit"),
            (f"{INPUT}r0 = r2\nr0 /= 8\nexit", f"{INPUT}r0 = r2\nr0 >>= 3\nexit"),
            # The upper half of the result is nobody's business.
            (f"{INPUT}r0 = r2\nr0 -= 1\nexit", f"{INPUT}w0 = w2\nw0 -= 1\nexit"),
            # Bytes of a word are where the processor has them.
            (
                f"{PACKET}r4 = *(u16 *)(r1 + 0)\nr4 = be16 r4\n*(u16 *)(r1 + 2) = r4{OUT}",
                f"{PACKET}r4 = *(u8 *)(r1 + 0)\nr5 = *(u8 *)(r1 + 1)\n*(u8 *)(r1 + 2) = r5\n*(u8 *)(r1 + 3) = r4{OUT}",
            ),
            # What was stored is what is loaded; what is written twice is what was written last.
            (
                f"{PACKET}r4 = 7\n*(u32 *)(r1 + 4) = r4\nr0 = *(u16 *)(r1 + 4){OUT}",
                f"{PACKET}r4 = 9\n*(u32 *)(r1 + 4) = r4\nr4 = 7\n*(u32 *)(r1 + 4) = r4\nr0 = 7{OUT}",
            ),
            # On every path, through the stack, and through a function.
            (
                f"{PACKET}r4 = *(u8 *)(r1 + 0)\nr0 = 1\nif r4 > 5 goto out\nr0 = 3{OUT}",
                f"{PACKET}r4 = *(u8 *)(r1 + 0)\n*(u64 *)(r10 - 8) = r4\nr4 = *(u8 *)(r10 - 8)\n"
                f"r0 = 3\nif r4 < 6 goto out\nr0 = 1{OUT}",
            ),
            (f"{INPUT}r0 = r2\nr0 += r2\nexit", f"{INPUT}r1 = r2\ncall local f\nexit\nf:\nr0 = r1\nr0 *= 2\nexit"),
        ],
    )
    def test_equal(self, left: str, right: str) -> None:
        assert _kind(left, right) is EqualityKind.EQUIVALENT
        assert _kind(right, left) is EqualityKind.EQUIVALENT

    @pytest.mark.parametrize(
        ("left", "right"),
        [
            (f"{INPUT}r0 = r2\nr0 *= 8\nexit", f"{INPUT}r0 = r2\nr0 <<= 4\nexit"),
            (f"{INPUT}r0 = r2\nif r2 == 77 goto +1\nr0 = 1\nexit", f"{INPUT}r0 = 1\nexit"),
            # Only packets of one length tell them apart.
            (f"{PACKET}r0 = 3{OUT}", f"{PACKET.replace('16', '17')}r0 = 3{OUT}"),
            (f"{PACKET}r4 = 1\n*(u8 *)(r1 + 15) = r4{OUT}", f"{PACKET}r4 = 1\n*(u8 *)(r1 + 14) = r4{OUT}"),
            (f"{INPUT}r0 = 2\nexit", f"{INPUT}call 8\nr0 = 2\nexit"),
        ],
    )
    def test_different(self, left: str, right: str) -> None:
        assert _kind(left, right) is EqualityKind.DIFFERENT
        assert _kind(right, left) is EqualityKind.DIFFERENT


class TestMaps:
    ADD = "r3 = *(u64 *)(r1 + 0)\nr3 += {}\n*(u64 *)(r1 + 0) = r3" + OUT
    ATOMIC = "r3 = {}\nlock *(u64 *)(r1 + 0) += r3" + OUT

    def test_atomic_or_not(self) -> None:
        left = _lookup(3) + self.ADD.format(1)
        assert _kind(left, _lookup(3) + self.ATOMIC.format(1), ARRAY) is EqualityKind.EQUIVALENT
        assert _kind(left, _lookup(3) + self.ATOMIC.format(2), ARRAY) is EqualityKind.DIFFERENT
        assert _kind(left, _lookup(4) + self.ATOMIC.format(1), ARRAY) is EqualityKind.DIFFERENT

    @pytest.mark.parametrize(
        ("atomic", "plain"),
        [
            ("r2 = 5\nr2 = atomic_fetch_add((u64 *)(r1 + 0), r2)", "r2 = r3\nr3 += 5\n*(u64 *)(r1 + 0) = r3"),
            ("r2 = 6\nr2 = atomic_fetch_and((u64 *)(r1 + 0), r2)", "r2 = r3\nr3 &= 6\n*(u64 *)(r1 + 0) = r3"),
            ("r2 = 5\nr2 = xchg_64(r1 + 0, r2)", "r2 = r3\nr4 = 5\n*(u64 *)(r1 + 0) = r4"),
            (
                "r0 = 7\nr2 = 5\nr0 = cmpxchg_64(r1 + 0, r0, r2)\nr2 = r0",
                "r2 = r3\nif r3 != 7 goto +2\nr4 = 5\n*(u64 *)(r1 + 0) = r4",
            ),
        ],
    )
    def test_atomic_operations(self, atomic: str, plain: str) -> None:
        left = f"{_lookup(3)}{atomic}\nr0 = r2{OUT}"
        right = f"{_lookup(3)}r3 = *(u64 *)(r1 + 0)\n{plain}\nr0 = r2{OUT}"
        assert _kind(left, right, ARRAY) is EqualityKind.EQUIVALENT
        assert _kind(left, right.replace("r0 = r2", "r0 = r2\nr0 += 1"), ARRAY) is EqualityKind.DIFFERENT

    def test_an_array_has_what_its_definition_says(self) -> None:
        found, missing = f"{_lookup(15)}r0 = 1{OUT}", f"{_lookup(16)}r0 = 1{OUT}"
        assert (
            _kind(found, _lookup(15).replace("if r1 == 0 goto out", "r0 = 1") + OUT, ARRAY) is EqualityKind.EQUIVALENT
        )
        # What the two look up has nothing to do with one another, and that must not make up for the difference.
        assert _kind(found, missing, ARRAY) is EqualityKind.DIFFERENT
        assert _kind(f"{_lookup(15)}r0 = 1{OUT}", f"{_lookup(15)}r0 = 2{OUT}", HASH) is EqualityKind.DIFFERENT

    def test_two_look_ups_of_one_thing(self) -> None:
        once = f"{_lookup(3)}r0 = *(u32 *)(r1 + 0){OUT}"
        assert _kind(once, f"{_lookup(3)}r0 = *(u64 *)(r1 + 0){OUT}", HASH) is EqualityKind.EQUIVALENT
        assert _kind(once, _lookup(3) + once, HASH) is EqualityKind.DIFFERENT

    def test_definitions(self) -> None:
        left, right = _program(f"{_lookup(3)}{OUT}", ARRAY), _program(f"{_lookup(3)}{OUT}", HASH)
        assert prove_equal(left, right).kind is EqualityKind.DIFFERENT  # other maps
        found = prove_equal(left, replace(right, maps=(replace(HASH, name="counters"),)))
        assert "counters, which the programs define differently" in found.reason


class TestCalls:
    def test_results_follow_from_calls(self) -> None:
        random = "call 7\nr6 = r0\ncall 5\n"
        left, right = f"{random}r0 -= r6\nr6 += r0\nr0 = r6\nexit", f"{random}exit"
        assert _kind(left, right) is EqualityKind.EQUIVALENT
        assert _kind(right, "call 5\nr6 = r0\ncall 7\nr0 = r6\nexit") is EqualityKind.DIFFERENT

    def test_paths_with_and_without_a_call(self) -> None:
        left = f"{INPUT}r6 = r2\nif r6 > 5 goto skip\ncall 7\nskip:\ncall 5\nr7 = r0\nr0 = 2\nexit"
        right = f"{INPUT}r6 = r2\nif r6 <= 5 goto both\ncall 5\nr0 = 2\nexit\nboth:\ncall 7\ncall 5\nr0 = 2\nexit"
        assert _kind(left, right) is EqualityKind.EQUIVALENT
        assert _kind(left, right.replace("<= 5", "<= 6")) is EqualityKind.DIFFERENT

    def test_a_result_on_one_of_two_paths(self) -> None:
        head = f"{INPUT}r6 = r2\nr7 = 1\nif r6 > 5 goto skip\ncall 7\nr7 = r0\nskip:\n"
        assert _kind(f"{head}r0 = r7\nexit", f"{head}r0 = r7\nr0 ^= 0\nexit") is EqualityKind.EQUIVALENT
        assert _kind(f"{head}r0 = r7\nexit", f"{head}r0 = 1\nexit") is EqualityKind.DIFFERENT


class TestReasons:
    def test_a_program_that_is_not_safe(self) -> None:
        found = prove_equal(_program("r0 = *(u8 *)(r1 + 99)\nexit"), _program("r0 = 2\nexit"))
        assert found.kind is EqualityKind.UNKNOWN
        assert "not SAFE" in found.reason

    def test_programs_of_two_types(self) -> None:
        other = replace(_program("r0 = 0\nexit"), program_type="sched_cls", section="tc")
        with pytest.raises(ValueError, match="p is a program of type linux xdp, p of linux sched_cls"):
            prove_equal(_program("r0 = 2\nexit"), other)

    def test_a_solver_that_gives_up(self) -> None:
        assert prove_equal(PLAIN["scaled"], CLEVER["scaled"], limit=1).reason == "the solver gave up"

    def test_what_makes_no_difference_in_the_interpreter_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(equality, "replayed", lambda *_: None)
        found = prove_equal(PLAIN["ends"], CLEVER["ends"])
        assert found.kind is EqualityKind.UNKNOWN
        assert "no difference in the interpreter" in found.reason


# Mistakes that the tests above must notice --------------------------------------------------------------------------


def _stores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Observer, "_stored", lambda self, event, world: world)


def _calls_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    called = Observer._called
    monkeypatch.setattr(
        Observer, "_called", lambda self, event, world: replace(called(self, event, world), calls=world.calls)
    )


def _takes_the_left_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "_either", lambda choice, left, right, encoder: left)


def _compares_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equality, "RESULT_BITS", 1)


def _shares_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the n-th call gives is the same to both, whatever it is a call of."""
    called = Observer._called

    def shared(self: Observer, event: Any, world: World) -> World:
        self.side = "A"
        return called(self, event, world)

    monkeypatch.setattr(Observer, "_called", shared)


MISTAKES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = {
    "stores": (
        _stores_nothing,
        f"{PACKET}r4 = 1\n*(u8 *)(r1 + 15) = r4{OUT}",
        f"{PACKET}r4 = 1\n*(u8 *)(r1 + 14) = r4{OUT}",
    ),
    "calls": (_calls_nothing, "r0 = 2\nexit", "call 8\nr0 = 2\nexit"),
    "joins": (
        _takes_the_left_way,
        f"{PACKET}r4 = *(u8 *)(r1 + 0)\nif r4 > 5 goto a\nr4 = 1\n*(u8 *)(r1 + 1) = r4\na:\nr0 = 3{OUT}",
        f"{PACKET}r4 = *(u8 *)(r1 + 0)\nif r4 > 6 goto a\nr4 = 1\n*(u8 *)(r1 + 1) = r4\na:\nr0 = 3{OUT}",
    ),
    "result": (_compares_16_bits, f"{INPUT}r0 = r2\nexit", f"{INPUT}r0 = r2\nr0 ^= 2\nexit"),
    "shared results": (_shares_results, f"{_lookup(15)}r0 = 1{OUT}", f"{_lookup(16)}r0 = 1{OUT}"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_would_be_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, left, right = MISTAKES[name]
    maps = (ARRAY,) if "map[" in left else ()
    assert _kind(left, right, *maps) is EqualityKind.DIFFERENT
    plant(monkeypatch)
    assert _kind(left, right, *maps) is not EqualityKind.DIFFERENT


# Against runs -------------------------------------------------------------------------------------------------------


def _changed(made: Program, random: Random) -> Program:
    """The program with one constant of it changed."""
    code = list(made.code)
    places = [
        pc
        for pc, each in enumerate(code)
        if isinstance(each, Alu | Branch)
        and isinstance(each.src, Immediate)
        and getattr(each, "op", None) is not AluOp.MOV
    ]
    if places:
        pc = random.choice(places)
        each = code[pc]
        assert isinstance(each, Alu | Branch)
        assert isinstance(each.src, Immediate)
        code[pc] = replace(each, src=Immediate(each.src.value ^ 1))
    return replace(made, code=tuple(code))


def test_generated_programs_that_are_equivalent_do_the_same() -> None:
    answers = []
    for seed in range(24):
        random = Random(seed)
        left = generated(seed, 10, False)
        found = prove_equal(left, _changed(left, random), limit=3_000_000)
        answers.append(found.kind)
        if not found.is_equivalent:
            continue
        for _ in range(12):
            packet = random.randbytes(random.choice((0, 14, 60, 200)))
            one, other = (run(program, packet=packet) for program in (found.left, found.right))
            assert isinstance(one.outcome, Returned)
            assert isinstance(other.outcome, Returned)
            assert one.outcome.value & 0xFFFFFFFF == other.outcome.value & 0xFFFFFFFF, seed
            assert one.packet == other.packet, seed
    assert answers.count(EqualityKind.EQUIVALENT) >= 2
    assert answers.count(EqualityKind.DIFFERENT) >= 1


# The command line ---------------------------------------------------------------------------------------------------


class TestCommand:
    LEFT, RIGHT = str(FOLDER / "plain.o"), str(FOLDER / "clever.o")

    def test_equivalent(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prove-equal", self.LEFT, self.RIGHT, "--program", "absolute"]) == 0
        out = capsys.readouterr().out
        assert "EQUIVALENT" in out
        assert "assumed: nobody else changes" in out

    def test_different(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prove-equal", self.LEFT, self.RIGHT, "--program", "checksum", "--json"]) == 1
        (row,) = json.loads(capsys.readouterr().out)["pairs"]
        assert row["answer"] == "DIFFERENT"
        assert row["difference"]["what"] == ["bytes 8 to 9 of the packet are 0000 after A, ffff after B"]
        assert len(bytes.fromhex(row["difference"]["packet"])) == 16

    def test_another_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prove-equal", self.LEFT, self.RIGHT, "--program", "ends", "--other", "in_range"]) == 1
        assert "A returns" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["--program", "nothing"], "no program 'nothing'"),
            (["--other", "ends"], "--other: names the program of B"),
        ],
    )
    def test_bad_input(self, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prove-equal", self.LEFT, self.RIGHT, *arguments]) == 2
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1

    def test_nothing_in_common(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prove-equal", self.LEFT, str(FOLDER / "asserted.o")]) == 2
        assert "no program of one has the name of one of the other" in capsys.readouterr().err
