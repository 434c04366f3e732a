"""``prevail-py hostd``: an execution context behind a Unix socket.

Who may connect is decided by what the kernel says of the other end (``SO_PEERCRED``): the user of the host and root may
do everything, users that were named may do everything or only look.  Each connection is a session in a thread of its
own; it ends with the connection, however that ends.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from prevail_py.host.canonical import CanonicalError, Plain
from prevail_py.host.context.model import HostError, Peer
from prevail_py.host.service.channel import Channel, ChannelError
from prevail_py.host.service.programs import MessageError, fields_of

if TYPE_CHECKING:
    from prevail_py.host.context.context import ExecutionContext

__all__ = ["MAX_CLIENTS", "MAX_REQUEST", "PROTOCOL", "Server", "peer_of"]

_LOG: Final = logging.getLogger(__name__)

PROTOCOL: Final = 1
MAX_CLIENTS: Final = 512
MAX_REQUEST: Final = 16 << 20
_CREDENTIALS: Final = struct.Struct("3i")
_REQUEST: Final = {"call": str, "arguments": dict}


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end of a Unix socket."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(data))


class Server:
    """Serves ``context`` at ``path``.

    ``users`` may do everything, ``readers`` only look; both are user numbers, and the user of this process and root are
    among the first.  ``interval`` is how often, in seconds, the contents of pinned maps go to the store.
    """

    def __init__(
        self,
        context: ExecutionContext,
        path: str | os.PathLike[str],
        *,
        users: Sequence[int] = (),
        readers: Sequence[int] = (),
        interval: float = 1.0,
    ) -> None:
        """Raises OSError where the socket cannot be made: EADDRINUSE where another host answers there."""
        self.context: Final = context
        self.path: Final = Path(path)
        self._users: Final = {os.geteuid(), 0, *users}
        self._readers: Final = set(readers)
        self._interval: Final = interval
        self._stop: Final = threading.Event()
        self._connections: Final[set[socket.socket]] = set()
        self._lock: Final = threading.Lock()
        _clear_away(self.path)
        self._listener: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            previous = os.umask(0o177)
            try:
                self._listener.bind(os.fspath(self.path))
            finally:
                os.umask(previous)
            if users or readers:  # the kernel lets everybody in, and we do not
                os.chmod(self.path, 0o666)
            self._listener.listen(MAX_CLIENTS)
        except OSError as error:  # which does not say where, and has no number where the path is too long
            self._listener.close()
            number = error.errno or errno.ENAMETOOLONG
            raise OSError(number, os.strerror(number), os.fspath(self.path)) from error
        except BaseException:
            self._listener.close()
            raise

    def serve(self) -> None:
        """Answer until :meth:`stop`; then the sessions end, the socket goes, and the store is up to date."""
        threading.Thread(target=self._keep, daemon=True, name="store").start()
        try:
            while not self._stop.is_set():
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:
                    if self._stop.is_set() or error.errno == errno.EBADF:
                        break
                    _LOG.error("no connection: %s", error.strerror)  # no more descriptors, say: go on
                    self._stop.wait(0.1)
                    continue
                self._welcome(connection)
        finally:
            self._end()

    def stop(self) -> None:
        """End :meth:`serve`, from any thread or a signal handler."""
        self._stop.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def stop_at_signals(self) -> None:
        """Stop at SIGTERM and SIGINT."""

        def handler(number: int, frame: FrameType | None) -> None:
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)

    def _end(self) -> None:
        self._listener.close()
        self.path.unlink(missing_ok=True)
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.context.close()

    def _keep(self) -> None:
        pause = self._interval
        while not self._stop.wait(pause):
            began = time.monotonic()
            try:
                self.context.sync()
            except HostError as error:
                _LOG.error("%s", error)
            # Large maps take their time, under the lock: at most a twentieth of it goes there.
            pause = max(self._interval, 20 * (time.monotonic() - began))

    def _welcome(self, connection: socket.socket) -> None:
        peer = peer_of(connection)
        may_change = peer.uid in self._users
        with self._lock:
            full = len(self._connections) >= MAX_CLIENTS
            refused = not may_change and peer.uid not in self._readers
            if not full and not refused:
                self._connections.add(connection)
        if full or refused:
            number = errno.EAGAIN if full else errno.EACCES
            text = f"{MAX_CLIENTS} clients are connected" if full else f"user {peer.uid} may not use this host"
            with suppress(OSError), connection:
                connection.settimeout(1)
                Channel(connection).send({"error": number, "message": text})
            return
        threading.Thread(
            target=self._talk, args=(connection, peer, may_change), daemon=True, name=f"client {peer.pid}"
        ).start()

    def _talk(self, connection: socket.socket, peer: Peer, may_change: bool) -> None:
        session = self.context.session(peer, may_change=may_change)
        channel = Channel(connection, MAX_REQUEST)
        try:
            channel.send({"protocol": PROTOCOL, "may_change": may_change})
            while (received := channel.receive()) is not None:
                request, descriptors = received
                for descriptor in descriptors:  # none is expected
                    os.close(descriptor)
                _reply(channel, _answer(session.call, request))
        except (OSError, ChannelError) as error:
            _LOG.info("client %d: %s", peer.pid, error)
        finally:
            session.close()
            with self._lock:
                self._connections.discard(connection)
            connection.close()


def _answer(call: Callable[..., Any], request: Plain) -> Plain:
    """The answer to one request.  A mistake of ours is an answer, too: the other clients go on."""
    try:
        got = fields_of(request, _REQUEST)
        return {"value": call(got["call"], **got["arguments"])}
    except HostError as error:
        return {"error": error.errno, "message": error.strerror, "log": error.log}
    except (MessageError, TypeError) as error:
        return {"error": errno.EINVAL, "message": str(error), "log": ""}
    except MemoryError:
        return {"error": errno.ENOMEM, "message": "out of memory", "log": ""}
    except Exception as error:
        _LOG.exception("a call failed")
        return {"error": errno.EIO, "message": f"{type(error).__name__}: {error}", "log": ""}


def _reply(channel: Channel, answer: Plain) -> None:
    """Send an answer.  One that cannot be encoded, or is too long, is an error, too.  Raises OSError."""
    try:
        channel.send(answer)
    except (CanonicalError, ChannelError) as error:  # raised before the first byte is sent
        reason = "the answer is too long" if isinstance(error, ChannelError) else str(error)
        channel.send({"error": errno.E2BIG, "message": reason, "log": ""})


def _clear_away(path: Path) -> None:
    """Remove a socket that nobody listens at any more.  Raises OSError where somebody does, or it is no socket."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EEXIST, "there is something else at this place", os.fspath(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another host answers there", os.fspath(path))
