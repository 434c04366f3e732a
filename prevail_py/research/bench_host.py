"""What a host does in a second: ``python -m prevail_py.research.bench_host``.

Calls of one client and of many; packets through a program, without a network, and between network namespaces with real
sockets at both ends; ``bind(2)`` and ``connect(2)`` calls that a program decides on.  Wall-clock time on whatever else
the machine does: each table is for comparing its rows.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from prevail_py import examples
from prevail_py._render import Table
from prevail_py.host.context.admission import Admissions
from prevail_py.host.context.client import connect
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.model import Connection
from prevail_py.host.hooks import addresses
from prevail_py.host.hooks.addresses import Call, Decider
from prevail_py.host.hooks.live_xdp import XdpHook
from prevail_py.host.hooks.supervisor import Supervisor
from prevail_py.host.service.programs import from_map, from_program
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.text import assemble
from prevail_py.research.host_process import hosting
from prevail_py.research.namespaces import missing, three_in_line
from prevail_py.vm.jit.engine import JitEngine

__all__ = ["main", "measure"]

_ENGINES: Final = ("interpreter", "source", "jit")
_CLIENTS: Final = (1, 10, 200)
_PORT: Final = 20100


def measure(seconds: float) -> str:
    """All tables; each row takes about so many seconds."""
    parts = ["Calls of clients over the socket of `hostd`:", *_calls(seconds)]
    parts += ["", "Packets of 64 bytes without a network, one after the other:", *_replay(seconds)]
    parts += ["", "UDP packets of 64 bytes between two network namespaces, the host between them:", *_live(seconds)]
    for call in Call:
        parts += ["", f"`{call.value}(2)` of a UDP socket, and closing it:", *_decisions(call, seconds)]
    return "\n".join(parts)


def _load(session: Connection, program: Program, engine: str) -> int:
    maps = [session.call("map_create", spec=from_map(spec)) for spec in program.maps]
    handle: int = session.call("program_load", program=from_program(program), maps=maps, engine=engine, file="")
    return handle


def _program(name: str) -> Program:
    return next(iter(load_object(examples.path(name)).programs.values()))


def _rate(action: Callable[[], object], seconds: float, each: int = 1) -> float:
    """How often it can be done in a second, the median of ten intervals."""
    rates = []
    for _ in range(10):
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds / 10:
            action()
            done += each
        rates.append(done / (time.perf_counter() - began))
    return median(rates)


def _lines(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    table = Table(header, tuple(rows), frozenset(range(1, len(header))))
    return ["", *(f"    {line}" for line in str(table).splitlines())]


# Calls. ----------


@contextmanager
def _host() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "host.sock"
        with hosting(path, "--store", "none", "--btf", "none"):
            yield path


def _calls(seconds: float) -> list[str]:
    rows: list[tuple[str, ...]] = []
    with _host() as path:
        with connect(path) as session:
            counter = _load(session, _program("xdp_counter"), "source")
            smallest = assemble("r0 = 2\nexit", name="smallest")

            def token() -> None:
                session.call("close", handle=_load(session, smallest, "source"))

            def lookup() -> None:
                session.call("map_lookup", handle=1, key=bytes(4), flags=0)

            def run() -> None:
                session.call("program_run", handle=counter, packet=bytes(64), repeat=1)

            rows.append(("load a program: verified, signed, admitted", f"{_rate(token, seconds):.0f}"))
            rows.append(("look an element up", f"{_rate(lookup, seconds):.0f}"))
            rows.append(("run a program", f"{_rate(run, seconds):.0f}"))
        for clients in _CLIENTS:
            rate, slowest = _many(path, clients, seconds)
            rows.append((f"look elements up, {clients} client{'s' * (clients > 1)}", f"{rate:.0f}", f"{slowest:.0f}"))
    return _lines(("call", "per second", "slowest, ms"), [row if len(row) == 3 else (*row, "") for row in rows])


def _many(path: Path, clients: int, seconds: float) -> tuple[float, float]:
    """Calls a second of all clients together, and the longest that one of them waited, in milliseconds."""
    done, longest = [0] * clients, [0.0] * clients
    ready, stop = threading.Barrier(clients + 1), threading.Event()

    def work(me: int) -> None:
        with connect(path) as session:
            handle = session.call("map_create", spec=from_map(_program("xdp_counter").maps[0]))
            ready.wait()
            while not stop.is_set():
                began = time.perf_counter()
                session.call("map_lookup", handle=handle, key=bytes(4), flags=0)
                longest[me] = max(longest[me], time.perf_counter() - began)
                done[me] += 1

    threads = [threading.Thread(target=work, args=(me,)) for me in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began), 1000 * max(longest)


# Packets. ----------


def _engines() -> list[str]:
    try:
        JitEngine()
    except ValueError:
        return [name for name in _ENGINES if name != "jit"]
    return list(_ENGINES)


def _replay(seconds: float) -> list[str]:
    rows = []
    for name in ("xdp_counter", "xdp_firewall"):
        cells = []
        for engine in _engines():
            with ExecutionContext(admissions=Admissions()) as context, context.session() as session:
                handle = _load(session, _program(name), engine)
                hosted = context.programs[session.call("info", handle=handle)["id"]]
                packet = bytes(12) + b"\x08\0\x45\0\0\x32" + bytes(5) + b"\x11" + bytes(40)
                cells.append(f"{_rate(partial(context.run, hosted, packet=packet), seconds):.0f}")
        rows.append((name, *cells))
    return _lines(("program", *(f"{engine}, per second" for engine in _engines())), rows)


def _live(seconds: float) -> list[str]:
    reason = missing()
    if reason is not None:
        return ["", f"not measured: {reason}"]
    rows = []
    with three_in_line("10.9.0.1", "10.9.0.2") as (left, middle, right):
        for program, engine in [("", "")] + [("xdp_counter", engine) for engine in _engines()]:
            hook = XdpHook()
            middle.inside(partial(hook.wire, "h0", "h1"))
            with ExecutionContext(ready=(hook,)) as context, context.session() as session:
                if program:
                    handle = _load(session, _program(program), engine)
                    session.call("link_create", program=handle, hook=None, parameters={"interface": "h0"}, held=False)
                with left.udp("10.9.0.1", 0) as client, right.udp("10.9.0.2", 7) as server:
                    rows.append(
                        (f"{program or 'no program'} {engine}".strip(), f"{_carried(client, server, seconds):.0f}")
                    )
    return _lines(("program", "arrived, per second"), rows)


def _carried(client: socket.socket, server: socket.socket, seconds: float) -> float:
    """Packets a second that arrive, of a sender that keeps a window of 32 under way."""
    client.sendto(bytes(22), ("10.9.0.2", 7))
    server.recv(100)
    server.settimeout(0.2)
    arrived, sent, began = 0, 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        while sent - arrived < 32:
            client.sendto(bytes(22), ("10.9.0.2", 7))
            sent += 1
        try:
            server.recv(100)
            arrived += 1
        except TimeoutError:
            sent = arrived  # the others were lost
    return arrived / (time.perf_counter() - began)


# Binds. ----------

_CALLER: Final = """
import socket, sys, time
done, began, seconds, port = 0, time.perf_counter(), float(sys.argv[1]), int(sys.argv[2])
while time.perf_counter() - began < seconds:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        getattr(made, sys.argv[4])(("127.0.0.1", port))
    done += 1
open(sys.argv[3], "w").write(str(done / (time.perf_counter() - began)))
"""


def _decisions(call: Call, seconds: float) -> list[str]:
    rows = []
    attach_type = addresses.attach_type(call, socket.AF_INET) or ""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "rate"
        command = [sys.executable, "-I", "-c", _CALLER, str(seconds), str(_PORT), os.fspath(out), call.value]
        subprocess.run(command, check=True)
        rows.append(("without supervision", f"{float(out.read_text()):.0f}"))

        def supervised(what: str, deciders: dict[str, Decider]) -> None:
            Supervisor(deciders, frozenset({call})).run(command)
            rows.append((what, f"{float(out.read_text()):.0f}"))

        supervised("supervised, no program", {})
        with ExecutionContext() as context, context.session() as session:
            supervised("a program in this process", {attach_type: _decider(session, attach_type)})
        with _host() as path, connect(path) as remote:
            supervised("a program in `hostd`", {attach_type: _decider(remote, attach_type)})
    return _lines((call.value, "per second"), rows)


def _decider(session: Connection, attach_type: str) -> Decider:
    from dataclasses import replace

    text = "r1 = *(u32 *)(r1 + 24)\nr0 = 1\nexit"
    program = assemble(text, program_type="cgroup_sock_addr", name="permit")
    handle = _load(session, replace(program, expected_attach_type=attach_type), "source")
    link = session.call("link_create", program=handle, hook=None, parameters={}, held=False)

    def decide(context: bytes) -> tuple[int, bytes]:
        result: dict[str, Any] = session.call("link_invoke", link=link, context=context)
        return result["value"], result["context"]

    return decide


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.bench_host", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="how long each row is measured (3)")
    print(measure(parser.parse_args(argv).seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
