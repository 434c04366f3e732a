"""What the pointers of libbpf point to: an object that was opened, its programs and its maps.

An object makes its maps and has its programs verified and loaded with the definitions that the maps really have.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any, Final

from prevail_py.host.context.model import Connection, HostError
from prevail_py.libbpf.errors import refuse
from prevail_py.libbpf.map_syscalls import create, spec_of
from prevail_py.libbpf.syscalls import fill_text, load
from prevail_py.objects.elf import ObjectFile
from prevail_py.objects.program import MapSpec, Program

__all__ = [
    "PIN_ROOT",
    "bpf_map",
    "bpf_object",
    "bpf_program",
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
        self.numa_node = 0
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

    def reuse(self, fd: int) -> int:
        """Be a map that exists instead, by a descriptor of our own: 0.  Raises OSError once the map exists."""
        self.change()
        found = spec_of(self.backend, fd)
        self.fd = self.backend.call("open_id", kind="map", id=self.backend.call("info", handle=fd)["id"])
        self.spec, self.reused = found, True
        return 0

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
        self.kernel_version = 0

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


def pin_all(places: list[tuple[bpf_program | bpf_map, str]]) -> int:
    """Pin all of these at their paths, or none.  Raises OSError."""
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
