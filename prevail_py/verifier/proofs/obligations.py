"""What has to be proved of a word domain: one generator for every operation, at every width, of every domain.

An :class:`Obligation` is a text over elements and words that reads the same on Python ints and on symbolic ones::

    suppose(a contains x, b contains y)      the hypothesis
    a.apply(op, b) contains op(x, y)         the claim

so that a counterexample which the solver finds is run again on plain ints, in the shipped code, before it is believed.
Next to soundness each operation must give *canonical* elements, as it may suppose its arguments to be: see
:mod:`prevail_py.verifier.proofs.elements`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["SHIFTS", "Claim", "Obligation", "Setting", "by_known_amounts", "obligations"]

SHIFTS: Final = (OpKind.LSH, OpKind.RSH, OpKind.ARSH)


class Setting(Protocol):
    """Makes and compares values, symbolic or not; words are unsigned integers of the domain's width."""

    domain: Any

    @property
    def width(self) -> int: ...
    @property
    def low(self) -> int: ...
    def element(self, name: str) -> Any:
        """An arbitrary canonical element, the same for the same name."""
        ...

    def word(self, name: str) -> Any:
        """An arbitrary word."""
        ...

    def number(self, name: str, lo: int, hi: int) -> Any:
        """An arbitrary integer of ``lo..hi``."""
        ...

    def evaluate(self, op: WordOp, *args: Any) -> Any:
        """What the semantics says that ``op`` computes."""
        ...

    def compare(self, comparison: Comparison, a: Any, b: Any, width: int) -> Any: ...
    def fact(self, kind: Any, bits: int, x: Any) -> Any:
        """A :class:`~prevail_py.verifier.proofs.relations.Fact`: what ``kind`` of ``x`` and an unknown word is."""
        ...

    def speak_of(self, integers: Callable[[], tuple[Any, ...]]) -> None:
        """Have promises that are about integers speak of these."""
        ...

    def know(self, *facts: Any) -> None:
        """Have promises speak of these facts, too."""
        ...

    def read(self, word: Any, width: int, signed: bool) -> Any:
        """The low ``width`` bits of a word as an integer."""
        ...

    def equal(self, a: Any, b: Any) -> Any: ...
    def contains(self, element: Any, word: Any) -> Any: ...
    def canonical(self, element: Any) -> Any: ...
    def all(self, *conditions: Any) -> Any: ...
    def any(self, *conditions: Any) -> Any: ...
    def negation(self, condition: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """``holds`` must be true; ``text`` says what is wrong where it is not."""

    text: str
    holds: Any


@dataclass(frozen=True, slots=True)
class Obligation:
    """``operation`` at ``bits`` bits: under ``suppose``, ``claims`` hold on each path of the operator."""

    operation: str
    bits: int
    suppose: Callable[[Setting], Any]
    claims: Callable[[Setting], list[Claim]]
    op: WordOp | None = None
    rests_on: tuple[Any, ...] = ()  # promises of functions that may stand for them
    fixed: Mapping[str, int] = field(default_factory=dict)  # words and numbers that are not arbitrary
    least: Mapping[str, int] = field(default_factory=dict)  # those that are at least that
    parts: tuple[Obligation, ...] = ()  # what it consists of, in place of a claim of its own
    apart: bool = False  # whether paths are better left apart where they could be merged

    def __str__(self) -> str:
        return f"{self.operation}{self.bits or ''}"


def operations(width: int, low: int) -> Iterator[WordOp]:
    """Every operation of the machine on words of ``width`` bits: at both widths, and all extensions and byte swaps."""
    for kind in OpKind:
        match kind:
            case OpKind.ZEXT | OpKind.BSWAP:
                yield from (WordOp(kind, bits) for bits in (8, 16, 32, 64) if bits <= width)
            case OpKind.SEXT:
                narrow = [bits for bits in (8, 16, 32) if bits < width]
                yield from (WordOp(kind, bits, source) for bits in (width, low) for source in narrow if source < bits)
            case _:
                yield WordOp(kind, width)
                yield WordOp(kind, low)


def obligations(width: int, low: int) -> Iterator[Obligation]:
    """Everything to prove of a word domain at words of ``width`` bits with a low half of ``low``."""
    for op in operations(width, low):
        name = op.kind.value + (f"{op.source}to" if op.source else "")
        yield Obligation(name, op.width, _arguments(op), _forward(op), op)
        yield Obligation(f"backward {name}", op.width, _arguments(op, "out"), _backward(op), op)
        if op.kind in SHIFTS and op.width & (op.width - 1) == 0:
            yield by_known_amounts(Obligation(name, op.width, _shifted(op), _forward(op, True), op))
            name = f"backward {name}"
            yield by_known_amounts(Obligation(name, op.width, _shifted(op, "out"), _backward(op, True), op))
    for comparison in Comparison:
        for bits in (width, low):
            yield Obligation(
                f"assume {comparison.value}", bits, _related(comparison, bits), _restrict(comparison, bits)
            )
    yield Obligation("leq", width, _in_left, _leq)
    for name in ("join", "widen", "widen to thresholds"):
        yield Obligation(name, width, _in_either, _upper(name))
    for name in ("meet", "narrow"):
        yield Obligation(name, width, _in_both, _lower(name))
    yield Obligation("constant", width, lambda s: True, _constant)
    yield Obligation("between", width, lambda s: s.all(s.number("lo", 0, (1 << width) - 1) <= s.word("x"),
                     s.word("x") <= s.number("hi", 0, (1 << width) - 1)), _between)  # fmt: skip
    for bits in (width, low):
        for signed in (False, True):
            name = f"bounds ({'signed' if signed else 'unsigned'})"
            yield Obligation(name, bits, lambda s: s.contains(s.element("a"), s.word("x")), _bounds(bits, signed))


def by_known_amounts(shift: Obligation, *names: str) -> Obligation:
    """The same for each amount: for the word y, and the numbers ``names``, in place of unknown ones."""
    parts = [replace(shift, fixed=dict.fromkeys(("y", *names), amount)) for amount in range(shift.bits)]
    return replace(shift, operation=f"{shift.operation} by known amounts", parts=tuple(parts))


# Operations -------------------------------------------------------------------------------------------------------


def _names(op: WordOp) -> list[tuple[str, str]]:
    return [("a", "x"), ("b", "y")][: op.kind.arity]


def _arguments(op: WordOp, out: str = "") -> Callable[[Setting], Any]:
    def suppose(s: Setting) -> Any:
        words = [s.word(word) for _, word in _names(op)]
        conditions = [
            s.contains(s.element(element), word) for (element, _), word in zip(_names(op), words, strict=True)
        ]
        if out:
            conditions.append(s.contains(s.element(out), s.evaluate(op, *(s.word(word) for _, word in _names(op)))))
        return s.all(*conditions)

    return suppose


def _shifted(op: WordOp, out: str = "") -> Callable[[Setting], Any]:
    """Of a shift by one amount: only the word that is shifted is in an arbitrary element."""

    def suppose(s: Setting) -> Any:
        inside = s.contains(s.element("a"), s.word("x"))
        if not out:
            return s.all(inside)
        return s.all(inside, s.contains(s.element(out), s.evaluate(op, s.word("x"), s.word("y"))))

    return suppose


def _elements(s: Setting, op: WordOp, known_amount: bool) -> list[Any]:
    if known_amount:
        return [s.element("a"), s.domain.constant(s.word("y"))]
    return [s.element(element) for element, _ in _names(op)]


def _forward(op: WordOp, known_amount: bool = False) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        first, *others = _elements(s, op, known_amount)
        result = first.apply(op, *others)
        value = s.evaluate(op, *(s.word(word) for _, word in _names(op)))
        return [Claim("the result lacks op(x, y)", s.contains(result, value)), *_canonical(s, result)]

    return claims


def _backward(op: WordOp, known_amount: bool = False) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        arguments = _elements(s, op, known_amount)
        results = arguments[0].backward(op, s.element("out"), *arguments[1:])
        found = []
        for (element, word), result in zip(_names(op), results, strict=True):
            found += _narrowed(s, f"argument {element}", result, s.word(word))
        return found

    return claims


def _narrowed(s: Setting, what: str, result: Any, word: Any) -> list[Claim]:
    """A result that keeps ``word`` and is canonical.  That it is no larger than before is a law, tested elsewhere."""
    return [Claim(f"{what} lost its word", s.contains(result, word)), *_canonical(s, result, what)]


def _canonical(s: Setting, result: Any, what: str = "the result") -> list[Claim]:
    return [Claim(f"{what} is not canonical", s.canonical(result))]


def _related(comparison: Comparison, bits: int) -> Callable[[Setting], Any]:
    def suppose(s: Setting) -> Any:
        x, y = s.word("x"), s.word("y")
        return s.all(
            s.contains(s.element("a"), x), s.contains(s.element("b"), y), s.compare(comparison, x, y, bits)
        )  # fmt: skip

    return suppose


def _restrict(comparison: Comparison, bits: int) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        a, b = s.element("a"), s.element("b")
        first, second = a.restrict(comparison, b, bits)
        return [
            *_narrowed(s, "the left side", first, s.word("x")),
            *_narrowed(s, "the right side", second, s.word("y")),
        ]

    return claims


# Lattice ----------------------------------------------------------------------------------------------------------


def _in_left(s: Setting) -> Any:
    s.element("b")
    return s.contains(s.element("a"), s.word("x"))


def _in_either(s: Setting) -> Any:
    return s.any(s.contains(s.element("a"), s.word("x")), s.contains(s.element("b"), s.word("x")))


def _in_both(s: Setting) -> Any:
    return s.all(s.contains(s.element("a"), s.word("x")), s.contains(s.element("b"), s.word("x")))


def _leq(s: Setting) -> list[Claim]:
    a, b = s.element("a"), s.element("b")
    below = a.leq(b)
    return [Claim("a.leq(b), but b lacks x", s.any(s.negation(below), s.contains(b, s.word("x"))))]


def _upper(name: str) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        a, b = s.element("a"), s.element("b")
        if name == "join":
            result = a.join(b)
        elif name == "widen":
            result = a.widen(b)
        else:
            result = a.widen(b, (s.word("t"),))
        return [Claim("the result lacks x", s.contains(result, s.word("x"))), *_canonical(s, result)]

    return claims


def _lower(name: str) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        a, b = s.element("a"), s.element("b")
        result = a.meet(b) if name == "meet" else a.narrow(b)
        return [Claim("the result lacks x", s.contains(result, s.word("x"))), *_canonical(s, result)]

    return claims


def _constant(s: Setting) -> list[Claim]:
    result = s.domain.constant(s.word("x"))
    return [Claim("the result lacks x", s.contains(result, s.word("x"))), *_canonical(s, result)]


def _between(s: Setting) -> list[Claim]:
    last = (1 << s.width) - 1
    result = s.domain.between(s.number("lo", 0, last), s.number("hi", 0, last))
    return [Claim("the result lacks x", s.contains(result, s.word("x"))), *_canonical(s, result)]


def _bounds(bits: int, signed: bool) -> Callable[[Setting], list[Claim]]:
    def claims(s: Setting) -> list[Claim]:
        lo, hi = s.element("a").bounds(bits, signed)
        seen = s.read(s.word("x"), bits, signed)
        return [Claim("x is below the bounds", lo <= seen), Claim("x is above the bounds", seen <= hi)]

    return claims
