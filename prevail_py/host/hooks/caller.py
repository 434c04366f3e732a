"""What a supervisor needs to know of the thread whose system call it makes: memory, descriptors, rights.

Whatever is read here may be that of another process by the time it is used; who uses it asks
:meth:`prevail_py.host.hooks.notify.Listener.valid` afterwards.

Rights are not lent.  The supervisor may be allowed more than the caller, so what depends on who asks is done only where
the caller is allowed it, too: :func:`require_port`, :func:`require_our_rights`.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prevail_py.host.hooks.addresses import Call
from prevail_py.host.hooks.notify import pidfd_getfd

__all__ = ["descriptor_of", "in_the_place_of", "memory_of", "require_our_rights", "require_port"]

_MAX_ADDRESS: Final = 128  # struct sockaddr_storage
_NET_BIND_SERVICE: Final = 1 << 10
_PIDFD_THREAD: Final = os.O_EXCL


def memory_of(pid: int, pointer: int, length: int) -> bytes:
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


def descriptor_of(pid: int, descriptor: int) -> int:
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


def _same_namespace(pid: int, kind: str) -> bool:
    return os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")


def require_port(pid: int, port: int) -> None:
    """The caller must have the right to a privileged port itself.  Raises OSError."""
    if port == 0 or port >= int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()):
        return
    if not (_same_namespace(pid, "user") and int(_status(pid)["CapEff"], 16) & _NET_BIND_SERVICE):
        raise OSError(errno.EACCES, f"port {port} is privileged, and the caller is not")


def require_our_rights(pid: int, call: Call, family: int, address: bytes) -> None:
    """On sockets that are not of IP, calls whose outcome depends on who makes them need a caller with our rights.

    Files of Unix sockets are somebody's, their peers are told who connects, and other families ask for capabilities in
    ways of their own.  Raises OSError.
    """
    if _for_everybody(call, family, address):
        return
    theirs, ours = _status(pid), _status("self")
    for name in ("Uid", "Gid", "Groups"):
        if theirs[name].split() != ours[name].split():
            raise OSError(errno.EACCES, "the caller is another user")
    # Capabilities count in their user namespace only: all of them, in one of the caller's own, are none here.
    if int(ours["CapEff"], 16) & ~int(theirs["CapEff"], 16) or not _same_namespace(pid, "user"):
        raise OSError(errno.EACCES, "the caller has given up rights")


def _for_everybody(call: Call, family: int, address: bytes) -> bool:
    """Whether the kernel asks nobody for rights here: abstract names; netlink's kernel side and no multicast."""
    if family == socket.AF_UNIX:
        return call is Call.BIND and not _is_file(family, address)
    if family == socket.AF_NETLINK and len(address) >= 12:
        pid, groups = (int.from_bytes(address[at : at + 4], sys.byteorder) for at in (4, 8))
        return groups == 0 and (call is Call.BIND or pid == 0)
    return False


def _is_file(family: int, address: bytes) -> bool:
    return family == socket.AF_UNIX and len(address) > 2 and address[2:3] != b"\0"


@contextmanager
def in_the_place_of(pid: int, family: int, address: bytes) -> Iterator[None]:
    """For the file of a Unix socket: in the caller's directory and with its mask, as far as it sees the same files.

    These are the calling thread's alone where it has unshared them, else the process's.  Raises OSError.
    """
    if not _is_file(family, address):
        yield
        return
    if not (os.path.samefile(f"/proc/{pid}/root", "/") and _same_namespace(pid, "mnt")):
        raise OSError(errno.EACCES, "another root directory")
    mask = int(_status(pid)["Umask"], 8)
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(f"/proc/{pid}/cwd")
        old = os.umask(mask)
        try:
            yield
        finally:
            os.umask(old)
            os.fchdir(before)
    finally:
        os.close(before)
