"""Mistakes that the Linux verifier has made are refuted by ``prove`` when they are planted here."""

from __future__ import annotations

import doctest
import importlib

import pytest

import prevail_py.research.planted
from prevail_py.research.planted import BUGS, PlantedBug, planted
from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, Cell, cells

NAMED = {
    "CVE-2020-8835", "CVE-2021-3490", "CVE-2021-31440", "CVE-2017-16995", "CVE-2018-18445", "CVE-2021-3444",
    "CVE-2020-27194", "CVE-2021-45402",
}  # fmt: skip


def exposing(bug: PlantedBug) -> list[Cell]:
    found = cells("interval", bug.width, [bug.exposed_by])
    return [cell for cell in found if cell.obligation.bits == bug.bits and cell.name != "facts"]


def test_the_named_ones_are_there() -> None:
    assert BUGS.keys() >= NAMED
    assert len(BUGS) >= 12
    assert all(exposing(bug) for bug in BUGS.values())


@pytest.mark.parametrize("name", BUGS)
def test_each_is_refuted(name: str) -> None:
    """The counterexample was replayed on ints in the code with the mistake."""
    bug = BUGS[name]
    with planted(bug):
        results = []
        for cell in exposing(bug):
            results.append(cell.prove())
            if results[-1].result == COUNTEREXAMPLE:
                return
    pytest.fail(f"not refuted: {results}")


def test_nothing_stays_planted() -> None:
    """A cell that one of them broke is proved again when the switch is off."""
    bug = BUGS["CVE-2017-16995"]
    with planted(bug):
        pass
    assert [cell.prove().result for cell in exposing(bug)] == ["proved"]


def test_the_example() -> None:
    module = importlib.import_module(prevail_py.research.planted.__name__)
    assert doctest.testmod(module).failed == 0
