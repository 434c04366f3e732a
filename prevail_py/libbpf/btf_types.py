"""Types: the reading half of libbpf's ``btf.h``, over the BTF of object files and of the running kernel.

A type is a :class:`~prevail_py.objects.btf.BtfType`, which has names where C has offsets of strings.  Making BTF,
dumping it as C, and loading it into a kernel are not here.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from prevail_py.libbpf.errors import number, pointer, refuse
from prevail_py.libbpf.handles import bpf_object
from prevail_py.objects.btf import Btf, BtfType, Kind, parse_btf
from prevail_py.objects.container import parse_container
from prevail_py.objects.errors import ObjectError

__all__ = [
    "BTF_BIG_ENDIAN",
    "BTF_LITTLE_ENDIAN",
    "bpf_object__btf",
    "btf",
    "btf__base_btf",
    "btf__endianness",
    "btf__fd",
    "btf__find_by_name",
    "btf__find_by_name_kind",
    "btf__find_str",
    "btf__free",
    "btf__load_vmlinux_btf",
    "btf__name_by_offset",
    "btf__new",
    "btf__new_split",
    "btf__parse",
    "btf__parse_elf",
    "btf__parse_elf_split",
    "btf__parse_raw",
    "btf__parse_raw_split",
    "btf__parse_split",
    "btf__pointer_size",
    "btf__raw_data",
    "btf__resolve_size",
    "btf__resolve_type",
    "btf__str_by_offset",
    "btf__type_by_id",
    "btf__type_cnt",
    "libbpf_find_kernel_btf",
    "libbpf_find_vmlinux_btf_id",
]

P = ParamSpec("P")
T = TypeVar("T")

BTF_LITTLE_ENDIAN, BTF_BIG_ENDIAN = 0, 1
_SIZELESS: Final = (Kind.VOID, Kind.FWD, Kind.FUNC_PROTO, Kind.FUNC)
_ELF: Final = b"\x7fELF"
_PREFIXES: Final = {  # by attach type: raw tracepoints, LSM hooks, iterators
    23: ("btf_trace_", Kind.TYPEDEF),
    27: ("bpf_lsm_", Kind.FUNC),
    28: ("bpf_iter_", Kind.FUNC),
}


class btf:
    """Types, with the bytes that they were read from; ``base`` are those that a split BTF goes on from."""

    def __init__(self, data: bytes, types: Btf, base: btf | None = None) -> None:
        self.data: Final = data
        self.types: Final = types
        self.base: Final = base

    def __repr__(self) -> str:
        return f"<btf of {len(self.types)} types>"


def _checked(action: Callable[[], T]) -> T:
    """What a look-up gives.  Raises OSError: EINVAL where the data make no sense."""
    try:
        return action()
    except ObjectError as error:
        raise refuse(errno.EINVAL, str(error)) from None


def _made(data: bytes, base: btf | None) -> btf:
    types = _checked(lambda: parse_btf(memoryview(data), base=None if base is None else base.types))
    return btf(data, types, base)


@pointer
def btf__new(data: bytes, size: int | None = None) -> btf:
    """Types from bytes."""
    return _made(bytes(data[:size]), None)


@pointer
def btf__new_split(data: bytes, size: int | None, base_btf: btf | None) -> btf:
    """Types that go on from others, as those of a kernel module do."""
    return _made(bytes(data[:size]), base_btf)


def _read(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _section(path: str | os.PathLike[str], data: bytes) -> bytes:
    section = _checked(lambda: parse_container(data).section(".BTF"))
    if section is None:
        raise refuse(errno.ENODATA, f"{os.fspath(path)} has no BTF")
    return bytes(section.data)


@pointer
def btf__parse_raw_split(path: str | os.PathLike[str], base_btf: btf | None) -> btf:
    """Types from a file that holds nothing else, ``/sys/kernel/btf/vmlinux`` for one."""
    return _made(_read(path), base_btf)


@pointer
def btf__parse_elf_split(path: str | os.PathLike[str], base_btf: btf | None) -> btf:
    """Types from the section of an object file; -ENODATA where it has none."""
    return _made(_section(path, _read(path)), base_btf)


@pointer
def btf__parse_split(path: str | os.PathLike[str], base_btf: btf | None) -> btf:
    """Types from a file of either kind."""
    data = _read(path)
    return _made(_section(path, data) if data.startswith(_ELF) else data, base_btf)


def btf__parse(path: str | os.PathLike[str]) -> btf | None:
    """Types from a file of either kind."""
    return btf__parse_split(path, None)


def btf__parse_elf(path: str | os.PathLike[str]) -> btf | None:
    """Types from the section of an object file."""
    return btf__parse_elf_split(path, None)


def btf__parse_raw(path: str | os.PathLike[str]) -> btf | None:
    """Types from a file that holds nothing else."""
    return btf__parse_raw_split(path, None)


def btf__load_vmlinux_btf() -> btf | None:
    """The types of the running kernel."""
    from prevail_py.objects.target import KERNEL_BTF

    return btf__parse_raw(KERNEL_BTF)


libbpf_find_kernel_btf = btf__load_vmlinux_btf


@number
def libbpf_find_vmlinux_btf_id(name: str, attach_type: int) -> int:
    """The number of the type that a program of this attach type is attached to in the running kernel; -ESRCH."""
    types = btf__load_vmlinux_btf()
    if types is None:
        raise refuse(errno.ESRCH, "the kernel says nothing of its types")
    prefix, kind = _PREFIXES.get(attach_type, ("", Kind.FUNC))
    found = types.types.find(prefix + name, kind)
    if found is None:
        raise refuse(errno.ESRCH, f"the kernel has no {prefix}{name}")
    return found.id


def btf__free(btf: btf | None) -> None:
    """Nothing is to be given back."""


@pointer
def bpf_object__btf(obj: bpf_object) -> btf:
    """The types of an object that was opened."""
    if obj.file.btf is None:
        raise refuse(errno.ENOENT, f"{obj.file.name} has no BTF")
    return btf(b"", obj.file.btf)


def btf__base_btf(btf: btf) -> btf | None:
    """What it goes on from."""
    return btf.base


def btf__type_cnt(btf: btf) -> int:
    """How many types there are, void and those of the base included: valid numbers are below it."""
    return len(btf.types)


@pointer
def btf__type_by_id(btf: btf, type_id: int) -> BtfType:
    """The type with this number."""
    return _checked(lambda: btf.types.type(type_id))


@number
def btf__find_by_name(btf: btf, type_name: str) -> int:
    """The number of the first type of this name; -ENOENT.  ``void`` is 0."""
    if type_name == "void":
        return 0
    found = btf.types.named(type_name)
    if not found and btf.base is not None:
        found = btf.base.types.named(type_name)
    if not found:
        raise refuse(errno.ENOENT, f"no type {type_name!r}")
    return found[0]


@number
def btf__find_by_name_kind(btf: btf, type_name: str, kind: int) -> int:
    """The number of the first type of this name and kind (``BTF_KIND_*``); -ENOENT."""
    if type_name == "void" and kind == Kind.VOID:
        return 0
    try:
        wanted = Kind(kind)
    except ValueError:
        raise refuse(errno.ENOENT, f"no kind {kind}") from None
    found = btf.types.find(type_name, wanted)
    if found is None and btf.base is not None:
        found = btf.base.types.find(type_name, wanted)
    if found is None:
        raise refuse(errno.ENOENT, f"no {wanted.name.lower()} {type_name!r}")
    return found.id


@number
def btf__resolve_type(btf: btf, type_id: int) -> int:
    """The type behind typedefs, qualifiers and type tags."""
    return _checked(lambda: btf.types.resolve(type_id)).id


@number
def btf__resolve_size(btf: btf, type_id: int) -> int:
    """The size of a value, in bytes; -EINVAL of what has none."""
    size = _checked(lambda: btf.types.size_of(type_id))
    if not size and _checked(lambda: btf.types.resolve(type_id)).kind in _SIZELESS:
        raise refuse(errno.EINVAL, f"type {type_id} has no size")
    return size


@pointer
def btf__str_by_offset(btf: btf, offset: int) -> str:
    """A string."""
    return _checked(lambda: btf.types.string(offset))


btf__name_by_offset = btf__str_by_offset


@number
def btf__find_str(btf: btf, s: str) -> int:
    """Where a string that names types is; -ENOENT."""
    found = btf.types._strings_like(s.encode() + b"\0")
    if not found:
        raise refuse(errno.ENOENT, f"no string {s!r}")
    return min(found)


def btf__raw_data(btf: btf) -> bytes | None:
    """The bytes that the types were read from; None of an object that was opened."""
    return btf.data or None


def btf__pointer_size(btf: btf) -> int:
    """8: all that is read here is for 64 bits."""
    return 8


def btf__endianness(btf: btf) -> int:
    """That of this machine: nothing else is read here."""
    return BTF_LITTLE_ENDIAN if sys.byteorder == "little" else BTF_BIG_ENDIAN


def btf__fd(btf: btf) -> int:
    """-1: it is in no kernel."""
    return -1
