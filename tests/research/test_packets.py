"""The packet generator: the same for the same seed, and some of everything in a thousand packets."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from itertools import islice

import pytest

from prevail_py.research.packets import IPV4_POOL, MAX_LENGTH, MTU_LENGTH, PORT_POOL, packets

COUNT = 4000


def test_same_seed_same_packets() -> None:
    first = list(packets(7, 300))
    assert list(packets(7, 300)) == first
    assert list(islice(packets(7, 10_000), 300)) == first
    assert list(packets(8, 300)) != first


def test_packets_do_not_depend_on_the_interpreter() -> None:
    """A seed in a report must mean the same packets tomorrow: change this digest only with the grammar."""
    digest = sha256(b"".join(len(packet).to_bytes(2, "big") + packet for packet in packets(1, 500))).hexdigest()
    assert digest[:16] == "a9515e89d0edef24"


def kinds(packet: bytes) -> set[str]:
    """What is in a packet, by a reader of its own that believes no length."""
    found = {"empty"} if not packet else {"one byte"} if len(packet) == 1 else set()
    if len(packet) > MTU_LENGTH:
        found.add("larger than the MTU")
    if len(packet) < 14:
        return found | {"shorter than Ethernet"}
    ether_type, at, tags = int.from_bytes(packet[12:14], "big"), 14, 0
    while ether_type in (0x8100, 0x88A8) and len(packet) >= at + 4:
        ether_type, at, tags = int.from_bytes(packet[at + 2 : at + 4], "big"), at + 4, tags + 1
    found.add(f"{min(tags, 3)} tags")
    rest = packet[at:]
    match ether_type:
        case 0x0800:
            found |= {"ipv4"} | (ipv4_kinds(rest) if len(rest) >= 20 else {"ipv4 cut"})
        case 0x86DD:
            found |= {"ipv6"} | (ipv6_kinds(rest) if len(rest) >= 40 else {"ipv6 cut"})
        case 0x0806:
            found.add("arp" if len(rest) >= 28 else "arp cut")
        case _:
            found.add("other type")
    return found


def ipv4_kinds(ip: bytes) -> set[str]:
    ihl, length, fragment = ip[0] & 15, int.from_bytes(ip[2:4], "big"), int.from_bytes(ip[6:8], "big")
    found = {f"ipv4 {name}" for name, it_is in (
        ("version lies", ip[0] >> 4 != 4),
        ("header too short", ihl < 5),
        ("header beyond the packet", ihl * 4 > len(ip)),
        ("options", ihl > 5),
        ("length lies", length > len(ip)),
        ("later fragment", bool(fragment & 0x1FFF)),
        ("first fragment", fragment & 0x3FFF == 0x2000),
        ("ttl 0", ip[8] == 0),
        ("known source", ip[12:16] in IPV4_POOL),
        ("new source", ip[12:16] not in IPV4_POOL),
    ) if it_is}  # fmt: skip
    return found | transport_kinds(ip[9], ip[ihl * 4 :], 1, "ipv4")


def ipv6_kinds(ip: bytes) -> set[str]:
    found = {"ipv6 version lies"} if ip[0] >> 4 != 6 else set()
    if int.from_bytes(ip[4:6], "big") > len(ip) - 40:
        found.add("ipv6 length lies")
    following, rest, extensions = ip[6], ip[40:], 0
    while following in (0, 43, 44, 60, 135) and len(rest) >= 8:
        size = 8 if following == 44 else rest[1] * 8 + 8
        following, rest, extensions = rest[0], rest[size:], extensions + 1
    found.add(f"{min(extensions, 4)} extensions")
    return found | transport_kinds(following, rest, 58, "ipv6")


def transport_kinds(protocol: int, data: bytes, icmp: int, name: str) -> set[str]:
    if protocol == 6:
        if len(data) < 20:
            return {f"{name} tcp cut"}
        offset = data[12] >> 4
        found = {f"{name} tcp", "known port" if int.from_bytes(data[2:4], "big") in PORT_POOL else "new port"}
        if offset < 5:
            found.add("tcp header too short")
        if offset * 4 > len(data):
            found.add("tcp header beyond the packet")
        return found | (option_kinds(data[20 : offset * 4]) if data[13] & 2 else set())
    if protocol == 17:
        if len(data) < 8:
            return {f"{name} udp cut"}
        return {f"{name} udp"} | ({"udp length lies"} if int.from_bytes(data[4:6], "big") > len(data) else set())
    if protocol == icmp:
        return {f"{name} icmp", f"{name} icmp echo"} if data[:1] in (b"\x08", b"\x80") else {f"{name} icmp"}
    return {f"{name} other protocol"}


def option_kinds(options: bytes) -> set[str]:
    found = set()
    while options:
        if options[0] in (0, 1):
            found.add("option end" if options[0] == 0 else "option nop")
            options = options[1:]
        elif len(options) < 2 or options[1] > len(options):
            return found | {"option too long"}
        elif options[1] < 2:
            return found | {"option too short"}
        else:
            found.add("option mss" if options[:2] == b"\2\4" else "option other")
            options = options[options[1] :]
    return found


@pytest.fixture(scope="module")
def seen() -> Counter[str]:
    return Counter(kind for packet in packets(2024, COUNT) for kind in kinds(packet))


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("empty", 10),
        ("one byte", 10),
        ("shorter than Ethernet", 100),
        ("larger than the MTU", 10),
        ("0 tags", 2000),
        ("1 tags", 200),
        ("2 tags", 100),
        ("3 tags", 50),
        ("arp", 100),
        ("arp cut", 5),
        ("other type", 100),
        ("ipv4", 1200),
        ("ipv4 cut", 30),
        ("ipv4 options", 150),
        ("ipv4 version lies", 10),
        ("ipv4 header too short", 20),
        ("ipv4 header beyond the packet", 5),
        ("ipv4 length lies", 50),
        ("ipv4 first fragment", 20),
        ("ipv4 later fragment", 50),
        ("ipv4 ttl 0", 100),
        ("ipv4 known source", 800),
        ("ipv4 new source", 50),
        ("ipv4 tcp", 300),
        ("ipv4 tcp cut", 20),
        ("ipv4 udp", 300),
        ("ipv4 udp cut", 5),
        ("ipv4 icmp", 100),
        ("ipv4 icmp echo", 40),
        ("ipv4 other protocol", 50),
        ("ipv6", 800),
        ("ipv6 cut", 30),
        ("ipv6 version lies", 10),
        ("ipv6 length lies", 30),
        ("0 extensions", 500),
        ("1 extensions", 80),
        ("2 extensions", 40),
        ("3 extensions", 10),
        ("4 extensions", 10),
        ("ipv6 tcp", 200),
        ("ipv6 udp", 150),
        ("ipv6 icmp", 80),
        ("ipv6 icmp echo", 30),
        ("ipv6 other protocol", 50),
        ("udp length lies", 10),
        ("tcp header too short", 10),
        ("tcp header beyond the packet", 10),
        ("known port", 400),
        ("new port", 50),
        ("option nop", 50),
        ("option end", 30),
        ("option mss", 50),
        ("option other", 80),
        ("option too short", 5),
        ("option too long", 10),
    ],
)
def test_some_of_every_kind(kind: str, least: int, seen: Counter[str]) -> None:
    assert seen[kind] >= least, f"{seen[kind]} of {COUNT}"


def test_sizes() -> None:
    sizes = [len(packet) for packet in packets(3, COUNT)]
    assert max(sizes) <= MAX_LENGTH
    assert all(any(low <= size < low + 100 for size in sizes) for low in range(0, MTU_LENGTH - 100, 100))
