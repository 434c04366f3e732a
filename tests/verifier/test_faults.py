"""Faults, each once: what failed is assumed to have been allowed, and nothing that may fail is overlooked."""

from __future__ import annotations

import pytest

from prevail_py import assemble
from prevail_py.objects.program import MapSpec
from prevail_py.verifier import verify

ARRAY = MapSpec("numbers", 2, 4, 16, 1)
LOOKUP = """
    *(u32 *)(r10 - 4) = 0
    r6 = r1
    r1 = map[idx:0] ll
    r2 = r10
    r2 += -4
    call 1
"""


@pytest.mark.parametrize(
    ("text", "failing"),
    [
        (LOOKUP + "r1 = *(u32 *)(r0 + 0)\nr2 = *(u32 *)(r0 + 4)\nr0 = 2\nexit", 7),
        (
            LOOKUP
            + """
            if r0 == 0 goto out
            r1 = *(u64 *)(r0 + 8)
            r1 >>= 1
            r0 += r1
            r1 = *(u8 *)(r0 + 0)
            r2 = *(u8 *)(r0 + 0)
        out:
            r0 = 2
            exit""",
            11,
        ),
        (
            """
            r2 = *(u32 *)(r1 + 0)
            r3 = *(u32 *)(r2 + 4)
            r4 = *(u32 *)(r2 + 0)
            r5 = *(u32 *)(r2 + 4)
            r0 = 2
            exit""",
            1,
        ),
    ],
)
def test_a_fault_is_reported_once(text: str, failing: int) -> None:
    verdict = verify(assemble(text, maps=(ARRAY,)), smt=False)
    assert [failure.pc for failure in verdict.failures] == [failing]


def test_addresses_that_may_wrap_do_not_compare_like_offsets() -> None:
    """A pointer with an offset of up to 2**63 may be below the one that it was made of: not a dead end."""
    text = f"""{LOOKUP}
        if r0 == 0 goto out
        r1 = *(u64 *)(r0 + 8)
        r1 >>= 1
        r2 = *(u32 *)(r6 + 0)
        r3 = r2
        r3 += r1
        if r3 >= r2 goto out
        r0 = *(u8 *)(r10 - 500)
    out:
        r0 = 2
        exit"""
    verdict = verify(assemble(text, maps=(ARRAY,)), smt=False)
    assert [failure.assertion for failure in verdict.failures] == ["uninitialised-memory"]


@pytest.mark.parametrize(("size", "fails"), [(0, True), (1, False), (16, False), (17, True)])
def test_sizes_that_may_not_be_zero(size: int, fails: bool) -> None:
    text = f"*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -16\nr2 = {size}\ncall 16\nr0 = 0\nexit"
    verdict = verify(assemble(text, program_type="kprobe"), smt=False)
    assert bool(verdict.failures) is fails


@pytest.mark.parametrize(("mask", "least", "fails"), [(7, 0, True), (7, 1, False), (15, 2, True)])
def test_sizes_that_are_unknown(mask: int, least: int, fails: bool) -> None:
    """Between ``least`` and ``least + mask``, of 16 bytes."""
    text = f"""
        *(u64 *)(r10 - 16) = 0
        *(u64 *)(r10 - 8) = 0
        call 7
        r2 = r0
        r2 &= {mask}
        r2 += {least}
        r1 = r10
        r1 += -16
        call 16
        r0 = 0
        exit"""
    verdict = verify(assemble(text, program_type="kprobe"), smt=False)
    assert bool(verdict.failures) is fails


def test_what_was_not_acquired_is_not_released() -> None:
    text = """
        r1 = *(u64 *)(r1 + 168)        ; the socket of the packet, which belongs to the kernel
        if r1 == 0 goto out
        call 86                        ; bpf_sk_release
    out:
        r0 = 0
        exit"""
    verdict = verify(assemble(text, program_type="sched_cls"), smt=False)
    assert [(failure.pc, failure.assertion) for failure in verdict.failures] == [(2, "helper-argument")]


def test_what_no_ring_buffer_reserved_is_not_submitted() -> None:
    """The key that a callback is given is memory, too."""
    text = """
        r1 = map[idx:0] ll
        r2 = subprog[6] ll
        r3 = 0
        r4 = 0
        call 164                       ; bpf_for_each_map_elem
        r0 = 2
        exit

        r1 = r2
        r2 = 0
        call 132                       ; bpf_ringbuf_submit
        r0 = 0
        exit"""
    verdict = verify(assemble(text, maps=(ARRAY,)), smt=False)
    assert [(failure.pc, failure.assertion) for failure in verdict.failures] == [(11, "helper-argument")]
