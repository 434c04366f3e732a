"""Helpers that call functions of the program.

A call of such a helper lasts until the last of its calls has returned; meanwhile the machine runs the program's own
instructions, in frames that know what goes on when they end (:attr:`~prevail_py.vm.machine.Frame.callback`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final, TypeAlias

from prevail_py.vm.fault import Fault
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.maps import map_argument
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.memory import Region
from prevail_py.vm.outcome import TrapKind

__all__ = ["MAX_LOOPS", "Iteration", "Values", "for_each_map_elem", "loop"]

MAX_LOOPS: Final = 1 << 23
"""How many times ``bpf_loop`` may call its function (BPF_MAX_LOOPS in Linux)."""

Values: TypeAlias = Sequence[tuple[int, Region | None]]
"""The arguments of a call, with their provenance."""


class Iteration:
    """Calls of one function, with ``arguments`` after one another, until it returns 1; R0 is how many there were."""

    def __init__(self, machine: Machine, function: int, arguments: Iterator[Values]) -> None:
        """``function`` is the slot where it starts; the machine is at the call of the helper."""
        frame = machine.calls[-1]
        self._code, self._maps = frame.code, frame.maps
        self._call_pc = machine.pc
        self._function = function
        self._arguments = arguments
        self._calls = 0

    def next_call(self) -> Values | None:
        """The arguments of the next call, which counts as made; None after the last one."""
        arguments = next(self._arguments, None)
        self._calls += arguments is not None
        return arguments

    def go_on(self, machine: Machine) -> None:
        """Call the function once more, or end the call of the helper."""
        arguments = self.next_call()
        if arguments is None:
            self.finish(machine)
            return
        machine.enter(self._code, self._maps, self._call_pc, self)
        machine.clobber_arguments()
        for register, (value, region) in enumerate(arguments, 1):
            machine.write(register, value, region)
        machine.next_pc = self._function

    def returned(self, machine: Machine, result: int) -> None:
        """Go on unless the function said to stop."""
        if result:
            self.finish(machine)
        else:
            self.go_on(machine)

    def finish(self, machine: Machine) -> None:
        """End the call of the helper."""
        machine.clobber_arguments()
        machine.write(0, self._calls)


def loop(machine: Machine, arguments: Sequence[Argument]) -> int | Iteration:
    """Call a function with 0, 1, 2, ... and a context.

    The number of calls is compared with the limit as a 64-bit word, as in the code that Linux writes in place of the
    call; the helper itself, which few programs get to run, would take the low half only.
    """
    count, function, context, flags = arguments
    if flags.value:
        return -errno.EINVAL
    if count.value > MAX_LOOPS:
        return -errno.E2BIG
    each = ((number, None) for number in range(count.value))
    return _iteration(machine, function, zip(each, repeat((context.value, context.region))))


def for_each_map_elem(machine: Machine, arguments: Sequence[Argument]) -> int | Iteration:
    """Call a function with a map, key and value of each of its elements, and a context.

    Hash tables give the elements that they have at the start, in the order in which these were put there (Linux: in
    no order that a program may rely on), without those that are gone when their turn comes.
    """
    map_, function, context, flags = arguments
    map = map_argument(machine, map_)
    if not isinstance(map, ArrayMap | HashMap):
        raise Fault(TrapKind.UNSUPPORTED, f"going through map {map.spec.name!r} of type {map.spec.type}")
    if flags.value:
        return -errno.EINVAL
    return _iteration(machine, function, _elements(machine, map, map_, context))


def _elements(machine: Machine, map: ArrayMap | HashMap, reference: Argument, context: Argument) -> Iterator[Values]:
    index = machine.attach(map)
    memory = machine.memory.memory(bytes(map.spec.key_size))
    for key in map:
        slot = map.slot_of(key)
        if slot is None:
            continue
        # Each key is a region of its own at the same address: what points to the last one is stale.
        memory = machine.memory.succeed(memory, key)
        value = machine.value_region(index, slot)
        yield (
            (reference.value, reference.region),
            (memory.base, memory),
            (value.base, value),
            (context.value, context.region),
        )
    machine.memory.release(memory)


def _iteration(machine: Machine, function: Argument, arguments: Iterator[Values]) -> Iteration:
    assert function.region is not None
    entry = machine.function_at(function.region)
    if entry is None:
        raise Fault(TrapKind.HELPER_ARGUMENT, "the function is one of another program")
    return Iteration(machine, entry, arguments)
