"""The unsound abstract operators of :mod:`prevail_py.research.planted`, as exhibits."""

from __future__ import annotations

from functools import partial
from typing import Final

from prevail_py.research.museum.exhibit import Exhibit, Part
from prevail_py.research.museum.switch import Switch
from prevail_py.research.planted import BUGS, PlantedBug

__all__ = ["EXHIBITS"]


def _plant(bug: PlantedBug, switch: Switch) -> None:
    switch.function(bug.where, bug.what)


EXHIBITS: Final[tuple[Exhibit, ...]] = tuple(
    Exhibit(
        bug.name,
        Part.OPERATOR,
        bug.summary,
        bug.fix if bug.fix.startswith(("(", "bpf:")) else f"Linux {bug.fix}",
        partial(_plant, bug),
        exposed_by=bug.exposed_by,
        bits=bug.bits,
        width=bug.width,
    )
    for bug in BUGS.values()
)
