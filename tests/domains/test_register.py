"""Domains of one's own: the text of ``docs/writing-a-domain.md`` runs, and names are guarded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prevail_py import verify
from prevail_py.domains import FACTS, WORDS, facts, register
from prevail_py.domains.interval import Interval
from prevail_py.domains.nonrelational import NonRelational
from prevail_py.domains.zones import Zones
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import Program

TEXT = Path(__file__).resolve().parents[2] / "docs" / "writing-a-domain.md"


@pytest.fixture(autouse=True)
def _tables() -> Iterator[None]:
    words, relations = dict(WORDS), dict(FACTS)
    yield
    for table, kept in ((WORDS, words), (FACTS, relations)):
        table.clear()
        table.update(kept)  # type: ignore[arg-type]
    facts.cache_clear()


def test_the_text_runs(capsys: pytest.CaptureFixture[str]) -> None:
    cells = re.findall(r"```python\n(.*?)```", TEXT.read_text(), re.DOTALL)
    assert len(cells) == 3
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in cells:
        exec(compile(cell, str(TEXT), "exec"), names)
    assert capsys.readouterr().out.split() == ["UNKNOWN", "SAFE"]
    definition = cells[0][cells[0].index("class Choice") :]
    assert len(definition.splitlines()) < 60
    assert str(verify(names["program"]).kind) == "SAFE"  # as the text says of the usual disjuncts


def test_the_text_notices_a_mistake() -> None:
    """The check in the text fails for an operator that loses a word."""
    cells = re.findall(r"```python\n(.*?)```", TEXT.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "notebook"}
    exec(cells[0], names)
    whole = names["Choice"].apply

    def apply(self: Any, op: Any, *args: Any) -> Any:
        result = whole(self, op, *args)
        return result if result.is_top() or result.is_bottom() else result.constant(min(result.words))

    names["Choice"].apply = apply
    with pytest.raises(AssertionError):
        exec(cells[1], names)


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
