"""The fields of sockets and flow keys (net/core/filter.c of Linux: ``bpf_sock_is_valid_access`` and its like)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prevail_py.platforms.model import ContextAccess, KernelObject

__all__ = ["OBJECTS"]


def _narrow(first: int, last: int | None = None) -> tuple[ContextAccess, ...]:
    """A field of 4 bytes, or fields up to that at ``last``, of which 1, 2 or 4 bytes may be read."""
    end = (first if last is None else last) + 4
    return tuple(ContextAccess(size, first, end - size) for size in (4, 2, 1))


def _start(offset: int) -> tuple[ContextAccess, ...]:
    """A field of 4 bytes of which the first 1, 2 or 4 may be read."""
    return tuple(ContextAccess(size, offset, offset) for size in (4, 2, 1))


_DST_PORT: Final = (ContextAccess(4, 48, 48), ContextAccess(2, 48, 48), ContextAccess(1, 48, 49))
_ADDRESSES: Final = (*_narrow(24, 40), *_start(44), *_DST_PORT, *_narrow(52, 68), *_start(72), *_start(76))
_COMMON: Final = (ContextAccess(4, 0, 0), *_start(4), *_ADDRESSES)
_SOCKET: Final = (*_COMMON, *_start(8), *_start(12), ContextAccess(4, 16, 20))

# struct bpf_tcp_sock: twenty fields of 4 bytes, two of 8, four of 4.
_TCP: Final = (ContextAccess(4, 0, 76), ContextAccess(8, 80, 88), ContextAccess(4, 96, 108))

OBJECTS: Final[Mapping[str, KernelObject]] = {
    item.name: item
    for item in (
        KernelObject("socket", _SOCKET),
        KernelObject("sock_common", _COMMON),
        KernelObject("tcp_sock", _TCP),
        KernelObject("xdp socket", (ContextAccess(4, 0, 0),)),
        KernelObject("flow keys", size=56),
    )
}
"""By name, as the kinds of context fields and results call them."""
