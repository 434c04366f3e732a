"""What an import costs and brings along, and which names refuse to be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import prevail_py

HEAVY = ("z3", "networkx", "rich", "dpkt", "elftools", "scapy")


def _python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def _loaded(statement: str, root: Path) -> set[str]:
    done = _python(f"import sys; {statement}; print(*sys.modules)", root)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_imports_next_to_nothing(root: Path) -> None:
    loaded = _loaded("import prevail_py", root)
    assert not loaded & set(HEAVY)
    assert {name for name in loaded if name.startswith("prevail_py.")} == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import prevail_py; prevail_py.Program, prevail_py.assemble, prevail_py.disassemble",
        "import prevail_py.cli.main",
        "import prevail_py.words, prevail_py.isa.decode, prevail_py.platforms, prevail_py.cfg.builder",
        "import prevail_py.verifier, prevail_py.vm.interpreter, prevail_py.host.gate",
    ],
)
def test_heavy_dependencies_are_imported_only_where_used(root: Path, statement: str) -> None:
    assert not _loaded(statement, root) & set(HEAVY)


def _cpu_seconds(command: list[str], cwd: Path) -> float:
    """User and system time of the cheapest of five runs."""
    best = float("inf")
    for _ in range(5):
        process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        best = min(best, usage.ru_utime + usage.ru_stime)
    return best


def test_import_is_quick(root: Path) -> None:
    assert _cpu_seconds([sys.executable, "-c", "import prevail_py"], root) < 0.150


def test_version_is_quick(root: Path) -> None:
    assert _cpu_seconds([sys.executable, "-m", "prevail_py", "--version"], root) < 0.250


@pytest.mark.parametrize("name", ["cfg", "domains", "vm"])
def test_bare_names_refuse_to_be_imported(root: Path, name: str) -> None:
    done = _python(f"import {name}", root)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: import prevail_py.{name}:")


@pytest.mark.parametrize("name", ["cfg", "domains", "vm"])
def test_top_level_links_lead_into_the_package(root: Path, name: str) -> None:
    if not (root / ".git").exists():
        pytest.skip("not a checkout: source distributions leave the links out")
    assert (root / name).is_symlink()
    assert os.readlink(root / name) == f"prevail_py/{name}"


def test_public_names() -> None:
    assert len(prevail_py.__all__) <= 20
    assert set(prevail_py.__all__) <= set(dir(prevail_py))
    for name in prevail_py.__all__:
        assert getattr(prevail_py, name) is not None


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        prevail_py.nonsense  # noqa: B018
