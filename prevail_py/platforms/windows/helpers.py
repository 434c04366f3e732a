"""The helpers of eBPF for Windows: numbers and contracts.

Facts are those of ``include/ebpf_structs.h``, ``bpf_helper_defs.h`` and ``ebpf_nethooks.h`` of that project, as of its
version 1.4 of 2026.  ``bpf_get_socket_cookie`` and ``bpf_redirect_map`` are *virtual* there: they have a number, and
only program types whose extension implements them may call them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from prevail_py.platforms.linux import build as build_linux
from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype, ReturnKind
from prevail_py.platforms.windows.program_types import PROGRAM_TYPES

__all__ = ["BOUND_HELPERS", "HELPER_NUMBERS", "TYPE_HELPER_NUMBERS", "prototypes"]

HELPER_NUMBERS: Final[Mapping[int, str]] = {
    1: "bpf_map_lookup_elem",
    2: "bpf_map_update_elem",
    3: "bpf_map_delete_elem",
    4: "bpf_map_lookup_and_delete_elem",
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
    26: "bpf_get_socket_cookie",
    27: "bpf_strncpy_s",
    28: "bpf_strncat_s",
    29: "bpf_strnlen_s",
    30: "bpf_ktime_get_boot_ms",
    31: "bpf_ktime_get_ms",
    32: "bpf_perf_event_output",
    33: "bpf_get_current_process_start_key",
    34: "bpf_get_current_thread_create_time",
    35: "bpf_redirect_map",
}
"""``ebpf_helper_id_t`` there."""

TYPE_HELPER_NUMBERS: Final[Mapping[tuple[str, int], str]] = {
    ("xdp", 0x10000): "bpf_xdp_adjust_head",
    ("cgroup_sock_addr", 0x10000): "bpf_sock_addr_get_current_pid_tgid",
    ("cgroup_sock_addr", 0x10001): "bpf_sock_addr_set_redirect_context",
}
"""Helpers of one program type, which count from 0x10000 in each."""

_OWN: Final = 0x20000
_INTEGER: Final = ReturnKind.INTEGER
_CTX, _SCALAR = HelperArg(ArgKind.CTX), HelperArg(ArgKind.SCALAR)
_SIZE: Final = HelperArg(ArgKind.SIZE_OR_ZERO)
_READ: Final = HelperArg(ArgKind.MEM_READ, reads=True)
_WRITE: Final = HelperArg(ArgKind.MEM_WRITE, writes=True)
_READ_WRITE: Final = HelperArg(ArgKind.MEM_READ_WRITE, reads=True, writes=True)
_MAP, _KEY = HelperArg(ArgKind.MAP), HelperArg(ArgKind.MAP_KEY, reads=True)

_ONLY_HERE: Final[Mapping[str, tuple[HelperArg, ...]]] = {
    "bpf_map_lookup_and_delete_elem": (_MAP, _KEY),
    "bpf_get_current_logon_id": (_CTX,),
    "bpf_is_current_admin": (_CTX,),
    "bpf_memcpy_s": (_WRITE, _SIZE, _READ, _SIZE),
    "bpf_memcmp_s": (_READ, _SIZE, _READ, _SIZE),
    "bpf_memset": (_WRITE, _SIZE, _SCALAR),
    "bpf_memmove_s": (_WRITE, _SIZE, _READ, _SIZE),
    "bpf_strncpy_s": (_WRITE, _SIZE, _READ, _SIZE),
    "bpf_strncat_s": (_READ_WRITE, _SIZE, _READ, _SIZE),
    "bpf_strnlen_s": (_READ, _SIZE),
    "bpf_ktime_get_boot_ms": (),
    "bpf_ktime_get_ms": (),
    "bpf_get_current_process_start_key": (),
    "bpf_get_current_thread_create_time": (),
    "bpf_sock_addr_get_current_pid_tgid": (_CTX,),
    "bpf_sock_addr_set_redirect_context": (_CTX, _READ, _SIZE),
}
"""Helpers that Linux does not have.

Each returns a number, but for ``bpf_map_lookup_and_delete_elem``: a value, or null.  That stays readable to the end of
the run, since memory is reclaimed by epochs there; somebody else may get it before that, as with every map value.
"""

_COPIES: Final = frozenset({"bpf_memcpy_s", "bpf_memmove_s"})
"""These leave what they do not write as it was; the others fill it."""

_FOR: Final[Mapping[str, frozenset[str]]] = {
    **{name: frozenset({kind}) for (kind, _), name in TYPE_HELPER_NUMBERS.items()},
    "bpf_get_socket_cookie": frozenset({"cgroup_sock_addr", "sock_ops"}),
    "bpf_redirect_map": frozenset({"xdp"}),
}
"""Who may call what not everybody may."""

BOUND_HELPERS: Final[Mapping[str, frozenset[str]]] = {
    # Arrays have no elements to delete: null.  Of the other types nothing is known, so they are refused.
    "bpf_map_lookup_and_delete_elem": frozenset(
        {"hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "array", "percpu_array"}
    ),
    "bpf_redirect_map": frozenset({"xskmap"}),
}
"""Helpers that take only these types of maps, and other ones than in Linux."""


def prototypes() -> dict[str, HelperPrototype]:
    """By name, with our number; to be called by all program types but for what :data:`_FOR` says."""
    linux = build_linux()
    found: dict[str, HelperPrototype] = {}
    everybody = frozenset(PROGRAM_TYPES)
    names = dict.fromkeys([*HELPER_NUMBERS.values(), *TYPE_HELPER_NUMBERS.values()])
    for place, name in enumerate(names):
        callers = _FOR.get(name, everybody)
        if name in _ONLY_HERE:
            returns = ReturnKind.MAP_VALUE_OR_NULL if name == "bpf_map_lookup_and_delete_elem" else _INTEGER
            found[name] = HelperPrototype(
                _OWN + place,
                name,
                _ONLY_HERE[name],
                returns,
                packet_access=True,
                program_types=callers,
                copies=name in _COPIES,
            )
            continue
        known = next(filter(None, (linux.helper_by_name(name, kind) for kind in ("xdp", *callers, None))), None)
        assert known is not None, name
        found[name] = replace(known, program_types=callers, gpl_only=False, might_sleep=False)
    return found
