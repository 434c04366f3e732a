"""The IR of a whole program: one native function, whose blocks are the program's.

Control goes from block to block, and through a *dispatch* on the slot where to go on wherever only the reference knows
that: when native code is entered, after calls and returns, in the functions that helpers call.  Frames of subprograms
are the machine's, kept by the reference, which executes calls and exits.

Fuel is checked at the start of each block: unless what is left covers all of it, the reference takes over *before*
anything of it is run.  So a run that is cut off stops at exactly the right instruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, assert_never

from llvmlite import ir

from prevail_py.isa.flow import successors, target
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    Atomic,
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
    Pseudo,
    Register,
    Store,
    StoreRelease,
    slots_of,
)
from prevail_py.platforms import Platform
from prevail_py.vm.jit import access, arithmetic
from prevail_py.vm.jit.emitter import I64, POINTER, Emitter, Frame, Site, constant
from prevail_py.vm.jit.layout import NUMBER, UNINITIALISED, Slot, Status
from prevail_py.vm.machine import Code
from prevail_py.vm.source.analysis import State, analyse, join
from prevail_py.vm.source.flow import functions, instruction_at

__all__ = ["ENTRY", "lower"]

ENTRY: Final = "run"
"""The native function: it gets the block of the run (:mod:`prevail_py.vm.jit.layout`) and ends with a status."""


def lower(code: Code, platform: Platform, *, promoted: bool, native: bool = True) -> Any:
    """The ``llvmlite.ir.Module`` of a program.

    ``promoted``: passes will make registers of stack slots.  Unless ``native``, each access to memory is left to the
    reference.
    """
    found = functions(code.instructions)
    states = _join(analyse(code.instructions, found, platform, code.program_type))
    starts = {start for blocks in found.values() for start in blocks}
    starts.update(_returns(code.instructions, states))
    module = ir.Module(code.program.name)
    module.triple = ""
    word = ir.FunctionType(I64, [POINTER])
    function = ir.Function(module, word, ENTRY)
    leave, step = (_leave(module, result, 10 if promoted else 0) for result in (None, I64))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    words, tags = (
        [
            builder.alloca(I64) if promoted else builder.gep(function.args[0], [constant(first + n)], source_etype=I64)
            for n in range(11)
        ]
        for first in (Slot.WORDS, Slot.TAGS)
    )
    dispatch, stop = function.append_basic_block("dispatch"), function.append_basic_block("stop")
    frame = Frame(words, tags, builder.alloca(I64), dispatch, stop, not promoted)
    builder.branch(frame.dispatch)
    builder.position_at_end(frame.stop)
    builder.ret(constant(Status.STOP))
    nested = len(found) > 1 or any(isinstance(i, CallLocal) for i in code.instructions)
    e = Emitter(builder, function, leave, step, frame, nested, code.program_type is None, native, code.program_type)
    blocks = {start: function.append_basic_block(f"slot{start}") for start in sorted(starts)}
    _dispatch(e, blocks)
    for start, block in blocks.items():
        e.start(block)
        _block(e, code.instructions, states, blocks, start)
    return module


def _join(states: Mapping[int, Mapping[int, State]]) -> dict[int, State]:
    """What is known before each slot, whichever function it is run in."""
    joined: dict[int, State] = {}
    for function in states.values():
        for pc, state in function.items():
            joined[pc] = join(joined[pc], state) if pc in joined else state
    return joined


def _returns(code: Sequence[Instruction | None], states: Mapping[int, State]) -> set[int]:
    """Where functions return to."""
    calls = (CallLocal, Call, CallRegister)
    return {pc + 1 for pc in states if isinstance(instruction_at(code, pc), calls) and pc + 1 in states}


# The frame of native code -------------------------------------------------------------------------------------------


def _leave(module: Any, result: Any, registers: int) -> Any:
    """The function that brings the block of the run up to date; with a result it calls the reference."""
    kind = ir.FunctionType(ir.VoidType() if result is None else result, [POINTER, *[I64] * (2 + 2 * registers)])
    function = ir.Function(module, kind, "leave" if result is None else "step")
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("cold")
    block, pc, left, *values = function.args
    b = ir.IRBuilder(function.append_basic_block())
    places = [Slot.PC, Slot.LEFT, *(first + n for first in (Slot.WORDS, Slot.TAGS) for n in range(registers))]
    for place, value in zip(places, (pc, left, *values), strict=True):
        b.store(value, b.gep(block, [constant(place)], source_etype=I64))
    if result is None:
        b.ret_void()
        return function
    address = b.load(b.gep(block, [constant(Slot.STEP)], source_etype=I64), typ=I64)
    reference = b.inttoptr(address, ir.PointerType(ir.FunctionType(I64, [I64, I64])))
    b.ret(b.call(reference, (pc, left)))
    return function


def _dispatch(e: Emitter, blocks: Mapping[int, Any]) -> None:
    """Take registers and fuel from the block of the run, and go on at its slot."""
    b, frame = e.builder, e.frame
    b.position_at_end(frame.dispatch)
    for register in () if frame.in_block else range(11):
        b.store(e.of_run(Slot.WORDS + register), frame.words[register])
        b.store(e.of_run(Slot.TAGS + register), frame.tags[register])
    b.store(e.of_run(Slot.LEFT), frame.left)
    nowhere = e.new_block("nowhere")
    ways = b.switch(e.of_run(Slot.PC), nowhere)
    for start, block in blocks.items():
        ways.add_case(constant(start), block)
    b.position_at_end(nowhere)
    b.ret(constant(Status.HAND_OVER))


# Blocks -------------------------------------------------------------------------------------------------------------


def _block(
    e: Emitter,
    code: Sequence[Instruction | None],
    states: Mapping[int, State],
    blocks: Mapping[int, Any],
    start: int,
) -> None:
    pcs = _pcs(code, states, blocks, start)
    if not pcs:
        e.hand_over(start, 0)
        return
    b = e.builder
    short, enough = e.new_block(), e.new_block()
    left = b.load(e.frame.left, typ=I64)
    b.cbranch(b.icmp_unsigned("<", left, constant(len(pcs))), short, enough).set_weights((1, 2000))
    b.position_at_end(short)
    e.hand_over(start, 0)
    b.position_at_end(enough)
    for steps, pc in enumerate(pcs, 1):
        instruction = instruction_at(code, pc)
        assert instruction is not None
        at = Site(pc, steps, states[pc])
        match instruction:
            case Branch():
                taken = arithmetic.condition(e, at, instruction)
                fall_through, jump = successors(code, pc)
                _end(e, steps)
                b.cbranch(taken, blocks[jump], blocks[fall_through])
                return
            case Jump():
                _end(e, steps)
                b.branch(blocks[target(pc, instruction)])
                return
            case Exit() | CallLocal() | MayGoto():
                e.go_to_reference(at)
                return
            case _:
                _instruction(e, at, instruction)
    last = pcs[-1]
    following = last + _slots_at(code, last)
    if following in blocks:
        _end(e, len(pcs))
        b.branch(blocks[following])
    else:
        e.hand_over(following, len(pcs))


def _pcs(
    code: Sequence[Instruction | None], states: Mapping[int, State], blocks: Mapping[int, Any], start: int
) -> list[int]:
    """The slots of a block; it ends before one that cannot be reached, and before one where no instruction starts."""
    pcs: list[int] = []
    pc = start
    while pc in states and (instruction := instruction_at(code, pc)) is not None:
        pcs.append(pc)
        if isinstance(instruction, Branch | Jump | Exit | CallLocal | MayGoto):
            break
        pc += slots_of(instruction)
        if pc in blocks:
            break
    return pcs


def _slots_at(code: Sequence[Instruction | None], pc: int) -> int:
    instruction = code[pc]
    assert instruction is not None
    return slots_of(instruction)


def _end(e: Emitter, steps: int) -> None:
    """Bring homes up to date at the end of a block of so many instructions."""
    e.flush()
    left = e.builder.load(e.frame.left, typ=I64)
    e.builder.store(e.builder.sub(left, constant(steps)), e.frame.left)


_ARGUMENTS: Final = tuple(Register(n) for n in range(1, 6))
_Ordinary: TypeAlias = (
    Alu | MoveSignExtend | Negate | EndianSwap | AddressSpaceCast | LoadImmediate64 | Load | Store | Atomic
    | LoadAcquire | StoreRelease | LoadPacket | Call | CallKfunc | CallRegister
)  # fmt: skip


def _instruction(e: Emitter, at: Site, instruction: _Ordinary) -> None:
    """An instruction after which the next one follows, mostly."""
    match instruction:
        case Alu() | MoveSignExtend() | Negate() | EndianSwap():
            arithmetic.compute(e, at, instruction)
        case Load(dst, base, offset, size, signed):
            access.load(e, at, dst, base, offset, size, signed)
        case LoadAcquire(dst, base, offset, size):
            access.load(e, at, dst, base, offset, size, False)
        case Store(base, offset, size, src) | StoreRelease(base, offset, size, src):
            access.store(e, at, base, offset, size, src)
        case Atomic():
            access.atomic(e, at, instruction)
        case LoadImmediate64() if instruction.is_assertion:
            e.reference(at, ())  # a trap
        case LoadImmediate64(dst, pseudo=Pseudo.IMMEDIATE) if dst != Register.R10:
            e.set(dst, constant(instruction.value), constant(NUMBER))
        case LoadImmediate64(dst):
            e.reference(at, () if dst == Register.R10 else (dst,))
        case Call() | CallRegister() | LoadPacket():
            e.reference(at, (Register.R0,))
            for register in _ARGUMENTS:
                e.set(register, constant(0), constant(UNINITIALISED))
        case AddressSpaceCast() | CallKfunc():
            e.reference(at, ())  # a trap
        case _:
            assert_never(instruction)
