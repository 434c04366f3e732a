"""The text of one instruction: an inlined fast path where the analysis allows, else a step of the reference."""

from __future__ import annotations

from typing import assert_never

from prevail_py.isa.flow import target
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
    Jump,
    Load,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    MayGoto,
    MoveSignExtend,
    Negate,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.vm.source import access, arithmetic, calls
from prevail_py.vm.source.flow import instruction_at
from prevail_py.vm.source.writer import Site, Writer

__all__ = ["write"]


def write(w: Writer, pc: int, count: int) -> list[str]:
    """The lines of the instruction at ``pc``, as number ``count`` since fuel was checked.

    Those of a branch only check its operands: see :func:`prevail_py.vm.source.arithmetic.condition`.
    """
    at = Site(pc, count, w.states[pc])
    match instruction_at(w.code.instructions, pc):
        case Alu() | MoveSignExtend() | Negate() | EndianSwap() as instruction:
            return arithmetic.compute(w, at, instruction)
        case Branch() as instruction:
            return arithmetic.check_branch(w, at, instruction)
        case Load(dst, base, offset, size, signed):
            return access.load(w, at, dst, base, offset, size, signed)
        case LoadAcquire(dst, base, offset, size):
            return access.load(w, at, dst, base, offset, size, False)
        case Store(base, offset, size, src) | StoreRelease(base, offset, size, src):
            return access.store(w, at, base, offset, size, src)
        case Atomic() as instruction:
            return access.atomic(w, at, instruction)
        case LoadImmediate64() as instruction:
            return calls.wide(w, at, instruction)
        case Call(number):
            return calls.helper(w, at, number)
        case CallRegister():
            return [*w.reference(at), f"if moved(m, frame, {pc}):", "    return None"]
        case CallLocal() as instruction:
            return calls.local(w, at, target(pc, instruction))
        case LoadPacket():
            zero = [f"if ends(m, {w.at(at)}):", f"    return 0, None, left - {count}"]
            return [*zero, "r0 = m.registers[0]", *w.set_provenance(at.state, Register.R0, "None"), *w.clobber()]
        case Exit():
            leave = ["leave(m)"] if w.nested else []
            return [f"m.pc = {pc}", *leave, f"return r0, {w.pointer(Register.R0)}, left - {count}"]
        case Jump() | MayGoto():
            return []
        case AddressSpaceCast() | CallKfunc() | None:
            return [*w.reference(at), "return None  # not reached: a trap"]
        case instruction:
            assert_never(instruction)
