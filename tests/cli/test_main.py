"""The dispatcher: exit codes and what becomes of errors."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prevail_py import __version__, examples
from prevail_py.cli import main as cli
from prevail_py.cli import version


def _one_line(text: str) -> str:
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


def test_version_option_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"prevail-py {__version__}\n"
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out.startswith(f"prevail-py {__version__} (Python ")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert re.search(rf"\n    {command.NAME}\s", text)  # a long name has a line of its own
        assert cli.main([command.NAME, "--help"]) == 0


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["verify"], ["verify", "x.o", "--budget", "0"], ["run", "x.o"]])
def test_wrong_usage_is_bad_input(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("prevail-py")
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["verify", "list", "disasm", "cfg"])
def test_missing_file(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "absent.o")
    assert cli.main([command, path]) == 2
    assert _one_line(capsys.readouterr().err) == f"prevail-py: {path}: file: No such file or directory\n"


@pytest.mark.parametrize("command", ["verify", "list", "disasm", "cfg"])
def test_garbage(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "garbage.o"
    path.write_bytes(b"\x7fELF" + bytes(range(60)))
    assert cli.main([command, str(path)]) == 2
    assert _one_line(capsys.readouterr().err).startswith(f"prevail-py: {path}: ")


def test_directory_instead_of_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert _one_line(capsys.readouterr().err).startswith(f"prevail-py: {tmp_path}: file: ")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_file_names_are_any_bytes(root: Path, tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / os.fsdecode(b"\xff.o")
    path.write_bytes(examples.path("xdp_counter").read_bytes())
    command = [sys.executable, "-m", "prevail_py", "verify", *options, str(path)]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=root, env=ascii_only, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff.o" in done.stdout


def _broken(arguments: argparse.Namespace) -> int:
    raise RuntimeError("two\nlines")


def test_own_defect_asks_for_a_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(version, "run", _broken)
    assert cli.main(["version"]) == 3
    line = _one_line(capsys.readouterr().err)
    assert line == "prevail-py: internal error, please report it: RuntimeError: two lines (--debug shows more)\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "run", _broken)
    with pytest.raises(RuntimeError, match="two"):
        cli.main(["--debug", "version"])


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(version, "run", interrupted)
    assert cli.main(["version"]) == 130
    assert _one_line(capsys.readouterr().err) == "prevail-py: interrupted\n"


def test_closed_pipe_is_no_error(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "long.s"
    source.write_text("r0 = 0\n" * 100_000 + "exit\n")
    pipeline = f'"{sys.executable}" -m prevail_py asm "{source}" | head -n 1; echo "${{PIPESTATUS[0]}}"'
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", pipeline], cwd=root, env=buffered, capture_output=True, text=True, check=True)
    assert done.stdout == "b7 00 00 00 00 00 00 00\n141\n"
    assert done.stderr == ""
