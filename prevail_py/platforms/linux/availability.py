"""Who may call a helper, where the program type alone does not say, or the facts about helpers do not.

Found by asking Linux 6.18 about a call of each helper, for every program type, attach type and flag that a section
name stands for; ``tests/platforms/test_availability.py`` asks again.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ATTACH_TYPES_OF_HELPERS", "CALLERS"]

_TYPES = ("cgroup_device", "cgroup_sock", "cgroup_sock_addr", "cgroup_sockopt", "cgroup_sysctl")
_OPTIONS = ("cgroup_sock_addr", "cgroup_sockopt", "sock_ops")

# Program types by helper, in place of what the facts say.  Nobody: tracing, lsm and struct_ops programs, which nothing
# was measured of, may still call them.  bpf_override_return and bpf_probe_write_user are offered to tracing programs
# by kernels that are built, or locked, in another way than the one that was asked.
CALLERS: Mapping[str, tuple[str, ...]] = {
    "bpf_bind": ("cgroup_sock_addr",),
    "bpf_get_retval": _TYPES,
    "bpf_set_retval": _TYPES,
    "bpf_getsockopt": _OPTIONS,
    "bpf_setsockopt": _OPTIONS,
    **dict.fromkeys(
        (
            "bpf_probe_write_user", "bpf_override_return", "bpf_rc_repeat", "bpf_rc_keydown", "bpf_rc_pointer_rel",
            "bpf_tcp_send_ack", "bpf_seq_printf", "bpf_seq_write", "bpf_seq_printf_btf", "bpf_inode_storage_get",
            "bpf_inode_storage_delete", "bpf_bprm_opts_set", "bpf_ima_inode_hash", "bpf_ima_file_hash",
            "bpf_get_func_arg", "bpf_get_func_ret", "bpf_get_func_arg_cnt",
        ),
        (),
    ),
}  # fmt: skip

_CONNECT = frozenset({"cgroup_inet4_connect", "cgroup_inet6_connect"})
# Where the kernel looks at the result: not where nothing can be refused any more.
_DECIDING = _CONNECT | {
    "cgroup_inet4_bind", "cgroup_inet6_bind", "cgroup_udp4_sendmsg", "cgroup_udp6_sendmsg",
    "cgroup_unix_connect", "cgroup_unix_sendmsg",
}  # fmt: skip

ATTACH_TYPES_OF_HELPERS: Mapping[tuple[str, str], frozenset[str]] = {
    ("bpf_bind", "cgroup_sock_addr"): _CONNECT,
    ("bpf_get_retval", "cgroup_sock_addr"): _DECIDING,
    ("bpf_set_retval", "cgroup_sock_addr"): _DECIDING,
    ("bpf_getsockopt", "cgroup_sockopt"): frozenset({"cgroup_setsockopt"}),
    ("bpf_setsockopt", "cgroup_sockopt"): frozenset({"cgroup_setsockopt"}),
}
