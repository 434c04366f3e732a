"""The documentation site: links that lead between files become links between pages, and all is in the navigation."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest


def _script(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_{name}", root / "docs" / "_site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hooks(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root))
    return _script(root, "hooks")


def test_links(hooks: ModuleType) -> None:
    known = hooks.sources()

    def linked(text: str, page: str) -> str:
        return str(hooks.linked(text, page, known))

    assert linked("[a](safety.md#b)", "verifier.md") == "[a](safety.md#b)"
    assert linked("[a](../docs/safety.md)", "lessons/01_verify_a_first_program.md") == "[a](../safety.md)"
    assert linked("[a](../notebooks/01_verify_a_first_program.ipynb)", "lessons.md") == (
        "[a](lessons/01_verify_a_first_program.md)"
    )
    assert linked("![a](images/evolution.png)", "lessons.md") == "![a](images/evolution.png)"
    assert linked("[a](../../docs/smt.md)", "papers/proof_guided_refinement/README.md") == "[a](../../smt.md)"
    assert linked("![a](scaling.png)", "papers/prevail/README.md") == "![a](scaling.png)"
    assert linked("[the code](../prevail_py/words.py)", "proofs.md") == "the code"
    assert linked("[a](https://b.c/d)", "proofs.md") == "[a](https://b.c/d)"
    assert linked("```\nx[0](safety.md)\n```", "verifier.md") == "```\nx[0](safety.md)\n```"
    assert linked("b[1][2]", "verifier.md") == "b[1]\\[2]"


def test_every_document_is_in_the_navigation(hooks: ModuleType) -> None:
    nav = [{"A": "papers/"}, {"B": ["safety.md", "*"]}]
    (_, papers), (_, documents) = (next(iter(entry.items())) for entry in hooks.expanded(nav, frozenset({"safety.md"})))
    assert papers[0] == "papers/README.md"
    assert {uri for uri in hooks.pages() if uri.startswith("papers/")} == set(papers)
    assert documents.count("safety.md") == 1
    assert "vm.md" in documents


def test_the_reference_is_of_modules_that_exist(hooks: ModuleType, root: Path) -> None:
    names = [name for modules in hooks.REFERENCE.values() for name in modules if name != "prevail_py"]
    assert len(names) > 40
    for name in names:
        path = root / "prevail_py" / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name


def test_docstrings_become_markdown(root: Path) -> None:
    pytest.importorskip("griffe", reason="docs extra: griffe is not installed")
    plain = _script(root, "roles").plain
    assert plain("See :class:`~a.b.Word` and :func:`c.d`, ``x``.") == "See `Word` and `c.d`, `x`."
    assert plain("Text::\n\n>>> 1\n1") == "Text:\n\n```pycon\n>>> 1\n1\n```"


def test_nothing_is_fetched(root: Path) -> None:
    text = (root / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in text
    assert not re.search(r"https?://", text)
