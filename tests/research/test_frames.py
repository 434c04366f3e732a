"""Frames against dpkt, an independent reader and writer of the same headers."""

from __future__ import annotations

import dpkt
import pytest

from prevail_py.research import frames


def test_checksum_of_rfc_1071() -> None:
    data = bytes.fromhex("0001f203f4f5f6f7")  # the example of section 3, whose sum is 0xddf2
    assert frames.checksum(data) == 0xDDF2 ^ 0xFFFF
    assert frames.checksum(b"") == 0xFFFF
    assert frames.checksum(b"\x01") == 0xFEFF
    assert frames.checksum(b"\xff\xff") == 0


@pytest.mark.parametrize("options", [b"", b"\x94\x04\x00\x00", b"\x01\x01\x01"])
@pytest.mark.parametrize("payload", [b"", b"x", b"hello"])
def test_tcp_over_ipv4(options: bytes, payload: bytes) -> None:
    segment = frames.tcp(payload, 1234, 80, options=b"\x02\x04\x05\xb4\x01")
    packet = dpkt.ethernet.Ethernet(frames.ethernet(frames.IPV4, frames.ipv4(frames.TCP, segment, options=options)))
    ip = packet.data
    assert ip.hl == 5 + (len(options) + 3) // 4
    assert ip.len == len(ip)
    assert (ip.data.sport, ip.data.dport, ip.data.data) == (1234, 80, payload)
    assert ip.data.opts == b"\x02\x04\x05\xb4\x01\0\0\0"
    whole = bytes(ip)
    ip.sum = ip.data.sum = 0
    assert bytes(ip) == whole


def test_udp_over_ipv6_behind_an_extension_header() -> None:
    datagram = frames.udp(b"odd", 5000, 53, source=frames.IPV6_A, destination=frames.IPV6_B)
    plain = dpkt.ip6.IP6(frames.ipv6(frames.UDP, datagram))
    whole = bytes(plain)
    plain.data.sum = 0
    assert bytes(plain) == whole
    packet = dpkt.ip6.IP6(frames.ipv6(0, frames.ipv6_extension(frames.UDP, b"\x01\x04\0\0\0\0", datagram)))
    assert packet.extension_hdrs[0].nxt == frames.UDP
    assert packet.data.data == b"odd"


def test_icmp_and_icmpv6() -> None:
    echo = dpkt.icmp.ICMP(frames.icmp(8, b"abc", rest=0x00010002))
    assert (echo.type, echo.data.id, echo.data.seq, echo.data.data) == (8, 1, 2, b"abc")
    assert dpkt.in_cksum(frames.icmp(8, b"abc", rest=0x00010002)) == 0
    packet = dpkt.ip6.IP6(frames.ipv6(frames.ICMPV6, frames.icmpv6(128, b"abc", rest=7)))
    whole = bytes(packet)
    packet.data.sum = 0
    assert bytes(packet) == whole


def test_arp_and_vlan() -> None:
    tagged = frames.vlan(frames.ARP, frames.arp(2), identifier=100, priority=5)
    packet = dpkt.ethernet.Ethernet(frames.ethernet(frames.DOT1Q, tagged))
    assert (packet.vlan_tags[0].id, packet.vlan_tags[0].pri) == (100, 5)
    assert packet.data.op == 2
    assert packet.data.spa == frames.IPV4_A


def test_lies_are_written_as_told() -> None:
    assert frames.ipv4(6, b"", lie_version=7, lie_ihl=2, lie_length=9)[:4] == bytes([0x72, 0, 0, 9])
    assert frames.ipv6(6, b"abc", lie_version=4, lie_length=0x1234)[:6] == bytes([0x40, 0, 0, 0, 0x12, 0x34])
    assert frames.tcp(b"", 1, 2, lie_offset=15)[12] == 0xF0
    assert frames.udp(b"", 1, 2, lie_length=3)[4:6] == b"\0\3"
    assert frames.ipv6_extension(6, b"", b"", lie_length=200)[:2] == bytes([6, 200])
