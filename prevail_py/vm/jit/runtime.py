"""One run of native code: the block and the table that it shares with Python, and the way to the reference."""

from __future__ import annotations

import ctypes
from typing import Final

from prevail_py.vm.effects import step
from prevail_py.vm.fault import Fault
from prevail_py.vm.jit.layout import ENTRY_WORDS, NUMBER, STATE_WORDS, UNINITIALISED, Entry, Slot, Status
from prevail_py.vm.machine import Code, Machine
from prevail_py.vm.memory import FRAME_SIZE, Region, RegionKind

__all__ = ["Run"]

_Step = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_IN_PLACE: Final = frozenset({RegionKind.STACK, RegionKind.PACKET, RegionKind.MAP_VALUE, RegionKind.MEMORY})
_MASK64: Final = (1 << 64) - 1


class Run:
    """A machine whose programs native code runs, with so much fuel.

    ``fault`` is what the program did wrong and ``error`` an exception of ours, both caught on their way through native
    code; ``result`` is R0 at the end.  Buffers of regions are held as long as this is, so that none moves.
    """

    def __init__(self, machine: Machine, fuel: int) -> None:
        self.machine: Final = machine
        self.fuel: Final = fuel
        self.fault: Fault | None = None
        self.error: BaseException | None = None
        self.result: int | None = None
        self.code: Code = machine.calls[-1].code
        self._regions: list[Region | None] = [None, None]
        self._numbers: dict[Region, int] = {}
        self._mortal: list[int] = []  # regions that may end or keep pointers
        self._buffers: list[object] = []
        self._room = 32
        self._table = (ctypes.c_uint64 * (ENTRY_WORDS * self._room))()
        self._table[Entry.LIVE] = 1
        self._block = (ctypes.c_uint64 * STATE_WORDS)()
        self.address: Final = ctypes.addressof(self._block)
        self._callback: Final = _Step(self._step)  # kept: native code has its address only
        self._block[Slot.STEP] = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self._block[Slot.TABLE] = ctypes.addressof(self._table)

    # Machine and block ----------------------------------------------------------------------------------------------

    def write_block(self, pc: int) -> None:
        """Bring the block up to date with the machine, which is at ``pc``."""
        machine, block = self.machine, self._block
        for number in range(11):
            word, region = machine.registers[number], machine.provenance[number]
            block[Slot.WORDS + number] = word or 0
            tag = NUMBER if region is None else self._numbers.get(region) or self._enter(region)
            block[Slot.TAGS + number] = UNINITIALISED if word is None else tag
        block[Slot.PC] = pc & _MASK64
        block[Slot.LEFT] = self.fuel - machine.steps
        self._refresh()

    def read_block(self) -> None:
        """Bring the machine up to date with the block."""
        machine, block, regions = self.machine, self._block, self._regions
        words, tags = block[Slot.WORDS : Slot.WORDS + 10], block[Slot.TAGS : Slot.TAGS + 10]
        machine.registers[:10] = [None if t == UNINITIALISED else w for w, t in zip(words, tags, strict=True)]
        machine.provenance[:10] = [regions[tag] for tag in tags]
        stack = machine.calls[-1].stack
        machine.registers[10], machine.provenance[10] = stack.base + FRAME_SIZE, stack
        pc = block[Slot.PC]
        machine.pc = pc - (1 << 64) if pc >> 63 else pc
        machine.steps = self.fuel - block[Slot.LEFT]

    # Regions --------------------------------------------------------------------------------------------------------

    def _enter(self, region: Region) -> int:
        """Give a region an entry; the number of it."""
        number = self._numbers[region] = len(self._regions)
        self._regions.append(region)
        if number == self._room:
            self._room *= 2
            table = (ctypes.c_uint64 * (ENTRY_WORDS * self._room))()
            ctypes.memmove(table, self._table, ctypes.sizeof(self._table))
            self._table = table
            self._block[Slot.TABLE] = ctypes.addressof(table)
        first, table = number * ENTRY_WORDS, self._table
        table[first + Entry.BASE] = region.base
        table[first + Entry.LIVE] = region.live
        if region.kind in _IN_PLACE and region.size and not region.data.readonly:
            table[first + Entry.HOST] = self._hold(region.data)
            table[first + Entry.READABLE] = region.size if region.live else 0
            table[first + Entry.WRITABLE] = region.size if region.live and region.writable else 0
            if region.initialised is not None:
                table[first + Entry.WRITTEN] = self._hold(region.initialised)
        if region.kind is not RegionKind.MAP_VALUE and region.kind is not RegionKind.MAP:
            self._mortal.append(number)
            self._refresh()
        return number

    def _hold(self, buffer: memoryview | bytearray) -> int:
        """The address of a buffer that stays where it is from now on."""
        held = ctypes.c_char.from_buffer(buffer)
        self._buffers.append(held)
        return ctypes.addressof(held)

    def _refresh(self) -> None:
        """Note in the table which regions are gone, and where pointers are spilled."""
        table = self._table
        for number in self._mortal:
            region, first = self._regions[number], number * ENTRY_WORDS
            assert region is not None
            if not region.live:
                table[first + Entry.LIVE] = table[first + Entry.READABLE] = table[first + Entry.WRITABLE] = 0
            if region.pointers is not None:
                spilled = 0
                for offset in region.pointers:
                    spilled |= 1 << (offset >> 3 & 63)
                table[first + Entry.SPILLED] = spilled

    # The reference --------------------------------------------------------------------------------------------------

    def _step(self, pc: int, left: int) -> int:
        """Execute one instruction; what native code must do then.  Nothing is raised through native code."""
        try:
            return self._reference(pc)
        except Fault as fault:
            self.fault = fault
        except BaseException as error:  # also an interrupt from the keyboard: raised again once native code has ended
            self.error = error
        return Status.STOP

    def _reference(self, pc: int) -> int:
        machine, frame = self.machine, self.machine.calls[-1]
        self.read_block()
        self.result = step(machine, frame.code)
        if self.result is not None:
            return Status.STOP
        follows = machine.next_pc
        self.write_block(follows)
        if machine.calls[-1] is frame and follows == pc + _slots(frame.code, pc):
            return Status.NEXT
        machine.pc = follows
        return Status.MOVED if machine.calls[-1].code is self.code else Status.STOP


def _slots(code: Code, pc: int) -> int:
    return 2 if code.instructions[pc + 1 : pc + 2] == (None,) else 1
