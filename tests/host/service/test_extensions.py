"""Extensions reach the verifier as sealed memory: nothing else is taken, and nothing else counts there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prevail_py.host.service import worker
from prevail_py.host.service.memory import SealError, sealed
from prevail_py.platforms import extensions, platform
from prevail_py.platforms.extensions import ExtensionError

DOCUMENT = (Path(__file__).parents[2] / "thirdparty" / "door_bell" / "door_bell" / "door_bell.json").read_text()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The store holds one that the verifier is not told about."""
    monkeypatch.setenv("PREVAIL_PY_EXTENSIONS", os.fspath(tmp_path))
    (tmp_path / "door_bell.json").write_text(DOCUMENT)
    (tmp_path / "door_bell.json").chmod(0o644)
    tmp_path.chmod(0o755)
    yield
    monkeypatch.undo()
    extensions.use(None)


def test_what_is_handed_over_counts() -> None:
    worker._extend(sealed(json.dumps([DOCUMENT]).encode()))
    assert platform().extensions == {"doorbell": "door_bell", "visitors": "door_bell"}
    worker._extend(None)
    assert platform().extensions == {}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no array of documents"),
        (b"{}", "no array of documents"),
        (b"[1]", "no array of documents"),
        (b"\xff", "no array of documents"),
        (json.dumps([DOCUMENT[:-3]]).encode(), "line "),
        (json.dumps([DOCUMENT.replace('"linux"', '"mars"')]).encode(), "unknown platform 'mars'"),
        (json.dumps([DOCUMENT, DOCUMENT]).encode(), "program type doorbell is taken"),
    ],
)
def test_what_is_wrong(data: bytes, problem: str) -> None:
    with pytest.raises(ExtensionError, match=problem):
        worker._extend(sealed(data))


def test_memory_that_may_still_change() -> None:
    descriptor = os.memfd_create("open")
    os.write(descriptor, json.dumps([DOCUMENT]).encode())
    with pytest.raises(SealError):
        worker._extend(descriptor)
    os.close(descriptor)
