"""A machine that starts again, and functions as values."""

from __future__ import annotations

from dataclasses import fields

from prevail_py.objects.text import assemble
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Interpreter
from prevail_py.vm.machine import Machine

KEPT = {"platform", "codes", "plain", "memory", "maps", "values", "_map_regions", "_value_windows"}


def new(environment: Environment) -> Machine:
    return Interpreter(assemble("r0 = 0\nexit")).machine((), environment)


def test_restart_sets_every_field() -> None:
    """Whoever adds a field to the machine either resets it or says here why it stays."""
    left_over = object()
    environment = Environment(may_goto_limit=3)
    machine, fresh = new(Environment()), new(environment)
    main = machine.calls[0]
    machine.calls.append(main)
    main.stack.store(main.stack.base, 8, 5, main.stack)
    inner = machine.memory.stack_frame(1)
    for field in fields(Machine):
        if field.name not in KEPT | {"calls"}:
            setattr(machine, field.name, left_over)
    machine.restart(environment)
    for field in fields(Machine):
        if field.name not in KEPT | {"calls", "provenance"}:
            assert getattr(machine, field.name) == getattr(fresh, field.name), field.name
    assert machine.calls == [main]
    assert machine.provenance == [None] * 10 + [main.stack]
    assert main.may_goto_left == 3
    assert not any(main.stack.data)
    assert not any(main.stack.initialised or b"\1")
    assert main.stack.pointers == {}
    assert main.stack.live
    assert not inner.live
    assert list(machine.memory) == [main.stack]


def test_functions_belong_to_a_program() -> None:
    text = "r2 = subprog[+6] ll\nr3 = subprog[+2] ll\nr0 = 0\nexit\nr0 = 1\nexit\nr0 = 2\nexit"
    machine = Interpreter(assemble(text)).machine((), Environment())
    region = machine.function_region(7)
    assert machine.function_region(7) is region
    assert machine.function_region(5).base < region.base  # in the order of the program, not of the calls
    assert machine.function_at(region) == 7
    machine.replace(new(Environment()).calls[0].code, ())
    assert machine.function_at(region) is None
