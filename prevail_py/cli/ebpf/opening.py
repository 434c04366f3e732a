"""What the commands of netsh and of bpftool, and ``run``, share where they load an object file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prevail_py.cli.support import InputError, bad_input

if TYPE_CHECKING:
    from prevail_py.host.context.model import Connection
    from prevail_py.libbpf.handles import bpf_object

__all__ = ["open_programs", "type_of_section"]


def open_programs(path: str, session: Connection, platform: str) -> bpf_object:
    """The object at ``path``, which is for this platform, with one program at least.

    Raises :class:`InputError` where it cannot be read or has none, and OSError for what is no object.
    """
    from prevail_py.libbpf.objects import open_object

    with bad_input(path), open(path, "rb"):
        pass
    obj = open_object(path, path, session, platform)
    if not obj.programs:
        raise InputError(f"{path}: no program")
    return obj


def type_of_section(section: str, given: str, on: str) -> tuple[str, str]:
    """The program type and attach type of what is in a section of this name on a platform.

    Raises :class:`InputError` where no program is; ``given`` is the argument as the command's grammar writes it.
    """
    from prevail_py.platforms import platform

    found = platform(on).program_type_of_section(section)
    if found is None:
        raise InputError(f"ebpf: {given}: no programs are in a section of this name")
    return found
