"""The explorer: everything about the programs of an object in one page, for people (``docs/explorer.md``).

Source beside bytecode beside control flow; the state in front of each instruction; failures with what led to them, step
by step through the witness, what the solver proved, what the kernel says.  This module makes the data of the page;
``assets/explorer.js`` shows it, most of it only when it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prevail_py._render import Page
from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import CfgError, ControlFlowGraph
from prevail_py.report.code import METRICS, Sources, code_data, graph_data, unplaced_data
from prevail_py.report.compact import States, Strings
from prevail_py.report.page import assemble
from prevail_py.verifier.state import State
from prevail_py.verifier.verdict import Verdict
from prevail_py.verifier.witness import Witness
from prevail_py.vm.outcome import Trapped
from prevail_py.vm.scenario import play
from prevail_py.vm.trace import Recorder, Step

if TYPE_CHECKING:
    from prevail_py.verifier.termination import Termination
    from prevail_py.vm.kernel.answer import KernelAnswer

__all__ = ["explorer", "program_data"]

_MAX_STATES: Final = 16
"""States in front of one instruction that the page has."""

_MAX_STEPS: Final = 4_000
"""Steps of a witness that the page has: the last ones."""

_MAX_TEXT: Final = 400_000
"""Characters of a log or of a query."""


def explorer(
    name: str,
    verdicts: Iterable[Verdict],
    kernel: Mapping[str, KernelAnswer] | None = None,
    sources: Sources | None = None,
) -> Page:
    """The page about the programs of the object ``name``, one for each verdict.

    ``kernel`` has, by name of the program, what the kernel said of some of them; ``sources``, by name of the file, the
    lines of files that are shown whole (:func:`prevail_py.report.sources.whole_files`).
    """
    programs = [program_data(verdict, (kernel or {}).get(verdict.program.name), sources) for verdict in verdicts]
    data = {"schema": 1, "object": name, "metrics": METRICS, "programs": programs}
    return assemble("explorer", f"{name} - prevail-py", data, height=760)


def program_data(
    verdict: Verdict, kernel: KernelAnswer | None = None, sources: Sources | None = None
) -> dict[str, Any]:
    """What the page shows of one program, as data for JSON; texts that come again are numbers into ``strings``."""
    program = verdict.program
    strings = Strings()
    states = States(strings)
    try:
        graph: ControlFlowGraph | None = build(program)
    except CfgError:
        graph = None
    sources = sources or {}
    code, places = code_data(program, graph, strings, sources)
    return {
        "name": program.name,
        "section": program.section,
        "type": program.program_type,
        "verdict": verdict.kind.value,
        "reason": verdict.reason,
        "seconds": round(verdict.seconds, 3),
        "steps": verdict.steps,
        "disjuncts": verdict.disjuncts,
        "policy": verdict.policy,
        "assumptions": list(verdict.assumptions),
        "instructions_bound": None if verdict.termination is None else verdict.termination.instructions,
        "loops": None if verdict.termination is None else _loops(verdict.termination),
        "code": code,
        "places": places,
        "unplaced": unplaced_data(program, sources, strings),
        "functions": [] if graph is None else graph_data(graph),
        "contexts": _contexts(verdict, states),
        "failures": [_failure(verdict, number) for number in range(len(verdict.failures))],
        "witness": None if verdict.witness is None else _witness(verdict.witness, strings),
        "discharged": [
            {
                "pc": each.pc,
                "calls": list(each.calls),
                "assertion": each.assertion,
                "rlimit": each.rlimit,
                "query": _cut(each.query),
            }
            for each in verdict.discharged
        ],
        "kernel": None if kernel is None else _kernel(kernel),
        "states": states.coded,
        "strings": strings.texts,
    }


def _loops(termination: Termination) -> list[list[Any]]:
    """Bounds as [slot of the head, active calls, text]."""
    return [
        [
            loop.pc,
            list(loop.calls),
            "no bound found" if loop.turns is None else f"at most {loop.turns} turns: {loop.measure}",
        ]
        for loop in termination.loops
    ]


def _contexts(verdict: Verdict, states: States) -> list[dict[str, Any]]:
    """By active calls: the states in front of each slot, and how many there are where not all are in the page."""
    out: dict[tuple[int, ...], dict[str, Any]] = {}
    for calls, head in sorted(verdict.invariants):
        context = out.setdefault(calls, {"calls": list(calls), "at": {}, "more": {}})
        last: list[int] = []
        for pc, found in verdict.invariants.walk(head, calls):
            numbers: list[int] = []
            for position, state in enumerate(found[:_MAX_STATES]):
                like = last[position] if position < len(last) else -1
                numbers.append(states.number(_lines(state), like))
            context["at"][pc] = numbers
            if len(found) > _MAX_STATES:
                context["more"][pc] = len(found)
            last = numbers
    return list(out.values())


def _lines(state: State) -> list[str]:
    return [*state.lines(), *state.relations()]


def _failure(verdict: Verdict, number: int) -> dict[str, Any]:
    failure = verdict.failures[number]
    explanation = verdict.explain(failure)
    return {
        "pc": failure.pc,
        "assertion": failure.assertion,
        "message": failure.message,
        "line": str(failure.line or ""),
        "needed": explanation.needed,
        "known": explanation.known,
        "facts": list(explanation.facts),
        "calls": list(explanation.calls),
        "slice": [[step.pc, list(step.calls)] for step in explanation.slice],
    }


def _witness(witness: Witness, strings: Strings) -> dict[str, Any]:
    recorder = Recorder()
    execution = play(witness.program, witness.inputs, observers=(recorder,))
    assert execution.outcome == Trapped(witness.trap)
    steps = recorder.steps
    dropped = max(len(steps) - _MAX_STEPS, 0)
    if dropped:
        registers: dict[int, int | None] = {}
        for step in steps[: dropped + 1]:
            registers.update(step.changed)
        steps = [Step(steps[dropped].pc, steps[dropped].frames, registers), *steps[dropped + 1 :]]
    return {
        "headline": witness.headline,
        "kind": witness.trap.kind.value,
        "message": witness.trap.message,
        "pc": witness.trap.pc,
        "inputs": [list(row) for row in witness.inputs_shown()],
        "first": dropped,
        "steps": [
            [
                step.pc,
                step.frames,
                [[register, -1 if value is None else strings.number(hex(value))] for register, value in _changed(step)],
            ]
            for step in steps
        ],
    }


def _changed(step: Step) -> list[tuple[int, int | None]]:
    """The registers that changed before a step, in order."""
    return sorted(step.changed.items())


def _kernel(answer: KernelAnswer) -> dict[str, Any]:
    return {"kind": answer.kind.value, "reason": answer.reason, "log": _cut(answer.log).splitlines()}


def _cut(text: str) -> str:
    """``text``, without its middle where it is too long to be read by anybody."""
    if len(text) <= _MAX_TEXT:
        return text
    half = _MAX_TEXT // 2
    return f"{text[:half]}\n... {len(text) - _MAX_TEXT} characters are left out here ...\n{text[-half:]}"
