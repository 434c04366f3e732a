"""Headers as bytes: one function per protocol, inside out, with correct lengths and checksums unless told otherwise.

>>> frame = ethernet(IPV4, ipv4(UDP, udp(b"hello", 5000, 53)))
>>> len(frame), frame[12:14].hex()
(47, '0800')

Arguments called ``lie_*`` replace a length field by a wrong value; checksums are computed over what is written.
Addresses are bytes in network order.  Defaults are those reserved for documentation (RFC 5737, RFC 3849, RFC 7042).
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = [
    "ARP",
    "DOT1AD",
    "DOT1Q",
    "ICMP",
    "ICMPV6",
    "IPV4",
    "IPV6",
    "TCP",
    "UDP",
    "arp",
    "checksum",
    "ethernet",
    "icmp",
    "icmpv6",
    "ipv4",
    "ipv6",
    "ipv6_extension",
    "tcp",
    "udp",
    "vlan",
]

IPV4: Final = 0x0800
ARP: Final = 0x0806
DOT1Q: Final = 0x8100
DOT1AD: Final = 0x88A8
IPV6: Final = 0x86DD

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58

MAC_A: Final = bytes.fromhex("00005e005301")
MAC_B: Final = bytes.fromhex("00005e005302")
IPV4_A: Final = bytes([192, 0, 2, 10])
IPV4_B: Final = bytes([203, 0, 113, 80])
IPV6_A: Final = bytes.fromhex("20010db8000000000000000000000010")
IPV6_B: Final = bytes.fromhex("20010db8000000010000000000000080")


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): the complement of the one's complement sum of 16-bit words."""
    padded = data + bytes(len(data) % 2)
    words: tuple[int, ...] = struct.unpack(f"!{len(padded) // 2}H", padded)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ethernet(ether_type: int, payload: bytes, *, source: bytes = MAC_A, destination: bytes = MAC_B) -> bytes:
    """An Ethernet II frame, not padded to the minimum of 60 bytes."""
    return destination + source + struct.pack("!H", ether_type) + payload


def vlan(ether_type: int, payload: bytes, *, identifier: int, priority: int = 0) -> bytes:
    """What follows the type 0x8100 or 0x88A8: the tag (IEEE 802.1Q), the type of the payload, and the payload."""
    return struct.pack("!HH", priority << 13 | identifier, ether_type) + payload


def arp(operation: int = 1, *, sender: bytes = IPV4_A, target: bytes = IPV4_B, sender_mac: bytes = MAC_A) -> bytes:
    """An ARP request (1) or reply (2) for IPv4 over Ethernet (RFC 826)."""
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + sender_mac + sender + bytes(6) + target


def ipv4(
    protocol: int,
    payload: bytes,
    *,
    source: bytes = IPV4_A,
    destination: bytes = IPV4_B,
    options: bytes = b"",
    tos: int = 0,
    ttl: int = 64,
    identification: int = 0,
    fragment: int = 0,
    lie_version: int | None = None,
    lie_ihl: int | None = None,
    lie_length: int | None = None,
) -> bytes:
    """An IPv4 packet (RFC 791).

    ``options`` are padded with zeros to whole words, at most 40 bytes; ``fragment`` is the word of flags and offset
    (0x2000: more fragments).
    """
    options += bytes(-len(options) % 4)
    version = 4 if lie_version is None else lie_version
    ihl = 5 + len(options) // 4 if lie_ihl is None else lie_ihl
    length = 20 + len(options) + len(payload) if lie_length is None else lie_length
    fields = struct.pack("!BBHHHBB", version << 4 | ihl, tos, length, identification, fragment, ttl, protocol)
    rest = source + destination + options
    return fields + struct.pack("!H", checksum(fields + rest)) + rest + payload


def ipv6(
    next_header: int,
    payload: bytes,
    *,
    source: bytes = IPV6_A,
    destination: bytes = IPV6_B,
    traffic_class: int = 0,
    flow: int = 0,
    hop_limit: int = 64,
    lie_version: int | None = None,
    lie_length: int | None = None,
) -> bytes:
    """An IPv6 packet (RFC 8200); extension headers are part of the payload."""
    version = 6 if lie_version is None else lie_version
    length = len(payload) if lie_length is None else lie_length
    first = version << 28 | traffic_class << 20 | flow
    return struct.pack("!IHBB", first, length, next_header, hop_limit) + source + destination + payload


def ipv6_extension(next_header: int, content: bytes, payload: bytes, *, lie_length: int | None = None) -> bytes:
    """A hop-by-hop, routing or destination options header: two bytes, then ``content`` padded to whole 8 bytes."""
    content += bytes(-(len(content) + 2) % 8)
    length = (len(content) + 2) // 8 - 1 if lie_length is None else lie_length
    return bytes([next_header, length]) + content + payload


def _with_checksum(protocol: int, before: bytes, after: bytes, source: bytes, destination: bytes) -> bytes:
    """``before``, the checksum and ``after``, summed with the pseudo-header (RFC 9293 3.1, RFC 8200 8.1)."""
    length = len(before) + 2 + len(after)
    pseudo = source + destination + struct.pack("!II", length, protocol)
    return before + struct.pack("!H", checksum(pseudo + before + b"\0\0" + after)) + after


def tcp(
    payload: bytes,
    source_port: int,
    destination_port: int,
    *,
    flags: int = 0x18,
    sequence: int = 1,
    acknowledgement: int = 1,
    window: int = 64240,
    options: bytes = b"",
    source: bytes = IPV4_A,
    destination: bytes = IPV4_B,
    lie_offset: int | None = None,
) -> bytes:
    """A TCP segment (RFC 9293); ``options`` are padded with zeros to whole words, at most 40 bytes."""
    options += bytes(-len(options) % 4)
    offset = 5 + len(options) // 4 if lie_offset is None else lie_offset
    before = struct.pack(
        "!HHIIBBH", source_port, destination_port, sequence, acknowledgement, offset << 4, flags, window
    )
    return _with_checksum(TCP, before, b"\0\0" + options + payload, source, destination)


def udp(
    payload: bytes,
    source_port: int,
    destination_port: int,
    *,
    source: bytes = IPV4_A,
    destination: bytes = IPV4_B,
    lie_length: int | None = None,
) -> bytes:
    """A UDP datagram (RFC 768)."""
    length = 8 + len(payload) if lie_length is None else lie_length
    before = struct.pack("!HHH", source_port, destination_port, length)
    return _with_checksum(UDP, before, payload, source, destination)


def icmp(kind: int, payload: bytes, *, code: int = 0, rest: int = 0) -> bytes:
    """An ICMP message (RFC 792): ``rest`` is its second word, for echo the identifier and the sequence number."""
    after = struct.pack("!I", rest) + payload
    return bytes([kind, code]) + struct.pack("!H", checksum(bytes([kind, code, 0, 0]) + after)) + after


def icmpv6(
    kind: int,
    payload: bytes,
    *,
    code: int = 0,
    rest: int = 0,
    source: bytes = IPV6_A,
    destination: bytes = IPV6_B,
) -> bytes:
    """An ICMPv6 message (RFC 4443)."""
    return _with_checksum(ICMPV6, bytes([kind, code]), struct.pack("!I", rest) + payload, source, destination)
