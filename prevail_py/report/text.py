"""Verdicts as text: a table of programs, and for each failure its source line, instruction, state and remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prevail_py._render import Table
from prevail_py.isa.disassembler import disassemble
from prevail_py.verifier.verdict import Failure, Verdict, VerdictKind

__all__ = ["failure_text", "summary", "verdict_row", "verdict_table", "verdict_text"]


def verdict_row(path: str, verdict: Verdict) -> tuple[str, ...]:
    """The row of a program in :func:`verdict_table`; ``path`` is that of its object."""
    program = verdict.program
    return (
        Path(path).name,
        program.section,
        program.name,
        program.program_type,
        str(program.instruction_count),
        verdict.kind.value,
        f"{verdict.seconds:.3f}",
    )


def verdict_table(rows: Sequence[tuple[str, ...]]) -> Table:
    """One row per program."""
    header = ("object", "section", "program", "type", "insns", "verdict", "seconds")
    return Table(header, tuple(rows), right=frozenset({4, 6}))


def summary(kinds: Sequence[VerdictKind]) -> str:
    """How many programs have which verdict: ``3 programs: 2 SAFE, 1 UNKNOWN``."""
    counts = Counter(kinds)
    parts = ", ".join(f"{counts[kind]} {kind.value}" for kind in VerdictKind if counts[kind])
    return f"{len(kinds)} program{'' if len(kinds) == 1 else 's'}{': ' if parts else ''}{parts}"


def verdict_text(path: str, verdict: Verdict, explain: bool = False) -> str:
    """Everything to know about a program that is not SAFE: a headline, then its failures in program order.

    With ``explain`` each failure comes with the facts and the instructions that it rests on.
    """
    headline = f"{Path(path).name}: {verdict.program.name}: {verdict.kind.value}"
    if verdict.reason:
        headline += f": {verdict.reason}"
    parts = [headline]
    if verdict.witness is not None:
        parts.append("\n".join(f"  {line}" for line in f"witness: {verdict.witness}".splitlines()))
    return "\n\n".join([*parts, *(failure_text(verdict, failure, explain) for failure in verdict.failures)])


def failure_text(verdict: Verdict, failure: Failure, explain: bool = False) -> str:
    """One failure, several lines: where and what, the source text, the instruction, what is known, what is needed."""
    line = failure.line
    where = f"{line}" if line else f"{verdict.program.section}: instruction {failure.pc}"
    lines = [f"  {where}: {failure.message} [{failure.assertion}]"]
    if explain:
        return "\n".join([*lines, *(f"  {line}" for line in verdict.explain(failure).lines())])
    if line is not None and line.text.strip():
        lines.append(f"    source  {line.text.strip()}")
    instruction = verdict.program.code[failure.pc]
    if instruction is not None:
        lines.append(f"    code    {failure.pc}: {disassemble(instruction, failure.pc)}")
    for label, text in (("known", failure.state), ("needed", failure.needed)):
        for number, part in enumerate(text.splitlines()):
            lines.append(f"    {label if number == 0 else '':7} {part}".rstrip())
    return "\n".join(lines)
