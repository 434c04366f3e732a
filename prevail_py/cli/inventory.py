"""``prevail-py list OBJ...``: the programs and maps of object files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prevail_py.cli.support import EXIT_OK, add_target_arguments, open_object, print_table

if TYPE_CHECKING:
    from prevail_py.objects.elf import ObjectFile

NAME = "list"
HELP = "list the programs and maps of object files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``list``."""
    parser.add_argument("objects", nargs="+", metavar="OBJ", help="an eBPF object file")
    add_target_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document per object and line (schema 1)")


def run(arguments: argparse.Namespace) -> int:
    """List; 0, or 2 where an object cannot be read."""
    for number, path in enumerate(arguments.objects):
        loaded = open_object(path, arguments)
        if arguments.json:
            print(json.dumps(_document(path, loaded)))
        else:
            if number:
                print()
            _print(path, loaded)
    return EXIT_OK


def _map_type(number: int) -> str:
    from prevail_py.platforms import platform

    found = platform().map_type(number)
    return found.name if found is not None else str(number)


def _document(path: str, loaded: ObjectFile) -> dict[str, Any]:
    return {
        "schema": 1,
        "object": path,
        "licence": loaded.licence,
        "programs": [
            {
                "section": program.section,
                "name": program.name,
                "program_type": program.program_type,
                "instructions": program.instruction_count,
                "subprograms": [subprogram.name for subprogram in program.subprograms[1:]],
                "maps": [spec.name for spec in program.maps],
                "unsupported": list(program.unsupported),
                "assumptions": list(program.assumptions),
                "poisoned": {str(slot): reason for slot, reason in sorted(program.poisoned.items())},
                "kernel_symbols": sorted(set(program.symbols.values())),
            }
            for program in loaded.programs.values()
        ],
        "maps": [
            {
                "name": spec.name,
                "type": _map_type(spec.type),
                "key_size": spec.key_size,
                "value_size": spec.value_size,
                "max_entries": spec.max_entries,
                "read_only": spec.read_only,
            }
            for spec in loaded.maps
        ],
        "notes": list(loaded.notes),
    }


def _print(path: str, loaded: ObjectFile) -> None:
    from prevail_py._render import Table

    print(f"{Path(path).name}: licence {loaded.licence or 'none'}")
    programs = tuple(
        (
            program.name,
            program.section,
            program.program_type,
            str(program.instruction_count),
            ", ".join(subprogram.name for subprogram in program.subprograms[1:]),
            ", ".join(program.unsupported),
        )
        for program in loaded.programs.values()
    )
    maps = tuple(
        (
            spec.name,
            _map_type(spec.type),
            str(spec.key_size),
            str(spec.value_size),
            str(spec.max_entries),
            "read-only" if spec.read_only else "",
        )
        for spec in loaded.maps
    )
    if programs:
        header = ("program", "section", "type", "insns", "subprograms", "unsupported")
        print_table(Table(header, programs, right=frozenset({3})).compact())
    if maps:
        header = ("map", "type", "key", "value", "entries", "access")
        print_table(Table(header, maps, right=frozenset({2, 3, 4})).compact())
    for fact in dict.fromkeys(fact for program in loaded.programs.values() for fact in program.assumptions):
        print(f"assumed: {fact}")
    for note in loaded.notes:
        print(f"note: {note}")
