"""The rows of a run: one for each program, with what every party says of it.  ``docs/corpora.md`` lists the columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

__all__ = ["COLUMNS", "NOT_A_VERDICT", "TIMES", "Row", "complete", "failure_counts"]

Row: TypeAlias = dict[str, Any]
"""A value for each of :data:`COLUMNS`: str, int, float, bool or None."""

COLUMNS: Final[Mapping[str, type]] = {
    # The program.
    "corpus": str,
    "object": str,
    "program": str,
    "section": str,
    "type": str,
    "instructions": int,
    "btf": str,
    "uses": str,
    # What we say.
    "verdict": str,
    "reason": str,
    "failures": str,
    "failure": str,
    "place": str,
    "needed": str,
    "discharged": int,
    "witness": str,
    "disjuncts": int,
    "steps": int,
    "seconds": float,
    "memory": float,
    # What the kernel says.
    "kernel": str,
    "kernel_reason": str,
    "kernel_instructions": int,
    "kernel_seconds": float,
    # What is expected.
    "expected": str,
    "message": str,
    "description": str,
    "retval": str,
    "flags": str,
    # What PREVAIL says.
    "prevail": str,
    "prevail_reason": str,
    "prevail_seconds": float,
    # What it was.
    "sha256": str,
}
"""The columns in their order, with the type of what they hold; any of them may be None where nothing is known."""

TIMES: Final = frozenset({"seconds", "memory", "kernel_seconds", "prevail_seconds"})
"""Columns that may differ between two runs of the same."""

NOT_A_VERDICT: Final = frozenset({"UNREADABLE", "LIMIT", "CRASH"})
"""What stands in ``verdict`` where there is none: no object, the limit of time, an end without an answer."""


def complete(row: Mapping[str, Any]) -> Row:
    """``row`` with all columns in their order.  Raises ValueError for one that does not exist."""
    if unknown := row.keys() - COLUMNS.keys():
        raise ValueError(f"no such column: {', '.join(sorted(unknown))}")
    return {name: row.get(name) for name in COLUMNS}


def failure_counts(text: str | None) -> dict[str, int]:
    """The column ``failures`` (``out-of-bounds 2, pointer-leak 1``) as counts by class."""
    counts = {}
    for part in (text or "").split(", "):
        name, _, number = part.rpartition(" ")
        if name:
            counts[name] = int(number)
    return counts
