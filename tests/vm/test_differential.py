"""Engines compared: generated programs agree, planted bugs are found and made small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from prevail_py import words
from prevail_py.isa.instructions import Exit, Instruction, Jump
from prevail_py.objects.text import assemble
from prevail_py.research.differential import campaign, program_of
from prevail_py.vm.differential import Divergence, Input, compare, load, text_of
from prevail_py.vm.reduction import minimise
from prevail_py.vm.source import access, arithmetic, engine, generate, instructions
from prevail_py.vm.source.algebra import SourceAlgebra, Term
from prevail_py.vm.source.flow import instruction_at
from prevail_py.vm.source.writer import Site, Writer
from prevail_py.words import OpKind, WordOp

BOTH = ("interpreter", "source")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Code that was compiled with a planted bug is not for the next test."""
    engine._compiled.clear()
    yield
    engine._compiled.clear()


def test_generated_programs_agree() -> None:
    last = None
    for last in campaign(range(300), 4, BOTH):
        assert not last.divergences, text_of(minimise(last.divergences[0]))
    assert last is not None
    assert last.runs == 1200
    assert last.outcomes["r0"] > 600  # most programs come to an end, and some are cut off or trap
    assert last.outcomes["out of fuel"] > 20
    assert len(last.outcomes) > 5


def found(most: int = 400) -> Divergence:
    """The first divergence among the first programs, made small."""
    for tally in campaign(range(most), 4, BOTH, stop_at=1):
        if tally.divergences:
            return minimise(tally.divergences[0])
    pytest.fail(f"no divergence in {most} programs")


def size(divergence: Divergence) -> int:
    return sum(i is not None and i != Jump(0) for i in divergence.program.code)


def test_planted_shift_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    def shl(self: SourceAlgebra, a: Term, b: Term, width: int) -> Term:
        return original(self, a, replace(b, text=f"({b} % 48)", value=None), width)

    original = SourceAlgebra.shl
    monkeypatch.setattr(SourceAlgebra, "shl", shl)
    assert size(found()) < 12


def test_planted_zero_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(algebra: SourceAlgebra, op: WordOp, args: tuple[Term, ...]) -> Term:
        wide = op.kind is OpKind.SUB and op.width == 32
        return words.evaluate(algebra, replace(op, width=64) if wide else op, args)

    monkeypatch.setattr(arithmetic, "evaluate", evaluate)
    divergence = found()
    assert size(divergence) < 12
    assert "w" in text_of(divergence)


def test_planted_signed_quotient(monkeypatch: pytest.MonkeyPatch) -> None:
    def sdiv(self: SourceAlgebra, a: Term, b: Term, width: int) -> Term:
        right = original(self, a, b, width)
        least, ones = 1 << width - 1, (1 << width) - 1
        return replace(right, text=f"({least - 1} if {a} == {least} and {b} == {ones} else {right})")

    original = SourceAlgebra.sdiv
    monkeypatch.setattr(SourceAlgebra, "sdiv", sdiv)
    assert size(found()) < 12


def test_planted_sign_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(algebra: SourceAlgebra, op: WordOp, args: tuple[Term, ...]) -> Term:
        if op.kind is OpKind.SEXT and op.source == 16:
            op = WordOp(OpKind.ZEXT, 16)
        return words.evaluate(algebra, op, args)

    monkeypatch.setattr(arithmetic, "evaluate", evaluate)
    assert size(found()) < 12


def test_planted_cmpxchg32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison reads all of R0."""

    def compare(algebra: SourceAlgebra, comparison: words.Comparison, a: Term, b: Term, width: int) -> str:
        return words.compare(algebra, comparison, a, b, 64 if a.text == "old" else width)

    monkeypatch.setattr(access, "compare", compare)
    divergence = found()
    assert "cmpxchg" in text_of(divergence)
    assert size(divergence) < 16


def test_planted_fuel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last stretch of a run is checked for one instruction too few."""

    def need(self: generate._FunctionWriter, tree: generate._Tree, inside: set[int], start: int, first: int = 0) -> int:
        return original(self, tree, inside, start, first) - 1

    original = generate._FunctionWriter._need
    monkeypatch.setattr(generate._FunctionWriter, "_need", need)
    divergence = found()
    assert any("out of fuel" in difference.left for difference in divergence.differences)


def test_planted_slot_of_a_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    def reference(self: Writer, at: Site) -> list[str]:
        return ["try:", *(f"    {line}" for line in original(self, at)), "finally:", "    m.pc -= 1"]

    original = Writer.reference
    monkeypatch.setattr(Writer, "reference", reference)
    assert any(" at slot " in d.left for d in found().differences if d.field == "outcome")


def test_planted_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(w: Writer, pc: int, count: int) -> list[str]:
        return instructions.write(w, pc, count + isinstance(instruction_at(w.code.instructions, pc), Exit))

    monkeypatch.setattr(generate, "write", write)
    assert any(difference.field == "steps" for difference in found().differences)


def test_parting_names_the_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "r2 = 1\nr3 = 5\nr3 *= 7\n" + "r4 = 9\nif r2 == 3 goto +0\n" * 5 + "r0 = r3\nr0 &= 3\nexit"
    monkeypatch.setattr(SourceAlgebra, "mul", SourceAlgebra.add)
    program = assemble(text)
    divergence = compare(program, Input(b""), BOTH, load(program, BOTH)).divergence
    assert divergence is not None
    parting = divergence.parting
    assert parting is not None
    assert parting.left["r3"] == "0x23"
    assert parting.right["r3"] == "0xc"
    small = minimise(divergence)
    assert size(small) <= 4
    assert "r3 *= 7" in text_of(small)


def test_packets_get_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 3)\nr0 <<= 1\nr0 >>= 1\nexit"
    monkeypatch.setattr(SourceAlgebra, "lshr", SourceAlgebra.shl)
    program = assemble(text)
    divergence = compare(program, Input(bytes(range(1, 100))), BOTH, load(program, BOTH)).divergence
    assert divergence is not None
    packet = minimise(divergence).given.packet
    assert packet is not None
    assert len(packet) <= 6
    assert packet[:3] == bytes(3)


def test_a_program_that_an_engine_cannot_run_is_skipped() -> None:
    program = assemble("r0 = 2\nexit", "sched_cls")
    names = ("interpreter", "source", "kernel")
    comparison = compare(program, Input(bytes(64), context=bytes(8)), names, load(program, names))
    assert comparison.divergence is None
    assert set(comparison.results) == {"interpreter", "source"}
    assert "context" in comparison.skipped["kernel"]


def test_unknown_engine() -> None:
    with pytest.raises(ValueError, match=r"no engine 'native' \(there are: interpreter, source, jit, jit-O0, kernel\)"):
        load(program_of(0), ("native",))


def test_campaign_can_be_repeated() -> None:
    codes: list[tuple[Instruction | None, ...]] = [program_of(n).code for n in range(8)]
    assert codes == [program_of(n).code for n in range(8)]
