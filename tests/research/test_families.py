from __future__ import annotations

from dataclasses import replace

import pytest

from prevail_py.cfg.builder import build
from prevail_py.cfg.loops import loops
from prevail_py.isa.decode import decode
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Load
from prevail_py.research.families import FAMILIES, MAX_NESTING
from prevail_py.vm.interpreter import run
from prevail_py.vm.kernel.engine import AnswerKind, ask_kernel
from prevail_py.vm.outcome import Returned, Trapped

NAMES = sorted(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_members_are_well_formed(name: str) -> None:
    for size in (1, 2, 7, 64):
        program = FAMILIES[name](size)
        assert program.name == f"{name}_{size}"
        assert decode(encode(program.code)) == program.code
        assert build(program).unreachable == ()


@pytest.mark.parametrize("name", NAMES)
def test_members_are_as_large_as_asked_for(name: str) -> None:
    sizes = [FAMILIES[name](size).instruction_count for size in (1, 11, 21)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0]
    with pytest.raises(ValueError, match="the size of this family is at least 1"):
        FAMILIES[name](0)


def test_no_nest_is_deeper_than_the_stack() -> None:
    assert len(loops(build(FAMILIES["nested_loops"](MAX_NESTING)).entry)) == MAX_NESTING
    with pytest.raises(ValueError, match="at most 64"):
        FAMILIES["nested_loops"](MAX_NESTING + 1)


def test_no_check_is_beyond_the_packet() -> None:
    assert FAMILIES["bounds_checks"](65534).instruction_count == 3 + 7 * 65534 + 2
    with pytest.raises(ValueError, match="at most 65534"):
        FAMILIES["bounds_checks"](65535)


def test_a_long_body_jumps_back_with_a_wide_offset() -> None:
    program = FAMILIES["long_loop"](40_000)
    assert len(loops(build(program).entry)) == 1
    assert decode(encode(program.code)) == program.code


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("packet", [b"", b"\x01" * 5, bytes(range(256)) * 5], ids=len)
def test_members_do_not_trap(name: str, packet: bytes) -> None:
    for size in (1, 4, 10):
        outcome = run(FAMILIES[name](size), packet=packet).outcome
        short = name == "bounds_checks" and len(packet) < size
        assert outcome == Returned(1 if short else 2)


def test_a_missing_check_does_trap() -> None:
    program = FAMILIES["bounds_checks"](4)
    code = [replace(i, offset=i.offset + 1) if isinstance(i, Load) and i.size == 1 else i for i in program.code]
    assert isinstance(run(replace(program, code=tuple(code)), packet=b"abcd").outcome, Trapped)


@pytest.mark.parametrize("name", NAMES)
def test_linux_accepts_them(name: str, kernel: None) -> None:
    for size in (1, 10):
        answer = ask_kernel(FAMILIES[name](size))
        assert answer.kind is AnswerKind.ACCEPT, answer.log
