"""What facts say, as data: the language in which a domain tells others all that it knows.

Each :class:`~prevail_py.domains.lattice.Facts` gives its content as statements; their conjunction is its concretization
or more.  A certificate is written in them, and whoever knows words can check one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from prevail_py.domains.lattice import NO_SYMBOL, Symbol, Term
from prevail_py.words import WordOp

__all__ = [
    "Bits",
    "Congruent",
    "Defined",
    "Difference",
    "Equation",
    "InRange",
    "Statement",
    "Subtraction",
    "Sum",
    "of_word",
]

_MASK = (1 << 64) - 1


class InRange(NamedTuple):
    """The low ``width`` bits of a symbol, read as signed or unsigned, lie in ``lo..hi``."""

    symbol: Symbol
    lo: int
    hi: int
    width: int
    signed: bool

    def symbols(self) -> tuple[Symbol, ...]:
        return (self.symbol,)


class Bits(NamedTuple):
    """The bits outside of ``mask`` are those of ``value``."""

    symbol: Symbol
    value: int
    mask: int

    def symbols(self) -> tuple[Symbol, ...]:
        return (self.symbol,)


class Congruent(NamedTuple):
    """The unsigned word leaves ``rest`` when divided by ``divisor``."""

    symbol: Symbol
    divisor: int
    rest: int

    def symbols(self) -> tuple[Symbol, ...]:
        return (self.symbol,)


class Difference(NamedTuple):
    """``left - right <= most`` between integers, read as signed."""

    left: Symbol
    right: Symbol
    most: int

    def symbols(self) -> tuple[Symbol, ...]:
        return (self.left, self.right)


class Subtraction(NamedTuple):
    """``result = left - right + constant`` between integers, read as signed; a symbol may be the constant 0."""

    result: Symbol
    left: Symbol
    right: Symbol
    constant: int

    def symbols(self) -> tuple[Symbol, ...]:
        return (self.result, self.left, self.right)


class Sum(NamedTuple):
    """``left + right <= most`` between integers, read as signed; ``-(left + right) <= most`` where ``negated``."""

    left: Symbol
    right: Symbol
    most: int
    negated: bool = False

    def symbols(self) -> tuple[Symbol, ...]:
        return (self.left, self.right)


class Equation(NamedTuple):
    """The sum of multiples of symbols, and a constant, is 0 modulo 2**64."""

    parts: tuple[tuple[Symbol, int], ...]
    constant: int

    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(symbol for symbol, _ in self.parts)


class Defined(NamedTuple):
    """The symbol is ``op(*args)``."""

    symbol: Symbol
    op: WordOp
    args: tuple[Term, ...]

    def symbols(self) -> tuple[Symbol, ...]:
        return (self.symbol, *(arg.symbol for arg in self.args if arg.symbol != NO_SYMBOL))


Statement: TypeAlias = InRange | Bits | Congruent | Difference | Subtraction | Sum | Equation | Defined


def of_word(symbol: Symbol, word: Any) -> Iterator[Statement]:
    """What a :class:`~prevail_py.domains.lattice.Word` says of a symbol, its parts included; nothing twice."""
    low, high = word.bounds(64)
    if (low, high) != (0, _MASK):
        yield InRange(symbol, low, high, 64, False)
    least, most = word.bounds(64, True)
    if high > _MASK >> 1 and (least, most) != (-1 - (_MASK >> 1), _MASK >> 1):
        yield InRange(symbol, least, most, 64, True)
    if high >> 32:
        # Otherwise the low half is the word.
        low32, high32 = word.bounds(32)
        if (low32, high32) != (0, _MASK >> 32):
            yield InRange(symbol, low32, high32, 32, False)
    if high >> 31:
        least32, most32 = word.bounds(32, True)
        if (least32, most32) not in ((-1 << 31, (1 << 31) - 1), (least, most)):
            yield InRange(symbol, least32, most32, 32, True)
    pending = [word]
    while pending:
        part = pending.pop()
        if hasattr(part, "first"):
            pending += [part.second, part.first]
        elif hasattr(part, "mask"):
            common = (1 << (low ^ high).bit_length()) - 1
            if common & ~part.mask:
                yield Bits(symbol, part.value, part.mask)
        elif hasattr(part, "stride") and part.stride > 1:
            yield Congruent(symbol, part.stride, part.lo % part.stride)
