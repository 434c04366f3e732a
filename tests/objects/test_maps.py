"""Map definitions: described by BTF, legacy, and what is wrong with them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import pytest

from prevail_py.isa.instructions import LoadImmediate64, Pseudo
from prevail_py.objects.elf import ObjectFile, load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.research.elf_writer import BtfWriter, ElfWriter

LOAD = bytes.fromhex("18010000000000000000000000000000")
EXIT = bytes.fromhex("9500000000000000")


def with_maps(w: BtfWriter, variables: dict[str, int], datasec: bool = True, others: Sequence[int] = ()) -> ElfWriter:
    """An object with these VARs in ``.maps``, at 32-byte distances, and a program that loads each."""
    elf = ElfWriter()
    main = elf.code("xdp", LOAD * len(variables) + EXIT)
    elf.function("main", main, 0, 16 * len(variables) + 8)
    maps = elf.section(".maps", bytes(32 * len(variables)))
    for i, name in enumerate(variables):
        elf.relocate(main, 16 * i, elf.symbol(name, maps, 32 * i, 32), 1)
    if datasec:
        w.datasec(".maps", [*others, *variables.values()])
    elf.section(".BTF", w.build())
    return elf


def load_one(make: Callable[[BtfWriter], int]) -> ObjectFile:
    w = BtfWriter()
    return load_object(with_maps(w, {"m": make(w)}).build())


def test_btf_maps() -> None:
    w = BtfWriter()
    key = w.integer("u32", 4)
    value = w.struct("value", 24, [("a", key, 0)])
    variables = {
        "plain": w.map("plain", type=1, max_entries=1024, key_type=key, value_type=value),
        "sizes": w.map("sizes", type=2, key_size=4, value_size=16, max_entries=3, map_flags=1, pinning=1),
    }
    loaded = load_object(with_maps(w, variables).build())
    plain, sizes = loaded.maps
    assert (plain.name, plain.type, plain.key_size, plain.value_size, plain.max_entries) == ("plain", 1, 4, 24, 1024)
    assert (plain.key_btf, plain.value_btf, plain.flags, plain.pinning) == (key, value, 0, 0)
    assert (sizes.type, sizes.key_size, sizes.value_size, sizes.flags, sizes.pinning) == (2, 4, 16, 1, 1)
    program = loaded.programs["main"]
    assert program.maps == loaded.maps
    loads = [i for i in program.code if isinstance(i, LoadImmediate64)]
    assert [(i.pseudo, i.low, i.high) for i in loads] == [(Pseudo.MAP_INDEX, 0, 0), (Pseudo.MAP_INDEX, 1, 0)]


def test_a_program_lists_only_the_maps_it_uses() -> None:
    w = BtfWriter()
    elf = with_maps(w, {name: w.map(name, type=2, key_size=4, value_size=4, max_entries=1) for name in ("a", "b", "c")})
    other = elf.code("tc", LOAD + EXIT)
    elf.function("other", other, 0, 24)
    elf.relocate(other, 0, 4, 1)  # the symbol of c
    loaded = load_object(elf.build())
    assert [spec.name for spec in loaded.maps] == ["a", "b", "c"]
    program = loaded.programs["other"]
    assert [spec.name for spec in program.maps] == ["c"]
    assert program.maps[0] is loaded.maps[2]
    assert program.code[0] == LoadImmediate64(program.code[0].dst, 0, 0, Pseudo.MAP_INDEX)  # type: ignore[union-attr]


def test_map_in_map_and_program_array() -> None:
    w = BtfWriter()
    inner = w.struct("", 32, [(name, w.number(value), 64 * i) for i, (name, value) in enumerate(
        [("type", 2), ("key_size", 4), ("value_size", 8), ("max_entries", 5)])])  # fmt: skip
    proto = w.add(13, word=0)
    numbers = [("type", w.number(12), 0), ("key_size", w.number(4), 64), ("max_entries", w.number(2), 128)]
    outer = w.variable("outer", w.struct("", 32, [*numbers, ("values", w.array(w.pointer(inner), 0), 192)]))
    numbers = [("type", w.number(3), 0), ("key_size", w.number(4), 64), ("max_entries", w.number(2), 128)]
    calls = w.variable("calls", w.struct("", 32, [*numbers, ("values", w.array(w.pointer(proto), 0), 192)]))
    elf = with_maps(w, {"outer": outer, "calls": calls})
    elf.relocate(2, 24, 1, 2)
    loaded = load_object(elf.build())
    outer_map, calls_map = loaded.maps
    assert outer_map.inner is not None
    assert (outer_map.inner.name, outer_map.inner.value_size, outer_map.inner.max_entries) == ("outer.inner", 8, 5)
    assert outer_map.value_size == calls_map.value_size == 4
    assert calls_map.inner is None
    assert loaded.notes == ("section .maps: 1 initial elements are not modelled, maps start empty",)


@pytest.mark.parametrize("special", ["bpf_spin_lock", "bpf_timer"])
def test_special_fields_make_programs_unsupported(special: str) -> None:
    def make(w: BtfWriter) -> int:
        lock = w.struct(special, 4, [])
        return w.map("m", type=2, key_size=4, max_entries=1, value_type=w.struct("v", 8, [("l", w.array(lock, 2), 0)]))

    assert load_one(make).programs["main"].unsupported == (f"{special} in map m",)


def test_kptr_makes_programs_unsupported() -> None:
    def make(w: BtfWriter) -> int:
        pointer = w.pointer(w.add(18, "kptr", w.struct("task_struct", 8, [])))
        return w.map("m", type=2, key_size=4, max_entries=1, value_type=w.struct("v", 8, [("task", pointer, 0)]))

    assert load_one(make).programs["main"].unsupported == ("kptr in map m",)


def typed(w: BtfWriter, **members: int) -> int:
    return w.variable("m", w.struct("", 8, [(name, type, 0) for name, type in members.items()]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: w.map("m", type=0), "map m: unknown map type 0"),
        (lambda w: w.map("m", type=77), "map m: unknown map type 77"),
        (lambda w: w.map("m", type=1, colour=3), "map m: unknown attribute 'colour'"),
        (lambda w: w.map("m", type=1, key_size=4, key_type=w.integer("u64", 8)), "key_size 4 differs .* 8 bytes"),
        (lambda w: w.map("m", type=1, value_type=w.array(w.integer("x", 4), 1 << 30)), "a value of 4294967296 bytes"),
        (lambda w: w.variable("m", w.integer("int", 4)), "map m: defined by int, not by a struct"),
        (lambda w: typed(w, type=w.integer("int", 4)), "map m type: int is not the form that holds a number"),
        (lambda w: typed(w, type=w.number(1), key=w.integer("int", 4)), "key is int, not a pointer"),
        (lambda w: typed(w, type=w.number(12), values=w.integer("int", 4)), "values is int, not an array"),
        (lambda w: typed(w, type=w.number(12), values=w.array(w.pointer(w.integer("i", 4)), 0)), "pointers to i"),
        (lambda w: typed(w, map_extra=w.add(6, "", 4, 2, [w.string("a"), 1, w.string("b"), 2])), "enumeration of 2"),
        (lambda w: typed(w, map_extra=w.integer("int", 4)), "map m map_extra: int is not the form that holds a number"),
        (lambda w: w.variable("other", w.struct("", 8, [])), r"map other: no symbol of that name in \.maps"),
        (lambda w: w.integer("int", 4), "BTF type 1 in its DATASEC is INT"),
        (lambda w: 1000, "type 1000 of"),
    ],
)  # fmt: skip
def test_bad_definitions(make: Callable[[BtfWriter], int], message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        load_one(make)


@pytest.mark.parametrize(
    ("kind", "words", "number"),
    [(19, [0, 1], 1 << 32), (19, [0, 0x1234], 0x1234 << 32), (6, [7], 7), (6, [0xFFFFFFFF], 0xFFFFFFFF)],
)
def test_map_extra_is_also_an_enumeration_of_one(kind: int, words: list[int], number: int) -> None:
    """``__ulong(map_extra, ...)`` of bpf_helpers.h: an arena's address does not fit the usual form."""
    w = BtfWriter()
    enum = w.add(kind, "", 8 if kind == 19 else 4, 1, [w.string("__unique_value0"), *words])
    variable = typed(w, type=w.number(33), max_entries=w.number(1), map_extra=enum)
    loaded = load_object(with_maps(w, {"m": variable}).build())
    assert (loaded.maps[0].type, loaded.maps[0].extra) == (33, number)


def test_maps_of_another_object() -> None:
    w = BtfWriter()
    structure = w.struct("", 8, [("type", w.number(2), 0)])
    here, there = w.map("here", type=2, key_size=4, value_size=4, max_entries=1), w.variable("there", structure, 2)
    elf = with_maps(w, {"here": here}, others=[there])
    other = elf.code("tc", LOAD + EXIT)
    elf.function("other", other, 0, 24)
    elf.relocate(other, 0, elf.symbol("there", 0, 0), 1)
    loaded = load_object(elf.build())
    assert [spec.name for spec in loaded.maps] == ["here"]
    assert loaded.programs["main"].unsupported == ()
    assert loaded.programs["other"].unsupported == ("extern there",)
    assert "map there: defined by another object" in loaded.notes


def test_attribute_given_twice() -> None:
    w = BtfWriter()
    number = w.number(1)
    variable = w.variable("m", w.struct("", 16, [("type", number, 0), ("type", number, 64)]))
    with pytest.raises(ObjectError, match="type is given twice"):
        load_object(with_maps(w, {"m": variable}).build())


def test_maps_need_btf() -> None:
    elf = ElfWriter()
    elf.code("xdp", EXIT)
    elf.section(".maps", bytes(32))
    with pytest.raises(ObjectError, match=r"section \.maps: map definitions without BTF"):
        load_object(elf.build())
    with pytest.raises(ObjectError, match=r"section \.maps: not described in BTF"):
        load_object(with_maps(BtfWriter(), {"m": 0}, datasec=False).build())


def test_reference_to_no_map() -> None:
    w = BtfWriter()
    elf = with_maps(w, {"m": w.map("m", type=2, key_size=4, value_size=4, max_entries=1)})
    elf.relocations[1] = [(0, elf.symbol("middle", 2, 8), 1)]
    with pytest.raises(ObjectError, match=r"no map is defined at offset 8 of section \.maps \('middle'\)"):
        load_object(elf.build())


def legacy(records: bytes, names: list[str], step: int, section: str = "maps") -> ObjectFile:
    elf = ElfWriter()
    main = elf.code("xdp", LOAD * len(names) + EXIT)
    elf.function("main", main, 0, 16 * len(names) + 8)
    maps = elf.section(section, records)
    for i, name in enumerate(names):
        elf.relocate(main, 16 * i, elf.symbol(name, maps, step * i, step), 1)
    return load_object(elf.build())


def test_legacy_maps() -> None:
    loaded = legacy(struct.pack("<10I", 1, 4, 8, 100, 0, 2, 4, 16, 10, 7), ["a", "b"], 20)
    assert [(m.name, m.type, m.key_size, m.value_size, m.max_entries, m.flags) for m in loaded.maps] == [
        ("a", 1, 4, 8, 100, 0),
        ("b", 2, 4, 16, 10, 7),
    ]
    assert loaded.programs["main"].maps == loaded.maps
    assert loaded.notes == ()
    longer = legacy(struct.pack("<7I", 1, 4, 8, 100, 0, 9, 0), ["a"], 28, "maps/a")
    assert longer.notes == ("map a: fields after the flags of its legacy definition are not modelled",)
    assert legacy(struct.pack("<4I", 1, 4, 8, 100), ["a"], 16).maps[0].flags == 0


@pytest.mark.parametrize(
    ("records", "names", "message"),
    [
        (bytes(20), [], "map definitions without symbols"),
        (bytes(21), ["a", "b"], "21 bytes for 2 maps"),
        (bytes(8), ["a"], "8 bytes for 1 maps"),
        (bytes(20), ["a"], "map a: unknown map type 0"),
    ],
)
def test_bad_legacy_maps(records: bytes, names: list[str], message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        legacy(records, names, 20)


def test_two_maps_in_one_place_or_of_one_name() -> None:
    record = struct.pack("<5I", 1, 4, 8, 100, 0)
    elf = ElfWriter()
    maps = elf.section("maps", record * 2)
    elf.symbol("a", maps, 0)
    elf.symbol("b", maps, 0)
    elf.code("xdp", EXIT)
    with pytest.raises(ObjectError, match="map b: definition at offset 0"):
        load_object(elf.build())
    elf.symbols = [("a", maps, 0, 0, 17, 0), ("a", maps, 20, 0, 17, 0)]
    with pytest.raises(ObjectError, match="map a: defined twice"):
        load_object(elf.build())


def test_global_data_is_bounded() -> None:
    elf = ElfWriter()
    elf.code("xdp", EXIT)
    elf.bss(".bss", 1 << 60)
    with pytest.raises(ObjectError, match=r"section \.bss: more than 64 MiB of global data"):
        load_object(elf.build())
