"""The verifier on the examples: SAFE for the safe ones; for the others one failure or more, all on the marked line."""

from __future__ import annotations

import pytest

from prevail_py import examples
from prevail_py.objects.elf import load_object
from prevail_py.verifier import VerdictKind, verify

SAFE = [(name, program) for name, e in examples.EXAMPLES.items() if e.safe for program in e.programs]
UNSAFE = [(name, program) for name, e in examples.EXAMPLES.items() if not e.safe for program in e.programs]

NEEDLES = {
    "unsafe_bounds": "access to the packet at offset 23",
    "unsafe_off_by_one": "access to the packet at offset 13",
    "unsafe_null": "may be null",
    "unsafe_uninitialised_key": "may not have been written",
    "unsafe_stale_pointer": "stale packet pointer",
    "unsafe_stack_index": "access to the stack at r10 plus [-16, 15]",
    "unsafe_map_index": "at offset 64, 8 bytes, of 64 bytes",
    "unsafe_scan": "access to the packet at offset 15",
    "unsafe_readonly": "read-only",
    "unsafe_helper_size": "the size",
}
"""A part of the first message: that the program fails for its mistake and not for another reason."""


@pytest.mark.parametrize(("name", "program"), SAFE)
def test_safe_examples_are_proved(name: str, program: str) -> None:
    verdict = verify(load_object(examples.path(name)).programs[program])
    assert verdict.kind is VerdictKind.SAFE, verdict.failures


@pytest.mark.parametrize(("name", "program"), UNSAFE)
def test_unsafe_examples_fail_on_the_marked_line_and_nowhere_else(name: str, program: str) -> None:
    verdict = verify(load_object(examples.path(name)).programs[program])
    assert verdict.kind in (VerdictKind.UNKNOWN, VerdictKind.UNSAFE)
    assert verdict.failures
    assert NEEDLES[name] in verdict.failures[0].message
    lines = {failure.line and (failure.line.file, failure.line.line) for failure in verdict.failures}
    assert lines == {(f"{name}.c", examples.EXAMPLES[name].bug_line())}
