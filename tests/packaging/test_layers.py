"""The contract on who may import whom notices what it forbids."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="import-linter is not installed")


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("words.py", "import prevail_py.isa.instructions", "Layers"),
        ("cfg/graph.py", "from prevail_py.vm import outcome", "Layers"),
        ("platforms/model.py", "def f():\n    import prevail_py.objects.program", "Layers"),
        ("domains/tnum.py", "import z3", "Domains"),
    ],
)
def test_forbidden_import_is_noticed(root: Path, tmp_path: Path, module: str, statement: str, contract: str) -> None:
    shutil.copytree(root / "prevail_py", tmp_path / "prevail_py", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    with (tmp_path / "prevail_py" / module).open("a") as file:
        file.write(f"\n\n{statement}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    broken = [line for line in done.stdout.splitlines() if line.endswith(" BROKEN")]
    assert any(line.startswith(contract) for line in broken)
