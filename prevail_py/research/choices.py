"""Where generators take their choices from: a seeded :class:`random.Random`, a tape, or Hypothesis.

A generator that asks a :class:`Choices` serves all three.  :class:`Seeded` is the fast one.  :class:`Chooser` makes
everything of one primitive, ``pick(n)``, a number below ``n``, of which 0 is the simplest: so that Hypothesis can
shrink what was made, and a :class:`Tape` can play choices again with some of them changed (the parametric generators
of Padhye et al., "Semantic Fuzzing with Zest", ISSTA 2019: a change of a choice is a change of a valid program).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random
from typing import Protocol, TypeVar

__all__ = ["Choices", "Chooser", "Seeded", "Tape"]

T = TypeVar("T")


class Choices(Protocol):
    """Those methods of :class:`random.Random` that generators use, and :meth:`more`."""

    def random(self) -> float: ...
    def randrange(self, start: int, stop: int | None = None, step: int = 1, /) -> int: ...
    def choice(self, seq: Sequence[T], /) -> T: ...
    def choices(self, population: Sequence[T], weights: Sequence[int], /) -> list[T]: ...
    def sample(self, population: Sequence[T], k: int, /) -> list[T]: ...
    def getrandbits(self, k: int, /) -> int: ...
    def randbytes(self, n: int, /) -> bytes: ...
    def more(self) -> bool:
        """Whether a sequence goes on that may stop here."""
        ...


class Seeded(Random):
    """The generator of the standard library; sequences are as long as they may be."""

    def more(self) -> bool:
        """Always."""
        return True


class Chooser:
    """All kinds of choices from ``pick``; what is first, smallest or False is made of zeros."""

    __slots__ = ("_endless", "_pick")

    def __init__(self, pick: Callable[[int], int], endless: bool = False) -> None:
        self._pick = pick
        self._endless = endless

    def random(self) -> float:
        """A number in [0, 1), near to 1 for the simplest choice: what has a probability does not happen then."""
        return (1023 - self._pick(1024)) / 1024

    def randrange(self, start: int, stop: int | None = None, step: int = 1, /) -> int:
        """As :func:`random.randrange`; the simplest number is the one nearest to 0 if 0 is among them."""
        if stop is None:
            start, stop = 0, start
        index = self._pick((stop - start + step - 1) // step)
        if start < 0 < stop and step == 1:
            return index if index < stop else stop - 1 - index
        return start + step * index

    def choice(self, seq: Sequence[T], /) -> T:
        """One of them, the first for the simplest."""
        return seq[self._pick(len(seq))]

    def choices(self, population: Sequence[T], weights: Sequence[int], /) -> list[T]:
        """One of them, as often as its weight says."""
        sums = list(accumulate(weights))
        return [population[bisect_right(sums, self._pick(sums[-1]))]]

    def sample(self, population: Sequence[T], k: int, /) -> list[T]:
        """``k`` different ones."""
        left = list(population)
        return [left.pop(self._pick(len(left))) for _ in range(k)]

    def getrandbits(self, k: int, /) -> int:
        """A number of ``k`` bits."""
        return self._pick(1 << k)

    def randbytes(self, n: int, /) -> bytes:
        """``n`` bytes."""
        return self._pick(1 << 8 * n).to_bytes(n, "little") if n else b""

    def more(self) -> bool:
        """Whether to go on; stopping is simplest."""
        return self._endless or self._pick(8) > 0


class Tape(Chooser):
    """Choices that are written down in :attr:`taken`: first those of ``given``, then random ones.

    >>> first = Tape(Random(1))
    >>> made = [first.randrange(100) for _ in range(5)]
    >>> made == [again.randrange(100) for again in [Tape(Random(2), first.taken)] for _ in range(5)]
    True
    """

    __slots__ = ("_given", "_random", "taken")

    def __init__(self, random: Random, given: Sequence[int] = ()) -> None:
        super().__init__(self._next, endless=True)
        self._random = random.random
        self._given = given
        self.taken: list[int] = []

    def _next(self, n: int) -> int:
        at = len(self.taken)
        # 53 random bits: enough for every choice that is made here, but for long strings of bytes, which repeat then.
        found = self._given[at] % n if at < len(self._given) else int(self._random() * n)
        self.taken.append(found)
        return found
