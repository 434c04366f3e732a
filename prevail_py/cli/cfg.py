"""``prevail-py cfg OBJ``: the control-flow graph of a program, for graphviz or as a picture."""

from __future__ import annotations

import argparse

from prevail_py.cli.support import (
    EXIT_OK,
    InputError,
    add_program_argument,
    add_target_arguments,
    bad_input,
    open_object,
    the_program,
    write_output,
)

NAME = "cfg"
HELP = "draw the control-flow graph of a program"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``cfg``."""
    parser.add_argument("object", metavar="OBJ", help="an eBPF object file")
    add_program_argument(parser, "the program, where there are several")
    add_target_arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--dot", action="store_true", help="graphviz source (the default)")
    form.add_argument("--svg", action="store_true", help="a picture; needs graphviz's dot")
    parser.add_argument("-o", "--output", metavar="OUT", help="write there instead of to the screen")


def run(arguments: argparse.Namespace) -> int:
    """Draw; 0, or 2 where the object cannot be read, has no such graph, or graphviz is missing."""
    from prevail_py.cfg.builder import build
    from prevail_py.cfg.dot import GraphvizError, to_dot, to_svg

    program = the_program(arguments.object, open_object(arguments.object, arguments), arguments.program)
    with bad_input(f"{arguments.object}: {program.name}"):
        graph = build(program)
    try:
        drawing = to_svg(graph) if arguments.svg else to_dot(graph)
    except GraphvizError as error:
        raise InputError(str(error)) from error
    write_output(arguments.output, drawing)
    return EXIT_OK
