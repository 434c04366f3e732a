"""What the tests of corpora share: rows, and executables that stand for those of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prevail_py.research.corpora.columns import Row, complete
from prevail_py.research.corpora.runs import Run


@pytest.fixture
def fake_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put an executable with this text in front of ``PATH``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """A row with the given columns; by default a SAFE program that nothing else is known of."""

    def make(**columns: Any) -> Row:
        known = {"corpus": "c", "object": "o", "program": "p", "verdict": "SAFE", "type": "xdp", "btf": "", "uses": ""}
        return complete({**known, **columns})

    return make


@pytest.fixture
def make_run() -> Callable[[list[Row]], Run]:
    """A run of these rows."""

    def make(rows: list[Row]) -> Run:
        corpora = {"c": {"description": "d", "provenance": "v", "objects": 1, "missing": {}}}
        about: dict[str, Any] = {"version": "0", "commit": "abc", "machine": "m", "kernel": "6.1", "corpora": corpora}
        about["options"] = {"verifier": {}}
        return Run(rows, about)

    return make
