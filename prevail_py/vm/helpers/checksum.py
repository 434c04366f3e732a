"""Internet checksums (RFC 1071, RFC 1624): how one changes when some bytes are replaced.

Sums are ones' complement sums of little-endian words, as Linux computes them on x86-64; 32-bit sums are folded to 16
bits at the end.  A packet has no checksum that a device computed, so only those in its headers are ever changed.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.buffers import ENOTSUPP, buffer_of
from prevail_py.vm.machine import Machine
from prevail_py.vm.socket_buffer import Checksum

__all__ = ["add", "csum_diff", "csum_level", "csum_update", "l3_csum_replace", "l4_csum_replace"]

_FIELD_SIZE: Final = 0xF  # BPF_F_HDR_FIELD_MASK
_PSEUDO_HEADER, _MANGLED_0, _ENFORCE, _IPV6 = 0x10, 0x20, 0x40, 0x80
_L4_FLAGS: Final = _FIELD_SIZE | _PSEUDO_HEADER | _MANGLED_0 | _ENFORCE | _IPV6
_LARGEST_LEVEL: Final = 3


def csum_diff(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The ones' complement sum ``seed + to - from``, folded to 16 bits and for any sizes, as Linux does since 6.13.

    Before, sizes had to be multiples of 4 and the result had 32 bits; both results are the same modulo 0xffff.
    """
    before, after, seed = arguments[0].memory(), arguments[2].memory(), arguments[4].u32
    total = _sum(after, seed)
    if before:
        total = add(total, ~_sum(before, 0) & 0xFFFFFFFF)
    return _fold(total, 16)


def l3_csum_replace(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Correct the checksum of a network header in the packet."""
    offset, old, new, flags = arguments[1].u32, arguments[2].value, arguments[3].value, arguments[4].value
    if flags & ~_FIELD_SIZE:
        return -errno.EINVAL
    return _replace(machine, offset, old, new, flags)


def l4_csum_replace(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Correct the checksum of a transport header in the packet, where 0 may stand for none (UDP)."""
    offset, old, new, flags = arguments[1].u32, arguments[2].value, arguments[3].value, arguments[4].value
    if flags & ~_L4_FLAGS:
        return -errno.EINVAL
    packet = buffer_of(machine).packet
    field = packet.frame[packet.start + offset : packet.start + offset + 2]
    error = _field_error(machine, offset)
    if not error and flags & _MANGLED_0 and not flags & _ENFORCE and not any(field):
        return 0
    error = error or _replace(machine, offset, old, new, flags & _FIELD_SIZE)
    if not error and flags & _MANGLED_0 and not any(field):
        field[:] = b"\xff\xff"
    return error


def csum_update(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Add to the checksum that a device computed, of which there is none."""
    return -ENOTSUPP


def csum_level(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Ask how many checksums are known to be right (beyond the first), or change that."""
    buffer = buffer_of(machine)
    verified = buffer.checksum is Checksum.UNNECESSARY
    match arguments[1].value:
        case 0:
            return buffer.level if verified else -errno.EACCES
        case 1 if verified:
            buffer.level = min(buffer.level + 1, _LARGEST_LEVEL)
        case 1:
            buffer.checksum, buffer.level = Checksum.UNNECESSARY, 0
        case 2 if buffer.level:
            buffer.level -= 1
        case 2 | 3:
            buffer.forget_checksum()
        case _:
            return -errno.EINVAL
    return 0


def add(left: int, right: int, bits: int = 32) -> int:
    """The ones' complement sum of two words: the carry comes back in."""
    return _fold(left + right, bits)


def _field_error(machine: Machine, offset: int) -> int:
    inside = offset <= 0xFFFF and offset % 2 == 0 and offset + 2 <= len(buffer_of(machine).packet)
    return 0 if inside else -errno.EFAULT


def _replace(machine: Machine, offset: int, old: int, new: int, size: int) -> int:
    error = _field_error(machine, offset)
    if error:
        return error
    packet = buffer_of(machine).packet
    field = packet.frame[packet.start + offset : packet.start + offset + 2]
    checksum = ~int.from_bytes(field, "little") & 0xFFFF
    match size:
        case 0 if old:
            return -errno.EINVAL
        case 0:
            checksum = _fold(add(checksum | 0xFFFF0000, new & 0xFFFFFFFF), 16)
        case 2:
            checksum = add(add(checksum, ~old & 0xFFFF, 16), new & 0xFFFF, 16)
        case 4:
            checksum = _fold(add(add(checksum | 0xFFFF0000, ~old & 0xFFFFFFFF), new & 0xFFFFFFFF), 16)
        case _:
            return -errno.EINVAL
    field[:] = (~checksum & 0xFFFF).to_bytes(2, "little")
    return 0


def _sum(content: bytes, seed: int) -> int:
    return _fold(seed + sum(int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content), 4)), 32)


def _fold(value: int, bits: int) -> int:
    """Add the carries back in until the sum fits into ``bits`` bits."""
    while value >> bits:
        value = (value & ((1 << bits) - 1)) + (value >> bits)
    return value
