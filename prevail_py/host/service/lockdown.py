"""How the verifier process gives up what it does not need, in an order in which each step is still possible."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prevail_py.host.service import landlock, seccomp

__all__ = ["Limits", "LockdownError", "close_the_door", "hide", "lock_down", "missing"]

_SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES = 4, 38
_CAPABILITY_VERSION: Final = 0x20080522


class LockdownError(RuntimeError):
    """This process cannot be confined; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory`` in bytes and ``cpu`` in seconds, beyond what the process has used once it is ready; for its life."""

    memory: int = 1 << 30
    cpu: int = 3600


def missing() -> tuple[str, ...]:
    """What a lockdown needs and this machine does not have."""
    return tuple(reason for reason in (seccomp.available(), landlock.available()) if reason is not None)


def hide() -> None:
    """Dump no core, and let nobody attach: before there is anything worth hiding.

    A signal at the parent's death (``PR_SET_PDEATHSIG``) would come when the *thread* ends that started this process.
    The end of the connection says the same, and the limit on CPU time ends what does not listen.
    """
    _prctl(_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def close_the_door(limits: Limits) -> None:
    """No new privileges, no capabilities, no new processes, no growing files, memory and time within ``limits``."""
    _prctl(_SET_NO_NEW_PRIVILEGES, 1)
    _drop_capabilities()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    seconds = math.ceil(time.process_time()) + limits.cpu
    memory = pages * resource.getpagesize() + limits.memory
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def lock_down(limits: Limits, channel: int, *, required: bool = True) -> tuple[str, ...]:
    """All of it, for ever; what is missing here, which must be nothing if ``required``.  :func:`hide` comes before.

    Raises :class:`LockdownError` and OSError.
    """
    lacking = missing()
    if lacking and required:
        raise LockdownError("; ".join(lacking))
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise LockdownError(f"{threads} threads, where Landlock binds only one")
    close_the_door(limits)
    if landlock.available() is None:
        landlock.restrict()
    if seccomp.available() is None:
        seccomp.install(seccomp.rules(channel))
    return lacking


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _drop_capabilities() -> None:
    """Even root's: an empty set of each kind (``capset(2)``)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(ctypes.byref(header), ctypes.byref(data)):
        raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero):
        raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")
