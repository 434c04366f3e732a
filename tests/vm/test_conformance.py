"""The interpreter on conformance vectors: those of the public suite, and this project's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from prevail_py.isa.decode import decode
from prevail_py.research.conformance import Vector, load_cases, load_vectors
from prevail_py.vm.interpreter import run_memory
from prevail_py.vm.outcome import Returned

OWN = [case.vector for case in load_cases(Path(__file__).resolve().parents[1] / "conformance")]
_SUITE = Path(__file__).resolve().parents[3] / "shared" / "conformance"
SUITE = load_vectors(_SUITE) if _SUITE.is_dir() else []


def check(vector: Vector) -> None:
    assert vector.result is not None
    assert run_memory(decode(vector.code), vector.memory).outcome == Returned(vector.result), vector.asm


@pytest.mark.parametrize("vector", OWN, ids=lambda vector: vector.name)
def test_own_vector(vector: Vector) -> None:
    check(vector)


@pytest.mark.parametrize("vector", SUITE, ids=lambda vector: vector.name)
def test_suite_vector(vector: Vector, shared_dir: Path) -> None:
    check(vector)


def test_suite_is_complete(shared_dir: Path) -> None:
    assert len(SUITE) == 313
