"""The script of ``papers/operator_verification``: what it compares, and that its tables are those of the folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from prevail_py.domains import bits
from prevail_py.research.planted import BUGS

FOLDER = Path(__file__).resolve().parents[2] / "papers" / "operator_verification"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("numpy", reason="numpy comes with the research extra")
    spec = importlib.util.spec_from_file_location("reproduce", FOLDER / "reproduce.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_arrays_are_the_shipped_operator(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    script.check_shipped(5)
    monkeypatch.setattr(bits, "_mul", lambda av, am, bv, bm, width: (0, (1 << width) - 1))
    with pytest.raises(AssertionError):
        script.check_shipped(5)


def test_all_algorithms_are_sound_at_three_bits(script: ModuleType) -> None:
    values, masks = script.all_tnums(3)
    tnums = list(zip(values.tolist(), masks.tolist(), strict=True))
    for name, algorithm in script.ALGORITHMS.items():
        for i, (v, m) in enumerate(tnums):
            result = algorithm((values[i : i + 1], masks[i : i + 1]), (values, masks), 3)
            for (w, n), value, mask in zip(tnums, *(x.tolist() for x in result), strict=True):
                for x in (x for x in range(8) if x & ~m == v):
                    for y in (y for y in range(8) if y & ~n == w):
                        assert (x * y & 7) & ~mask == value, (name, v, m, w, n)


def test_the_tables(script: ModuleType) -> None:
    assert script.precision(3).splitlines()[0] == "# Tnum multiplication on all 729 pairs of 3 bits"
    assert "43,046,721 pairs of 8 bits" in (FOLDER / "precision.md").read_text()
    text = (FOLDER / "bugs.md").read_text()
    assert all(f"| {bug.name} |" in text for bug in BUGS.values())


def test_the_gains(script: ModuleType) -> None:
    """At five bits the two multiplications differ on 16 pairs; ours knows a bit more on 12 of them."""
    assert script.gains(5) == {-1: 4, 1: 12}
    assert script.gains(3) == {}
