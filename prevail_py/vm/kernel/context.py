"""Contexts as PROG_TEST_RUN takes and gives them, against those of our engines (net/bpf/test_run.c).

Our engines want the scalar fields of a context and nothing else.  The kernel takes a few fields from the user, derives
others from the packet, and gives a few back:

========== ============================================================ ===============================================
struct     taken                                                        given back
========== ============================================================ ===============================================
xdp_md     interface (of a device that there is) and queue              the same
__sk_buff  mark, priority, interfaces, cb, tstamp, wire_len, gso fields the same, as the program left them
========== ============================================================ ===============================================

So that both sides see the same fields, :func:`usual_context` is what a program finds in a test run by Linux for a
given packet, and :func:`visible_context` is the part of a context that can be compared afterwards.

A program on a socket buffer sees the packet from its Ethernet header on only if it is a classifier; for others a header
is put in front, the one that our engines imagine there, and taken away again.
"""

from __future__ import annotations

import struct
from typing import Final

from prevail_py.platforms.model import ProgramType
from prevail_py.vm.context import initial_context
from prevail_py.vm.engines import EngineError
from prevail_py.vm.socket_buffer import ETHERNET_HEADER, has_link_layer, in_ethernet

__all__ = ["from_kernel", "to_kernel", "usual_context", "visible_context"]

# Offsets in struct xdp_md (uapi linux/bpf.h).
_XDP_SIZE: Final = 24
_XDP_INTERFACE: Final = 12

# Offsets in struct __sk_buff.
_SKB_SIZE: Final = 192
_TAKEN: Final = ((8, 12), (32, 44), (48, 68), (152, 168), (176, 180), (184, 192))
"""mark; priority, ingress_ifindex and ifindex; cb; tstamp, wire_len and gso_segs; gso_size; hwtstamp."""
_GIVEN_BACK: Final = ((8, 12), (32, 44), (48, 68), (152, 160), (184, 192))
_DERIVED: Final = ((0, 8), (16, 20))
"""len and pkt_type; protocol."""


def usual_context(program_type: ProgramType, packet: bytes) -> bytes | None:
    """The scalar fields that a program finds in a test run; None for contexts that the kernel does not take."""
    size = {"xdp_md": _XDP_SIZE, "__sk_buff": _SKB_SIZE}.get(program_type.context_struct or "")
    return None if size is None else initial_context(program_type, packet).ljust(size, b"\0")


def to_kernel(program_type: ProgramType, packet: bytes, context: bytes) -> tuple[bytes, bytes]:
    """(data, context) for PROG_TEST_RUN; raises :class:`EngineError` for fields that a test run cannot set."""
    match program_type.context_struct:
        case "xdp_md":
            content = context.ljust(_XDP_SIZE, b"\0")[:_XDP_SIZE]
            interface, queue, egress = struct.unpack_from("<3I", content, _XDP_INTERFACE)
            if not interface:
                raise EngineError("a test run needs an ingress_ifindex: 1 is the loopback device")
            return packet, struct.pack("<6I", 0, len(packet), 0, interface, queue, egress)
        case "__sk_buff":
            content = context.ljust(_SKB_SIZE, b"\0")
            usual = usual_context(program_type, packet)
            assert usual is not None
            taken = _only(content, _TAKEN)
            left = _only(content, (*_TAKEN, *_DERIVED))
            if left != content or _only(content, _DERIVED) != _only(usual, _DERIVED):
                raise EngineError("a test run does not take this context: some fields of __sk_buff cannot be set")
            return bytes(in_ethernet(program_type, packet)), taken
        case other:
            raise EngineError(f"the kernel engine exchanges no {other or 'context'}")


def from_kernel(program_type: ProgramType, context: bytes, data: bytes, returned: bytes) -> tuple[bytes, bytes]:
    """(packet, context) after a test run that was given ``context`` and gave back ``data`` and ``returned``."""
    if program_type.context_struct == "xdp_md":
        (meta,) = struct.unpack_from("<I", returned)
        content = bytearray(context.ljust(_XDP_SIZE, b"\0"))
        content[_XDP_INTERFACE:] = returned[_XDP_INTERFACE:_XDP_SIZE]
        return data[meta:], bytes(content)
    content = bytearray(context.ljust(_SKB_SIZE, b"\0"))
    for start, end in _GIVEN_BACK:
        content[start:end] = returned[start:end]
    return data if has_link_layer(program_type) else data[ETHERNET_HEADER:], bytes(content)


def visible_context(program_type: ProgramType, context: bytes) -> bytes:
    """``context`` with zeros for what a test run does not give back."""
    return _only(context, _GIVEN_BACK) if program_type.context_struct == "__sk_buff" else context


def _only(content: bytes, ranges: tuple[tuple[int, int], ...]) -> bytes:
    result = bytearray(len(content))
    for start, end in ranges:
        result[start:end] = content[start:end]
    return bytes(result)
