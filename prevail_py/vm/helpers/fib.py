"""``bpf_fib_lookup``: routes come from the environment."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine

__all__ = ["fib_lookup"]

_SIZE: Final = 64  # struct bpf_fib_lookup
_FLAGS: Final = 0x3F
_NOT_FORWARDED: Final = 4  # BPF_FIB_LKUP_RET_NOT_FWDED


def fib_lookup(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Fill in interface and addresses of the route to a destination; 4 (not forwarded) where there is none.

    The interface asked about is not looked at, except that there is none with number 0.

    struct bpf_fib_lookup: family at 0, ifindex at 8, destination at 32, VLAN at 48, source MAC at 52, target MAC at 58.
    """
    parameters, size, flags = arguments[1], arguments[2].value, arguments[3].u32
    if size < _SIZE or flags & ~_FLAGS:
        return -errno.EINVAL
    content = bytearray(parameters.memory())
    destination: IPv4Address | IPv6Address
    match content[0]:
        case 2:
            destination = IPv4Address(bytes(content[32:36]))
        case 10:
            destination = IPv6Address(bytes(content[32:48]))
        case _:
            return -errno.EAFNOSUPPORT
    if not any(content[8:12]):
        return -errno.ENODEV
    route = machine.environment.route(destination)
    if route is None:
        return _NOT_FORWARDED
    content[8:12] = route.ifindex.to_bytes(4, "little")
    content[48:52] = bytes(4)
    content[52:58] = route.source_mac
    content[58:64] = route.destination_mac
    parameters.fill(bytes(content))
    return 0
