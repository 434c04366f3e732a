"""The comparison with a constant that branches mostly are: what the general one gives, word for word."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import pytest

from prevail_py.domains import bounds, halves
from prevail_py.domains.scalar import Scalar
from prevail_py.research.exhaustive import Checker
from prevail_py.words import Comparison

SMALL: Any = Scalar.at(4, 2)
EDGES = (0, 1, 2, 3, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 32) - 1, 1 << 63, (1 << 63) - 1, (1 << 64) - 1)


def _same(word: Any, comparison: Comparison, value: int) -> None:
    found = word.restrict_to(comparison, value)
    expected, _ = word.restrict(comparison, word.constant(value), word.WIDTH)
    assert found == expected, f"{word} {comparison.value} {value}: {found}, not {expected}"
    assert expected is not word or found is word, f"{word} {comparison.value} {value}: no news, but another object"


@cache
def _elements() -> list[Any]:
    return Random(7).sample(Checker(SMALL).elements(), 400)


def _all_small() -> None:
    for word in _elements():
        for comparison in Comparison:
            for value in range(16):
                _same(word, comparison, value)


def test_small_words() -> None:
    _all_small()


def _word(draw: Random) -> int:
    return draw.choice(EDGES) if draw.random() < 0.5 else draw.getrandbits(draw.choice((3, 8, 31, 32, 33, 63, 64)))


def test_large_words() -> None:
    draw = Random(11)
    for _ in range(4000):
        lo, hi = sorted((_word(draw), _word(draw)))
        word = Scalar.between(lo, hi)
        if draw.random() < 0.5:
            mask = _word(draw)
            word = word.meet(Scalar.of(Scalar.SIZE.top, None, _word(draw) & ~mask, mask))
        if draw.random() < 0.5:
            word = word.join(Scalar.constant(_word(draw)))
        if draw.random() < 0.3:
            word, _ = word.restrict(Comparison.ULE, Scalar.constant(_word(draw)), 32)
        _same(word, draw.choice(list(Comparison)), _word(draw))


BUGS: dict[str, tuple[Any, str, Any]] = {
    "a bound that is not raised": (halves, "at_least", lambda a, least, half: a),
    "an end that stays": (bounds, "without", lambda a, value, half: a),
}


@pytest.mark.parametrize("bug", BUGS)
def test_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The general comparison is spoilt likewise: what it gave before is what is compared with."""
    owner, name, broken = BUGS[bug]
    before = {
        (word, comparison, value): word.restrict(comparison, word.constant(value), word.WIDTH)[0]
        for word in _elements()
        for comparison in (Comparison.UGE, Comparison.UGT, Comparison.NE)
        for value in range(16)
    }
    monkeypatch.setattr(owner, name, broken)
    assert any(word.restrict_to(comparison, value) != old for (word, comparison, value), old in before.items())
