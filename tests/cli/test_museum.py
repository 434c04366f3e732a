"""``prevail-py museum``."""

from __future__ import annotations

import json

import pytest

from prevail_py.cli.main import main


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["museum", "list"]) == 0
    out = capsys.readouterr().out
    assert "CVE-2021-3490" in out
    assert "vbpf/prevail#1149" in out


def test_an_exhibit_with_its_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["museum", "show", "second lookup", "CVE-2020-8835"]) == 0
    out = capsys.readouterr().out
    assert "r6 = r0" in out
    assert "prevail-py prove" in out


def test_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["museum", "run", "unwritten stack", "--oracles", "concrete,certificates", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["oracle"] for row in document["findings"]] == ["concrete", "certificates"]
    assert document["survivors"] == []


def test_a_survivor(capsys: pytest.CaptureFixture[str]) -> None:
    fault = "byte of another register"  # for which there is no time
    assert main(["museum", "run", fault, "--oracles", "engines", "--seconds", "0.001"]) == 1
    assert f"survivor: {fault}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing"], "no exhibit is called 'nothing'"),
        (["run", "--oracles", "nobody"], "no oracle is called 'nobody'"),
        (["run", "--seconds", "0"], "--seconds: more than 0"),
        (["run", "--jobs", "0"], "--jobs: at least 1"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["museum", *arguments]) == 2
    assert message in capsys.readouterr().err
