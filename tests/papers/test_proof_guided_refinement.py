"""The script of the reproduced paper, on a few programs, and the table that it made."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from prevail_py.research.suite.solver import alarms


@pytest.fixture
def experiment(root: Path) -> ModuleType:
    path = root / "papers" / "proof_guided_refinement" / "experiment.py"
    spec = spec_from_file_location("proof_guided_refinement", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_it_measures(experiment: ModuleType) -> None:
    chosen = {name: alarms()[name].safe for name in ("square", "packed_flags")}
    rows = experiment.measure(chosen, ask=False)
    assert [row.refined for row in rows] == [True, True]
    assert rows[1].paths > 500
    (line,) = experiment.table({"two": rows}).rows
    assert line[:6] == ("two", "2", "not asked", "0", "2", "2")


def test_its_table_is_in_the_text(root: Path) -> None:
    folder = root / "papers" / "proof_guided_refinement"
    assert (folder / "table.md").read_text(encoding="utf-8") in (folder / "README.md").read_text(encoding="utf-8")
