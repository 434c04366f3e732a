"""Object files by the functions that eBPF for Windows adds to libbpf's: programs listed, disassembled and verified.

They are those of its ``ebpf_api.h``, and return an ``ebpf_result_t``: 0, or a positive number.  Files are read as those
of Windows.  A ``const char **`` is a list here, which gets the text.  Types are named, and have no GUIDs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from prevail_py.libbpf import errors
from prevail_py.libbpf.errors import refuse
from prevail_py.libbpf.windows_results import EBPF_SUCCESS, EBPF_VERIFICATION_FAILED, with_result
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program

__all__ = [
    "ebpf_api_elf_disassemble_program",
    "ebpf_api_elf_disassemble_section",
    "ebpf_api_elf_verify_program_from_file",
    "ebpf_api_elf_verify_program_from_memory",
    "ebpf_api_elf_verify_section_from_file",
    "ebpf_api_elf_verify_section_from_memory",
    "ebpf_api_program_info",
    "ebpf_api_verifier_stats",
    "ebpf_enumerate_programs",
    "ebpf_enumerate_sections",
    "ebpf_free_programs",
    "ebpf_free_sections",
    "ebpf_free_string",
]

_PLATFORM: Final = "windows"


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
    found = with_result(action)()
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
