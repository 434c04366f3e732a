"""What tests may need from the machine, each as a fixture that skips with a reason where it is missing.

A test asks for ``shared_dir``, ``clang``, ``kernel``, ``xdp_objects`` or ``graphviz`` by naming the fixture.  With
``PREVAIL_PY_REQUIRE="kernel clang"`` in the environment the named ones *fail* instead of skipping: continuous
integration installs them and must not pass by skipping.  The summary counts, per resource, the tests that ran.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESOURCE = "needs"  # the name of the user property that carries a resource from a worker to the summary


def _missing(name: str, reason: str) -> NoReturn:
    if name in os.environ.get("PREVAIL_PY_REQUIRE", "").split():
        pytest.fail(f"{name} is required here, but {reason}", pytrace=False)
    pytest.skip(reason)


def _note(request: pytest.FixtureRequest, name: str) -> None:
    request.node.user_properties.append((RESOURCE, name))


@cache
def _clang() -> str | None:
    """A clang that can compile for eBPF: the newest of the usual names."""
    for name in ("clang-19", "clang-20", "clang-18", "clang-17", "clang-16", "clang"):
        path = shutil.which(name)
        if path is not None:
            probe = [path, "-target", "bpf", "-c", "-x", "c", "-o", os.devnull, os.devnull]
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return path
    return None


@cache
def _kernel() -> str | None:
    """Why the kernel engine cannot be used, or None."""
    from prevail_py.vm.kernel import available

    return available()


@pytest.fixture
def root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture
def shared_dir(request: pytest.FixtureRequest) -> Path:
    """The directory of supplied data beside the repository."""
    _note(request, "shared")
    path = ROOT.parent / "shared"
    if not path.is_dir():
        _missing("shared", "there is no directory 'shared' beside the repository")
    return path


@pytest.fixture
def clang(request: pytest.FixtureRequest) -> str:
    """The path of a clang with the BPF target."""
    _note(request, "clang")
    path = _clang()
    if path is None:
        _missing("clang", "no clang with the BPF target is installed")
    return path


@pytest.fixture
def graphviz(request: pytest.FixtureRequest) -> str:
    """The path of graphviz's ``dot``."""
    _note(request, "graphviz")
    path = shutil.which("dot")
    if path is None:
        _missing("graphviz", "graphviz's dot is not installed")
    return path


@pytest.fixture
def xdp_objects(request: pytest.FixtureRequest) -> tuple[Path, ...]:
    """The object files that Debian's xdp-tools and libxdp1 install, sorted by name."""
    _note(request, "xdp_objects")
    found = tuple(sorted(p for p in Path("/usr/lib").glob("*/bpf/*.o") if p.name.startswith(("xdp", "xsk"))))
    if not found:
        _missing("xdp_objects", "the object files of xdp-tools and libxdp1 are not installed")
    return found


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> None:
    """That programs can be loaded into the running kernel."""
    _note(request, "kernel")
    reason = _kernel()
    if reason is not None:
        _missing("kernel", f"the kernel engine cannot be used: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per resource: how many of the tests that need it ran."""
    ran: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for outcome, counter in (("passed", ran), ("failed", ran), ("skipped", skipped)):
        for report in terminalreporter.getreports(outcome):
            counter.update({value for key, value in getattr(report, "user_properties", ()) if key == RESOURCE})
    for name in sorted({*ran, *skipped}):
        terminalreporter.write_line(f"tests that need {name}: {ran[name]} ran, {skipped[name]} skipped")
