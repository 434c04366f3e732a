"""Objects: ``bpf_object__*`` of libbpf.

Opening parses the object file in this process; :func:`bpf_object__load` makes the maps and loads the programs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from prevail_py.host.context.model import Connection
from prevail_py.libbpf.backend import current
from prevail_py.libbpf.errors import number, pointer, refuse
from prevail_py.libbpf.handles import bpf_map, bpf_object, bpf_program, pin_all
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError

__all__ = [
    "bpf_object__close",
    "bpf_object__find_map_by_name",
    "bpf_object__find_map_fd_by_name",
    "bpf_object__find_program_by_name",
    "bpf_object__for_each_map",
    "bpf_object__for_each_program",
    "bpf_object__kversion",
    "bpf_object__load",
    "bpf_object__name",
    "bpf_object__next_map",
    "bpf_object__next_program",
    "bpf_object__open",
    "bpf_object__open_file",
    "bpf_object__open_mem",
    "bpf_object__pin",
    "bpf_object__pin_maps",
    "bpf_object__pin_programs",
    "bpf_object__prev_map",
    "bpf_object__prev_program",
    "bpf_object__set_kversion",
    "bpf_object__unpin_maps",
    "bpf_object__unpin_programs",
]


def open_object(
    source: str | os.PathLike[str] | bytes, name: str, backend: Connection, platform: str = "linux"
) -> bpf_object:
    """Raises OSError: EINVAL, with the place, for what is no object of this platform."""
    try:
        loaded = load_object(source, name or None, platform=platform)
    except ObjectError as error:
        raise refuse(errno.EINVAL, f"{name}: {error}") from None
    path = os.path.abspath(source) if not isinstance(source, bytes) else ""
    return bpf_object(loaded, path, backend)


@pointer
def bpf_object__open(path: str | os.PathLike[str]) -> bpf_object:
    """Parse an object file."""
    os.stat(path)
    return open_object(path, os.path.basename(path), current())


@pointer
def bpf_object__open_file(
    path: str | os.PathLike[str], *, object_name: str | None = None, platform: str = "linux"
) -> bpf_object:
    """The same, with another name, or for another platform (``windows``), which is an option of ours."""
    os.stat(path)
    return open_object(path, object_name or os.path.basename(path), current(), platform)


@pointer
def bpf_object__open_mem(
    obj_buf: bytes, obj_buf_sz: int | None = None, *, object_name: str = "<memory>", platform: str = "linux"
) -> bpf_object:
    """Parse an object that is in memory."""
    return open_object(bytes(obj_buf)[:obj_buf_sz], object_name, current(), platform)


@number
def bpf_object__load(obj: bpf_object) -> int:
    """Make the maps, have the programs verified and load them; -EACCES where one is refused, and then none is."""
    obj.load()
    return 0


def bpf_object__close(obj: bpf_object | None) -> None:
    """Close it."""
    if obj is not None:
        obj.close()


def bpf_object__name(obj: bpf_object) -> str:
    """The name, without the end ``.o``."""
    return obj.file.name.removesuffix(".o")


def bpf_object__kversion(obj: bpf_object) -> int:
    """What :func:`bpf_object__set_kversion` said; no kernel asks for it any more."""
    return obj.kernel_version


@number
def bpf_object__set_kversion(obj: bpf_object, kern_version: int) -> int:
    """Before it is loaded; it makes no difference."""
    if obj.loaded:
        raise refuse(errno.EINVAL, f"{obj.file.name} is loaded already")
    obj.kernel_version = kern_version
    return 0


@pointer
def bpf_object__find_program_by_name(obj: bpf_object, name: str) -> bpf_program:
    """The program that is called so."""
    for each in obj.programs:
        if each.program.name == name:
            return each
    raise refuse(errno.ENOENT, f"{obj.file.name} has no program {name!r}")


@pointer
def bpf_object__find_map_by_name(obj: bpf_object, name: str) -> bpf_map:
    """The map that is called so."""
    for each in obj.maps:
        if each.spec.name == name:
            return each
    raise refuse(errno.ENOENT, f"{obj.file.name} has no map {name!r}")


@number
def bpf_object__find_map_fd_by_name(obj: bpf_object, name: str) -> int:
    """Its descriptor."""
    found = bpf_object__find_map_by_name(obj, name)
    if found is None:
        raise refuse(errno.ENOENT, f"{obj.file.name} has no map {name!r}")
    return found.require()


def _neighbour(items: list[Any], item: Any, step: int) -> Any:
    if item is None:
        return (items[0] if step > 0 else items[-1]) if items else None
    place = next(place for place, each in enumerate(items) if each is item) + step
    return items[place] if 0 <= place < len(items) else None


def bpf_object__next_program(obj: bpf_object, prog: bpf_program | None) -> bpf_program | None:
    """The program after ``prog``, the first after None."""
    found: bpf_program | None = _neighbour(obj.programs, prog, 1)
    return found


def bpf_object__prev_program(obj: bpf_object, prog: bpf_program | None) -> bpf_program | None:
    """The program before ``prog``."""
    found: bpf_program | None = _neighbour(obj.programs, prog, -1)
    return found


def bpf_object__next_map(obj: bpf_object, map: bpf_map | None) -> bpf_map | None:
    """The map after ``map``, the first after None."""
    found: bpf_map | None = _neighbour(obj.maps, map, 1)
    return found


def bpf_object__prev_map(obj: bpf_object, map: bpf_map | None) -> bpf_map | None:
    """The map before ``map``."""
    found: bpf_map | None = _neighbour(obj.maps, map, -1)
    return found


def bpf_object__for_each_program(obj: bpf_object) -> Iterator[bpf_program]:
    """libbpf's macro."""
    return iter(obj.programs)


def bpf_object__for_each_map(obj: bpf_object) -> Iterator[bpf_map]:
    """libbpf's macro."""
    return iter(obj.maps)


@number
def bpf_object__pin_programs(obj: bpf_object, path: str) -> int:
    """Pin each program under ``path``."""
    return pin_all([(each, f"{path}/{each.program.name}") for each in obj.programs if each.fd >= 0])


@number
def bpf_object__unpin_programs(obj: bpf_object, path: str) -> int:
    """Undo it."""
    for each in obj.programs:
        if each.fd >= 0:
            obj.backend.call("unpin", path=f"{path}/{each.program.name}")
    return 0


@number
def bpf_object__pin_maps(obj: bpf_object, path: str) -> int:
    """Pin each map under ``path``."""
    return pin_all([(each, f"{path}/{each.spec.name}") for each in obj.maps if each.fd >= 0])


@number
def bpf_object__unpin_maps(obj: bpf_object, path: str) -> int:
    """Undo it."""
    for each in obj.maps:
        if each.fd >= 0:
            obj.backend.call("unpin", path=f"{path}/{each.spec.name}")
            each.pinned = False
    return 0


def bpf_object__pin(obj: bpf_object, path: str) -> int:
    """Pin all maps and all programs."""
    return bpf_object__pin_maps(obj, path) or bpf_object__pin_programs(obj, path)
