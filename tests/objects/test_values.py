"""The codec between bytes and Python values: round trips, what is refused, and what a compiler lays out."""

from __future__ import annotations

import pickle
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.objects.btf import Btf, parse_btf
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.layout import Aggregate, Array, Enumeration, Field, Layout, Opaque, Scalar, layout_of
from prevail_py.objects.values import CodecError, Record, decode, encode

U8, U32, U64, CHAR = Scalar(1), Scalar(4), Scalar(8), Scalar(1, "char")
COLOUR = Enumeration(4, False, (("RED", 1), ("GREEN", 2), ("GRUEN", 2)), "colour")
PAIR = Aggregate(8, (Field("a", U8, 0), Field("b", U32, 32)), name="pair")
EITHER = Aggregate(4, (Field("number", U32, 0), Field("parts", Array(U8, 4), 0)), union=True, name="either")
FLAGS = Aggregate(4, (Field("low", U32, 0, 3), Field("sign", Scalar(4, "signed"), 3, 2), Field("high", U32, 5, 27)))
HIDDEN = Aggregate(12, (Field("kind", U32, 0), Field("", EITHER, 32), Field("last", U32, 64)), name="hidden")

scalars: st.SearchStrategy[Layout] = st.one_of(
    st.builds(Scalar, st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from(["unsigned", "signed", "bool", "pointer"])),
    st.just(CHAR),
    st.just(COLOUR),
    st.builds(Opaque, st.integers(0, 5)),
)


@st.composite
def aggregates(draw: st.DrawFn, parts: st.SearchStrategy[Layout]) -> Aggregate:
    members = draw(st.lists(st.tuples(parts, st.integers(0, 3)), max_size=4))
    union, fields, end = draw(st.booleans()), [], 0
    for number, (layout, gap) in enumerate(members):
        start = 0 if union else end + gap
        bits = 0
        if isinstance(layout, Scalar) and draw(st.booleans()):
            bits = draw(st.integers(1, 8 * layout.size))
        name = "" if isinstance(layout, Aggregate) and draw(st.booleans()) else f"m{id(layout) % 97}_{number}_{end}"
        fields.append(Field(name, layout, 8 * start, bits))
        end = max(end, start + layout.size)
    return Aggregate(end + draw(st.integers(0, 2)), tuple(fields), union, "drawn")


layouts = st.recursive(
    scalars, lambda parts: st.builds(Array, parts, st.integers(0, 3)) | aggregates(parts), max_leaves=8
)


@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    layout = data.draw(layouts)
    content = data.draw(st.binary(min_size=layout.size, max_size=layout.size))
    value = decode(layout, content)
    assert encode(layout, value) == content
    assert encode(layout, content) == content
    assert decode(layout, content) == value
    assert hash(decode(layout, content)) == hash(value)
    assert pickle.loads(pickle.dumps(value)) == value


@given(st.data())
def test_a_plain_copy_says_the_same_but_for_padding(data: st.DataObject) -> None:
    layout = data.draw(aggregates(scalars))
    value = decode(layout, data.draw(st.binary(min_size=layout.size, max_size=layout.size)))
    assert isinstance(value, Record)
    assert dict(decode(layout, encode(layout, dict(value)))) == dict(value)


@pytest.mark.parametrize(
    ("layout", "content", "value"),
    [
        (Scalar(4, "signed"), "ffffffff", -1),
        (Scalar(1, "bool"), "01", True),
        (Scalar(1, "bool"), "07", 7),
        (Scalar(8, "float"), struct.pack("<d", 1.5).hex(), 1.5),
        (COLOUR, "02000000", 2),
        (Array(CHAR, 8), b"eth0".ljust(8, b"\0").hex(), b"eth0"),
        (Array(U8, 3), "010203", b"\1\2\3"),
        (Array(U32, 2), "0100000002000000", (1, 2)),
        (PAIR, "0500000006000000", {"a": 5, "b": 6}),
        (EITHER, "01020304", {"number": 0x04030201, "parts": b"\1\2\3\4"}),
        (FLAGS, (5 | 3 << 3 | 9 << 5).to_bytes(4, "little").hex(), {"low": 5, "sign": -1, "high": 9}),
        (HIDDEN, "010000000a00000bff000000", {"kind": 1, "number": 0xB00000A, "parts": b"\x0a\0\0\x0b", "last": 255}),
    ],
)
def test_values(layout: Layout, content: str, value: Any) -> None:
    assert decode(layout, bytes.fromhex(content)) == value
    assert encode(layout, value).hex() == content


def test_records_have_attributes() -> None:
    value = decode(HIDDEN, bytes(range(12)))
    assert (value.kind, value.parts) == (0x03020100, b"\4\5\6\7")
    assert value.replace(number=1).parts == b"\1\0\0\0"
    assert value.replace(number=1).last == value.last
    assert repr(decode(PAIR, bytes(8))) == "pair(a=0, b=0)"
    assert bytes(value) == bytes(range(12))
    assert "parts" in dir(value)
    with pytest.raises(AttributeError, match="hidden has no member 'colour'"):
        _ = value.colour
    with pytest.raises(CodecError, match="no member 'colour'"):
        value.replace(colour=1)


def test_padding_tells_keys_apart() -> None:
    one, other = decode(PAIR, bytes(8)), decode(PAIR, b"\0\1" + bytes(6))
    assert dict(one) == dict(other)
    assert one != other
    assert one == {"a": 0, "b": 0}


def test_enumerators() -> None:
    green = decode(COLOUR, b"\2\0\0\0")
    assert (str(green), repr(green), green) == ("GREEN", "<GREEN: 2>", 2)
    assert encode(COLOUR, "GRUEN") == encode(COLOUR, green) == b"\2\0\0\0"
    assert repr(decode(COLOUR, b"\7\0\0\0")) == "7"


def test_what_is_not_given_is_zero() -> None:
    assert encode(PAIR, {"b": 1}) == bytes(4) + b"\1\0\0\0"
    assert encode(PAIR, (5, 6)) == encode(PAIR, [5, 6]) == encode(PAIR, {"a": 5, "b": 6})
    assert encode(Array(CHAR, 4), "lo") == b"lo\0\0"
    assert encode(HIDDEN, {"parts": b"\1\2\3\4", "number": 0x04030201})[4:8] == b"\1\2\3\4"


@pytest.mark.parametrize(
    ("layout", "value", "reason"),
    [
        (U8, 256, r"256 is not in \[0, 255\]"),
        (U8, -1, r"-1 is not in \[0, 255\]"),
        (Scalar(1, "signed"), 128, r"128 is not in \[-128, 127\]"),
        (U32, b"abc", "a number is wanted, not 3 bytes"),
        (U32, "1", "a number is wanted, not str '1'"),
        (COLOUR, "BLUE", "'BLUE' is no enumerator .there are: RED, GREEN, GRUEN."),
        (Scalar(4, "float"), "1", "a number is wanted"),
        (Scalar(4, "float"), 1e300, "1e.300 is too large"),
        (Array(U32, 2), [1], "2 elements are wanted, not 1"),
        (Array(U32, 2), [1, -1], r"\[1\]: -1 is not in"),
        (Array(U32, 2), 7, "2 elements are wanted, not int 7"),
        (Array(CHAR, 2), "abc", "3 characters do not fit into 2"),
        (PAIR, {"c": 1}, "no member 'c' .there are: a, b."),
        (PAIR, {"b": "x"}, "b: a number is wanted, not str 'x'"),
        (PAIR, (1,), "2 members are wanted .a, b., not 1"),
        (PAIR, 5, "members are wanted .a, b., not int 5"),
        (PAIR, bytes(7), "members are wanted .a, b., not 7 bytes"),
        (EITHER, (1, b"\1\0\0\0"), "the value of a union is wanted as a mapping with one member"),
        (EITHER, {"number": 1, "parts": b"\2\0\0\0"}, "parts: contradicts another member at the same place"),
        (Array(PAIR, 1), [{"a": 256}], r"\[0\].a: 256 is not in"),
        (FLAGS, {"low": 8}, r"low: 8 is not in \[0, 7\]"),
        (Opaque(3), 5, "3 bytes are wanted, not int 5"),
    ],
)
def test_values_that_the_type_does_not_have(layout: Layout, value: Any, reason: str) -> None:
    with pytest.raises(CodecError, match=f"^{reason}"):
        encode(layout, value)


def test_sizes_are_checked() -> None:
    for layout in (U32, PAIR, Array(U8, 2)):
        with pytest.raises(CodecError, match="bytes, not"):
            decode(layout, bytes(layout.size + 1))


SOURCE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
enum colour { RED = 1, GREEN, BLUE };
enum far { NEAR = -1, FAR = 0x100000000 };
struct inner { u16 first; const volatile u32 second; };
union either { u32 number; u8 parts[4]; };
struct flow {
    u8 mac[6]; char name[8]; _Bool up; long long delta; enum colour colour; enum far far;
    struct inner inners[2]; union either either; union { u32 v4; u8 v6[16]; };
    struct { u32 low : 3; int sign : 2; u64 high : 40; }; void *where; u64 grid[2][3]; signed char little; double share;
};
struct flow flow = {
    .mac = {2, 0, 0, 0, 0, 1}, .name = "eth0", .up = 1, .delta = -5, .colour = BLUE, .far = NEAR,
    .inners = {{1, 2}, {3, 4}}, .either = {.parts = {1, 2, 3, 4}}, .v6 = {10, 0, 0, 1, [15] = 9},
    .low = 5, .sign = -1, .high = 1ULL << 39, .where = (void *)0x1234, .grid = {{1, 2, 3}, {4, 5, 6}}, .little = -7,
    .share = 0.25,
};
u64 after = 77;
static volatile const u32 limit = 8;
__attribute__((section("xdp"))) int program(void *context) { after += flow.up; return limit; }
"""


def test_what_a_compiler_lays_out(clang: str, tmp_path: Path) -> None:
    source, target = tmp_path / "flow.c", tmp_path / "flow.o"
    source.write_text(SOURCE)
    subprocess.run([clang, "-target", "bpf", "-g", "-O1", "-c", str(source), "-o", str(target)], check=True)
    maps = {spec.name: spec for spec in load_object(target).maps}
    data = maps[".data"]
    assert data.value_layout is not None
    assert data.initial is not None
    values = decode(data.value_layout, data.initial)
    expected = {
        "mac": b"\2\0\0\0\0\1", "name": b"eth0", "up": True, "delta": -5, "colour": 3, "far": -1,
        "inners": ({"first": 1, "second": 2}, {"first": 3, "second": 4}),
        "either": {"number": 0x04030201, "parts": b"\1\2\3\4"},
        "v4": 0x100000A, "v6": bytes([10, 0, 0, 1, *[0] * 11, 9]),
        "low": 5, "sign": -1, "high": 1 << 39, "where": 0x1234, "grid": ((1, 2, 3), (4, 5, 6)), "little": -7,
        "share": 0.25,
    }  # fmt: skip
    assert values.flow == expected
    assert str(values.flow.colour) == "BLUE"
    assert str(values.flow.far) == "NEAR"
    assert values.after == 77
    assert encode(data.value_layout, values) == data.initial
    flow = next(field.layout for field in data.value_layout.fields if field.name == "flow")  # type: ignore[union-attr]
    assert encode(flow, expected) == bytes(values.flow)
    constants = maps[".rodata"]
    assert constants.value_layout is not None
    assert decode(constants.value_layout, constants.initial or b"").limit == 8


# Types that make no sense: what is not refused must be cheap ----------------------------------------------------------


def types(*rows: bytes, names: bytes = b"\0") -> Btf:
    body = b"".join(rows)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(names))
    return parse_btf(memoryview(header + body + names))


def number() -> bytes:
    return struct.pack("<IIII", 1, 1 << 24, 4, 32)


def structure(size: int, *members: tuple[int, int, int]) -> bytes:
    """Members are (name, type, bit offset)."""
    head = struct.pack("<III", 0, 4 << 24 | len(members), size)
    return head + b"".join(struct.pack("<III", *member) for member in members)


NAMES = b"\0a\0b\0"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ((structure(8, (1, 1, 0)),), "nested more than 32 deep"),
        ((structure(8, (1, 1, 0), (3, 1, 0)),), "nested more than 32 deep"),
        ((structure(4, (1, 2, 8)), number()), "member a lies outside of it"),
        ((structure(8, (1, 2, 4)), number()), "member a does not begin with a byte"),
        ((structure(8, (1, 2, 0), (1, 2, 32)), number()), "two members have the same name"),
        ((struct.pack("<III", 0, 12 << 24, 0),), "not the type of a value"),
        (
            (*(structure(4, (1, i + 2, 0), (3, i + 2, 0)) for i in range(24)), number()),
            "more than 65536 parts",
        ),
        ((*(structure(4, (1, i + 2, 0)) for i in range(40)), number()), "nested more than 32 deep"),
    ],
)
def test_types_that_are_refused(rows: tuple[bytes, ...], reason: str) -> None:
    btf = types(*rows, names=NAMES)
    with pytest.raises(ObjectError, match=reason):
        layout_of(btf, 1)


def test_a_known_type_on_a_longer_way() -> None:
    """The depth limit holds for what is nested in all, in whatever order the types were met."""
    chain = [structure(4, (1, i + 2, 0)) for i in range(1, 41)]
    shuffled = structure(12, (1, 22, 0), (3, 2, 32))
    with pytest.raises(ObjectError, match="nested more than 32 deep"):
        layout_of(types(shuffled, *chain, number(), names=NAMES), 1)
