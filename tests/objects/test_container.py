"""The ELF container: every count and offset of a header is checked against the file."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from prevail_py.objects.container import MAX_SECTIONS, parse_container, printable
from prevail_py.objects.elf import MAX_FILE, load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.research.elf_writer import ElfWriter

RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")
SHOFF, SHENTSIZE, SHNUM, SHSTRNDX = 40, 58, 60, 62


def simple() -> bytes:
    elf = ElfWriter()
    elf.function("f", elf.code("xdp", RETURN_0), 0, 16)
    elf.section("license", b"GPL\0")
    return elf.build()


def patched(offset: int, data: bytes, original: bytes | None = None) -> bytes:
    image = bytearray(original if original is not None else simple())
    image[offset : offset + len(data)] = data
    return bytes(image)


def header_of(data: bytes, section: int) -> int:
    """The file offset of a section header."""
    (start,) = struct.unpack_from("<Q", data, SHOFF)
    return int(start) + 64 * section


def test_sections_and_symbols() -> None:
    container = parse_container(simple())
    assert [section.name for section in container.sections] == ["", "xdp", "license", ".symtab", ".strtab"]
    code = container.section("xdp")
    assert code is not None
    assert code.is_code
    assert bytes(code.data) == RETURN_0
    (symbol,) = container.symbols_in(code)
    assert container.symbol_name(symbol) == "f"
    assert container.section("nothing") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file: empty"),
        (b"\x7fEL", "file: not an ELF file"),
        (b"#!/bin/sh\n", "file: not an ELF file"),
        (simple()[:63], "ELF header: file of 63 bytes ends inside it"),
        (patched(4, b"\x01"), "not a 64-bit object"),
        (patched(5, b"\x02"), "big-endian"),
        (patched(18, struct.pack("<H", 62)), "machine 62 is not eBPF"),
        (patched(16, struct.pack("<H", 2)), "not a relocatable object"),
        (patched(SHOFF, bytes(8)), "no sections"),
        (patched(SHNUM, bytes(2)), "no sections"),
        (patched(SHENTSIZE, b"\0\0"), "section headers of 0 bytes"),
        (patched(SHENTSIZE, b"\xff\xff"), "section headers of 65535 bytes"),
        (patched(SHNUM, b"\xff\xff"), "65535 section headers .* reach beyond"),
        (patched(SHOFF, b"\xff" * 8), "reach beyond"),
        (patched(SHSTRNDX, b"\x77\x00"), "section names are in section 119 of 5"),
        (simple()[:-1], "reach beyond"),
    ],
)
def test_malformed_headers(data: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message) as caught:
        load_object(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        (1, 32, 1 << 60, "section 1: 1152921504606846976 bytes at .* reach beyond the file"),
        (1, 24, 1 << 63, "section 1: 16 bytes at .* reach beyond the file"),
        (1, 0, 0xFFFFFFFF, "section 1: name at offset 4294967295 of a string table"),
        (3, 32, 25, r"section \.symtab: 25 bytes are no whole number of 24-byte entries"),
        (3, 40, 99, r"section \.symtab: its names are said to be in section 99"),
        (3, 40, 1, r"its names are said to be in section 1, no string table"),
        (3, 4, 1, "no symbol table"),
        (2, 4, 2, "a second symbol table|license"),
    ],
)
def test_malformed_section_headers(section: int, field: int, value: int, message: str) -> None:
    data = simple()
    width = 8 if field in (24, 32) else 4
    with pytest.raises(ObjectError, match=message):
        load_object(patched(header_of(data, section) + field, value.to_bytes(width, "little"), data))


def test_overlapping_sections_are_refused() -> None:
    """Sections that all cover the whole file would multiply the work by their number."""
    data = simple()
    for section in (1, 2):
        data = patched(header_of(data, section) + 24, struct.pack("<QQ", 0, len(data)), data)
    with pytest.raises(ObjectError, match="sections overlap"):
        load_object(data)


def test_too_many_sections() -> None:
    elf = ElfWriter()
    for _ in range(MAX_SECTIONS):
        elf.section("x")
    with pytest.raises(ObjectError, match=f"sections, more than {MAX_SECTIONS}"):
        load_object(elf.build())


def test_names_are_terminated_and_bounded() -> None:
    elf = ElfWriter()
    elf.function("f" * 5000, elf.code("xdp", RETURN_0), 0, 16)
    with pytest.raises(ObjectError, match="is longer than 4096 bytes"):
        load_object(elf.build())
    data = simple()
    strings = header_of(data, 4)
    offset, size = struct.unpack_from("<QQ", data, strings + 24)
    with pytest.raises(ObjectError, match="is not terminated"):
        load_object(patched(offset + size - 1, b"x", data))


def test_names_cannot_carry_control_characters() -> None:
    elf = ElfWriter()
    elf.function("\x1b[31mf\n", elf.code("xdp", RETURN_0), 0, 16)
    assert list(load_object(elf.build()).programs) == ["\\x1b[31mf\\n"]
    assert printable(b"\xffok\x07") == "\\xffok\\x07"
    assert printable("über".encode()) == "über"


def test_symbols_in_sections_that_do_not_exist() -> None:
    elf = ElfWriter()
    elf.code("xdp", RETURN_0)
    elf.symbol("lost", 77)
    with pytest.raises(ObjectError, match="symbol 1: defined in section 77 of"):
        load_object(elf.build())


def test_relocations_of_sections_that_do_not_exist() -> None:
    elf = ElfWriter()
    text = elf.code("xdp", RETURN_0)
    elf.relocate(text, 0, elf.function("f", text, 0, 16), 10)
    data = elf.build()
    with pytest.raises(ObjectError, match=r"section \.relxdp: relocates section 1000 of"):
        load_object(patched(header_of(data, 4) + 44, struct.pack("<I", 1000), data))
    with pytest.raises(ObjectError, match=r"RELA"):
        load_object(patched(header_of(data, 4) + 4, struct.pack("<I", 4), data))


def test_compressed_sections_are_refused() -> None:
    data = simple()
    with pytest.raises(ObjectError, match="compressed"):
        load_object(patched(header_of(data, 3) + 8, struct.pack("<Q", 0x800), data))


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.o"
    path.write_bytes(simple())
    assert load_object(path).name == load_object(str(path)).name == "a.o"
    assert load_object(path, name="b").name == "b"
    assert load_object(simple()).name == "<bytes>"


def test_things_that_are_no_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    cases = ((tmp_path / "missing", "No such file"), (tmp_path, "not a regular file"), (pipe, "not a regular file"))
    for path, message in cases:
        with pytest.raises(ObjectError, match=message):
            load_object(path)
    for source in ("/dev/zero", "a\0b", "x" * 5000):
        with pytest.raises(ObjectError):
            load_object(source)


def test_large_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(MAX_FILE + 1)
    start = time.process_time()
    with pytest.raises(ObjectError, match="larger than 8 MiB"):
        load_object(path)
    assert time.process_time() - start < 0.5
    with pytest.raises(ObjectError, match="larger than 8 MiB"):
        load_object(bytes(MAX_FILE + 1))


def test_numbers_of_functions_and_programs_are_bounded() -> None:
    elf = ElfWriter()
    section = elf.code("xdp", RETURN_0)
    elf.symbols = [("f", section, 0, 16, 0x12, 0)] * 10_001
    with pytest.raises(ObjectError, match="10001 programs, more than 10000"):
        load_object(elf.build())
    elf.symbols = [("f", section, 0, 16, 0x12, 0)] * 50_001
    with pytest.raises(ObjectError, match="the object has more than 50000 functions"):
        load_object(elf.build())


def test_thousands_of_equal_names_cost_no_more_than_others() -> None:
    elf = ElfWriter()
    elf.symbols = [("f", elf.code("xdp", RETURN_0), 0, 16, 0x12, 0)] * 10_000
    start = time.process_time()
    assert len(load_object(elf.build()).programs) == 10_000
    assert time.process_time() - start < 5
