"""The world around programs of a live host: the real clock and real chance, in place of repeatable ones."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from prevail_py.vm.environment import Environment

__all__ = ["LiveEnvironment"]


@dataclass(slots=True)
class LiveEnvironment(Environment):
    """Linux's clock since boot (``CLOCK_MONOTONIC``), and random numbers that nobody can predict."""

    def read_clock(self) -> int:
        """Nanoseconds since boot, without times of sleep."""
        self.now = time.monotonic_ns()
        return self.now

    def random_u32(self) -> int:
        """An unpredictable unsigned 32-bit number."""
        return secrets.randbits(32)

    def draw(self, count: int) -> tuple[tuple[Any, tuple[int, ...]], bytes]:
        """So many of them at once."""
        return (None, ()), secrets.token_bytes(4 * count)

    def rewind(self, before: tuple[Any, tuple[int, ...]], used: int) -> None:
        """Nothing to do: a number that was drawn and not used is none that comes again."""
