"""Helpers that move, read, write and redirect the packet."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.maps import map_argument
from prevail_py.vm.machine import Machine, Redirect
from prevail_py.vm.maps import has_values
from prevail_py.vm.packet import Packet

__all__ = [
    "redirect",
    "redirect_map",
    "skb_load_bytes",
    "skb_pull_data",
    "skb_store_bytes",
    "xdp_adjust_head",
    "xdp_adjust_meta",
    "xdp_adjust_tail",
    "xdp_get_buff_len",
    "xdp_load_bytes",
    "xdp_store_bytes",
]

_ETHERNET_HEADER: Final = 14
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
    if offset > 0xFFFF or length > 0xFFFF:
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


def skb_store_bytes(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Overwrite bytes of the packet.  Checksums that the device knows are not modelled."""
    packet, offset, content, flags = _packet(machine), arguments[1].u32, arguments[2].memory(), arguments[4].value
    if flags & ~3:  # BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH
        return -errno.EINVAL
    if offset + len(content) > len(packet):
        return -errno.EFAULT
    packet.frame[packet.start + offset : packet.start + offset + len(content)] = content
    return 0


def skb_pull_data(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Make the beginning of the packet accessible, as all of it is already."""
    return 0 if arguments[1].u32 <= len(_packet(machine)) else -errno.ENOMEM


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


def redirect_map(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Ask to send the packet to an entry of a map; the low bits of the flags are the answer where there is none."""
    map, index, flags = map_argument(machine, arguments[0]), arguments[1].u32, arguments[2].value
    assert has_values(map)  # every map type that the helper takes
    if flags & ~(3 | _DEVMAP_FLAGS.get(map.spec.type, 0)):
        return _XDP_ABORTED
    if map.find(index.to_bytes(4, "little")) is None and not flags & _F_BROADCAST:
        machine.redirect = None
        return flags & 3
    machine.redirect = Redirect(map=map.spec.name, key=index, flags=flags & ~3)
    return _XDP_REDIRECT
