"""The IR of accesses to memory: where they are, loads, stores and atomic operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prevail_py.isa.instructions import Atomic, AtomicOp, Operand, Register
from prevail_py.isa.semantics import atomic_op, load_op
from prevail_py.objects.region_facts import Place, RegionFact
from prevail_py.vm.jit.proved.emission import PACKET_FIELDS, Emission
from prevail_py.vm.jit.proved.layout import SHADOW_FRAMES, SHADOW_SIZE, Field, Status
from prevail_py.vm.jit.proved.model import Shadow
from prevail_py.vm.jit.proved.plan import is_static
from prevail_py.vm.jit.proved.text import Word, word
from prevail_py.vm.memory import FRAME_SIZE, STACK_BASE, WINDOW
from prevail_py.words import WORD_BITS, Comparison, compare, evaluate

__all__ = ["atomic", "load", "place", "store"]

_ATOMICS: Final[Mapping[AtomicOp, str]] = {
    AtomicOp.ADD: "add", AtomicOp.OR: "or", AtomicOp.AND: "and", AtomicOp.XOR: "xor", AtomicOp.XCHG: "xchg",
}  # fmt: skip


_WINDOW_BITS: Final = WINDOW.bit_length() - 1


def place(f: Emission, pc: int, register: int, offset: int, size: int | None) -> tuple[str, str]:
    """Where an access is, and the scope of its region; ``size`` is None for what is not to be checked here."""
    fact = f.plan.fact(pc, register)
    scope = _scope_of(f, fact)
    if fact.place is Place.STACK and fact.offset is not None and not f.variant.checked:
        where = fact.offset + offset
        if not 0 <= where <= FRAME_SIZE - (size or 0):
            raise AssertionError(f"slot {pc}: not within the frame")
        return f.b.value(f"getelementptr inbounds i8, ptr %stack, i64 {where}"), scope
    shadow = _region_of(f, fact, register)
    distance = f.word(register)
    if shadow.base != word(0):
        distance = f.b.sub(distance, shadow.base)
    if offset:
        distance = f.b.add(distance, word(offset))
    if f.variant.checked and size is not None:
        _check(f, pc, shadow, distance, size)
    return f.b.value(f"getelementptr i8, ptr {shadow.host}, i64 {distance.text}"), scope


def _scope_of(f: Emission, fact: RegionFact) -> str:
    match fact.place:
        case Place.STACK:
            return f.scope("stack")
        case Place.PACKET:
            return f.scope("packet")
        case Place.CONTEXT:
            return f.scope("context")
        case Place.MAP_VALUE:
            return f.scope(f"map{fact.index}")
        case _:
            return ""


def _region_of(f: Emission, fact: RegionFact, register: int) -> Shadow:
    if not is_static(fact, f.layout.single):
        return f.shadow(register)
    match fact.place:
        case Place.STACK:
            return f.stack_shadow()
        case Place.PACKET:
            return f.packet_shadow()
        case Place.CONTEXT:
            return f.context_shadow()
        case _:
            return value_shadow(f, fact.index)


def value_shadow(f: Emission, index: int) -> Shadow:
    """The only value of a map."""
    return Shadow(f"%m{index}", word(f.layout.first[index]), word(f.layout.size[index]))


def _check(f: Emission, pc: int, shadow: Shadow, distance: Word, size: int) -> None:
    """End the run unless an access is within its region."""
    b = f.b
    # No region is so large, nor so near to another one, that a difference of words could wrap into it.
    end = b.add(distance, word(size))
    within = b.and_(b.icmp_signed(">=", distance, word(0)), b.icmp_signed("<=", end, shadow.size))
    good, bad = b.name()[1:], b.name()[1:]
    b.line(f"br i1 {within.text}, label %{good}, label %{bad}")
    b.label(bad)
    f.stop(Status.TRAPPED, pc)
    b.label(good)


def load(
    f: Emission,
    pc: int,
    dst: Register,
    base: Register,
    offset: int,
    size: int,
    *,
    signed: bool = False,
    acquire: bool = False,
) -> None:
    """``dst = *(base + offset)``; with ``acquire`` what follows stays behind it."""
    fact, program_type = f.plan.fact(pc, base), f.plan.code.program_type
    assert program_type is not None
    if fact.place is Place.CONTEXT:
        assert fact.offset is not None
        kind = program_type.context_read(fact.offset + offset, size)
        if kind in PACKET_FIELDS:
            f.put(dst, f.extent(kind), f.packet_shadow())
            return
    pointer, scope = place(f, pc, base, offset, size)
    value = _read(f, pointer, size, scope)
    shadow = None
    if pc in f.plan.facts.fills and dst in f.plan.shadowed:
        if f.plan.keeps_shadows:
            shadow = _kept_shadow(f, base, offset)
        else:
            assert fact.offset is not None
            shadow = f.home_shadow(fact.offset + offset - FRAME_SIZE)
    if acquire:
        f.b.line("fence acquire")
    op = load_op(size, signed=True) if signed else None
    f.put(dst, value if op is None else evaluate(f.algebra, op, (value,)), shadow)


def _read(f: Emission, pointer: str, size: int, scope: str) -> Word:
    # Bytes in memory may not be aligned, and then an access cannot be atomic: nor is it in the reference.
    value = Word(f.b.value(f"load i{8 * size}, ptr {pointer}, align 1{scope}"), 8 * size)
    result: Word = f.algebra.zero_extend(value, 8 * size, WORD_BITS)
    return result


def store(f: Emission, pc: int, base: Register, offset: int, size: int, src: Operand, *, release: bool = False) -> None:
    """``*(base + offset) = src``; with ``release`` what comes before stays in front of it."""
    value = f.operand(src)
    pointer, scope = place(f, pc, base, offset, size)
    if release:
        f.b.line("fence release")
    _write(f, pointer, size, value, scope)
    fact = f.plan.fact(pc, base)
    if pc not in f.plan.facts.spills or not isinstance(src, Register):
        return
    if f.plan.keeps_shadows:
        _keep_shadow(f, base, offset, f.shadow(src))
    elif fact.offset is not None and fact.offset + offset - FRAME_SIZE in f.plan.shadowed:
        f.put_home_shadow(fact.offset + offset - FRAME_SIZE, f.shadow(src))


def _kept_at(f: Emission, base: Register, offset: int) -> str:
    """Where the shadow is of a pointer at ``base + offset``, which is in a frame: by the frame and the place in it.

    Masks keep it within :data:`SHADOW_BYTES` whatever the address is.
    """
    b = f.b
    address = b.add(f.word(base), word(offset))
    frame = b.and_(b.lshr(b.sub(address, word(STACK_BASE)), word(_WINDOW_BITS)), word(SHADOW_FRAMES - 1))
    within = b.and_(address, word(FRAME_SIZE - 8))
    number = b.add(b.mul(frame, word(FRAME_SIZE)), within)
    distance = b.mul(number, word(SHADOW_SIZE // 8))
    return b.value(f"getelementptr i8, ptr {f.host_field(Field.SHADOWS)}, i64 {distance.text}")


def _keep_shadow(f: Emission, base: Register, offset: int, shadow: Shadow) -> None:
    b, at = f.b, _kept_at(f, base, offset)
    b.line(f"store ptr {shadow.host}, ptr {at}, align 1")
    b.line(f"store i64 {shadow.base.text}, ptr {_further(f, at, 8)}, align 1")
    if f.variant.checked:
        b.line(f"store i64 {shadow.size.text}, ptr {_further(f, at, 16)}, align 1")


def _kept_shadow(f: Emission, base: Register, offset: int) -> Shadow:
    b, at = f.b, _kept_at(f, base, offset)
    host = b.value(f"load ptr, ptr {at}, align 1")
    start = Word(b.value(f"load i64, ptr {_further(f, at, 8)}, align 1"), 64)
    size = word(0)
    if f.variant.checked:
        size = Word(b.value(f"load i64, ptr {_further(f, at, 16)}, align 1"), 64)
    return Shadow(host, start, size)


def _further(f: Emission, pointer: str, distance: int) -> str:
    return f.b.value(f"getelementptr i8, ptr {pointer}, i64 {distance}")


def _write(f: Emission, pointer: str, size: int, value: Word, scope: str) -> None:
    part: Word = f.algebra.truncate(value, WORD_BITS, 8 * size)
    f.b.line(f"store i{8 * size} {part.text}, ptr {pointer}, align 1{scope}")


def atomic(f: Emission, pc: int, instruction: Atomic) -> None:
    """An atomic operation; on the own frame, which no other thread knows, a load and a store."""
    op, size, src = instruction.op, instruction.size, instruction.src
    fact = f.plan.fact(pc, instruction.base)
    pointer, scope = place(f, pc, instruction.base, instruction.offset, size)
    operand, expected = f.word(src), f.word(0) if op is AtomicOp.CMPXCHG else word(0)
    if fact.place is Place.STACK:
        old = _plain_atomic(f, instruction, pointer, scope, operand, expected)
    else:
        old = _real_atomic(f, instruction, pointer, scope, operand, expected)
    if instruction.fetch:
        f.put(Register.R0 if op is AtomicOp.CMPXCHG else src, old)


def _plain_atomic(f: Emission, instruction: Atomic, pointer: str, scope: str, operand: Word, expected: Word) -> Word:
    size = instruction.size
    old = _read(f, pointer, size, scope)
    word_op = atomic_op(instruction.op, size)
    new = operand if word_op is None else evaluate(f.algebra, word_op, (old, operand))
    if instruction.op is AtomicOp.CMPXCHG:
        same = compare(f.algebra, Comparison.EQ, old, expected, 8 * size)
        new = f.b.select(same, new, old)
    _write(f, pointer, size, new, scope)
    return old


def _real_atomic(f: Emission, instruction: Atomic, pointer: str, scope: str, operand: Word, expected: Word) -> Word:
    """An operation of the machine where the address is aligned, as it must be for that; a plain one otherwise."""
    b, width, size = f.b, 8 * instruction.size, instruction.size
    aligned, crooked, further = (b.name()[1:] for _ in range(3))
    address = Word(b.value(f"ptrtoint ptr {pointer} to i64"), 64)
    straight = b.icmp_unsigned("==", b.and_(address, word(size - 1)), word(0))
    b.line(f"br i1 {straight.text}, label %{aligned}, label %{crooked}")
    b.label(aligned)
    part = f.algebra.truncate(operand, WORD_BITS, width)
    if instruction.op is AtomicOp.CMPXCHG:
        wanted = f.algebra.truncate(expected, WORD_BITS, width)
        pair = b.value(
            f"cmpxchg ptr {pointer}, i{width} {wanted.text}, i{width} {part.text} seq_cst seq_cst, align {size}{scope}"
        )
        old = Word(b.value(f"extractvalue {{ i{width}, i1 }} {pair}, 0"), width)
    else:
        name = _ATOMICS[instruction.op]
        old = Word(b.value(f"atomicrmw {name} ptr {pointer}, i{width} {part.text} seq_cst, align {size}{scope}"), width)
    first = f.algebra.zero_extend(old, width, WORD_BITS)
    b.line(f"br label %{further}")
    b.label(crooked)
    second = _plain_atomic(f, instruction, pointer, scope, operand, expected)
    b.line(f"br label %{further}")
    b.label(further)
    return Word(b.value(f"phi i64 [ {first.text}, %{aligned} ], [ {second.text}, %{crooked} ]"), 64)
