"""Traces: the two engines go the same way with the same registers, and part where a bug was planted."""

from __future__ import annotations

import pytest

from prevail_py.objects.text import assemble
from prevail_py.research.differential import program_of
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Interpreter
from prevail_py.vm.machine import Machine
from prevail_py.vm.outcome import Outcome, OutOfFuel
from prevail_py.vm.source.algebra import SourceAlgebra
from prevail_py.vm.source.engine import run_generated
from prevail_py.vm.trace import Step, first_difference, record

CALLS = assemble(
    """
    *(u64 *)(r10 - 8) = 0
    r6 = 7
    r1 = 3
    r2 = subprog[+10] ll
    r3 = r10
    r3 += -8
    r4 = 0
    call 181
    call local inner
    r0 += r6
    r0 &= 3
    exit
    nothing: exit
    r0 = *(u64 *)(r2 + 0)
    r0 += r1
    *(u64 *)(r2 + 0) = r0
    r0 = 0
    exit
    inner: r6 = 1
    r0 = 2
    exit"""
)


def test_a_trace() -> None:
    trace = record(assemble("r2 = 5\nr2 += -1\nif r2 > 9 goto +1\nr0 = r2\nexit"), "interpreter", packet=b"")
    assert trace.steps[0].changed.keys() == set(range(11))
    assert trace.steps[1:3] == (Step(1, 1, {2: 5}), Step(2, 1, {2: 4}))
    assert [step.pc for step in trace.steps] == [0, 1, 2, 3, 4]
    assert trace.registers(2)[2] == 4
    assert trace.registers(4)[0] == 4
    assert trace.execution.steps == 5


def test_traces_of_generated_programs_are_equal() -> None:
    longest = 0
    for number in range(30):
        program = program_of(number)
        for fuel in (60, 1000):
            left, right = (
                record(program, name, packet=bytes(range(64)), environment=Environment(may_goto_limit=3), fuel=fuel)
                for name in ("interpreter", "source")
            )
            assert first_difference(left, right) is None, number
            assert left.execution.outcome == right.execution.outcome
            assert len(left.steps) == left.execution.steps
            longest = max(longest, len(left.steps))
    assert longest > 200


def test_calls_and_callbacks() -> None:
    for fuel in (*range(45), 1000):
        left, right = (record(CALLS, name, packet=b"", fuel=fuel) for name in ("interpreter", "source"))
        assert first_difference(left, right) is None
    assert not isinstance(left.execution.outcome, OutOfFuel)
    assert max(step.frames for step in right.steps) == 2


def test_observers_of_generated_code_see_the_machine() -> None:
    seen = []

    def observe(machine: Machine) -> None:
        assert machine.packet is not None
        seen.append((machine.pc, machine.steps, machine.call_pcs, machine.provenance[7], machine.provenance[10]))

    def executor(machine: Machine, fuel: int) -> Outcome:
        return run_generated(machine, fuel, (observe,))

    program = assemble("r7 = r1\ncall local inner\nr0 = 1\nexit\ninner: r0 = 0\nexit")
    Interpreter(program).run_with(executor, packet=b"")
    assert [(pc, steps, calls) for pc, steps, calls, *_ in seen] == [
        (0, 0, ()), (1, 1, ()), (4, 2, (1,)), (5, 3, (1,)), (2, 4, ()), (3, 5, ()),
    ]  # fmt: skip
    assert str(seen[1][3]) == "context"
    assert [str(frame) for *_, frame in seen[1:3]] == ["stack frame 0", "stack frame 1"]


def test_the_instruction_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SourceAlgebra, "mul", SourceAlgebra.add)
    program = assemble("r2 = 1\nr3 = 5\nr3 *= 7\nr4 = 9\nr0 = r3\nr0 &= 3\nexit")
    left, right = (record(program, name, packet=b"") for name in ("interpreter", "source"))
    number = first_difference(left, right)
    assert number == 3
    assert left.steps[number - 1].pc == 2
    assert left.registers(number - 1) == right.registers(number - 1)
    assert (left.registers(number)[3], right.registers(number)[3]) == (35, 12)


def test_engines_without_observers() -> None:
    with pytest.raises(ValueError, match="engine 'kernel' has no observers"):
        record(CALLS, "kernel", packet=b"")
