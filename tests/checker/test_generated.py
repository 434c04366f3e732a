"""Certificates of generated programs, and of programs made by hand for what the generated ones brought to light."""

from __future__ import annotations

import pytest

from prevail_py.checker.certificate import fingerprint, read
from prevail_py.checker.check import Answer, check
from prevail_py.checker.state import Path
from prevail_py.checker.words import Word
from prevail_py.objects.program import Program
from prevail_py.objects.text import assemble
from prevail_py.research.generate import program as generate
from prevail_py.verifier import verify
from prevail_py.verifier.certificate import document
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.verdict import Verdict

HARD = [75, 109]
"""Seeds of programs in which a word is got to in more steps than the verifier says: by sums, by pieces of the stack."""

NOT_INDUCTIVE = 15
"""The seed of a program with a loop whose invariant follows from itself along whole paths only."""


def _generated(seed: int) -> Program:
    return generate(seed, 30, seed % 3 == 0)


def _checked(verdict: Verdict) -> Answer:
    return check(verdict.program, read(document([verdict.certificate()]))[0])


def test_certificates_of_generated_programs_are_accepted() -> None:
    verdicts = [verify(_generated(seed), smt=False) for seed in [*range(52), *HARD]]
    answers = [_checked(verdict) for verdict in verdicts if verdict.is_safe]
    assert len(answers) >= 40
    assert [answer for answer in answers if answer.kind != "accepted"] == []


def test_joins_in_a_loop_are_left_out_where_its_invariant_needs_whole_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = verify(_generated(NOT_INDUCTIVE), smt=False)
    assert _checked(verdict).kind == "accepted"
    monkeypatch.setattr(Fixpoint, "is_inductive", lambda *_: True)
    assert _checked(verdict).kind == "refused"


SMALL = """
    *(u64 *)(r10 - 8) = 8
    *(u64 *)(r10 - 16) = 8
    call 7
    {bound}
    r2 = r10
    r2 += r0
    {access}
    r1 = *(u64 *)(r10 - {cell})
    r3 = r10
    r3 -= r1
    r0 = *(u8 *)(r3 + 0)
out:
    r0 = 0
    exit
"""
"""Goes to a place of the stack that is not known, with R0 in 0..7, and then to one that depends on a cell beside it."""

BOUNDS = {
    "mask": "r0 &= 7",
    "narrow": "if w0 > 7 goto out\nw0 = w0",
    "signed": "r0 <<= 32\nr0 s>>= 32\nif r0 s> 7 goto out\nif r0 s< 0 goto out",
    "negated": "r0 &= 7\nr0 *= -1\nr0 += 7",
    "wrapping": "r0 &= 7\nr0 -= 3\nr2 = 3\nr0 += r2",
    "divided": "w0 /= 536870912",
}
"""Ways to know that R0 is in 0..7, which bounds of intervals follow only in part."""

ACCESSES = {
    "reads": (8, "r4 = *(u8 *)(r2 - 16)", "r4 = *(u8 *)(r2 - 17)"),
    "reads all": (8, "r4 = *(u64 *)(r2 - 15)", "r4 = *(u64 *)(r2 - 14)"),
    "writes below": (8, "*(u8 *)(r2 - 16) = 1", "*(u8 *)(r2 - 15) = 1"),
    "writes above": (16, "*(u8 *)(r2 - 8) = 1", "*(u8 *)(r2 - 9) = 1"),
    "writes two": (8, "*(u16 *)(r2 - 17) = 1", "*(u16 *)(r2 - 16) = 1"),
}
"""Which cell is used behind an access; one that is safe, and one that touches a byte too many."""


def _twins(bound: str, access: str) -> tuple[Program, str, Program]:
    """A safe program with its certificate, and an unsafe program."""
    cell, *texts = ACCESSES[access]
    safe, unsafe = (assemble(SMALL.format(bound=BOUNDS[bound], access=text, cell=cell)) for text in texts)
    assert not verify(unsafe, smt=False).is_safe
    return safe, document([verify(safe, smt=False).certificate()]), unsafe


def _made_out_to(unsafe: Program, safe: Program, text: str) -> Answer:
    return check(unsafe, read(text.replace(fingerprint(safe), fingerprint(unsafe)))[0])


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("bound", BOUNDS)
def test_offsets_into_the_stack_are_bounded_as_narrowly_as_they_are(bound: str, access: str) -> None:
    safe, text, unsafe = _twins(bound, access)
    assert check(safe, read(text)[0]).kind == "accepted"
    assert _made_out_to(unsafe, safe, text).kind == "refused"


@pytest.mark.parametrize(("end", "access"), [(0, "writes above"), (1, "writes below")])
def test_bounds_that_are_too_narrow_are_noticed(end: int, access: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs above tell whether either end is one off."""
    safe, text, unsafe = _twins("mask", access)
    honest = Path.extent

    def wrong(self: Path, word: Word, most: int) -> tuple[int, int]:
        lo, hi = honest(self, word, most)
        return (lo + (end == 0), hi - (end == 1)) if lo < hi else (lo, hi)

    monkeypatch.setattr(Path, "extent", wrong)
    assert _made_out_to(unsafe, safe, text).kind == "accepted"
