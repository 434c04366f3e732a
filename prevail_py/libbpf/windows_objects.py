"""Objects of the host by the functions that eBPF for Windows adds to libbpf's: descriptors, pins, programs, links.

They are those of its ``ebpf_api.h`` that say something here, and return an ``ebpf_result_t``: 0, or a positive number.
A buffer for a path is a ``bytearray``.  Types are named, and have no GUIDs.
"""

from __future__ import annotations

import errno
from typing import Any

from prevail_py.libbpf.backend import current
from prevail_py.libbpf.buffers import (
    PerfLostCallback,
    PerfSampleCallback,
    SampleCallback,
    perf_buffer,
    perf_buffer__new,
    ring_buffer,
    ring_buffer__new,
)
from prevail_py.libbpf.errors import refuse
from prevail_py.libbpf.handles import bpf_object, bpf_program
from prevail_py.libbpf.info import bpf_link_info, bpf_map_info, bpf_prog_info
from prevail_py.libbpf.links import bpf_link
from prevail_py.libbpf.syscalls import attach, bpf_obj_get, bpf_obj_get_info_by_fd, default_engine, infos
from prevail_py.libbpf.windows_results import EBPF_NO_MORE_KEYS, EBPF_SUCCESS, with_result

__all__ = [
    "EBPF_EXECUTION_ANY",
    "EBPF_EXECUTION_INTERPRET",
    "EBPF_EXECUTION_JIT",
    "ebpf_api_close_handle",
    "ebpf_api_get_pinned_map_info",
    "ebpf_api_map_info_free",
    "ebpf_close_fd",
    "ebpf_duplicate_fd",
    "ebpf_get_next_pinned_object_path",
    "ebpf_get_next_pinned_program_path",
    "ebpf_link_close",
    "ebpf_object_get",
    "ebpf_object_get_execution_type",
    "ebpf_object_get_info_by_fd",
    "ebpf_object_set_execution_type",
    "ebpf_object_unpin",
    "ebpf_perf_buffer__new",
    "ebpf_program_attach",
    "ebpf_program_attach_by_fd",
    "ebpf_program_query_info",
    "ebpf_program_synchronize",
    "ebpf_ring_buffer__new",
]

EBPF_EXECUTION_ANY, EBPF_EXECUTION_JIT, EBPF_EXECUTION_INTERPRET = 0, 1, 2
"""``ebpf_execution_type_t``, without native drivers."""


# Objects of the host. ----------


@with_result
def ebpf_close_fd(fd: int) -> int:
    """Close a descriptor."""
    current().call("close", handle=fd)
    return EBPF_SUCCESS


ebpf_api_close_handle = ebpf_close_fd


@with_result
def ebpf_duplicate_fd(fd: int, dup: list[int]) -> int:
    """Another descriptor of the same object."""
    info = current().call("info", handle=fd)
    dup.append(current().call("open_id", kind=info["kind"], id=info["id"]))
    return EBPF_SUCCESS


def ebpf_object_get(path: str) -> int:
    """A descriptor of what is pinned there; negative where nothing is."""
    return bpf_obj_get(path)


@with_result
def ebpf_object_get_info_by_fd(bpf_fd: int, info: bpf_prog_info | bpf_map_info | bpf_link_info) -> int:
    """Fill ``info``, which is of the kind that the object is."""
    return bpf_obj_get_info_by_fd(bpf_fd, info)


@with_result
def ebpf_object_unpin(path: str) -> int:
    """Undo a pin."""
    current().call("unpin", path=path)
    return EBPF_SUCCESS


def ebpf_get_next_pinned_program_path(start_path: str, next_path: bytearray) -> int:
    """The pin of a program after ``start_path``, terminated; EBPF_NO_MORE_KEYS after the last."""
    return _next_path(start_path, next_path, "program")


def ebpf_get_next_pinned_object_path(start_path: str, next_path: bytearray, kind: str | None = None) -> int:
    """The pin after ``start_path`` of any object, or of one of a kind (``map``, ``program``, ``link``)."""
    return _next_path(start_path, next_path, kind)


@with_result
def _next_path(start: str, target: bytearray, kind: str | None) -> int:
    rows = current().call("pins")
    following = min((path for path, what, _ in rows if path > start and kind in (None, what)), default=None)
    if following is None:
        return EBPF_NO_MORE_KEYS
    data = following.encode() + b"\0"
    if len(target) < len(data):
        raise refuse(errno.EFAULT, f"{len(data)} bytes do not fit into {len(target)}")
    target[: len(data)] = data
    return EBPF_SUCCESS


@with_result
def ebpf_api_get_pinned_map_info(found: list[bpf_map_info]) -> int:
    """What there is to know about each map that is pinned."""
    for each in infos(current(), "map"):
        if each["pins"]:
            info = bpf_map_info()
            info.fill(each)
            found.append(info)
    return EBPF_SUCCESS


def ebpf_api_map_info_free(map_info: list[bpf_map_info] | None) -> None:
    """Nothing is to be given back."""


# Programs. ----------


def ebpf_object_get_execution_type(object: bpf_object) -> int:
    """What programs of the object are loaded into: generated code (JIT) or the interpreter."""
    interpreted = any(each.engine == "interpreter" for each in object.programs)
    return EBPF_EXECUTION_INTERPRET if interpreted else EBPF_EXECUTION_JIT


@with_result
def ebpf_object_set_execution_type(object: bpf_object, execution_type: int) -> int:
    """Before it is loaded."""
    if object.loaded or execution_type not in (EBPF_EXECUTION_ANY, EBPF_EXECUTION_JIT, EBPF_EXECUTION_INTERPRET):
        raise refuse(errno.EINVAL, f"execution type {execution_type}")
    engine = "interpreter" if execution_type == EBPF_EXECUTION_INTERPRET else default_engine()
    for each in object.programs:
        each.engine = engine
    return EBPF_SUCCESS


@with_result
def ebpf_program_query_info(fd: int, execution_type: list[int], file_name: list[str], section_name: list[str]) -> int:
    """What a program is loaded into, and where it comes from."""
    info = current().call("info", handle=fd)
    if info["kind"] != "program":
        raise refuse(errno.EINVAL, f"descriptor {fd} is a {info['kind']}")
    execution_type.append(EBPF_EXECUTION_INTERPRET if info["engine"] == "interpreter" else EBPF_EXECUTION_JIT)
    file_name.append(info["file"])
    section_name.append(info["section"])
    return EBPF_SUCCESS


@with_result
def ebpf_program_attach_by_fd(
    program_fd: int, attach_type: str | None, attach_parameters: bytes | None, attach_params_size: int, link: list[Any]
) -> int:
    """Attach a program; the parameters of XDP are the number of an interface, in four bytes."""
    data = b"" if attach_parameters is None else bytes(attach_parameters)[:attach_params_size]
    if len(data) not in (0, 4):
        raise refuse(errno.EINVAL, "the parameters are the number of an interface")
    parameters = {"ifindex": int.from_bytes(data, "little")} if data else {}
    link.append(bpf_link(attach(current(), program_fd, parameters), current()))
    return EBPF_SUCCESS


def ebpf_program_attach(
    program: bpf_program, attach_type: str | None, attach_parameters: bytes | None, params_size: int, link: list[Any]
) -> int:
    """The same of a program of an object."""
    return ebpf_program_attach_by_fd(program.fd, attach_type, attach_parameters, params_size, link)


def ebpf_link_close(link: bpf_link) -> int:
    """Give a link back."""
    fd, link.fd = link.fd, -1
    return ebpf_close_fd(fd)


def ebpf_program_synchronize() -> int:
    """Wait for programs that run: none does between two calls of a host."""
    return EBPF_SUCCESS


def ebpf_ring_buffer__new(
    map_fd: int, sample_cb: SampleCallback, ctx: Any = None, opts: None = None
) -> ring_buffer | None:
    """``ring_buffer__new``."""
    return ring_buffer__new(map_fd, sample_cb, ctx)


def ebpf_perf_buffer__new(
    map_fd: int,
    page_cnt: int,
    sample_cb: PerfSampleCallback,
    lost_cb: PerfLostCallback | None = None,
    ctx: Any = None,
    opts: None = None,
) -> perf_buffer | None:
    """``perf_buffer__new``."""
    return perf_buffer__new(map_fd, page_cnt, sample_cb, lost_cb, ctx)
