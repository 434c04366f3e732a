"""The unsound abstract operators of :mod:`prevail_py.research.planted`, as exhibits."""

from __future__ import annotations

from functools import partial
from typing import Final

from prevail_py.domains.scalar import Scalar
from prevail_py.research.museum.exhibit import Exhibit, Part
from prevail_py.research.museum.switch import Switch
from prevail_py.research.planted import BUGS, PlantedBug
from prevail_py.words import OpKind, WordOp

__all__ = ["EXHIBITS"]


def _plant(bug: PlantedBug, switch: Switch) -> None:
    switch.function(bug.where, bug.what)
    if bug.name == "CVE-2021-3490":
        _stale_word(switch)


def _stale_word(switch: Switch) -> None:
    """The same in the verifier's word, whose known bits would make good what is wrong with its bounds alone."""
    original = Scalar.apply

    def apply(self: Scalar, op: WordOp, *args: Scalar) -> Scalar:
        bitwise = op.kind in (OpKind.AND, OpKind.OR, OpKind.XOR) and op.width == self.LOW
        if bitwise and self.low[0] == self.low[1] and args[0].low[0] == args[0].low[1]:
            return self
        return original(self, op, *args)

    switch.attribute(Scalar, "apply", apply)


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
