"""Seccomp's user notifications (seccomp_unotify(2)): another process answers for the kernel.

:func:`start` runs a command under a filter that stops at ``bind(2)`` or ``connect(2)`` and asks; the answers are given
through a :class:`Listener`.  The command gets ``no_new_privs``: set-user-ID programs keep their user, which is the
price for needing no rights.  io_uring, which could bind and connect without a system call, is refused (EPERM), and
calls through another architecture's table kill the process.  Where ``connect`` is asked about, connecting with the
first data (MSG_FASTOPEN) fails as where a system has it turned off (EOPNOTSUPP), and callers connect first.

Whatever is read of a process may be that of another by the time it is used: numbers of processes are given again, and
memory is written by other threads.  So nothing is ever waved through to the kernel (the flag ``CONTINUE`` of answers is
not used), and :meth:`Listener.valid` is asked after each look.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prevail_py.host.hooks.addresses import Call
from prevail_py.host.service.seccomp import ARCHITECTURES

__all__ = ["Listener", "Notification", "available", "pidfd_getfd", "start"]

_USER_NOTIF, _ALLOW, _KILL = 0x7FC00000, 0x7FFF0000, 0x80000000
_REFUSE: Final = 0x00050000 | errno.EPERM
_REFUSE_FAST_OPEN: Final = 0x00050000 | errno.EOPNOTSUPP
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ARGUMENTS: Final = 16  # in struct seccomp_data: eight bytes each, the low half first
_MSG_FASTOPEN: Final = 0x20000000
_X32_BIT: Final = 0x40000000
_INSTRUCTION: Final = struct.Struct("=HBBI")
_IO_URING: Final = (425, 426, 427)  # setup, enter, register: the same everywhere
_PIDFD_GETFD: Final = 438
_NUMBERS: Final[Mapping[str, Mapping[Call, int]]] = {
    "x86_64": {Call.BIND: 49, Call.CONNECT: 42},
    "aarch64": {Call.BIND: 200, Call.CONNECT: 203},
}
"""The numbers of the calls by machine, each of which is one of :data:`ARCHITECTURES`."""
_SENDING: Final[Mapping[str, Mapping[int, int]]] = {
    "x86_64": {44: 3, 46: 2, 307: 3},
    "aarch64": {206: 3, 211: 2, 269: 3},
}
"""``sendto``, ``sendmsg``, ``sendmmsg``: which argument has the flags."""

_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
_RESPONSE: Final = struct.Struct("=QqiI")
_RECEIVE, _SEND, _VALID = 0xC0502100, 0xC0182101, 0x40082102
_SET_MODE_FILTER, _NEW_LISTENER, _NO_NEW_PRIVILEGES = 1, 8, 38
_GET_ACTION_AVAILABLE: Final = 2


_CALLS: Final = {number: call for call, number in _NUMBERS.get(platform.machine(), {}).items()}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def available() -> str | None:
    """Why there can be no supervision here; None where there can."""
    machine = platform.machine()
    if machine not in _NUMBERS or sys.byteorder != "little":
        return f"no table of system calls for {machine}"
    libc = ctypes.CDLL(None, use_errno=True)
    action = ctypes.c_uint32(_USER_NOTIF)
    if libc.syscall(ARCHITECTURES[machine].seccomp, _GET_ACTION_AVAILABLE, 0, ctypes.byref(action)):
        return f"seccomp: user notifications: {os.strerror(ctypes.get_errno())}"
    return None


def assemble(machine: str, calls: Collection[Call]) -> bytes:
    """The filter that asks about these calls, as an array of ``struct sock_filter``."""
    audit = ARCHITECTURES[machine].audit
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    for call in sorted(calls, key=lambda each: each.value):
        code += [(_EQUAL, 0, 1, _NUMBERS[machine][call]), (_RETURN, 0, 0, _USER_NOTIF)]
    for number in _IO_URING:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    if Call.CONNECT in calls:
        for number, argument in _SENDING[machine].items():
            # After the flags were loaded the number is not there any more, so each case ends here.
            code += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (_ANY_BIT, 0, 1, _MSG_FASTOPEN)]
            code += [(_RETURN, 0, 0, _REFUSE_FAST_OPEN), (_RETURN, 0, 0, _ALLOW)]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(_INSTRUCTION.pack(*each) for each in code)


def _install(calls: Collection[Call]) -> int:
    """Put the filter over this thread and all that it starts; the descriptor of its listener.  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    machine = platform.machine()
    code = assemble(machine, calls)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    listener: int = libc.syscall(ARCHITECTURES[machine].seccomp, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
    return listener


def launch(channel: int, calls: str, command: Sequence[str]) -> None:
    """Be the command: install the filter for these calls (names, with commas), hand the listener over, execute.

    Does not return.
    """
    with socket.socket(fileno=channel) as connection:
        try:
            listener = _install([Call(name) for name in calls.split(",") if name])
            socket.send_fds(connection, [b"x"], [listener])
            os.close(listener)
        except OSError as error:
            connection.send(f"{error.strerror}".encode())
            os._exit(126)
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        print(f"prevail-py: {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127 if error.errno == errno.ENOENT else 126)


_LAUNCHER: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from prevail_py.host.hooks.notify import launch; "
    "launch(int(sys.argv[2]), sys.argv[3], sys.argv[4:])"
)


def start(command: Sequence[str], calls: Collection[Call]) -> tuple[subprocess.Popen[bytes], Listener]:
    """Run a command under the filter for these calls, with our standard streams and environment.  Raises OSError."""
    names = ",".join(each.value for each in calls)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            root = os.fspath(Path(__file__).resolve().parents[3])
            # -I: neither the environment nor the current directory says what this process imports.
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _LAUNCHER, root, str(theirs.fileno()), names, *command],
                pass_fds=[theirs.fileno()],
            )
        data, descriptors, _, _ = socket.recv_fds(ours, 1024, 1)
    if not descriptors:
        process.wait()
        raise OSError(errno.EPERM, f"the command cannot be supervised: {data.decode(errors='replace') or 'it died'}")
    return process, Listener(descriptors[0])


@dataclass(frozen=True, slots=True)
class Notification:
    """A system call that waits for an answer: ``pid`` is the thread's, ``arguments`` are those of the call."""

    id: int
    pid: int
    call: Call
    arguments: tuple[int, ...]


class Listener:
    """Where notifications come from."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._closing: Final = threading.Lock()

    def fileno(self) -> int:
        """To wait for; it hangs up when no process has the filter any more."""
        return self._descriptor

    def receive(self) -> Notification | None:
        """The next one; None where its caller is gone already."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self._descriptor, _RECEIVE, buffer)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        id, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        return Notification(id, pid, _CALLS[number], tuple(arguments))

    def valid(self, notification: Notification) -> bool:
        """Whether the call still waits: then the process of this number was the caller at each look before."""
        with self._closing:  # as in answer
            if self._descriptor < 0:
                return False
            try:
                fcntl.ioctl(self._descriptor, _VALID, struct.pack("=Q", notification.id))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return False
                raise
        return True

    def answer(self, notification: Notification, number: int) -> None:
        """Let the call return 0, or fail with this error number.  Any thread may do so, also after :meth:`close`."""
        with self._closing:  # the number of the descriptor may be another's by then
            if self._descriptor < 0:
                return
            try:
                fcntl.ioctl(self._descriptor, _SEND, bytearray(_RESPONSE.pack(notification.id, 0, -number, 0)))
            except OSError as error:
                if error.errno != errno.ENOENT:  # it did not wait
                    raise

    def close(self) -> None:
        """Calls that would wait fail with ENOSYS from now on."""
        with self._closing:
            os.close(self._descriptor)
            self._descriptor = -1


def pidfd_getfd(pidfd: int, descriptor: int) -> int:
    """A copy of a descriptor of another process.  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    copy: int = libc.syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return copy
