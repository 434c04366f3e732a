"""Random programs: what they are made of, and that none of those called SAFE misbehaves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from prevail_py.isa.decode import decode
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Branch, Jump
from prevail_py.research import soundness
from prevail_py.research.generate import FEATURES, LOOP_FEATURES, features_of, program
from prevail_py.research.soundness import Result, Summary, examine_seed, main
from prevail_py.verifier import scalars, transfer


def test_programs_are_reproducible() -> None:
    assert program(5) == program(5)
    assert program(5) != program(6)
    assert program(5, loops=True) != program(5)
    assert len(program(5, size=60).code) > len(program(5, size=5).code)


@pytest.mark.parametrize("loops", [False, True])
def test_programs_can_be_encoded(loops: bool) -> None:
    for seed in range(40):
        code = program(seed, loops=loops).code
        assert decode(encode(code)) == code


def test_every_feature_occurs() -> None:
    plain: Counter[str] = sum((features_of(seed) for seed in range(80)), Counter())
    assert set(plain) == FEATURES
    assert min(plain.values()) >= 5, plain
    looping: Counter[str] = sum((features_of(seed, loops=True) for seed in range(40)), Counter())
    assert set(looping) >= LOOP_FEATURES
    assert set(looping) <= FEATURES | LOOP_FEATURES


def test_only_loops_go_back() -> None:
    def goes_back(seed: int, loops: bool) -> bool:
        return any(isinstance(i, Branch | Jump) and i.offset < 0 for i in program(seed, loops=loops).code)

    assert not any(goes_back(seed, loops=False) for seed in range(50))
    assert sum(goes_back(seed, loops=True) for seed in range(20)) > 15


def test_safe_programs_keep_their_promise() -> None:
    summary = Summary()
    for seed in range(48):
        summary.add(examine_seed(seed, inputs=8))
    for seed in range(12):
        summary.add(examine_seed(seed, size=15, loops=True, inputs=8))
    assert not summary.failures, "\n".join(failure.reproduction() for failure in summary.failures)
    assert summary.verdicts["SAFE"] >= 0.4 * summary.verdicts.total(), str(summary)
    assert summary.verdicts["UNKNOWN"] > 0, str(summary)
    assert summary.covered / summary.verdicts["SAFE"] > 0.4, str(summary)


def test_campaign_reports_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """32-bit comparisons that narrow the whole word: found soon, saved with a listing, exit status 1."""
    monkeypatch.setattr(transfer, "assume", lambda s, c, a, b, width: scalars.assume(s, c, a, b, 64))
    assert main(["--count", "24", "--jobs", "1", "--inputs", "4", "--out", str(tmp_path)]) == 1
    saved = sorted(tmp_path.iterdir())
    assert saved
    assert "prevail_py.research.generate.program(" in saved[0].read_text()
    assert "exit" in saved[0].read_text()
    assert f"{len(saved)} failures" in capsys.readouterr().out


def test_campaign_reports_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(made: object) -> None:
        raise KeyError("nothing")

    monkeypatch.setattr(soundness, "verify", crash)
    assert examine_seed(1) == Result(1, 30, False, "crash", ("KeyError: 'nothing'",))


def test_campaign_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "5", "--jobs", "1", "--inputs", "2", "--size", "8"]) == 0
    assert capsys.readouterr().out.startswith("5 programs")
