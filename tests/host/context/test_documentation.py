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


@pytest.mark.parametrize(
    ("page", "heading", "below"),
    [
        ("host.md", "## Where each part is shown", "tests"),
        ("trust.md", "## The attacks, and where they are", "tests/host"),
    ],
)
def test_what_the_tables_name_is_there(page: str, heading: str, below: str, root: Path) -> None:
    """Files and tests, by their names."""
    page_text = (root / "docs" / page).read_text(encoding="utf-8")
    table = page_text.split(heading)[1].split("\n## ")[0]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py"))
    functions = set(re.findall(r"^def (\w+)\(", sources, re.MULTILINE))
    names = re.findall(r"`([\w./]+)`", table)
    files = [name for name in names if name.endswith(".py")]
    assert len(files) > 10
    for name in files:
        assert (root / below / name).is_file() or list((root / "tests").rglob(name)), name
    for name in (name for name in names if name.startswith("test_") and not name.endswith(".py")):
        assert name in functions, name
