"""The light variant: programs decide on ``bind`` and ``connect`` of this Python process, through its audit hook."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Mapping
from typing import Any, Final

from prevail_py.host.hooks.addresses import Asked, Call, Decider, attach_type, context_of, is_ip

__all__ = ["guard_this_process"]

_EVENTS: Final = {"socket.bind": Call.BIND, "socket.connect": Call.CONNECT}


def guard_this_process(deciders: Mapping[str, Decider]) -> None:
    """From now on ``bind`` and ``connect`` of this process's sockets ask, for ever (``sys.addaudithook``).

    ``deciders`` are by attach type, as of :class:`~prevail_py.host.hooks.supervisor.Supervisor`.  A call may be
    permitted or denied (PermissionError with EACCES); nothing about it can be changed, and a program that changes the
    address denies.  It sees what goes through Python's ``socket`` module: not extension modules, ``ctypes`` or child
    processes, nor what is sent to an address without a connection.  A name of a host is looked up here and then once
    more by Python, which may find another address.  Code that means to get around it can: this is a guard rail, and the
    supervisor the wall.
    """

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        call = _EVENTS.get(event)
        if call is None:
            return
        made, address = arguments
        decide = deciders.get(attach_type(call, made.family) or "")
        if decide is None or not is_ip(made.family) or not isinstance(address, tuple):
            return
        host, port = address[0], address[1]
        asked = Asked(call, made.family, made.type, made.proto, made.family, _packed(made, host, port))
        context = context_of(asked)
        answer = decide(context)
        if answer is None or not answer[0] & 1 or answer[1] != context:
            raise PermissionError(errno.EACCES, f"a program denies {call.value} to {host or '*'}:{port}")

    sys.addaudithook(hook)


def _packed(made: socket.socket, host: str, port: int) -> bytes:
    """The ``struct sockaddr_in`` or ``sockaddr_in6`` that Python will make of a pair.  Raises OSError."""
    if host == "<broadcast>":
        host = "255.255.255.255"
    found = socket.getaddrinfo(host or None, port, made.family, made.type, 0, socket.AI_PASSIVE)
    packed = socket.inet_pton(made.family, str(found[0][4][0]).partition("%")[0])
    raw = made.family.to_bytes(2, sys.byteorder) + int(port).to_bytes(2, "big")
    raw += packed if made.family == socket.AF_INET else bytes(4) + packed
    return raw.ljust(28, b"\0")
