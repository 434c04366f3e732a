"""``prevail-py corpus``: what is printed and written, exit codes, errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli.main import main


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREVAIL_PY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "objects"
    folder.mkdir()
    for name in ("xdp_counter", "unsafe_null"):
        (folder / f"{name}.o").write_bytes(examples.path(name).read_bytes())
    return folder


def test_list(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["corpus", "list"]) == 0
    assert "xdp-tools" in capsys.readouterr().out
    (tmp_path / "more.toml").write_text('[mine]\nkind = "folder"\npath = "."\ndescription = "my own"\n')
    assert main(["corpus", "list", "--registry", str(tmp_path / "more.toml")]) == 0
    assert "my own" in capsys.readouterr().out


def test_fetch(capsys: pytest.CaptureFixture[str], objects: Path) -> None:
    assert main(["corpus", "fetch", str(objects)]) == 0
    assert f"{objects}: 2 objects" in capsys.readouterr().out


def test_run_compare_table(capsys: pytest.CaptureFixture[str], objects: Path, tmp_path: Path) -> None:
    one, two = str(tmp_path / "one.json"), str(tmp_path / "two.json")
    assert main(["corpus", "run", str(objects), "--no-kernel", "--json", one]) == 0
    out = capsys.readouterr().out
    assert "UNSAFE" in out
    assert "SAFE" in out
    (objects / "unsafe_null.o").unlink()
    assert main(["corpus", "run", str(objects), "--no-kernel", "--json", two, "--disjuncts", "2"]) == 0
    assert json.loads(Path(two).read_text())["about"]["options"]["verifier"] == {"disjuncts": 2}
    capsys.readouterr()

    assert main(["corpus", "compare", one, two]) == 0
    out = capsys.readouterr().out
    assert "changed verdicts: none" in out
    assert f"programs only in {one}: 1; only in {two}: 0" in out

    assert main(["corpus", "table", one, "--markdown", str(tmp_path / "t.md"), "--title", "Two"]) == 0
    assert (tmp_path / "t.md").read_text().startswith("# Two\n")
    assert main(["corpus", "table", one]) == 0
    assert "Agreement" in capsys.readouterr().out


def edited(path: Path, **columns: str) -> str:
    document = json.loads(path.read_text())
    document["rows"][-1].update(columns)
    target = path.with_name("edited.json")
    target.write_text(json.dumps(document))
    return str(target)


def test_what_is_worse_gives_exit_code_1(capsys: pytest.CaptureFixture[str], objects: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.json"
    assert main(["corpus", "run", str(objects), "--no-kernel", "--json", str(one)]) == 0
    assert main(["corpus", "compare", str(one), edited(one, verdict="UNKNOWN")]) == 1
    wrong = edited(one, expected="failure", message="invalid access to packet")
    assert main(["corpus", "table", wrong]) == 0
    assert main(["corpus", "table", wrong, "--check"]) == 1
    assert "bar not met: expected failures in scope" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "nonesuch"], "no corpus and no directory 'nonesuch'"),
        (["run", "examples", "--domain", "nonesuch"], "--domain: "),
        (["compare", "no.json", "no.json"], "no.json: No such file or directory"),
        (["list", "--registry", "no.toml"], "no.toml: No such file or directory"),
    ],
)
def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["corpus", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
