"""The oracle over corpora: rows and sums, a planted violation is seen, what has no answer is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples, load
from prevail_py.research.corpora.examiner import Examiner, _under_oracle
from prevail_py.research.corpora.oracles import Effort, examine_all, oracle_sections, violations_of
from prevail_py.research.corpora.registry import Corpus, Folder
from prevail_py.research.corpora.runs import Run
from prevail_py.research.corpora.sources import Collection, fetch

EFFORT = Effort(runs=3, steered=1, limit=60)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    folder = tmp_path / "objects"
    folder.mkdir()
    for name in ("xdp_counter", "unsafe_null"):
        (folder / f"{name}.o").write_bytes(examples.path(name).read_bytes())
    return fetch(Corpus("few", "some examples", Folder(str(folder))), tmp_path)


def text(run: Run) -> str:
    return "\n".join(f"{part.title}\n{part.text}\n{part.table}" for part in oracle_sections(run))


def test_what_is_safe_is_run_once(collection: Collection, tmp_path: Path) -> None:
    run = examine_all([collection, collection], tmp_path / "cache", EFFORT)
    unsafe, safe = run.rows
    assert (unsafe["program"], unsafe["verdict"], "runs" in unsafe) == ("count_by_queue", "UNSAFE", False)
    assert safe["program"] == "xdp_counter"
    assert safe["runs"] >= 3
    assert safe["steps"] > 0
    assert 0 < safe["covered"] <= safe["blocks"]
    assert not violations_of(run)
    assert "1 SAFE programs were run" in text(run)
    assert "VIOLATIONS" not in text(run)
    assert examine_all([collection], tmp_path / "cache", EFFORT).rows == run.rows


def test_a_planted_violation_is_seen(monkeypatch: pytest.MonkeyPatch, collection: Collection, tmp_path: Path) -> None:
    from prevail_py.verifier.verdict import Invariants

    monkeypatch.setattr(Invariants, "excludes", lambda self, machine: "planted")
    (program,) = load(examples.path("xdp_counter")).programs.values()
    row = _under_oracle(program, 2, 1)
    assert any("planted" in violation for violation in row["violations"])

    def oracle(self: Examiner, path: Path, name: str, runs: int, steered: int) -> dict[str, Any]:
        return row

    monkeypatch.setattr(Examiner, "oracle", oracle)
    run = examine_all([collection], tmp_path / "cache", EFFORT)
    assert violations_of(run)
    assert "VIOLATIONS" in text(run)


def test_what_has_no_answer_is_named(collection: Collection, tmp_path: Path) -> None:
    run = examine_all([collection], tmp_path / "cache", Effort(3, 1, 0.0001))
    assert "Without an answer" in text(run)
    assert "no verdict within 0.0001 s" in text(run)


def test_a_map_without_a_size_is_no_crash() -> None:
    """Some user programs set sizes of maps before they load an object."""
    (program,) = load(examples.path("xdp_flows")).programs.values()
    (hash_map,) = (spec for spec in program.maps if spec.type == 1)
    maps = tuple(replace(spec, max_entries=0) if spec is hash_map else spec for spec in program.maps)
    row = _under_oracle(replace(program, maps=maps), 2, 1)
    assert row["verdict"] == "UNREADABLE"
    assert "room for an element" in row["reason"]
