"""``prevail-py test-run OBJ|--asm FILE``: one program on given packets, on any engine, verified or not.

The checked engines stop at whatever the program does wrong, and the kernel verifies it itself: nothing here needs to be
SAFE.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prevail_py.cli.support import (
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_engine_argument,
    add_maps_argument,
    add_program_source,
    bad_input,
    environment_for,
    positive,
    print_table,
    program_or_text,
)

if TYPE_CHECKING:
    from prevail_py.objects.program import Program
    from prevail_py.vm.environment import Environment
    from prevail_py.vm.interpreter import Execution
    from prevail_py.vm.maps import Map

NAME = "test-run"
_MOST_RUNS = 100_000
HELP = "run a program on given packets, verified or not, and show what it leaves behind"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``test-run``."""
    add_program_source(parser)
    add_engine_argument(parser)
    packet = parser.add_mutually_exclusive_group()
    packet.add_argument("--packet", metavar="HEX", help="the packet")
    packet.add_argument("--packet-file", metavar="FILE", help="a file whose bytes are the packet")
    packet.add_argument("--pcap", metavar="FILE", help="a capture file, whose packets are run one after another")
    parser.add_argument("--context", metavar="HEX", help="the scalar fields of the context, the rest zero")
    parser.add_argument("--repeat", metavar="N", type=positive, default=1, help="run each packet so often (1)")
    add_maps_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")


def run(arguments: argparse.Namespace) -> int:
    """Run; 0 where every run returned, 1 where one did not, 2 where an input cannot be used."""
    from prevail_py.cli.map_contents import fill
    from prevail_py.vm.engines import EngineError
    from prevail_py.vm.maps import MapError, create_maps

    path, program, programs = program_or_text(arguments)
    environment = environment_for((arguments.engine,))
    packets = _packets(arguments)
    context = None if arguments.context is None else _hex("--context", arguments.context)
    try:
        maps = create_maps(program.maps, environment)
        if arguments.maps is not None:
            fill(maps, arguments.maps, programs, environment)
        executions = _run(program, arguments.engine, packets, context, maps, environment)
    except (EngineError, MapError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error
    if arguments.json:
        print(json.dumps(_document(path, program, arguments.engine, packets, executions, maps)))
    else:
        _show(packets, executions, maps)
    from prevail_py.vm.outcome import Returned

    return EXIT_OK if all(isinstance(each.outcome, Returned) for each in executions) else EXIT_NOT_SAFE


def _packets(arguments: argparse.Namespace) -> list[bytes | None]:
    packets: list[bytes | None] = [None]
    if arguments.packet is not None:
        packets = [_hex("--packet", arguments.packet)]
    elif arguments.packet_file is not None:
        with bad_input(arguments.packet_file):
            packets = [Path(arguments.packet_file).read_bytes()]
    elif arguments.pcap is not None:
        from prevail_py.host.capture import CaptureError, read_capture

        try:
            with bad_input(arguments.pcap):
                packets = [frame.data for frame in read_capture(arguments.pcap)]
        except CaptureError as error:
            raise InputError(str(error)) from error
    if arguments.repeat > 1 and arguments.repeat * len(packets) > _MOST_RUNS:
        raise InputError(f"--repeat: more than {_MOST_RUNS} runs, which are all kept, of {len(packets)} packets")
    return [packet for packet in packets for _ in range(arguments.repeat)]


def _hex(option: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InputError(f"{option}: pairs of hexadecimal digits are wanted, not {text[:40]!r}") from error


def _run(
    program: Program,
    name: str,
    packets: Sequence[bytes | None],
    context: bytes | None,
    maps: Sequence[Map],
    environment: Environment,
) -> list[Execution]:
    from prevail_py.vm.engines import Batch, engine

    loaded = engine(name).load(program)
    if isinstance(loaded, Batch):
        inputs = [(packet or b"", context) for packet in packets]
        return loaded.run_all(inputs, maps=maps, environment=environment)
    return [loaded.run(packet=packet, context=context, maps=maps, environment=environment) for packet in packets]


def _show(packets: Sequence[bytes | None], executions: Sequence[Execution], maps: Sequence[Map]) -> None:
    from prevail_py._render import Table
    from prevail_py.cli.map_contents import contents_table
    from prevail_py.vm.differential import summary
    from prevail_py.vm.outcome import Trapped

    rows = []
    for number, (packet, execution) in enumerate(zip(packets, executions, strict=True), 1):
        after = execution.packet
        changed = "-" if after is None else "unchanged" if after == (packet or b"") else f"{len(after)} bytes"
        rows.append((str(number), str(len(packet or b"")), summary(execution.outcome), str(execution.steps), changed))
    print_table(Table(("run", "bytes", "outcome", "steps", "packet after"), tuple(rows), frozenset({0, 1, 3})))
    for number, execution in enumerate(executions, 1):
        if isinstance(execution.outcome, Trapped):
            print(f"\nrun {number}: {execution.outcome.trap.message}")
    if not executions:
        return
    last = executions[-1]
    for name, content in (("packet", last.packet), ("context", last.context)):
        if content is not None:
            print(f"\n{name} after the last run:\n{content.hex()}")
    table = contents_table(maps)
    if table.rows:
        print()
        print_table(table)
    log = [line for execution in executions for line in execution.log]
    if log:
        print("\nlog:", *log, sep="\n")


def _document(
    path: str,
    program: Program,
    engine: str,
    packets: Sequence[bytes | None],
    executions: Sequence[Execution],
    maps: Sequence[Map],
) -> dict[str, Any]:
    from prevail_py.cli.map_contents import elements

    runs = []
    for packet, execution in zip(packets, executions, strict=True):
        runs.append(
            {
                "packet": (packet or b"").hex(),
                **_outcome(execution),
                "steps": execution.steps,
                "packet_after": None if execution.packet is None else execution.packet.hex(),
                "context_after": None if execution.context is None else execution.context.hex(),
                "redirect": None if execution.redirect is None else str(execution.redirect),
                "log": list(execution.log),
            }
        )
    held = [{"name": map.spec.name, "contents": _contents(map), "elements": elements(map)} for map in maps]
    return {
        "schema": 1,
        "object": path,
        "program": program.name,
        "engine": engine,
        "runs": runs,
        "maps": held,
    }


def _contents(map: Map) -> dict[str, str]:
    """Keys and values in hexadecimal, of a map that has both."""
    from prevail_py.vm.differential import contents
    from prevail_py.vm.maps import has_values

    return {key[1:-1]: value for key, value in contents(map)} if has_values(map) else {}


def _outcome(execution: Execution) -> dict[str, Any]:
    from prevail_py.vm.outcome import OutOfFuel, Returned

    match execution.outcome:
        case Returned(value):
            return {"outcome": "returned", "r0": value}
        case OutOfFuel(pc):
            return {"outcome": "out-of-fuel", "pc": pc}
        case trapped:
            trap = trapped.trap
            return {"outcome": "trapped", "trap": trap.kind.value, "pc": trap.pc, "message": trap.message}
