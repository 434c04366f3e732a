"""Write ``traffic.pcap``: a short, made-up piece of a network's life, for the XDP examples.

Run ``python -m prevail_py.examples.make_traffic [FILE]``.  Every byte, time stamps included, follows from this module,
so the committed capture can be compared with a new one.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prevail_py.examples import FIREWALL_RULES, TRAFFIC
from prevail_py.research.frames import (
    ARP,
    DOT1AD,
    DOT1Q,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    TCP,
    UDP,
    arp,
    ethernet,
    icmp,
    icmpv6,
    ipv4,
    ipv6,
    ipv6_extension,
    tcp,
    udp,
    vlan,
)

__all__ = ["capture", "frames", "main"]

_START: Final = 1_767_225_600  # 2026-01-01 00:00:00 UTC
_GAP: Final = 1_250  # microseconds between packets
_LINKTYPE_ETHERNET: Final = 1
_SNAPLEN: Final = 65535

_ALICE: Final = bytes([192, 0, 2, 10])
_BOB: Final = bytes([192, 0, 2, 20])
_SERVER: Final = bytes([203, 0, 113, 80])
_ALICE6: Final = bytes.fromhex("20010db8000000000000000000000010")
_SERVER6: Final = bytes.fromhex("20010db8000000010000000000000080")
_BLOCKED: Final = tuple(FIREWALL_RULES["blocked_sources"])

_FIN, _SYN, _RST, _PSH, _ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_MSS_1460: Final = bytes([2, 4, 0x05, 0xB4])
_NOP: Final = bytes([1])
_END: Final = bytes([0])
_WINDOW_SCALE: Final = bytes([3, 3, 7])
_SACK_PERMITTED: Final = bytes([4, 2])
_TIMESTAMPS: Final = bytes([8, 10]) + struct.pack("!II", 123456, 0)
_SYN_OPTIONS: Final = _MSS_1460 + _SACK_PERMITTED + _TIMESTAMPS + _NOP + _WINDOW_SCALE
_ROUTER_ALERT: Final = bytes([0x94, 4, 0, 0])  # RFC 2113
_RECORD_ROUTE: Final = bytes([7, 39, 4]) + bytes(36)


def _tcp4(
    source: bytes, destination: bytes, ports: tuple[int, int], payload: bytes = b"", flags: int = _PSH | _ACK,
    options: bytes = b"", ip_options: bytes = b"", sequence: int = 1,
) -> bytes:  # fmt: skip
    segment = tcp(payload, *ports, flags=flags, options=options, source=source, destination=destination,
                  sequence=sequence)  # fmt: skip
    return ethernet(IPV4, ipv4(TCP, segment, source=source, destination=destination, options=ip_options))


def _udp4(source: bytes, destination: bytes, ports: tuple[int, int], payload: bytes, tos: int = 0) -> bytes:
    datagram = udp(payload, *ports, source=source, destination=destination)
    return ethernet(IPV4, ipv4(UDP, datagram, source=source, destination=destination, tos=tos))


def _tcp6(payload: bytes, flags: int = _PSH | _ACK, options: bytes = b"") -> bytes:
    segment = tcp(payload, 49200, 443, flags=flags, options=options, source=_ALICE6, destination=_SERVER6)
    return ipv6(TCP, segment, source=_ALICE6, destination=_SERVER6)


def _udp6(payload: bytes) -> bytes:
    return udp(payload, 5353, 53, source=_ALICE6, destination=_SERVER6)


def _neighbours() -> Iterator[bytes]:
    """ARP, as on every network, padded to the minimum of Ethernet."""
    for sender, target in ((_ALICE, _SERVER), (_BOB, _SERVER), (_ALICE, _BOB)):
        yield ethernet(ARP, arp(1, sender=sender, target=target)).ljust(60, b"\0")
        yield ethernet(ARP, arp(2, sender=target, target=sender)).ljust(60, b"\0")


def _web(client: bytes, port: int, requests: int) -> Iterator[bytes]:
    """One TCP connection to a web server: handshake, requests and answers, end."""
    there, back = (port, 443), (443, port)
    yield _tcp4(client, _SERVER, there, flags=_SYN, options=_SYN_OPTIONS, sequence=0)
    yield _tcp4(_SERVER, client, back, flags=_SYN | _ACK, options=_SYN_OPTIONS, sequence=0)
    yield _tcp4(client, _SERVER, there, flags=_ACK)
    for number in range(requests):
        yield _tcp4(client, _SERVER, there, b"q" * (80 + 13 * number), sequence=1 + 100 * number,
                    options=_NOP + _NOP + _TIMESTAMPS)  # fmt: skip
        yield _tcp4(_SERVER, client, back, bytes(range(256)) * (1 + number % 3), sequence=1 + 1000 * number)
    yield _tcp4(client, _SERVER, there, flags=_FIN | _ACK)
    yield _tcp4(_SERVER, client, back, flags=_FIN | _ACK)


def _names() -> Iterator[bytes]:
    """DNS-sized datagrams in both directions, and voice with its DSCP (46, RFC 3246)."""
    for number in range(8):
        yield _udp4(_ALICE, _SERVER, (5000 + number, 53), bytes([number]) * (24 + number))
        yield _udp4(_SERVER, _ALICE, (53, 5000 + number), bytes([number]) * (96 + 17 * number))
    for number in range(6):
        yield _udp4(_BOB, _ALICE, (16384, 16386), bytes([number]) * 160, tos=46 << 2)


def _pings() -> Iterator[bytes]:
    """Echo requests and replies, one of them larger than usual, and other ICMP messages."""
    for number, size in enumerate((56, 56, 56, 1400)):
        body = bytes(index & 0xFF for index in range(size))
        rest = 0x1234 << 16 | number
        yield ethernet(IPV4, ipv4(ICMP, icmp(8, body, rest=rest), source=_ALICE, destination=_SERVER))
        yield ethernet(IPV4, ipv4(ICMP, icmp(0, body, rest=rest), source=_SERVER, destination=_ALICE))
    quoted = ipv4(UDP, udp(b"", 40000, 33434), source=_ALICE, destination=_SERVER, ttl=1)
    yield ethernet(IPV4, ipv4(ICMP, icmp(11, quoted), source=_BOB, destination=_ALICE))
    yield ethernet(IPV4, ipv4(ICMP, icmp(3, quoted, code=3), source=_SERVER, destination=_ALICE))
    for kind in (128, 129, 135, 136):
        message = icmpv6(kind, bytes(32), source=_ALICE6, destination=_SERVER6)
        yield ethernet(IPV6, ipv6(ICMPV6, message, source=_ALICE6, destination=_SERVER6, hop_limit=255))


def _version_six() -> Iterator[bytes]:
    """TCP and UDP over IPv6, bare and behind extension headers."""
    yield ethernet(IPV6, _tcp6(b"", _SYN, _SYN_OPTIONS))
    for number in range(4):
        yield ethernet(IPV6, _tcp6(b"6" * (100 + number)))
    for number in range(4):
        yield ethernet(IPV6, ipv6(UDP, _udp6(b"v6" * (10 + number)), source=_ALICE6, destination=_SERVER6))
    padding = bytes([1, 4]) + bytes(4)
    hop_by_hop = ipv6_extension(UDP, padding, _udp6(b"behind one header"))
    yield ethernet(IPV6, ipv6(0, hop_by_hop, source=_ALICE6, destination=_SERVER6))
    chain = ipv6_extension(43, padding, ipv6_extension(60, bytes(22), ipv6_extension(UDP, bytes(6), _udp6(b"three"))))
    yield ethernet(IPV6, ipv6(0, chain, source=_ALICE6, destination=_SERVER6))
    fragment = struct.pack("!BBHI", UDP, 0, 1, 0xABCD) + _udp6(b"first fragment")
    yield ethernet(IPV6, ipv6(44, fragment, source=_ALICE6, destination=_SERVER6))
    yield ethernet(IPV6, ipv6(59, b"", source=_ALICE6, destination=_SERVER6))  # no next header


def _tagged() -> Iterator[bytes]:
    """One VLAN tag, two of them, and three, which is one more than most programs read."""
    inner = ipv4(UDP, udp(b"tagged", 7000, 53, source=_ALICE, destination=_SERVER),
                 source=_ALICE, destination=_SERVER)  # fmt: skip
    for identifier in (1, 100, 4094):
        yield ethernet(DOT1Q, vlan(IPV4, inner, identifier=identifier, priority=identifier % 8))
        yield ethernet(DOT1AD, vlan(DOT1Q, vlan(IPV4, inner, identifier=identifier), identifier=2000))
    yield ethernet(DOT1Q, vlan(IPV6, _tcp6(b"tagged"), identifier=6))
    yield ethernet(DOT1Q, vlan(ARP, arp(1, sender=_ALICE, target=_SERVER), identifier=7))
    yield ethernet(DOT1AD, vlan(DOT1Q, vlan(DOT1Q, vlan(IPV4, inner, identifier=3), identifier=2), identifier=1))


def _options() -> Iterator[bytes]:
    """IPv4 and TCP options: whole, unusual, and with lengths that lie."""
    yield _tcp4(_ALICE, _SERVER, (50000, 80), b"alert", ip_options=_ROUTER_ALERT)
    yield _udp4(_ALICE, _SERVER, (50000, 53), b"no options")
    yield ethernet(IPV4, ipv4(ICMP, icmp(8, bytes(8)), source=_ALICE, destination=_SERVER, options=_RECORD_ROUTE))
    for options in (
        _MSS_1460,
        bytes([2, 4, 0x00, 0x30]),  # a segment size of 48
        _NOP * 19 + _END,
        _NOP * 36 + _MSS_1460,
        _NOP + bytes([2, 4, 0x01, 0xF3]) + _NOP,  # 499, at an odd offset
        bytes([254, 0, 0, 0]),  # a length of zero
        bytes([254, 1, 0, 0]),  # a length of one
        bytes([254, 200, 0, 0]),  # a length beyond the header
        _END + _MSS_1460,
    ):
        yield _tcp4(_ALICE, _SERVER, (50001, 80), flags=_SYN, options=options, sequence=0)


def _fragments() -> Iterator[bytes]:
    """A datagram in three pieces; only the first of them has the ports."""
    whole = udp(b"f" * 1200, 6000, 1900, source=_BOB, destination=_SERVER)
    for start, more in ((0, 0x2000), (480, 0x2000), (960, 0)):
        piece = whole[start : start + 480]
        fragment = more | start // 8
        yield ethernet(IPV4, ipv4(UDP, piece, source=_BOB, destination=_SERVER, identification=7, fragment=fragment))


def _blocked() -> Iterator[bytes]:
    """What the firewall's rules are for."""
    for source in _BLOCKED:
        yield _tcp4(source, _ALICE, (4444, 22), flags=_SYN, options=_SYN_OPTIONS, sequence=0)
        yield _udp4(source, _ALICE, (4444, 53), b"blocked by source")
        yield ethernet(IPV4, ipv4(ICMP, icmp(8, bytes(56)), source=source, destination=_ALICE))
    for port in (23, 445):
        for client in (_BOB, _SERVER):
            yield _tcp4(client, _ALICE, (41000, port), flags=_SYN, options=_SYN_OPTIONS, sequence=0)
        yield _tcp4(_BOB, _ALICE, (41000, port), flags=_SYN, ip_options=_ROUTER_ALERT, sequence=0)
        yield _udp4(_BOB, _ALICE, (41000, port), b"the same port, but UDP: passes")
    yield _udp4(_BOB, _ALICE, (41000, 1900), b"M-SEARCH * HTTP/1.1\r\n")
    yield _tcp4(_BOB, _ALICE, (41000, 1900), b"the same port, but TCP: passes")


def _malformed() -> Iterator[bytes]:
    """Packets that end too early or say wrong things about themselves."""
    whole = _tcp4(_ALICE, _SERVER, (50002, 80), b"cut")
    for length in (6, 13, 14, 15, 33, 34, 37, 38, 53, 54):
        yield whole[:length]
    six = ethernet(IPV6, _tcp6(b"cut"))
    for length in (14, 53, 54, 60):
        yield six[:length]
    tagged = ethernet(DOT1Q, vlan(IPV4, ipv4(UDP, udp(b"", 1, 2)), identifier=5))
    for length in (15, 17, 18, 20):
        yield tagged[:length]
    segment = tcp(b"", 50003, 80, source=_ALICE, destination=_SERVER)
    yield ethernet(IPV4, ipv4(TCP, segment, source=_ALICE, destination=_SERVER, lie_ihl=4))
    yield ethernet(IPV4, ipv4(TCP, segment, source=_ALICE, destination=_SERVER, lie_ihl=15))
    yield ethernet(IPV4, ipv4(TCP, segment, source=_ALICE, destination=_SERVER, lie_version=6))
    yield ethernet(IPV4, ipv4(TCP, segment, source=_ALICE, destination=_SERVER, lie_length=20000))
    long_header = tcp(b"", 50004, 80, flags=_SYN, lie_offset=15, source=_ALICE, destination=_SERVER)
    yield ethernet(IPV4, ipv4(TCP, long_header, source=_ALICE, destination=_SERVER))


def _strangers() -> Iterator[bytes]:
    """Other types of Ethernet frames: loopback, LLDP, an 802.3 length, MPLS."""
    for ether_type in (0x9000, 0x88CC, 46, 0x8847):
        yield ethernet(ether_type, bytes(46))


def frames() -> Iterator[bytes]:
    """The packets of the capture, in order."""
    yield from _neighbours()
    yield from _web(_ALICE, 49152, 6)
    yield from _names()
    yield from _pings()
    yield from _version_six()
    yield from _tagged()
    yield from _options()
    yield from _fragments()
    yield from _blocked()
    yield from _malformed()
    yield from _strangers()
    yield from _web(_BOB, 49153, 3)


def capture() -> bytes:
    """The whole file, in the classic pcap format (little-endian, microseconds)."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAPLEN, _LINKTYPE_ETHERNET)]
    for number, frame in enumerate(frames()):
        seconds, microseconds = divmod(number * _GAP, 1_000_000)
        parts.append(struct.pack("<IIII", _START + seconds, microseconds, len(frame), len(frame)))
        parts.append(frame)
    return b"".join(parts)


def main() -> None:
    """Write the capture to the file named on the command line, or over the committed one."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TRAFFIC
    target.write_bytes(capture())


if __name__ == "__main__":
    main()
