"""Mistakes that verifiers have made, planted in the shipped code by a switch, for what must find them.

A :class:`PlantedBug` is data: what was wrong, where, and how this project's function looks with the same mistake.
:func:`planted` switches it on for a block of code.  Nothing is planted anywhere else, and nothing else imports this.

>>> from prevail_py.domains.interval import Interval
>>> from prevail_py.research.planted import BUGS, planted
>>> from prevail_py.words import OpKind, WordOp
>>> bug, small = BUGS["CVE-2017-16995"], Interval.at(8, 4)
>>> with planted(bug):
...     print(small.constant(0xF).apply(WordOp(OpKind.ZEXT, 4)).bounds(8).hi)
255
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prevail_py.research.planted.operators import OPERATOR_BUGS, PlantedBug
from prevail_py.verifier.proofs.replacing import replaced

__all__ = ["BUGS", "PlantedBug", "planted"]

BUGS: Final[dict[str, PlantedBug]] = {bug.name: bug for bug in OPERATOR_BUGS}
"""Every planted bug, by name."""


@contextmanager
def planted(bug: PlantedBug) -> Iterator[None]:
    """The shipped code with this mistake in it."""
    with replaced({bug.where: bug.what}):
        yield
