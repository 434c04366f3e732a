"""Explanations: golden texts for the unsafe examples, and what slices must and must not contain."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.cli.main import main
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.verifier import explain, verify
from prevail_py.verifier.explain import Explanation
from prevail_py.verifier.verdict import Failure

UNSAFE = [example for example in examples.EXAMPLES.values() if not example.safe]


@pytest.mark.parametrize("example", UNSAFE, ids=lambda example: example.name)
def test_examples(example: examples.Example, golden: Callable[[str, str], None]) -> None:
    verdict = verify(load_object(examples.path(example.name)).programs[example.program])
    golden(f"explain/{example.name}.txt", "\n".join(map(str, verdict.explanations())) + "\n")


def explanations(text: str, maps: tuple[MapSpec, ...] = ()) -> tuple[Explanation, ...]:
    return verify(Program("p", "xdp", "xdp", assemble_text(text), maps)).explanations()


def slots(explanation: Explanation) -> list[int]:
    return [step.pc for step in explanation.slice]


PACKET = """
r2 = *(u32 *)(r1 + 4)
r7 = *(u32 *)(r1 + 0)
r0 = 2
r3 = r7
r3 += {checked}
if r3 > r2 goto out
r5 = 7
r5 += r0
r4 = r7
r4 += 10
r6 = *(u32 *)(r4 + 0)
out:
r0 = 2
exit
"""


def test_the_missing_fact_is_in_words() -> None:
    (found,) = explanations(PACKET.format(checked=12))
    assert found.needed == "r4 + 4 <= packet end"
    assert found.known == "r4 + 2 <= packet end"


def test_a_slice_leaves_out_what_has_no_part() -> None:
    (found,) = explanations(PACKET.format(checked=12))
    assert slots(found) == [0, 1, 3, 4, 5, 8, 9, 10]


def test_a_value_that_went_through_the_stack() -> None:
    (found,) = explanations("""
        r2 = *(u32 *)(r1 + 12)
        *(u64 *)(r10 - 16) = 3
        *(u64 *)(r10 - 8) = r2
        r2 = 0
        r3 = *(u64 *)(r10 - 8)
        r4 = r10
        r4 += r3
        r0 = *(u8 *)(r4 - 16)
        r0 = 2
        exit""")
    assert slots(found) == [0, 2, 4, 5, 6, 7]


def test_the_caller_has_a_part() -> None:
    (found,) = explanations("""
        r6 = *(u32 *)(r1 + 12)
        r7 = 5
        r1 = r6
        call pc+1
        exit
        r3 = r10
        r3 += r1
        r0 = *(u8 *)(r3 + 0)
        r0 = 2
        exit""")
    assert [(step.calls, step.pc) for step in found.slice] == [
        ((), 0),
        ((), 2),
        ((), 3),
        ((3,), 5),
        ((3,), 6),
        ((3,), 7),
    ]


def test_a_loop_goes_round() -> None:
    (found,) = explanations("""
        r2 = *(u32 *)(r1 + 12)
        r3 = 1
        r5 = 0
        again:
        r5 += 1
        r3 += r5
        if r3 < r2 goto again
        r4 = r10
        r4 += r3
        r0 = *(u8 *)(r4 - 8)
        r0 = 2
        exit""")
    assert slots(found) == list(range(9))


def test_each_cause_once() -> None:
    """The second access through the same pointer needs no more than the first, and is not reported again."""
    found = explanations(PACKET.format(checked=12).replace("out:", "r6 = *(u32 *)(r4 + 0)\nout:"))
    assert len(found) == 1


def test_what_is_no_failure_is_refused() -> None:
    verdict = verify(Program("p", "xdp", "xdp", assemble_text("r0 = 0\nexit")))
    with pytest.raises(ValueError, match="not a failure"):
        verdict.explain(Failure(0, "out-of-bounds", "no"))


def test_a_malformed_program_is_explained_by_its_place() -> None:
    (found,) = explanations("r0 = 0")
    assert slots(found) == [0]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--json", "--explain", str(examples.path("unsafe_bounds"))]) == 1
    (failure,) = json.loads(capsys.readouterr().out)["programs"][0]["failures"]
    explanation: dict[str, Any] = failure["explanation"]
    assert explanation["needed"] == "r1 + 24 <= packet end"
    assert explanation["slice"][-1]["line"] == failure["line"]


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--explain", str(examples.path("unsafe_null"))]) == 1
    assert "because of" in capsys.readouterr().out


def test_notebook() -> None:
    verdict = verify(load_object(examples.path("unsafe_null")).programs["count_by_queue"])
    assert "a null check before the access" in verdict._repr_html_()
    (found,) = verdict.explanations()
    assert "<li><code>r0 = value of packets_by_queue" in found._repr_html_()


def test_a_slice_that_forgets_a_dependency_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bug: loads depend on nothing."""
    real = explain._read
    monkeypatch.setattr(explain, "_read", lambda i: set() if type(i).__name__ == "Alu" else real(i))
    (found,) = explanations(PACKET.format(checked=12))
    assert slots(found) != [0, 1, 3, 4, 5, 8, 9, 10]
