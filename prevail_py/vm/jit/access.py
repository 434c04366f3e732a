"""The IR of loads, stores and atomic operations.

In place are only accesses by a pointer to stack, packet, memory or a map value, within its bounds, and free of all that
the reference keeps a record of: no byte that was never written is read, no spilled pointer is read or overwritten, and
no pointer is stored.  Bounds, liveness and where the bytes are come from the region's entry in the table.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from llvmlite import ir

from prevail_py.isa.instructions import Atomic, AtomicOp, Operand, Register
from prevail_py.isa.semantics import atomic_op, load_op
from prevail_py.platforms.model import FieldKind
from prevail_py.vm.context import takes_packet
from prevail_py.vm.jit.algebra import Value
from prevail_py.vm.jit.emitter import POINTER, Emitter, Site, constant
from prevail_py.vm.jit.layout import NUMBER, Entry, Slot
from prevail_py.vm.memory import FRAME_SIZE
from prevail_py.vm.source.analysis import May
from prevail_py.vm.source.analysis import Value as Fact
from prevail_py.words import WORD_BITS, Comparison, compare, evaluate

__all__ = ["atomic", "load", "store"]

_PACKET_FIELDS: Final = (FieldKind.PACKET, FieldKind.PACKET_END, FieldKind.PACKET_META)
"""In the order of the block of the run."""


class _Place(NamedTuple):
    """Bytes that may be accessed: their region's entry, the offset in it, and the address in this process."""

    entry: Value
    offset: Value
    pointer: Value


def load(e: Emitter, at: Site, dst: Register, base: Register, offset: int, size: int, signed: bool) -> None:
    """``dst = *(base + offset)``."""
    fact = at.state.registers[base]
    if dst == Register.R10 or not e.native or not fact.pointer:
        e.reference(at, () if dst == Register.R10 else (dst,))
        return
    if fact.may == May.CONTEXT and fact.offset is not None:
        _load_context(e, at, dst, base, fact.offset + offset, size, signed)
        return
    e.begin(at, (base,))
    place = _place(e, at, base, offset, size, Entry.READABLE)
    _require_written(e, at, fact, offset, place, size)
    may_be_pointer = (size == 8 and not signed) or bool(fact.may & May.CONTEXT)
    if size == 8 and not signed and _keeps_pointers(e, fact):
        _require_unspilled(e, place, size)
    word = _extended(e, _read(e, place.pointer, size), size, signed)
    e.finish(at, dst, word, constant(NUMBER) if may_be_pointer else NUMBER)


def _load_context(e: Emitter, at: Site, dst: Register, base: Register, place: int, size: int, signed: bool) -> None:
    """A field at a known place: scalar ones are in the context, those of the packet are in the block of the run."""
    program_type = e.program_type
    kind = None if program_type is None else program_type.context_read(place, size)
    if kind is FieldKind.SCALAR:
        host = e.of_entry(e.entry(e.tag(base, at.state)), Entry.HOST)
        word = _read(e, e.builder.inttoptr(e.builder.add(host, constant(place)), POINTER), size)
        e.set(dst, _extended(e, word, size, signed), constant(NUMBER))
    elif program_type is not None and kind in _PACKET_FIELDS and takes_packet(program_type) and not signed:
        field = _PACKET_FIELDS.index(kind)
        e.set(dst, e.of_run(Slot.PACKET + field), e.of_run(Slot.PACKET + len(_PACKET_FIELDS)))
    else:
        e.reference(at, (dst,))


def _extended(e: Emitter, word: Value, size: int, signed: bool) -> Value:
    op = load_op(size, signed=True) if signed else None
    return word if op is None else evaluate(e.algebra, op, (word,))


def store(e: Emitter, at: Site, base: Register, offset: int, size: int, src: Operand) -> None:
    """``*(base + offset) = src``."""
    fact = at.state.registers[base]
    if not e.native or not fact.pointer:
        e.reference(at, ())
        return
    e.begin(at, (base, src))
    word = e.operand(src)
    e.require_numbers(at, src)
    place = _place(e, at, base, offset, size, Entry.WRITABLE)
    _write(e, at, fact, offset, place, size, word)
    e.finish(at)


def atomic(e: Emitter, at: Site, instruction: Atomic) -> None:
    """An atomic operation.  A run has its memory for itself, so it is a load and a store."""
    op, size, src, base = instruction.op, instruction.size, instruction.src, instruction.base
    fact, compares = at.state.registers[base], instruction.op is AtomicOp.CMPXCHG
    dst = (Register.R0 if compares else src) if instruction.fetch else None
    if not e.native or not fact.pointer or dst == Register.R10:
        e.reference(at, () if dst is None or dst == Register.R10 else (dst,))
        return
    e.begin(at, (base, src, Register.R0) if compares else (base, src))
    operand = e.word(src)
    e.require_numbers(at, src)
    if compares:
        e.require_initialised(at, Register.R0)
    place = _place(e, at, base, instruction.offset, size, Entry.WRITABLE)
    _require_written(e, at, fact, instruction.offset, place, size)
    if _keeps_pointers(e, fact):
        _require_unspilled(e, place, size)
    old = _read(e, place.pointer, size)
    word_op = atomic_op(op, size)
    new = operand if word_op is None else evaluate(e.algebra, word_op, (old, operand))
    if compares:
        same = compare(e.algebra, Comparison.EQ, old, e.word(Register.R0), 8 * size)
        new = e.builder.select(same, new, old)
    e.builder.store(e.algebra.truncate(new, WORD_BITS, 8 * size), place.pointer, align=1)
    e.finish(at, dst, old, NUMBER)


# Where it is --------------------------------------------------------------------------------------------------------


def _place(e: Emitter, at: Site, base: Register, offset: int, size: int, limit: Entry) -> _Place:
    """Bytes within the bounds of what ``base`` points to; numbers and the like have no bytes in the table."""
    b, known = e.builder, _in_frame(at.state.registers[base], offset, size)
    entry = e.entry(e.tag(base, at.state))
    if known is None:
        address = b.add(e.word(base), constant(offset))
        distance = b.sub(address, e.of_entry(entry, Entry.BASE))
        bound = e.of_entry(entry, limit)
        e.require(b.icmp_unsigned("<", distance, bound))
        if size > 1:
            e.require(b.icmp_unsigned(">=", b.sub(bound, distance), constant(size)))
    else:
        distance = constant(known)
    return _Place(entry, distance, b.inttoptr(b.add(e.of_entry(entry, Entry.HOST), distance), POINTER))


def _in_frame(fact: Fact, offset: int, size: int) -> int | None:
    """The offset of an access that can only be to the own frame, within its bounds."""
    if fact.may != May.STACK or fact.offset is None or not 0 <= fact.offset + offset <= FRAME_SIZE - size:
        return None
    return fact.offset + offset


def _keeps_pointers(e: Emitter, fact: Fact) -> bool:
    """Whether it may lead to where pointers are kept: a live frame, in the main program its own, or plain memory."""
    return bool(fact.may & May.STACK or (fact.may & May.POINTER and (e.nested or e.plain)))


def _read(e: Emitter, pointer: Value, size: int) -> Value:
    bytes_ = e.builder.load(pointer, align=1, typ=ir.IntType(8 * size))
    return e.algebra.zero_extend(bytes_, 8 * size, WORD_BITS)


def _write(e: Emitter, at: Site, fact: Fact, offset: int, place: _Place, size: int, word: Value) -> None:
    b = e.builder
    if _keeps_pointers(e, fact):
        _require_unspilled(e, place, size)
    b.store(e.algebra.truncate(word, WORD_BITS, 8 * size), place.pointer, align=1)
    known = _in_frame(fact, offset, size)
    if known is not None and at.state.written >> known & ((1 << size) - 1) == (1 << size) - 1:
        return
    if not _keeps_pointers(e, fact):
        return
    written = e.of_entry(place.entry, Entry.WRITTEN)
    note, further = e.new_block(), e.new_block()
    b.cbranch(b.icmp_unsigned("!=", written, constant(0)), note, further)
    b.position_at_end(note)
    b.store(_ones(size), b.inttoptr(b.add(written, place.offset), POINTER), align=1)
    b.branch(further)
    b.position_at_end(further)


def _require_written(e: Emitter, at: Site, fact: Fact, offset: int, place: _Place, size: int) -> None:
    b, known = e.builder, _in_frame(fact, offset, size)
    if known is not None and at.state.written >> known & ((1 << size) - 1) == (1 << size) - 1:
        return
    if not _keeps_pointers(e, fact):
        return
    written = e.of_entry(place.entry, Entry.WRITTEN)
    check, further = e.new_block(), e.new_block()
    b.cbranch(b.icmp_unsigned("!=", written, constant(0)), check, further)
    b.position_at_end(check)
    found = b.load(b.inttoptr(b.add(written, place.offset), POINTER), align=1, typ=ir.IntType(8 * size))
    b.cbranch(b.icmp_unsigned("==", found, _ones(size)), further, e.slow())
    b.position_at_end(further)


def _ones(size: int) -> Value:
    """What ``size`` bytes that were written look like: a 1 in each."""
    return ir.Constant(ir.IntType(8 * size), int.from_bytes(b"\1" * size, "little"))


def _require_unspilled(e: Emitter, place: _Place, size: int) -> None:
    """No pointer is spilled where these bytes are: pointers are 8 bytes at a multiple of 8."""
    b, spilled = e.builder, e.of_entry(place.entry, Entry.SPILLED)
    first = b.and_(b.lshr(place.offset, constant(3)), constant(63))
    last = b.and_(b.lshr(b.add(place.offset, constant(size - 1)), constant(3)), constant(63))
    found = b.or_(b.lshr(spilled, first), b.lshr(spilled, last))
    e.require(b.icmp_unsigned("==", b.and_(found, constant(1)), constant(0)))
