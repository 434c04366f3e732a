"""The oracle on all safe examples, as users run it; and its report: forms, thresholds, exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.research import concolic, oracle_report
from prevail_py.research.concolic import steer
from prevail_py.research.oracle import Report, examine
from prevail_py.verifier import verify
from prevail_py.vm.scenario import Scenario

SAFE = [(name, program) for name, e in examples.EXAMPLES.items() if e.safe for program in e.programs]
TC = str(examples.path("tc_classifier"))
PARSER = str(examples.path("xdp_parser"))


@pytest.mark.parametrize(("name", "program"), SAFE)
def test_safe_examples_keep_their_invariants_and_are_reached(name: str, program: str) -> None:
    """Fewer runs than ``make oracle``, which takes 200 of each."""
    loaded = load_object(examples.path(name)).programs[program]
    report = examine(loaded, verify(loaded), runs=40, steer=steer)
    assert report.violations == []
    assert report.unsupported == set()
    assert report.coverage >= 0.9, str(report)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = oracle_report.main(arguments)
    output = capsys.readouterr()
    return status, output.out, output.err


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, TC, str(examples.path("unsafe_null")), "--runs", "20", "--min-coverage", "90")
    lines = out.splitlines()
    assert lines[0].split()[:5] == ["object", "program", "runs", "steered", "steps"]
    assert lines[1].startswith("tc_classifier.o  tc_classifier")
    assert "100.0%" in lines[1]
    assert lines[2].startswith("total")
    assert lines[4] == "Not examined, because they are not SAFE: unsafe_null.o: count_by_queue (UNSAFE)."
    assert (status, err) == (0, "")


def test_json_is_the_same_every_time(capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, TC, PARSER, "--runs", "10", "--json")
    assert first == run(capsys, TC, PARSER, "--runs", "10", "--json")
    document = json.loads(first[1])
    assert document["schema"] == 1
    assert [program["program"] for program in document["programs"]] == ["tc_classifier", "xdp_parser"]
    assert document["programs"][0]["verdict"] == "SAFE"
    assert document["total"]["blocks"] == sum(program["blocks"] for program in document["programs"])
    assert document["total"]["runs"] > 20
    assert first[1] != run(capsys, TC, PARSER, "--runs", "10", "--json", "--seed", "1")[1]


def test_markdown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "oracle.md"
    run(capsys, TC, "--runs", "5", "--out", str(path))
    text = path.read_text(encoding="utf-8")
    assert "\n| tc_classifier.o | tc_classifier |" in text
    assert "commit" in text
    assert "`python -m prevail_py.research.oracle" in text
    assert text.endswith("|\n")


def test_too_little_coverage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = run(capsys, PARSER, "--runs", "5", "--steered", "0", "--min-coverage", "90", "--min-total", "95")
    assert status == 1
    each, together = err.splitlines()
    assert each.startswith("oracle: xdp_parser.o: xdp_parser: ")
    assert "of its blocks were reached; not those at slots " in each
    assert together.endswith("of all blocks were reached")

    def useless(program: Program, scenario: Scenario, missing: frozenset[int]) -> Iterator[Scenario]:
        return iter(())

    assert run(capsys, PARSER, "--runs", "5", "--min-coverage", "90")[0] == 0
    monkeypatch.setattr(concolic, "steer", useless)
    assert run(capsys, PARSER, "--runs", "5", "--min-coverage", "90")[0] == 1


def test_violations(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def violated(program: Program, *arguments: Any) -> Report:
        return Report(program.name, 1, 1, 0, ["slot 3: it is so"], blocks=frozenset({0}), covered={0})

    monkeypatch.setattr(oracle_report, "examine", violated)
    status, out, err = run(capsys, TC)
    assert (status, err) == (1, "oracle: tc_classifier.o: tc_classifier: slot 3: it is so\n")
    assert "100.0%" in out


def test_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.o"
    broken.write_bytes(b"not an object")
    for path in (broken, tmp_path / "absent.o"):
        status, out, err = run(capsys, str(path))
        assert (status, out) == (2, "")
        assert err.startswith("oracle: ")
        assert err.count("\n") == 1
    for option in (("--runs", "-1"), ("--min-coverage", "101")):
        with pytest.raises(SystemExit) as stop:
            oracle_report.main([TC, *option])
        assert stop.value.code == 2


def test_as_a_module() -> None:
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "prevail_py.research.oracle",
        TC,
        "--runs",
        "3",
        "--min-total",
        "90",
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "tc_classifier.o" in result.stdout
