"""What may be asked of the host: a table of calls with the types of their arguments, and a session that makes them.

A session belongs to one peer and holds handles, small positive numbers that stand for objects; they are closed with
it.  Arguments and results are plain data (:data:`prevail_py.host.canonical.Plain`), so that a session in the same
process and one behind a socket are one thing.  :data:`CALLS` is the protocol; ``docs/host.md`` explains it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from prevail_py.host.canonical import CanonicalError, Plain
from prevail_py.host.context.model import Hosted, HostedLink, HostedMap, HostedProgram, HostError, Peer
from prevail_py.host.context.protocol import CALLS, Call
from prevail_py.host.service.programs import MessageError
from prevail_py.vm.maps.model import MapError

if TYPE_CHECKING:
    from prevail_py.host.context.context import ExecutionContext

__all__ = ["Session"]

MAX_HANDLES: Final = 4096


class Session:
    """A :class:`~prevail_py.host.context.model.Connection` to a context in the same process."""

    def __init__(self, context: ExecutionContext, peer: Peer, *, may_change: bool = True) -> None:
        self.context: Final = context
        self.peer: Final = peer
        self.may_change: Final = may_change
        self.handles: Final[dict[int, Hosted]] = {}
        self._last = 0
        self._closed = False
        with context.lock:
            context.sessions.add(self)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def call(self, name: str, **arguments: Any) -> Any:
        """Make a call.  Raises :class:`HostError`."""
        call = CALLS.get(name)
        if call is None:
            raise HostError(errno.ENOSYS, f"no call {name!r}")
        if call.changes and not self.may_change:
            raise HostError(errno.EPERM, f"{name}: user {self.peer.uid} may only look")
        given = self._checked(name, call, arguments)
        if self._closed:
            raise HostError(errno.EBADF, "the session is closed")
        try:
            return call.handler(self, **given)
        except MapError as error:
            raise HostError(error.errno, str(error)) from None
        except (MessageError, CanonicalError) as error:
            raise HostError(errno.EINVAL, f"{name}: {error}") from None

    @staticmethod
    def _checked(name: str, call: Call, arguments: Mapping[str, Plain]) -> dict[str, Any]:
        given: dict[str, Any] = dict.fromkeys(call.optional)
        given.update(arguments)
        if given.keys() != call.arguments.keys():
            raise HostError(errno.EINVAL, f"{name} takes {', '.join(call.arguments) or 'nothing'}")
        for argument, wanted in call.arguments.items():
            value = given[argument]
            if type(value) is not wanted and not (value is None and argument in call.optional):
                raise HostError(errno.EINVAL, f"{name}: {argument} is no {wanted.__name__}")
        return given

    def close(self) -> None:
        """Close all handles: what only they kept alive ends."""
        with self.context.lock:
            if self._closed:
                return
            self._closed = True
            self.context.sessions.discard(self)
            held = list(self.handles.values())
            self.handles.clear()
            for hosted in held:
                self.context.release(hosted, user=True)

    # Handles -------------------------------------------------------------------------------------------------------

    def new_handle(self, hosted: Hosted) -> int:
        """A handle to an object; under the lock.  Raises :class:`HostError` where there are too many."""
        if self._closed:
            raise HostError(errno.EBADF, "the session is closed")
        if len(self.handles) >= MAX_HANDLES:
            raise HostError(errno.EMFILE, f"a session has at most {MAX_HANDLES} handles")
        self._last += 1
        self.handles[self._last] = hosted
        self.context.retain(hosted, user=True)
        return self._last

    def adopt(self, hosted: Hosted) -> int:
        """A handle to an object that nobody refers to yet, which ends where there can be none."""
        self.context.retain(hosted)
        try:
            return self.new_handle(hosted)
        finally:
            self.context.release(hosted)

    def get(self, handle: int) -> Hosted:
        """The object that a handle stands for.  Raises :class:`HostError`."""
        hosted = self.handles.get(handle)
        if hosted is None:
            raise HostError(errno.EBADF, f"no handle {handle}")
        return hosted

    def map(self, handle: int) -> HostedMap:
        """The map that a handle stands for."""
        hosted = self.get(handle)
        if not isinstance(hosted, HostedMap):
            raise HostError(errno.EINVAL, f"handle {handle} is a {hosted.kind}, not a map")
        return hosted

    def program(self, handle: int) -> HostedProgram:
        """The program that a handle stands for."""
        hosted = self.get(handle)
        if not isinstance(hosted, HostedProgram):
            raise HostError(errno.EINVAL, f"handle {handle} is a {hosted.kind}, not a program")
        return hosted

    def link(self, handle: int) -> HostedLink:
        """The link that a handle stands for."""
        hosted = self.get(handle)
        if not isinstance(hosted, HostedLink):
            raise HostError(errno.EINVAL, f"handle {handle} is a {hosted.kind}, not a link")
        return hosted
