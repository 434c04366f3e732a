"""The mutants: which there are, that the trials tell a wrong one from none at all, and what is made of the results."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from prevail_py.research.mutants import campaign, table
from prevail_py.research.mutants.__main__ import main
from prevail_py.research.mutants.campaign import CampaignError, Result, Store
from prevail_py.research.mutants.changes import KINDS, changes
from prevail_py.research.mutants.draw import MOST_PER_FUNCTION, draw, mutated, source
from prevail_py.research.mutants.places import EXCLUDED, class_of, shares
from prevail_py.research.mutants.trial import find

TESTS = "tests/domains/test_words.py"
OPERATOR = "domains.bounds:join"
JOIN = "        umin if umin <= umin_ else umin_,\n        umax if umax >= umax_ else umax_,"


def _changes(text: str) -> set[tuple[str, str, str]]:
    (function,) = ast.parse(text).body
    assert isinstance(function, ast.FunctionDef)
    return {(change.kind, change.before, change.after) for change in changes(function)}


class TestChanges:
    @pytest.mark.parametrize(
        ("body", "change"),
        [
            ("return x < 1", ("comparison", "x < 1", "x <= 1")),
            ("return x == 1", ("comparison", "x == 1", "x != 1")),
            ("return 0 <= x < 4", ("comparison", "0 <= x < 4", "0 <= x <= 4")),
            ("return f(x, 64)", ("constant", "64", "32")),
            ("return f(x, 7)", ("constant", "7", "8")),
            ("return f(x, 7)", ("constant", "7", "6")),
            ("return f(x, signed=True)", ("flag", "True", "False")),
            ("return x << y", ("arithmetic", "x << y", "x >> y")),
            ("return -x", ("arithmetic", "-x", "x")),
            ("y |= x", ("arithmetic", "y |= x", "y &= x")),
            ("return x and y", ("boolean", "x and y", "x or y")),
            ("return not x", ("boolean", "not x", "x")),
            ("if x > 1:\n  return y\nreturn x", ("condition", "x > 1", "not x > 1")),
            ("if x > 1:\n  return y\nreturn x", ("guard", "if x > 1:\n    return y", "pass")),
            ("return x if y > 1 else 2", ("condition", "x if y > 1 else 2", "2 if y > 1 else x")),
            ("x.clobber(y)", ("drop", "x.clobber(y)", "pass")),
            ("x.size = y", ("drop", "x.size = y", "pass")),
            ("return x.meet(y)", ("skip", "x.meet(y)", "x")),
            ("return bounds.meet(x, y, half)", ("skip", "bounds.meet(x, y, half)", "x")),
            ("return f(x, y)", ("swap", "f(x, y)", "f(y, x)")),
            ("return min(x, y)", ("twin", "min(x, y)", "max(x, y)")),
            ("return x.lo", ("twin", "x.lo", "x.hi")),
            ("return Comparison.SLT", ("twin", "Comparison.SLT", "Comparison.ULT")),
        ],
    )
    def test_a_change_is_made(self, body: str, change: tuple[str, str, str]) -> None:
        lines = "\n ".join(body.split("\n"))
        assert change in _changes(f"def f(x: int, y: int) -> int:\n {lines}")

    def test_results_are_changed(self) -> None:
        assert ("return", "return x", "return True") in _changes("def f(x: bool) -> bool:\n return x")
        assert ("return", "return f(x)", "return None") in _changes("def f(x: int) -> int | None:\n return f(x)")
        assert ("return", "return g()", "return self") in _changes("def f(self) -> Self:\n return g()")

    @pytest.mark.parametrize(
        "body",
        [
            '"""A text with 3 in it."""',
            'raise ValueError("no")',
            "assert x",
            "return f'{x + 1}'",
            "return Violation(x + 1)",
            "if x is y:\n  return x\nreturn y",
            "if not x:\n  return\nx()",
            "self._spend(x + 1)",
            "return zip(x, y, strict=True)",
            "return getattr(x, 'y', False)",
        ],
    )
    def test_texts_shortcuts_and_budgets_are_left_alone(self, body: str) -> None:
        lines = "\n ".join(body.split("\n"))
        found = {kind for kind, *_ in _changes(f"def f(x, y):\n {lines}")}
        assert found <= {"condition", "drop", "boolean"}, found
        assert "guard" not in found

    def test_the_text_around_a_change_stays(self) -> None:
        text = "def f(x):\n    é = g(x, # why\n      3)\n    return é\n"
        (function,) = ast.parse(text).body
        assert isinstance(function, ast.FunctionDef)
        two, four = (mutated(text, change) for change in changes(function) if change.kind == "constant")
        assert four == text.replace("3)", "(4))")
        assert two == text.replace("3)", "(2))")


class TestDraw:
    def test_it_is_the_same_every_time_and_in_the_shares_of_its_classes(self) -> None:
        drawn = draw(200)
        assert drawn == draw(200)
        assert [mutant.name for mutant in drawn] != [mutant.name for mutant in draw(200, seed=5)]
        assert len({mutant.name for mutant in drawn}) == 200
        assert Counter(mutant.area for mutant in drawn) == shares()
        assert {mutant.change.kind for mutant in drawn} == set(KINDS)
        assert max(Counter((m.module, m.function) for m in drawn).values()) <= MOST_PER_FUNCTION

    def test_each_changes_its_module(self) -> None:
        for mutant in draw(200):
            assert mutated(source(mutant.module), mutant.change) != source(mutant.module)

    def test_it_outlives_changes_elsewhere(self) -> None:
        name = draw(8)[0].name
        assert find(name).name == name

    def test_classes(self) -> None:
        assert class_of("verifier.merge", "subsumes") == "leq"
        assert class_of("verifier.regions", "store") == "memory"
        assert class_of("domains.interval", "Interval.widen") == "widening"
        assert class_of("domains.scalar", "Scalar.__repr__") == EXCLUDED
        assert class_of("verifier.explain", "explain") == EXCLUDED
        assert sum(shares().values()) == 200

    def test_list(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--list", "--count", "100"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 100


def _trial(root: Path, path: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    command = [sys.executable, "-m", "prevail_py.research.mutants.trial", TESTS, "--result", str(path), *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(path.read_text()) if path.exists() else {"error": done.stderr}


class TestTrial:
    def test_without_a_mutant_and_with_one_that_means_nothing(self, root: Path, tmp_path: Path) -> None:
        base = tmp_path / "base.json"
        status, found = _trial(root, base)
        assert (status, found["outcome"]) == (0, "survived")
        assert isinstance(found["durations"], dict)
        assert len(found["durations"]) == found["tests"]
        same = JOIN.replace("umin <= umin_ else umin_", "not umin > umin_ else umin_")
        status, found = _trial(root, tmp_path / "r", "--baseline", str(base), "--replace", OPERATOR, JOIN, same)
        assert (status, found["outcome"]) == (0, "survived")

    def test_a_wrong_one_is_killed(self, root: Path, tmp_path: Path) -> None:
        wrong = JOIN.replace("umax >= umax_", "umax <= umax_")
        status, found = _trial(root, tmp_path / "r", "--replace", OPERATOR, JOIN, wrong)
        assert (status, found["outcome"]) == (1, "killed")
        assert str(found["test"]).startswith(TESTS)
        assert found["why"]

    def test_one_that_hangs_runs_out_of_time(self, root: Path, tmp_path: Path) -> None:
        base = tmp_path / "base.json"
        assert _trial(root, base)[0] == 0
        endless = JOIN.replace("umin <= umin_ else umin_", "umin <= umin_ else next(x for x in iter(int, 1) if x)")
        arguments = ["--baseline", str(base), "--slack", "0.5", "--replace", OPERATOR, JOIN, endless]
        status, found = _trial(root, tmp_path / "r", *arguments)
        assert (status, found["outcome"]) == (3, "timeout")

    def test_one_that_is_no_module_any_more_is_killed(self, root: Path, tmp_path: Path) -> None:
        status, found = _trial(root, tmp_path / "r", "--replace", OPERATOR, JOIN, "        no_such_name,")
        assert (status, found["outcome"]) == (1, "killed")

    def test_what_cannot_be_tried_is_an_error(self, root: Path, tmp_path: Path) -> None:
        for arguments in (
            ["--mutant", "domains.nowhere:f guard#0 'a' -> 'b'"],
            ["--mutant", "domains.bounds:join guard#7 'a' -> 'b'"],
            ["--replace", "domains.bounds", "no such text", ""],
            ["--replace", "verifier.termination", "def measure(", "def measure_("],
        ):
            status, found = _trial(root, tmp_path / "r", *arguments)
            assert status == 2, arguments
            assert "trial: " in str(found["error"]) or "no test imports" in str(found["error"])


class TestCampaign:
    def test_it_goes_on_where_it_was(self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        mutants = draw(8)[:3]
        tried = []

        def trial(_: Path, __: Path, arguments: list[str], tests: list[str]) -> dict[str, object]:
            tried.append(arguments[1])
            return {"outcome": "killed" if len(tried) > 1 else "survived", "seconds": 1.0, "test": "a test", "tests": 3}

        monkeypatch.setattr(campaign, "_trial", trial)
        store = Store(tmp_path, "one")
        campaign.run(root, store, tmp_path / "base", mutants[:2])
        again = Store(tmp_path, "one")
        again.load()
        assert again.results == store.results
        assert [result.is_killed for result in again.results.values()] == [False, True]
        other = Store(tmp_path, "two")
        other.load()
        assert not other.results
        other.load(whatever=True)
        assert other.results == store.results

    def test_a_trial_that_cannot_be_made_ends_it(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(campaign, "_trial", lambda *_: {"error": "the trial ended with 2: no memory"})
        with pytest.raises(CampaignError, match="no memory"):
            campaign.run(root, Store(tmp_path, ""), tmp_path, draw(8)[:1])
        with pytest.raises(CampaignError, match="fail without any mutant"):
            campaign.baseline(root, tmp_path)
        with pytest.raises(CampaignError, match="control"):
            campaign.controls(root, tmp_path, tmp_path)

    def test_controls_change_what_they_say(self) -> None:
        for function, old, new, _ in campaign.CONTROLS:
            module = function.partition(":")[0]
            assert source(module).count(old) == 1
            compile(source(module).replace(old, new), module, "exec", dont_inherit=True)

    def test_tests_that_are_run_exist(self, root: Path) -> None:
        for path in (*campaign.SUITE, *campaign.LEFT_OUT):
            assert (root / path).exists(), path

    def test_sources_and_tests_have_a_digest(self, root: Path, tmp_path: Path) -> None:
        assert campaign.digest(root) == campaign.digest(root)
        assert campaign.digest(root, [TESTS]) != campaign.digest(root)


def test_the_table_has_every_survivor_with_its_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = draw(8)[:3]
    monkeypatch.setattr(table, "arguments", lambda: {one.name: "it means the same."})
    results = {
        one.name: Result(one.name, "survived", 40.0, 3),
        two.name: Result(two.name, "survived", 40.0, 3),
        three.name: Result(three.name, "timeout", 2.0, 1, "tests/test_a.py::test[a|b]"),
    }
    text = table.document([one, two, three], results, "abc", "make mutants", 40.0, 3)
    assert "**1 of 3 mutants (33.3%) are killed**, 1 of them" in text
    assert f"`{one.name}` ({one.area}): it means the same." in text
    assert "**not argued yet**" in text
    assert "`tests/test_a.py::test[a\\|b]`" in text


def test_arguments_are_sentences_about_one_mutant_each() -> None:
    assert all(because.endswith(".") and len(because) > 40 for because in table.arguments().values())
