"""Values as JSON: what is written is JSON, and means the same bytes when it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py import examples
from prevail_py.objects.elf import load_object
from prevail_py.objects.json_values import from_json, to_json
from prevail_py.objects.layout import Aggregate, Array, Enumeration, Field, Layout, Opaque, Scalar
from prevail_py.objects.values import CodecError, encode

NAME = Array(Scalar(1, "char"), 4)
PORT = Scalar(2, name="__be16")
MODE = Enumeration(1, False, (("OFF", 0), ("ON", 1), ("ab", 2)), "mode")
RULE = Aggregate(
    12,
    (
        Field("name", NAME, 0),
        Field("port", PORT, 32),
        Field("mode", MODE, 48),
        Field("low", Scalar(1), 56, 3),
        Field("high", Scalar(1), 59, 5),
        Field("mac", Array(Scalar(1), 2), 64),
    ),
    name="rule",
)

leaves: st.SearchStrategy[Layout] = st.one_of(
    st.builds(Scalar, st.sampled_from([1, 2, 4, 8]), st.sampled_from(["unsigned", "signed", "bool", "pointer"])),
    st.builds(Scalar, st.sampled_from([4, 8]), st.just("float")),
    st.sampled_from([PORT, Scalar(1, "char"), MODE, RULE, NAME]),
    st.builds(Opaque, st.integers(0, 5)),
)
layouts = st.recursive(
    leaves,
    lambda parts: (
        st.builds(Array, parts, st.integers(0, 3))
        | st.builds(lambda part: Aggregate(part.size + 3, (Field("part", part, 8),)), parts)
    ),
    max_leaves=3,
)


@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    layout = data.draw(layouts)
    content = data.draw(st.binary(min_size=layout.size, max_size=layout.size))
    text = json.dumps(to_json(layout, content), allow_nan=False)
    assert encode(layout, from_json(layout, json.loads(text))) == content


@pytest.mark.parametrize(
    ("layout", "content", "value"),
    [
        (Scalar(4), "0a000000", 10),
        (Scalar(4, "signed"), "ffffffff", -1),
        (Scalar(1, "bool"), "01", True),
        (Scalar(8, "float"), "000000000000f83f", 1.5),
        (Scalar(4, "float"), "0000807f", "0000807f"),  # infinite
        (PORT, "0035", "0035"),
        (MODE, "01", "ON"),
        (MODE, "02", "ab"),  # and not the byte
        (MODE, "09", 9),
        (NAME, "65746830", "eth0"),
        (NAME, "6c6f0000", "lo"),
        (NAME, "ff000000", "ff000000"),
        (Array(Scalar(1), 2), "abcd", "abcd"),
        (Array(Scalar(2), 2), "01000200", [1, 2]),
        (Opaque(3), "010203", "010203"),
        (
            RULE,
            "6c6f00000035010aabcd0000",
            {"name": "lo", "port": "0035", "mode": "ON", "low": 2, "high": 1, "mac": "abcd"},
        ),
        (RULE, "6c6f00000035010aabcd0001", "6c6f00000035010aabcd0001"),  # padding with something in it
    ],
)
def test_values(layout: Layout, content: str, value: Any) -> None:
    assert to_json(layout, bytes.fromhex(content)) == value
    assert encode(layout, from_json(layout, value)).hex() == content


def test_what_is_not_named_is_zero_and_hexadecimal_always_does() -> None:
    assert encode(RULE, from_json(RULE, {"mode": "01", "port": 53})).hex() == "000000003500010000000000"
    assert encode(Scalar(4), from_json(Scalar(4), "0a000000")) == bytes([10, 0, 0, 0])


@pytest.mark.parametrize(
    ("layout", "value", "reason"),
    [
        (Scalar(4), "0a0000", "a number is wanted"),
        (Scalar(4), "0a 0 000", "a number is wanted"),
        (Scalar(4), None, "a number is wanted"),
        (MODE, "AUTO", "no enumerator"),
        (NAME, "wlan0", "do not fit"),
        (Opaque(3), "010", "3 bytes in hexadecimal"),
        (Opaque(3), 5, "3 bytes are wanted"),
        (Array(Scalar(1), 2), "xyzu", "2 bytes in hexadecimal"),
        (Array(Scalar(2), 2), [1, "x"], r"\[1\]: a number is wanted"),
        (RULE, {"nome": 1}, "no member 'nome'"),
        (RULE, {"mac": {}}, "mac: 2 elements are wanted"),
        (RULE, {"low": "01"}, "low: a number is wanted"),
        (RULE, 7, "members are wanted"),
    ],
)
def test_values_that_the_type_does_not_have(layout: Layout, value: Any, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        encode(layout, from_json(layout, value))


def test_network_order_comes_from_the_typedef() -> None:
    maps = load_object(examples.path("xdp_firewall")).programs["xdp_firewall"].maps
    by_name = {spec.name: spec for spec in maps}
    assert by_name["blocked_sources"].key_layout == Scalar(4, name="__be32")
    service = by_name["blocked_services"].key_layout
    assert isinstance(service, Aggregate)
    assert [field.layout for field in service.fields][:2] == [PORT, Scalar(1, name="unsigned char")]
    outcome = by_name["outcomes"].key_layout
    assert isinstance(outcome, Scalar)
    assert outcome.name == "unsigned int"
