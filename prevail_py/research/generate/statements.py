"""Statements by feature: each writes a few instructions that are safe, most of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    ByteOrder,
    EndianSwap,
    Immediate,
    Load,
    LoadAcquire,
    LoadImmediate64,
    MoveSignExtend,
    Negate,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.platforms.model import ArgKind, ContextField, HelperPrototype, ReturnKind
from prevail_py.research.generate.surface import Field
from prevail_py.research.generate.writer import (
    CONTEXT_SLOT,
    CTX,
    FP,
    KEY_SLOT,
    MAPS,
    NUMBERS,
    PKT,
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R8,
    TMP,
    VALUE_SLOT,
    Label,
    Writer,
)
from prevail_py.words import Comparison

COMPARISONS: Final = tuple(c for c in Comparison if c is not Comparison.NOT_SET)
SHIFTS: Final = (AluOp.LSH, AluOp.RSH, AluOp.ARSH)
DIVISIONS: Final = (AluOp.DIV, AluOp.MOD, AluOp.SDIV, AluOp.SMOD)


# Arithmetic ----------------------------------------------------------------------------------------------------------


def alu(w: Writer) -> None:
    """Any operation of the ALU, at either width."""
    op, width = w.random.choice(list(AluOp)), w.width()
    source = w.operand()
    if isinstance(source, Immediate) and op in SHIFTS:
        source = Immediate(w.random.randrange(width))
    if source == Immediate(0) and op in DIVISIONS:
        source = Immediate(3)
    dst = w.target() if op is AluOp.MOV else w.number()
    w.emit(Alu(op, width, dst, source))
    w.known.numbers.add(dst)


def unary(w: Writer) -> None:
    """Negation, byte swaps, sign extension."""
    match w.random.randrange(4):
        case 0:
            w.emit(Negate(w.width(), w.number()))
        case 1:
            w.emit(EndianSwap(w.random.choice(list(ByteOrder)), w.random.choice((16, 32, 64)), w.number()))
        case _:
            width, source = w.random.choice(((32, 8), (32, 16), (64, 8), (64, 16), (64, 32)))
            src, dst = w.number(), w.target()
            w.emit(MoveSignExtend(width, dst, src, source))
            w.known.numbers.add(dst)


def wide(w: Writer) -> None:
    """A 64-bit constant."""
    dst = w.target()
    w.emit(LoadImmediate64(dst, w.constant(), w.constant()))
    w.known.numbers.add(dst)


def conditional(w: Writer) -> None:
    """``if``, with or without ``else``."""
    other, end = Label(), Label()
    w.branch(w.random.choice(COMPARISONS), w.number(), w.operand(), other, w.width())
    before = w.known.copy()
    w.statements(w, w.random.randrange(1, 4))
    if w.chance(0.3):
        w.jump(end)
        w.place(other)
        after, w.known = w.known, before
        w.statements(w, w.random.randrange(1, 3))
        w.known.join(after)
    else:
        w.place(other)
        w.known.join(before)
    w.place(end)


def status(w: Writer) -> None:
    """A status code says later which way a check went."""
    if w.subprogram:
        return
    skip, failed = Label(), Label()
    index, status = TMP, R8
    w.move(index, w.number())
    w.move(status, -22)
    w.known.numbers.add(status)
    w.branch(Comparison.UGT, index, Immediate(7 + w.slip()), skip)
    w.move(status, 0)
    w.place(skip)
    w.branch(Comparison.NE, status, Immediate(0), failed, w.width())
    _touch(w, index, FP, -NUMBERS, 8, load=False)
    w.place(failed)


# The stack -----------------------------------------------------------------------------------------------------------


def _touch(w: Writer, index: Register, base: Register, offset: int, room: int, load: bool) -> None:
    """Access ``base + offset + index`` within ``room`` bytes, with ``index`` (which is used up) below ``room``."""
    w.emit(Alu(AluOp.ADD, 64, index, base))
    if load:
        dst = w.target()
        w.emit(Load(dst, index, offset, 1, w.chance(0.3)))
        w.known.numbers.add(dst)
    else:
        w.emit(Store(index, offset, 1, w.operand()))


def store_stack(w: Writer) -> None:
    """A store of any width among the numbers on the stack."""
    size = w.size()
    offset = w.random.randrange(0, NUMBERS, size) - NUMBERS
    if w.chance(0.1):
        w.emit(StoreRelease(FP, offset, size, w.number()))
    else:
        w.emit(Store(FP, offset, size, w.operand()))
    w.wrote(offset, size)


def load_stack(w: Writer) -> None:
    """A load of any width of what was written."""
    size = w.size()
    offset = w.initialised(size)
    if offset is None:
        return store_stack(w)
    dst = w.target()
    acquire = w.chance(0.1)
    w.emit(LoadAcquire(dst, FP, offset, size) if acquire else Load(dst, FP, offset, size, size < 8 and w.chance(0.3)))
    w.known.numbers.add(dst)
    return None


def variable_stack(w: Writer) -> None:
    """An access at a variable offset, in 16 bytes that have been written."""
    if w.known.written & 0xFFFF != 0xFFFF:
        w.emit(Store(FP, -NUMBERS, 8, Immediate(w.constant())), Store(FP, -NUMBERS + 8, 8, w.number()))
        w.wrote(-NUMBERS, 16)
    size = w.size()
    w.bounded(TMP, 16 - size)
    if w.chance(0.3):
        w.emit(Alu(AluOp.MUL, 64, TMP, Immediate(-1)), Alu(AluOp.ADD, 64, TMP, FP))
        offset = -NUMBERS + 16 - size
    else:
        w.emit(Alu(AluOp.ADD, 64, TMP, FP))
        offset = -NUMBERS
    if w.chance(0.5):
        w.emit(Store(TMP, offset, size, w.operand()))
    else:
        dst = w.target()
        w.emit(Load(dst, TMP, offset, size))
        w.known.numbers.add(dst)


def atomic_stack(w: Writer) -> None:
    """An atomic operation on the stack."""
    size = w.random.choice((4, 8))
    offset = w.initialised(size)
    if offset is not None:
        _atomic(w, FP, offset, size)


def _atomic(w: Writer, base: Register, offset: int, size: int) -> None:
    op = w.random.choice(list(AtomicOp))
    source = w.number()
    fetch = op in (AtomicOp.XCHG, AtomicOp.CMPXCHG) or w.chance(0.5)
    if op is AtomicOp.CMPXCHG and R0 not in w.known.numbers:
        w.move(R0, w.constant())
        w.known.numbers.add(R0)
    w.emit(Atomic(op, fetch, size, base, offset, source))


def spill(w: Writer) -> None:
    """Spill the context and bring it back, sometimes after a write that may have hit it."""
    if w.subprogram:
        return
    if not w.known.spilled_context:
        w.emit(Store(FP, CONTEXT_SLOT, 8, CTX))
        w.known.spilled_context = True
        return
    if w.careless and w.chance(0.2):
        w.emit(Store(FP, CONTEXT_SLOT + w.random.randrange(8), 1, w.number()))
    w.emit(Load(TMP, FP, CONTEXT_SLOT, 8))
    if w.surface.reads:
        field = _one_of(w, w.surface.reads)
        w.emit(Load(R0, TMP, field.offset, field.size))
        w.known.numbers.add(R0)


# The context ---------------------------------------------------------------------------------------------------------


def _one_of(w: Writer, fields: Sequence[Field]) -> Field:
    return fields[0] if len(fields) == 1 else w.random.choice(fields)


def load_context(w: Writer) -> None:
    """A load of a field of the context."""
    if w.subprogram:
        return
    field, dst = _one_of(w, w.surface.reads), w.target()
    w.emit(Load(dst, CTX, field.offset, field.size))
    w.known.numbers.add(dst)


def store_context(w: Writer) -> None:
    """A store to a field of the context."""
    if w.subprogram:
        return
    field = _one_of(w, w.surface.writes)
    w.emit(Store(CTX, field.offset, field.size, w.operand()))


def load_field(field: ContextField | None, dst: Register) -> Load:
    """The load of a packet pointer."""
    assert field is not None, "a statement about packets where there are none"
    return Load(dst, CTX, field.offset, field.size)


# Packets -------------------------------------------------------------------------------------------------------------


def check_packet(w: Writer) -> None:
    """Load the packet pointer and check that there are some bytes, in one of the ways of writing the comparison."""
    if w.subprogram or w.looping:
        return
    need = w.random.choice((4, 8, 14, 16, 34, 40))
    w.emit(load_field(w.surface.data, PKT), load_field(w.surface.end, TMP))
    w.known.numbers.discard(R3)
    w.move(R3, PKT)
    w.add(R3, need)
    _beyond(w, R3, TMP)
    w.known.packet = need


def _beyond(w: Writer, pointer: Register, end: Register) -> None:
    """Leave where ``pointer`` is beyond ``end``."""
    inside = Label()
    match w.random.randrange(4):
        case 0 | 1:
            w.branch(Comparison.UGT, pointer, end, w.out)
        case 2:
            w.branch(Comparison.ULT, end, pointer, w.out)
        case _:
            w.branch(Comparison.ULE, pointer, end, inside)
            w.jump(w.out)
            w.place(inside)


def use_packet(w: Writer) -> None:
    """A load or store within what was checked of the packet."""
    if w.known.packet is None or w.subprogram:
        return check_packet(w)
    size = min(w.size(), w.known.packet)
    offset = w.random.randrange(max(w.known.packet - size + 1 + w.slip(), 1))
    if w.chance(0.75):
        dst = w.target()
        w.emit(Load(dst, PKT, offset, size, size < 8 and w.chance(0.3)))
        w.known.numbers.add(dst)
    elif w.surface.writes_packet:
        w.emit(Store(PKT, offset, size, w.operand()))
    return None


def variable_packet(w: Writer) -> None:
    """A variable offset into the packet, checked after adding it, or before by a length."""
    if w.known.packet is None or w.subprogram:
        return check_packet(w)
    size = min(w.size(), w.known.packet)
    if w.chance(0.3):
        w.bounded(TMP, w.known.packet - size)
        w.emit(Alu(AluOp.ADD, 64, TMP, PKT))
    else:
        w.bounded(TMP, w.random.choice((15, 60, 255, 0xFFFF)))
        w.known.numbers.difference_update((R3, R4))
        w.emit(Alu(AluOp.ADD, 64, TMP, PKT))
        w.move(R3, TMP)
        w.add(R3, size - min(w.slip(), size))
        w.emit(load_field(w.surface.end, R4))
        _beyond(w, R3, R4)
    dst = w.target()
    w.emit(Load(dst, TMP, 0, size))
    w.known.numbers.add(dst)
    return None


def packet_length(w: Writer) -> None:
    """The difference of two packet pointers is a number."""
    if w.subprogram:
        return
    dst = w.target()
    w.emit(load_field(w.surface.end, dst), load_field(w.surface.data, TMP), Alu(AluOp.SUB, 64, dst, TMP))
    w.known.numbers.add(dst)


def metadata(w: Writer) -> None:
    """A read of the metadata in front of the packet, if there is any."""
    if w.subprogram:
        return
    missing = Label()
    w.known.numbers.difference_update((R3, R4))
    w.emit(load_field(w.surface.meta, TMP), load_field(w.surface.data, R3))
    w.move(R4, TMP)
    w.add(R4, 4 - min(w.slip(), 4))
    w.branch(Comparison.UGT, R4, R3, missing)
    w.emit(Load(R3, TMP, 0, 4))
    w.place(missing)


def move_packet(w: Writer) -> None:
    """A helper that moves the packet: pointers to it are stale."""
    if w.subprogram or w.looping:
        return
    w.move(R1, CTX)
    w.move(R2, w.random.choice((-4, -8, 4, 0)))
    w.call(w.random.choice(w.surface.movers))
    if not (w.careless and w.chance(0.3)):
        w.known.packet = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory for a helper: a register with its address, and how many bytes the helper is told."""

    pointer: Register
    size: int | Register


# Maps and helpers ----------------------------------------------------------------------------------------------------


def lookup(w: Writer) -> None:
    """A look-up with its null check, then accesses to the value."""
    index = w.random.choice((0, 1, 2, 6))
    spec, missing = MAPS[index], Label()
    key = w.number() if w.chance(0.5) else Immediate(w.random.randrange(5))
    w.emit(Store(FP, KEY_SLOT, 8, key))
    w.move(R2, FP)
    w.add(R2, KEY_SLOT)
    w.emit(LoadImmediate64(R1, index, 0, Pseudo.MAP_INDEX))
    w.call(1)
    w.known.numbers.discard(R0)
    copied = w.chance(0.5)
    if copied:
        w.move(TMP, R0)
    w.branch(Comparison.EQ, R0, Immediate(0), missing)
    if not copied:
        w.move(TMP, R0)
    before = w.known.copy()
    for _ in range(w.random.randrange(1, 4)):
        use_memory(w, TMP, spec.value_size)
    w.known.join(before)
    w.place(missing)
    w.move(R0, w.constant())
    w.known.numbers.add(R0)


def use_memory(w: Writer, base: Register, room: int) -> None:
    """Load from, store to, or count in so many bytes of memory."""
    size = w.random.choice((4, 8))
    offset = w.random.randrange(0, room - size + 1 + w.slip(), 4)
    match w.random.randrange(5):
        case 0:
            dst = w.target()
            w.emit(Load(dst, base, offset, size))
            w.known.numbers.add(dst)
        case 1:
            w.emit(Store(base, offset, size, w.operand()))
        case 2:
            _atomic(w, base, offset, size)
        case 3:
            w.known.numbers.discard(R5)
            w.bounded(R5, room - 1)
            _touch(w, R5, base, 0, room, w.chance(0.5))
            w.known.numbers.discard(R5)
        case _:
            w.emit(Load(R5, base, offset, 4, w.chance(0.5)))
            w.known.numbers.add(R5)


def update(w: Writer) -> None:
    """Update or delete an element."""
    index = w.random.choice((0, 1, 6))
    spec = MAPS[index]
    w.emit(Store(FP, KEY_SLOT, 8, w.operand()))
    delete = w.chance(0.3)
    if not delete:
        for offset in range(0, spec.value_size, 8):
            w.emit(Store(FP, VALUE_SLOT + offset, 8, w.operand()))
    w.move(R2, FP)
    w.add(R2, KEY_SLOT)
    if not delete:
        w.move(R3, FP)
        w.add(R3, VALUE_SLOT)
        w.move(R4, w.random.choice((0, 1, 2)))
    w.emit(LoadImmediate64(R1, index, 0, Pseudo.MAP_INDEX))
    w.call(3 if delete else 2)


def global_data(w: Writer) -> None:
    """Global data: constants may be known, the others may not."""
    index = w.random.choice((3, 4))
    size = w.size()
    offset = w.random.randrange(0, MAPS[index].value_size - size + 1)
    w.emit(LoadImmediate64(TMP, index, 0, Pseudo.MAP_INDEX_VALUE))
    if index == 4 and w.chance(0.5):
        w.emit(Store(TMP, offset, size, w.operand()))
    else:
        dst = w.target()
        w.emit(Load(dst, TMP, offset, size))
        w.known.numbers.add(dst)


def helper(w: Writer) -> None:
    """A helper without arguments: clock, random number, processor."""
    w.call(w.random.choice((5, 7, 7, 7, 8)))


def by_prototype(w: Writer) -> None:
    """A helper of the program type's own, with arguments as its prototype wants them."""
    call_by_prototype(w, w.random.choice(w.surface.helpers))


def call_by_prototype(w: Writer, helper: HelperPrototype, memory: Memory | None = None) -> None:
    """Call a helper with arguments as its prototype wants them; ``memory`` is what its first memory argument gets."""
    if w.subprogram and any(argument.kind is ArgKind.CTX for argument in helper.args):
        return
    size: int | Register = 0
    written = -NUMBERS
    places = (R1, R2, R3, R4, R5)
    for position, argument in enumerate(helper.args):
        register = places[position]
        match argument.kind:
            case ArgKind.ANYTHING | ArgKind.SCALAR:
                # The registers of arguments are being written: numbers come from others.
                ready = sorted(w.known.numbers - {R1, R2, R3, R4, R5})
                w.move(register, w.random.choice(ready) if ready and w.chance(0.5) else w.constant())
            case ArgKind.CTX | ArgKind.CTX_OR_NULL:
                w.move(register, CTX if not w.subprogram else 0)
            case ArgKind.SIZE | ArgKind.SIZE_OR_ZERO:
                w.move(register, size if isinstance(size, Register) else size + w.slip())
            case _ if memory is not None:
                w.move(register, memory.pointer)
                size, memory = memory.size, None
            case kind:
                # Each memory argument has the bytes of its own.
                size = argument.size or w.random.choice((8, 4, 16, 1, 2))
                room = max(-(-size // 8) * 8, 8)
                if written + room > 0:
                    written = -NUMBERS
                if argument.reads or kind in (ArgKind.MEM_READ_WRITE, ArgKind.MEM_READ_WRITE_OR_NULL):
                    for offset in range(written, min(written + room, 0), 8):
                        if w.known.written >> offset + NUMBERS & 0xFF != 0xFF:
                            w.emit(Store(FP, offset, 8, Immediate(w.constant())))
                        w.wrote(offset, 8)
                w.move(register, FP)
                w.add(register, written)
                written += room
        w.known.numbers.discard(register)
    w.call(helper.id, result=helper.returns is ReturnKind.INTEGER)


def checksum(w: Writer) -> None:
    """A helper that reads memory of a variable size."""
    for offset in range(-NUMBERS, -NUMBERS + 16, 8):
        w.emit(Store(FP, offset, 8, w.operand()))
    w.wrote(-NUMBERS, 16)
    w.bounded(TMP, 16)
    if w.chance(0.5):
        w.emit(Alu(AluOp.AND, 64, TMP, Immediate(-4)))
    w.move(R1, FP)
    w.add(R1, -NUMBERS)
    w.move(R2, TMP)
    w.move(R3, 0)
    w.move(R4, 0)
    w.move(R5, w.constant())
    w.call(28)


def ring(w: Writer) -> None:
    """Reserve a record, write to it, give it back."""
    missing = Label()
    w.emit(LoadImmediate64(R1, 5, 0, Pseudo.MAP_INDEX))
    w.move(R2, 16)
    w.move(R3, 0)
    w.call(131, result=False)
    w.branch(Comparison.EQ, R0, Immediate(0), missing)
    w.move(TMP, R0)
    before = w.known.copy()
    use_memory(w, TMP, 16)
    w.known.join(before)
    w.move(R1, TMP)
    w.move(R2, 0)
    w.call(w.random.choice((132, 133)), result=False)
    w.place(missing)
    w.move(R0, w.constant())
    w.known.numbers.add(R0)
