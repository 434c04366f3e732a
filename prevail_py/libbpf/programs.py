"""Programs of an object: ``bpf_program__*`` of libbpf."""

from __future__ import annotations

import errno

from prevail_py.isa.decode import DecodeError, decode
from prevail_py.isa.encode import encode
from prevail_py.libbpf.errors import number, refuse
from prevail_py.libbpf.handles import bpf_program, pin_all
from prevail_py.libbpf.names import (
    attach_type_number,
    libbpf_bpf_attach_type_str,
    libbpf_bpf_prog_type_str,
    prog_type_number,
)
from prevail_py.objects.text import subprograms_of

__all__ = [
    "bpf_program__autoattach",
    "bpf_program__autoload",
    "bpf_program__expected_attach_type",
    "bpf_program__fd",
    "bpf_program__flags",
    "bpf_program__get_expected_attach_type",
    "bpf_program__get_type",
    "bpf_program__insn_cnt",
    "bpf_program__insns",
    "bpf_program__log_buf",
    "bpf_program__log_level",
    "bpf_program__name",
    "bpf_program__pin",
    "bpf_program__section_name",
    "bpf_program__set_autoattach",
    "bpf_program__set_autoload",
    "bpf_program__set_expected_attach_type",
    "bpf_program__set_flags",
    "bpf_program__set_ifindex",
    "bpf_program__set_insns",
    "bpf_program__set_log_buf",
    "bpf_program__set_log_level",
    "bpf_program__set_type",
    "bpf_program__type",
    "bpf_program__unload",
    "bpf_program__unpin",
]


def bpf_program__name(prog: bpf_program) -> str:
    """The name of the function."""
    return prog.program.name


def bpf_program__section_name(prog: bpf_program) -> str:
    """Where it was in the object."""
    return prog.program.section


def bpf_program__fd(prog: bpf_program) -> int:
    """The descriptor; -EBADF until it is loaded."""
    return prog.fd if prog.fd >= 0 else -errno.EBADF


def bpf_program__type(prog: bpf_program) -> int:
    """The number of its type."""
    return prog_type_number(prog.program.program_type)


bpf_program__get_type = bpf_program__type


@number
def bpf_program__set_type(prog: bpf_program, type: int) -> int:
    """Make it one of another type."""
    name = libbpf_bpf_prog_type_str(type)
    if name is None:
        raise refuse(errno.EINVAL, f"no program type {type}")
    return prog.change(program_type=name)


def bpf_program__expected_attach_type(prog: bpf_program) -> int:
    """The number of its attach type."""
    return attach_type_number(prog.program.expected_attach_type)


bpf_program__get_expected_attach_type = bpf_program__expected_attach_type


@number
def bpf_program__set_expected_attach_type(prog: bpf_program, type: int) -> int:
    """Make it one of another attach type."""
    name = libbpf_bpf_attach_type_str(type)
    if name is None:
        raise refuse(errno.EINVAL, f"no attach type {type}")
    return prog.change(expected_attach_type=name)


def bpf_program__autoload(prog: bpf_program) -> bool:
    """Whether it is loaded with its object."""
    return prog.autoload


@number
def bpf_program__set_autoload(prog: bpf_program, autoload: bool) -> int:
    """Load it with its object, or not."""
    if prog.owner.loaded:
        raise refuse(errno.EINVAL, "the object is loaded")
    prog.autoload = autoload
    return 0


def bpf_program__autoattach(prog: bpf_program) -> bool:
    """Whether skeletons attach it."""
    return prog.autoattach


def bpf_program__set_autoattach(prog: bpf_program, autoattach: bool) -> None:
    """Let skeletons attach it, or not."""
    prog.autoattach = autoattach


def bpf_program__insns(prog: bpf_program) -> bytes:
    """Its instructions, encoded; references to maps are places in the program's list."""
    return encode(prog.program.code)


@number
def bpf_program__set_insns(prog: bpf_program, new_insns: bytes, new_insn_cnt: int | None = None) -> int:
    """Other instructions, which refer to maps as those before do; what they say about lines is lost."""
    data = bytes(new_insns)[: None if new_insn_cnt is None else 8 * new_insn_cnt]
    try:
        code = decode(data)
        if not code:
            raise DecodeError(0, "no instructions")
    except DecodeError as error:
        raise refuse(errno.EINVAL, str(error)) from None
    return prog.change(
        code=code, subprograms=tuple(subprograms_of(code, prog.program.name)), lines={}, symbols={}, poisoned={}
    )


@number
def bpf_program__set_ifindex(prog: bpf_program, ifindex: int) -> int:
    """Nothing is offloaded: -EOPNOTSUPP for any interface."""
    if ifindex:
        raise refuse(errno.EOPNOTSUPP, "a host offloads no programs")
    return 0


def bpf_program__insn_cnt(prog: bpf_program) -> int:
    """Slots."""
    return len(prog.program.code)


def bpf_program__flags(prog: bpf_program) -> int:
    """What was set."""
    return prog.flags


@number
def bpf_program__set_flags(prog: bpf_program, flags: int) -> int:
    """No flag means anything to a host."""
    if flags:
        raise refuse(errno.EOPNOTSUPP, "no flags are known here")
    return 0


def bpf_program__log_level(prog: bpf_program) -> int:
    """What was set; the report is always complete."""
    return prog.log_level


@number
def bpf_program__set_log_level(prog: bpf_program, log_level: int) -> int:
    """Kept."""
    prog.log_level = log_level
    return 0


def bpf_program__log_buf(prog: bpf_program) -> str:
    """What the verifier said when it refused the program."""
    return prog.log


@number
def bpf_program__set_log_buf(prog: bpf_program, log_buf: bytearray, log_size: int | None = None) -> int:
    """Where the report shall go, too."""
    prog.log_buf = log_buf
    return 0


@number
def bpf_program__pin(prog: bpf_program, path: str) -> int:
    """Pin it."""
    if prog.fd < 0:
        raise refuse(errno.EINVAL, "the program is not loaded")
    return pin_all([(prog, path)])


@number
def bpf_program__unpin(prog: bpf_program, path: str) -> int:
    """Undo it."""
    prog.owner.backend.call("unpin", path=path)
    return 0


def bpf_program__unload(prog: bpf_program) -> None:
    """Give the descriptor back."""
    prog.unload()
