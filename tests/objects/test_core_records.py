"""CO-RE records and targets that make no sense, written word by word: one line that says what, never a traceback."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Alu, AluOp, Immediate, Register
from prevail_py.objects import target as target_module
from prevail_py.objects.btf import parse_btf
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program
from prevail_py.objects.target import TargetBtf
from prevail_py.research.elf_writer import BtfWriter, ElfWriter

OFFSET, SIZE, EXISTS, LOCAL_ID, TYPE_SIZE, VALUE = 0, 1, 2, 6, 9, 11


def write_object(core: list[tuple[str, int, int, str, int]], text: str = "r0 = 4\nexit") -> bytes:
    """An object whose BTF has: 1 int, 2 struct s {int a, b}, 3 an array, 4 enum e {V = 4}, 5 struct without a name."""
    btf = BtfWriter()
    integer = btf.integer("int", 4)
    btf.struct("s", 8, [("a", integer, 0), ("b", integer, 32)])
    btf.array(integer, 3)
    btf.add(6, "e", 4, 1, [btf.string("V"), 4])
    btf.struct("", 8, [("a", integer, 0)])
    elf = ElfWriter()
    code = encode(assemble_text(text))
    elf.function("f", elf.code("xdp", code), 0, len(code))
    extension = btf.build_ext(core=core)
    elf.section(".BTF", btf.build())
    elf.section(".BTF.ext", extension)
    return elf.build()


def target_file(folder: Path, write: Callable[[BtfWriter], None]) -> Path:
    btf = BtfWriter()
    write(btf)
    path = folder / "target.btf"
    path.write_bytes(btf.build())
    return path


def plain(btf: BtfWriter) -> None:
    integer = btf.integer("int", 4)
    btf.struct("s", 16, [("a", integer, 64), ("b", integer, 96)])
    btf.add(6, "e", 4, 1, [btf.string("V"), 9])


def load(core: list[tuple[str, int, int, str, int]], target: Path, text: str = "r0 = 4\nexit") -> Program:
    return load_object(write_object(core, text), btf=target).programs["f"]


def test_raw_btf_is_a_target(tmp_path: Path) -> None:
    program = load([("xdp", 0, 2, "0:1", OFFSET)], target_file(tmp_path, plain))
    assert program.unsupported == ()
    first = program.code[0]
    assert isinstance(first, Alu)
    assert first.src == Immediate(12)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ((0, 2, "0:2", OFFSET), "struct s has no member 2"),
        ((0, 2, "0:1:0", OFFSET), "goes into int"),
        ((0, 2, "", OFFSET), "is no list of numbers"),
        ((0, 2, ":0", OFFSET), "is no list of numbers"),
        ((0, 2, "0:", OFFSET), "is no list of numbers"),
        ((0, 2, "0:-1", OFFSET), "is no list of numbers"),
        ((0, 2, "0:4294967296", OFFSET), "is too long"),
        ((0, 2, ":".join("0" * 65), OFFSET), "is too long"),
        ((0, 2, "999999999:0", OFFSET), "an offset of 512 MiB or more"),
        ((0, 3, "0:3", OFFSET), "has no element 3"),
        ((0, 5, "0:0", OFFSET), "a type without a name"),
        ((0, 9, "0:0", OFFSET), "type 9 of 6"),
        ((0, 2, "0", VALUE), "has no enumerator 0"),
        ((0, 4, "1", VALUE), "has no enumerator 1"),
        ((0, 2, "1", TYPE_SIZE), "access string '1' for a type"),
        ((0, 2, "0:0", 13), "unknown kind 13"),
        ((4, 2, "0:0", OFFSET), "outside of the section's 2 slots"),
        ((16, 2, "0:0", OFFSET), "outside of the section's 2 slots"),
        ((8, 2, "0:1", OFFSET), "the relocation does not fit this instruction"),
        ((0, 2, "0:0", OFFSET), "the instruction holds 4, its types say 0"),
    ],
)
def test_records_that_make_no_sense(record: tuple[int, int, str, int], reason: str, tmp_path: Path) -> None:
    offset, type, access, kind = record
    with pytest.raises(ObjectError) as caught:
        load([("xdp", offset, type, access, kind)], target_file(tmp_path, plain))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_instruction_is_not_relocated_twice(tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match="slot 0: relocated twice"):
        load([("xdp", 0, 2, "0:1", OFFSET)] * 2, target_file(tmp_path, plain))


def test_records_between_functions_are_left_alone(tmp_path: Path) -> None:
    """As for libbpf: a linker that drops a weak function leaves its records behind."""
    assert load([("elsewhere", 800, 2, "0:1", OFFSET)], target_file(tmp_path, plain)).unsupported == ()


def test_second_slot_of_a_wide_load_is_no_instruction(tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match="does not fit this instruction"):
        load([("xdp", 8, 2, "0:1", OFFSET)], target_file(tmp_path, plain), "r0 = 4 ll\nexit")


def cyclic_typedef(btf: BtfWriter) -> None:
    btf.add(8, "t", 2)
    btf.add(8, "t", 1)
    btf.struct("s", 8, [("a", 1, 0), ("b", 1, 32)])


def cyclic_array(btf: BtfWriter) -> None:
    btf.array(1, 2)
    btf.struct("s", 8, [("a", 1, 0), ("b", 1, 32)])


def cyclic_struct(btf: BtfWriter) -> None:
    btf.struct("s", 8, [("", 1, 0), ("", 1, 32)])


def bush(btf: BtfWriter) -> None:
    """Anonymous structs of anonymous structs: as many ways down as 8 to the power of 60."""
    for level in range(60):
        btf.struct("s" if level == 59 else "", 8, [("", max(level, 1), 0)] * 8)


def wrong_reference(btf: BtfWriter) -> None:
    btf.struct("s", 8, [("a", 77, 0), ("b", 77, 32)])


def huge_sizes(btf: BtfWriter) -> None:
    array = btf.array(2, 0xFFFFFFFF)
    btf.array(array, 0xFFFFFFFF)
    btf.struct("s", 8, [("a", 2, 0), ("b", 2, 0xFFFFFFFF)])


@pytest.mark.parametrize("write", [cyclic_typedef, cyclic_array, cyclic_struct, bush, wrong_reference, huge_sizes])
@pytest.mark.parametrize("record", [(2, "0:1", OFFSET), (2, "0:1", SIZE), (2, "0:1", EXISTS), (2, "0", TYPE_SIZE)])
def test_targets_that_make_no_sense(
    write: Callable[[BtfWriter], None], record: tuple[int, str, int], tmp_path: Path
) -> None:
    type, access, kind = record
    held = {OFFSET: 4, SIZE: 4, EXISTS: 1, TYPE_SIZE: 8}[kind]
    try:
        program = load([("xdp", 0, type, access, kind)], target_file(tmp_path, write), f"r0 = {held}\nexit")
        answers = [*program.unsupported, *program.poisoned.values()]
    except ObjectError as error:
        answers = [str(error)]
        found = str(tmp_path) in answers[0]
    else:
        found = True
    assert found
    assert not any("\n" in answer for answer in answers)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes are too short"),
        (b"\xeb\x9f" + bytes(30), "big-endian BTF"),
        (bytes(40), "magic 0x0000"),
        (b"\x7fELF" + bytes(60), "malformed ELF file"),
        (ElfWriter(machine=62).build(), "without a section .BTF"),
        (BtfWriter().build()[:-1] + b"x", "does not begin with an empty string"),
    ],
)
def test_files_that_are_no_target(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(ObjectError) as caught:
        load([("xdp", 0, 2, "0:1", OFFSET)], path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    # Objects that depend on no types do not need the file.
    assert load([], path).unsupported == ()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match="No such file"):
        load([("xdp", 0, 2, "0:1", OFFSET)], tmp_path / "missing")
    with pytest.raises(ObjectError, match="not a regular file"):
        load([("xdp", 0, 2, "0:1", OFFSET)], tmp_path)


def test_elf_files_of_other_machines_are_targets(tmp_path: Path) -> None:
    btf = BtfWriter()
    plain(btf)
    elf = ElfWriter(machine=62, type=2)
    elf.section(".BTF", btf.build())
    path = tmp_path / "vmlinux"
    path.write_bytes(elf.build())
    assert (
        load([("xdp", 0, 2, "0:1", OFFSET)], path).code[0]
        == load([("xdp", 0, 2, "0:1", OFFSET)], target_file(tmp_path, plain)).code[0]
    )


def test_types_of_modules_count_where_the_kernel_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, module = BtfWriter(), BtfWriter()
    integer = kernel.integer("int", 4)
    kernel.struct("unrelated", 4, [])
    base = parse_btf(memoryview(kernel.build()))
    strings = len(kernel.build()) - kernel.build().index(b"\0int\0")
    module.struct("s", 16, [("b", integer, 96)])
    data = bytearray(module.build())
    for at in (24, 36):  # the names of the struct and its member
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "little") + strings).to_bytes(4, "little")
    (tmp_path / "vmlinux").write_bytes(b"")
    (tmp_path / "driver").write_bytes(data)
    monkeypatch.setattr(target_module, "_MODULES", tmp_path)
    types = TargetBtf(base, "kernel", "0" * 64, modules=lambda: target_module._module_types(base))
    monkeypatch.setattr(target_module, "_kernel_types", lambda: types)
    program = load_object(write_object([("xdp", 0, 2, "0:1", OFFSET)])).programs["f"]
    assert program.code[0] == Alu(AluOp.MOV, 64, Register.R0, Immediate(12))
    monkeypatch.setattr(target_module, "_MODULES", tmp_path / "none")
    (reason,) = load_object(write_object([("xdp", 0, 2, "0:1", OFFSET)])).programs["f"].unsupported
    assert reason.startswith("co-re: no types of kernel modules: ")
    assert "No such file" in reason


def test_damaged_records_and_targets(tmp_path: Path) -> None:
    """Any byte changed, in the records or in the target: an error of one line or a program."""
    generator = random.Random(5)
    records = [("xdp", 0, 2, "0:1", OFFSET), ("xdp", 8, 4, "0", VALUE), ("xdp", 16, 2, "0", TYPE_SIZE)]
    data = write_object(records, "r0 = 4\nr1 = 4\nr2 = 8\nexit")
    path = target_file(tmp_path, plain)
    assert load_object(data, btf=path).programs["f"].unsupported == ()
    good = path.read_bytes()
    answers = set()
    for number in range(600):
        damaged, types = bytearray(data), bytearray(good)
        for _ in range(generator.randint(1, 3)):
            which = damaged if number % 2 else types
            which[generator.randrange(len(which))] = generator.choice([0, 1, 0x7F, 0xFF, generator.getrandbits(8)])
        path.write_bytes(types)
        try:
            load_object(bytes(damaged), btf=path)
            answers.add("loaded")
        except ObjectError as error:
            answers.add("refused" if "\n" not in str(error) else str(error))
    assert answers == {"loaded", "refused"}


# Types by name ------------------------------------------------------------------------------------------------------


def test_types_are_found_by_name() -> None:
    btf = BtfWriter()
    names = ["s", "s___x", "s___", "s____y", "sx", "s___x___y", "s"]
    ids = {name: btf.struct(name, 0, []) for name in names[:-1]}
    second = btf.struct("s", 0, [], kind=5)
    types = parse_btf(memoryview(btf.build()))
    assert types.named("s") == [ids["s"], second]
    assert types.flavours("s") == [ids["s"], ids["s___x"], second]
    assert types.flavours("s___x") == [ids["s___x"], ids["s___x___y"]]
    assert types.named("") == types.flavours("") == types.named("none") == []


def test_names_that_are_the_tail_of_another() -> None:
    """Linkers may merge strings: ``task`` inside of ``subtask``."""
    btf = BtfWriter()
    btf.struct("subtask___x", 0, [])
    whole = btf.build()
    at = whole.index(b"subtask")
    strings_at = len(whole) - len(btf.build().split(b"subtask")[1]) - 7 - 1
    btf.types[0:4] = (at - strings_at + 3).to_bytes(4, "little")
    types = parse_btf(memoryview(btf.build()))
    assert types.type(1).name == "task___x"
    assert types.flavours("task") == types.named("task___x") == [1]
    assert types.flavours("subtask") == []


def test_split_btf_goes_on_where_its_base_ends() -> None:
    base_writer = BtfWriter()
    integer = base_writer.integer("int", 4)
    base_writer.struct("shared", 4, [("x", integer, 0)])
    base = parse_btf(memoryview(base_writer.build()))
    strings = len(base_writer.build()) - base_writer.build().index(b"\0int\0")
    split_writer = BtfWriter()
    split_writer.struct("own", 8, [("y", integer, 32)])
    split_writer.struct("shared___here", 8, [("y", 2, 0)])
    data = bytearray(split_writer.build())
    header, types_length = 24, len(split_writer.types)
    for at in (0, 12, 24, 36):  # names of types and members move behind the strings of the base
        word = int.from_bytes(data[header + at : header + at + 4], "little")
        data[header + at : header + at + 4] = (word + strings).to_bytes(4, "little")
    assert types_length == 48
    split = parse_btf(memoryview(bytes(data)), "module", base)
    assert (len(base), len(split)) == (3, 5)
    assert [type.name for type in split] == ["own", "shared___here"]
    assert split.type(3).members[0].name == "y"
    assert split.spell(split.type(4).members[0].type) == "struct shared"
    assert split.flavours("shared") == [4]
    assert split.named("own") == [3]
    assert split.kind(2) is base.kind(2)
    with pytest.raises(ObjectError, match="type 5 of 5"):
        split.type(5)
