"""Programs from text and to text."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest

from prevail_py import examples
from prevail_py.isa.assembler import AssemblerError
from prevail_py.objects import text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, SourceLine, Subprogram
from prevail_py.objects.text import assemble, disassemble

CALLS = """
    r1 = map[idx:0] ll
    call 1                   # bpf_map_lookup_elem
    r2 = subprog[+3] ll      ; counts from the next slot, like a call
    call local f
    exit
f:  r0 = 1                   // here starts the callee
    exit
"""
COUNTERS = MapSpec("counters", 2, 4, 8, 1)


def test_doctests() -> None:
    assert doctest.testmod(text).failed == 0
    assert doctest.testmod(text).attempted > 0


def test_subprograms_start_where_they_are_called() -> None:
    program = assemble(CALLS, maps=[COUNTERS], name="entry")
    assert program.subprograms == (Subprogram("entry", 0, 7), Subprogram("subprogram_7", 7, 9))
    assert program.maps == (COUNTERS,)
    assert (program.program_type, program.section, program.licence) == ("xdp", "xdp", "GPL")


def test_a_call_out_of_the_program_starts_no_subprogram() -> None:
    program = assemble("call local +7\ncall local -3\nexit")
    assert program.subprograms == (Subprogram("main", 0, 3),)


def test_comments_name_helpers_maps_and_subprograms() -> None:
    assert disassemble(assemble(CALLS, maps=[COUNTERS])).splitlines() == [
        "main:",
        "  0: r1 = map[idx:0] ll                           ; counters",
        "  2: call 1                                       ; bpf_map_lookup_elem",
        "  3: r2 = subprog[+3] ll                          ; subprogram_7",
        "  5: call local +1 <7>                            ; subprogram_7",
        "  6: exit",
        "subprogram_7:",
        "  7: r0 = 1",
        "  8: exit",
    ]


def test_source_lines_stand_before_their_instructions() -> None:
    lines = {0: SourceLine("a.c", 3, 2, "  x = 1;"), 1: SourceLine("a.c", 3, 9, "x = 1;"), 2: SourceLine("a.c", 4)}
    program = replace(assemble("r0 = 1\nr0 += 1\nexit"), lines=lines)
    expected = ["main:", "  ; a.c:3: x = 1;", "  0: r0 = 1", "  1: r0 += 1", "  ; a.c:4", "  2: exit"]
    assert disassemble(program).splitlines() == expected
    assert disassemble(program, source=False).splitlines() == [line for line in expected if ";" not in line]


def test_unknown_helpers_and_maps_are_left_without_a_comment() -> None:
    assert ";" not in disassemble(assemble("r1 = map[idx:5] ll\ncall 99999\nexit"))


@pytest.mark.parametrize("name", examples.names())
def test_disassembly_assembles_again(name: str) -> None:
    for program in load_object(examples.path(name)).programs.values():
        again = assemble(disassemble(program), program.program_type, program.maps)
        assert again.code == program.code
        assert [(s.start, s.end) for s in again.subprograms] == [(s.start, s.end) for s in program.subprograms]


def test_error_names_the_line() -> None:
    with pytest.raises(AssemblerError, match=r"^line 2: "):
        assemble("r0 = 0\nnonsense\nexit")
