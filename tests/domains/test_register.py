"""Domains of one's own: ``docs/writing-a-domain.md`` is a lesson that runs, and names are guarded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prevail_py import verify
from prevail_py.domains import FACTS, WORDS, facts, register
from prevail_py.domains.interval import Interval
from prevail_py.domains.nonrelational import NonRelational
from prevail_py.domains.zones import Zones
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import Program
from prevail_py.research.notebooks import load, markdown

ROOT = Path(__file__).resolve().parents[2]
TEXT = ROOT / "docs" / "writing-a-domain.md"
LESSON = ROOT / "notebooks" / "03_write_your_own_domain.ipynb"


@pytest.fixture(autouse=True)
def _tables() -> Iterator[None]:
    words, relations = dict(WORDS), dict(FACTS)
    yield
    for table, kept in ((WORDS, words), (FACTS, relations)):
        table.clear()
        table.update(kept)  # type: ignore[arg-type]
    facts.cache_clear()


def test_the_text_is_the_lesson_that_runs() -> None:
    """``tests/notebooks`` executes the notebook; the document is its text."""
    assert TEXT.read_text(encoding="utf-8") == markdown(load(LESSON)), (
        "python -m prevail_py.research.notebooks markdown notebooks/03_write_your_own_domain.ipynb"
    )


class Mine(Interval):
    """An interval by another name."""

    __slots__ = ()


Mine._configure()


def test_words_and_facts_are_told_apart() -> None:
    register("mine", Mine)
    register("relations", Zones.top)
    assert WORDS["mine"] is Mine
    assert FACTS["relations"] is not None
    assert isinstance(facts("mine")(), NonRelational)
    made = Program("p", "xdp", "xdp", assemble_text("r0 = *(u32 *)(r1 + 12)\nr0 &= 3\nexit"))
    for name in ("mine", "mine*relations", "relations*tnum*mine"):
        assert verify(made, domain=name).is_safe


def test_a_name_can_be_given_again() -> None:
    """As happens when a cell is run twice."""
    register("mine", Interval)
    assert "Interval" in repr(facts("mine")().define_between(1, 0, 5))
    register("mine", Mine)
    assert facts("mine") is facts("mine")
    assert WORDS["mine"] is Mine
    register("mine", Zones.top)
    assert "mine" not in WORDS


@pytest.mark.parametrize("name", ["interval", "zones", "", "a*b", "two words"])
def test_names_that_cannot_be_given(name: str) -> None:
    with pytest.raises(ValueError, match="taken" if name in {**WORDS, **FACTS} else "called"):
        register(name, Mine)


def test_what_is_no_domain() -> None:
    with pytest.raises(TypeError, match="neither"):
        register("mine", 5)  # type: ignore[arg-type]


def test_registering_what_is_there_changes_nothing() -> None:
    register("interval", Interval)
    assert WORDS["interval"] is Interval
    with pytest.raises(ValueError, match="unknown domain"):
        facts("nothing")
