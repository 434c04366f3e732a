"""What programs of Windows see of a system call: its ``bind_md`` and ``bpf_sock_addr_t``, and what they decide.

A supervisor speaks of calls in Linux's ``struct bpf_sock_addr`` (:mod:`prevail_py.host.hooks.addresses`).  A program of
Windows is asked in its own layout, and its answer is put back: here is both.  Layouts are those of
``include/ebpf_nethooks.h`` of eBPF for Windows, where AF_INET6 is 23.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prevail_py.host.hooks.addresses import Decider

__all__ = ["ATTACH_TYPES", "Ask", "decider"]

ATTACH_TYPES: Final[Mapping[str, str]] = {
    "bind": "cgroup_inet4_bind",  # that hook knows addresses of IPv4 only
    "cgroup_inet4_connect": "cgroup_inet4_connect",
    "cgroup_inet6_connect": "cgroup_inet6_connect",
}
"""By the attach type of a program of Windows: the one of Linux whose calls it decides on."""

Ask = Callable[[bytes, "bytes | None"], "tuple[int, bytes] | None"]
"""Runs a program on a context and a packet: its result and the context after; None where it did not end."""

_AF_INET6: Final = 23
_FAMILIES: Final = {socket.AF_INET: socket.AF_INET, socket.AF_INET6: _AF_INET6}
_FAMILY, _IP4, _IP6, _PORT, _PROTOCOL = slice(0, 4), slice(4, 8), slice(8, 24), slice(24, 26), slice(36, 40)  # Linux's
_PROCEED: Final = (1, 2)  # BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT and _HARD


def decider(attach_type: str, ask: Ask, caller: Callable[[], int]) -> Decider:
    """Decides as a program of Windows does: 1 for permitted in the answer, as in Linux.

    ``caller`` gives the process that makes the call.
    """
    if attach_type == "bind":
        return _Bind(ask, caller)
    return _SockAddr(ask)


@dataclass(frozen=True, slots=True)
class _SockAddr:
    """``cgroup/connect4`` and ``connect6``: the address may be changed, and whatever is not to proceed is rejected."""

    ask: Ask

    def __call__(self, context: bytes) -> tuple[int, bytes] | None:
        family = int.from_bytes(context[_FAMILY], "little")
        address = context[_IP4].ljust(16, b"\0") if family == socket.AF_INET else context[_IP6]
        given = bytearray(64)
        given[0:4] = _FAMILIES[socket.AddressFamily(family)].to_bytes(4, "little")
        given[24:40] = address
        given[40:42] = context[_PORT]
        given[44:48] = context[_PROTOCOL]
        answer = self.ask(bytes(given), None)
        if answer is None:
            return None
        value, after = answer
        back = bytearray(context)
        back[_PORT] = after[40:42]
        if family == socket.AF_INET:
            back[_IP4] = after[24:28]
        else:
            back[_IP6] = after[24:40]
        return int(value in _PROCEED), bytes(back)


@dataclass(frozen=True, slots=True)
class _Bind:
    """``bind``: the address is changed where the program says REDIRECT, and not where it says PERMIT.

    The name of the program is the path of what the caller executes, in UTF-16 as there; empty where it cannot be read.
    """

    ask: Ask
    caller: Callable[[], int]

    def __call__(self, context: bytes) -> tuple[int, bytes] | None:
        process = self.caller()
        try:
            name = os.readlink(f"/proc/{process}/exe").encode("utf-16-le", "surrogatepass")
        except OSError:
            name = b""
        address = struct.pack("<H2s4s8x", socket.AF_INET, context[_PORT], context[_IP4])
        given = struct.pack("<16xQ16sB3xIB7x", process, address, len(address), 0, context[_PROTOCOL][0])
        answer = self.ask(given, name)
        if answer is None:
            return None
        value, after = answer
        if value not in (0, 2):  # PERMIT and REDIRECT; DENY, and what is none of the three
            return 0, context
        back = bytearray(context)
        if value == 2:
            back[_PORT], back[_IP4] = after[26:28], after[28:32]
        return 1, bytes(back)
