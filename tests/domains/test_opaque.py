"""Operators use words only as a symbolic integer can be used: arithmetic, comparisons, truth and ``bit_length``.

Proofs run the same code on solver terms, forking where a condition is symbolic.  Here the words are wrapped ints that
support nothing else: no hash, no index, no ``isinstance(word, int)``.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from typing import Any

import pytest

from prevail_py.domains.interval import Interval
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.tnum import Tnum
from prevail_py.research.exhaustive import Checker, operations
from prevail_py.words import Comparison


class Opaque:
    """An integer that can only be computed with."""

    __slots__ = ("inside",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, inside: int) -> None:
        self.inside = inside

    def bit_length(self) -> Opaque:
        return Opaque(self.inside.bit_length())

    def __bool__(self) -> bool:
        return self.inside != 0

    def __neg__(self) -> Opaque:
        return Opaque(-self.inside)

    def __invert__(self) -> Opaque:
        return Opaque(~self.inside)


def plain(x: Any) -> Any:
    return x.inside if isinstance(x, Opaque) else x


def _install(name: str, function: Callable[[int, int], Any], compares: bool) -> None:
    def forward(self: Opaque, other: Any) -> Any:
        result = function(self.inside, plain(other))
        return result if compares else Opaque(result)

    def reflected(self: Opaque, other: Any) -> Any:
        return Opaque(function(plain(other), self.inside))

    setattr(Opaque, f"__{name}__", forward)
    if not compares:
        setattr(Opaque, f"__r{name}__", reflected)


for _name in ("add", "sub", "mul", "floordiv", "mod", "and", "or", "xor", "lshift", "rshift"):
    _install(_name, getattr(operator, f"__{_name}__"), compares=False)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    _install(_name, getattr(operator, _name), compares=True)


FIELDS = {Interval: ("full", "low"), Tnum: ("value", "mask"), Scalar: ("full", "low", "value", "mask")}


def mapped(fields: tuple[str, ...], x: Any, f: Callable[[Any], Any]) -> Any:
    """The element with ``f`` applied to every word in it."""
    values = [getattr(x, name) for name in fields]
    return type(x)(*(tuple(map(f, value)) if isinstance(value, tuple) else f(value) for value in values))


@pytest.mark.parametrize("domain", FIELDS, ids=lambda d: d.__name__)
def test_operators_take_words_as_they_come(domain: Any) -> None:
    def opaque(x: Any) -> Any:
        return mapped(FIELDS[domain], x, Opaque)

    def same(ours: Any, expected: Any) -> None:
        for one, other in zip(ours, expected, strict=True):
            assert mapped(FIELDS[domain], one, plain) == other

    checker = Checker(domain.at(4, 2))
    elements, arcs = checker.elements(), checker.arcs()
    draw = random.Random(0)
    for _ in range(60):
        x, y, z = draw.choice(elements), draw.choice(arcs), draw.choice(elements)
        a, b, c = opaque(x), opaque(y), opaque(z)
        for op in operations(4, 2):
            ours, theirs = ((), ()) if op.kind.arity == 1 else ((b,), (y,))
            same([a.apply(op, *ours)], [x.apply(op, *theirs)])
            same(a.backward(op, c, *ours), x.backward(op, z, *theirs))
        for comparison in Comparison:
            for width in (4, 2):
                same(a.restrict(comparison, b, width), x.restrict(comparison, y, width))
        for method in ("join", "meet", "narrow", "widen"):
            same([getattr(a, method)(b)], [getattr(x, method)(y)])
        assert bool(a.leq(b)) == x.leq(y)
        assert bool(a.is_top()) == x.is_top()
        assert bool(a.is_bottom()) == x.is_bottom()
        for word in range(16):
            assert bool(a.contains(Opaque(word))) == x.contains(word)
