"""The execution context: what holds programs, maps and links, and runs what a verifier process vouched for.

:class:`ExecutionContext` is the whole of it in one process, for notebooks and tests; ``prevail-py hostd`` puts it
behind a Unix socket (:mod:`prevail_py.host.context.server`).  Either is talked to through a *session*: a table of
handles to objects, as a process has descriptors, and a fixed table of calls.  ``docs/host.md`` says what they are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prevail_py.host.context.client import connect
    from prevail_py.host.context.context import ExecutionContext
    from prevail_py.host.context.model import Connection, HostError

__all__ = ["Connection", "ExecutionContext", "HostError", "connect"]

_HOME = {"Connection": "model", "HostError": "model", "ExecutionContext": "context", "connect": "client"}


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first used: a client needs no engine."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
