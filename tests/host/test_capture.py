"""Capture files: both formats, both byte orders, and damage of every kind."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prevail_py import examples
from prevail_py.host.capture import Captured, CaptureError, CaptureWriter, read_capture

FRAMES = [
    Captured(1_700_000_000_123_456, b"first frame"),
    Captured(1_700_000_001_000_000, b""),
    Captured(0, bytes(2000)),
]


def pcap(order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1, scale: int = 1) -> bytes:
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for time, data in FRAMES:
        seconds, micros = divmod(time, 1_000_000)
        out += struct.pack(order + "IIII", seconds, micros * scale, len(data), len(data)) + data
    return out


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def pcapng(order: str = "<", link: int = 1) -> bytes:
    out = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += block(order, 1, struct.pack(order + "HHI", link, 0, 65535))
    out += block(order, 0xBAD, b"a kind of block that nobody knows")
    for time, data in FRAMES:
        head = struct.pack(order + "IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(data), len(data))
        out += block(order, 6, head + data)
    return out


def write(folder: Path, content: bytes) -> Path:
    path = folder / "capture"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_formats(tmp_path: Path, order: str) -> None:
    assert read_capture(write(tmp_path, pcap(order))) == FRAMES
    assert read_capture(write(tmp_path, pcap(order, magic=0xA1B23C4D, scale=1000))) == FRAMES
    assert read_capture(write(tmp_path, pcapng(order))) == FRAMES
    assert read_capture(str(write(tmp_path, pcap(order)))) == FRAMES


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "out.pcap") as writer:
        for frame in FRAMES:
            writer.write(frame)
    assert read_capture(tmp_path / "out.pcap") == FRAMES
    assert (tmp_path / "out.pcap").read_bytes()[24:] == pcap()[24:]


def test_nothing_is_created_for_nothing(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "out.pcap"):
        pass
    assert not (tmp_path / "out.pcap").exists()


def test_no_frames(tmp_path: Path) -> None:
    assert read_capture(write(tmp_path, pcap()[:24])) == []


def test_the_shipped_capture() -> None:
    assert len(read_capture(Path(examples.__file__).with_name("traffic.pcap"))) == 150


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "malformed record|ends in the middle|not a capture file"),
        (b"\x7fELF" + bytes(100), "not a capture file"),
        (pcap()[:30], "the file ends in the middle of a record"),
        (pcap()[:-1], "the file ends in the middle of a record"),
        (pcap()[: 24 + 16], "the file ends in the middle of a record"),
        (pcapng()[:-4], "the file ends in the middle of a record"),
        (pcap(link=113), "link type 113, not Ethernet"),
        (pcapng(link=113), "link type 113, not Ethernet"),
    ],
)
def test_damage(tmp_path: Path, content: bytes, reason: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(CaptureError, match=rf"^{path}: ({reason})"):
        read_capture(path)


@pytest.mark.parametrize("content", [pcap(), pcapng()], ids=["pcap", "pcapng"])
def test_every_truncation_is_an_error_or_ends_a_record(tmp_path: Path, content: bytes) -> None:
    """No prefix yields anything but a prefix of the frames, none of them cut."""
    for end in range(len(content) - 2000):
        try:
            frames = read_capture(write(tmp_path, content[:end]))
        except CaptureError:
            continue
        assert frames == FRAMES[: len(frames)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([pcap(), pcapng()]), st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=4))
def test_any_damage_is_a_capture_error(tmp_path: Path, content: bytes, changes: list[tuple[int, int]]) -> None:
    image = bytearray(content)
    for offset, value in changes:
        image[offset] = value
    path = write(tmp_path, bytes(image))
    with contextlib.suppress(CaptureError):
        assert all(isinstance(frame.data, bytes) for frame in read_capture(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_capture(tmp_path / "none")
