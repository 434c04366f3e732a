"""``prevail-py disasm OBJ``: instructions in the kernel's syntax, between the source lines they come from."""

from __future__ import annotations

import argparse
from pathlib import Path

from prevail_py.cli.support import (
    EXIT_OK,
    add_program_argument,
    add_target_arguments,
    bad_input,
    choose,
    open_object,
)

NAME = "disasm"
HELP = "disassemble the programs of an object file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``disasm``."""
    parser.add_argument("object", metavar="OBJ", help="an eBPF object file")
    add_program_argument(parser)
    add_target_arguments(parser)
    parser.add_argument("--no-source", action="store_true", help="leave the source lines out")
    parser.add_argument("--raw", action="store_true", help="OBJ holds bare instructions, as `asm -o` writes them")


def run(arguments: argparse.Namespace) -> int:
    """Disassemble; 0, or 2 where the input cannot be read."""
    from prevail_py.isa.decode import decode
    from prevail_py.isa.disassembler import listing
    from prevail_py.objects.text import disassemble

    path = arguments.object
    if arguments.raw:
        with bad_input(path):
            print(listing(decode(Path(path).read_bytes())), end="")
        return EXIT_OK
    for number, program in enumerate(choose(path, open_object(path, arguments), arguments.program)):
        if number:
            print()
        print(f"; {program.name}, section {program.section}, {program.program_type}")
        print(disassemble(program, source=not arguments.no_source))
    return EXIT_OK
