"""How a run ends: a value, a trap, or no fuel left.

A trap is the *program's* fault and is a value; an exception is ours.  Every kind of assertion that the verifier checks
has its kind of trap here (``docs/safety.md`` pairs them and a test compares the lists), so that each violation can be
witnessed by a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

__all__ = ["OutOfFuel", "Outcome", "Returned", "Trap", "TrapKind", "Trapped"]


class TrapKind(Enum):
    """What a program did wrong."""

    UNINITIALISED_REGISTER = "uninitialised-register"
    NOT_A_POINTER = "not-a-pointer"
    NULL_DEREFERENCE = "null-dereference"
    OUT_OF_BOUNDS = "out-of-bounds"
    UNINITIALISED_MEMORY = "uninitialised-memory"
    READ_ONLY = "read-only"
    CONTEXT_ACCESS = "context-access"
    POINTER_ARITHMETIC = "pointer-arithmetic"
    POINTER_LEAK = "pointer-leak"
    HELPER_UNAVAILABLE = "helper-unavailable"
    HELPER_ARGUMENT = "helper-argument"
    RETURN_RANGE = "return-range"
    CALL_DEPTH = "call-depth"
    UNRELEASED_REFERENCE = "unreleased-reference"
    USER_ASSERTION = "user-assertion"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Trap:
    """A violation at slot ``pc``; ``address`` is that of the offending access where there is one."""

    kind: TrapKind
    pc: int
    message: str
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """The program ended with ``value``, unsigned 64 bits, in R0."""

    value: int


@dataclass(frozen=True, slots=True)
class Trapped:
    """The program did something that no accepted program may do."""

    trap: Trap


@dataclass(frozen=True, slots=True)
class OutOfFuel:
    """The instruction budget ran out at slot ``pc``."""

    pc: int


Outcome: TypeAlias = Returned | Trapped | OutOfFuel
