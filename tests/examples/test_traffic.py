"""The shipped capture: made by its script, of every kind that it promises, with correct checksums."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import dpkt
import pytest

from prevail_py import examples
from prevail_py.examples import make_traffic


def records() -> list[tuple[float, bytes]]:
    with examples.TRAFFIC.open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        assert reader.datalink() == dpkt.pcap.DLT_EN10MB
        return [(float(time), bytes(frame)) for time, frame in reader]


def test_capture_is_what_the_script_writes() -> None:
    assert examples.TRAFFIC.read_bytes() == make_traffic.capture()


def test_script_writes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "again.pcap"
    monkeypatch.setattr("sys.argv", ["make_traffic", str(target)])
    make_traffic.main()
    assert target.read_bytes() == examples.TRAFFIC.read_bytes()


def test_capture_is_small_and_in_order() -> None:
    times = [time for time, _ in records()]
    assert 100 <= len(times) <= 200
    assert times == sorted(times)
    assert examples.TRAFFIC.stat().st_size < 64 * 1024


def test_capture_has_every_kind_of_packet() -> None:
    kinds: Counter[str] = Counter()
    for _, frame in records():
        ether_type, start = frame[12:14].hex(), 14
        while ether_type in ("8100", "88a8") and len(frame) >= start + 4:
            kinds["tag"] += 1
            ether_type, start = frame[start + 2 : start + 4].hex(), start + 4
        kinds[f"type {ether_type}" if len(frame) >= 14 else "no header"] += 1
        if ether_type == "0800" and len(frame) >= start + 20:
            kinds[f"ipv4 {frame[start + 9]}"] += 1
            kinds["ipv4 options"] += frame[start] > 0x45
            kinds["fragment"] += bool(int.from_bytes(frame[start + 6 : start + 8], "big") & 0x1FFF)
            kinds["blocked source"] += frame[start + 12 : start + 16] in examples.FIREWALL_RULES["blocked_sources"]
            service = frame[start + 22 : start + 24] + bytes([frame[start + 9], 0])
            kinds["blocked service"] += service in examples.FIREWALL_RULES["blocked_services"]
            kinds["tcp options"] += frame[start + 9] == 6 and len(frame) > start + 54
        if ether_type == "86dd" and len(frame) >= start + 40:
            kinds[f"ipv6 {frame[start + 6]}"] += 1
    expected = {
        "type 0800", "type 86dd", "type 0806", "no header", "tag", "fragment", "ipv4 options", "tcp options",
        "ipv4 1", "ipv4 6", "ipv4 17", "ipv6 0", "ipv6 6", "ipv6 17", "ipv6 44", "ipv6 58",
        "blocked source", "blocked service",
    }  # fmt: skip
    assert {kind for kind in expected if not kinds[kind]} == set()


def test_checksums_are_those_that_dpkt_computes() -> None:
    """On every whole IPv4 and IPv6 packet without fragments: clear the sums and let dpkt fill them in."""
    checked = 0
    for _, frame in records():
        try:
            network = dpkt.ethernet.Ethernet(frame).data
        except (dpkt.UnpackError, struct.error):
            continue
        whole = bytes(network)
        if isinstance(network, dpkt.ip.IP):
            if network.v != 4 or network.hl < 5 or network.len != len(whole) or network.mf or network.offset:
                continue
            network.sum = 0
        elif not isinstance(network, dpkt.ip6.IP6) or network.nxt not in (6, 17, 58):
            continue
        if not hasattr(network.data, "sum"):
            continue
        network.data.sum = 0
        assert bytes(network) == whole, frame.hex()
        checked += 1
    assert checked >= 80
