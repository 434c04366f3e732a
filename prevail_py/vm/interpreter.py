"""The reference interpreter: programs with their inputs, run one instruction after another.

What an instruction does is in :mod:`prevail_py.vm.effects`.  A program that violates something ends in a trap, which is
a value; there is no program on which :func:`run` raises an exception.

Observers are called before every instruction with the live :class:`Machine`; they must not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from prevail_py.isa.instructions import (
    Instruction,
    Register,
)
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.vm.context import Context, takes_packet
from prevail_py.vm.effects import step
from prevail_py.vm.environment import Environment
from prevail_py.vm.fault import Fault
from prevail_py.vm.machine import Code, Machine, Redirect, prepare
from prevail_py.vm.maps import Map, Maps
from prevail_py.vm.outcome import Outcome, OutOfFuel, Returned, Trap, Trapped
from prevail_py.vm.packet import Packet

__all__ = [
    "DEFAULT_FUEL",
    "Execution",
    "Executor",
    "Interpreter",
    "Observer",
    "View",
    "execute",
    "require_fit",
    "run",
    "run_memory",
]

DEFAULT_FUEL: Final = 1_000_000
"""Instructions that a run may execute unless told otherwise."""

View: TypeAlias = Machine
"""What observers see."""

Observer: TypeAlias = Callable[[Machine], None]

Executor: TypeAlias = Callable[[Machine, int], Outcome]
"""What runs a machine from its current instruction to the end, or until it has executed so many instructions."""


class Execution(NamedTuple):
    """How a run ended and what it left behind.

    ``packet`` is what lies between data and data_end, ``context`` the bytes of the context's scalar fields, ``memory``
    what :func:`run_memory` was given; each is None where the run had none.  ``steps`` counts instructions, ``log``
    holds what the program printed, and ``redirect`` where it last asked to send the packet.  ``maps`` are those of the
    program by number, as maps of bytes, and by name, as mappings of typed keys and values: ``maps["flows"][key]``.
    """

    outcome: Outcome
    steps: int
    packet: bytes | None = None
    context: bytes | None = None
    memory: bytes | None = None
    maps: Maps = Maps()
    log: tuple[str, ...] = ()
    redirect: Redirect | None = None


class Interpreter:
    """The reference engine: a program that is ready to run, any number of times."""

    name: Final = "interpreter"

    def __init__(self, program: Program) -> None:
        """Raises ValueError for a program whose type the platform does not have."""
        self.program: Final = program
        self._platform: Final = platform(program.platform)
        self._codes: Final[dict[int, Code]] = {}
        code = prepare(self._platform, program, self._codes)
        if code.program_type is None:
            raise ValueError(f"program {program.name!r} has no type")
        self._code: Final = code
        self._type: Final = code.program_type
        self._takes_packet: Final = takes_packet(code.program_type)

    def run(
        self,
        *,
        packet: bytes | None = None,
        context: bytes | None = None,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
        observers: Sequence[Observer] = (),
    ) -> Execution:
        """Run the program once: see :func:`run`."""

        def executor(machine: Machine, fuel: int) -> Outcome:
            return execute(machine, fuel, observers)

        return self.run_with(executor, packet=packet, context=context, maps=maps, environment=environment, fuel=fuel)

    def run_with(
        self,
        executor: Executor,
        *,
        packet: bytes | None = None,
        context: bytes | None = None,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run the program once, by another executor than the reference."""
        machine = self.machine(maps, environment or Environment())
        return self.run_machine(machine, executor, packet, context, fuel)

    def machine(self, maps: Sequence[Map] | None, environment: Environment) -> Machine:
        """A machine at the start of the program.  Raises ValueError for maps that are not those of the program."""
        machine = Machine(self._platform, environment, codes=self._codes)
        machine.enter(self._code, _attach(machine, self.program, maps))
        return machine

    def run_machine(
        self, machine: Machine, executor: Executor, packet: bytes | None, context: bytes | None, fuel: int
    ) -> Execution:
        """Run a machine that is at the start of the program on this packet and context."""
        if self._takes_packet:
            machine.packet = Packet(machine.memory, packet or b"", writable=self._type.read_write_packet)
        elif packet is not None:
            raise ValueError(f"{self._type.name} programs do not run on packets")
        owner = machine.environment.socket
        socket = None if owner is None else machine.memory.socket(owner.content)
        machine.context = Context(machine.memory, self._type, context, machine.packet, socket)
        log, region = machine.environment.log, machine.context.region
        logged = len(log)
        machine.write(Register.R1, region.base, region)
        outcome = executor(machine, fuel)
        left = None if machine.packet is None else bytes(machine.packet)
        printed = tuple(log[logged:]) if len(log) > logged else ()
        return Execution(
            outcome, machine.steps, left, bytes(region.data), None, Maps(machine.maps), printed, machine.redirect
        )


def run(
    program: Program,
    *,
    packet: bytes | None = None,
    context: bytes | None = None,
    maps: Sequence[Map] | None = None,
    environment: Environment | None = None,
    fuel: int = DEFAULT_FUEL,
    observers: Sequence[Observer] = (),
) -> Execution:
    """Run ``program`` once, as a program of its type.

    ``packet`` is empty where a program that runs on packets is given none; ``context`` holds the scalar fields of the
    context (see :class:`Context`); ``maps`` are those of the program in order, fresh ones by default, and are
    changed by the run.  Raises ValueError for inputs that do not fit the program.
    """
    return Interpreter(program).run(
        packet=packet, context=context, maps=maps, environment=environment, fuel=fuel, observers=observers
    )


def run_memory(
    code: Sequence[Instruction | None],
    memory: bytes = b"",
    *,
    environment: Environment | None = None,
    fuel: int = DEFAULT_FUEL,
    observers: Sequence[Observer] = (),
    executor: Executor | None = None,
) -> Execution:
    """Run plain code on plain memory, as the vectors of the conformance suite want it.

    R1 points to the memory, which may be changed, and R2 holds its length.  There is no program type: any helper may be
    called, and pointers may be stored and returned.  An ``executor`` other than the reference has no observers.
    """
    environment = environment or Environment()
    program = Program("memory", "", "", tuple(code))
    machine = Machine(platform(), environment, plain=True)
    machine.enter(prepare(machine.platform, program, {}), ())
    region = machine.memory.memory(memory, holds_pointers=True)
    machine.write(1, region.base, region)
    machine.write(2, region.size)
    outcome = execute(machine, fuel, observers) if executor is None else executor(machine, fuel)
    return Execution(outcome, machine.steps, memory=bytes(region.data), log=tuple(environment.log))


def _attach(machine: Machine, program: Program, maps: Sequence[Map] | None) -> tuple[int, ...]:
    if maps is None:
        from prevail_py.vm.maps import create_maps

        maps = create_maps(program.maps, machine.environment)
    require_fit(program, maps)
    return tuple(machine.attach(map) for map in maps)


def require_fit(program: Program, maps: Sequence[Map]) -> None:
    """Raise ValueError unless these maps can be used in place of those that the program defines."""
    if len(maps) != len(program.maps):
        raise ValueError(f"program {program.name!r} uses {len(program.maps)} maps, not {len(maps)}")
    for map, spec in zip(maps, program.maps, strict=True):
        for attribute in ("type", "key_size", "value_size", "max_entries"):
            if getattr(map.spec, attribute) != getattr(spec, attribute):
                raise ValueError(f"map {map.spec.name!r} is given for {spec.name!r}, but differs in {attribute}")


def execute(machine: Machine, fuel: int, observers: Sequence[Observer] = ()) -> Outcome:
    """Run until the program ends, traps, or has executed ``fuel`` instructions."""
    try:
        while True:
            if machine.steps >= fuel:
                return OutOfFuel(machine.pc)
            for observe in observers:
                observe(machine)
            machine.steps += 1
            result = step(machine, machine.calls[-1].code)
            if result is not None:
                return Returned(result)
            machine.pc = machine.next_pc
    except Fault as fault:
        return Trapped(Trap(fault.kind, machine.pc, fault.message, fault.address))
