"""Results of the functions that eBPF for Windows has: ``ebpf_result_t`` of its ``ebpf_result.h``."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec

from prevail_py.libbpf import errors

__all__ = [
    "EBPF_ACCESS_DENIED",
    "EBPF_FAILED",
    "EBPF_INSUFFICIENT_BUFFER",
    "EBPF_INVALID_ARGUMENT",
    "EBPF_NO_MORE_KEYS",
    "EBPF_OBJECT_NOT_FOUND",
    "EBPF_SUCCESS",
    "EBPF_VERIFICATION_FAILED",
    "with_result",
]

P = ParamSpec("P")

EBPF_SUCCESS, EBPF_VERIFICATION_FAILED = 0, 1
EBPF_INVALID_FD, EBPF_INVALID_ARGUMENT, EBPF_OBJECT_NOT_FOUND = 4, 6, 7
EBPF_NO_MEMORY, EBPF_FAILED = 12, 17
EBPF_OPERATION_NOT_SUPPORTED, EBPF_ACCESS_DENIED = 18, 20
EBPF_INSUFFICIENT_BUFFER, EBPF_NO_MORE_KEYS = 24, 25

_RESULTS: Final = {
    errno.EBADF: EBPF_INVALID_FD,
    errno.EINVAL: EBPF_INVALID_ARGUMENT,
    errno.ENOENT: EBPF_OBJECT_NOT_FOUND,
    errno.ENOMEM: EBPF_NO_MEMORY,
    errno.EOPNOTSUPP: EBPF_OPERATION_NOT_SUPPORTED,
    errno.EACCES: EBPF_VERIFICATION_FAILED,
    errno.EPERM: EBPF_ACCESS_DENIED,
    errno.EFAULT: EBPF_INSUFFICIENT_BUFFER,
}


def with_result(function: Callable[P, int]) -> Callable[P, int]:
    """A function whose failures are an ``ebpf_result_t``, with ``errno`` set."""

    numbered = errors.number(function)

    @wraps(function)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> int:
        found = numbered(*arguments, **named)
        return found if found >= 0 else _RESULTS.get(-found, EBPF_FAILED)

    return wrapped
