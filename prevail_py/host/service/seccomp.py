"""The system calls that a confined verifier may make: an allow-list, assembled to a classic BPF filter.

``seccomp(2)`` runs the filter before every system call, on ``struct seccomp_data``: the number, the architecture, the
instruction pointer, six arguments of 64 bits.  All that is not on the list fails with EPERM, so that an honest mistake
becomes an error and not a silent death; calls of another architecture's table, x32's included, kill the process, since
their numbers mean other calls.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ALLOWED",
    "ARCHITECTURES",
    "Architecture",
    "Condition",
    "Rules",
    "assemble",
    "available",
    "install",
    "rules",
]

ALLOW: Final = 0x7FFF0000
DENY: Final = 0x00050000 | errno.EPERM
KILL: Final = 0x80000000

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32_BIT: Final = 0x40000000
_INSTRUCTION: Final = struct.Struct("=HBBI")
_MASK64: Final = (1 << 64) - 1
_MASK32: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """``AUDIT_ARCH_*`` of ``linux/audit.h``, the numbers of the calls in :data:`ALLOWED`, and of ``seccomp(2)``."""

    audit: int
    numbers: Mapping[str, int]
    seccomp: int


@dataclass(frozen=True, slots=True)
class Condition:
    """Argument ``index`` of a call, as far as ``mask`` goes, must be ``value``."""

    index: int
    mask: int
    value: int


Rules = Mapping[str, Sequence[Sequence[Condition]]]
"""For each call that is allowed the alternatives, each a conjunction; one empty alternative allows it in any case."""

# fmt: off
_X86_64: Final = {
    "read": 0, "write": 1, "close": 3, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "sched_yield": 24, "mremap": 25,
    "madvise": 28, "getpid": 39, "sendto": 44, "recvmsg": 47, "exit": 60, "uname": 63, "fcntl": 72,
    "getrusage": 98, "sigaltstack": 131, "gettid": 186, "futex": 202, "restart_syscall": 219, "clock_gettime": 228,
    "clock_nanosleep": 230, "exit_group": 231, "getrandom": 318,
}
_AARCH64: Final = {
    "read": 63, "write": 64, "close": 57, "lseek": 62, "mmap": 222, "mprotect": 226, "munmap": 215,
    "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "pread64": 67, "sched_yield": 124,
    "mremap": 216, "madvise": 233, "getpid": 172, "sendto": 206, "recvmsg": 212, "exit": 93, "uname": 160,
    "fcntl": 25, "getrusage": 165, "sigaltstack": 132, "gettid": 178, "futex": 98, "restart_syscall": 128,
    "clock_gettime": 113, "clock_nanosleep": 115, "exit_group": 94, "getrandom": 278,
}
# fmt: on

ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "x86_64": Architecture(0xC000003E, _X86_64, 317),
    "aarch64": Architecture(0xC00000B7, _AARCH64, 277),
}
"""By the name that ``uname(2)`` gives; both are little-endian, on which the offsets of the halves rest."""

ALLOWED: Final = frozenset(_X86_64)
"""The calls that are allowed at all."""

_F_GET_SEALS: Final = 1034
_NOT_EXECUTABLE: Final = Condition(2, mmap.PROT_EXEC, 0)


def rules(channel: int) -> Rules:
    """The list for a verifier that talks over the socket ``channel`` and may write to standard error.

    Memory never becomes executable, nothing is sent to an address, and descriptors are asked for their seals only.
    """
    limited = {
        "write": [[Condition(0, _MASK32, 2)]],
        "sendto": [[Condition(0, _MASK32, channel), Condition(4, _MASK64, 0)]],
        "recvmsg": [[Condition(0, _MASK32, channel)]],
        "mmap": [[_NOT_EXECUTABLE]],
        "mprotect": [[_NOT_EXECUTABLE]],
        "fcntl": [[Condition(1, _MASK32, _F_GET_SEALS)]],
    }
    return {name: limited.get(name, [[]]) for name in sorted(ALLOWED)}


def assemble(allowed: Rules, architecture: Architecture) -> bytes:
    """The filter, as an array of ``struct sock_filter``.

    >>> len(assemble({"exit": [[]]}, ARCHITECTURES["aarch64"])) // 8
    7
    """
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture.audit == ARCHITECTURES["x86_64"].audit:
        code += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, KILL)]
    for name, alternatives in allowed.items():
        body = [instruction for each in alternatives for instruction in _alternative(each)]
        if any(alternatives):
            body.append((_RETURN, 0, 0, DENY))  # the number is no longer loaded: no other call can match
        code += [(_EQUAL, 0, len(body), architecture.numbers[name]), *body]
    code.append((_RETURN, 0, 0, DENY))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


def _alternative(conditions: Sequence[Condition]) -> list[tuple[int, int, int, int]]:
    """ALLOW where all ``conditions`` hold; otherwise what follows is executed."""
    words = []
    for condition in conditions:
        for half in (0, 1):
            mask = condition.mask >> 32 * half & _MASK32
            if mask:
                offset = _ARGUMENTS + 8 * condition.index + 4 * half
                words.append((offset, mask, condition.value >> 32 * half & mask))
    code: list[tuple[int, int, int, int]] = []
    for number, (offset, mask, value) in enumerate(words):
        behind = 3 * (len(words) - number - 1) + 1
        code += [(_LOAD, 0, 0, offset), (_AND, 0, 0, mask), (_EQUAL, 0, behind, value)]
    return [*code, (_RETURN, 0, 0, ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


_SET_MODE_FILTER, _GET_ACTION_AVAILABLE, _TSYNC = 1, 2, 1


def available() -> str | None:
    """Why this process could not install a filter; None where it could."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        return f"no table of system calls for {machine}"
    libc = ctypes.CDLL(None, use_errno=True)
    action = ctypes.c_uint32(KILL)
    if libc.syscall(ARCHITECTURES[machine].seccomp, _GET_ACTION_AVAILABLE, 0, ctypes.byref(action)):
        return f"seccomp: {os.strerror(ctypes.get_errno())}"
    return None


def install(allowed: Rules) -> None:
    """Put the filter over all threads of this process, for ever.  Raises OSError, also where one thread has another."""
    architecture = ARCHITECTURES[platform.machine()]
    code = assemble(allowed, architecture)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(architecture.seccomp, _SET_MODE_FILTER, _TSYNC, ctypes.byref(program))
    if result > 0:
        raise OSError(errno.EBUSY, f"thread {result} cannot take the filter")
    if result < 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
