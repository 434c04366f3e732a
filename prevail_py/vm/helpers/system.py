"""Helpers that ask about time, chance, the CPU, the current process, and what is traced."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.maps import map_argument
from prevail_py.vm.machine import Machine

__all__ = [
    "current_task_under_cgroup",
    "get_attach_cookie",
    "get_branch_snapshot",
    "get_current_ancestor_cgroup_id",
    "get_current_cgroup_id",
    "get_current_comm",
    "get_current_pid_tgid",
    "get_current_task",
    "get_current_uid_gid",
    "get_func_ip",
    "get_ns_current_pid_tgid",
    "get_numa_node_id",
    "get_prandom_u32",
    "get_smp_processor_id",
    "get_stack",
    "get_stackid",
    "jiffies64",
    "ktime_get_ns",
    "perf_event_read",
    "perf_event_read_value",
    "read_branch_records",
    "send_signal",
]

_NANOSECONDS_PER_JIFFY: Final = 4_000_000
_LAST_SIGNAL: Final = 64
_CURRENT_CPU: Final = 0xFFFFFFFF
_EVENT_VALUE: Final = 24  # struct bpf_perf_event_value
_STACK_ID_FLAGS: Final = 0x7FF  # BPF_F_SKIP_FIELD_MASK, _USER_STACK, _FAST_STACK_CMP, _REUSE_STACKID
_USER_STACK, _USER_BUILD_ID, _STACK_BUILD_ID = 1 << 8, 1 << 11, 32
_CURRENT_TASK: Final = 0xFFFF_8880_0000_4000  # in Linux's direct mapping, and far from all regions


def ktime_get_ns(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Nanoseconds since boot, for every clock that helpers can read."""
    return machine.environment.read_clock()


def jiffies64(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Ticks since boot, 250 per second."""
    return machine.environment.read_clock() // _NANOSECONDS_PER_JIFFY


def get_prandom_u32(machine: Machine, arguments: Sequence[Argument]) -> int:
    """A pseudo-random number."""
    return machine.environment.random_u32()


def get_smp_processor_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The CPU that runs the program."""
    return machine.environment.cpu


def get_numa_node_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The memory node of the CPU: there is only one."""
    return 0


def get_current_pid_tgid(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Process and thread."""
    return machine.environment.tgid << 32 | machine.environment.pid


def get_current_uid_gid(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Group and user."""
    return machine.environment.gid << 32 | machine.environment.uid


def get_current_cgroup_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The root control group."""
    return 1


def get_current_task(machine: Machine, arguments: Sequence[Argument]) -> int:
    """A number that is the address of nothing a program can read."""
    return _CURRENT_TASK


def get_current_comm(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The name of the current process, padded with zeros, at least one."""
    buffer = arguments[0]
    buffer.fill(machine.environment.comm[: buffer.extent - 1].ljust(buffer.extent, b"\0"))
    return 0


def get_ns_current_pid_tgid(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Process and thread as a namespace numbers them: no namespace has the number that is asked for."""
    arguments[2].fill(bytes(arguments[2].extent))
    return -errno.EINVAL


def get_current_ancestor_cgroup_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The group so many levels below the root from which the current one, the root, descends: itself, or none."""
    return int(arguments[0].u32 == 0)


def current_task_under_cgroup(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Whether the current process is in a group of the map, which holds none."""
    map = map_argument(machine, arguments[0])
    return -errno.E2BIG if arguments[1].u32 >= map.spec.max_entries else -errno.EAGAIN


def send_signal(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Send a signal to the current process or thread: it is noted."""
    signal = arguments[0].u32
    if signal > _LAST_SIGNAL:
        return -errno.EINVAL
    machine.environment.signals.append(signal)
    return 0


def get_attach_cookie(machine: Machine, arguments: Sequence[Argument]) -> int:
    """What the program was attached with."""
    return machine.environment.cookie


def get_func_ip(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The address of the traced function: 0, as for a probe that is not at the beginning of one."""
    return 0


# What needs events, stacks or branch records, of which there are none ------------------------------------------------


def perf_event_read(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a counter: none is attached."""
    return _counter_error(machine, arguments)


def perf_event_read_value(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a counter with its times: none is attached."""
    to = arguments[2]
    to.fill(bytes(to.extent))
    return _counter_error(machine, arguments) if to.extent == _EVENT_VALUE else -errno.EINVAL


def _counter_error(machine: Machine, arguments: Sequence[Argument]) -> int:
    events, flags = map_argument(machine, arguments[0]), arguments[1].value
    index = flags & _CURRENT_CPU
    if flags & ~_CURRENT_CPU:
        return -errno.EINVAL
    if index == _CURRENT_CPU:
        index = machine.environment.cpu
    return -errno.E2BIG if index >= (events.spec.max_entries or machine.environment.cpus) else -errno.ENOENT


def get_stack(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The stack of what is traced: there is none."""
    to, flags = arguments[1], arguments[3].value
    to.fill(bytes(to.extent))
    build_ids = flags & _USER_BUILD_ID
    if flags & ~(0xFF | _USER_STACK | _USER_BUILD_ID) or (build_ids and not flags & _USER_STACK):
        return -errno.EINVAL
    return -errno.EINVAL if to.extent % (_STACK_BUILD_ID if build_ids else 8) else -errno.EFAULT


def get_stackid(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The number of the stack of what is traced: there is none."""
    return -errno.EINVAL if arguments[2].value & ~_STACK_ID_FLAGS else -errno.EFAULT


def get_branch_snapshot(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The branches taken last: the processor does not record them."""
    arguments[0].fill(b"")
    return -errno.ENOENT


def read_branch_records(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The branches that came with an event: none did."""
    return -errno.EINVAL if arguments[3].value & ~1 else -errno.ENOENT
