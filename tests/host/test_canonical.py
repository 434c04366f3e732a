"""Deterministic CBOR: the vectors of RFC 8949, and nothing but canonical encodings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.host.canonical import MAX_DEPTH, CanonicalError, Plain, decode, encode, plain
from prevail_py.objects.program import MapSpec
from prevail_py.verifier.verdict import VerdictKind

# RFC 8949, appendix A, as far as the subset goes.
VECTORS: list[tuple[str, Plain]] = [
    ("00", 0), ("17", 23), ("1818", 24), ("1864", 100), ("1903e8", 1000), ("1a000f4240", 1000000),
    ("1bffffffffffffffff", (1 << 64) - 1), ("3bffffffffffffffff", -(1 << 64)), ("20", -1), ("3903e7", -1000),
    ("f4", False), ("f5", True), ("f6", None), ("40", b""), ("4401020304", b"\1\2\3\4"), ("60", ""), ("6161", "a"),
    ("62c3bc", "ü"), ("64f0908591", "\U00010151"), ("80", []), ("8301820203820405", [1, [2, 3], [4, 5]]), ("a0", {}),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VECTORS)
def test_vectors(text: str, value: Plain) -> None:
    assert encode(value).hex() == text
    assert decode(bytes.fromhex(text)) == value


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=300) | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_encoded_comes_back(value: Plain) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=40) | st.lists(st.sampled_from(b"\x00\x18\x61\x62\xa2\x82\xf6\x41"), max_size=9).map(bytes))
def test_only_the_one_encoding_is_taken(data: bytes) -> None:
    try:
        value = decode(data)
    except CanonicalError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cut short"),
        ("0000", "too many"),
        ("1817", "shortest"),
        ("190017", "shortest"),
        ("4401", "cut short"),
        ("61ff", "no UTF-8"),
        ("9bffffffffffffffff", "cut short"),
        ("a10102", "a key that is no text"),
        ("a2616201616102", "out of order"),
        ("a2616101616102", "out of order"),
        ("c001", "a tag"),
        ("9fff", "reserved"),
        ("f97e00", "not used here"),
        ("81" * (MAX_DEPTH + 2) + "00", "deep"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(CanonicalError, match=reason):
        decode(bytes.fromhex(text))


def test_what_has_no_encoding() -> None:
    deep: list[Plain] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    for value in (1 << 64, "\ud800", 1.5, {1: 2}, deep):
        with pytest.raises(CanonicalError):
            encode(value)  # type: ignore[arg-type]
    with pytest.raises(CanonicalError, match="float"):
        plain([1.5])


def test_plain_tells_values_apart() -> None:
    spec = MapSpec("m", 2, 4, 8, 1)
    different: list[object] = [
        spec, MapSpec("m", 2, 8, 4, 1), MapSpec("m", 2, 4, 8, 1, initial=b""), VerdictKind.SAFE, "SAFE", ("SAFE",),
        frozenset({"a", "b"}), {"a": "b"}, {"b": "a"}, None, 0, False,
    ]  # fmt: skip
    encodings = [encode(plain(value)) for value in different]
    assert len(set(encodings)) == len(different)
    assert encode(plain({"a": 1, "b": 2})) == encode(plain({"b": 2, "a": 1}))
