"""The two oracles on a program that a planted bug lets pass."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from prevail_py.research.generate import program
from prevail_py.research.planted import BUGS


@pytest.fixture
def experiment(root: Path) -> ModuleType:
    import sys

    spec = spec_from_file_location("fuzz_oracles", root / "papers" / "fuzz_oracles" / "experiment.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_states_are_noticed_where_outcomes_are_not(experiment: ModuleType) -> None:
    programs = [program(seed, size=20) for seed in range(6)]
    clean = experiment.hunt(None, programs)
    assert (clean.outcomes, clean.states, clean.looked_at) == (None, None, 6)
    found = experiment.hunt("CVE-2020-8835", programs)
    assert found.states is not None
    assert found.outcomes is None
    line = experiment.table([clean, found], 6).splitlines()[-3]
    assert line.startswith(f"| CVE-2020-8835 | - | {found.states} |")


def test_the_table_of_the_folder(root: Path) -> None:
    text = (root / "papers" / "fuzz_oracles" / "table.md").read_text(encoding="utf-8")
    assert all(f"| {bug} |" in text for bug in BUGS)
    assert "| none | - | - |" in text
    assert (root / "papers" / "fuzz_oracles" / "found.png").stat().st_size < 100_000
