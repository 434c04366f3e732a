"""The interpreter on conformance vectors: those of the public suite, and this project's own.

Both of our engines read one text of the semantics, so a mistake there is one that they share: the vectors find those.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from prevail_py import words
from prevail_py.isa.decode import decode
from prevail_py.research.conformance import Vector, load_cases, load_vectors
from prevail_py.vm import effects
from prevail_py.vm.engines import engine
from prevail_py.vm.interpreter import run_memory
from prevail_py.vm.outcome import Returned
from prevail_py.vm.source import access, arithmetic, runtime
from prevail_py.words import Algebra, Comparison, IntAlgebra, OpKind, WordOp

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


# Planted bugs -------------------------------------------------------------------------------------------------------

W = TypeVar("W")
B = TypeVar("B", covariant=True)


def evaluate_wrong(wrong: Callable[[WordOp], WordOp]) -> Callable[[pytest.MonkeyPatch], None]:
    """Another operation in place of the right one, in both engines."""

    def evaluate(algebra: Algebra[W, B], op: WordOp, args: tuple[W, ...]) -> W:
        return words.evaluate(algebra, wrong(op), args)

    def plant(patch: pytest.MonkeyPatch) -> None:
        for module in (effects, arithmetic):
            patch.setattr(module, "evaluate", evaluate)

    return plant


def shift_mask(op: WordOp) -> WordOp:
    return WordOp(op.kind, 64) if op.kind is OpKind.RSH else op


def zero_extension(op: WordOp) -> WordOp:
    return WordOp(op.kind, 64) if op.kind is OpKind.ADD else op


def sign_extension(op: WordOp) -> WordOp:
    return WordOp(OpKind.ZEXT, op.source) if op.kind is OpKind.SEXT else op


def least_by_minus_one(patch: pytest.MonkeyPatch) -> None:
    def sdiv(a: int, b: int, width: int) -> int:
        ones = (1 << width) - 1
        return ones >> 1 if (a, b) == (ones // 2 + 1, ones) else original(words.INT, a, b, width)

    original = IntAlgebra.sdiv
    patch.setattr(IntAlgebra, "sdiv", lambda self, *arguments: sdiv(*arguments))
    patch.setitem(runtime.NAMES, "sdiv", sdiv)


def cmpxchg_compares_all_of_r0(patch: pytest.MonkeyPatch) -> None:
    def compare(algebra: Algebra[W, B], comparison: Comparison, a: W, b: W, width: int) -> B:
        return words.compare(algebra, comparison, a, b, 64 if comparison is Comparison.EQ else width)

    for module in (effects, access):
        patch.setattr(module, "compare", compare)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "shift mask": evaluate_wrong(shift_mask),
    "zero extension": evaluate_wrong(zero_extension),
    "sign extension": evaluate_wrong(sign_extension),
    "least by minus one": least_by_minus_one,
    "cmpxchg32": cmpxchg_compares_all_of_r0,
}


@pytest.mark.parametrize("name", ["interpreter", "source"])
@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_in_the_shared_semantics(bug: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[bug](monkeypatch)
    chosen = engine(name)
    wrong = [v.name for v in OWN if chosen.run_memory(decode(v.code), v.memory).outcome != Returned(v.result or 0)]
    assert 0 < len(wrong) < len(OWN) // 2
