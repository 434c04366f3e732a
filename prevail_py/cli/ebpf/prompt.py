"""The interactive prompt: commands until ``exit``, with completion where there is readline."""

from __future__ import annotations

import shlex
import sys

from prevail_py.cli.ebpf.grammar import complete
from prevail_py.cli.ebpf.shell import Shell
from prevail_py.cli.support import EXIT_OK, InputError

__all__ = ["prompt"]

_END = frozenset({"exit", "quit", "bye"})


def prompt(shell: Shell) -> int:
    """Read commands from standard input; the code of the last one that failed, or 0.

    Objects that are loaded here stay until the end, pinned or not.
    """
    terminal = sys.stdin.isatty()
    if terminal:
        _with_completion()
    code = EXIT_OK
    while True:
        try:
            line = input("ebpf> " if terminal else "")
        except EOFError:
            return code
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            print(f"prevail-py: ebpf: {error}", file=sys.stderr)
            continue
        if not words:
            continue
        if words[0] in _END:
            return code
        try:
            failed = shell.run(words)
        except InputError as error:
            print(f"prevail-py: {error}", file=sys.stderr)
            failed = 2
        except OSError as error:
            print(f"prevail-py: ebpf: {error.strerror or error}", file=sys.stderr)
            failed = 2
            shell.close()  # the next command connects again
        code = failed or code


def _with_completion() -> None:
    try:
        import readline
    except ImportError:
        return

    def completer(text: str, state: int) -> str | None:
        words = readline.get_line_buffer()[: readline.get_endidx()].split(" ")
        found = complete(words)
        return found[state] if state < len(found) else None

    readline.set_completer(completer)
    readline.set_completer_delims(" =")
    readline.parse_and_bind("tab: complete")
