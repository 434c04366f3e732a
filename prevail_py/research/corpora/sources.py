"""From an entry of the registry to object files: :func:`fetch` brings what is missing into the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, assert_never

from prevail_py.objects.carve import carve
from prevail_py.objects.elf import ObjectFile, load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.research.corpora.cache import CorpusError, digest, write_whole
from prevail_py.research.corpora.packages import package_files
from prevail_py.research.corpora.registry import Corpus, Examples, Folder, Generated, KernelSelftests, Packages
from prevail_py.research.corpora.selftests import TYPES, compile_all

__all__ = ["RECIPE", "Collection", "Item", "fetch", "open_item"]

RECIPE: Final = ".recipe"
"""The suffix of files that say how to generate a program; their programs are no compiler's output."""

T = TypeVar("T")
Progress = Callable[[Sequence[T]], Iterable[T]]


@dataclass(frozen=True, slots=True)
class Item:
    """An object file: its name in its corpus, where it lies, and what is true of all its programs, where known."""

    name: str
    path: Path
    safe: bool | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """A corpus at hand: its objects by name, what could not be had of it, and what it was made of."""

    corpus: Corpus
    items: tuple[Item, ...]
    missing: dict[str, str]
    provenance: str


def fetch(corpus: Corpus, cache: Path, jobs: int = 1, progress: Progress[Path] = lambda items: items) -> Collection:
    """Bring the objects of ``corpus`` to this machine, or find them there.  Raises :class:`CorpusError`."""
    match corpus.source:
        case Folder() as source:
            root = Path(source.path)
            if not root.is_dir():
                raise CorpusError(f"corpus {corpus.name}: {root} is not a directory")
            found = [(path.relative_to(root), path) for path in _glob(root, source.objects)]
            items = [Item(str(name.with_suffix("")), path) for name, path in found]
            items += _carved(((str(path.relative_to(root)), path) for path in _glob(root, source.carve)), cache)
            return _collection(corpus, items, {}, str(root))
        case Packages() as source:
            return _packages(corpus, source, cache)
        case KernelSelftests() as source:
            compiled = compile_all(source, cache, jobs, progress)
            items = [Item(name, path) for name, path in compiled.objects.items()]
            return _collection(corpus, items, compiled.failures, compiled.provenance)
        case Examples():
            from prevail_py import __version__, examples

            items = [Item(name, examples.path(name), example.safe) for name, example in examples.EXAMPLES.items()]
            return _collection(corpus, items, {}, f"prevail_py {__version__}")
        case Generated() as source:
            seeds = range(source.first, source.first + source.count)
            items = [Item(f"seed-{seed}", _generated(source, seed, cache)) for seed in seeds]
            return _collection(corpus, items, {}, f"seeds {seeds.start} to {seeds.stop - 1}, {source.size} statements")
        case _:
            assert_never(corpus.source)


def _collection(corpus: Corpus, items: Iterable[Item], missing: dict[str, str], provenance: str) -> Collection:
    ordered = tuple(sorted(items, key=lambda item: item.name))
    if not ordered:
        raise CorpusError(f"corpus {corpus.name}: no object file in it ({provenance})")
    return Collection(corpus, ordered, missing, provenance)


def _glob(root: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})


def _packages(corpus: Corpus, source: Packages, cache: Path) -> Collection:
    items: list[Item] = []
    versions = []
    for package in source.packages:
        unpacked = package_files(package, cache)
        versions.append(f"{package} {unpacked.version}")
        items += [Item(path.stem, path) for path in unpacked.matching(source.objects).values()]
        items += _carved(((path.name, path) for path in unpacked.matching(source.carve).values()), cache)
    return _collection(corpus, items, {}, ", ".join(versions))


def _carved(files: Iterable[tuple[str, Path]], cache: Path) -> list[Item]:
    """The objects inside files, copied into the cache; a file with several gives ``name``, ``name-2``, ..."""
    items = []
    for name, path in files:
        for number, carved in enumerate(carve(path.read_bytes()), 1):
            key = digest(carved.data)
            target = cache / "objects" / key[:2] / f"{key}.o"
            if not target.exists():
                write_whole(target, carved.data)
            items.append(Item(name if number == 1 else f"{name}-{number}", target))
    return items


def _generated(source: Generated, seed: int, cache: Path) -> Path:
    """The recipe of one generated program: what to give the generator, since there is no need to keep what it gives."""
    recipe = {"seed": seed, "size": source.size, "loops": source.loops}
    target = cache / "generated" / f"{'loops-' if source.loops else ''}{source.size}-{seed}{RECIPE}"
    if not target.exists():
        write_whole(target, json.dumps(recipe).encode())
    return target


def open_item(path: Path) -> ObjectFile:
    """Load an object file, or make the program of a recipe.  Raises :class:`~prevail_py.objects.errors.ObjectError`.

    The types beside an object, where there are any, are those of the kernel that it is for.
    """
    if path.suffix != RECIPE:
        types = path.with_suffix(TYPES)
        return load_object(path, btf=types) if types.is_file() else load_object(path)
    from prevail_py.research.generate import program

    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
        made = program(int(recipe["seed"]), int(recipe["size"]), bool(recipe["loops"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ObjectError("recipe", f"{type(error).__name__}: {error}") from error
    return ObjectFile(path.stem, {made.name: made}, made.maps)
