"""connect(2) under supervision: real connections, the ways around it, and callers that are gone meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from prevail_py.host.hooks import caller, notify, supervisor
from prevail_py.host.hooks.addresses import Call, Decider
from prevail_py.host.hooks.supervisor import Supervisor
from prevail_py.host.service.seccomp import ARCHITECTURES
from tests.host.hooks.test_supervisor import CLOSED, FREE, MOVED, TARGET, decide, run
from tests.host.service.test_seccomp import execute

reason = notify.available()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"lockdown: {reason}")

CONNECTS = {"cgroup_inet4_connect": decide, "cgroup_inet6_connect": decide}

# What scripts have beside `attempt` of the other tests: a connection, and whom it reached.
REACH = """
def reach(name, *address, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    made = socket.socket(family, kind)
    try:
        made.connect(address)
        say(name, made.getpeername()[1])
    except OSError as error:
        say(name, errno.errorcode[error.errno])
    kept.append(made)
"""


@pytest.fixture
def servers() -> Iterator[None]:
    """Listeners outside of the supervision, at all ports that are spoken of."""
    with ExitStack() as stack:
        for port in (FREE, CLOSED, TARGET):
            for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                made = stack.enter_context(socket.socket(family))
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((address, port))
                made.listen(64)
        yield


def test_permit_deny_redirect(tmp_path: Path, servers: None) -> None:
    guard = Supervisor(CONNECTS)
    said = run(
        REACH
        + f"""
reach("free", "127.0.0.1", {FREE}); reach("closed", "127.0.0.1", {CLOSED}); reach("moved", "127.0.0.1", {MOVED})
reach("stuck", "127.0.0.1", {FREE + 9}); reach("nobody", "127.0.0.1", {FREE + 8})
reach("udp", "127.0.0.1", {CLOSED}, kind=socket.SOCK_DGRAM)
reach("six", "::1", {CLOSED}, family=socket.AF_INET6); reach("six_moved", "::1", {MOVED}, family=socket.AF_INET6)
attempt("bind", {CLOSED + 100})  # not asked about
""",
        tmp_path,
        guard,
    )
    assert said == {
        "free": str(FREE), "closed": "EACCES", "moved": str(TARGET), "stuck": "EACCES", "nobody": "ECONNREFUSED",
        "udp": "EACCES", "six": "EACCES", "six_moved": str(TARGET), "bind": str(CLOSED + 100),
    }  # fmt: skip
    assert guard.counts == {"permitted": 2, "denied": 4, "redirected": 2, "other": 0}


def test_both_calls(tmp_path: Path, servers: None) -> None:
    """A program for each; and an address of IPv6 that nobody decides on."""
    deciders = {"cgroup_inet4_bind": decide, "cgroup_inet4_connect": decide}
    said = run(
        REACH
        + f"""
attempt("bind", {MOVED + 100}); attempt("bind_closed", {CLOSED})
reach("closed", "127.0.0.1", {CLOSED}); reach("six", "::1", {CLOSED}, family=socket.AF_INET6)
""",
        tmp_path,
        Supervisor(deciders),
    )
    assert said == {"bind": str(MOVED + 100), "bind_closed": "EACCES", "closed": "EACCES", "six": str(CLOSED)}


def test_families_of_addresses(tmp_path: Path, servers: None) -> None:
    """The address decides which program is asked: a socket of IPv6 reaches IPv4 by UDP, past no program."""
    asked: list[tuple[str, int, int]] = []

    def note(what: str) -> Decider:
        def decider(context: bytes) -> tuple[int, bytes]:
            asked.append((what, context[0], context[28]))
            return int(int.from_bytes(context[24:26], "big") != CLOSED), context

        return decider

    said = run(
        """
libc = ctypes.CDLL(None, use_errno=True)
def raw(name, made, address):
    result = libc.connect(made.fileno(), address, len(address))
    say(name, errno.errorcode[ctypes.get_errno()] if result else "done")
four = lambda port: (2).to_bytes(2, "little") + port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
six = (10).to_bytes(2, "little") + (FREE).to_bytes(2, "big") + bytes(4) + bytes(15) + b"\\1" + bytes(4)
mapped = six[:8] + bytes(10) + b"\\xff\\xff\\x7f\\0\\0\\1" + bytes(4)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
raw("across", udp, four(FREE)); raw("across_closed", udp, four(CLOSED))
raw("tcp_across", socket.socket(socket.AF_INET6), four(FREE) + bytes(12))
raw("wrong", socket.socket(), six); raw("mapped", socket.socket(socket.AF_INET6), mapped)
tcp = socket.socket(); raw("tcp", tcp, four(FREE)); raw("again", tcp, four(FREE))
raw("short", socket.socket(), four(FREE)[:8]); raw("nothing", socket.socket(), b"\\2")
raw("undone", udp, bytes(16)); raw("pointer", udp, ctypes.c_void_p(8))
""".replace("len(address)", "16 if isinstance(address, ctypes.c_void_p) else len(address)")
        .replace("FREE", str(FREE))
        .replace("CLOSED", str(CLOSED)),
        tmp_path,
        Supervisor({"cgroup_inet4_connect": note("four"), "cgroup_inet6_connect": note("six")}),
    )
    assert said == {
        "across": "done", "across_closed": "EACCES", "tcp_across": "EAFNOSUPPORT", "wrong": "EAFNOSUPPORT",
        "mapped": "done", "tcp": "done", "again": "EISCONN", "short": "EINVAL", "nothing": "EINVAL", "undone": "done",
        "pointer": "EFAULT",
    }  # fmt: skip
    # As Linux does: an address of IPv4 that is written as one of IPv6 is for connect6.
    assert asked == [("four", 2, 10), ("four", 2, 10), ("six", 10, 10), ("four", 2, 2), ("four", 2, 2)]


def test_connections_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold up nobody else; sockets that do not wait are told so; there may be so many, and no more."""
    monkeypatch.setattr(supervisor, "MAX_WAITING", 2)
    with socket.socket() as full, socket.socket() as server, ExitStack() as stack:
        for made in (full, server):
            made.bind(("127.0.0.1", 0))
        full.listen(0)
        server.listen(8)
        stack.enter_context(socket.create_connection(full.getsockname()))  # and nobody accepts it
        time.sleep(0.05)
        said = run(
            f"""
full, free = {full.getsockname()!r}, {server.getsockname()!r}
kept += [socket.socket() for _ in range(3)]
kept[0].setblocking(False)
say("at_once", errno.errorcode[kept[0].connect_ex(full)])
def wait(made):
    while made.connect_ex(full) == errno.EAGAIN:  # one of those below was in the way
        time.sleep(0.01)
for each in kept[1:3]:
    threading.Thread(target=wait, args=(each,), daemon=True).start()
began = time.monotonic()
answers = []
while errno.EAGAIN not in answers and time.monotonic() - began < 60:  # until both wait
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        answers.append(made.connect_ex(free))
    time.sleep(0.02)
attempt("bind", 0)
say("last", errno.errorcode[answers[-1]])
say("before", set(answers[:-1]) <= {{0}})
say("quick", time.monotonic() - began < 60)
os._exit(0)  # while two still wait
""",
            tmp_path,
            Supervisor({"cgroup_inet4_connect": lambda context: (1, context), "cgroup_inet4_bind": decide}),
        )
    assert said.pop("bind").isdecimal()
    assert said == {"at_once": "EINPROGRESS", "last": "EAGAIN", "before": "True", "quick": "True"}


def test_ways_around(tmp_path: Path, servers: None) -> None:
    """A connection that is made with the first data is refused, and what else is sent is not."""
    said = run(
        f"""
def send(name, kind, flags, call="sendto"):
    made = socket.socket(socket.AF_INET, kind)
    kept.append(made)
    address = ("127.0.0.1", {CLOSED})
    try:
        say(name, made.sendto(b"x", flags, address) if call == "sendto" else made.sendmsg([b"x"], [], flags, address))
    except OSError as error:
        say(name, errno.errorcode[error.errno])
for call in ("sendto", "sendmsg"):
    send(call, socket.SOCK_STREAM, socket.MSG_FASTOPEN, call)
    send(call + "_udp", socket.SOCK_DGRAM, 0, call)
    send(call + "_plain", socket.SOCK_STREAM, socket.MSG_NOSIGNAL, call)
libc = ctypes.CDLL(None, use_errno=True)
for number in (425, 426, 427):
    libc.syscall(number, 1, None, 0, 0, None, 0)
    say(f"io_uring{{number}}", errno.errorcode[ctypes.get_errno()])
""",
        tmp_path,
        Supervisor(CONNECTS),
    )
    # EPIPE: a stream that is not connected; the call itself was let through.
    plain = {"udp": "1", "plain": "EPIPE"}
    assert said == {
        **{f"{call}_{name}": value for call in ("sendto", "sendmsg") for name, value in plain.items()},
        "sendto": "ENOTSUP", "sendmsg": "ENOTSUP",  # another name of EOPNOTSUPP
        "io_uring425": "EPERM", "io_uring426": "EPERM", "io_uring427": "EPERM",
    }  # fmt: skip


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("calls", [{Call.BIND}, {Call.CONNECT}, set(Call)], ids=["bind", "connect", "both"])
def test_the_filter(machine: str, calls: set[Call]) -> None:
    """On either architecture: what is asked about, what is refused, and everything else allowed."""
    architecture, code = ARCHITECTURES[machine], notify.assemble(machine, calls)
    ask, allow, kill = 0x7FC00000, 0x7FFF0000, 0x80000000
    fast = 0x20000000
    sending = {"x86_64": {44: 3, 46: 2, 307: 3}, "aarch64": {206: 3, 211: 2, 269: 3}}[machine]
    connect = {"x86_64": 42, "aarch64": 203}[machine]
    assert {number for number in range(1024) if execute(code, number, architecture.audit) == ask} == {
        {"x86_64": {Call.BIND: 49}, "aarch64": {Call.BIND: 200}}[machine].get(call, connect) for call in calls
    }
    for number, place in sending.items():
        cases = ((0, allow), (0x4000, allow), (fast, 0x5005F), (fast | 0x40, 0x5005F), (fast << 32, allow))
        for flags, answer in cases:
            arguments = tuple(flags if each == place else 0x20000000 for each in range(6))
            wanted = answer if Call.CONNECT in calls else allow
            assert execute(code, number, architecture.audit, arguments) == wanted
    assert execute(code, connect, architecture.audit ^ 1) == kill
    assert [execute(code, number, architecture.audit) for number in (425, 426, 427)] == [0x50001] * 3


# A thread changes the port all the time, between one that is free and one that is closed.
RACE = f"""
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(16)
ctypes.memmove(buffer, b"\\x02\\0" + ({FREE}).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8), 16)
ports = [({FREE}).to_bytes(2, "big"), ({CLOSED}).to_bytes(2, "big")]
stop = False
def flip():
    while not stop:
        for port in ports:
            ctypes.memmove(ctypes.addressof(buffer) + 2, port, 2)
            time.sleep(0.0005)
thread = threading.Thread(target=flip); thread.start()
seen = set()
for _ in range(100):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        if libc.connect(made.fileno(), buffer, 16) == 0:
            seen.add(made.getpeername()[1])
stop = True; thread.join()
say("seen", sorted(seen))
"""


def test_an_address_that_changes_meanwhile(tmp_path: Path) -> None:
    assert run(RACE, tmp_path, Supervisor(CONNECTS))["seen"] == f"[{FREE}]"


def test_a_supervisor_that_lets_the_caller_connect_is_deceived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: the kernel goes on with the caller's own arguments (the flag CONTINUE), as they are by then."""

    class Trusting(Supervisor):
        def _start(self, listener: notify.Listener, notification: notify.Notification, *rest: object) -> bool:
            time.sleep(0.002)
            response = bytearray(struct.pack("=QqiI", notification.id, 0, 0, 1))
            notify.fcntl.ioctl(listener.fileno(), notify._SEND, response)  # type: ignore[attr-defined]
            os.close(rest[0])  # type: ignore[arg-type]
            return True

    assert str(CLOSED) in run(RACE, tmp_path, Trusting(CONNECTS))["seen"]


@pytest.mark.parametrize("revalidated", [True, False], ids=["checked", "unchecked"])
@pytest.mark.parametrize("look", ["memory_of", "descriptor_of", "decision"])
@pytest.mark.parametrize("call", ["bind", "connect"])
def test_a_caller_that_is_gone(
    call: str, look: str, revalidated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed while the supervisor looks, and its number is then another's: nothing happens to that one's socket.

    Without asking whether the call still waits, the supervisor would bind or connect the innocent's socket.
    """
    kind = {"bind": socket.SOCK_STREAM, "connect": socket.SOCK_DGRAM}[call]
    with socket.socket(socket.AF_INET, kind) as innocent:

        def end(pid: int) -> None:
            os.kill(pid, signal.SIGKILL)
            while os.path.exists(f"/proc/{pid}"):
                time.sleep(0.001)

        def memory_of(pid: int, pointer: int, length: int) -> bytes:
            data = original(pid, pointer, length)
            pids.append(pid)
            if look == "memory_of":
                end(pid)
            return data

        def descriptor_of(pid: int, descriptor: int) -> int:
            if look == "descriptor_of":
                end(pid)
            return os.dup(innocent.fileno())

        original = caller.memory_of
        monkeypatch.setattr(supervisor, "memory_of", memory_of)
        monkeypatch.setattr(supervisor, "descriptor_of", descriptor_of)
        if not revalidated:
            monkeypatch.setattr(notify.Listener, "valid", lambda self, notification: True)
        pids: list[int] = []

        def decided(context: bytes) -> tuple[int, bytes] | None:
            if look == "decision":  # and what rights the caller has is looked up after it
                end(pids[0])
            return decide(context)

        guard = Supervisor({f"cgroup_inet4_{call}": decided})
        script = f"""
pid = os.fork()
if pid == 0:
    socket.socket(socket.AF_INET, {int(kind)}).{call}(("127.0.0.1", {FREE}))
    os._exit(0)
say("signal", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
        assert run(script, tmp_path, guard) == {"signal": "-9"}
        for thread in threading.enumerate():
            if thread.name == "connect":
                thread.join(5)
        if call == "bind":
            assert (innocent.getsockname()[1] == FREE) is not revalidated
        else:
            assert (innocent.getsockname()[0] == "127.0.0.1") is not revalidated  # where it would send from
        assert guard.counts["permitted"] == int(not revalidated or look == "decision")


def test_where_a_thread_gets_no_directory_of_its_own(tmp_path: Path, servers: None) -> None:
    """Some containers forbid it: connections of IP need none, and files of Unix sockets are refused."""
    guard = Supervisor(CONNECTS)
    libc = guard._libc

    class Confined:
        def __getattr__(self, name: str) -> object:
            return (lambda flags: -1) if name == "unshare" else getattr(libc, name)

    guard.__dict__["_libc"] = Confined()
    said = run(
        REACH
        + f"""
reach("ip", "127.0.0.1", {FREE})
try:
    socket.socket(socket.AF_UNIX).connect("nothing.sock")
except OSError as error:
    say("file", errno.errorcode[error.errno])
""",
        tmp_path,
        guard,
    )
    assert said == {"ip": str(FREE), "file": "EACCES"}


def test_unix_sockets(tmp_path: Path) -> None:
    """They are found where the caller is."""
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as abstract:
        server.bind(os.fspath(tmp_path / "s.sock"))
        abstract.bind("\0prevail-py-abstract")
        server.listen()
        abstract.listen()
        said = run(
            f"""
os.chdir({os.fspath(tmp_path)!r})
for name, place in (("file", "s.sock"), ("abstract", "\\0prevail-py-abstract"), ("missing", "t.sock")):
    made = socket.socket(socket.AF_UNIX); kept.append(made)
    try:
        made.connect(place); say(name, "done")
    except OSError as error:
        say(name, errno.errorcode[error.errno])
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); netlink.connect((0, 0)); say("netlink", "done")
""",
            tmp_path,
            Supervisor(CONNECTS),
        )
    assert said == {"file": "done", "abstract": "done", "missing": "ENOENT", "netlink": "done"}


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root has rights to lose")
def test_rights_that_the_command_has_given_up(tmp_path: Path) -> None:
    """Peers of Unix sockets would be told that root connects; groups of netlink are for root."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0prevail-py-peer")
        server.listen()
        script = """
{lose}
for name, family, place in (
    ("peer", socket.AF_UNIX, "\\0prevail-py-peer"), ("kernel", socket.AF_NETLINK, (0, 0)),
    ("group", socket.AF_NETLINK, (0, 1)),
):
    made = socket.socket(family, socket.SOCK_STREAM if family == socket.AF_UNIX else socket.SOCK_RAW); kept.append(made)
    try:
        made.connect(place); say(name, "done")
    except OSError as error:
        say(name, errno.errorcode[error.errno])
"""
        user = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
        capabilities = "ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0] * 6))"
        elsewhere = "ctypes.CDLL(None).unshare(0x10000000)"  # a user namespace, with all capabilities in it
        for lose, others in (("pass", "done"), (user, "EACCES"), (capabilities, "EACCES"), (elsewhere, "EACCES")):
            said = run(script.format(lose=lose), tmp_path, Supervisor(CONNECTS))
            assert said == {"peer": others, "kernel": "done", "group": others}, lose
