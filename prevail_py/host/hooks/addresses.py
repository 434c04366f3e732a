"""The ``struct bpf_sock_addr`` of a system call: what programs see of it, and what they may change."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["ATTACH_TYPES", "Asked", "Call", "Decider", "applied", "attach_type", "context_of", "is_ip", "named_family"]


class Call(Enum):
    """A system call that programs decide on, by its name."""

    BIND = "bind"
    CONNECT = "connect"


Decider = Callable[[bytes], "tuple[int, bytes] | None"]
"""Given a ``struct bpf_sock_addr``: what the program returned and the structure after it; None where it did not end."""

ATTACH_TYPES: Final[Mapping[str, tuple[Call, int]]] = {
    "cgroup_inet4_bind": (Call.BIND, socket.AF_INET),
    "cgroup_inet6_bind": (Call.BIND, socket.AF_INET6),
    "cgroup_inet4_connect": (Call.CONNECT, socket.AF_INET),
    "cgroup_inet6_connect": (Call.CONNECT, socket.AF_INET6),
}
"""The attach types of programs that decide: on which call, and for addresses of which family."""

_BY_CALL: Final = {place: name for name, place in ATTACH_TYPES.items()}
_SHORTEST: Final[Mapping[int, int]] = {socket.AF_INET: 16, socket.AF_INET6: 24}
_CONTEXT_SIZE: Final = 72


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asks for: the socket's family, type and protocol, the family of the address, and the address.

    ``address`` is a ``struct sockaddr_in`` or ``sockaddr_in6``, whatever may follow it included.
    """

    call: Call
    family: int
    kind: int
    protocol: int
    named: int
    address: bytes


def attach_type(call: Call, family: int) -> str | None:
    """That of the programs which decide on this call for addresses of this family; None where there are none."""
    return _BY_CALL.get((call, family))


def is_ip(family: int) -> bool:
    """Whether programs decide on sockets of this family."""
    return family in _SHORTEST


def named_family(call: Call, family: int, kind: int, address: bytes) -> int:
    """The family by which an address on an IP socket is to be read, AF_UNSPEC for ``connect`` to nowhere.

    Raises OSError as the kernel would fail.  ``bind`` takes the family of the socket, and AF_UNSPEC for it.  A socket
    of IPv6 that is no stream connects to addresses of IPv4, too, which are then the business of ``connect4``
    (``udpv6_pre_connect`` of ``net/ipv6/udp.c``); addresses of IPv4 that are written as such of IPv6 are not.
    """
    if len(address) < 2:
        raise OSError(errno.EINVAL, "the length of the address")
    named = int.from_bytes(address[:2], sys.byteorder)
    if call is Call.CONNECT and named == socket.AF_UNSPEC:
        return named
    if call is Call.BIND and named == socket.AF_UNSPEC:
        named = family
    across = (call, family, named) == (Call.CONNECT, socket.AF_INET6, socket.AF_INET) and kind != socket.SOCK_STREAM
    if len(address) < _SHORTEST[named if across else family]:
        raise OSError(errno.EINVAL, "the length of the address")
    if named != family and not across:
        raise OSError(errno.EAFNOSUPPORT, "the family of the address")
    return named


def context_of(asked: Asked) -> bytes:
    """The ``struct bpf_sock_addr`` of a call."""
    context = bytearray(_CONTEXT_SIZE)
    if asked.named == socket.AF_INET:
        context[4:8] = asked.address[4:8]
    else:
        context[8:24] = asked.address[8:24]
    context[24:26] = asked.address[2:4]  # in network order, in the low half of the word
    for offset, word in ((0, asked.named), (28, asked.family), (32, asked.kind), (36, asked.protocol)):
        context[offset : offset + 4] = word.to_bytes(4, "little")
    return bytes(context)


def applied(asked: Asked, context: bytes) -> bytes:
    """The address as the program left it."""
    changed = bytearray(asked.address)
    changed[2:4] = context[24:26]
    if asked.named == socket.AF_INET:
        changed[4:8] = context[4:8]
    else:
        changed[8:24] = context[8:24]
    return bytes(changed)
