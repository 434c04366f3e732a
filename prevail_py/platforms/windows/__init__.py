"""Windows: the program types, contexts, helpers and map types of eBPF for Windows, as data beside Linux's.

What that project calls by another number is *translated when an object is loaded* (``helper_numbers`` and
``map_numbers`` of the platform): a helper or map type that Linux has, too, with the same contract, goes by Linux's
number from then on, in the verifier, the engines and listings; those that only Windows has get numbers of their own.
So a rule that is about one helper, tail calls say, is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from prevail_py.platforms.linux import build as build_linux
from prevail_py.platforms.linux.map_types import BOUND_HELPERS, MAP_TYPES
from prevail_py.platforms.model import (
    ArgKind,
    ContextAccess,
    FieldKind,
    HelperArg,
    HelperPrototype,
    Platform,
    ProgramType,
    ReturnKind,
    SectionRule,
)

__all__ = ["ATTACH_TYPES", "HELPER_NUMBERS", "MAP_NUMBERS", "PROGRAM_TYPES", "TYPE_HELPER_NUMBERS", "build"]


def _words(first: int, last: int) -> tuple[ContextAccess, ...]:
    """Aligned loads of 1, 2 and 4 bytes of the 32-bit fields at offsets ``first`` to ``last``."""
    return tuple(ContextAccess(size, first, last + 4 - size) for size in (1, 2, 4))


def _half(offset: int) -> tuple[ContextAccess, ...]:
    return ContextAccess(2, offset, offset), ContextAccess(1, offset, offset + 1)


# Layouts of include/ebpf_nethooks.h for a 64-bit machine: pointers have eight bytes, as the fields they are in.
_XDP: Final = (
    ContextAccess(8, 0, 0, FieldKind.PACKET),
    ContextAccess(8, 8, 8, FieldKind.PACKET_END),
    ContextAccess(8, 16, 16),  # data_meta: a number there
    *_words(24, 24),  # ingress_ifindex
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

_SECTIONS: Final = (
    SectionRule("xdp+", "xdp", "xdp"),
    SectionRule("bind+", "bind", "bind"),
    SectionRule("cgroup/connect4+", "cgroup_sock_addr", "cgroup_inet4_connect"),
    SectionRule("cgroup/connect6+", "cgroup_sock_addr", "cgroup_inet6_connect"),
    SectionRule("cgroup/recv_accept4+", "cgroup_sock_addr", "cgroup_inet4_recv_accept"),
    SectionRule("cgroup/recv_accept6+", "cgroup_sock_addr", "cgroup_inet6_recv_accept"),
    SectionRule("sockops+", "sock_ops", "cgroup_sock_ops"),
)

MAP_NUMBERS: Final[Mapping[int, str]] = {
    1: "hash",
    2: "array",
    3: "prog_array",
    4: "percpu_hash",
    5: "percpu_array",
    6: "hash_of_maps",
    7: "array_of_maps",
    8: "lru_hash",
    9: "lpm_trie",
    10: "queue",
    11: "lru_percpu_hash",
    12: "stack",
    13: "ringbuf",
    14: "perf_event_array",
}
"""``enum bpf_map_type`` there, by the names of Linux's types."""

HELPER_NUMBERS: Final[Mapping[int, str]] = {
    1: "bpf_map_lookup_elem",
    2: "bpf_map_update_elem",
    3: "bpf_map_delete_elem",
    5: "bpf_tail_call",
    6: "bpf_get_prandom_u32",
    7: "bpf_ktime_get_boot_ns",
    8: "bpf_get_smp_processor_id",
    9: "bpf_ktime_get_ns",
    10: "bpf_csum_diff",
    11: "bpf_ringbuf_output",
    12: "bpf_trace_printk",  # with two arguments; 13 to 15 have three to five
    13: "bpf_trace_printk",
    14: "bpf_trace_printk",
    15: "bpf_trace_printk",
    16: "bpf_map_push_elem",
    17: "bpf_map_pop_elem",
    18: "bpf_map_peek_elem",
    19: "bpf_get_current_pid_tgid",
    20: "bpf_get_current_logon_id",
    21: "bpf_is_current_admin",
    22: "bpf_memcpy_s",
    23: "bpf_memcmp_s",
    24: "bpf_memset",
    25: "bpf_memmove_s",
    29: "bpf_strnlen_s",
    30: "bpf_ktime_get_boot_ms",
    31: "bpf_ktime_get_ms",
    32: "bpf_perf_event_output",
}
"""``ebpf_helper_id_t`` there.  Not here: 4 (its result outlives the element), 26 to 28, and what came after 32."""

TYPE_HELPER_NUMBERS: Final[Mapping[tuple[str, int], str]] = {
    ("xdp", 0x10000): "bpf_xdp_adjust_head",
    ("cgroup_sock_addr", 0x10000): "bpf_sock_addr_get_current_pid_tgid",
}
"""Helpers of one program type, which count from 0x10000 in each."""

_OWN: Final = 0x20000
_INTEGER: Final = ReturnKind.INTEGER
_CTX, _ANY, _SCALAR = HelperArg(ArgKind.CTX), HelperArg(ArgKind.ANYTHING), HelperArg(ArgKind.SCALAR)
_SIZE: Final = HelperArg(ArgKind.SIZE_OR_ZERO)
_READ: Final = HelperArg(ArgKind.MEM_READ, reads=True)
_WRITE: Final = HelperArg(ArgKind.MEM_WRITE, writes=True)

_ONLY_HERE: Final[Mapping[str, tuple[HelperArg, ...]]] = {
    "bpf_get_current_logon_id": (_CTX,),
    "bpf_is_current_admin": (_CTX,),
    "bpf_memcpy_s": (_WRITE, _SIZE, _READ, _SIZE),
    "bpf_memcmp_s": (_READ, _SIZE, _READ, _SIZE),
    "bpf_memset": (_WRITE, _SIZE, _SCALAR),
    "bpf_memmove_s": (_WRITE, _SIZE, _READ, _SIZE),
    "bpf_strnlen_s": (_READ, _SIZE),
    "bpf_ktime_get_boot_ms": (),
    "bpf_ktime_get_ms": (),
    "bpf_sock_addr_get_current_pid_tgid": (_CTX,),
}
"""Helpers that Linux does not have; each returns a number.  The engines do not implement them."""

_FOR: Final = {name: frozenset({kind}) for (kind, _), name in TYPE_HELPER_NUMBERS.items()}


def _prototypes() -> dict[str, HelperPrototype]:
    """By name, with our number; to be called by all program types unless the name is in :data:`_FOR`."""
    linux = build_linux()
    found: dict[str, HelperPrototype] = {}
    everybody = frozenset(PROGRAM_TYPES)
    names = dict.fromkeys([*HELPER_NUMBERS.values(), *TYPE_HELPER_NUMBERS.values()])
    for place, name in enumerate(names):
        callers = _FOR.get(name, everybody)
        if name in _ONLY_HERE:
            found[name] = HelperPrototype(_OWN + place, name, _ONLY_HERE[name], _INTEGER, program_types=callers)
            continue
        known = linux.helper_by_name(name, "xdp") or linux.helper_by_name(name)
        assert known is not None, name
        found[name] = replace(known, program_types=callers, gpl_only=False, might_sleep=False)
    return found


def build() -> Platform:
    """The Windows platform (headers of 2025, 64-bit contexts)."""
    prototypes = _prototypes()
    numbers: dict[tuple[str, int], int] = {("", number): prototypes[name].id for number, name in HELPER_NUMBERS.items()}
    numbers |= {key: prototypes[name].id for key, name in TYPE_HELPER_NUMBERS.items()}
    by_name = {row.name: row for row in MAP_TYPES.values()}
    return Platform(
        name="windows",
        program_types=PROGRAM_TYPES,
        attach_types=ATTACH_TYPES,
        attach_rules={},
        sections=_SECTIONS,
        map_types={by_name[name].number: by_name[name] for name in MAP_NUMBERS.values()},
        load_helpers=lambda: {each.id: [(None, each)] for each in prototypes.values()},
        bound_helpers=BOUND_HELPERS,
        measured_types=frozenset(PROGRAM_TYPES),
        map_numbers={number: by_name[name].number for number, name in MAP_NUMBERS.items()},
        helper_numbers=numbers,
    )
