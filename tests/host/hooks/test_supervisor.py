"""bind(2) and connect(2) under supervision: real calls of real commands, and commands that try to get around it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from prevail_py.cli.main import main
from prevail_py.host.hooks import caller, notify, supervisor
from prevail_py.host.hooks.addresses import Asked, Call, context_of
from prevail_py.host.hooks.supervisor import Supervisor
from prevail_py.platforms import platform
from tests.host.network import FIRST_PORT

reason = notify.available()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"lockdown: {reason}")

FREE, CLOSED, MOVED, TARGET = range(FIRST_PORT, FIRST_PORT + 4)


def decide(context: bytes) -> tuple[int, bytes] | None:
    """What a program would say: one port is closed, one leads to another."""
    port = int.from_bytes(context[24:26], "big")
    if port == CLOSED:
        return 0, context
    if port == MOVED:
        return 1, context[:24] + TARGET.to_bytes(2, "big") + context[26:]
    if port == FREE + 9:
        return None  # the program did not come to its end
    return 1, context


BINDS = {"cgroup_inet4_bind": decide, "cgroup_inet6_bind": decide}


def run(script: str, tmp_path: Path, guard: Supervisor | None = None, **options: Any) -> dict[str, str]:
    """What a Python script under supervision wrote: lines of a name and a value."""
    out = tmp_path / "out"
    prelude = f"""
        import ctypes, errno, os, socket, sys, threading, time
        out = open({os.fspath(out)!r}, "w")
        kept = []
        def say(name, value):
            print(name, value, file=out, flush=True)
        def attempt(name, port, family=socket.AF_INET, kind=socket.SOCK_STREAM):
            made = socket.socket(family, kind)
            try:
                made.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))
                say(name, made.getsockname()[1])
            except OSError as error:
                say(name, errno.errorcode[error.errno])
            kept.append(made)
    """
    text = textwrap.dedent(prelude) + textwrap.dedent(script)
    guard = guard or Supervisor(BINDS)
    code = guard.run([sys.executable, "-I", "-c", text])
    assert code == options.get("code", 0)
    return dict(line.split(" ", 1) for line in out.read_text().splitlines())


def test_permit_deny_redirect(tmp_path: Path) -> None:
    guard = Supervisor(BINDS)
    said = run(
        f"""
        attempt("free", {FREE}); attempt("closed", {CLOSED}); attempt("moved", {MOVED}); attempt("stuck", {FREE + 9})
        attempt("udp", {CLOSED}, kind=socket.SOCK_DGRAM); attempt("taken", {TARGET})
        attempt("six", {CLOSED}, socket.AF_INET6); attempt("six_free", {FREE}, socket.AF_INET6)
        sys.exit(7)
        """,
        tmp_path,
        guard,
        code=7,
    )
    assert said == {
        "free": str(FREE), "closed": "EACCES", "moved": str(TARGET), "stuck": "EACCES", "udp": "EACCES",
        "taken": "EADDRINUSE", "six": "EACCES", "six_free": str(FREE),
    }  # fmt: skip
    assert guard.counts == {"permitted": 3, "denied": 4, "redirected": 1, "other": 0}


def test_processes_and_threads_that_are_started(tmp_path: Path) -> None:
    """The filter goes along; the supervisor stays until the last of them has ended."""
    said = run(
        f"""
        import subprocess, time
        thread = threading.Thread(target=attempt, args=("thread", {CLOSED})); thread.start(); thread.join()
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0.3)
                attempt("orphan", {CLOSED})
            os._exit(0)
        """,
        tmp_path,
    )
    assert said == {"thread": "EACCES", "orphan": "EACCES"}


def test_wrong_calls_fail_as_they_would(tmp_path: Path) -> None:
    said = run(
        """
        libc = ctypes.CDLL(None, use_errno=True)
        made = socket.socket()
        address = b"\\x02\\0" + (20080).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
        def call(name, descriptor, pointer, length):
            result = libc.bind(descriptor, pointer, length)
            say(name, errno.errorcode[ctypes.get_errno()] if result else "bound")
        call("descriptor", 4711, address, 16)
        call("file", 0, address, 16)
        call("pointer", made.fileno(), ctypes.c_void_p(8), 16)
        call("short", made.fileno(), address, 8)
        call("negative", made.fileno(), address, -1)
        call("long", made.fileno(), address, 4096)
        call("family", made.fileno(), b"\\x0a" + address[1:], 16)
        call("right", made.fileno(), address, 16)
        """.replace("20080", str(FREE)),
        tmp_path,
    )
    assert said["file"] in ("ENOTSOCK", "EBADF")
    del said["file"]
    assert said == {
        "descriptor": "EBADF", "pointer": "EFAULT", "short": "EINVAL", "negative": "EINVAL", "long": "EINVAL",
        "family": "EAFNOSUPPORT", "right": "bound",
    }  # fmt: skip


def test_other_families(tmp_path: Path) -> None:
    """Unix sockets appear where the caller is, with its mask, and under the names that it gave."""
    said = run(
        f"""
        os.chdir({os.fspath(tmp_path)!r}); os.umask(0o077)
        made = socket.socket(socket.AF_UNIX); made.bind("name.sock"); say("name", made.getsockname())
        say("mode", oct(os.stat("name.sock").st_mode & 0o777))
        made = socket.socket(socket.AF_UNIX); made.bind("\\0abstract-prevail-py"); say("abstract", "bound")
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); made.bind((0, 0)); say("netlink", "bound")
        """,
        tmp_path,
    )
    assert said == {"name": "name.sock", "mode": "0o700", "abstract": "bound", "netlink": "bound"}


def test_what_the_command_may_not(tmp_path: Path) -> None:
    said = run(
        """
        libc = ctypes.CDLL(None, use_errno=True)
        for number in (425, 426, 427):
            libc.syscall(number, 1, None, 0, 0, None, 0)
            say(f"io_uring{number}", errno.errorcode[ctypes.get_errno()])
        status = dict(line.split(":\\t") for line in open("/proc/self/status") if ":\\t" in line)
        say("no_new_privs", status["NoNewPrivs"].strip())
        """,
        tmp_path,
    )
    assert said == {"io_uring425": "EPERM", "io_uring426": "EPERM", "io_uring427": "EPERM", "no_new_privs": "1"}


# A thread changes the port all the time, between one that is free and one that is closed.
RACE = f"""
libc = ctypes.CDLL(None, use_errno=True)
head, tail = b"\\x02\\0", bytes([127, 0, 0, 1]) + bytes(8)
buffer = ctypes.create_string_buffer(16)
ctypes.memmove(buffer, head + ({FREE}).to_bytes(2, "big") + tail, 16)
ports = [({FREE}).to_bytes(2, "big"), ({CLOSED}).to_bytes(2, "big")]
stop = False
def flip():
    while not stop:
        for port in ports:
            ctypes.memmove(ctypes.addressof(buffer) + 2, port, 2)
            time.sleep(0.0005)
thread = threading.Thread(target=flip); thread.start()
seen = set()
for _ in range(150):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if libc.bind(made.fileno(), buffer, 16) == 0:
        seen.add(made.getsockname()[1])
    made.close()
stop = True; thread.join()
say("seen", sorted(seen))
"""


def test_an_address_that_changes_meanwhile(tmp_path: Path) -> None:
    assert run(RACE, tmp_path)["seen"] == f"[{FREE}]"


def test_a_supervisor_that_looks_twice_is_deceived(tmp_path: Path) -> None:
    """What is bound must be what was decided on: the mistake that the test above is about."""

    class Careless(Supervisor):
        def _decide(self, listener: Any, notification: Any) -> int | None:
            self.notification = notification
            return super()._decide(listener, notification)

    def careless(asked: Asked, context: bytes) -> bytes:
        time.sleep(0.002)
        pid, pointer = guard.notification.pid, guard.notification.arguments[1]
        return caller.memory_of(pid, pointer, len(asked.address))

    guard = Careless({"cgroup_inet4_bind": decide})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "applied", careless)
        assert str(CLOSED) in run(RACE, tmp_path, guard)["seen"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root has rights to lose")
def test_rights_that_the_command_has_given_up(tmp_path: Path) -> None:
    """A supervisor with rights is not there to lend them."""
    said = run(
        """
        attempt("root", 81)
        os.setgid(65534); os.setuid(65534)
        attempt("nobody", 82)
        made = socket.socket(socket.AF_UNIX)
        try:
            made.bind("/root/prevail-py.sock")
        except OSError as error:
            say("file", errno.errorcode[error.errno])
        """,
        tmp_path,
    )
    assert said == {"root": "81", "nobody": "EACCES", "file": "EACCES"}
    assert not Path("/root/prevail-py.sock").exists()


def test_without_any_rights() -> None:
    """No capability is needed: root gives all of its own up first."""
    script = f"""
import sys
from prevail_py.host.hooks.supervisor import Supervisor
command = [sys.executable, "-I", "-c", "import socket; socket.socket().bind(('127.0.0.1', {CLOSED}))"]
guard = Supervisor({{"cgroup_inet4_bind": lambda context: (0, context)}})
effective = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff"))
print(int(effective, 16), guard.run(command, hide=True), guard.counts["denied"])
"""
    command = [sys.executable, "-c", script]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "0 1 1\n", done.stderr
    assert "PermissionError: [Errno 13]" in done.stderr


def test_commands_that_do_not_exist(capfd: pytest.CaptureFixture[str]) -> None:
    assert Supervisor({}).run(["/nothing/there"]) == 127
    assert "No such file" in capfd.readouterr().err
    assert Supervisor({}).run(["/etc/passwd"]) == 126
    assert Supervisor({}).run(["sh", "-c", "kill -9 $$"]) == 128 + 9


def test_the_context_is_what_programs_read() -> None:
    """At the offsets of the platform's table."""
    kind = platform().program_type("cgroup_sock_addr", "cgroup_inet4_bind")
    address = b"\x02\0\x1f\x90\x7f\0\0\x01" + bytes(8)
    context = context_of(Asked(Call.BIND, socket.AF_INET, socket.SOCK_STREAM, 6, socket.AF_INET, address))
    assert len(context) == kind.context_size
    assert (context[4:8], context[24:28], context[28], context[32], context[36]) == (
        b"\x7f\0\0\x01", b"\x1f\x90\0\0", 2, 1, 6,
    )  # fmt: skip
    address = bytes(2) + b"\0\x35" + bytes(4) + bytes(range(16)) + bytes(4)
    six = context_of(Asked(Call.CONNECT, socket.AF_INET6, 2, 17, socket.AF_INET6, address))
    assert six[8:24] == bytes(range(16))


def test_the_audit_hook() -> None:
    """In a process of its own: a hook stays for ever."""
    script = f"""
import errno, socket
from prevail_py.host.hooks.audit import guard_this_process
closed, moved = ({CLOSED}).to_bytes(2, "big"), ({MOVED}).to_bytes(2, "big")
def decide(context):
    port = context[24:26]
    return int(port != closed), context[:24] + closed + context[26:] if port == moved else context
guard_this_process(dict.fromkeys(["cgroup_inet4_bind", "cgroup_inet6_bind", "cgroup_inet4_connect"], decide))
def attempt(family, *address, call="bind"):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            getattr(made, call)(address)
        print("done")
    except OSError as error:
        print(errno.errorcode[error.errno])
for port in ({FREE}, {CLOSED}, {MOVED}):
    attempt(socket.AF_INET, "", port)
    attempt(socket.AF_INET6, "::1", port)
    attempt(socket.AF_INET, "localhost", port, call="connect")
    attempt(socket.AF_INET6, "::1", port, call="connect")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    denied = ["EACCES", "EACCES", "EACCES", "done"]  # nobody decides on connections of IPv6
    assert done.stdout.split() == ["done"] * 4 + denied * 2, done.stderr


def test_bad_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, problem in (
        (["--", "true"], "a program is wanted: --bind"),
        (["--in-process", "--program", "3", "--", "true"], "--program names one of a host"),
        (["--bind", "x.o"], "a command is wanted"),
        (["--in-process", "--bind", os.fspath(tmp_path / "x.o"), "--", "true"], "No such file"),
        (["--in-process", "--bind", os.fspath(Path(__file__)), "--", "true"], "not an ELF file"),
    ):
        assert main(["ebpf", "run", *words]) == 2
        assert problem in capsys.readouterr().err
