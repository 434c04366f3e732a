"""What is executed at a glance is safe, and is executed as it would be after a closer look."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.domains import facts
from prevail_py.isa.semantics import Computing
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.research import families
from prevail_py.verifier import obvious, regions
from prevail_py.verifier.assertions import assertions_of
from prevail_py.verifier.check import findings
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.functions import prepare
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.transfer import effect_of
from prevail_py.verifier.values import Pointer, Special, Value

Seen = Counter[str]


def _programs() -> list[Program]:
    programs = [program for name in examples.EXAMPLES for program in load_object(examples.path(name)).programs.values()]
    return [*programs, families.bounds_checks(8), families.loop(8), families.calls(4)]


def _text(state: State) -> str:
    """All that is known, whatever its symbols are called."""
    names: dict[str, str] = {}
    lines = "\n".join([*state.lines(), *(str(frame.initialised) for frame in state.frames)])
    return re.sub(r"\b[sn]\d+", lambda found: names.setdefault(found[0], f"s{len(names)}"), lines)


def _spoilt(state: State) -> list[State]:
    """The state, and the same with something else in each register: what an instruction may not take for granted."""
    others: tuple[Value, ...] = (Special.UNINITIALISED, Special.POISON, *state.registers[1:2], state.registers[10])
    out = [state]
    for register in range(10):
        for other in others:
            changed = state.copy()
            changed.registers[register] = other
            out.append(changed)
    return out


def _compare(program: Program) -> Seen:
    setting = Setting(program, platform(program.platform), facts())
    fixpoint = Fixpoint(setting, 2, 20_000, lambda *_: None)
    fixpoint.run()
    seen: Seen = Counter()
    for function in [prepare(setting, graph) for graph in fixpoint.graph.functions]:
        for block in function.graph.blocks:
            for step in function.block(block.id).steps:
                for before in fixpoint.states_before((), step.pc)[:1]:
                    for state in _spoilt(before):
                        _compare_in(setting, step, state, seen)
    return seen


def _compare_in(setting: Setting, step: Any, state: State, seen: Seen) -> None:
    tried, looked_at = state.copy(), state.copy()
    try:
        done = step.attempt is not None and step.attempt(tried)
        found = findings(setting, state.copy(), assertions_of(step.instruction))
    except Unsupported:
        return
    if not done:
        seen["closer look, safe" if not found else "closer look, violation"] += 1
        assert _text(tried) == _text(state), f"{step.instruction} was not done, and changed the state"
        return
    seen["at a glance"] += 1
    assert not found, f"{step.instruction} is not safe in\n{state}\n{found}"
    if step.effect is not None:
        step.effect(looked_at)
        assert _text(tried) == _text(looked_at), f"{step.instruction} does something else in\n{state}"


def _compare_all() -> Seen:
    return sum(map(_compare, _programs()), Counter())


def test_what_is_done_at_a_glance_is_safe_and_done_right() -> None:
    seen = _compare_all()
    assert seen["at a glance"] > 5000
    assert seen["closer look, violation"] > 1000
    assert seen["closer look, safe"] < 0.2 * seen["at a glance"], seen


def _careless_copy(dst: int, src: int) -> obvious.Attempt:
    def attempt(state: State) -> bool:
        state.registers[dst] = state.registers[src]
        return True

    return attempt


def _careless_number(setting: Setting, instruction: Computing, dst: int, src: int) -> obvious.Attempt:
    effect = effect_of(setting, 0, instruction)

    def attempt(state: State) -> bool:
        effect(state)
        return True

    return attempt


def _without_checks(*_: object) -> None:
    return None


BUGS: dict[str, tuple[Any, str, Any]] = {
    "copies of what was never written": (obvious, "_copy", _careless_copy),
    "arithmetic on anything": (obvious, "_number", _careless_number),
    "accesses anywhere": (regions, "violation", _without_checks),
}


@pytest.mark.parametrize("bug", BUGS)
def test_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, careless = BUGS[bug]
    if owner is obvious:
        monkeypatch.setattr(owner, name, careless)
    else:
        # The checks themselves use the same function: only the glance must be careless.
        class Regions:
            violation = staticmethod(careless)
            offset_by, load, store = map(staticmethod, (owner.offset_by, owner.load, owner.store))

        monkeypatch.setattr(obvious, "regions", Regions)
    with pytest.raises(AssertionError):
        _compare_all()


def test_a_pointer_is_never_stored_at_a_glance() -> None:
    """It may leak: the assertion about that is decided."""
    program = next(iter(load_object(examples.path("xdp_firewall")).programs.values()))
    setting = Setting(program, platform(program.platform), facts())
    fixpoint = Fixpoint(setting, 1, 20_000, lambda *_: None)
    fixpoint.run()
    stores = 0
    function = prepare(setting, fixpoint.graph.entry)
    for block in function.graph.blocks:
        for step in function.block(block.id).steps:
            for state in fixpoint.states_before((), step.pc)[:1]:
                source = getattr(step.instruction, "src", None)
                if type(step.instruction).__name__ == "Store" and isinstance(source, int) and step.attempt is not None:
                    state.registers[source] = state.registers[10]
                    assert isinstance(state.registers[10], Pointer)
                    assert not step.attempt(state)
                    stores += 1
    assert stores
