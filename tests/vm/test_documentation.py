"""docs/vm.md: what it shows is what happens."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli.main import main
from prevail_py.vm.source import engine
from prevail_py.vm.source.algebra import SourceAlgebra


def run_examples(text: str) -> tuple[int, str]:
    """How many examples there are, and what went wrong."""
    example = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, "vm.md", "vm.md", 0)
    report: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(example, out=report.append)
    return results.attempted, "".join(report) if results.failed else ""


def test_the_examples(root: Path) -> None:
    count, wrong = run_examples((root / "docs" / "vm.md").read_text(encoding="utf-8"))
    assert count > 30
    assert not wrong, wrong


def test_a_wrong_example_is_seen(root: Path) -> None:
    text = (root / "docs" / "vm.md").read_text(encoding="utf-8")
    assert run_examples(text.replace("(Returned(value=2), 2)", "(Returned(value=2), 3)"))[1]


def test_the_files_it_names_exist(root: Path) -> None:
    text = (root / "docs" / "vm.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:prevail_py|vm|platforms|tests)/[\w/]+\.(?:py|json))`", text)
    assert len(named) > 8
    folders = {"vm": root / "prevail_py", "platforms": root / "prevail_py"}
    missing = [path for path in named if not (folders.get(path.split("/")[0], root) / path).exists()]
    assert not missing


# The documents of the command line ------------------------------------------------------------------------------------

# Objects whose keys are data: names of engines, maps, registers, keys.
_BY_NAME = frozenset({"results", "maps", "contents", "states"})


def shape(value: object, name: str = "") -> object:
    """The keys and types of a JSON document; of arrays, and of objects by name, the shape of what they hold."""
    match value:
        case dict() if name in _BY_NAME:
            return {"*": sorted({str(shape(each, "*")) for each in value.values()})}
        case dict():
            return {key: shape(each, key) for key, each in value.items()}
        case list():
            return sorted({str(shape(each, name)) for each in value})
        case None:
            return "null"
        case _:
            return type(value).__name__


def documented(root: Path, command: str) -> object:
    """The example of a command's document in docs/cli.md."""
    text = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    match = re.search(rf"`{command} --json`.*?```json\n(.*?)```", text, re.DOTALL)
    assert match is not None, command
    return json.loads(match[1])


def test_the_document_of_diff(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "program.txt"
    path.write_text("r2 = 3\nr0 = 2\nr0 *= 5\nr0 += 0\nexit\n")
    engine._compiled.clear()
    with monkeypatch.context() as patch:
        patch.setattr(SourceAlgebra, "mul", SourceAlgebra.add)
        assert main(["diff", "--asm", str(path), "--inputs", "1", "--json"]) == 1
    engine._compiled.clear()
    found = json.loads(capsys.readouterr().out)
    assert shape(found) == shape(documented(root, "diff"))
    assert found["divergence"]["parting"]["blame"] == 1


def test_the_document_of_test_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-run", str(examples.path("xdp_counter")), "--packet", "00" * 60, "--json"]) == 0
    assert shape(json.loads(capsys.readouterr().out)) == shape(documented(root, "test-run"))


def test_a_change_of_a_document_is_seen(root: Path) -> None:
    document = documented(root, "test-run")
    assert isinstance(document, dict)
    for changed in ({**document, "more": 1}, {**document, "program": 7}, {**document, "runs": []}):
        assert shape(changed) != shape(document)
