"""BTF: all kinds, layouts and names, and data that make no sense."""

from __future__ import annotations

import struct

import pytest

from prevail_py.objects.btf import Btf, EnumValue, Kind, Member, Parameter, Variable, parse_btf
from prevail_py.objects.btf_ext import parse_btf_ext
from prevail_py.objects.errors import ObjectError
from prevail_py.research.elf_writer import BtfWriter


def parse(writer: BtfWriter) -> Btf:
    return parse_btf(memoryview(writer.build()))


def test_every_kind() -> None:
    w = BtfWriter()
    integer = w.add(1, "int", 4, rest=[1 << 24 | 32])
    pointer = w.pointer(integer)
    array = w.array(integer, 3)
    struct_ = w.struct("s", 24, [("a", integer, 0), ("p", pointer, 64), ("t", array, 128)])
    union = w.struct("u", 8, [("x", integer, 0), ("y", pointer, 0)], kind=5)
    enum = w.add(6, "e", 4, 2, [w.string("NO"), 0, w.string("MINUS"), 0xFFFFFFFF], flag=True)
    forward = w.add(7, "f", flag=True)
    typedef = w.add(8, "t", struct_)
    volatile = w.add(9, word=typedef)
    const = w.add(10, word=volatile)
    restrict = w.add(11, word=pointer)
    proto = w.add(13, word=integer, length=2, rest=[w.string("ctx"), pointer, 0, 0])
    func = w.add(12, "main", proto, length=1)
    var = w.variable("v", const)
    datasec = w.add(15, ".data", 32, 1, [var, 8, 24])
    double = w.add(16, "double", 8)
    decl = w.add(17, "hot", struct_, rest=[0xFFFFFFFF])
    tag = w.add(18, "kptr", struct_)
    enum64 = w.add(19, "big", 8, 1, [w.string("HUGE"), 1, 0x80000000])
    btf = parse(w)
    assert len(btf) == 20
    assert [type.id for type in btf] == list(range(1, 20))
    assert btf.type(0).kind is Kind.VOID
    assert btf.type(integer).encoding == 1 << 24 | 32
    assert btf.type(array).count == 3
    assert btf.type(struct_).members == (Member("a", integer, 0), Member("p", pointer, 64), Member("t", array, 128))
    assert btf.type(struct_).members[1].offset == 8
    assert btf.type(union).kind is Kind.UNION
    assert btf.type(enum).values == (EnumValue("NO", 0), EnumValue("MINUS", -1))
    assert btf.type(forward).flag
    assert btf.type(proto).parameters == (Parameter("ctx", pointer), Parameter("", 0))
    assert btf.type(func).linkage == 1
    assert btf.type(func).type == proto
    assert btf.type(datasec).variables == (Variable(var, 8, 24),)
    assert btf.datasec(".data") == btf.type(datasec)
    assert btf.datasec(".bss") is None
    assert btf.type(decl).component == -1
    assert btf.type(enum64).values == (EnumValue("HUGE", 0x80000000_00000001),)
    assert btf.resolve(const) == btf.resolve(tag) == btf.type(struct_)
    sizes = {
        integer: 4,
        pointer: 8,
        array: 12,
        struct_: 24,
        union: 8,
        enum: 4,
        const: 24,
        var: 24,
        double: 8,
        enum64: 8,
    }
    assert {id: btf.size_of(id) for id in sizes} == sizes
    assert btf.size_of(0) == btf.size_of(proto) == 0
    assert btf.find("s", Kind.STRUCT) == btf.type(struct_)
    assert btf.find("s", Kind.UNION) is None
    assert btf.spell(const) == "t volatile const"
    assert btf.spell(restrict) == "int *restrict"
    assert btf.spell(pointer) == "int *"
    assert btf.spell(array) == "int[3]"
    assert btf.spell(forward) == "union f"
    assert btf.spell(w.count) == "big"


def test_bit_fields() -> None:
    w = BtfWriter()
    integer = w.integer("int", 4)
    w.add(4, "s", 4, 2, [w.string("a"), integer, 3 << 24 | 0, w.string("b"), integer, 5 << 24 | 3], flag=True)
    assert parse(w).type(2).members == (Member("a", integer, 0, 3), Member("b", integer, 3, 5))


def test_members_of_anonymous_members() -> None:
    w = BtfWriter()
    integer = w.integer("int", 4)
    inner = w.struct("", 8, [("x", integer, 0), ("y", integer, 32)])
    union = w.struct("", 8, [("", inner, 0)], kind=5)
    outer = w.struct("outer", 16, [("a", integer, 0), ("", union, 64)])
    btf = parse(w)
    member = btf.member(w.count, "y")
    assert member is not None
    assert member.offset == 12
    assert btf.member(outer, "z") is None


def test_cyclic_types_end() -> None:
    w = BtfWriter()
    w.add(8, "loop", 1)  # typedef of itself
    w.add(3, rest=[2, 2, 1 << 31])  # array of itself
    w.struct("s", 8, [("", 3, 0)])  # struct that contains itself
    w.pointer(4)
    btf = parse(w)
    with pytest.raises(ObjectError, match="typedefs and qualifiers deep"):
        btf.resolve(1)
    with pytest.raises(ObjectError, match="arrays more than"):
        btf.size_of(2)
    assert btf.member(3, "x") is None
    assert btf.spell(4).startswith("...")


def test_bad_references() -> None:
    w = BtfWriter()
    w.pointer(99)
    w.add(8, "t", 0xFFFFFFFF)
    w.types += struct.pack("<III", 1 << 20, 1 << 24, 4) + bytes(4)
    w.count += 1
    btf = parse(w)
    with pytest.raises(ObjectError, match=r"\.BTF: type 99 of 4"):
        btf.type(btf.type(1).type)
    with pytest.raises(ObjectError, match="type 4294967295 of 4"):
        btf.resolve(2)
    with pytest.raises(ObjectError, match="name at offset 1048576"):
        btf.type(3)
    with pytest.raises(ObjectError, match="type -1 of 4"):
        btf.type(-1)


def image() -> bytearray:
    w = BtfWriter()
    w.integer("int", 4)
    return bytearray(w.build())


@pytest.mark.parametrize(
    ("offset", "format", "value", "message"),
    [
        (0, "<H", 0x9FEB, "magic 0x9feb"),
        (2, "<B", 2, "version 2"),
        (4, "<I", 8, "header of 8 bytes"),
        (4, "<I", 1 << 31, "reach beyond"),
        (8, "<I", 1 << 31, "of types at .* reach beyond"),
        (12, "<I", 0xFFFFFFFF, "of types at .* reach beyond"),
        (16, "<I", 0xFFFFFFFF, "of strings at .* reach beyond"),
        (20, "<I", 0xFFFFFFFF, "of strings at .* reach beyond"),
        (12, "<I", 15, "type 1: the section ends inside it"),
        (28, "<I", 31 << 24, "type 1: unknown kind 31"),
        (28, "<I", 0, "type 1: unknown kind 0"),
        (28, "<I", 4 << 24 | 0xFFFF, "type 1: the section ends inside it"),
        (24 + 16, "<B", 1, "does not begin with an empty string"),
    ],
)
def test_malformed_sections(offset: int, format: str, value: int, message: str) -> None:
    data = image()
    struct.pack_into(format, data, offset, value)
    with pytest.raises(ObjectError, match=message):
        parse_btf(memoryview(data))


def test_truncated_sections() -> None:
    data = image()
    for length in range(len(data)):
        with pytest.raises(ObjectError):
            parse_btf(memoryview(data)[:length])


def test_line_records_and_core_relocations() -> None:
    w = BtfWriter()
    type = w.integer("int", 4)
    ext = w.build_ext([("xdp", 8, "f.c", "b", 2, 5), ("xdp", 0, "f.c", "a", 1, 0)], core=[("xdp", 16, type, "0:1", 3)])
    btf = parse(w)
    info = parse_btf_ext(memoryview(ext), btf)
    assert [(r.offset, r.line, r.column, btf.text(r.text)) for r in info.lines["xdp"]] == [
        (0, 1, 0, "a"),
        (8, 2, 5, "b"),
    ]
    (core,) = info.core["xdp"]
    assert (core.offset, core.type, btf.string(core.access), core.kind) == (16, type, "0:1", 3)
    assert info.functions == {}
    old = bytearray(ext[:24] + ext[32 : 32 + struct.unpack_from("<I", ext, 20)[0]])
    struct.pack_into("<I", old, 4, 24)
    assert parse_btf_ext(memoryview(old), btf).core == {}


@pytest.mark.parametrize(
    ("offset", "format", "value", "message"),
    [
        (0, "<H", 0, "magic 0x0000"),
        (2, "<B", 0, "version 0"),
        (4, "<I", 23, "header of 23 bytes"),
        (4, "<I", 4000, "header of 4000 bytes"),
        (16, "<I", 1 << 31, "line info: .* reach beyond"),
        (20, "<I", 1 << 31, "line info: .* reach beyond"),
        (32, "<I", 12, "line info: records of 12 bytes"),
        (32, "<I", 0xFFFFFFFC, "line info: 1 records of 4294967292 bytes"),
        (36, "<I", 1 << 30, "name at offset"),
        (40, "<I", 0, "a section without records"),
        (40, "<I", 0xFFFFFFFF, "line info: 4294967295 records"),
        (20, "<I", 8, "ends inside a section header"),
    ],
)
def test_malformed_extensions(offset: int, format: str, value: int, message: str) -> None:
    w = BtfWriter()
    data = bytearray(w.build_ext([("xdp", 0, "f.c", "a", 1, 0)]))
    struct.pack_into(format, data, offset, value)
    with pytest.raises(ObjectError, match=message):
        parse_btf_ext(memoryview(data), parse(w))
