"""Where the kernel and the reference part: the kernel's registers, at one place of a run after another.

PROG_TEST_RUN shows results only.  So the program is cut off at an instruction: the main function's registers that hold
numbers there are stored in a map, and the program ends.  The places are those that the reference comes to in the main
function, each before it comes to any of them twice; among them the first one with different numbers is searched for.
Where the kernel does not accept the shortened program, or differs in memory alone, that place tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Exit,
    Immediate,
    Instruction,
    Load,
    LoadImmediate64,
    Pseudo,
    Register,
    Store,
)
from prevail_py.isa.rewrite import reachable, rewrite
from prevail_py.objects.program import MapSpec, Program
from prevail_py.vm import interpreter
from prevail_py.vm.engines import EngineError
from prevail_py.vm.environment import Environment
from prevail_py.vm.kernel.execution import KernelProgram
from prevail_py.vm.kernel.loader import possible_cpus
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.parting import Input, make_maps

__all__ = ["Found", "cut", "locate_in_kernel"]

_PROBE: Final = MapSpec("probe", 2, 4, 80, 1)
_UNREADABLE: Final = re.compile(r"R(\d+) !read_ok")


@dataclass(frozen=True, slots=True)
class Found:
    """Steps of the reference so far, the slot it is at, its registers and the kernel's where they differ.

    ``blame`` is the slot of the instruction before, if the kernel showed the same registers there.
    """

    steps: int
    slot: int
    ours: Mapping[str, str]
    theirs: Mapping[str, str]
    blame: int | None


@dataclass(frozen=True, slots=True)
class _Place:
    """The reference before the instruction at ``pc``: the registers that hold numbers."""

    steps: int
    pc: int
    numbers: Mapping[int, int]


def cut(program: Program, pc: int, registers: Sequence[int]) -> Program:
    """``program`` that stores these registers in its last map, :data:`_PROBE`, instead of going on at ``pc``."""
    index = len(program.maps)
    ending: list[Instruction] = [
        Store(Register.R10, -8 * (n + 1), 8, Register(register)) for n, register in enumerate(registers)
    ]
    ending.append(LoadImmediate64(Register.R1, index, 0, Pseudo.MAP_INDEX_VALUE))
    for number in range(len(registers)):
        ending.append(Load(Register.R2, Register.R10, -8 * (number + 1), 8))
        ending.append(Store(Register.R1, 8 * number, 8, Register.R2))
    ending += [Alu(AluOp.MOV, 64, Register.R0, Immediate(0)), Exit()]
    code = rewrite(program.code, {pc: ending})
    dead = {slot: () for slot in set(range(len(code))) - reachable(code) if code[slot] is not None}
    return replace(program, code=rewrite(code, dead), maps=(*program.maps, _PROBE), subprograms=(), lines={})


def locate_in_kernel(program: Program, given: Input, *, generated: bool = False) -> Found | None:
    """The first place at which the kernel has other numbers in its registers; None where no place shows any."""
    places = _places(program, given)
    low, high, known = 0, len(places), 0  # nothing differs before the first instruction
    found: Found | None = None
    while low + 1 < high:
        middle = (low + high) // 2
        place = places[middle]
        theirs = _numbers(program, given, place, generated)
        differing = [register for register, value in theirs.items() if value != place.numbers[register]]
        if differing:
            high = middle
            left = {f"r{register}": f"{place.numbers[register]:#x}" for register in differing}
            right = {f"r{register}": f"{theirs[register]:#x}" for register in differing}
            found = Found(place.steps, place.pc, left, right, None)
        else:
            low, known = middle, middle if theirs else known
    return replace(found, blame=places[known].pc) if found is not None and known + 1 == high else found


def _places(program: Program, given: Input) -> list[_Place]:
    places: list[_Place] = []
    seen: set[int] = set()
    repeated = False

    def observe(machine: Machine) -> None:
        nonlocal repeated
        if len(machine.calls) > 1 or machine.program is not program or repeated:
            return
        repeated = machine.pc in seen
        if not repeated:
            seen.add(machine.pc)
            registers = zip(range(10), machine.registers, machine.provenance, strict=False)
            numbers = {n: value for n, value, region in registers if value is not None and region is None}
            places.append(_Place(machine.steps, machine.pc, numbers))

    environment = Environment(cpus=possible_cpus())
    interpreter.run(
        program,
        packet=given.packet,
        context=given.context,
        maps=make_maps(program, given, environment),
        environment=environment,
        fuel=given.fuel,
        observers=(observe,),
    )
    return places


def _numbers(program: Program, given: Input, place: _Place, generated: bool) -> Mapping[int, int]:
    """The kernel's registers at ``place``, as far as it lets us read them."""
    wanted = sorted(place.numbers)
    while wanted:
        shortened = cut(program, place.pc, wanted)
        environment = Environment(cpus=possible_cpus())
        maps = make_maps(shortened, given, environment)
        try:
            KernelProgram(shortened, generated=generated).run(
                packet=given.packet, context=given.context, maps=maps, environment=environment
            )
        except EngineError as error:
            unreadable = _UNREADABLE.search(str(error))
            if unreadable is None or int(unreadable[1]) not in wanted:
                return {}
            wanted.remove(int(unreadable[1]))
            continue
        probe = maps[-1]
        assert isinstance(probe, ArrayMap)
        stored = probe[bytes(4)]
        assert isinstance(stored, bytes)
        return {
            register: int.from_bytes(stored[8 * number : 8 * number + 8], "little")
            for number, register in enumerate(wanted)
        }
    return {}
