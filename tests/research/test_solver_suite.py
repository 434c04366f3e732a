"""The programs for the solver: what it proves, what it finds, and the evidence that neither is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from random import Random

import pytest

from prevail_py.research.concolic import steer
from prevail_py.research.oracle import examine
from prevail_py.research.suite import pairs
from prevail_py.research.suite.solver import alarms, faults
from prevail_py.verifier import Verdict, VerdictKind, verify
from prevail_py.vm.interpreter import run
from prevail_py.vm.outcome import Returned, TrapKind, Trapped

ALARMS = alarms()
FAULTS = faults()
UNPROVED = {"square_of_distance", "bits_and_others"}
"""Safe, and too hard for the solver within its limit."""


@cache
def proof_of(name: str) -> Verdict:
    return verify(ALARMS[name].safe)


def test_they_are_as_many_as_they_should_be() -> None:
    assert len(ALARMS) >= 40
    assert len(UNPROVED) <= 0.15 * len(ALARMS)
    assert len(FAULTS) >= 40
    missing = {kind.value for kind in TrapKind} - {fault.kind for fault in FAULTS.values()}
    assert missing == {"unsupported", "user-assertion"}


@pytest.mark.parametrize("name", ALARMS)
def test_the_domains_do_not_prove_it_and_the_solver_does(name: str) -> None:
    assert verify(ALARMS[name].safe, smt=False).kind is VerdictKind.UNKNOWN
    verdict = proof_of(name)
    assert verdict.kind is (VerdictKind.UNKNOWN if name in UNPROVED else VerdictKind.SAFE)
    if name not in UNPROVED:
        assert verdict.discharged
        assert sum(each.rlimit for each in verdict.discharged) < 2_000_000


def inputs_of(name: str) -> Iterator[bytes]:
    """All values of one byte; of more, random ones, and those that have few bits in common or many."""
    count = ALARMS[name].inputs
    if count == 1:
        yield from (bytes([value]) + bytes(63) for value in range(256))
        return
    random = Random(name)
    for number in range(300):
        limit = (256, 65, 8)[number % 3]
        yield bytes(random.randrange(limit) for _ in range(count)) + bytes(64)


@pytest.mark.parametrize("name", ALARMS)
def test_safe_programs_run(name: str) -> None:
    returned = Counter[bool]()
    for packet in inputs_of(name):
        outcome = run(ALARMS[name].safe, packet=packet).outcome
        assert isinstance(outcome, Returned), packet.hex()
        returned[outcome.value == 1] += 1


@pytest.mark.parametrize("name", [name for name in ALARMS if name not in UNPROVED])
def test_what_is_discharged_stays_within_its_invariants(name: str) -> None:
    report = examine(ALARMS[name].safe, proof_of(name), runs=12, steer=steer, steered=12)
    assert not report.violations
    assert not report.unsupported


def test_a_disequality_that_linux_does_not_see() -> None:
    verdict = verify(pairs()["kinds"].safe)
    assert verdict.is_safe
    assert verdict.discharged


@pytest.mark.parametrize("name", ALARMS)
def test_the_twin_traps(name: str) -> None:
    verdict = verify(ALARMS[name].twin)
    assert verdict.kind is VerdictKind.UNSAFE
    assert verdict.witness is not None
    assert isinstance(verdict.witness.replay(), Trapped)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_a_witness_of_its_kind(name: str) -> None:
    verdict = verify(FAULTS[name].program)
    assert verdict.kind is VerdictKind.UNSAFE
    assert verdict.witness is not None
    assert verdict.witness.replay().trap.kind.value == FAULTS[name].kind
