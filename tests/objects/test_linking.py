"""Programs, subprograms and relocations, on objects written word by word."""

from __future__ import annotations

from pathlib import Path

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Alu, CallLocal, Exit, LoadImmediate64, Pseudo
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program
from prevail_py.research.elf_writer import BtfWriter, ElfWriter
from prevail_py.verifier import VerdictKind, verify
from prevail_py.vm.interpreter import run
from prevail_py.vm.outcome import TrapKind, Trapped

RETURN_0 = encode(assemble_text("r0 = 0\nexit"))
CALL = bytes.fromhex("8510000000000000")  # call of a subprogram, immediate 0
CALL_MINUS_1 = bytes.fromhex("85100000ffffffff")
LOAD = bytes.fromhex("18010000000000000000000000000000")  # r1 = 0 ll
EXIT = bytes.fromhex("9500000000000000")
R_64_64, R_64_32 = 1, 10


def load(elf: ElfWriter) -> dict[str, Program]:
    return dict(load_object(elf.build()).programs)


def test_one_program() -> None:
    elf = ElfWriter()
    elf.function("main", elf.code("xdp", RETURN_0), 0, 16)
    elf.section("license", b"GPL\0")
    loaded = load_object(elf.build(), name="x.o")
    assert loaded.name == "x.o"
    assert loaded.licence == "GPL"
    program = loaded.programs["main"]
    assert (program.section, program.program_type, program.expected_attach_type) == ("xdp", "xdp", "xdp")
    assert program.code == assemble_text("r0 = 0\nexit")
    assert [(s.name, s.start, s.end, s.is_global) for s in program.subprograms] == [("main", 0, 2, True)]
    assert (program.maps, program.unsupported, program.licence) == ((), (), "GPL")


def test_several_programs_in_the_order_of_the_file() -> None:
    elf = ElfWriter()
    tc = elf.code("tc", RETURN_0 + EXIT)
    xdp = elf.code("xdp", RETURN_0)
    elf.function("late", tc, 16, 8)
    elf.function("other", xdp, 0, 16)
    elf.function("early", tc, 0, 16)
    programs = load(elf)
    assert list(programs) == ["early", "late", "other"]
    assert programs["late"].code == (Exit(),)


def test_equal_names_are_told_apart() -> None:
    elf = ElfWriter()
    elf.function("f", elf.code("xdp", RETURN_0), 0, 16)
    elf.function("f", elf.code("tc", RETURN_0), 0, 16)
    elf.function("f", elf.code("tc", RETURN_0), 0, 16)
    programs = load(elf)
    assert list(programs) == ["f", "tc/f", "tc/f#2"]
    assert [name for name, program in programs.items() if program.name != name] == []


def test_unknown_section_is_unsupported_and_question_mark_is_not() -> None:
    elf = ElfWriter()
    elf.function("f", elf.code("strange", RETURN_0), 0, 16)
    elf.function("g", elf.code("?xdp", RETURN_0), 0, 16)
    programs = load(elf)
    assert programs["f"].program_type == "unspec"
    assert programs["f"].unsupported == ("section name strange",)
    assert programs["g"].program_type == "xdp"
    assert programs["g"].unsupported == ()


def test_section_without_function_symbols_is_one_program() -> None:
    elf = ElfWriter()
    elf.code("xdp", RETURN_0)
    elf.symbol("anything", 1)
    assert list(load(elf)) == ["xdp"]


def test_subprograms_are_appended_once_in_the_order_of_libbpf() -> None:
    """main calls b, then a; b calls c; a calls c and itself: main, b, c, a."""
    elf = ElfWriter()
    text = elf.code(".text", CALL_MINUS_1 + CALL_MINUS_1 + EXIT + CALL_MINUS_1 + EXIT + RETURN_0)
    main = elf.code("xdp", CALL_MINUS_1 + CALL_MINUS_1 + EXIT)
    a = elf.function("a", text, 0, 24)
    b = elf.function("b", text, 24, 16, binding=0)
    c = elf.function("c", text, 40, 16)
    elf.function("main", main, 0, 24)
    for section, offset, symbol in ((text, 0, c), (text, 8, a), (text, 24, c), (main, 0, b), (main, 8, a)):
        elf.relocate(section, offset, symbol, R_64_32)
    programs = load(elf)
    assert list(programs) == ["main"]
    program = programs["main"]
    assert [(s.name, s.start, s.end) for s in program.subprograms] == [
        ("main", 0, 3), ("b", 3, 5), ("c", 5, 7), ("a", 7, 10),
    ]  # fmt: skip
    assert [s.is_global for s in program.subprograms] == [True, False, True, True]
    calls = {pc: pc + 1 + i.offset for pc, i in enumerate(program.code) if isinstance(i, CallLocal)}
    assert calls == {0: 3, 1: 7, 3: 5, 7: 5, 8: 7}


def test_calls_against_the_section_and_inside_it() -> None:
    """Static functions: the relocation names the section, or there is none."""
    elf = ElfWriter()
    text = elf.code(".text", RETURN_0 + RETURN_0)
    one = bytes.fromhex("8510000001000000")  # call of the function one slot after the next
    main = elf.code("xdp", one + one + EXIT + RETURN_0)
    section = elf.symbol("", text, type=3, binding=0)
    elf.function("first", text, 0, 16, binding=0)
    elf.function("second", text, 16, 16, binding=0)
    elf.function("main", main, 0, 24)
    elf.function("inner", main, 24, 16, binding=0)
    elf.relocate(main, 0, section, R_64_32)
    program = load(elf)["main"]
    assert [(s.name, s.start) for s in program.subprograms] == [("main", 0), ("second", 3), ("inner", 5)]
    assert program.code[0] == CallLocal(2)
    assert program.code[1] == CallLocal(3)


def test_hidden_functions_count_as_static() -> None:
    elf = ElfWriter()
    text = elf.code(".text", RETURN_0)
    main = elf.code("xdp", CALL_MINUS_1 + EXIT)
    elf.function("main", main, 0, 16)
    hidden = elf.symbol("hidden", text, 0, 16, type=2, binding=1, other=2)
    elf.relocate(main, 0, hidden, R_64_32)
    assert [s.is_global for s in load(elf)["main"].subprograms] == [True, False]


def test_function_addresses() -> None:
    elf = ElfWriter()
    text = elf.code(".text", RETURN_0 + RETURN_0)
    main = elf.code("xdp", LOAD + bytes.fromhex("18020000100000000000000000000000") + EXIT)
    elf.function("main", main, 0, 40)
    first = elf.function("first", text, 0, 16)
    elf.function("second", text, 16, 16, binding=0)
    section = elf.symbol("", text, type=3, binding=0)
    elf.relocate(main, 0, first, R_64_64)
    elf.relocate(main, 16, section, R_64_64)
    program = load(elf)["main"]
    assert [(s.name, s.start) for s in program.subprograms] == [("main", 0), ("first", 5), ("second", 7)]
    loads = [i for i in program.code if isinstance(i, LoadImmediate64)]
    assert [(i.pseudo, i.low, i.high) for i in loads] == [(Pseudo.FUNCTION, 4, 0), (Pseudo.FUNCTION, 4, 0)]


def data_object() -> ElfWriter:
    elf = ElfWriter()
    main = elf.code("xdp", LOAD + LOAD + bytes.fromhex("18010000080000000000000000000000") + EXIT)
    elf.function("main", main, 0, 56)
    rodata = elf.section(".rodata", bytes(range(16)))
    bss = elf.bss(".bss", 32)
    elf.section(".data.unused", b"1234")
    elf.section(".data.empty", b"")
    elf.relocate(main, 0, elf.symbol("counter", bss, 24, 8), R_64_64)
    elf.relocate(main, 16, elf.symbol("table", rodata, 4, 4), R_64_64)
    elf.relocate(main, 32, elf.symbol("", rodata, type=3, binding=0), R_64_64)
    return elf


def test_global_data() -> None:
    loaded = load_object(data_object().build())
    assert [spec.name for spec in loaded.maps] == [".rodata", ".bss", ".data.unused"]
    program = loaded.programs["main"]
    assert [(spec.name, spec.value_size, spec.max_entries, spec.read_only) for spec in program.maps] == [
        (".rodata", 16, 1, True),
        (".bss", 32, 1, False),
    ]
    assert program.maps[0] is loaded.maps[0]
    assert program.maps[0].initial == bytes(range(16))
    assert program.maps[1].initial == bytes(32)
    loads = [i for i in program.code if isinstance(i, LoadImmediate64)]
    assert [(i.pseudo, i.low, i.high) for i in loads] == [
        (Pseudo.MAP_INDEX_VALUE, 1, 24),
        (Pseudo.MAP_INDEX_VALUE, 0, 4),
        (Pseudo.MAP_INDEX_VALUE, 0, 8),
    ]


def test_data_address_outside_of_its_section() -> None:
    elf = data_object()
    elf.relocations[1][0] = (0, elf.symbol("far", 3, 33, 8), R_64_64)
    with pytest.raises(ObjectError, match=r"slot 0: address 33 bytes into the 32 of section \.bss"):
        load(elf)


def test_externs_that_nothing_stands_for(tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    btf = BtfWriter()
    btf.datasec(".kconfig", [btf.variable("CONFIG_HZ", btf.integer("int", 4), linkage=2)])
    btf.datasec(".ksyms", [btf.variable("runqueues", btf.integer("int", 4), linkage=2)])
    elf = ElfWriter()
    main = elf.code("xdp", LOAD + LOAD + LOAD + CALL_MINUS_1 + EXIT)
    elf.function("main", main, 0, 64)
    elf.section(".BTF", btf.build())
    for offset, name in ((0, "CONFIG_HZ"), (16, "runqueues"), (32, "mystery")):
        elf.relocate(main, offset, elf.symbol(name, 0, type=0), R_64_64)
    elf.relocate(main, 48, elf.symbol("bpf_rcu_read_lock", 0, type=0), R_64_32)
    program = load_object(elf.build(), btf=None, kconfig=tmp_path / "config").programs["main"]
    assert program.unsupported == (
        f"kconfig CONFIG_HZ: not set in {tmp_path / 'config'}",
        "ksym runqueues: no target BTF was given",
        "extern mystery",
        "extern bpf_rcu_read_lock",
    )


def test_data_in_other_sections_is_unsupported() -> None:
    elf = ElfWriter()
    main = elf.code("xdp", LOAD + EXIT)
    elf.function("main", main, 0, 24)
    elf.relocate(main, 0, elf.symbol("x", elf.section(".addr_space.1", bytes(8))), R_64_64)
    assert load(elf)["main"].unsupported == ("data in section .addr_space.1",)


def test_lines_and_core_follow_the_linked_slots() -> None:
    btf = BtfWriter()
    type = btf.struct("s", 4, [("x", btf.integer("int", 4), 0)])
    elf = ElfWriter()
    text = elf.code(".text", RETURN_0 + RETURN_0)
    main = elf.code("xdp", CALL_MINUS_1 + EXIT + EXIT)
    elf.function("main", main, 0, 16)
    elf.function("other", main, 16, 8)
    elf.function("unused", text, 0, 16)
    callee = elf.function("callee", text, 16, 16)
    elf.relocate(main, 0, callee, R_64_32)
    lines = [
        ("xdp", 0, "a.c", "  return callee();", 10, 3),
        ("xdp", 16, "a.c", "return 1;", 20, 1),
        (".text", 0, "a.c", "return 2;", 30, 1),
        (".text", 16, "b.h", "return 3;", 40, 2),
    ]
    extension = btf.build_ext(lines, core=[(".text", 16, type, "0:0", 0)])
    elf.section(".BTF", btf.build())
    elf.section(".BTF.ext", extension)
    programs = load_object(elf.build(), btf=None).programs
    found = {pc: (line.file, line.line, line.column, line.text) for pc, line in programs["main"].lines.items()}
    assert found == {0: ("a.c", 10, 3, "return callee();"), 2: ("b.h", 40, 2, "return 3;")}
    assert str(programs["main"].line_at(3)) == "b.h:40"
    assert str(programs["main"].line_at(1)) == "a.c:10"
    assert programs["main"].unsupported == ("co-re: no target BTF was given",)
    assert programs["other"].unsupported == ()
    assert {pc: line.line for pc, line in programs["other"].lines.items()} == {0: 20}


def test_a_lone_function_in_text_is_a_program() -> None:
    elf = ElfWriter()
    elf.function("f", elf.code(".text", RETURN_0), 0, 16)
    assert list(load(elf)) == ["f"]


def test_instructions_are_shared_between_programs() -> None:
    elf = ElfWriter()
    text = elf.code(".text", RETURN_0)
    callee = elf.function("callee", text, 0, 16)
    for name in ("xdp", "tc"):
        section = elf.code(name, CALL_MINUS_1 + EXIT)
        elf.function(f"{name}_main", section, 0, 16)
        elf.relocate(section, 0, callee, R_64_32)
    programs = load(elf)
    assert isinstance(programs["xdp_main"].code[2], Alu)
    assert programs["xdp_main"].code[2] is programs["tc_main"].code[2]


@pytest.mark.parametrize(
    ("offset", "type", "message"),
    [
        (0, R_64_64, "relocation of type 1 against 'f' does not fit"),
        (8, R_64_32, "does not fit"),
        (4, R_64_32, "offset 0x4: relocation outside"),
        (16, R_64_32, "relocation outside"),
        (1 << 63, R_64_32, "relocation outside"),
        (0, 77, "relocation of type 77"),
    ],
)
def test_relocations_that_do_not_fit(offset: int, type: int, message: str) -> None:
    elf = ElfWriter()
    main = elf.code("xdp", CALL_MINUS_1 + EXIT)
    elf.relocate(main, offset, elf.function("f", main, 0, 16), type)
    with pytest.raises(ObjectError, match=message):
        load(elf)


def test_calls_that_go_nowhere() -> None:
    elf = ElfWriter()
    main = elf.code("xdp", CALL + RETURN_0)
    elf.function("main", main, 0, 24)
    with pytest.raises(ObjectError, match="slot 0: refers to code where no function starts"):
        load(elf)
    elf = ElfWriter()
    main = elf.code("xdp", CALL_MINUS_1 + EXIT)
    elf.function("main", main, 0, 16)
    elf.relocate(main, 0, elf.symbol("x", elf.section(".data", bytes(8))), R_64_32)
    with pytest.raises(ObjectError, match=r"call of 'x' in section \.data, which holds no code"):
        load(elf)
    elf.relocations[main] = [(0, elf.symbol("absolute", 0xFFF1), R_64_32)]
    with pytest.raises(ObjectError, match="'absolute' is in no section"):
        load(elf)
    elf.relocations[main] = [(0, 99, R_64_32)]
    with pytest.raises(ObjectError, match="relocation names symbol 99 of"):
        load(elf)
    elf.relocations[main] = [(0, 1, R_64_32), (0, 1, R_64_32)]
    with pytest.raises(ObjectError, match="relocated twice"):
        load(elf)


@pytest.mark.parametrize(
    ("value", "size"), [(0, 0), (4, 8), (0, 12), (8, 16), (24, 8), ((1 << 64) - 8, 8), (0, 1 << 63)]
)
def test_function_symbols_that_do_not_fit(value: int, size: int) -> None:
    elf = ElfWriter()
    elf.function("f", elf.code("xdp", RETURN_0), value, size)
    with pytest.raises(ObjectError, match="section xdp function f: "):
        load(elf)


def test_code_that_does_not_decode() -> None:
    """The one function is unsupported, and nothing runs it; the rest of the object loads."""
    elf = ElfWriter()
    xdp = elf.code("xdp", RETURN_0 + bytes.fromhex("ff00000000000000") + RETURN_0 + CALL_MINUS_1 + EXIT)
    elf.function("bad", xdp, 0, 24)
    elf.function("good", xdp, 24, 16)
    elf.function("caller", xdp, 40, 16)
    elf.relocate(xdp, 40, elf.symbol("bad", xdp, 0, 24, 2), R_64_32)
    programs = load(elf)
    reason = "function bad: slot 2: unknown opcode 0xff"
    assert programs["bad"].unsupported == programs["caller"].unsupported == (reason,)
    assert programs["good"].unsupported == ()
    assert verify(programs["good"]).kind is VerdictKind.SAFE
    for name, slot in (("bad", 0), ("caller", 2)):
        verdict = verify(programs[name])
        assert (verdict.kind, verdict.reason) == (VerdictKind.UNSUPPORTED, reason)
        outcome = run(programs[name]).outcome
        assert isinstance(outcome, Trapped)
        assert (outcome.trap.kind, outcome.trap.pc) == (TrapKind.HELPER_UNAVAILABLE, slot)


def test_code_that_does_not_decode_keeps_its_relocations() -> None:
    """Neither relocation is looked at: what they patch is gone."""
    w = BtfWriter()
    elf = ElfWriter()
    xdp = elf.code("xdp", bytes.fromhex("ff00000000000000") + LOAD + EXIT)
    elf.function("bad", xdp, 0, 32)
    elf.relocate(xdp, 0, elf.symbol("nothing", 0), R_64_32)
    structure = w.struct("s", 4, [("x", w.integer("int", 4), 0)])
    elf.section(".BTF.ext", w.build_ext(core=[("xdp", 0, structure, "0:0", 0)]))
    elf.section(".BTF", w.build())
    assert load(elf)["bad"].unsupported == ("function bad: slot 0: unknown opcode 0xff",)


def test_constants_that_no_relocation_explains() -> None:
    for pseudo, name in ((1, "MAP_FD"), (2, "MAP_VALUE"), (3, "BTF_ID")):
        elf = ElfWriter()
        elf.function("f", elf.code("xdp", bytes([0x18, pseudo << 4 | 1]) + LOAD[2:] + EXIT), 0, 24)
        assert load(elf)["f"].unsupported == (f"{name} constant",)
    elf = ElfWriter()
    elf.function("f", elf.code("xdp", bytes([0x18, 0x51]) + LOAD[2:] + EXIT), 0, 24)
    with pytest.raises(ObjectError, match="slot 0: MAP_INDEX constant without a relocation"):
        load(elf)


def test_deep_call_chains_do_not_recurse() -> None:
    """A chain of 5,000 functions: linking is iterative."""
    count = 5000
    next_one = bytes.fromhex("8510000001000000") + EXIT  # an unrelocated call of what follows the exit
    elf = ElfWriter()
    section = elf.code("xdp", next_one * (count - 1) + RETURN_0)
    for i in range(count):
        elf.function(f"f{i}", section, 16 * i, 16, binding=1 if i == 0 else 0)
    program = load(elf)["f0"]
    assert len(program.subprograms) == count


def test_programs_that_multiply_the_code_are_bounded() -> None:
    """2,000 entry functions that all contain the same 16,000 slots."""
    elf = ElfWriter()
    text = elf.code(".text", EXIT * 16_000)
    callee = elf.function("callee", text, 0, 8 * 16_000)
    main = elf.code("xdp", (CALL_MINUS_1 + EXIT) * 2000)
    for i in range(2000):
        elf.function(f"f{i}", main, 16 * i, 16)
        elf.relocate(main, 16 * i, callee, R_64_32)
    with pytest.raises(ObjectError, match="the linked programs have more than 4000000 instruction slots"):
        load(elf)
    elf = ElfWriter()
    main = elf.code("xdp", EXIT * 2000)
    for i in range(2000):
        elf.function(f"f{i}", main, 0, 8 * 2000)
    with pytest.raises(ObjectError, match="more than 1000000 instruction slots"):
        load(elf)


def test_maps_as_large_as_the_host_are_assumptions() -> None:
    btf = BtfWriter()
    integer = btf.integer("int", 4)
    events = btf.map("events", type=4, key_size=4, value_size=4)
    other = btf.map("other", type=1, key_type=integer, value_type=integer, max_entries=3)
    btf.datasec(".maps", [events, other])
    elf = ElfWriter()
    maps = elf.section(".maps", bytes(64))
    main = elf.code("xdp", LOAD + EXIT)
    elf.function("main", main, 0, 24)
    elf.function("plain", elf.code("tc", RETURN_0), 0, 16)
    elf.relocate(main, 0, elf.symbol("events", maps, 0, 24), R_64_64)
    elf.symbol("other", maps, 24, 40)
    elf.section(".BTF", btf.build())
    programs = load(elf)
    assert programs["main"].assumptions == ("map events has an entry for each possible CPU",)
    assert programs["plain"].assumptions == ()
