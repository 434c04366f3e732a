"""Runs: a row for each program, whatever becomes of it, the same rows whatever the number of jobs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.research.corpora.cache import CorpusError
from prevail_py.research.corpora.columns import COLUMNS, TIMES, Row, failure_counts
from prevail_py.research.corpora.examiner import Examiner
from prevail_py.research.corpora.registry import Corpus, Folder
from prevail_py.research.corpora.runs import Options, Run, execute
from prevail_py.research.corpora.sources import Collection, fetch

NAMES = ("xdp_counter", "xdp_tailcall", "unsafe_null")


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    folder = tmp_path / "objects"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.o").write_bytes(examples.path(name).read_bytes())
    (folder / "z_broken.o").write_bytes(b"\x7fELF")
    return fetch(Corpus("few", "some examples", Folder(str(folder))), tmp_path / "cache")


def run(collection: Collection, tmp_path: Path, jobs: int = 1, **options: Any) -> Run:
    return execute([collection], tmp_path / "cache", Options(kernel=False, **options), jobs)


def without_times(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def test_a_row_for_each_program(collection: Collection, tmp_path: Path) -> None:
    found = run(collection, tmp_path)
    assert [(row["object"], row["program"], row["verdict"]) for row in found.rows] == [
        ("unsafe_null", "count_by_queue", "UNSAFE"),
        ("xdp_counter", "xdp_counter", "SAFE"),
        ("xdp_tailcall", "dispatch", "SAFE"),
        ("xdp_tailcall", "handle_ipv4", "SAFE"),
        ("xdp_tailcall", "handle_ipv6", "SAFE"),
        ("z_broken", "", "UNREADABLE"),
    ]
    assert all(tuple(row) == tuple(COLUMNS) for row in found.rows)
    unsafe, safe = found.rows[0], found.rows[1]
    assert failure_counts(unsafe["failures"]) == {"null-dereference": 1}
    assert unsafe["failure"].startswith("null-dereference: ")
    assert "unsafe_null.c:" in unsafe["place"]
    assert (safe["type"], safe["corpus"], safe["failures"], safe["kernel"]) == ("xdp", "few", "", None)
    assert safe["instructions"] == 15
    assert safe["steps"] > 0
    assert safe["seconds"] > 0
    assert len(safe["sha256"]) == 64
    assert found.rows[-1]["reason"].startswith("ELF header: ")
    assert found.about["corpora"]["few"]["objects"] == 4


def test_jobs_change_nothing_but_times(collection: Collection, tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="research extra: joblib is not installed")
    one = run(collection, tmp_path, fresh=True)
    two = run(collection, tmp_path, jobs=2, fresh=True)
    assert without_times(one.rows) == without_times(two.rows)
    with pytest.raises(CorpusError, match="joblib's backend nonesuch: "):
        execute([collection], tmp_path / "cache", Options(kernel=False), 2, "nonesuch")


def test_a_backend_by_name(collection: Collection, tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="research extra: joblib is not installed")
    found = execute([collection], tmp_path / "cache", Options(kernel=False, fresh=True), 2, "threading")
    assert [row["verdict"] for row in found.rows].count("SAFE") == 4


def test_known_rows_are_not_made_again(collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(collection, tmp_path)
    asked: list[str] = []
    verdict = Examiner.verdict

    def counted(self: Examiner, path: Path, program: str, *rest: Any) -> Row:
        asked.append(program)
        return verdict(self, path, program, *rest)

    monkeypatch.setattr(Examiner, "verdict", counted)
    assert run(collection, tmp_path).rows == first.rows
    assert not asked
    run(collection, tmp_path, verifier={"disjuncts": 1})
    assert len(asked) == 5, "other options, other rows"
    monkeypatch.setattr("prevail_py.research.corpora.runs.fingerprint", lambda parts=(): "another verifier")
    run(collection, tmp_path)
    assert len(asked) == 10
    kept = next((tmp_path / "cache" / "results" / "verdicts").iterdir())
    kept.write_text("[")
    run(collection, tmp_path)


def test_the_limit_costs_a_row_and_not_the_run(collection: Collection, tmp_path: Path) -> None:
    rows = run(collection, tmp_path, limit=0.0001).rows
    assert len(rows) >= 4
    assert {row["verdict"] for row in rows} <= {"LIMIT", "CRASH"}
    assert "no verdict within 0.0001 s" in rows[0]["reason"]
    assert [row["verdict"] for row in run(collection, tmp_path).rows].count("SAFE") == 4, "such rows are not kept"


def test_a_child_that_dies_is_replaced(tmp_path: Path) -> None:
    with Examiner(60) as examiner:
        path = examples.path("xdp_counter")
        assert [row["program"] for row in examiner.programs(path)] == ["xdp_counter"]
        assert examiner._process is not None
        os.kill(examiner._process.pid, signal.SIGKILL)
        lost = examiner.verdict(path, "xdp_counter", {})
        assert (lost["verdict"], lost["reason"]) == ("CRASH", "killed by signal 9")
        assert examiner.verdict(path, "xdp_counter", {})["verdict"] == "SAFE"
        failed = examiner.verdict(path, "xdp_counter", {"domain": "nonesuch"})
        assert failed["verdict"] == "CRASH"
        assert failed["reason"].startswith("ValueError: ")


def test_the_kernel_is_asked(kernel: None, collection: Collection, tmp_path: Path) -> None:
    rows = execute([collection], tmp_path / "cache", Options()).rows
    by_name = {row["program"]: row for row in rows}
    counter, unsafe = by_name["xdp_counter"], by_name["count_by_queue"]
    assert (counter["kernel"], unsafe["kernel"]) == ("accept", "reject")
    assert counter["kernel_instructions"] > 0
    assert counter["kernel_seconds"] is not None
    assert "map_value_or_null" in unsafe["kernel_reason"]


PREVAIL = """#!/bin/sh
case "$3" in
count_by_queue) echo "0,0.001,4000"; exit 1;;
dispatch) echo "error: no such thing" >&2; exit 1;;
*) echo "1,0.002,5000";;
esac
"""


def test_the_peer_is_asked_where_it_is_on_the_path(
    collection: Collection, tmp_path: Path, fake_command: Callable[[str, str], Path]
) -> None:
    from prevail_py.research.corpora.peer import Peer

    fake_command("prevail", PREVAIL)
    Peer.on_path.cache_clear()
    try:
        rows = run(collection, tmp_path).rows
    finally:
        Peer.on_path.cache_clear()
    by_name = {row["program"]: row for row in rows}
    assert by_name["xdp_counter"]["prevail"] == "pass"
    assert by_name["count_by_queue"]["prevail"] == "fail"
    assert by_name["dispatch"]["prevail"] == "error"
    assert by_name["dispatch"]["prevail_reason"] == "error: no such thing"
    assert by_name[""]["prevail"] is None


def test_rows_survive_json(collection: Collection, tmp_path: Path) -> None:
    found = run(collection, tmp_path)
    assert json.loads(json.dumps(found.rows)) == found.rows
    assert json.loads(json.dumps(found.about)) == found.about
