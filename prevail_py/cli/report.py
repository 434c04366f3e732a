"""``prevail-py report OBJ -o FILE``: the explorer, everything about the programs of an object in one HTML page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prevail_py.cli.support import (
    EXIT_OK,
    InputError,
    add_policy_argument,
    add_program_argument,
    add_target_arguments,
    bad_input,
    choose,
    open_object,
    positive,
    track,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prevail_py._render import Page
    from prevail_py.objects.program import Program
    from prevail_py.vm.kernel.answer import KernelAnswer

NAME = "report"
HELP = "write a page to explore the programs of an object file in a browser"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``report``."""
    parser.add_argument("object", metavar="OBJ", help="an eBPF object file")
    add_program_argument(parser)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the page: one HTML file")
    parser.add_argument(
        "--kernel", action="store_true", help="also ask the running kernel's verifier (load only), and show its log"
    )
    parser.add_argument(
        "--debugger",
        action="store_true",
        help="write the abstract debugger of one program instead: its fixpoint, step by step",
    )
    parser.add_argument(
        "--termination", action="store_true", help="look for bounds on loops, and show them at their heads"
    )
    parser.add_argument(
        "--source", metavar="DIR", type=Path, help="show source files whole, that are found in this folder"
    )
    parser.add_argument("--domain", metavar="NAME", help="the abstract domain")
    parser.add_argument("--disjuncts", type=positive, metavar="N", help="states kept apart at each join at most")
    add_policy_argument(parser)
    add_target_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page; 0 whatever the verdicts, 2 where the object cannot be read or the page not written."""
    programs = choose(arguments.object, open_object(arguments.object, arguments), arguments.program)
    given = {name: value for name in ("domain", "disjuncts") if (value := getattr(arguments, name)) is not None}
    if "domain" in given:
        from prevail_py.domains import facts

        try:
            facts(given["domain"])
        except ValueError as error:
            raise InputError(f"--domain: {error}") from error
    page = _debugger(arguments, programs, given) if arguments.debugger else _explorer(arguments, programs, given)
    with bad_input(arguments.output):
        page.save(arguments.output)
    return EXIT_OK


def _explorer(arguments: argparse.Namespace, programs: Sequence[Program], options: dict[str, Any]) -> Page:
    from prevail_py.report.explorer import explorer
    from prevail_py.verifier import verify

    if arguments.policy is not None:
        options["policy"] = arguments.policy
    options["termination"] = arguments.termination
    sources = _whole_files(programs, arguments.source) if arguments.source else None
    verdicts = [verify(program, **options) for program in track(programs, arguments.object)]
    return explorer(arguments.object, verdicts, _ask(programs) if arguments.kernel else None, sources)


def _whole_files(programs: Sequence[Program], folder: Path) -> dict[str, list[str]]:
    from prevail_py.report.sources import whole_files

    if not folder.is_dir():
        raise InputError(f"--source: {folder}: not a folder")
    with bad_input(str(folder)):
        files, missing = whole_files(programs, folder)
    for reason in missing:
        print(f"--source: {reason}; its lines with instructions are shown", file=sys.stderr)
    return files


def _ask(programs: Sequence[Program]) -> dict[str, KernelAnswer]:
    from prevail_py.vm.kernel.engine import ask_kernel_many, available

    reason = available()
    if reason is not None:
        raise InputError(f"--kernel: {reason}")
    answers = ask_kernel_many(programs, log_level=2)
    return {program.name: answer for program, answer in zip(programs, answers, strict=True)}


def _debugger(arguments: argparse.Namespace, programs: Sequence[Program], options: dict[str, Any]) -> Page:
    from prevail_py.report.debugger import debugger
    from prevail_py.verifier.recording import record

    if arguments.kernel or arguments.termination or arguments.source or arguments.policy is not None:
        message = "--debugger: it shows the fixpoint alone, without --kernel, --termination, --source and --policy"
        raise InputError(message)
    if len(programs) != 1:
        known = ", ".join(program.name for program in programs) or "none"
        raise InputError(f"{arguments.object}: choose one with --program (there are: {known})")
    try:
        return debugger(record(programs[0], **options))
    except ValueError as error:  # no control-flow graph, or a type of program that there is none of
        raise InputError(f"{arguments.object}: {programs[0].name}: {error}") from error
