"""Random packets from a grammar, for running programs on: mostly well-formed, and wrong in many small ways.

>>> [len(packet) for packet in packets(seed=1, count=4)] == [len(packet) for packet in packets(seed=1, count=4)]
True

Random bytes hardly get past the first comparison of a type field.  A packet here is drawn from the inside out: a
transport, maybe behind options or extension headers, in a network protocol, maybe behind VLAN tags, in a frame; any
length field may lie, any packet may be cut at any byte, and a few are noise.  Addresses and ports come from small
pools, so that packets meet each other's entries in maps (and a caller can fill maps with them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from prevail_py.research import frames
from prevail_py.research.choices import Choices, Seeded

__all__ = ["IPV4_POOL", "IPV6_POOL", "MAC_POOL", "MAX_LENGTH", "MTU_LENGTH", "PORT_POOL", "packet", "packets"]

T = TypeVar("T")

MTU_LENGTH: Final = 1514
"""Most packets are no longer than this: 1500 bytes behind an Ethernet header."""
MAX_LENGTH: Final = 9014
"""No packet is longer than this: a jumbo frame."""

MAC_POOL: Final = tuple(
    bytes.fromhex(address) for address in ("00005e005301", "00005e005302", "00005e005303", "ffffffffffff")
)
IPV4_POOL: Final = tuple(
    bytes.fromhex(address) for address in ("c0000201", "c0000202", "c6336442", "cb00710d", "e00000fb", "00000000")
)
"""192.0.2.1, 192.0.2.2, 198.51.100.66, 203.0.113.13, 224.0.0.251 and 0.0.0.0."""
IPV6_POOL: Final = tuple(
    bytes.fromhex(address)
    for address in (
        "20010db8000000000000000000000001",
        "20010db8000000000000000000000002",
        "fe800000000000000000000000000001",
        "ff0200000000000000000000000000fb",
    )
)
PORT_POOL: Final = (22, 23, 53, 80, 443, 445, 1900, 5353, 49152, 65535)

_OTHER_TYPES: Final = (0x8847, 0x8864, 0x88CC, 0x9000, 0x0026, 0x0000, 0xFFFF)
_OTHER_PROTOCOLS: Final = (0, 2, 4, 41, 47, 50, 51, 59, 89, 132, 255)
_ICMP_TYPES: Final = (8, 8, 8, 0, 3, 11, 255)
_ICMPV6_TYPES: Final = (128, 128, 129, 1, 135, 136, 255)
_TCP_FLAGS: Final = (0x00, 0x02, 0x10, 0x12, 0x18, 0x04, 0x11, 0xFF)
_EXTENSIONS: Final = (0, 43, 44, 60, 135)
_FRAGMENT_EXTENSION: Final = 44
_HEADERS: Final = 90
"""Headers mostly end before this byte: where cuts and changes matter."""


def packets(seed: int, count: int) -> Iterator[bytes]:
    """``count`` packets that depend on ``seed`` alone; the first ``n`` are the same whatever ``count`` is."""
    random = Seeded(seed)
    for _ in range(count):
        yield packet(random)


def packet(random: Choices) -> bytes:
    """One packet, made of these choices."""
    draw = random.random()
    if draw < 0.01:
        return b""
    if draw < 0.02:
        return random.randbytes(1)
    if draw < 0.05:
        return random.randbytes(random.randrange(2, 80))
    made = _frame(random)
    if _chance(random, 0.03):
        at = random.randrange(min(len(made), _HEADERS))
        made = made[:at] + random.randbytes(1) + made[at + 1 :]
    if _chance(random, 0.15):  # cut somewhere in the headers, or anywhere
        made = made[: random.randrange(min(len(made), _HEADERS) if _chance(random, 0.8) else len(made))]
    elif _chance(random, 0.15):
        made = made.ljust(60, b"\0")
    return made[:MAX_LENGTH]


def _chance(random: Choices, probability: float) -> bool:
    return random.random() < probability


def _lie(random: Choices, bound: int, probability: float = 0.04) -> int | None:
    """Seldom a wrong value below ``bound`` for a field, often at one end of its range; mostly None, the truth."""
    if not _chance(random, probability):
        return None
    return random.choice((0, 1, bound - 1, random.randrange(bound)))


def _pick(random: Choices, usual: Sequence[T], make: Callable[[], T], probability: float = 0.1) -> T:
    """One of the usual values or, with the given probability, any."""
    return make() if _chance(random, probability) else random.choice(usual)


def _payload(random: Choices) -> bytes:
    draw = random.random()
    if draw < 0.25:
        return b""
    if draw < 0.85:
        return random.randbytes(random.randrange(64))
    if draw < 0.98:
        return random.randbytes(random.randrange(1400))
    return random.randbytes(random.randrange(1400, MAX_LENGTH))


def _port(random: Choices) -> int:
    return _pick(random, PORT_POOL, lambda: random.randrange(0x10000))


def _mac(random: Choices) -> bytes:
    return _pick(random, MAC_POOL, lambda: random.randbytes(6))


def _address4(random: Choices) -> bytes:
    return _pick(random, IPV4_POOL, lambda: random.randbytes(4))


def _address6(random: Choices) -> bytes:
    return _pick(random, IPV6_POOL, lambda: random.randbytes(16))


# Frames


def _frame(random: Choices) -> bytes:
    ether_type, payload = _network(random)
    draw = random.random()
    tags = 0 if draw < 0.75 else 1 if draw < 0.87 else 2 if draw < 0.95 else random.randrange(3, 9)
    for depth in range(tags):
        payload = frames.vlan(ether_type, payload, identifier=random.randrange(4096), priority=random.randrange(8))
        outermost = depth == tags - 1
        ether_type = frames.DOT1AD if outermost and _chance(random, 0.5) else frames.DOT1Q
    return frames.ethernet(ether_type, payload, source=_mac(random), destination=_mac(random))


def _network(random: Choices) -> tuple[int, bytes]:
    draw = random.random()
    if draw < 0.52:
        return frames.IPV4, _ipv4(random)
    if draw < 0.86:
        return frames.IPV6, _ipv6(random)
    if draw < 0.93:
        return frames.ARP, _arp(random)
    if draw < 0.95:  # the type says one thing and the content another
        return frames.IPV6, _ipv4(random)
    return _pick(random, _OTHER_TYPES, lambda: random.randrange(0x10000)), _payload(random)


def _arp(random: Choices) -> bytes:
    return frames.arp(
        random.choice((1, 2)), sender=_address4(random), target=_address4(random), sender_mac=_mac(random)
    )


def _ipv4(random: Choices) -> bytes:
    source, destination = _address4(random), _address4(random)
    protocol, payload = _transport(random, source, destination, frames.ICMP)
    fragment = 0x4000 if _chance(random, 0.5) else 0
    if _chance(random, 0.08):
        fragment = random.choice((0x2000, 0x2001, 0x0001, 0x1FFF, random.randrange(0x10000)))
    return frames.ipv4(
        protocol,
        payload,
        source=source,
        destination=destination,
        options=_ipv4_options(random) if _chance(random, 0.2) else b"",
        tos=_pick(random, (0, 0, 46 << 2, 8 << 2), lambda: random.randrange(256)),
        ttl=_pick(random, (64, 128, 1, 0), lambda: random.randrange(256)),
        identification=random.randrange(0x10000),
        fragment=fragment,
        lie_version=_lie(random, 16, 0.02),
        lie_ihl=_lie(random, 16),
        lie_length=_lie(random, 0x10000),
    )


def _ipv6(random: Choices) -> bytes:
    source, destination = _address6(random), _address6(random)
    following, payload = _transport(random, source, destination, frames.ICMPV6)
    if _chance(random, 0.3):
        for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4, 5, 8))):
            kind = random.choice(_EXTENSIONS)
            size = 6 if kind == _FRAGMENT_EXTENSION else random.choice((0, 6, 6, 14, random.randrange(40)))
            payload = frames.ipv6_extension(following, random.randbytes(size), payload, lie_length=_lie(random, 256))
            following = kind
    return frames.ipv6(
        following,
        payload,
        source=source,
        destination=destination,
        traffic_class=_pick(random, (0, 0, 46 << 2), lambda: random.randrange(256)),
        flow=random.randrange(1 << 20),
        hop_limit=_pick(random, (64, 255, 1, 0), lambda: random.randrange(256)),
        lie_version=_lie(random, 16, 0.02),
        lie_length=_lie(random, 0x10000),
    )


# Transports


def _transport(random: Choices, source: bytes, destination: bytes, icmp: int) -> tuple[int, bytes]:
    """The protocol number and the bytes; ``icmp`` is the ICMP of the network protocol."""
    draw = random.random()
    if draw < 0.45:
        segment = frames.tcp(
            _payload(random),
            _port(random),
            _port(random),
            flags=random.choice(_TCP_FLAGS),
            sequence=random.getrandbits(32),
            acknowledgement=random.getrandbits(32),
            window=random.randrange(0x10000),
            options=_tcp_options(random) if _chance(random, 0.6) else b"",
            source=source,
            destination=destination,
            lie_offset=_lie(random, 16),
        )
        return frames.TCP, segment
    if draw < 0.75:
        return frames.UDP, frames.udp(
            _payload(random),
            _port(random),
            _port(random),
            source=source,
            destination=destination,
            lie_length=_lie(random, 0x10000),
        )
    code = random.choice((0, 0, 0, 1, 3))
    rest = random.getrandbits(32)
    if draw < 0.90 and icmp == frames.ICMP:
        return icmp, frames.icmp(random.choice(_ICMP_TYPES), _payload(random), code=code, rest=rest)
    if draw < 0.90:
        kind = random.choice(_ICMPV6_TYPES)
        body = _payload(random)
        return icmp, frames.icmpv6(kind, body, code=code, rest=rest, source=source, destination=destination)
    return _pick(random, _OTHER_PROTOCOLS, lambda: random.randrange(256)), _payload(random)


def _tcp_options(random: Choices) -> bytes:
    """A list of options of at most 40 bytes; one list in five has an option whose length is wrong."""
    options = b""
    while len(options) < 40 and not _chance(random, 0.2):
        options += random.choice(
            (
                b"\x01",
                b"\x01\x01",
                b"\x02\x04" + random.choice((1460, 536, 500, 499, 48, 0, 65535)).to_bytes(2, "big"),
                b"\x03\x03" + bytes([random.randrange(16)]),
                b"\x04\x02",
                b"\x05\x0a" + random.randbytes(8),
                b"\x08\x0a" + random.randbytes(8),
                bytes([random.randrange(9, 256), 6]) + random.randbytes(4),
                b"\x00",
            )
        )
    if _chance(random, 0.2):
        options += bytes([random.randrange(2, 256), random.choice((0, 1, 3, 41, 255))])
    return options[:40]


def _ipv4_options(random: Choices) -> bytes:
    """A list of options of at most 40 bytes; one list in five has an option whose length is wrong."""
    options = b""
    while len(options) < 40 and not _chance(random, 0.4):
        options += random.choice(
            (
                b"\x01",
                b"\x94\x04\x00\x00",  # router alert
                b"\x07\x07\x04" + random.randbytes(4),  # record route
                b"\x44\x0c\x05\x00" + random.randbytes(8),  # time stamps
                b"\x83\x07\x04" + random.choice(IPV4_POOL),  # loose source route
            )
        )
    if _chance(random, 0.2):
        options += bytes([random.randrange(2, 256), random.choice((0, 1, 2, 41, 255))])
    return options[:40]
