"""What linear arithmetic has no term for, as unknown functions of their arguments.

``x & y`` of two unknowns is the value of a function of which nothing is known but its range, and that it is the same
for the same arguments.  What is proved for any such function holds for this one.  So promises may speak of bits, as
long as all that matters about them is promised, too.

Products of two unknowns are such values as well, and the quotient ``q`` of ``a`` by ``b`` is any number with ``q * b <=
a < q * b + b``.  Of any two products is known how they are ordered if their factors are (:func:`ordered`): where
bounds are multiplied and divided, that is why the results are bounds.

All that is told to the solver is true, so a proof is a proof; a model is no counterexample.  Each fact is a cell of its
own (:func:`beyond_obligations`), of integers up to :data:`MOST`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, NamedTuple

import z3

from prevail_py.verifier.proofs import linear
from prevail_py.verifier.proofs.integers import UnsupportedError, Value, condition
from prevail_py.verifier.proofs.linear import LinearInt
from prevail_py.verifier.proofs.obligations import Claim, Obligation, Setting
from prevail_py.verifier.proofs.promises import Functions, both, implies
from prevail_py.words import WORD_BITS

__all__ = ["MOST", "Integers", "beyond", "beyond_obligations", "nonlinear"]

MOST: Final = 1 << 4 * WORD_BITS
"""The facts are about integers of at most that magnitude: products of words are far below."""

_SORTS: Final = (z3.IntSort(),) * 3
_FUNCTIONS: Final = {name: z3.Function(name, *_SORTS) for name in ("and", "or", "xor", "product", "quotient")}
_FUNCTIONS["power"] = z3.Function("power", z3.IntSort(), z3.IntSort())


# Facts ------------------------------------------------------------------------------------------------------------


def small_factors(a: Value, b: Value, ab: Value) -> Any:
    """What is known of the product of factors that are not negative, where one is small."""
    return both(
        ab >= 0,
        implies(a == 0, ab == 0), implies(b == 0, ab == 0),
        implies(a == 1, ab == b), implies(b == 1, ab == a),
        implies(a >= 1, ab >= b), implies(b >= 1, ab >= a),
        implies(a >= 2, ab >= b + b), implies(b >= 2, ab >= a + a),
        implies(a == 2, ab == b + b), implies(b == 2, ab == a + a),
    )  # fmt: skip


def ordered(a: Value, b: Value, c: Value, d: Value, ab: Value, cd: Value) -> Any:
    """What is known of two products of factors that are not negative."""
    return both(
        implies(both(a <= c, b <= d), ab <= cd),
        implies(both(a < c, b <= d), ab + d <= cd),
        implies(both(a <= c, b < d), ab + c <= cd),
    )


def expanded(a: Value, b: Value, c: Value, d: Value, ab: Value) -> Value:
    """``(a + c) * (b + d)``."""
    return ab + a * d + b * c + c * d


def divided(a: Value, b: Value, qb: Value) -> Any:
    """What is known of a quotient by ``b``, which times ``b`` is ``qb``."""
    return implies(b >= 1, both(qb <= a, a < qb + b))


def common_ones(a: Value, b: Value, ones: Value) -> Any:
    """What is known of ``a & b``: it has no more ones than either."""
    return both(*(implies(x >= 0, both(ones >= 0, ones <= x)) for x in (a, b)))


def power(a: Value, of_a: Value) -> Any:
    """What is known of one power of two."""
    return both(implies(a == 0, of_a == 1), implies(a >= 1, of_a >= 2))


def powers(a: Value, b: Value, of_a: Value, of_b: Value) -> Any:
    """What is known of two powers of two, of amounts up to the width of words."""
    return both(implies(a <= b, of_a <= of_b), implies(a < b, of_a + of_a <= of_b))


# Functions --------------------------------------------------------------------------------------------------------


class _Product(NamedTuple):
    """Two factors and their product; what is known of them is so if neither factor is negative."""

    a: LinearInt
    b: LinearInt
    ab: LinearInt

    def fact(self, known: Any) -> Any:
        """What is known then."""
        return implies(both(self.a >= 0, self.b >= 0), known)


@dataclass(slots=True)
class _Beyond:
    solver: z3.Solver
    products: dict[tuple[int, int, int, int], _Product] = field(default_factory=dict)
    powers: dict[int, tuple[LinearInt, LinearInt]] = field(default_factory=dict)

    def operation(self, name: str, a: LinearInt, b: LinearInt) -> Value:
        """See :data:`prevail_py.verifier.proofs.linear.Beyond`."""
        if max(map(abs, (a.lo, a.hi, b.lo, b.hi))) > MOST:
            raise UnsupportedError("integers of more bits than facts are about")
        match name:
            case "product":
                return self._product(a, b)
            case "quotient":
                return self._quotient(a, b)
            case "power":
                return self._power(a)
            case _:
                return self._of_bits(name, a, b)

    def _tell(self, fact: Any) -> None:
        self.solver.add(condition(fact))

    def _value(self, term: Any, lo: int, hi: int) -> LinearInt:
        self.solver.add(lo <= term, term <= hi)
        return LinearInt(term, lo, hi)

    # Bits

    def _of_bits(self, name: str, a: LinearInt, b: LinearInt) -> LinearInt:
        most = (1 << max(max(abs(x.lo), abs(x.hi)).bit_length() for x in (a, b))) - 1
        lo, hi = (0 if a.lo >= 0 and b.lo >= 0 else ~most), most
        if name == "and" and (a.lo >= 0 or b.lo >= 0):
            lo, hi = 0, min(x.hi for x in (a, b) if x.lo >= 0)
        result = self._value(_of(name, a.term, b.term), lo, hi)
        if name == "and":
            self._tell(common_ones(a, b, result))
        return result

    # Products

    def _product(self, a: LinearInt, b: LinearInt) -> LinearInt:
        """Their product, in its order among the others."""
        (base, c), (base_, d) = _parts(a), _parts(b)
        corners = [x * y for x in (base.lo, base.hi) for y in (base_.lo, base_.hi)]
        of_bases = LinearInt(_of("product", base.term, base_.term), min(corners), max(corners))
        whole = expanded(base, base_, c, d, of_bases)
        corners = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        result = LinearInt(whole.term, min(corners), max(corners))
        for s, t in product(_signs(a), _signs(b)):
            new = _Product(a * s, b * t, result * (s * t))
            self._tell(new.fact(small_factors(*new)))
            for other in self.products.values():
                self._compare(new, other)
            self.products[a.term.get_id(), b.term.get_id(), s, t] = new
        return result

    def _compare(self, one: _Product, other: _Product) -> None:
        for (p, q), swapped in product(((one, other), (other, one)), (False, True)):
            c, d = (q.b, q.a) if swapped else (q.a, q.b)
            self._tell(p.fact(q.fact(ordered(p.a, p.b, c, d, p.ab, q.ab))))

    def _quotient(self, a: LinearInt, b: LinearInt) -> LinearInt:
        """Of division towards minus infinity; raises ZeroDivisionError on a path where the divisor is zero."""
        if b.lo < 0:
            raise UnsupportedError("a divisor that may be negative")
        if b.lo == 0 and b == 0:
            raise ZeroDivisionError("division of a symbolic integer by zero")
        # Elsewhere, where the divisor may be zero, the value is one in the same range: that of a quotient by one.
        corners = [x // y for x in (a.lo, a.hi) for y in (max(b.lo, 1), b.hi)]
        result = self._value(_FUNCTIONS["quotient"](a.term, b.term), min(corners), max(corners))
        self._tell(divided(a, b, self._product(result, b)))
        return result

    # Powers of two

    def _power(self, amount: LinearInt) -> Value:
        """Two to an amount, in its order among the others."""
        base, c = _parts(amount)
        if c > 0 and base.lo >= 0:
            return self._power(base) << c
        if amount.lo < 0 or amount.hi >= WORD_BITS:
            raise UnsupportedError("a shift by more than the width of words")
        term = _FUNCTIONS["power"](amount.term)
        result = self._value(term, 1 << amount.lo, 1 << amount.hi)
        self._tell(power(amount, result))
        for other, value in self.powers.values():
            self._tell(both(powers(amount, other, result, value), powers(other, amount, value, result)))
        self.powers[amount.term.get_id()] = amount, result
        return result


def _of(name: str, a: Any, b: Any) -> Any:
    """The value of a function that does not mind the order of its arguments."""
    return _FUNCTIONS[name](*sorted((a, b), key=lambda term: term.get_id()))


def _signs(number: LinearInt) -> tuple[int, ...]:
    """By which of 1 and -1 it may have to be multiplied, so that it is not negative."""
    return (1,) if number.lo >= 0 else (-1,) if number.hi <= 0 else (1, -1)


def _parts(number: LinearInt) -> tuple[LinearInt, int]:
    """A number and a constant of which it is the sum."""
    term = z3.simplify(number.term)
    if z3.is_add(term) and z3.is_int_value(term.arg(0)):
        constant = term.arg(0).as_long()
        return LinearInt(z3.simplify(term - constant), number.lo - constant, number.hi - constant), constant
    return LinearInt(term, number.lo, number.hi), 0


@contextmanager
def beyond(solver: z3.Solver) -> Iterator[None]:
    """Have such terms in linear arithmetic; ``solver`` is told what is known of them."""
    with _standing_in(_Beyond(solver).operation):
        yield


@contextmanager
def _standing_in(operation: linear.Beyond) -> Iterator[None]:
    before = linear.beyond()
    linear.set_beyond(operation)
    try:
        yield
    finally:
        linear.set_beyond(before)


# The facts as obligations -----------------------------------------------------------------------------------------


class Integers(Functions):
    """The domain of facts about products: they are proved with the products that the solver has."""


def nonlinear() -> AbstractContextManager[None]:
    """Have products and quotients be what the solver has for them."""
    return _standing_in(_of_the_solver)


def _of_the_solver(name: str, a: LinearInt, b: LinearInt) -> LinearInt:
    if name == "product":
        corners = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        return LinearInt(a.term * b.term, min(corners), max(corners))
    if name == "quotient" and b.lo >= 1:  # by a positive number the solver rounds down
        corners = [x // y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        return LinearInt(a.term / b.term, min(corners), max(corners))
    raise UnsupportedError(f"{name} is no operation of the solver")


def _numbers(s: Setting, names: str, least: int = 0) -> list[Any]:
    return [s.number(name, least, MOST) for name in names]


def _about(fact: Callable[[Setting], Any]) -> Callable[[Setting], list[Claim]]:
    return lambda s: [Claim("it is not so", fact(s))]


def _of_small_factors(s: Setting) -> Any:
    a, b = _numbers(s, "ab")
    return small_factors(a, b, a * b)


def _of_order(s: Setting) -> Any:
    a, b, c, d = _numbers(s, "abcd")
    return ordered(a, b, c, d, a * b, c * d)


def _of_expansion(s: Setting) -> Any:
    a, b, c, d = _numbers(s, "abcd", -MOST)
    return (a + c) * (b + d) == expanded(a, b, c, d, a * b)


def _of_quotients(s: Setting) -> Any:
    (a,), (b,) = _numbers(s, "a", -MOST), _numbers(s, "b", 1)
    return divided(a, b, (a // b) * b)


def _of_powers(s: Setting) -> Any:
    a, b = (s.number(name, 0, WORD_BITS - 1) for name in "ab")
    return both(powers(a, b, 1 << a, 1 << b), power(a, 1 << a), 1 << a >= 1, 1 << a <= 1 << WORD_BITS - 1)


def _of_common_ones(s: Setting) -> Any:
    a, b = _numbers(s, "ab", -MOST)
    return both(common_ones(a, b, a & b), a & b == b & a, a | b == b | a, a ^ b == b ^ a)


def beyond_obligations() -> Iterator[tuple[type[Functions], Obligation]]:
    """What is told of products, quotients and bits, and the domain that each is of."""
    for name, fact in (
        ("small factors", _of_small_factors), ("order of products", _of_order),
        ("sums of products", _of_expansion), ("quotients", _of_quotients),
    ):  # fmt: skip
        yield Integers, Obligation(name, WORD_BITS, lambda s: s.all(), _about(fact))
    yield Functions, Obligation("powers of two", WORD_BITS, lambda s: s.all(), _about(_of_powers))
    yield Functions, Obligation("common ones", WORD_BITS, lambda s: s.all(), _about(_of_common_ones))
