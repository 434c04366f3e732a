"""The int reading of the word algebra against an independent one, and the RFC's edge cases.

The independent reading is mathematical: signed values as Python ints, quotients as exact fractions, bits as strings.
It shares no helper with the package.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.research.strategies import words
from prevail_py.words import INT, Comparison, IntAlgebra, OpKind, WordOp, compare, evaluate, mask, to_signed

SHIFTS = {OpKind.LSH, OpKind.RSH, OpKind.ARSH}  # defined at widths that are powers of two


def signed(value: int, width: int) -> int:
    """The number congruent to ``value`` in ``[-2**(width-1), 2**(width-1))``."""
    half = 1 << width - 1
    return (value + half) % (2 * half) - half


def bits(value: int, width: int) -> str:
    return format(value, f"0{width}b")


def bitwise(a: int, b: int, width: int, truth: dict[tuple[str, str], str]) -> int:
    return int("".join(truth[pair] for pair in zip(bits(a, width), bits(b, width), strict=True)), 2)


def expected(op: WordOp, a: int, b: int) -> int:
    """What ``op`` gives on words ``a`` and ``b``, from the text of RFC 9669 sections 4.1 and 4.2."""
    width = op.width
    size = 1 << width
    a, b = a % size, b % size
    sa, sb = signed(a, width), signed(b, width)
    match op.kind:
        case OpKind.ADD:
            result = sa + sb
        case OpKind.SUB:
            result = sa - sb
        case OpKind.MUL:
            result = sa * sb
        case OpKind.UDIV:
            result = math.floor(Fraction(a, b)) if b else 0
        case OpKind.UMOD:
            result = a - b * math.floor(Fraction(a, b)) if b else a
        case OpKind.SDIV:
            result = math.trunc(Fraction(sa, sb)) if sb else 0
        case OpKind.SMOD:
            result = sa - sb * math.trunc(Fraction(sa, sb)) if sb else sa
        case OpKind.AND:
            result = bitwise(a, b, width, {("1", "1"): "1", ("1", "0"): "0", ("0", "1"): "0", ("0", "0"): "0"})
        case OpKind.OR:
            result = bitwise(a, b, width, {("1", "1"): "1", ("1", "0"): "1", ("0", "1"): "1", ("0", "0"): "0"})
        case OpKind.XOR:
            result = bitwise(a, b, width, {("1", "1"): "0", ("1", "0"): "1", ("0", "1"): "1", ("0", "0"): "0"})
        case OpKind.LSH:
            result = a * 2 ** (b % width)
        case OpKind.RSH:
            result = math.floor(Fraction(a, 2 ** (b % width)))
        case OpKind.ARSH:
            result = math.floor(Fraction(sa, 2 ** (b % width)))
        case OpKind.NEG:
            result = -sa
        case OpKind.ZEXT:
            result = a
        case OpKind.SEXT:
            result = signed(a, op.source)
        case OpKind.BSWAP:
            text = bits(a, width)
            result = int("".join(text[i : i + 8] for i in range(width - 8, -1, -8)), 2)
    return result % size


def ops(widths: tuple[int, ...]) -> list[WordOp]:
    found = []
    for kind, width in itertools.product(OpKind, widths):
        if (kind in SHIFTS and width & (width - 1)) or (kind is OpKind.BSWAP and width % 8):
            continue
        if kind is OpKind.SEXT:
            found += [WordOp(kind, width, source) for source in range(1, width)]
        else:
            found.append(WordOp(kind, width))
    return found


def disagreements(algebra: IntAlgebra, op: WordOp, word: int, step: int = 1) -> int:
    """On how many arguments of ``word`` bits, every ``step``-th, the reading in ``algebra`` is not as expected."""
    inputs = itertools.product(range(0, 1 << word, step), repeat=op.kind.arity)
    return sum(evaluate(algebra, op, args, word) != expected(op, args[0], args[-1]) for args in inputs)


@pytest.mark.parametrize("op", ops((4, 5, 6)), ids=str)
def test_every_operation_exhaustively_on_words_of_6_bits(op: WordOp) -> None:
    assert disagreements(INT, op, 6) == 0


@pytest.mark.parametrize("op", ops((4, 8)), ids=str)
def test_every_operation_on_words_of_8_bits(op: WordOp) -> None:
    assert disagreements(INT, op, 8, step=1 if op.kind.arity == 1 else 5) == 0


@given(st.sampled_from([op for op in ops((8, 16, 32, 64)) if op.source in (0, 8, 16, 32)]), words(), words())
def test_every_operation_on_words_of_64_bits(op: WordOp, a: int, b: int) -> None:
    assert evaluate(INT, op, (a, b)[: op.kind.arity]) == expected(op, a, b)


@given(st.sampled_from([op for op in ops((8, 16, 32, 64)) if op.source in (0, 8, 16, 32)]), words(), words())
def test_results_are_words_whose_upper_bits_are_clear(op: WordOp, a: int, b: int) -> None:
    assert 0 <= evaluate(INT, op, (a, b)[: op.kind.arity]) <= mask(op.width)


MIN64, MIN32, M1 = 1 << 63, 1 << 31, (1 << 64) - 1
EDGES = [
    # operation, arguments, result: RFC 9669 section 4.1 unless said otherwise
    (WordOp(OpKind.UDIV, 64), (7, 0), 0),
    (WordOp(OpKind.UDIV, 32), (7, 1 << 32), 0),  # the divisor's low half is 0
    (WordOp(OpKind.UMOD, 64), (7, 0), 7),
    (WordOp(OpKind.UMOD, 32), (0xFFFFFFFF_00000007, 0), 7),  # and the upper half is cleared
    (WordOp(OpKind.SDIV, 64), (MIN64, M1), MIN64),
    (WordOp(OpKind.SMOD, 64), (MIN64, M1), 0),
    (WordOp(OpKind.SDIV, 32), (MIN32, M1), MIN32),
    (WordOp(OpKind.SMOD, 32), (MIN32, 0xFFFFFFFF), 0),
    (WordOp(OpKind.SDIV, 64), (MIN64, 0), 0),
    (WordOp(OpKind.SMOD, 64), (MIN64, 0), MIN64),
    (WordOp(OpKind.SDIV, 64), (-7 & M1, 2), -3 & M1),  # towards zero
    (WordOp(OpKind.SMOD, 64), (-7 & M1, 2), -1 & M1),  # the sign of the dividend
    (WordOp(OpKind.SMOD, 64), (7, -2 & M1), 1),
    (WordOp(OpKind.SMOD, 32), (-7 & M1, 2), 0xFFFFFFFF),
    (WordOp(OpKind.LSH, 64), (1, 64), 1),  # shift counts are masked
    (WordOp(OpKind.LSH, 64), (1, M1), MIN64),
    (WordOp(OpKind.LSH, 32), (1, 63), MIN32),
    (WordOp(OpKind.RSH, 32), (0xFFFFFFFF_80000000, 31), 1),
    (WordOp(OpKind.ARSH, 32), (0x80000000, 31), 0xFFFFFFFF),
    (WordOp(OpKind.ARSH, 32), (0xFFFFFFFF_7FFFFFFF, 31), 0),
    (WordOp(OpKind.ARSH, 64), (MIN64, 127), M1),
    (WordOp(OpKind.NEG, 64), (MIN64,), MIN64),
    (WordOp(OpKind.NEG, 32), (1,), 0xFFFFFFFF),
    (WordOp(OpKind.NEG, 32), (1 << 40,), 0),
    (WordOp(OpKind.MUL, 32), (0x10000, 0x10000), 0),
    (WordOp(OpKind.ADD, 64), (M1, 1), 0),
    (WordOp(OpKind.ADD, 32), (M1, 1), 0),
    (WordOp(OpKind.SUB, 32), (0, 1), 0xFFFFFFFF),
    (WordOp(OpKind.ZEXT, 32), (M1,), 0xFFFFFFFF),
    (WordOp(OpKind.SEXT, 64, 8), (0x80,), 0xFFFFFFFF_FFFFFF80),
    (WordOp(OpKind.SEXT, 64, 8), (0xFF7F,), 0x7F),
    (WordOp(OpKind.SEXT, 32, 16), (0xFFFF,), 0xFFFFFFFF),
    (WordOp(OpKind.SEXT, 64, 32), (0x80000000,), 0xFFFFFFFF_80000000),
    (WordOp(OpKind.BSWAP, 16), (0xAABBCCDD_11223344,), 0x4433),  # section 4.2
    (WordOp(OpKind.BSWAP, 32), (0xAABBCCDD_11223344,), 0x44332211),
    (WordOp(OpKind.BSWAP, 64), (0xAABBCCDD_11223344,), 0x44332211_DDCCBBAA),
    (WordOp(OpKind.ZEXT, 16), (0xAABBCCDD_11223344,), 0x3344),
]


@pytest.mark.parametrize(("op", "args", "result"), EDGES, ids=lambda x: str(x) if isinstance(x, WordOp) else "")
def test_edge_cases_of_the_specification(op: WordOp, args: tuple[int, ...], result: int) -> None:
    assert evaluate(INT, op, args) == result


class FloorDivision(IntAlgebra):
    """A planted bug: Python's division instead of the RFC's."""

    def sdiv(self, a: int, b: int, width: int) -> int:
        return to_signed(a, width) // to_signed(b, width) & mask(width) if b else 0


class UnmaskedShift(IntAlgebra):
    """A planted bug: C's undefined shift read as a shift by any amount."""

    def shl(self, a: int, b: int, width: int) -> int:
        return (a << b) & mask(width)


class LogicalShift(IntAlgebra):
    """A planted bug: an arithmetic shift that forgets the sign."""

    def ashr(self, a: int, b: int, width: int) -> int:
        return a >> (b & (width - 1))


class ModuloByZero(IntAlgebra):
    """A planted bug: the modulo by zero that Z3 and some processors have."""

    def umod(self, a: int, b: int, width: int) -> int:
        return a % b if b else 0


@pytest.mark.parametrize(
    ("algebra", "kind"),
    [(FloorDivision(), OpKind.SDIV), (UnmaskedShift(), OpKind.LSH), (LogicalShift(), OpKind.ARSH),
     (ModuloByZero(), OpKind.UMOD)],
)  # fmt: skip
def test_planted_bugs_are_found(algebra: IntAlgebra, kind: OpKind) -> None:
    assert disagreements(algebra, WordOp(kind, 4), 5) > 0


def holds(comparison: Comparison, a: int, b: int, width: int) -> bool:
    """The comparison of RFC 9669 section 4.3, on numbers."""
    a, b = a % (1 << width), b % (1 << width)
    sa, sb = signed(a, width), signed(b, width)
    common = any(pair == ("1", "1") for pair in zip(bits(a, width), bits(b, width), strict=True))
    table = {
        Comparison.EQ: sa == sb, Comparison.NE: sa != sb, Comparison.SET: common, Comparison.NOT_SET: not common,
        Comparison.ULT: a < b, Comparison.ULE: a <= b, Comparison.UGT: a > b, Comparison.UGE: a >= b,
        Comparison.SLT: sa < sb, Comparison.SLE: sa <= sb, Comparison.SGT: sa > sb, Comparison.SGE: sa >= sb,
    }  # fmt: skip
    return table[comparison]


@pytest.mark.parametrize("comparison", Comparison)
@pytest.mark.parametrize(("word", "width"), [(4, 4), (5, 3), (6, 6)])
def test_comparisons_exhaustively(comparison: Comparison, word: int, width: int) -> None:
    for a, b in itertools.product(range(1 << word), repeat=2):
        result = compare(INT, comparison, a, b, width, word)
        assert result == holds(comparison, a, b, width)
        assert compare(INT, comparison.negation, a, b, width, word) == (not result)
        assert compare(INT, comparison.swapped, b, a, width, word) == result


@pytest.mark.parametrize("comparison", Comparison)
def test_negation_and_swapping_are_involutions(comparison: Comparison) -> None:
    assert comparison.negation.negation is comparison
    assert comparison.swapped.swapped is comparison
    assert comparison.negation is not comparison


@given(st.sampled_from(Comparison), words(), words(), st.sampled_from((32, 64)))
def test_comparisons_at_32_and_64_bits(comparison: Comparison, a: int, b: int, width: int) -> None:
    assert compare(INT, comparison, a, b, width) == holds(comparison, a, b, width)


def test_helpers() -> None:
    assert [mask(width) for width in (1, 4, 64)] == [1, 15, (1 << 64) - 1]
    assert [to_signed(value, 4) for value in (0, 7, 8, 15, 16, 0x18)] == [0, 7, -8, -1, 0, -8]
    assert [INT.const(value, 4) for value in (-1, 0, 16, 31)] == [15, 0, 0, 15]


def test_operations_are_written_with_their_widths() -> None:
    assert [str(op) for op in (WordOp(OpKind.ADD), WordOp(OpKind.SEXT, 64, 8), WordOp(OpKind.ZEXT, 32))] == [
        "add64",
        "sext8to64",
        "zext32",
    ]
