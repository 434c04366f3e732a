"""Helpers that read and write memory which is not the program's: of the kernel, of user space.

There is what the environment says, and nothing else; reading fails as in Linux on x86-64, and leaves zeros.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from prevail_py.vm.environment import Environment
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine

__all__ = [
    "copy_from_user",
    "probe_read",
    "probe_read_kernel",
    "probe_read_kernel_str",
    "probe_read_str",
    "probe_read_user",
    "probe_read_user_str",
    "probe_write_user",
]

_USER_END: Final = 0x7FFF_FFFF_F000  # addresses of x86-64: TASK_SIZE_MAX, and where the other canonical half begins
_KERNEL_START: Final = 0xFFFF_8000_0000_0000

_Reader: TypeAlias = Callable[[Environment, int, int], bytes | None]


def probe_read_user(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read memory of user space."""
    return _read(machine, arguments, _copy, user=True)


def probe_read_kernel(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read memory of the kernel."""
    return _read(machine, arguments, _copy, user=False)


def probe_read(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read memory of user space or of the kernel, by the address."""
    return _read(machine, arguments, _copy, user=arguments[2].value < _USER_END)


def probe_read_user_str(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a string of user space: its length, with its zero, which there is even where it is cut off."""
    return _read_string(machine, arguments, user=True)


def probe_read_kernel_str(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a string of the kernel: its length, with its zero, which there is even where it is cut off."""
    return _read_string(machine, arguments, user=False)


def probe_read_str(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a string of user space or of the kernel, by the address."""
    return _read_string(machine, arguments, user=arguments[2].value < _USER_END)


def copy_from_user(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read memory of user space, in programs that may wait for it."""
    return probe_read_user(machine, arguments)


def probe_write_user(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Write memory of user space: none of it can be written."""
    return -errno.EPERM


def _copy(environment: Environment, address: int, size: int) -> bytes | None:
    return environment.read_foreign(address, size)


def _read(machine: Machine, arguments: Sequence[Argument], reader: _Reader, *, user: bool) -> int:
    to, address = arguments[0], arguments[2].value
    if not user and address < _KERNEL_START:
        content, error = None, -errno.ERANGE
    elif user and address + to.extent > _USER_END:
        content, error = None, -errno.EFAULT
    else:
        content, error = reader(machine.environment, address, to.extent) if to.extent else b"", -errno.EFAULT
    to.fill(bytes(to.extent) if content is None else content)
    return error if content is None else 0


def _read_string(machine: Machine, arguments: Sequence[Argument], *, user: bool) -> int:
    size = arguments[0].extent
    if not size:
        return 0
    length = 0

    def string(environment: Environment, address: int, size: int) -> bytes | None:
        nonlocal length
        content = environment.read_foreign_string(address, size)
        if content is None:
            return None
        length = len(content)
        return content[:-1] + b"\0"

    return _read(machine, arguments, string, user=user) or length
