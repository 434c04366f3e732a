"""The checker's reading of words: bounds and SMT-LIB text against the integers."""

from __future__ import annotations

import random

import pytest

from prevail_py.checker import knowledge
from prevail_py.checker.knowledge import Knowledge
from prevail_py.checker.solver import Solver
from prevail_py.checker.words import MASK, NEVER, AtMost, Compare, Formula, Node, Word, between, equal, number
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate, to_signed

OPERATIONS = [
    WordOp(kind, width)
    for kind in OpKind
    if kind not in (OpKind.SEXT, OpKind.BSWAP, OpKind.ZEXT)
    for width in (32, 64)
] + [WordOp(OpKind.ZEXT, 8), WordOp(OpKind.ZEXT, 32), WordOp(OpKind.SEXT, 64, 8), WordOp(OpKind.SEXT, 32, 16),
     WordOp(OpKind.BSWAP, 16), WordOp(OpKind.BSWAP, 32), WordOp(OpKind.BSWAP, 64)]  # fmt: skip


def _word(random_: random.Random) -> int:
    near = random_.choice([0, 1 << 31, 1 << 32, 1 << 63, MASK, random_.getrandbits(64), random_.randrange(300)])
    return near + random_.randrange(-2, 3) & MASK


def _bounds(random_: random.Random, word: int) -> tuple[int, int]:
    lo, hi = (random_.choice([word, end, (word + end) // 2]) for end in (0, MASK))
    return lo, hi


def _violations(seed: int, count: int) -> int:
    """How often an operation on words within bounds leaves the bounds of the result."""
    random_ = random.Random(seed)
    wrong = 0
    for _ in range(count):
        op = random_.choice(OPERATIONS)
        words = tuple(_word(random_) for _ in range(op.kind.arity))
        if op.kind in (OpKind.LSH, OpKind.RSH, OpKind.ARSH):
            words = (words[0], random_.randrange(70))
        lo, hi = knowledge._apply(op, [_bounds(random_, word) for word in words])
        wrong += not lo <= evaluate(INT, op, words) <= hi
    return wrong


def test_bounds_of_operations_hold() -> None:
    assert _violations(seed=1, count=20_000) == 0


def test_the_test_of_bounds_notices_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    original = knowledge._apply

    def apply(op: WordOp, args: list[tuple[int, int]]) -> tuple[int, int]:
        lo, hi = original(op, args)
        return lo, hi - (op.kind is OpKind.AND and lo < hi)

    monkeypatch.setattr(knowledge, "_apply", apply)
    assert _violations(seed=1, count=20_000) > 0


@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_the_text_of_operations_means_what_they_compute(op: WordOp) -> None:
    random_ = random.Random(str(op))
    solver = Solver()
    for _ in range(4):
        words = tuple(_word(random_) for _ in range(op.kind.arity))
        if random_.random() < 0.3:
            words = (*words[:-1], 0)
        args = tuple(Word(Node(i + 1), 0) for i in range(len(words)))
        result = Word(Node(9, op, args), 0)
        facts = [equal(arg, number(word)) for arg, word in zip(args, words, strict=True)]
        value = evaluate(INT, op, words)
        assert solver.proves(facts, [equal(result, number(value))])
        assert solver.proves(facts, [equal(result, number(value + 1))]) is False


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("comparison", Comparison)
def test_comparisons_mean_what_they_compare(comparison: Comparison, width: int) -> None:
    random_ = random.Random(comparison.name)
    solver = Solver()
    for _ in range(4):
        a, b = _word(random_), random_.choice([_word(random_), MASK])
        left, right = Word(Node(1), 0), Word(Node(2), 5)
        facts: list[Formula] = [equal(left, number(a)), equal(right, number(b))]
        goal = Compare(comparison, left, right, width)
        truth = compare(INT, comparison, a, b, width)
        assert solver.proves(facts, [goal]) is truth
        known = Knowledge()
        for fact in facts:
            known.assume(fact)
        assert known.holds(goal) <= truth, "what is seen at once is so"
        if truth:
            known.assume(goal)  # which is no contradiction


def test_differences_are_between_integers() -> None:
    a, b = Word(Node(1), 0), Word(Node(2), 0)
    solver = Solver()
    for x, y in ((1 << 63, 1), (3, MASK), (5, 5), ((1 << 63) - 1, 1 << 63)):
        facts = [equal(a, number(x)), equal(b, number(y))]
        difference = to_signed(x, 64) - to_signed(y, 64)
        assert solver.proves(facts, [AtMost((a,), (b,), difference)])
        assert solver.proves(facts, [AtMost((a,), (b,), difference - 1)]) is False


def test_what_is_assumed_is_never_more_than_what_is_so() -> None:
    """Bounds after random comparisons contain every word that fulfils them."""
    random_ = random.Random(7)
    for _ in range(2_000):
        words = {Node(1): _word(random_), Node(2): _word(random_)}
        known = Knowledge()
        for _ in range(4):
            left, right = (
                random_.choice([Word(node, _word(random_) if random_.random() < 0.3 else 0), number(_word(random_))])
                for node in words
            )
            a, b = (word.offset + (0 if word.node is None else words[word.node]) & MASK for word in (left, right))
            width = random_.choice([32, 64])
            comparison = random_.choice(list(Comparison))
            if not compare(INT, comparison, a, b, width):
                comparison = comparison.negation
            known.assume(Compare(comparison, left, right, width))
        for node, word in words.items():
            lo, hi = known.bounds(Word(node, 0))
            assert lo <= word <= hi


def test_what_contradicts_itself_proves_all_and_nothing_else_does() -> None:
    a, b = Word(Node(1), 0), Word(Node(2), 0)
    solver = Solver()
    below = Compare(Comparison.ULT, b, number(3))
    for facts, impossible in (([*between(b, 5, MASK), below], True), ([*between(b, 2, MASK), below], False)):
        for goals in ([equal(a, number(1))], [NEVER], [equal(a, a), NEVER]):
            assert solver.proves(facts, goals) is impossible
    assert solver.proves([], [equal(a, a), equal(b, b)])
    assert solver.proves([], [equal(a, a), equal(a, b)]) is False


def test_effort_is_bounded() -> None:
    a, b = Word(Node(1), 0), Word(Node(2), 0)
    product = Word(Node(3, WordOp(OpKind.MUL), (a, b)), 0)
    small = [*between(a, 2, 0xFFFFFFFF), *between(b, 2, 0xFFFFFFFF)]
    prime = equal(product, number(0x7FFFFFFFFFFFFFE7))  # the largest prime below 2**63
    assert Solver(resources=20_000).proves([*small, prime], [NEVER]) is None


def test_the_limit_is_gone_when_the_answer_is_there() -> None:
    """Z3 keeps such options for the whole process, and others may have harder questions."""
    import z3

    test_effort_is_bounded()
    a, b = z3.BitVecs("a b", 24)
    solver = z3.Solver(ctx=z3.main_ctx())
    solver.add(a * b == 0x7FFFE7, z3.UGT(a, 1), z3.UGT(b, 1), z3.ULT(a, 1 << 12), z3.ULT(b, 1 << 12))
    assert solver.check() != z3.unknown
