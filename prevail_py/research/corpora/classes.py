"""What an annotated program is about: a class for each, decided by ``classes.toml``, a table of rules.

A rule looks at what a program uses, what is expected of it, and the messages that the kernel's verifier is expected to
write; the first one that fits decides.  A program that no rule fits is ``unclassified``, which a test forbids for the
selftests.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

__all__ = ["UNCLASSIFIED", "FaultClass", "Rule", "class_of", "classes", "rules"]

_FILE: Final = Path(__file__).with_name("classes.toml")


@dataclass(frozen=True, slots=True)
class FaultClass:
    """A class: ``scope``: such programs are meant to be decided; ``excluded``: why SAFE excludes it, if it does."""

    name: str
    about: str
    scope: bool = True
    excluded: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule fits where all of its conditions hold; None and ``""`` are no conditions."""

    fault: str
    uses: str = ""
    expected: str = ""
    message: re.Pattern[str] | None = None

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether it fits the row of a program."""
        if self.uses and self.uses not in str(row.get("uses") or "").split():
            return False
        if self.expected and self.expected != row.get("expected"):
            return False
        # Without an expected message, what the kernel said is the next best witness of what a program is about.
        text = str(row.get("message") or row.get("kernel_reason") or "")
        return self.message is None or self.message.search(text) is not None


UNCLASSIFIED: Final = FaultClass("unclassified", "no rule fits")


@cache
def classes() -> Mapping[str, FaultClass]:
    """All classes by name, in the order of the file."""
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))["class"]
    return {
        name: FaultClass(name, entry["about"], entry.get("scope", True), entry["why"] if "safety" in entry else "")
        for name, entry in table.items()
    }


@cache
def rules() -> tuple[Rule, ...]:
    """The rules in their order."""
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))["rule"]
    return tuple(
        Rule(
            entry["class"],
            entry.get("uses", ""),
            entry.get("expected", ""),
            re.compile(entry["message"], re.MULTILINE) if "message" in entry else None,
        )
        for entry in table
    )


def class_of(row: Mapping[str, Any]) -> FaultClass:
    """The class of an annotated program, given by its row."""
    for rule in rules():
        if rule.fits(row):
            return classes()[rule.fault]
    return UNCLASSIFIED
