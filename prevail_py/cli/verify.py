"""``prevail-py verify OBJ...``: prove every program of the objects, or say what is missing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from prevail_py.cli.support import (
    EXIT_INPUT,
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_program_argument,
    choose,
    open_object,
    positive,
    print_table,
    track,
)

if TYPE_CHECKING:
    from prevail_py.verifier.verdict import Verdict

NAME = "verify"
HELP = "verify all programs of object files"

_COLOURS = {"SAFE": "bold green", "UNSAFE": "bold red", "UNKNOWN": "bold yellow", "UNSUPPORTED": "bold magenta"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``verify``."""
    parser.add_argument("objects", nargs="+", metavar="OBJ", help="an eBPF object file")
    add_program_argument(parser)
    parser.add_argument("--brief", action="store_true", help="print the table only, not why programs are not SAFE")
    parser.add_argument("--json", action="store_true", help="print one JSON document per object and line (schema 1)")
    parser.add_argument("--invariants", action="store_true", help="also print what was found to hold at each block")
    parser.add_argument("--domain", metavar="NAME", help="the abstract domain")
    parser.add_argument("--disjuncts", type=positive, metavar="N", help="states kept apart at each join at most")
    parser.add_argument("--budget", type=positive, metavar="N", help="abstract steps before the verdict is UNKNOWN")


def run(arguments: argparse.Namespace) -> int:
    """Verify; 0 where all programs are SAFE, 1 where one is not, 2 where an object cannot be read."""
    results = _print_json(arguments) if arguments.json else _print_text(arguments)
    if any(isinstance(result, InputError) for result in results):
        return EXIT_INPUT
    return EXIT_OK if all(verdict.is_safe for verdict in _verdicts(results)) else EXIT_NOT_SAFE


Result: TypeAlias = "list[Verdict] | InputError"


def _verified(arguments: argparse.Namespace) -> Iterator[tuple[str, Result]]:
    """Each object's path with the verdicts of its programs, or with the error that it could not be read for."""
    from prevail_py.verifier import verify

    options = {
        name: value for name in ("domain", "disjuncts", "budget") if (value := getattr(arguments, name)) is not None
    }
    several = len(arguments.objects) > 1
    for path in track(arguments.objects, "verifying"):
        try:
            programs = choose(path, open_object(path), arguments.program)
        except InputError as error:
            print(f"prevail-py: {error}", file=sys.stderr)
            yield path, error
        else:
            yield path, [verify(program, **options) for program in (programs if several else track(programs, path))]


def _verdicts(results: Iterable[Result]) -> list[Verdict]:
    return [verdict for result in results if not isinstance(result, InputError) for verdict in result]


def _print_json(arguments: argparse.Namespace) -> list[Result]:
    from prevail_py.report.document import error_document, object_document

    results: list[Result] = []
    for path, result in _verified(arguments):
        results.append(result)
        if isinstance(result, InputError):
            document = error_document(path, str(result))
        else:
            document = object_document(path, result, invariants=arguments.invariants)
        print(json.dumps(document), flush=True)
    return results


def _print_text(arguments: argparse.Namespace) -> list[Result]:
    from prevail_py.report.text import summary, verdict_table, verdict_text

    found = list(_verified(arguments))
    results = [result for _, result in found]
    rows = [(path, verdict) for path, result in found for verdict in _verdicts([result])]
    if rows:
        print_table(verdict_table(rows), colours=_COLOURS)
        print(f"\n{summary(_verdicts(results))}")
    for path, verdict in rows:
        if not (verdict.is_safe or arguments.brief):
            print(f"\n{verdict_text(path, verdict)}")
    if arguments.invariants:
        for path, verdict in rows:
            print(f"\n{path}: {verdict.program.name}: invariants\n{verdict.invariants}")
    return results
