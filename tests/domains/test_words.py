"""What words know in the situations that have misled verifiers, and how they print."""

from __future__ import annotations

from typing import Any

import pytest

from prevail_py.domains.interval import Interval
from prevail_py.domains.product import word_product
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.tnum import Tnum
from prevail_py.words import Comparison, OpKind, WordOp

LAST = (1 << 64) - 1
LAST32 = (1 << 32) - 1
MIN = 1 << 63
ADD, SUB, MUL, AND, OR, XOR = (
    WordOp(kind) for kind in (OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.AND, OpKind.OR, OpKind.XOR)
)
LSH, RSH, ARSH = (WordOp(kind) for kind in (OpKind.LSH, OpKind.RSH, OpKind.ARSH))
UDIV, UMOD, SDIV, SMOD = (WordOp(kind) for kind in (OpKind.UDIV, OpKind.UMOD, OpKind.SDIV, OpKind.SMOD))
BOTH = pytest.mark.parametrize("domain", [Interval, Scalar], ids=lambda d: d.__name__)


def at32(op: WordOp) -> WordOp:
    return WordOp(op.kind, 32)


def signed(domain: Any, lo: int, hi: int) -> Any:
    """All words of signed value lo..hi."""
    x, _ = domain.top().restrict(Comparison.SGE, domain.constant(lo))
    return x.restrict(Comparison.SLE, domain.constant(hi))[0]


@BOTH
def test_alu32_truncates_and_zero_extends(domain: Any) -> None:
    big = domain.between(1 << 40, (1 << 40) + 7)
    assert big.apply(at32(ADD), domain.constant(1)).bounds() == (1, 8)
    negative = signed(domain, -4, -1)
    assert negative.apply(at32(ADD), domain.constant(0)).bounds() == (LAST32 - 3, LAST32)
    assert negative.apply(WordOp(OpKind.ZEXT, 32)).bounds(64, signed=True) == (LAST32 - 3, LAST32)
    assert negative.apply(WordOp(OpKind.SEXT, 64, 32)).bounds(64, signed=True) == (-4, -1)


@BOTH
def test_jmp32_narrows_only_the_low_half(domain: Any) -> None:
    x, _ = domain.top().restrict(Comparison.ULT, domain.constant(10), 32)
    assert x.bounds(32) == (0, 9)
    assert x.bounds(64) == (0, LAST - LAST32 + 9)
    assert x.contains((1 << 32) + 3)
    x, _ = x.restrict(Comparison.ULE, domain.constant(LAST32))
    assert x.bounds(64) == (0, 9)


@BOTH
def test_full_bounds_that_straddle_say_nothing_of_the_low_half(domain: Any) -> None:
    x = domain.between(LAST32 - 1, (1 << 32) + 1)
    assert x.bounds(32) == (0, LAST32)
    assert x.bounds(32, signed=True) == (-2, 1)
    assert domain.between(5, (1 << 33) + 6).bounds(32) == (0, LAST32)
    assert domain.between((7 << 32) + 5, (7 << 32) + 9).bounds(32) == (5, 9)


@BOTH
@pytest.mark.parametrize(("op", "other"), [(at32(SUB), 1), (at32(ADD), LAST32), (at32(ADD), LAST)], ids=str)
def test_range_check_by_a_narrow_subtraction(domain: Any, op: WordOp, other: int) -> None:
    """``w2 = x - 1; if w2 > 127 goto out`` leaves x in 1..128."""
    x = domain.between(0, LAST32)
    checked, _ = x.apply(op, domain.constant(other)).restrict(Comparison.ULE, domain.constant(127))
    assert checked.bounds() == (0, 127)
    narrowed, _ = x.backward(op, checked, domain.constant(other))
    assert narrowed.bounds() == (1, 128)


@BOTH
def test_comparisons_reach_factors_and_dividends(domain: Any) -> None:
    """``if i * 12 < 100`` bounds i, unless the product may have wrapped; likewise ``i / 16``."""
    index, twelve = domain.between(0, 1 << 20), domain.constant(12)
    assert index.backward(MUL, domain.between(0, 99), twelve)[0].bounds() == (0, 8)
    assert twelve.backward(MUL, domain.between(13, 99), index)[1].bounds() == (2, 8)
    assert domain.top().backward(MUL, domain.between(0, 99), twelve)[0].is_top()
    assert domain.top().backward(UDIV, domain.between(2, 3), domain.constant(16))[0].bounds() == (32, 63)
    assert index.backward(UDIV, domain.between(1 << 60, LAST), domain.constant(16))[0].is_bottom()


@BOTH
def test_division_and_remainder_by_zero(domain: Any) -> None:
    x, zero = domain.between(10, 20), domain.constant(0)
    for op in (UDIV, SDIV):
        assert x.apply(op, zero) == zero
    for op in (UMOD, SMOD):
        assert x.apply(op, zero) == x
    wide = signed(domain, -4, -1)
    assert wide.apply(at32(UMOD), zero).bounds() == (LAST32 - 3, LAST32)
    assert x.apply(UDIV, domain.between(0, 5)).bounds() == (0, 20)
    assert x.apply(UMOD, domain.constant(8)).bounds() == (0, 7)
    assert x.apply(UMOD, domain.constant(100)) == x


@BOTH
def test_least_word_by_minus_one(domain: Any) -> None:
    least, minus_one = domain.constant(MIN), domain.constant(LAST)
    assert least.apply(SDIV, minus_one) == least
    assert least.apply(SMOD, minus_one) == domain.constant(0)
    assert domain.constant(1 << 31).apply(at32(SDIV), domain.constant(LAST32)) == domain.constant(1 << 31)
    around = domain.between(MIN, MIN + 1)
    assert around.apply(SDIV, minus_one).contains(MIN)
    assert around.apply(SDIV, minus_one).contains(MIN - 1)


@BOTH
def test_shift_amounts_are_taken_modulo_the_width(domain: Any) -> None:
    x = domain.constant(5)
    assert x.apply(LSH, domain.constant(64)) == x
    assert x.apply(LSH, domain.constant(65)) == domain.constant(10)
    assert x.apply(at32(LSH), domain.constant(33)) == domain.constant(10)
    assert x.apply(LSH, domain.top()).contains(5 << 63 & LAST)
    assert domain.constant(1).apply(LSH, domain.between(0, 31)).bounds() == (1, 1 << 31)
    assert domain.between(1, 9).apply(RSH, domain.between(62, 66)).contains(9)
    assert signed(domain, -8, 8).apply(ARSH, domain.constant(1)).bounds(64, signed=True) == (-4, 4)
    assert domain.constant(MIN).apply(at32(ARSH), domain.constant(4)) == domain.constant(0)


@BOTH
def test_overflow_wraps(domain: Any) -> None:
    x = domain.between(LAST - 1, LAST).apply(ADD, domain.between(1, 2))
    assert x.bounds(64, signed=True) == (-1, 1)
    assert domain.between(0, MIN).apply(ADD, domain.constant(MIN)).bounds(64) == (0, LAST)
    assert domain.between(0, 5).apply(SUB, domain.constant(3)).bounds(64, signed=True) == (-3, 2)
    assert domain.between(0, 1 << 62).apply(MUL, domain.constant(4)).contains(0)
    assert domain.between(3, 5).apply(MUL, signed(domain, -2, 2)).bounds(64, signed=True) == (-10, 10)


@BOTH
def test_not_equal_trims_ends_of_either_width(domain: Any) -> None:
    assert domain.between(0, 9).restrict(Comparison.NE, domain.constant(0))[0].bounds() == (1, 9)
    assert domain.between(0, 9).restrict(Comparison.NE, domain.constant(4))[0].bounds() == (0, 9)
    assert domain.between(0, 9).restrict(Comparison.NE, domain.constant(9), 32)[0].bounds() == (0, 8)
    low, _ = domain.top().restrict(Comparison.NE, domain.constant(0), 32)
    assert low.bounds(32) == (1, LAST32)
    assert signed(domain, -3, 3).restrict(Comparison.NE, domain.constant(3))[0].bounds(64, signed=True) == (-3, 2)
    only, other = domain.constant(4).restrict(Comparison.NE, domain.constant(4))
    assert only.is_bottom()
    assert other.is_bottom()


@BOTH
def test_bits_that_are_set_or_not(domain: Any) -> None:
    x = domain.between(0, 255)
    assert x.restrict(Comparison.NOT_SET, domain.constant(0xF0))[0].bounds() == (0, 15)
    assert x.restrict(Comparison.SET, domain.constant(0xF0))[0].bounds() == (16, 255)
    assert domain.between(0, 15).restrict(Comparison.SET, domain.constant(0xF0))[0].is_bottom()
    assert x.restrict(Comparison.SET, domain.constant(0))[0].is_bottom()


def test_alignment_survives_arithmetic() -> None:
    word = Scalar.between(0, 1 << 20).apply(LSH, Scalar.constant(2)).apply(ADD, Scalar.constant(8))
    assert word.value & 3 == word.mask & 3 == 0
    assert word.apply(AND, Scalar.constant(3)) == Scalar.constant(0)
    trimmed, _ = word.restrict(Comparison.ULT, Scalar.constant(1001))
    assert trimmed.bounds() == (8, 1000)
    flags = Scalar.top().apply(OR, Scalar.constant(1))
    assert flags.bounds(64, signed=True) == (1 - MIN, MIN - 1)
    assert flags.restrict(Comparison.EQ, Scalar.constant(4))[0].is_bottom()


def test_byte_swaps_move_what_is_known() -> None:
    length = Scalar.between(0, 0x3F).apply(WordOp(OpKind.BSWAP, 16))
    assert length.bounds() == (0, 0x3F00)
    back = Scalar.top().apply(WordOp(OpKind.ZEXT, 16)).backward(WordOp(OpKind.BSWAP, 16), length)
    assert back[0].bounds() == (0, 0x3F)
    assert Scalar.constant(0x1234).apply(WordOp(OpKind.BSWAP, 64)) == Scalar.constant(0x3412000000000000)


def test_widening_stops_at_thresholds() -> None:
    counter = Scalar.between(0, 4).widen(Scalar.between(0, 5), (3, 64, 1500))
    assert counter.bounds() == (0, 64)
    assert counter.widen(Scalar.between(0, 65), (3, 64, 1500)).bounds() == (0, 1500)
    grown = counter.widen(Scalar.between(0, 65))
    assert grown.bounds() == (0, (1 << 31) - 1)
    assert grown.widen(Scalar.between(0, 1 << 31)).bounds() == (0, LAST32)
    assert grown.widen(Scalar.between(0, 1 << 32)).bounds() == (0, MIN - 1)
    assert grown.widen(Scalar.between(0, 1 << 32)).bounds(32) == (0, LAST32)
    assert grown.narrow(Scalar.between(0, 100)).bounds() == (0, 100)
    aligned = Scalar.constant(0).widen(Scalar.constant(0).join(Scalar.constant(4)), (1500,))
    assert (aligned.bounds(), aligned.mask) == ((0, 1500), 0x7FC)
    down = Scalar.constant(0).widen(signed(Scalar, -1, 0), (LAST - 15,))
    assert down.bounds(64, signed=True) == (-16, 0)


def test_text() -> None:
    assert str(Scalar.top()) == "top"
    assert str(Scalar.bottom()) == "bottom"
    assert str(Scalar.constant(LAST)) == str(LAST)
    assert str(Scalar.between(0, 255)) == "[0, 255]"
    assert str(signed(Scalar, -4, 7)) == "[-4, 7]"
    assert str(Scalar.between(0, 9).join(signed(Scalar, -5, -2))) == "[0, 9]|[-5, -2]"
    assert str(Scalar.top().apply(LSH, Scalar.constant(3))) == "(0x0; 0xfffffffffffffff8)"
    assert str(Scalar.between(0, 31).apply(LSH, Scalar.constant(3))) == "(0x0; 0xf8)"
    assert str(Scalar.between(0, 10).apply(LSH, Scalar.constant(3))) == "[0, 80] & (0x0; 0x78)"
    low, _ = Scalar.top().restrict(Comparison.ULT, Scalar.constant(10), 32)
    assert str(low).startswith("[0, ")
    assert "low [0, 9]" in str(low)
    assert repr(Tnum.of(5, 2)) == "Tnum.of(0x5, 0x2)"
    assert repr(Scalar.at(4, 2).constant(3)) == "Scalar.at(4, 2).of((3, 3, 3, 3), (3, 3, -1, -1), 0x3, 0x0)"


def test_products_need_one_size() -> None:
    with pytest.raises(ValueError, match="cannot combine words of 64 and 8 bits"):
        word_product(Interval, Tnum.at(8, 4))
    with pytest.raises(ValueError, match="no words of 4 bits with a low half of 4"):
        Interval.at(4, 4)
    assert Interval.at(64, 32) is Interval
    assert Scalar.at(4, 2) is Scalar.at(4, 2)


@pytest.mark.parametrize("value", [-1, 1 << 64, (1 << 64) + 5])
def test_constants_are_taken_modulo_the_width(value: int) -> None:
    for word in (Interval, Tnum, Scalar):
        assert word.constant(value) == word.constant(value % (1 << 64))
