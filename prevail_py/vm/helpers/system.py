"""Helpers that ask about time, chance, the CPU and the current process, and those that read foreign memory."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine

__all__ = [
    "get_current_cgroup_id",
    "get_current_comm",
    "get_current_pid_tgid",
    "get_current_task",
    "get_current_uid_gid",
    "get_numa_node_id",
    "get_prandom_u32",
    "get_smp_processor_id",
    "jiffies64",
    "ktime_get_ns",
    "probe_read",
    "probe_read_kernel",
    "probe_read_kernel_str",
    "probe_read_str",
    "probe_read_user",
    "probe_read_user_str",
]

_NANOSECONDS_PER_JIFFY: Final = 4_000_000
_USER_END: Final = 0x7FFF_FFFF_F000  # addresses of x86-64: TASK_SIZE_MAX, and where the other canonical half begins
_KERNEL_START: Final = 0xFFFF_8000_0000_0000
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


def probe_read(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read memory of user space or of the kernel, by the address."""
    reader = probe_read_user if arguments[2].value < _USER_END else probe_read_kernel
    return reader(machine, arguments)


def probe_read_user(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read memory of user space, of which there is none: it fails as in Linux, and leaves zeros."""
    buffer, address = arguments[0], arguments[2].value
    buffer.fill(bytes(buffer.extent))
    return 0 if buffer.extent == 0 and address < _USER_END else -errno.EFAULT


def probe_read_kernel(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read memory of the kernel, of which there is none: it fails as in Linux, and leaves zeros."""
    buffer, address = arguments[0], arguments[2].value
    buffer.fill(bytes(buffer.extent))
    if address < _KERNEL_START:
        return -errno.ERANGE
    return -errno.EFAULT if buffer.extent else 0


def probe_read_kernel_str(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a string of the kernel: like :func:`probe_read_kernel`, but no byte can be read from anywhere."""
    return probe_read_kernel(machine, arguments) if arguments[0].extent else 0


def probe_read_user_str(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a string of user space: like :func:`probe_read_user`, but no byte can be read from anywhere."""
    return probe_read_user(machine, arguments) if arguments[0].extent else 0


def probe_read_str(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a string of user space or of the kernel, by the address."""
    return probe_read(machine, arguments) if arguments[0].extent else 0
