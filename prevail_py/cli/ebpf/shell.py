"""What the commands run in: a host that is connected to when a command needs it, and a way to print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from prevail_py.cli.support import EXIT_NOT_SAFE, EXIT_OK, InputError
from prevail_py.host.context.model import Connection, HostError

__all__ = ["Shell"]


class Shell:
    """One or many commands; objects that a prompt loads stay loaded until it ends."""

    def __init__(self, path: str | None, *, json: bool = False, pretty: bool = False, platform: str = "linux") -> None:
        self._path = path
        self.json = json
        self.platform = platform
        self._pretty = pretty
        self._session: Connection | None = None

    @property
    def session(self) -> Connection:
        """The host.  Raises OSError where none answers."""
        if self._session is None:
            from prevail_py.host.context.client import connect

            self._session = connect(self._path)
        return self._session

    def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def run(self, words: Sequence[str]) -> int:
        """Run one command; its exit code.  Raises :class:`InputError`, and OSError where the host does not answer."""
        from prevail_py.cli.ebpf.bpftool import bpftool
        from prevail_py.cli.ebpf.grammar import BPFTOOL, find, parse

        if words[0] in ("help", "?", "-?", "/?"):
            return self._help(words[1:])
        try:
            if words[0] in BPFTOOL:
                return bpftool(self, list(words))
            command, rest = find(words)
            if rest in (["help"], ["?"], ["-?"], ["/?"]):
                print(command.usage())
                return EXIT_OK
            return command.handler(self, parse(command, rest))
        except HostError as error:
            if self._session is None:
                raise
            if self.json:  # as bpftool does
                self.show({"error": error.strerror, **({"log": error.log} if error.log else {})})
                return EXIT_NOT_SAFE
            print(f"prevail-py: ebpf: {error.strerror}", file=sys.stderr)
            if error.log:
                print(error.log, file=sys.stderr)
            return EXIT_NOT_SAFE

    def _help(self, words: Sequence[str]) -> int:
        from prevail_py.cli.ebpf.grammar import BPFTOOL, find
        from prevail_py.cli.ebpf.netsh import NETSH

        if words:
            print(find(words)[0].usage())
            return EXIT_OK
        width = max(len(command.name) for command in NETSH)
        for command in NETSH:
            print(f"{command.name.ljust(width)}  {command.help}")
        print(f"{'run ... -- COMMAND'.ljust(width)}  Let programs decide on each bind(2) or connect(2) of a command")
        print("\nand of bpftool:")
        for noun, verbs in BPFTOOL.items():
            print(f"{noun.ljust(width)}  {' '.join(verbs)}")
        return EXIT_OK

    def show(self, value: Any) -> int:
        """Print a value as JSON."""
        print(json.dumps(value, indent=4 if self._pretty else None, default=_plain))
        return EXIT_OK

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """What is known about each object of a kind, by number."""
        from prevail_py.libbpf.syscalls import infos

        return infos(self.session, kind)

    def info(self, kind: str, id: int) -> dict[str, Any]:
        """What is known about an object.  Raises :class:`HostError`."""
        with self.open(kind, id) as handle:
            found: dict[str, Any] = self.session.call("info", handle=handle)
        return found

    def open(self, kind: str, id: int) -> Handle:
        """A handle for a ``with`` statement.  Raises :class:`HostError` where there is no such object."""
        return Handle(self.session, self.session.call("open_id", kind=kind, id=id))


class Handle:
    """A handle of the host that is closed at the end of a block."""

    def __init__(self, session: Connection, number: int) -> None:
        self.session = session
        self.number = number

    def __enter__(self) -> int:
        return self.number

    def __exit__(self, *error: object) -> None:
        self.session.call("close", handle=self.number)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    raise InputError(f"ebpf: a {type(value).__name__} has no JSON")
