"""One run of native code: the block and the table that it shares with Python, and the way to the reference."""

from __future__ import annotations

import ctypes
from struct import Struct
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
_REGISTERS: Final = Struct("=24Q")  # words, tags, slot, fuel
_FROM_NATIVE: Final = Struct("=10Q8x10Q8xqQ")
_PACKET: Final = Struct("=4Q")


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
        self._held: dict[int, tuple[int, object]] = {}  # by the identity of a buffer: its address, and what keeps it
        self._room = 32
        self._table = _words(ENTRY_WORDS * self._room)
        self._table[Entry.LIVE] = 1
        self._block = _words(STATE_WORDS)
        self.address: Final = _address(self._block)
        self._callback: Final = _Step(self._step)  # kept: native code has its address only
        self._block[Slot.STEP] = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self._block[Slot.TABLE] = _address(self._table)

    # Machine and block ----------------------------------------------------------------------------------------------

    def write_block(self, pc: int) -> None:
        """Bring the block up to date with the machine, which is at ``pc``."""
        machine, numbers, words, tags = self.machine, self._numbers, [], []
        for word, region in zip(machine.registers, machine.provenance, strict=True):
            words.append(word or 0)
            if region is not None:
                tags.append(numbers.get(region) or self._enter(region))
            else:
                tags.append(UNINITIALISED if word is None else NUMBER)
        _REGISTERS.pack_into(self._block, 0, *words, *tags, pc & _MASK64, self.fuel - machine.steps)
        packet = machine.packet
        if packet is not None:
            tag = numbers.get(packet.region) or self._enter(packet.region)
            _PACKET.pack_into(self._block, 8 * Slot.PACKET, packet.data, packet.data_end, packet.data_meta, tag)
        self._refresh()

    def read_block(self) -> None:
        """Bring the machine up to date with the block."""
        machine, regions = self.machine, self._regions
        found = _FROM_NATIVE.unpack_from(self._block)
        words, tags = found[:10], found[10:20]
        stack = machine.calls[-1].stack
        machine.registers[:] = *words, stack.base + FRAME_SIZE
        machine.provenance[:] = *[regions[tag] for tag in tags], stack
        if UNINITIALISED in tags:
            for number, tag in enumerate(tags):
                if tag == UNINITIALISED:
                    machine.registers[number] = None
        machine.pc = found[20]
        machine.steps = self.fuel - found[21]

    # Regions --------------------------------------------------------------------------------------------------------

    def _enter(self, region: Region) -> int:
        """Give a region an entry; the number of it."""
        number = self._numbers[region] = len(self._regions)
        self._regions.append(region)
        if number == self._room:
            self._room *= 2
            table = _words(ENTRY_WORDS * self._room)
            table[: len(self._table)] = self._table
            self._table = table
            self._block[Slot.TABLE] = _address(table)
        first, table = number * ENTRY_WORDS, self._table
        table[first + Entry.BASE] = region.base
        table[first + Entry.LIVE] = region.live
        if region.kind in _IN_PLACE and region.size and not region.data.readonly:
            table[first + Entry.HOST] = self._hold(region.data)
            table[first + Entry.READABLE] = region.size if region.live else 0
            table[first + Entry.WRITABLE] = region.size if region.live and region.writable else 0
            if region.initialised is not None:
                table[first + Entry.WRITTEN] = self._hold(region.initialised)
        elif region.kind is RegionKind.CONTEXT:
            table[first + Entry.HOST] = self._hold(region.data)
        if region.kind is not RegionKind.MAP_VALUE and region.kind is not RegionKind.MAP:
            self._mortal.append(number)
            self._refresh()
        return number

    def _hold(self, buffer: memoryview | bytearray) -> int:
        """The address of a buffer that stays where it is from now on."""
        known = self._held.get(id(buffer))
        if known is None:
            held = ctypes.c_char.from_buffer(buffer)
            known = self._held[id(buffer)] = ctypes.addressof(held), (buffer, held)
        return known[0]

    def _refresh(self) -> None:
        """Note in the table which regions are gone, and where pointers are spilled."""
        table, gone = self._table, False
        for number in self._mortal:
            region, first = self._regions[number], number * ENTRY_WORDS
            assert region is not None
            if not region.live:  # and never again, in this run
                table[first + Entry.LIVE] = table[first + Entry.READABLE] = table[first + Entry.WRITABLE] = 0
                gone = True
            elif region.pointers is not None:
                spilled = 0
                for offset in region.pointers:
                    spilled |= 1 << (offset >> 3 & 63)
                table[first + Entry.SPILLED] = spilled
        if gone:
            self._mortal = [n for n in self._mortal if (region := self._regions[n]) is not None and region.live]

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


def _words(count: int) -> memoryview:
    """So many words of 0."""
    return memoryview(bytearray(8 * count)).cast("Q")


def _address(words: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(words))


def _slots(code: Code, pc: int) -> int:
    return 2 if code.instructions[pc + 1 : pc + 2] == (None,) else 1
