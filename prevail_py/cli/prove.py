"""``prevail-py prove``: prove the operators of the abstract domains against the semantics."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from prevail_py.cli.support import EXIT_NOT_SAFE, EXIT_OK, InputError, print_table, track

NAME = "prove"
HELP = "prove the operators of abstract domains: the shipped code, run on solver terms, against the semantics"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _widths(text: str) -> list[int]:
    widths = [int(name) if name.isdigit() else 0 for name in _names(text)]
    if not widths or any(width not in (4, 8, 16, 32, 64) for width in widths):
        raise argparse.ArgumentTypeError("widths are some of 4, 8, 16, 32, 64")
    return widths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``prove``."""
    parser.add_argument("--domain", metavar="NAMES", type=_names, help="which domains (all that can be proved)")
    parser.add_argument("--width", metavar="BITS", type=_widths, default=[64], help="widths of words (64)")
    parser.add_argument("--operation", metavar="NAMES", type=_names, help='only these, such as add,"assume <",join')
    parser.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")


def run(arguments: argparse.Namespace) -> int:
    """Prove; 0 without a counterexample, 1 with one, 2 for names that are none."""
    from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, Row, cells, provable

    known = provable()
    names = arguments.domain or list(known)
    for name in names:
        if name not in known:
            raise InputError(f"--domain: {name!r} is none of {', '.join(known)}")
    try:
        todo = [cell for width in arguments.width for name in names for cell in cells(name, width, arguments.operation)]
    except ValueError as error:
        raise InputError(f"--operation: {error}") from error
    rows: list[Row] = [cell.prove() for cell in track(todo, "proving")]
    if arguments.json:
        print(json.dumps({"schema": 1, "rows": [row.as_json() for row in rows]}))
    else:
        _print(rows)
    return EXIT_NOT_SAFE if any(row.result == COUNTEREXAMPLE for row in rows) else EXIT_OK


def _print(rows: Sequence[Any]) -> None:
    from prevail_py._render import Table

    lines = [(row.domain, row.operation, str(row.bits), row.result, f"{row.seconds:.2f}", row.detail) for row in rows]
    print_table(
        Table(("domain", "operation", "bits", "result", "seconds", "detail"), tuple(lines), frozenset({2, 4})),
        colours={"counterexample": "red", "limited": "yellow"},
    )
    counts = {result: sum(row.result == result for row in rows) for result in ("proved", "limited", "counterexample")}
    print(f"\n{len(rows)} cells: " + ", ".join(f"{count} {result}" for result, count in counts.items()))
