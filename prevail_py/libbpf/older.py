"""Names of libbpf before version 1, which eBPF for Windows exports to this day."""

from __future__ import annotations

from prevail_py.libbpf.errors import number
from prevail_py.libbpf.handles import bpf_map, bpf_object, bpf_program
from prevail_py.libbpf.links import bpf_xdp_attach, bpf_xdp_detach
from prevail_py.libbpf.map_syscalls import bpf_map_create
from prevail_py.libbpf.objects import (
    bpf_object__next_map,
    bpf_object__next_program,
    bpf_object__prev_map,
    bpf_object__prev_program,
)
from prevail_py.libbpf.syscalls import bpf_prog_load

__all__ = [
    "bpf_create_map",
    "bpf_create_map_in_map",
    "bpf_load_program",
    "bpf_map__next",
    "bpf_map__prev",
    "bpf_object__unload",
    "bpf_program__next",
    "bpf_program__prev",
    "bpf_set_link_xdp_fd",
]


def bpf_create_map(map_type: int, key_size: int, value_size: int, max_entries: int, map_flags: int = 0) -> int:
    """``bpf_map_create`` without a name."""
    return bpf_map_create(map_type, None, key_size, value_size, max_entries, map_flags=map_flags)


def bpf_create_map_in_map(
    map_type: int, name: str | None, key_size: int, inner_map_fd: int, max_entries: int, map_flags: int = 0
) -> int:
    """``bpf_map_create`` of a map of maps."""
    return bpf_map_create(map_type, name, key_size, 4, max_entries, map_flags=map_flags, inner_map_fd=inner_map_fd)


def bpf_load_program(
    type: int,
    insns: bytes,
    insns_cnt: int | None,
    license: str,
    kern_version: int = 0,
    log_buf: bytearray | None = None,
    log_buf_sz: int | None = None,
) -> int:
    """``bpf_prog_load`` without a name; ``insns_cnt`` counts slots."""
    return bpf_prog_load(type, None, license, insns, insns_cnt, log_buf=log_buf)


def bpf_map__next(map: bpf_map | None, obj: bpf_object) -> bpf_map | None:
    """``bpf_object__next_map`` with its arguments the other way round."""
    return bpf_object__next_map(obj, map)


def bpf_map__prev(map: bpf_map | None, obj: bpf_object) -> bpf_map | None:
    """``bpf_object__prev_map`` with its arguments the other way round."""
    return bpf_object__prev_map(obj, map)


def bpf_program__next(prog: bpf_program | None, obj: bpf_object) -> bpf_program | None:
    """``bpf_object__next_program`` with its arguments the other way round."""
    return bpf_object__next_program(obj, prog)


def bpf_program__prev(prog: bpf_program | None, obj: bpf_object) -> bpf_program | None:
    """``bpf_object__prev_program`` with its arguments the other way round."""
    return bpf_object__prev_program(obj, prog)


@number
def bpf_object__unload(obj: bpf_object) -> int:
    """Give the descriptors of an object back, which stays open."""
    obj.unload()
    return 0


def bpf_set_link_xdp_fd(ifindex: int, fd: int, flags: int = 0) -> int:
    """Attach a program to an interface for good, or detach the one there where ``fd`` is negative."""
    return bpf_xdp_attach(ifindex, fd, flags) if fd >= 0 else bpf_xdp_detach(ifindex, flags)
