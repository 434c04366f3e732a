"""Runs of proved code: the block that it shares with Python, and the helpers that it calls there."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any, Final

from prevail_py.isa.instructions import Call
from prevail_py.vm.effects import call_helper
from prevail_py.vm.engines import EngineCrash
from prevail_py.vm.environment import Environment
from prevail_py.vm.fault import Fault
from prevail_py.vm.jit.proved.layout import (
    ASK,
    MORE_RANDOM,
    RANDOM_WORDS,
    READ_CLOCK,
    SHADOW_BYTES,
    Field,
    MapField,
    Status,
    block_words,
    map_field,
)
from prevail_py.vm.jit.proved.plan import Plan
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Map, has_values, require_cpu
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.memory import FRAME_SIZE, PACKET_BASE, WINDOW, Region

__all__ = ["Block", "MachineRun", "address_of", "biased", "unexpected"]

_Helper: Final = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_void_p] * 4, *[ctypes.c_uint64] * 6)


def address_of(buffer: memoryview | bytearray | array[int]) -> tuple[int, object]:
    """Where a buffer is in this process, and what keeps it there."""
    held = (ctypes.c_char * 0).from_buffer(buffer)
    return ctypes.addressof(held), held


def biased(frame: int) -> int:
    """What native code gets for a packet's frame: where it is, less its address as the program sees it."""
    return (frame - PACKET_BASE) & ((1 << 64) - 1)


def unexpected(name: str, status: int, pc: int) -> EngineCrash:
    """What to raise where a run ended as no run of a proved program may."""
    how = Status(status).name.lower().replace("_", " ")
    return EngineCrash(f"{name}: native code ended as {how} at slot {pc}: the facts or the compiler are wrong")


class Block:
    """The block of the runs with these maps, one at a time."""

    def __init__(self, maps: Sequence[Map]) -> None:
        self.maps: Final = tuple(maps)
        self._per_cpu: Final = [map for map in maps if has_values(map) and map.cpus > 1]
        self.words: Final = array("Q", bytes(8 * block_words(len(maps))))
        self.address, self._held = address_of(self.words)
        self._kept: Final[list[object]] = []
        self._tables: Final[list[HashMap]] = []
        self._random: Final = bytearray(4 * RANDOM_WORDS)
        self._shadows: Final = bytearray(SHADOW_BYTES)
        for place, buffer in ((Field.RANDOM, self._random), (Field.SHADOWS, self._shadows)):
            self.words[place], held = address_of(buffer)
            self._kept.append(held)
        self._drawn: tuple[Any, tuple[int, ...]] | None = None
        self.environment = Environment()
        self.error: BaseException | None = None
        self._callback: Final = _Helper(self._call)  # kept: native code has its address only
        self.words[Field.HELPER] = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        for index, map in enumerate(self.maps):
            if not isinstance(map, ArrayMap | HashMap):
                continue
            self.words[map_field(index, MapField.VALUES)] = self._hold(map.storage.memory)
            if isinstance(map, HashMap) and not map.evicts:
                self.words[map_field(index, MapField.TABLE)] = self._hold(map.lend().memory)
                self._tables.append(map)

    def _hold(self, buffer: memoryview) -> int:
        address, held = address_of(buffer)
        self._kept.append((buffer, held))
        return address

    def begin(self, environment: Environment, cpu: int | None = None) -> None:
        """Before a run: the tables are native code's, clock and CPU are the environment's.

        Raises ValueError where a map has no value for the CPU: native code does not look.
        """
        words = self.words
        self.environment = environment
        self.error = None
        cpu = environment.cpu if cpu is None else cpu
        for map in self._per_cpu:
            require_cpu(map, cpu)
        words[Field.CPU] = cpu
        keeps_clock = type(environment).read_clock is Environment.read_clock
        words[Field.NOW], words[Field.TICK] = environment.now, environment.tick if keeps_clock else ASK
        words[Field.MAY_GOTO] = max(environment.may_goto_limit, 0)
        words[Field.RANDOM_NEXT] = words[Field.RANDOM_COUNT] = 0
        for map in self._tables:
            map.lend()

    def end(self) -> None:
        """After a run, and before Python is to see what it did to the world: give back what it did not use."""
        words = self.words
        self.environment.now = words[Field.NOW]
        if self._drawn is not None:
            self.environment.rewind(self._drawn, words[Field.RANDOM_NEXT])
            self._drawn = None
            words[Field.RANDOM_NEXT] = words[Field.RANDOM_COUNT] = 0

    def go_on(self) -> None:
        """After Python saw it."""
        self.words[Field.NOW] = self.environment.now
        for map in self._tables:
            map.lend()

    def _call(self, run: int, packet: int, context: int, stack: int, pc: int, *registers: int) -> int:
        """What native code calls; nothing is raised through it.

        It is handed the memory that helpers may change, which Python knows anyway.
        """
        try:
            if pc == MORE_RANDOM:
                self.draw()
                return 0
            if pc == READ_CLOCK:
                self.words[Field.NOW] = self.environment.read_clock()
                return 0
            return self.helper(pc, registers)
        except BaseException as error:  # also an interrupt from the keyboard: raised again once native code has ended
            self.error = error
        return 1

    def draw(self) -> None:
        """Draw more random numbers."""
        self._drawn, self._random[:] = self.environment.draw(RANDOM_WORDS)
        self.words[Field.RANDOM_COUNT] = RANDOM_WORDS

    def helper(self, pc: int, registers: Sequence[int]) -> int:
        """Call a helper in Python; whether the run must stop."""
        raise AssertionError(f"no helper is called in Python, and not at slot {pc}")


class MachineRun(Block):
    """One run of a machine, whose helpers may be called in Python.

    ``fault`` is what a helper found wrong with the program, ``replaced`` says that it made a tail call.
    """

    def __init__(self, machine: Machine, plan: Plan) -> None:
        super().__init__(machine.maps)
        self.machine: Final = machine
        self.plan: Final = plan
        self.fault: Fault | None = None
        self.replaced = False
        frame = machine.calls[0].stack
        self.words[Field.STACK] = self._hold(frame.data)
        assert machine.context is not None
        self.context: Final = self._hold(machine.context.region.data)
        self._frame = None if machine.packet is None else machine.packet.frame
        self.packet: Final = 0 if self._frame is None else biased(self._hold(self._frame))
        self._note_packet()

    def _note_packet(self) -> None:
        packet, words = self.machine.packet, self.words
        if packet is not None:
            if packet.frame is not self._frame:
                raise RuntimeError("the frame of the packet moved")
            words[Field.DATA], words[Field.DATA_END] = packet.data, packet.data_end
            words[Field.DATA_META] = packet.data_meta

    def helper(self, pc: int, registers: Sequence[int]) -> int:
        """See :meth:`Block.helper`: the machine is brought up to date as far as helpers can see it."""
        machine, words = self.machine, self.words
        self.end()
        frame = machine.calls[-1]
        stack = frame.stack
        assert stack.initialised is not None
        assert stack.pointers is not None
        stack.initialised[:] = b"\1" * FRAME_SIZE  # what the helper reads of it was proved to be
        stack.pointers.clear()
        machine.pc = pc
        for number, value in enumerate(registers, 1):
            points = value != 0 and (pc, number) in self.plan.facts.pointers
            machine.registers[number] = value
            machine.provenance[number] = self._region(value) if points else None
        instruction = self.plan.code.instructions[pc]
        assert isinstance(instruction, Call)
        try:
            call_helper(machine, instruction.helper)
        except Fault as fault:
            self.fault = fault
            return 1
        if machine.calls[-1] is not frame:
            self.replaced = True
            return 1
        words[Field.RESULT] = machine.registers[0] or 0
        region = machine.provenance[0]
        words[Field.HOST] = words[Field.BASE] = 0
        if region is not None:
            words[Field.BASE] = region.base
            if region.size and not region.data.readonly:
                words[Field.HOST] = self._hold(region.data)
        self._note_packet()
        self.go_on()
        return 0

    def _region(self, address: int) -> Region:
        """The region in whose window an address is."""
        machine = self.machine
        for region in machine.memory:
            if region.base // WINDOW == address // WINDOW:
                return region
        found = machine.value_at(address)
        if found is None:
            raise RuntimeError(f"no region is near {address:#x}")
        return found
