"""Execute notebooks without Jupyter, and keep the outputs that they are committed with.

Code cells run in order in one namespace.  What a cell prints and the value of its last expression become its outputs,
in the notebook format (nbformat 4), so that a committed notebook shows results where it is only viewed, and a test can
compare.  The plain text of a value that shows itself as HTML or SVG is its ``str``, not its ``repr``.  Cells are plain
Python: no magics, nothing that differs between two runs.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

__all__ = ["NotebookError", "dumps", "execute", "load"]


class NotebookError(Exception):
    """A cell raised an exception (the cause); ``cell`` counts all cells from 0."""

    def __init__(self, cell: int, error: BaseException) -> None:
        super().__init__(f"cell {cell}: {type(error).__name__}: {error}")
        self.cell = cell


def load(path: Path) -> dict[str, Any]:
    """The notebook at ``path`` as plain data."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def dumps(notebook: dict[str, Any]) -> str:
    """The text of a notebook file, as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``notebook`` with the outputs of a fresh run; :class:`NotebookError` names the cell that fails."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = []
    count = 0
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            count += 1
            try:
                outputs = _run("".join(cell["source"]), f"<cell {number}>", namespace, count)
            except Exception as error:
                raise NotebookError(number, error) from error
            cell = {**cell, "execution_count": count, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _run(source: str, name: str, namespace: dict[str, Any], count: int) -> list[dict[str, Any]]:
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        rich = {
            kind: shown.splitlines(keepends=True)
            for kind, method in (("text/html", "_repr_html_"), ("image/svg+xml", "_repr_svg_"))
            if hasattr(value, method) and (shown := getattr(value, method)()) is not None
        }
        plain = str(value) if rich else repr(value)
        data = {"text/plain": plain.splitlines(keepends=True), **rich}
        outputs.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    return outputs
