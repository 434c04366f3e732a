"""Programs for hooks of security modules: what they may return depends on the hook, which the target's types tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prevail_py.host.token import subject
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.encode import encode
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.research.elf_writer import BtfWriter, ElfWriter
from prevail_py.verifier import VerdictKind, verify
from prevail_py.vm.interpreter import run
from prevail_py.vm.outcome import Returned, TrapKind, Trapped


def kernel_types(path: Path) -> Path:
    """The types of a kernel with three hooks."""
    w = BtfWriter()
    number = w.integer("int", 4)
    for name, result in (("file_open", number), ("audit_rule_known", number), ("file_free_security", 0)):
        w.add(12, f"bpf_lsm_{name}", w.add(13, word=result))
    path.write_bytes(w.build())
    return path


def returning(value: int, section: str, types: Path | None) -> Program:
    elf = ElfWriter()
    elf.function("main", elf.code(section, encode(assemble_text(f"r0 = {value}\nexit"))), 0, 16)
    return load_object(elf.build(), btf=types).programs["main"]


@pytest.mark.parametrize(
    ("section", "kind", "allowed", "refused"),
    [
        ("lsm/file_open", "error", (0, -1, -4095), (1, -4096)),
        ("?lsm.s/file_open", "error", (0, -4095), (1,)),
        ("lsm/audit_rule_known", "flag", (0, 1), (-1, 2)),
        ("lsm/file_free_security", "void", (0, 4096, -4096), ()),
        ("lsm/not_a_hook", "", (0,), (1, -1)),
        ("lsm", "", (0,), (1, -1)),
        ("lsm_cgroup/file_open", "", (1,), (0, -1)),
    ],
)
def test_what_hooks_take(
    section: str, kind: str, allowed: tuple[int, ...], refused: tuple[int, ...], tmp_path: Path
) -> None:
    types = kernel_types(tmp_path / "types")
    for value in (*allowed, *refused):
        program = returning(value, section, types)
        assert program.hook == kind
        assert any(str(types) in fact for fact in program.assumptions) == bool(kind) == bool(program.target_btf)
        verdict, outcome = verify(program), run(program).outcome
        if value in allowed:
            assert verdict.kind is VerdictKind.SAFE
            assert outcome == Returned(value % 2**64)
        else:
            assert [failure.assertion for failure in verdict.failures] == ["return-range"]
            assert isinstance(outcome, Trapped)
            assert outcome.trap.kind is TrapKind.RETURN_RANGE


def test_without_types_only_what_every_hook_takes() -> None:
    program = returning(-1, "lsm/file_open", None)
    assert (program.hook, program.assumptions, program.target_btf) == ("", (), "")
    assert verify(program).kind is VerdictKind.UNKNOWN
    assert verify(replace(program, hook="error"), smt=False).kind is VerdictKind.SAFE
    assert verify(returning(0, "lsm/file_open", None)).kind is VerdictKind.SAFE


def test_a_signed_verdict_is_for_one_kind_of_hook() -> None:
    program = returning(-1, "lsm/file_open", None)
    assert len({subject(replace(program, hook=kind))["context"] for kind in ("", "error", "flag", "void")}) == 4
