"""libbpf 1.x's way of reporting errors: a negative error number, or None with ``errno`` set."""

from __future__ import annotations

import errno as numbers
import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

__all__ = [
    "LIBBPF_DEBUG",
    "LIBBPF_INFO",
    "LIBBPF_WARN",
    "errno",
    "last_error",
    "libbpf_get_error",
    "libbpf_set_print",
    "libbpf_set_strict_mode",
    "libbpf_strerror",
    "number",
    "pointer",
]

LIBBPF_WARN, LIBBPF_INFO, LIBBPF_DEBUG = 0, 1, 2

P = ParamSpec("P")
T = TypeVar("T")

Print: TypeAlias = Callable[[int, str], Any]

_STATE: Final = threading.local()
_print: Print | None = None


def errno() -> int:
    """The error number of the last call of this thread that failed, as C's ``errno``."""
    value: int = getattr(_STATE, "errno", 0)
    return value


def _failed(error: OSError) -> int:
    _STATE.errno = error.errno or numbers.EIO
    _STATE.error = error
    if _print is not None:
        _print(LIBBPF_WARN, f"libbpf: {error.strerror or error}\n")
    return int(_STATE.errno)


def last_error() -> OSError | None:
    """The last failure of this thread with its message: what C programs find in libbpf's output."""
    found: OSError | None = getattr(_STATE, "error", None)
    return found


def number(function: Callable[P, int]) -> Callable[P, int]:
    """A function whose failures are negative error numbers."""

    @wraps(function)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> int:
        try:
            return function(*arguments, **named)
        except OSError as error:
            return -_failed(error)

    return wrapped


def pointer(function: Callable[P, T]) -> Callable[P, T | None]:
    """A function whose failures are None, with ``errno`` set."""

    @wraps(function)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> T | None:
        try:
            return function(*arguments, **named)
        except OSError as error:
            _failed(error)
            return None

    return wrapped


def refuse(code: int, reason: str = "") -> OSError:
    """An error to raise."""
    return OSError(code, reason or os.strerror(code))


def libbpf_set_print(fn: Print | None) -> Print | None:
    """Have ``fn(level, text)`` called for each failure, or nothing with None; what was called before.

    By default nothing is printed, where libbpf prints to standard error.
    """
    global _print
    before, _print = _print, fn
    return before


def libbpf_set_strict_mode(mode: int) -> int:
    """0: the conventions are always those of libbpf 1."""
    return 0


def libbpf_get_error(ptr: Any) -> int:
    """``-errno`` where ``ptr`` is None, else 0."""
    return 0 if ptr is not None else -errno()


def libbpf_strerror(err: int, buf: bytearray | None = None, size: int | None = None) -> str:
    """The text of an error number, of either sign; also put into ``buf``, terminated, if there is one."""
    text = os.strerror(abs(err))
    if buf is not None:
        room = min(len(buf), len(buf) if size is None else size)
        if room:
            data = text.encode()[: room - 1] + b"\0"
            buf[: len(data)] = data
    return text
