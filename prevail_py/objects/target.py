"""The kernel that objects are loaded for, as far as loading depends on it: its types, configuration and symbols.

A :class:`Target` is described by where these come from; each is read when first needed.  What was read is part of
what a verdict assumes, so that everything here can say what it is.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

from prevail_py.objects.btf import Btf, parse_btf
from prevail_py.objects.errors import ObjectError

__all__ = [
    "KERNEL_BTF",
    "MAX_BTF",
    "MAX_KCONFIG",
    "Kconfig",
    "Missing",
    "Target",
    "TargetBtf",
    "kconfig_from",
    "kernel_version",
    "read_types",
    "running_btf",
    "types_from",
]

KERNEL_BTF: Final = "/sys/kernel/btf/vmlinux"
"""Where Linux shows the types of the running kernel."""

MAX_BTF: Final = 64 << 20
MAX_KCONFIG: Final = 16 << 20
_MAX_MODULES: Final = 2000
_MODULES: Final = Path(KERNEL_BTF).parent
_KALLSYMS: Final = "/proc/kallsyms"
_UBUNTU: Final = Path("/proc/version_signature")


class Missing(Exception):  # noqa: N818 - nothing that is wrong with the object
    """Something of the target that is not there or that the user did not want; the message says what and why."""


@dataclass(frozen=True, slots=True)
class TargetBtf:
    """The types of a kernel: ``types``, and those of its modules where they are known.

    ``source`` is a path; ``release`` that of the kernel, empty where unknown.
    """

    types: Btf
    source: str
    sha256: str
    release: str = ""
    modules: Callable[[], Iterable[Btf]] = tuple

    def __str__(self) -> str:
        release = f", Linux {self.release}" if self.release else ""
        return f"target BTF {self.source} (sha256 {self.sha256[:16]}{release})"


@dataclass(frozen=True, slots=True)
class Kconfig:
    """A kernel's configuration: the text of each option's value, such as ``y``, ``"text"`` or ``0x10``."""

    values: Mapping[str, str]
    source: str
    sha256: str

    def __str__(self) -> str:
        return f"kernel configuration {self.source} (sha256 {self.sha256[:16]})"


class Target:
    """Types from ``btf`` (None: there are none), configuration from ``kconfig`` (None: that of the running kernel)."""

    def __init__(
        self,
        btf: str | os.PathLike[str] | TargetBtf | None = KERNEL_BTF,
        kconfig: str | os.PathLike[str] | Kconfig | None = None,
    ) -> None:
        """Both are given by a path, or as they were read before."""
        self._btf: Final = btf if btf is None or isinstance(btf, TargetBtf) else os.fspath(btf)
        self._kconfig: Final = kconfig if kconfig is None or isinstance(kconfig, Kconfig) else os.fspath(kconfig)

    @cached_property
    def btf(self) -> TargetBtf:
        """The types.  Raises :class:`Missing`, and :class:`ObjectError` for a file that was named and is bad."""
        if self._btf is None:
            raise Missing("no target BTF was given")
        if isinstance(self._btf, TargetBtf):
            return self._btf
        if self._btf == KERNEL_BTF:
            return _kernel_types()
        return read_types(self._btf)

    @property
    def running(self) -> TargetBtf:
        """The types of the running kernel.  Raises :class:`Missing`."""
        return _kernel_types()

    @property
    def is_running(self) -> bool:
        """Whether the target is the running kernel."""
        return self._btf == KERNEL_BTF

    @cached_property
    def kconfig(self) -> Kconfig:
        """The configuration.  Raises as :attr:`btf` does."""
        if isinstance(self._kconfig, Kconfig):
            return self._kconfig
        if self._kconfig is not None:
            return _read_kconfig(self._kconfig)
        paths = (f"/boot/config-{os.uname().release}", "/proc/config.gz")
        for path in paths:
            if os.path.exists(path):
                return _read_kconfig(path)
        raise Missing(f"the kernel's configuration is in none of {', '.join(paths)}")

    def given_option(self, name: str) -> str | None:
        """What a configuration file that the user named says, where it does, of something else than an option."""
        return None if self._kconfig is None else self.kconfig.values.get(name)

    @cached_property
    def symbols(self) -> Mapping[str, int]:
        """The addresses of the running kernel's symbols, 0 where they are hidden.  Raises :class:`Missing`."""
        return _kernel_symbols()


def running_btf() -> str | None:
    """The SHA-256 of the running kernel's BTF; None where it shows none."""
    try:
        return _kernel_types().sha256
    except Missing:
        return None


def read_types(path: str) -> TargetBtf:
    """The types in a file: raw BTF, or an ELF file of any machine with a section ``.BTF``.

    Raises :class:`ObjectError`.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ObjectError(f"target BTF {path}", "not a regular file")
        return _read_types(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise ObjectError(f"target BTF {path}", error.strerror or type(error).__name__) from None


@lru_cache(maxsize=4)
def _read_types(path: str, time: int, size: int) -> TargetBtf:
    with open(path, "rb") as file:
        magic = file.read(4)
        file.seek(0)
        data = _elf_types(path, file) if magic == b"\x7fELF" else file.read(MAX_BTF + 1)
    if len(data) > MAX_BTF:
        raise ObjectError(f"target BTF {path}", f"larger than {MAX_BTF >> 20} MiB")
    return TargetBtf(_parse(data, f"target BTF {path}"), path, hashlib.sha256(data).hexdigest())


def _parse(data: bytes, place: str, base: Btf | None = None) -> Btf:
    if data[:2] == b"\xeb\x9f":
        raise ObjectError(place, "big-endian BTF is not supported")
    return parse_btf(memoryview(data), place, base)


def _elf_types(path: str, file: Any) -> bytes:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    place = f"target BTF {path}"
    try:
        section = ELFFile(file).get_section_by_name(".BTF")
        if section is None:
            raise ObjectError(place, "an ELF file without a section .BTF")
        if section.data_size > MAX_BTF:
            raise ObjectError(place, f"a section .BTF larger than {MAX_BTF >> 20} MiB")
        return bytes(section.data())
    except ObjectError:
        raise
    except (ELFError, ValueError, OverflowError, KeyError, IndexError, AssertionError) as error:
        raise ObjectError(place, f"malformed ELF file ({error or type(error).__name__})") from None


def types_from(data: bytes, source: str, release: str = "") -> TargetBtf:
    """The types in ``data``: raw BTF, or ELF; ``source`` is where it came from.  Raises :class:`ObjectError`.

    Nothing is known of the types of the kernel's modules then, which :class:`Missing` will say.
    """

    def modules() -> Iterable[Btf]:
        raise Missing(f"no types of kernel modules were given with {source}")

    types = _elf_types(source, io.BytesIO(data)) if data[:4] == b"\x7fELF" else data
    return TargetBtf(_parse(types, f"target BTF {source}"), source, hashlib.sha256(types).hexdigest(), release, modules)


@lru_cache(maxsize=1)
def _kernel_types() -> TargetBtf:
    try:
        data = Path(KERNEL_BTF).read_bytes()
    except OSError as error:
        raise Missing(f"no target BTF: {KERNEL_BTF}: {error.strerror}") from None
    types = _parse(data, f"target BTF {KERNEL_BTF}")

    @lru_cache(maxsize=1)
    def modules() -> tuple[Btf, ...]:
        return _module_types(types)

    return TargetBtf(types, KERNEL_BTF, hashlib.sha256(data).hexdigest(), os.uname().release, modules)


def _module_types(base: Btf) -> tuple[Btf, ...]:
    """The types that the running kernel's modules add.  Raises :class:`Missing`."""
    try:
        paths = sorted(path for path in _MODULES.iterdir() if path.name != "vmlinux")
        found = [(path, path.read_bytes()) for path in paths[:_MAX_MODULES]]
    except OSError as error:
        raise Missing(f"no types of kernel modules: {error.filename}: {error.strerror}") from None
    return tuple(_parse(data, f"target BTF {path}", base) for path, data in found)


_OPTION: Final = re.compile(rb"^((?:CONFIG|LINUX)_\w+)=(.+?)\s*$", re.MULTILINE)


def _read_kconfig(path: str) -> Kconfig:
    place = f"kernel configuration {path}"
    try:
        with open(path, "rb") as file:
            if not (path.startswith("/proc/") or stat.S_ISREG(os.fstat(file.fileno()).st_mode)):
                raise ObjectError(place, "not a regular file")
            data = file.read(MAX_KCONFIG + 1)
        data = _unpacked(data)
    except (EOFError, zlib.error) as error:
        raise ObjectError(place, f"damaged ({error})") from None
    except OSError as error:
        raise ObjectError(place, error.strerror or f"damaged ({error})") from None
    return _kconfig(data, path)


def kconfig_from(data: bytes, source: str) -> Kconfig:
    """The configuration in ``data``, which may be compressed by gzip; ``source`` is where it came from.

    Raises :class:`ObjectError`.
    """
    try:
        return _kconfig(_unpacked(data), source)
    except (EOFError, zlib.error, OSError) as error:
        raise ObjectError(f"kernel configuration {source}", f"damaged ({error})") from None


def _unpacked(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
        return packed.read(MAX_KCONFIG + 1)


def _kconfig(data: bytes, source: str) -> Kconfig:
    if len(data) > MAX_KCONFIG:
        raise ObjectError(f"kernel configuration {source}", f"larger than {MAX_KCONFIG >> 20} MiB")
    values: dict[str, str] = {}
    for name, value in _OPTION.findall(data):
        values.setdefault(name.decode(), value.decode("utf-8", "backslashreplace"))
    return Kconfig(values, source, hashlib.sha256(data).hexdigest())


@lru_cache(maxsize=1)
def _kernel_symbols() -> Mapping[str, int]:
    symbols: dict[str, int] = {}
    try:
        with open(_KALLSYMS, encoding="ascii", errors="replace") as file:
            for line in file:
                address, kind, name = line.split(maxsplit=2)
                name = name.split(maxsplit=1)[0]
                if kind == "d" and ".llvm." in name:
                    name = name.split(".llvm.", 1)[0]
                number = int(address, 16)
                # A name with several addresses has none that is known.
                symbols[name] = number if symbols.get(name, number) == number else -1
    except (OSError, ValueError) as error:
        raise Missing(f"the kernel's symbols cannot be read from {_KALLSYMS}: {error}") from None
    return symbols


@lru_cache(maxsize=1)
def kernel_version() -> int:
    """``LINUX_KERNEL_VERSION`` of the running kernel, as libbpf finds it: distributions say it in places of their own.

    Raises :class:`Missing` where the release is no version.
    """
    names = os.uname()
    texts = [names.release]
    debian = re.search(r"Debian (\S+)", names.version)
    if debian is not None:
        texts.insert(0, debian[1])
    if _UBUNTU.exists():
        texts.insert(0, _UBUNTU.read_text().split()[-1])  # "Ubuntu 5.4.0-12.15-generic 5.4.8"
    for text in texts:
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
        if found is not None:
            major, minor, patch = map(int, found.groups())
            return (major << 16) + (minor << 8) + min(patch, 255)
    raise Missing(f"the kernel's release {names.release!r} is no version")
