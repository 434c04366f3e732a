"""The host behind its socket: who gets in, what garbage does, and clients and verifiers that are killed."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.host.context import server as server_module
from prevail_py.host.context.admission import Admissions
from prevail_py.host.context.client import RemoteSession, connect
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.model import HostError, Peer
from prevail_py.host.context.server import Server
from prevail_py.host.context.session import Session
from prevail_py.host.service import Limits, Verifier
from prevail_py.host.service.channel import Channel
from prevail_py.objects.elf import load_object
from prevail_py.objects.text import assemble
from prevail_py.research.host_process import start_host
from tests.host.context.conftest import HonestVerifier, honest
from tests.host.context.tools import COUNTER, DROP, PASS, UNSAFE, info, load, new_map, refused


@contextmanager
def serving(path: Path, context: ExecutionContext, **options: Any) -> Iterator[Server]:
    server = Server(context, path, **options)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(timeout=20)
        assert not thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "host.sock"


@pytest.fixture
def host(context: ExecutionContext, path: Path) -> Iterator[ExecutionContext]:
    with serving(path, context):
        yield context


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_remote_session_is_a_session(host: ExecutionContext, path: Path) -> None:
    with connect(path) as session:
        assert session.host == Peer.here()
        program = load(session, COUNTER)
        assert session.call("program_run", handle=program, packet=bytes(60), repeat=3)["value"] == 2
        assert session.call("map_lookup", handle=1, key=bytes(4), flags=0)[0] == 3
        assert "context" in refused(errno.EACCES, load, session, UNSAFE).log
        refused(errno.ENOSYS, session.call, "reboot")
        refused(errno.EINVAL, session.call, "info", handle=1 << 70)
        ((pid, uid, name, handles, may_change),) = session.call("sessions")
        assert (pid, uid, handles, may_change) == (os.getpid(), os.geteuid(), 2, True)
        assert name
    until(lambda: not host.programs)
    assert not host.maps


def test_the_socket(context: ExecutionContext, path: Path) -> None:
    with serving(path, context):
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(OSError, match="another host answers") as error:
            Server(context, path)
        assert error.value.errno == errno.EADDRINUSE
    assert not path.exists()
    refused(errno.ENOENT, connect, path)
    path.write_text("mine")
    with pytest.raises(OSError, match="something else"):
        Server(context, path)
    path.unlink()
    left = socket.socket(socket.AF_UNIX)
    left.bind(os.fspath(path))
    left.close()
    refused(errno.ECONNREFUSED, connect, path)
    with serving(path, context), connect(path) as session:  # what a killed host left is cleared away
        assert session.call("pins") == []


# Who gets in. ----------

AS_NOBODY = """
import os, sys
from prevail_py.host.context.client import RemoteSession
from prevail_py.host.context import client
os.setgid(65534); os.setuid(65534)
client.os.geteuid = lambda: 0  # would rather not notice whose host it is
try:
    with RemoteSession(sys.argv[1]) as session:
        handle = session.call("open_id", kind="map", id=1)
        print("read", session.call("map_lookup", handle=handle, key=bytes(4), flags=0)[0], end=" ")
        session.call("map_update", handle=handle, key=bytes(4), value=bytes(8), flags=0)
        print("written", end=" ")
except OSError as error:
    print(error.errno, error.strerror)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root can try as another user")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "13 no host at .*: Permission denied"),
        ({"users": [12345]}, "13 user 65534 may not use this host"),
        ({"readers": [65534]}, "read 7 1 map_update: user 65534 may only look"),
        ({"users": [65534]}, "read 7 written "),
    ],
)
def test_users(context: ExecutionContext, options: dict[str, Any], said: str) -> None:
    # Not under pytest's own directories: nobody else may enter these.
    with (
        tempfile.TemporaryDirectory(prefix="prevail-py-") as directory,
        serving(path := Path(directory, "host.sock"), context, **options),
        connect(path) as session,
    ):
        Path(directory).chmod(0o755)
        new_map(session)
        session.call("map_update", handle=1, key=bytes(4), value=bytes([7] * 8), flags=0)
        answer = subprocess.run([sys.executable, "-c", AS_NOBODY, path], capture_output=True, text=True, timeout=60)
        assert re.fullmatch(said, answer.stdout.strip("\n")), answer
        assert ("written" in said) == (session.call("map_lookup", handle=1, key=bytes(4), flags=0) == bytes(8))


def test_a_host_of_somebody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket in our place that another user listens at gets no request."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()
    monkeypatch.setattr("prevail_py.host.context.client.peer_of", lambda connection: Peer(1, 4711, 4711))
    refused(errno.EPERM, connect, path)
    listener.close()


# Garbage. ----------


def raw(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(os.fspath(path))
    Channel(connection).receive()  # the greeting
    return connection


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        struct.pack(">I", server_module.MAX_REQUEST + 1),
        struct.pack(">I", 3) + b"\xff\xff\xff",
        struct.pack(">I", 100) + b"\xa0",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_message_ends_the_connection(host: ExecutionContext, path: Path, data: bytes) -> None:
    with raw(path) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    with connect(path) as session:
        assert session.call("pins") == []


@pytest.mark.parametrize(
    "message", [None, [], {}, {"call": "pins"}, {"call": 1, "arguments": {}}, {"call": "pins", "arguments": {}, "x": 1}]
)
def test_what_is_no_request_is_refused(host: ExecutionContext, path: Path, message: Any) -> None:
    with raw(path) as connection:
        channel = Channel(connection)
        channel.send(message)
        answer = channel.receive()
        assert answer is not None
        assert isinstance(answer[0], dict)
        assert answer[0]["error"] == errno.EINVAL


def test_a_call_named_like_an_attribute(host: ExecutionContext, path: Path) -> None:
    """The table decides, not Python; ``name`` is the first parameter of the method that makes calls."""
    with connect(path) as session:
        for name in ("__init__", "__class__", "call", "get", "context", ""):
            refused(errno.ENOSYS, session.call, name)
    with raw(path) as connection:
        channel = Channel(connection)
        channel.send({"call": "pins", "arguments": {"name": "pin", "self": 1}})
        answer = channel.receive()
        assert answer is not None
        assert answer[0] == {"error": errno.EINVAL, "message": answer[0]["message"], "log": ""}  # type: ignore[index, call-overload]


def test_descriptors_are_not_kept(host: ExecutionContext, path: Path) -> None:
    """They would pile up in the host."""
    with raw(path) as connection:
        channel = Channel(connection)
        channel.send({"call": "pins", "arguments": {}}, [0])
        channel.receive()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            channel.send({"call": "pins", "arguments": {}}, [0])
            channel.receive()
        assert len(os.listdir("/proc/self/fd")) == before


def test_random_messages(host: ExecutionContext, path: Path) -> None:
    """Valid requests with bytes changed, and calls with random arguments: each is answered, or ends its connection."""
    chance = random.Random(7)
    from prevail_py.host.canonical import encode
    from prevail_py.host.context.protocol import CALLS

    values: Sequence[Any] = [0, 1, -1, 1 << 63, "", "program", b"", bytes(4), [], {}, None, True, [1], "x" * 300]
    for _ in range(150):
        name = chance.choice(list(CALLS))
        arguments = {each: chance.choice(values) for each in CALLS[name].arguments}
        if name == "records_take":
            arguments["milliseconds"] = 0
        data = bytearray(encode({"call": name, "arguments": arguments}))
        if chance.random() < 0.5:
            data[chance.randrange(len(data))] = chance.randrange(256)
        with raw(path) as connection:
            connection.sendall(struct.pack(">I", len(data)) + data)
            connection.shutdown(socket.SHUT_WR)
            Channel(connection).receive()
    with connect(path) as session:
        assert session.call("program_run", handle=load(session), packet=b"", repeat=1)["value"] == 2


def test_a_mistake_of_ours_is_an_answer(host: ExecutionContext, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("planted")

    with connect(path) as session:
        monkeypatch.setattr(host, "create_map", fail)
        assert "planted" in str(refused(errno.EIO, new_map, session))
        assert session.call("pins") == []


@pytest.mark.parametrize(
    ("answer", "said"), [(bytes(400), "the answer is too long"), ([1 << 70], "an integer of more than 64 bits")]
)
def test_an_answer_that_cannot_be_sent_is_an_error(
    host: ExecutionContext, path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, said: str
) -> None:
    monkeypatch.setattr("prevail_py.host.service.channel.MAX_MESSAGE", 300)
    monkeypatch.setattr(
        Session, "call", lambda self, name, **arguments: answer if name == "plant" else sorted(arguments)
    )
    with connect(path) as session:
        for _ in range(2):
            assert refused(errno.E2BIG, session.call, "plant").strerror == said
            assert session.call("other", a=1) == ["a"]  # the connection goes on


# Clients that die, and many of them. ----------

DIES = """
import os, signal, sys, threading, time
from prevail_py.host.context.client import connect
from tests.host.context.tools import COUNTER, load
session = connect(sys.argv[1])
program = load(session, COUNTER)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
while True:
    session.call("program_run", handle=program, packet=bytes(60), repeat=200)
"""


def test_a_client_killed_in_the_middle_of_a_call(host: ExecutionContext, path: Path, root: Path) -> None:
    with connect(path) as session:
        child = subprocess.run([sys.executable, "-c", DIES, path], cwd=root, timeout=60)
        assert child.returncode == -signal.SIGKILL
        until(lambda: not host.programs and not host.maps)
        assert len(session.call("sessions")) == 1
        assert session.call("program_run", handle=load(session), packet=b"", repeat=1)["value"] == 2


def test_a_client_killed_in_the_middle_of_a_message(host: ExecutionContext, path: Path) -> None:
    connection = raw(path)
    connection.sendall(struct.pack(">I", 1000) + b"half a mess")
    until(lambda: len(host.sessions) == 1)
    connection.close()
    until(lambda: not host.sessions)


def test_racing_clients(host: ExecutionContext, path: Path) -> None:
    """One wins each pin, nobody's numbers are lost, and nothing is left of those that hung up."""
    clients, rounds = 8, 12
    won: list[tuple[int, int]] = []
    lost: list[int] = []
    failed: list[BaseException] = []
    start = threading.Barrier(clients)

    def work(me: int) -> None:
        try:
            with connect(path) as session:
                start.wait()
                for each in range(rounds):
                    program = load(session, replace(PASS, name=f"p{me}"))
                    try:
                        session.call("pin", handle=program, path=f"/{each}")
                        won.append((me, info(session, program)["id"]))
                    except HostError as error:
                        if error.errno != errno.EEXIST:
                            raise
                        lost.append(me)
                    session.call("close", handle=program)
        except BaseException as error:  # told to the test
            failed.append(error)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(won) == len(host.pins) == rounds
    assert len(lost) == (clients - 1) * rounds
    until(lambda: not host.sessions)
    assert {number for _, number in won} == set(host.programs)


def test_counters_lose_nothing_between_clients(host: ExecutionContext, path: Path) -> None:
    with connect(path) as first:
        load(first, COUNTER)

        def work() -> None:
            with connect(path) as session:
                program = session.call("open_id", kind="program", id=1)
                for _ in range(10):
                    session.call("program_run", handle=program, packet=b"", repeat=10)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        value = first.call("map_lookup", handle=1, key=bytes(4), flags=0)
        assert int.from_bytes(value[:8], "little") == 400


def test_too_many_clients(context: ExecutionContext, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 3)
    with serving(path, context):
        sessions = [connect(path) for _ in range(3)]
        refused(errno.EAGAIN, connect, path)
        sessions.pop().close()
        until(lambda: len(context.sessions) == 2)
        with connect(path) as session:
            assert session.call("pins") == []
        for session in sessions:
            session.close()


# The verifier. ----------


def test_a_verifier_that_dies_or_hangs(lockdown: None, path: Path) -> None:
    """Whoever asked is told; the next one to ask gets a new verifier with a new key, and the host goes on."""
    slow = assemble("\n".join(["r0 = 0", *["r0 += 1"] * 20000, "exit"]), name="slow")
    admissions = Admissions(lambda: Verifier(timeout=20, btf=None, limits=Limits(cpu=60)))
    with ExecutionContext(admissions=admissions) as context, serving(path, context), connect(path) as session:
        one = info(session, load(session))["key"]
        pid = admissions.verifier_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # it hangs
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()  # and is killed
        assert "verifier died" in str(refused(errno.EIO, load, session, slow))
        other = info(session, load(session, DROP))["key"]
        assert other != one
        assert context.programs.keys() == {1, 2}
        pid = admissions.verifier_pid
        assert pid is not None
        verifier = admissions._verifier
        assert verifier is not None
        object.__setattr__(verifier, "timeout", 0.2)
        os.kill(pid, signal.SIGSTOP)
        assert "did not answer" in str(refused(errno.EIO, load, session))
        assert session.call("program_run", handle=1, packet=b"", repeat=1)["value"] == 2


def test_others_work_while_one_verifies(path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(HonestVerifier):
        def verify(self, program: Any, *, nonce: bytes) -> Any:
            if program.name == "slow":
                begun.set()
                assert go_on.wait(10)
            return super().verify(program, nonce=nonce)

    start: Any = Slow
    with (
        ExecutionContext(admissions=Admissions(start)) as context,
        serving(path, context),
        connect(path) as session,
        connect(path) as other,
    ):
        loaded: list[int] = []
        thread = threading.Thread(target=lambda: loaded.append(load(session, replace(PASS, name="slow"))))
        thread.start()
        assert begun.wait(10)
        assert other.call("program_run", handle=load(other), packet=b"", repeat=1)["value"] == 2
        go_on.set()
        thread.join()
        assert loaded == [1]


# The process. ----------


def test_a_host_restarted_and_a_host_killed(lockdown: None, path: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    firewall = load_object(examples.path("xdp_counter")).programs["xdp_counter"]
    process = start_host(path, "--store", os.fspath(store), "--btf", "none")
    with connect(path) as session:
        program = load(session, firewall)
        session.call("program_run", handle=program, packet=bytes(60), repeat=4)
        session.call("pin", handle=program, path="/fw")
        process.terminate()
        assert process.wait(timeout=20) == 0
        refused(errno.ECONNRESET, session.call, "pins")
    process.communicate()
    process = start_host(path, "--store", os.fspath(store), "--btf", "none")
    with connect(path) as session:
        program = session.call("open_pin", path="/fw")
        assert session.call("program_run", handle=program, packet=bytes(60), repeat=1)["value"] == 2
        process.kill()
        process.wait(timeout=20)
    process.communicate()
    process = start_host(path, "--store", os.fspath(store), "--btf", "none")
    with connect(path) as session:
        assert info(session, session.call("open_pin", path="/fw"))["run_count"] >= 4
    process.terminate()
    assert process.communicate(timeout=20)[1] == ""


def test_tokens_from_outside(path: Path) -> None:
    """A verifier that somebody else runs, whose key the host was given."""
    outside = HonestVerifier()
    admissions = honest()
    admissions = Admissions(admissions._start, outside.key)
    with ExecutionContext(admissions=admissions) as context, serving(path, context), connect(path) as session:
        nonce = session.call("nonce")
        token = outside.token(PASS, nonce)
        assert info(session, load(session, token=token))["key"] == outside.key
        assert "replay" in str(refused(errno.EKEYREJECTED, load, session, token=token))
        other = replace(PASS, code=DROP.code)
        assert "bytecode" in str(refused(errno.EKEYREJECTED, load, session, other, token=outside.token(PASS, nonce)))
        refused(errno.EKEYREJECTED, load, session, DROP, token=HonestVerifier().token(DROP, nonce))
        refused(errno.EKEYREJECTED, load, session, DROP, token=outside.token(DROP, bytes(32)))
        refused(errno.EACCES, load, session, UNSAFE, token=outside.token(UNSAFE, nonce, "UNKNOWN"))
        assert len(context.programs) == 1
    with ExecutionContext(admissions=honest()) as context, context.session() as plain:
        refused(errno.EOPNOTSUPP, plain.call, "nonce")
        refused(errno.EOPNOTSUPP, load, plain, token=outside.token(PASS, bytes(32)))


def test_the_hello_of_something_else(path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()

    def answer(message: Any) -> None:
        connection, _ = listener.accept()
        Channel(connection).send(message)
        connection.close()

    greetings: list[Any] = [[], {"protocol": 99, "may_change": True}]
    for message in greetings:
        thread = threading.Thread(target=answer, args=(message,))
        thread.start()
        refused(errno.EPROTO, RemoteSession, path)
        thread.join()
    listener.close()
