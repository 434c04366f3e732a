"""Conformance vectors in the kernel: those that guard and verifier let through return what is expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from prevail_py.research.conformance import Vector, load_cases, load_vectors, parse_cases
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer
from prevail_py.vm.kernel.engine import Session
from prevail_py.vm.kernel.memory import run_memory

pytestmark = pytest.mark.usefixtures("kernel")


def compare(vectors: Sequence[Vector]) -> tuple[list[str], dict[str, KernelAnswer]]:
    """(disagreements in words, answers about the vectors that were not run)."""
    wrong, unasked = [], {}
    with Session() as session:
        for vector in vectors:
            runs = run_memory(session, vector.code, (vector.memory,))
            if isinstance(runs, KernelAnswer):
                unasked[vector.name] = runs
            elif runs[0].value != vector.result:
                wrong.append(f"{vector.name}: {runs[0].value:#x} in the kernel, expected {vector.result!r}")
    return wrong, unasked


def test_official_vectors(shared_dir: Path) -> None:
    vectors = load_vectors(shared_dir / "conformance")
    wrong, unasked = compare(vectors)
    assert wrong == []
    assert len(vectors) == 313
    # Linux refuses what the RFC gives a meaning to: constant shifts by the width or more; and callx.
    assert len(unasked) == 13
    for name, answer in unasked.items():
        assert answer.kind is AnswerKind.REJECT, f"{name}: {answer}"
        expected = "unknown opcode 8d" if name == "callx" else "invalid shift"
        assert expected in answer.reason, f"{name}: {answer}"


def test_own_vectors(root: Path) -> None:
    cases = load_cases(root / "tests" / "conformance")
    assert cases
    wrong, unasked = compare([case.vector for case in cases])
    assert wrong == []
    assert len(unasked) < len(cases) / 4, unasked


def test_a_wrong_expectation_is_seen() -> None:
    (case,) = parse_cases("{ r0=-7 r1=2 } r0 s/= r1 -> -3")
    assert compare([case.vector]) == ([], {})
    (message,), _ = compare([replace(case.vector, result=2**64 - 4)])
    assert "0xfffffffffffffffd in the kernel" in message
