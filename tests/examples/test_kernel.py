"""What Linux says of the examples: safe ones accepted, unsafe ones rejected on the marked line, as intended."""

from __future__ import annotations

import re

import pytest

from prevail_py import examples
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.research import frames
from prevail_py.vm.kernel.engine import AnswerKind, KernelRun, ask_kernel, run_in_kernel

pytestmark = pytest.mark.usefixtures("kernel")

REASONS = {
    "unsafe_bounds": "invalid access to packet, off=23 size=1",
    "unsafe_off_by_one": "invalid access to packet, off=13 size=1",
    "unsafe_null": "invalid mem access 'map_value_or_null'",
    "unsafe_stale_pointer": "invalid mem access 'scalar'",
    "unsafe_stack_index": "invalid variable-offset write to stack",
    "unsafe_map_index": "invalid access to map value, value_size=64 off=64 size=8",
    "unsafe_scan": "invalid access to packet, off=15 size=1",
    "unsafe_readonly": "write into map forbidden",
    "unsafe_helper_size": "unbounded memory access",
}
"""A part of the kernel's message."""

PRIVILEGED = {"unsafe_uninitialised_key"}
"""Accepted from a loader with CAP_PERFMON: Linux 6.3 lets those read a stack that is not initialised."""

SAFE = [(name, program) for name, e in examples.EXAMPLES.items() if e.safe for program in e.programs]
UNSAFE = [name for name, example in examples.EXAMPLES.items() if not example.safe]


def the_program(name: str) -> Program:
    return load_object(examples.path(name)).programs[examples.EXAMPLES[name].program]


def test_every_unsafe_example_has_a_reason() -> None:
    assert set(UNSAFE) == set(REASONS) | PRIVILEGED


@pytest.mark.parametrize(("name", "program"), SAFE)
def test_safe_programs_are_accepted(name: str, program: str) -> None:
    answer = ask_kernel(load_object(examples.path(name)).programs[program])
    assert answer.kind is AnswerKind.ACCEPT, answer


@pytest.mark.parametrize("name", sorted(REASONS))
def test_unsafe_programs_are_rejected_on_the_marked_line(name: str) -> None:
    program = the_program(name)
    answer = ask_kernel(program, log_level=1)
    assert answer.kind is AnswerKind.REJECT, answer
    assert REASONS[name] in answer.log
    last = re.findall(r"^(\d+): \(", answer.log, re.MULTILINE)[-1]
    line = program.line_at(int(last))
    assert line is not None
    assert (line.file, line.line) == (f"{name}.c", examples.EXAMPLES[name].bug_line())
    assert "// BUG:" in line.text


@pytest.mark.parametrize("name", sorted(PRIVILEGED))
def test_programs_that_only_privileged_loaders_may_load(name: str) -> None:
    answer = ask_kernel(the_program(name), log_level=1)
    if answer.kind is AnswerKind.REJECT:  # before 6.3
        assert "invalid" in answer.log
        assert "stack" in answer.log
    else:
        assert answer.kind is AnswerKind.ACCEPT, answer


def dscp_packet(version: int, dscp: int) -> bytes:
    if version == 4:
        return frames.ethernet(frames.IPV4, frames.ipv4(17, bytes(8), tos=dscp << 2))
    return frames.ethernet(frames.IPV6, frames.ipv6(17, bytes(8), traffic_class=dscp << 2))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("dscp", "priority"), [(0, 0), (8, 1), (46, 6), (47, 5), (63, 7)])
def test_classifier_sets_mark_and_priority(version: int, dscp: int, priority: int) -> None:
    """In ``struct __sk_buff`` the mark is the word at 8 and the priority the word at 32."""
    run = run_in_kernel(the_program("tc_classifier"), dscp_packet(version, dscp), context=bytes(192))
    assert isinstance(run, KernelRun)
    assert (run.error, run.return_value) == ("", 0)
    assert int.from_bytes(run.context[8:12], "little") == dscp
    assert int.from_bytes(run.context[32:36], "little") == priority
