"""``prevail-py asm`` and its inverse, ``disasm --raw``."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from prevail_py.cli.main import main

TEXT = "start: r0 = 0x1122334455667788 ll\nif r1 == 0 goto start\nexit\n"
SLOTS = [
    "18 00 00 00 88 77 66 55",
    "00 00 00 00 44 33 22 11",
    "15 01 fd ff 00 00 00 00",
    "95 00 00 00 00 00 00 00",
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text.s"
    path.write_text(TEXT)
    return path


def test_prints_one_slot_a_line(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asm", str(source)]) == 0
    assert capsys.readouterr().out.splitlines() == SLOTS


def test_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert main(["asm", "-"]) == 0
    assert capsys.readouterr().out.splitlines() == SLOTS


def test_writes_hexadecimal(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.hex"
    assert main(["asm", str(source), "--hex", "-o", str(out)]) == 0
    assert out.read_text().splitlines() == SLOTS


def test_raw_bytes_disassemble(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.bin"
    assert main(["asm", str(source), "-o", str(out)]) == 0
    assert out.read_bytes() == bytes.fromhex("".join(SLOTS))
    assert main(["disasm", "--raw", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0: r0 = 0x1122334455667788 ll",
        "2: if r1 == 0 goto -3 <0>",
        "3: exit",
    ]


def test_names_the_line_that_does_not_assemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.s"
    path.write_text("r0 = 0\nr11 = 1\nexit\n")
    assert main(["asm", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"prevail-py: {path}: line 2: ")


def test_text_that_is_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "binary.s"
    path.write_bytes(b"exit\xff\xfe")
    assert main(["asm", str(path)]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_raw_bytes_that_do_not_decode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.bin"
    path.write_bytes(bytes(8))
    assert main(["disasm", "--raw", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"prevail-py: {path}: slot 0: ")
