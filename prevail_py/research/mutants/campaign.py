"""All trials of a campaign: the baseline, two controls, and the mutants, some at a time.

Results are kept in ``results.jsonl``, a line each, under the digest of the sources and tests that they belong to.  A
campaign that was interrupted goes on where it was; where something changed it starts anew, or, asked to
(``--survivors``), tries only again what had survived.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from prevail_py.research.mutants.draw import Mutant
from prevail_py.research.mutants.places import PACKAGE

__all__ = ["CONTROLS", "LEFT_OUT", "SUITE", "CampaignError", "Result", "Store", "baseline", "controls", "digest", "run"]

SUITE: Final = (
    "tests/domains",
    "tests/verifier",
    "tests/research/test_suite.py",
    "tests/research/test_soundness.py",
    "tests/examples/test_verdicts.py",
    "tests/cli/test_verify.py",
)
"""The tests that are run against a mutant: those of the default tests that are about the verifier."""

LEFT_OUT: Final = ("tests/domains/test_planted_bugs.py", "tests/verifier/smt/test_algebra.py")
"""Tests of the tests, and of the solver's reading of words."""

CONTROLS: Final = (
    # One that no test can notice, and one that any test of the operator has to.
    ("domains.bounds:join", "umin if umin <= umin_ else umin_", "umin if not umin > umin_ else umin_", "survived"),
    ("domains.bounds:leq", "    return a[0] >= b[0] and a[1] <= b[1]", "    return a[1] <= b[1]", "killed"),
)  # fmt: skip
"""Changes made by hand, and what has to become of them: function, text, text instead, outcome."""

_LIMIT: Final = 1800
"""Seconds on the wall for one trial; each test in it has a limit of its own, in CPU time."""


class CampaignError(Exception):
    """The campaign cannot be made: its tests fail without any mutant, or notice nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one mutant: ``survived``, ``killed``, ``timeout`` or ``memory``, by which test, and why."""

    name: str
    outcome: str
    seconds: float
    tests: int = 0
    test: str = ""
    why: str = ""

    @property
    def is_killed(self) -> bool:
        """Whether a test noticed, or the budget of one did."""
        return self.outcome != "survived"


@dataclass(slots=True)
class Store:
    """The results under one folder; ``digest`` is that of the sources they are for."""

    folder: Path
    digest: str
    results: dict[str, Result] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file of the results."""
        return self.folder / "results.jsonl"

    def load(self, whatever: bool = False) -> None:
        """Read the results that belong to the same sources, or all of them."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.pop("digest") == self.digest or whatever:
                self.results[row["name"]] = Result(**row)

    def add(self, result: Result) -> None:
        """Keep one more result."""
        self.results[result.name] = result
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"digest": self.digest, **asdict(result)}) + "\n")


def digest(root: Path, tests: Sequence[str] = SUITE) -> str:
    """One for the package's sources and the tests: results belong to it."""
    found = [*PACKAGE.rglob("*.py"), root / "tests" / "conftest.py"]
    for test in tests:
        path = root / test
        found += path.rglob("*.py") if path.is_dir() else [path]
    total = blake2b(digest_size=8)
    for path in sorted(set(found)):
        if PACKAGE / "research" / "mutants" not in path.parents:
            total.update(path.as_posix().encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def baseline(root: Path, folder: Path, tests: Sequence[str] = SUITE) -> Path:
    """Run the tests without a mutant and keep how long each took.  Raises CampaignError where one fails."""
    path = folder / "baseline.json"
    found = _trial(root, path, [], tests)
    if found.get("outcome") != "survived":
        raise CampaignError(f"the tests fail without any mutant: {found.get('test')}: {found.get('why')}")
    return path


def controls(root: Path, folder: Path, base: Path, tests: Sequence[str] = SUITE) -> list[dict[str, Any]]:
    """Try the :data:`CONTROLS`.  Raises CampaignError where one of them does not end as it has to."""
    found = []
    for function, old, new, expected in CONTROLS:
        arguments = ["--replace", function, old, new, "--baseline", str(base)]
        result = _trial(root, folder / "control.json", arguments, tests)
        if result.get("outcome") != expected:
            raise CampaignError(f"a control in {function} should have {expected}: {result}")
        found.append(result)
    return found


def run(
    root: Path,
    store: Store,
    base: Path,
    mutants: Iterable[Mutant],
    jobs: int = 1,
    tests: Sequence[str] = SUITE,
    tell: Callable[[Result], None] = lambda result: None,
) -> None:
    """Try each mutant, ``jobs`` at a time, and keep the results.  Raises CampaignError where a trial cannot be made."""
    folder = store.folder / "trials"
    folder.mkdir(parents=True, exist_ok=True)

    def attempt(mutant: Mutant) -> Result:
        path = folder / f"{blake2b(mutant.name.encode(), digest_size=6).hexdigest()}.json"
        arguments = ["--mutant", mutant.name, "--baseline", str(base)]
        row = _trial(root, path, arguments, tests)
        if "outcome" not in row:
            raise CampaignError(f"{mutant.name}: {row['error']}")
        return Result(
            mutant.name,
            str(row["outcome"]),
            float(row["seconds"]),
            int(row.get("tests", 0)),
            str(row.get("test", "")),
            str(row.get("why", "")),
        )

    with ThreadPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(attempt, mutant) for mutant in mutants]):
            result = future.result()
            store.add(result)
            tell(result)


def _trial(root: Path, path: Path, arguments: Sequence[str], tests: Sequence[str]) -> dict[str, Any]:
    """The result of one trial in a process of its own; ``error`` where there is none."""
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "prevail_py.research.mutants.trial", *tests, "--result", str(path), *arguments]
    command += [f"--ignore={test}" for test in LEFT_OUT]
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, errors="replace", timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"outcome": "timeout", "seconds": _LIMIT, "test": "the whole trial"}
    if path.exists():
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return row
    if done.returncode < 0:
        # Out of time, of memory or of the stack, in a way that Python cannot report.
        outcome = "timeout" if -done.returncode == signal.SIGXCPU else "memory"
        return {"outcome": outcome, "seconds": 0.0, "test": f"ended by signal {-done.returncode}"}
    tail = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
    return {"error": f"the trial ended with {done.returncode}: {' '.join(tail)}"}
