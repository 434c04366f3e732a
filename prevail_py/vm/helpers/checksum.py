"""``bpf_csum_diff``: how a checksum changes when some bytes are replaced."""

from __future__ import annotations

from collections.abc import Sequence

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine

__all__ = ["csum_diff"]


def csum_diff(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The ones' complement sum ``seed + to - from``, folded to 16 bits and for any sizes, as Linux does since 6.13.

    Before, sizes had to be multiples of 4 and the result had 32 bits; both results are the same modulo 0xffff.
    """
    before, after, seed = arguments[0].memory(), arguments[2].memory(), arguments[4].u32
    total = _sum(after, seed)
    if before:
        total = _fold(total + (~_sum(before, 0) & 0xFFFFFFFF), 32)
    return _fold(total, 16)


def _sum(content: bytes, seed: int) -> int:
    return _fold(seed + sum(int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content), 4)), 32)


def _fold(value: int, bits: int) -> int:
    """Add the carries back in until the sum fits into ``bits`` bits."""
    while value >> bits:
        value = (value & ((1 << bits) - 1)) + (value >> bits)
    return value
