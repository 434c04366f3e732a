"""Campaigns: what they find, that they can be repeated, interrupted, and done elsewhere."""

from __future__ import annotations

import doctest
import importlib
from itertools import count
from pathlib import Path
from time import process_time

import pytest

from prevail_py.research.fuzz import Report, Settings, StoreError, campaign, problems
from prevail_py.research.fuzz.batch import Outcome, Task, run
from prevail_py.research.fuzz.case import from_document
from prevail_py.research.fuzz.planting import planting
from prevail_py.words import OpKind, WordOp

QUICK = Settings(oracles=("soundness",), inputs=2, native_every=0)


def essence(report: Report) -> object:
    """All of a report that does not depend on time."""
    findings = [(found.signature, found.smallest, found.count, found.programs) for found in report.findings]
    return report.programs, report.verdicts, report.answers, report.branches, report.kept, findings


@pytest.mark.parametrize("name", ["JMP32", "CVE-2017-16995", "CVE-2017-17853"])
def test_a_planted_fault_is_found(name: str) -> None:
    report = campaign(QUICK, programs=400, planted=name, first=True)
    assert report.first is not None, report
    assert report.first.programs <= report.programs
    program = from_document(report.first.smallest)
    assert program.instruction_count < from_document(report.first.document).instruction_count
    with planting(name):
        assert [each.kind for each in problems(program, "soundness", report.first.effort)] == [
            report.first.problem.kind
        ]
    assert not problems(program, "soundness", report.first.effort)


def test_nothing_stays_planted() -> None:
    """Caches would remember what the code with the fault said: the same programs are looked at without it."""
    with_fault = campaign(QUICK, programs=96, planted="JMP32", batches=2, first=True)
    assert with_fault.findings
    assert not campaign(QUICK, programs=with_fault.programs, batches=2).findings


def test_it_can_be_repeated() -> None:
    first, second = (campaign(QUICK, programs=64, batches=2) for _ in range(2))
    assert essence(first) == essence(second)
    assert first.kept > 5
    assert first.branches > 500


def test_rounds_are_kept(tmp_path: Path) -> None:
    """A campaign in two parts comes to what it comes to in one; what is there is not done again."""
    whole = campaign(QUICK, programs=96, batches=2, db=tmp_path / "whole")
    campaign(QUICK, programs=32, batches=2, db=tmp_path / "parts")
    parts = campaign(QUICK, programs=96, batches=2, db=tmp_path / "parts")
    assert essence(parts) == essence(whole)
    assert parts.rounds == whole.rounds == 3
    assert campaign(QUICK, programs=96, batches=2, db=tmp_path / "whole").rounds == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_time_ends_a_campaign_within_a_round(jobs: int, tmp_path: Path) -> None:
    """No batch is begun when the time is over; who goes on does the others, and comes to what it comes to in one go."""
    whole = campaign(QUICK, programs=128, batches=4, db=tmp_path / "whole")
    if jobs == 1:
        ticks = count()
        part = campaign(QUICK, seconds=3, batches=4, db=tmp_path / "parts", clock=lambda: float(next(ticks)))
    else:
        pytest.importorskip("joblib")
        part = campaign(QUICK, seconds=0.01, batches=4, db=tmp_path / "parts", jobs=2)
    assert 0 < part.programs < 64
    assert part.rounds == 0
    again = campaign(QUICK, programs=128, batches=4, db=tmp_path / "parts")
    assert essence(again) == essence(whole)


def test_a_batch_is_not_begun_after_its_time() -> None:
    assert run(Task(QUICK, 0, programs=1, until=0.0)) == Outcome(0, is_begun=False)
    assert run(Task(QUICK, 0, programs=1)).is_begun


def test_several_jobs_have_one_clock() -> None:
    with pytest.raises(ValueError, match="no clock in common"):
        campaign(QUICK, jobs=2, clock=process_time)


def test_other_settings_are_another_campaign(tmp_path: Path) -> None:
    campaign(QUICK, programs=1, batches=1, db=tmp_path / "db")
    with pytest.raises(StoreError, match=r"db: a campaign with seed 0, not 1"):
        campaign(Settings(seed=1, oracles=("soundness",), inputs=2, native_every=0), programs=1, db=tmp_path / "db")
    (tmp_path / "text").write_text("no database, but longer than a header of one\n" * 10)
    with pytest.raises(StoreError, match="not a database"):
        campaign(QUICK, programs=1, db=tmp_path / "text")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(oracles=("luck",)), "no oracle 'luck'"),
        (Settings(program_types=("xdq",)), "no program type 'xdq'"),
        (Settings(engines=("interpreter",), oracles=("engines",)), "two engines"),
        (Settings(planted="CVE-1"), "no fault 'CVE-1'"),
        (Settings(planted="prevail_py.nothing:here"), "no fault 'prevail_py.nothing:here'"),
    ],
)
def test_settings_are_checked(settings: Settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        campaign(settings)


@pytest.mark.parametrize("module", ["campaign", "case"])
def test_the_examples(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"prevail_py.research.fuzz.{module}"))
    assert found.attempted
    assert found.failed == 0


def test_a_refusal_without_a_run_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that refuses everything, planted, casts doubt on each SAFE program, and ends no campaign."""
    from prevail_py.checker import check
    from prevail_py.checker.check import Answer

    monkeypatch.setattr(check, "check", lambda program, certificate: Answer("refused", 0, "nothing is accepted"))
    settings = Settings(oracles=("certificate",), certificate_every=1, native_every=0, program_types=("kprobe",))
    report = campaign(settings, programs=16, batches=1, first=True)
    assert report.programs == 16
    assert report.first is None
    assert report.faults == []
    assert report.doubts
    assert report.answers["certificate: refused"] == report.verdicts["SAFE"]


def test_what_takes_the_checker_long_is_not_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that gives up at once, planted: it would give up as late for each smaller program."""
    from prevail_py.checker import check

    monkeypatch.setattr(check, "MAX_STEPS", -10_000)
    settings = Settings(oracles=("certificate",), certificate_every=1, native_every=0, program_types=("kprobe",))
    report = campaign(settings, programs=4, batches=1)
    assert report.doubts
    assert all(found.problem.is_tedious and found.smallest == found.document for found in report.doubts)


def test_a_refusal_of_what_goes_wrong_is_a_fault() -> None:
    """A shift that shifts signed bounds, planted: what the checker refuses is seen to go wrong, too."""
    settings = Settings(oracles=("certificate",), certificate_every=1, native_every=0)
    report = campaign(settings, programs=300, planted="CVE-2017-17853", first=True)
    assert report.first is not None
    assert report.first.problem.oracle == "certificate"
    assert report.first.problem.kind != "refused, and no run says why"


def test_planting_leaves_what_there_is_one_of() -> None:
    """Sizes and obligations stand for each other by identity; answers are forgotten."""
    from prevail_py.domains.halves import size_of
    from prevail_py.platforms import platform
    from prevail_py.verifier.proofs.operation_lemmas import bounds_promises
    from prevail_py.verifier.scalars import _folded

    before = bounds_promises(8), size_of(64, 32), platform()
    _folded(WordOp(OpKind.NEG), 1)
    with planting("CVE-2017-17853"):
        assert _folded.cache_info().currsize == 0
        _folded(WordOp(OpKind.NEG), 1)
    assert _folded.cache_info().currsize == 0
    assert all(a is b for a, b in zip(before, (bounds_promises(8), size_of(64, 32), platform()), strict=True))
