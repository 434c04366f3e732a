"""Witnesses: found for what is unsafe, replayed, written down; and never for what does not trap."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.cli.main import main
from prevail_py.cli.verify import _write_witnesses
from prevail_py.host.capture import read_capture
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.research.suite import pairs
from prevail_py.verifier import VerdictKind, verify
from prevail_py.verifier.smt import search
from prevail_py.verifier.witness import Witness
from prevail_py.vm.outcome import Trap, TrapKind, Trapped
from prevail_py.vm.scenario import Scenario

UNSAFE = [
    program
    for name, example in examples.EXAMPLES.items()
    if not example.safe
    for program in load_object(examples.path(name)).programs.values()
]


@pytest.mark.parametrize("program", UNSAFE, ids=lambda program: program.name)
def test_the_unsafe_examples_have_one(program: Program) -> None:
    verdict = verify(program)
    assert verdict.kind is VerdictKind.UNSAFE
    assert verdict.witness is not None
    assert verdict.witness.replay() == Trapped(verdict.witness.trap)
    assert verdict.witness.trap.pc in {failure.pc for failure in verdict.failures}
    assert verify(program, smt=False).kind is VerdictKind.UNKNOWN


NO_WITNESS = """
    call 8
    r1 = r0
    r0 = 0
    if r1 != 3 goto out
    r0 = *(u8 *)(r10 - 1)
out:
    exit
"""
"""Nothing that a witness consists of sets the CPU."""


def test_what_does_not_trap_is_no_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    program = assemble(NO_WITNESS)
    assert verify(program).kind is VerdictKind.UNKNOWN

    def believing(program: Program, inputs: Scenario) -> Witness:
        return Witness(program, inputs, Trap(TrapKind.UNINITIALISED_MEMORY, 4, "byte 511 was never written"))

    monkeypatch.setattr(search, "witness_of", believing)
    verdict = verify(program)
    assert verdict.witness is not None, "the planted mistake does nothing"
    with pytest.raises(AssertionError, match="the witness gives Returned"):
        verdict.witness.replay()


def test_loops_are_unrolled() -> None:
    verdict = verify(pairs()["loop_jmp32"].twin)
    assert verdict.kind is VerdictKind.UNSAFE
    assert verdict.witness is not None
    assert verdict.witness.trap.kind is TrapKind.OUT_OF_BOUNDS


def test_random_numbers_are_chosen() -> None:
    program = assemble(
        """
        call 7
        r6 = r0
        call 7
        r0 ^= r6
        r1 = 0xdeadbeef ll
        if r0 != r1 goto out
        r0 = *(u8 *)(r10 - 1)
    out:
        r0 = 0
        exit
    """
    )
    witness = verify(program).witness
    assert witness is not None
    assert witness.inputs.randoms[0] ^ witness.inputs.randoms[1] == 0xDEADBEEF


def test_a_map_that_nobody_makes_is_no_witness() -> None:
    """Its definition is wrong, so that no run begins."""
    program = replace(assemble("r0 = *(u8 *)(r10 - 1)\nexit"), maps=(MapSpec("jumps", 3, 4, 9, 4),))
    assert verify(program).kind is VerdictKind.UNKNOWN


def test_the_clock_is_set() -> None:
    text = """
        call 5
        r6 = r0
        call 5
        r0 -= r6
        r1 = r0
        r0 = 0
        if r6 != 12345 goto out
        if r1 != 1000 goto out
        r0 = *(u8 *)(r10 - 1)
    out:
        exit
    """
    witness = verify(assemble(text)).witness
    assert witness is not None
    assert dict(witness.inputs.world) == {"now": 11345}
    assert witness.document()["world"] == {"now": 11345}


def test_the_contents_of_maps_are_chosen() -> None:
    text = """
        r6 = *(u32 *)(r1 + 12)
        *(u32 *)(r10 - 4) = r6
        r2 = r10
        r2 += -4
        r1 = map[idx:0] ll
        call 1
        if r0 == 0 goto out
        r1 = *(u16 *)(r0 + 2)
        if r1 != 999 goto out
        r2 = r10
        r1 = *(u8 *)(r2 + 0)
    out:
        r0 = 0
        exit
    """
    program = replace(assemble(text), maps=(MapSpec("table", 1, 4, 8, 16),))
    witness = verify(program).witness
    assert witness is not None
    ((index, key, value),) = witness.inputs.contents
    assert (index, value[2:4]) == (0, (999).to_bytes(2, "little"))
    assert witness.inputs.context is not None
    assert witness.inputs.context[12:16] == key


def test_it_is_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(examples.path("unsafe_bounds")), "--witness-out", str(tmp_path)]) == 1
    assert "witness: " in capsys.readouterr().out
    (test,) = tmp_path.glob("*.py")
    names: dict[str, object] = {}
    exec(compile(test.read_text(encoding="utf-8"), str(test), "exec"), names)
    (function,) = (value for name, value in names.items() if name.startswith("test_"))
    assert callable(function)
    function()
    (capture,) = tmp_path.glob("*.pcap")
    (frame,) = read_capture(capture)
    program = next(iter(load_object(examples.path("unsafe_bounds")).programs.values()))
    witness = verify(program).witness
    assert witness is not None
    assert frame.data == witness.packet


def test_it_is_shown() -> None:
    witness = verify(UNSAFE[0]).witness
    assert witness is not None
    assert "UNSAFE" in witness._repr_html_()
    assert witness.document()["trap"]["kind"] == witness.trap.kind.value
    assert witness.headline in str(witness)


def test_names_of_objects_are_text_in_what_is_written() -> None:
    """A name is a symbol of an object that nobody trusts: nothing in it may become code of the test."""
    made = replace(UNSAFE[0], name='a"""\nimport os\nos.abort()\nx="""\\')
    witness = verify(made).witness
    assert witness is not None
    text = witness.pytest()
    statements = ast.parse(text).body
    assert all(isinstance(each, ast.Expr | ast.ImportFrom | ast.Assign | ast.FunctionDef) for each in statements)
    (function,) = (each for each in statements if isinstance(each, ast.FunctionDef))
    assert function.name.isidentifier()
    names: dict[str, Any] = {}
    exec(compile(text, "written", "exec"), names)
    assert names["PROGRAM"].name == made.name
    names[function.name]()


@pytest.mark.parametrize("name", ["x²", "été", "1"])
def test_any_name_makes_a_test(name: str) -> None:
    witness = verify(replace(UNSAFE[0], name=name)).witness
    assert witness is not None
    compile(witness.pytest(), "written", "exec")


def test_what_is_written_is_for_the_platform_of_the_program() -> None:
    made = Program("main", "bind", "bind", assemble("r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit").code, platform="windows")
    witness = verify(made).witness
    assert witness is not None
    names: dict[str, Any] = {}
    exec(compile(witness.pytest(), "written", "exec"), names)
    names["test_main_traps"]()


@pytest.mark.parametrize("name", ["a/../../b", "a.b"])
def test_names_of_objects_are_not_paths(name: str, tmp_path: Path) -> None:
    verdict = verify(replace(UNSAFE[0], name=name))
    folder = tmp_path / "in" / "here"
    _write_witnesses(str(folder), "o.o", [verdict])
    stem = "test_o_" + "".join(each if each.isalnum() else "_" for each in name)
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == {
        Path("in", "here", f"{stem}{suffix}") for suffix in (".py", ".pcap")
    }
