"""How much of each helper the machine models: data for people, from which a table in the documentation is made."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple

from prevail_py.vm.helpers.table import HELPERS

__all__ = ["Level", "Support", "support_of"]


class Level(Enum):
    """How much of a helper there is."""

    FULL = "full"
    """It does what it does in Linux, as far as the program and its user can see."""
    GIVEN = "given"
    """What it finds is what the environment says; by default there is nothing."""
    NOTED = "noted"
    """Its effect on the world is noted in the environment."""
    FAILS = "fails"
    """It returns the error that it returns where there is nothing to be found."""
    TRAP = "trap"
    """Calling it is a trap that names it."""


class Support(NamedTuple):
    """A level, and what one should know beside it."""

    level: Level
    note: str = ""


_NO_STATISTICS: Final = "what TCP knows about a connection is not modelled: a trap for TCP sockets, null for others"
_ONE_GROUP: Final = "the root is the only control group"
_NO_STACK: Final = "-EFAULT: there are no stacks to walk"
_NO_TUNNEL: Final = "no packet arrives from a tunnel"

_SUPPORT: Final[Mapping[str, Support]] = MappingProxyType({
    "bpf_bind": Support(Level.NOTED, "the address is `bound` in the environment"),
    "bpf_check_mtu": Support(Level.GIVEN, "`interfaces`; the loopback by default; packets are never segmented (GSO)"),
    "bpf_clone_redirect": Support(Level.NOTED, "`clones`; interfaces are those of the environment"),
    "bpf_copy_from_user": Support(Level.GIVEN, "`foreign` memory; -EFAULT and zeros without"),
    "bpf_csum_level": Support(Level.FULL, "no checksum is known to be right at first"),
    "bpf_csum_update": Support(Level.FAILS, "-ENOTSUPP: no device computes checksums of packets"),
    "bpf_current_task_under_cgroup": Support(Level.FAILS, "-EAGAIN: no map holds control groups"),
    "bpf_fib_lookup": Support(Level.GIVEN, "`routes`; 4 (not forwarded) without"),
    "bpf_get_attach_cookie": Support(Level.GIVEN, "`cookie`"),
    "bpf_get_branch_snapshot": Support(Level.FAILS, "-ENOENT: the processor records no branches"),
    "bpf_get_cgroup_classid": Support(Level.FULL, "0: no class was set"),
    "bpf_get_current_ancestor_cgroup_id": Support(Level.FULL, _ONE_GROUP),
    "bpf_get_current_cgroup_id": Support(Level.FULL, _ONE_GROUP),
    "bpf_get_current_comm": Support(Level.GIVEN, "`comm`"),
    "bpf_get_current_pid_tgid": Support(Level.GIVEN, "`pid`, `tgid`"),
    "bpf_get_current_task": Support(Level.FULL, "an address at which nothing can be read"),
    "bpf_get_current_uid_gid": Support(Level.GIVEN, "`uid`, `gid`"),
    "bpf_get_func_ip": Support(Level.FAILS, "0: no function is traced"),
    "bpf_get_hash_recalc": Support(Level.FULL, "depends on `seed`, as it depends on a secret of the machine in Linux"),
    "bpf_get_netns_cookie": Support(Level.FULL, "1: there is only the first network namespace"),
    "bpf_get_ns_current_pid_tgid": Support(Level.FAILS, "-EINVAL: no namespace has the number asked for"),
    "bpf_get_prandom_u32": Support(Level.FULL, "from `seed`"),
    "bpf_get_retval": Support(Level.GIVEN, "`hook_result`"),
    "bpf_get_route_realm": Support(Level.FULL, "0: packets have no route"),
    "bpf_get_smp_processor_id": Support(Level.GIVEN, "`cpu`"),
    "bpf_get_socket_cookie": Support(Level.GIVEN, "`socket`; 0 without"),
    "bpf_get_socket_uid": Support(Level.GIVEN, "`socket`; 65534 without"),
    "bpf_get_stack": Support(Level.FAILS, _NO_STACK),
    "bpf_get_stackid": Support(Level.FAILS, _NO_STACK),
    "bpf_getsockopt": Support(Level.GIVEN, "`socket_options`; 0 without"),
    "bpf_jiffies64": Support(Level.GIVEN, "the clock of the environment: `now`, `tick`; 250 a second"),
    "bpf_ktime_get_boot_ns": Support(Level.GIVEN, "the clock of the environment: `now`, `tick`"),
    "bpf_ktime_get_coarse_ns": Support(Level.GIVEN, "the clock of the environment: `now`, `tick`"),
    "bpf_ktime_get_ns": Support(Level.GIVEN, "the clock of the environment: `now`, `tick`"),
    "bpf_ktime_get_tai_ns": Support(Level.GIVEN, "the clock of the environment: `now`, `tick`"),
    "bpf_perf_event_output": Support(Level.FULL, "every CPU has an event in the map"),
    "bpf_perf_event_read": Support(Level.FAILS, "-ENOENT: no counters are attached"),
    "bpf_perf_event_read_value": Support(Level.FAILS, "-ENOENT and zeros: no counters are attached"),
    "bpf_probe_read": Support(Level.GIVEN, "`foreign` memory; -EFAULT and zeros without"),
    "bpf_probe_read_kernel": Support(Level.GIVEN, "`foreign` memory; -EFAULT or -ERANGE and zeros without"),
    "bpf_probe_read_kernel_str": Support(Level.GIVEN, "`foreign` memory; -EFAULT or -ERANGE and zeros without"),
    "bpf_probe_read_str": Support(Level.GIVEN, "`foreign` memory; -EFAULT and zeros without"),
    "bpf_probe_read_user": Support(Level.GIVEN, "`foreign` memory; -EFAULT and zeros without"),
    "bpf_probe_read_user_str": Support(Level.GIVEN, "`foreign` memory; -EFAULT and zeros without"),
    "bpf_probe_write_user": Support(Level.FAILS, "-EPERM"),
    "bpf_read_branch_records": Support(Level.FAILS, "-ENOENT: no branches come with an event"),
    "bpf_redirect": Support(Level.FULL, "where to is in `Execution.redirect`"),
    "bpf_redirect_map": Support(Level.FULL, "where to is in `Execution.redirect`"),
    "bpf_redirect_neigh": Support(Level.FULL, "where to is in `Execution.redirect`, without the neighbour"),
    "bpf_redirect_peer": Support(Level.FULL, "where to is in `Execution.redirect`"),
    "bpf_send_signal": Support(Level.NOTED, "`signals`"),
    "bpf_send_signal_thread": Support(Level.NOTED, "`signals`"),
    "bpf_set_retval": Support(Level.NOTED, "`hook_result`"),
    "bpf_setsockopt": Support(Level.NOTED, "`socket_options`; options that Linux refuses are refused"),
    "bpf_sk_ancestor_cgroup_id": Support(Level.FULL, _ONE_GROUP),
    "bpf_sk_assign": Support(Level.FAILS, "-EOPNOTSUPP: no packet is on ingress"),
    "bpf_sk_cgroup_id": Support(Level.FULL, _ONE_GROUP),
    "bpf_sk_lookup_tcp": Support(Level.GIVEN, "`sockets`; null without"),
    "bpf_sk_lookup_udp": Support(Level.GIVEN, "`sockets`; null without"),
    "bpf_skb_ancestor_cgroup_id": Support(Level.GIVEN, "`socket`; 0 without"),
    "bpf_skb_cgroup_classid": Support(Level.FULL, "0: no class was set"),
    "bpf_skb_cgroup_id": Support(Level.GIVEN, "`socket`; 0 without"),
    "bpf_skb_get_tunnel_key": Support(Level.FULL, f"what the program set before; {_NO_TUNNEL}"),
    "bpf_skb_get_tunnel_opt": Support(Level.FAILS, f"-ENOENT: {_NO_TUNNEL}"),
    "bpf_skb_get_xfrm_state": Support(Level.FAILS, "-EINVAL: no packet comes from IPsec"),
    "bpf_skb_set_tunnel_opt": Support(Level.FULL, "checked, then forgotten"),
    "bpf_skb_under_cgroup": Support(Level.FAILS, "-EAGAIN: no map holds control groups; -ENOENT without `socket`"),
    "bpf_skc_lookup_tcp": Support(Level.GIVEN, "`sockets`; null without"),
    "bpf_spin_lock": Support(Level.FULL, "meanwhile a second lock, another helper, and the end are traps"),
    "bpf_tcp_sock": Support(Level.FAILS, _NO_STATISTICS),
    "bpf_trace_printk": Support(Level.NOTED, "`log`"),
    "bpf_trace_vprintk": Support(Level.NOTED, "`log`"),
})  # fmt: skip


def support_of(helper: str) -> Support:
    """How much there is of the helper with this name."""
    if helper not in HELPERS:
        return Support(Level.TRAP)
    return _SUPPORT.get(helper, Support(Level.FULL))
