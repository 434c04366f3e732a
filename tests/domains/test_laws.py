"""A list of word domains times a list of laws, at 64 bits on random elements and at 4 bits on many.

To put a domain under all laws, add a line to ``DOMAINS``.  A law is a function of a domain and three of its elements
that asserts something of the :class:`~prevail_py.domains.lattice.Word` protocol and of nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prevail_py.domains.congruence import Congruence
from prevail_py.domains.interval import Interval
from prevail_py.domains.product import exchange_ranges, reduce_bits, word_product
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.tnum import Tnum
from prevail_py.research.exhaustive import Checker, operations, widening_steps
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate

PRODUCT = word_product(Interval, Tnum, reduce_bits)
DOMAINS: dict[str, Any] = {
    "interval": Interval,
    "tnum": Tnum,
    "congruence": Congruence,
    "scalar": Scalar,
    "product": PRODUCT,
    "unaware": word_product(Interval, Tnum, exchange_ranges),
}
# Where every pair of elements has a best meet, and inclusion of words is all there is to the order.
EXACT = ("interval", "tnum", "congruence")

LAST = (1 << 64) - 1
EDGES = [0, 1, 2, 7, 8, 127, 128, 255, 1500, 0x7FFF, 0x8000, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
         (1 << 32) + 1, (1 << 63) - 1, 1 << 63, (1 << 63) + (1 << 31),
         LAST - (1 << 31), LAST - 127, LAST - 1, LAST]  # fmt: skip
OPERATIONS = [
    *operations(64, 32)[:26],  # the binary ones
    *(WordOp(OpKind.NEG, w) for w in (32, 64)),
    *(WordOp(OpKind.ZEXT, w) for w in (8, 16, 32, 64)),
    *(WordOp(OpKind.SEXT, w, s) for w in (32, 64) for s in (8, 16, 32) if s < w),
    *(WordOp(OpKind.BSWAP, w) for w in (16, 32, 64)),
]


# Elements -----------------------------------------------------------------------------------------------------------


def words() -> st.SearchStrategy[int]:
    near = st.builds(lambda edge, d: (edge + d) & LAST, st.sampled_from(EDGES), st.integers(-3, 3))
    shifted = st.builds(lambda value, s: value << s & LAST, st.integers(0, 255), st.integers(0, 63))
    return st.one_of(near, shifted, st.integers(0, LAST))


def spread(draw: st.DrawFn) -> int:
    return draw(st.sampled_from((0, 0, 1, 5, 127, 1 << 16, 1 << 31, 1 << 40, LAST))) if draw(st.booleans()) else 0


@st.composite
def members(draw: st.DrawFn, domain: Any) -> tuple[Any, int]:
    """An element of a domain at 64 bits, and a word in it: ranges, rotated, masked, sign-extended, joined, met."""
    word = draw(words())
    lo, hi = max(word - spread(draw), 0), min(word + spread(draw), LAST)
    x = domain.between(lo, hi)
    match draw(st.integers(0, 6)):
        case 0:
            x = domain.constant(word)
        case 1:
            shift = draw(words())
            x, word = x.apply(WordOp(OpKind.ADD), domain.constant(shift)), (word + shift) & LAST
        case 2:
            keep = draw(words())
            x, word = x.apply(WordOp(OpKind.AND), domain.constant(keep)), word & keep
        case 3:
            op = draw(st.sampled_from((WordOp(OpKind.SEXT, 64, 32), WordOp(OpKind.ZEXT, 32), WordOp(OpKind.NEG))))
            x, word = x.apply(op), evaluate(INT, op, (word,))
        case 4:
            x = x.join(domain.constant(draw(words())))
        case 5:
            narrower = domain.between(0, draw(words()))
            x = x.meet(narrower.join(domain.constant(word)))
        case _:
            pass
    return x, word


LIGHT = settings(deadline=None, max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))


# Laws ---------------------------------------------------------------------------------------------------------------

Law = Callable[[Any, Any, Any, Any], None]


def bottom_is_least(d: Any, x: Any, y: Any, z: Any) -> None:
    assert d.bottom().is_bottom()
    assert d.bottom().leq(x)
    assert x.leq(d.bottom()) == x.is_bottom()
    assert x.join(d.bottom()) == x == d.bottom().join(x)
    assert x.meet(d.bottom()).is_bottom()


def top_is_greatest(d: Any, x: Any, y: Any, z: Any) -> None:
    assert d.top().is_top()
    assert x.leq(d.top())
    assert d.top().leq(x) == x.is_top()
    assert x.meet(d.top()) == x == d.top().meet(x)
    assert x.join(d.top()).is_top()


def leq_is_an_order(d: Any, x: Any, y: Any, z: Any) -> None:
    assert x.leq(x)
    assert not (x.leq(y) and y.leq(x)) or x == y
    for a, b, c in ((x, y, z), (x, x.join(y), x.join(y).join(z)), (x.meet(y).meet(z), x.meet(y), x)):
        assert not (a.leq(b) and b.leq(c)) or a.leq(c)


def join_is_least_upper_bound(d: Any, x: Any, y: Any, z: Any) -> None:
    both = x.join(y)
    assert x.leq(both)
    assert y.leq(both)
    above = both.join(z)
    assert both.leq(above)
    if x.leq(z) and y.leq(z):
        assert both.leq(z)


def join_is_a_semilattice(d: Any, x: Any, y: Any, z: Any) -> None:
    assert x.join(x) == x
    assert x.join(y) == y.join(x)
    assert x.join(y).join(z) == x.join(y.join(z))
    assert x.leq(y) == (x.join(y) == y)


def join_is_monotone(d: Any, x: Any, y: Any, z: Any) -> None:
    assert x.join(z).leq(x.join(y).join(z))


def meet_is_lower_bound(d: Any, x: Any, y: Any, z: Any) -> None:
    both = x.meet(y)
    assert both.leq(x)
    assert both.leq(y)
    assert x.meet(x) == x
    assert both == y.meet(x)
    if z.leq(x) and z.leq(y):
        assert z.leq(both)


def absorption(d: Any, x: Any, y: Any, z: Any) -> None:
    assert x.join(x.meet(y)) == x
    assert x.meet(x.join(y)) == x


def widening_is_upper_bound(d: Any, x: Any, y: Any, z: Any) -> None:
    for thresholds in ((), (8, 127, 1 << 32)):
        wide = x.widen(x.join(y), thresholds)
        assert x.leq(wide)
        assert y.leq(wide)
        assert x.widen(x, thresholds) == x


def narrowing_lies_between(d: Any, x: Any, y: Any, z: Any) -> None:
    smaller = x.meet(y)
    narrowed = x.narrow(smaller)
    assert smaller.leq(narrowed)
    assert narrowed.leq(x)


def equal_elements_agree(d: Any, x: Any, y: Any, z: Any) -> None:
    again = x.meet(d.top()).join(d.bottom())
    assert again == x
    assert hash(again) == hash(x)
    assert (x == y) == (repr(x) == repr(y))
    assert x != 0


def text_evaluates_back(d: Any, x: Any, y: Any, z: Any) -> None:
    names = {domain.__name__: domain for domain in DOMAINS.values()}
    assert eval(repr(x), {**names, "Interval": Interval, "Tnum": Tnum, type(x).__name__: type(x)}) == x
    assert str(x)


def operators_are_strict(d: Any, x: Any, y: Any, z: Any) -> None:
    nothing = d.bottom()
    for op in _operations(d):
        if op.kind.arity == 1:
            assert nothing.apply(op).is_bottom()
            assert x.backward(op, nothing)[0].is_bottom()
        else:
            assert nothing.apply(op, x).is_bottom()
            assert x.apply(op, nothing).is_bottom()
            assert all(part.is_bottom() for part in x.backward(op, nothing, y))
            assert all(part.is_bottom() for part in x.backward(op, y, nothing))
    for comparison in Comparison:
        assert all(part.is_bottom() for part in nothing.restrict(comparison, x, d.WIDTH))
        assert all(part.is_bottom() for part in x.restrict(comparison, nothing, d.LOW))


def restriction_only_narrows(d: Any, x: Any, y: Any, z: Any) -> None:
    for comparison in Comparison:
        for width in (d.WIDTH, d.LOW):
            a, b = x.restrict(comparison, y, width)
            assert a.leq(x)
            assert b.leq(y)
            assert a.is_bottom() == b.is_bottom()
    for op in _operations(d):
        before = (x,) if op.kind.arity == 1 else (x, y)
        after = x.backward(op, z, *before[1:])
        assert len(after) == len(before)
        assert all(new.leq(old) for new, old in zip(after, before, strict=True))
        assert len({new.is_bottom() for new in after}) == 1


def bounds_are_in_range(d: Any, x: Any, y: Any, z: Any) -> None:
    for width in (d.WIDTH, d.LOW):
        lo, hi = x.bounds(width)
        slo, shi = x.bounds(width, signed=True)
        assert (lo > hi) == (slo > shi) == x.is_bottom()
        if not x.is_bottom():
            assert 0 <= lo <= hi < 1 << width
            assert -(1 << (width - 1)) <= slo <= shi < 1 << (width - 1)


def _operations(d: Any) -> list[WordOp]:
    return OPERATIONS if d.WIDTH == 64 else operations(d.WIDTH, d.LOW)


LAWS: list[Law] = [
    bottom_is_least, top_is_greatest, leq_is_an_order, join_is_least_upper_bound, join_is_a_semilattice,
    join_is_monotone, meet_is_lower_bound, absorption, widening_is_upper_bound, narrowing_lies_between,
    equal_elements_agree, text_evaluates_back, operators_are_strict, restriction_only_narrows, bounds_are_in_range,
]  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", DOMAINS)
def test_law_at_64_bits(name: str, law: Law) -> None:
    domain = DOMAINS[name]

    @LIGHT
    @given(members(domain), members(domain), members(domain))
    def check(x: tuple[Any, int], y: tuple[Any, int], z: tuple[Any, int]) -> None:
        law(domain, x[0], y[0], z[0])

    check()


@cache
def small(name: str) -> tuple[list[Any], list[Any]]:
    """The elements at 4 bits, and those of them that are arcs."""
    checker = Checker(DOMAINS[name].at(4, 2))
    return checker.elements(), checker.arcs()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", DOMAINS)
def test_law_at_4_bits(name: str, law: Law) -> None:
    elements, arcs = small(name)
    draw = random.Random(law.__name__)
    for _ in range(40 if law in (operators_are_strict, restriction_only_narrows) else 400):
        law(DOMAINS[name].at(4, 2), draw.choice(elements), draw.choice(arcs), draw.choice(elements))


# Concretization -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
def test_every_operation_keeps_its_results(name: str) -> None:
    """The 64-bit counterpart of the exhaustive test: forwards, backwards and comparisons, on random members."""
    domain = DOMAINS[name]

    @settings(LIGHT, max_examples=120)
    @given(members(domain), members(domain), members(domain))
    def check(first: tuple[Any, int], second: tuple[Any, int], third: tuple[Any, int]) -> None:
        (x, a), (y, b), (z, _) = first, second, third
        assert x.contains(a)
        for op in OPERATIONS:
            args, concrete = ((x,), (a,)) if op.kind.arity == 1 else ((x, y), (a, b))
            exact = evaluate(INT, op, concrete)
            result = x.apply(op, *args[1:])
            assert result.contains(exact), f"{op} of {args} is {result}, which lacks {exact}, from {concrete}"
            if op.width < 64:
                assert result.bounds()[1] < 1 << op.width
            out = z.join(domain.constant(exact))
            for word, old, new in zip(concrete, args, x.backward(op, out, *args[1:]), strict=True):
                assert new.contains(word), f"backward {op} of {args} in {out} lost {word} from {old}: {new}"
        for comparison in Comparison:
            for width in (32, 64):
                p, q = x.restrict(comparison, y, width)
                if compare(INT, comparison, a, b, width):
                    assert p.contains(a), f"{x} {comparison} {y} on {width} bits lost {a}: {p}"
                    assert q.contains(b), f"{x} {comparison} {y} on {width} bits lost {b}: {q}"
        for value, other in ((x.join(y), b), (x.widen(x.join(y), (1500, 1 << 31)), b)):
            assert value.contains(a)
            assert value.contains(other)
        assert x.meet(domain.constant(a)) == domain.constant(a)
        assert x.narrow(x.meet(domain.between(0, a))).contains(a)
        for width in (32, 64):
            for signed in (False, True):
                lo, hi = x.bounds(width, signed)
                low = a & ((1 << width) - 1)
                assert lo <= (low - (low >> (width - 1) << width) if signed else low) <= hi

    check()


@pytest.mark.parametrize("name", DOMAINS)
@given(st.data())
@LIGHT
def test_constants_are_singletons(name: str, data: st.DataObject) -> None:
    domain = DOMAINS[name]
    a, b = data.draw(words()), data.draw(words())
    assert domain.constant(a).contains(a)
    assert domain.constant(a).contains(b) == (a == b)
    assert not domain.bottom().contains(a)
    assert domain.top().contains(a)
    lo, hi = min(a, b), max(a, b)
    for word in (lo, hi, (lo + hi) // 2):
        assert domain.between(lo, hi).contains(word)
    for op in OPERATIONS:
        concrete = (a,) if op.kind.arity == 1 else (a, b)
        result = domain.constant(a).apply(op, *map(domain.constant, concrete[1:]))
        assert result == domain.constant(evaluate(INT, op, concrete)), f"{op} of constants {concrete} is {result}"


@pytest.mark.parametrize("name", EXACT)
def test_order_is_inclusion(name: str) -> None:
    checker = Checker(DOMAINS[name].at(4, 2))
    draw = random.Random(name)
    elements = checker.elements()
    for _ in range(20000):
        x, y = draw.choice(elements), draw.choice(elements)
        assert x.leq(y) == (checker.gamma(x) & ~checker.gamma(y) == 0)
        assert (x == y) == (checker.gamma(x) == checker.gamma(y))


# The fused product --------------------------------------------------------------------------------------------------


def parts(x: Any) -> tuple[Any, ...]:
    """What a scalar, or the generic product that it stands for, knows."""
    if isinstance(x, Scalar):
        return x.full, x.low, x.value, x.mask
    return x.first.full, x.first.low, x.second.value, x.second.mask


def same(a: Any, b: Any, p: Any, q: Any) -> None:
    """All methods of two scalars but ``widen`` give what those of the same two elements of the product do."""
    assert (parts(a), parts(b)) == (parts(p), parts(q))
    for method in ("join", "meet", "narrow"):
        assert parts(getattr(a, method)(b)) == parts(getattr(p, method)(q)), method
    assert a.leq(b) == p.leq(q)
    assert (a.is_top(), a.is_bottom()) == (p.is_top(), p.is_bottom())
    for width in (a.WIDTH, a.LOW):
        for signed in (False, True):
            assert a.is_bottom() or a.bounds(width, signed) == p.bounds(width, signed)
        for comparison in Comparison:
            ours, theirs = a.restrict(comparison, b, width), p.restrict(comparison, q, width)
            assert [*map(parts, ours)] == [*map(parts, theirs)], f"{a} {comparison} {b} on {width} bits"
    for op in _operations(a):
        ours, theirs = ((a,), (p,)) if op.kind.arity == 1 else ((a, b), (p, q))
        assert parts(a.apply(op, *ours[1:])) == parts(p.apply(op, *theirs[1:])), f"{op} of {a}, {b}"
        backward, backward_ = a.backward(op, b, *ours[1:]), p.backward(op, q, *theirs[1:])
        assert [*map(parts, backward)] == [*map(parts, backward_)], f"backward {op} of {a}, {b}"


def as_product(x: Scalar) -> Any:
    product = PRODUCT.at(x.WIDTH, x.LOW)
    if x.is_bottom():
        return product.bottom()
    return product.of(Interval.at(x.WIDTH, x.LOW).of(x.full, x.low), Tnum.at(x.WIDTH, x.LOW).of(x.value, x.mask))


@LIGHT
@given(members(Scalar), members(Scalar))
def test_scalar_is_the_product_at_64_bits(x: tuple[Any, int], y: tuple[Any, int]) -> None:
    same(x[0], y[0], as_product(x[0]), as_product(y[0]))


def test_scalar_is_the_product_at_4_bits() -> None:
    elements, arcs = small("scalar")
    draw = random.Random(0)
    for _ in range(250):
        x, y = draw.choice(elements), draw.choice(arcs)
        same(x, y, as_product(x), as_product(y))


# Termination --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("thresholds", [(), (5, 64, 1500, 1 << 31, 1 << 32, LAST - 7)], ids=("plain", "thresholds"))
def test_widening_terminates(name: str, thresholds: tuple[int, ...]) -> None:
    """Chains that add the least they can: a word just outside one of the bounds, or with one more unknown bit."""
    domain = DOMAINS[name]
    draw = random.Random(name)
    longest = 0
    for _ in range(40):
        x = domain.constant(draw.choice(EDGES))

        def news(x: Any) -> Any:
            kind = draw.randrange(6)
            if kind == 0:
                word = draw.choice(EDGES)
            elif kind == 1:
                word = x.bounds(64)[draw.randrange(2)] ^ (1 << draw.randrange(64))
            else:
                width, signed = draw.choice((32, 64)), draw.random() < 0.5
                end = draw.randrange(2)
                word = (x.bounds(width, signed)[end] + (1 if end else -1)) & ((1 << width) - 1)
                if width == 32 and draw.random() < 0.5:
                    word |= x.bounds(64)[0] & ~0xFFFFFFFF
            return domain.constant(word & LAST)

        longest = max(longest, widening_steps(x, news, thresholds))
    # Eight bounds, each through its levels once; a tnum can lose 64 bits one by one.
    assert longest <= {"interval": 40}.get(name, 110) + 8 * len(thresholds)


@pytest.mark.parametrize("name", DOMAINS)
def test_narrowing_terminates(name: str) -> None:
    domain = DOMAINS[name]
    draw = random.Random(name)
    for _ in range(30):
        x, steps = domain.top(), 0
        for _ in range(300):
            lo, hi = sorted((draw.choice(EDGES), draw.choice(EDGES)))
            less = domain.between(lo, hi).join(domain.constant(draw.choice(EDGES)))
            new = x.narrow(x.meet(less)) if not x.meet(less).is_bottom() else x
            steps += new != x
            x = new
        assert steps <= 80
