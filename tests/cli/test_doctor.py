"""``prevail-py doctor``."""

from __future__ import annotations

import json

import pytest

from prevail_py.cli import doctor
from prevail_py.cli.main import main


def test_text_lists_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for name in (
        "Python",
        "pyelftools",
        "clang",
        "libbpf headers",
        "graphviz",
        "chromium",
        "kernel engine",
        "xdp-tools",
        "shared",
    ):
        assert name in text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    for check in document["checks"]:
        assert set(check) == {"name", "found", "required", "detail", "without"}
        assert check["detail"]
        assert check["without"]


def test_missing_program_is_named_with_its_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["doctor"]) == 0  # nothing that is required is missing
    text = capsys.readouterr().out
    assert "graphviz: pictures by graphviz" in text
    assert "clang for BPF: compiling eBPF from C" in text


def test_missing_requirement_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gone = doctor.Finding("pyelftools", False, True, "not installed for this Python", "reading object files")
    monkeypatch.setattr(doctor, "diagnose", lambda: (gone,))
    assert main(["doctor"]) == 1
    assert "MISSING" in capsys.readouterr().out
