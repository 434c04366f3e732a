"""The registry is data: what is wrong with an entry is said in one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prevail_py.research.corpora.cache import CorpusError, cache_directory
from prevail_py.research.corpora.registry import KINDS, Examples, Folder, Generated, Packages, find, registry


def test_the_built_in_corpora_are_there() -> None:
    known = registry()
    assert {"examples", "xdp-tools", "libbpf-tools", "verifier", "selftests", "generated"} <= known.keys()
    assert {corpus.kind for corpus in known.values()} == KINDS.keys()
    assert all(corpus.description for corpus in known.values())
    assert isinstance(known["examples"].source, Examples)


def test_entries_of_a_file_are_added_and_replace(tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text(
        '[mine]\nkind = "folder"\npath = "objects"\nobjects = ["*.bpf.o"]\n[generated]\nkind = "generated"\ncount = 3\n'
    )
    known = registry([file])
    assert known["mine"].source == Folder(str(tmp_path / "objects"), ("*.bpf.o",))
    assert known["generated"].source == Generated(count=3)
    assert isinstance(known["xdp-tools"].source, Packages)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x", "not TOML"),
        ("x = 1", "[x]: not a table"),
        ('[x]\nkind = "web"', "kind 'web' is none of folder, packages"),
        ('[x]\nkind = "folder"', "folder needs the key 'path'"),
        ('[x]\nkind = "examples"\nsize = 3', "examples has no key 'size' (there are: none)"),
        ('[x]\nkind = "generated"\ncount = "many"', "count: 'many' is no int"),
        ('[x]\nkind = "generated"\ncount = -1', "count: -1 is no int"),
        ('[x]\nkind = "packages"\npackages = "one"', "packages: 'one' is no list of strings"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(CorpusError) as caught:
        registry([file])
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_is_a_corpus_and_anything_else_is_an_error(tmp_path: Path) -> None:
    assert find(str(tmp_path), registry()).source == Folder(str(tmp_path))
    with pytest.raises(CorpusError, match=r"no corpus and no directory 'nowhere' \(there are: examples, "):
        find("nowhere", registry())
    with pytest.raises(CorpusError, match="No such file"):
        registry([tmp_path / "missing.toml"])


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("PREVAIL_PY_CACHE", raising=False)
    assert cache_directory() == tmp_path / "xdg" / "prevail-py"
    monkeypatch.setenv("PREVAIL_PY_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"
    assert cache_directory(tmp_path) == tmp_path
    monkeypatch.delenv("PREVAIL_PY_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "prevail-py"
