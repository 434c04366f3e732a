"""The shadow of a run: every term, evaluated on the inputs of that very run, is the word that the interpreter has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import z3

from prevail_py import examples
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.research.packets import packets
from prevail_py.research.paths import SIZE, Condition, Input, InputKind, Term, Trace
from prevail_py.research.shadow import Shadow, trace
from prevail_py.verifier.smt.algebra import Z3Algebra
from prevail_py.vm.machine import Machine
from prevail_py.vm.outcome import Returned
from prevail_py.vm.scenario import Scenario, play

MAPS = (MapSpec("values", 2, 4, 16, 4), MapSpec("table", 1, 4, 8, 16))

GUARD = """
    r6 = r1
    r7 = *(u32 *)(r1 + 76)
    r8 = *(u32 *)(r1 + 80)
    r0 = 0
    r2 = r7
    r2 += 32
    if r2 > r8 goto end
"""

# On 32 bytes of packet at R7; the context is that of a traffic-control program.
PROGRAMS = {
    "arithmetic": """
        r1 = *(u64 *)(r7 + 0)
        r2 = *(u16 *)(r7 + 8)
        r3 = r1
        r3 *= r2
        w4 = w1
        w4 /= w2
        r5 = r1
        r5 %= r2
        r1 s>>= 7
        w2 <<= 9
        r3 ^= r5
        r3 = -r3
        r5 = (s16)r1
        r4 = bswap32 r4
        r1 = be64 r1
        if r3 s> r5 goto end
        r0 = 1""",
    "loads": """
        r1 = *(s8 *)(r7 + 0)
        r2 = *(s16 *)(r7 + 2)
        r3 = *(s32 *)(r7 + 4)
        r4 = *(u32 *)(r7 + 1)
        r5 = *(u8 *)(r7 + 31)""",
    "stack": """
        r1 = *(u64 *)(r7 + 3)
        r2 = 7
        *(u64 *)(r10 - 8) = r1
        *(u8 *)(r10 - 6) = r2
        *(u16 *)(r10 - 3) = r1
        r3 = *(u64 *)(r10 - 8)
        *(u32 *)(r7 + 0) = r3
        r4 = *(u64 *)(r7 + 0)
        r5 = *(u16 *)(r10 - 7)""",
    "atomics": """
        r1 = *(u64 *)(r7 + 0)
        r2 = *(u64 *)(r7 + 8)
        *(u64 *)(r10 - 8) = r1
        lock *(u64 *)(r10 - 8) += r2
        r3 = *(u64 *)(r10 - 8)
        lock *(u32 *)(r10 - 4) ^= r1
        r4 = r2
        r4 = atomic_fetch_or((u64 *)(r10 - 8), r4)
        r5 = r1
        r5 = xchg_64(r10 - 8, r5)
        r0 = r5
        r0 = cmpxchg_64(r10 - 8, r0, r2)
        r4 = *(u64 *)(r10 - 8)
        r0 = 0""",
    "context": """
        r1 = *(u32 *)(r6 + 16)
        r2 = *(u32 *)(r6 + 8)
        r3 = *(u32 *)(r6 + 0)
        r2 += r1
        *(u32 *)(r6 + 8) = r2
        r4 = *(u32 *)(r6 + 8)
        r5 = *(u16 *)(r6 + 50)
        if r5 == 3 goto end
        r0 = 1""",
    "subprogram": """
        r1 = *(u8 *)(r7 + 0)
        r9 = *(u8 *)(r7 + 1)
        call local double
        r1 = r0
        r1 += r9
        ---
    double:
        r9 = r1
        r9 += r1
        r0 = r9
        exit""",
    "array": """
        r1 = *(u8 *)(r7 + 0)
        r1 &= 7
        *(u32 *)(r10 - 4) = r1
        r2 = r10
        r2 += -4
        r1 = map[idx:0] ll
        call 1
        if r0 == 0 goto end
        r3 = *(u64 *)(r0 + 8)
        r3 += 1
        *(u64 *)(r0 + 8) = r3
        r4 = *(u32 *)(r0 + 6)
        r0 = 0
        if r4 == 3 goto end
        r0 = 1""",
    "table": """
        r1 = *(u32 *)(r7 + 0)
        *(u32 *)(r10 - 4) = r1
        *(u64 *)(r10 - 16) = 5
        r2 = r10
        r2 += -4
        r1 = map[idx:1] ll
        call 1
        if r0 == 0 goto absent
        r8 = *(u64 *)(r0 + 0)
    absent:
        r1 = map[idx:1] ll
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -16
        r4 = 0
        call 2
        r1 = map[idx:1] ll
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto end
        r8 = *(u64 *)(r0 + 0)
        r0 = 0""",
    "helper writes": """
        r1 = *(u64 *)(r7 + 0)
        *(u64 *)(r10 - 8) = r1
        r1 = r6
        r2 = 4
        r3 = r10
        r3 += -8
        r4 = 6
        call 26
        r1 = *(u64 *)(r10 - 8)
        r2 = r0
        if r0 != 0 goto end
        r0 = 1""",
    "legacy": """
        r9 = *(u8 *)(r7 + 0)
        r9 &= 15
        r0 = *(u16 *)skb[12]
        r8 = r0
        r0 = *(u32 *)skb[r9 + 2]
        r8 += r0
        r0 = *(u8 *)skb[60]
        r0 = 0""",
}


def program(name: str) -> Program:
    body, _, subprograms = PROGRAMS[name].partition("---")
    return Program(name, "tc", "sched_cls", assemble_text(f"{GUARD}{body}\nend:\n exit\n{subprograms}"), MAPS)


def scenarios() -> Iterator[Scenario]:
    """Packets of 0 to some hundred bytes, with contexts, and with a key of each packet in the table."""
    for number, packet in enumerate(packets(1, 12)):
        packet += bytes(range(1, 41)) * (number % 2)
        index = (number % 4).to_bytes(4, "little")
        contents = ((0, index, bytes(range(16))), (1, packet[:4].ljust(4, b"\0"), b"contents"))
        yield Scenario(packet, contents[: 1 + number % 2], number, bytes(range(1, 181)) if number % 3 else None)


def word(traced: Trace, term: Term | Condition) -> int:
    """What a term or a condition is on the inputs of its run."""
    expression = term.expression if isinstance(term, Term) else term.holds
    return traced.evaluate(expression, term.inputs)


class Follower:
    """Compares the shadow with the machine, before each instruction."""

    def __init__(self, program: Program, scenario: Scenario) -> None:
        algebra = Z3Algebra(z3.Context())
        self.trace = Trace(scenario, algebra, sizes=tuple(spec.value_size for spec in program.maps))
        self.shadow = Shadow(program, self.trace, 1000)
        self.known: set[int] = set()
        self.compared = 0
        self.differences: list[str] = []

    def __call__(self, machine: Machine) -> None:
        if not self.shadow.stopped and machine.program is self.shadow.program:
            for register, term in enumerate(self.shadow.registers):
                self._compare(machine, register, term)
        self.shadow(machine)

    def _compare(self, machine: Machine, register: int, term: Term | None) -> None:
        concrete = machine.registers[register]
        if term is None or concrete is None:
            return
        self.compared += 1
        if word(self.trace, term) != concrete:
            self.differences.append(f"before slot {machine.pc}: r{register} is {concrete:#x}, not {term.expression}")


def follow(program: Program, scenario: Scenario) -> Follower:
    follower = Follower(program, scenario)
    play(program, scenario, (follower,))
    follower.differences += [
        f"slot {condition.pc}: {condition.holds}"
        for condition in follower.trace.conditions
        if not word(follower.trace, condition)
    ]
    return follower


def differences(program: Program) -> list[str]:
    """Where shadow and machine differ, over all scenarios, of which some must have been compared at all."""
    followers = [follow(program, scenario) for scenario in scenarios()]
    assert sum(follower.compared for follower in followers) > 20
    return [difference for follower in followers for difference in follower.differences]


@pytest.mark.parametrize("name", PROGRAMS)
def test_terms_are_the_words_of_the_run(name: str) -> None:
    outcomes = {type(play(program(name), scenario).outcome) for scenario in scenarios()}
    assert outcomes == {Returned}  # so that all of the program is looked at
    assert differences(program(name)) == []


SAFE = [(name, program) for name, e in examples.EXAMPLES.items() if e.safe for program in e.programs]


@pytest.mark.parametrize(("name", "program"), SAFE)
def test_terms_are_the_words_of_the_run_in_examples(name: str, program: str) -> None:
    loaded = load_object(examples.path(name)).programs[program]
    for packet in packets(2, 8):
        assert follow(loaded, Scenario(packet)).differences == []


def test_all_kinds_of_inputs_turn_up() -> None:
    seen: set[InputKind] = set()
    for name in PROGRAMS:
        for scenario in scenarios():
            for condition in trace(program(name), scenario, z3.Context()).conditions:
                seen |= {input.kind for input in condition.inputs}
    assert seen == set(InputKind)


class _Subtracts(Z3Algebra):
    def add(self, a: Any, b: Any, width: int) -> Any:
        return a - b


class _ForgetsTheSign(Z3Algebra):
    def sign_extend(self, a: Any, width: int, to: int) -> Any:
        return self.zero_extend(a, width, to)


class _SwapsNothing(Z3Algebra):
    def bswap(self, a: Any, width: int) -> Any:
        return a


@pytest.mark.parametrize(
    ("broken", "name"), [(_Subtracts, "subprogram"), (_ForgetsTheSign, "loads"), (_SwapsNothing, "legacy")]
)
def test_planted_bugs_are_found(broken: type[Z3Algebra], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.Z3Algebra", broken)
    assert differences(program(name))


def test_stale_memory_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Shadow._byte

    def trusting(self: Shadow, address: int, value: int) -> Term | None:
        seen = self._bytes.get(address)
        return original(self, address, value) if seen is None else seen[1]

    monkeypatch.setattr(Shadow, "_loaded_bytes", lambda *arguments: None)  # a helper that is not followed
    assert differences(program("helper writes")) == []
    monkeypatch.setattr(Shadow, "_byte", trusting)
    assert differences(program("helper writes"))


def test_the_conditions_of_a_path() -> None:
    code = assemble_text("""
        r2 = *(u32 *)(r1 + 4)
        r1 = *(u32 *)(r1 + 0)
        r3 = r1
        r3 += 2
        if r3 > r2 goto end
        r4 = *(u8 *)(r1 + 1)
        if r4 == 7 goto end
        if r4 == 7 goto end
    end:
        r0 = 2
        exit""")
    traced = trace(Program("path", "xdp", "xdp", code), Scenario(b"\x05\x06\x07"), z3.Context())
    assert [(c.pc, c.other, c.inputs) for c in traced.conditions] == [
        (4, 8, frozenset({SIZE})),
        (6, 8, frozenset({Input(InputKind.PACKET, 1)})),
        (7, 8, frozenset({Input(InputKind.PACKET, 1)})),
    ]
    assert len({c.turn for c in traced.conditions}) == 3
    assert traced.visited == set(range(10))


def test_the_shadow_stops_at_its_limit() -> None:
    code = assemble_text("r2 = *(u32 *)(r1 + 12)\n" + "if r2 == 9 goto +0\n" * 20 + "r0 = 2\nexit")
    limited = Program("limit", "xdp", "xdp", code)
    assert len(trace(limited, Scenario(b""), z3.Context()).conditions) == 20
    assert len(trace(limited, Scenario(b""), z3.Context(), limit=5).conditions) == 5
