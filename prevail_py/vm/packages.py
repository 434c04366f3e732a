"""What other packages add to the machine: entry points, by group and name.

A helper or map type of this package is never looked for here, so none can be replaced.
"""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["of_packages"]


@cache
def of_packages(group: str, name: str) -> Any:
    """What the entry point of this name gives, the first where there are several; None where there is none."""
    from importlib.metadata import entry_points

    for entry_point in entry_points(group=group, name=name):
        return entry_point.load()
    return None
