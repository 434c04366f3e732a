"""Landlock: give up the file system, TCP ports and other processes' signals, for ever (``landlock(7)``).

The second wall behind the filter of system calls: descriptors that are open already are all that is left.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = ["available", "restrict", "version"]

# The numbers are the same on all architectures that have the calls.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_GET_VERSION: Final = 1

_FILE_RIGHTS: Final = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""The rights that each version of the interface added: all of ``LANDLOCK_ACCESS_FS_*``."""
_PORT_RIGHTS: Final = 0b11  # bind and connect TCP, version 4
_SCOPES: Final = 0b11  # abstract Unix sockets and signals, version 6


class _Attributes(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("ports", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def version() -> int:
    """The version of the interface; 0 where there is none.  Raises nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _GET_VERSION)))


def available() -> str | None:
    """Why this process could not restrict itself; None where it could."""
    return None if version() else "the kernel does not offer Landlock"


def restrict() -> None:
    """Allow this thread, and those it will start, nothing that Landlock can forbid.  Needs "no new privileges".

    Raises OSError.
    """
    known = version()
    attributes = _Attributes(
        sum(rights for since, rights in _FILE_RIGHTS.items() if since <= known),
        _PORT_RIGHTS if known >= 4 else 0,
        _SCOPES if known >= 6 else 0,
    )
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    libc = ctypes.CDLL(None, use_errno=True)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    try:
        if libc.syscall(_RESTRICT_SELF, ruleset, 0):
            raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(ruleset)
