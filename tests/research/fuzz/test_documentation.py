"""The snippets of docs/fuzzing.md do what it says, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from prevail_py.research import strategies
from prevail_py.research.fuzz import ORACLES

TEXT = (Path(__file__).parents[3] / "docs" / "fuzzing.md").read_text()


def test_the_snippets_run() -> None:
    snippets = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(snippets) == 4
    for snippet in snippets:
        exec(compile(snippet, "docs/fuzzing.md", "exec"), {"__name__": "snippet"})


def test_the_tables_are_complete() -> None:
    assert all(f"| `{name}` |" in TEXT for name in ORACLES)
    assert all(f"`{name}(" in TEXT for name in strategies.__all__ if name != "edges")
