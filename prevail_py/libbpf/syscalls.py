"""The functions of libbpf's ``bpf.h`` on programs and links, and on objects of any kind."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ctypes import c_uint32
from dataclasses import replace
from typing import Any

from prevail_py.host.context.model import Connection, HostError
from prevail_py.host.service.programs import from_program
from prevail_py.isa.decode import DecodeError, decode
from prevail_py.isa.instructions import Instruction, LoadImmediate64, Pseudo
from prevail_py.libbpf.backend import current
from prevail_py.libbpf.errors import number, refuse
from prevail_py.libbpf.info import bpf_link_info, bpf_map_info, bpf_prog_info, bpf_prog_query_options, bpf_test_run_opts
from prevail_py.libbpf.map_syscalls import spec_of
from prevail_py.libbpf.names import libbpf_bpf_attach_type_str, libbpf_bpf_prog_type_str
from prevail_py.objects.program import Program
from prevail_py.objects.text import subprograms_of

__all__ = [
    "bpf_link_create",
    "bpf_link_detach",
    "bpf_link_get_fd_by_id",
    "bpf_link_get_fd_by_id_opts",
    "bpf_link_get_next_id",
    "bpf_link_update",
    "bpf_map_get_fd_by_id",
    "bpf_map_get_fd_by_id_opts",
    "bpf_map_get_next_id",
    "bpf_obj_get",
    "bpf_obj_get_info_by_fd",
    "bpf_obj_get_opts",
    "bpf_obj_pin",
    "bpf_prog_attach",
    "bpf_prog_attach_opts",
    "bpf_prog_detach",
    "bpf_prog_detach2",
    "bpf_prog_get_fd_by_id",
    "bpf_prog_get_fd_by_id_opts",
    "bpf_prog_get_next_id",
    "bpf_prog_load",
    "bpf_prog_query",
    "bpf_prog_query_opts",
    "bpf_prog_test_run_opts",
    "close",
    "default_engine",
]


def close(fd: int) -> int:
    """Close a descriptor of the backend, as ``close(2)`` closes the kernel's."""
    return _done(lambda: current().call("close", handle=fd))


@number
def _done(action: Callable[[], Any]) -> int:
    action()
    return 0


def default_engine() -> str:
    """Generated Python.

    It is as fast as native code for short programs, as those at hooks are (``docs/measurements/host.md``), and checks
    each access, where native code leaves out checks by what the token's facts say.
    """
    return "source"


# Programs. ----------


@number
def bpf_prog_load(
    prog_type: int,
    prog_name: str | None,
    license: str,
    insns: bytes,
    insn_cnt: int | None = None,
    *,
    expected_attach_type: int | None = None,
    log_buf: bytearray | None = None,
) -> int:
    """A descriptor of a program, verified by the backend; ``insns`` are encoded and refer to maps by descriptors."""
    type_name = libbpf_bpf_prog_type_str(prog_type)
    if type_name is None:
        raise refuse(errno.EINVAL, f"no program type {prog_type}")
    try:
        code, fds = _relocate(decode(bytes(insns)[: None if insn_cnt is None else 8 * insn_cnt]))
    except DecodeError as error:
        raise refuse(errno.EINVAL, str(error)) from None
    if not code:
        raise refuse(errno.EINVAL, "no instructions")
    attach = "" if expected_attach_type is None else libbpf_bpf_attach_type_str(expected_attach_type) or ""
    name = prog_name or "main"
    program = Program(
        name, type_name, type_name, code, subprograms=tuple(subprograms_of(code, name)), licence=license,
        expected_attach_type=attach,
    )  # fmt: skip
    try:
        return load(current(), program, fds)
    except HostError as error:
        if log_buf:
            fill_text(log_buf, error.log or str(error.strerror))
        raise


def _relocate(code: tuple[Instruction | None, ...]) -> tuple[tuple[Instruction | None, ...], list[int]]:
    """Descriptors in the code become places in a list of them."""
    kinds = {Pseudo.MAP_FD: Pseudo.MAP_INDEX, Pseudo.MAP_VALUE: Pseudo.MAP_INDEX_VALUE}
    fds: list[int] = []
    out = []
    for instruction in code:
        if isinstance(instruction, LoadImmediate64) and instruction.pseudo in kinds:
            if instruction.low not in fds:
                fds.append(instruction.low)
            instruction = replace(instruction, low=fds.index(instruction.low), pseudo=kinds[Pseudo(instruction.pseudo)])
        out.append(instruction)
    return tuple(out), fds


def load(backend: Connection, program: Program, maps: list[int], *, engine: str = "", file: str = "") -> int:
    """A handle to a program that uses these maps, defined as the backend has them.  Raises OSError."""
    specs = tuple(spec_of(backend, fd) for fd in maps)
    handle: int = backend.call(
        "program_load",
        program=from_program(replace(program, maps=specs)),
        maps=list(maps),
        engine=engine or default_engine(),
        file=file,
    )
    return handle


def fill_text(target: bytearray, text: str) -> None:
    """As much of a text as there is room for, terminated."""
    data = text.encode(errors="replace")[: len(target) - 1] + b"\0"
    target[: len(data)] = data


@number
def bpf_prog_test_run_opts(prog_fd: int, opts: bpf_test_run_opts) -> int:
    """Run a program: ``opts`` holds input and result."""
    result = current().call(
        "program_run", handle=prog_fd, packet=opts.data_in, context=opts.ctx_in, repeat=max(opts.repeat, 1)
    )
    opts.retval, opts.data_out, opts.ctx_out = result["value"], result["packet"], result["context"]
    opts.duration = result["nanoseconds"]
    return 0


# Any object. ----------


def bpf_obj_pin(fd: int, pathname: str) -> int:
    """Pin an object."""
    return _done(lambda: current().call("pin", handle=fd, path=pathname))


@number
def bpf_obj_get(pathname: str) -> int:
    """A descriptor of what is pinned there."""
    handle: int = current().call("open_pin", path=pathname)
    return handle


@number
def bpf_obj_get_info_by_fd(bpf_fd: int, info: bpf_prog_info | bpf_map_info | bpf_link_info) -> int:
    """Fill ``info``, which is of the kind that the object is."""
    found = current().call("info", handle=bpf_fd)
    kinds = {bpf_prog_info: "program", bpf_map_info: "map", bpf_link_info: "link"}
    if kinds.get(type(info)) != found["kind"]:
        raise refuse(errno.EINVAL, f"descriptor {bpf_fd} is a {found['kind']}")
    info.fill(found)
    return 0


@number
def _next(kind: str, start_id: int, next_id: c_uint32) -> int:
    next_id.value = current().call("next_id", kind=kind, after=start_id)
    return 0


@number
def _by_id(kind: str, id: int) -> int:
    handle: int = current().call("open_id", kind=kind, id=id)
    return handle


def bpf_prog_get_next_id(start_id: int, next_id: c_uint32) -> int:
    """The lowest number above ``start_id`` that a program has; -ENOENT after the last."""
    return _next("program", start_id, next_id)


def bpf_map_get_next_id(start_id: int, next_id: c_uint32) -> int:
    """The same of maps."""
    return _next("map", start_id, next_id)


def bpf_link_get_next_id(start_id: int, next_id: c_uint32) -> int:
    """The same of links."""
    return _next("link", start_id, next_id)


@number
def _without_flags(open_flags: int) -> int:
    if open_flags:
        raise refuse(errno.EINVAL, "descriptors of a host have no modes")
    return 0


def bpf_prog_get_fd_by_id_opts(id: int, *, open_flags: int = 0) -> int:
    """The same with flags, of which there are none."""
    return _without_flags(open_flags) or _by_id("program", id)


def bpf_map_get_fd_by_id_opts(id: int, *, open_flags: int = 0) -> int:
    """The same with flags, of which there are none."""
    return _without_flags(open_flags) or _by_id("map", id)


def bpf_link_get_fd_by_id_opts(id: int, *, open_flags: int = 0) -> int:
    """The same with flags, of which there are none."""
    return _without_flags(open_flags) or _by_id("link", id)


def bpf_obj_get_opts(pathname: str, *, file_flags: int = 0) -> int:
    """A descriptor of what is pinned there; there are no flags."""
    return _without_flags(file_flags) or bpf_obj_get(pathname)


def bpf_prog_get_fd_by_id(id: int) -> int:
    """A descriptor of the program with this number."""
    return _by_id("program", id)


def bpf_map_get_fd_by_id(id: int) -> int:
    """A descriptor of the map with this number."""
    return _by_id("map", id)


def bpf_link_get_fd_by_id(id: int) -> int:
    """A descriptor of the link with this number."""
    return _by_id("link", id)


# Links. ----------


@number
def bpf_link_create(
    prog_fd: int, target_fd: int, attach_type: int = 0, *, parameters: dict[str, Any] | None = None
) -> int:
    """A descriptor of a link: of XDP to the interface with the number ``target_fd``.

    ``parameters`` are for hooks that want others.
    """
    return attach(current(), prog_fd, parameters if parameters is not None else {"ifindex": target_fd})


def attach(backend: Connection, prog_fd: int, parameters: dict[str, Any], *, held: bool = False) -> int:
    """A handle to a link.  Raises OSError."""
    handle: int = backend.call("link_create", program=prog_fd, hook=None, parameters=parameters, held=held)
    return handle


def bpf_link_detach(link_fd: int) -> int:
    """Take the program of a link from its hook."""
    return _done(lambda: current().call("link_detach", link=link_fd))


def bpf_link_update(link_fd: int, new_prog_fd: int) -> int:
    """Let a link call another program."""
    return _done(lambda: current().call("link_update", link=link_fd, program=new_prog_fd))


@number
def bpf_prog_attach(prog_fd: int, target: int, type: int = 0, flags: int = 0) -> int:
    """Attach for good, without a descriptor.  A host has no cgroups: ``target`` is the number of an interface."""
    if flags:
        raise refuse(errno.EINVAL, "no flags are known here")
    current().call("close", handle=attach(current(), prog_fd, {"ifindex": target} if target else {}, held=True))
    return 0


def bpf_prog_detach(target: int, type: int = 0) -> int:
    """Detach what :func:`bpf_prog_attach` attached there."""
    return bpf_prog_detach2(None, target, type)


@number
def bpf_prog_detach2(prog_fd: int | None, target: int, type: int = 0) -> int:
    """The same, of this program only."""
    wanted = None if prog_fd is None else current().call("info", handle=prog_fd)["id"]
    for found in infos(current(), "link"):
        ours = found["held"] and found["parameters"].get("ifindex", 0) == target
        if ours and wanted in (None, found["program"]) and detach_link(current(), found["id"]):
            return 0
    raise refuse(errno.ENOENT, "nothing is attached there")


def bpf_prog_attach_opts(prog_fd: int, target: int, type: int = 0, *, flags: int = 0, replace_prog_fd: int = 0) -> int:
    """:func:`bpf_prog_attach`; nothing is replaced: -EINVAL."""
    return bpf_prog_attach(prog_fd, target, type, flags | (0 if not replace_prog_fd else 4))


@number
def bpf_prog_query(
    target: int,
    type: int,
    query_flags: int,
    attach_flags: c_uint32 | None,
    prog_ids: list[int] | None,
    prog_cnt: c_uint32,
) -> int:
    """The numbers of the programs that are attached for good to an interface (0: to no interface).

    ``prog_ids`` has room for ``prog_cnt``, which is then how many there are; -ENOSPC where that is more.
    """
    if query_flags:
        raise refuse(errno.EINVAL, "no flags are known here")
    name = libbpf_bpf_attach_type_str(type)
    room = prog_cnt.value
    found: list[int] = [
        each["program"]
        for each in infos(current(), "link")
        if each["held"] and each["parameters"].get("ifindex", 0) == target and name in (each["attach_type"], None)
    ]
    prog_cnt.value = len(found)
    if attach_flags is not None:
        attach_flags.value = 0
    if prog_ids is None:
        return 0
    prog_ids[: min(room, len(found))] = found[:room]
    if len(found) > room:
        raise refuse(errno.ENOSPC, f"{len(found)} programs are attached there")
    return 0


def bpf_prog_query_opts(target: int, type: int, opts: bpf_prog_query_options) -> int:
    """The same with ``opts``, which has a list."""
    count = c_uint32(1 << 16)
    opts.prog_ids = []
    result = bpf_prog_query(target, type, opts.query_flags, None, opts.prog_ids, count)
    opts.prog_cnt = count.value
    return result


def infos(backend: Connection, kind: str) -> list[dict[str, Any]]:
    """What is known about each object of a kind (``map``, ``program`` or ``link``), by number.  Raises OSError.

    Others may close objects meanwhile: one that is gone before it is opened is left out, and those behind it are not.
    """
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        try:
            after = backend.call("next_id", kind=kind, after=after)
        except HostError as error:
            if error.errno == errno.ENOENT:
                return found
            raise
        try:
            handle = backend.call("open_id", kind=kind, id=after)
        except HostError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        try:
            found.append(backend.call("info", handle=handle))
        finally:
            backend.call("close", handle=handle)


def detach_link(backend: Connection, id: int) -> bool:
    """Take the program of this link from its hook; False where the link is gone already."""
    return when_there(backend, id, lambda link: backend.call("link_detach", link=link))


def when_there(backend: Connection, id: int, action: Callable[[int], Any]) -> bool:
    """Do something to the link with this number; False where others have ended it meanwhile, after it was listed."""
    try:
        handle = backend.call("open_id", kind="link", id=id)
    except HostError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    try:
        action(handle)
    finally:
        backend.call("close", handle=handle)
    return True
