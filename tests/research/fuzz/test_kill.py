"""A campaign that is killed loses nothing, and one on a cluster comes to the same."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from prevail_py.research.fuzz import Settings, campaign
from prevail_py.research.fuzz.cluster import cluster

SETTINGS = Settings(oracles=("soundness",), inputs=1, native_every=0, planted="CVE-2017-16995")
SCRIPT = """
import sys
from pathlib import Path
from prevail_py.research.fuzz import Settings, campaign
settings = Settings(oracles=("soundness",), inputs=1, native_every=0, planted="CVE-2017-16995")
campaign(settings, programs=96, batches=1, db=Path(sys.argv[1]))
"""


def content(path: Path) -> list[object]:
    """Everything in the database but times."""
    queries = [
        "SELECT * FROM programs ORDER BY 1",
        "SELECT * FROM corpus ORDER BY id",
        "SELECT * FROM features ORDER BY 1",
        "SELECT * FROM counts ORDER BY 1, 2",
        "SELECT id, signature, problem, effort, digest, smallest, count, programs, round FROM findings ORDER BY id",
        "SELECT * FROM about WHERE key != 'seconds' ORDER BY 1",
    ]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [db.execute(query).fetchall() for query in queries]


def round_of(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            (number,) = db.execute("SELECT value FROM about WHERE key = 'round'").fetchone()
            return int(number)
    except (sqlite3.Error, TypeError):
        return -1  # not there yet


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "db"
    assert campaign(SETTINGS, programs=96, batches=1, db=path).findings
    return path


def test_kill_in_the_middle_loses_nothing(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "db"
    for least in (1, 3):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)])
        deadline = time.monotonic() + 120
        while round_of(path) < least and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert 3 <= round_of(path) < 6
    campaign(SETTINGS, programs=96, batches=1, db=path)
    assert content(path) == content(whole)


def test_a_round_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction for each statement, planted, would leave half a round behind."""
    from prevail_py.research.fuzz.store import Store

    path = tmp_path / "db"
    campaign(SETTINGS, programs=1, batches=1, db=path)
    before = content(path)

    def fail(*arguments: object) -> bool:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_keep", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            campaign(SETTINGS, programs=96, batches=1, db=path)
    assert content(path) == before


def test_several_jobs_come_to_the_same(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    campaign(SETTINGS, programs=96, batches=1, jobs=2, db=tmp_path / "db")
    assert content(tmp_path / "db") == content(whole)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_dask_cluster_comes_to_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    alone = tmp_path / "alone"
    campaign(SETTINGS, programs=32, batches=1, db=alone)
    local = distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with local, cluster("dask", 1, local.scheduler_address):
        campaign(SETTINGS, programs=32, batches=1, jobs=2, backend="dask", db=tmp_path / "db")
    assert content(tmp_path / "db") == content(alone)
