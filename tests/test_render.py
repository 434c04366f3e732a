"""Tables and HTML fragments."""

from __future__ import annotations

import xml.etree.ElementTree

import pytest

from prevail_py._render import Table, badge, preformatted

TABLE = Table(("name", "size", "note"), (("a<b", "7", ""), ("long & wide", "1234", "")), right=frozenset({1}))


def test_columns_are_padded_and_lines_have_no_trailing_blanks() -> None:
    assert str(TABLE) == "name         size  note\na<b             7\nlong & wide  1234"


def test_compact_drops_empty_columns_and_keeps_alignment() -> None:
    assert TABLE.compact() == Table(("name", "size"), (("a<b", "7"), ("long & wide", "1234")), frozenset({1}))
    moved = Table(("x", "n"), (("", "1"),), right=frozenset({1})).compact()
    assert moved == Table(("n",), (("1",),), frozenset({0}))


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells under 2 headers"):
        Table(("one", "two"), (("1",),))


def test_html_is_well_formed_and_escaped() -> None:
    root = xml.etree.ElementTree.fromstring(TABLE._repr_html_())
    assert [cell.text for cell in root.iter("th")] == ["name", "size", "note"]
    assert [cell.text for cell in root.iter("td")][:2] == ["a<b", "7"]
    assert "text-align:right" in next(cell for cell in root.iter("td") if cell.text == "7").attrib["style"]


def test_fragments_escape_what_they_show() -> None:
    assert xml.etree.ElementTree.fromstring(badge("<b>", "bad")).text == "<b>"
    assert xml.etree.ElementTree.fromstring(preformatted("a\n <b>")).text == "a\n <b>"
    with pytest.raises(KeyError):
        badge("text", "cheerful")
