"""``prevail-py extension``: the store of program types, helpers and map types that other packages add."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from prevail_py.cli.support import EXIT_OK, InputError, bad_input, print_table

if TYPE_CHECKING:
    from prevail_py.platforms.extension_document import Extension

NAME = "extension"
HELP = "add, list and remove program types, helpers and map types of other packages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``extension``."""
    commands = parser.add_subparsers(metavar="WHAT", dest="what", required=True)
    add = commands.add_parser("add", help="put a document into the store, in place of an older one of its name")
    add.add_argument("source", metavar="FILE|NAME", help="a document, or the name of one that a package offers")
    remove = commands.add_parser("remove", help="take one out of the store")
    remove.add_argument("name", metavar="NAME")
    show = commands.add_parser("show", help="print a document of the store")
    show.add_argument("name", metavar="NAME")
    listing = commands.add_parser("list", help="what is in the store, and what packages offer")
    listing.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")


def run(arguments: argparse.Namespace) -> int:
    """Do it.  Raises :class:`InputError`, and :class:`ExtensionError` for a store or document that is bad."""
    match arguments.what:
        case "add":
            return _add(arguments.source)
        case "remove":
            path = _existing(arguments.name)
            with bad_input(str(path)):
                path.unlink()
            return EXIT_OK
        case "show":
            with bad_input(str(_existing(arguments.name))):
                print(_existing(arguments.name).read_text(encoding="utf-8").rstrip())
            return EXIT_OK
        case _:
            return _list(json_wanted=arguments.json)


def _existing(name: str) -> Path:
    from prevail_py.platforms.extensions import store

    path = store() / f"{name}.json"
    if "/" in name or not path.is_file():
        raise InputError(f"extension: {name} is not in the store ({store()})")
    return path


def _offered() -> dict[str, str]:
    """The documents that installed packages offer, by the names of their entry points."""
    from importlib.metadata import entry_points

    from prevail_py.platforms.extensions import GROUP

    found: dict[str, str] = {}
    for entry_point in entry_points(group=GROUP):
        try:
            found.setdefault(entry_point.name, str(entry_point.load()()))
        except Exception as error:  # another package's code
            raise InputError(f"extension: {entry_point.name}: {type(error).__name__}: {error}") from error
    return found


def _document(source: str) -> str:
    offered = {} if os.sep in source or source.endswith(".json") else _offered()
    if source in offered:
        return offered[source]
    with bad_input(source):
        data = Path(source).read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InputError(f"{source}: not text in UTF-8") from None


def _add(source: str) -> int:
    from prevail_py.platforms import platform
    from prevail_py.platforms.extension_document import parse
    from prevail_py.platforms.extensions import ExtensionError, in_use, store, use

    text = _document(source)
    try:
        wanted = parse(text)
        others = [each.document for each in in_use() if each.name != wanted.name]
        use([*others, text])
        platform(wanted.platform)  # nothing that it wants is taken
    except ExtensionError as error:
        raise InputError(f"{source}: {error}") from None
    except ValueError as error:
        raise InputError(f"{source}: platform: {error}") from None
    finally:
        use(None)
    directory = store()
    with bad_input(str(directory)):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=f"{wanted.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, 0o644)
                file.write(text)
            os.replace(temporary, directory / f"{wanted.name}.json")
        except BaseException:
            os.unlink(temporary)
            raise
    print(f"{wanted.name}: {_summary(wanted)}")
    return EXIT_OK


def _summary(extension: Extension) -> str:
    parts = {
        "program types": [each.name for each in extension.program_types],
        "helpers": [each.name for each in extension.helpers],
        "map types": [each.name for each in extension.map_types],
    }
    return "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names) or "nothing"


def _list(*, json_wanted: bool) -> int:
    from prevail_py._render import Table
    from prevail_py.platforms import platform
    from prevail_py.platforms.extension_document import parse
    from prevail_py.platforms.extensions import in_use, store

    stored = {each.name: each for each in in_use()}
    for each in {extension.platform for extension in stored.values()}:
        platform(each)
    offered = _offered()
    known = {name: parse(text) for name, text in offered.items()} | stored
    if json_wanted:
        rows = [
            {
                "name": name,
                "platform": found.platform,
                "adds": _summary(found),
                "stored": name in stored,
                "offered": name in offered,
            }
            for name, found in sorted(known.items())
        ]
        print(json.dumps({"schema": 1, "store": str(store()), "extensions": rows}))
        return EXIT_OK
    where = {(True, True): "store, package", (True, False): "store", (False, True): "package: not added"}
    cells = tuple(
        (name, found.platform, where[name in stored, name in offered], _summary(found))
        for name, found in sorted(known.items())
    )
    print_table(Table(("extension", "platform", "where", "adds"), cells))
    return EXIT_OK
