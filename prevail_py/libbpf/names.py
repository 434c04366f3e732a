"""Numbers and names of types: the ``libbpf_*_str`` and ``*_by_name`` functions, from the platform's tables."""

from __future__ import annotations

import errno
from ctypes import c_uint32
from typing import Final

from prevail_py.libbpf.backend import current
from prevail_py.libbpf.errors import number, refuse
from prevail_py.platforms import platform

__all__ = [
    "LIBBPF_VERSION",
    "attach_type_number",
    "libbpf_attach_type_by_name",
    "libbpf_bpf_attach_type_str",
    "libbpf_bpf_link_type_str",
    "libbpf_bpf_map_type_str",
    "libbpf_bpf_prog_type_str",
    "libbpf_major_version",
    "libbpf_minor_version",
    "libbpf_num_possible_cpus",
    "libbpf_probe_bpf_helper",
    "libbpf_probe_bpf_map_type",
    "libbpf_probe_bpf_prog_type",
    "libbpf_prog_type_by_name",
    "libbpf_version_string",
    "prog_type_number",
]

LIBBPF_VERSION: Final = (1, 1)
"""The version of libbpf whose conventions these functions follow."""

_LINK_TYPES: Final = ("unspec", "raw_tracepoint", "tracing", "cgroup", "iter", "netns", "xdp", "perf_event")


def libbpf_major_version() -> int:
    """1."""
    return LIBBPF_VERSION[0]


def libbpf_minor_version() -> int:
    """1."""
    return LIBBPF_VERSION[1]


def libbpf_version_string() -> str:
    """As libbpf writes it."""
    return f"v{LIBBPF_VERSION[0]}.{LIBBPF_VERSION[1]}"


def libbpf_bpf_prog_type_str(t: int) -> str | None:
    """``xdp`` for 6; None for a number that is no program type."""
    return next((name for name, row in platform().program_types.items() if row.number == t), None)


def libbpf_bpf_map_type_str(t: int) -> str | None:
    """``hash`` for 1."""
    found = platform().map_type(t)
    return "unspec" if t == 0 else None if found is None else found.name


def libbpf_bpf_attach_type_str(t: int) -> str | None:
    """``cgroup_inet4_bind`` for 8."""
    return next((name for name, number in platform().attach_types.items() if number == t), None)


def libbpf_bpf_link_type_str(t: int) -> str | None:
    """``xdp`` for 6."""
    return _LINK_TYPES[t] if 0 <= t < len(_LINK_TYPES) else None


def prog_type_number(name: str) -> int:
    """The number of a program type of Linux, 0 for any other name."""
    found = platform().program_types.get(name)
    return 0 if found is None else found.number


def attach_type_number(name: str) -> int:
    """The number of an attach type; 0 where there is none, as in the kernel."""
    return platform().attach_types.get(name, 0)


@number
def libbpf_prog_type_by_name(name: str, prog_type: c_uint32, expected_attach_type: c_uint32) -> int:
    """What programs in a section of this name are: 0, or -ESRCH."""
    found = platform().program_type_of_section(name)
    if found is None:
        raise refuse(errno.ESRCH, f"no programs are in a section {name!r}")
    prog_type.value, expected_attach_type.value = prog_type_number(found[0]), attach_type_number(found[1])
    return 0


@number
def libbpf_attach_type_by_name(name: str, attach_type: c_uint32) -> int:
    """The attach type of programs in a section of this name: 0, or -EINVAL where they have none."""
    found = platform().program_type_of_section(name)
    if found is None or not found[1]:
        raise refuse(errno.EINVAL, f"a section {name!r} has no attach type")
    attach_type.value = attach_type_number(found[1])
    return 0


@number
def libbpf_num_possible_cpus() -> int:
    """How many values per-CPU maps have."""
    cpus: int = current().call("status")["cpus"]
    return cpus


@number
def libbpf_probe_bpf_prog_type(prog_type: int, opts: None = None) -> int:
    """Whether programs of a type are known to the verifier here: 1 or 0; -EINVAL for a number that is none."""
    if libbpf_bpf_prog_type_str(prog_type) is None:
        raise refuse(errno.EINVAL, f"no program type {prog_type}")
    return 1


@number
def libbpf_probe_bpf_map_type(map_type: int, opts: None = None) -> int:
    """Whether maps of a type can be made: 1 or 0; -EINVAL for a number that is none."""
    from prevail_py.vm.maps.create import MODELLED

    if platform().map_type(map_type) is None:
        raise refuse(errno.EINVAL, f"no map type {map_type}")
    return int(map_type in MODELLED)


@number
def libbpf_probe_bpf_helper(prog_type: int, helper_id: int, opts: None = None) -> int:
    """Whether programs of a type may call a helper, and it is implemented: 1 or 0."""
    from prevail_py.vm.helpers.table import HELPERS

    name = libbpf_bpf_prog_type_str(prog_type)
    if name is None:
        raise refuse(errno.EINVAL, f"no program type {prog_type}")
    return int(platform().helper(helper_id, name) is not None and platform().helper_name(helper_id) in HELPERS)
