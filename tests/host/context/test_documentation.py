"""docs/host.md: what it shows runs, and its table of calls is the protocol's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prevail_py.host.context.protocol import CALLS


def text(root: Path) -> str:
    return (root / "docs" / "host.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("lockdown")
def test_the_python_of_the_page_runs(root: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", text(root), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/host.md", "exec"), {})


def test_every_call_is_listed(root: Path) -> None:
    table = text(root).split("| calls | |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table.replace("`bpf(2)`", "").replace("`token`", ""))) == set(CALLS)
