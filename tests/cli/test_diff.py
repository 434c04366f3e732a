"""``prevail-py diff``, and ``run`` on another engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli.main import main
from prevail_py.vm.jit.engine import JitEngine
from prevail_py.vm.source import engine
from prevail_py.vm.source.algebra import SourceAlgebra

FIREWALL = str(examples.path("xdp_firewall"))


def test_equal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", FIREWALL, "--inputs", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["input", "bytes", "interpreter", "source", "equal"]
    assert [line.split()[-1] for line in lines[1:]] == ["yes"] * 3


def test_divergence_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._compiled.clear()
    monkeypatch.setattr(SourceAlgebra, "mul", SourceAlgebra.add)
    path = tmp_path / "program.txt"
    path.write_text("r2 = 3\nr0 = 2\nr0 *= 5\nexit\n")
    assert main(["diff", "--asm", str(path), "--inputs", "1"]) == 1
    text = capsys.readouterr().out
    assert "NO" in text
    assert "outcome: interpreter has r0 = 0xa, source has r0 = 0x7" in text
    assert main(["diff", "--asm", str(path), "--inputs", "1", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["divergence"]["engines"] == ["interpreter", "source"]
    assert "r2 = 3" not in document["divergence"]["program"]
    engine._compiled.clear()


@pytest.mark.parametrize("options", [["--engines", "source"], ["--engines", "source,native"], ["--program", "none"]])
def test_bad_input(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", FIREWALL, *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_run_on_the_source_engine(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", FIREWALL, "--pcap", str(examples.TRAFFIC), "--show-maps"]
    assert main(command) == 0
    reference = capsys.readouterr().out
    assert main([*command, "--engine", "source"]) == 0
    assert capsys.readouterr().out == reference
    refused = str(examples.path("unsafe_null"))
    assert main(["run", refused, "--pcap", str(examples.TRAFFIC), "--engine", "source"]) == 1


def test_run_as_native_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What passed the gate runs in this process at once, without a rehearsal."""
    command = ["run", FIREWALL, "--pcap", str(examples.TRAFFIC), "--show-maps"]
    assert main(command) == 0
    reference = capsys.readouterr().out
    monkeypatch.setattr(JitEngine, "rehearse", lambda *_: pytest.fail("rehearsed"))
    assert main([*command, "--engine", "jit-O0"]) == 0
    assert capsys.readouterr().out == reference


def test_diff_with_native_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", FIREWALL, "--engines", "interpreter,jit-O0,jit", "--inputs", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "input",
        "bytes",
        "interpreter",
        "jit-O0",
        "jit",
        "equal",
    ]
