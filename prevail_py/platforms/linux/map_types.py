"""Linux map types (uapi ``linux/bpf.h``) and which helpers take which (check_map_func_compatibility, 6.12)."""

from __future__ import annotations

from collections.abc import Mapping

from prevail_py.platforms.model import LookupResult, MapType

__all__ = ["BOUND_HELPERS", "MAP_TYPES"]


def _only(names: str) -> frozenset[str]:
    return frozenset("bpf_" + name for name in names.split())


_PERF = "perf_event_read perf_event_output skb_output perf_event_read_value xdp_output"
_RINGBUF = (
    "ringbuf_output ringbuf_reserve ringbuf_query ringbuf_reserve_dynptr ringbuf_submit_dynptr ringbuf_discard_dynptr"
)
_NOTHING = LookupResult.NOTHING

# number, name, index key, per CPU, what a lookup yields, how its memory may be used, the only helpers that take it,
# whether peeking asks for a value
_ROWS: tuple[MapType, ...] = (
    MapType(1, "hash"),
    MapType(2, "array", index_key=True),
    MapType(3, "prog_array", True, False, _NOTHING, "", _only("tail_call")),
    MapType(4, "perf_event_array", True, False, _NOTHING, "", _only(_PERF)),
    MapType(5, "percpu_hash", per_cpu=True),
    MapType(6, "percpu_array", index_key=True, per_cpu=True),
    MapType(7, "stack_trace", False, False, _NOTHING, "", _only("get_stackid")),
    MapType(8, "cgroup_array", True, False, _NOTHING, "", _only("skb_under_cgroup current_task_under_cgroup")),
    MapType(9, "lru_hash"),
    MapType(10, "lru_percpu_hash", per_cpu=True),
    MapType(11, "lpm_trie"),
    MapType(12, "array_of_maps", True, False, LookupResult.MAP, "", _only("map_lookup_elem")),
    MapType(13, "hash_of_maps", False, False, LookupResult.MAP, "", _only("map_lookup_elem")),
    MapType(14, "devmap", True, False, LookupResult.VALUE, "r", _only("redirect_map map_lookup_elem")),
    MapType(15, "sockmap", True, False, LookupResult.SOCKET, "", _only(
        "sk_redirect_map sock_map_update msg_redirect_map sk_select_reuseport map_lookup_elem "
        "map_update_elem map_delete_elem")),
    MapType(16, "cpumap", True, False, _NOTHING, "", _only("redirect_map")),
    MapType(17, "xskmap", True, False, LookupResult.XDP_SOCKET, "", _only("redirect_map map_lookup_elem")),
    MapType(18, "sockhash", False, False, LookupResult.SOCKET, "", _only(
        "sk_redirect_hash sock_hash_update msg_redirect_hash sk_select_reuseport map_lookup_elem "
        "map_update_elem map_delete_elem")),
    MapType(19, "cgroup_storage", False, False, _NOTHING, "rw", _only("get_local_storage")),
    MapType(20, "reuseport_sockarray", True, False, _NOTHING, "", _only("sk_select_reuseport")),
    MapType(21, "percpu_cgroup_storage", False, True, _NOTHING, "rw", _only("get_local_storage")),
    MapType(22, "queue", False, False, _NOTHING, "", _only("map_peek_elem map_pop_elem map_push_elem")),
    MapType(23, "stack", False, False, _NOTHING, "", _only("map_peek_elem map_pop_elem map_push_elem")),
    MapType(24, "sk_storage", False, False, _NOTHING, "rw", _only("sk_storage_get sk_storage_delete kptr_xchg")),
    MapType(25, "devmap_hash", False, False, LookupResult.VALUE, "r", _only("redirect_map map_lookup_elem")),
    MapType(26, "struct_ops", True, False, _NOTHING, "", frozenset()),
    MapType(27, "ringbuf", False, False, _NOTHING, "", _only(_RINGBUF)),
    MapType(28, "inode_storage", False, False, _NOTHING, "rw",
            _only("inode_storage_get inode_storage_delete kptr_xchg")),
    MapType(29, "task_storage", False, False, _NOTHING, "rw", _only("task_storage_get task_storage_delete kptr_xchg")),
    MapType(30, "bloom_filter", False, False, _NOTHING, "", _only("map_peek_elem map_push_elem"), True),
    MapType(31, "user_ringbuf", False, False, _NOTHING, "", _only("user_ringbuf_drain")),
    MapType(32, "cgrp_storage", False, False, _NOTHING, "rw", _only("cgrp_storage_get cgrp_storage_delete kptr_xchg")),
    MapType(33, "arena", False, False, _NOTHING, "", frozenset()),
)  # fmt: skip

MAP_TYPES: Mapping[int, MapType] = {row.number: row for row in _ROWS}

# Helpers that take these map types and no other.
BOUND_HELPERS: Mapping[str, frozenset[str]] = {
    "bpf_" + helper: frozenset(types.split())
    for helpers, types in (
        ("tail_call", "prog_array"),
        (_PERF, "perf_event_array"),
        (_RINGBUF, "ringbuf"),
        ("user_ringbuf_drain", "user_ringbuf"),
        ("get_stackid", "stack_trace"),
        ("current_task_under_cgroup skb_under_cgroup", "cgroup_array"),
        ("redirect_map", "devmap devmap_hash cpumap xskmap"),
        ("sk_redirect_map msg_redirect_map sock_map_update", "sockmap"),
        ("sk_redirect_hash msg_redirect_hash sock_hash_update", "sockhash"),
        ("get_local_storage", "cgroup_storage percpu_cgroup_storage"),
        ("sk_select_reuseport", "reuseport_sockarray sockmap sockhash"),
        ("map_pop_elem", "queue stack"),
        ("map_peek_elem map_push_elem", "queue stack bloom_filter"),
        ("map_lookup_percpu_elem", "percpu_array percpu_hash lru_percpu_hash"),
        ("sk_storage_get sk_storage_delete", "sk_storage"),
        ("inode_storage_get inode_storage_delete", "inode_storage"),
        ("task_storage_get task_storage_delete", "task_storage"),
        ("cgrp_storage_get cgrp_storage_delete", "cgrp_storage"),
    )
    for helper in helpers.split()
}
