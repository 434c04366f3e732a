"""The reading of obligations for congruences: elements are ``lo, lo + s, ..., lo + n * s``, and words are some of them.

A hypothesis ``x is in a`` is the equation ``x = lo + k * s`` with ``0 <= k <= n``, which becomes a rule of the
:class:`~prevail_py.verifier.proofs.polynomials.Ring`.  That this is what ``contains`` means is an obligation of its own
(``progressions``), over unknowns that are no progressions.  Claims are made with the shipped methods.

Everything is explored path by path, hypotheses too: nothing is merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import z3

from prevail_py.domains import congruence
from prevail_py.verifier.proofs.elements import is_canonical
from prevail_py.verifier.proofs.exploring import Explorer
from prevail_py.verifier.proofs.integers import Bool, Int, condition
from prevail_py.verifier.proofs.obligations import SHIFTS, Claim, Obligation, Setting
from prevail_py.verifier.proofs.polynomials import Polynomial, Polynomials, Ring
from prevail_py.words import INT, Comparison, IntAlgebra, OpKind, WordOp, compare, evaluate, to_signed

__all__ = ["Progressions", "progression_obligations", "promises_of", "symbolic_names"]

_OPAQUE = (OpKind.BSWAP, OpKind.SDIV, OpKind.SMOD)


class _ImpossibleError(Exception):
    """The hypothesis does not hold on this path."""


@dataclass(frozen=True, slots=True)
class _Later:
    """Something of a hypothesis, to be looked at when what comes before it is known."""

    what: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class _All:
    conditions: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Any:
    conditions: tuple[Any, ...]


@dataclass(slots=True)
class Progressions:
    """A :class:`~prevail_py.verifier.proofs.obligations.Setting` over polynomials."""

    domain: Any
    explorer: Explorer
    fixed: Mapping[str, int] = field(default_factory=dict)
    names: dict[str, Int] = field(default_factory=dict)
    elements: dict[str, Any] = field(default_factory=dict)
    parts: dict[int, dict[str, Any]] = field(default_factory=dict)
    values: list[tuple[WordOp, tuple[Any, ...], Any]] = field(default_factory=list)
    origins: dict[int, tuple[Any, Any]] = field(default_factory=dict)  # of what words are low bits
    low_bits: list[tuple[Any, int, Any]] = field(default_factory=list)  # of a word, at a width, are these
    supposing: bool = False
    shipped: dict[str, Any] = field(default_factory=dict)
    promised: frozenset[str] = frozenset()  # the methods that what is proved of them stands for

    @property
    def ring(self) -> Ring:
        assert isinstance(self.explorer.encoding, Polynomials)
        return self.explorer.encoding.ring

    @property
    def width(self) -> int:
        return int(self.domain.WIDTH)

    @property
    def low(self) -> int:
        return int(self.domain.LOW)

    # A path

    def claims(self, obligation: Obligation) -> list[Claim]:
        """The claims on a path, from the beginning; none where the hypothesis does not hold."""
        self.ring.explorer = self.explorer
        self.ring.reset()
        self.names.clear()
        self.elements.clear()
        self.parts.clear()
        self.values.clear()
        self.origins.clear()
        self.low_bits.clear()
        self.supposing = True
        try:
            self._suppose(obligation.suppose(self))
        except _ImpossibleError:
            return []
        self.supposing = False
        try:
            return obligation.claims(self)
        except (ArithmeticError, AssertionError, ValueError) as error:
            return [Claim(f"{type(error).__name__}: {error}", False)]

    def _suppose(self, hypothesis: Any) -> None:
        match hypothesis:
            case _All(conditions):
                for each in conditions:
                    self._suppose(each)
            case _Any(conditions):
                *firsts, last = conditions
                for index, each in enumerate(firsts):
                    if bool(Bool(z3.Bool(f"case {index}"))):
                        return self._suppose(each)
                self._suppose(last)
            case _Later(what):
                self._suppose(what())
            case Bool():
                self.explorer.assume(condition(hypothesis))
                self._possible()
            case False:
                raise _ImpossibleError
            case _:
                assert hypothesis is True or hypothesis is None
        return None

    def _possible(self) -> None:
        if self.explorer.check() == z3.unsat:
            raise _ImpossibleError

    # Values

    def element(self, name: str) -> Any:
        if name not in self.elements:
            self.elements[name] = self._element(name)
        return self.elements[name]

    def _element(self, name: str, width: int = 0) -> Any:
        if not width and bool(Bool(z3.Bool(f"{name} is bottom"))):
            return self.domain.bottom()
        last = (1 << (width or self.width)) - 1
        lo, stride = self.number(f"{name}.lo", 0, last), self.number(f"{name}.stride", 0, last)
        if not stride:
            made = self.domain(lo, lo, 0)
            self.parts[id(made)] = {"lo": lo, "stride": 0, "steps": 0}
            return made
        steps = self.number(f"{name}.steps", 1, last)
        assert isinstance(stride, Polynomial)
        self.ring.divisors.append(stride.terms)
        made = self.domain(lo, lo + steps * stride, stride)
        self.explorer.assume(condition(made.hi <= last))
        self.parts[id(made)] = {"lo": lo, "stride": stride, "steps": steps}
        return made

    def word(self, name: str) -> Any:
        return self.number(name, 0, (1 << self.width) - 1)

    def number(self, name: str, lo: int, hi: int) -> Any:
        if name in self.fixed:
            return self.fixed[name]
        if name not in self.names:
            self.names[name], _ = self.explorer.encoding.number(name, lo, hi)
        return self.names[name]

    def evaluate(self, op: WordOp, *args: Any) -> Any:
        if self.supposing:
            return _Later(lambda: self.evaluated(op, args))
        return self.evaluated(op, args)

    def evaluated(self, op: WordOp, args: tuple[Any, ...]) -> Any:
        """What the semantics say; for operations that are no arithmetic, the same unknown for the same arguments."""
        if not any(isinstance(arg, Polynomial) for arg in args):
            return evaluate(INT, op, args, self.width)
        shift = op.kind in SHIFTS and not isinstance(self.low_bits_of(args[1], op.width) & (op.width - 1), int)
        if op.kind not in _OPAQUE and not shift:
            return evaluate(_Truncating(self), op, args, self.width)
        seen = tuple(self._normal(arg & ((1 << op.width) - 1)) for arg in args)
        for known, of, value in self.values:
            if known == op and tuple(map(self._normal, of)) == seen:
                return value
        value = Polynomial(self.ring, self.ring.fresh(str(op), 0, (1 << op.width) - 1))
        self.values.append((op, tuple(arg & ((1 << op.width) - 1) for arg in args), value))
        return value

    def _normal(self, value: Any) -> Any:
        return frozenset(self.ring.normal(value.terms).items()) if isinstance(value, Polynomial) else value

    def compare(self, comparison: Comparison, a: Any, b: Any, width: int) -> Any:
        what = _Later(lambda: bool(compare(INT, comparison, a, b, width, self.width)))
        return what if self.supposing else what.what()

    def fact(self, kind: Any, bits: int, x: Any) -> Any:
        """Congruences rest on no facts."""
        raise NotImplementedError

    def speak_of(self, integers: Callable[[], tuple[Any, ...]]) -> None:
        """Nothing here rests on promises about integers."""

    def know(self, *facts: Any) -> None:
        """Nor on more facts."""

    def read(self, word: Any, width: int, signed: bool) -> Any:
        low = self.low_bits_of(word, width)
        return to_signed(low, width) if signed else low

    def equal(self, a: Any, b: Any) -> Any:
        return a == b

    def contains(self, element: Any, word: Any) -> Any:
        if self.supposing:
            return _Later(lambda: self._is_in(element, word))
        return bool(element.contains(word))

    def _is_in(self, element: Any, word: Any) -> bool:
        """The word is some step from the beginning."""
        if isinstance(word, _Later):
            word = word.what()
        if id(element) not in self.parts:
            return False  # bottom
        part = self.parts[id(element)]
        lo, stride, steps = part["lo"], part["stride"], part["steps"]
        ring = self.ring
        if isinstance(stride, Polynomial):
            taken = Polynomial(ring, ring.fresh("k", 0))
            if "taken" not in part:  # write the number of steps as those before and those after
                after = Polynomial(ring, ring.fresh("j", 0))
                ((name,),) = steps.terms
                ring.rule(name, (taken + after).terms)
            self.explorer.assume(condition(taken <= steps))
            part["taken"] = taken
            part.setdefault("word", word)
            equation = word - lo - taken * stride
        else:
            part.setdefault("word", word)
            equation = word - lo
        if isinstance(equation, int):
            return equation == 0
        ring.learn(equation.terms)
        self.explorer.assume(condition(element.lo <= word))
        self.explorer.assume(condition(word <= element.hi))
        self._possible()
        return True

    def truncated(self, element: Any, width: int) -> Any:
        """In place of ``_truncated``, of which the cells of ``zext`` say what it keeps: the low bits are in the result.

        So it is some progression of words of that width, and the low bits of the word are some word in it.
        """
        if width >= self.width or id(element) not in self.parts:
            return self.shipped["_truncated"](element, width)
        part, key = self.parts[id(element)], f"low {width}"
        if key not in part:
            made = self._element(f"low {width} of {len(self.elements)}", width)
            self.elements[f"low {width} of {len(self.elements)}"] = made
            low = self.number(f"w{len(self.elements)}", 0, (1 << width) - 1)
            self._is_in(made, low)
            self.low_bits.append((part["word"], width, low))
            self.origins[id(low)] = low, part["word"]
            part[key] = made
        return part[key]

    def _holding(self, word: Any) -> Any:
        """Some progression with this word in it."""
        name = f"made {len(self.elements)}"
        self.elements[name] = made = self._element(name, self.width)
        self._is_in(made, word)
        return made

    def applied(self, element: Any, op: WordOp, *args: Any) -> Any:
        """In place of ``apply``: a result with the word that the semantics say."""
        if not all(id(each) in self.parts for each in (element, *args)):
            return self.shipped["apply"](element, op, *args)
        return self._holding(self.evaluated(op, tuple(self.parts[id(each)]["word"] for each in (element, *args))))

    def met(self, element: Any, other: Any) -> Any:
        """In place of ``meet``: a result with the word that is in both."""
        words = [
            self._normal(self.parts[id(each)]["word"]) if id(each) in self.parts else None for each in (element, other)
        ]
        if words[0] is None or words[0] != words[1]:
            return self.shipped["meet"](element, other)
        return self._holding(self.parts[id(element)]["word"])

    def low_bits_of(self, word: Any, width: int) -> Any:
        """The low bits of a word, or of low bits of it."""
        origin = self.origins.get(id(word), (word, word))[1]
        for known, bits, low in self.low_bits:
            if bits == width and (known is origin or known is word):
                return low
        low = word & ((1 << width) - 1)
        if isinstance(low, Polynomial):
            self.origins[id(low)] = low, origin
        return low

    def canonical(self, element: Any) -> Any:
        return bool(is_canonical(element))

    def all(self, *conditions: Any) -> Any:
        if self.supposing:
            return _All(conditions)
        return all(bool(each) for each in conditions)

    def any(self, *conditions: Any) -> Any:
        if self.supposing:
            return _Any(conditions)
        return any(bool(each) for each in conditions)

    def negation(self, value: Any) -> Any:
        return not value


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as a method of a class."""
    return lambda self, *args: function(self, *args)


def promises_of(obligation: Obligation) -> frozenset[str]:
    """The methods that the proof of an obligation may take for granted: they have cells of their own.

    Truncation is what ``zext`` does; ``backward`` of sums is ``apply`` and ``meet``.
    """
    if obligation.operation in ("zext", "backward zext", "meet"):
        return frozenset()
    if obligation.operation in ("backward add", "backward sub"):
        return frozenset({"apply", "meet"})
    return frozenset({"_truncated"})


class _Truncating(IntAlgebra):
    """The reading on polynomials, which knows low bits again."""

    def __init__(self, setting: Progressions) -> None:
        self.setting = setting

    def truncate(self, a: int, width: int, to: int) -> int:
        low: int = self.setting.low_bits_of(a, to)
        return low


@contextmanager
def symbolic_names(setting: Progressions) -> Iterator[None]:
    """Have the module of congruences use what is known of ``gcd``, inverses and operations instead of these."""
    names = vars(congruence)
    before = names["gcd"], names["evaluate"]
    ring = setting.ring

    def gcd(*args: Any) -> Any:
        return ring.gcd(*args)

    def inverse(value: Any, exponent: Any, modulus: Any) -> Any:
        return ring.inverse(value, exponent, modulus)

    def evaluated(algebra: Any, op: WordOp, args: tuple[Any, ...], word: int) -> Any:
        return setting.evaluated(op, args)

    names.update(gcd=gcd, pow=inverse, evaluate=evaluated)
    domain = congruence.Congruence
    setting.shipped = {name: vars(domain)[name] for name in ("_truncated", "apply", "meet")}
    instead: dict[str, Callable[..., Any]] = {
        "_truncated": setting.truncated,
        "apply": setting.applied,
        "meet": setting.met,
    }
    for name in setting.promised:
        setattr(domain, name, _method(instead[name]))
    try:
        yield
    finally:
        for name in setting.promised:
            setattr(domain, name, setting.shipped[name])
        names["gcd"], names["evaluate"] = before
        del names["pow"]


# What this reading of congruences rests on ------------------------------------------------------------------------


def _steps(s: Setting) -> list[Claim]:
    """That words in it are steps from its beginning, and all such steps up to its end are in it."""
    last = (1 << s.width) - 1
    lo, stride, steps = s.number("of.lo", 0, last), s.number("of.stride", 0, last), s.number("of.steps", 0, last)
    x = s.word("x")
    hi = lo + steps * stride
    if bool(hi > last) or bool(stride == 0) != bool(steps == 0):
        return []
    if not bool(s.domain(lo, hi, stride).contains(x)):
        taken = (x - lo) // stride if bool(stride != 0) else 0
        is_step = bool(lo <= x) and bool(x <= hi) and bool(lo + taken * stride == x)
        return [Claim("a step is not in it", not is_step)]
    taken = (x - lo) // stride if bool(stride != 0) else 0
    return [
        Claim("a word is no step", bool(lo + taken * stride == x)),
        Claim("it is too far", bool(taken * stride <= steps * stride) and bool(taken <= steps)),
    ]


def _low_bits(kind: OpKind) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        x, y, low = s.word("x"), s.word("y"), s.word("m")
        op = WordOp(kind, s.width)
        whole, parts = s.evaluate(op, x, y), s.evaluate(op, x & low, y & low)
        return [Claim("low bits depend on others", s.equal(whole & low, parts)), Claim("it is more", parts <= low)]

    return claims


def progression_obligations(width: int) -> Iterator[tuple[Obligation, bool]]:
    """Each with whether it is about elements; ``m`` is a power of two less one."""
    yield Obligation("progressions", width, lambda s: True, _steps), True
    for kind in (OpKind.AND, OpKind.OR, OpKind.XOR):
        name = f"low bits of {kind.value}"
        yield Obligation(name, width, lambda s: s.equal(s.word("m") & (s.word("m") + 1), 0), _low_bits(kind)), False
