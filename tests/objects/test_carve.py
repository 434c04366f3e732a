"""Objects are found inside other files, whole, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py import examples
from prevail_py.objects.carve import carve
from prevail_py.objects.elf import load_object

OBJECT = examples.path("xdp_firewall").read_bytes()
OTHER = examples.path("xdp_parser").read_bytes()


def test_an_object_holds_itself() -> None:
    assert carve(OBJECT) == ((0, OBJECT),)


def test_objects_between_other_bytes_are_found_with_their_bounds() -> None:
    found = carve(b"\x7fELF" + bytes(100) + OBJECT + b"padding" + OTHER + OBJECT[:40])
    assert [carved.data for carved in found] == [OBJECT, OTHER]
    assert [carved.offset for carved in found] == [104, 104 + len(OBJECT) + 7]
    assert list(load_object(found[0].data).programs) == list(load_object(OBJECT).programs)


@pytest.mark.parametrize("cut", [1, 63, 64, len(OBJECT) // 2, len(OBJECT) - 1])
def test_an_object_that_is_cut_off_is_none(cut: int) -> None:
    assert carve(OBJECT[:cut]) == ()


def test_other_machines_and_kinds_are_none() -> None:
    for offset, value in ((4, 1), (5, 2), (16, 2), (18, 62), (58, 40), (60, 0)):
        damaged = bytearray(OBJECT)
        damaged[offset] = value
        if offset == 60:
            damaged[61] = 0
        assert carve(bytes(damaged)) == ()


def test_a_broken_object_does_not_hide_the_one_behind_it() -> None:
    broken = bytearray(OBJECT)
    broken[40:48] = b"\xff" * 8
    assert [carved.data for carved in carve(bytes(broken) + OBJECT)] == [OBJECT]


@given(st.lists(st.tuples(st.integers(0, 127), st.binary(min_size=1, max_size=8)), max_size=4), st.binary(max_size=32))
def test_whatever_is_found_lies_in_the_file(damage: list[tuple[int, bytes]], before: bytes) -> None:
    data = bytearray(OBJECT)
    for offset, value in damage:
        data[offset : offset + len(value)] = value
    whole = before + bytes(data)
    end = 0
    for carved in carve(whole):
        assert carved.offset >= end
        end = carved.offset + len(carved.data)
        assert whole[carved.offset : end] == carved.data


def test_an_installed_tool_holds_an_object_that_loads() -> None:
    tool = Path("/usr/sbin/execsnoop")
    if not tool.is_file():
        pytest.skip("libbpf-tools: /usr/sbin/execsnoop is not installed")
    (carved,) = carve(tool.read_bytes())
    assert load_object(carved.data).programs
