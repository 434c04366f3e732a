"""Garbage in, an error of one line or a verdict out: a short campaign, and bugs planted for it to find."""

from __future__ import annotations

import multiprocessing
import time
from importlib.resources import files
from pathlib import Path

import pytest

from prevail_py.objects import elf
from prevail_py.objects.errors import ObjectError
from prevail_py.research import garbage
from prevail_py.research.garbage import Outcome, Report, judge, main, run
from prevail_py.research.mutate import mutations


def examples() -> list[bytes]:
    found = sorted(entry.name for entry in files("prevail_py.examples").iterdir() if entry.name.endswith(".o"))
    assert found, "the examples have no objects"
    return [(files("prevail_py.examples") / name).read_bytes() for name in found]


def test_damaged_objects_are_refused_or_loaded() -> None:
    answers: set[str] = set()
    for turn, data in enumerate(examples()):
        for number, mutant in enumerate(mutations(data, turn, 40)):
            outcome = judge(number, mutant, verifying=False)
            assert not outcome.failure, outcome
            answers.update(outcome.answers)
    assert answers >= {"ObjectError", "loaded"}


def test_damaged_objects_are_refused_or_judged() -> None:
    answers: set[str] = set()
    for turn, data in enumerate(examples()):
        for number, mutant in enumerate(mutations(data, 1000 + turn, 4)):
            outcome = judge(number, mutant, seconds=60)
            assert not outcome.failure, outcome
            answers.update(outcome.answers)
    assert answers & {"SAFE", "UNKNOWN", "UNSUPPORTED"}


def test_objects_of_xdp_tools_damaged(xdp_objects: tuple[Path, ...]) -> None:
    for turn, path in enumerate(xdp_objects):
        for number, mutant in enumerate(mutations(path.read_bytes(), turn, 20)):
            outcome = judge(number, mutant, verifying=False)
            assert not outcome.failure, outcome


def test_planted_exception_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(elf, "parse_container", broken)
    outcome = judge(3, examples()[0])
    assert outcome.failure.startswith("KeyError: 'planted' (test_garbage.py:")


def test_planted_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        while True:
            try:
                time.sleep(0.001)
            except Exception:
                continue

    monkeypatch.setattr(elf, "parse_container", broken)
    assert judge(3, examples()[0], seconds=0.1).failure == "hangs"


def test_planted_slowness_and_growth_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(0, examples()[0], verifying=False, seconds=1e-9).failure in ("hangs", "took 0.0 s")
    assert "the process grew to" in judge(0, examples()[0], verifying=False, mebibytes=1).failure

    def broken(data: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(elf, "parse_container", broken)
    assert judge(0, b"").failure == "runs out of memory"


def test_planted_bad_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        raise ObjectError("", "no place")

    monkeypatch.setattr(elf, "parse_container", broken)
    assert judge(0, b"").failure.startswith("the error is not one line with place and reason")


def test_worker_processes_give_the_same_answers() -> None:
    objects = examples()[:2]
    outcomes = {outcome.number: outcome for outcome in run(objects, 8, seed=4, jobs=2, verifying=False)}
    assert sorted(outcomes) == list(range(8))
    for number, outcome in outcomes.items():
        here = judge(number, garbage._mutant(objects, 4, number), verifying=False)
        assert here.answers == outcome.answers


def test_worker_that_dies_is_replaced() -> None:
    died = 0
    numbers = []
    others = set(multiprocessing.active_children())  # such as those of a pool that another test left
    for outcome in run(examples()[:1], 400, jobs=1, verifying=False):
        numbers.append(outcome.number)
        if outcome.failure:
            assert outcome.failure == "the process died (exit code -9)"
            died += 1
        if len(numbers) == 3:
            children = set(multiprocessing.active_children()) - others
            assert children
            for child in children:
                child.kill()
    assert sorted(numbers) == list(range(400))
    assert died <= 1


def test_report_names_maxima_and_failures() -> None:
    report = Report([Outcome(0, ("ObjectError",), 0.5, 30.0), Outcome(1, ("SAFE", "SAFE"), 0.1, 40.0, "took 9 s")])
    text = str(report)
    assert "2 mutants, 1 failures" in text
    assert "slowest: 0.50 s of CPU time (mutant 0)" in text
    assert "largest process: 40 MiB" in text
    assert "FAILURE mutant 1: took 9 s" in text


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.o"
    path.write_bytes(examples()[0])
    assert main([str(path), "--count", "6", "--jobs", "1", "--load-only"]) == 0
    assert capsys.readouterr().out.startswith("6 mutants, 0 failures")
    for arguments in (["--count", "0"], [str(tmp_path / "missing.o")]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
