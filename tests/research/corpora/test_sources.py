"""Objects come from folders, packages, other files, compilers and generators; what is missing is said in one line."""

from __future__ import annotations

import io
import lzma
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.objects.errors import ObjectError
from prevail_py.research.corpora.cache import CorpusError
from prevail_py.research.corpora.registry import (
    Corpus,
    Examples,
    Folder,
    Generated,
    KernelSelftests,
    Packages,
    Source,
    registry,
)
from prevail_py.research.corpora.sources import Collection, fetch, open_item
from prevail_py.vm.interpreter import run
from prevail_py.vm.outcome import Returned

OBJECT = examples.path("xdp_counter").read_bytes()


def get(source: Source, cache: Path) -> Collection:
    return fetch(Corpus("c", "", source), cache)


def test_a_folder_and_what_lies_inside_its_files(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.o").write_bytes(OBJECT)
    (tmp_path / "in" / "deep" / "b.o").write_bytes(OBJECT)
    (tmp_path / "in" / "tool").write_bytes(b"x" * 77 + OBJECT + b"yy" + OBJECT)
    found = get(Folder(str(tmp_path / "in"), carve=("tool",)), tmp_path / "cache")
    assert [item.name for item in found.items] == ["a", "deep/b", "tool", "tool-2"]
    assert {item.path.read_bytes() for item in found.items} == {OBJECT}


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="corpus c: no object file"):
        get(Folder(str(tmp_path)), tmp_path)
    with pytest.raises(CorpusError, match="is not a directory"):
        get(Folder(str(tmp_path / "none")), tmp_path)


def test_examples_know_what_is_true_of_them(tmp_path: Path) -> None:
    found = get(Examples(), tmp_path)
    assert {item.name: item.safe for item in found.items} == {e.name: e.safe for e in examples.EXAMPLES.values()}


def test_generated_programs_are_made_from_their_recipe(tmp_path: Path) -> None:
    from prevail_py.research.generate import program

    found = get(Generated(first=3, count=2, size=5), tmp_path)
    assert [item.name for item in found.items] == ["seed-3", "seed-4"]
    (made,) = open_item(found.items[0].path).programs.values()
    assert made == program(3, 5)
    found.items[0].path.write_text("{}")
    with pytest.raises(ObjectError, match="recipe: KeyError"):
        open_item(found.items[0].path)


def test_an_installed_package(tmp_path: Path, fake_command: Callable[[str, str], Path]) -> None:
    lib = tmp_path / "root" / "one.o"
    lib.parent.mkdir()
    lib.write_bytes(OBJECT)
    fake_command("dpkg-query", f'#!/bin/sh\ncase "$1" in --show) echo "ii  1.2-3";; *) echo /.; echo {lib};; esac\n')
    pattern = str(lib.parent).lstrip("/") + "/*.o"
    found = get(Packages(("some-tools",), (pattern,)), tmp_path / "cache")
    assert [(item.name, item.path) for item in found.items] == [("one", lib)]
    assert found.provenance == "some-tools 1.2-3"


def test_a_package_that_is_not_installed_is_downloaded_once(
    tmp_path: Path, fake_command: Callable[[str, str], Path]
) -> None:
    source = tmp_path / "one.o"
    source.write_bytes(OBJECT)
    fake_command("dpkg-query", "#!/bin/sh\nexit 1\n")
    fake_command("apt-get", f"#!/bin/sh\necho x >> {tmp_path}/calls; touch some-tools_9_all.deb\n")
    fake_command(
        "dpkg-deb",
        f'#!/bin/sh\ncase "$1" in --field) echo 9;; -x) mkdir -p $3/usr/lib; cp {source} $3/usr/lib/;; esac\n',
    )
    for _ in range(2):
        found = get(Packages(("some-tools",), ("usr/lib/*.o",)), tmp_path / "cache")
        assert found.provenance == "some-tools 9"
        assert [item.path.read_bytes() for item in found.items] == [OBJECT]
    assert (tmp_path / "calls").read_text() == "x\n"


def test_what_is_missing_is_said_in_a_line(
    tmp_path: Path, fake_command: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_command("dpkg-query", "#!/bin/sh\nexit 1\n")
    fake_command("dpkg-deb", "#!/bin/sh\nexit 1\n")
    fake_command("apt-get", "#!/bin/sh\necho one >&2; echo 'E: Unable to locate package some-tools' >&2; exit 100\n")
    with pytest.raises(CorpusError, match=r"^package some-tools: apt-get .*: E: Unable to locate package some-tools$"):
        get(Packages(("some-tools",)), tmp_path / "cache")
    assert not list((tmp_path / "cache" / "packages").iterdir()), "nothing half done stays behind"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(CorpusError, match=r"^package some-tools: not installed, and there is no apt-get to fetch it"):
        get(Packages(("some-tools",)), tmp_path / "cache")
    with pytest.raises(CorpusError, match="clang: none on PATH compiles for eBPF"):
        get(KernelSelftests("some-source"), tmp_path / "cache")


def test_xdp_tools_of_this_machine(xdp_objects: tuple[Path, ...], tmp_path: Path) -> None:
    found = fetch(registry()["xdp-tools"], tmp_path)
    assert {item.path for item in found.items} >= set(xdp_objects)


FOR_OTHER_TYPES = b"""
struct s { int x; } __attribute__((preserve_access_index));
__attribute__((section("xdp"), btf_decl_tag("comment:test_btf_path=btf__of_another_kernel.bpf.o"))) int f(struct s *p)
{
	return (long)&p->x - (long)p;
}
char _license[] __attribute__((section("license"))) = "GPL";
"""

SOURCE = b"""
__attribute__((section("xdp"), btf_decl_tag("comment:test_expect_success"))) int main_program(void *ctx)
{
	return 2;
}
char _license[] __attribute__((section("license"))) = "GPL";
"""


def test_selftests_are_compiled_and_kept(
    clang: str, tmp_path: Path, fake_command: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel tree in miniature: unpacked, headers written, each source compiled once, failures remembered."""
    btf = tmp_path / "vmlinux"
    btf.touch()
    monkeypatch.setattr("prevail_py.research.corpora.selftests._BTF", btf)
    archive = tmp_path / "usr" / "src" / "linux-source-9.tar.xz"
    archive.parent.mkdir(parents=True)
    tests = "tools/testing/selftests/bpf"
    files = {
        f"{tests}/progs/verifier_one.c": b'#include "vmlinux.h"\n#include <bpf/bpf_helper_defs.h>\n' + SOURCE,
        f"{tests}/progs/verifier_two.c": b"nonsense\n",
        f"{tests}/progs/verifier_types.c": FOR_OTHER_TYPES,
        f"{tests}/progs/btf__of_another_kernel.c": b"struct s { int a, b, x; }; void f(struct s s) {}\n",
        f"{tests}/progs/other.c": b"nonsense\n",
        "tools/include/uapi/linux/bpf.h": b"",
        "scripts/bpf_doc.py": b"print('/* helpers */')\n",
        "drivers/big.c": b"not wanted",
    }
    with lzma.open(archive, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"linux-source-9/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    fake_command("bpftool", "#!/bin/sh\necho '/* types */'\n")
    fake_command("dpkg-query", f'#!/bin/sh\ncase "$1" in --show) echo "ii  9.1";; *) echo {archive};; esac\n')
    monkeypatch.setattr(
        "prevail_py.research.corpora.packages.Unpacked.matching", lambda self, patterns: {"archive": archive}
    )
    source = KernelSelftests("linux-source-9", ("verifier_*.c",), "v3")
    found = get(source, tmp_path / "cache")
    assert [item.name for item in found.items] == ["verifier_one", "verifier_types"]
    assert list(found.missing) == ["verifier_two"]
    assert "error: " in found.missing["verifier_two"]
    assert "linux-source-9 9.1" in found.provenance
    assert "-mcpu=v3" in found.provenance
    assert list(open_item(found.items[0].path).programs) == ["main_program"]
    assert not (tmp_path / "cache/sources/linux-source-9_9.1/drivers").exists()
    # Of another kernel: x is at offset 8 there, and unknown to this one.
    (program,) = open_item(found.items[1].path).programs.values()
    outcome = run(program, packet=bytes(64)).outcome
    assert outcome == Returned(8)

    before = found.items[0].path.stat().st_mtime_ns
    assert get(source, tmp_path / "cache").items[0].path.stat().st_mtime_ns == before
    shutil.rmtree(tmp_path / "cache" / "objects")
    again = get(source, tmp_path / "cache")
    assert again.items[0].path.name == found.items[0].path.name
    assert (
        get(KernelSelftests("linux-source-9", ("verifier_*.c",), "v4"), tmp_path / "cache").items[0] != again.items[0]
    )


def test_selftests_need_their_tools(
    clang: str, tmp_path: Path, fake_command: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_command("dpkg-query", '#!/bin/sh\ncase "$1" in --show) echo "ii  9.1";; *) echo /.;; esac\n')
    with pytest.raises(CorpusError, match=r"package linux-source-9: no usr/src/\*.tar.xz in it"):
        get(KernelSelftests("linux-source-9"), tmp_path / "cache")
