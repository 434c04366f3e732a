"""``prevail-py asm FILE``: assembly text to bytes."""

from __future__ import annotations

import argparse
import sys

from prevail_py.cli.support import EXIT_OK, bad_input, write_output

NAME = "asm"
HELP = "assemble text to instructions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``asm``."""
    parser.add_argument("file", metavar="FILE", help="assembly text in either syntax; - is standard input")
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="write raw bytes there instead of hexadecimal to the screen"
    )
    parser.add_argument(
        "--hex", action="store_true", help="write hexadecimal, one slot of 8 bytes a line, to OUT as well"
    )


def run(arguments: argparse.Namespace) -> int:
    """Assemble; 0, or 2 where the text cannot be assembled."""
    from prevail_py.isa.assembler import assemble_text
    from prevail_py.isa.encode import encode

    with bad_input(arguments.file):
        text = sys.stdin.read() if arguments.file == "-" else _read(arguments.file)
        code = encode(assemble_text(text))
    if arguments.output is None or arguments.hex:
        slots = (code[start : start + 8] for start in range(0, len(code), 8))
        write_output(arguments.output, "".join(f"{slot.hex(' ')}\n" for slot in slots))
    else:
        write_output(arguments.output, code)
    return EXIT_OK


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
