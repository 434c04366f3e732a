"""Objects, their programs and their maps: ``bpf_object__*``, ``bpf_program__*`` and ``bpf_map__*`` of libbpf.

Opening parses the object file in this process; :func:`bpf_object__load` makes the maps and has the backend verify and
load the programs, with the definitions that the maps really have.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from prevail_py.host.context.model import Connection, HostError
from prevail_py.isa.encode import encode
from prevail_py.libbpf.backend import current
from prevail_py.libbpf.errors import number, pointer, refuse
from prevail_py.libbpf.names import (
    attach_type_number,
    libbpf_bpf_attach_type_str,
    libbpf_bpf_prog_type_str,
    prog_type_number,
)
from prevail_py.libbpf.syscalls import create, fill, fill_text, load, spec_of
from prevail_py.objects.elf import ObjectFile, load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform

__all__ = [
    "PIN_ROOT",
    "bpf_map",
    "bpf_map__autocreate",
    "bpf_map__btf_key_type_id",
    "bpf_map__btf_value_type_id",
    "bpf_map__delete_elem",
    "bpf_map__fd",
    "bpf_map__get_next_key",
    "bpf_map__get_pin_path",
    "bpf_map__initial_value",
    "bpf_map__is_internal",
    "bpf_map__is_pinned",
    "bpf_map__key_size",
    "bpf_map__lookup_and_delete_elem",
    "bpf_map__lookup_elem",
    "bpf_map__map_extra",
    "bpf_map__map_flags",
    "bpf_map__max_entries",
    "bpf_map__name",
    "bpf_map__pin",
    "bpf_map__pin_path",
    "bpf_map__reuse_fd",
    "bpf_map__set_autocreate",
    "bpf_map__set_initial_value",
    "bpf_map__set_key_size",
    "bpf_map__set_map_extra",
    "bpf_map__set_map_flags",
    "bpf_map__set_max_entries",
    "bpf_map__set_pin_path",
    "bpf_map__set_type",
    "bpf_map__set_value_size",
    "bpf_map__type",
    "bpf_map__unpin",
    "bpf_map__update_elem",
    "bpf_map__value_size",
    "bpf_object",
    "bpf_object__close",
    "bpf_object__find_map_by_name",
    "bpf_object__find_map_fd_by_name",
    "bpf_object__find_program_by_name",
    "bpf_object__for_each_map",
    "bpf_object__for_each_program",
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
    "bpf_object__unpin_maps",
    "bpf_object__unpin_programs",
    "bpf_program",
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
    "bpf_program__set_log_buf",
    "bpf_program__set_log_level",
    "bpf_program__set_type",
    "bpf_program__type",
    "bpf_program__unload",
    "bpf_program__unpin",
]

PIN_ROOT: Final = "/sys/fs/bpf"
"""Where maps that are pinned by name go; a host takes it as a name like any other."""


class bpf_map:
    """A map of an object.  ``spec`` may be changed until it exists; ``fd`` is negative until then."""

    def __init__(self, spec: MapSpec, backend: Connection) -> None:
        self.spec = spec
        self.backend: Final = backend
        self.fd = -1
        self.autocreate = True
        self.reused = False
        self.pin_path: str | None = f"{PIN_ROOT}/{spec.name}" if spec.pinning == 1 else None
        self.pinned = False

    def __repr__(self) -> str:
        return f"<bpf_map {self.spec.name!r}, descriptor {self.fd}>"

    def change(self, **changes: Any) -> int:
        """Change the definition: 0.  Raises OSError once the map exists."""
        if self.fd >= 0:
            raise refuse(errno.EBUSY, f"map {self.spec.name!r} exists already")
        self.spec = replace(self.spec, **changes)
        return 0

    def require(self) -> int:
        """The descriptor.  Raises OSError where there is none yet."""
        if self.fd < 0:
            raise refuse(errno.EBADF, f"map {self.spec.name!r} does not exist yet")
        return self.fd

    def create(self) -> None:
        """Make the map, or take the one that is pinned where this one shall be.  Raises OSError."""
        if self.fd >= 0 or not self.autocreate:
            return
        if self.pin_path is not None:
            try:
                fd = self.backend.call("open_pin", path=self.pin_path)
            except HostError as error:
                if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                    raise
            else:
                found = spec_of(self.backend, fd)
                same = ("type", "key_size", "value_size", "max_entries", "flags")
                if any(getattr(found, each) != getattr(self.spec, each) for each in same):
                    self.backend.call("close", handle=fd)
                    raise refuse(errno.EINVAL, f"what is pinned at {self.pin_path} is another map")
                self.fd, self.spec, self.reused, self.pinned = fd, found, True, True
                return
        self.fd = create(self.backend, self.spec)
        if self.pin_path is not None:
            self.backend.call("pin", handle=self.fd, path=self.pin_path)
            self.pinned = True

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            self.backend.call("close", handle=self.fd)
            self.fd = -1


class bpf_program:
    """A program of an object.  ``program`` may be changed until it is loaded."""

    def __init__(self, program: Program, maps: list[bpf_map], owner: bpf_object) -> None:
        self.program = program
        self.maps: Final = maps
        self.owner: Final = owner
        self.fd = -1
        self.autoload = not program.section.startswith("?")
        self.autoattach = True
        self.flags = 0
        self.log_level = 0
        self.log_buf: bytearray | None = None
        self.log = ""
        self.engine = ""
        self.pin_path: str | None = None

    def __repr__(self) -> str:
        return f"<bpf_program {self.program.name!r}, descriptor {self.fd}>"

    def change(self, **changes: Any) -> int:
        """Change the program: 0.  Raises OSError once it is loaded."""
        if self.fd >= 0:
            raise refuse(errno.EBUSY, f"program {self.program.name!r} is loaded already")
        self.program = replace(self.program, **changes)
        return 0

    def load(self) -> None:
        """Have it verified and loaded.  Raises OSError; ``log`` is then the report."""
        if self.fd >= 0 or not self.autoload:
            return
        try:
            fds = [each.require() for each in self.maps]
            self.fd = load(self.owner.backend, self.program, fds, engine=self.engine, file=self.owner.path)
        except HostError as error:
            self.log = error.log or str(error.strerror)
            if self.log_buf:
                fill_text(self.log_buf, self.log)
            raise

    def unload(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            self.owner.backend.call("close", handle=self.fd)
            self.fd = -1


class bpf_object:
    """An object file that was opened: ``programs`` and ``maps`` in the order of the file."""

    def __init__(self, loaded: ObjectFile, path: str, backend: Connection) -> None:
        self.backend: Final = backend
        self.path: Final = path
        self.file: Final = loaded
        self.maps: Final = [bpf_map(spec, backend) for spec in loaded.maps]
        by_spec = {id(spec): made for spec, made in zip(loaded.maps, self.maps, strict=True)}
        self.programs: Final = [
            bpf_program(program, [by_spec[id(spec)] for spec in program.maps], self)
            for program in loaded.programs.values()
        ]
        self.loaded = False

    def __repr__(self) -> str:
        return f"<bpf_object {self.file.name!r}: {len(self.programs)} programs, {len(self.maps)} maps>"

    def load(self) -> None:
        """Make all maps and load all programs, or none.  Raises OSError."""
        if self.loaded:
            raise refuse(errno.EINVAL, f"{self.file.name} is loaded already")
        needed = {id(each) for program in self.programs if program.autoload for each in program.maps}
        try:
            for each in self.maps:
                if id(each) in needed or not each.spec.name.startswith("."):
                    each.create()
            for program in self.programs:
                program.load()
        except OSError:
            self.unload()
            raise
        self.loaded = True

    def unload(self) -> None:
        """Give all descriptors back."""
        for program in self.programs:
            program.unload()
        for each in self.maps:
            each.close()
        self.loaded = False

    def close(self) -> None:
        """The object goes; what is pinned or attached for good stays.  A backend that is gone has closed it already."""
        try:
            self.unload()
        except HostError as error:
            if error.errno not in (errno.ECONNRESET, errno.EBADF):
                raise


# Opening. ----------


def open_object(source: str | os.PathLike[str] | bytes, name: str, backend: Connection) -> bpf_object:
    """Raises OSError: EINVAL, with the place, for what is no object."""
    try:
        loaded = load_object(source, name or None)
    except ObjectError as error:
        raise refuse(errno.EINVAL, f"{name}: {error}") from None
    path = os.path.abspath(source) if not isinstance(source, bytes) else ""
    return bpf_object(loaded, path, backend)


@pointer
def bpf_object__open(path: str | os.PathLike[str]) -> bpf_object:
    """Parse an object file."""
    os.stat(path)
    return open_object(path, os.path.basename(path), current())


def bpf_object__open_file(path: str | os.PathLike[str], *, object_name: str | None = None) -> bpf_object | None:
    """The same, with another name."""
    return _open_file(path, object_name)


@pointer
def _open_file(path: str | os.PathLike[str], object_name: str | None) -> bpf_object:
    os.stat(path)
    return open_object(path, object_name or os.path.basename(path), current())


@pointer
def bpf_object__open_mem(obj_buf: bytes, obj_buf_sz: int | None = None, *, object_name: str = "<memory>") -> bpf_object:
    """Parse an object that is in memory."""
    return open_object(bytes(obj_buf)[:obj_buf_sz], object_name, current())


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
    return _pin_all([(each, f"{path}/{each.program.name}") for each in obj.programs if each.fd >= 0])


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
    return _pin_all([(each, f"{path}/{each.spec.name}") for each in obj.maps if each.fd >= 0])


@number
def bpf_object__unpin_maps(obj: bpf_object, path: str) -> int:
    """Undo it."""
    for each in obj.maps:
        if each.fd >= 0:
            obj.backend.call("unpin", path=f"{path}/{each.spec.name}")
            each.pinned = False
    return 0


def _pin_all(places: list[tuple[bpf_program | bpf_map, str]]) -> int:
    """All, or none."""
    done: list[tuple[Connection, str]] = []
    try:
        for each, path in places:
            backend = each.owner.backend if isinstance(each, bpf_program) else each.backend
            backend.call("pin", handle=each.fd, path=path)
            done.append((backend, path))
    except OSError:
        for backend, path in done:
            backend.call("unpin", path=path)
        raise
    for each, path in places:
        each.pin_path = path
        if isinstance(each, bpf_map):
            each.pinned = True
    return 0


def bpf_object__pin(obj: bpf_object, path: str) -> int:
    """Pin all maps and all programs."""
    return bpf_object__pin_maps(obj, path) or bpf_object__pin_programs(obj, path)


# Programs. ----------


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
    return _pin_all([(prog, path)])


@number
def bpf_program__unpin(prog: bpf_program, path: str) -> int:
    """Undo it."""
    prog.owner.backend.call("unpin", path=path)
    return 0


def bpf_program__unload(prog: bpf_program) -> None:
    """Give the descriptor back."""
    prog.unload()


# Maps. ----------


def bpf_map__fd(map: bpf_map) -> int:
    """The descriptor; -EINVAL until it exists."""
    return map.fd if map.fd >= 0 else -errno.EINVAL


def bpf_map__name(map: bpf_map) -> str:
    """The name of the variable, or of the section of global data."""
    return map.spec.name


def bpf_map__type(map: bpf_map) -> int:
    """The number of its type."""
    return map.spec.type


def bpf_map__key_size(map: bpf_map) -> int:
    """Bytes."""
    return map.spec.key_size


def bpf_map__value_size(map: bpf_map) -> int:
    """Bytes."""
    return map.spec.value_size


def bpf_map__max_entries(map: bpf_map) -> int:
    """Elements, or bytes of a ring buffer."""
    return map.spec.max_entries


def bpf_map__map_flags(map: bpf_map) -> int:
    """``BPF_F_*``."""
    return map.spec.flags


def bpf_map__map_extra(map: bpf_map) -> int:
    """Hashes of a bloom filter."""
    return map.spec.extra


def bpf_map__btf_key_type_id(map: bpf_map) -> int:
    """In the BTF of the object."""
    return map.spec.key_btf


def bpf_map__btf_value_type_id(map: bpf_map) -> int:
    """In the BTF of the object."""
    return map.spec.value_btf


@number
def bpf_map__set_type(map: bpf_map, type: int) -> int:
    """Before it exists."""
    if platform().map_type(type) is None:
        raise refuse(errno.EINVAL, f"no map type {type}")
    return map.change(type=type)


@number
def bpf_map__set_key_size(map: bpf_map, size: int) -> int:
    """Before it exists."""
    return map.change(key_size=size)


@number
def bpf_map__set_value_size(map: bpf_map, size: int) -> int:
    """Before it exists."""
    return map.change(value_size=size)


@number
def bpf_map__set_max_entries(map: bpf_map, max_entries: int) -> int:
    """Before it exists."""
    return map.change(max_entries=max_entries)


@number
def bpf_map__set_map_flags(map: bpf_map, flags: int) -> int:
    """Before it exists."""
    return map.change(flags=flags)


@number
def bpf_map__set_map_extra(map: bpf_map, map_extra: int) -> int:
    """Before it exists."""
    return map.change(extra=map_extra)


@number
def bpf_map__set_initial_value(map: bpf_map, data: bytes, size: int | None = None) -> int:
    """What a section of global data holds at first.  Of a read-only one the verifier will take it for granted."""
    if map.spec.initial is None or len(data) != len(map.spec.initial):
        raise refuse(errno.EINVAL, f"map {map.spec.name!r} holds no global data of this size")
    return map.change(initial=bytes(data))


def bpf_map__initial_value(map: bpf_map) -> bytes | None:
    """The same."""
    return map.spec.initial


def bpf_map__is_internal(map: bpf_map) -> bool:
    """Whether it is a section of global data."""
    return map.spec.initial is not None


def bpf_map__autocreate(map: bpf_map) -> bool:
    """Whether it is made with its object."""
    return map.autocreate


@number
def bpf_map__set_autocreate(map: bpf_map, autocreate: bool) -> int:
    """Make it with its object, or not."""
    map.change()
    map.autocreate = autocreate
    return 0


@number
def bpf_map__reuse_fd(map: bpf_map, fd: int) -> int:
    """Let the object use a map that exists; programs are verified for its definition."""
    map.change()
    found = spec_of(map.backend, fd)
    info = map.backend.call("info", handle=fd)
    map.fd = map.backend.call("open_id", kind="map", id=info["id"])
    map.spec, map.reused = found, True
    return 0


@number
def bpf_map__set_pin_path(map: bpf_map, path: str | None) -> int:
    """Where it shall be pinned when it is made."""
    map.pin_path = path
    return 0


def bpf_map__pin_path(map: bpf_map) -> str | None:
    """The same."""
    return map.pin_path


bpf_map__get_pin_path = bpf_map__pin_path


def bpf_map__is_pinned(map: bpf_map) -> bool:
    """Whether we have pinned it, or found it pinned."""
    return map.pinned


@number
def bpf_map__pin(map: bpf_map, path: str | None = None) -> int:
    """Pin it."""
    where = path or map.pin_path
    if where is None:
        raise refuse(errno.EINVAL, f"no path for map {map.spec.name!r}")
    map.require()
    return _pin_all([(map, where)])


@number
def bpf_map__unpin(map: bpf_map, path: str | None = None) -> int:
    """Undo it."""
    where = path or map.pin_path
    if where is None:
        raise refuse(errno.EINVAL, f"no path for map {map.spec.name!r}")
    map.backend.call("unpin", path=where)
    map.pinned = False
    return 0


@number
def bpf_map__lookup_elem(
    map: bpf_map, key: bytes, key_sz: int | None, value: bytearray, value_sz: int | None = None, flags: int = 0
) -> int:
    """Put the value with ``key`` into ``value``."""
    found = map.backend.call("map_lookup", handle=map.require(), key=bytes(key), flags=flags, value=bytes(value))
    return fill(value, found)


@number
def bpf_map__update_elem(
    map: bpf_map, key: bytes, key_sz: int | None, value: bytes, value_sz: int | None = None, flags: int = 0
) -> int:
    """Set an element."""
    map.backend.call("map_update", handle=map.require(), key=bytes(key), value=bytes(value), flags=flags)
    return 0


@number
def bpf_map__delete_elem(map: bpf_map, key: bytes, key_sz: int | None = None, flags: int = 0) -> int:
    """Remove an element."""
    map.backend.call("map_delete", handle=map.require(), key=bytes(key))
    return 0


@number
def bpf_map__lookup_and_delete_elem(
    map: bpf_map, key: bytes, key_sz: int | None, value: bytearray, value_sz: int | None = None, flags: int = 0
) -> int:
    """Look an element up and remove it."""
    return fill(value, map.backend.call("map_take", handle=map.require(), key=bytes(key), flags=flags))


@number
def bpf_map__get_next_key(map: bpf_map, cur_key: bytes | None, next_key: bytearray, key_sz: int | None = None) -> int:
    """Put the key after ``cur_key`` into ``next_key``."""
    key = None if cur_key is None else bytes(cur_key)
    return fill(next_key, map.backend.call("map_next_key", handle=map.require(), key=key))
