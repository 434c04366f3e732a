"""Functions of libbpf that a host cannot have: each says ``-EOPNOTSUPP``, or None with ``errno`` set, and why.

They are here so that a program that was written for libbpf gets the error that it handles, and not a NameError.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any, Final

from prevail_py.libbpf.errors import number, pointer, refuse

__all__ = [
    "REASONS",
    "bpf_btf_get_fd_by_id",
    "bpf_btf_get_fd_by_id_opts",
    "bpf_btf_get_next_id",
    "bpf_btf_load",
    "bpf_enable_stats",
    "bpf_iter_create",
    "bpf_linker__add_file",
    "bpf_linker__finalize",
    "bpf_linker__free",
    "bpf_linker__new",
    "bpf_map__attach_struct_ops",
    "bpf_object__attach_skeleton",
    "bpf_object__btf_fd",
    "bpf_object__destroy_skeleton",
    "bpf_object__destroy_subskeleton",
    "bpf_object__detach_skeleton",
    "bpf_object__gen_loader",
    "bpf_object__load_skeleton",
    "bpf_object__open_skeleton",
    "bpf_object__open_subskeleton",
    "bpf_prog_bind_map",
    "bpf_prog_linfo__free",
    "bpf_prog_linfo__lfind",
    "bpf_prog_linfo__lfind_addr_func",
    "bpf_prog_linfo__new",
    "bpf_program__attach_cgroup",
    "bpf_program__attach_freplace",
    "bpf_program__attach_iter",
    "bpf_program__attach_kprobe",
    "bpf_program__attach_kprobe_multi_opts",
    "bpf_program__attach_kprobe_opts",
    "bpf_program__attach_ksyscall",
    "bpf_program__attach_lsm",
    "bpf_program__attach_netns",
    "bpf_program__attach_perf_event",
    "bpf_program__attach_perf_event_opts",
    "bpf_program__attach_raw_tracepoint",
    "bpf_program__attach_trace",
    "bpf_program__attach_trace_opts",
    "bpf_program__attach_tracepoint",
    "bpf_program__attach_tracepoint_opts",
    "bpf_program__attach_uprobe",
    "bpf_program__attach_uprobe_opts",
    "bpf_program__attach_usdt",
    "bpf_program__set_attach_target",
    "bpf_raw_tracepoint_open",
    "bpf_task_fd_query",
    "bpf_tc_attach",
    "bpf_tc_detach",
    "bpf_tc_hook_create",
    "bpf_tc_hook_destroy",
    "bpf_tc_query",
    "btf__load_from_kernel_by_id",
    "btf__load_into_kernel",
    "libbpf_register_prog_handler",
    "libbpf_unregister_prog_handler",
    "perf_buffer__buffer",
    "perf_buffer__buffer_fd",
    "perf_buffer__epoll_fd",
    "ring_buffer__epoll_fd",
    "user_ring_buffer__discard",
    "user_ring_buffer__free",
    "user_ring_buffer__new",
    "user_ring_buffer__reserve",
    "user_ring_buffer__reserve_blocking",
    "user_ring_buffer__submit",
]

_BTF: Final = "a host holds no BTF"
_ELSEWHERE: Final = "a host attaches to its own hooks, and to nothing in the kernel"
_SKELETON: Final = "skeletons are C: use Object"
_LINKER: Final = "objects are linked by `bpftool gen object`, or by llvm-link"
_TC: Final = "a host has no traffic control"
_EPOLL: Final = "records come over the socket of the host: use poll"
_USER_RING: Final = "a host has no maps of this type"
_LINES: Final = "the lines of a program come with its object file"


@dataclass(frozen=True, slots=True)
class _Number:
    """A function that refuses, and returns a number."""

    reason: str

    def __call__(self, *arguments: Any, **named: Any) -> int:
        return _refuse_number(self.reason)


@dataclass(frozen=True, slots=True)
class _Pointer:
    """A function that refuses, and returns a pointer."""

    reason: str

    def __call__(self, *arguments: Any, **named: Any) -> None:
        _refuse_pointer(self.reason)


@number
def _refuse_number(reason: str) -> int:
    raise refuse(errno.EOPNOTSUPP, reason)


@pointer
def _refuse_pointer(reason: str) -> None:
    raise refuse(errno.EOPNOTSUPP, reason)


def _nothing(*arguments: Any) -> None:
    """There is nothing to be given back."""


bpf_btf_get_fd_by_id = _Number(_BTF)
bpf_btf_get_fd_by_id_opts = _Number(_BTF)
bpf_btf_get_next_id = _Number(_BTF)
bpf_btf_load = _Number(_BTF)
bpf_enable_stats = _Number("a host always counts runs and their time")
bpf_iter_create = _Number("a host has no iterators")
bpf_linker__add_file = _Number(_LINKER)
bpf_linker__finalize = _Number(_LINKER)
bpf_linker__free = _nothing
bpf_linker__new = _Pointer(_LINKER)
bpf_map__attach_struct_ops = _Pointer(_ELSEWHERE)
bpf_object__attach_skeleton = _Number(_SKELETON)
bpf_object__btf_fd = _Number(_BTF)
bpf_object__destroy_skeleton = _nothing
bpf_object__destroy_subskeleton = _nothing
bpf_object__detach_skeleton = _nothing
bpf_object__gen_loader = _Number("a host takes programs, and no loaders of them")
bpf_object__load_skeleton = _Number(_SKELETON)
bpf_object__open_skeleton = _Number(_SKELETON)
bpf_object__open_subskeleton = _Number(_SKELETON)
bpf_prog_bind_map = _Number("a program uses the maps that it was loaded with")
bpf_prog_linfo__free = _nothing
bpf_prog_linfo__lfind = _Pointer(_LINES)
bpf_prog_linfo__lfind_addr_func = _Pointer(_LINES)
bpf_prog_linfo__new = _Pointer(_LINES)
bpf_program__attach_cgroup = _Pointer("a host has no cgroups: bpf_program__attach")
bpf_program__attach_freplace = _Pointer(_ELSEWHERE)
bpf_program__attach_iter = _Pointer(_ELSEWHERE)
bpf_program__attach_kprobe = _Pointer(_ELSEWHERE)
bpf_program__attach_kprobe_multi_opts = _Pointer(_ELSEWHERE)
bpf_program__attach_kprobe_opts = _Pointer(_ELSEWHERE)
bpf_program__attach_ksyscall = _Pointer(_ELSEWHERE)
bpf_program__attach_lsm = _Pointer(_ELSEWHERE)
bpf_program__attach_netns = _Pointer(_ELSEWHERE)
bpf_program__attach_perf_event = _Pointer(_ELSEWHERE)
bpf_program__attach_perf_event_opts = _Pointer(_ELSEWHERE)
bpf_program__attach_raw_tracepoint = _Pointer(_ELSEWHERE)
bpf_program__attach_trace = _Pointer(_ELSEWHERE)
bpf_program__attach_trace_opts = _Pointer(_ELSEWHERE)
bpf_program__attach_tracepoint = _Pointer(_ELSEWHERE)
bpf_program__attach_tracepoint_opts = _Pointer(_ELSEWHERE)
bpf_program__attach_uprobe = _Pointer(_ELSEWHERE)
bpf_program__attach_uprobe_opts = _Pointer(_ELSEWHERE)
bpf_program__attach_usdt = _Pointer(_ELSEWHERE)
bpf_program__set_attach_target = _Number(_ELSEWHERE)
bpf_raw_tracepoint_open = _Number(_ELSEWHERE)
bpf_task_fd_query = _Number(_ELSEWHERE)
bpf_tc_attach = _Number(_TC)
bpf_tc_detach = _Number(_TC)
bpf_tc_hook_create = _Number(_TC)
bpf_tc_hook_destroy = _Number(_TC)
bpf_tc_query = _Number(_TC)
btf__load_from_kernel_by_id = _Pointer(_BTF)
btf__load_into_kernel = _Number(_BTF)
libbpf_register_prog_handler = _Number("hooks are added by entry points")
libbpf_unregister_prog_handler = _Number("hooks are added by entry points")
perf_buffer__buffer = _Number(_EPOLL)
perf_buffer__buffer_fd = _Number(_EPOLL)
perf_buffer__epoll_fd = _Number(_EPOLL)
ring_buffer__epoll_fd = _Number(_EPOLL)
user_ring_buffer__discard = _nothing
user_ring_buffer__free = _nothing
user_ring_buffer__new = _Pointer(_USER_RING)
user_ring_buffer__reserve = _Pointer(_USER_RING)
user_ring_buffer__reserve_blocking = _Pointer(_USER_RING)
user_ring_buffer__submit = _nothing

REASONS: Final = {
    name: found.reason for name, found in list(globals().items()) if isinstance(found, _Number | _Pointer)
}
"""By name: why not."""
