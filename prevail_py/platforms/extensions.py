"""Extensions: program types, helpers and map types of other packages, as documents beside a platform's tables.

A document is JSON (:mod:`prevail_py.platforms.extension_document`; ``docs/extending.md`` has an example).  It only
adds: names and numbers that the platform has already are refused, and numbers start at :data:`FIRST_NUMBER`, where
Linux has none.  What the verifier then believes of a program of such a type is what the document says, and each verdict
says so.

Documents take effect from the *store*, a directory with a file for each (:func:`store`): whoever verifies need not have
the package that runs the programs.  A package offers its document as an entry point of :data:`GROUP`, and ``prevail-py
extension add`` copies it there: installing a package does not change what a verifier believes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prevail_py.platforms.model import HelperPrototype, Platform

if TYPE_CHECKING:  # what reads documents is imported where there is one
    from prevail_py.platforms.extension_document import Extension

__all__ = ["FIRST_NUMBER", "GROUP", "ExtensionError", "extended", "in_use", "store", "use"]

GROUP: Final = "prevail_py.extensions"
"""Entry points of packages that offer a document: functions without arguments that return its text."""
FIRST_NUMBER: Final = 0x10000


class ExtensionError(ValueError):
    """A document, or the store, that cannot be used: the place and why, in one line."""


def store() -> Path:
    """The directory of the store: ``$PREVAIL_PY_EXTENSIONS``, else the user's, with a file ``NAME.json`` for each."""
    chosen = os.environ.get("PREVAIL_PY_EXTENSIONS")
    if chosen:
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path("~/.local/share").expanduser()) / "prevail_py" / "extensions"


_given: tuple[Extension, ...] | None = None


def use(documents: Iterable[str] | None) -> None:
    """Use these documents in this process instead of the store's; None for those of the store again.

    Raises :class:`ExtensionError`.
    """
    from prevail_py.platforms import platform
    from prevail_py.platforms.extension_document import parse

    global _given
    _given = None if documents is None else tuple(parse(each) for each in documents)
    _stored.cache_clear()
    platform.cache_clear()


def in_use() -> tuple[Extension, ...]:
    """The extensions that count in this process: the store as it was first read.

    Raises :class:`ExtensionError` where it is bad.
    """
    return _stored(store()) if _given is None else _given


@cache
def _stored(directory: Path) -> tuple[Extension, ...]:
    try:
        names = sorted(each.name for each in os.scandir(directory) if each.name.endswith(".json"))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ExtensionError(f"{directory}: {error.strerror}") from None
    if names:
        _ours(directory, os.stat(directory))
    return tuple(_read(directory / name) for name in names)


def _read(path: Path) -> Extension:
    """Raises :class:`ExtensionError`."""
    from prevail_py.platforms.extension_document import MAX_DOCUMENT, parse

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(descriptor, encoding="utf-8") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ExtensionError(f"{path}: not a regular file")
            _ours(path, status)
            found = parse(file.read(MAX_DOCUMENT + 1))
    except OSError as error:
        raise ExtensionError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ExtensionError(f"{path}: not text in UTF-8") from None
    except ExtensionError as error:
        raise error if str(error).startswith(str(path)) else ExtensionError(f"{path}: {error}") from None
    if found.name != path.stem:
        raise ExtensionError(f"{path}: holds the extension {found.name!r}")
    return found


def _ours(path: Path, status: os.stat_result) -> None:
    """Whoever writes the store says what programs are verified against."""
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise ExtensionError(f"{path}: others may write to it")


# Beside the tables of a platform. ----------


def extended(base: Platform, extensions: Sequence[Extension]) -> Platform:
    """``base`` with what these add.  Raises :class:`ExtensionError` where they want what is taken."""
    found = base
    for each in extensions:
        found = _with(found, each, base)
    return found


def _with(so_far: Platform, extension: Extension, base: Platform) -> Platform:
    def free(what: str, taken: bool) -> None:
        if taken:
            raise ExtensionError(f"extension {extension.name}: {what} is taken")

    types, maps = dict(so_far.program_types), dict(so_far.map_types)
    attach_types, sections = dict(so_far.attach_types), list(so_far.sections)
    numbers = {row.number for row in types.values()}
    for type in extension.program_types:
        free(f"program type {type.name}", type.name in types)
        free(f"the number {type.number} of program type {type.name}", type.number in numbers)
        types[type.name] = type
        numbers.add(type.number)
    for name, number in extension.attach_types.items():
        free(f"attach type {name}", name in attach_types or number in attach_types.values())
        attach_types[name] = number
    for rule in extension.sections:
        stem = rule.pattern.removesuffix("+")
        free(f"section {stem}", so_far.section_rule(stem) is not None)
        sections.append(rule)
    for row in extension.map_types:
        free(f"map type {row.name}", row.number in maps or row.name in {each.name for each in maps.values()})
        maps[row.number] = row
    ids: set[int] = set()
    for helper in extension.helpers:
        taken = helper.id in ids or so_far.helper_name(helper.id) or so_far.helper_by_name(helper.name)
        free(f"helper {helper.name} ({helper.id})", bool(taken))
        ids.add(helper.id)
    return replace(
        so_far,
        program_types=types,
        attach_types=attach_types,
        sections=tuple(sections),
        map_types=maps,
        load_helpers=lambda: _helpers(so_far, extension, base),
        measured_types=so_far.measured_types | {type.name for type in extension.program_types},
        # A platform that translates the numbers of objects takes these as they are.
        map_numbers=so_far.map_numbers and {**so_far.map_numbers, **{row: row for row in maps if row >= FIRST_NUMBER}},
        helper_numbers=so_far.helper_numbers and {**so_far.helper_numbers, **{("", id): id for id in ids}},
        extensions={
            **so_far.extensions,
            **dict.fromkeys((type.name for type in extension.program_types), extension.name),
            **dict.fromkeys((row.name for row in extension.map_types), extension.name),
        },
        _cache={},
        _refusals={},
    )


def _helpers(
    so_far: Platform, extension: Extension, base: Platform
) -> dict[int, list[tuple[frozenset[str] | None, HelperPrototype]]]:
    """Who may call what: of the platform's helpers only those that an extension offers to its types."""
    own = {type.name for type in extension.program_types}
    table: dict[int, list[tuple[frozenset[str] | None, HelperPrototype]]] = {}
    for id, overloads in so_far.load_helpers().items():
        name = overloads[0][1].name
        wanting = frozenset(type for type in own if name in extension.offered[type])
        callers = overloads[0][1].program_types
        if callers is None:  # not measured: everybody who was there before
            callers = frozenset(so_far.program_types) - own
        rows = [(types, replace(prototype, program_types=callers | wanting)) for types, prototype in overloads]
        if wanting and all(types is not None for types, _ in overloads):
            usual = base.helper(id, "xdp") or overloads[0][1]
            rows.append((wanting, replace(usual, program_types=callers | wanting)))
        table[id] = rows
    for helper in extension.helpers:
        table[helper.id] = [(None, helper)]
    return table
