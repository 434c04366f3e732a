"""The measurement of the host runs to its end; what it measures is not checked here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.hooks.notify import available
from prevail_py.research import bench_host
from tests.host.context.conftest import honest
from tests.host.context.test_server import serving


@pytest.mark.skipif(available() is not None, reason=f"lockdown: {available()}")
def test_it_measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def context(**options: Any) -> ExecutionContext:
        return ExecutionContext(**(options | {"admissions": honest()}))

    @contextmanager
    def host() -> Iterator[Path]:
        with context() as made, serving(tmp_path / "host.sock", made):
            yield tmp_path / "host.sock"

    monkeypatch.setattr(bench_host, "ExecutionContext", context)
    monkeypatch.setattr(bench_host, "_host", host)
    monkeypatch.setattr(bench_host, "_ENGINES", ("source",))
    monkeypatch.setattr(bench_host, "_CLIENTS", (1, 5))
    assert bench_host.main(["--seconds", "0.05"]) == 0
    out = capsys.readouterr().out
    assert "look elements up, 5 clients" in out
    assert "without supervision" in out
    assert "no program" in out or "not measured" in out
