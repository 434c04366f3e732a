"""``prevail-py ebpf ...``: the commands of ``netsh ebpf`` and the most used ones of bpftool, over a host."""

from __future__ import annotations

import argparse
import sys

from prevail_py.cli.support import EXIT_OK, InputError

NAME = "ebpf"
HELP = "programs, maps and links of a host, with the commands of netsh ebpf and of bpftool"

_COMPLETION = """\
_prevail_py_ebpf() {
    if [ "${COMP_WORDS[1]}" = ebpf ]; then
        COMPREPLY=($(prevail-py ebpf --complete "${COMP_WORDS[@]:2:COMP_CWORD-1}" 2>/dev/null))
        [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default 2>/dev/null
    fi
}
complete -F _prevail_py_ebpf prevail-py
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebpf``; everything behind them is for its own grammar."""
    parser.add_argument("--host", metavar="PATH", help="the socket of the host ($PREVAIL_PY_HOST, or this user's)")
    parser.add_argument("--json", "-j", action="store_true", help="print JSON")
    parser.add_argument("--pretty", "-p", action="store_true", help="print JSON over several lines")
    parser.add_argument(
        "--platform",
        choices=("linux", "windows"),
        default="linux",
        help="whose sections and numbers object files use (linux)",
    )
    parser.add_argument("--completion", choices=("bash", "zsh"), help="print a script for this shell")
    parser.add_argument("--complete", action="store_true", help="print what may follow these words, for that script")
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="WORD",
        help="a command; `help` lists them, no word at all starts a prompt",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run one command, or a prompt."""
    from prevail_py.cli.ebpf.grammar import complete
    from prevail_py.cli.ebpf.prompt import prompt
    from prevail_py.cli.ebpf.shell import Shell

    if arguments.completion is not None:
        sys.stdout.write((_ZSH if arguments.completion == "zsh" else "") + _COMPLETION)
        return EXIT_OK
    if arguments.complete:
        print("\n".join(complete(arguments.words)))
        return EXIT_OK
    words = list(arguments.words)
    if words[:1] == ["run"]:
        from prevail_py.cli.ebpf.supervise import run as supervise

        try:
            return supervise(words[1:], arguments.host, arguments.platform)
        except OSError as error:
            raise InputError(f"ebpf run: {error.strerror or error}") from error
    json, pretty = arguments.json or arguments.pretty, arguments.pretty
    for option in ("-j", "--json", "-p", "--pretty", "-jp"):
        while option in words:  # bpftool has them anywhere
            words.remove(option)
            json, pretty = True, pretty or option in ("-p", "--pretty", "-jp")
    shell = Shell(arguments.host, json=json, pretty=pretty, platform=arguments.platform)
    try:
        if words:
            return shell.run(words)
        return prompt(shell)
    except OSError as error:
        raise InputError(f"ebpf: {error.strerror or error}") from error
    finally:
        shell.close()
