"""Policies: what ``linux-root`` forgives, what it does not, and that it never opens the gate."""

from __future__ import annotations

import pytest

from prevail_py.host.gate import GateError, run
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.research.oracle import examine
from prevail_py.verifier import verify
from prevail_py.verifier.policy import POLICIES, policy

ARRAY = MapSpec("array", 2, 4, 8, 1)

LOOKUP = """
    r6 = r1
    *(u32 *)(r10 - 4) = 0
    r1 = map[idx:0] ll
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto out
"""

FORGIVEN = {
    "a pointer is returned": "r0 = r10\nexit",
    "a pointer into a map": f"{LOOKUP} *(u64 *)(r0 + 0) = r10\nout:\nr0 = 0\nexit",
    "unwritten stack is read": "r0 = *(u64 *)(r10 - 8)\nexit",
    "unwritten stack is a key": """
        r1 = map[idx:0] ll
        r2 = r10
        r2 += -4
        call 1
        r0 = 0
        exit""",
    "a pointer is cut to 32 bits": "w0 = w1\nexit",
    "a pointer is negated": "r0 = r10\nr0 = -r0\nexit",
    "pointers into different regions are subtracted": "r0 = r10\nr0 -= r1\nexit",
}

HELD = {
    "an unwritten register": "exit",
    "a number is an address": "r1 = *(u64 *)(r10 - 8)\nr0 = *(u64 *)(r1 + 0)\nexit",
    "a number made of a pointer is an address": "w1 = w10\nr0 = *(u64 *)(r1 + 0)\nexit",
    "a pointer beyond its region": "r0 = *(u64 *)(r10 + 0)\nexit",
    "bits of a pointer": "r0 = r10\nr0 &= 7\nexit",
    "a pointer from a number": "r0 = 0\nr0 -= r10\nexit",
    "half a pointer on the stack": "*(u32 *)(r10 - 8) = r10\nr0 = 0\nexit",
    "a pointer or unwritten stack": """
        r0 = *(u32 *)(r1 + 0)
        if r0 == 0 goto out
        *(u64 *)(r10 - 8) = r10
    out:
        r1 = *(u64 *)(r10 - 8)
        r0 = *(u64 *)(r1 - 8)
        exit""",
    "a bound that unwritten stack does not keep": """
        r0 = *(u32 *)(r1 + 0)
        if r0 == 0 goto out
        *(u64 *)(r10 - 8) = 8
    out:
        r1 = *(u64 *)(r10 - 8)
        r2 = r10
        r2 -= r1
        r0 = *(u8 *)(r2 + 0)
        exit""",
}


def program(text: str) -> Program:
    return assemble(text, program_type="socket_filter", maps=(ARRAY,))


@pytest.mark.parametrize("name", FORGIVEN)
def test_what_is_forgiven(name: str) -> None:
    made = program(FORGIVEN[name])
    strict, lax = verify(made), verify(made, policy="linux-root")
    assert strict.policy == "strict"
    assert strict.kind.value == "UNSAFE"
    assert lax.kind.value == "SAFE", str(lax)
    assert lax.policy == "linux-root"
    assert any("linux-root" in assumption for assumption in lax.assumptions)


@pytest.mark.parametrize("name", HELD)
def test_what_is_not(name: str) -> None:
    verdict = verify(program(HELD[name]), policy="linux-root")
    assert verdict.kind.value == "UNKNOWN", str(verdict)
    assert verdict.failures


def test_a_pointer_is_no_number_in_a_range() -> None:
    assert verify(assemble("r0 = r10\nexit", program_type="cgroup_skb"), policy="linux-root").kind.value == "UNKNOWN"


def test_the_kernel_forgives_the_same(kernel: None) -> None:
    """Whatever is forgiven here, Linux forgives root; what it refuses to forgive is refused here."""
    from prevail_py.vm.kernel.engine import AnswerKind, ask_kernel_many

    forgiven = ask_kernel_many([program(text) for text in FORGIVEN.values()])
    assert {name: answer.kind for name, answer in zip(FORGIVEN, forgiven, strict=True)} == dict.fromkeys(
        FORGIVEN, AnswerKind.ACCEPT
    ), [answer.reason for answer in forgiven]
    held = ask_kernel_many([program(text) for text in HELD.values()])
    assert {name: answer.kind for name, answer in zip(HELD, held, strict=True)} == dict.fromkeys(
        HELD, AnswerKind.REJECT
    )


def test_only_strict_opens_the_gate() -> None:
    safe = program("r0 = 0\nexit")
    lax = verify(safe, policy="linux-root")
    assert lax.is_safe
    with pytest.raises(GateError, match="policy linux-root"):
        run(safe, verdict=lax)
    with pytest.raises(ValueError, match="policy strict only"):
        examine(safe, lax)
    assert run(safe, verdict=verify(safe)).outcome


def test_policies_have_names() -> None:
    assert POLICIES["strict"].about == ""
    with pytest.raises(ValueError, match=r"no policy 'lax' \(there are: strict, linux-root\)"):
        policy("lax")
    with pytest.raises(ValueError, match="no policy"):
        verify(program("r0 = 0\nexit"), policy="lax")


def test_what_is_forgiven_is_no_witness() -> None:
    """A run that the policy forgives until it does what nobody forgives: the interpreter stops it too early."""
    made = program("""
        r0 = *(u64 *)(r10 - 8)
        r2 = *(u32 *)(r1 + 0)
        r2 &= 1
        if r2 == 0 goto out
        r0 = *(u8 *)(r2 + 0)
    out:
        r0 = 0
        exit""")
    strict, lax = verify(made), verify(made, policy="linux-root")
    assert strict.witness is not None
    assert strict.witness.trap.pc == 0
    assert lax.kind.value == "UNKNOWN"
