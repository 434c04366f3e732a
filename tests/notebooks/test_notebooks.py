"""Every notebook runs and shows what it says; its outputs are not committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prevail_py.domains import FACTS, WORDS, facts
from prevail_py.research.notebooks import (
    NotebookError,
    check,
    dumps,
    execute,
    load,
    main,
    markdown,
    pictures,
    stripped,
)

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
NEEDS = {
    "03": ("pandas", "joblib", "cloudpickle", "matplotlib"),
    "05": ("llvmlite",),
    "07": ("pandas", "joblib", "matplotlib"),
    "08": ("pandas", "joblib", "matplotlib"),
}
"""What a notebook needs beyond the package, by the number that its name starts with."""


@pytest.fixture(autouse=True)
def _tables() -> Iterator[None]:
    words, relations = dict(WORDS), dict(FACTS)
    yield
    for table, kept in ((WORDS, words), (FACTS, relations)):
        table.clear()
        table.update(kept)  # type: ignore[arg-type]
    facts.cache_clear()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in NEEDS.get(path.stem[:2], ()):
        pytest.importorskip(module, reason=f"research extra: {module} is not installed")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("PREVAIL_PY_CACHE", str(tmp_path))
    done = execute(load(path))
    assert check(done) >= 3
    assert pictures(done), "a lesson without a picture"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == dumps(stripped(load(path))), "python -m prevail_py.research.notebooks strip NOTEBOOK"


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 1


def _notebook(*sources: str, shows: tuple[str, ...] = ()) -> dict[str, Any]:
    metadata = {"prevail_py": {"shows": list(shows)}}
    return {
        "cells": [
            {"cell_type": "code", "source": source.splitlines(keepends=True), "metadata": metadata}
            for source in sources
        ]
    }


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
    assert [cell["outputs"] for cell in stripped(done)["cells"]] == [[], [], []]
    assert [cell["execution_count"] for cell in stripped(done)["cells"]] == [None, None, None]


def test_values_show_themselves() -> None:
    source = (
        "class Shown:\n    def __str__(self): return 'two\\nlines'\n    def _repr_html_(self): return '<p>'\n"
        "    def _repr_png_(self): return b'picture'\nShown()"
    )
    done = execute(_notebook(source))
    (output,) = done["cells"][0]["outputs"]
    assert output["data"] == {"text/plain": ["two\n", "lines"], "text/html": ["<p>"], "image/png": "cGljdHVyZQ=="}
    assert pictures(done) == {"cell-0.png": b"picture"}


def test_a_view_that_a_value_declines_is_left_out() -> None:
    source = "class Shy:\n    def __repr__(self): return 'shy'\n    def _repr_svg_(self): return None\nShy()"
    (output,) = execute(_notebook(source))["cells"][0]["outputs"]
    assert output["data"] == {"text/plain": ["shy"]}


def test_failing_cell_is_named() -> None:
    with pytest.raises(NotebookError, match="cell 1: ZeroDivisionError"):
        execute(_notebook("1", "1 / 0"))


def test_cells_are_compiled_as_in_a_file_of_their_own() -> None:
    done = execute(_notebook("def f(x: int): ...", "f.__annotations__['x']"))
    assert done["cells"][1]["outputs"][0]["data"]["text/plain"] == ["<class 'int'>"]


def test_a_cell_that_does_not_show_what_it_should_is_named() -> None:
    assert check(execute(_notebook("print('SAFE')\n'UNKNOWN'", shows=("SAFE", "UNKNOWN")))) == 2
    with pytest.raises(NotebookError, match="cell 0: does not show 'UNSAFE' but:\nSAFE"):
        check(execute(_notebook("print('SAFE')", shows=("UNSAFE",))))


def test_a_page() -> None:
    notebook = _notebook("x = 1")
    notebook["cells"].insert(0, {"cell_type": "markdown", "source": ["# Title\n", "[safe](../docs/safety.md)"]})
    assert markdown(notebook) == "# Title\n[safe](safety.md)\n\n```python\nx = 1\n```\n"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(dumps(_notebook("1 + 1", shows=("2",))))
    main(["execute", str(path), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().err == "n.ipynb: 0 pictures, 1 texts as expected\n"
    done = tmp_path / "out" / "n" / "n.ipynb"
    assert '"2"' in done.read_text()
    main(["strip", str(done)])
    assert done.read_text() == dumps(stripped(load(path)))
    main(["markdown", str(done)])
    assert capsys.readouterr().out == "```python\n1 + 1\n```\n"
