"""Replacing instructions: everything leads to where it led."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prevail_py.isa.instructions import CallLocal, Exit, Instruction, Jump, LoadImmediate64, MayGoto, Pseudo, Register
from prevail_py.isa.rewrite import reachable, rewrite
from prevail_py.objects.text import assemble
from prevail_py.research.generate import program
from prevail_py.vm.interpreter import run

WIDE: tuple[Instruction | None, ...] = (LoadImmediate64(Register.R1, 1), None)


def test_nothing_to_replace() -> None:
    for seed in range(20):
        code = program(seed, 30, loops=True).code
        assert rewrite(code, {}) == code


def test_jumps_over_a_longer_replacement() -> None:
    code = assemble("r0 = 1\nif r0 == 1 goto +1\nr0 = 2\nexit").code
    assert rewrite(code, {2: (LoadImmediate64(Register.R0, 7), Jump(0))}) == (
        *assemble("r0 = 1\nif r0 == 1 goto +3").code,
        LoadImmediate64(Register.R0, 7),
        None,
        Jump(0),
        Exit(),
    )


def test_back_edges_calls_and_function_addresses() -> None:
    address = LoadImmediate64(Register.R2, 4, 0, Pseudo.FUNCTION)
    code = (CallLocal(5), address, None, MayGoto(-1), Jump(-5), Exit(), Exit())
    longer = rewrite(code, {4: (Jump(0), Jump(0))})
    moved = replace(address, low=5)
    assert longer == (CallLocal(6), moved, None, MayGoto(-1), Jump(0), Jump(0), Exit(), Exit())


def test_deleting_a_wide_load_and_the_target_of_a_jump() -> None:
    assert rewrite((Jump(2), *WIDE, Exit()), {1: ()}) == (Jump(0), Exit())
    assert rewrite((Jump(0), *WIDE, Exit()), {1: ()}) == (Jump(0), Exit())


def test_a_jump_out_of_the_code() -> None:
    with pytest.raises(ValueError, match="a jump to slot 9 of 2"):
        rewrite((Jump(8), Exit()), {})


def test_programs_do_the_same_with_padding_before_every_instruction() -> None:
    for seed in range(30):
        given = program(seed, 20, loops=True)
        changes = {pc: (Jump(0), i) for pc, i in enumerate(given.code) if i is not None and not hasattr(i, "offset")}
        changes = {pc: new for pc, new in changes.items() if not isinstance(new[1], LoadImmediate64)}
        padded = type(given)(given.name, given.section, given.program_type, rewrite(given.code, changes), given.maps)
        before, after = run(given, packet=bytes(60)), run(padded, packet=bytes(60))
        assert type(before.outcome) is type(after.outcome)
        assert before.packet == after.packet


def test_reachable() -> None:
    code = assemble("call local +2\nexit\nr0 = 1\nr0 = 2\nexit").code
    assert reachable(code) == {0, 1, 3, 4}
    assert reachable(code, calls=False) == {0, 1}
    assert reachable(code, 3) == {3, 4}
    callback = (LoadImmediate64(Register.R2, 2, 0, Pseudo.FUNCTION), None, Exit(), Exit())
    assert reachable(callback) == {0, 2, 3}
