"""``prevail-py ebpf run --bind OBJ -- COMMAND``: a program decides on each ``bind(2)`` of a command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from prevail_py.cli.support import EXIT_INPUT, EXIT_NOT_SAFE, InputError, bad_input
from prevail_py.host.context.model import Connection, HostError

if TYPE_CHECKING:
    from prevail_py.host.hooks.bind import Decider

__all__ = ["run"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT, f"{self.prog}: {' '.join(message.split())} (--help shows the usage)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="prevail-py ebpf run",
        description="Run a command; programs of an object decide on each bind(2) that it, and all it starts, makes.",
        epilog="The command gets no_new_privs: set-user-ID programs keep their user. io_uring is refused.",
    )
    parser.add_argument(
        "--bind", metavar="OBJ", required=True, help="an object with programs for cgroup/bind4 or bind6"
    )
    parser.add_argument("--in-process", action="store_true", help="hold and verify them here: no host is asked")
    parser.add_argument("--verbose", action="store_true", help="say in the end how often it was permitted, denied, ...")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    return parser


def run(words: Sequence[str], host: str | None) -> int:
    """Run; the exit code of the command, 1 where the host refuses a program."""
    from prevail_py.host.hooks.bind import Supervisor
    from prevail_py.host.hooks.notify import available

    try:
        given = _parser().parse_args(list(words))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_INPUT
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        raise InputError("ebpf run: a command is wanted, after --")
    reason = available()
    if reason is not None:
        raise InputError(f"ebpf run: {reason}")
    with _host(host, given.in_process) as session:
        try:
            deciders = _deciders(session, given.bind, command)
        except HostError as error:
            print(f"prevail-py: ebpf run: {error.strerror}", file=sys.stderr)
            if error.log:
                print(error.log, file=sys.stderr)
            return EXIT_NOT_SAFE
        except OSError as error:
            raise InputError(f"ebpf run: {error.strerror or error}") from error
        supervisor = Supervisor(deciders)
        code = supervisor.run(command, hide=True)
    if given.verbose:
        counts = ", ".join(f"{count} {what}" for what, count in supervisor.counts.items())
        print(f"prevail-py: ebpf run: {counts}", file=sys.stderr)
    return code


@contextmanager
def _host(path: str | None, in_process: bool) -> Iterator[Connection]:
    if not in_process:
        from prevail_py.host.context.client import connect

        with connect(path) as session:
            yield session
        return
    from prevail_py.host.context.context import ExecutionContext

    with ExecutionContext() as context, context.session() as own:
        yield own


def _deciders(session: Connection, path: str, command: Sequence[str]) -> dict[int, Decider]:
    """The programs of the object that decide on binds, loaded and linked.  Raises OSError."""
    from prevail_py.host.hooks.bind import ATTACH_TYPES
    from prevail_py.libbpf.objects import open_object

    with bad_input(path), open(path, "rb"):
        pass
    obj = open_object(path, path, session)
    found = {}
    for family, attach_type in ATTACH_TYPES.items():
        programs = [each for each in obj.programs if each.program.expected_attach_type == attach_type]
        if len(programs) > 1:
            raise InputError(f"{path}: several programs for {attach_type}")
        if programs:
            found[family] = programs[0]
    if not found:
        raise InputError(f"{path}: no program for cgroup/bind4 or cgroup/bind6")
    for program in obj.programs:
        program.autoload = program in found.values()
    obj.load()
    deciders = {}
    for family, program in found.items():
        link = session.call(
            "link_create",
            program=program.fd,
            hook="sock_addr",
            parameters={"command": " ".join(command)[:200], "pid": os.getpid()},
            held=False,
        )
        deciders[family] = _decider(session, link)
    return deciders


def _decider(session: Connection, link: int) -> Decider:
    def decide(context: bytes) -> tuple[int, bytes] | None:
        try:
            result = session.call("link_invoke", link=link, context=context)
        except HostError as error:
            print(f"prevail-py: ebpf run: bind is denied: {error.strerror}", file=sys.stderr)
            return None
        return result["value"], result["context"]

    return decide
