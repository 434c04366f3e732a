"""``prevail-py verifierd --fd N``: a confined verifier that answers requests over an inherited socket."""

from __future__ import annotations

import argparse
import os
import stat

from prevail_py.cli.support import InputError, positive

NAME = "verifierd"
HELP = "be a confined verifier process: requests arrive over an inherited socket, verdicts leave it signed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``verifierd``."""
    parser.add_argument("--fd", type=int, required=True, metavar="N", help="the descriptor of a stream socket")
    for option, what in (("btf", "types"), ("kconfig", "configuration")):
        parser.add_argument(f"--{option}-fd", type=int, metavar="N", help=f"sealed memory with the kernel's {what}")
        parser.add_argument(f"--{option}-name", default="", metavar="NAME", help="where they came from, for messages")
    parser.add_argument("--extensions-fd", type=int, metavar="N", help="sealed memory with the extensions that count")
    parser.add_argument(
        "--memory", type=positive, default=1024, metavar="MIB", help="memory beyond what it starts with (1024)"
    )
    parser.add_argument("--cpu", type=positive, default=3600, metavar="SECONDS", help="CPU time in all (3600)")
    parser.add_argument("--public-key", metavar="FILE", help="write the public key there, in hexadecimal")
    parser.add_argument(
        "--unconfined", action="store_true", help="go on where seccomp or Landlock is missing, and say so"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until the other side hangs up; 1 where this process cannot be confined, or runs out of memory."""
    from prevail_py.host.service.lockdown import Limits
    from prevail_py.host.service.worker import Given, serve

    try:
        is_socket = stat.S_ISSOCK(os.fstat(arguments.fd).st_mode)
    except (OSError, OverflowError):
        is_socket = False
    if not is_socket:
        raise InputError(f"--fd: descriptor {arguments.fd} is no socket; `Verifier()` in Python starts this by itself")
    given = {
        option: None if descriptor is None else (descriptor, name)
        for option, descriptor, name in (
            ("btf", arguments.btf_fd, arguments.btf_name),
            ("kconfig", arguments.kconfig_fd, arguments.kconfig_name),
        )
    }
    return serve(
        Given(
            arguments.fd,
            given["btf"],
            given["kconfig"],
            Limits(arguments.memory << 20, arguments.cpu),
            arguments.unconfined,
            arguments.public_key,
            arguments.extensions_fd,
        )
    )
