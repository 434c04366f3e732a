"""``bpf_tail_call``: another program takes the place of the running function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.vm.fault import Fault
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.maps import map_argument
from prevail_py.vm.machine import Machine, prepare
from prevail_py.vm.maps import Map, create_map
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.outcome import TrapKind

__all__ = ["MAX_TAIL_CALLS", "tail_call"]

MAX_TAIL_CALLS: Final = 33
"""How many tail calls may succeed in one run (MAX_TAIL_CALL_CNT in Linux)."""


def tail_call(machine: Machine, arguments: Sequence[Argument]) -> None:
    """Go on at the start of the program in an entry of a program array.

    Where there is no entry, or after too many tail calls, the call does nothing and R0 is uninitialised.  The new
    program inherits the context and the frame of the function that made the call: where that is a subprogram, the new
    program's result goes to its caller, as on Linux for x86-64.
    """
    if machine.references:
        raise Fault(TrapKind.UNRELEASED_REFERENCE, "a tail call with references that were not released")
    array, index, context = map_argument(machine, arguments[1]), arguments[2].u32, arguments[0]
    assert isinstance(array, ProgramArray)
    target = array.target(index)
    if target is None or machine.tail_calls >= MAX_TAIL_CALLS:
        return
    machine.tail_calls += 1
    program = target.program
    if program.program_type != machine.program.program_type:
        raise Fault(TrapKind.UNSUPPORTED, f"a tail call to {program.name!r}, which has type {program.program_type!r}")
    maps = target.maps
    if maps is None:
        maps = tuple(_map_for(machine, spec) for spec in program.maps)
        array.install(index.to_bytes(4, "little"), program, maps)
    machine.replace(prepare(machine.platform, program, machine.codes), tuple(machine.attach(map) for map in maps))
    machine.write(1, context.value, context.region)


def _map_for(machine: Machine, spec: MapSpec) -> Map:
    """The map of the running program that has this definition, or else a new one."""
    known = (map for map in machine.maps if map.spec == spec)
    return next(known, None) or create_map(spec, machine.environment)
