"""Helpers that make a socket buffer longer or shorter, or change what it carries.

The originals are in net/core/filter.c and net/core/skbuff.c.

Room is never lacking: Linux allocates more where a packet outgrows its buffer.  No packet is segmented (GSO).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.buffers import ENOTSUPP, buffer_of
from prevail_py.vm.machine import Machine
from prevail_py.vm.socket_buffer import ETHERNET_HEADER, IPV4, IPV6, VLAN_PROTOCOLS, SocketBuffer, ethernet_type

__all__ = [
    "skb_adjust_room",
    "skb_change_head",
    "skb_change_proto",
    "skb_change_tail",
    "skb_change_type",
    "skb_pull_data",
    "skb_vlan_pop",
    "skb_vlan_push",
]

_MAX_LENGTH: Final = 16064  # SKB_MAX_ALLOC with pages of 4096 bytes
_MAX_ROOM: Final = 0xFFF
_HEADERS: Final = {IPV4: 20, IPV6: 40}
_OTHER_HOST: Final = 3
_TAG: Final = 4
_ADDRESSES: Final = 12  # of an Ethernet header
_VLAN_PROTOCOL: Final = 0x8100

# BPF_F_ADJ_ROOM_*
_FIXED_GSO, _ENCAP_V4, _ENCAP_V6, _ENCAP_GRE, _ENCAP_UDP, _NO_CSUM_RESET, _ENCAP_ETH, _DECAP_V4, _DECAP_V6 = (
    1 << bit for bit in range(9)
)
_INNER_LINK_SHIFT: Final = 56
_ROOM_FLAGS: Final = 0x1FF | 0xFF << _INNER_LINK_SHIFT
_SHRINK_FLAGS: Final = _FIXED_GSO | _DECAP_V4 | _DECAP_V6 | _NO_CSUM_RESET


def skb_pull_data(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Make the beginning of the packet accessible, as all of it is already."""
    return 0 if arguments[1].u32 <= len(buffer_of(machine).packet) else -errno.ENOMEM


def skb_change_tail(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Cut the packet off, or add zeros at its end."""
    buffer, length, flags = buffer_of(machine), arguments[1].u32, arguments[2].value
    packet = buffer.packet
    if flags or not max(packet.network - packet.start, 0) <= length <= _MAX_LENGTH:
        return -errno.EINVAL
    if buffer.encapsulated:
        return -ENOTSUPP
    packet.resize(length)
    buffer.update_length()
    return 0


def skb_change_head(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Put zeros in front of the packet, for a link-layer header."""
    buffer, room, flags = buffer_of(machine), arguments[1].u32, arguments[2].value
    if flags or len(buffer.packet) + room > _MAX_LENGTH:
        return -errno.EINVAL
    buffer.packet.insert(0, room)
    buffer.packet.link = buffer.packet.start
    buffer.update_length()
    return 0


def skb_change_proto(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Make room for an IPv6 header where one of IPv4 was, or the other way round; the program writes it."""
    buffer, wanted, flags = buffer_of(machine), _network_order(arguments[1].value), arguments[2].value
    if flags:
        return -errno.EINVAL
    difference = _HEADERS[IPV6] - _HEADERS[IPV4]
    match buffer.protocol, wanted:
        case (0x0800, 0x86DD):
            error = _grow(buffer, buffer.link_length, difference)
        case (0x86DD, 0x0800):
            error = _shrink(buffer, buffer.link_length, difference)
        case _:
            return -ENOTSUPP
    if not error:
        buffer.protocol = wanted
        buffer.forget_hash()
    return error


def skb_change_type(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Say for whom the packet is."""
    buffer, wanted = buffer_of(machine), arguments[1].u32
    if buffer.packet_type > _OTHER_HOST or wanted > _OTHER_HOST:
        return -errno.EINVAL
    buffer.packet_type = wanted
    return 0


def skb_adjust_room(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Make room after the link-layer header or after the network header, or take some away there."""
    buffer, difference = buffer_of(machine), arguments[1].s32
    mode, flags = arguments[2].u32, arguments[3].value
    if machine.program.program_type == "sk_skb":
        return _adjust_front(buffer, difference, mode, flags)
    protocol, packet, size = buffer.protocol, buffer.packet, abs(difference)
    if flags & ~_ROOM_FLAGS:
        return -errno.EINVAL
    if size > _MAX_ROOM:
        return -errno.EFAULT
    if protocol not in _HEADERS or mode > 1:
        return -ENOTSUPP
    offset = buffer.link_length + (_HEADERS[protocol] if mode == 0 else 0)
    shortest = _HEADERS[protocol]
    decapsulated = flags & (_DECAP_V4 | _DECAP_V6)
    if decapsulated:
        if difference >= 0 or decapsulated == _DECAP_V4 | _DECAP_V6:
            return -errno.EINVAL
        shortest = _HEADERS[IPV4 if decapsulated == _DECAP_V4 else IPV6]
    length = packet.end - packet.network
    if difference < 0:
        if size >= length or length - size < shortest:
            return -ENOTSUPP
        error = _decapsulate(buffer, offset, size, flags)
    else:
        if len(packet) + size > _MAX_LENGTH:
            return -ENOTSUPP
        error = _encapsulate(buffer, offset, size, flags)
    if not error and not flags & _NO_CSUM_RESET:
        buffer.forget_checksum()
    return error


def skb_vlan_push(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Tag the packet; a tag that it has already moves into the packet."""
    buffer, protocol = buffer_of(machine), _network_order(arguments[1].value)
    present = buffer.vlan
    if present is not None:
        if buffer.packet.link != buffer.packet.start:
            return -errno.EINVAL
        error = _grow(buffer, _ADDRESSES, _TAG)
        if error:
            return error
        start = buffer.packet.start + _ADDRESSES
        buffer.packet.frame[start : start + _TAG] = b"".join(part.to_bytes(2, "big") for part in present)
        buffer.protocol = present[0]
    buffer.vlan = (protocol if protocol in VLAN_PROTOCOLS else _VLAN_PROTOCOL), arguments[2].value & 0xFFFF
    return 0


def skb_vlan_pop(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Take the outermost tag away; the next one moves out of the packet."""
    buffer = buffer_of(machine)
    if buffer.vlan is not None:
        buffer.vlan = None
    elif buffer.protocol in VLAN_PROTOCOLS:
        taken = _take_tag(buffer)
        if isinstance(taken, int):
            return taken
    if buffer.protocol in VLAN_PROTOCOLS:
        taken = _take_tag(buffer)
        if isinstance(taken, int):
            return taken
        buffer.vlan = taken
    return 0


def _network_order(value: int) -> int:
    """A 16-bit argument that the program has in network byte order."""
    return int.from_bytes((value & 0xFFFF).to_bytes(2, "little"), "big")


def _grow(buffer: SocketBuffer, offset: int, size: int) -> int:
    """Put zeros before what follows the headers up to ``offset``, which move forward."""
    packet = buffer.packet
    if offset > len(packet):
        return -errno.ENOMEM
    packet.insert(offset, size)
    packet.link -= size
    packet.network -= size
    buffer.update_length()
    return 0


def _shrink(buffer: SocketBuffer, offset: int, size: int) -> int:
    """Take away bytes after the headers up to ``offset``, which move back."""
    packet = buffer.packet
    if offset + size > len(packet):
        return -errno.ENOMEM
    packet.remove(offset, size)
    packet.link += size
    packet.network += size
    buffer.update_length()
    return 0


def _encapsulate(buffer: SocketBuffer, offset: int, size: int, flags: int) -> int:
    inner_link = flags >> _INNER_LINK_SHIFT
    outer = flags & (_ENCAP_V4 | _ENCAP_V6)
    link = buffer.link_length
    if outer:
        if outer == _ENCAP_V4 | _ENCAP_V6 or (flags & _ENCAP_GRE and flags & _ENCAP_UDP):
            return -errno.EINVAL
        if flags & _ENCAP_ETH and inner_link < ETHERNET_HEADER:
            return -errno.EINVAL
        if buffer.encapsulated:
            return -errno.EALREADY
        if inner_link > size:
            return -errno.EINVAL
    error = _grow(buffer, offset, size)
    if error or not outer:
        return error
    buffer.encapsulated = True
    buffer.packet.network = buffer.packet.start + link
    buffer.protocol = IPV4 if outer == _ENCAP_V4 else IPV6
    return 0


def _decapsulate(buffer: SocketBuffer, offset: int, size: int, flags: int) -> int:
    if flags & ~_SHRINK_FLAGS:
        return -errno.EINVAL
    error = _shrink(buffer, offset, size)
    if not error and flags & (_DECAP_V4 | _DECAP_V6):
        buffer.protocol = IPV4 if flags & _DECAP_V4 else IPV6
    return error


def _adjust_front(buffer: SocketBuffer, difference: int, mode: int, flags: int) -> int:
    """What ``bpf_skb_adjust_room`` is for the stream programs of sockets."""
    if flags or mode:
        return -errno.EINVAL
    if abs(difference) > _MAX_ROOM:
        return -errno.EFAULT
    if difference < -len(buffer.packet):
        return -errno.ENOMEM
    if difference < 0:
        buffer.packet.remove(0, -difference)
    else:
        buffer.packet.insert(0, difference)
    buffer.update_length()
    return 0


def _take_tag(buffer: SocketBuffer) -> tuple[int, int] | int:
    """Remove the tag in the packet: its protocol and control information, or an error."""
    packet, protocol = buffer.packet, buffer.protocol
    if packet.link != packet.start:
        return -errno.EINVAL
    if len(packet) < ETHERNET_HEADER + _TAG:
        return -errno.ENOMEM
    control = int.from_bytes(packet.frame[packet.start + 14 : packet.start + 16], "big")
    packet.remove(_ADDRESSES, _TAG)
    packet.link = packet.start
    packet.network = max(packet.network, packet.start + ETHERNET_HEADER)
    buffer.protocol = ethernet_type(bytes(packet))
    buffer.update_length()
    return protocol, control
