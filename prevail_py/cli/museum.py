"""``prevail-py museum``: historic bugs planted in the shipped code, and which oracle catches each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from prevail_py.cli.support import EXIT_NOT_SAFE, EXIT_OK, InputError, print_table, track

NAME = "museum"
HELP = "plant historic bugs of verifiers and engines in the shipped code, and see which oracle catches each"

_VERBS = ("list", "show", "run")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``museum``."""
    parser.add_argument("verb", choices=_VERBS, help="list the exhibits, show some in full, or ask the oracles")
    parser.add_argument("exhibit", nargs="*", help="names of exhibits (all)")
    parser.add_argument("--oracles", metavar="NAMES", type=_names, help="which oracles (all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU seconds for each oracle and exhibit (20)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1); several need joblib")
    parser.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")


def run(arguments: argparse.Namespace) -> int:
    """0 where every exhibit that was asked about is caught, 1 for survivors, 2 for names that are none."""
    from prevail_py.research.museum import EXHIBITS
    from prevail_py.research.museum.oracles import ORACLES

    exhibits = _known(arguments.exhibit or list(EXHIBITS), EXHIBITS, "exhibit")
    oracles = _known(arguments.oracles or list(ORACLES), ORACLES, "oracle")
    if arguments.verb == "run":
        return _run(arguments, exhibits, oracles)
    shown = [EXHIBITS[name] for name in exhibits]
    if arguments.json:
        rows = [
            {"name": each.name, "part": each.part.value, "summary": each.summary, "source": each.source}
            for each in shown
        ]
        print(json.dumps({"schema": 1, "exhibits": rows}))
    elif arguments.verb == "show":
        print("\n\n".join(_text(each) for each in shown))
    else:
        from prevail_py._render import Table

        lines = tuple((each.part.value, each.name, each.summary, each.source) for each in shown)
        print_table(Table(("part", "exhibit", "mistake", "whose"), lines))
    return EXIT_OK


def _known(names: Sequence[str], all_names: Any, what: str) -> list[str]:
    for name in names:
        if name not in all_names:
            raise InputError(f"no {what} is called {name!r}; there are {', '.join(all_names)}")
    return list(names)


def _text(exhibit: Any) -> str:
    lines = [f"{exhibit.name} ({exhibit.part.value})", f"  {exhibit.summary}", f"  {exhibit.source}"]
    if exhibit.exposed_by:
        lines.append(f"  exposed by prevail-py prove --domain interval --operation {exhibit.exposed_by!r}")
    if exhibit.specimen is not None:
        lines += ["", *(f"    {line}" for line in exhibit.specimen.text.strip().splitlines())]
    return "\n".join(lines)


def _run(arguments: argparse.Namespace, exhibits: Sequence[str], oracles: Sequence[str]) -> int:
    from prevail_py.research.museum.oracles import ORACLES, missing
    from prevail_py.research.museum.tour import survivors, table, tour

    if arguments.jobs < 1:
        raise InputError("--jobs: at least 1")
    if not arguments.seconds > 0:
        raise InputError("--seconds: more than 0")
    unasked = {name: reason for name in oracles if (reason := missing(ORACLES[name]))}
    total, coming = tour(exhibits, oracles, arguments.seconds, arguments.jobs)
    found = list(track(coming, "asking", total=total))
    alive = survivors(found)
    if arguments.json:
        rows = [finding.as_json() for finding in found]
        print(json.dumps({"schema": 1, "findings": rows, "survivors": alive, "not_asked": unasked}))
    else:
        print_table(table(found, oracles).compact())
        caught = len({finding.exhibit for finding in found}) - len(alive)
        print(
            f"\n{caught} of {caught + len(alive)} caught, in CPU seconds; - is nothing found in {arguments.seconds:g}."
        )
        for name, reason in unasked.items():
            print(f"not asked: {name} ({reason})")
        for name in alive:
            print(f"survivor: {name}")
    return EXIT_NOT_SAFE if alive else EXIT_OK
