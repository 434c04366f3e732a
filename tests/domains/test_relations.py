"""What facts about several symbols know after each operation, exactly: losing some of it is a mistake, too.

Each claim is made of the composition of words and zones, of the record that the verifier has instead, and of octagons.
What random valuations find out (``test_facts.py``) is that nothing false is said; this is about what has to be said.
"""

from __future__ import annotations

import pytest

from prevail_py.domains import DEFAULT, facts
from prevail_py.domains.facts_product import FactsProduct
from prevail_py.domains.lattice import Facts, Phi, Range, Term, constant
from prevail_py.words import Comparison, OpKind, WordOp

ADD, SUB, AND = WordOp(OpKind.ADD), WordOp(OpKind.SUB), WordOp(OpKind.AND)
X, Y, Z, P, Q, R = (Term(symbol, 0) for symbol in (1, 2, 3, 11, 12, 13))
TOP = {name: facts(DEFAULT, fused=name == "fused") for name in ("product", "fused")}
TOP["octagons"] = facts("interval*tnum*octagons")  # which know whatever zones do
MIN, MAX = -(1 << 63), (1 << 63) - 1


@pytest.fixture(params=TOP)
def top(request: pytest.FixtureRequest) -> Facts:
    return TOP[request.param]()


def plus(term: Term, amount: int) -> Term:
    return Term(term.symbol, term.offset + amount & (1 << 64) - 1)


def known(top: Facts, *ranges: tuple[Term, int, int]) -> Facts:
    """Symbols with these signed ranges."""
    for term, lo, hi in ranges:
        top = top.define_between(term.symbol, lo, hi)
    return top


def small(top: Facts) -> Facts:
    """X, Y and Z are bytes."""
    return known(top, (X, 0, 255), (Y, 0, 255), (Z, 0, 255))


def same(*terms: Term) -> list[Phi]:
    return [Phi(term.symbol, term, term) for term in terms]


class TestAssume:
    @pytest.mark.parametrize(
        ("comparison", "difference"),
        [
            (Comparison.EQ, (0, 0)),
            (Comparison.ULE, (-255, 0)),
            (Comparison.ULT, (-255, -1)),
            (Comparison.UGE, (0, 255)),
            (Comparison.UGT, (1, 255)),
            (Comparison.SLE, (-255, 0)),
            (Comparison.SLT, (-255, -1)),
            (Comparison.SGE, (0, 255)),
            (Comparison.SGT, (1, 255)),
            (Comparison.NE, (-255, 255)),
        ],
    )
    def test_of_two_symbols(self, top: Facts, comparison: Comparison, difference: tuple[int, int]) -> None:
        assert small(top).assume(comparison, X, Y).difference(X, Y) == difference
        shifted = small(top).assume(comparison, plus(X, 10), plus(Y, 3))
        lo, hi = difference
        assert shifted.difference(X, Y) == (max(lo - 7, -255), min(hi - 7, 255) if hi < 255 else 255)

    def test_unsigned_order_is_signed_order_of_what_is_not_negative(self, top: Facts) -> None:
        either = known(top, (X, -5, 255), (Y, 0, 255))
        assert either.assume(Comparison.ULE, X, Y).difference(X, Y).hi >= 0
        assert either.assume(Comparison.SLE, X, Y).difference(X, Y) == (-260, 0)

    def test_what_may_wrap_says_nothing(self, top: Facts) -> None:
        wide = known(top, (Y, 0, 255))
        assert wide.assume(Comparison.SLE, plus(X, 8), Y).difference(X, Y).hi > 255
        assert wide.assume(Comparison.SLE, X, Y).difference(X, Y).hi == 0
        assert wide.assume(Comparison.SLE, X, Y, 32).difference(X, Y).hi > 255

    def test_not_equal_at_an_end(self, top: Facts) -> None:
        ordered = small(top).assume(Comparison.ULE, X, Y)
        assert ordered.assume(Comparison.NE, X, Y).difference(X, Y) == (-255, -1)
        assert ordered.assume(Comparison.NE, Y, X).difference(X, Y) == (-255, -1)
        assert ordered.assume(Comparison.UGE, X, Y).assume(Comparison.NE, X, Y).is_bottom()

    def test_contradictions(self, top: Facts) -> None:
        ordered = small(top).assume(Comparison.ULT, X, Y)
        assert ordered.assume(Comparison.UGE, X, Y).is_bottom()
        assert ordered.assume(Comparison.ULE, Y, Z).assume(Comparison.ULE, Z, X).is_bottom()
        assert not ordered.assume(Comparison.ULE, Y, Z).assume(Comparison.ULE, X, Z).is_bottom()
        assert ordered.assume(Comparison.EQ, X, X) is not None
        assert ordered.assume(Comparison.NE, X, X).is_bottom()
        assert ordered.assume(Comparison.ULT, X, constant(0)).is_bottom()

    def test_paths(self, top: Facts) -> None:
        chain = known(top, (X, 0, 1000), (Y, 0, 1000), (Z, 0, 1000))
        chain = chain.assume(Comparison.ULE, X, plus(Y, 3)).assume(Comparison.ULE, Y, plus(Z, 4))
        assert chain.difference(X, Z) == (-1000, 7)
        assert chain.difference(Z, X) == (-7, 1000)
        assert chain.difference(plus(X, 1), plus(Z, 10)) == (-1009, -2)

    def test_ranges_pass_along(self, top: Facts) -> None:
        chain = known(top, (X, 0, 1000), (Y, 0, 1000), (Z, 0, 1000))
        chain = chain.assume(Comparison.ULE, X, plus(Y, 3)).assume(Comparison.ULE, Y, plus(Z, 4))
        below = chain.assume(Comparison.ULE, Z, constant(10))
        assert (below.range(Y), below.range(X)) == ((0, 14), (0, 17))
        above = chain.assume(Comparison.UGE, X, constant(100))
        assert (above.range(Y), above.range(Z)) == ((97, 1000), (93, 1000))

    def test_refine(self, top: Facts) -> None:
        chain = small(top).assume(Comparison.ULE, X, plus(Y, 3))
        assert chain.refine(2, 0, 5).range(X) == (0, 8)
        assert chain.refine(1, 9, 20, signed=True).range(Y) == (6, 255)
        assert chain.refine(1, 300, 400).is_bottom()
        either = known(top, (X, -5, 5))
        assert either.refine(1, 0, 3).range(X, signed=True) == (0, 3)
        assert either.refine(1, (1 << 64) - 3, (1 << 64) - 1).range(X, signed=True) == (-3, -1)


class TestDefine:
    def test_sums(self, top: Facts) -> None:
        bytes_ = known(top, (X, 0, 255), (Y, 0, 255))
        total = bytes_.define(3, ADD, (X, Y))
        assert total.range(Z) == (0, 510)
        assert total.difference(Z, X) == (0, 255)
        assert total.difference(Z, Y) == (0, 255)
        assert total.assume(Comparison.ULE, Z, constant(20)).range(X) == (0, 20)
        more = bytes_.define(3, ADD, (plus(X, 5), plus(Y, 2)))
        assert (more.difference(Z, X), more.difference(Z, Y)) == ((7, 262), (7, 262))

    def test_differences(self, top: Facts) -> None:
        ordered = small(top).assume(Comparison.ULE, plus(Y, 4), X)
        less = ordered.define(3, SUB, (X, Y))
        assert less.range(Z, signed=True) == (4, 255)
        assert less.difference(X, Z) == (0, 251)
        assert less.assume(Comparison.ULE, Z, constant(9)).difference(X, Y) == (4, 9)
        assert less.assume(Comparison.UGE, Z, constant(100)).difference(X, Y) == (100, 255)
        shifted = ordered.define(3, SUB, (plus(X, 10), plus(Y, 1)))
        assert shifted.assume(Comparison.ULE, Z, constant(20)).difference(X, Y) == (4, 11)

    def test_what_may_wrap_is_not_related(self, top: Facts) -> None:
        wide = known(top, (Y, 0, 255)).define(3, ADD, (X, Y))
        assert wide.difference(Z, X).hi > 255
        assert wide.difference(Z, X).lo < 0

    @pytest.mark.parametrize("kind", [OpKind.AND, OpKind.UDIV, OpKind.UMOD, OpKind.RSH])
    @pytest.mark.parametrize("width", [64, 32])
    def test_what_does_not_exceed_its_argument(self, top: Facts, kind: OpKind, width: int) -> None:
        found = small(top).define(3, WordOp(kind, width), (plus(X, 2), Y))
        assert found.difference(Z, X).hi == 2
        assert found.range(Z).hi <= 257

    def test_truncation(self, top: Facts) -> None:
        found = known(top, (X, 0, 1 << 40)).define(3, WordOp(OpKind.ZEXT, 16), (X,))
        assert found.difference(Z, X).hi == 0
        assert found.range(Z) == (0, 0xFFFF)
        negative = known(top, (X, -9, 1 << 40)).define(3, WordOp(OpKind.ZEXT, 16), (X,))
        assert negative.difference(Z, X).hi > 0

    def test_definitions_are_kept(self, top: Facts) -> None:
        found = small(top).define(3, AND, (X, constant(7)))
        assert found.definition(3) == (AND, (X, constant(7)))
        assert found.definition(1) is None
        assert found.forget([3]).definition(3) is None


class TestForget:
    def test_neighbours_inherit(self, top: Facts) -> None:
        chain = known(top, (X, 0, 1000), (Y, 0, 1000), (Z, 0, 1000))
        chain = chain.assume(Comparison.ULE, X, plus(Y, 3)).assume(Comparison.ULE, Y, plus(Z, 4))
        left = chain.forget([2])
        assert left.difference(X, Z) == (-1000, 7)
        assert left.symbols() == {1, 3}

    def test_what_is_known_better_stays(self, top: Facts) -> None:
        chain = known(top, (X, 0, 1000), (Y, 0, 1000), (Z, 0, 1000)).assume(Comparison.ULE, X, plus(Z, 1))
        chain = chain.assume(Comparison.ULE, X, plus(Y, 3)).assume(Comparison.ULE, Y, plus(Z, 4))
        assert chain.forget([2]).difference(X, Z) == (-1000, 1)

    def test_a_tighter_path_replaces(self, top: Facts) -> None:
        chain = known(top, (X, 0, 1000), (Y, 0, 1000), (Z, 0, 1000)).assume(Comparison.ULE, X, plus(Z, 9))
        chain = chain.assume(Comparison.ULE, X, plus(Y, 3)).assume(Comparison.ULE, Y, plus(Z, 4))
        left = chain.forget([2])
        assert left.difference(X, Z) == (-1000, 7)
        assert left.forget([3]).range(X) == (0, 1000)

    def test_several_at_once(self, top: Facts) -> None:
        chain = known(top, (X, 0, 99), (Y, 0, 99), (Z, 0, 99), (P, 0, 99))
        chain = chain.assume(Comparison.ULE, X, plus(Y, 1)).assume(Comparison.ULE, Y, plus(Z, 2))
        chain = chain.assume(Comparison.ULE, Z, plus(P, 4))
        left = chain.forget([2, 3])
        assert left.difference(X, P) == (-99, 7)
        assert left.symbols() == {1, 11}

    @pytest.mark.parametrize("gone", [1, 2, 3])
    def test_differences_of_what_is_gone(self, top: Facts, gone: int) -> None:
        less = small(top).assume(Comparison.ULE, Y, X).define(3, SUB, (X, Y))
        left = less.forget([gone])
        assert gone not in left.symbols()
        rest = [Term(symbol, 0) for symbol in (1, 2, 3) if symbol != gone]
        assert left.leq(less, {gone: rest[0]}) is False or gone not in less.symbols()
        # What is not about the symbol stays.
        other = less.define_between(4, 0, 9).define(5, SUB, (X, Term(4, 0))) if gone != 1 else less
        assert {4, 5} <= other.forget([gone]).symbols() or gone == 1

    def test_nothing(self, top: Facts) -> None:
        ordered = small(top).assume(Comparison.ULT, X, Y)
        assert ordered.forget([]).difference(X, Y) == (-255, -1)
        assert ordered.forget([99]).difference(X, Y) == (-255, -1)


class TestJoin:
    def test_the_weaker_difference(self, top: Facts) -> None:
        one = small(top).assume(Comparison.ULE, X, plus(Y, 3))
        other = small(top).assume(Comparison.ULE, X, plus(Y, 5))
        assert one.join(other, same(X, Y)).difference(X, Y) == (-255, 5)
        assert other.join(one, same(X, Y)).difference(X, Y) == (-255, 5)
        assert one.join(small(top), same(X, Y)).difference(X, Y) == (-255, 255)

    def test_a_difference_that_only_ranges_give_on_one_side(self, top: Facts) -> None:
        related = known(top, (X, 0, 255), (Y, 0, 255)).assume(Comparison.ULE, plus(X, 10), Y)
        apart = known(top, (X, 0, 4), (Y, 200, 255))
        for joined in (related.join(apart, same(X, Y)), apart.join(related, same(X, Y))):
            assert joined.difference(X, Y) == (-255, -10)
        elsewhere = known(top, (Z, 0, 4), (R, 200, 255))
        renamed = related.join(elsewhere, [Phi(11, X, Z), Phi(12, Y, R)])
        assert renamed.difference(P, Q) == (-255, -10)
        renamed = elsewhere.join(related, [Phi(11, Z, X), Phi(12, R, Y)])
        assert renamed.difference(P, Q) == (-255, -10)

    def test_renamed(self, top: Facts) -> None:
        one = known(top, (X, 0, 255), (Y, 0, 255)).assume(Comparison.ULE, plus(X, 10), Y)
        other = known(top, (Z, 0, 255), (R, 0, 255)).assume(Comparison.ULE, plus(Z, 20), R)
        joined = one.join(other, [Phi(11, X, Z), Phi(12, Y, R)])
        assert joined.difference(P, Q) == (-255, -10)
        assert joined.symbols() == {11, 12}
        shifted = one.join(other, [Phi(11, plus(X, 5), Z), Phi(12, Y, plus(R, 1))])
        assert shifted.difference(P, Q) == (-256, -5)
        assert shifted.range(P) == (0, 250)

    def test_one_symbol_for_two(self, top: Facts) -> None:
        equal = small(top)
        apart = small(top).assume(Comparison.ULE, X, Y)
        joined = equal.join(apart, [Phi(11, Z, X), Phi(12, Z, Y)])
        assert joined.difference(P, Q) == (-255, 0)

    def test_ranges(self, top: Facts) -> None:
        one, other = known(top, (X, 3, 5)), known(top, (X, 10, 11))
        joined = one.join(other, [Phi(11, X, X), Phi(12, X, constant(4)), Phi(13, constant(7), constant(8))])
        assert (joined.range(P), joined.range(Q), joined.range(R)) == ((3, 11), (3, 5), (7, 8))

    def test_what_relations_know_of_a_range(self, top: Facts) -> None:
        # X has no bound of its own on the left, but a relation to something that has.
        related = known(top, (Y, 0, 50)).assume(Comparison.SLE, X, Y).assume(Comparison.SGE, X, constant(0))
        joined = related.join(known(top, (X, 0, 60), (Y, 0, 60)), same(X, Y))
        assert joined.range(X) == (0, 60)

    def test_bottom(self, top: Facts) -> None:
        ordered = small(top).assume(Comparison.ULT, X, Y)
        bottom = ordered.assume(Comparison.EQ, X, Y)
        assert bottom.is_bottom()
        phis = [Phi(11, X, Y), Phi(12, Y, X)]
        right, left = bottom.join(ordered, phis), ordered.join(bottom, phis)
        assert right.difference(P, Q) == (1, 255)
        assert left.difference(P, Q) == (-255, -1)
        assert bottom.widen(ordered, phis).difference(P, Q) == (1, 255)
        assert ordered.widen(bottom, phis).difference(P, Q) == (-255, -1)
        assert bottom.join(bottom, phis).is_bottom()

    def test_definitions(self, top: Facts) -> None:
        one = small(top).define(11, AND, (X, constant(7))).define(12, AND, (Y, constant(3)))
        other = small(top).define(11, AND, (X, constant(7))).define(12, AND, (Y, constant(1)))
        joined = one.join(other, same(X, Y, P, Q))
        assert joined.definition(11) == (AND, (X, constant(7)))
        assert joined.definition(12) is None
        # An operand that is another value in the result, or the symbol itself, or that is not in it.
        assert one.join(other, [*same(P), Phi(1, X, Y)]).definition(11) is None
        assert one.join(other, [*same(X), Phi(11, P, Q)]).definition(11) is None
        assert one.join(other, same(P)).definition(11) is None
        assert one.join(small(top), same(X, P)).definition(11) is None
        assert small(top).join(one, same(X, P)).definition(11) is None
        assert one.widen(other, same(X, Y, P, Q)).definition(11) == (AND, (X, constant(7)))


class TestWiden:
    def test_stable_differences_stay(self, top: Facts) -> None:
        one = small(top).assume(Comparison.ULE, X, plus(Y, 3))
        other = small(top).assume(Comparison.ULE, X, plus(Y, 2))
        assert one.widen(other, same(X, Y)).difference(X, Y) == (-255, 3)

    def test_renamed(self, top: Facts) -> None:
        one = known(top, (X, 0, 255), (Y, 0, 255)).assume(Comparison.ULE, plus(X, 10), Y)
        other = known(top, (Z, 0, 255), (R, 0, 255)).assume(Comparison.ULE, plus(Z, 20), R)
        wide = one.widen(other, [Phi(11, X, Z), Phi(12, Y, R)])
        assert wide.difference(P, Q) == (-255, -10)
        assert other.widen(one, [Phi(11, Z, X), Phi(12, R, Y)]).difference(P, Q).hi > -10
        assert wide.symbols() == {11, 12}

    def test_growing_differences_go(self, top: Facts) -> None:
        one = small(top).assume(Comparison.ULE, X, plus(Y, 3))
        other = small(top).assume(Comparison.ULE, X, plus(Y, 4))
        assert one.widen(other, same(X, Y)).difference(X, Y) == (-255, 255)
        assert one.widen(small(top), same(X, Y)).difference(X, Y) == (-255, 255)

    def test_differences_do_not_come_back(self, top: Facts) -> None:
        apart = known(top, (X, 0, 4), (Y, 200, 255))
        related = known(top, (X, 0, 4), (Y, 100, 255)).assume(Comparison.ULE, plus(X, 10), Y)
        assert apart.widen(related, same(X, Y)).difference(X, Y).hi > -10

    def test_bounds(self, top: Facts) -> None:
        one, other = known(top, (X, 3, 5), (Y, 3, 5)), known(top, (X, 3, 6), (Y, 2, 5))
        wide = one.widen(other, same(X, Y), (0, 10, 1000))
        assert (wide.range(X), wide.range(Y)) == ((3, 10), (0, 5))
        assert one.widen(one, same(X)).range(X) == (3, 5)

    def test_chains_end(self, top: Facts) -> None:
        """Widening against states whose difference grows, and one whose range does, becomes stationary."""
        state = small(top).assume(Comparison.ULE, X, plus(Y, 1))
        changes = 0
        for turn in range(2, 60):
            new = small(top).assume(Comparison.ULE, X, plus(Y, turn))
            wide = state.widen(new, same(X, Y))
            changes += not wide.leq(state, {})
            assert state.leq(wide, {})
            assert new.leq(wide, {})
            state = wide
        assert changes <= 3

    @pytest.mark.parametrize("name", TOP)
    def test_differences_keep_their_bounds_or_go(self, name: str) -> None:
        top = TOP[name]()
        one = small(top).assume(Comparison.ULE, X, plus(Y, 3)).assume(Comparison.ULE, Y, plus(Z, 3))
        other = small(top).assume(Comparison.ULE, X, plus(Y, 9)).assume(Comparison.ULE, Y, plus(Z, 1))
        wide = one.widen(other, same(X, Y, Z))
        assert wide.difference(X, Y).hi == 255
        assert wide.difference(Y, Z).hi == 3


class TestLeq:
    def test_differences(self, top: Facts) -> None:
        tight = small(top).assume(Comparison.ULE, X, plus(Y, 3))
        loose = small(top).assume(Comparison.ULE, X, plus(Y, 4))
        assert tight.leq(loose, {})
        assert not loose.leq(tight, {})
        assert tight.leq(tight, {})
        assert loose.leq(small(top), {})

    def test_by_ranges_alone(self, top: Facts) -> None:
        apart = known(top, (X, 0, 4), (Y, 200, 255))
        related = known(top, (X, 0, 255), (Y, 0, 255)).assume(Comparison.ULE, plus(X, 10), Y)
        assert apart.leq(related, {})
        assert not known(top, (X, 0, 4), (Y, 13, 255)).leq(related, {})
        assert known(top, (X, 0, 4), (Y, 14, 255)).leq(related, {})

    def test_ranges(self, top: Facts) -> None:
        assert known(top, (X, 3, 5)).leq(known(top, (X, 3, 6)), {})
        assert not known(top, (X, 3, 6)).leq(known(top, (X, 3, 5)), {})
        assert not known(top, (X, 2, 5)).leq(known(top, (X, 3, 5)), {})

    def test_match(self, top: Facts) -> None:
        tight = known(top, (P, 0, 100), (Q, 0, 100)).assume(Comparison.ULE, P, plus(Q, 3))
        loose = known(top, (X, 0, 110), (Y, 0, 100)).assume(Comparison.ULE, X, plus(Y, 8))
        assert tight.leq(loose, {1: P, 2: Q})
        assert tight.leq(loose, {1: plus(P, 5), 2: Q})
        assert not tight.leq(loose, {1: plus(P, 6), 2: Q})
        assert not tight.leq(loose, {1: Q, 2: P})
        assert not tight.leq(loose, {})
        assert known(top, (Q, 2, 100)).leq(loose, {1: constant(10), 2: Q})
        assert not known(top, (Q, 1, 100)).leq(loose, {1: constant(10), 2: Q})

    def test_bottom(self, top: Facts) -> None:
        bottom = small(top).assume(Comparison.NE, X, X)
        assert bottom.leq(small(top), {})
        assert bottom.leq(bottom, {})
        assert not small(top).leq(bottom, {})

    def test_definitions(self, top: Facts) -> None:
        one = small(top).define(11, AND, (X, constant(7)))
        assert one.leq(one, {})
        plain = known(small(top), (P, 0, 7))
        assert not plain.leq(one, {})
        assert one.leq(plain, {})
        assert not small(top).define(11, AND, (Y, constant(7))).leq(one, {})
        assert small(top).define(11, AND, (Y, constant(7))).leq(one, {1: Y})
        assert small(top).leq(one, {1: constant(13), 11: constant(5)})
        assert not small(top).leq(one, {1: constant(13), 11: constant(4)})

    @pytest.mark.parametrize(
        ("shift", "expected"),
        [
            ((0, 0, 0), True),
            ((5, 5, 0), True),
            ((5, 0, -5), True),
            ((0, 4, 4), True),
            ((1, 0, 0), False),
            ((0, 1, 0), False),
        ],
    )
    def test_subtractions(self, top: Facts, shift: tuple[int, int, int], expected: bool) -> None:
        """``z = x - y`` of the wide state is known in the tight one, of terms that are shifted against its symbols."""
        plain = known(top, (X, 0, 500), (Y, 0, 100)).assume(Comparison.ULE, Y, X)
        wide = plain.define(3, SUB, (X, Y))
        p, q, r = (plus(term, amount) for term, amount in zip((P, Q, R), shift, strict=True))
        tight = known(top, (P, 200, 400), (Q, 10, 90)).define(
            13, SUB, (plus(P, shift[0] - shift[2]), plus(Q, shift[1]))
        )
        if not expected:
            tight = known(top, (P, 200, 400), (Q, 10, 90)).define(13, SUB, (P, Q))
        assert _differences_only(tight).leq(_differences_only(wide), {1: p, 2: q, 3: r}) is expected

    def test_subtractions_of_constants(self, top: Facts) -> None:
        wide = known(top, (X, 0, 500), (Y, 0, 100)).assume(Comparison.ULE, Y, X).define(3, SUB, (X, Y))
        match = {1: constant(50), 2: constant(20)}
        assert _differences_only(top).leq(_differences_only(wide), {**match, 3: constant(30)})
        assert not _differences_only(top).leq(_differences_only(wide), {**match, 3: constant(31)})
        assert not _differences_only(known(top, (P, 0, 30))).leq(_differences_only(wide), {**match, 3: P})


def _differences_only(state: Facts) -> Facts:
    """Without what words remember of how symbols were computed, which says the same in another way."""
    if isinstance(state, FactsProduct):
        return state.members[1]
    state._definitions = {}  # type: ignore[attr-defined]
    return state


@pytest.mark.parametrize("name", ["interval", "interval*tnum"])
def test_words_alone(name: str) -> None:
    top = facts(name)()
    bottom = known(top, (X, 3, 5)).assume(Comparison.UGT, X, constant(5))
    assert bottom.is_bottom()
    assert bottom.leq(top, {})
    assert not known(top, (X, 3, 5)).leq(bottom, {})
    for joined in (bottom.join(known(top, (X, 3, 5)), [Phi(11, X, X)]), known(top, (X, 3, 5)).join(bottom, same(X))):
        assert joined.range(P if 11 in joined.symbols() else X) == (3, 5)


class TestEqualities:
    """Equations between symbols, beside the words."""

    TOP = staticmethod(facts(f"{DEFAULT}*equalities"))

    PHIS = (Phi(11, constant(0), constant(16)), Phi(12, constant(32), constant(16)), Phi(13, constant(5), constant(21)))

    def test_what_is_constant_though_everything_moves(self) -> None:
        found = self.TOP().join(self.TOP(), self.PHIS)
        assert [found.range(term) for term in (P, Q, R)] == [(0, 16), (16, 32), (5, 21)]
        second = found.assume(Comparison.EQ, P, constant(16))
        assert [second.range(term) for term in (P, Q, R)] == [(16, 16), (16, 16), (21, 21)]

    @pytest.mark.parametrize(("gone", "asked", "value", "other", "expected"), [
        (12, P, 16, R, 21), (13, P, 16, Q, 16), (12, R, 5, P, 0), (13, Q, 32, P, 0),
    ])  # fmt: skip
    def test_forget_leaves_the_others(self, gone: int, asked: Term, value: int, other: Term, expected: int) -> None:
        found = self.TOP().join(self.TOP(), self.PHIS).forget([gone])
        assert found.assume(Comparison.EQ, asked, constant(value)).range(other) == (expected, expected)
        assert gone not in found.symbols()

    def test_joins_keep_what_holds_on_both_sides(self) -> None:
        one = self.TOP().join(self.TOP(), self.PHIS)
        again = one.join(one, same(P, Q, R)).assume(Comparison.EQ, P, constant(16))
        assert (again.range(Q), again.range(R)) == ((16, 16), (21, 21))
        other = self.TOP().join(self.TOP(), [*self.PHIS[:2], Phi(13, constant(21), constant(5))])
        mixed = one.join(other, same(P, Q, R)).assume(Comparison.EQ, P, constant(16))
        assert (mixed.range(Q), mixed.range(R)) == ((16, 16), (5, 21))
        # Equations of either side, with other names.
        names = [Term(symbol, 0) for symbol in (21, 22, 23)]
        values = [constant(value) for value in (0, 32, 5)]
        left = self.TOP().join(one, [Phi(n.symbol, a, b) for n, a, b in zip(names, values, (P, Q, R), strict=True)])
        right = one.join(self.TOP(), [Phi(n.symbol, b, a) for n, a, b in zip(names, values, (P, Q, R), strict=True)])
        for found in (left, right):
            second = found.assume(Comparison.EQ, names[0], constant(16))
            assert [second.range(name) for name in names] == [(16, 16), (16, 16), (21, 21)]
        assert one.leq(one.join(other, same(P, Q, R)), {})
        assert not one.join(other, same(P, Q, R)).leq(one, {})

    @pytest.mark.parametrize("from_constants", [True, False])
    def test_negative_numbers(self, from_constants: bool) -> None:
        phis = [Phi(11, constant(0), constant(-16)), Phi(12, constant(32), constant(48))]
        found = self.TOP().join(self.TOP(), phis)
        if not from_constants:
            found = found.join(found, same(P, Q))
        assert found.range(P, signed=True) == (-16, 0)
        assert found.range(Q, signed=True) == (32, 48)
        # The equations alone know as much, whatever the others forget.
        alone = found.members[-1]  # type: ignore[attr-defined]
        assert (alone.range(P, signed=True), alone.range(Q, signed=True)) == ((-16, 0), (32, 48))
        assert not found.refine(11, -16, -8, signed=True).is_bottom()
        assert found.refine(11, -16, -16, signed=True).range(Q) == (48, 48)


def test_ranges_of_terms(top: Facts) -> None:
    state = known(top, (X, 5, 10))
    assert state.range(plus(X, 3)) == Range(8, 13)
    assert state.range(plus(X, -6)).hi == (1 << 64) - 1
    assert state.range(plus(X, -6), signed=True) == Range(-1, 4)
    assert state.range(plus(X, -5)) == Range(0, 5)
    assert state.range(plus(X, (1 << 31) - 8), 32, signed=True) == Range(-(1 << 31), (1 << 31) - 1)
    assert state.range(constant(-1), 32) == Range(0xFFFFFFFF, 0xFFFFFFFF)
    assert state.range(constant(-1), 32, signed=True) == Range(-1, -1)
    assert state.range(Y, signed=True) == Range(MIN, MAX)


def test_the_widest_definitions(top: Facts) -> None:
    assert top.define_between(1, MIN, MAX).range(X, signed=True) == Range(MIN, MAX)
    assert top.define_between(1, 0, MAX + 9).range(X, signed=True) == Range(MIN, MAX)
    assert top.define_between(1, MIN, -1).range(X, signed=True) == Range(MIN, -1)
