"""Programs decide on each ``bind(2)`` or ``connect(2)`` of an unmodified command: permit, deny, or another address.

The supervisor is asked for each call (:mod:`prevail_py.host.hooks.notify`), reads the address once, lets the program
decide on this copy, and makes the call itself, through a copy of the caller's descriptor (``pidfd_getfd``).  Whatever
the caller does to its memory or descriptors meanwhile, what happens is what was decided on.  It denies with EACCES,
also where the program does not come to its end, or the host is gone.

``connect`` may wait for the network, so it is made in a thread of its own; the supervisor answers others meanwhile.

A command that may do more than the supervisor could do harm through it, and less could gain: so what a caller's own
rights would not allow is refused before (:mod:`prevail_py.host.hooks.caller`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from prevail_py.host.hooks.addresses import (
    ATTACH_TYPES,
    Asked,
    Call,
    Decider,
    applied,
    attach_type,
    context_of,
    is_ip,
    named_family,
)
from prevail_py.host.hooks.caller import (
    descriptor_of,
    in_the_place_of,
    memory_of,
    require_our_rights,
    require_port,
)
from prevail_py.host.hooks.notify import Listener, Notification, start

__all__ = ["MAX_WAITING", "Supervisor"]

MAX_WAITING: Final = 128
"""Calls of ``connect`` that may wait for the network at a time; more fail with EAGAIN."""

_THEIRS: Final = frozenset({errno.EFAULT, errno.EINVAL, errno.EBADF, errno.ENOTSOCK, errno.EAFNOSUPPORT})
_SO_DOMAIN, _SO_PROTOCOL = 39, 38
_NOT_DUMPABLE: Final = (4, 0, 0, 0, 0)
_CLONE_FS: Final = 0x200


class Supervisor:
    """Runs a command and answers for it.  ``counts`` says how often it permitted, denied and redirected; ``caller`` is
    the process whose call a decider is being asked about.

    ``deciders`` are by attach type (:data:`~prevail_py.host.hooks.addresses.ATTACH_TYPES`).  ``calls`` are those to be
    asked about, by default those that a decider is for; an address that none decides on is taken as it is, as without
    a program in Linux.
    """

    def __init__(self, deciders: Mapping[str, Decider], calls: frozenset[Call] | None = None) -> None:
        self.deciders: Final = dict(deciders)
        self.calls: Final = calls if calls is not None else frozenset(ATTACH_TYPES[name][0] for name in deciders)
        self.caller = 0
        self.counts: Final = {"permitted": 0, "denied": 0, "redirected": 0, "other": 0}
        self._libc: Final = ctypes.CDLL(None, use_errno=True)
        self._room: Final = threading.BoundedSemaphore(MAX_WAITING)

    def run(self, command: Sequence[str], *, hide: bool = False) -> int:
        """Run ``command`` to its end, and all that it started; its exit code, 128 and a signal's number for a death.

        ``hide``: the command cannot attach to this process, which would answer for it.  Raises OSError where it cannot
        be supervised.
        """
        if hide:
            self._libc.prctl(*_NOT_DUMPABLE)
        process, listener = start(command, self.calls)
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            # The terminal's interrupt reaches the command, too; whether it ends is its own affair.
            with suppress(ValueError):  # not the main thread: then signals are somebody else's
                signal.signal(signal.SIGINT, lambda number, frame: None)
                signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
            self.serve(listener)
        finally:
            listener.close()
            with suppress(ValueError):
                for number, handler in previous.items():
                    signal.signal(number, handler)
        code = process.wait()
        return code if code >= 0 else 128 - code

    def serve(self, listener: Listener) -> None:
        """Answer until no process has the filter any more."""
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            for _, events in poll.poll():
                if events & select.POLLIN:
                    notification = listener.receive()
                    if notification is not None:
                        answer = self._decide(listener, notification)
                        if answer is not None:
                            listener.answer(notification, answer)
                elif events & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                    return

    def _decide(self, listener: Listener, notification: Notification) -> int | None:
        """The error number of the call, 0 where it was made; None where a thread will answer."""
        try:
            descriptor, pointer, length = notification.arguments[:3]
            address = memory_of(notification.pid, pointer, _signed(length))
            if not listener.valid(notification):
                return errno.EINTR  # nobody waits for it
            copy = descriptor_of(notification.pid, _signed(descriptor))
            kept = False
            try:
                if not listener.valid(notification):
                    return errno.EINTR
                family, address = self._decided(notification, copy, address)
                if notification.call is Call.BIND:
                    return self._make(listener, notification, copy, family, address)
                kept = self._start(listener, notification, copy, family, address)
                return None if kept else errno.EAGAIN
            finally:
                if not kept:
                    os.close(copy)
        except OSError as error:
            # What is ours (a caller that is gone, a file that cannot be read) is none of the caller's errors.
            return error.errno if error.errno in _THEIRS else errno.EACCES

    def _decided(self, notification: Notification, descriptor: int, address: bytes) -> tuple[int, bytes]:
        """The socket's family, and the address as it shall be.  Raises OSError for a call that fails here."""
        call = notification.call
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            family = copy.getsockopt(socket.SOL_SOCKET, _SO_DOMAIN)
            kind = copy.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
            protocol = copy.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL)
        if not is_ip(family):
            require_our_rights(notification.pid, call, family, address)
            self.counts["other"] += 1
            return family, address
        named = named_family(call, family, kind, address)
        decide = self.deciders.get(attach_type(call, named) or "")
        if decide is None:
            self.counts["other"] += 1
        else:
            asked = Asked(call, family, kind, protocol, named, address)
            self.caller = notification.pid
            answer = decide(context_of(asked))
            if answer is None or not answer[0] & 1:
                self.counts["denied"] += 1
                raise OSError(errno.EACCES, "the program denies it")
            changed = applied(asked, answer[1])
            self.counts["permitted" if changed == address else "redirected"] += 1
            address = changed
        if call is Call.BIND:
            require_port(notification.pid, int.from_bytes(address[2:4], "big"))
        return family, address

    def _make(
        self, listener: Listener, notification: Notification, descriptor: int, family: int, address: bytes
    ) -> int:
        """Make the call: its error number.  Raises OSError where the caller may not.

        Rights, directory and namespaces were looked up by the caller's number, too, so it is asked for the last time
        whether the call still waits: then they were the caller's.
        """
        make = self._libc.bind if notification.call is Call.BIND else self._libc.connect
        with in_the_place_of(notification.pid, family, address):
            if not listener.valid(notification):
                return errno.EINTR
            return ctypes.get_errno() if make(descriptor, address, len(address)) else 0

    def _start(
        self, listener: Listener, notification: Notification, descriptor: int, family: int, address: bytes
    ) -> bool:
        """Make the call in a thread, which closes the descriptor; False where too many wait already.

        A caller that does not wait any more, because a signal came or it was killed, leaves a connection that is being
        made: as in Linux.
        """
        if not self._room.acquire(blocking=False):
            return False

        def work() -> None:
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # ours are not the caller's
                # The directory and the mask of this thread are its own from now on, where they matter at all.
                if not is_ip(family) and self._libc.unshare(_CLONE_FS):
                    number = errno.EACCES
                else:
                    number = self._make(listener, notification, descriptor, family, address)
            except OSError as error:
                number = error.errno if error.errno in _THEIRS else errno.EACCES
            finally:
                os.close(descriptor)
                self._room.release()
            listener.answer(notification, number)

        try:
            threading.Thread(target=work, name="connect", daemon=True).start()
        except RuntimeError:  # no more threads
            self._room.release()
            return False
        return True


def _signed(word: int) -> int:
    """The low 32 bits as the ``int`` that they are."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word
