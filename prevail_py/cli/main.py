"""The dispatcher of ``prevail-py``: arguments, exit codes, and what becomes of errors.

Exit codes: 0 everything is well (``verify``: all programs are SAFE), 1 something is not, 2 bad input or usage, 3 a
defect of prevail-py itself.  Bad input gets one line on standard error that names the place; a traceback appears only
with ``--debug``.

The command modules import nothing heavy at their top, so that ``--help`` and ``--version`` stay quick.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, Protocol

from prevail_py import __version__
from prevail_py.cli import (
    asm,
    cfg,
    check_certificate,
    corpus,
    diff,
    disasm,
    doctor,
    ebpf,
    extension,
    fuzz,
    hostd,
    include_dir,
    inventory,
    museum,
    prove,
    prove_equal,
    report,
    run,
    test_run,
    verifierd,
    verify,
    version,
)
from prevail_py.cli.support import EXIT_DEFECT, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_PIPE, InputError

__all__ = ["COMMANDS", "Command", "main", "parser"]


class Command(Protocol):
    """What a command module offers."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


COMMANDS: tuple[Command, ...] = (
    verify,
    report,
    inventory,
    disasm,
    asm,
    cfg,
    run,
    test_run,
    diff,
    corpus,
    prove,
    prove_equal,
    museum,
    check_certificate,
    fuzz,
    verifierd,
    hostd,
    ebpf,
    extension,
    include_dir,
    doctor,
    version,
)


class _Parser(argparse.ArgumentParser):
    """Wrong usage gets one line, as any other bad input does."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT, f"{self.prog}: {' '.join(message.split())} (--help shows the usage)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = _Parser(
        prog="prevail-py",
        description="Formal verification of eBPF programs.",
        epilog="exit codes: 0 all is well, 1 something is not SAFE, 2 bad input, 3 a defect of prevail-py",
    )
    top.add_argument("--version", action="version", version=f"prevail-py {__version__}")
    top.add_argument("--debug", action="store_true", help="show a traceback where prevail-py itself fails")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(command.NAME, help=command.HELP, description=f"{command.HELP}.")
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (``sys.argv[1:]`` by default) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names are any bytes, terminals of any encoding
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help, version or a usage error
        return stop.code if isinstance(stop.code, int) else EXIT_INPUT
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except InputError as error:
        print(f"prevail-py: {error}", file=sys.stderr)
        return EXIT_INPUT
    except BrokenPipeError:  # the reader went away, as `| head` does; keep the interpreter's last flush quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except KeyboardInterrupt:
        print("prevail-py: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        from prevail_py.platforms.extensions import ExtensionError

        if isinstance(error, ExtensionError):
            print(f"prevail-py: {error}", file=sys.stderr)
            return EXIT_INPUT
        if arguments.debug:
            raise
        summary = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"prevail-py: internal error, please report it: {summary} (--debug shows more)", file=sys.stderr)
        return EXIT_DEFECT
    return code
