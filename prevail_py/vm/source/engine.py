"""The generated-source engine: compile a program once, run it in place of the reference interpreter.

:func:`run_generated` runs a machine as :func:`prevail_py.vm.interpreter.execute` does; outcome, steps and everything a
run leaves behind are equal.  Compiled code is kept as long as its program lives.  Observers get code of their own,
which brings the machine up to date and calls them before each instruction: they see what those of the reference see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast
from weakref import finalize

from prevail_py.isa.instructions import Instruction
from prevail_py.objects.program import Program
from prevail_py.platforms import Platform
from prevail_py.vm import effects, interpreter
from prevail_py.vm.environment import Environment
from prevail_py.vm.fault import Fault
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution, Interpreter, Observer
from prevail_py.vm.machine import Code, Machine
from prevail_py.vm.maps import Map
from prevail_py.vm.outcome import Outcome, Returned, Trap, Trapped
from prevail_py.vm.source import runtime
from prevail_py.vm.source.generate import generate

__all__ = ["SourceEngine", "SourceProgram", "run_generated"]

_Main: TypeAlias = Callable[..., runtime.Returned]

_compiled: dict[int, _Main] = {}  # by the identity of the program: equal programs may have run in different modes


def _compile(code: Code, platform: Platform) -> _Main:
    program = code.program
    names = dict(runtime.NAMES)
    exec(compile(generate(code, platform), f"<generated from {program.name}>", "exec"), names)
    main = _compiled[id(program)] = cast(_Main, names["function0"])
    finalize(program, _compiled.pop, id(program), None).atexit = False
    return main


def _compile_observed(code: Code, platform: Platform, fuel: int, observers: Sequence[Observer]) -> _Main:
    def observe(
        m: Machine,
        pc: int,
        steps: int,
        registers: tuple[runtime.Word, ...],
        provenance: tuple[runtime.Provenance, ...],
    ) -> None:
        runtime.restore(m, pc, steps + fuel, registers, provenance)
        for observer in observers:
            observer(m)
        m.steps = steps

    names = {**runtime.NAMES, "observe": observe}
    exec(compile(generate(code, platform, observed=True), f"<observed {code.program.name}>", "exec"), names)
    return cast(_Main, names["function0"])


def run_generated(machine: Machine, fuel: int, observers: Sequence[Observer] = ()) -> Outcome:
    """Run a machine that is at the start of its program until that ends, or has executed ``fuel`` instructions."""
    machine.steps = -fuel
    try:
        while True:
            tail_calls = machine.tail_calls
            code = machine.calls[-1].code
            if observers:
                main = _compile_observed(code, machine.platform, fuel, observers)
            else:
                main = _compiled.get(id(code.program)) or _compile(code, machine.platform)
            result = main(machine, -machine.steps, *machine.registers[1:6], *machine.provenance[1:6])
            if result is not None:
                machine.registers[0], machine.provenance[0], left = result
                machine.steps = -left
                value = effects.end(machine)
                assert value is not None
                return Returned(value)
            if tail_calls == machine.tail_calls or len(machine.calls) > 1:
                break
    except Fault as fault:
        return Trapped(Trap(fault.kind, machine.pc, fault.message, fault.address))
    finally:
        machine.steps += fuel
    return interpreter.execute(machine, fuel, observers)


@dataclass(frozen=True, slots=True)
class _Idle:
    """A machine between two runs of its program, and what it was made for."""

    machine: Machine
    maps: tuple[Map, ...]
    cpu: int
    cpus: int

    def serves(self, maps: Sequence[Map], environment: Environment) -> bool:
        """Whether a new machine would have the same maps, and the same of their values."""
        if environment.cpu != self.cpu or environment.cpus != self.cpus:
            return False
        own = self.maps
        return maps is own or (len(maps) == len(own) and all(a is b for a, b in zip(maps, own, strict=True)))


class SourceProgram:
    """A program that is ready to run, any number of times.

    Its machine is used again as long as it gets the same maps: setting one up takes longer than a short program.
    """

    name: Final = "source"

    def __init__(self, program: Program) -> None:
        """Raises ValueError for a program whose type the platform does not have."""
        self.program: Final = program
        self._reference: Final = Interpreter(program)
        self._idle: _Idle | None = None

    def run(
        self,
        *,
        packet: bytes | None = None,
        context: bytes | None = None,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run the program once: see :func:`prevail_py.vm.interpreter.run`."""
        environment = environment or Environment()
        idle, self._idle = self._idle, None  # not for a second run that begins during this one
        if idle is not None and maps is not None and idle.serves(maps, environment):
            machine = idle.machine
            machine.restart(environment)
        else:
            machine = self._reference.machine(maps, environment)
            idle = (
                None
                if maps is None
                else _Idle(machine, maps if isinstance(maps, tuple) else tuple(maps), environment.cpu, environment.cpus)
            )
        attached = len(machine.maps)
        execution = self._reference.run_machine(machine, run_generated, packet, context, fuel)
        if not machine.tail_calls and len(machine.maps) == attached:
            self._idle = idle
        return execution


class SourceEngine:
    """See the module's text."""

    name: Final = "source"

    def load(self, program: Program) -> SourceProgram:
        """Raises ValueError for a program whose type the platform does not have."""
        return SourceProgram(program)

    def run_memory(
        self,
        code: Sequence[Instruction | None],
        memory: bytes = b"",
        *,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run plain code on plain memory: see :func:`prevail_py.vm.interpreter.run_memory`."""
        return interpreter.run_memory(code, memory, environment=environment, fuel=fuel, executor=run_generated)
