"""Discharge: what it proves, what it must not, and the mistakes that these tests would notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import z3

from prevail_py.domains.lattice import Facts, Term
from prevail_py.objects.region_facts import Place
from prevail_py.objects.text import assemble
from prevail_py.research.suite import pairs
from prevail_py.verifier import Verdict, VerdictKind, verify
from prevail_py.verifier.smt import discharge as module
from prevail_py.verifier.smt.algebra import Predicate
from prevail_py.verifier.smt.encoding import Encoder
from prevail_py.verifier.smt.executor import Execution, execute
from prevail_py.verifier.smt.history import Event, Start

PACKET = """
    r6 = *(u32 *)(r1 + 0)
    r7 = *(u32 *)(r1 + 4)
    r2 = r6
    r2 += 16
    r0 = 0
    if r2 > r7 goto out
"""


def verdict_of(body: str, smt: bool = True) -> Verdict:
    return verify(assemble(f"{PACKET}{body}\nout:\nexit"), smt=smt)


MIDDLE = """
    r1 = *(u8 *)(r6 + 0)
    r2 = *(u8 *)(r6 + 1)
    if r1 < 16 goto low
    goto out
low:
    if r2 < 16 goto middle
    goto out
middle:
    r3 = r1
    r3 += r2
    r3 >>= {shift}
    if r1 > r2 goto swapped
    if r3 >= r1 goto inside
    goto beyond
swapped:
    if r3 >= r2 goto inside
beyond:
    r0 = *(u8 *)(r10 - 1)
inside:
    r4 = r6
    r4 += r3
    r0 = *(u8 *)(r4 + 0)
    r0 &= 3
"""
"""The middle of two numbers lies between them: behind ``beyond`` is what never happens."""


def test_what_domains_do_not_see_the_solver_proves() -> None:
    assert verdict_of(MIDDLE.format(shift=1), smt=False).kind is VerdictKind.UNKNOWN
    verdict = verdict_of(MIDDLE.format(shift=1))
    assert verdict.is_safe
    assert verdict.failures == ()
    assert [each.pc for each in verdict.discharged] == [19]
    for each in verdict.discharged:
        solver = z3.Solver()
        solver.from_string(each.query)
        assert solver.check() == z3.unsat
        assert each.rlimit > 0
        assert each.starts == (((), 0),)


def test_what_may_happen_it_does_not() -> None:
    verdict = verdict_of(MIDDLE.format(shift=2))
    assert verdict.kind is not VerdictKind.SAFE
    assert verdict.failures


def test_it_is_deterministic() -> None:
    program = pairs()["kinds"].safe
    one, other = verify(program), verify(program)
    assert one.discharged == other.discharged
    assert replace(one, seconds=0) == replace(other, seconds=0)


# Planted mistakes. ----------

TWO_CALLS = """
    r6 = *(u32 *)(r1 + 0)
    r7 = *(u32 *)(r1 + 4)
    r2 = r6
    r2 += 64
    r0 = 0
    if r2 > r7 goto out
    r1 = *(u8 *)(r6 + 0)
    r2 = r6
    r3 = {first}
    call local check
    r1 = *(u8 *)(r6 + 1)
    r2 = r6
    r3 = {second}
    call local check
out:
    exit
check:
    r0 = 0
    r4 = r1
    r4 *= r1
    if r4 > r3 goto done
    r2 += r1
    r0 = *(u8 *)(r2 + 31)
    r0 &= 3
done:
    exit
"""
"""A square below 1024 has a root below 32; with 4096 it is not."""


def test_every_way_of_calling_a_function_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    safe = assemble(TWO_CALLS.format(first=1023, second=1000))
    assert not verify(safe, smt=False).is_safe
    verdict = verify(safe)
    assert verdict.is_safe
    assert {each.calls for each in verdict.discharged} == {(9,), (13,)}
    for numbers in ({"first": 4095, "second": 1000}, {"first": 1000, "second": 4095}):
        assert not verify(assemble(TWO_CALLS.format(**numbers))).is_safe

    def one_call_string(fixpoint, budget=None) -> Execution:  # type: ignore[no-untyped-def]
        found = execute(fixpoint, budget)
        first: dict[int, tuple[int, ...]] = {}
        kept = [each for each in found.moments if first.setdefault(each.pc, each.calls) == each.calls]
        return replace(found, moments=tuple(kept))

    monkeypatch.setattr(module, "execute", one_call_string)
    assert verify(assemble(TWO_CALLS.format(first=1000, second=4095))).is_safe, "the planted mistake does nothing"


def _unsafe_called_safe() -> list[str]:
    names = [name for name, pair in pairs().items() if pair.source == "loops.c"]
    return [name for name in names if verify(pairs()[name].twin, disjuncts=1).is_safe]


def test_an_assumption_that_is_too_strong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the head of a loop, of every symbol that has a bound, the planted mistake leaves the bound itself out."""
    assert _unsafe_called_safe() == []
    known = Encoder._known

    def stronger(self: Encoder, event: Event, facts: Facts) -> Iterator[Predicate]:
        yield from known(self, event, facts)
        if isinstance(event, Start):
            for symbol in sorted(facts.symbols()):
                hi = facts.range(Term(symbol, 0)).hi
                if hi < 1 << 63:
                    yield z3.ULT(self._operand(event, Term(symbol, 0)), self.const(max(hi - 1, 1)))

    monkeypatch.setattr(Encoder, "_known", stronger)
    assert _unsafe_called_safe()


TWO_KINDS = """
    r6 = r1
    r8 = *(u32 *)(r6 + 12)
    r9 = *(u32 *)(r6 + 16)
    r7 = r10
    r7 += -8
    r1 = 5
    *(u64 *)(r10 - 8) = r1
    r0 = r8
    r0 *= r8
    if r0 != 50 goto use
    r7 = r6
use:
    r2 = 1
    *(u64 *)(r7 + 0) = r2
    r3 = *(u64 *)(r10 - 8)
    r0 = 0
    if r3 {other} 5 goto out
    r0 = *(u8 *)(r10 - 16)
out:
    exit
"""
"""No number has the square 50: R7 points to the stack, and what is stored through it replaces what was there."""


def test_what_the_fixpoint_does_not_follow_behind_a_failure_is_executed() -> None:
    assert verify(assemble(TWO_KINDS.format(other="!="))).is_safe
    assert not verify(assemble(TWO_KINDS.format(other="=="))).is_safe
    facts = verify(assemble(TWO_KINDS.format(other="!="))).region_facts()
    assert facts.pointers[12, 7].place is not Place.CONTEXT


LOOP_BEHIND = """
    r6 = r1
    r8 = *(u32 *)(r6 + 12)
    r7 = r10
    r7 += -8
    r1 = 5
    *(u64 *)(r10 - 8) = r1
    r0 = r8
    r0 *= r8
    if r0 != 50 goto use
    r7 = 0
use:
    r2 = 1
    *(u64 *)(r7 + 0) = r2
    r4 = *(u32 *)(r6 + 16)
again:
    r3 = *(u64 *)(r10 - 8)
    r0 = 0
    if r3 == 5 goto safe
    r0 = *(u8 *)(r10 - 16)
safe:
    r4 += -1
    if r4 s> 0 goto again
    exit
"""


def test_invariants_that_rest_on_a_failure_are_not_relied_upon() -> None:
    """Whatever the fixpoint made of R7, the byte that nobody wrote is read."""
    assert not verify(assemble(LOOP_BEHIND)).is_safe
    assert not verify(assemble(LOOP_BEHIND), disjuncts=1).is_safe
