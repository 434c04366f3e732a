"""The flow counter over ten thousand packets: every engine gives the right verdicts and the right table."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.host.capture import Captured, CaptureWriter
from prevail_py.host.xdp import XdpReport, replay
from prevail_py.objects.elf import load_object
from prevail_py.research.packets import packets
from prevail_py.verifier import verify
from prevail_py.vm.environment import Environment

PROGRAM = load_object(examples.path("xdp_flows")).programs["xdp_flows"]
ROOM = 512
IPV4, TCP, UDP = b"\x08\x00", 6, 17


def frames() -> list[bytes]:
    """10,000 packets that a test run of Linux takes."""
    return list(islice((packet for packet in packets(2026, 20_000) if 14 <= len(packet) <= 1514), 10_000))


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flows") / "flows.pcap"
    with CaptureWriter(path) as writer:
        for number, data in enumerate(frames()):
            writer.write(Captured(1_000_000 * number, data))
    return path


def expected() -> tuple[list[str], dict[bytes, bytes]]:
    """The verdicts and the table by a reading of the C source that shares nothing with any engine."""
    table: dict[bytes, tuple[int, int]] = {}
    verdicts = []
    for data in frames():
        verdict = "PASS"
        if len(data) >= 34 and data[12:14] == IPV4 and data[14] & 15 == 5:
            ports = bytes(4)
            if data[23] in (TCP, UDP):
                ports = data[34:38]
            key = data[26:34] + ports + data[23:24] + bytes(3)
            if len(ports) < 4 or (key not in table and len(table) == ROOM):
                verdict = "DROP"
            else:
                count, size = table.get(key, (0, 0))
                table[key] = count + 1, size + len(data)
        verdicts.append(verdict)
    return verdicts, {key: struct.pack("<QQ", *value) for key, value in table.items()}


def flows(engine: str, capture: Path, cpus: int = 1) -> XdpReport:
    return replay(PROGRAM, verify(PROGRAM), capture, engine=engine, environment=Environment(cpus=cpus))


def check(report: XdpReport) -> None:
    verdicts, table = expected()
    assert [result.action for result in report.results] == verdicts
    held = report.maps[0]
    assert isinstance(held, Mapping)
    assert dict(held) == table
    assert report.counts["DROP"] > 1000  # the table was full, and headers were cut
    assert len(table) == ROOM


@pytest.mark.parametrize("engine", ["interpreter", "source", "jit"])
def test_on_our_engines(engine: str, capture: Path) -> None:
    check(flows(engine, capture))


@pytest.mark.usefixtures("kernel")
def test_on_the_kernel(capture: Path) -> None:
    check(flows("kernel", capture))
