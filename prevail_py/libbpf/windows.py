"""Functions that eBPF for Windows adds to libbpf's: those of its ``ebpf_api.h`` that say something here.

They return an ``ebpf_result_t``: 0, or a positive number.  Object files are read as those of Windows.  A
``const char **`` is a list here, which gets the text; a buffer for a path is a ``bytearray``.  Types are named, and
have no GUIDs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, ParamSpec

from prevail_py.libbpf import errors
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
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program

__all__ = [
    "EBPF_ACCESS_DENIED",
    "EBPF_EXECUTION_ANY",
    "EBPF_EXECUTION_INTERPRET",
    "EBPF_EXECUTION_JIT",
    "EBPF_FAILED",
    "EBPF_INSUFFICIENT_BUFFER",
    "EBPF_INVALID_ARGUMENT",
    "EBPF_NO_MORE_KEYS",
    "EBPF_OBJECT_NOT_FOUND",
    "EBPF_SUCCESS",
    "EBPF_VERIFICATION_FAILED",
    "ebpf_api_close_handle",
    "ebpf_api_elf_disassemble_program",
    "ebpf_api_elf_disassemble_section",
    "ebpf_api_elf_verify_program_from_file",
    "ebpf_api_elf_verify_program_from_memory",
    "ebpf_api_elf_verify_section_from_file",
    "ebpf_api_elf_verify_section_from_memory",
    "ebpf_api_get_pinned_map_info",
    "ebpf_api_map_info_free",
    "ebpf_api_program_info",
    "ebpf_api_verifier_stats",
    "ebpf_close_fd",
    "ebpf_duplicate_fd",
    "ebpf_enumerate_programs",
    "ebpf_enumerate_sections",
    "ebpf_free_programs",
    "ebpf_free_sections",
    "ebpf_free_string",
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

P = ParamSpec("P")

EBPF_SUCCESS, EBPF_VERIFICATION_FAILED = 0, 1
EBPF_INVALID_FD, EBPF_INVALID_ARGUMENT, EBPF_OBJECT_NOT_FOUND = 4, 6, 7
EBPF_NO_MEMORY, EBPF_FAILED = 12, 17
EBPF_OPERATION_NOT_SUPPORTED, EBPF_ACCESS_DENIED = 18, 20
EBPF_INSUFFICIENT_BUFFER, EBPF_NO_MORE_KEYS = 24, 25

_RESULTS: Final = {
    errno.EBADF: EBPF_INVALID_FD,
    errno.EINVAL: EBPF_INVALID_ARGUMENT,
    errno.ENOENT: EBPF_OBJECT_NOT_FOUND,
    errno.ENOMEM: EBPF_NO_MEMORY,
    errno.EOPNOTSUPP: EBPF_OPERATION_NOT_SUPPORTED,
    errno.EACCES: EBPF_VERIFICATION_FAILED,
    errno.EPERM: EBPF_ACCESS_DENIED,
    errno.EFAULT: EBPF_INSUFFICIENT_BUFFER,
}
_PLATFORM: Final = "windows"


EBPF_EXECUTION_ANY, EBPF_EXECUTION_JIT, EBPF_EXECUTION_INTERPRET = 0, 1, 2
"""``ebpf_execution_type_t``, without native drivers."""


def _result(function: Callable[P, int]) -> Callable[P, int]:
    """A function whose failures are an ``ebpf_result_t``, with ``errno`` set."""

    numbered = errors.number(function)

    @wraps(function)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> int:
        found = numbered(*arguments, **named)
        return found if found >= 0 else _RESULTS.get(-found, EBPF_FAILED)

    return wrapped


# Object files. ----------


@dataclass(slots=True)
class ebpf_api_program_info:
    """A program of an object file.  ``stats`` are by name."""

    section_name: str
    program_name: str
    program_type: str
    expected_attach_type: str
    raw_data: bytes
    stats: dict[str, int] = field(default_factory=dict)

    @property
    def raw_data_size(self) -> int:
        """Bytes of instructions."""
        return len(self.raw_data)


@dataclass(slots=True)
class ebpf_api_verifier_stats:
    """What verification counted: failures."""

    total_warnings: int = 0


def _programs(source: str | os.PathLike[str] | bytes, name: str) -> list[Program]:
    """Raises OSError: ENOENT, or EINVAL for what is no object."""
    if not isinstance(source, bytes):
        os.stat(source)
    try:
        return list(load_object(source, name, platform=_PLATFORM).programs.values())
    except ObjectError as error:
        raise refuse(errno.EINVAL, f"{name}: {error}") from None


def _chosen(
    source: str | os.PathLike[str] | bytes, name: str, section_name: str | None, program_name: str | None
) -> Program:
    """The program, the first of the section, or the first of all.  Raises OSError."""
    for each in _programs(source, name):
        if section_name in (None, "", each.section) and program_name in (None, each.name):
            return each
    raise refuse(errno.ENOENT, f"{name}: no program {program_name or ''} in section {section_name or ''}")


def ebpf_enumerate_programs(
    file: str | os.PathLike[str],
    verbose: bool,
    infos: list[ebpf_api_program_info],
    error_message: list[str] | None = None,
) -> int:
    """The programs of an object file."""
    return _told(lambda: _enumerate(file, verbose, infos), error_message)


def _enumerate(file: str | os.PathLike[str], verbose: bool, infos: list[ebpf_api_program_info]) -> int:
    from prevail_py.isa.encode import encode

    infos += [
        ebpf_api_program_info(
            each.section,
            each.name,
            each.program_type,
            each.expected_attach_type,
            encode(each.code),
            stats={"instructions": each.instruction_count, "maps": len(each.maps)} if verbose else {},
        )
        for each in _programs(file, os.fspath(file))
    ]
    return EBPF_SUCCESS


ebpf_enumerate_sections = ebpf_enumerate_programs


def _told(action: Callable[[], int], error_message: list[str] | None) -> int:
    """Make a call; a failure's message goes where the caller wants it."""
    found = _result(action)()
    error = errors.last_error()
    if found != EBPF_SUCCESS and error_message is not None and error is not None:
        error_message.append(error.strerror or str(error))
    return found


def ebpf_free_programs(infos: list[ebpf_api_program_info] | None) -> None:
    """Nothing is to be given back."""


ebpf_free_sections = ebpf_free_programs


def ebpf_free_string(string: str | None) -> None:
    """Nothing is to be given back."""


def ebpf_api_elf_disassemble_program(
    file: str | os.PathLike[str],
    section_name: str | None,
    program_name: str | None,
    disassembly: list[str],
    error_message: list[str] | None = None,
) -> int:
    """A program of an object file as text: by default the first of the section, or of all."""

    def disassemble() -> int:
        from prevail_py.objects.text import disassemble

        disassembly.append(disassemble(_chosen(file, os.fspath(file), section_name, program_name)))
        return EBPF_SUCCESS

    return _told(disassemble, error_message)


def ebpf_api_elf_disassemble_section(
    file: str | os.PathLike[str], section: str, disassembly: list[str], error_message: list[str] | None = None
) -> int:
    """The first program of a section as text."""
    return ebpf_api_elf_disassemble_program(file, section, None, disassembly, error_message)


def ebpf_api_elf_verify_program_from_file(
    file: str | os.PathLike[str],
    section_name: str | None,
    program_name: str | None,
    program_type: str | None,
    verbosity: int,
    report: list[str],
    error_message: list[str] | None = None,
    stats: ebpf_api_verifier_stats | None = None,
) -> int:
    """Verify a program of an object file, in this process: 0 where it is SAFE, else 1.

    ``program_type`` is a name, by default what the section says.
    """
    return _told(
        lambda: _verify(
            _chosen(file, os.fspath(file), section_name, program_name), program_type, verbosity, report, stats
        ),
        error_message,
    )


def ebpf_api_elf_verify_program_from_memory(
    data: bytes,
    data_length: int | None,
    section_name: str | None,
    program_name: str | None,
    program_type: str | None,
    verbosity: int,
    report: list[str],
    error_message: list[str] | None = None,
    stats: ebpf_api_verifier_stats | None = None,
) -> int:
    """The same of an object that is in memory."""
    return _told(
        lambda: _verify(
            _chosen(bytes(data[:data_length]), "<memory>", section_name, program_name),
            program_type,
            verbosity,
            report,
            stats,
        ),
        error_message,
    )


def ebpf_api_elf_verify_section_from_file(
    file: str | os.PathLike[str],
    section: str,
    program_type: str | None,
    verbosity: int,
    report: list[str],
    error_message: list[str] | None = None,
    stats: ebpf_api_verifier_stats | None = None,
) -> int:
    """Verify the first program of a section."""
    return ebpf_api_elf_verify_program_from_file(
        file, section, None, program_type, verbosity, report, error_message, stats
    )


def ebpf_api_elf_verify_section_from_memory(
    data: bytes,
    data_length: int | None,
    section: str,
    program_type: str | None,
    verbosity: int,
    report: list[str],
    error_message: list[str] | None = None,
    stats: ebpf_api_verifier_stats | None = None,
) -> int:
    """Verify the first program of a section of an object that is in memory."""
    return ebpf_api_elf_verify_program_from_memory(
        data, data_length, section, None, program_type, verbosity, report, error_message, stats
    )


def _verify(
    program: Program, program_type: str | None, verbosity: int, report: list[str], stats: ebpf_api_verifier_stats | None
) -> int:
    from dataclasses import replace

    from prevail_py.platforms import platform
    from prevail_py.verifier import verify

    if program_type is not None:
        if program_type not in platform(_PLATFORM).program_types:
            raise refuse(errno.EINVAL, f"no program type {program_type!r}")
        program = replace(program, program_type=program_type)
    verdict = verify(program, termination=True)
    lines = [f"{program.name}: {verdict.kind}" + (f": {verdict.reason}" if verdict.reason else "")]
    lines += [
        f"{failure.line}: {failure}" if failure.line is not None else str(failure) for failure in verdict.failures
    ]
    if verbosity > 0 and verdict.termination is not None:
        lines.append(str(verdict.termination))
    if verbosity > 1:
        lines.append(str(verdict.invariants))
    report.append("\n".join(lines))
    if stats is not None:
        stats.total_warnings = len(verdict.failures)
    return EBPF_SUCCESS if verdict.is_safe else EBPF_VERIFICATION_FAILED


# Objects of the host. ----------


@_result
def ebpf_close_fd(fd: int) -> int:
    """Close a descriptor."""
    current().call("close", handle=fd)
    return EBPF_SUCCESS


ebpf_api_close_handle = ebpf_close_fd


@_result
def ebpf_duplicate_fd(fd: int, dup: list[int]) -> int:
    """Another descriptor of the same object."""
    info = current().call("info", handle=fd)
    dup.append(current().call("open_id", kind=info["kind"], id=info["id"]))
    return EBPF_SUCCESS


def ebpf_object_get(path: str) -> int:
    """A descriptor of what is pinned there; negative where nothing is."""
    return bpf_obj_get(path)


@_result
def ebpf_object_get_info_by_fd(bpf_fd: int, info: bpf_prog_info | bpf_map_info | bpf_link_info) -> int:
    """Fill ``info``, which is of the kind that the object is."""
    return bpf_obj_get_info_by_fd(bpf_fd, info)


@_result
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


@_result
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


@_result
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


@_result
def ebpf_object_set_execution_type(object: bpf_object, execution_type: int) -> int:
    """Before it is loaded."""
    if object.loaded or execution_type not in (EBPF_EXECUTION_ANY, EBPF_EXECUTION_JIT, EBPF_EXECUTION_INTERPRET):
        raise refuse(errno.EINVAL, f"execution type {execution_type}")
    engine = "interpreter" if execution_type == EBPF_EXECUTION_INTERPRET else default_engine()
    for each in object.programs:
        each.engine = engine
    return EBPF_SUCCESS


@_result
def ebpf_program_query_info(fd: int, execution_type: list[int], file_name: list[str], section_name: list[str]) -> int:
    """What a program is loaded into, and where it comes from."""
    info = current().call("info", handle=fd)
    if info["kind"] != "program":
        raise refuse(errno.EINVAL, f"descriptor {fd} is a {info['kind']}")
    execution_type.append(EBPF_EXECUTION_INTERPRET if info["engine"] == "interpreter" else EBPF_EXECUTION_JIT)
    file_name.append(info["file"])
    section_name.append(info["section"])
    return EBPF_SUCCESS


@_result
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
