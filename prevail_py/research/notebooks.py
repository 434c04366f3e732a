"""Execute notebooks without Jupyter, keep them without outputs, and turn them into pages.

Code cells run in order in one namespace.  What a cell prints and the value of its last expression become its outputs,
in the notebook format (nbformat 4).  The plain text of a value that shows itself as HTML is its ``str``, not its
``repr``.  Cells are plain Python: no magics.

Notebooks are committed without outputs.  What a cell must show is kept in its metadata instead, as texts that its
output holds, so that a test can tell when a lesson and the code part::

    "metadata": {"prevail_py": {"shows": ["UNKNOWN", "r2 + 15 <= packet end"]}}

``python -m prevail_py.research.notebooks execute notebooks/*.ipynb --out DIR`` writes executed copies and their
pictures; ``strip`` takes the outputs out again; ``markdown`` writes one as a page.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["NotebookError", "check", "dumps", "execute", "load", "main", "markdown", "pictures", "stripped"]


class NotebookError(Exception):
    """A cell raised an exception (the cause), or does not show what it should; ``cell`` counts all cells from 0."""

    def __init__(self, cell: int, error: BaseException | str) -> None:
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        super().__init__(f"cell {cell}: {text}")
        self.cell = cell


def load(path: Path) -> dict[str, Any]:
    """The notebook at ``path`` as plain data."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def dumps(notebook: dict[str, Any]) -> str:
    """The text of a notebook file, as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def stripped(notebook: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``notebook`` as it is committed: without outputs."""
    cells = [
        {**cell, "execution_count": None, "outputs": []} if cell["cell_type"] == "code" else cell
        for cell in notebook["cells"]
    ]
    return {**notebook, "cells": cells}


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


def check(executed: dict[str, Any]) -> int:
    """How many texts the cells of an executed notebook show as their metadata say that they do.

    Raises :class:`NotebookError` for one that a cell does not show.
    """
    found = 0
    for number, cell in enumerate(executed["cells"]):
        for expected in cell.get("metadata", {}).get("prevail_py", {}).get("shows", ()):
            text = "".join(_plain(cell))
            if expected not in text:
                raise NotebookError(number, f"does not show {expected!r} but:\n{text}")
            found += 1
    return found


def _plain(cell: dict[str, Any]) -> Iterator[str]:
    """What a cell shows, as text."""
    for output in cell.get("outputs", ()):
        if output["output_type"] == "stream":
            yield from output["text"]
        else:
            yield from output["data"].get("text/plain", ())


def _methods() -> dict[str, tuple[str, Callable[[Any], list[str] | str]]]:
    def lines(shown: str) -> list[str]:
        return shown.splitlines(keepends=True)

    def encoded(shown: bytes) -> str:
        return base64.b64encode(shown).decode()

    return {
        "text/html": ("_repr_html_", lines),
        "image/svg+xml": ("_repr_svg_", lines),
        "image/png": ("_repr_png_", encoded),
    }


_METHODS: Final = _methods()


def _run(source: str, name: str, namespace: dict[str, Any], count: int) -> list[dict[str, Any]]:
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec", dont_inherit=True), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), namespace)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        rich = {
            kind: form(shown)
            for kind, (method, form) in _METHODS.items()
            if hasattr(value, method) and (shown := getattr(value, method)()) is not None
        }
        plain = str(value) if hasattr(value, "_repr_html_") else repr(value)
        data = {"text/plain": plain.splitlines(keepends=True), **rich}
        outputs.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    return outputs


# Pictures and pages -----------------------------------------------------------------------------------------------


def pictures(executed: dict[str, Any]) -> dict[str, bytes]:
    """The pictures of an executed notebook by name: ``cell-12.png``, ``cell-15.svg``."""
    found = {}
    for number, cell in enumerate(executed["cells"]):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                found[f"cell-{number}.png"] = base64.b64decode(data["image/png"])
            if "image/svg+xml" in data:
                found[f"cell-{number}.svg"] = "".join(data["image/svg+xml"]).encode()
    return found


def markdown(notebook: dict[str, Any], folder: str = "../docs/") -> str:
    """The notebook as a page of Markdown for ``folder`` (as its links call it): text, and code without outputs."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```\n")
        else:
            parts.append(source.replace(f"]({folder}", "](") + "\n")
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute, strip or convert notebooks."""
    parser = argparse.ArgumentParser(prog="prevail_py.research.notebooks", description="Execute notebooks.")
    commands = parser.add_subparsers(dest="what", required=True)
    run = commands.add_parser("execute", help="write executed copies and their pictures")
    run.add_argument("--out", metavar="DIR", type=Path, required=True)
    strip = commands.add_parser("strip", help="take the outputs out, in place")
    page = commands.add_parser("markdown", help="print one as a page of Markdown")
    for command in (run, strip, page):
        command.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", type=Path)
    given = parser.parse_args(arguments)
    for path in given.notebooks:
        notebook = load(path)
        match given.what:
            case "strip":
                path.write_text(dumps(stripped(notebook)), encoding="utf-8")
            case "markdown":
                print(markdown(notebook), end="")
            case _:
                _execute(path, notebook, given.out / path.stem)
    return 0


def _execute(path: Path, notebook: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    out = out.resolve()
    os.chdir(path.parent)
    try:
        done = execute(notebook)
    finally:
        os.chdir(before)
    (out / path.name).write_text(dumps(done), encoding="utf-8")
    found = pictures(done)
    for name, data in found.items():
        (out / name).write_bytes(data)
    print(f"{path.name}: {len(found)} pictures, {check(done)} texts as expected", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
