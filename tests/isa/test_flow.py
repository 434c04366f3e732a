"""Targets, successors and leaders."""

from __future__ import annotations

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.flow import ends_block, function_address, leaders, successors, target
from prevail_py.isa.instructions import CallLocal, Exit, Jump, LoadImmediate64, MayGoto, Pseudo, Register

CODE = assemble_text("""
     0: r0 = 0x1122334455667788 ll
     2: if r1 == 0 goto +3
     3: call local +4
     4: may_goto +0
     5: goto -4
     6: gotol +0
     7: exit
     8: r0 = 1
     9: exit
""")


@pytest.mark.parametrize(
    ("pc", "expected"),
    [(0, (2,)), (2, (3, 6)), (3, (4,)), (4, (5, 5)), (5, (2,)), (6, (7,)), (7, ()), (8, (9,)), (9, ())],
)
def test_successors(pc: int, expected: tuple[int, ...]) -> None:
    assert successors(CODE, pc) == expected


def test_the_second_half_of_a_wide_load_has_no_successors() -> None:
    with pytest.raises(ValueError, match="slot 1"):
        successors(CODE, 1)


def test_targets_count_from_the_next_slot() -> None:
    assert [target(pc, i) for pc, i in ((2, Jump(-3)), (2, Jump(70_000, wide=True)), (2, MayGoto(0)))] == [0, 70_003, 3]
    assert target(3, CallLocal(4)) == 8
    assert function_address(10, LoadImmediate64(Register.R2, 5, 0, Pseudo.FUNCTION)) == 16
    with pytest.raises(ValueError, match="IMMEDIATE"):
        function_address(10, LoadImmediate64(Register.R2, 5))


def test_leaders() -> None:
    assert leaders(CODE, 0, 8) == (0, 2, 3, 5, 6, 7)
    assert leaders(CODE, 8, 10) == (8,)


def test_targets_outside_the_range_are_left_out() -> None:
    code = assemble_text("if r1 == 0 goto +7\ngoto -5\nexit")
    assert leaders(code, 0, 3) == (0, 1, 2)


def test_calls_do_not_end_blocks() -> None:
    assert not ends_block(CallLocal(3))
    assert ends_block(Exit())
