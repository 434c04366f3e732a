"""``prevail-py diff OBJ|--asm FILE``: one program on several engines, and where they part."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from prevail_py.cli.support import (
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_program_source,
    positive,
    print_table,
    program_or_text,
    track,
)

if TYPE_CHECKING:
    from prevail_py.objects.program import Program
    from prevail_py.vm.differential import Divergence, Input

NAME = "diff"
HELP = "run a program on several engines and compare what it does there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``diff``."""
    add_program_source(parser)
    parser.add_argument(
        "--engines",
        metavar="NAMES",
        default="interpreter,source",
        help="two or more of interpreter, source, jit, jit-O0, kernel",
    )
    parser.add_argument("--inputs", metavar="N", type=positive, default=16, help="how many packets to try (16)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="which packets to try (0)")
    parser.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")


def run(arguments: argparse.Namespace) -> int:
    """Compare; 0 where the engines agree, 1 where they do not, 2 where an input cannot be used."""
    from prevail_py._render import Table
    from prevail_py.vm.differential import compare, load
    from prevail_py.vm.reduction import minimise

    engines = list(dict.fromkeys(arguments.engines.split(",")))
    if len(engines) < 2:
        raise InputError("--engines: two or more names, with commas between them")
    path, program, _ = program_or_text(arguments)
    try:
        loaded = load(program, engines)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    given = _inputs(program, arguments.inputs, arguments.seed, engines)
    rows: list[dict[str, Any]] = []
    divergence: Divergence | None = None
    for each in track(given, "comparing"):
        found = compare(program, each, engines, loaded)
        results = {name: found.results.get(name) or f"not run: {found.skipped[name]}" for name in engines}
        rows.append({**_input(each), "results": results, "equal": found.divergence is None})
        if found.divergence is not None:
            divergence = minimise(found.divergence)
            break
    if arguments.json:
        print(json.dumps(_document(path, program, rows, divergence)))
    else:
        lines = [
            (str(number), str(len(row["packet"]) // 2), *row["results"].values(), "yes" if row["equal"] else "NO")
            for number, row in enumerate(rows, 1)
        ]
        print_table(
            Table(("input", "bytes", *engines, "equal"), tuple(lines), frozenset({0, 1})), colours={"NO": "red"}
        )
        if divergence is not None:
            _explain(divergence)
    return EXIT_OK if divergence is None else EXIT_NOT_SAFE


def _inputs(program: Program, count: int, seed: int, engines: Sequence[str]) -> list[Input]:
    """Packets, every other one with some elements in the maps; one empty input for programs without packets."""
    from prevail_py.platforms import platform
    from prevail_py.research.kernel_programs import elements_for, frames_for
    from prevail_py.research.packets import packets
    from prevail_py.vm.context import takes_packet
    from prevail_py.vm.differential import Input

    program_type = platform(program.platform).program_type(program.program_type, program.expected_attach_type)
    random = Random(seed)
    if not takes_packet(program_type):
        return [Input()]
    frames = (frames_for if "kernel" in engines else packets)(seed, count)
    return [
        Input(packet, maps=elements_for(program, random) if number % 2 else {}) for number, packet in enumerate(frames)
    ]


def _input(given: Input) -> dict[str, Any]:
    maps = {str(index): {k.hex(): v.hex() for k, v in elements.items()} for index, elements in given.maps.items()}
    context = None if given.context is None else given.context.hex()
    return {"packet": (given.packet or b"").hex(), "context": context, "maps": maps}


def _explain(divergence: Divergence) -> None:
    from prevail_py.vm.differential import text_of

    print(f"\nThe smallest program and input found on which they differ:\n\n{text_of(divergence)}")


def _document(path: str, program: Program, rows: list[dict[str, Any]], divergence: Divergence | None) -> dict[str, Any]:
    from prevail_py.objects.text import disassemble

    found: dict[str, Any] | None = None
    if divergence is not None:
        parting = divergence.parting
        found = {
            "engines": list(divergence.engines),
            "program": disassemble(divergence.program, source=False),
            "input": _input(divergence.given),
            "differences": [{"field": d.field, "values": [d.left, d.right]} for d in divergence.differences],
            "parting": None
            if parting is None
            else {
                "steps": parting.steps,
                "slot": parting.slot,
                "blame": parting.blame,
                "states": [dict(parting.left), dict(parting.right)],
            },
        }
    return {"schema": 1, "object": path, "program": program.name, "inputs": rows, "divergence": found}
