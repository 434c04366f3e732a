"""Faults planted in the verifier make it call unsafe programs SAFE; the checker must refuse what it then certifies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from prevail_py.checker.certificate import read
from prevail_py.checker.check import check
from prevail_py.domains.lattice import Facts, Phi, Range
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.scalar_zones import ScalarZones
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.verifier import (
    blocks,
    callbacks,
    contracts,
    fixpoint,
    helper_effects,
    obvious,
    partition,
    regions,
    scalars,
    transfer,
    verify,
)
from prevail_py.verifier import check as deciding
from prevail_py.verifier.certificate import document
from prevail_py.verifier.merge import Merge
from prevail_py.verifier.state import State
from prevail_py.verifier.values import Pointer
from prevail_py.verifier.verdict import Verdict, VerdictKind
from prevail_py.words import Comparison, OpKind, WordOp

Patch = pytest.MonkeyPatch


def _map(name: str, key: int, value: int, entries: int) -> MapSpec:
    found = platform().map_type_by_name(name)
    assert found is not None
    return MapSpec(name, found.number, key, value, entries)


MAPS = (_map("array", 4, 64, 4),)

PACKET = """
r6 = *(u32 *)(r1 + 0)
r7 = *(u32 *)(r1 + 4)
r2 = r6
r2 += 8
if r2 > r7 goto drop
"""
DROP = "r0 = 1\nexit\ndrop:\nr0 = 2\nexit"
LOOKUP = """
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map[idx:0] ll
call 1
"""
INDEX = "r0 += r8\nr1 = *(u8 *)(r0 + 0)\n" + DROP
"""A byte of a map value at the offset in R8."""


def program(text: str, type: str = "xdp") -> Program:
    return Program("fault", type, type, assemble_text(text), maps=MAPS, licence="GPL")


# The faults -------------------------------------------------------------------------------------------------------


def and_without_masking(patch: Patch) -> None:
    original = Scalar.apply

    def apply(self: Scalar, op: WordOp, *args: Scalar) -> Scalar:
        result = original(self, op, *args)
        return result.meet(Scalar.between(0, 63)) if op.kind is OpKind.AND else result

    patch.setattr(Scalar, "apply", apply)


def join_drops_a_side(patch: Patch) -> None:
    patch.setattr(partition, "merge", lambda left, right, how, fresh, thresholds=(): left.copy())


def widening_is_no_upper_bound(patch: Patch) -> None:
    def widen(self: ScalarZones, other: ScalarZones, phis: Sequence[Phi], thresholds: Sequence[int] = ()) -> Any:
        return self.join(self, [Phi(phi.symbol, phi.left, phi.left) for phi in phis])

    patch.setattr(ScalarZones, "widen", widen)
    # Then the chain would never end: so whoever iterates must also believe that it is stable.
    patch.setattr(blocks, "add_state", _added_unless_widened(partition.add_state))


def _added_unless_widened(original: Any) -> Any:
    def add(kept: Any, new: Any, disjuncts: int, fresh: Any, how: Merge = Merge.JOIN, thresholds: Any = ()) -> bool:
        return bool(original(kept, new, disjuncts, fresh, how, thresholds)) and how is Merge.JOIN

    return add


def descent_forgets_the_way_back(patch: Patch) -> None:
    original = fixpoint.Fixpoint._gather

    def gather(self: Any, solving: Any, node: int, outside_only: bool = False) -> list[State]:
        return original(self, solving, node, node in solving.function.looping)

    patch.setattr(fixpoint.Fixpoint, "_gather", gather)


def comparison_says_yes(patch: Patch) -> None:
    patch.setattr(partition, "subsumes", lambda old, new: True)


def packet_off_by_one(patch: Patch) -> None:
    original = regions._packet_violation

    def violation(state: State, pointer: Pointer, size: Range, name: str, shift: int) -> Any:
        return original(state, pointer, Range(size.lo - 1, size.hi - 1), name, shift)

    patch.setattr(regions, "_packet_violation", violation)


def null_check_on_the_wrong_branch(patch: Patch) -> None:
    original = transfer._compare_with_number

    def compare(state: State, comparison: Comparison, pointer: Pointer, number: Any) -> bool:
        return original(state, comparison.negation, pointer, number)

    patch.setattr(transfer, "_compare_with_number", compare)


def stale_pointers_are_kept(patch: Patch) -> None:
    patch.setattr(helper_effects, "packet_moved", lambda setting, state: None)


def unwritten_stack_counts_as_written(patch: Patch) -> None:
    patch.setattr(regions, "_uninitialised", lambda state, pointer, size: None)


def callee_saved_registers_mixed_up(patch: Patch) -> None:
    original = callbacks.leave_frame

    def leave(state: State) -> None:
        original(state)
        state.registers[6], state.registers[7] = state.registers[7], state.registers[6]

    patch.setattr(blocks, "leave_frame", leave)


def zero_extension_forgotten(patch: Patch) -> None:
    original = scalars.compute

    def compute(setting: Any, state: State, op: WordOp, args: Any) -> Any:
        return args[0] if op == WordOp(OpKind.ZEXT, 32) else original(setting, state, op, args)

    for module in (transfer, obvious):
        patch.setattr(module, "compute", compute)


def size_of_memory_not_checked(patch: Patch) -> None:
    patch.setattr(contracts, "_size_argument", lambda state, arg, value: None)
    patch.setattr(contracts, "_memory_argument", lambda *arguments: None)


def references_are_not_counted(patch: Patch) -> None:
    patch.setattr(deciding, "_references", lambda state: [])


def result_not_checked(patch: Patch) -> None:
    patch.setattr(deciding, "_result", lambda setting, state: [])


def comparison_learns_too_much(patch: Patch) -> None:
    original = ScalarZones.assume

    def assume(self: ScalarZones, comparison: Comparison, a: Any, b: Any, width: int = 64) -> Facts:
        if comparison is Comparison.ULE:
            comparison = Comparison.ULT
        return original(self, comparison, a, b, width)

    patch.setattr(ScalarZones, "assume", assume)


def signed_bounds_for_unsigned_ones(patch: Patch) -> None:
    original = ScalarZones.assume

    def assume(self: ScalarZones, comparison: Comparison, a: Any, b: Any, width: int = 64) -> Facts:
        if comparison is Comparison.SLE:
            comparison = Comparison.ULE
        return original(self, comparison, a, b, width)

    patch.setattr(ScalarZones, "assume", assume)


def elements_are_one_object(patch: Patch) -> None:
    from prevail_py.domains.lattice import constant

    patch.setattr(callbacks, "unknown", lambda setting, state, lo=0, hi=0: constant(1))


COUNTED = f"{LOOKUP}if r0 == 0 goto drop\nr8 = 0\nr7 = 100\nloop:\nr8 += 1\nr7 += -1\nif r7 != 0 goto loop\n{INDEX}"

FAULTS: dict[Callable[[Patch], None], str] = {
    and_without_masking: f"{PACKET}r8 = *(u8 *)(r6 + 0)\nr8 &= 127\n{LOOKUP}if r0 == 0 goto drop\n{INDEX}",
    join_drops_a_side: (
        f"{PACKET}r8 = 3\nr1 = *(u8 *)(r6 + 0)\nif r1 != 5 goto other\nr8 = 100\nother:\n"
        f"{LOOKUP}if r0 == 0 goto drop\n{INDEX}"
    ),
    widening_is_no_upper_bound: COUNTED,
    descent_forgets_the_way_back: COUNTED,
    comparison_says_yes: COUNTED,
    packet_off_by_one: f"{PACKET}r0 = *(u8 *)(r6 + 8)\n{DROP}",
    null_check_on_the_wrong_branch: f"{LOOKUP}if r0 == 0 goto bad\n{DROP}\nbad:\nr0 = *(u8 *)(r0 + 0)\nr0 = 1\nexit",
    stale_pointers_are_kept: f"r9 = r1\n{PACKET}r1 = r9\nr2 = 0\ncall 44\nr0 = *(u8 *)(r6 + 0)\n{DROP}",
    unwritten_stack_counts_as_written: "r0 = *(u64 *)(r10 - 8)\nr0 = 1\nexit",
    callee_saved_registers_mixed_up: f"r6 = r10\nr6 += -8\nr7 = 0\ncall local f\n*(u64 *)(r7 + 0) = 0\n{DROP}\nf:\n"
    "r0 = 0\nexit",
    zero_extension_forgotten: f"r1 = 0x100000000 ll\nw2 = w1\nif r2 == 0 goto bad\n{DROP}\nbad:\nr0 = *(u8 *)(r2 + 0)\n"
    "r0 = 1\nexit",
    size_of_memory_not_checked: (
        f"{PACKET}r2 = *(u32 *)(r6 + 0)\nr1 = r10\nr1 += -8\n*(u64 *)(r10 - 8) = 0\ncall 6\n{DROP}"
    ),
    references_are_not_counted: (
        "*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\nr2 = r10\nr2 += -16\nr3 = 12\nr4 = -1\nr5 = 0\ncall 84\n"
        "r0 = 1\nexit"
    ),
    result_not_checked: "r0 = *(u32 *)(r1 + 0)\nexit",
    comparison_learns_too_much: (
        f"{PACKET}r8 = *(u8 *)(r6 + 0)\n{LOOKUP}if r0 == 0 goto drop\nif r8 > 64 goto drop\n{INDEX}"
    ),
    signed_bounds_for_unsigned_ones: (
        f"{PACKET}r8 = *(u64 *)(r6 + 0)\n{LOOKUP}if r0 == 0 goto drop\nif r8 s> 63 goto drop\n{INDEX}"
    ),
    elements_are_one_object: (
        "*(u64 *)(r10 - 8) = 0\nr1 = map[idx:0] ll\nr2 = subprog[6] ll\nr3 = 0\nr4 = 0\ncall 164\nr0 = 1\nexit\n"
        "r1 = map[idx:0][0]+0 ll\nr3 -= r1\nr0 = 0\nexit"
    ),
}


def _type(fault: Callable[[Patch], None]) -> str:
    return "cgroup_skb" if fault is result_not_checked else "xdp"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_a_faulty_verifier_certifies_is_refused(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    unsafe = program(FAULTS[fault], _type(fault))
    honest = verify(unsafe, smt=False)
    assert honest.kind is VerdictKind.UNKNOWN, honest
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        wrong: Verdict = verify(unsafe, smt=False)
        assert wrong.is_safe, wrong
        text = document([wrong.certificate()])
    (certificate,) = read(text)
    answer = check(unsafe, certificate)
    assert answer.kind == "refused", answer
    assert answer.slot is not None
    assert answer.reason
