"""One trial: the tests against one mutant, in this process.

``python -m prevail_py.research.mutants.trial --result FILE [--mutant NAME --baseline FILE] TEST...`` changes the module
as it is imported (so nothing on disk is touched), runs pytest over the tests, the quickest first, and stops at the
first failure.  ``FILE`` is told what came of it as JSON: ``outcome`` is ``survived``, ``killed``, ``timeout`` or
``memory``, ``test`` the test that noticed, ``seconds`` of CPU time.

Without a mutant it is the baseline: ``durations`` has the seconds that each test took, which order the trials to come
and limit each test in them, and ``calls`` the functions that it called, so that a mutant is tried with those tests only
that reach it.  A function that is called when tests are collected is reached by all.

A trial is deterministic but for time and memory: hypothesis draws the same examples every time, and does not look for
smaller ones.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from time import process_time
from types import CodeType, FrameType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from prevail_py.research.mutants.draw import Mutant, mutated, of_module, source
from prevail_py.research.mutants.places import PACKAGES, functions

if TYPE_CHECKING:
    import pytest

__all__ = ["COLLECTION", "find", "main"]

COLLECTION: Final = ""
"""Stands for a test in ``calls``: what is called when tests are collected."""

_SLACK: Final = 4.0
_FACTOR: Final = 8.0
"""A test has this many seconds of CPU time, and this many times what it took in the baseline."""

_CPU: Final = 900
"""Seconds of CPU time after which the system ends a trial, for a loop that never comes back to Python."""

_MEMORY: Final = 6 << 30
"""Bytes of address space, most of which Z3 only reserves."""

_OUTSIDE: Final = frozenset({"clang", "kernel"})
"""Fixtures of tests that are about other programs than the verifier: left out."""


def find(name: str) -> Mutant:
    """The mutant of this name.  Raises ValueError where there is none."""
    module = name.partition(":")[0]
    try:
        text = source(module)
    except FileNotFoundError:
        raise ValueError(f"there is no module {module!r} to mutate") from None
    for mutant in of_module(module, text):
        if mutant.name == name:
            return mutant
    raise ValueError(f"there is no mutant {name!r}")


# Changing modules as they are imported ----------------------------------------------------------------------------


class _Loader(SourceFileLoader):
    """Loads a module from a code of its own, and never from a compiled file."""

    def __init__(self, name: str, path: str, code: Callable[[str], CodeType]) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code(self.path)

    def exec_module(self, module: ModuleType) -> None:
        _loaded.append(module.__name__)
        super().exec_module(module)


_loaded: Final[list[str]] = []
"""The modules that were loaded changed."""


class _Finder(MetaPathFinder):
    """Finds the modules that ``code`` knows the code of."""

    def __init__(self, code: Callable[[str, str], CodeType | None]) -> None:
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parts = fullname.split(".")
        if len(parts) != 3 or parts[0] != "prevail_py" or parts[1] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or spec.submodule_search_locations is not None:
            return None  # packages are not looked into
        code = self._code(".".join(parts[1:]), spec.origin)
        if code is None:
            return None
        spec.loader = _Loader(fullname, spec.origin, lambda _: code)
        return spec


class _Calls:
    """Notes which functions are called: each begins with a call of ``__called__``."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.now: set[int] = set()

    def code(self, module: str, path: str) -> CodeType:
        """The code of a module with these calls in it."""
        tree = ast.parse(source(module), path)
        inside = {(found.name, found.tree.lineno): found.name for found in functions(module, source(module))}
        by_line = {line: name for (name, line) in inside}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.lineno in by_line:
                call = ast.parse(f"__called__({len(self.names)})").body[0]
                self.names.append(f"{module}:{by_line[node.lineno]}")
                is_text = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
                node.body.insert(1 if is_text else 0, ast.copy_location(call, node.body[0]))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def install(self) -> None:
        """From now on the modules are loaded so."""
        import builtins

        builtins.__called__ = self.now.add  # type: ignore[attr-defined]
        sys.meta_path.insert(0, _Finder(self.code))

    def take(self) -> list[str]:
        """The functions called since the last time."""
        names = sorted({self.names[number] for number in self.now})
        self.now.clear()
        return names


# Running the tests ------------------------------------------------------------------------------------------------


class _Plugin:
    """Chooses and orders the tests, limits each, and notes the first that fails."""

    def __init__(self, report: _Report, base: Mapping[str, Any], wanted: frozenset[str], slack: float) -> None:
        self._report, self._slack, self._wanted = report, slack, wanted
        self._baseline: Mapping[str, float] = base.get("durations", {})
        self._started = 0.0
        self.recorder: _Calls | None = None
        self.durations: dict[str, float] = {}
        self.calls: dict[str, list[str]] = {}
        self.failed = ""
        self.why = ""

    def pytest_collection(self) -> None:
        """The same examples every time, and none smaller once one fails."""
        import hypothesis

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile(
            "mutants", deadline=None, derandomize=True, database=None, phases=phases, report_multiple_bugs=False
        )
        hypothesis.settings.load_profile("mutants")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [
            item
            for item in items
            if _OUTSIDE.isdisjoint(getattr(item, "fixturenames", ()))
            and (not self._baseline or item.nodeid in self._wanted)
        ]
        items.sort(key=lambda item: self._baseline.get(item.nodeid, 0.0))
        if self.recorder is not None:
            self.calls[COLLECTION] = self.recorder.take()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._started = process_time()
        self._report.test = nodeid
        if self._baseline:
            signal.setitimer(signal.ITIMER_PROF, self._slack + _FACTOR * self._baseline.get(nodeid, 0.0))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.durations[nodeid] = round(process_time() - self._started, 4)
        if self.recorder is not None:
            self.calls[nodeid] = self.recorder.take()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._note(report.nodeid, report.longreprtext)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._note(report.nodeid or "collection", report.longreprtext)

    def _note(self, test: str, text: str) -> None:
        if not self.failed:
            self.failed = test
            lines = [line[2:] for line in text.splitlines() if line.startswith("E  ")]
            self.why = (lines[0] if lines else text.strip().splitlines()[-1] if text.strip() else "").strip()[:200]


class _Report:
    """Writes the result, once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.test = ""

    def write(self, outcome: str, **more: Any) -> None:
        result = {"outcome": outcome, "seconds": round(process_time(), 2), **more}
        # In one step: who reads it must not find half of it.
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(result), encoding="utf-8")
        part.replace(self._path)

    def out_of_time(self, number: int, frame: FrameType | None) -> None:
        """A signal handler: the mutant makes a test run on and on."""
        self.write("timeout", test=self.test)
        os._exit(3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one trial: 0 if the mutant survived, 1 if it was killed, 2 if the trial could not be made."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.mutants.trial", description=__doc__)
    parser.add_argument("tests", nargs="+", help="files and folders of tests")
    parser.add_argument("--result", type=Path, required=True, help="where the result goes, as JSON")
    parser.add_argument("--mutant", help="the name of the mutant")
    parser.add_argument("--replace", nargs=3, metavar=("FUNCTION", "OLD", "NEW"), help="a change made by hand, instead")
    parser.add_argument("--baseline", type=Path, help="the result of a run without a mutant")
    parser.add_argument("--slack", type=float, default=_SLACK, help="seconds of CPU time for any test")
    parser.add_argument("--ignore", action="append", default=[], help="a file of tests to leave out")
    options = parser.parse_args(arguments)
    report = _Report(options.result)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU, _CPU))
    ignored = [f"--ignore={path}" for path in options.ignore]
    try:
        function, text = _change(options.mutant, options.replace)
        base = {} if options.baseline is None else json.loads(options.baseline.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"trial: {error}", file=sys.stderr)
        return 2
    if not function:
        plugin = _Plugin(report, {}, frozenset(), options.slack)
        plugin.recorder = _Calls()
        plugin.recorder.install()
        return _run(report, plugin, [*ignored, *options.tests], "")
    wanted = _reaching(base, function)
    if base and not wanted:
        report.write("survived", tests=0)
        return 0
    if base:
        signal.signal(signal.SIGPROF, report.out_of_time)
    module = function.partition(":")[0]
    sys.meta_path.insert(0, _Finder(lambda name, path: _compiled(text, path) if name == module else None))
    tests = list(dict.fromkeys(test.partition("::")[0] for test in wanted)) or options.tests
    return _run(report, _Plugin(report, base, wanted, options.slack), [*ignored, *tests], module)


def _compiled(text: str, path: str) -> CodeType:
    return compile(text, path, "exec", dont_inherit=True)


def _reaching(base: Mapping[str, Any], function: str) -> frozenset[str]:
    """The tests that call the function; all where collecting them did already."""
    calls: Mapping[str, list[str]] = base.get("calls", {})
    everywhere = function in calls.get(COLLECTION, ())
    return frozenset(
        test for test, called in calls.items() if test != COLLECTION and (everywhere or function in called)
    )


def _change(name: str | None, replacement: Sequence[str] | None) -> tuple[str, str]:
    """The function that is changed, as ``module:name``, and the module's text then; nothing for the baseline."""
    if name is not None:
        mutant = find(name)
        return f"{mutant.module}:{mutant.function}", mutated(source(mutant.module), mutant.change)
    if replacement is not None:
        function, old, new = replacement
        module = function.partition(":")[0]
        text = source(module)
        if text.count(old) != 1:
            raise ValueError(f"{old!r} is {text.count(old)} times in {module}, not once")
        return function, text.replace(old, new)
    return "", ""


def _run(report: _Report, plugin: _Plugin, arguments: Sequence[str], module: str) -> int:
    import pytest

    options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--no-header", "--tb=short"]
    status = pytest.main([*options, *arguments], [plugin])
    if module and f"prevail_py.{module}" not in _loaded:
        print(f"trial: no test imports {module}", file=sys.stderr)
        return 2
    match status:
        case pytest.ExitCode.OK:
            more = {"durations": plugin.durations, "calls": plugin.calls} if plugin.recorder is not None else {}
            report.write("survived", tests=len(plugin.durations), **more)
            return 0
        case pytest.ExitCode.TESTS_FAILED | pytest.ExitCode.INTERRUPTED:
            outcome = "memory" if "MemoryError" in plugin.why else "killed"
            report.write(outcome, test=plugin.failed, why=plugin.why, tests=len(plugin.durations))
            return 1
        case _:
            # What a mutant does to pytest itself: a fixture or a hook that imports the module fails.
            report.write("killed", test=plugin.failed or "start", why=f"pytest ended with {int(status)}")
            return 1


if __name__ == "__main__":
    raise SystemExit(main())
