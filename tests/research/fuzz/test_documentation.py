"""The snippets of docs/fuzzing.md do what it says, and its tables name what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from prevail_py.research import strategies
from prevail_py.research.fuzz import ORACLES

TEXT = (Path(__file__).parents[3] / "docs" / "fuzzing.md").read_text()


def test_the_snippets_run() -> None:
    snippets = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(snippets) == 4
    for snippet in snippets:
        # On its own, as its reader runs it: what Hypothesis draws depends on the modules that are loaded.
        done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_tables_are_complete() -> None:
    assert all(f"| `{name}` |" in TEXT for name in ORACLES)
    assert all(f"`{name}(" in TEXT for name in strategies.__all__ if name != "edges")
