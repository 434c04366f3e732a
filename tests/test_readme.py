"""What the README shows is what the code does."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli.main import main


def test_python_examples(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8").replace("```", "")  # a fence is no expected output
    example = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    report: list[str] = []
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    results = doctest.DocTestRunner(optionflags=flags).run(example, out=report.append)
    assert results.attempted > 5
    assert not results.failed, "".join(report)


@pytest.mark.parametrize("name", ["smt.md", "experiments.md", "pictures.md"])
def test_examples_of_documents(root: Path, name: str) -> None:
    if name == "experiments.md":
        pytest.importorskip("pandas", reason="research extra: pandas is not installed")
    text = (root / "docs" / name).read_text(encoding="utf-8")
    example = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, name, name, 0)
    report: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
        example, out=report.append
    )
    assert results.attempted
    assert not results.failed, "".join(report)


def test_command_line_session(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    session = text.split("```\n$ ")[1].split("```")[0]
    command, shown = session.split("\n", 1)
    name, *argv = command.split()
    assert name == "prevail-py"
    main([str(examples.path(word[:-2])) if word.endswith(".o") else word for word in argv])

    def without_seconds(text: str) -> str:
        return re.sub(r"\d+\.\d{3}$", "0.000", text, flags=re.MULTILINE)

    assert without_seconds(capsys.readouterr().out) == without_seconds(shown)


def _prose(text: str) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def test_links_lead_somewhere(root: Path) -> None:
    documents = [*root.glob("*.md"), *root.glob("*/*.md"), *root.glob("docs/**/*.md")]
    links = {
        (document, link)
        for document in documents
        if not document.is_relative_to(root / ".venv")
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", _prose(document.read_text(encoding="utf-8")))
        if "://" not in link
    }
    assert links
    broken = [(str(document), link) for document, link in links if not (document.parent / link).exists()]
    assert not broken
