"""``prevail-py hostd``: hold programs, maps and links for those who connect to a Unix socket."""

from __future__ import annotations

import argparse
import logging
import sys

from prevail_py.cli.support import EXIT_OK, InputError, add_target_arguments, positive, target_btf

NAME = "hostd"
HELP = "be a host: hold and run verified programs for clients of a Unix socket"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``hostd``."""
    parser.add_argument(
        "--socket", metavar="PATH", help="where to listen ($PREVAIL_PY_HOST, or the user's runtime directory)"
    )
    parser.add_argument(
        "--store", metavar="FILE", help="what keeps pinned objects; `none` forgets them (the user's state)"
    )
    parser.add_argument(
        "--allow", metavar="UID", type=int, action="append", default=[], help="a user who may do everything"
    )
    parser.add_argument("--read", metavar="UID", type=int, action="append", default=[], help="a user who may only look")
    parser.add_argument(
        "--wire",
        metavar="A,B",
        action="append",
        default=[],
        help="join two interfaces, for XDP programs; tap:NAME is one",
    )
    parser.add_argument("--cpus", metavar="N", type=positive, default=1, help="how many values per-CPU maps have (1)")
    parser.add_argument(
        "--verifier-key", metavar="FILE", help="also believe tokens of the verifier with this public key"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=positive, default=60, help="how long verification may take (60)"
    )
    parser.add_argument("--unconfined", action="store_true", help="verify where seccomp or Landlock is missing, too")
    parser.add_argument(
        "--keep-checks", action="store_true", help="native code tests every access, whatever the verifier proved"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="log admissions and what programs print, to standard error"
    )
    add_target_arguments(parser, platform=False)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from functools import partial
    from pathlib import Path

    from prevail_py.host.context.client import default_socket, default_store
    from prevail_py.platforms import platform

    try:
        from prevail_py.host.context.admission import Admissions
        from prevail_py.host.context.context import ExecutionContext
        from prevail_py.host.context.server import Server
        from prevail_py.host.hooks.live_xdp import XdpHook
        from prevail_py.host.service import Verifier
        from prevail_py.host.trust import read_key
    except ModuleNotFoundError as error:
        raise InputError(f"hostd: {error.name} is not installed (pip install 'prevail-py[host]')") from None
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="prevail-py hostd: %(message)s",
    )
    platform()  # a bad store of extensions is found out now
    path = Path(arguments.socket) if arguments.socket else default_socket()
    store = None
    if arguments.store != "none":
        store = Path(arguments.store) if arguments.store else default_store()
    try:
        for each in filter(None, (None if arguments.socket else path, None if arguments.store else store)):
            each.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        start = partial(
            Verifier,
            timeout=arguments.timeout,
            btf=target_btf(arguments),
            kconfig=arguments.kconfig,
            unconfined=arguments.unconfined,
        )
        key = None if arguments.verifier_key is None else read_key(arguments.verifier_key)
        xdp = XdpHook()
        for each in arguments.wire:
            one, comma, other = each.partition(",")
            if not comma:
                raise InputError(f"--wire: two interfaces with a comma between them, not {each!r}")
            xdp.wire(one, other)
        admissions = Admissions(start, key)
        with ExecutionContext(
            store=store,
            admissions=admissions,
            cpus=arguments.cpus,
            ready=(xdp,),
            proved_code=not arguments.keep_checks,
        ) as context:
            server = Server(context, path, users=arguments.allow, readers=arguments.read)
            server.stop_at_signals()
            print(f"listening at {path}", flush=True)
            server.serve()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise InputError(f"hostd: {where}{error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"hostd: {error}") from error
    return EXIT_OK
