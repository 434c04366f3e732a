"""What a program on socket buffers sees of one, and what helpers need to know beyond that (``struct sk_buff``).

The fields that a program can read are bytes of the context, a ``struct __sk_buff``; helpers change them there.  A fresh
buffer is what PROG_TEST_RUN of Linux makes: from the loopback interface, in one piece, no checksum known to a device.
There, the input always begins with an Ethernet header; here, only for the program types that see one.  The others get
one made up in front of their packet, where helpers find it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from struct import pack_into
from typing import Final

from prevail_py.platforms.model import ProgramType
from prevail_py.vm.packet import Packet

__all__ = [
    "ETHERNET_HEADER",
    "IPV4",
    "IPV6",
    "VLAN_PROTOCOLS",
    "Checksum",
    "SocketBuffer",
    "TunnelKey",
    "ethernet_header",
    "ethernet_type",
    "fresh_fields",
    "has_link_layer",
    "in_ethernet",
]

ETHERNET_HEADER: Final = 14
IPV4: Final = 0x0800
IPV6: Final = 0x86DD
VLAN_PROTOCOLS: Final = frozenset({0x8100, 0x88A8})
_WITHOUT_TYPE, _RAW_802_3 = 0x0004, 0x0001  # ETH_P_802_2, ETH_P_802_3: what Linux calls frames that have a length
_LOOPBACK: Final = 1
_LINK_LAYER: Final = frozenset({"sched_cls", "sched_act"})

# Offsets in struct __sk_buff.
_LEN, _PKT_TYPE, _PROTOCOL, _VLAN_PRESENT, _VLAN_TCI, _VLAN_PROTO, _IFINDEX = 0, 4, 16, 20, 24, 28, 40
_HASH, _TSTAMP, _WIRE_LEN, _TSTAMP_TYPE = 68, 152, 160, 180


class Checksum(Enum):
    """What is known about the checksum of a packet (``ip_summed``), as far as helpers of received packets change it."""

    NONE = "none"
    UNNECESSARY = "unnecessary"


@dataclass(frozen=True, slots=True)
class TunnelKey:
    """How a packet is to be, or was, encapsulated: a ``struct bpf_tunnel_key``, of IPv6 or not, with its flags."""

    content: bytes
    ipv6: bool
    flags: int


def has_link_layer(program_type: ProgramType) -> bool:
    """Whether packets of this program type begin with their Ethernet header."""
    return program_type.context_struct == "__sk_buff" and program_type.name in _LINK_LAYER


def in_ethernet(program_type: ProgramType, packet: bytes | memoryview) -> bytes | memoryview:
    """The packet with its Ethernet header, which is made up where the program type sees none."""
    return packet if has_link_layer(program_type) else ethernet_header(packet) + packet


def fresh_fields(program_type: ProgramType, packet: bytes | memoryview) -> bytes:
    """The ``struct __sk_buff`` of a fresh buffer: what follows from the packet, and the interface; all else is zero."""
    frame = in_ethernet(program_type, packet)
    content = bytearray(program_type.context_size)
    pack_into("<II", content, _LEN, len(packet), _packet_type(frame))
    content[_PROTOCOL : _PROTOCOL + 2] = ethernet_type(frame).to_bytes(2, "big")
    pack_into("<I", content, _IFINDEX, _LOOPBACK)
    pack_into("<I", content, _WIRE_LEN, len(packet))
    return bytes(content)


def ethernet_type(frame: bytes | memoryview) -> int:
    """The protocol of an Ethernet frame, as Linux reads it (``eth_type_trans``); 0 for one that is too short."""
    if len(frame) < ETHERNET_HEADER:
        return 0
    protocol = int.from_bytes(frame[12:14], "big")
    if protocol >= 0x600:
        return protocol
    return _RAW_802_3 if frame[14:16] == b"\xff\xff" else _WITHOUT_TYPE


def ethernet_header(packet: bytes | memoryview) -> bytes:
    """The header made up for a packet that begins with its network layer: the version of IP tells its type."""
    version = packet[0] >> 4 if packet else 0
    return bytes(12) + {4: IPV4, 6: IPV6}.get(version, 0).to_bytes(2, "big")


class SocketBuffer:
    """A view of the context and the packet of one run.

    ``content`` are the bytes of the context.  ``level`` counts checksums that were verified beyond the first;
    ``encapsulated`` says that a tunnel's header was put around the packet, ``hashed`` that the field ``hash`` counts,
    and ``tunnel`` is what the packet is to be encapsulated with.
    """

    __slots__ = ("_content", "checksum", "encapsulated", "hashed", "level", "packet", "tunnel")

    def __init__(self, content: memoryview, packet: Packet, program_type: ProgramType) -> None:
        self._content = content
        self.packet = packet
        self.checksum = Checksum.NONE
        self.level = 0
        self.encapsulated = False
        self.hashed = False
        self.tunnel: TunnelKey | None = None
        if has_link_layer(program_type):
            packet.network = packet.start + ETHERNET_HEADER
        else:
            packet.link = packet.start - ETHERNET_HEADER
            packet.frame[packet.link : packet.start] = ethernet_header(packet.frame[packet.start : packet.end])

    def _get(self, offset: int) -> int:
        return int.from_bytes(self._content[offset : offset + 4], "little")

    def _set(self, offset: int, value: int) -> None:
        self._content[offset : offset + 4] = value.to_bytes(4, "little")

    def update_length(self) -> None:
        """Let the field ``len`` say how long the packet is."""
        self._set(_LEN, len(self.packet))

    @property
    def link_length(self) -> int:
        """The length of the link-layer header."""
        return self.packet.network - self.packet.link

    @property
    def protocol(self) -> int:
        """The type of the network layer, as in an Ethernet header."""
        return int.from_bytes(self._content[_PROTOCOL : _PROTOCOL + 2], "big")

    @protocol.setter
    def protocol(self, value: int) -> None:
        self._content[_PROTOCOL : _PROTOCOL + 4] = value.to_bytes(2, "big") + b"\0\0"

    @property
    def packet_type(self) -> int:
        """For whom the packet is: 0 for us, 1 for all, 2 for a group, 3 for another host, 4 sent by us."""
        return self._get(_PKT_TYPE)

    @packet_type.setter
    def packet_type(self, value: int) -> None:
        self._set(_PKT_TYPE, value)

    @property
    def vlan(self) -> tuple[int, int] | None:
        """The VLAN tag that is not in the packet: its protocol, and its control information."""
        if not self._get(_VLAN_PRESENT):
            return None
        return int.from_bytes(self._content[_VLAN_PROTO : _VLAN_PROTO + 2], "big"), self._get(_VLAN_TCI)

    @vlan.setter
    def vlan(self, tag: tuple[int, int] | None) -> None:
        protocol, control = tag or (0, 0)
        self._set(_VLAN_PRESENT, int(tag is not None))
        self._set(_VLAN_TCI, control)
        self._content[_VLAN_PROTO : _VLAN_PROTO + 4] = protocol.to_bytes(2, "big") + b"\0\0"

    @property
    def hash(self) -> int:
        """The hash of the flow; 0 where it was not computed."""
        return self._get(_HASH)

    @hash.setter
    def hash(self, value: int) -> None:
        self._set(_HASH, value)

    @property
    def ifindex(self) -> int:
        """The interface that the packet is on."""
        return self._get(_IFINDEX)

    def set_time(self, nanoseconds: int, clock: int) -> None:
        """When the packet is to be sent, by which clock."""
        self._content[_TSTAMP : _TSTAMP + 8] = nanoseconds.to_bytes(8, "little")
        self._content[_TSTAMP_TYPE] = clock

    def forget_checksum(self) -> None:
        """What was verified does not count any more."""
        self.checksum, self.level = Checksum.NONE, 0

    def forget_hash(self) -> None:
        """The hash does not count any more."""
        self.hash, self.hashed = 0, False


def _packet_type(frame: bytes | memoryview) -> int:
    """As on the loopback interface, whose address is zero (``eth_skb_pkt_type``)."""
    if not any(frame[:6]):
        return 0
    return 2 if frame[0] & 1 else 3
