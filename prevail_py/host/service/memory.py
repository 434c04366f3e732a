"""Sealed memory: bytes in a descriptor that nobody can change any more, not even who made it (``memfd_create(2)``)."""

from __future__ import annotations

import fcntl
import os
from typing import Final

__all__ = ["SEALS", "SealError", "read_sealed", "sealed"]

SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""The size is fixed, the contents are, and so are the seals."""


class SealError(ValueError):
    """A descriptor that is no sealed memory, or of the wrong size."""


def sealed(data: bytes, name: str = "prevail-py") -> int:
    """A new descriptor with ``data``, sealed; the caller closes it."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_sealed(descriptor: int, limit: int) -> bytes:
    """All bytes of a sealed descriptor.  Raises :class:`SealError` where it is not sealed or holds more than ``limit``.

    Without the seals whoever sent it could change the bytes while they are read.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        raise SealError("the descriptor is no memory that can be sealed") from None
    if seals & SEALS != SEALS:
        raise SealError("the memory is not sealed")
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size > limit:
        raise SealError(f"{size} bytes, more than {limit}")
    parts, at = [], 0
    while at < size:
        part = os.pread(descriptor, size - at, at)
        if not part:
            raise SealError("the memory is cut short")
        parts.append(part)
        at += len(part)
    return b"".join(parts)
