"""Octagons: the closure against a textbook's and against all solutions, and words against all that may wrap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from random import Random
from typing import Any

import pytest

from prevail_py.checker.certificate import read
from prevail_py.checker.check import check
from prevail_py.domains import integer_relations, octagon_closure, octagon_merging, octagons
from prevail_py.domains.integer_relations import MAX, MIN
from prevail_py.domains.lattice import Phi, Range, Term, constant
from prevail_py.domains.octagon_closure import Bound, Literal, Octagon
from prevail_py.domains.octagons import Octagons
from prevail_py.domains.statements import Difference, InRange, Statement, Subtraction, Sum
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import Program
from prevail_py.research.histories import PROPERTIES
from prevail_py.research.oracle import examine
from prevail_py.research.suite import pairs
from prevail_py.verifier import verify
from prevail_py.verifier.certificate import document
from prevail_py.verifier.state import State
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate, to_signed

MASK = (1 << 64) - 1
X, Y, Z = Term(1, 0), Term(2, 0), Term(3, 0)
LITERALS = (1, -1, 2, -2, 3, -3)
BOX = 3
POINTS = [
    {0: 0, 1: x, -1: -x, 2: y, -2: -y, 3: z, -3: -z} for x, y, z in product(range(-BOX, BOX + 1), repeat=3)
]  # fmt: skip
WHOLE: list[Bound] = [(a, 0, BOX) for a in LITERALS]
"""Every symbol in -3..3."""


def plus(term: Term, amount: int) -> Term:
    return Term(term.symbol, term.offset + amount & MASK)


# Closure ------------------------------------------------------------------------------------------------------------


def random_bounds(random: Random, most: int = 6) -> list[Bound]:
    return [
        (random.choice(LITERALS), random.choice((0, *LITERALS)), random.randint(-BOX, 2 * BOX))
        for _ in range(random.randrange(1, most))
    ]


def solutions(bounds: Iterable[Bound]) -> list[dict[Literal, int]]:
    bounds = list(bounds)
    return [point for point in POINTS if all(point[a] + point[b] <= c for a, b, c in bounds)]


def is_exact(octagon: Octagon, points: list[dict[Literal, int]]) -> bool:
    """Whether each bound of a sum is the greatest value that it has."""
    if not points or octagon.is_empty:
        return octagon.is_empty and not points
    return all(
        (octagon.upper(a, b) if b else octagon.high(a)) == max(point[a] + point[b] for point in points)
        for a in LITERALS
        for b in (0, *LITERALS)
    )


def every_bound_is_reached(seeds: Iterable[int]) -> bool:
    """Tightness, for all sums of two literals of three symbols, and emptiness, at each step."""
    for seed in seeds:
        random = Random(seed)
        octagon, known = Octagon({}, {}).learn(WHOLE), list(WHOLE)
        for bound in random_bounds(random):
            octagon = octagon.learn([bound])
            known.append(bound)
            if not is_exact(octagon, solutions(known)):
                return False
    return True


def test_every_bound_is_reached() -> None:
    assert every_bound_is_reached(range(200))


def textbook(bounds: Iterable[Bound]) -> dict[tuple[Literal, Literal], int] | None:
    """The tight closure as in the papers, with a full matrix: shortest paths, halves, strengthening.  None if empty."""
    m = {
        (a, b): 0 if a == -b else (MAX if a > 0 else -MIN) + (MAX if b > 0 else -MIN)
        for a in LITERALS
        for b in LITERALS
    }
    for a, b, c in bounds:
        for pair in ((a, b), (b, a)) if b else ((a, a),):
            m[pair] = min(m[pair], c if b else 2 * c)
    for k in LITERALS:
        for a in LITERALS:
            for b in LITERALS:
                m[a, b] = min(m[a, b], m[a, k] + m[-k, b])
    if any(m[a, -a] < 0 for a in LITERALS):
        return None
    for a in LITERALS:
        m[a, a] = m[a, a] // 2 * 2
    if any(m[a, a] + m[-a, -a] < 0 for a in LITERALS):
        return None
    return {(a, b): min(c, (m[a, a] + m[b, b]) // 2) for (a, b), c in m.items()}


def test_the_closure_is_that_of_the_textbook() -> None:
    """On bounds as large as words are, where not all solutions can be tried."""
    for seed in range(300):
        random = Random(seed)
        bounds = [
            (a, b, random.choice((c, c << 61, (c << 61) + 1, MAX + c)))
            for a, b, c in random_bounds(random, 10)
            if a != -b
        ]
        octagon, matrix = Octagon({}, {}).learn(bounds), textbook(bounds)
        assert octagon.is_empty == (matrix is None), seed
        if matrix is not None:
            assert all(octagon.upper(a, b) == matrix[a, b] for a, b in matrix if a != -b), seed


def test_bounds_come_in_any_order_and_from_raw_octagons() -> None:
    for seed in range(100):
        random = Random(seed)
        bounds = [*WHOLE, *random_bounds(random, 8)]
        once = Octagon({}, {}).learn(bounds)
        random.shuffle(bounds)
        again = Octagon({}, {}).learn(bounds)
        assert (again.is_empty, again.highs, again.sums) == (once.is_empty, once.highs, once.sums)
        raw = Octagon.raw(once.highs, once.sums).closed()
        assert once.is_empty or (raw.highs, raw.sums) == (once.highs, once.sums)


def test_forgetting_is_projection() -> None:
    for seed in range(100):
        bounds = [*WHOLE, *random_bounds(Random(seed), 8)]
        points = solutions(bounds)
        if not points:
            continue
        less = Octagon({}, {}).learn(bounds).without({2})
        assert less.symbols() <= {1, 3}
        for a, b in ((1, 3), (1, -3), (-1, 3), (-1, -3)):
            assert less.upper(a, b) == max(point[a] + point[b] for point in points)


def best_join(seeds: Iterable[int]) -> bool:
    """Whether a join bounds each sum by what is reached on one side, and is closed as it is."""
    phis = [Phi(symbol, Term(symbol, 0), Term(symbol, 0)) for symbol in (1, 2, 3)]
    for seed in seeds:
        random = Random(seed)
        one, other = ([*WHOLE, *random_bounds(random)] for _ in range(2))
        left, right = (Octagons(Octagon({}, {}).learn(bounds)) for bounds in (one, other))
        both = left.join(right, phis)._octagon
        if not is_exact(both, solutions(one) + solutions(other)):
            return False
        closed = Octagon.raw(both.highs, both.sums).closed()
        if not both.is_empty and (closed.highs, closed.sums) != (both.highs, both.sums):
            return False
    return True


def test_a_join_is_the_least_upper_bound() -> None:
    assert best_join(range(200))


def totals_are_compared() -> bool:
    """A state that lacks how a word was computed is not below one that has it, and names and order do not matter."""
    start = bounded(10, 10)
    known = start.define(3, WordOp(OpKind.ADD), (X, plus(Y, 1)))
    less = Octagons(known._octagon)
    moved = {1: Term(5, 0), 2: Term(4, 2), 3: Term(6, 0)}
    swapped = bounded(0, 0, 0, 8, 10).assume(Comparison.SLE, Term(4, 0), constant(8))
    swapped = swapped.define(6, WordOp(OpKind.ADD), (Term(4, 3), Term(5, 0)))
    wrong = swapped.forget([6]).define(6, WordOp(OpKind.ADD), (Term(4, 4), Term(5, 0)))
    return (
        known.leq(less, {})
        and not less.leq(known, {})
        and swapped.leq(known, moved)
        and not wrong.leq(known, moved)
        and start.leq(known, {3: constant(6), 1: constant(3), 2: constant(2)})
        and not start.leq(known, {3: constant(7), 1: constant(3), 2: constant(2)})
    )


def test_totals_are_compared() -> None:
    assert totals_are_compared()


def test_inclusion_is_exact() -> None:
    held = 0
    for seed in range(300):
        random = Random(seed)
        one, other = [*WHOLE, *random_bounds(random)], [*WHOLE, *random_bounds(random, 3)]
        left, right = (Octagons(Octagon({}, {}).learn(bounds)) for bounds in (one, other))
        below = left.leq(right, {})
        assert below == (len(solutions(one)) == len(solutions([*one, *other])))
        held += below
    assert 50 < held < 250


# Widening -----------------------------------------------------------------------------------------------------------


def changes_of_a_chain(most: int = 100) -> int:
    """How often a chain grows whose states lie on either side of ``x = y``, ever farther from ``z`` (Miné 2006).

    Only one of the two bounds is exceeded at a time, and follows again from the other one and from the third.
    """
    phis = [Phi(symbol, Term(symbol, 0), Term(symbol, 0)) for symbol in (1, 2, 3)]
    close: list[Bound] = [(1, -2, 1), (2, -1, 1)]
    known = Octagons(Octagon({}, {}).learn([*close, (1, -3, 1), (2, -3, 1)]))
    for turn in range(most):
        far, near = (1, 2) if turn % 2 else (2, 1)
        new = Octagons(Octagon({}, {}).learn([*close, (far, -3, turn + 2), (near, -3, turn + 1)]))
        if new.leq(known, {}):
            return turn
        known = known.widen(new, phis)
        assert new.leq(known, {})
    return most


def test_a_chain_ends_though_closing_would_restore_what_was_given_up() -> None:
    assert changes_of_a_chain() < 5


def test_what_widening_returns_is_read_closed() -> None:
    phis = [Phi(symbol, Term(symbol, 0), Term(symbol, 0)) for symbol in (1, 2)]
    start = Octagons.top().define_between(1, 0, 0).define_between(2, 10, 10)
    once = start.join(Octagons.top().define_between(1, 1, 1).define_between(2, 9, 9), phis)
    head = once.widen(Octagons.top().define_between(1, 2, 2).define_between(2, 8, 8), phis)
    assert head._octagon.high(1) == MAX, "given up"
    assert head.assume(Comparison.SGE, Y, constant(0)).range(X) == (0, 10), "x + y = 10"
    assert head.range(X, signed=True) == (0, MAX)


# Words --------------------------------------------------------------------------------------------------------------


EDGES = (MIN, MIN + 1, -2, -1, 0, 1, 2, MAX - 1, MAX)
OFFSETS = (0, 1, -1, MIN, MAX)


def states() -> Iterator[tuple[Octagons, list[dict[int, int]]]]:
    """Octagons of two symbols, with the pairs of words at the edges that they allow."""
    pairs = [{1: x & MASK, 2: y & MASK} for x, y in product(EDGES, repeat=2)]
    spans = [(MIN, MAX), (MIN, -1), (-1, 1), (0, MAX)]
    for (a, b), (c, d) in product(spans, repeat=2):
        known = Octagons.top().define_between(1, a, b).define_between(2, c, d)
        for related in (known, known.assume(Comparison.SLE, X, Y), known._learn([(1, 2, 0)])):
            yield related, [pair for pair in pairs if related.contains(pair)]


def word(term: Term, pair: dict[int, int]) -> int:
    return pair.get(term.symbol, 0) + term.offset & MASK


def operations_are_sound_at_the_edges() -> bool:
    """Sums, differences and negations of all terms: whoever takes wrapped ones for others loses words."""
    kinds = (OpKind.ADD, OpKind.SUB, OpKind.NEG, OpKind.XOR, OpKind.AND, OpKind.RSH)
    for known, allowed in states():
        for kind, width, p, q in product(kinds, (64, 32), OFFSETS, OFFSETS):
            op = WordOp(kind, width)
            for other in (plus(Y, q), constant(q)):
                args = (plus(X, p), other)[: kind.arity]
                result = known.define(3, op, args)
                for pair in allowed:
                    value = evaluate(INT, op, tuple(word(term, pair) for term in args))
                    if not result.contains({**pair, 3: value}):
                        return False
                if kind.arity == 1:
                    break
    return True


def comparisons_are_sound_at_the_edges() -> bool:
    for known, allowed in states():
        for p, q in product(OFFSETS, repeat=2):
            left, right = plus(X, p), plus(Y, q)
            for comparison in Comparison:
                result = known.assume(comparison, left, right)
                for pair in allowed:
                    if compare(INT, comparison, word(left, pair), word(right, pair), 64) and not result.contains(pair):
                        return False
            difference = known.difference(left, right)
            for pair in allowed:
                between = to_signed(word(left, pair), 64) - to_signed(word(right, pair), 64)
                if not difference.lo <= between <= difference.hi:
                    return False
    return True


def test_operations_at_the_edges() -> None:
    assert operations_are_sound_at_the_edges()


def test_comparisons_at_the_edges() -> None:
    assert comparisons_are_sound_at_the_edges()


# What must be known -------------------------------------------------------------------------------------------------


def bounded(*upper: int) -> Any:
    known: Any = Octagons.top()
    for symbol, bound in enumerate(upper, 1):
        known = known.define_between(symbol, 0, bound)
    return known


def test_a_rest_and_what_it_was_taken_from() -> None:
    """y = 100 - x, as in a buffer that is filled from both ends."""
    known = bounded(100).define(2, WordOp(OpKind.SUB), (constant(100), X))
    assert known.range(Y) == (0, 100)
    below = known.assume(Comparison.SLE, Y, constant(30))
    assert below.range(X) == (70, 100)
    assert known.assume(Comparison.SLE, X, Y).range(X) == (0, 50)
    assert known.assume(Comparison.SLT, X, Y).range(X) == (0, 49), "x < 100 - x: 2x < 100, and x is an integer"


def test_a_difference_and_its_subtrahend() -> None:
    known = bounded(1000, 1000).assume(Comparison.SLE, Y, X).define(3, WordOp(OpKind.SUB), (X, Y))
    assert known.range(Z) == (0, 1000)
    assert known.assume(Comparison.SLE, X, constant(10)).range(Z) == (0, 10)
    assert known.assume(Comparison.SGE, Z, constant(14)).difference(X, Y).lo == 14


def test_bounds_of_a_sum_bound_its_summands() -> None:
    known = bounded(1000, 1000).define(3, WordOp(OpKind.ADD), (X, plus(Y, 5)))
    assert known.range(Z) == (5, 2005)
    assert known.assume(Comparison.SLE, Z, constant(20)).range(X) == (0, 15)
    half = known.assume(Comparison.SLE, Z, constant(20)).assume(Comparison.SLE, X, Y)
    assert half.range(X) == (0, 7), "2x <= x + y <= 15"


def test_negation_and_inversion() -> None:
    known = Octagons.top().define_between(1, -5, 9)
    negated, inverted = (
        known.define(2, WordOp(OpKind.NEG), (X,)),
        known.define(2, WordOp(OpKind.XOR), (X, constant(-1))),
    )
    assert negated.range(Y, signed=True) == (-9, 5)
    assert inverted.range(Y, signed=True) == (-10, 4)
    assert negated.assume(Comparison.SGE, Y, constant(3)).range(X, signed=True) == (-5, -3)
    assert inverted.assume(Comparison.EQ, Y, constant(0)).range(X, signed=True) == (-1, -1)
    lowest = Octagons.top().define(2, WordOp(OpKind.NEG), (X,))
    assert lowest.contains({1: 1 << 63, 2: 1 << 63}), "the negation of the least word is itself"


def test_what_is_halved_between_two_bounds_is_an_integer() -> None:
    """x = y and x + y = 7 has no solution."""
    known = bounded(100, 100).assume(Comparison.EQ, X, Y).define(3, WordOp(OpKind.ADD), (X, Y))
    assert known.assume(Comparison.EQ, Z, constant(7)).is_bottom()
    assert known.assume(Comparison.EQ, Z, constant(8)).range(X) == (4, 4)


def test_counters_that_run_against_each_other() -> None:
    """Nothing compares them: the join finds that their sum is constant."""
    phis = [Phi(3, X, X), Phi(4, Y, Y)]
    joined = Octagons.top().define_between(1, 0, 0).define_between(2, 64, 64).join(
        Octagons.top().define_between(1, 1, 1).define_between(2, 63, 63), phis
    )  # fmt: skip
    assert joined.assume(Comparison.EQ, Term(4, 0), constant(63)).range(Term(3, 0)) == Range(1, 1)


def test_statements_say_all_of_it() -> None:
    known = bounded(100, 100).assume(Comparison.SLE, X, plus(Y, 3)).define(3, WordOp(OpKind.ADD), (X, Y))
    known = known.assume(Comparison.SLE, Z, constant(50)).assume(Comparison.SGE, Z, constant(4))
    said = list(known.statements())
    assert {Difference(1, 2, 3), Sum(1, 2, 50), Sum(1, 2, -4, True), Subtraction(1, 3, 2, 0)} <= set(said)
    assert InRange(3, 4, 50, 64, True) in said
    assert {"s1 + s2 in [4, 50]", "s1 - s2 <= 3"} <= set(State([], [], known, constant(0), constant(0)).relations())
    assert "s2 + s1 <= 50" in known.describe(1)
    assert "-s1 - s2 <= -4" in known.describe(2)


# Programs -----------------------------------------------------------------------------------------------------------


AGAINST = """
    r1 = 0
    r2 = 64
    r3 = r10
    r3 += -64
again:
    *(u8 *)(r3 + 0) = 7
    r3 += 1
    r1 += 1
    r2 += -1
    if r2 != 0 goto again
    r0 = r1
    exit
"""


def test_a_loop_that_counts_down_while_it_writes_upwards() -> None:
    """It takes a sum, and no equation: neither zones nor intervals prove it in one state."""
    program = Program("against", "xdp", "xdp", assemble_text(AGAINST))
    verdict = verify(program, "interval*octagons", 1, smt=False)
    assert verdict.is_safe
    assert not verify(program, "interval*zones", 1, smt=False).is_safe
    assert examine(program, verdict, 2).violations == []
    longer = Program("longer", "xdp", "xdp", assemble_text(AGAINST.replace("r2 = 64", "r2 = 65")))
    assert not verify(longer, "interval*octagons", 1, smt=False).is_safe


def certified(program: Program) -> str:
    """What the independent checker says of the certificate of a proof by octagons."""
    text = document([verify(program, "interval*octagons", 1, smt=False).certificate()])
    return str(check(program, read(text)[0]).kind)


def test_sums_are_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """The invariant of the loop is a sum; without it, or with one that is too low, there is no proof."""
    program = Program("against", "xdp", "xdp", assemble_text(AGAINST))
    assert certified(program) == "accepted"
    original = Octagons.statements

    def change(keep: Callable[[Sum], list[Sum]]) -> None:
        def statements(self: Octagons) -> Iterator[Statement]:
            for each in original(self):
                yield from keep(each) if isinstance(each, Sum) else [each]

        monkeypatch.setattr(Octagons, "statements", statements)

    change(lambda each: [])
    assert certified(program) == "refused"
    change(lambda each: [each._replace(most=each.most - 1)])
    assert certified(program) == "refused"


def test_invariants_hold_in_runs() -> None:
    """Every state of runs of the suite lies in the invariants, and none of its unsafe twins is proved."""
    proved = 0
    for name, pair in pairs().items():
        verdict = verify(pair.safe, "interval*octagons", 1, smt=False)
        if verdict.is_safe:
            proved += 1
            assert examine(pair.safe, verdict, 4).violations == [], name
        assert not verify(pair.twin, "interval*octagons", 1, smt=False).is_safe, name
    assert proved >= 56


# Planted mistakes ---------------------------------------------------------------------------------------------------


def histories(tries: int = 300) -> bool:
    """Whether the properties of all facts hold of octagons."""
    for seed in range(tries):
        for prop in PROPERTIES.values():
            try:
                prop(Random(seed), Octagons.top)
            except AssertionError:
                return False
    return True


def _wrong_sign(self: Any, a: Literal, b: Literal) -> int:
    """Strengthening with the bound of the opposite literal."""
    if a == -b:
        return 0
    implied: int = self.high(a) + self.high(-b)
    known: int = self.sums.get(a, {}).get(b, implied)
    return min(known, implied)


def _closing(old: Callable[..., Any]) -> Callable[..., Any]:
    def widened(*sides: Any) -> Any:
        return old(*sides).closed()

    return widened


def _related_only(old: Callable[..., Any]) -> Callable[..., Any]:
    """A join that asks for stored bounds only, as that of zones does."""

    def join(left: Any, right: Any) -> Any:
        both = old(left, right)
        kept = left.related() | right.related()
        sums: Any = {}
        for a, b, c in both.of_sums():
            if (a, b) in kept:
                sums.setdefault(a, {})[b] = c
                sums.setdefault(b, {})[a] = c
        return Octagon(both.highs, sums)

    return join


def _once(self: Any, a: Literal, c: int) -> bool:
    """Bounds of literals that are not passed on."""
    self.highs[a] = min(c, self.high(a))
    return bool(self.highs[a] + self.high(-a) >= 0)


def closure_is_exact() -> bool:
    try:
        return every_bound_is_reached(range(60))
    except (AssertionError, RecursionError):
        return False


def the_join_is_best() -> bool:
    return best_join(range(60))


def the_chain_ends() -> bool:
    return changes_of_a_chain() < 100


Plant = Callable[[pytest.MonkeyPatch], None]


def function(owner: Any, name: str, broken: Any) -> Plant:
    return lambda patch: patch.setattr(owner, name, broken)


BUGS: dict[str, tuple[Plant, Callable[[], bool]]] = {
    "halves have the wrong sign": (function(octagon_closure, "_half", lambda c: -c // 2), closure_is_exact),
    "halves are rounded up": (function(octagon_closure, "_half", lambda c: -(-c // 2)), closure_is_exact),
    "halves are not taken": (function(octagon_closure, "_half", lambda c: c), closure_is_exact),
    "strengthening has the wrong sign": (function(octagon_closure._Bounds, "upper", _wrong_sign), closure_is_exact),
    "bounds of literals are not passed on": (function(octagon_closure._Draft, "at_most", _once), closure_is_exact),
    "what widening returns is closed": (
        lambda patch: patch.setattr(octagons, "widened", _closing(octagon_merging.widened)),
        the_chain_ends,
    ),
    "joins compare what was compared only": (
        lambda patch: patch.setattr(octagons, "joined", _related_only(octagon_merging.joined)),
        the_join_is_best,
    ),
    "comparisons ignore wrapping": (
        function(integer_relations.IntegerRelations, "_linear", lambda self, term: (
            term.symbol, to_signed(term.offset, 64))),
        comparisons_are_sound_at_the_edges,
    ),
    "operations ignore wrapping": (function(octagons, "MAX", 1 << 70), operations_are_sound_at_the_edges),
    "operations ignore wrapping below": (function(octagons, "MIN", -1 << 70), operations_are_sound_at_the_edges),
    "inverting bits is negation": (
        function(octagons, "_total", lambda op, args, old=octagons._total: old(
            WordOp(OpKind.NEG) if op.kind is OpKind.XOR else op, args)),
        operations_are_sound_at_the_edges,
    ),
    "joins keep the left": (
        function(octagons, "joined", lambda left, right, old=octagon_merging.joined: old(left, left)),
        histories,
    ),
    "widening keeps the left": (
        function(octagons, "widened", lambda left, right, old=octagon_merging.widened: old(left, left)),
        histories,
    ),
    "inclusion ignores sums": (
        lambda patch: patch.setattr(Octagons, "leq", lambda self, other, match, old=Octagons.leq: old(
            self, Octagons(Octagon(other._octagon.highs, {}), other._totals), match)),
        histories,
    ),
    "inclusion ignores how sums were computed": (
        lambda patch: patch.setattr(Octagons, "leq", lambda self, other, match, old=Octagons.leq: old(
            self, Octagons(other._octagon), match)),
        totals_are_compared,
    ),
    "a total survives what it is a sum of": (
        lambda patch: patch.setattr(Octagons, "forget", lambda self, dead, old=Octagons.forget: Octagons(
            old(self, dead)._octagon, self._totals)),
        histories,
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, holds = BUGS[bug]
    plant(monkeypatch)
    assert not holds()


def test_nothing_is_found_without_a_bug() -> None:
    assert closure_is_exact()
    assert the_join_is_best()
    assert the_chain_ends()
    assert histories(60)
