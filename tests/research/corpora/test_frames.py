"""Runs are written and read back, become DataFrames, and are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prevail_py.research.corpora.cache import CorpusError
from prevail_py.research.corpora.columns import COLUMNS, Row
from prevail_py.research.corpora.frames import compare, frame, read, write_json, write_parquet
from prevail_py.research.corpora.runs import Run

MakeRow = Callable[..., Row]
MakeRun = Callable[[list[Row]], Run]


@pytest.fixture
def run(make_row: MakeRow, make_run: MakeRun) -> Run:
    return make_run(
        [
            make_row(program="a", instructions=3, seconds=0.5, kernel="accept"),
            make_row(program="b", verdict="UNKNOWN", failures="x 2", seconds=1.0),
        ]
    )


def test_json_and_back(run: Run, tmp_path: Path) -> None:
    write_json(run, tmp_path / "run.json")
    assert read(tmp_path / "run.json") == run
    before = (tmp_path / "run.json").read_bytes()
    write_json(read(tmp_path / "run.json"), tmp_path / "run.json")
    assert (tmp_path / "run.json").read_bytes() == before


def test_parquet_and_back(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="research extra: pyarrow is not installed")
    write_parquet(run, tmp_path / "run.parquet")
    assert read(tmp_path / "run.parquet") == run


def test_a_frame_has_the_columns_and_their_types(run: Run) -> None:
    pytest.importorskip("pandas", reason="research extra: pandas is not installed")
    found = frame(run)
    assert list(found.columns) == list(COLUMNS)
    assert found.instructions.sum() == 3
    assert found.instructions.isna().tolist() == [False, True]
    assert found[found.kernel == "accept"].program.tolist() == ["a"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "{", "not a run"),
        ("x.json", "[]", "not a run"),
        ("x.json", '{"schema": 9}', "schema 9 is not 1"),
        ("x.json", '{"schema": 1, "about": {}, "rows": [{"colour": 1}]}', "no such column: colour"),
        ("x.parquet", "PAR1", "not a run"),
    ],
)
def test_what_is_no_run_is_said_in_a_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="research extra: pyarrow is not installed")
    (tmp_path / name).write_text(text)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / name)
    with pytest.raises(CorpusError, match="No such file"):
        read(tmp_path / "missing.json")


def test_a_comparison(run: Run, make_row: MakeRow, make_run: MakeRun) -> None:
    later = make_run(
        [
            make_row(program="a", verdict="UNKNOWN", seconds=1.0),
            make_row(program="b", seconds=4.0),
            make_row(program="c"),
        ]
    )
    found = compare(run, later)
    assert found.changes == {("SAFE", "UNKNOWN"): 1, ("UNKNOWN", "SAFE"): 1}
    assert [(old["program"], new["verdict"]) for old, new in found.lost] == [("a", "UNKNOWN")]
    assert [row["program"] for row in found.only_second] == ["c"]
    assert not found.only_first
    assert found.time_ratio == 3.0
    same = compare(run, run)
    assert not same.changed
    assert same.time_ratio == 1.0
