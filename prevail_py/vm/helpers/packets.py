"""Helpers that move, read, write and redirect the packet."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.environment import Clone
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.buffers import buffer_of
from prevail_py.vm.helpers.maps import map_argument
from prevail_py.vm.machine import Machine, Redirect
from prevail_py.vm.maps import has_values
from prevail_py.vm.packet import Packet

__all__ = [
    "clone_redirect",
    "redirect",
    "redirect_map",
    "redirect_neigh",
    "redirect_peer",
    "skb_load_bytes",
    "skb_load_bytes_relative",
    "skb_store_bytes",
    "xdp_adjust_head",
    "xdp_adjust_meta",
    "xdp_adjust_tail",
    "xdp_get_buff_len",
    "xdp_load_bytes",
    "xdp_store_bytes",
]

_ETHERNET_HEADER: Final = 14
_MAX_OFFSET: Final = 0xFFFF
_RECOMPUTE_CHECKSUM, _INVALIDATE_HASH = 1, 2
_NEIGHBOUR: Final = 20  # struct bpf_redir_neigh
_FRAME_HEADER: Final = 40  # struct xdp_frame, which Linux keeps at the start of the headroom
_MAX_METADATA: Final = 255
_XDP_ABORTED, _XDP_REDIRECT = 0, 4
_TC_ACT_SHOT, _TC_ACT_REDIRECT = 2, 7
_F_INGRESS: Final = 1
_F_BROADCAST: Final = 8
_DEVMAP_FLAGS: Final = {14: 24, 25: 24}  # by map type: BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS


def _packet(machine: Machine) -> Packet:
    assert machine.packet is not None  # the program types that may call these helpers all run on packets
    return machine.packet


# XDP: net/core/filter.c, bpf_xdp_adjust_head and so on --------------------------------------------------------------


def xdp_adjust_head(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Move the start of the packet; metadata moves with it."""
    packet, offset = _packet(machine), arguments[1].s32
    length = packet.start - packet.meta
    start = packet.start + offset
    if start < _FRAME_HEADER + length or start > packet.end - _ETHERNET_HEADER:
        return -errno.EINVAL
    metadata = bytes(packet.frame[packet.meta : packet.start])
    packet.frame[start - length : start] = metadata
    packet.move(meta=start - length, start=start)
    return 0


def xdp_adjust_meta(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Move the start of the metadata."""
    packet, offset = _packet(machine), arguments[1].s32
    meta = packet.meta + offset
    if meta < _FRAME_HEADER or meta > packet.start:
        return -errno.EINVAL
    length = packet.start - meta
    if length % 4 or length > _MAX_METADATA:
        return -errno.EACCES
    packet.move(meta=meta)
    return 0


def xdp_adjust_tail(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Move the end of the packet; what it grows by is zero."""
    packet, offset = _packet(machine), arguments[1].s32
    end = packet.end + offset
    if end > packet.limit or end < packet.start + _ETHERNET_HEADER:
        return -errno.EINVAL
    if offset > 0:
        packet.frame[packet.end : end] = bytes(offset)
    packet.move(end=end)
    return 0


def xdp_get_buff_len(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The length of the packet."""
    return len(_packet(machine))


def xdp_load_bytes(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Copy bytes of the packet."""
    packet, offset, buffer = _packet(machine), arguments[1].u32, arguments[2]
    error = _span_error(packet, offset, buffer.extent)
    buffer.fill(b"" if error else _bytes(packet, offset, buffer.extent))
    return error


def xdp_store_bytes(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Overwrite bytes of the packet."""
    packet, offset, content = _packet(machine), arguments[1].u32, arguments[2].memory()
    error = _span_error(packet, offset, len(content))
    if not error:
        packet.frame[packet.start + offset : packet.start + offset + len(content)] = content
    return error


def _span_error(packet: Packet, offset: int, length: int) -> int:
    if offset > _MAX_OFFSET or length > _MAX_OFFSET:
        return -errno.EFAULT
    return -errno.EINVAL if offset + length > len(packet) else 0


def _bytes(packet: Packet, offset: int, length: int) -> bytes:
    return bytes(packet.frame[packet.start + offset : packet.start + offset + length])


# Socket buffers -----------------------------------------------------------------------------------------------------


def skb_load_bytes(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Copy bytes of the packet; zeros on failure."""
    packet, offset, buffer = _packet(machine), arguments[1].u32, arguments[2]
    inside = offset + buffer.extent <= len(packet)
    buffer.fill(_bytes(packet, offset, buffer.extent) if inside else bytes(buffer.extent))
    return 0 if inside else -errno.EFAULT


def skb_load_bytes_relative(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Copy bytes from a header on, of the link layer (0) or of the network layer (1); zeros on failure."""
    packet, offset, buffer, header = _packet(machine), arguments[1].u32, arguments[2], arguments[4].u32
    start = (packet.link if header == 0 else packet.network) + offset
    if offset > _MAX_OFFSET or header > 1 or start + buffer.extent > packet.end:
        buffer.fill(bytes(buffer.extent))
        return -errno.EFAULT
    buffer.fill(bytes(packet.frame[start : start + buffer.extent]))
    return 0


def skb_store_bytes(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Overwrite bytes of the packet, of which no device knows the checksum."""
    packet, offset, content, flags = _packet(machine), arguments[1].u32, arguments[2].memory(), arguments[4].value
    if flags & ~(_RECOMPUTE_CHECKSUM | _INVALIDATE_HASH):
        return -errno.EINVAL
    if offset + len(content) > len(packet):
        return -errno.EFAULT
    packet.frame[packet.start + offset : packet.start + offset + len(content)] = content
    if flags & _INVALIDATE_HASH:
        buffer_of(machine).forget_hash()
    return 0


# Redirection --------------------------------------------------------------------------------------------------------


def redirect(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Ask to send the packet to an interface."""
    ifindex, flags = arguments[0].u32, arguments[1].value
    if machine.program.program_type == "xdp":
        if flags:
            return _XDP_ABORTED
        action = _XDP_REDIRECT
    else:
        if flags & ~_F_INGRESS:
            return _TC_ACT_SHOT
        action = _TC_ACT_REDIRECT
    machine.redirect = Redirect(ifindex=ifindex, flags=flags)
    return action


def redirect_peer(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Ask to hand the packet to the other end of an interface, in another network namespace."""
    return _redirect_on_egress(machine, arguments[0].u32, arguments[1].value)


def redirect_neigh(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Ask to send the packet to a neighbour on an interface, by its address or by the packet's."""
    size = arguments[1].extent
    if size and size < _NEIGHBOUR:
        return _TC_ACT_SHOT
    return _redirect_on_egress(machine, arguments[0].u32, arguments[3].value)


def _redirect_on_egress(machine: Machine, ifindex: int, flags: int) -> int:
    if flags:
        return _TC_ACT_SHOT
    machine.redirect = Redirect(ifindex=ifindex)
    return _TC_ACT_REDIRECT


def clone_redirect(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Send a copy of the packet to an interface: it is kept in the environment."""
    ifindex, flags = arguments[1].u32, arguments[2].value
    if flags & ~_F_INGRESS or ifindex not in machine.environment.interfaces:
        return -errno.EINVAL
    machine.environment.clones.append(Clone(ifindex, flags, bytes(_packet(machine))))
    return 0


def redirect_map(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Ask to send the packet to an entry of a map; the low bits of the flags are the answer where there is none."""
    map, index, flags = map_argument(machine, arguments[0]), arguments[1].u32, arguments[2].value
    if not has_values(map):  # sockets of XDP for Windows, of which there are none
        machine.redirect = None
        return flags & 3
    if flags & ~(3 | _DEVMAP_FLAGS.get(map.spec.type, 0)):
        return _XDP_ABORTED
    if map.find(index.to_bytes(4, "little")) is None and not flags & _F_BROADCAST:
        machine.redirect = None
        return flags & 3
    machine.redirect = Redirect(map=map.spec.name, key=index, flags=flags & ~3)
    return _XDP_REDIRECT
