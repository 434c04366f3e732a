"""The text of loads, stores and atomic operations.

An access to the context or to the own frame at a known offset needs no check at run time, or only that the bytes were
written; any other is checked against the region that the pointer's provenance names.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from prevail_py.isa.instructions import Atomic, AtomicOp, Operand, Register
from prevail_py.isa.semantics import atomic_op, load_op
from prevail_py.platforms.model import FieldKind
from prevail_py.vm.context import takes_packet
from prevail_py.vm.memory import FRAME_SIZE
from prevail_py.vm.source.algebra import SOURCE, Term, name
from prevail_py.vm.source.analysis import May, State, Value
from prevail_py.vm.source.writer import Site, Writer, term, uninitialised
from prevail_py.words import WORD_BITS, Comparison, compare, evaluate

__all__ = ["atomic", "load", "store", "unwritten"]

_PACKET_FIELDS: Final[Mapping[FieldKind, str]] = {
    FieldKind.PACKET: "data", FieldKind.PACKET_END: "data_end", FieldKind.PACKET_META: "data_meta",
}  # fmt: skip
_ALIGNED_VIEWS: Final = sys.byteorder == "little"  # casts of a memoryview have the byte order of the machine


def load(w: Writer, at: Site, dst: Register, base: Register, offset: int, size: int, signed: bool) -> list[str]:
    """``dst = *(base + offset)``."""
    state = at.state
    pointer, extend = state.registers[base], load_op(size, signed) if signed else None

    def loaded(text: str) -> str:
        word = Term(text, (1 << 8 * size) - 1, text)
        return f"r{dst} = {word if extend is None else evaluate(SOURCE, extend, (word,))}"

    place = None if pointer.offset is None else pointer.offset + offset
    if dst == Register.R10 or not pointer.pointer:
        return w.reference(at)
    if place is not None and pointer.may == May.CONTEXT:
        return _load_context(w, at, dst, place, size, signed, loaded(_field(w, place, size)))
    guards = uninitialised(state, base)
    if place is not None and pointer.may == May.STACK:
        if not 0 <= place <= FRAME_SIZE - size:
            return w.reference(at)
        guards += unwritten(w, state, place, size)
        spilled = size == 8 and not signed and state.spilled >> place & 1
        found = f"{w.use('spilled')}.get({place})" if spilled else "None"
        lines = [loaded(_slot(w, place, size)), *w.set_provenance(state, dst, found)]
        return w.guarded(guards, lines, at)
    region = _region(w, pointer, base, offset, size, guards)
    if _maybe_stack(w, pointer):
        guards.append(f"({region}.initialised is not None and {region}.initialised.find(0, o, o + {size}) >= 0)")
    bytes_ = f"{region}.data[o]" if size == 1 else f"u{size}({region}.data, o)[0]"
    pointers = size == 8 and not signed and (_maybe_stack(w, pointer) or w.code.program_type is None)
    # The value last: where dst is the base, its provenance is still that of the address.
    found = f"{region}.pointers.get(o) if {region}.pointers else None" if pointers else "None"
    if found != "None" and w.holds_pointer[dst]:
        lines = [f"found = {found}", loaded(bytes_), f"p{dst} = found"]
    else:
        lines = [loaded(bytes_), *w.set_provenance(state, dst, "None")]
    return w.guarded(guards, lines, at)


def _load_context(w: Writer, at: Site, dst: Register, place: int, size: int, signed: bool, line: str) -> list[str]:
    program_type, state = w.code.program_type, at.state
    kind = None if program_type is None else program_type.context_read(place, size)
    if kind is FieldKind.SCALAR:
        return [line, *w.set_provenance(state, dst, "None")]
    if program_type is None or signed or kind is None or kind not in _PACKET_FIELDS or not takes_packet(program_type):
        return w.reference(at)
    field = f"r{dst} = m.packet.{_PACKET_FIELDS[kind]}"
    return [field, *w.set_provenance(state, dst, "m.packet.region")]


def store(w: Writer, at: Site, base: Register, offset: int, size: int, src: Operand) -> list[str]:
    """``*(base + offset) = src``."""
    state = at.state
    pointer, value = state.registers[base], state.value(src)
    if not pointer.pointer:
        return w.reference(at)
    word = SOURCE.truncate(term(src), WORD_BITS, 8 * size)
    source = w.pointer(src) if isinstance(src, Register) else "None"
    guards = [*uninitialised(state, base), *uninitialised(state, src)]
    place = None if pointer.offset is None else pointer.offset + offset
    if place is not None and pointer.may == May.CONTEXT:
        program_type = w.code.program_type
        if program_type is None or value.pointer or not program_type.context_write(place, size):
            return w.reference(at)
        return w.guarded(guards, [_put(_field(w, place, size), word)], at)
    if place is not None and pointer.may == May.STACK:
        if not 0 <= place <= FRAME_SIZE - size:
            return w.reference(at)
        lines = [_put(_slot(w, place, size), word), *_overwritten(w, state, place, size)]
        if value.pointer and size == 8 and place % 8 == 0:
            keep = f"{w.use('spilled')}[{place}] = {source}"
            lines += [f"if {source} is not None:", f"    {keep}"] if value.may & May.NUMBER else [keep]
        elif value.pointer:
            guards.append(f"{source} is not None")
        return w.guarded(guards, lines, at)
    if value.pointer:
        guards.append(f"{source} is not None")
    region = _region(w, pointer, base, offset, size, guards)
    guards.append(f"not {region}.writable")
    bytes_ = f"{region}.data[o]" if size == 1 else f"u{size}({region}.data, o)[0]"
    return w.guarded(guards, [_put(bytes_, word), *_put_anywhere(w, pointer, region, size)], at)


def atomic(w: Writer, at: Site, instruction: Atomic) -> list[str]:
    """An atomic operation."""
    state = at.state
    op, size, src = instruction.op, instruction.size, instruction.src
    pointer, value = state.registers[instruction.base], state.registers[src]
    place = None if pointer.offset is None else pointer.offset + instruction.offset
    if not pointer.pointer or not value.may & May.NUMBER or (place is not None and pointer.may == May.CONTEXT):
        return w.reference(at)
    guards = [*uninitialised(state, instruction.base), *uninitialised(state, src)]
    if op is AtomicOp.CMPXCHG:
        guards += uninitialised(state, Register.R0)
    if value.pointer:
        guards.append(f"{w.pointer(src)} is not None")
    if place is not None and pointer.may == May.STACK:
        if not 0 <= place <= FRAME_SIZE - size:
            return w.reference(at)
        guards += unwritten(w, state, place, size)
        bytes_, after = _slot(w, place, size), _overwritten(w, state, place, size)
    else:
        region = _region(w, pointer, instruction.base, instruction.offset, size, guards)
        guards.append(f"not {region}.writable")
        if _maybe_stack(w, pointer):
            hole = f"{region}.initialised.find(0, o, o + {size}) >= 0"
            guards.append(f"({region}.initialised is not None and {hole})")
        bytes_, after = f"u{size}({region}.data, o)[0]", _put_anywhere(w, pointer, region, size)
    old, operand = name("old", 8 * size), name(f"r{src}")
    word_op = atomic_op(op, size)
    lines = [f"old = {bytes_}"]
    if word_op is not None:
        lines.append(_put(bytes_, evaluate(SOURCE, word_op, (old, operand))))
    else:
        put = _put(bytes_, SOURCE.truncate(operand, WORD_BITS, 8 * size))
        if op is AtomicOp.CMPXCHG:
            lines.append(f"if {compare(SOURCE, Comparison.EQ, old, name('r0'), 8 * size)}:")
            put = f"    {put}"
        lines.append(put)
    lines += after
    if instruction.fetch:
        dst = Register.R0 if op is AtomicOp.CMPXCHG else src
        lines += [f"r{dst} = old", *w.set_provenance(state, dst, "None")]
    return w.guarded(guards, lines, at)


def _region(w: Writer, pointer: Value, base: Register, offset: int, size: int, guards: list[str]) -> str:
    """The region that a register points into; adds to the guards.

    They leave the offset of the access in ``o``.  An address that wrapped around is in no region's window, so it
    fails the test as it is, without being reduced modulo ``2**64``.
    """
    region = "stack" if pointer.may == May.STACK else w.pointer(base)
    if pointer.may & May.NUMBER or pointer.may & May.UNINITIALISED:
        guards.append(f"{region} is None")
    if pointer.may & May.CONTEXT:
        guards.append(f"{region}.kind is CONTEXT")
    address = f"r{base}" if offset == 0 else f"r{base} {'-' if offset < 0 else '+'} {abs(offset)}"
    guards.append(f"not 0 <= (o := {address} - {region}.base) <= {region}.size - {size}")
    if pointer.may != May.STACK and not pointer.live:
        guards.append(f"not {region}.live")
    return region


def _maybe_stack(w: Writer, pointer: Value) -> bool:
    """Whether it may lead to a live frame; in the main program only to its own."""
    return bool(pointer.may & May.STACK or (pointer.may & May.POINTER and w.nested))


def _put_anywhere(w: Writer, pointer: Value, region: str, size: int) -> list[str]:
    """What else to note after ``size`` bytes at ``o`` were overwritten by a number."""
    lines = []
    if _maybe_stack(w, pointer):
        lines += [f"if {region}.initialised is not None:", f"    {region}.initialised[o:o + {size}] = ones{size}"]
    if _maybe_stack(w, pointer) or w.code.program_type is None:
        lines += [f"if {region}.pointers:", f"    forget({region}.pointers, o, {size})"]
    return lines


def unwritten(w: Writer, state: State, place: int, size: int) -> list[str]:
    """The guard that bytes of the own frame were written."""
    wanted = ((1 << size) - 1) << place
    if state.written & wanted == wanted:
        return []
    return [f"{w.use('written')}.find(0, {place}, {place + size}) >= 0"]


def _overwritten(w: Writer, state: State, place: int, size: int) -> list[str]:
    """What else to note after bytes of the own frame were overwritten by a number."""
    wanted, low = ((1 << size) - 1) << place, max(place - 7, 0)
    lines = []
    if state.written & wanted != wanted:
        lines.append(f"{w.use('written')}[{place}:{place + size}] = ones{size}")
    if state.spilled >> low & ((1 << place + size - low) - 1):
        lines += [f"if {w.use('spilled')}:", f"    forget(spilled, {place}, {size})"]
    return lines


def _slot(w: Writer, place: int, size: int) -> str:
    """Bytes of the own frame."""
    if size == 1:
        return f"{w.use('frame1')}[{place}]"
    if place % size == 0 and _ALIGNED_VIEWS:
        return f"{w.use(f'frame{size}')}[{place // size}]"
    return f"u{size}({w.use('frame1')}, {place})[0]"


def _field(w: Writer, place: int, size: int) -> str:
    """Bytes of the context."""
    w.use("context")
    return f"context[{place}]" if size == 1 else f"u{size}(context, {place})[0]"


def _put(place: str, value: Term) -> str:
    """Store into what loads as ``place``."""
    if place.startswith("u"):  # u4(data, offset)[0]
        return f"w{place[1:-4]}, {value})"
    return f"{place} = {value}"
