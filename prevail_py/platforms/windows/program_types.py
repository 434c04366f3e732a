"""Program types, contexts, attach types and sections of eBPF for Windows.

Layouts are those of ``include/ebpf_nethooks.h`` for a 64-bit machine; ``rx_queue_index`` is what XDP for Windows adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prevail_py.platforms.model import ContextAccess, FieldKind, ProgramType, SectionRule

__all__ = ["ATTACH_TYPES", "PROGRAM_TYPES", "SECTIONS"]


def _words(first: int, last: int) -> tuple[ContextAccess, ...]:
    """Aligned loads of 1, 2 and 4 bytes of the 32-bit fields at offsets ``first`` to ``last``."""
    return tuple(ContextAccess(size, first, last + 4 - size) for size in (1, 2, 4))


def _half(offset: int) -> tuple[ContextAccess, ...]:
    return ContextAccess(2, offset, offset), ContextAccess(1, offset, offset + 1)


_XDP: Final = (
    ContextAccess(8, 0, 0, FieldKind.PACKET),
    ContextAccess(8, 8, 8, FieldKind.PACKET_END),
    ContextAccess(8, 16, 16),  # data_meta: a number there
    *_words(24, 28),  # ingress_ifindex, rx_queue_index
)
_BIND: Final = (
    ContextAccess(8, 0, 0, FieldKind.PACKET),  # app_id_start: the name of the program, as bytes between two pointers
    ContextAccess(8, 8, 8, FieldKind.PACKET_END),
    ContextAccess(8, 16, 16),  # process_id
    *(ContextAccess(size, 24, 40 - size) for size in (1, 2, 4, 8)),  # socket_address
    ContextAccess(1, 40, 40),  # its length
    *_words(44, 44),  # operation
    ContextAccess(1, 48, 48),  # protocol
)
_BIND_WRITES: Final = tuple(ContextAccess(size, 24, 40 - size) for size in (1, 2, 4, 8))
_SOCK_ADDR: Final = (
    *_words(0, 0),  # family
    *_words(4, 16),  # msg_src_ip4, msg_src_ip6
    *_half(20),  # msg_src_port
    *_words(24, 36),  # user_ip4, user_ip6
    *_half(40),  # user_port
    *_words(44, 48),  # protocol, compartment_id
    ContextAccess(8, 56, 56),  # interface_luid
)
_SOCK_ADDR_WRITES: Final = (*_words(24, 36), *_half(40))
_SOCK_OPS: Final = (
    *_words(0, 4),  # op, family
    *_words(8, 24),  # local_ip4, local_ip6, local_port
    *_words(28, 44),  # remote_ip4, remote_ip6, remote_port
    ContextAccess(1, 48, 48),  # protocol
    *_words(52, 52),  # compartment_id
    ContextAccess(8, 56, 56),  # interface_luid
)

PROGRAM_TYPES: Final[Mapping[str, ProgramType]] = {
    "unspec": ProgramType("unspec", 0, 0),
    "xdp": ProgramType("xdp", 1, 32, "xdp_md_t", reads=_XDP, has_direct_packet=True, read_write_packet=True),
    "bind": ProgramType("bind", 2, 56, "bind_md_t", reads=_BIND, writes=_BIND_WRITES, has_direct_packet=True),
    "cgroup_sock_addr": ProgramType(
        "cgroup_sock_addr", 3, 64, "bpf_sock_addr_t", reads=_SOCK_ADDR, writes=_SOCK_ADDR_WRITES
    ),
    "sock_ops": ProgramType("sock_ops", 4, 64, "bpf_sock_ops_t", reads=_SOCK_OPS),
}

ATTACH_TYPES: Final[Mapping[str, int]] = {
    "xdp": 1,
    "bind": 2,
    "cgroup_inet4_connect": 3,
    "cgroup_inet6_connect": 4,
    "cgroup_inet4_recv_accept": 5,
    "cgroup_inet6_recv_accept": 6,
    "cgroup_sock_ops": 7,
}

SECTIONS: Final = (
    SectionRule("xdp+", "xdp", "xdp"),
    SectionRule("bind+", "bind", "bind"),
    SectionRule("cgroup/connect4+", "cgroup_sock_addr", "cgroup_inet4_connect"),
    SectionRule("cgroup/connect6+", "cgroup_sock_addr", "cgroup_inet6_connect"),
    SectionRule("cgroup/recv_accept4+", "cgroup_sock_addr", "cgroup_inet4_recv_accept"),
    SectionRule("cgroup/recv_accept6+", "cgroup_sock_addr", "cgroup_inet6_recv_accept"),
    SectionRule("sockops+", "sock_ops", "cgroup_sock_ops"),
)
