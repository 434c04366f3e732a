"""Helpers on sockets: looking them up, asking who they are, their options.

The sockets there are come from the environment, and so does the one that a packet belongs to; by default there is none,
which every program must be ready for.  A socket is a ``struct bpf_sock`` that can only be read.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from prevail_py.vm.fault import Fault
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine
from prevail_py.vm.memory import Region
from prevail_py.vm.outcome import TrapKind

__all__ = [
    "bind",
    "get_listener_sock",
    "get_netns_cookie",
    "get_retval",
    "get_socket_cookie",
    "get_socket_uid",
    "getsockopt",
    "set_retval",
    "setsockopt",
    "sk_ancestor_cgroup_id",
    "sk_assign",
    "sk_cgroup_id",
    "sk_fullsock",
    "sk_lookup_tcp",
    "sk_lookup_udp",
    "sk_release",
    "skc_lookup_tcp",
    "tcp_sock",
]

_TCP, _UDP = 6, 17
_LISTENING: Final = 10
_OVERFLOW_UID: Final = 65534
_FIRST_NAMESPACE: Final = 1  # the cookie of the initial network namespace
_PROTOCOL, _STATE = 12, 72  # offsets in struct bpf_sock
_INET, _INET6 = 2, 10

# Options that Linux lets programs set and get, by level; all are of 4 bytes but for the strings.
_OPTIONS: Final = {
    1: frozenset({2, 7, 8, 9, 12, 15, 18, 25, 36, 47, 62, 74}),  # SOL_SOCKET
    6: frozenset({1, 2, 4, 5, 6, 7, 10, 13, 16, 18, 25, 27}),  # SOL_TCP
    0: frozenset({1}),  # SOL_IP
    41: frozenset({67, 70}),  # SOL_IPV6
}
_STRINGS: Final = frozenset({(1, 25), (6, 13)})  # SO_BINDTODEVICE, TCP_CONGESTION
_ONLY_SET: Final = (1, 25)


# Looking up: __bpf_skc_lookup in net/core/filter.c -------------------------------------------------------------------


def sk_lookup_tcp(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """The TCP socket that a packet with these addresses and ports is for."""
    return _look_up(machine, arguments, _TCP)


def sk_lookup_udp(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """The UDP socket that a packet with these addresses and ports is for."""
    return _look_up(machine, arguments, _UDP)


def skc_lookup_tcp(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """As :func:`sk_lookup_tcp`; connections that are only being made, which this would find too, do not exist."""
    return _look_up(machine, arguments, _TCP)


def sk_release(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Give a socket back."""
    region = arguments[0].region
    assert region is not None
    machine.release(region)
    return 0


def _look_up(machine: Machine, arguments: Sequence[Argument], protocol: int) -> Region | None:
    ends, namespace, flags = arguments[1].memory(), arguments[3].value, arguments[4].value
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    match len(ends):
        case 12:
            source, destination = IPv4Address(ends[0:4]), IPv4Address(ends[4:8])
        case 36:
            source, destination = IPv6Address(ends[0:16]), IPv6Address(ends[16:32])
        case _:
            return None
    # A negative number asks in the program's own namespace; there are no others.
    if flags or not namespace & 1 << 31:
        return None
    ports = int.from_bytes(ends[-4:-2], "big"), int.from_bytes(ends[-2:], "big")
    socket = machine.environment.find_socket(protocol, source, ports[0], destination, ports[1])
    return None if socket is None else machine.acquire_socket(socket)


# What a socket is -----------------------------------------------------------------------------------------------------


def sk_fullsock(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """The socket, which always is a full one."""
    return arguments[0].region


def tcp_sock(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """What TCP knows about a connection: not modelled, but other sockets have none."""
    region = arguments[0].region
    assert region is not None
    if region.data[_PROTOCOL] == _TCP:
        raise Fault(TrapKind.UNSUPPORTED, "what TCP knows about a connection (struct bpf_tcp_sock) is not modelled")
    return None


def get_listener_sock(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """The socket if it listens."""
    region = arguments[0].region
    assert region is not None
    return region if region.data[_STATE] == _LISTENING else None


def sk_assign(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Direct the packet to a socket, which only works on ingress: test runs of Linux are not."""
    socket, flags = arguments[1], arguments[2].value
    return -errno.EINVAL if socket.region is None or flags else -errno.EOPNOTSUPP


def sk_cgroup_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The control group of a socket: the root, the only one."""
    return 1


def sk_ancestor_cgroup_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The group so many levels below the root from which that of a socket descends: itself, or none."""
    return int(arguments[1].u32 == 0)


def get_socket_cookie(machine: Machine, arguments: Sequence[Argument]) -> int:
    """A number for the socket of the context; 0 without one."""
    socket = machine.environment.socket
    return 0 if socket is None else socket.cookie


def get_socket_uid(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The owner of the socket that the packet belongs to; nobody without one."""
    socket = machine.environment.socket
    return _OVERFLOW_UID if socket is None else socket.uid


def get_netns_cookie(machine: Machine, arguments: Sequence[Argument]) -> int:
    """A number for the network namespace, of which there is only the first."""
    return _FIRST_NAMESPACE


# Options and addresses ------------------------------------------------------------------------------------------------


def setsockopt(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Set an option of the context's socket: it is kept in the environment, and has no other effect."""
    option, value = (arguments[1].u32, arguments[2].u32), arguments[3].memory()
    error = _option_error(option, len(value))
    if not error:
        machine.environment.socket_options[option] = value
    return error


def getsockopt(machine: Machine, arguments: Sequence[Argument]) -> int:
    """An option of the context's socket: what was set, or what the environment says, or 0; zeros on failure."""
    option, to = (arguments[1].u32, arguments[2].u32), arguments[3]
    error = -errno.EINVAL if option == _ONLY_SET else _option_error(option, to.extent)
    value = b"" if error else machine.environment.socket_options.get(option, b"")[: to.extent]
    to.fill(value.ljust(to.extent, b"\0"))
    return error


def _option_error(option: tuple[int, int], size: int) -> int:
    level, name = option
    if name not in _OPTIONS.get(level, ()):
        return -errno.EINVAL
    if option in _STRINGS:
        return -errno.EINVAL if level == _TCP and size < 2 else 0
    return 0 if size == 4 else -errno.EINVAL


def bind(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Bind the context's socket to an address, which is kept in the environment."""
    address = arguments[1].memory()
    if len(address) < 2:
        return -errno.EINVAL
    shortest = {_INET: 16, _INET6: 24}.get(int.from_bytes(address[:2], "little"))
    if shortest is None:
        return -errno.EAFNOSUPPORT
    if len(address) < shortest:
        return -errno.EINVAL
    machine.environment.bound = address
    return 0


def get_retval(machine: Machine, arguments: Sequence[Argument]) -> int:
    """What the operation that called the hook will return."""
    return machine.environment.hook_result


def set_retval(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Decide what the operation that called the hook will return."""
    machine.environment.hook_result = arguments[0].s32
    return 0
