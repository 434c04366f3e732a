"""Whether what is done here stays here: mount and network namespaces that are not the machine's.

The machine's are those of process 1 or, where a process may not look at that one's, of the oldest of its ancestors that
it may look at.  Where there is none, nothing counts as private.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PrivacyError", "require_private_bpffs", "require_private_network"]


class PrivacyError(PermissionError):
    """It would be seen outside of the namespaces of this process."""


def _ancestors() -> Iterator[int]:
    """The processes that this one descends from, its parent first."""
    pid = os.getppid()
    while pid > 0:
        yield pid
        try:
            lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        pid = next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


def _namespace(pid: int | str, kind: str) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return None


def _machine(kind: str) -> tuple[int, str] | None:
    """The process that stands for the machine, and its namespace."""
    found = [(pid, seen) for pid in _ancestors() if (seen := _namespace(pid, kind)) is not None]
    return found[-1] if found else None


def _require_namespace(kind: str, what: str) -> int:
    """The process that stands for the machine, where its namespace is another."""
    machine = _machine(kind)
    if machine is None or _namespace("self", kind) in (None, machine[1]):
        raise PrivacyError(f"{what} of the machine: only in one of our own")
    return machine[0]


def require_private_network() -> None:
    """Raises :class:`PrivacyError` where interfaces are those of the machine."""
    _require_namespace("net", "this is the network namespace")


def require_private_bpffs(path: str) -> None:
    """Raises :class:`PrivacyError` unless ``path`` lies in a bpffs that only a mount namespace of our own has.

    A copy of the machine's mounts shows its bpffs, too: that it is another file system is told by its device.  Raises
    OSError where the directory does not exist.
    """
    machine = _require_namespace("mnt", "this is the mount namespace")
    status = os.stat(os.path.dirname(os.path.abspath(path)))
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    if _mounts("self").get(device) != "bpf":
        raise PrivacyError(f"{path} is in no bpffs")
    if device in _mounts(machine):
        raise PrivacyError(f"{path} is in a bpffs of the machine: only in one of our own")


def _mounts(process: int | str) -> dict[str, str]:
    """The kinds of the file systems that a process sees, by device (``/proc/PID/mountinfo``, proc(5))."""
    try:
        text = Path(f"/proc/{process}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        raise PrivacyError("the mounts of the machine cannot be seen") from None
    found = {}
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        found[fields.split()[2]] = rest.split()[0]
    return found
