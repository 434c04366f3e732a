"""Links, and XDP programs on interfaces: ``bpf_link__*``, ``bpf_program__attach*`` and ``bpf_xdp_*`` of libbpf."""

from __future__ import annotations

import errno
from ctypes import c_uint32
from typing import Any, Final

from prevail_py.host.context.model import Connection
from prevail_py.libbpf.backend import current
from prevail_py.libbpf.errors import number, pointer, refuse
from prevail_py.libbpf.handles import bpf_program
from prevail_py.libbpf.info import bpf_xdp_query_opts
from prevail_py.libbpf.syscalls import attach, detach_link, infos, when_there

__all__ = [
    "XDP_FLAGS_DRV_MODE",
    "XDP_FLAGS_REPLACE",
    "XDP_FLAGS_SKB_MODE",
    "XDP_FLAGS_UPDATE_IF_NOEXIST",
    "bpf_link",
    "bpf_link__destroy",
    "bpf_link__detach",
    "bpf_link__disconnect",
    "bpf_link__fd",
    "bpf_link__open",
    "bpf_link__pin",
    "bpf_link__pin_path",
    "bpf_link__unpin",
    "bpf_link__update_program",
    "bpf_program__attach",
    "bpf_program__attach_xdp",
    "bpf_xdp_attach",
    "bpf_xdp_detach",
    "bpf_xdp_query",
    "bpf_xdp_query_id",
]

XDP_FLAGS_UPDATE_IF_NOEXIST: Final = 1
XDP_FLAGS_SKB_MODE: Final = 2
XDP_FLAGS_DRV_MODE: Final = 4
XDP_FLAGS_REPLACE: Final = 16
_KNOWN: Final = XDP_FLAGS_UPDATE_IF_NOEXIST | XDP_FLAGS_SKB_MODE | XDP_FLAGS_DRV_MODE | XDP_FLAGS_REPLACE
_ATTACHED_SKB: Final = 2


class bpf_link:
    """A program in its place."""

    def __init__(self, fd: int, backend: Connection, pin_path: str | None = None) -> None:
        self.fd = fd
        self.backend: Final = backend
        self.pin_path = pin_path
        self.disconnected = False

    def __repr__(self) -> str:
        return f"<bpf_link, descriptor {self.fd}>"


@pointer
def bpf_program__attach(prog: bpf_program) -> bpf_link:
    """Attach it where its section says; as in libbpf not for XDP, which needs an interface."""
    if prog.program.program_type == "xdp":
        raise refuse(errno.EOPNOTSUPP, "an XDP program needs an interface: bpf_program__attach_xdp")
    return _link(prog, {})


@pointer
def bpf_program__attach_xdp(prog: bpf_program, ifindex: int) -> bpf_link:
    """Attach it to an interface, as long as the link lives."""
    return _link(prog, {"ifindex": ifindex})


def _link(prog: bpf_program, parameters: dict[str, Any]) -> bpf_link:
    if prog.fd < 0:
        raise refuse(errno.EINVAL, "the program is not loaded")
    return bpf_link(attach(prog.owner.backend, prog.fd, parameters), prog.owner.backend)


@pointer
def bpf_link__open(path: str) -> bpf_link:
    """The link that is pinned there."""
    return bpf_link(current().call("open_pin", path=path), current(), path)


def bpf_link__fd(link: bpf_link) -> int:
    """The descriptor."""
    return link.fd


def bpf_link__pin_path(link: bpf_link) -> str | None:
    """Where it is pinned."""
    return link.pin_path


@number
def bpf_link__pin(link: bpf_link, path: str) -> int:
    """Pin it."""
    if link.pin_path is not None:
        raise refuse(errno.EBUSY, "the link is pinned already")
    link.backend.call("pin", handle=link.fd, path=path)
    link.pin_path = path
    return 0


@number
def bpf_link__unpin(link: bpf_link) -> int:
    """Undo it."""
    if link.pin_path is None:
        raise refuse(errno.EINVAL, "the link is not pinned")
    link.backend.call("unpin", path=link.pin_path)
    link.pin_path = None
    return 0


@number
def bpf_link__update_program(link: bpf_link, prog: bpf_program) -> int:
    """Let it call another program."""
    link.backend.call("link_update", link=link.fd, program=prog.fd)
    return 0


def bpf_link__disconnect(link: bpf_link) -> None:
    """Leave the program where it is when the link is destroyed, as far as pins hold it."""
    link.disconnected = True


@number
def bpf_link__detach(link: bpf_link) -> int:
    """Take the program away, whoever else has the link."""
    link.backend.call("link_detach", link=link.fd)
    return 0


@number
def bpf_link__destroy(link: bpf_link | None) -> int:
    """Give the link back, which takes the program away unless the link is pinned or somebody else's, too."""
    if link is not None and link.fd >= 0:
        fd, link.fd = link.fd, -1
        link.backend.call("close", handle=fd)
    return 0


def _on(backend: Connection, ifindex: int) -> dict[str, Any] | None:
    return next(
        (each for each in infos(backend, "link") if each["attached"] and each["parameters"].get("ifindex") == ifindex),
        None,
    )


@number
def bpf_xdp_attach(ifindex: int, prog_fd: int, flags: int, *, old_prog_fd: int = 0) -> int:
    """Attach to an interface for good; what is there is replaced unless the flags forbid it.

    With ``XDP_FLAGS_REPLACE`` only ``old_prog_fd`` is replaced.  The modes of Linux make no difference to a host.
    """
    if flags & ~_KNOWN:
        raise refuse(errno.EINVAL, f"flags {flags:#x}")
    backend = current()
    there = _on(backend, ifindex)
    if flags & XDP_FLAGS_REPLACE:
        old = backend.call("info", handle=old_prog_fd)["id"]
        if there is None or there["program"] != old:
            raise refuse(errno.EEXIST, "another program is attached")
    if there is not None:
        if flags & XDP_FLAGS_UPDATE_IF_NOEXIST:
            raise refuse(errno.EBUSY, "a program is attached already")
        if not there["held"]:
            raise refuse(errno.EBUSY, "a link is attached there")
        if when_there(backend, there["id"], lambda link: backend.call("link_update", link=link, program=prog_fd)):
            return 0
        if flags & XDP_FLAGS_REPLACE:
            raise refuse(errno.EEXIST, "the program to replace is attached no more")
    backend.call("close", handle=attach(backend, prog_fd, {"ifindex": ifindex}, held=True))
    return 0


@number
def bpf_xdp_detach(ifindex: int, flags: int = 0, *, old_prog_fd: int = 0) -> int:
    """Take away what :func:`bpf_xdp_attach` attached; no error where there is nothing."""
    backend = current()
    there = _on(backend, ifindex)
    if old_prog_fd and (there is None or there["program"] != backend.call("info", handle=old_prog_fd)["id"]):
        raise refuse(errno.EEXIST, "another program is attached")
    if there is None:
        return 0
    if not there["held"]:
        raise refuse(errno.EBUSY, "a link is attached there")
    detach_link(backend, there["id"])
    return 0


@number
def bpf_xdp_query(ifindex: int, flags: int, opts: bpf_xdp_query_opts) -> int:
    """What is attached there."""
    there = _on(current(), ifindex)
    opts.prog_id = 0 if there is None else there["program"]
    opts.attach_mode = 0 if there is None else _ATTACHED_SKB
    return 0


@number
def bpf_xdp_query_id(ifindex: int, flags: int, prog_id: c_uint32) -> int:
    """The number of the program that is attached there, 0 where there is none."""
    there = _on(current(), ifindex)
    prog_id.value = 0 if there is None else there["program"]
    return 0
