"""What linear arithmetic has no term for, as unknown functions of their arguments.

``x & y`` of two unknowns is the value of a function of which nothing is known but its range, and that it is the same
for the same arguments.  What is proved for any such function holds for this one.  So promises may speak of bits, as
long as all that matters about them is promised, too.  A model of it is no counterexample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import z3

from prevail_py.verifier.proofs import linear
from prevail_py.verifier.proofs.linear import LinearInt

__all__ = ["beyond"]

_FUNCTIONS: Final = {name: z3.Function(name, z3.IntSort(), z3.IntSort(), z3.IntSort()) for name in ("and", "or", "xor")}


def _most(*numbers: LinearInt) -> int:
    """The least ``2**k - 1`` such that all of these are in ``-2**k..2**k - 1``."""
    return (1 << max(max(abs(x.lo), abs(x.hi)).bit_length() for x in numbers)) - 1


def _of_bits(name: str, a: LinearInt, b: LinearInt) -> LinearInt:
    most = _most(a, b)
    lo = 0 if a.lo >= 0 and b.lo >= 0 else ~most
    hi = most
    if name == "and" and (a.lo >= 0 or b.lo >= 0):
        lo, hi = 0, min(x.hi for x in (a, b) if x.lo >= 0)
    first, second = sorted((a.term, b.term), key=lambda term: term.get_id())  # each of them commutes
    return LinearInt(_FUNCTIONS[name](first, second), lo, hi)


@contextmanager
def beyond(assume: Callable[[z3.BoolRef], None]) -> Iterator[None]:
    """Have such terms in linear arithmetic; ``assume`` is told what is known of them."""

    def operation(name: str, a: LinearInt, b: LinearInt) -> Any:
        result = _of_bits(name, a, b)
        known = [result.lo <= result.term, result.term <= result.hi]
        if name == "and":  # it has no more ones than either
            known += [result.term <= x.term for x in (a, b) if x.lo >= 0]
        assume(z3.And(*known))
        return result

    before = linear.beyond()
    linear.set_beyond(operation)
    try:
        yield
    finally:
        linear.set_beyond(before)
