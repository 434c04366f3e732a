"""The reference interpreter: what every instruction does, with every access checked.

It is written to be compared with RFC 9669, section by section; all other engines are compared with it.  What an
instruction computes comes from :mod:`prevail_py.isa.semantics`; this module adds the effects: memory, control flow,
calls.  A program that violates something ends in a trap, which is a value; there is no program on which :func:`run`
raises an exception.

Observers are called before every instruction with the live :class:`Machine`; they must not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, assert_never

from prevail_py.isa.flow import function_address
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    Atomic,
    AtomicOp,
    Branch,
    Call,
    CallKfunc,
    CallLocal,
    CallRegister,
    EndianSwap,
    Exit,
    Instruction,
    Jump,
    Load,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    MayGoto,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.semantics import immediate_word
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.vm.context import Context, takes_packet
from prevail_py.vm.environment import Environment
from prevail_py.vm.fault import Fault
from prevail_py.vm.machine import Callback, Code, Machine, Redirect, prepare
from prevail_py.vm.maps import Map, Maps, has_values
from prevail_py.vm.memory import Region, RegionKind
from prevail_py.vm.outcome import Outcome, OutOfFuel, Returned, Trap, TrapKind, Trapped
from prevail_py.vm.packet import Packet
from prevail_py.words import INT, WORD_BITS, Comparison, OpKind, WordOp, compare, evaluate, to_signed

__all__ = [
    "DEFAULT_FUEL",
    "Execution",
    "Executor",
    "Interpreter",
    "Observer",
    "View",
    "call_helper",
    "end",
    "execute",
    "run",
    "run_memory",
    "step",
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
    if len(maps) != len(program.maps):
        raise ValueError(f"program {program.name!r} uses {len(program.maps)} maps, not {len(maps)}")
    for map, spec in zip(maps, program.maps, strict=True):
        for attribute in ("type", "key_size", "value_size", "max_entries"):
            if getattr(map.spec, attribute) != getattr(spec, attribute):
                raise ValueError(f"map {map.spec.name!r} is given for {spec.name!r}, but differs in {attribute}")
    return tuple(machine.attach(map) for map in maps)


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


def step(machine: Machine, code: Code) -> int | None:
    """Execute the instruction at ``machine.pc`` and set ``next_pc``; R0 where it ends the program."""
    pc = machine.pc
    instruction = code.instructions[pc] if 0 <= pc < len(code.instructions) else None
    machine.next_pc = pc + 1
    match instruction:
        # Arithmetic: RFC 9669 sections 4.1 and 4.2
        case Alu() | MoveSignExtend() | Negate() | EndianSwap():
            _compute(machine, instruction.dst, code.operations[pc], code.operands[pc])
        # Jumps: section 4.3
        case Branch(comparison, width, dst, src, offset):
            if compare(INT, comparison, machine.read(dst), _source(machine, src)[0], width):
                machine.next_pc = pc + 1 + offset
        case Jump(offset):
            machine.next_pc = pc + 1 + offset
        case MayGoto(offset):
            frame = machine.calls[-1]
            if frame.may_goto_left > 0:
                frame.may_goto_left -= 1
            else:
                machine.next_pc = pc + 1 + offset
        case Exit():
            return end(machine)
        # Calls: sections 4.3.1 and 4.3.2
        case Call(helper):
            call_helper(machine, helper)
        case CallLocal(offset):
            _call(machine, pc + 1 + offset)
        case CallRegister(register):
            _call_register(machine, register)
        case CallKfunc():
            name = machine.program.symbols.get(pc)
            which = f" ({name})" if name else ""
            raise Fault(TrapKind.UNSUPPORTED, f"calls of kernel functions{which} are not modelled")
        # Memory: sections 5.1 to 5.3
        case Load(dst, base, offset, size):
            machine.write(dst, *_load(machine, base, offset, size, code.operations[pc]))
        case LoadAcquire(dst, base, offset, size):
            machine.write(dst, *_load(machine, base, offset, size))
        case Store(base, offset, size, src):
            _store(machine, base, offset, size, src)
        case StoreRelease(base, offset, size, register):
            _store(machine, base, offset, size, register)
        case Atomic():
            _atomic(machine, instruction, code.operations[pc])
        # Wide loads: section 5.4
        case LoadImmediate64(dst):
            machine.next_pc = pc + 2
            machine.write(dst, *_wide(machine, instruction))
        case AddressSpaceCast():
            raise Fault(TrapKind.UNSUPPORTED, "address space casts are not modelled")
        # Legacy packet access: section 5.5
        case LoadPacket():
            return _load_packet(machine, instruction)
        case None:
            raise Fault(TrapKind.UNSUPPORTED, f"control flow leaves the program: no instruction starts at slot {pc}")
        case _:
            assert_never(instruction)
    return None


# Arithmetic ---------------------------------------------------------------------------------------------------------


def _source(machine: Machine, operand: Operand) -> tuple[int, Region | None]:
    """The word that an operand stands for, and its provenance."""
    if isinstance(operand, Register):
        return machine.read(operand), machine.provenance[operand]
    return immediate_word(operand.value), None


def _compute(machine: Machine, dst: Register, op: WordOp | None, sources: tuple[Operand, ...]) -> None:
    """``dst = op(sources)``, or a copy of the only source."""
    first, provenance = _source(machine, sources[0])
    if op is None:
        machine.write(dst, first, provenance)
    elif len(sources) == 1:
        kept = None if provenance is None else _pointer_result(op, (provenance,))
        machine.write(dst, evaluate(INT, op, (first,)), kept)
    else:
        second, other = _source(machine, sources[1])
        kept = None if provenance is other is None else _pointer_result(op, (provenance, other))
        machine.write(dst, evaluate(INT, op, (first, second)), kept)


def _pointer_result(op: WordOp, provenance: tuple[Region | None, ...]) -> Region | None:
    """The provenance of what ``op`` computes from pointers.

    Only a number can be added to or subtracted from a pointer, at 64 bits, and two pointers into the same region be
    subtracted from each other, which gives a number.
    """
    if not any(region is not None and not region.live for region in provenance):
        match op.kind, op.width, provenance:
            case (OpKind.ADD, 64, (region, None) | (None, region)) | (OpKind.SUB, 64, (region, None)):
                return region
            case (OpKind.SUB, _, (Region() as left, Region() as right)) if left is right:
                return None
    involved = " and ".join("a number" if region is None else f"a pointer to {region}" for region in provenance)
    raise Fault(TrapKind.POINTER_ARITHMETIC, f"{op.kind.value} of {op.width} bits on {involved}")


# Memory -------------------------------------------------------------------------------------------------------------


def _address(machine: Machine, base: Register, offset: int) -> tuple[Region, int]:
    value, region = machine.read(base), machine.provenance[base]
    if region is not None:
        return region, value + offset & 0xFFFFFFFFFFFFFFFF
    if value == 0:
        raise Fault(TrapKind.NULL_DEREFERENCE, f"r{base} is null", offset & 0xFFFFFFFFFFFFFFFF)
    raise Fault(TrapKind.NOT_A_POINTER, f"r{base} is the number {value:#x}", value + offset & 0xFFFFFFFFFFFFFFFF)


def _load(
    machine: Machine, base: Register, offset: int, size: int, op: WordOp | None = None
) -> tuple[int, Region | None]:
    """The word loaded, which ``op`` extends from the bytes read, and its provenance where it is a pointer."""
    region, address = _address(machine, base, offset)
    if region.kind is RegionKind.CONTEXT and machine.context is not None:
        value, provenance = machine.context.load(address, size, op is not None)
    else:
        value, provenance = region.load(address, size)
    return (value, provenance) if op is None else (evaluate(INT, op, (value,)), None)


def _store(machine: Machine, base: Register, offset: int, size: int, src: Operand) -> None:
    region, address = _address(machine, base, offset)
    value, provenance = _source(machine, src)
    if region.kind is RegionKind.CONTEXT and machine.context is not None:
        machine.context.store(address, size, value, provenance)
        return
    if provenance is not None and not machine.plain:
        region.require_no_leak(provenance, address, size)
    region.store(address, size, value, provenance)


def _atomic(machine: Machine, instruction: Atomic, word_op: WordOp | None) -> None:
    op, size, src = instruction.op, instruction.size, instruction.src
    region, address = _address(machine, instruction.base, instruction.offset)
    operand, provenance = machine.read(src), machine.provenance[src]
    if region.kind is RegionKind.CONTEXT:
        raise Fault(TrapKind.CONTEXT_ACCESS, "an atomic operation on the context", address)
    expected = machine.read(Register.R0) if op is AtomicOp.CMPXCHG else 0
    old, _ = region.load(address, size)
    if provenance is not None and not machine.plain:
        region.require_no_leak(provenance, address, size)
    if word_op is not None:
        new = evaluate(INT, word_op, (old, operand))
    elif op is AtomicOp.CMPXCHG and not compare(INT, Comparison.EQ, old, expected, 8 * size):
        new = old
    else:
        new = operand
    region.store(address, size, new)
    if instruction.fetch:
        machine.write(Register.R0 if op is AtomicOp.CMPXCHG else src, old)


def _wide(machine: Machine, instruction: LoadImmediate64) -> tuple[int, Region | None]:
    match instruction.pseudo:
        case Pseudo.IMMEDIATE:
            return instruction.value, None
        case Pseudo.MAP_INDEX:
            region = machine.map_region(_map_index(machine, instruction))
            return region.base, region
        case Pseudo.MAP_INDEX_VALUE:
            index = _map_index(machine, instruction)
            map = machine.maps[index]
            if not has_values(map):
                raise Fault(TrapKind.UNSUPPORTED, f"map {map.spec.name!r} has no values to point to")
            region = machine.value_region(index, 0)
            return region.base + (instruction.high & 0xFFFFFFFF), region
        case Pseudo.FUNCTION:
            region = machine.function_region(function_address(machine.pc, instruction))
            return region.base, region
        case Pseudo.MAP_FD | Pseudo.MAP_VALUE | Pseudo.BTF_ID:
            raise Fault(
                TrapKind.UNSUPPORTED, f"a wide load of a {instruction.pseudo.name}, which only Linux can resolve"
            )
    assert_never(instruction.pseudo)


def _map_index(machine: Machine, instruction: LoadImmediate64) -> int:
    maps = machine.calls[-1].maps
    if not 0 <= instruction.low < len(maps):
        raise Fault(TrapKind.UNSUPPORTED, f"map {instruction.low} of a program that has {len(maps)}")
    return maps[instruction.low]


def _load_packet(machine: Machine, instruction: LoadPacket) -> int | None:
    """``r0 = ntoh(packet[offset + index])``; a load outside of the packet ends the function with 0.

    R6 must be the context of a program that runs on socket buffers; R1 to R5 are clobbered.
    """
    value, region = machine.read(Register.R6), machine.provenance[Register.R6]
    offset = instruction.offset + (0 if instruction.index is None else machine.read(instruction.index))
    offset = to_signed(offset, 32)
    if machine.packet is None or machine.context is None or machine.context.program_type.context_struct != "__sk_buff":
        raise Fault(TrapKind.UNSUPPORTED, "a legacy packet load in a program that does not run on socket buffers")
    if region is not machine.context.region or value != region.base:
        raise Fault(TrapKind.NOT_A_POINTER, "r6 is not the context, through which legacy loads reach the packet")
    if offset < 0:
        raise Fault(TrapKind.UNSUPPORTED, f"a legacy packet load at offset {offset}, relative to a header")
    machine.clobber_arguments()
    if offset + instruction.size > len(machine.packet):
        machine.write(Register.R0, 0)
        return end(machine)
    start = machine.packet.start + offset
    machine.write(Register.R0, int.from_bytes(machine.packet.frame[start : start + instruction.size], "big"))
    return None


# Calls --------------------------------------------------------------------------------------------------------------


def call_helper(machine: Machine, number: int) -> None:
    """See :func:`prevail_py.vm.helpers.table.call_helper`, which is imported when a program first calls a helper."""
    from prevail_py.vm.helpers.table import call_helper

    call_helper(machine, number)


def _call(machine: Machine, target: int) -> None:
    """Call a subprogram: it has the arguments and a stack of its own."""
    frame = machine.calls[-1]
    machine.enter(frame.code, frame.maps, machine.pc)
    machine.next_pc = target


def _call_register(machine: Machine, register: Register) -> None:
    """Call the helper whose number is in a register, or the function that it points to."""
    number, region = machine.read(register), machine.provenance[register]
    if region is None:
        call_helper(machine, number)
        return
    function = machine.function_at(region)
    if function is None or number != region.base:
        raise Fault(TrapKind.NOT_A_POINTER, f"r{register} points to {region}, not to a function of the program")
    _call(machine, function)


def end(machine: Machine) -> int | None:
    """Return from a subprogram, or end the program with R0, which must then be a result that its type allows."""
    if len(machine.calls) > 1:
        callback = machine.calls[-1].callback
        if callback is None:
            machine.leave()
        else:
            _end_callback(machine, callback)
        return None
    result = machine.read(Register.R0)
    program_type = machine.calls[-1].code.program_type
    if program_type is None:
        return result
    provenance = machine.provenance[Register.R0]
    if provenance is not None:
        raise Fault(TrapKind.POINTER_LEAK, f"a pointer to {provenance} is returned")
    if program_type.return_range is not None:
        lowest, highest = program_type.return_range
        if not lowest <= to_signed(result, WORD_BITS) <= highest:
            raise Fault(TrapKind.RETURN_RANGE, f"{to_signed(result, WORD_BITS)} is not within {lowest}..{highest}")
    if machine.references:
        raise Fault(TrapKind.UNRELEASED_REFERENCE, f"{len(machine.references)} references were not released")
    return result


def _end_callback(machine: Machine, callback: Callback) -> None:
    """Return from a function that a helper called: with 0 or 1, nothing else (``prepare_func_exit`` in Linux)."""
    result, provenance = machine.read(Register.R0), machine.provenance[Register.R0]
    if provenance is not None:
        raise Fault(TrapKind.POINTER_LEAK, f"a callback returns a pointer to {provenance}")
    if result > 1:
        raise Fault(TrapKind.RETURN_RANGE, f"a callback returns {to_signed(result, WORD_BITS)}, neither 0 nor 1")
    machine.leave()
    callback.returned(machine, result)
