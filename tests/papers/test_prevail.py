"""The comparison of domains on rows whose numbers are known, and that the tables of the folder are of that form."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prevail_py import verify
from prevail_py.research.corpora.columns import complete
from prevail_py.research.corpora.frames import frame
from prevail_py.research.corpora.runs import Run

for needed in ("pandas", "joblib", "matplotlib"):
    pytest.importorskip(needed, reason=f"research extra: {needed} is not installed")


@pytest.fixture
def experiment(root: Path) -> ModuleType:
    spec = spec_from_file_location("paper_prevail", root / "papers" / "prevail" / "experiment.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rows(experiment: ModuleType, *, unsound: bool = False) -> Any:
    """Programs of 16, 32 and 64 instructions whose time is their size squared; zones prove one more."""
    frames = []
    for domain in experiment.DOMAINS:
        rows = []
        for place, size in enumerate((16, 32, 64)):
            safe = place == 0 or (place == 1 and "zones" in domain)
            known: dict[str, Any] = {"corpus": "suite", "object": "o", "program": f"p{place}", "instructions": size}
            known |= {"seconds": 1e-6 * size**2, "verdict": "SAFE" if safe else "UNKNOWN", "memory": 1.0}
            rows.append(complete(known | {"failures": "" if safe else "out-of-bounds 3"}))
            verdict = "SAFE" if unsound and place == 2 else "UNKNOWN"
            rows.append(complete(known | {"program": f"p{place}_unsafe", "verdict": verdict, "failures": ""}))
        found = frame(Run(rows, {}))
        found.insert(0, "domain", domain)
        found.insert(1, "options", "one state")
        frames.append(found)
    import pandas as pd

    return pd.concat(frames, ignore_index=True)


def test_the_numbers(experiment: ModuleType) -> None:
    rows = _rows(experiment)
    lines = {line[0]: line for line in experiment.comparison(rows).rows}
    assert lines["intervals"][1:5] == ("1 of 3", "1.00", "1", "2.00")
    assert lines["intervals, zones"][1] == "2 of 3"
    assert dict(line[:2] for line in experiment.reasons(rows).rows)["intervals"] == "6"
    assert experiment.slope(rows)[0] == pytest.approx(2)
    assert len(experiment.scaling(rows).figure.axes[0].collections) == len(experiment.LIKE)


def test_what_one_domain_proves_and_another_does_not(experiment: ModuleType) -> None:
    rows = _rows(experiment)
    assert experiment.only_in(rows, "interval*zones", "interval") == ["suite: p1"]
    assert experiment.only_in(rows, "interval", "interval*zones") == []


def test_numbers_that_are_related_at_once(experiment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs are what they say: each number is known to be at most every later one."""
    monkeypatch.setattr(experiment, "NUMBERS", (2, 4))
    monkeypatch.setattr(experiment, "REPEATS", 1)
    times = experiment.growth()
    assert list(times.index) == [2, 4]
    assert (times > 0).all(axis=None)
    assert len(experiment.growth_table(times).rows) == 2
    assert len(experiment.growth_picture(times).figure.axes[0].lines) == len(experiment.LIKE)
    program = experiment.related(4)
    invariants = verify(program, "interval*octagons", 1, smt=False).invariants
    relations = [len(state.relations()) for pc in range(len(program.code)) for state in invariants.states(pc)]
    assert max(relations) >= 4 * 3 // 2


def test_an_unsafe_program_that_is_proved_is_named(experiment: ModuleType) -> None:
    assert experiment.wrong(_rows(experiment)) == []
    assert "interval: p2_unsafe" in experiment.wrong(_rows(experiment, unsound=True))


def test_the_table_of_the_folder(experiment: ModuleType, root: Path) -> None:
    text = (root / "papers" / "prevail" / "results.md").read_text(encoding="utf-8")
    assert all(f"| {about} |" in text for about in experiment.DOMAINS.values())
    assert "that a domain proves: none." in text
    for name in ("cactus", "precision", "scaling", "growth"):
        assert (root / "papers" / "prevail" / f"{name}.png").stat().st_size < 100_000
