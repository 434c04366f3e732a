"""Whom the functions talk to: a host, in another process or in this one, or the kernel's own verifier.

:func:`use` chooses for the process, as a C program is linked with one library; an object keeps the backend that it was
opened with.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from prevail_py.host.context.model import Connection

__all__ = ["current", "use"]

_LOCK: Final = threading.Lock()
_current: Connection | None = None


def use(backend: str | Connection = "host", path: str | os.PathLike[str] | None = None) -> Connection:
    """Talk to ``backend`` from now on, and give it back.

    ``host`` is the host whose socket is at ``path`` (by default this user's); ``kernel`` lets the kernel's verifier
    decide and runs programs by PROG_TEST_RUN (:mod:`prevail_py.libbpf.kernel`); anything else is a session.
    Raises OSError where it is not there.
    """
    global _current
    if backend == "host":
        from prevail_py.host.context.client import connect

        chosen: Connection = connect(path)
    elif backend == "kernel":
        from prevail_py.libbpf.kernel import kernel_session

        chosen = kernel_session()
    elif isinstance(backend, str):
        raise ValueError(f"no backend {backend!r} (there are: host, kernel)")
    else:
        chosen = backend
    with _LOCK:
        _current = chosen
    return chosen


def current() -> Connection:
    """The backend in use; the first call connects to this user's host.  Raises OSError."""
    return use() if _current is None else _current
