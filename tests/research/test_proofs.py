"""The campaign over all proofs: what its table says of rows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prevail_py.research import proofs
from prevail_py.research.proofs import campaign, main, table
from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, LIMITED, PROVED, Row, cells


def test_the_table_says_how_far_a_limited_cell_is_proved() -> None:
    rows = [
        Row("tnum", "mul", 64, 64, LIMITED, 9.0, 0, "undecided: a | b"),
        Row("tnum", "assume &", 64, 32, PROVED, 1.0),
        Row("tnum", "mul", 8, 8, PROVED, 2.0),
        Row("tnum", "mul", 8, 4, PROVED, 0.5),
    ]
    text = table(rows, 64, "the command")
    assert "| tnum | 2 | 1 | 1 | 0 | 10 |" in text
    assert "| tnum | mul | 64 | undecided: a \\| b | 8 bits |" in text
    assert "Made by `the command` at commit " in text


def test_counterexamples_are_counted() -> None:
    assert "| tnum | 1 | 0 | 0 | 1 | 1 |" in table([Row("tnum", "add", 64, 64, COUNTEREXAMPLE, 1.0)], 64, "x")


def test_a_run_goes_on_where_a_file_ends(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    first = campaign(["zones"], [8], 1, file)  # zones have one width: nothing to do
    assert first == []


def test_no_cell_is_proved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions on low halves, which have a width of their own, are no exception; some cells may be left out."""
    asked: list[str] = []

    def prove_one(task: tuple[str, int, int]) -> Row:
        name, width, index = task
        cell = cells(name, width)[index]
        asked.append(cell.obligation.operation)
        return Row(cell.name, cell.obligation.operation, cell.domain.WIDTH, cell.obligation.bits, PROVED, 1.0)

    monkeypatch.setattr(proofs, "prove_one", prove_one)
    file = tmp_path / "rows"
    rows = campaign(["tnum"], [8], 1, file, ["mul"])
    assert len(rows) == len(asked) == len(cells("tnum", 8)) - 2
    assert "mul" not in asked
    assert "within" in asked
    assert f"| all | {len(rows)} | {len(rows)} | 0 | 0 | {len(rows)} |" in table(rows, 8, "x")
    asked.clear()
    assert campaign(["tnum"], [8], 1, file) != rows
    assert asked == ["mul", "mul"]


def test_several_jobs_need_joblib(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert main(["--domain", "zones", "--jobs", "2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("joblib: not installed")
