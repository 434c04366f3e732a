"""The examples as shipped: table, sources and objects agree, and nothing of the build machine is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from prevail_py import examples

FOLDER = Path(examples.__file__).parent
ALL = list(examples.EXAMPLES.values())


def btf_strings(path: Path) -> list[bytes]:
    """All strings of an object's .BTF section: names of types, source files and source lines."""
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".BTF")
        data: bytes = section.data()
    header_length = int.from_bytes(data[4:8], "little")
    start, length = (int.from_bytes(data[at : at + 4], "little") for at in (16, 20))
    return data[header_length + start : header_length + start + length].split(b"\0")


def absolute_paths(path: Path) -> list[bytes]:
    return [text for text in btf_strings(path) if text.startswith(b"/")]


def test_every_source_and_object_is_in_the_table() -> None:
    assert {file.stem for file in FOLDER.glob("*.c")} == set(examples.names())
    assert {file.stem for file in FOLDER.glob("*.o")} == set(examples.names())


def test_there_are_enough_of_both_kinds() -> None:
    assert sum(example.safe for example in ALL) >= 10
    assert sum(not example.safe for example in ALL) >= 5


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_source_says_what_it_is_for(example: examples.Example) -> None:
    text = examples.source(example.name).read_text(encoding="ascii")
    assert text.startswith("// SPDX-License-Identifier: MIT\n/*\n * ")
    head = text[: text.index("*/")]
    assert "\n * To learn: " in head
    assert ("UNSAFE" in head) is not example.safe
    assert 'SEC("license") = "MIT"' in text
    assert max(len(line.expandtabs(8)) for line in text.splitlines() if "// BUG:" not in line) <= 80
    for program in example.programs:
        assert re.search(rf'^SEC\("(xdp|tc)"\)\nint {program}\(', text, re.MULTILINE), program


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_unsafe_sources_mark_one_line(example: examples.Example) -> None:
    text = examples.source(example.name).read_text(encoding="ascii")
    assert text.count("BUG") == (0 if example.safe else 1)
    line = example.bug_line()
    if example.safe:
        assert line is None
    else:
        assert line is not None
        assert "; // BUG: " in text.splitlines()[line - 1] or ") // BUG: " in text.splitlines()[line - 1]


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_object_holds_the_programs_and_no_trace_of_its_maker(example: examples.Example) -> None:
    path = examples.path(example.name)
    with path.open("rb") as file:
        elf = ELFFile(file)
        assert elf["e_machine"] == "EM_BPF"
        names = {section.name for section in elf.iter_sections()}
        symbols = elf.get_section_by_name(".symtab")
        functions = {
            symbol.name
            for symbol in symbols.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_info"]["bind"] == "STB_GLOBAL"
        }
    assert functions == set(example.programs)
    assert {".BTF", ".BTF.ext", "license"} <= names
    assert not any(name.startswith(".debug") or name == ".comment" for name in names)
    assert path.stat().st_size < 8192
    assert absolute_paths(path) == []
    assert f"{example.name}.c".encode() in btf_strings(path)


def test_the_folder_has_no_other_objects() -> None:
    known = {".c", ".o", ".py", ".pcap"}
    others = {file.name for file in FOLDER.iterdir() if file.is_file() and file.suffix not in known}
    assert others <= {"Makefile", "xdp_firewall.json"}


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="no example 'nonsense'; there are xdp_counter, xdp_firewall"):
        examples.path("nonsense")
    with pytest.raises(KeyError, match="no example"):
        examples.source("xdp_counter.o")


def test_entry_program_and_file() -> None:
    example = examples.EXAMPLES["xdp_tailcall"]
    assert example.program == "dispatch"
    assert examples.path(example.name).name == example.file == "xdp_tailcall.o"


def test_firewall_rules_fit_the_maps() -> None:
    for rules, size in (("blocked_sources", 4), ("blocked_services", 4)):
        for key, value in examples.FIREWALL_RULES[rules].items():
            assert len(key) == size
            assert len(value) == 8
