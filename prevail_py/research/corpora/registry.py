"""The registry: which corpora there are and where their objects come from, read from TOML.

``corpora.toml`` beside this module is the list; further files of the same form may be given
(``--registry FILE``), and a directory is a corpus without any entry.  The keys of an entry are ``kind``,
``description``, and the fields of the class that ``kind`` names.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeAlias

from prevail_py.research.corpora.cache import CorpusError

__all__ = [
    "KINDS",
    "Corpus",
    "Examples",
    "Folder",
    "Generated",
    "KernelSelftests",
    "Packages",
    "Source",
    "find",
    "registry",
]


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below ``path`` that match one of the patterns ``objects``; what matches ``carve`` holds objects."""

    path: str
    objects: tuple[str, ...] = ("**/*.o",)
    carve: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Packages:
    """Files of Debian packages: those that match ``objects`` are objects, those that match ``carve`` hold objects.

    Patterns are relative to the root of the file system.
    """

    packages: tuple[str, ...]
    objects: tuple[str, ...] = ()
    carve: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelSelftests:
    """``tools/testing/selftests/bpf/progs`` of the kernel source in a Debian package, compiled for ``cpu``."""

    package: str
    sources: tuple[str, ...] = ("*.c",)
    cpu: str = "v3"


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of this package; all of them say what is true of them."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Programs of :mod:`prevail_py.research.generate`: ``count`` seeds from ``first`` on, ``size`` statements each."""

    first: int = 0
    count: int = 100
    size: int = 30
    loops: bool = False


Source: TypeAlias = Folder | Packages | KernelSelftests | Examples | Generated

KINDS: Final[Mapping[str, type[Source]]] = {
    "folder": Folder,
    "packages": Packages,
    "kernel-selftests": KernelSelftests,
    "examples": Examples,
    "generated": Generated,
}
"""The values of ``kind`` in a registry."""

_BUILT_IN: Final = Path(__file__).with_name("corpora.toml")


@dataclass(frozen=True, slots=True)
class Corpus:
    """One entry of the registry."""

    name: str
    description: str
    source: Source

    @property
    def kind(self) -> str:
        """What the registry calls this kind of source."""
        return next(name for name, cls in KINDS.items() if isinstance(self.source, cls))


def registry(files: Iterable[str | os.PathLike[str]] = ()) -> dict[str, Corpus]:
    """All corpora by name: the built-in ones, then those of ``files``, where a later entry replaces an earlier one.

    Relative paths of folders are relative to their file.  Raises :class:`CorpusError`.
    """
    found: dict[str, Corpus] = {}
    for file in (_BUILT_IN, *map(Path, files)):
        try:
            entries = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CorpusError(f"{file}: {error.strerror or error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CorpusError(f"{file}: not TOML: {error}") from error
        for name, entry in entries.items():
            found[name] = _corpus(file, name, entry)
    return found


def find(name: str, known: Mapping[str, Corpus]) -> Corpus:
    """The corpus called ``name``, or the directory of that name.  Raises :class:`CorpusError`."""
    if name in known:
        return known[name]
    if Path(name).is_dir():
        return Corpus(name.rstrip("/") or name, "a directory", Folder(name))
    raise CorpusError(f"no corpus and no directory {name!r} (there are: {', '.join(known)})")


def _corpus(file: Path, name: str, entry: Any) -> Corpus:
    def wrong(reason: str) -> CorpusError:
        return CorpusError(f"{file}: [{name}]: {reason}")

    if not isinstance(entry, dict):
        raise wrong("not a table")
    rest = dict(entry)
    kind, description = rest.pop("kind", None), rest.pop("description", "")
    if kind not in KINDS:
        raise wrong(f"kind {kind!r} is none of {', '.join(KINDS)}")
    cls = KINDS[kind]
    expected = {field.name: field for field in fields(cls)}
    if unknown := [key for key in rest if key not in expected]:
        raise wrong(f"{kind} has no key {unknown[0]!r} (there are: {', '.join(expected) or 'none'})")
    for key, field in expected.items():
        if key not in rest:
            if field.default is MISSING:
                raise wrong(f"{kind} needs the key {key!r}")
            continue
        rest[key] = _checked(rest[key], str(field.type), lambda reason, key=key: wrong(f"{key}: {reason}"))
    if cls is Folder:
        rest["path"] = str(file.parent / rest["path"])
    return Corpus(name, str(description), cls(**rest))


def _checked(value: Any, type_: str, wrong: Any) -> Any:
    match type_:
        case "str" if isinstance(value, str):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "int" if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        case "tuple[str, ...]" if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
    raise wrong(f"{value!r} is no {type_.replace('tuple[str, ...]', 'list of strings')}")
