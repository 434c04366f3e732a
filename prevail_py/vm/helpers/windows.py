"""Helpers that only eBPF for Windows has: memory and strings with sizes, clocks in milliseconds, who asks.

What they do is what ``include/bpf_helper_defs.h`` of that project says of them, and of strings what the functions of
Windows say by which they are implemented there (``RtlStringCbCopyNEx``, ``RtlStringCbCatNEx``).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.maps import map_argument, map_delete_elem, map_lookup_elem
from prevail_py.vm.machine import Machine
from prevail_py.vm.memory import Region

__all__ = [
    "get_current_logon_id",
    "get_current_process_start_key",
    "get_current_thread_create_time",
    "is_current_admin",
    "ktime_get_ms",
    "map_lookup_and_delete_elem",
    "memcmp_s",
    "memcpy_s",
    "memset",
    "set_redirect_context",
    "strncat_s",
    "strncpy_s",
    "strnlen_s",
]

_NANOSECONDS_PER_MILLISECOND: Final = 1_000_000
_SYSTEM_LOGON: Final = 0x3E7  # SYSTEM_LUID
_BOOT: Final = 1 << 48  # a process start key has the number of the boot in its highest 16 bits
_CREATED: Final = 133_801_632_000_000_000  # 1 January 2025, in units of 100 ns since 1601


def map_lookup_and_delete_elem(machine: Machine, arguments: Sequence[Argument]) -> Region | None:
    """The value with a key, which is no element any more; null where there is none, and of arrays."""
    kind = machine.platform.map_type(map_argument(machine, arguments[0]).spec.type)
    if kind is not None and kind.index_key:
        return None
    found = map_lookup_elem(machine, arguments)
    error = map_delete_elem(machine, arguments)  # of a map that programs may not change it is a violation
    return found if error == 0 else None


def memcpy_s(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Copy memory, which may overlap; nothing where there is not room for it all."""
    to, content = arguments[0], arguments[2].memory()
    fits = len(content) <= to.extent
    to.fill(content if fits else b"")
    return 0 if fits else -errno.EINVAL


def memcmp_s(machine: Machine, arguments: Sequence[Argument]) -> int:
    """-1, 0 or 1 as the first memory is less than, equal to or greater than the second; a beginning is less."""
    left, right = arguments[0].memory(), arguments[2].memory()
    return (left > right) - (left < right)


def memset(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Fill memory with the low byte of a number.  There it returns the address, which is nobody's to know: 0."""
    arguments[0].fill(bytes([arguments[2].value & 0xFF]) * arguments[0].extent)
    return 0


def strncpy_s(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Copy a string of at most so many bytes, its zero added; zeros after it.  What does not fit is cut off."""
    return _put(arguments[0], b"", _string(arguments[2].memory()))


def strncat_s(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Append a string of at most so many bytes to one; zeros after it.  What does not fit is cut off."""
    before = arguments[0].memory()
    if 0 not in before:
        return -errno.EINVAL
    return _put(arguments[0], _string(before), _string(arguments[2].memory()))


def strnlen_s(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The length of a string; that of the memory where it does not end there."""
    return len(_string(arguments[0].memory()))


def _string(memory: bytes) -> bytes:
    return memory.partition(b"\0")[0]


def _put(to: Argument, before: bytes, text: bytes) -> int:
    if to.extent == 0:
        return -errno.EINVAL
    whole = before + text
    to.fill(whole[: to.extent - 1].ljust(to.extent, b"\0"))
    return 0 if len(whole) < to.extent else -errno.ERANGE


def ktime_get_ms(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Milliseconds since boot, for both clocks."""
    return machine.environment.read_clock() // _NANOSECONDS_PER_MILLISECOND


def get_current_logon_id(machine: Machine, arguments: Sequence[Argument]) -> int:
    """The logon session of the current user: that of the system for user 0, and one for every other."""
    return _SYSTEM_LOGON + machine.environment.uid


def is_current_admin(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Whether the current user is user 0."""
    return int(machine.environment.uid == 0)


def get_current_process_start_key(machine: Machine, arguments: Sequence[Argument]) -> int:
    """A number for the current process that no other ever has: one for each process number here."""
    return _BOOT | machine.environment.tgid


def get_current_thread_create_time(machine: Machine, arguments: Sequence[Argument]) -> int:
    """When the current thread was created: always the same time."""
    return _CREATED


def set_redirect_context(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Leave something for whoever the connection is redirected to; where connections are accepted it is an error."""
    if "recv_accept" in machine.program.expected_attach_type:
        return -1
    machine.environment.redirect_context = arguments[1].memory()
    return 0
