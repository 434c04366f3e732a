"""The rule that continuous integration may not pass by skipping: an allowed skip passes, any other fails the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

REASON = "kernel engine: none here"

@pytest.mark.skipif(True, reason=REASON)
def test_one():
    pass

def test_two():
    pass
"""


@pytest.mark.parametrize(
    ("may_skip", "code", "workers"),
    [
        (None, 0, "0"),
        ("shared|^kernel engine:", 0, "1"),
        ("^shared:", 1, "1"),
        ("", 1, "0"),
    ],
)
def test_skips_fail_the_run_unless_allowed(
    root: Path, tmp_path: Path, may_skip: str | None, code: int, workers: str
) -> None:
    shutil.copy(root / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREVAIL_PY_", "PYTEST_"))}
    if may_skip is not None:
        environment["PREVAIL_PY_MAY_SKIP"] = may_skip
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-n", workers, "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "tests that need kernel: 0 ran, 1 skipped" in done.stdout
    assert ("may not be skipped here: kernel engine: none here" in done.stdout) == bool(code)
