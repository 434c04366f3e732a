"""Symbolic integers as polynomials, for code about strides and divisors.

That ``g`` divides ``x + y - lo`` is no matter of linear arithmetic, but it shows where all three are written out:
``lo + k * s`` with ``s = m * g`` is a polynomial in which ``g`` can be seen.  So an integer here is a polynomial
with integer coefficients over unknowns, kept in a normal form by *rules*, equations that hold on the current path
(an unknown is some polynomial).  Products of unknowns are single unknowns for the solver, with facts about sign and
size that hold for every product.  What divides what is read off the normal form; everything else is linear
arithmetic.

All that is told to the solver is true of integers, so a proof is a proof.  A model is none: the solver knows too little
of products.  Rules, and what was told, hold on one path only: :meth:`Ring.reset` begins the next one.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import z3

from prevail_py.verifier.proofs.exploring import Explorer
from prevail_py.verifier.proofs.integers import Bool, Int, UnsupportedError, Value

__all__ = ["Polynomial", "Polynomials", "Ring"]

Monomial: TypeAlias = tuple[str, ...]
"""The names of unknowns, sorted; one that is squared is there twice."""

Terms: TypeAlias = dict[Monomial, int]

_ONE: Final[Monomial] = ()
_LIKELY: Final = (0, 1, -1)
"""Quotients that are worth asking the solver for."""


def _add(a: Terms, b: Terms, times: int = 1) -> Terms:
    """``a + b * times``."""
    result = dict(a)
    for monomial, coefficient in b.items():
        total = result.get(monomial, 0) + coefficient * times
        if total:
            result[monomial] = total
        else:
            result.pop(monomial, None)
    return result


def _times(a: Terms, b: Terms) -> Terms:
    result: Terms = {}
    for m, c in a.items():
        for n, d in b.items():
            result = _add(result, {tuple(sorted(m + n)): c * d})
    return result


def _without(whole: Monomial, part: Monomial) -> Monomial | None:
    """``whole / part``, or None where that is no monomial."""
    rest = list(whole)
    for name in part:
        if name not in rest:
            return None
        rest.remove(name)
    return tuple(rest)


def _constant(terms: Terms) -> int | None:
    """The integer that it is, if it is one."""
    if not terms:
        return 0
    return terms[_ONE] if len(terms) == 1 and _ONE in terms else None


class Ring:
    """The unknowns, rules and facts of one path."""

    def __init__(self, sizes: tuple[int, ...] = ()) -> None:
        """``sizes`` are the widths of words, in bits."""
        self.sizes = sizes
        self.explorer: Explorer | None = None
        self.answers: dict[tuple[Any, ...], bool] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all: a path begins."""
        self.ranges: dict[str, tuple[int | None, int | None]] = {}
        self.rules: dict[str, Terms] = {}
        self.products: dict[Monomial, Terms] = {}
        self.seen: set[Monomial] = set()  # products of which the solver was told
        self.divisors: list[Terms] = []
        self.quotients: list[tuple[Terms, Terms, Terms]] = []  # of this, by that, is this
        self.bits: list[tuple[str, Terms, Terms, Terms]] = []  # bitwise operations, likewise
        self.powers: list[tuple[Terms, int, Terms]] = []  # (g, c, m): powers of two g, with c = m * g
        self.masks: dict[str, Terms] = {}  # unknowns that are 0 only if that is 2**k - 1
        self.compared: set[frozenset[tuple[Monomial, int]]] = set()
        self.asked = 0

    # Unknowns

    def unknown(self, name: str, lo: int | None = None, hi: int | None = None) -> Terms:
        """An unknown of this name, at least ``lo`` and at most ``hi``."""
        if name not in self.ranges:
            self.ranges[name] = lo, hi
            term = z3.Int(name)
            self.tell(*([term >= lo] if lo is not None else []), *([term <= hi] if hi is not None else []))
        return {(name,): 1}

    def fresh(self, what: str, lo: int | None = None, hi: int | None = None) -> Terms:
        """One of a new name, the same whenever the path is run again."""
        return self.unknown(f"{what} {len(self.ranges)}", lo, hi)

    def tell(self, *facts: z3.BoolRef) -> None:
        """Have the solver suppose what is true on this path."""
        assert self.explorer is not None
        for fact in facts:
            self.explorer.assume(fact)

    def is_unsat(self, term: z3.BoolRef) -> bool:
        """Whether it cannot be, as far as the solver sees.

        When the path is run again the solver has more decisions in scope, and might know better; but the run has to be
        the same, so the first answer stays.
        """
        assert self.explorer is not None
        self.asked += 1
        key = self.asked, *self.explorer.answers()
        if key not in self.answers:
            self.answers[key] = self.explorer.check(term) == z3.unsat
        return self.answers[key]

    # Normal form

    def normal(self, terms: Terms) -> Terms:
        """With all rules applied."""
        while True:
            for monomial in terms:
                replaced = self._replaced(monomial)
                if replaced is not None:
                    terms = _add(_add(terms, {monomial: -terms[monomial]}), replaced, terms[monomial])
                    break
            else:
                return terms

    def _replaced(self, monomial: Monomial) -> Terms | None:
        for name in monomial:
            if name in self.rules:
                rest = _without(monomial, (name,))
                assert rest is not None
                return _times({rest: 1}, self.rules[name])
        for product, terms in self.products.items():
            rest = _without(monomial, product)
            if rest is not None:
                return _times({rest: 1}, terms)
        return None

    def term(self, terms: Terms) -> Any:
        """The polynomial as a linear term of the solver."""
        parts = [self._monomial(monomial) * coefficient if monomial else z3.IntVal(coefficient)
                 for monomial, coefficient in sorted(terms.items())]  # fmt: skip
        return z3.Sum(parts) if parts else z3.IntVal(0)

    def _monomial(self, monomial: Monomial) -> Any:
        term = z3.Int(" * ".join(monomial))
        if len(monomial) > 1 and monomial not in self.seen:
            self.seen.add(monomial)
            for name in dict.fromkeys(monomial):
                rest = _without(monomial, (name,))
                assert rest is not None
                self._about_product(
                    term, z3.Int(name), self._monomial(rest), self._is_signed((name,)), self._is_signed(rest)
                )
        return term

    def _is_signed(self, monomial: Monomial) -> bool:
        return any((lo := self.ranges[name][0]) is None or lo < 0 for name in monomial)

    def _about_product(self, m: Any, u: Any, r: Any, u_signed: bool, r_signed: bool) -> None:
        """What is true of ``m = u * r``."""
        known = [
            z3.Implies(u == 0, m == 0), z3.Implies(r == 0, m == 0),
            z3.Implies(u == 1, m == r), z3.Implies(r == 1, m == u),
            z3.Implies(z3.And(u >= 1, r >= 0), m >= r), z3.Implies(z3.And(r >= 1, u >= 0), m >= u),
        ]  # fmt: skip
        if not u_signed and not r_signed:
            known.append(m >= 0)
        if u_signed:
            known.append(z3.Implies(z3.And(u <= -1, r >= 0), m <= -r))
            known.append(z3.Implies(z3.And(u <= 0, r >= 1), m <= u))
        if r_signed:
            known.append(z3.Implies(z3.And(r <= -1, u >= 0), m <= -u))
            known.append(z3.Implies(z3.And(r <= 0, u >= 1), m <= r))
        if u_signed and r_signed:
            known.append(z3.Implies(z3.And(u <= -1, r <= 0), m >= -r))
            known.append(z3.Implies(z3.And(r <= -1, u <= 0), m >= -u))
        self.tell(*known)

    # Equations

    def learn(self, terms: Terms) -> None:
        """That this is 0: it becomes a rule for one of its unknowns, if one stands alone in it."""
        terms = self.normal(terms)
        if _constant(terms) is not None:
            return
        self.tell(self.term(terms) == 0)
        if len(terms) == 1:
            (monomial,) = terms
            if len(monomial) == 1 and monomial[0] in self.masks:
                self._is_mask(self.masks[monomial[0]])
        names = list(self.ranges)
        alone = [monomial[0] for monomial, coefficient in terms.items() if len(monomial) == 1 and abs(coefficient) == 1
                 and sum(monomial[0] in other for other in terms) == 1]  # fmt: skip
        if alone:
            # Words are written by their elements, never the other way round; else what came last by what came before.
            name = max(alone, key=lambda each: (each.isalpha(), names.index(each)))
            self.rule(name, _times(_add(terms, {(name,): terms[name,]}, -1), {_ONE: -terms[name,]}))
            self._divide_again()

    def _divide_again(self) -> None:
        """Quotients of what has got terms that are multiples now: these are taken out."""
        for of, by, known in list(self.quotients):
            divisor, quotient = self.normal(by), self.normal(known)
            if len(divisor) != 1 or len(quotient) != 1 or (_constant(divisor) is not None):
                continue
            whole, rest = self._split(self.normal(of), divisor)
            ((name, *others),) = quotient
            if whole and not others and quotient == {(name,): 1} and not any(name in each for each in rest):
                same = self.normal(_add(whole, self._quotient(rest, divisor) if rest else {}))
                if not any(name in each for each in same):
                    self.rule(name, same)

    def rule(self, name: str, terms: Terms) -> None:
        """That an unknown is this."""
        old = [monomial for monomial in self.seen if name in monomial]
        self.rules[name] = self.normal(terms)
        self.tell(z3.Int(name) == self.term(self.rules[name]))
        for monomial in old:
            self.tell(self._monomial(monomial) == self.term(self.normal({monomial: 1})))

    def product(self, monomial: Monomial, terms: Terms) -> None:
        """That a product of two unknowns is this."""
        self.tell(self._monomial(monomial) == self.term(terms))
        old = [each for each in self.seen if _without(each, monomial) is not None]
        self.products[monomial] = terms
        for each in old:
            self.tell(self._monomial(each) == self.term(self.normal({each: 1})))

    # Order

    def compared_with_zero(self, terms: Terms) -> None:
        """The solver is to decide the sign of this: tell it what a multiple of a divisor can be."""
        key = frozenset(terms.items())
        if key in self.compared:
            return
        self.compared.add(key)
        for divisor in [self.normal(each) for each in self.divisors]:
            if len(divisor) != 1 or _constant(divisor) is not None:
                continue
            quotient, rest = self._split(terms, divisor)
            if not rest and _constant(quotient) is None:
                self._about_multiple(self.term(terms), self.term(quotient), self.term(divisor))

    def _about_multiple(self, p: Any, t: Any, d: Any) -> None:
        """What is true of ``p = t * d``, ``d >= 0``."""
        self.tell(
            z3.Implies(t == 0, p == 0), z3.Implies(t >= 1, p >= d), z3.Implies(t <= -1, p <= -d),
            z3.Implies(z3.And(p == 0, d >= 1), t == 0),
        )  # fmt: skip

    # Division

    def _split(self, terms: Terms, divisor: Terms) -> tuple[Terms, Terms]:
        """``(t, r)`` with ``terms = t * divisor + r``, where ``r`` has no term that is seen to be a multiple."""
        ((part, factor),) = divisor.items()
        quotient: Terms = {}
        rest: Terms = {}
        for monomial, coefficient in terms.items():
            left = _without(monomial, part)
            if left is not None and coefficient % factor == 0:
                quotient = _add(quotient, {left: coefficient // factor})
                continue
            for power, constant, cofactor in self.powers:
                if self.normal(power) == {part: 1} and coefficient % (factor * constant) == 0:
                    times = {monomial: coefficient // (factor * constant)}
                    quotient = _add(quotient, _times(times, self.normal(cofactor)))
                    break
            else:
                rest = _add(rest, {monomial: coefficient})
        return quotient, rest

    def divided(self, terms: Terms, divisor: Terms) -> tuple[Terms, Terms]:
        """Quotient and remainder; raises ZeroDivisionError on a path where the divisor is 0."""
        divisor = self.normal(divisor)
        constant = _constant(divisor)
        if constant is None:
            if Polynomial(self, divisor) == 0:
                raise ZeroDivisionError("division of a symbolic integer by zero")
            divisor = self.normal(divisor)
            constant = _constant(divisor)
        if constant == 0:
            raise ZeroDivisionError("division of a symbolic integer by zero")
        if len(divisor) > 1:
            divisor = self._named(divisor)
        ((part, factor),) = divisor.items()
        if factor < 0 or self._is_signed(part):
            raise UnsupportedError("a divisor that may be negative")
        if constant is None and factor == 1 and len(part) == 1 and self.is_unsat(self.term(divisor) != 1):
            self.rule(part[0], {_ONE: 1})
            return self.divided(terms, {_ONE: 1})
        if constant is None and divisor not in self.divisors:
            self.divisors.append(divisor)
        terms = self.normal(terms)
        quotient, rest = self._split(terms, divisor)
        if constant is not None and (value := _constant(rest)) is not None:
            more: Terms = _add({}, {_ONE: value // constant})
        elif rest:
            more = self._quotient(rest, divisor)
        else:
            more = {}
        return self.normal(_add(quotient, more)), self.normal(_add(rest, _times(more, divisor), -1))

    def _named(self, terms: Terms) -> Terms:
        """A polynomial as an unknown of its own, in place of one of those in it."""
        name = self.fresh("e", 0)
        ((own,),) = name
        left = _add(terms, name, -1)
        alone = [monomial[0] for monomial, coefficient in terms.items() if len(monomial) == 1 and abs(coefficient) == 1
                 and sum(monomial[0] in other for other in terms) == 1]  # fmt: skip
        if not alone or not self.is_unsat(self.term(terms) < 0):
            raise UnsupportedError("a divisor that is a sum")
        chosen = alone[-1]
        self.rule(chosen, _times(_add(left, {(chosen,): left[chosen,]}, -1), {_ONE: -left[chosen,]}))
        return {(own,): 1}

    def _quotient(self, rest: Terms, divisor: Terms) -> Terms:
        for of, by, known in self.quotients:
            if self.normal(of) == rest and self.normal(by) == divisor:
                return self.normal(known)
        size = self.bounds(rest)
        quotient = self.fresh("q", 0 if size[0] is not None and size[0] >= 0 else None)
        left = _add(rest, _times(quotient, divisor), -1)
        term = self.term(left)
        self.tell(term >= 0, term < self.term(divisor))
        candidates: list[Terms] = [_add({}, {_ONE: value}) for value in _LIKELY]
        candidates += [known for _, by, known in self.quotients if self.normal(by) == divisor]
        self.quotients.append((rest, divisor, quotient))
        for candidate in candidates:
            candidate = self.normal(candidate)
            difference = _add(quotient, candidate, -1)
            if _constant(divisor) is None and _constant(difference) is None:
                multiple = self.term(_times(difference, divisor))
                self._about_multiple(multiple, self.term(difference), self.term(divisor))
            if self.is_unsat(self.term(quotient) != self.term(candidate)):
                ((name,),) = quotient
                self.rule(name, candidate)
                return candidate
        return quotient

    def bounds(self, terms: Terms) -> tuple[int | None, int | None]:
        """The least and the greatest that it can be by the ranges of its unknowns; None for what is not known."""
        total: list[int | None] = [0, 0]
        for monomial, coefficient in terms.items():
            lo: int | None = 1
            hi: int | None = 1
            for name in monomial:
                least, most = self.ranges[name]
                if least is None or least < 0:
                    return None, None
                lo = lo * least if lo is not None else None
                hi = hi * most if hi is not None and most is not None else None
            ends = (lo, hi) if coefficient > 0 else (hi, lo)
            total = [None if a is None or b is None else a + b * coefficient for a, b in zip(total, ends, strict=True)]
        return total[0], total[1]

    # Number theory and bits

    def gcd(self, *args: Value) -> Value:
        """Any common divisor that is 0 only if all are: it is one of the facts about the greatest that code uses."""
        parts = [self.normal(_terms(arg)) for arg in args]
        constant = math.gcd(*(value for part in parts if (value := _constant(part)) is not None))
        parts = [part for part in parts if _constant(part) is None]
        if constant == 1 or not parts:
            return constant
        if len(parts) == 1 and not constant:
            return abs(Polynomial(self, parts[0]))
        content = math.gcd(constant, *(coefficient for part in parts for coefficient in part.values()))
        divisor = self.fresh("g", 1 if constant else 0, constant // content if constant else None)
        self.divisors.append(divisor)
        for part in parts:
            self._has_divisor({monomial: coefficient // content for monomial, coefficient in part.items()}, divisor)
        if constant:
            cofactor = self.fresh("m", 1)
            whole = constant // content
            self.tell(self.term(_times(cofactor, divisor)) == whole)
            if whole & (whole - 1) == 0:
                self.powers.append((divisor, whole, cofactor))
        else:
            nonzero = [self.term(part) != 0 for part in parts]
            self.tell(z3.Or(*nonzero, self.term(divisor) == 0))
        return Polynomial(self, _times(divisor, {_ONE: content}))

    def _has_divisor(self, part: Terms, divisor: Terms) -> None:
        part = self.normal(part)
        if _constant(part) is not None:
            self.tell(z3.Or(self.term(part) == 0, self.term(divisor) <= abs(_constant(part) or 0)))
            return
        least = self.bounds(part)[0]
        multiple = _times(self.fresh("m", 0 if least is not None and least >= 0 else None), divisor)
        ((monomial, coefficient), *others) = part.items()
        if not others and abs(coefficient) == 1 and len(monomial) > 1:
            self.product(monomial, _times(multiple, {_ONE: coefficient}))
        else:
            self.learn(_add(part, multiple, -1))

    def inverse(self, value: Value, exponent: Value, modulus: Value) -> Value:
        """``pow(value, -1, modulus)``."""
        assert exponent == -1
        a, b = self.normal(_terms(value)), self.normal(_terms(modulus))
        if _constant(a) == 1:
            return 1 % modulus
        result, times = self.fresh("i", 0), self.fresh("t", 0)
        self.tell(self.term(result) < self.term(b))
        if len(a) == 1 and (only := next(iter(a.items())))[1] == 1:
            self.product(tuple(sorted((*only[0], *next(iter(result))))), _add(_times(times, b), {_ONE: 1}))
        return Polynomial(self, result)

    def combined(self, kind: str, a: Polynomial, b: Polynomial) -> Value:
        """``a & b``, ``a | b`` or ``a ^ b``, neither of them negative."""
        p, q = self.normal(a.terms), self.normal(b.terms)
        if kind == "&":
            for x, y in ((p, q), (q, p)):
                if _add(y, {_ONE: 1}) == x:  # x & (x - 1): 0 for powers of two
                    raise UnsupportedError("a test for powers of two")
                above = self.normal(_add(y, {_ONE: 1}))
                if any(self.normal(power) == above for power, _, _ in self.powers):
                    return Polynomial(self, self.divided(x, above)[1])
        for known, x, y, result in self.bits:
            if known == kind and {frozenset(p.items()), frozenset(q.items())} == {
                frozenset(self.normal(x).items()), frozenset(self.normal(y).items())
            }:  # fmt: skip
                return Polynomial(self, result)
        result = self.fresh(f"({kind})", 0)
        term, one, other = self.term(result), self.term(p), self.term(q)
        if kind == "&":
            self.tell(term <= one, term <= other)
        else:
            self.tell(term <= one + other)
        if kind == "|":
            self.tell(one <= term, other <= term)
        for size in self.sizes:
            self.tell(z3.Implies(z3.And(one < 1 << size, other < 1 << size), term < 1 << size))
        self.bits.append((kind, p, q, result))
        for power, _, _ in self.powers[-1:]:
            self._low_bits(kind, p, q, result, self.normal(power))
        return Polynomial(self, self.normal(result))

    def _low_bits(self, kind: str, p: Terms, q: Terms, result: Terms, power: Terms) -> None:
        """By a power of two it leaves what the remainders of the operands give, which is less than the power."""
        low_p, low_q = self.divided(p, power)[1], self.divided(q, power)[1]
        if (low_p, low_q) == (self.normal(p), self.normal(q)):
            self.tell(self.term(result) < self.term(power))
            return
        low = self.combined(kind, Polynomial(self, low_p), Polynomial(self, low_q))
        ((name,),) = result
        self.rule(name, _add(_terms(low), _times(self.fresh("u", 0), power)))

    def low_mask(self, terms: Terms, most: int) -> Value:
        """``x & (x + 1)`` for ``0 <= x <= most = 2**w - 1``: 0 exactly where ``x + 1`` is a power of two."""
        result = self.fresh("(mask)", 0, most)
        self.masks[next(iter(result))[0]] = terms
        return Polynomial(self, result)

    def _is_mask(self, terms: Terms) -> None:
        """``x + 1`` is a power of two, and so divides every one that is no smaller."""
        power = self._named(self.normal(_add(terms, {_ONE: 1})))
        most = self.bounds(terms)[1]
        if most is None:
            return
        whole = 1 << most.bit_length()
        cofactor = self.fresh("m", 1)
        self.powers.append((power, whole, cofactor))
        self.tell(self.term(_times(cofactor, power)) == whole)


class Polynomial(Int):
    """The integer that the polynomial is."""

    __slots__ = ("ring", "terms")

    def __init__(self, ring: Ring, terms: Terms) -> None:
        self.ring = ring
        self.terms = ring.normal(terms)

    @property
    def term(self) -> Any:
        """As the solver sees it."""
        return self.ring.term(self.ring.normal(self.terms))

    def _made(self, terms: Terms) -> Value:
        terms = self.ring.normal(terms)
        value = _constant(terms)
        return Polynomial(self.ring, terms) if value is None else value

    def lift(self, value: Value) -> Any:
        """A constant polynomial."""
        return Polynomial(self.ring, _terms(value))

    def __add__(self, other: Value) -> Value:
        return self._made(_add(self.terms, _terms(other)))

    def __sub__(self, other: Value) -> Value:
        return self._made(_add(self.terms, _terms(other), -1))

    def __rsub__(self, other: Value) -> Value:
        return self._made(_add(_terms(other), self.terms, -1))

    def __mul__(self, other: Value) -> Value:
        return self._made(_times(self.ring.normal(self.terms), self.ring.normal(_terms(other))))

    def divided(self, other: Value) -> tuple[Value, Value]:
        quotient, rest = self.ring.divided(self.terms, _terms(other))
        return self._made(quotient), self._made(rest)

    def _shifted(self, amount: Value) -> int:
        value = _constant(self.ring.normal(_terms(amount)))
        if value is not None:
            return value
        return next(each for each in range(1 + max(self.ring.sizes, default=0)) if self.lift(amount) == each)

    def __lshift__(self, other: Value) -> Value:
        return self * (1 << self._shifted(other))

    def __rshift__(self, other: Value) -> Value:
        return self.divided(1 << self._shifted(other))[0]

    def __and__(self, other: Value) -> Value:
        o = self._made(_terms(other))
        if not isinstance(o, int):
            if _add(self.ring.normal(self.terms), {_ONE: 1}) == o.terms:
                most = self.ring.bounds(self.ring.normal(self.terms))[1]
                if most is None:
                    raise UnsupportedError("bits of an integer of any size")
                return self.ring.low_mask(self.ring.normal(self.terms), most)
            return self.ring.combined("&", self, o)
        if o >= 0 and o & (o + 1) == 0:
            return self.divided(o + 1)[1]
        return self.ring.combined("&", self, self.lift(o))

    def __or__(self, other: Value) -> Value:
        return _Or(self, other) if not isinstance(other, _Or) else NotImplemented

    def __xor__(self, other: Value) -> Value:
        return self.ring.combined("^", self, self.lift(other))

    def bit_length(self) -> Value:
        """Not of a polynomial."""
        raise UnsupportedError("a bit length is no polynomial")

    # Comparisons

    def _difference(self, other: Value) -> Terms:
        return self.ring.normal(_add(self.terms, _terms(other), -1))

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, int | Int):
            return NotImplemented
        difference = self._difference(other)
        value = _constant(difference)
        return _Equation(self.ring, difference) if value is None else value == 0

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        if equal is NotImplemented or isinstance(equal, bool):
            return equal if equal is NotImplemented else not equal
        return _Inequation(equal)

    __hash__ = object.__hash__

    def __lt__(self, other: Value) -> bool | Bool:
        return self._ordered(self._difference(other), True)

    def __le__(self, other: Value) -> bool | Bool:
        return self._ordered(self._difference(other), False)

    def __gt__(self, other: Value) -> bool | Bool:
        return self._ordered(_times(self._difference(other), {_ONE: -1}), True)

    def __ge__(self, other: Value) -> bool | Bool:
        return self._ordered(_times(self._difference(other), {_ONE: -1}), False)

    def _ordered(self, difference: Terms, strict: bool) -> bool | Bool:
        value = _constant(difference)
        if value is not None:
            return value < 0 if strict else value <= 0
        self.ring.compared_with_zero(difference)
        term = self.ring.term(difference)
        return Bool(term < 0 if strict else term <= 0)

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __repr__(self) -> str:
        return f"Polynomial({self.ring.normal(self.terms)})"


class _Equation(Bool):
    """That a polynomial is 0; where a path takes it, it becomes a rule."""

    __slots__ = ("ring", "terms")

    def __init__(self, ring: Ring, terms: Terms) -> None:
        ring.compared_with_zero(terms)
        super().__init__(ring.term(terms) == 0)
        self.ring = ring
        self.terms = terms

    def __bool__(self) -> bool:
        answer = super().__bool__()
        if answer:
            self.ring.learn(self.terms)
        return answer


class _Inequation(Bool):
    __slots__ = ("equation",)

    def __init__(self, equation: _Equation) -> None:
        super().__init__(z3.Not(equation.term))
        self.equation = equation

    def __bool__(self) -> bool:
        return not self.equation


class _Or(Polynomial):
    """``a | b`` of two that are not negative, of which the code may ask for high bits only, or for itself."""

    __slots__ = ("parts", "value")

    def __init__(self, a: Polynomial, b: Value) -> None:
        self.ring = a.ring
        self.parts = (a, b)
        self.value: Polynomial | None = None

    @property
    def terms(self) -> Terms:  # type: ignore[override]
        """Those of an unknown for it."""
        if self.value is None:
            made = self.ring.combined("|", self.parts[0], self.parts[0].lift(self.parts[1]))
            assert isinstance(made, Polynomial)
            self.value = made
        return self.ring.normal(self.value.terms)

    def __rshift__(self, other: Value) -> Value:
        a, b = self.parts[0] >> other, self.parts[1] >> other
        if isinstance(a, int) and isinstance(b, int):
            return a | b
        return _Or(a, b) if isinstance(a, Polynomial) else _Or(b, a)

    def __bool__(self) -> bool:
        return any(bool(part) for part in self.parts)


def _terms(value: Value) -> Terms:
    if isinstance(value, Polynomial):
        return value.terms
    assert isinstance(value, int)
    return {_ONE: int(value)} if value else {}


class Polynomials:
    """The encoding."""

    def __init__(self, sizes: tuple[int, ...] = ()) -> None:
        self.ring = Ring(sizes)

    def solver(self) -> z3.Solver:
        return z3.SimpleSolver()

    def number(self, name: str, lo: int, hi: int) -> tuple[Int, tuple[z3.BoolRef, ...]]:
        return Polynomial(self.ring, self.ring.unknown(name, lo, hi)), ()

    def either(self, test: z3.BoolRef, yes: Value, no: Value) -> Value:
        raise UnsupportedError("paths are kept apart where integers are polynomials")

    def value(self, number: Int, model: z3.ModelRef) -> int:
        return int(model.eval(number.term, model_completion=True).as_long())
