"""The Makefile explains itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def make() -> str:
    path = shutil.which("make")
    if path is None:
        pytest.skip("make is not installed")
    return path


def test_bare_make_lists_every_target(root: Path, make: str) -> None:
    listed = subprocess.run([make], cwd=root, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^\.PHONY: (\S+)$", (root / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"help", "demo", "test", "check"} <= set(targets)
    for target in targets:
        assert re.search(rf"^  {target} +\S", listed, flags=re.MULTILINE), target


def test_targets_named_in_the_documents_exist(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    for document in [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")]:
        for target in re.findall(r"(?:`|^)make ([a-z][a-z-]*)", document.read_text(), flags=re.MULTILINE):
            assert f"\n{target}:" in makefile, f"{document} names make {target}"


def test_environment_is_not_made_twice(root: Path, make: str, tmp_path: Path) -> None:
    """With stamps newer than pyproject.toml nothing is installed."""
    (tmp_path / "bin").mkdir()
    for name in ("pyvenv.cfg", ".ready-test", ".ready-dev"):
        (tmp_path / name).touch()
    plan = [make, "--dry-run", f"VENV={tmp_path}", "check"]
    done = subprocess.run(plan, cwd=root, capture_output=True, text=True, check=True)
    assert "pip install" not in done.stdout
    (tmp_path / ".ready-test").unlink()
    done = subprocess.run(plan, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install") == 1
