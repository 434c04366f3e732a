"""What tests may need from the machine, each as a fixture that skips with a reason where it is missing.

A test asks for ``shared_dir``, ``clang``, ``kernel``, ``xdp_objects``, ``graphviz`` or ``chromium`` by naming the
fixture; a module may as well mark itself with ``skipif(..., reason="kernel engine: ...")``.  The summary counts, per
resource, the tests that ran.

Continuous integration installs what can be installed and must not pass by skipping: where the environment has
``PREVAIL_PY_MAY_SKIP``, a regular expression, each skip whose reason it does not match fails the run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline measures the machine, not the test.  Continuous integration repeats the same inputs every time.
settings.register_profile("prevail_py", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("prevail_py")

ROOT = Path(__file__).resolve().parents[1]

# Whatever extensions the user has: tests that want some have a store of their own.
os.environ["PREVAIL_PY_EXTENSIONS"] = os.fspath(ROOT / "tests" / "no extensions")
RESOURCE = "needs"  # the user property that carries a resource from a test to the summary


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
    from prevail_py.vm.kernel.engine import available

    return available()


@pytest.fixture
def root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/NAME``; with ``PREVAIL_PY_UPDATE_GOLDEN`` set, write it there instead."""

    def compare(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if os.environ.get("PREVAIL_PY_UPDATE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; PREVAIL_PY_UPDATE_GOLDEN=1 rewrites it"

    return compare


@pytest.fixture
def shared_dir(request: pytest.FixtureRequest) -> Path:
    """The directory of supplied data beside the repository."""
    _note(request, "shared")
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("shared: there is no directory 'shared' beside the repository")
    return path


@pytest.fixture
def clang(request: pytest.FixtureRequest) -> str:
    """The path of a clang with the BPF target."""
    _note(request, "clang")
    path = _clang()
    if path is None:
        pytest.skip("clang: no clang with the BPF target is installed")
    return path


@pytest.fixture
def graphviz(request: pytest.FixtureRequest) -> str:
    """The path of graphviz's ``dot``."""
    _note(request, "graphviz")
    path = shutil.which("dot")
    if path is None:
        pytest.skip("graphviz: graphviz's dot is not installed")
    return path


@pytest.fixture
def chromium(request: pytest.FixtureRequest) -> str:
    """The path of a Chromium that Playwright can drive."""
    _note(request, "chromium")
    from prevail_py.research.browser import chromium_path, lacking

    reason = lacking()
    if reason is not None:
        pytest.skip(f"chromium: {reason}")
    path = chromium_path()
    assert path is not None
    return path


@pytest.fixture
def xdp_objects(request: pytest.FixtureRequest) -> tuple[Path, ...]:
    """The object files that Debian's xdp-tools and libxdp1 install, sorted by name."""
    _note(request, "xdp_objects")
    found = tuple(sorted(p for p in Path("/usr/lib").glob("*/bpf/*.o") if p.name.startswith(("xdp", "xsk"))))
    if not found:
        pytest.skip("xdp_objects: the object files of xdp-tools and libxdp1 are not installed")
    return found


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> None:
    """That programs can be loaded into the running kernel."""
    _note(request, "kernel")
    reason = _kernel()
    if reason is not None:
        pytest.skip(f"kernel engine: {reason}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mark themselves as needing the kernel are counted like those that ask for the fixture."""
    for item in items:
        reasons = [str(mark.kwargs.get("reason", "")) for mark in item.iter_markers("skipif")]
        if any(reason.startswith("kernel engine:") for reason in reasons):
            item.user_properties.append((RESOURCE, "kernel"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per resource with how many of the tests that need it ran, and one per reason for skipping."""
    ran: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for outcome, counter in (("passed", ran), ("failed", ran), ("skipped", skipped)):
        for report in terminalreporter.getreports(outcome):
            counter.update({value for key, value in getattr(report, "user_properties", ()) if key == RESOURCE})
    for name in sorted({*ran, *skipped}):
        terminalreporter.write_line(f"tests that need {name}: {ran[name]} ran, {skipped[name]} skipped")
    reasons = _skips(terminalreporter)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")
    for reason in sorted(_forbidden(reasons)):
        terminalreporter.write_line(f"may not be skipped here: {reason}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for skips that the environment does not allow."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and session.exitstatus == pytest.ExitCode.OK and _forbidden(_skips(reporter)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skips(reporter: pytest.TerminalReporter) -> Counter[str]:
    """The reasons for skipping, with how many tests each skipped."""
    return Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in reporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )


def _forbidden(reasons: Iterable[str]) -> set[str]:
    allowed = os.environ.get("PREVAIL_PY_MAY_SKIP")
    if allowed is None:
        return set()
    return {reason for reason in reasons if not allowed or not re.search(allowed, reason)}
