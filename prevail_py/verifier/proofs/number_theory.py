"""``gcd`` and modular inverses of symbolic integers: what is known of the results, in place of the functions.

Code about strides calls Python's own :func:`math.gcd` and ``pow(a, -1, m)``.  Their results are unknowns here: a
common divisor of all arguments, which is 0 only if they all are; a number that times ``a`` is one more than a multiple
of ``m``.  Real results are such numbers, so what is proved for all of them holds for these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import z3

from prevail_py.domains import congruence
from prevail_py.verifier.proofs.exploring import Explorer, current, merging
from prevail_py.verifier.proofs.integers import condition
from prevail_py.verifier.proofs.promises import both, implies, symbolic

__all__ = ["number_theory"]


@contextmanager
def number_theory(explorer: Explorer) -> Iterator[None]:
    """Have the module of congruences use these."""
    names = vars(congruence)
    before = names["gcd"]
    names.update(gcd=_named(explorer, "gcd", math.gcd, _gcd), pow=_named(explorer, "inverse", pow, _inverse))
    try:
        yield
    finally:
        names["gcd"] = before
        del names["pow"]


def _named(explorer: Explorer, name: str, function: Callable[..., Any], rule: Callable[..., Any]) -> Callable[..., Any]:
    made = 0

    def replacement(*args: Any) -> Any:
        nonlocal made
        if current() is None or not symbolic(args):
            return function(*args)
        made += 1
        number = made

        def draw(part: str, lo: int, hi: int) -> Any:
            value, assumptions = explorer.encoding.number(f"{name} {number}.{part}", lo, hi)
            explorer.solver.add(*assumptions)
            return value

        return merging(lambda *args: rule(explorer, draw, args))(*args)

    return replacement


def _largest(value: Any) -> int:
    return abs(value) if isinstance(value, int) else max(abs(value.lo), abs(value.hi))


def _gcd(explorer: Explorer, draw: Callable[[str, int, int], Any], args: tuple[Any, ...]) -> Any:
    most = max(map(_largest, args))
    result = draw("divisor", 0, most)
    known: list[Any] = []
    for index, value in enumerate(args):
        size = _largest(value)
        known.append(draw(f"quotient {index}", -size, size) * result == value)
    known.append(implies(both(*(value == 0 for value in args)), result == 0))
    explorer.assume(z3.And(*map(condition, known)))
    return result


def _inverse(explorer: Explorer, draw: Callable[[str, int, int], Any], args: tuple[Any, ...]) -> Any:
    value, exponent, modulus = args
    if exponent != -1:
        raise AssertionError("only inverses are asked for")
    size = _largest(modulus)
    result = draw("inverse", 0, max(size - 1, 0))
    times = draw("times", 0, _largest(value))
    explorer.assume(condition(both(result < modulus, value * result == times * modulus + 1)))
    return result
