"""Linux program types: numbers, contexts, packet access, return values (uapi ``linux/bpf.h``, ``verifier.c``, 6.12).

The accesses that a context allows are measured and live in ``contexts.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from prevail_py.platforms.model import AttachRule, ContextAccess

__all__ = ["ATTACH_RULES", "ATTACH_TYPES", "FLAG_HOOKS", "HOOK_RULES", "PROGRAM_TYPES", "PROGRAM_TYPE_NUMBERS", "Row"]


class Row(NamedTuple):
    """One program type.

    ``packet``: direct packet access, "" none, "r" read only, "rw" read and write (may_access_direct_pkt_data).
    ``returns``: bounds of R0 that check_return_code enforces whatever the attach type.
    """

    number: int
    context: str = ""
    size: int = 0
    packet: str = ""
    returns: tuple[int, int] | None = None


PROGRAM_TYPES: Mapping[str, Row] = {
    "unspec":                  Row(0),
    "socket_filter":           Row(1, "__sk_buff", 192),
    "kprobe":                  Row(2, "pt_regs", 168),
    "sched_cls":               Row(3, "__sk_buff", 192, "rw"),
    "sched_act":               Row(4, "__sk_buff", 192, "rw"),
    "tracepoint":              Row(5, "", 8192),
    "xdp":                     Row(6, "xdp_md", 24, "rw"),
    "perf_event":              Row(7, "bpf_perf_event_data", 184),
    "cgroup_skb":              Row(8, "__sk_buff", 192, "r", (0, 1)),
    "cgroup_sock":             Row(9, "bpf_sock", 80, "", (0, 1)),
    "lwt_in":                  Row(10, "__sk_buff", 192, "r"),
    "lwt_out":                 Row(11, "__sk_buff", 192, "r"),
    "lwt_xmit":                Row(12, "__sk_buff", 192, "rw"),
    "sock_ops":                Row(13, "bpf_sock_ops", 224, "", (0, 1)),
    "sk_skb":                  Row(14, "__sk_buff", 192, "rw"),
    "cgroup_device":           Row(15, "bpf_cgroup_dev_ctx", 12, "", (0, 1)),
    "sk_msg":                  Row(16, "sk_msg_md", 80, "rw"),
    "raw_tracepoint":          Row(17, "bpf_raw_tracepoint_args", 96),
    "cgroup_sock_addr":        Row(18, "bpf_sock_addr", 72, "", (0, 1)),
    "lwt_seg6local":           Row(19, "__sk_buff", 192, "r"),
    "lirc_mode2":              Row(20, "", 4),
    "sk_reuseport":            Row(21, "sk_reuseport_md", 56, "r"),
    "flow_dissector":          Row(22, "__sk_buff", 192, "r"),
    "cgroup_sysctl":           Row(23, "bpf_sysctl", 8, "", (0, 1)),
    "raw_tracepoint_writable": Row(24, "bpf_raw_tracepoint_args", 96),
    "cgroup_sockopt":          Row(25, "bpf_sockopt", 40, "rw", (0, 1)),
    "tracing":                 Row(26),
    "struct_ops":              Row(27),
    "ext":                     Row(28),
    "lsm":                     Row(29),
    "sk_lookup":               Row(30, "bpf_sk_lookup", 72, "", (0, 1)),
    "syscall":                 Row(31, "", 65535),
    "netfilter":               Row(32, "bpf_nf_ctx", 16, "", (0, 1)),
}  # fmt: skip

PROGRAM_TYPE_NUMBERS: Mapping[str, int] = {name: row.number for name, row in PROGRAM_TYPES.items()}

# enum bpf_attach_type in order: its names without BPF_, in lower case.
_ATTACH_TYPES = """
    cgroup_inet_ingress cgroup_inet_egress cgroup_inet_sock_create cgroup_sock_ops sk_skb_stream_parser
    sk_skb_stream_verdict cgroup_device sk_msg_verdict cgroup_inet4_bind cgroup_inet6_bind cgroup_inet4_connect
    cgroup_inet6_connect cgroup_inet4_post_bind cgroup_inet6_post_bind cgroup_udp4_sendmsg cgroup_udp6_sendmsg
    lirc_mode2 flow_dissector cgroup_sysctl cgroup_udp4_recvmsg cgroup_udp6_recvmsg cgroup_getsockopt
    cgroup_setsockopt trace_raw_tp trace_fentry trace_fexit modify_return lsm_mac trace_iter
    cgroup_inet4_getpeername cgroup_inet6_getpeername cgroup_inet4_getsockname cgroup_inet6_getsockname xdp_devmap
    cgroup_inet_sock_release xdp_cpumap sk_lookup xdp sk_skb_verdict sk_reuseport_select
    sk_reuseport_select_or_migrate perf_event trace_kprobe_multi lsm_cgroup struct_ops netfilter tcx_ingress
    tcx_egress trace_uprobe_multi cgroup_unix_connect cgroup_unix_sendmsg cgroup_unix_recvmsg
    cgroup_unix_getpeername cgroup_unix_getsockname netkit_primary netkit_peer trace_kprobe_session
    trace_uprobe_session
"""

ATTACH_TYPES: Mapping[str, int] = {name: number for number, name in enumerate(_ATTACH_TYPES.split())}


def _word(first: int, last: int) -> tuple[ContextAccess, ...]:
    """Aligned accesses of 1, 2 and 4 bytes to the 32-bit fields at offsets ``first`` to ``last``."""
    return tuple(ContextAccess(size, first, last + 4 - size) for size in (1, 2, 4))


# struct bpf_sock_addr: user_ip4 at 4, user_ip6 at 8..20, msg_src_ip4 at 40, msg_src_ip6 at 44..56 belong to one
# address family each; the contexts were measured for IPv4.
_IP4 = (4, 8)
_IP6_READS = (*_word(8, 20), ContextAccess(8, 8, 16))
_IP6_WRITES = (ContextAccess(4, 8, 20), ContextAccess(8, 8, 16))
_SOURCE6_READS = (*_word(44, 56), ContextAccess(8, 48, 48))
_SOURCE6_WRITES = (ContextAccess(4, 44, 56), ContextAccess(8, 48, 48))
# struct bpf_sock: bound_dev_if at 0, mark at 16, priority at 20 belong to socket creation and release only, the
# source address and port at 24, 28..40 and 44 to post_bind.
_ADDR6 = AttachRule(reads=_IP6_READS, writes=_IP6_WRITES, hidden=_IP4)
_UNIX = AttachRule(hidden=_IP4)

ATTACH_RULES: Mapping[str, AttachRule] = {
    "xdp_devmap": AttachRule(reads=(ContextAccess(4, 20, 20),)),  # egress_ifindex
    "cgroup_inet_egress": AttachRule(return_range=(0, 3)),
    "cgroup_inet4_bind": AttachRule(return_range=(0, 3)),
    "cgroup_inet6_bind": AttachRule((0, 3), _IP6_READS, _IP6_WRITES, _IP4),
    "cgroup_inet6_connect": _ADDR6,
    "cgroup_udp4_sendmsg": AttachRule(reads=_word(40, 40), writes=(ContextAccess(4, 40, 40),)),
    "cgroup_udp6_sendmsg": AttachRule(None, _IP6_READS + _SOURCE6_READS, _IP6_WRITES + _SOURCE6_WRITES, _IP4),
    "cgroup_udp4_recvmsg": AttachRule(return_range=(1, 1)),
    "cgroup_udp6_recvmsg": AttachRule((1, 1), _IP6_READS, _IP6_WRITES, _IP4),
    "cgroup_inet4_getpeername": AttachRule(return_range=(1, 1)),
    "cgroup_inet6_getpeername": AttachRule((1, 1), _IP6_READS, _IP6_WRITES, _IP4),
    "cgroup_inet4_getsockname": AttachRule(return_range=(1, 1)),
    "cgroup_inet6_getsockname": AttachRule((1, 1), _IP6_READS, _IP6_WRITES, _IP4),
    "cgroup_unix_connect": _UNIX,
    "cgroup_unix_sendmsg": _UNIX,
    "cgroup_unix_recvmsg": AttachRule(return_range=(1, 1), hidden=_IP4),
    "cgroup_unix_getpeername": AttachRule(return_range=(1, 1), hidden=_IP4),
    "cgroup_unix_getsockname": AttachRule(return_range=(1, 1), hidden=_IP4),
    # What every hook takes; a hook's own range (errors -4095..0, flags 0..1, anything) depends on its prototype.
    "lsm_mac": AttachRule(return_range=(0, 0)),
    "lsm_cgroup": AttachRule(return_range=(1, 1)),
    "trace_fentry": AttachRule(return_range=(0, 0)),
    "trace_fexit": AttachRule(return_range=(0, 0)),
    "trace_iter": AttachRule(return_range=(0, 1)),
    "trace_kprobe_session": AttachRule(return_range=(0, 1)),
    "trace_uprobe_session": AttachRule(return_range=(0, 1)),
}

# Hooks of security modules by what they return (bpf_lsm_get_retval_range): nothing, a flag, or 0 or an error.
HOOK_RULES: Mapping[tuple[str, str], AttachRule] = {
    ("lsm_mac", "void"): AttachRule(),
    ("lsm_mac", "flag"): AttachRule(return_range=(0, 1)),
    ("lsm_mac", "error"): AttachRule(return_range=(-4095, 0)),
}

# Those that return a flag, though their prototypes say int (bool_lsm_hooks).
FLAG_HOOKS = frozenset({"audit_rule_known", "inode_xattr_skipcap"})
