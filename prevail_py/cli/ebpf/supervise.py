"""``prevail-py ebpf run --bind OBJ --connect OBJ -- COMMAND``: programs decide on system calls of a command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

from prevail_py.cli.ebpf.opening import open_programs
from prevail_py.cli.support import EXIT_INPUT, EXIT_NOT_SAFE, InputError
from prevail_py.host.context.model import Connection, HostError
from prevail_py.host.hooks import windows_addresses
from prevail_py.host.hooks.addresses import ATTACH_TYPES, Call

if TYPE_CHECKING:
    from prevail_py.host.hooks.addresses import Decider
    from prevail_py.libbpf.handles import bpf_program

__all__ = ["run"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT, f"{self.prog}: {' '.join(message.split())} (--help shows the usage)\n")


def _parser(platform: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="prevail-py ebpf run",
        description="Run a command; programs decide on each bind(2) or connect(2) that it, and all it starts, makes.",
        epilog="The command gets no_new_privs: set-user-ID programs keep their user. io_uring is refused.",
    )
    parser.add_argument("--bind", metavar="OBJ", help="an object with programs for cgroup/bind4 or bind6")
    parser.add_argument("--connect", metavar="OBJ", help="an object with programs for cgroup/connect4 or connect6")
    parser.add_argument(
        "--program",
        metavar="ID|PIN",
        action="append",
        default=[],
        help="a program that the host has, by its number or a name that it is pinned at; may be given again",
    )
    parser.add_argument(
        "--platform", choices=("linux", "windows"), default=platform, help="whose sections the objects use (linux)"
    )
    parser.add_argument("--in-process", action="store_true", help="hold and verify them here: no host is asked")
    parser.add_argument("--verbose", action="store_true", help="say in the end how often it was permitted, denied, ...")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    return parser


def run(words: Sequence[str], host: str | None, platform: str = "linux") -> int:
    """Run; the exit code of the command, 1 where the host refuses a program."""
    from prevail_py.host.hooks.notify import available
    from prevail_py.host.hooks.supervisor import Supervisor

    try:
        given = _parser(platform).parse_args(list(words))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_INPUT
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not (given.bind or given.connect or given.program):
        raise InputError("ebpf run: a program is wanted: --bind, --connect or --program")
    if given.in_process and given.program:
        raise InputError("ebpf run: --program names one of a host, and --in-process asks none")
    if not command:
        raise InputError("ebpf run: a command is wanted, after --")
    reason = available()
    if reason is not None:
        raise InputError(f"ebpf run: {reason}")
    with _host(host, given.in_process) as session:
        try:
            supervised: list[Supervisor] = []
            programs = _of_objects(session, {Call.BIND: given.bind, Call.CONNECT: given.connect}, given.platform)
            for name in given.program:
                _add(programs, *_of_the_host(session, name), name)
            deciders = {
                what: _decider(session, program, _link(session, program, command), lambda: supervised[0].caller)
                for what, program in programs.items()
            }
        except HostError as error:
            print(f"prevail-py: ebpf run: {error.strerror}", file=sys.stderr)
            if error.log:
                print(error.log, file=sys.stderr)
            return EXIT_NOT_SAFE
        except OSError as error:
            raise InputError(f"ebpf run: {error.strerror or error}") from error
        supervisor = Supervisor(deciders)
        supervised.append(supervisor)
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


def _of_objects(session: Connection, paths: dict[Call, str | None], platform: str) -> dict[str, int]:
    """Handles of the programs that decide on each call, by attach type: those of its object.

    An object that is given for two calls is loaded once, so that its programs share their maps.  Raises OSError.
    """
    found: dict[str, int] = {}
    for path in dict.fromkeys(path for path in paths.values() if path is not None):
        obj = open_programs(path, session, platform)
        chosen: dict[str, bpf_program] = {}
        for call in (call for call, wanted in paths.items() if wanted == path):
            types = [name for name, (decided, _) in ATTACH_TYPES.items() if decided is call]
            for program in obj.programs:
                what = _decides_on(program.program.platform, program.program.expected_attach_type)
                if what in types:
                    _add(chosen, what, program, path)
            if not chosen.keys() & set(types):
                raise InputError(f"{path}: no program for {_SECTIONS[platform, call]}")
        for program in obj.programs:
            program.autoload = program in chosen.values()
        obj.load()
        found |= {attach_type: program.fd for attach_type, program in chosen.items()}
    return found


_SECTIONS: Final = {
    ("linux", Call.BIND): "cgroup/bind4 or cgroup/bind6",
    ("linux", Call.CONNECT): "cgroup/connect4 or cgroup/connect6",
    ("windows", Call.BIND): "bind",
    ("windows", Call.CONNECT): "cgroup/connect4 or cgroup/connect6",
}


def _decides_on(platform: str, attach_type: str) -> str:
    """The attach type of Linux for whose calls a program is; empty where it decides on none."""
    known = windows_addresses.ATTACH_TYPES if platform == "windows" else {name: name for name in ATTACH_TYPES}
    return known.get(attach_type, "")


def _add(programs: dict[str, Any], attach_type: str, program: Any, where: str) -> None:
    if attach_type in programs:
        raise InputError(f"{where}: several programs for {attach_type}")
    programs[attach_type] = program


def _of_the_host(session: Connection, name: str) -> tuple[str, int]:
    """The attach type of a program that the host has, and a handle.  Raises OSError."""
    if name.isdecimal():
        handle = session.call("open_id", kind="program", id=int(name))
    else:
        handle = session.call("open_pin", path=name)
    info = session.call("info", handle=handle)
    what = _decides_on(info["platform"], info["attach_type"]) if info["kind"] == "program" else ""
    if not what:
        raise InputError(f"ebpf run: {name} is no program for {', '.join(ATTACH_TYPES)}")
    return what, handle


def _link(session: Connection, program: int, command: Sequence[str]) -> int:
    link: int = session.call(
        "link_create",
        program=program,
        hook="sock_addr",
        parameters={"command": " ".join(command)[:200], "pid": os.getpid()},
        held=False,
    )
    return link


def _decider(session: Connection, program: int, link: int, caller: Callable[[], int]) -> Decider:
    def ask(context: bytes, packet: bytes | None) -> tuple[int, bytes] | None:
        try:
            result = session.call("link_invoke", link=link, context=context, packet=packet)
        except HostError as error:
            print(f"prevail-py: ebpf run: a call is denied: {error.strerror}", file=sys.stderr)
            return None
        return result["value"], result["context"]

    info = session.call("info", handle=program)
    if info["platform"] == "windows":
        return windows_addresses.decider(info["attach_type"], ask, caller)
    return lambda context: ask(context, None)
