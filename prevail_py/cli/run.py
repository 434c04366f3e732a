"""``prevail-py run OBJ --pcap IN``: an XDP program over a capture file, once it is proved safe."""

from __future__ import annotations

import argparse
import sys

from prevail_py.cli.support import (
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_engine_argument,
    add_maps_argument,
    add_program_argument,
    add_target_arguments,
    environment_for,
    open_object,
    print_table,
    the_program,
)

NAME = "run"
HELP = "run a verified XDP program over the packets of a capture file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``run``."""
    parser.add_argument("object", metavar="OBJ", help="an eBPF object file")
    add_program_argument(parser, "the program, where there are several")
    add_target_arguments(parser)
    parser.add_argument("--pcap", metavar="IN", required=True, help="the packets, in order")
    add_engine_argument(parser)
    parser.add_argument("--out", metavar="DIR", help="write one capture file per action there")
    add_maps_argument(parser)
    parser.add_argument(
        "--show-maps", action="store_true", help="print what the maps hold after, zeros in arrays left out"
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify and run; 0, 1 where the gate refuses the program, 2 where an input cannot be used."""
    from prevail_py.cli.map_contents import contents_table, fill
    from prevail_py.host.capture import CaptureError
    from prevail_py.host.gate import GateError
    from prevail_py.host.xdp import ReplayError, replay
    from prevail_py.report.text import verdict_text
    from prevail_py.verifier import verify
    from prevail_py.vm.engines import EngineError
    from prevail_py.vm.maps import MapError, create_maps

    path = arguments.object
    loaded = open_object(path, arguments)
    program = the_program(path, loaded, arguments.program)
    environment = environment_for((arguments.engine,))
    try:
        maps = create_maps(program.maps, environment)
        if arguments.maps is not None:
            fill(maps, arguments.maps, loaded.programs, environment)
        verdict = verify(program)
        report = replay(
            program,
            verdict,
            arguments.pcap,
            out_dir=arguments.out,
            maps=maps,
            environment=environment,
            engine=arguments.engine,
        )
    except GateError as error:
        print(f"prevail-py: {error}", file=sys.stderr)
        if not verdict.is_safe:
            print(verdict_text(path, verdict))
        return EXIT_NOT_SAFE
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    except CaptureError as error:
        raise InputError(str(error)) from error
    except (EngineError, MapError, ReplayError) as error:
        raise InputError(f"{path}: {error}") from error
    print_table(report.table())
    if arguments.show_maps:
        contents = contents_table(maps)
        if contents.rows:
            print()
            print_table(contents)
    return EXIT_OK
