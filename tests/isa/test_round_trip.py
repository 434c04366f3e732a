"""Bytes, instructions and text are three forms of one thing."""

from __future__ import annotations

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.decode import decode
from prevail_py.isa.disassembler import disassemble, listing
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Instruction, slots_of
from prevail_py.research.strategies import instructions


def _indexed(code: list[Instruction]) -> tuple[Instruction | None, ...]:
    return tuple(part for instruction in code for part in (instruction, *[None] * (slots_of(instruction) - 1)))


def test_the_strategy_draws_every_kind_of_instruction() -> None:
    seen: set[type] = set()

    @given(instructions())
    @settings(max_examples=2000, database=None)
    def collect(instruction: Instruction) -> None:
        seen.add(type(instruction))

    collect()
    assert seen == set(get_args(Instruction))


@given(instructions())
@settings(max_examples=1000)
def test_decode_inverts_encode(instruction: Instruction) -> None:
    assert decode(encode([instruction])) == _indexed([instruction])


@given(instructions())
@settings(max_examples=1000)
def test_assembler_inverts_disassembler(instruction: Instruction) -> None:
    assert assemble_text(disassemble(instruction)) == _indexed([instruction])


@given(st.lists(instructions(), max_size=8))
def test_programs_round_trip(code: list[Instruction]) -> None:
    indexed = _indexed(code)
    assert decode(encode(indexed)) == indexed
    assert assemble_text(listing(indexed)) == indexed
