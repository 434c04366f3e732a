"""The text of one instruction: an inlined fast path where the analysis allows, else a step of the reference.

What computing instructions compute is :func:`prevail_py.words.evaluate` read in source text.  A fast path begins with
guards, conditions under which the reference would trap or do something rare: then the reference executes the
instruction (:func:`prevail_py.vm.source.runtime.step`).  Leaving out a guard needs a fact from the analysis.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
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
    Immediate,
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
from prevail_py.isa.semantics import Computing, atomic_op, immediate_word, load_op, operands, operation
from prevail_py.platforms.model import FieldKind
from prevail_py.vm.context import takes_packet
from prevail_py.vm.machine import Code
from prevail_py.vm.memory import FRAME_SIZE
from prevail_py.vm.source.algebra import SOURCE, Term, name
from prevail_py.vm.source.analysis import May, State, Value
from prevail_py.vm.source.flow import instruction_at
from prevail_py.words import WORD_BITS, Comparison, OpKind, compare, evaluate

__all__ = ["REGISTERS", "InstructionWriter"]

REGISTERS: Final = f"({', '.join(f'r{n}' for n in range(10))})"
_PACKET_FIELDS: Final[Mapping[FieldKind, str]] = {
    FieldKind.PACKET: "data", FieldKind.PACKET_END: "data_end", FieldKind.PACKET_META: "data_meta",
}  # fmt: skip
_ALIGNED_VIEWS: Final = sys.byteorder == "little"  # casts of a memoryview have the byte order of the machine


class InstructionWriter:
    """Writes the instructions of one function, whose entry is slot ``function``, as lines without indentation.

    ``states`` are those before each slot.  ``used`` collects the names of parts of the frame that the function must
    set up.  In the text ``left`` is the fuel at the last point where it was checked; of an instruction, ``count`` is
    how many were executed since, itself included.
    """

    def __init__(self, code: Code, states: Mapping[int, State], function: int, recursive: bool) -> None:
        self.code = code
        self.states = states
        self.nested = function != 0 or recursive  # then a pointer may lead to the frame of a caller
        self.holds_pointer = [any(s.registers[n].pointer for s in states.values()) for n in range(10)]
        self.used: set[str] = set()
        self.provenance = f"({', '.join(f'p{n}' if self.holds_pointer[n] else 'None' for n in range(10))})"
        self._targets = ", ".join(f"p{n}" if self.holds_pointer[n] else "_" for n in range(10))

    def reference(self, pc: int, count: int) -> list[str]:
        """The instruction as a step of the reference."""
        arguments = f"m, {pc}, {count} - left, {REGISTERS}, {self.provenance}"
        return [f"{REGISTERS[1:-1]}, {self._targets} = step({arguments})"]

    def write(self, pc: int, count: int) -> list[str]:
        """The lines of the instruction at ``pc``; those of a branch only check its operands (:meth:`condition`)."""
        state = self.states[pc]
        match instruction_at(self.code.instructions, pc):
            case Alu() | MoveSignExtend() | Negate() | EndianSwap() as instruction:
                return self._compute(pc, count, state, instruction)
            case Load(dst, base, offset, size, signed):
                return self._load(pc, count, state, dst, base, offset, size, signed)
            case LoadAcquire(dst, base, offset, size):
                return self._load(pc, count, state, dst, base, offset, size, False)
            case Store(base, offset, size, src) | StoreRelease(base, offset, size, src):
                return self._store(pc, count, state, base, offset, size, src)
            case Atomic() as instruction:
                return self._atomic(pc, count, state, instruction)
            case LoadImmediate64() as instruction:
                return self._wide(pc, count, instruction)
            case Branch(_, _, dst, src):
                guards = [*_uninitialised(state, dst), *_uninitialised(state, src)]
                return [f"if {' or '.join(guards)}:", *_indent(self.reference(pc, count))] if guards else []
            case Call(number):
                call = f"result = helper(m, {number}, {pc}, {count} - left, {REGISTERS}, {self.provenance})"
                return [call, "if result is None:", "    return None", self._result("result"), *self._clobber()]
            case CallRegister():
                return [*self.reference(pc, count), f"if moved(m, frame, {pc}):", "    return None"]
            case CallLocal() as instruction:
                return self._call(pc, count, target(pc, instruction))
            case LoadPacket():
                arguments = f"m, {pc}, {count} - left, {REGISTERS}, {self.provenance}"
                zero = [f"if ends({arguments}):", f"    return 0, None, left - {count}"]
                return [*zero, "r0 = m.registers[0]", *self._provenance(state, Register.R0, "None"), *self._clobber()]
            case Exit():
                return [f"m.pc = {pc}", "leave(m)", f"return r0, {self._pointer(Register.R0)}, left - {count}"]
            case Jump() | MayGoto():
                return []
            case AddressSpaceCast() | CallKfunc() | None:
                return [*self.reference(pc, count), "return None  # not reached: a trap"]
            case instruction:
                assert_never(instruction)

    def condition(self, instruction: Branch | MayGoto) -> str:
        """When the branch is taken."""
        if isinstance(instruction, MayGoto):
            return "frame.may_goto_left <= 0"
        dst, src = name(f"r{instruction.dst}"), _term(instruction.src)
        return compare(SOURCE, instruction.comparison, dst, src, instruction.width)

    # Registers ------------------------------------------------------------------------------------------------------

    def _pointer(self, register: Register) -> str:
        """The provenance of a register."""
        if register == Register.R10:
            return "stack"
        return f"p{register}" if self.holds_pointer[register] else "None"

    def _provenance(self, state: State, register: Register, text: str) -> list[str]:
        """Set the provenance of a register; those that never hold a pointer have no variable for it."""
        known = text == "None" and not state.registers[register].pointer
        return [] if known or not self.holds_pointer[register] else [f"p{register} = {text}"]

    def _result(self, text: str) -> str:
        return f"r0, {'p0' if self.holds_pointer[0] else '_'} = {text}"

    def _clobber(self) -> list[str]:
        pointers = [f"p{n}" for n in range(1, 6) if self.holds_pointer[n]]
        return [" = ".join([*(f"r{n}" for n in range(1, 6)), *pointers, "None"])]

    def _guarded(self, guards: Sequence[str], lines: Sequence[str], pc: int, count: int) -> list[str]:
        if not guards:
            return list(lines)
        return [f"if {' or '.join(guards)}:", *_indent(self.reference(pc, count)), "else:", *_indent(lines)]

    # Arithmetic -----------------------------------------------------------------------------------------------------

    def _compute(self, pc: int, count: int, state: State, instruction: Computing) -> list[str]:
        op, sources, dst = operation(instruction), operands(instruction), instruction.dst
        if dst == Register.R10:
            return self.reference(pc, count)
        values = [state.value(source) for source in sources]
        guards = [guard for source in sources for guard in _uninitialised(state, source)]
        terms = tuple(_term(source) for source in sources)
        if op is None:
            pointer = self._pointer(sources[0]) if isinstance(sources[0], Register) and values[0].pointer else "None"
            return self._guarded(guards, [f"r{dst} = {terms[0]}", *self._provenance(state, dst, pointer)], pc, count)
        result = [f"r{dst} = {evaluate(SOURCE, op, terms)}"]
        if not any(value.pointer for value in values):
            return self._guarded(guards, [*result, *self._provenance(state, dst, "None")], pc, count)
        if len(sources) == 2 and op.width == WORD_BITS and op.kind in (OpKind.ADD, OpKind.SUB):
            kept = self._kept(op.kind, values[0], values[1], dst, sources[1], guards)
            if kept != self._pointer(dst):
                result += self._provenance(state, dst, kept)
            return self._guarded(guards, result, pc, count)
        if any(not value.may & May.NUMBER for value in values):
            return self.reference(pc, count)
        for source, value in zip(sources, values, strict=True):
            if isinstance(source, Register) and value.pointer:
                guards.append(f"{self._pointer(source)} is not None")
        return self._guarded(guards, [*result, *self._provenance(state, dst, "None")], pc, count)

    def _kept(self, kind: OpKind, a: Value, b: Value, dst: Register, src: Operand, guards: list[str]) -> str:
        """The provenance of a 64-bit sum or difference of which an operand may be a pointer; adds to the guards."""
        left = self._pointer(dst)
        guards += _stale(a, left)
        if not b.pointer or not isinstance(src, Register):
            return left
        right = self._pointer(src)
        if kind is OpKind.SUB:
            if a.pointer:
                guards.append(f"({right} is not None and ({right} is not {left} or not {right}.live))")
                return f"{left} if {right} is None else None"
            guards.append(f"{right} is not None")
            return left
        guards += _stale(b, right)
        if not a.pointer:
            return right
        guards.append(f"({left} is not None and {right} is not None)")
        return f"{left} or {right}"

    # Memory ---------------------------------------------------------------------------------------------------------

    def _load(
        self, pc: int, count: int, state: State, dst: Register, base: Register, offset: int, size: int, signed: bool
    ) -> list[str]:
        pointer, extend = state.registers[base], load_op(size, signed) if signed else None

        def loaded(text: str) -> str:
            word = Term(text, (1 << 8 * size) - 1, text)
            return f"r{dst} = {word if extend is None else evaluate(SOURCE, extend, (word,))}"

        place = None if pointer.offset is None else pointer.offset + offset
        if dst == Register.R10 or not pointer.pointer:
            return self.reference(pc, count)
        if place is not None and pointer.may == May.CONTEXT:
            return self._load_context(pc, count, state, dst, place, size, signed, loaded(self._field(place, size)))
        guards = _uninitialised(state, base)
        if place is not None and pointer.may == May.STACK:
            if not 0 <= place <= FRAME_SIZE - size:
                return self.reference(pc, count)
            guards += self._unwritten(state, place, size)
            spilled = size == 8 and not signed and state.spilled >> place & 1
            found = f"{self._use('spilled')}.get({place})" if spilled else "None"
            lines = [loaded(self._slot(place, size)), *self._provenance(state, dst, found)]
            return self._guarded(guards, lines, pc, count)
        region = self._region(pointer, base, offset, size, guards)
        if self._maybe_stack(pointer):
            guards.append(f"({region}.initialised is not None and {region}.initialised.find(0, o, o + {size}) >= 0)")
        bytes_ = f"{region}.data[o]" if size == 1 else f"u{size}({region}.data, o)[0]"
        pointers = size == 8 and not signed and (self._maybe_stack(pointer) or self.code.program_type is None)
        # The value last: where dst is the base, its provenance is still that of the address.
        found = f"{region}.pointers.get(o) if {region}.pointers else None" if pointers else "None"
        if found != "None" and self.holds_pointer[dst]:
            lines = [f"found = {found}", loaded(bytes_), f"p{dst} = found"]
        else:
            lines = [loaded(bytes_), *self._provenance(state, dst, "None")]
        return self._guarded(guards, lines, pc, count)

    def _load_context(
        self, pc: int, count: int, state: State, dst: Register, place: int, size: int, signed: bool, line: str
    ) -> list[str]:
        program_type = self.code.program_type
        kind = None if program_type is None else program_type.context_read(place, size)
        if kind is FieldKind.SCALAR:
            return [line, *self._provenance(state, dst, "None")]
        if (
            program_type is None
            or signed
            or kind is None
            or kind not in _PACKET_FIELDS
            or not takes_packet(program_type)
        ):
            return self.reference(pc, count)
        field = f"r{dst} = m.packet.{_PACKET_FIELDS[kind]}"
        return [field, *self._provenance(state, dst, "m.packet.region")]

    def _store(
        self, pc: int, count: int, state: State, base: Register, offset: int, size: int, src: Operand
    ) -> list[str]:
        pointer, value = state.registers[base], state.value(src)
        if not pointer.pointer:
            return self.reference(pc, count)
        term = SOURCE.truncate(_term(src), WORD_BITS, 8 * size)
        source = self._pointer(src) if isinstance(src, Register) else "None"
        guards = [*_uninitialised(state, base), *_uninitialised(state, src)]
        place = None if pointer.offset is None else pointer.offset + offset
        if place is not None and pointer.may == May.CONTEXT:
            program_type = self.code.program_type
            if program_type is None or value.pointer or not program_type.context_write(place, size):
                return self.reference(pc, count)
            return self._guarded(guards, [_put(self._field(place, size), term)], pc, count)
        if place is not None and pointer.may == May.STACK:
            if not 0 <= place <= FRAME_SIZE - size:
                return self.reference(pc, count)
            lines = [_put(self._slot(place, size), term), *self._overwritten(state, place, size)]
            if value.pointer and size == 8 and place % 8 == 0:
                keep = f"{self._use('spilled')}[{place}] = {source}"
                lines += [f"if {source} is not None:", f"    {keep}"] if value.may & May.NUMBER else [keep]
            elif value.pointer:
                guards.append(f"{source} is not None")
            return self._guarded(guards, lines, pc, count)
        if value.pointer:
            guards.append(f"{source} is not None")
        region = self._region(pointer, base, offset, size, guards)
        guards.append(f"not {region}.writable")
        bytes_ = f"{region}.data[o]" if size == 1 else f"u{size}({region}.data, o)[0]"
        return self._guarded(guards, [_put(bytes_, term), *self._put_anywhere(pointer, region, size)], pc, count)

    def _atomic(self, pc: int, count: int, state: State, instruction: Atomic) -> list[str]:
        op, size, src = instruction.op, instruction.size, instruction.src
        pointer, value = state.registers[instruction.base], state.registers[src]
        place = None if pointer.offset is None else pointer.offset + instruction.offset
        if not pointer.pointer or not value.may & May.NUMBER or (place is not None and pointer.may == May.CONTEXT):
            return self.reference(pc, count)
        guards = [*_uninitialised(state, instruction.base), *_uninitialised(state, src)]
        if op is AtomicOp.CMPXCHG:
            guards += _uninitialised(state, Register.R0)
        if value.pointer:
            guards.append(f"{self._pointer(src)} is not None")
        if place is not None and pointer.may == May.STACK:
            if not 0 <= place <= FRAME_SIZE - size:
                return self.reference(pc, count)
            guards += self._unwritten(state, place, size)
            bytes_, after = self._slot(place, size), self._overwritten(state, place, size)
        else:
            region = self._region(pointer, instruction.base, instruction.offset, size, guards)
            guards.append(f"not {region}.writable")
            if self._maybe_stack(pointer):
                unwritten = f"{region}.initialised.find(0, o, o + {size}) >= 0"
                guards.append(f"({region}.initialised is not None and {unwritten})")
            bytes_, after = f"u{size}({region}.data, o)[0]", self._put_anywhere(pointer, region, size)
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
            lines += [f"r{dst} = old", *self._provenance(state, dst, "None")]
        return self._guarded(guards, lines, pc, count)

    def _region(self, pointer: Value, base: Register, offset: int, size: int, guards: list[str]) -> str:
        """The region that a register points into; adds to the guards.

        They leave the offset of the access in ``o``.  An address that wrapped around is in no region's window, so it
        fails the test as it is, without being reduced modulo ``2**64``.
        """
        region = "stack" if pointer.may == May.STACK else self._pointer(base)
        if pointer.may & May.NUMBER or pointer.may & May.UNINITIALISED:
            guards.append(f"{region} is None")
        if pointer.may & May.CONTEXT:
            guards.append(f"{region}.kind is CONTEXT")
        address = f"r{base}" if offset == 0 else f"r{base} {'-' if offset < 0 else '+'} {abs(offset)}"
        guards.append(f"not 0 <= (o := {address} - {region}.base) <= {region}.size - {size}")
        if pointer.may != May.STACK:
            guards.append(f"not {region}.live")
        return region

    def _maybe_stack(self, pointer: Value) -> bool:
        """Whether it may lead to a live frame; in the main program only to its own."""
        return bool(pointer.may & May.STACK or (pointer.may & May.POINTER and self.nested))

    def _put_anywhere(self, pointer: Value, region: str, size: int) -> list[str]:
        """What else to note after ``size`` bytes at ``o`` were overwritten by a number."""
        lines = []
        if self._maybe_stack(pointer):
            lines += [f"if {region}.initialised is not None:", f"    {region}.initialised[o:o + {size}] = ones{size}"]
        if self._maybe_stack(pointer) or self.code.program_type is None:
            lines += [f"if {region}.pointers:", f"    forget({region}.pointers, o, {size})"]
        return lines

    def _unwritten(self, state: State, place: int, size: int) -> list[str]:
        wanted = ((1 << size) - 1) << place
        if state.written & wanted == wanted:
            return []
        return [f"{self._use('written')}.find(0, {place}, {place + size}) >= 0"]

    def _overwritten(self, state: State, place: int, size: int) -> list[str]:
        """What else to note after bytes of the own frame were overwritten by a number."""
        wanted, low = ((1 << size) - 1) << place, max(place - 7, 0)
        lines = []
        if state.written & wanted != wanted:
            lines.append(f"{self._use('written')}[{place}:{place + size}] = ones{size}")
        if state.spilled >> low & ((1 << place + size - low) - 1):
            lines += [f"if {self._use('spilled')}:", f"    forget(spilled, {place}, {size})"]
        return lines

    def _slot(self, place: int, size: int) -> str:
        """Bytes of the own frame."""
        if size == 1:
            return f"{self._use('frame1')}[{place}]"
        if place % size == 0 and _ALIGNED_VIEWS:
            return f"{self._use(f'frame{size}')}[{place // size}]"
        return f"u{size}({self._use('frame1')}, {place})[0]"

    def _field(self, place: int, size: int) -> str:
        """Bytes of the context."""
        self._use("context")
        return f"context[{place}]" if size == 1 else f"u{size}(context, {place})[0]"

    def _use(self, part: str) -> str:
        self.used.add(part)
        return part

    # Wide loads and calls -------------------------------------------------------------------------------------------

    def _wide(self, pc: int, count: int, instruction: LoadImmediate64) -> list[str]:
        dst, state, index = instruction.dst, self.states[pc], instruction.low
        if dst == Register.R10:
            return self.reference(pc, count)
        if instruction.pseudo is Pseudo.IMMEDIATE:
            return [f"r{dst} = {instruction.value}", *self._provenance(state, dst, "None")]
        if not 0 <= index < len(self.code.program.maps):
            return self.reference(pc, count)
        if instruction.pseudo is Pseudo.MAP_INDEX:
            return [f"p{dst} = m.map_region(frame.maps[{index}])", f"r{dst} = p{dst}.base"]
        if instruction.pseudo is Pseudo.MAP_INDEX_VALUE:
            value = self._use(f"value{index}")
            fast = [f"p{dst} = {value}", f"r{dst} = {value}.base + {instruction.high & 0xFFFFFFFF}"]
            slow = [*self.reference(pc, count), f"{value} = p{dst}"]
            return [f"if {value} is None:", *_indent(slow), "else:", *_indent(fast)]
        return self.reference(pc, count)

    def _call(self, pc: int, count: int, callee: int) -> list[str]:
        arguments = [f"r{n}" for n in range(1, 6)] + [self._pointer(Register(n)) for n in range(1, 6)]
        saved = ", ".join(self._pointer(Register(n)) for n in range(6, 10))
        return [
            "if len(m.calls) == MAX_FRAMES:",
            *_indent(self.reference(pc, count)),
            f"enter(m, {pc})",
            f"result = {function_name(callee)}(m, left - {count}, {', '.join(arguments)})",
            "if result is None:",
            f"    unwound(m, frame, (r6, r7, r8, r9), ({saved}))",
            "    return None",
            f"r0, {'p0' if self.holds_pointer[0] else '_'}, left = result",
            *self._clobber(),
        ]


def function_name(entry: int) -> str:
    """What the function that starts at a slot is called; slots before the program have names too."""
    return f"function{entry}" if entry >= 0 else f"function_before{-entry}"


def _term(operand: Operand) -> Term:
    if isinstance(operand, Immediate):
        return SOURCE.const(immediate_word(operand.value), WORD_BITS)
    return name(f"r{operand}")


def _uninitialised(state: State, operand: Operand) -> list[str]:
    return [f"r{operand} is None"] if state.value(operand).may & May.UNINITIALISED else []  # r10 never is


def _stale(value: Value, pointer: str) -> list[str]:
    """The guard that a pointer's region is there still: the context and the own frame always are."""
    if not value.may & May.POINTER:
        return []
    return [f"not {pointer}.live" if value.may == May.POINTER else f"({pointer} is not None and not {pointer}.live)"]


def _put(place: str, value: Term) -> str:
    """Store into what loads as ``place``."""
    if place.startswith("u"):  # u4(data, offset)[0]
        return f"w{place[1:-4]}, {value})"
    return f"{place} = {value}"


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
