"""Instructions to text, in the syntax of LLVM and of the kernel's verifier log.

Where the two differ the text is LLVM's, so that ``llvm-mc`` reads it back: ``w`` registers mark operations on the low
32 bits (arithmetic, branches, atomics), offsets have a space around the sign.  Plain loads and stores name whole
registers whatever their size, as the kernel does: a narrow load clears the rest.  Numbers are decimal, except that wide
constants beyond 32 bits are hexadecimal.

What has no common notation is written so that :mod:`prevail_py.isa.assembler` reads it back: ``call local +5``,
``call kfunc 123``, ``r1 = map[fd:3] ll``, ``r1 = subprog[+7] ll``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from prevail_py.isa.flow import target
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

__all__ = ["disassemble", "listing"]


def listing(code: Sequence[Instruction | None]) -> str:
    """The program, one instruction a line, each with its slot and jumps with the slot they lead to."""
    digits = len(str(len(code)))
    return "".join(
        f"{pc:{digits}}: {disassemble(instruction, pc)}\n"
        for pc, instruction in enumerate(code)
        if instruction is not None
    )


def disassemble(instruction: Instruction, pc: int | None = None) -> str:
    """One instruction as text; with its slot ``pc``, jumps and local calls also show their target: ``goto +3 <7>``."""
    text = _text(instruction)
    if pc is not None and isinstance(instruction, Jump | Branch | MayGoto | CallLocal):
        return f"{text} <{target(pc, instruction)}>"
    return text


_UPDATES: Final = {AtomicOp.ADD: "+=", AtomicOp.OR: "|=", AtomicOp.AND: "&=", AtomicOp.XOR: "^="}


def _text(instruction: Instruction) -> str:
    match instruction:
        case Alu(op, width, dst, src):
            return f"{_name(dst, width)} {op.value} {_operand(src, width)}"
        case MoveSignExtend(width, dst, src, source_bits):
            return f"{_name(dst, width)} = (s{source_bits}){_name(src, width)}"
        case Negate(width, dst):
            return f"{_name(dst, width)} = -{_name(dst, width)}"
        case EndianSwap(order, bits, dst):
            return f"{_name(dst)} = {order.value}{bits} {_name(dst)}"
        case AddressSpaceCast(dst, src, to_space, from_space):
            return f"{_name(dst)} = addr_space_cast({_name(src)}, {to_space}, {from_space})"
        case LoadImmediate64(dst):
            return f"{_name(dst)} = {_wide(instruction)} ll"
        case Load(dst, base, offset, size, signed):
            return f"{_name(dst)} = *({_type(size, signed)} *){_address(base, offset)}"
        case Store(base, offset, size, src):
            return f"*({_type(size)} *){_address(base, offset)} = {_operand(src)}"
        case Atomic():
            return _atomic(instruction)
        case LoadAcquire(dst, base, offset, size):
            return f"{_name(dst)} = load_acquire(({_type(size)} *){_address(base, offset)})"
        case StoreRelease(base, offset, size, src):
            return f"store_release(({_type(size)} *){_address(base, offset)}, {_name(src)})"
        case LoadPacket(size, offset, index):
            place = str(offset) if index is None else _sum(index, offset) if offset else _name(index)
            return f"r0 = *({_type(size)} *)skb[{place}]"
        case Jump(offset, wide):
            return f"{'gotol' if wide else 'goto'} {offset:+d}"
        case Branch(comparison, width, dst, src, offset):
            return f"if {_name(dst, width)} {comparison.value} {_operand(src, width)} goto {offset:+d}"
        case Call(helper):
            return f"call {helper}"
        case CallLocal(offset):
            return f"call local {offset:+d}"
        case CallKfunc(btf_id, module):
            return f"call kfunc {btf_id} module {module}" if module else f"call kfunc {btf_id}"
        case CallRegister(register):
            return f"callx {_name(register)}"
        case Exit():
            return "exit"
        case MayGoto(offset):
            return f"may_goto {offset:+d}"
    assert_never(instruction)


def _atomic(instruction: Atomic) -> str:
    width = 8 * instruction.size
    src = _name(instruction.src, width)
    address = _sum(instruction.base, instruction.offset)
    # LLVM's names: the first number is the width of the registers, left out at 64.
    variant = "_64" if width == 64 else "32_32"
    if instruction.op is AtomicOp.CMPXCHG:
        r0 = _name(Register.R0, width)
        return f"{r0} = cmpxchg{variant}({address}, {r0}, {src})"
    if instruction.op is AtomicOp.XCHG:
        return f"{src} = xchg{variant}({address}, {src})"
    if instruction.fetch:
        return f"{src} = atomic_fetch_{instruction.op.value}(({_type(instruction.size)} *)({address}), {src})"
    return f"lock *({_type(instruction.size)} *)({address}) {_UPDATES[instruction.op]} {src}"


def _wide(instruction: LoadImmediate64) -> str:
    low, high = instruction.low, instruction.high
    match instruction.pseudo:
        case Pseudo.IMMEDIATE:
            return str(low) if high == (-1 if low < 0 else 0) else f"{instruction.value:#x}"
        case Pseudo.MAP_FD:
            return f"map[fd:{low}]"
        case Pseudo.MAP_VALUE:
            return f"map[fd:{low}][0]{high:+d}"
        case Pseudo.BTF_ID:
            return f"btf[id:{low},fd:{high}]" if high else f"btf[id:{low}]"
        case Pseudo.FUNCTION:
            return f"subprog[{low:+d}]"
        case Pseudo.MAP_INDEX:
            return f"map[idx:{low}]"
        case Pseudo.MAP_INDEX_VALUE:
            return f"map[idx:{low}][0]{high:+d}"
    assert_never(instruction.pseudo)


def _name(register: Register, width: int = 64) -> str:
    return f"{'r' if width == 64 else 'w'}{register.value}"


def _operand(operand: Operand, width: int = 64) -> str:
    return _name(operand, width) if isinstance(operand, Register) else str(operand.value)


def _type(size: int, signed: bool = False) -> str:
    return f"{'s' if signed else 'u'}{8 * size}"


def _sum(base: Register, offset: int) -> str:
    return f"{_name(base)} {'-' if offset < 0 else '+'} {abs(offset)}"


def _address(base: Register, offset: int) -> str:
    return f"({_sum(base, offset)})"
