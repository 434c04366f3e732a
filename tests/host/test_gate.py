"""The gate: what it lets through, what it refuses, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prevail_py import examples
from prevail_py.host import gate
from prevail_py.host.gate import GateError, SoundnessError, run
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import Failure, Verdict, VerdictKind
from prevail_py.vm.interpreter import Execution
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.outcome import OutOfFuel, Returned, TrapKind, Trapped

SAFE = Program("good", "xdp", "xdp", assemble_text("r0 = 2\nexit"))
BAD = Program("bad", "xdp", "xdp", assemble_text("r0 = *(u8 *)(r10 - 1)\nexit"))


def test_a_safe_program_runs() -> None:
    assert run(SAFE, packet=b"abc", verdict=verify(SAFE)).outcome == Returned(2)


def test_without_a_verdict_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake(program: Program) -> Verdict:
        asked.append(program.name)
        return Verdict(VerdictKind.SAFE, program)

    monkeypatch.setattr("prevail_py.verifier.verify", fake)
    assert run(SAFE).outcome == Returned(2)
    assert asked == ["good"]
    run(SAFE, verdict=Verdict(VerdictKind.SAFE, SAFE))
    assert asked == ["good"]


@pytest.mark.parametrize("kind", [kind for kind in VerdictKind if kind is not VerdictKind.SAFE])
def test_anything_else_is_refused(kind: VerdictKind) -> None:
    failure = Failure(3, "out-of-bounds", "too far")
    with pytest.raises(GateError, match=rf"^good may not run: {kind}: slot 3: out-of-bounds: too far$"):
        run(SAFE, verdict=Verdict(kind, SAFE, (failure,)))
    with pytest.raises(GateError, match=rf"^good may not run: {kind}: co-re$"):
        run(SAFE, verdict=Verdict(kind, SAFE, reason="co-re"))
    with pytest.raises(PermissionError, match=rf"^good may not run: {kind}$"):
        run(SAFE, verdict=Verdict(kind, SAFE))


def test_every_unsafe_example_is_refused() -> None:
    refused = 0
    for name, example in examples.EXAMPLES.items():
        if not name.startswith("unsafe"):
            continue
        program = load_object(examples.path(name)).programs[example.program]
        with pytest.raises(GateError, match=rf"{example.program} may not run: UN"):
            run(program, packet=bytes(60))
        refused += 1
    assert refused >= 3


def test_a_verdict_about_another_program_is_refused() -> None:
    with pytest.raises(GateError, match="bad: the verdict is about another program, good"):
        run(BAD, verdict=verify(SAFE))
    with pytest.raises(GateError, match="the verdict is about another program"):
        run(replace(SAFE, code=BAD.code), verdict=verify(SAFE))
    assert run(replace(SAFE), verdict=verify(SAFE)).outcome == Returned(2)


def test_unchecked() -> None:
    outcome = run(BAD, unchecked=True).outcome
    assert isinstance(outcome, Trapped)
    assert outcome.trap.kind is TrapKind.UNINITIALISED_MEMORY


def test_a_trap_after_safe_is_our_mistake() -> None:
    with pytest.raises(SoundnessError, match=r"bad was proved SAFE but trapped at slot 0: uninitialised-memory"):
        run(BAD, verdict=Verdict(VerdictKind.SAFE, BAD))


def test_what_is_not_implemented_is_not() -> None:
    program = Program("p", "xdp", "xdp", assemble_text("call kfunc 1\nexit"))
    outcome = run(program, verdict=Verdict(VerdictKind.SAFE, program)).outcome
    assert isinstance(outcome, Trapped)
    assert outcome.trap.kind is TrapKind.UNSUPPORTED


def test_fuel_and_observers_are_passed_on() -> None:
    seen = []
    execution = run(SAFE, fuel=1, observers=[lambda machine: seen.append(machine.pc)])
    assert execution.outcome == OutOfFuel(1)
    assert seen == [0]


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="uses 0 maps, not 1"):
        run(SAFE, maps=create_maps([MapSpec("m", 2, 4, 4, 1)]))


JUMPS = MapSpec("jumps", 3, 4, 4, 2)
CALLER = Program("caller", "xdp", "xdp", assemble_text("r2 = map[idx:0] ll\nr3 = 0\ncall 12\nr0 = 1\nexit"), (JUMPS,))


def call_into(target: Program) -> Execution:
    maps = create_maps(CALLER.maps)
    assert isinstance(maps[0], ProgramArray)
    maps[0][bytes(4)] = target
    return run(CALLER, maps=maps)


def test_targets_of_tail_calls_must_be_safe() -> None:
    assert call_into(SAFE).outcome == Returned(2)
    with pytest.raises(GateError, match="bad may not run: UNSAFE: slot 0: uninitialised-memory"):
        call_into(BAD)


def test_targets_of_targets_must_be_safe() -> None:
    outer, inner = create_maps([JUMPS, JUMPS])
    assert isinstance(outer, ProgramArray)
    assert isinstance(inner, ProgramArray)
    outer.install(bytes(4), CALLER, [inner])
    inner.install(bytes(4), CALLER, [outer])  # a cycle must not keep the gate busy
    assert run(CALLER, maps=[outer]).outcome == Returned(1)
    inner[b"\1\0\0\0"] = BAD
    with pytest.raises(GateError, match="bad may not run"):
        run(CALLER, maps=[outer])


def test_a_gate_that_is_left_open_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above fail for a gate that lets everything through."""
    monkeypatch.setattr(gate, "_require_safe", lambda verdict: None)
    with pytest.raises(pytest.fail.Exception):
        test_anything_else_is_refused(VerdictKind.UNKNOWN)
