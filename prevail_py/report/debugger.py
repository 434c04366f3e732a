"""The abstract debugger: the fixpoint of one program, moment by moment, in one page (``docs/explorer.md``).

It shows a :class:`~prevail_py.verifier.recording.Recording`: which block is executed in which states, what arrives at
the head of a loop, and what joining, widening and the descent make of it.
"""

from __future__ import annotations

from typing import Any, Final

from prevail_py._render import Page
from prevail_py.report.code import METRICS, code_data, graph_data
from prevail_py.report.compact import States, Strings
from prevail_py.report.page import assemble
from prevail_py.verifier.recording import Recording
from prevail_py.verifier.state import State

__all__ = ["debugger", "recording_data"]

_MAX_MOMENTS: Final = 3_000
"""Moments that the page has: the first ones."""

_MAX_STATES: Final = 8
"""States of one disjunction that the page has."""


def debugger(recording: Recording) -> Page:
    """The page about ``recording``: a notebook shows it in a frame, ``save`` writes it to a file."""
    return assemble("debugger", f"{recording.program.name}: fixpoint - prevail-py", recording_data(recording))


def recording_data(recording: Recording) -> dict[str, Any]:
    """What the page shows, as data for JSON; moments are [active calls, slot, how, after, before, arriving]."""
    strings = Strings()
    states = States(strings)
    code, places = code_data(recording.program, recording.graph, strings)
    known: dict[int, int] = {}  # states come again and again, and do not change

    def numbers(found: tuple[State, ...]) -> list[int]:
        out = []
        for state in found[:_MAX_STATES]:
            if id(state) not in known:
                known[id(state)] = states.number([*state.lines(), *state.relations()])
            out.append(known[id(state)])
        return out

    shown = recording.moments[:_MAX_MOMENTS]
    calls: dict[tuple[int, ...], int] = {}
    moments = [
        [
            calls.setdefault(moment.calls, len(calls)),
            moment.pc,
            moment.how.value,
            numbers(moment.after),
            numbers(moment.before),
            numbers(moment.arriving),
        ]
        for moment in shown
    ]
    return {
        "schema": 1,
        "name": recording.program.name,
        "type": recording.program.program_type,
        "ending": recording.ending,
        "steps": recording.steps,
        "metrics": METRICS,
        "code": code,
        "places": places,
        "functions": graph_data(recording.graph),
        "calls": [list(each) for each in calls],
        "moments": moments,
        "total": len(recording.moments),
        "states": states.coded,
        "strings": strings.texts,
    }
