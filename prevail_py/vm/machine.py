"""The state of one run: registers, stack, memory, maps, packet, and what the program holds or has asked for.

The interpreter changes it instruction by instruction, helpers change it through the same methods, and observers look
at it.  Registers are 64-bit words, None while uninitialised, and beside each is its provenance
(:mod:`prevail_py.vm.memory`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeGuard

from prevail_py.isa.flow import function_address
from prevail_py.isa.instructions import (
    Alu,
    Atomic,
    EndianSwap,
    Instruction,
    Load,
    LoadImmediate64,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
)
from prevail_py.isa.semantics import Computing, atomic_op, load_op, operands, operation
from prevail_py.objects.program import Program
from prevail_py.platforms import Platform
from prevail_py.platforms.model import LookupResult, ProgramType
from prevail_py.vm.context import Context
from prevail_py.vm.environment import Environment, Socket
from prevail_py.vm.fault import Fault
from prevail_py.vm.maps import Map, has_values, require_cpu
from prevail_py.vm.memory import FRAME_SIZE, WINDOW, AddressSpace, Region, RegionKind
from prevail_py.vm.outcome import TrapKind
from prevail_py.vm.packet import Packet
from prevail_py.words import WordOp

if TYPE_CHECKING:
    from prevail_py.vm.maps.streams import RingBuffer

__all__ = ["MAX_FRAMES", "Callback", "Code", "Frame", "Machine", "Redirect", "SpinLock", "prepare"]

MAX_FRAMES: Final = 8
"""How deep calls may nest, the main program included (MAX_CALL_FRAMES in Linux)."""

_CALLEE_SAVED: Final = range(6, 10)


@dataclass(frozen=True, slots=True)
class Code:
    """A program prepared for execution.

    ``operations`` says what each instruction computes, where that is more than a copy, and ``operands`` of what, for
    those that compute from registers and constants.  ``program_type`` is None in plain mode.  ``functions`` are the
    slots of those whose addresses are taken, in order: the address of one follows from its place among them.
    """

    program: Program
    program_type: ProgramType | None
    instructions: tuple[Instruction | None, ...]
    operations: tuple[WordOp | None, ...]
    operands: tuple[tuple[Operand, ...], ...]
    functions: tuple[int, ...]


def prepare(platform: Platform, program: Program, known: dict[int, Code]) -> Code:
    """Look up once what need not be looked up at every step.

    ``known`` keeps what was prepared, by the identity of the program.  A program without a type runs in plain mode.
    Raises ValueError for a type that the platform does not have.
    """
    code = known.get(id(program))
    if code is not None:
        return code
    program_type = None
    if program.program_type:
        try:
            program_type = platform.program_type(program.program_type, program.expected_attach_type, program.hook)
        except KeyError:
            raise ValueError(f"platform {platform.name} has no program type {program.program_type!r}") from None
    code = known[id(program)] = Code(
        program,
        program_type,
        program.code,
        tuple([_operation(instruction) for instruction in program.code]),
        tuple([operands(i) if isinstance(i, Computing) else () for i in program.code]),
        tuple(sorted({function_address(pc, i) for pc, i in enumerate(program.code) if _takes_address(i)})),
    )
    return code


def _takes_address(instruction: Instruction | None) -> TypeGuard[LoadImmediate64]:
    return isinstance(instruction, LoadImmediate64) and instruction.pseudo is Pseudo.FUNCTION


def _operation(instruction: Instruction | None) -> WordOp | None:
    match instruction:
        case Alu() | MoveSignExtend() | Negate() | EndianSwap():
            return operation(instruction)
        case Load(size=size, signed=True):
            return load_op(size, signed=True)
        case Atomic(op, size=size):
            return atomic_op(op, size)
        case _:
            return None  # the bytes of an unsigned load are the word already


class Callback(Protocol):
    """A helper that calls a function of the program again and again."""

    def next_call(self) -> Sequence[tuple[int, Region | None]] | None:
        """The arguments, with their provenance, of the next call, which counts as made; None after the last one."""
        ...

    def finish(self, machine: Machine) -> None:
        """End the call of the helper: set R0."""
        ...

    def returned(self, machine: Machine, result: int) -> None:
        """Go on after a call that returned 0 or 1; its frame is gone."""
        ...


@dataclass(slots=True, eq=False)
class Frame:
    """One activation: the main program's, or a subprogram's.

    ``maps`` gives the position in :attr:`Machine.maps` of each map of the program.  ``call_pc`` is the slot of the call
    that made the frame, ``saved`` holds R6-R9 of the caller with their provenance; the main program has neither.
    ``may_goto_left`` is how often the frame's ``may_goto`` instructions may still fall through.  ``callback`` is set
    where a helper called the function.
    """

    code: Code
    maps: tuple[int, ...]
    stack: Region
    may_goto_left: int
    call_pc: int | None = None
    saved: tuple[tuple[int | None, Region | None], ...] = ()
    callback: Callback | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a program asked to send the packet: an interface, or the entry ``key`` of a map."""

    ifindex: int | None = None
    map: str | None = None
    key: int | None = None
    flags: int = 0


@dataclass(frozen=True, slots=True)
class SpinLock:
    """The lock at ``offset`` of a map value."""

    offset: int


@dataclass(slots=True, eq=False)
class Machine:
    """See the module's text.

    ``pc`` is the slot of the current instruction, ``next_pc`` where to go on after it.  ``maps`` are those of the
    program in their order, then others that the run came across; ``values`` is for each map what was found of its
    values on this CPU, by slot, by engines that keep count of it.  ``references`` holds the regions that a helper
    handed out and wants back, each with the record or socket it is, and map values with a lock that is held.
    ``plain`` turns off the checks that only make sense for a program of some type: of leaked pointers, and of which
    helpers it may call.  ``codes`` keeps prepared programs.
    """

    platform: Platform
    environment: Environment
    codes: dict[int, Code] = field(default_factory=dict)
    plain: bool = False
    memory: AddressSpace = field(default_factory=AddressSpace)
    registers: list[int | None] = field(default_factory=lambda: [None] * 11)
    provenance: list[Region | None] = field(default_factory=lambda: [None] * 11)
    pc: int = 0
    next_pc: int = 0
    steps: int = 0
    calls: list[Frame] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)
    values: list[dict[int, Region]] = field(default_factory=list)
    packet: Packet | None = None
    context: Context | None = None
    references: dict[Region, tuple[RingBuffer, int] | Socket | SpinLock] = field(default_factory=dict)
    redirect: Redirect | None = None
    tail_calls: int = 0
    _functions: dict[tuple[int, int], Region] = field(default_factory=dict)
    _map_regions: list[Region] = field(default_factory=list)
    _value_windows: list[int] = field(default_factory=list)

    # For observers --------------------------------------------------------------------------------------------------

    @property
    def program(self) -> Program:
        """The program that is running: another one after a tail call."""
        return self.calls[-1].code.program

    @property
    def frames(self) -> tuple[Region, ...]:
        """The stack frames, innermost last."""
        return tuple(call.stack for call in self.calls)

    @property
    def call_pcs(self) -> tuple[int, ...]:
        """The slots of the active calls of subprograms, outermost first."""
        return tuple(call.call_pc for call in self.calls if call.call_pc is not None)

    @property
    def packet_region(self) -> Region | None:
        """The packet from its metadata to its end; :attr:`packet` knows where the data starts."""
        return None if self.packet is None else self.packet.region

    # Registers ------------------------------------------------------------------------------------------------------

    def read(self, register: int) -> int:
        """The value of a register that must be initialised."""
        value = self.registers[register]
        if value is None:
            raise Fault(TrapKind.UNINITIALISED_REGISTER, f"r{register} was never written")
        return value

    def write(self, register: int, value: int | None, provenance: Region | None = None) -> None:
        """Set a register; R10 cannot be set."""
        if register == 10:
            raise Fault(TrapKind.READ_ONLY, "r10 is read-only")
        self.registers[register] = value
        self.provenance[register] = provenance

    def clobber_arguments(self) -> None:
        """After a call R1-R5 hold nothing that may be used (RFC 9669 section 2)."""
        self.registers[1:6] = [None] * 5
        self.provenance[1:6] = [None] * 5

    # Calls ----------------------------------------------------------------------------------------------------------

    def enter(
        self, code: Code, maps: tuple[int, ...], call_pc: int | None = None, callback: Callback | None = None
    ) -> None:
        """Begin a frame with its own stack; R0 and R6-R9 are uninitialised in it."""
        if len(self.calls) == MAX_FRAMES:
            raise Fault(TrapKind.CALL_DEPTH, f"more than {MAX_FRAMES} frames")
        saved = tuple((self.registers[r], self.provenance[r]) for r in _CALLEE_SAVED) if self.calls else ()
        stack = self.memory.stack_frame(len(self.calls))
        self.calls.append(Frame(code, maps, stack, self.environment.may_goto_limit, call_pc, saved, callback))
        for register in (0, *_CALLEE_SAVED):
            self.write(register, None)
        self._set_frame_pointer()

    def renew(self) -> None:
        """Give the innermost frame a new stack, as when it is left and entered again."""
        frame = self.calls[-1]
        frame.stack = self.memory.renew(frame.stack)
        frame.may_goto_left = self.environment.may_goto_limit

    def leave(self) -> None:
        """End the innermost frame, which is not the only one, and go on after the call."""
        frame = self.calls.pop()
        self.memory.release(frame.stack)
        for register, (value, provenance) in zip(_CALLEE_SAVED, frame.saved, strict=True):
            self.write(register, value, provenance)
        self.clobber_arguments()
        self._set_frame_pointer()
        assert frame.call_pc is not None
        self.next_pc = frame.call_pc + 1

    def replace(self, code: Code, maps: tuple[int, ...]) -> None:
        """Run another program in place of the innermost frame, with a new stack: a tail call."""
        frame = self.calls[-1]
        self.next_pc = 0
        stack, limit = self.memory.renew(frame.stack), self.environment.may_goto_limit
        self.calls[-1] = Frame(code, maps, stack, limit, frame.call_pc, frame.saved, frame.callback)
        for register in range(10):
            self.write(register, None)
        self._set_frame_pointer()

    def restart(self, environment: Environment) -> None:
        """Be as after :meth:`enter` of the same program with the same maps in a new machine.

        The main program's frame and the regions of maps stay.  Not for a machine whose last run replaced the program
        or came across other maps.
        """
        main = self.calls[0]
        main.may_goto_left = environment.may_goto_limit
        main.stack.blank()
        self.memory.restart(main.stack)
        self.environment = environment
        self.registers = [None] * 11
        self.provenance = [None] * 11
        self.calls = [main]
        self._set_frame_pointer()
        self.pc = self.next_pc = self.steps = self.tail_calls = 0
        self.packet = self.context = self.redirect = None
        self.references = {}
        self._functions = {}

    def _set_frame_pointer(self) -> None:
        stack = self.calls[-1].stack
        self.registers[10] = stack.base + FRAME_SIZE
        self.provenance[10] = stack

    # Functions ------------------------------------------------------------------------------------------------------

    def function_region(self, pc: int) -> Region:
        """What a pointer to the running program's function at slot ``pc`` points to.

        Another program that a tail call led to has the addresses of the first: no pointer outlives the call.
        """
        code = self.calls[-1].code
        region = self._functions.get((id(code), pc))
        if region is None:
            region = self._functions[id(code), pc] = self.memory.function(code.functions.index(pc))
        return region

    def function_at(self, region: Region) -> int | None:
        """The slot of the running program's function that ``region`` stands for; None where it is not its own."""
        code = id(self.calls[-1].code)
        return next((pc for (owner, pc), known in self._functions.items() if known is region and owner == code), None)

    # Maps -----------------------------------------------------------------------------------------------------------

    def attach(self, map: Map) -> int:
        """The position of a map in :attr:`maps`, where it is put if it was not there."""
        for index, known in enumerate(self.maps):
            if known is map:
                return index
        require_cpu(map, self.environment.cpu)
        index = len(self.maps)
        # Windows are given out here, not at the first use: addresses do not depend on what a run looks up first.
        self._value_windows.append(self.memory.reserve_map_values(map.slots * map.cpus) if has_values(map) else 0)
        self.maps.append(map)
        self.values.append({})
        self._map_regions.append(self.memory.map_object(index))
        return index

    def map_of(self, region: Region) -> Map:
        """The map that a reference or a value belongs to."""
        assert region.map_index is not None
        return self.maps[region.map_index]

    def map_region(self, index: int) -> Region:
        """What references to the map at ``index`` point to."""
        return self._map_regions[index]

    def value_region(self, index: int, slot: int, cpu: int | None = None) -> Region:
        """The memory of a value of the map at ``index``, by default that of the CPU we run on; or a socket in it."""
        map = self.maps[index]
        assert has_values(map)
        if cpu is None:
            cpu = self.environment.cpu if map.cpus > 1 else 0
        number = slot * map.cpus + cpu
        map_type = self.platform.map_type(map.spec.type)
        of_sockets = map_type is not None and map_type.lookup is LookupResult.XDP_SOCKET
        kind = RegionKind.SOCKET if of_sockets else RegionKind.MAP_VALUE
        return self.memory.map_value(
            self._value_windows[index], number, map.value(slot, cpu), index, writable=map.writable, kind=kind
        )

    def value_at(self, address: int) -> Region | None:
        """The memory of the value in whose window an address is; None where there is none."""
        for index, (map, first) in enumerate(zip(self.maps, self._value_windows, strict=True)):
            number = (address - first) // WINDOW
            if has_values(map) and 0 <= number < map.slots * map.cpus:
                return self.value_region(index, number // map.cpus, number % map.cpus)
        return None

    # References -----------------------------------------------------------------------------------------------------

    def acquire(self, buffer: RingBuffer, number: int, size: int) -> Region:
        """Memory for a record of a ring buffer, which the program must give back."""
        region = self.memory.memory(bytes(size))
        self.references[region] = (buffer, number)
        return region

    def give_back(self, region: Region) -> tuple[RingBuffer, int]:
        """End the life of acquired memory: the record that it was."""
        record = self.references[region]
        assert isinstance(record, tuple)
        self.release(region)
        return record

    def acquire_socket(self, socket: Socket) -> Region:
        """A socket that the program must give back."""
        region = self.memory.socket(socket.content)
        self.references[region] = socket
        return region

    def release(self, region: Region) -> None:
        """End the life of what was acquired."""
        self.memory.release(region)
        del self.references[region]
