"""``prevail-py test-run``, and replay of captures on the kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli.main import main
from prevail_py.host.capture import Captured, CaptureWriter

COUNTER = str(examples.path("xdp_counter"))
PACKET = "00" * 12 + "0800" + "45" + "00" * 45


@pytest.fixture(params=["interpreter", "source", "jit", "kernel"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "kernel":
        request.getfixturevalue("kernel")
    return str(request.param)


def document(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, object]:
    assert main(["test-run", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_packet_and_what_it_leaves(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, COUNTER, "--packet", PACKET, "--repeat", "3", "--engine", engine)
    assert found["engine"] == engine
    runs = found["runs"]
    assert isinstance(runs, list)
    assert [(run["outcome"], run["r0"], run["packet_after"]) for run in runs] == [("returned", 2, PACKET)] * 3
    packets, size = (3).to_bytes(8, "little").hex(), (180).to_bytes(8, "little").hex()
    typed = {"key": 0, "value": {"packets": 3, "bytes": 180}}
    assert found["maps"] == [{"name": "total", "contents": {"00000000": packets + size}, "elements": [typed]}]


def test_context_maps_and_capture(engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture, maps = tmp_path / "in.pcap", tmp_path / "maps.json"
    with CaptureWriter(capture) as writer:
        for number in range(4):
            writer.write(Captured(number, bytes(60 + number)))
    maps.write_text(json.dumps({"total": {"00000000": "0a" + "00" * 15}}))
    context = bytes(12) + b"\1" + bytes(11)
    options = ["--pcap", str(capture), "--maps", str(maps), "--context", context.hex(), "--engine", engine]
    assert main(["test-run", COUNTER, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:5] for line in lines[1:5]] == [[str(60 + n), "r0", "=", "0x2"] for n in range(4)]
    assert "unchanged" in lines[1]
    assert any(line.startswith("total") and '{"packets": 14, "bytes": 246}' in line for line in lines)


def test_a_packet_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "packet"
    path.write_bytes(bytes(range(64)))
    runs = document(capsys, COUNTER, "--packet-file", str(path))["runs"]
    assert isinstance(runs, list)
    assert runs[0]["packet"] == bytes(range(64)).hex()


def test_what_a_program_does_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "program.txt"
    path.write_text("r0 = 0\nr0 = *(u8 *)(r0 + 0)\nexit\n")
    assert main(["test-run", "--asm", str(path), "--json"]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["outcome"], run["trap"], run["pc"]) == ("trapped", "null-dereference", 1)
    assert main(["test-run", "--asm", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "null-dereference at slot 1" in shown
    assert "run 1: " in shown
    assert main(["test-run", "--asm", str(path), "--program", "main"]) == 2


@pytest.mark.usefixtures("kernel")
def test_what_the_kernel_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "program.txt"
    path.write_text("r0 = 0\nr0 = *(u8 *)(r0 + 0)\nexit\n")
    assert main(["test-run", "--asm", str(path), "--engine", "kernel", "--packet", PACKET]) == 2
    assert "reject: R0 invalid mem access 'scalar'" in capsys.readouterr().err
    assert main(["test-run", COUNTER, "--engine", "kernel", "--packet", "00"]) == 2
    assert "on this input" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--packet", "0"],
        ["--context", "xy"],
        ["--pcap", "/none"],
        ["--maps", "/none"],
        ["--program", "none"],
        ["--engine", "none"],
        ["--repeat", "0"],
        ["--repeat", "-1"],
        ["--repeat", "99999999999999"],
        ["--packet-file", "/none"],
        ["--pcap", COUNTER],
    ],
)
def test_bad_input(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-run", COUNTER, *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.usefixtures("kernel")
def test_replay_on_the_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = tmp_path / "in.pcap"
    with CaptureWriter(capture) as writer:
        for number in range(40):
            writer.write(Captured(number, bytes.fromhex(PACKET)))
    command = ["run", str(examples.path("xdp_firewall")), "--pcap", str(capture), "--show-maps"]
    assert main(command) == 0
    reference = capsys.readouterr().out
    assert main([*command, "--engine", "kernel"]) == 0
    shown = capsys.readouterr().out
    actions = [line.split()[:2] for line in reference.splitlines()[:7]]
    assert [line.split()[:2] for line in shown.splitlines()[:7]] == actions
    short = tmp_path / "short.pcap"
    with CaptureWriter(short) as writer:
        writer.write(Captured(0, bytes(60)))
        writer.write(Captured(1, bytes(5)))
    assert main([*command[:2], "--pcap", str(short), "--engine", "kernel"]) == 2
    assert "on input 2, of 5 bytes" in capsys.readouterr().err
