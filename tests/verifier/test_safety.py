"""The three lists of what SAFE excludes: assertions, traps, and the table of docs/safety.md."""

from __future__ import annotations

import re
from pathlib import Path

from prevail_py.verifier.assertions import AssertionKind
from prevail_py.vm.outcome import TrapKind

_ROW = re.compile(r"^\| `([a-z-]+)` \| (\S.*) \|$", re.MULTILINE)


def rows(text: str) -> list[tuple[str, str]]:
    """Kind and explanation of each row of the table of assertions and traps."""
    section = text.split("\n## Assertions and traps\n")[1].split("\n## ")[0]
    return _ROW.findall(section)


def test_the_three_lists_are_equal() -> None:
    table = rows((Path(__file__).parents[2] / "docs" / "safety.md").read_text())
    documented = [kind for kind, _ in table]
    assert sorted(documented) == sorted(set(documented))
    assert set(documented) == {kind.value for kind in AssertionKind} == {kind.value for kind in TrapKind}
    assert {kind.name for kind in AssertionKind} == {kind.name for kind in TrapKind}


def test_a_row_that_is_missing_would_be_noticed() -> None:
    text = (Path(__file__).parents[2] / "docs" / "safety.md").read_text()
    without = re.sub(r"^\| `call-depth`.*\n", "", text, flags=re.MULTILINE)
    assert len(rows(without)) == len(rows(text)) - 1 == len(AssertionKind) - 1
