"""The script of ``papers/museum``: a table and a picture of what was found."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from prevail_py.research.museum.tour import Finding

FOLDER = Path(__file__).resolve().parents[2] / "papers" / "museum"
FINDINGS = [
    Finding("widening", "verifier", "concrete", "a trap", 0.25),
    Finding("widening", "verifier", "fuzzing", "", 30.0),
    Finding("CVE-2020-8835", "operator", "fuzzing", "", 30.0),
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("pandas", reason="tables of corpora come with the research extra")
    spec = importlib.util.spec_from_file_location("reproduce_museum", FOLDER / "reproduce.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_and_figure(script: ModuleType, tmp_path: Path) -> None:
    document = {"schema": 1, "findings": [each.as_json() for each in FINDINGS], "survivors": [], "not_asked": {}}
    given = tmp_path / "findings.json"
    given.write_text(json.dumps(document))
    assert script.main([str(given), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "1 of 2 exhibits are caught" in text
    assert "Survivor: CVE-2020-8835." in text
    assert "| fuzzing | 2 | 0 |" in text
    picture = ElementTree.fromstring((tmp_path / "figure.svg").read_text())
    circles = picture.findall("{http://www.w3.org/2000/svg}circle")
    assert sum(circle.get("fill") == "none" for circle in circles) == 2 + 1  # two that found nothing, and the legend


def test_bad_input(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert script.main([str(other)]) == 2
    assert "not the findings of a museum" in capsys.readouterr().err
