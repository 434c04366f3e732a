"""What may be in each register before each instruction: a forward analysis that makes generated code short.

For each register it says whether it may be uninitialised, a number, or a pointer, and of which sort; for the frame of
the running function, which bytes have surely been written and where a pointer may be spilled.  It over-approximates
the reference interpreter on *every* program, checked or not; what it does not know, generated code asks at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Final, NamedTuple

from prevail_py.isa.flow import function_address, target
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Call,
    CallLocal,
    CallRegister,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Load,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.platforms import Platform
from prevail_py.platforms.model import ArgKind, FieldKind, HelperPrototype, ProgramType, ReturnKind
from prevail_py.vm.memory import FRAME_SIZE
from prevail_py.vm.source.flow import Block, instruction_at, recursive

__all__ = ["May", "State", "Value", "analyse", "calls_back", "join"]


class May(IntFlag):
    """What a register may hold; ``STACK`` is a pointer into the running function's own frame."""

    UNINITIALISED = 1
    NUMBER = 2
    POINTER = 4
    CONTEXT = 8
    STACK = 16


_ANY_POINTER: Final = May.POINTER | May.CONTEXT | May.STACK
_FAR: Final = 1 << 31


class Value(NamedTuple):
    """``offset``, of a value that can only be a pointer into the context or the own frame, counts from its start.

    ``map``, of a value that can only be a reference to a map, is which one of the program's.  ``live``: if it is a
    pointer to something else than the own frame and the context, what it points to is there still.
    """

    may: May
    offset: int | None = None
    map: int | None = None
    live: bool = False

    @property
    def pointer(self) -> bool:
        """Whether it may be a pointer."""
        return bool(self.may & _ANY_POINTER)


_NUMBER: Final = Value(May.NUMBER)
_UNINITIALISED: Final = Value(May.UNINITIALISED)
_ANY: Final = Value(May.NUMBER | _ANY_POINTER)
_PASSED_BACK: Final = Value(May.UNINITIALISED | May.NUMBER | May.POINTER | May.CONTEXT)
_FRAME_POINTER: Final = Value(May.STACK, FRAME_SIZE)
_EVERYWHERE: Final = (1 << FRAME_SIZE) - 1


@dataclass(frozen=True, slots=True)
class State:
    """``registers``: R0 to R10.  Bit ``n`` of a mask is byte ``n`` of the own frame, counted from its lowest address.

    ``written`` bytes are surely initialised; a pointer may be spilled at the ``spilled`` ones.
    """

    registers: tuple[Value, ...]
    written: int = 0
    spilled: int = 0

    def value(self, operand: Operand) -> Value:
        """What an operand may stand for."""
        return self.registers[operand] if isinstance(operand, Register) else _NUMBER

    def put(self, register: int, value: Value) -> State:
        """With another value in a register; R10 never changes, for the instruction that tries traps."""
        if register == Register.R10:
            return self
        return replace(self, registers=(*self.registers[:register], value, *self.registers[register + 1 :]))


def join(a: State, b: State) -> State:
    """What holds wherever one of the two does."""
    registers = tuple(x if x == y else _join_values(x, y) for x, y in zip(a.registers, b.registers, strict=True))
    return State(registers, a.written & b.written, a.spilled | b.spilled)


def _join_values(a: Value, b: Value) -> Value:
    offset = a.offset if (a.may, a.offset) == (b.may, b.offset) else None
    return Value(a.may | b.may, offset, live=_live(a) and _live(b))


def _live(value: Value) -> bool:
    return value.live or not value.may & May.POINTER


def _start(arguments: Sequence[Value]) -> State:
    empty = (_UNINITIALISED,)
    return State((*empty, *arguments, *empty * 4, _FRAME_POINTER))


class _Analysis:
    def __init__(
        self,
        code: Sequence[Instruction | None],
        functions: dict[int, dict[int, Block]],
        platform: Platform,
        program_type: ProgramType | None,
    ) -> None:
        self.code = code
        self.functions = functions
        self.platform = platform
        self.program_type = program_type
        self.before: dict[tuple[int, int], State] = {}  # by function and block
        self.results: dict[int, Value] = {}
        self.callers: dict[int, set[tuple[int, int]]] = {entry: set() for entry in functions}
        self.pending: list[tuple[int, int]] = []
        self.recursive = recursive(code)

    def reach(self, function: int, start: int, state: State) -> None:
        key = (function, start)
        known = self.before.get(key)
        joined = state if known is None else join(known, state)
        if joined != known:
            self.before[key] = joined
            self.pending.append(key)

    def solve(self) -> None:
        empty = (_UNINITIALISED,)
        if self.program_type is None:
            first = (Value(May.POINTER), _NUMBER, *empty * 3)
        else:
            first = (Value(May.CONTEXT, 0), *empty * 4)
        self.reach(0, 0, _start(first))
        while self.pending:
            function, start = self.pending.pop()
            block = self.functions[function][start]
            state: State | None = self.before[function, start]
            for pc in block.pcs:
                assert state is not None
                state = self.after(function, start, pc, state)
                if state is None:
                    break
            else:
                assert state is not None
                for successor in block.successors:
                    self.reach(function, successor, state)

    def after(self, function: int, start: int, pc: int, state: State) -> State | None:
        """The state after an instruction; None where nothing follows, as far as is known yet."""
        instruction = instruction_at(self.code, pc)
        match instruction:
            case Exit():
                self.returns(function, state.registers[0])
                return None
            case CallLocal() as call:
                callee = target(pc, call)
                self.callers[callee].add((function, start))
                self.reach(callee, callee, _start([_passed(value) for value in state.registers[1:6]]))
                if callee not in self.results:
                    return None
                result = self.results[callee]
                if result.pointer:  # it may point into the caller's frame
                    result = Value(result.may | _ANY_POINTER)
                return replace(_maybe_stale(_clobbered(state)).put(0, result), spilled=_EVERYWHERE)
            case LoadPacket():
                self.returns(function, _NUMBER)
                return _clobbered(state).put(0, _NUMBER)
            case Call() | CallRegister():
                result, returns = self.result_of(instruction)
                if returns:
                    self.returns(function, Value(_ANY.may | May.UNINITIALISED))
                if self.may_call_back(instruction):
                    state = replace(state, spilled=_EVERYWHERE)
                if self.may_end_regions(instruction):
                    state = _maybe_stale(state)
                return _clobbered(state).put(0, result)
            case Alu() | MoveSignExtend() | Negate() | EndianSwap():
                return state.put(instruction.dst, _computed(instruction, state))
            case Load(dst, base, offset, size, signed):
                return state.put(dst, _NUMBER if signed else self.loaded(function, state, base, offset, size))
            case LoadAcquire(dst, base, offset, size):
                return state.put(dst, self.loaded(function, state, base, offset, size))
            case Store(base, offset, size, src):
                return _stored(state, base, offset, size, src)
            case StoreRelease(base, offset, size, src):
                return _stored(state, base, offset, size, src)
            case Atomic(op, fetch, _, _, _, src):
                return state.put(Register.R0 if op is AtomicOp.CMPXCHG else src, _NUMBER) if fetch else state
            case LoadImmediate64(dst, index, pseudo=pseudo):
                if pseudo is Pseudo.FUNCTION:
                    callee = function_address(pc, instruction)
                    self.reach(callee, callee, _start([_PASSED_BACK] * 5))
                if pseudo is Pseudo.MAP_INDEX:
                    return state.put(dst, Value(May.POINTER, map=index, live=True))
                return state.put(dst, _NUMBER if pseudo is Pseudo.IMMEDIATE else Value(May.POINTER, live=True))
            case None:
                return None
            case _:
                return state

    def returns(self, function: int, value: Value) -> None:
        known = self.results.get(function)
        joined = Value(value.may if known is None else known.may | value.may)
        if joined != known:
            self.results[function] = joined
            self.pending.extend(self.callers[function])

    def result_of(self, instruction: Call | CallRegister) -> tuple[Value, bool]:
        """R0 after a call of a helper, and whether it may return from the function: a tail call, with any result."""
        anything = Value(May.UNINITIALISED | May.NUMBER | May.POINTER)
        if isinstance(instruction, CallRegister):
            return anything, True
        prototype = self.prototype(instruction)
        if prototype is None or prototype.returns is ReturnKind.INTEGER:
            anything = _NUMBER
        elif prototype.returns in (ReturnKind.MAP_VALUE, ReturnKind.MAP_VALUE_OR_NULL):
            anything = Value(May.NUMBER | May.POINTER, live=True)  # maps outlive the run
        return anything, prototype is not None and prototype.name == "bpf_tail_call"

    def prototype(self, call: Call) -> HelperPrototype | None:
        return self.platform.helper(call.helper, None if self.program_type is None else self.program_type.name)

    def may_call_back(self, call: Call | CallRegister) -> bool:
        """Whether it may run a function of the program, which might spill pointers into the caller's frame."""
        if isinstance(call, CallRegister):
            return True
        prototype = self.prototype(call)
        return prototype is not None and calls_back(prototype)

    def may_end_regions(self, call: Call | CallRegister) -> bool:
        """Whether pointers may be stale after it: it moves the packet, takes something back, or calls back."""
        if isinstance(call, CallRegister):
            return True
        prototype = self.prototype(call)
        if prototype is None or prototype.changes_packet or calls_back(prototype):
            return True
        return any(arg.releases or arg.kind in (ArgKind.CTX, ArgKind.CTX_OR_NULL) for arg in prototype.args)

    def loaded(self, function: int, state: State, base: Register, offset: int, size: int) -> Value:
        pointer = state.registers[base]
        if pointer.may == May.STACK and pointer.offset is not None:
            return _ANY if size == 8 and state.spilled >> max(pointer.offset + offset, 0) & 1 else _NUMBER
        if pointer.may == May.CONTEXT and pointer.offset is not None and self.program_type is not None:
            kind = self.program_type.context_read(pointer.offset + offset, size)
            if kind is FieldKind.SCALAR:
                return _NUMBER
            packet = (FieldKind.PACKET, FieldKind.PACKET_END, FieldKind.PACKET_META)
            return Value(May.POINTER, live=True) if kind in packet else Value(May.NUMBER | May.POINTER)
        if pointer.may & May.CONTEXT:
            return _ANY
        # Pointers are kept on the stack and, in plain mode, in the memory; what a main program may reach has neither.
        elsewhere = pointer.may & May.POINTER and (function or self.program_type is None or self.recursive)
        on_stack = pointer.may & May.STACK and state.spilled
        return _ANY if size == 8 and (elsewhere or on_stack) else _NUMBER


def calls_back(prototype: HelperPrototype) -> bool:
    """Whether a helper calls a function of the program."""
    return any(arg.kind is ArgKind.FUNCTION for arg in prototype.args)


def _passed(value: Value) -> Value:
    """An argument as the callee sees it: the frame of the caller is not its own."""
    return Value(value.may & ~May.STACK | May.POINTER) if value.may & May.STACK else value


def _maybe_stale(state: State) -> State:
    return replace(state, registers=tuple(value._replace(live=False) for value in state.registers))


def _clobbered(state: State) -> State:
    return replace(state, registers=(state.registers[0], *(_UNINITIALISED,) * 5, *state.registers[6:]))


def _computed(instruction: Alu | MoveSignExtend | Negate | EndianSwap, state: State) -> Value:
    if not isinstance(instruction, Alu) or instruction.width != 64:
        return _NUMBER
    dst, src = state.registers[instruction.dst], state.value(instruction.src)
    match instruction.op:
        case AluOp.MOV:
            return src._replace(may=src.may & ~May.UNINITIALISED or May.NUMBER)
        case AluOp.ADD | AluOp.SUB if src.pointer or dst.pointer:
            sign = 1 if instruction.op is AluOp.ADD else -1
            if not src.pointer and dst.offset is not None and isinstance(instruction.src, Immediate):
                offset = dst.offset + sign * instruction.src.value
                return Value(dst.may, offset if abs(offset) < _FAR else None, live=dst.live)
            may = May(0)
            if src.may & May.NUMBER:
                may |= dst.may & (_ANY_POINTER | May.NUMBER)
            if instruction.op is AluOp.ADD and dst.may & May.NUMBER:
                may |= src.may & (_ANY_POINTER | May.NUMBER)
            if instruction.op is AluOp.SUB and src.pointer and dst.pointer:
                may |= May.NUMBER
            return Value(may or May.NUMBER, live=_live(dst) and _live(src))
        case _:
            return _NUMBER


def _stored(state: State, base: Register, offset: int, size: int, src: Operand) -> State:
    pointer, leaves_pointer = state.registers[base], state.value(src).pointer
    if pointer.may == May.STACK and pointer.offset is not None:
        place = pointer.offset + offset
        if not 0 <= place <= FRAME_SIZE - size:
            return state  # it traps
        low = max(place - 7, 0)
        spilled = state.spilled & ~(((1 << place + size - low) - 1) << low)
        if leaves_pointer and size == 8 and place % 8 == 0:
            spilled |= 1 << place
        return replace(state, written=state.written | ((1 << size) - 1) << place, spilled=spilled)
    if leaves_pointer and pointer.may & May.STACK:
        return replace(state, spilled=_EVERYWHERE)
    return state


def analyse(
    code: Sequence[Instruction | None],
    functions: dict[int, dict[int, Block]],
    platform: Platform,
    program_type: ProgramType | None,
) -> dict[int, dict[int, State]]:
    """The state before each slot that may be reached, for each function; ``program_type`` is None in plain mode."""
    analysis = _Analysis(code, functions, platform, program_type)
    analysis.solve()
    found: dict[int, dict[int, State]] = {entry: {} for entry in functions}
    for (function, start), first in analysis.before.items():
        state: State | None = first
        for pc in functions[function][start].pcs:
            if state is None:
                break
            found[function][pc] = state
            state = analysis.after(function, start, pc, state)
    return found
