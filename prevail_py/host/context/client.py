"""A session of a host in another process, over its Unix socket."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any, Final

from prevail_py.host.canonical import CanonicalError, Plain
from prevail_py.host.context.model import HostError, Peer
from prevail_py.host.context.server import PROTOCOL, peer_of
from prevail_py.host.service.channel import Channel, ChannelError

__all__ = ["ENVIRONMENT", "RemoteSession", "connect", "default_socket", "default_store"]

ENVIRONMENT: Final = "PREVAIL_PY_HOST"
"""The variable that says where the host's socket is."""


def default_socket() -> Path:
    """Where the host of this user listens: ``$PREVAIL_PY_HOST``, or in the user's own runtime directory."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        return Path(given)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "prevail-py" / "host.sock"
    if os.geteuid() == 0:
        return Path("/run/prevail-py/host.sock")
    return Path.home() / ".prevail-py" / "host.sock"


def default_store() -> Path:
    """Where the host of this user keeps what is pinned."""
    if os.geteuid() == 0 and "XDG_STATE_HOME" not in os.environ:
        return Path("/var/lib/prevail-py/host.sqlite")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "prevail-py" / "host.sqlite"


class RemoteSession:
    """A :class:`~prevail_py.host.context.model.Connection`; one call at a time, from any thread."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises :class:`HostError` where no host answers, or none that is ours or root's."""
        self._lock: Final = threading.Lock()
        self._socket: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            try:
                self._socket.connect(os.fspath(path))
            except OSError as error:
                raise HostError(error.errno or errno.EIO, f"no host at {os.fspath(path)}: {error.strerror}") from None
            self.host: Final[Peer] = peer_of(self._socket)
            if self.host.uid not in (0, os.geteuid()):
                raise HostError(errno.EPERM, f"{os.fspath(path)}: a host of user {self.host.uid}, not ours or root's")
            self._channel: Final = Channel(self._socket)
            hello = self._receive()
            if not isinstance(hello, dict) or hello.get("protocol") != PROTOCOL:
                raise _error(hello)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> RemoteSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def call(self, name: str, **arguments: Any) -> Any:
        """Make a call.  Raises :class:`HostError`, ECONNRESET where the host is gone."""
        with self._lock:
            try:
                self._channel.send({"call": name, "arguments": arguments})
            except (CanonicalError, ChannelError) as error:
                raise HostError(errno.EINVAL, f"{name}: {error}") from None
            except OSError as error:
                raise HostError(errno.ECONNRESET, f"the host is gone: {error.strerror}") from None
            answer = self._receive()
        if isinstance(answer, dict) and answer.keys() == {"value"}:
            return answer["value"]
        raise _error(answer)

    def close(self) -> None:
        """Hang up: the host closes the handles."""
        self._socket.close()

    def _receive(self) -> Plain:
        try:
            received = self._channel.receive()
        except OSError as error:
            raise HostError(errno.ECONNRESET, f"the host is gone: {error.strerror}") from None
        except ChannelError as error:
            raise HostError(errno.EPROTO, f"not a host: {error}") from None
        if received is None:
            raise HostError(errno.ECONNRESET, "the host is gone")
        message, descriptors = received
        for descriptor in descriptors:  # none is expected
            os.close(descriptor)
        return message


def _error(answer: Plain) -> HostError:
    match answer:
        case {"error": int(number), "message": str(message), **rest}:
            return HostError(number, message, str(rest.get("log", "")))
    return HostError(errno.EPROTO, "not a host: it does not speak the protocol")


def connect(path: str | os.PathLike[str] | None = None) -> RemoteSession:
    """A session of the host at ``path``, by default of this user's.  Raises :class:`HostError`."""
    return RemoteSession(default_socket() if path is None else path)
