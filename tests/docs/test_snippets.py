"""What documents show is tried: sessions and blocks of Python run, commands have the options that they are shown with.

Some documents have tests of their own, with the objects that they need; ``ELSEWHERE`` says where.  The code of all
others runs here, so that none is forgotten.
"""

from __future__ import annotations

import doctest
import io
import re
import shlex
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from prevail_py.cli.main import parser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "papers/**/*.md")
    for path in ROOT.glob(pattern)
}

ELSEWHERE = {
    "README.md": "tests/test_readme.py",
    "docs/experiments.md": "tests/test_readme.py",
    "docs/functional.md": "tests/verifier/test_user_assertions.py",
    "docs/fuzzing.md": "tests/research/fuzz/test_documentation.py",
    "docs/host.md": "tests/host/context/test_documentation.py",
    "docs/jit.md": "tests/vm/jit/test_proved.py",
    "docs/libbpf.md": "tests/libbpf/test_functions.py",
    "docs/pictures.md": "tests/test_readme.py",
    "docs/proofs.md": "tests/verifier/proofs/test_prove.py",
    "docs/smt.md": "tests/test_readme.py",
    "docs/vm.md": "tests/vm/test_documentation.py",
    "docs/writing-a-domain.md": "tests/notebooks/test_notebooks.py",
}
"""Documents whose Python a test of their own runs."""

IN_CONTEXT = ("docs/certificates.md", "docs/corpora.md", "docs/examples.md", "docs/trust.md")
"""Documents whose blocks need what cannot be had here (a run, a service): they must compile, and import what exists."""


def _blocks(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def _python(text: str) -> list[str]:
    return [body for kind, body in _blocks(text) if kind in ("python", "pycon") or body.startswith(">>> ")]


OTHERS = sorted({name for name, text in DOCUMENTS.items() if _python(text)} - {*ELSEWHERE, *IN_CONTEXT})


@pytest.mark.parametrize("name", OTHERS)
def test_code_runs(name: str) -> None:
    """Sessions show what they say; other blocks run in one namespace, from the first to the last."""
    _run(DOCUMENTS[name], name)


def _run(text: str, name: str) -> None:
    names: dict[str, object] = {"__name__": "document"}
    for block in _python(text):
        if ">>> " in block:
            example = doctest.DocTestParser().get_doctest(block, names, name, name, 0)
            report: list[str] = []
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            doctest.DocTestRunner(optionflags=flags).run(example, out=report.append, clear_globs=False)
            assert not report, "".join(report)
            names.update(example.globs)
        else:
            exec(compile(block, name, "exec"), names)


def test_code_that_does_not_run_is_noticed() -> None:
    _run("```python\nx = 1\n```\n```pycon\n>>> x + 1\n2\n```\n", "a.md")
    with pytest.raises(AssertionError, match="Expected:"):
        _run("```python\nx = 1\n```\n```pycon\n>>> x + 1\n3\n```\n", "a.md")
    with pytest.raises(NameError):
        _run("```python\nx\n```\n", "a.md")


def test_tests_elsewhere_are_there() -> None:
    for name, where in ELSEWHERE.items():
        text = (ROOT / where).read_text(encoding="utf-8")
        assert Path(name).name in text or "NOTEBOOKS" in text, f"{where} does not speak of {name}"


@pytest.mark.parametrize("name", IN_CONTEXT)
def test_blocks_compile_and_import_what_exists(name: str) -> None:
    for block in _python(DOCUMENTS[name]):
        code = "".join(each.source for each in doctest.DocTestParser().get_examples(block)) or block
        compile(code, name, "exec")
        imports = [line for line in code.splitlines() if re.match(r"(from prevail_py|import prevail_py)", line)]
        exec("\n".join(imports), {})


def _commands() -> list[tuple[str, str]]:
    return [
        (name, re.split(r" #| \| | > |[\\&]$", command)[0])
        for name, text in sorted(DOCUMENTS.items())
        for kind, body in _blocks(text)
        if kind in ("", "sh", "console")
        for line in body.splitlines()
        for command in line.removeprefix("$ ").split(" && ")
        if command.startswith("prevail-py ") and "..." not in command
    ]


@pytest.mark.parametrize(("name", "command"), _commands())
def test_commands_have_these_options(name: str, command: str) -> None:
    stderr = io.StringIO()
    try:
        with redirect_stderr(stderr):
            parser().parse_args(shlex.split(command)[1:])
    except SystemExit:
        pytest.fail(f"{name}: {command}: {stderr.getvalue()}")


def test_a_wrong_command_is_noticed() -> None:
    with pytest.raises(pytest.fail.Exception, match="--nonesuch"):
        test_commands_have_these_options("a.md", "prevail-py verify --nonesuch a.o")
