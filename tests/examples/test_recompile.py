"""Compile every example again and compare it with the committed object: code, maps, relocations, types and lines."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from prevail_py import examples

FOLDER = Path(examples.__file__).parent
HEADERS = ("bpf/bpf_helpers.h", "linux/bpf.h")


def missing() -> str | None:
    """What this machine lacks for compiling the examples."""
    for tool in ("make", "clang-19", "llvm-strip-19"):
        if shutil.which(tool) is None:
            return f"clang: {tool} is not installed"
    for header in HEADERS:
        if not Path("/usr/include", header).exists():
            return f"clang: <{header}> is not installed (libbpf-dev, linux-libc-dev)"
    return None


pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


def contents(path: Path) -> Mapping[str, object]:
    """What counts of an object: section bytes, symbols, and relocations with the names of their symbols."""
    result: dict[str, object] = {}
    with path.open("rb") as file:
        elf = ELFFile(file)
        for section in elf.iter_sections():
            if isinstance(section, SymbolTableSection):
                result["symbols"] = sorted(
                    (s.name, s["st_value"], s["st_size"], s["st_info"]["type"], str(s["st_shndx"]))
                    for s in section.iter_symbols()
                )
            elif isinstance(section, RelocationSection):
                symbols = elf.get_section(section["sh_link"])
                result[section.name] = [
                    (r["r_offset"], r["r_info_type"], symbols.get_symbol(r["r_info_sym"]).name)
                    for r in section.iter_relocations()
                ]
            elif section.name and section.name not in (".strtab", ".llvm_addrsig"):
                result[section.name] = (section["sh_size"], section.data())
    return result


def build(out: Path, folder: Path = FOLDER) -> None:
    done = subprocess.run(
        ["make", "-s", "-C", str(folder), f"OUT={out}"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("objects")
    build(out)
    return out


@pytest.mark.parametrize("name", examples.names())
def test_object_is_what_the_source_compiles_to(name: str, rebuilt: Path) -> None:
    committed, new = contents(examples.path(name)), contents(rebuilt / f"{name}.o")
    assert set(committed) == set(new)
    for part, content in committed.items():
        assert content == new[part], f"{part} differs"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the Makefile and one example, to be spoilt."""
    for name in ("Makefile", "xdp_counter.c"):
        shutil.copy(FOLDER / name, tmp_path)
    return tmp_path


def test_the_place_of_the_sources_leaves_no_trace(copy: Path) -> None:
    build(copy, copy)
    assert (copy / "xdp_counter.o").read_bytes() == examples.path("xdp_counter").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("packets, 1);", "packets, 2);", "xdp"),
        ("max_entries, 1", "max_entries, 2", ".BTF"),
        ('= "MIT"', '= "BSD"', "license"),
        ("} total SEC", "} sum SEC", ".relxdp"),
    ],
)
def test_a_changed_source_is_noticed(old: str, new: str, part: str, copy: Path) -> None:
    file = copy / "xdp_counter.c"
    text = file.read_text(encoding="ascii")
    assert old in text
    file.write_text(text.replace(old, new).replace("&total", "&sum" if "sum" in new else "&total"), encoding="ascii")
    build(copy, copy)
    assert contents(copy / "xdp_counter.o")[part] != contents(examples.path("xdp_counter"))[part]
