"""Policies: what a verdict holds against a program beyond the safety of memory.

The default, ``strict``, is what ``docs/safety.md`` says and the only one that opens the gate.  ``linux-root`` forgives
what Linux forgives privileged loaders, so that verdicts can be compared with its own: pointers may be stored anywhere,
be returned and become numbers, and bytes of the stack that nobody wrote may be read.

In every policy memory is accessed through pointers only, within bounds.  A number that was a pointer, or that came from
unwritten stack, is a number of which nothing is known: that covers whatever it may be, since a number is no address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["LINUX_ROOT", "POLICIES", "STRICT", "Policy", "policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What is allowed; ``about`` says it in a line, for verdicts.

    ``pointer_leaks``: pointers may be stored outside the stack, be returned where any number may, and turn into unknown
    numbers by 32-bit moves, sign extension, negation, byte swaps and subtraction.  ``uninitialised_stack``: unwritten
    bytes of the stack may be read; they are unknown numbers.
    """

    name: str
    about: str = ""
    pointer_leaks: bool = False
    uninitialised_stack: bool = False


STRICT: Final = Policy("strict")
LINUX_ROOT: Final = Policy(
    "linux-root",
    "policy linux-root: pointers may leak and unwritten stack may be read",
    pointer_leaks=True,
    uninitialised_stack=True,
)

POLICIES: Final[Mapping[str, Policy]] = MappingProxyType({each.name: each for each in (STRICT, LINUX_ROOT)})
"""The policies by name."""


def policy(name: str) -> Policy:
    """The policy of this name.  Raises ValueError with the names there are."""
    try:
        return POLICIES[name]
    except KeyError:
        raise ValueError(f"no policy {name!r} (there are: {', '.join(POLICIES)})") from None
