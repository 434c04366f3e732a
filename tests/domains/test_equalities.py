"""Equations between symbols: found at joins, carried round loops, read with care for wrap-around."""

from __future__ import annotations

from random import Random

import pytest

from prevail_py.domains import equalities, facts
from prevail_py.domains.equalities import Equalities
from prevail_py.domains.lattice import Phi, Range, Term, constant
from prevail_py.words import Comparison

NAME = "interval*tnum*zones*equalities"
MASK = (1 << 64) - 1


def test_a_counter_up_and_one_down() -> None:
    """p from 0 by 1 and q from n by -1, for n in 1..64: at the head p + q = n."""
    start = facts(NAME)().define_between(1, 1, 64)
    head = start.join(start, [Phi(2, constant(0), constant(1)), Phi(3, Term(1, 0), Term(1, MASK))])
    for turn in range(4):
        p, q = Term(2 * turn + 2, 0), Term(2 * turn + 3, 0)
        assert head.range(p, signed=True).lo == 0
        inside = head.assume(Comparison.NE, q, constant(0)).assume(Comparison.SGE, q, constant(1))
        assert inside.range(p).hi <= 63
        back = [Phi(p.symbol + 2, p, Term(p.symbol, 1)), Phi(q.symbol + 2, q, Term(q.symbol, MASK))]
        head = head.widen(inside, back)


def test_what_may_wrap_has_no_bound() -> None:
    """x + y is constant, but nothing is known of y: x may be any word."""
    joined = Equalities.top().join(
        Equalities.top(), [Phi(2, Term(1, 0), Term(1, 1)), Phi(3, Term(4, 0), Term(4, MASK))]
    )
    assert joined.symbols() == {1, 2, 3, 4}
    assert joined.range(Term(2, 0)) == Range(0, MASK)
    assert joined.contains({1: 5, 2: 6, 3: 8, 4: 9})
    assert not joined.contains({1: 5, 2: 6, 3: 9, 4: 9})


def test_paces_with_a_common_divisor() -> None:
    """x by 4 and y by 2: y in 0..10 leaves x in 0..20, and no more."""
    joined = Equalities.top().join(
        Equalities.top(), [Phi(2, constant(0), constant(4)), Phi(3, constant(0), constant(2))]
    )
    head = joined.widen(joined, [Phi(4, Term(2, 0), Term(2, 4)), Phi(5, Term(3, 0), Term(3, 2))])
    bounded = head.refine(5, 0, 10).refine(4, 0, 1000)
    assert bounded.range(Term(4, 0)) == Range(0, 20)


def concrete(seed: int) -> bool:
    """Whether random loops of two counters stay within what is found at their head."""
    random = Random(seed)
    paces = random.choice([(1, -1), (2, 3), (4, -2), (1, 1), (8, 1)])
    starts = random.randrange(100), random.randrange(100)
    count = random.randrange(1, 9)
    known = facts(NAME)().define_between(1, starts[1], starts[1])
    moved = [Phi(2, constant(starts[0]), constant(starts[0] + paces[0])), Phi(3, Term(1, 0), Term(1, paces[1] & MASK))]
    head = known.join(known, moved)
    for turn in range(2):
        p, q = 2 * turn + 2, 2 * turn + 3
        back = [
            Phi(p + 2, Term(p, 0), Term(p, paces[0] & MASK)),
            Phi(q + 2, Term(q, 0), Term(q, paces[1] & MASK)),
        ]
        head = head.widen(head, back)
    p, q = 6, 7
    return all(
        head.contains({p: starts[0] + k * paces[0] & MASK, q: starts[1] + k * paces[1] & MASK, 1: starts[1]})
        for k in range(count)
    )


def test_loops_stay_within() -> None:
    assert all(concrete(seed) for seed in range(60))


def test_an_equation_that_is_not_checked_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Equalities._found

    def doubled(self: Equalities, phis: list[Phi]) -> list[equalities.Equation]:
        return [(parts, constant + 1) for parts, constant in real(self, phis)]

    monkeypatch.setattr(Equalities, "_found", doubled)
    monkeypatch.setattr(
        equalities, "_reduce", lambda equation, by: ((), 0) if by is not None and by != [] else equation
    )
    assert not all(concrete(seed) for seed in range(20))


def test_nothing_but_bottom_is_below_bottom() -> None:
    some, bottom = Equalities.top().refine(1, 0, 5), Equalities(bottom=True)
    assert bottom.leq(some, {})
    assert bottom.leq(bottom, {})
    assert not some.leq(bottom, {})
    assert not Equalities.top().leq(bottom, {})


def test_a_meet_knows_what_both_know() -> None:
    apart = [Phi(2, Term(1, 0), Term(1, 1)), Phi(3, Term(4, 0), Term(4, MASK))]
    left = Equalities.top().join(Equalities.top(), apart)  # 2 + 3 = 1 + 4
    right = Equalities.top().join(Equalities.top(), [Phi(6, Term(5, 0), Term(5, 1)), Phi(7, Term(8, 0), Term(8, MASK))])
    both = left.meet(right)
    fits = {1: 5, 2: 6, 3: 8, 4: 9, 5: 5, 6: 6, 7: 8, 8: 9}
    assert both.contains(fits)
    assert not both.contains(fits | {3: 9})
    assert not both.contains(fits | {7: 9})


def test_a_meet_of_ranges() -> None:
    known = Equalities.top().join(Equalities.top(), [Phi(2, Term(1, 0), Term(1, 1)), Phi(3, Term(4, 0), Term(4, MASK))])
    low = known.refine(2, 0, 5)
    assert low.meet(known.refine(2, 5, 9)).range(Term(2, 0)) == Range(5, 5)
    assert low.meet(known.refine(2, 6, 9)).is_bottom()
    bottom = Equalities(bottom=True)
    assert low.meet(bottom).is_bottom()
    assert bottom.meet(low).is_bottom()
