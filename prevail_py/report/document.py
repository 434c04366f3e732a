"""The public JSON format of verdicts: one document per object file, schema 1 (``docs/cli.md`` lists every field).

Within one schema number fields are only ever added.  Documents of the same input are equal, ``seconds`` apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prevail_py.isa.disassembler import disassemble
from prevail_py.verifier.explain import Explanation
from prevail_py.verifier.verdict import Failure, Verdict

__all__ = ["SCHEMA", "error_document", "object_document"]

SCHEMA = 1


def object_document(
    name: str, verdicts: Iterable[Verdict], *, invariants: bool = False, explain: bool = False
) -> dict[str, Any]:
    """The document of the object ``name`` (its path as given), ready for :func:`json.dumps`."""
    programs = [_program(verdict, invariants, explain) for verdict in verdicts]
    return {"schema": SCHEMA, "object": name, "programs": programs}


def error_document(name: str, message: str) -> dict[str, Any]:
    """The document of an input that could not be read."""
    return {"schema": SCHEMA, "object": name, "error": message, "programs": []}


def _program(verdict: Verdict, invariants: bool, explain: bool) -> dict[str, Any]:
    program = verdict.program
    document: dict[str, Any] = {
        "section": program.section,
        "name": program.name,
        "program_type": program.program_type,
        "instructions": program.instruction_count,
        "verdict": verdict.kind.value,
        "reason": verdict.reason,
        "seconds": round(verdict.seconds, 6),
        "steps": verdict.steps,
        "disjuncts": verdict.disjuncts,
        "policy": verdict.policy,
        "assumptions": list(verdict.assumptions),
        "discharged": [
            {"pc": each.pc, "calls": list(each.calls), "assertion": each.assertion, "rlimit": each.rlimit}
            for each in verdict.discharged
        ],
        "failures": [_failure(verdict, failure, explain) for failure in verdict.failures],
    }
    if verdict.witness is not None:
        document["witness"] = verdict.witness.document()
    if verdict.termination is not None:
        document["termination"] = {
            "proved": verdict.termination.is_proved,
            "instructions": verdict.termination.instructions,
            "loops": [
                {"pc": loop.pc, "calls": list(loop.calls), "turns": loop.turns, "measure": loop.measure}
                for loop in verdict.termination.loops
            ],
        }
    if invariants:
        document["invariants"] = [
            {"pc": pc, "calls": list(calls), "states": list(states)}
            for (calls, pc), states in sorted(verdict.invariants.items())
        ]
    return document


def _failure(verdict: Verdict, failure: Failure, explain: bool) -> dict[str, Any]:
    line = failure.line
    instruction = verdict.program.code[failure.pc]
    document: dict[str, Any] = {
        "pc": failure.pc,
        "line": line.line if line else None,
        "file": line.file if line else None,
        "source": line.text.strip() if line else None,
        "instruction": disassemble(instruction, failure.pc) if instruction is not None else "",
        "assertion": failure.assertion,
        "message": failure.message,
        "state": failure.state,
        "needed": failure.needed,
    }
    if explain:
        document["explanation"] = _explanation(verdict.explain(failure))
    return document


def _explanation(explanation: Explanation) -> dict[str, Any]:
    return {
        "needed": explanation.needed,
        "known": explanation.known,
        "facts": list(explanation.facts),
        "calls": list(explanation.calls),
        "slice": [
            {
                "pc": step.pc,
                "calls": list(step.calls),
                "instruction": step.instruction,
                "line": step.line.line if step.line else None,
                "file": step.line.file if step.line else None,
            }
            for step in explanation.slice
        ],
    }
