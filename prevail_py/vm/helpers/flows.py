"""What helpers know or change about a socket buffer beside its bytes: hash, tunnel, time, owner, congestion mark."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.buffers import buffer_of
from prevail_py.vm.helpers.checksum import add
from prevail_py.vm.helpers.maps import map_argument
from prevail_py.vm.machine import Machine
from prevail_py.vm.packet import Packet
from prevail_py.vm.socket_buffer import IPV4, IPV6, TunnelKey

__all__ = [
    "check_mtu",
    "get_cgroup_classid",
    "get_hash_recalc",
    "get_route_realm",
    "set_hash",
    "set_hash_invalid",
    "skb_ancestor_cgroup_id",
    "skb_cgroup_classid",
    "skb_cgroup_id",
    "skb_ecn_set_ce",
    "skb_get_tunnel_key",
    "skb_get_tunnel_opt",
    "skb_get_xfrm_state",
    "skb_set_tstamp",
    "skb_set_tunnel_key",
    "skb_set_tunnel_opt",
    "skb_under_cgroup",
]

_TCP, _UDP = 6, 17

# struct bpf_tunnel_key: tunnel_id at 0, remote address at 4, tos at 20, ttl at 21, tunnel_ext at 22, tunnel_label at
# 24, local address at 28; older versions of it end earlier.
_TUNNEL_KEY: Final = 44
_TUNNEL_KEY_SIZES: Final = frozenset({_TUNNEL_KEY, 28, 24, 22, 8})
_TUNNEL_IPV6: Final = 1  # BPF_F_TUNINFO_IPV6
_TUNNEL_ZERO_CSUM, _TUNNEL_DONT_FRAGMENT, _TUNNEL_SEQUENCE, _TUNNEL_NO_KEY = 2, 4, 8, 16
_SET_FLAGS: Final = 0x1F
_GET_FLAGS: Final = _TUNNEL_IPV6 | 1 << 4  # BPF_F_TUNINFO_FLAGS
_MAX_TUNNEL_OPTIONS: Final = 255
_ECN_MASK: Final = 3


# The flow ----------------------------------------------------------------------------------------------------------


def get_hash_recalc(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The hash of the flow, computed now where it does not count.

    It depends on addresses, protocol and ports and on the seed of the environment.  Linux has a key of its own, made at
    boot, so no two machines agree; equal for both directions, as there.
    """
    buffer = buffer_of(machine)
    if not buffer.hashed:
        key = machine.environment.seed.to_bytes(32, "little", signed=True)
        digest = blake2b(_flow(buffer.packet, buffer.protocol), key=key, digest_size=4).digest()
        buffer.hash, buffer.hashed = int.from_bytes(digest, "little") or 1, True
    return buffer.hash


def set_hash(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Set the hash, which then counts."""
    buffer = buffer_of(machine)
    buffer.hash, buffer.hashed = arguments[1].u32, True
    return 0


def set_hash_invalid(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Forget the hash."""
    buffer_of(machine).forget_hash()
    return 0


def _flow(packet: Packet, protocol: int) -> bytes:
    """Protocols, addresses and ports of a packet, the same for both directions."""
    content = bytes(packet.frame[packet.network : packet.end])
    if protocol == IPV4 and len(content) >= 20:
        transport, ends = content[9], [content[12:16], content[16:20]]
        rest = content[4 * (content[0] & 0xF) :] if not content[6] & 0x1F and not content[7] else b""
    elif protocol == IPV6 and len(content) >= 40:
        transport, ends, rest = content[6], [content[8:24], content[24:40]], content[40:]
    else:
        return protocol.to_bytes(2, "big")
    if transport in (_TCP, _UDP) and len(rest) >= 4:
        ends = [ends[0] + rest[0:2], ends[1] + rest[2:4]]
    return protocol.to_bytes(2, "big") + bytes([transport]) + b"".join(sorted(ends))


# Tunnels -----------------------------------------------------------------------------------------------------------


def skb_set_tunnel_key(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Say how a tunnel device is to encapsulate the packet."""
    content, flags = arguments[1].memory(), arguments[3].value
    if flags & ~_SET_FLAGS or len(content) not in _TUNNEL_KEY_SIZES:
        return -errno.EINVAL
    content = content.ljust(_TUNNEL_KEY, b"\0")
    ipv6 = bool(flags & _TUNNEL_IPV6)
    if any(content[22:24]) or (not ipv6 and any(content[24:28])):
        return -errno.EINVAL
    buffer_of(machine).tunnel = TunnelKey(content, ipv6, flags)
    return 0


def skb_get_tunnel_key(machine: Machine, arguments: Sequence[Argument]) -> int:
    """How the packet was, or will be, encapsulated: no packet arrives from a tunnel, so only what was set before.

    The end that was remote when it was set is local now.
    """
    to, flags = arguments[1], arguments[3].value
    tunnel = buffer_of(machine).tunnel
    if tunnel is None or flags & ~_GET_FLAGS:
        return _cleared(to, -errno.EINVAL)
    if tunnel.ipv6 != bool(flags & _TUNNEL_IPV6):
        return _cleared(to, -errno.EPROTO)
    if to.extent not in _TUNNEL_KEY_SIZES or (to.extent == 8 and tunnel.ipv6):
        return _cleared(to, -errno.EINVAL)
    key = bytearray(tunnel.content)
    size = 16 if tunnel.ipv6 else 4
    key[4:20] = tunnel.content[28 : 28 + size].ljust(16, b"\0")
    key[28:44] = tunnel.content[4 : 4 + size].ljust(16, b"\0")
    key[22:24] = (_tunnel_flags(tunnel.flags) if flags & ~_TUNNEL_IPV6 else 0).to_bytes(2, "big")
    label = int.from_bytes(tunnel.content[24:28], "little") & 0xFFFFF if tunnel.ipv6 else 0
    key[24:28] = label.to_bytes(4, "little")
    to.fill(bytes(key[: to.extent]))
    return 0


def _tunnel_flags(flags: int) -> int:
    """The flags of a key that was set, as ``tunnel_flags`` shows them (IP_TUNNEL_*_BIT)."""
    return (
        (0 if flags & _TUNNEL_ZERO_CSUM else 1)
        | (0 if flags & _TUNNEL_NO_KEY else 4)
        | (8 if flags & _TUNNEL_SEQUENCE else 0)
        | (0x0100 if flags & _TUNNEL_DONT_FRAGMENT else 0)
        | 0x2000  # not to be cached
    )


def skb_set_tunnel_opt(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Options of the tunnel, which nothing here would read: checked and forgotten."""
    size = arguments[2].u32
    if buffer_of(machine).tunnel is None or size % 4:
        return -errno.EINVAL
    return -errno.ENOMEM if size > _MAX_TUNNEL_OPTIONS else 0


def skb_get_tunnel_opt(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Options of the tunnel that the packet came from: it came from none."""
    return _cleared(arguments[1], -errno.ENOENT)


def skb_get_xfrm_state(machine: Machine, arguments: Sequence[Argument]) -> int:
    """How IPsec transformed the packet: it did not."""
    return _cleared(arguments[2], -errno.EINVAL)


def _cleared(to: Argument, error: int) -> int:
    to.fill(bytes(to.extent))
    return error


# Time, size, congestion --------------------------------------------------------------------------------------------


def skb_set_tstamp(machine: Machine, arguments: Sequence[Argument]) -> int:
    """When to send the packet, by the clock with this number: 0 real time, 1 monotonic, 2 TAI."""
    buffer, nanoseconds, clock = buffer_of(machine), arguments[1].value, arguments[2].u32
    if buffer.protocol not in (IPV4, IPV6):
        return -errno.EOPNOTSUPP
    if clock > 2 or (clock and not nanoseconds):
        return -errno.EINVAL
    buffer.set_time(nanoseconds, clock)
    return 0


def check_mtu(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Whether the packet, grown by so much, is small enough for an interface: 0, or 1 where it is not."""
    number, size, difference, flags = arguments[1].u32, arguments[2], arguments[3].s32, arguments[4].value
    given = int.from_bytes(size.memory(), "little")
    xdp = machine.program.program_type == "xdp"
    if flags & ~(0 if xdp else 1) or (flags and (difference or given)):
        return -errno.EINVAL
    assert machine.packet is not None
    here = 1 if xdp else buffer_of(machine).ifindex
    interface = machine.environment.interfaces.get(number or here)
    if interface is None:
        return -errno.ENODEV
    length = given + interface.header if given else len(machine.packet)
    size.fill(interface.mtu.to_bytes(4, "little"))
    return int(length + difference > interface.mtu + interface.header)


def skb_ecn_set_ce(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Mark that there is congestion, if both ends understand that: 1 where the packet is marked then."""
    buffer = buffer_of(machine)
    packet = buffer.packet
    header = packet.frame[packet.network : packet.end]
    if buffer.protocol == IPV4 and len(header) >= 20:
        mark = header[1] & _ECN_MASK
        if mark in (0, _ECN_MASK):
            return int(mark != 0)
        # The checksum is in network byte order, and so is what is added to it here.
        difference = add(0xFFFB, (mark + 1) & _ECN_MASK, 16)
        header[10:12] = add(int.from_bytes(header[10:12], "big"), difference, 16).to_bytes(2, "big")
        header[1] |= _ECN_MASK
        return 1
    if buffer.protocol == IPV6 and len(header) >= 40:
        if not header[1] >> 4 & _ECN_MASK:
            return 0
        header[1] |= _ECN_MASK << 4
        return 1
    return 0


# Owners: there is one control group, the root ----------------------------------------------------------------------


def get_cgroup_classid(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The class of the current task's network traffic: none was set."""
    return 0


def skb_cgroup_classid(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The class of the socket's traffic: none was set."""
    return 0


def get_route_realm(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The realm of the packet's route: it has none."""
    return 0


def skb_cgroup_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The control group of the socket that the packet belongs to: the root; 0 without one."""
    return 0 if machine.environment.socket is None else 1


def skb_under_cgroup(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Whether the socket that the packet belongs to is in a group of the map, which holds none."""
    if machine.environment.socket is None:
        return -errno.ENOENT
    map = map_argument(machine, arguments[1])
    return -errno.E2BIG if arguments[2].u32 >= map.spec.max_entries else -errno.EAGAIN


def skb_ancestor_cgroup_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The group so many levels below the root from which that one descends: itself, or none."""
    return skb_cgroup_id(machine, arguments) if arguments[1].u32 == 0 else 0
