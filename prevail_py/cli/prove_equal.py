"""``prevail-py prove-equal A.o B.o``: whether loop-free programs of two objects do the same."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from prevail_py.cli.support import (
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_program_argument,
    add_target_arguments,
    choose,
    open_object,
    print_table,
    track,
)

if TYPE_CHECKING:
    from prevail_py.objects.program import Program
    from prevail_py.verifier.smt.equality import Equality

NAME = "prove-equal"
HELP = "prove that loop-free programs of two objects do the same, or find an input on which they do not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``prove-equal``."""
    parser.add_argument("left", metavar="A", help="an eBPF object file")
    parser.add_argument("right", metavar="B", help="another one")
    add_program_argument(parser, "this program (all that both have)")
    parser.add_argument("--other", metavar="NAME", help="the program of B, if its name is another one")
    parser.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")
    add_target_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare; 0 if all are equivalent, 1 if not or not known, 2 where an object cannot be read."""
    from prevail_py.verifier.smt.equality import prove_equal

    found: list[Equality] = []
    for left, right in track(_pairs(arguments), "comparing"):
        try:
            found.append(prove_equal(left, right))
        except ValueError as error:
            raise InputError(f"{arguments.left}, {arguments.right}: {error}") from error
    if arguments.json:
        print(json.dumps({"schema": 1, "left": arguments.left, "right": arguments.right, "pairs": _rows(found)}))
    else:
        _print(found)
    return EXIT_OK if all(each.is_equivalent for each in found) else EXIT_NOT_SAFE


def _pairs(arguments: argparse.Namespace) -> list[tuple[Program, Program]]:
    ours, theirs = open_object(arguments.left, arguments), open_object(arguments.right, arguments)
    if arguments.other is not None and arguments.program is None:
        raise InputError("--other: names the program of B that --program is compared with")
    if arguments.program is not None:
        (left,) = choose(arguments.left, ours, arguments.program)
        (right,) = choose(arguments.right, theirs, arguments.other or arguments.program)
        return [(left, right)]
    common = [name for name in ours.programs if name in theirs.programs]
    if not common:
        raise InputError(f"{arguments.left}, {arguments.right}: no program of one has the name of one of the other")
    return [(ours.programs[name], theirs.programs[name]) for name in common]


def _rows(found: list[Equality]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in found:
        row: dict[str, Any] = {
            "program": each.left.name,
            "other": each.right.name,
            "answer": str(each.kind),
            "reason": each.reason,
            "assumptions": list(each.assumptions),
            "queries": each.queries,
            "seconds": round(each.seconds, 3),
            "difference": None,
        }
        if each.difference is not None:
            difference = each.difference
            row["difference"] = {
                "what": list(difference.what),
                "packet": None if difference.packet is None else difference.packet.hex(),
                "context": None if difference.context is None else difference.context.hex(),
                "contents": [
                    {"map": name, "key": key.hex(), "value": value.hex()} for name, key, value in difference.contents
                ],
            }
        rows.append(row)
    return rows


def _print(found: list[Equality]) -> None:
    from prevail_py._render import Table

    lines = [(each.left.name, each.right.name, str(each.kind), f"{each.seconds:.2f}") for each in found]
    print_table(
        Table(("A", "B", "answer", "seconds"), tuple(lines), frozenset({3})),
        colours={"EQUIVALENT": "green", "DIFFERENT": "red", "UNKNOWN": "yellow"},
    )
    for each in found:
        if not each.is_equivalent:
            print(f"\n{each.left.name}: {each.reason}" if each.reason else f"\n{each.left.name}:")
            if each.difference is not None:
                print(*(f"  {line}" for line in str(each.difference).splitlines()), sep="\n")
    assumed = dict.fromkeys(assumption for each in found for assumption in each.assumptions)
    if assumed:
        print()
        print(*(f"assumed: {assumption}" for assumption in assumed), sep="\n")
