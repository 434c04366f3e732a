"""Hosted programs as native code without checks: on facts that the verifier signed, and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from prevail_py import examples
from prevail_py.host.canonical import decode, encode
from prevail_py.host.context.admission import Admissions
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.session import Session
from prevail_py.host.gate import GateError
from prevail_py.host.service.facts import accepted, claim_of, encoded_facts
from prevail_py.host.token import Claims
from prevail_py.host.trust import Trust
from prevail_py.objects.elf import load_object
from prevail_py.objects.text import assemble
from prevail_py.research.packets import packets
from prevail_py.verifier import verify
from prevail_py.vm.jit.engine import JitProgram
from tests.host.context.conftest import HonestVerifier, honest
from tests.host.context.tools import COUNTER, info, load


def proved(context: ExecutionContext, session: Session, handle: int) -> bool:
    loaded = context.programs[info(session, handle)["id"]].loaded
    assert isinstance(loaded, JitProgram)
    return loaded.proved is not None


@pytest.mark.parametrize("engine", ["jit-O0", "jit"])
def test_code_without_checks(context: ExecutionContext, engine: str) -> None:
    """Native code leaves out what the verifier proved needless, and does what the reference does."""
    flows = load_object(examples.path("xdp_flows")).programs["xdp_flows"]
    with context.session() as session:
        ours, theirs = (load(session, flows, engine=name) for name in (engine, "interpreter"))
        assert proved(context, session, ours)
        for packet in packets(4, 40):
            left, right = (
                session.call("program_run", handle=each, packet=packet, context=None, repeat=1)
                for each in (ours, theirs)
            )
            assert {**left, "nanoseconds": 0} == {**right, "nanoseconds": 0}
        first, second = (context.programs[info(session, each)["id"]].maps[0].map for each in (ours, theirs))
        assert first == second
        assert len(first) > 5  # type: ignore[arg-type]


def test_code_without_checks_reads_the_real_clock(context: ExecutionContext) -> None:
    with context.session() as session:
        program = load(session, assemble("call 5\nr6 = r0\ncall 5\nr0 -= r6\nexit", name="clock"), engine="jit-O0")
        assert proved(context, session, program)
        passed = session.call("program_run", handle=program, packet=b"", repeat=1)["value"]
        assert 0 < passed < 1_000_000_000
        assert passed != context.environment.tick
        chance = load(session, assemble("call 7\nexit", name="chance"), engine="jit-O0")
        assert proved(context, session, chance)
        drawn = [session.call("program_run", handle=chance, packet=b"", repeat=1)["value"] for _ in range(3)]
        assert len(set(drawn)) == 3


def test_code_with_checks() -> None:
    """Where the host is told so, and where a token of a verifier outside comes without facts."""
    outside = HonestVerifier()
    with (
        ExecutionContext(admissions=honest(), proved_code=False) as context,
        context.session() as session,
    ):
        assert not proved(context, session, load(session, COUNTER, engine="jit-O0"))
    with (
        ExecutionContext(admissions=Admissions(honest()._start, outside.key)) as context,
        context.session() as session,
    ):
        token = outside.token(COUNTER, session.call("nonce"))
        assert not proved(context, session, load(session, COUNTER, engine="jit-O0", token=token))


BAD_FACTS: dict[str, tuple[str, Any]] = {
    "another program": ("program", "0" * 64),
    "slot": ("reached", [1 << 20]),
    "no slot": ("fills", [-1]),
    "register": ("pointers", [[0, 11, "STACK", 0, None]]),
    "place": ("pointers", [[0, 1, "NOWHERE", 0, None]]),
    "place that is no text": ("pointers", [[0, 1, ["STACK"], 0, None]]),
    "map": ("pointers", [[0, 1, "MAP", 9, None]]),
    "offset": ("pointers", [[0, 1, "STACK", 0, "x"]]),
    "row": ("pointers", [[0, 1]]),
    "bound": ("instructions", "many"),
    "bound below zero": ("instructions", -1),
}


@pytest.mark.parametrize("bad", BAD_FACTS)
def test_facts_are_compared_with_the_program(bad: str) -> None:
    """What a verifier signs is decoded strictly, all the same."""
    verdict = verify(COUNTER, termination=True)
    data = encoded_facts(verdict)
    assert data is not None
    verifier = HonestVerifier()
    trust = Trust(verifier.key)

    def claims(signed: bytes) -> Claims:
        return trust.accept(COUNTER, verifier.token(COUNTER, trust.nonce(), facts=claim_of(signed)))

    assert accepted(COUNTER, claims(data), data) == verdict.region_facts()
    assert accepted(COUNTER, claims(data), None) is None
    name, value = BAD_FACTS[bad]
    whole = decode(data)
    assert isinstance(whole, dict)
    other = encode({**whole, name: value})
    with pytest.raises(GateError, match="facts"):
        accepted(COUNTER, claims(other), other)
