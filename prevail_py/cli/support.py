"""What the commands share: exit codes, reading inputs, choosing programs, printing tables."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from prevail_py._render import Table
    from prevail_py.host.service import Verifier
    from prevail_py.objects.elf import ObjectFile
    from prevail_py.objects.program import Program
    from prevail_py.vm.environment import Environment

T = TypeVar("T")

__all__ = [
    "EXIT_DEFECT",
    "EXIT_INPUT",
    "EXIT_INTERRUPTED",
    "EXIT_NOT_SAFE",
    "EXIT_OK",
    "EXIT_PIPE",
    "InputError",
    "add_engine_argument",
    "add_maps_argument",
    "add_policy_argument",
    "add_program_argument",
    "add_program_source",
    "add_service_argument",
    "add_target_arguments",
    "bad_input",
    "choose",
    "environment_for",
    "open_object",
    "positive",
    "print_table",
    "program_or_text",
    "start_verifier",
    "target_btf",
    "the_program",
    "track",
    "write_output",
]

EXIT_OK = 0
EXIT_NOT_SAFE = 1
EXIT_INPUT = 2
EXIT_DEFECT = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141


class InputError(Exception):
    """The user's input cannot be used; the message is one line that names the place."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@contextmanager
def bad_input(place: str) -> Iterator[None]:
    """Turn the errors that bad input causes into :class:`InputError`, its message beginning with ``place``."""
    from prevail_py.cfg.graph import CfgError
    from prevail_py.isa.assembler import AssemblerError
    from prevail_py.isa.decode import DecodeError
    from prevail_py.objects.errors import ObjectError

    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or place}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (ObjectError, DecodeError, AssemblerError, CfgError) as error:
        raise InputError(f"{place}: {error}") from error


def open_object(path: str, arguments: argparse.Namespace) -> ObjectFile:
    """Load the object file at ``path`` for the kernel of :func:`add_target_arguments`.

    :class:`InputError` where that fails.
    """
    from prevail_py.objects.elf import load_object

    with bad_input(path):
        return load_object(path, btf=target_btf(arguments), kconfig=arguments.kconfig, platform=arguments.platform)


def add_target_arguments(parser: argparse.ArgumentParser, *, platform: bool = True) -> None:
    """The options that say which kernel the programs are for; ``platform``: whose kernel that may be, too."""
    parser.add_argument(
        "--btf", metavar="FILE", help="the kernel's types: BTF, or ELF that has it; `none` (the running kernel's)"
    )
    parser.add_argument("--kconfig", metavar="FILE", help="the kernel's configuration (the running kernel's)")
    if platform:
        parser.add_argument(
            "--platform",
            choices=("linux", "windows"),
            default="linux",
            help="whose sections and numbers the object uses (linux)",
        )


def target_btf(arguments: argparse.Namespace) -> str | None:
    """The file of types that ``--btf`` of :func:`add_target_arguments` names; None for none."""
    from prevail_py.objects.target import KERNEL_BTF

    btf: str | None = arguments.btf
    if btf is None:
        return KERNEL_BTF
    return None if btf == "none" else btf


def add_program_argument(parser: argparse.ArgumentParser, what: str = "only this program") -> None:
    """The option ``--program NAME``."""
    parser.add_argument("--program", metavar="NAME", help=f"{what}, by its function name")


def add_program_source(parser: argparse.ArgumentParser) -> None:
    """What :func:`program_or_text` reads: ``OBJ`` or ``--asm FILE``, ``--program NAME`` and the target."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("object", metavar="OBJ", nargs="?", help="an eBPF object file")
    source.add_argument("--asm", metavar="FILE", help="an XDP program as text; - is standard input")
    add_program_argument(parser, "the program, where there are several")
    add_target_arguments(parser)


def add_engine_argument(parser: argparse.ArgumentParser) -> None:
    """The option ``--engine NAME``."""
    parser.add_argument(
        "--engine",
        metavar="NAME",
        type=_engine_name,
        default="interpreter",
        help="what runs it: interpreter, source, jit, jit-O0 or kernel (interpreter)",
    )


def add_maps_argument(parser: argparse.ArgumentParser) -> None:
    """The option ``--maps FILE``, for :func:`prevail_py.cli.map_contents.fill`."""
    parser.add_argument("--maps", metavar="FILE", help="what the maps hold before: JSON, typed or in hexadecimal")


def add_policy_argument(parser: argparse.ArgumentParser) -> None:
    """The option ``--policy NAME``."""
    parser.add_argument("--policy", choices=("strict", "linux-root"), help="what to forgive (strict: nothing)")


def add_service_argument(parser: argparse.ArgumentParser) -> None:
    """The option ``--service``."""
    parser.add_argument(
        "--service", action="store_true", help="load and verify in a confined process of its own, see docs/trust.md"
    )


@contextmanager
def start_verifier(arguments: argparse.Namespace) -> Iterator[Verifier]:
    """A verifier process for the kernel of :func:`add_target_arguments`.

    :class:`InputError` where there can be none, and where it fails.
    """
    from prevail_py.objects.errors import ObjectError

    try:
        from prevail_py.host.service import Verifier, VerifierError
    except ModuleNotFoundError as error:
        raise InputError(f"--service: {error.name} is not installed (pip install 'prevail-py[host]')") from None
    try:
        with Verifier(btf=target_btf(arguments), kconfig=arguments.kconfig) as verifier:
            yield verifier
    except VerifierError as error:
        raise InputError(f"--service: {error}") from error
    except ObjectError as error:
        raise InputError(f"--service: {error}") from error


def choose(path: str, loaded: ObjectFile, name: str | None) -> list[Program]:
    """The programs called ``name``, or all of them; :class:`InputError` where there is none of that name."""
    programs = list(loaded.programs.values())
    if name is None:
        return programs
    chosen = [program for program in programs if program.name == name]
    if not chosen:
        known = ", ".join(program.name for program in programs) or "none"
        raise InputError(f"{path}: no program {name!r} (there are: {known})")
    return chosen


def the_program(path: str, loaded: ObjectFile, name: str | None) -> Program:
    """The one program of an object; ``name`` decides between several."""
    programs = choose(path, loaded, name)
    if len(programs) != 1:
        known = ", ".join(program.name for program in programs)
        raise InputError(
            f"{path}: choose one with --program (there are: {known})" if programs else f"{path}: no program"
        )
    return programs[0]


def program_or_text(arguments: argparse.Namespace) -> tuple[str, Program, Mapping[str, Program]]:
    """The path, program, and all programs of the object that ``OBJ`` and ``--program``, or ``--asm FILE``, name."""
    from pathlib import Path

    from prevail_py.objects.text import assemble

    if arguments.asm is not None and arguments.program is not None:
        raise InputError("--program: a text has one program only")
    if arguments.asm is None:
        loaded = open_object(arguments.object, arguments)
        return arguments.object, the_program(arguments.object, loaded, arguments.program), loaded.programs
    path = arguments.asm
    with bad_input(path):
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return path, assemble(text), {}


def environment_for(engines: Collection[str]) -> Environment:
    """The world for a run on these engines: with as many CPUs as the kernel has, if it is one of them."""
    from prevail_py.vm.environment import Environment

    if "kernel" not in engines:
        return Environment()
    from prevail_py.vm.kernel.loader import possible_cpus

    try:
        return Environment(cpus=possible_cpus())
    except OSError as error:
        raise InputError(f"the kernel engine: {error.filename}: {error.strerror}") from error


def _engine_name(text: str) -> str:
    from prevail_py.vm.engines import ENGINES

    if text not in ENGINES:
        raise argparse.ArgumentTypeError(f"no engine {text!r} (there are: {', '.join(ENGINES)})")
    return text


def positive(text: str) -> int:
    """The type of an option that takes a positive integer."""
    value = int(text)
    if value <= 0:
        raise ValueError(text)
    return value


def print_table(table: Table, *, colours: dict[str, str] | None = None) -> None:
    """Print ``table``: with rich where standard output is a terminal, as plain text otherwise.

    ``colours`` maps the exact text of a cell to a rich style.
    """
    if not sys.stdout.isatty():
        print(table)
        return
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False, padding=(0, 1))
    for column, name in enumerate(table.header):
        shown.add_column(name, justify="right" if column in table.right else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell, style=(colours or {}).get(cell, "")) for cell in row))
    Console().print(shown)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """``items``; where standard error is a terminal, work of more than a second gets a progress bar there.

    ``total`` is how many there are, of items that have no length.
    """
    if total is None:
        assert isinstance(items, Sized)
        total = len(items)
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task(label, total=total)
    patience = time.monotonic() + 1
    try:
        for item in items:
            if not progress.live.is_started and time.monotonic() > patience:
                progress.start()
            yield item
            progress.advance(task)
    finally:
        progress.stop()


def write_output(path: str | None, data: str | bytes) -> None:
    """Write ``data`` to ``path``, or to standard output where that is None or ``-``."""
    if path is not None and path != "-":
        with bad_input(path), open(path, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
    elif isinstance(data, str):
        sys.stdout.write(data)
    else:
        sys.stdout.buffer.write(data)
