"""Every notebook runs, and shows what the code does today."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prevail_py.research.notebooks import NotebookError, dumps, execute, load

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_what_it_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    notebook = load(path)
    text = dumps(execute(notebook))
    if os.environ.get("PREVAIL_PY_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "PREVAIL_PY_UPDATE_GOLDEN=1 rewrites the outputs"


def _notebook(*sources: str) -> dict[str, object]:
    return {"cells": [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in sources]}


def test_outputs_are_what_is_printed_and_the_last_value() -> None:
    done = execute(_notebook("x = 2", "print(x)\nx + 1", "x;\nNone"))
    assert [cell["outputs"] for cell in done["cells"]] == [
        [],
        [
            {"output_type": "stream", "name": "stdout", "text": ["2\n"]},
            {"output_type": "execute_result", "execution_count": 2, "metadata": {}, "data": {"text/plain": ["3"]}},
        ],
        [],
    ]


def test_values_show_themselves() -> None:
    source = (
        "class Shown:\n    def __str__(self): return 'two\\nlines'\n    def _repr_html_(self): return '<p>'\nShown()"
    )
    (output,) = execute(_notebook(source))["cells"][0]["outputs"]
    assert output["data"] == {"text/plain": ["two\n", "lines"], "text/html": ["<p>"]}


def test_a_view_that_a_value_declines_is_left_out() -> None:
    source = "class Shy:\n    def __repr__(self): return 'shy'\n    def _repr_svg_(self): return None\nShy()"
    (output,) = execute(_notebook(source))["cells"][0]["outputs"]
    assert output["data"] == {"text/plain": ["shy"]}


def test_failing_cell_is_named() -> None:
    with pytest.raises(NotebookError, match="cell 1: ZeroDivisionError"):
        execute(_notebook("1", "1 / 0"))
