"""Damaged objects and messages for a host: a few hundred here, ten thousand with ``make damaged``."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from prevail_py.host.canonical import CanonicalError, encode
from prevail_py.host.context.admission import Admissions
from prevail_py.host.context.client import connect
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.service import Limits, Verifier
from prevail_py.host.service.programs import from_program
from prevail_py.host.trust import CHECKS
from prevail_py.objects.text import assemble
from prevail_py.research import damaged_host
from prevail_py.research.damaged_host import Report, attack, campaign, mangled, prepare
from tests.host.context.conftest import honest
from tests.host.context.test_server import serving
from tests.host.context.tools import COUNTER, PASS, info, load, refused


@pytest.mark.usefixtures("lockdown")
def test_a_host_in_a_process_of_its_own() -> None:
    report = campaign(int(os.environ.get("PREVAIL_PY_DAMAGED", "200")))
    assert report.failures == []
    assert report.answers["let in, and SAFE"] > report.count // 10
    assert report.answers["refused by the host: not SAFE"] > report.count // 20
    assert report.answers["refused by the loader of the client"] > report.count // 10
    assert report.answers["refused by the host: the verifier failed"] <= report.count // 500


def attacked(tmp_path: Path, count: int = 120) -> Report:
    """A host in this process."""
    path = tmp_path / "host.sock"
    with ExecutionContext(admissions=honest()) as context, serving(path, context):
        with connect(path) as session:
            prepare(session)
        return attack(lambda: connect(path), count)


def test_a_host_in_this_process(tmp_path: Path) -> None:
    assert attacked(tmp_path).failures == []


def let_all_in(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(CHECKS, "verdict", lambda *arguments: None)


def believe_all_maps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("prevail_py.host.context.admission.require_maps", lambda *arguments: None)


def keep_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutionContext, "release", lambda *arguments, **named: None)


def lose_counts(patch: pytest.MonkeyPatch) -> None:
    answers = iter((5, 4, 4))
    patch.setattr(damaged_host, "_counted", lambda *arguments: next(answers))


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (let_all_in, "was let in, and is not SAFE"),
        (believe_all_maps, "was verified for map"),
        (keep_everything, "left behind"),
        (lose_counts, "packets were counted"),
    ],
)
def test_planted_bugs(
    plant: Callable[[pytest.MonkeyPatch], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check, the campaign says so."""
    plant(monkeypatch)
    monkeypatch.setattr(damaged_host, "PATIENCE", 0.2)
    assert any(said in failure for failure in attacked(tmp_path).failures)


def test_mangling_changes_something_that_can_be_sent() -> None:
    """Mostly: a text with half a character has no encoding, and then nothing is sent."""
    plain, sent = from_program(COUNTER), 0
    for seed in range(100):
        other = mangled(plain, random.Random(seed))
        assert other is not plain
        try:
            sent += encode(other) != encode(plain)
        except (CanonicalError, UnicodeEncodeError):
            continue
    assert sent > 80


@pytest.mark.usefixtures("lockdown")
def test_a_verifier_out_of_memory(tmp_path: Path) -> None:
    """Whoever asked is told; everybody else goes on, and the next load starts another verifier."""
    path = tmp_path / "host.sock"
    large = assemble(
        "\n".join([f"*(u64 *)(r10 - {8 * (n % 64 + 1)}) = r1" for n in range(60_000)] + ["r0 = 0", "exit"])
    )
    admissions = Admissions(lambda: Verifier(btf=None, limits=Limits(memory=24 << 20)))
    with ExecutionContext(admissions=admissions) as context, serving(path, context), connect(path) as session:
        first = load(session)
        error = refused(errno.EIO, load, session, large)
        assert "out of memory" in str(error) or "the verifier died" in str(error)
        assert session.call("program_run", handle=first, packet=b"", repeat=1)["value"] == 2
        second = load(session, PASS)
        assert info(session, second)["key"] != info(session, first)["key"]
        assert len(context.programs) == 2
