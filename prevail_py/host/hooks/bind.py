"""A program decides on each ``bind(2)`` of an unmodified command: permit, deny, or another port.

The supervisor is asked for each call (:mod:`prevail_py.host.hooks.notify`), reads the address once, lets the program
decide on this copy, and binds the socket itself, through a copy of the caller's descriptor (``pidfd_getfd``).  Whatever
the caller does to its memory or descriptors meanwhile, what is bound is what was decided on.  It denies with EACCES,
also where the program does not come to its end, or the host is gone.

A command that may do more than the supervisor could do harm through it, and less could gain: so what a caller's own
rights would not allow (privileged ports, files of another user) is refused before.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from prevail_py.host.hooks.notify import Listener, Notification, pidfd_getfd, start

__all__ = ["ATTACH_TYPES", "Decider", "Supervisor", "context_of", "guard_this_process"]

Decider = Callable[[bytes], "tuple[int, bytes] | None"]
"""Given a ``struct bpf_sock_addr``: what the program returned and the structure after it; None where it did not end."""

ATTACH_TYPES: Final[Mapping[int, str]] = {
    socket.AF_INET: "cgroup_inet4_bind",
    socket.AF_INET6: "cgroup_inet6_bind",
}
"""By address family: the attach type of the programs that decide."""

_MAX_ADDRESS: Final = 128
_THEIRS: Final = frozenset({errno.EFAULT, errno.EINVAL, errno.EBADF, errno.ENOTSOCK, errno.EAFNOSUPPORT})
_SHORTEST: Final[Mapping[int, int]] = {socket.AF_INET: 16, socket.AF_INET6: 24}
_CONTEXT_SIZE: Final = 72
_NET_BIND_SERVICE: Final = 1 << 10
_PIDFD_THREAD: Final = os.O_EXCL
_SO_DOMAIN, _SO_PROTOCOL = 39, 38
_NOT_DUMPABLE: Final = (4, 0, 0, 0, 0)


def context_of(family: int, kind: int, protocol: int, address: bytes) -> bytes:
    """The ``struct bpf_sock_addr`` of a call: ``address`` is its ``struct sockaddr_in`` or ``sockaddr_in6``."""
    context = bytearray(_CONTEXT_SIZE)
    context[0:4] = family.to_bytes(4, "little")
    if family == socket.AF_INET:
        context[4:8] = address[4:8]
    else:
        context[8:24] = address[8:24]
    context[24:26] = address[2:4]  # in network order, in the low half of the word
    for offset, word in ((28, family), (32, kind), (36, protocol)):
        context[offset : offset + 4] = word.to_bytes(4, "little")
    return bytes(context)


def _applied(family: int, address: bytes, context: bytes) -> bytes:
    """The address as the program left it."""
    changed = bytearray(address)
    changed[2:4] = context[24:26]
    if family == socket.AF_INET:
        changed[4:8] = context[4:8]
    else:
        changed[8:24] = context[8:24]
    return bytes(changed)


class Supervisor:
    """Runs a command and answers for it.  ``counts`` says how often it permitted, denied and redirected.

    ``deciders`` are by address family; a family without one is bound as it asks, as without a program in Linux.
    """

    def __init__(self, deciders: Mapping[int, Decider]) -> None:
        self.deciders: Final = dict(deciders)
        self.counts: Final = {"permitted": 0, "denied": 0, "redirected": 0, "other": 0}
        self._libc: Final = ctypes.CDLL(None, use_errno=True)

    def run(self, command: Sequence[str], *, hide: bool = False) -> int:
        """Run ``command`` to its end, and all that it started; its exit code, 128 and a signal's number for a death.

        ``hide``: the command cannot attach to this process, which would answer for it.  Raises OSError where it cannot
        be supervised.
        """
        if hide:
            self._libc.prctl(*_NOT_DUMPABLE)
        process, listener = start(command)
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
                        listener.answer(notification, self._decide(listener, notification))
                elif events & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                    return

    def _decide(self, listener: Listener, notification: Notification) -> int:
        """The error number of the call, 0 where the socket was bound."""
        try:
            descriptor, pointer, length = notification.arguments[:3]
            address = _memory(notification.pid, pointer, _signed(length))
            if not listener.valid(notification):
                return errno.EINTR  # nobody waits for it
            copy = _descriptor_of(notification.pid, _signed(descriptor))
            try:
                if not listener.valid(notification):
                    return errno.EINTR
                return self._bind(notification.pid, copy, address)
            finally:
                os.close(copy)
        except OSError as error:
            # What is ours (a caller that is gone, a file that cannot be read) is none of the caller's errors.
            return error.errno if error.errno in _THEIRS else errno.EACCES

    def _bind(self, pid: int, descriptor: int, address: bytes) -> int:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            family = copy.getsockopt(socket.SOL_SOCKET, _SO_DOMAIN)
            kind = copy.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
            protocol = copy.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL)
        decide = self.deciders.get(family)
        counter = "other"
        if family in _SHORTEST:
            if len(address) < _SHORTEST[family]:
                return errno.EINVAL
            named = int.from_bytes(address[:2], sys.byteorder)
            if named not in (family, socket.AF_UNSPEC):
                return errno.EAFNOSUPPORT
            if decide is not None:
                context = context_of(family, kind, protocol, address)
                answer = decide(context)
                if answer is None or not answer[0] & 1:
                    self.counts["denied"] += 1
                    return errno.EACCES
                changed = _applied(family, address, answer[1])
                counter, address = ("permitted" if changed == address else "redirected"), changed
            _require_port(pid, int.from_bytes(address[2:4], "big"))
        with _as_the_caller(pid, family, address):
            if self._libc.bind(descriptor, address, len(address)):
                return ctypes.get_errno()
        self.counts[counter] += 1
        return 0


def _signed(word: int) -> int:
    """The low 32 bits as the ``int`` that they are."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word


def _memory(pid: int, pointer: int, length: int) -> bytes:
    """The address of a call, read once.  Raises OSError as the kernel would fail."""
    if not 0 <= length <= _MAX_ADDRESS:
        raise OSError(errno.EINVAL, "the length of the address")
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            data = os.pread(memory.fileno(), length, pointer)
    except (OSError, OverflowError):
        raise OSError(errno.EFAULT, "the address") from None
    if len(data) != length:
        raise OSError(errno.EFAULT, "the address")
    return data


def _descriptor_of(pid: int, descriptor: int) -> int:
    """A copy of a descriptor of the calling thread.  Raises OSError."""
    try:
        pidfd = os.pidfd_open(pid, _PIDFD_THREAD)
    except OSError as error:  # before Linux 6.9 only whole processes have one
        if error.errno not in (errno.EINVAL, errno.ESRCH, errno.ENOENT):
            raise
        pidfd = os.pidfd_open(int(_status(pid)["Tgid"]))
    try:
        return pidfd_getfd(pidfd, descriptor)
    finally:
        os.close(pidfd)


def _status(pid: int | str) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _require_port(pid: int, port: int) -> None:
    """The caller must have the right to a privileged port itself.  Raises OSError."""
    if port == 0 or port >= int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()):
        return
    theirs = int(_status(pid)["CapEff"], 16)
    same = os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user")
    if not (same and theirs & _NET_BIND_SERVICE):
        raise OSError(errno.EACCES, f"port {port} is privileged, and the caller is not")


class _as_the_caller:  # noqa: N801 - reads as a statement
    """For a Unix socket: the caller's directory and mask, and only where files would be its own anyway."""

    def __init__(self, pid: int, family: int, address: bytes) -> None:
        self._files: Final = family == socket.AF_UNIX and len(address) > 2 and address[2:3] != b"\0"
        self._pid: Final = pid
        self._before: tuple[int, int] | None = None

    def __enter__(self) -> None:
        if not self._files:
            return
        theirs, ours = _status(self._pid), _status("self")
        if any(theirs[name].split()[3] != ours[name].split()[3] for name in ("Uid", "Gid")):
            raise OSError(errno.EACCES, "a file of another user")
        if not os.path.samefile(f"/proc/{self._pid}/root", "/"):
            raise OSError(errno.EACCES, "another root directory")
        before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chdir(f"/proc/{self._pid}/cwd")
        self._before = before, os.umask(int(theirs["Umask"], 8))

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            descriptor, mask = self._before
            os.umask(mask)
            os.fchdir(descriptor)
            os.close(descriptor)


def guard_this_process(deciders: Mapping[int, Decider]) -> None:
    """The light variant: from now on each ``socket.bind`` of this Python process asks, for ever (``sys.addaudithook``).

    It can permit and deny (PermissionError), and changes nothing about the call.  It sees what goes through Python's
    ``socket``: not extension modules, not child processes, and not code that means to get around it.
    """

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.bind":
            return
        made, address = arguments
        decide = deciders.get(made.family)
        if decide is None or not isinstance(address, tuple):
            return
        host, port = address[0], address[1]
        found = socket.getaddrinfo(host or None, port, made.family, made.type, 0, socket.AI_PASSIVE)
        packed = socket.inet_pton(made.family, str(found[0][4][0]))
        raw = made.family.to_bytes(2, sys.byteorder) + int(port).to_bytes(2, "big")
        raw += packed if made.family == socket.AF_INET else bytes(4) + packed
        answer = decide(context_of(made.family, made.type, made.proto, raw.ljust(28, b"\0")))
        if answer is None or not answer[0] & 1:
            raise PermissionError(errno.EACCES, f"a program denies {host or '*'}:{port}")

    sys.addaudithook(hook)
