"""What the result of an operation has to do with its arguments, as facts that replace the operation itself.

Where a proof goes by promises it need not know what ``x + y`` computes: only that ``r`` is the sum, and so ``x`` is the
difference of ``r`` and ``y``.  :class:`Fact` is one such equation.  :func:`facts` lists them for an operation and
:func:`fact_obligations` has each of them proved about the semantics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from prevail_py.verifier.proofs.obligations import Claim, Obligation, Setting
from prevail_py.verifier.proofs.promises import both, implies
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["BITWISE", "LOW_OF_LOWS", "OPAQUE", "Fact", "fact_obligations", "facts", "order"]

LOW_OF_LOWS: Final = (
    OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.AND, OpKind.OR, OpKind.XOR, OpKind.NEG,
)  # fmt: skip
"""Operations of which the low half of the result is the operation on the low halves; it is proved, not read there."""

BITWISE: Final = (OpKind.AND, OpKind.OR, OpKind.XOR)
"""Operations that no linear term stands for, the same of either order of their operands."""

# Each name stands for a word: the arguments, the result, or zero.
_FACTS: Final[dict[OpKind, tuple[tuple[OpKind, str, str, str], ...]]] = {
    OpKind.ADD: ((OpKind.SUB, "r", "y", "x"), (OpKind.SUB, "r", "x", "y")),
    OpKind.SUB: ((OpKind.ADD, "r", "y", "x"), (OpKind.SUB, "x", "r", "y")),
    OpKind.XOR: ((OpKind.XOR, "r", "y", "x"), (OpKind.XOR, "r", "x", "y")),
    OpKind.NEG: ((OpKind.SUB, "0", "x", "r"), (OpKind.SUB, "0", "r", "x")),
    OpKind.BSWAP: ((OpKind.BSWAP, "r", "0", "x"),),
}

_ORDERED: Final = (OpKind.AND, OpKind.OR, OpKind.LSH, OpKind.RSH, OpKind.ARSH)

OPAQUE: Final = frozenset(kind for kind in OpKind if kind not in (OpKind.ZEXT, OpKind.SEXT))
"""Operations that proofs by promises know by their facts only."""


@dataclass(frozen=True, slots=True)
class Fact:
    """At ``bits`` bits, ``result`` is ``kind`` of ``first`` and ``second`` (which unary operations ignore).

    ``result`` is a word, or for a comparison whether it holds.
    """

    kind: OpKind | Comparison
    bits: int
    first: Any
    second: Any
    result: Any


def facts(op: WordOp, x: Any, y: Any, r: Any, low: int) -> Iterator[Fact]:
    """What is known of words with ``r = op(x, y)``, at the operation's width and at that of a low half."""
    names = {"x": x, "y": y, "r": r, "0": 0}
    found = ((op.kind, "x", "y", "r"), *_FACTS.get(op.kind, ()))
    for bits in (op.width, low):
        last = (1 << bits) - 1
        for kind, *operands in found:
            if bits == op.width or (kind in LOW_OF_LOWS and op.kind in LOW_OF_LOWS) or kind is OpKind.LSH:
                yield Fact(kind, bits, *(names[name] & last for name in operands))
        if bits <= low:
            break


def order(op: WordOp, x: Any, y: Any, r: Any, low: int) -> Any:
    """What is known of ``r = op(x, y)`` by size, or where a shift moves nothing or everything."""
    last, low_last = (1 << op.width) - 1, (1 << low) - 1
    match op.kind:
        case OpKind.AND:
            return both(r <= x & last, r <= y & last)
        case OpKind.OR:
            half = 1 << (op.width - 1)
            a, b = x & last, y & last
            return both(
                a <= r, b <= r,
                implies(both(r >= half, a < half), half + a <= r), implies(both(r >= half, b < half), half + b <= r),
            )  # fmt: skip
        case OpKind.LSH | OpKind.RSH | OpKind.ARSH if op.width & (op.width - 1) == 0:
            amount = y & (op.width - 1)
            nothing = implies(amount == 0, r == x & last)
            return both(nothing, implies(amount >= low, r & low_last == 0)) if op.kind is OpKind.LSH else nothing
        case _:
            return True


def fact_obligations(width: int) -> Iterator[Obligation]:
    """That the facts hold, of operations at ``width`` bits."""
    for kind in (*_FACTS, *_ORDERED):
        if kind is not OpKind.BSWAP or width % 8 == 0:
            yield Obligation(f"facts of {kind.value}", width, lambda s: s.all(), _facts_hold(WordOp(kind, width)))
    for kind in (*LOW_OF_LOWS, OpKind.LSH):
        yield Obligation(f"low half of {kind.value}", width, lambda s: s.all(), _low_half(kind, width))


def _facts_hold(op: WordOp) -> Any:
    def claims(s: Setting) -> list[Claim]:
        x, y = s.word("x"), s.word("y")
        r = s.evaluate(op, *(x, y)[: op.kind.arity])
        zero = s.evaluate(WordOp(OpKind.XOR, op.width), x, x)
        names = {"x": x, "y": y, "r": r, "0": zero}
        found = []
        for kind, first, second, result in _FACTS.get(op.kind, ()):
            known = WordOp(kind, op.width)
            value = s.evaluate(known, *(names[first], names[second])[: kind.arity])
            found.append(Claim(f"{result} is not {kind.value} of {first} and {second}", s.equal(value, names[result])))
        return [*found, Claim("the order is another", order(op, x, y, r, s.low))]

    return claims


def _low_half(kind: OpKind, width: int) -> Any:
    def claims(s: Setting) -> list[Claim]:
        words = (s.word("x"), s.word("y"))[: kind.arity]
        half = width // 2
        low = s.read(s.evaluate(WordOp(kind, width), *words), half, False)
        same = s.equal(low, s.evaluate(WordOp(kind, half), *words))
        if kind is not OpKind.LSH:
            return [Claim("the low half is another", same)]
        beyond = s.negation(words[1] & (width - 1) < half)
        zero = s.equal(low, s.evaluate(WordOp(OpKind.XOR, half), words[0], words[0]))
        return [
            Claim("the low half is another", s.any(beyond, same)),
            Claim("the low half is not 0", s.any(s.negation(beyond), zero)),
        ]

    return claims
