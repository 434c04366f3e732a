"""Verifiers and clients that are lost, and clients that race: with what is there for them taken out, it is seen."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py.host.canonical import encode
from prevail_py.host.context.admission import Admissions
from prevail_py.host.context.client import connect
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.session import Session
from prevail_py.host.service import VerifierError
from prevail_py.host.service.programs import from_map
from tests.host.context import test_server
from tests.host.context.conftest import HonestVerifier, honest
from tests.host.context.test_server import raw, serving
from tests.host.context.tools import ARRAY, DROP, PASS, info, load, refused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "host.sock"


@pytest.fixture
def host(path: Path) -> Iterator[ExecutionContext]:
    with ExecutionContext(admissions=honest()) as context, serving(path, context):
        yield context


class Mortal(HonestVerifier):
    """Dies of programs that are called ``killer``, and stays dead."""

    dead = False

    def verify(self, program: Any, *, nonce: bytes) -> Any:
        self.dead |= program.name == "killer"
        if self.dead:
            raise VerifierError("the verifier died (killed by SIGKILL)")
        return super().verify(program, nonce=nonce)


@pytest.mark.parametrize("buried", [True, False], ids=["checked", "unchecked"])
def test_a_dead_verifier_is_replaced(buried: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked is told, and nobody else pays for it: unless the dead one is asked again."""
    if not buried:
        monkeypatch.setattr(Admissions, "_bury", lambda self, dead: None)
    start: Any = Mortal
    with ExecutionContext(admissions=Admissions(start)) as context, context.session() as session:
        first = load(session)
        refused(errno.EIO, load, session, replace(PASS, name="killer"))
        assert session.call("program_run", handle=first, packet=b"", repeat=1)["value"] == 2
        if buried:
            assert info(session, load(session, DROP))["key"] != info(session, first)["key"]
        else:
            refused(errno.EIO, load, session, DROP)


@pytest.mark.parametrize("closed", [True, False], ids=["checked", "unchecked"])
def test_what_a_killed_client_had_ends_with_it(
    closed: bool, host: ExecutionContext, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is all that the host sees of it: a session that is not closed leaves everything behind."""
    if not closed:
        monkeypatch.setattr(Session, "close", lambda self: None)
    session = connect(path)
    load(session)
    assert len(host.programs) == 1
    os.close(session._channel.socket.detach())
    deadline = time.monotonic() + (5 if closed else 0.5)
    while host.programs and time.monotonic() < deadline:
        time.sleep(0.01)
    assert bool(host.programs) is not closed


def test_racing_clients_without_the_check(host: ExecutionContext, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients pin at one name: without the look whether it is taken both believe that they won."""
    pin = ExecutionContext.pin

    def careless(self: ExecutionContext, name: str, hosted: Any) -> None:
        self.pins.pop(name, None)
        pin(self, name, hosted)

    monkeypatch.setattr(ExecutionContext, "pin", careless)
    with pytest.raises(AssertionError):
        test_server.test_racing_clients(host, path)


def test_half_a_message_is_no_call(host: ExecutionContext, path: Path) -> None:
    """A client that is killed while it writes has asked for nothing: not even where what is missing is one byte."""
    data = encode({"call": "map_create", "arguments": {"spec": from_map(ARRAY)}})
    connection = raw(path)
    connection.sendall(len(data).to_bytes(4, "big") + data[:-1])
    time.sleep(0.1)
    connection.close()
    with connect(path) as session:
        assert session.call("status")["maps"] == 0
        other = raw(path)
        other.sendall(len(data).to_bytes(4, "big") + data)
        deadline = time.monotonic() + 5
        while session.call("status")["maps"] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert session.call("status")["maps"] == 1
        other.close()
