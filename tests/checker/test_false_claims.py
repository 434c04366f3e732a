"""Certificates made by an adversary: a claim that a run refutes is never accepted, nor any for an unsafe program.

A run of the interpreter says what some words are at a place.  A certificate whose states at this place all say
otherwise is false, so the checker must refuse it, however the rest fits.  Nothing is assumed of the verifier here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

import pytest

from prevail_py.checker.certificate import CertificateError, fingerprint, read
from prevail_py.checker.check import check
from prevail_py.checker.knowledge import Knowledge
from prevail_py.checker.matching import Matching
from prevail_py.checker.state import Path
from prevail_py.objects.text import assemble
from prevail_py.research.suite import pairs
from prevail_py.verifier import verify
from prevail_py.verifier.certificate import document
from prevail_py.vm.interpreter import run
from prevail_py.vm.machine import Machine
from prevail_py.words import to_signed

MASK = (1 << 64) - 1
PROVED = [name for name, pair in pairs().items() if pair.proved]
Place = tuple[tuple[int, ...], int]


@cache
def _certificate(name: str) -> str:
    return document([verify(pairs()[name].safe).certificate()])


def _content(name: str) -> Any:
    return json.loads(_certificate(name))


def _rows(content: Any) -> list[Any]:
    rows: list[Any] = content["certificates"][0]["invariants"]
    return rows


# What a run refutes -------------------------------------------------------------------------------------------------


def _observed(name: str) -> dict[Place, dict[int, int]]:
    """For each place that a run on the witness of the twin, or another packet, gets to: registers that are numbers."""
    seen: dict[Place, dict[int, int]] = {}

    def observe(machine: Machine) -> None:
        numbers = {
            i: word
            for i, (word, region) in enumerate(zip(machine.registers, machine.provenance, strict=True))
            if word is not None and region is None
        }
        if not any(frame.callback for frame in machine.calls):
            seen.setdefault((machine.call_pcs, machine.pc), numbers)

    for packet in (pairs()[name].witness, bytes(64), bytes(range(100))):
        run(pairs()[name].safe, packet=packet, observers=[observe], fuel=20_000)
    return seen


def _is_word(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value[0], str)


def _other(fact: Callable[[Any, int], Any]) -> Callable[[Any, int, int], None]:
    def lie(state: Any, register: int, number: int) -> None:
        state["facts"].append(fact(state["registers"][register], number))

    return lie


def _constant(state: Any, register: int, number: int) -> None:
    state["registers"][register] = [0, number + 1 & MASK]


def _operation(state: Any, register: int, number: int) -> None:
    """The node is said to be a number that it is not."""
    node, offset = state["registers"][register]
    if node == 0:
        _constant(state, register, number)
    else:
        state["nodes"][node - 1] = ["xor", 64, 0, [0, number - offset + 1 & MASK], [0, 0]]


def _fresh(state: Any, register: int, number: int) -> None:
    """The register holds a node of its own, computed from a new symbol in such a way that it has another value."""
    operation = ["and", 64, 0, [len(state["nodes"]) + 1, 0], [0, ~number & MASK]]
    if number == 0:
        operation = ["or", 64, 0, [len(state["nodes"]) + 1, 0], [0, 1]]
    state["nodes"] += [[], operation]
    state["registers"][register] = [len(state["nodes"]), 0]


def _packet(state: Any, register: int, number: int) -> None:
    """A packet that ends before it starts."""
    state["packet"][0] = [0, MASK]


LIES: dict[str, Callable[[Any, int, int], None]] = {
    "not equal": _other(lambda word, n: ["!=", 64, word, [0, n]]),
    "low half not equal": _other(lambda word, n: ["!=", 32, word, [0, n]]),
    "below": _other(lambda word, n: ["<", 64, word, [0, n]]),
    "above, signed": _other(lambda word, n: ["s>", 64, word, [0, n]]),
    "a bit that is not set": _other(lambda word, n: ["&", 64, word, [0, ~n & MASK]]),
    "sum": _other(lambda word, n: ["sum", [word], [], to_signed(n, 64) - 1]),
    "difference": _other(lambda word, n: ["sum", [[0, n]], [word], -1]),
    "constant": _constant,
    "operation": _operation,
    "fresh symbol": _fresh,
    "packet": _packet,
}


def _lies(name: str, random_: Random) -> Iterator[tuple[str, Place, Any]]:
    """Certificates with one false claim each, in all states of one place: one for each kind of lie."""
    seen = _observed(name)
    content = _content(name)
    places: list[tuple[int, Place, int]] = []
    for i, row in enumerate(_rows(content)):
        place = tuple(row["calls"]), row["slot"]
        for register, _ in sorted(seen.get(place, {}).items()) if not row["after_call"] else ():
            if row["states"] and all(_is_word(state["registers"][register]) for state in row["states"]):
                places.append((i, place, register))
    for kind, lie in LIES.items() if places else ():
        i, place, register = random_.choice(places)
        lying = json.loads(json.dumps(content))
        for state in _rows(lying)[i]["states"]:
            lie(state, register, seen[place][register])
        yield kind, place, lying


SAMPLE = PROVED[::4]


def _accepted(name: str) -> tuple[int, list[Any]]:
    """How many false certificates there were, and which of them were accepted."""
    lies = list(_lies(name, Random(name)))
    wrong = []
    for kind, place, lying in lies:
        if check(pairs()[name].safe, read(json.dumps(lying))[0]).kind != "refused":
            wrong.append((kind, place))
    return len(lies), wrong


def test_claims_that_a_run_refutes_are_refused() -> None:
    found = [_accepted(name) for name in SAMPLE]
    assert sum(count for count, _ in found) > 100
    assert [wrong for _, wrong in found if wrong] == []


def _broken_goals(patch: pytest.MonkeyPatch) -> None:
    original = Matching.goals
    patch.setattr(Matching, "goals", lambda self: None if original(self) is None else [])


def _broken_operations(patch: pytest.MonkeyPatch) -> None:
    original = Matching._computed

    def computed(self: Matching, node: Any) -> None:
        wanted = list(self.wanted)
        original(self, node)
        self.wanted = wanted

    patch.setattr(Matching, "_computed", computed)


def _broken_assumption(patch: pytest.MonkeyPatch) -> None:
    """What is still to be shown is assumed before it is."""
    original = Path.shows

    def shows(self: Path, goals: Any) -> bool:
        for goal in goals:
            self.known.facts.append(goal)
        return original(self, goals)

    patch.setattr(Path, "shows", shows)


def _broken_bounds(patch: pytest.MonkeyPatch) -> None:
    original = Knowledge.bounds
    patch.setattr(Knowledge, "bounds", lambda self, word: (original(self, word)[0],) * 2)


@pytest.mark.parametrize("fault", [_broken_goals, _broken_operations, _broken_assumption, _broken_bounds])
def test_a_faulty_checker_accepts_some_of_them(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    assert any(wrong for _, wrong in map(_accepted, SAMPLE))


# Whatever is claimed, an unsafe program does not pass -----------------------------------------------------------------


def _states(content: Any) -> list[Any]:
    return [state for row in _rows(content) for state in row["states"]]


def _rotated(content: Any) -> None:
    rows = _rows(content)
    for row, states in zip(rows, [rows[-1]["states"], *[row["states"] for row in rows[:-1]]], strict=True):
        row["states"] = states


def _no_callees(content: Any) -> None:
    content["certificates"][0]["invariants"] = [row for row in _rows(content) if not row["calls"]]


def _nothing_known(content: Any) -> None:
    for state in _states(content):
        state["facts"] = []


def _all_symbols(content: Any) -> None:
    for state in _states(content):
        state["nodes"] = [[] for _ in state["nodes"]]


def _one_symbol(content: Any) -> None:
    for state in _states(content):
        state["nodes"] = state["nodes"][:1] * (len(state["nodes"]) + 1) if state["nodes"] else []
        state["registers"] = [[1, 0] if _is_word(v) and v[0] and state["nodes"] else v for v in state["registers"]]


def _all_written(content: Any) -> None:
    for state in _states(content):
        for frame in state["frames"]:
            frame[0] = "f" * 128


def _nothing_held(content: Any) -> None:
    for state in _states(content):
        state["references"] = []


def _never_null(content: Any) -> None:
    for state in _states(content):
        for value in state["registers"]:
            if isinstance(value, list) and isinstance(value[0], str):
                value[5] = [0, 1]


def _huge_packet(content: Any) -> None:
    for state in _states(content):
        state["packet"] = [[0, 1 << 62], [0, -256 & MASK]]


def _behind_every_call(content: Any) -> None:
    """Whatever is known at a place is said to be known behind an instruction that is no call."""
    _rows(content).extend({**row, "after_call": 1} for row in list(_rows(content)) if not row["after_call"])


def _in_callees_too(content: Any) -> None:
    for row in list(_rows(content)):
        states = [{**s, "frames": [*s["frames"], ["0", [], [None] * 4]]} for s in row["states"]]
        _rows(content).append({**row, "calls": [*row["calls"], row["slot"]], "states": states})


def _all_contradictory(content: Any) -> None:
    for state in _states(content):
        state["facts"].append(["<", 64, [0, 0], [0, 0]])


ATTACKS = [_rotated, _no_callees, _nothing_known, _all_symbols, _one_symbol, _all_written, _nothing_held, _never_null,
           _huge_packet, _behind_every_call, _in_callees_too, _all_contradictory]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_no_attack_makes_an_unsafe_program_pass(attack: Callable[[Any], None]) -> None:
    answers: dict[str, int] = {}
    for name in PROVED[::2]:
        content = _content(name)
        content["certificates"][0]["sha256"] = fingerprint(pairs()[name].twin)
        attack(content)
        try:
            kind = check(pairs()[name].twin, read(json.dumps(content))[0]).kind
        except CertificateError:
            kind = "malformed"
        answers[kind] = answers.get(kind, 0) + 1
    assert answers.keys() <= {"refused", "malformed"}, answers
    assert answers.get("refused", 0) > len(PROVED) // 4, answers


def _claim(packet: Any, nodes: int, *facts: Any) -> dict[str, Any]:
    """A state of which only the context in R6, the frame and the packet are known."""
    context, frame = (["context", 0, 0, 0, "", [0, 1], [0, 0]], ["stack", 0, 0, 0, "", [0, 1], [0, 512]])
    registers = [*[None] * 6, context, *[None] * 3, frame]
    rest = {"frames": [["0", [], []]], "packet": packet, "references": [], "facts": list(facts)}
    return {"nodes": [[]] * nodes, "registers": registers, **rest}


@pytest.mark.parametrize("start", [[0, 0], [2, 0]])
def test_metadata_that_are_not_known_to_move(start: Any) -> None:
    """The metadata start at 0, as the program asks; behind the call they do not, whatever was claimed before it."""
    program = assemble(
        """
        r6 = r1
        r2 = *(u32 *)(r6 + 8)
        r3 = *(u32 *)(r6 + 0)
        if r2 == r3 goto +2
        r0 = 1
        exit
        r1 = r6
        r2 = -4
        call 54
        r2 = *(u32 *)(r6 + 8)
        r3 = *(u32 *)(r6 + 0)
        if r2 == r3 goto +1
        r0 = *(u64 *)(r10 - 8)
        r0 = 1
        exit
        """
    )
    claim = _claim([[1, 0], start], 2, ["<=", 64, [1, 0], [0, (1 << 31) - 1]], ["==", 64, [0, 0], start])
    row = {"calls": [], "slot": 6, "after_call": 0, "states": [claim]}
    certificate = {"program": "main", "sha256": fingerprint(program), "invariants": [row]}
    content = {"kind": "prevail-py certificates", "schema": 2, "certificates": [certificate]}
    answer = check(program, read(json.dumps(content))[0])
    assert (answer.kind, answer.slot) == ("refused", 12)
