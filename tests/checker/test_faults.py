"""Faults planted in the verifier make it call unsafe programs SAFE; the checker must refuse what it then certifies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prevail_py.checker.certificate import read
from prevail_py.checker.check import check
from prevail_py.domains.lattice import Facts
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.scalar_zones import ScalarZones
from prevail_py.research.museum import EXHIBITS, Exhibit, planted
from prevail_py.research.museum.fragments import DROP, INDEX, PACKET, exhibit, lookup
from prevail_py.research.museum.switch import Switch
from prevail_py.verifier import callbacks, partition, scalars, transfer, verify
from prevail_py.verifier.certificate import document
from prevail_py.verifier.state import State
from prevail_py.verifier.values import Pointer
from prevail_py.verifier.verdict import Verdict, VerdictKind
from prevail_py.words import Comparison, OpKind, WordOp

# Faults beside those of the museum ------------------------------------------------------------------------------------


def and_without_masking(switch: Switch) -> None:
    original = Scalar.apply

    def apply(self: Scalar, op: WordOp, *args: Scalar) -> Scalar:
        result = original(self, op, *args)
        return result.meet(Scalar.between(0, 63)) if op.kind is OpKind.AND else result

    switch.attribute(Scalar, "apply", apply)


def join_drops_a_side(switch: Switch) -> None:
    switch.attribute(partition, "merge", lambda left, right, how, fresh, thresholds=(): left.copy())


def null_check_on_the_wrong_branch(switch: Switch) -> None:
    original = transfer._compare_with_number

    def compare(state: State, comparison: Comparison, pointer: Pointer, number: Any) -> bool:
        return original(state, comparison.negation, pointer, number)

    switch.function(original, compare)


def callee_saved_registers_mixed_up(switch: Switch) -> None:
    original = callbacks.leave_frame

    def leave(state: State) -> None:
        original(state)
        state.registers[6], state.registers[7] = state.registers[7], state.registers[6]

    switch.function(original, leave)


def zero_extension_forgotten(switch: Switch) -> None:
    original = scalars.compute

    def compute(setting: Any, state: State, op: WordOp, args: Any) -> Any:
        return args[0] if op == WordOp(OpKind.ZEXT, 32) else original(setting, state, op, args)

    switch.function(original, compute)


def comparison_learns_too_much(switch: Switch) -> None:
    original = ScalarZones.assume

    def assume(self: ScalarZones, comparison: Comparison, a: Any, b: Any, width: int = 64) -> Facts:
        if comparison is Comparison.ULE:
            comparison = Comparison.ULT
        return original(self, comparison, a, b, width)

    switch.attribute(ScalarZones, "assume", assume)


def _own(plant: Callable[[Switch], None], text: str) -> Exhibit:
    return exhibit(plant.__name__, "", "", plant, text)


FAULTS = {
    **{name: each for name, each in EXHIBITS.items() if each.specimen is not None},
    "leaked socket": _own(
        EXHIBITS["leaked reference"].plant,
        "*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\nr2 = r10\nr2 += -16\nr3 = 12\nr4 = -1\nr5 = 0\ncall 84\n"
        "r0 = 1\nexit",
    ),
    "AND without masking": _own(
        and_without_masking,
        f"{PACKET}r8 = *(u8 *)(r6 + 0)\nr8 &= 127\n{INDEX}",
    ),
    "join drops a side": _own(
        join_drops_a_side,
        f"{PACKET}r8 = 3\nr1 = *(u8 *)(r6 + 0)\nif r1 != 5 goto other\nr8 = 100\nother:\n{INDEX}",
    ),
    "null check on the wrong branch": _own(
        null_check_on_the_wrong_branch,
        f"{lookup()}if r0 == 0 goto bad\n{DROP}\nbad:\nr0 = *(u8 *)(r0 + 0)\nr0 = 1\nexit",
    ),
    "callee-saved registers mixed up": _own(
        callee_saved_registers_mixed_up,
        f"r6 = r10\nr6 += -8\nr7 = 0\ncall local f\n*(u64 *)(r7 + 0) = 0\n{DROP}\nf:\nr0 = 0\nexit",
    ),
    "zero extension forgotten": _own(
        zero_extension_forgotten,
        f"r1 = 0x100000000 ll\nw2 = w1\nif r2 == 0 goto bad\n{DROP}\nbad:\nr0 = *(u8 *)(r2 + 0)\nr0 = 1\nexit",
    ),
    "comparison learns too much": _own(
        comparison_learns_too_much,
        f"{PACKET}r8 = *(u8 *)(r6 + 0)\nif r8 > 64 goto drop\n{INDEX}",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_faulty_verifier_certifies_is_refused(name: str) -> None:
    fault = FAULTS[name]
    assert fault.specimen is not None
    unsafe = fault.specimen.program("fault")
    honest = verify(unsafe, smt=False)
    assert honest.kind is VerdictKind.UNKNOWN, honest
    with planted(fault):
        wrong: Verdict = verify(unsafe, smt=False)
        assert wrong.is_safe, wrong
        text = document([wrong.certificate()])
    (certificate,) = read(text)
    answer = check(unsafe, certificate)
    assert answer.kind == "refused", answer
    assert answer.slot is not None
    assert answer.reason
