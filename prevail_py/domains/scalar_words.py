"""Words that come again and again: constants, what loads yield, what null checks leave.

Words are values, so it does not matter whether two of them are one object, except for time: to make one takes longer
than to find it, and to compare a word with itself takes none.  What is kept is bounded in number.  Whoever spoils an
operator of :class:`~prevail_py.domains.scalar.Scalar`, to see a test fail, should know that these words stay as they
were.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from prevail_py.domains import bounds
from prevail_py.domains.scalar import Scalar
from prevail_py.words import Comparison

__all__ = ["compared_with", "constant_word", "integer_within", "signed_between"]

_TOP: Final = Scalar.top()
_MIN: Final = -(1 << 63)
_MAX: Final = (1 << 63) - 1


def constant_word(value: int) -> Scalar:
    """The word of a constant."""
    word = _CONSTANTS.get(value)
    if word is None:
        word = Scalar.constant(value)
        if len(_CONSTANTS) < _MOST_CONSTANTS:
            _CONSTANTS[value] = word
    return word


_CONSTANTS: Final[dict[int, Scalar]] = {}
"""Those of the constants met first, for programs use few and use them again."""

_MOST_CONSTANTS: Final = 4096


def signed_between(lo: int, hi: int) -> Scalar:
    """The words with signed value in ``lo..hi``; all where an end is no signed word, for then they lie around it."""
    if lo < _MIN or hi > _MAX:
        return _TOP
    return Scalar.between(lo, hi) if lo >= 0 else Scalar.of(bounds.from_signed(lo, hi, 1 << 63))


@lru_cache(maxsize=256)
def integer_within(lo: int, hi: int) -> Scalar:
    """The words that are some integer of ``lo..hi``: mostly those of the sizes of loads.  Top is always one object."""
    word = signed_between(lo, hi) if lo < 0 else Scalar.between(lo, hi)
    return _TOP if word.is_top() else word


@lru_cache(maxsize=1024)
def compared_with(comparison: Comparison, value: int) -> Scalar:
    """What is known of a word of which nothing was known, after a comparison with ``value``: null checks, mostly."""
    return _TOP.restrict_to(comparison, value)
