"""``prevail-py run OBJ --pcap IN``: an XDP program over a capture file, once it is proved safe."""

from __future__ import annotations

import argparse
import sys

from prevail_py.cli.support import EXIT_NOT_SAFE, EXIT_OK, add_program_argument, bad_input, print_table, the_program

NAME = "run"
HELP = "run a verified XDP program over the packets of a capture file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``run``."""
    parser.add_argument("object", metavar="OBJ", help="an eBPF object file")
    add_program_argument(parser, "the program, where there are several")
    parser.add_argument("--pcap", metavar="IN", required=True, help="the packets, in order")
    parser.add_argument("--out", metavar="DIR", help="write one capture file per action there")


def run(arguments: argparse.Namespace) -> int:
    """Verify and run; 0, 1 where the gate refuses the program, 2 where an input cannot be read."""
    from prevail_py.host.gate import GateError
    from prevail_py.host.xdp import replay
    from prevail_py.report.text import verdict_text
    from prevail_py.verifier import verify

    program = the_program(arguments.object, arguments.program)
    verdict = verify(program)
    try:
        with bad_input(arguments.pcap):
            report = replay(program, verdict, arguments.pcap, out_dir=arguments.out)
    except GateError as error:
        print(f"prevail-py: {error}", file=sys.stderr)
        print(verdict_text(arguments.object, verdict))
        return EXIT_NOT_SAFE
    print_table(report.table())
    return EXIT_OK
