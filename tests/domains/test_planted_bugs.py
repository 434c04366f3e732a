"""The checks notice mistakes: operators of the word domains are broken one by one, and each must be found.

These are mistakes that verifiers have made, or that a change of this code could make.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prevail_py.domains import arithmetic, bits, bounds, halves
from prevail_py.domains.bounds import Bounds
from prevail_py.domains.halves import Halves, Size
from prevail_py.domains.interval import Interval
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.tnum import Tnum
from prevail_py.research.exhaustive import UnsoundError, check, widening_steps
from prevail_py.words import OpKind, WordOp

Plant = Callable[[pytest.MonkeyPatch], None]

_at_most, _reduce, _apply, _restrict, _within = (
    halves.at_most, halves.reduce, halves.apply, halves.restrict, halves._within,
)  # fmt: skip
_sdiv = arithmetic._sdiv


def entry(table: dict[str, Any], kind: OpKind, broken: Any) -> Plant:
    return lambda patch: patch.setitem(table, kind.value, broken)


def function(owner: Any, name: str, broken: Any) -> Plant:
    return lambda patch: patch.setattr(owner, name, broken)


def clamped_sum(a: Bounds, b: Bounds, half: int) -> Bounds:
    last = half + half - 1
    return bounds.from_unsigned(min(a[0] + b[0], last), min(a[1] + b[1], last), half)


def loose_and(a: Bounds, b: Bounds, half: int) -> Bounds:
    return bounds.from_unsigned(min(a[0], b[0]), max(min(a[1], b[1]), min(a[0], b[0])), half)


def untruncated(size: Size, op: WordOp, full: Bounds, low: Bounds, full_: Bounds, low_: Bounds) -> Halves:
    wide = WordOp(op.kind, size.width) if op.kind in (OpKind.ADD, OpKind.MUL, OpKind.LSH) else op
    return _apply(size, wide, full, low, full_, low_)


def never_zero(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    return bounds.from_unsigned(alo // max(bhi, 1), ahi // max(blo, 1), half)


def saturating_quotient(alo: int, ahi: int, blo: int, bhi: int, half: int) -> Bounds:
    result = _sdiv(alo, ahi, blo, bhi, half)
    if alo == half and bhi == half + half - 1:  # MIN / -1
        return bounds.meet(result, bounds.from_unsigned(0, half - 1, half), half)
    return result


def straddling(size: Size, full: Bounds, low: Bounds) -> Halves:
    """Low bounds from the ends of the full ones, as if no multiple of the low size lay between them."""
    full, low = _reduce(size, full, low)
    if full[0] > full[1] or full[1] - full[0] == size.last:
        return full, low
    ends = sorted((full[0] & size.low_last, full[1] & size.low_last))
    return full, bounds.meet(low, bounds.from_unsigned(ends[0], ends[1], size.low_half), size.low_half)


BUGS: dict[str, tuple[Any, Plant]] = {
    "addition clamps instead of wrapping": (Interval, entry(halves._BINARY, OpKind.ADD, clamped_sum)),
    "AND keeps lower bounds": (Interval, entry(halves._BINARY, OpKind.AND, loose_and)),
    "ARSH shifts in zeros": (Interval, entry(halves._SHIFT, OpKind.ARSH, arithmetic.rsh)),
    "ALU32 does not truncate": (Interval, function(halves, "apply", untruncated)),
    "JMP32 narrows the whole word": (
        Interval,
        function(halves, "restrict", lambda size, c, width, a, b: _restrict(size, c, size.width, a, b)),
    ),
    "ALU32 backwards narrows the whole word": (
        Interval,
        function(halves, "_within", lambda size, full, low, width, a: _within(size, full, low, size.width, a)),
    ),
    "tnum addition forgets carries": (
        Tnum,
        entry(bits._BINARY, OpKind.ADD, lambda av, am, bv, bm, w: ((av + bv) & ~(am | bm) & ((1 << w) - 1), am | bm)),
    ),
    "tnum subtraction forgets borrows": (
        Tnum,
        entry(bits._BINARY, OpKind.SUB, lambda av, am, bv, bm, w: ((av - bv) & ~(am | bm) & ((1 << w) - 1), am | bm)),
    ),
    "tnum multiplication multiplies masks": (
        Tnum,
        entry(bits._BINARY, OpKind.MUL, lambda av, am, bv, bm, w: (av * bv & ~(am * bm) & ((1 << w) - 1), am * bm)),
    ),
    "tnum ARSH copies an unknown sign as zero": (
        Tnum,
        entry(bits._BINARY, OpKind.ARSH, lambda av, am, bv, bm, w: bits._rsh(av, am, bv, bm, w)),
    ),
    "sign extension loses the sign": (Interval, function(halves, "_sign_extend", lambda a, source, width: a)),
    "less-than is off by one": (
        Interval,
        function(halves, "at_most", lambda a, most, half: _at_most(a, most - 1, half)),
    ),
    "join is meet": (Interval, function(Interval, "join", Interval.meet)),
    "join forgets the bits of one side": (
        Scalar,
        function(
            Scalar,
            "join",
            lambda x, y: type(x)(bounds.join(x.full, y.full), bounds.join(x.low, y.low), x.value, x.mask),
        ),
    ),
    "widening forgets the new value": (Interval, function(bounds, "widen", lambda a, b, thresholds, half: a)),
    "narrowing takes the new value": (Interval, function(bounds, "narrow", lambda a, b, half: b)),
    "inclusion always holds": (Interval, function(Interval, "leq", lambda self, other: True)),
    "division forgets zero": (Interval, function(arithmetic, "_udiv", never_zero)),
    "MIN / -1 saturates": (Interval, function(arithmetic, "_sdiv", saturating_quotient)),
    "remainder takes the divisor's sign": (
        Interval,
        entry(halves._BINARY, OpKind.SMOD, lambda a, b, half: arithmetic.umod(a, b, half)),
    ),
    "!= removes what is not at an end": (
        Interval,
        function(bounds, "without", lambda a, value, half: bounds.meet(a, (0, max(a[1] - 1, 0), -half, half), half)),
    ),
    "shift amounts are not masked": (
        Interval,
        function(arithmetic, "shift_amounts", lambda b, half, width: (min(b[0], width - 1), min(b[1], width - 1))),
    ),
    "low bounds from full ones that straddle": (Interval, function(halves, "reduce", straddling)),
    "reduction trusts common bits too much": (
        Scalar,
        function(halves, "unknown_bits", lambda size, full, low: full[0] ^ full[1]),
    ),
    "reduction rounds up past members": (
        Scalar,
        function(bounds, "next_member", lambda x, value, mask, last: x if x & ~mask == value else (x | mask) + 1),
    ),
    "equality is tested on the low half only": (
        Tnum,
        function(bits, "meet_low", lambda value, mask, low, width: (low[0] | (value & 0), low[1])),
    ),
}


@pytest.mark.parametrize("domain", [Interval, Tnum, Scalar], ids=lambda d: d.__name__)
def test_nothing_is_found_without_a_bug(domain: Any) -> None:
    tallies = check(domain.at(4, 2))
    assert all(tally.total > 0 for tally in tallies.values())


@pytest.mark.parametrize("name", BUGS)
def test_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    domain, plant = BUGS[name]
    plant(monkeypatch)
    with pytest.raises(UnsoundError):
        check(domain.at(4, 2))


@pytest.mark.parametrize("domain", [Interval, Scalar], ids=lambda d: d.__name__)
def test_endless_widening_is_found(domain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_more(x: Any) -> Any:
        return domain.constant(x.bounds().hi + 1)

    assert widening_steps(domain.constant(0), one_more) <= 6
    monkeypatch.setattr(domain, "widen", lambda x, y, thresholds=(): x.join(y))
    with pytest.raises(UnsoundError):
        widening_steps(domain.constant(0), one_more)
