"""The options that say which kernel programs are for: ``--btf`` and ``--kconfig``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prevail_py.cli.main import main
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.encode import encode
from prevail_py.research.elf_writer import BtfWriter, ElfWriter

LOAD = bytes.fromhex("18010000000000000000000000000000")


@pytest.fixture
def object_file(tmp_path: Path) -> str:
    """An XDP program that needs the offset of ``s.b``, and the configuration's CONFIG_X."""
    btf = BtfWriter()
    integer = btf.integer("int", 4)
    struct = btf.struct("s", 8, [("a", integer, 0), ("b", integer, 32)])
    btf.datasec(".kconfig", [btf.variable("CONFIG_X", integer, linkage=2)])
    elf = ElfWriter()
    code = encode(assemble_text("r0 = 4\nr0 &= 1")) + LOAD + encode(assemble_text("exit"))
    section = elf.code("xdp", code)
    elf.function("f", section, 0, len(code))
    elf.relocate(section, 16, elf.symbol("CONFIG_X", 0, type=0), 1)
    extension = btf.build_ext(core=[("xdp", 0, struct, "0:1", 0)])
    elf.section(".BTF", btf.build())
    elf.section(".BTF.ext", extension)
    path = tmp_path / "a.o"
    path.write_bytes(elf.build())
    return str(path)


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    btf = BtfWriter()
    integer = btf.integer("int", 4)
    btf.struct("s", 100, [("b", integer, 320)])
    (tmp_path / "types").write_bytes(btf.build())
    (tmp_path / "config").write_text("CONFIG_X=7\n")
    return ["--btf", str(tmp_path / "types"), "--kconfig", str(tmp_path / "config")]


def test_verify_says_what_it_assumes(
    object_file: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", object_file, *options]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("assumed: ")]
    assert len(lines) == 2
    assert lines[0].startswith(f"assumed: target BTF {tmp_path / 'types'} (sha256 ")
    assert lines[1].startswith(f"assumed: kernel configuration {tmp_path / 'config'} (sha256 ")
    assert main(["verify", object_file, "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [f"assumed: {fact}" for fact in document["programs"][0]["assumptions"]] == lines


def test_list_and_disasm_show_the_relocated_program(
    object_file: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["disasm", object_file, *options]) == 0
    assert "r0 = 40" in capsys.readouterr().out
    assert main(["list", object_file, *options]) == 0
    assert "assumed: target BTF" in capsys.readouterr().out
    assert main(["list", object_file, "--json", *options]) == 0
    (program,) = json.loads(capsys.readouterr().out)["programs"]
    assert len(program["assumptions"]) == 2
    assert (program["poisoned"], program["kernel_symbols"]) == ({}, [])


def test_without_a_target(object_file: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", object_file, "--btf", "none", *options[2:]]) == 1
    assert "UNSUPPORTED: co-re: no target BTF was given" in capsys.readouterr().out


def test_poison_is_shown(
    object_file: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "types").write_bytes(BtfWriter().build())
    reason = "CO-RE relocation, field byte offset of struct s.b: not in the target BTF"
    assert main(["verify", object_file, *options]) == 1
    assert reason in capsys.readouterr().out
    assert main(["disasm", object_file, *options]) == 0
    assert "call 195896080" in capsys.readouterr().out.replace("call #", "call ")
    assert main(["list", object_file, "--json", *options]) == 0
    (program,) = json.loads(capsys.readouterr().out)["programs"]
    assert program["poisoned"] == {"0": reason}


@pytest.mark.parametrize("command", ["verify", "list", "disasm", "cfg"])
def test_bad_files_are_one_line(command: str, object_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--btf", "--kconfig"):
        assert main([command, object_file, option, "/nonexistent"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "/nonexistent: No such file or directory" in error
