"""Where two of our engines part on an input: traces and ever shorter runs; and what an input is.

Traces are exact (:mod:`prevail_py.vm.trace`), but generated code is other code where it is observed.  What does not
show there is found by cutting runs off: both engines stop at exactly the fuel that they are given, so that the first
number of steps with different states can be searched for.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prevail_py.isa.instructions import Branch, Immediate, Register
from prevail_py.isa.semantics import immediate_word
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Executor, Interpreter, execute, run
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Map, MapError, create_maps, has_values
from prevail_py.vm.outcome import Outcome, OutOfFuel, Returned, Trapped
from prevail_py.vm.source.engine import run_generated
from prevail_py.vm.trace import Trace, first_difference, record
from prevail_py.words import Comparison

__all__ = ["FUEL", "OBSERVED", "Input", "Parting", "compares_addresses", "locate", "make_maps", "summary"]

FUEL: Final = 100_000
OBSERVED: Final[Mapping[str, Executor]] = {"interpreter": execute, "source": run_generated}
"""The engines whose registers can be seen on the way."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a program: a packet, for types that run on packets, and the scalar fields of the context.

    ``maps`` are elements to set in fresh maps, by index in the program.  Per-CPU values are given as one, for all CPUs.
    """

    packet: bytes | None = None
    context: bytes | None = None
    fuel: int = FUEL
    maps: Mapping[int, Mapping[bytes, bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two engines part: the states after the first ``steps`` instructions that leave different ones.

    ``slot`` is where the left engine then is, or ours where the other is the kernel.  ``blame`` is the slot of the
    instruction that did it (with the kernel: one of the main function, a call with all that was called); None where it
    is only known to be one of the last few.
    """

    steps: int
    slot: int
    left: Mapping[str, str]
    right: Mapping[str, str]
    blame: int | None = None


def summary(outcome: Outcome) -> str:
    """An outcome in short, without the message of a trap."""
    match outcome:
        case Returned(value):
            return f"r0 = {value:#x}"
        case Trapped(trap):
            address = "" if trap.address is None else f" at address {trap.address:#x}"
            return f"{trap.kind.value} at slot {trap.pc}{address}"
        case OutOfFuel(pc):
            return f"out of fuel at slot {pc}"


def make_maps(program: Program, given: Input, environment: Environment) -> tuple[Map, ...]:
    """Fresh maps with the elements of ``given``; raises :class:`MapError` (a ValueError) for those that do not fit."""
    maps = create_maps(program.maps, environment)
    for index, elements in given.maps.items():
        map = maps[index]
        if not has_values(map) or not isinstance(map, MutableMapping):
            raise MapError(map.spec.name, errno.EINVAL, "it holds no plain values")
        per_cpu = platform(program.platform).map_types[map.spec.type].per_cpu
        for key, value in elements.items():
            map[key] = [value] * environment.cpus if per_cpu else value
    return maps


def locate(program: Program, given: Input, engines: tuple[str, str]) -> Parting | None:
    """The first number of steps after which registers, or the slots, of two of our engines differ.

    Their traces tell, unless what differs does so only in code that nobody observes: then runs that are cut off do.
    """
    return _by_trace(program, given, engines) or _by_fuel(program, given, engines)


def _by_trace(program: Program, given: Input, engines: tuple[str, str]) -> Parting | None:
    left, right = (_trace(program, given, name) for name in engines)
    number = first_difference(left, right)
    if not number or number >= min(len(left.steps), len(right.steps)):
        return None
    states = [_named(trace.steps[number].pc, trace.registers(number)) for trace in (left, right)]
    slot, blame = left.steps[number].pc, left.steps[number - 1].pc
    return Parting(number, slot, *_differing(*states), blame)


def _trace(program: Program, given: Input, name: str) -> Trace:
    environment = Environment()
    maps = make_maps(program, given, environment)
    return record(
        program,
        name,
        packet=given.packet,
        context=given.context,
        maps=maps,
        environment=environment,
        fuel=given.fuel,
    )


def _named(slot: int, registers: Sequence[int | None]) -> Mapping[str, str]:
    values = {f"r{n}": "uninitialised" if value is None else f"{value:#x}" for n, value in enumerate(registers)}
    return {"slot": str(slot), **values}


def _differing(left: Mapping[str, str], right: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    names = [name for name in left if left[name] != right[name]]
    return {name: left[name] for name in names}, {name: right[name] for name in names}


def _by_fuel(program: Program, given: Input, engines: tuple[str, str]) -> Parting | None:
    low, high = 0, given.fuel
    interpreter = Interpreter(program)
    steps = max(_state(interpreter, given, name, high)[0] for name in engines)
    high = min(high, steps)

    def states(fuel: int) -> tuple[Mapping[str, str], Mapping[str, str]]:
        left, right = (_state(interpreter, given, name, fuel)[1] for name in engines)
        return left, right

    left, right = states(high)
    if left == right:
        return None
    while low + 1 < high:  # the states after `low` steps are equal, those after `high` are not
        middle = (low + high) // 2
        left, right = states(middle)
        low, high = (middle, high) if left == right else (low, middle)
    left, right = states(high)
    return Parting(high, int(left["slot"]), *_differing(left, right))


def _state(interpreter: Interpreter, given: Input, name: str, fuel: int) -> tuple[int, Mapping[str, str]]:
    state: dict[str, str] = {}

    def executor(machine: Machine, fuel: int) -> Outcome:
        outcome = OBSERVED[name](machine, fuel)
        state["slot"] = str(machine.pc)
        if isinstance(outcome, OutOfFuel):  # at the end of a run not all engines leave registers in the machine
            state.update(_named(machine.pc, machine.registers))
        else:
            state.update({f"r{number}": "" for number in range(11)}, outcome=summary(outcome))
        return outcome

    environment = Environment()
    maps = make_maps(interpreter.program, given, environment)
    execution = interpreter.run_with(
        executor, packet=given.packet, context=given.context, maps=maps, environment=environment, fuel=fuel
    )
    return execution.steps, {"outcome": "", **state}


def compares_addresses(program: Program, given: Input) -> int | None:
    """The slot of a branch of the reference's run whose outcome depends on where memory lies; None if there is none.

    Comparisons of two pointers into one region, and of a pointer with null, do not; all others do.
    """
    found: list[int] = []

    def observe(machine: Machine) -> None:
        code = machine.calls[-1].code.instructions
        instruction = code[machine.pc] if 0 <= machine.pc < len(code) else None
        if isinstance(instruction, Branch) and not found:
            left = machine.provenance[instruction.dst]
            register = instruction.src if isinstance(instruction.src, Register) else None
            right = None if register is None else machine.provenance[register]
            number = immediate_word(instruction.src.value) if isinstance(instruction.src, Immediate) else None
            null = number == 0 and instruction.comparison in (Comparison.EQ, Comparison.NE)
            if left is not right and (instruction.width == 32 or not null):
                found.append(machine.pc)

    environment = Environment()
    maps = make_maps(program, given, environment)
    run(
        program,
        packet=given.packet,
        context=given.context,
        maps=maps,
        environment=environment,
        fuel=given.fuel,
        observers=(observe,),
    )
    return found[0] if found else None
