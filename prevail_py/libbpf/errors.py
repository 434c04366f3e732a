"""libbpf 1.x's way of reporting errors: a negative error number, or None with ``errno`` set."""

from __future__ import annotations

import errno as numbers
import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

__all__ = ["errno", "libbpf_get_error", "libbpf_strerror", "number", "pointer"]

P = ParamSpec("P")
T = TypeVar("T")

_STATE: Final = threading.local()


def errno() -> int:
    """The error number of the last call of this thread that failed, as C's ``errno``."""
    value: int = getattr(_STATE, "errno", 0)
    return value


def _failed(error: OSError) -> int:
    _STATE.errno = error.errno or numbers.EIO
    _STATE.error = error
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
