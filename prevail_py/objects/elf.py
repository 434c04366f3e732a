"""Object files: :func:`load_object` turns what a compiler wrote into programs that are linked and self-contained.

One parse serves all programs of an object.  Whatever is wrong with the input, the answer is an
:class:`~prevail_py.objects.errors.ObjectError` with place and reason; what is well-formed but not modelled is listed
in ``Program.unsupported`` or, where no verdict depends on it, in ``ObjectFile.notes``.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prevail_py.objects.btf import Btf, parse_btf
from prevail_py.objects.btf_ext import BtfExt, parse_btf_ext
from prevail_py.objects.container import Container, parse_container, printable
from prevail_py.objects.core_relocations import relocate_core
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.externs import Externs
from prevail_py.objects.functions import Function, collect_functions
from prevail_py.objects.linker import Linker
from prevail_py.objects.maps import collect_maps
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.target import KERNEL_BTF, Kconfig, Target, TargetBtf
from prevail_py.platforms import platform as find_platform

__all__ = ["ObjectFile", "load_object"]

MAX_FILE: Final = 8 << 20
MAX_PROGRAMS: Final = 10_000


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """A loaded object: its programs by name, in the order of the file.

    ``maps`` lists all maps of the object; a program lists those it uses, the very same :class:`MapSpec` objects.
    ``notes`` says what was left out that no verdict depends on, such as initial map elements.
    """

    name: str
    programs: Mapping[str, Program]
    maps: tuple[MapSpec, ...] = ()
    licence: str = ""
    btf: Btf | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()


def load_object(
    source: str | os.PathLike[str] | bytes,
    name: str | None = None,
    *,
    btf: str | os.PathLike[str] | TargetBtf | None = KERNEL_BTF,
    kconfig: str | os.PathLike[str] | Kconfig | None = None,
    platform: str = "linux",
) -> ObjectFile:
    """Load an object file, given by its path or its bytes, for a kernel.

    ``name`` is what messages and reports call it, by default the file's name.  ``btf`` is a file with the types of the
    kernel that the programs are for (raw BTF, or ELF with a section ``.BTF``), by default those of the running one;
    with None programs that depend on them are unsupported.  ``kconfig`` is its configuration, by default that of the
    running kernel.  Both are read only where the object depends on them, or given as read before.  ``platform`` names
    what its sections and numbers mean (:func:`prevail_py.platforms.platform`).  Raises :class:`ObjectError`, and
    ValueError for a platform that does not exist.

    >>> load_object(b"MZ")
    Traceback (most recent call last):
    ...
    prevail_py.objects.errors.ObjectError: file: not an ELF file
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data, default = bytes(source), "<bytes>"
        _check_size(len(data))
    else:
        data, default = _read(source), Path(source).name
    container = parse_container(data)
    host = find_platform(platform)
    target = Target(btf, kconfig)
    types = _btf(container)
    info = _btf_ext(container, types)
    maps = collect_maps(container, types, host)
    functions = collect_functions(container, maps, Externs.collect(container, types, target, maps))
    relocate_core(functions, info, types, target)
    licence = _licence(container)
    linker = Linker(functions, maps, types, info, licence, host, target)
    programs: dict[str, Program] = {}
    entries = _entries(functions)
    if len(entries) > MAX_PROGRAMS:
        raise ObjectError("file", f"{len(entries)} programs, more than {MAX_PROGRAMS}")
    for function, label in zip(entries, _names(entries), strict=True):
        programs[label] = linker.link(function, label)
    return ObjectFile(
        name=name if name is not None else default,
        programs=MappingProxyType(programs),
        maps=tuple(maps.maps),
        licence=licence,
        btf=types,
        notes=tuple(maps.notes),
    )


def _check_size(size: int) -> None:
    if size > MAX_FILE:
        raise ObjectError("file", f"larger than {MAX_FILE >> 20} MiB")


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        # Neither a pipe nor a device may block or never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ObjectError("file", "not a regular file")
            _check_size(status.st_size)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(MAX_FILE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ObjectError("file", error.strerror or type(error).__name__) from None
    except ValueError as error:
        if isinstance(error, ObjectError):
            raise
        raise ObjectError("file", f"no path ({error})") from None


def _btf(container: Container) -> Btf | None:
    section = container.section(".BTF")
    return None if section is None else parse_btf(section.data)


def _btf_ext(container: Container, btf: Btf | None) -> BtfExt:
    section = container.section(".BTF.ext")
    return BtfExt() if section is None or btf is None else parse_btf_ext(section.data, btf)


def _licence(container: Container) -> str:
    section = container.section("license")
    return "" if section is None else printable(bytes(section.data[:128]).split(b"\0", 1)[0])


def _entries(functions: Sequence[Function]) -> list[Function]:
    """The functions that are programs: as for libbpf, all global ones outside of ``.text``.

    A lone function in ``.text`` is one too.  Static functions elsewhere (which libbpf refuses) are subprograms.
    """
    if len(functions) == 1:
        return list(functions)
    return [function for function in functions if function.section.name != ".text" and function.is_global]


def _names(functions: Sequence[Function]) -> Iterator[str]:
    """A unique name for each: the function's; ``section/name`` if that is taken, then with a number."""
    taken: set[str] = set()
    counts: Counter[str] = Counter()
    for function in functions:
        label = function.name
        if label in taken:
            stem = label = f"{function.section.name}/{function.name}"
            while label in taken:
                counts[stem] += 1
                label = f"{stem}#{counts[stem] + 1}"
        taken.add(label)
        yield label
