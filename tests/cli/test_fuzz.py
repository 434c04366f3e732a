"""The command ``fuzz``: what it prints and writes, and what it says to options that make no sense."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prevail_py.cli.main import main
from prevail_py.research.fuzz import Settings, campaign

PLANTED = ["fuzz", "--planted", "JMP32", "--oracles", "soundness", "--first", "--programs", "300"]


def test_a_finding_becomes_a_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is a test that fails with the fault, and passes without."""
    assert main([*PLANTED, "--out", str(tmp_path), "--markdown", str(tmp_path / "report.md")]) == 1
    printed = capsys.readouterr().out
    assert "FAULT soundness: outside of its invariant" in printed
    assert "## Findings" in (tmp_path / "report.md").read_text()
    (path,) = tmp_path.glob("test_*.py")
    assert re.search(r"if w\d\S* \S+ ", path.read_text())
    (tmp_path / "test_mended.py").write_text(path.read_text().replace("planting('JMP32')", "planting(None)"))
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert f"{path.name}::" in done.stdout


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["fuzz", "--programs", "16", "--oracles", "engines", "--types", "xdp,kprobe", "--json"]
    assert main([*options, "--db", str(tmp_path / "db")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert document["programs"] >= 16
    assert document["settings"]["program_types"] == ["xdp", "kprobe"]
    assert document["answers"]["engines: runs of source"] > 0
    assert document["findings"] == []
    assert main([*options, "--db", str(tmp_path / "db")]) == 0  # it is there already
    assert json.loads(capsys.readouterr().out)["rounds"] == document["rounds"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--oracles", "luck"], "no oracle 'luck' (there are: soundness, engines, kernel-verdict, certificate)"),
        (["--time", "soon"], "not a time: 'soon'"),
        (["--time", "0s"], "not a time: '0s'"),
        (["--types", "xdq"], "no program type 'xdq'"),
        (["--engines", "source"], "there have to be two engines to compare"),
        (["--engines", "source,kernel"], "campaigns run nothing in the kernel"),
        (["--planted", "CVE-1"], "no fault 'CVE-1'"),
        (["--backend", "pigeons"], "backend 'pigeons': "),
        (["--scheduler", "tcp://localhost:1"], "only dask and ray have a scheduler"),
        (["--db", "/nowhere/at/all"], "/nowhere/at/all: unable to open database file"),
        (["--jobs", "0"], "invalid positive value: '0'"),
    ],
)
def test_bad_options(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--programs", "1", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_another_database_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "db"
    campaign(Settings(oracles=("engines",), inputs=1), programs=1, batches=1, db=path)
    assert main(["fuzz", "--programs", "1", "--db", str(path)]) == 2
    error = capsys.readouterr().err
    assert f"{path}: a campaign with inputs 1, not 3" in error
    path.write_bytes(b"not a database, whatever its name may be\n" * 20)
    assert main(["fuzz", "--programs", "1", "--db", str(path)]) == 2
    assert "file is not a database" in capsys.readouterr().err
