"""What the semantics says of a basic block, over Z3 terms: the other side of translation validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import z3

from prevail_py.isa.flow import function_address, successors, target
from prevail_py.isa.instructions import (
    Alu,
    Atomic,
    AtomicOp,
    Branch,
    Call,
    CallLocal,
    EndianSwap,
    Exit,
    Instruction,
    Jump,
    Load,
    LoadAcquire,
    LoadImmediate64,
    MayGoto,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.semantics import atomic_op, immediate_word, load_op, operands, operation
from prevail_py.objects.region_facts import Place
from prevail_py.platforms.model import FieldKind
from prevail_py.verifier.smt.algebra import Z3Algebra
from prevail_py.verifier.translation.execute import Event, State, Term, changed_block, division, symbol
from prevail_py.verifier.translation.reader import IrError
from prevail_py.vm.jit.proved.emission import MAY_GOTO
from prevail_py.vm.jit.proved.layout import SHADOW_SIZE, Field, MapField, map_field
from prevail_py.vm.jit.proved.model import Layout
from prevail_py.vm.jit.proved.plan import Plan, is_static
from prevail_py.vm.memory import CONTEXT_BASE, FRAME_SIZE, STACK_BASE, WINDOW, function_base, map_object_base
from prevail_py.vm.source.flow import Block
from prevail_py.words import WORD_BITS, Comparison, OpKind, compare, evaluate

__all__ = ["Reference", "Semantics", "name_of"]


class _Algebra(Z3Algebra):
    """The algebra with division as an unknown function (:func:`division`), and RFC 9669's rules for zero around it."""

    def udiv(self, a: Term, b: Term, width: int) -> Term:
        return z3.If(b == 0, self.const(0, width), division("udiv", a, b))

    def umod(self, a: Term, b: Term, width: int) -> Term:
        return z3.If(b == 0, a, division("urem", a, b))

    def sdiv(self, a: Term, b: Term, width: int) -> Term:
        return z3.If(b == 0, self.const(0, width), division("sdiv", a, b))

    def smod(self, a: Term, b: Term, width: int) -> Term:
        return z3.If(b == 0, a, division("srem", a, b))


_ALGEBRA: Final = _Algebra()
_FIELDS: Final = {
    FieldKind.PACKET: ("%data", Field.DATA),
    FieldKind.PACKET_END: ("%end", Field.DATA_END),
    FieldKind.PACKET_META: ("%meta", Field.DATA_META),
}


@dataclass(slots=True)
class _Shadow:
    host: Term
    base: Term


@dataclass(slots=True)
class Reference:
    """What the semantics says: registers (None: not to be read), shadows (None: not to be used), and the end."""

    words: list[Term | None]
    shadows: dict[int, _Shadow | None]
    events: list[Event]
    cells: dict[int, Term]
    may_goto: Term
    condition: z3.BoolRef | None = None
    ways: tuple[int, ...] = ()
    exits: bool = False
    unreachable: bool = False
    failing: list[Term] | None = None


class Semantics:
    """Executes the blocks of one function; ``words`` is the size of the block of the run."""

    def __init__(self, planned: Plan, layout: Layout, *, main: bool, words: int) -> None:
        self.plan: Final = planned
        self.layout: Final = layout
        self.main: Final = main
        self.words: Final = words

    def block(self, block: Block, ours: State) -> Reference:
        """The effects of a block; what helpers gave is read from ``ours``, the same execution of the IR."""
        words: list[Term | None] = [symbol(f"cell %w{number}.home") for number in range(10)]
        words.append(self._frame() + FRAME_SIZE)
        shadows: dict[int, _Shadow | None] = {
            number: _Shadow(symbol(f"cell %h{name_of(number)}.home"), symbol(f"cell %v{name_of(number)}.home"))
            for number in self.plan.shadowed
        }
        r = Reference(words, shadows, [], {}, symbol(f"cell {MAY_GOTO}"))
        code = self.plan.code.instructions
        for pc in block.pcs:
            if pc not in self.plan.facts.reached:
                r.unreachable = True
                return r
            instruction = code[pc]
            assert instruction is not None
            self._step(r, pc, instruction, ours)
        if not r.exits and not r.ways:
            r.ways = (block.successors[0],)
        return r

    def _frame(self) -> Term:
        return _constant(STACK_BASE) if self.main else symbol("%fp")

    def _step(self, r: Reference, pc: int, instruction: Instruction, ours: State) -> None:
        match instruction:
            case Alu() | MoveSignExtend() | Negate() | EndianSwap():
                self._compute(r, pc, instruction)
            case Branch(comparison, width, dst, src):
                r.condition = compare(_ALGEBRA, comparison, self._operand(r, dst), self._operand(r, src), width)
                r.ways = successors(self.plan.code.instructions, pc)
            case MayGoto():
                spent = r.may_goto == 0
                r.condition, r.may_goto = spent, z3.If(spent, r.may_goto, r.may_goto - 1)
                r.ways = successors(self.plan.code.instructions, pc)
            case Jump():
                r.ways = (target(pc, instruction),)
            case Exit():
                r.exits = True
            case Load(dst, base, offset, size, signed):
                self._load(r, pc, dst, base, offset, size, signed)
            case LoadAcquire(dst, base, offset, size):
                before = len(r.events)
                self._load(r, pc, dst, base, offset, size, False)
                if len(r.events) > before:  # a field that says where the packet is, is not read from memory
                    r.events.append(Event("fence acquire", 0, ()))
            case Store(base, offset, size, src) | StoreRelease(base, offset, size, src):
                if isinstance(instruction, StoreRelease):
                    r.events.append(Event("fence release", 0, ()))
                value = z3.Extract(8 * size - 1, 0, self._operand(r, src))
                r.events.append(Event("store", size, (self._address(r, pc, base, offset), value)))
                if pc in self.plan.facts.spills and isinstance(src, Register):
                    self._spill(r, pc, base, offset, src)
            case Atomic():
                self._atomic(r, pc, instruction)
            case LoadImmediate64():
                self._wide(r, pc, instruction)
            case Call() if pc in self.plan.loops:
                self._loop(r, pc)
            case Call():
                r.events.append(Event("helper", pc, ()))
                r.words[1:6] = [None] * 5
                r.shadows.update({n: None for n in range(1, 6) if n in r.shadows})
                # On a way that ends before it, as where a subprogram did not return, it is never looked at.
                r.words[0] = ours.values.get(f"result {pc} 0", symbol(f"result {pc}"))
                if 0 in r.shadows:
                    host, start = (ours.values.get(f"result {pc} {n}") for n in (1, 2))
                    r.shadows[0] = None if host is None else _Shadow(host, start)
                self._forget(r)
            case CallLocal():
                self._call(r, pc, instruction)
            case _:
                raise IrError(f"no semantics for {instruction}")

    def _forget(self, r: Reference) -> None:
        r.cells = dict(changed_block(self.words, len(r.events)))

    def _operand(self, r: Reference, operand: Operand) -> Term:
        if not isinstance(operand, Register):
            return _constant(immediate_word(operand.value))
        word = r.words[operand]
        if word is None:
            raise IrError(f"r{int(operand)} is read after a call")
        return word

    def _shadow(self, r: Reference, register: int) -> _Shadow | None:
        if register == Register.R10:
            return _Shadow(symbol("%stack"), self._frame())
        return r.shadows.get(register)

    def _address(self, r: Reference, pc: int, base: Register, offset: int) -> Term:
        fact = self.plan.fact(pc, base)
        word = self._operand(r, base) + offset
        if not is_static(fact, self.layout.single):
            shadow = self._shadow(r, base)
            if shadow is None:
                raise IrError(f"slot {pc}: nothing is known of where r{int(base)} is")
            return shadow.host + (word - shadow.base)
        match fact.place:
            case Place.STACK:
                return symbol("%stack") + (word - self._frame() if fact.offset is None else fact.offset + offset)
            case Place.PACKET:
                return symbol("%packet") + word
            case Place.CONTEXT:
                return symbol("%context") + (word - CONTEXT_BASE)
            case _:
                return symbol(f"%m{fact.index}") + (word - self.layout.first[fact.index])

    def _slot(self, pc: int, base: Register, offset: int) -> int | None:
        fact = self.plan.fact(pc, base)
        return None if fact.place is not Place.STACK or fact.offset is None else fact.offset + offset - FRAME_SIZE

    def _put(self, r: Reference, register: int, word: Term, shadow: _Shadow | None = None) -> None:
        r.words[register] = word
        if register in r.shadows:
            r.shadows[register] = shadow

    def _compute(self, r: Reference, pc: int, instruction: Alu | MoveSignExtend | Negate | EndianSwap) -> None:
        op, sources = operation(instruction), operands(instruction)
        words = tuple(self._operand(r, source) for source in sources)
        source = sources[-1]
        if op is None:
            shadow = self._shadow(r, source) if isinstance(source, Register) else None
            self._put(r, instruction.dst, words[0], shadow)
            return
        shadow = None
        if op.width == WORD_BITS and op.kind in (OpKind.ADD, OpKind.SUB):
            right = op.kind is OpKind.ADD and pc in self.plan.facts.from_source and isinstance(source, Register)
            shadow = self._shadow(r, source if right and isinstance(source, Register) else instruction.dst)
        self._put(r, instruction.dst, evaluate(_ALGEBRA, op, words), shadow)

    def _load(self, r: Reference, pc: int, dst: Register, base: Register, offset: int, size: int, signed: bool) -> None:
        fact, program_type = self.plan.fact(pc, base), self.plan.code.program_type
        assert program_type is not None
        if fact.place is Place.CONTEXT and fact.offset is not None:
            kind = program_type.context_read(fact.offset + offset, size)
            if kind in _FIELDS:
                argument, place = _FIELDS[kind]
                told = self.main and not self.plan.called
                word = symbol(argument) if told else r.cells.get(place, symbol(f"cell {int(place)}"))
                self._put(r, dst, word, _Shadow(symbol("%packet"), _constant(0)))
                return
        r.events.append(Event("load", size, (self._address(r, pc, base, offset),)))
        value: Term = symbol(f"memory {len(r.events) - 1}", 8 * size)
        if size < 8:
            value = z3.ZeroExt(WORD_BITS - 8 * size, value)
        op = load_op(size, signed)
        shadow = self._fill(r, pc, base, offset) if pc in self.plan.facts.fills and dst in r.shadows else None
        self._put(r, dst, value if op is None else evaluate(_ALGEBRA, op, (value,)), shadow)

    def _spill(self, r: Reference, pc: int, base: Register, offset: int, src: Register) -> None:
        """What is known of a pointer is kept, in a variable or in memory."""
        if self.plan.keeps_shadows:
            shadow, at = self._shadow(r, src), self._kept_at(r, base, offset)
            r.events.append(Event("store", 8, (at, None if shadow is None else shadow.host)))
            r.events.append(Event("store", 8, (at + 8, None if shadow is None else shadow.base)))
            return
        slot = self._slot(pc, base, offset)
        if slot in r.shadows:
            r.shadows[slot] = self._shadow(r, src)

    def _fill(self, r: Reference, pc: int, base: Register, offset: int) -> _Shadow | None:
        if not self.plan.keeps_shadows:
            slot = self._slot(pc, base, offset)
            return None if slot is None else r.shadows.get(slot)
        number, at = len(r.events), self._kept_at(r, base, offset)
        r.events += [Event("load", 8, (at,)), Event("load", 8, (at + 8,))]
        return _Shadow(symbol(f"memory {number}"), symbol(f"memory {number + 1}"))

    def _kept_at(self, r: Reference, base: Register, offset: int) -> Term:
        """Beside each of eight frames there is room for the shadow of every eighth byte."""
        address = self._operand(r, base) + offset
        number = z3.Extract(2, 0, z3.UDiv(address - STACK_BASE, _constant(WINDOW)))
        within = z3.Extract(8, 3, address)
        place = z3.Concat(z3.BitVecVal(0, WORD_BITS - 9), number, within) * SHADOW_SIZE
        return r.cells.get(int(Field.SHADOWS), symbol(f"cell {int(Field.SHADOWS)}")) + place

    def _atomic(self, r: Reference, pc: int, instruction: Atomic) -> None:
        size, op = instruction.size, instruction.op
        address = self._address(r, pc, instruction.base, instruction.offset)
        operand = self._operand(r, instruction.src)
        r.events.append(Event("load", size, (address,)))
        old: Term = symbol(f"memory {len(r.events) - 1}", 8 * size)
        old = z3.ZeroExt(WORD_BITS - 8 * size, old) if size < 8 else old
        word_op = atomic_op(op, size)
        new = operand if word_op is None else evaluate(_ALGEBRA, word_op, (old, operand))
        if op is AtomicOp.CMPXCHG:
            same = compare(_ALGEBRA, Comparison.EQ, old, self._operand(r, Register.R0), 8 * size)
            new = z3.If(same, new, old)
        r.events.append(Event("store", size, (address, z3.Extract(8 * size - 1, 0, new))))
        if instruction.fetch:
            self._put(r, Register.R0 if op is AtomicOp.CMPXCHG else instruction.src, old)

    def _wide(self, r: Reference, pc: int, instruction: LoadImmediate64) -> None:
        dst, low = instruction.dst, instruction.low
        match instruction.pseudo:
            case Pseudo.IMMEDIATE:
                self._put(r, dst, _constant(instruction.value))
            case Pseudo.FUNCTION:
                number = self.plan.code.functions.index(function_address(pc, instruction))
                self._put(r, dst, _constant(function_base(number)))
            case Pseudo.MAP_INDEX:
                self._put(r, dst, _constant(map_object_base(low)))
            case _:
                place = map_field(low, MapField.VALUES)
                first = _constant(self.layout.first[low])
                shadow = _Shadow(r.cells.get(place, symbol(f"cell {place}")), first)
                self._put(r, dst, first + (instruction.high & 0xFFFFFFFF), shadow)

    def _call(self, r: Reference, pc: int, instruction: CallLocal) -> None:
        arguments: list[Term] = [symbol("%packet"), symbol("%context"), self._frame() + WINDOW]
        arguments += [r.words[number] for number in range(1, 6)]
        for number in range(1, 6):
            if number in self.plan.shadowed:
                shadow = r.shadows.get(number)
                arguments += [None, None, None] if shadow is None else [shadow.host, shadow.base, None]
        self._called(r, f"f{target(pc, instruction)}", arguments)

    def _loop(self, r: Reference, pc: int) -> None:
        """``bpf_loop`` is given its count, flags and context; its function and the number of turns are its own."""
        arguments: list[Term] = [symbol("%packet"), symbol("%context"), self._frame() + WINDOW]
        arguments += [r.words[number] for number in (1, 4, 3)]
        if Register.R2 in self.plan.shadowed:
            shadow = self._shadow(r, Register.R3)
            arguments += [None, None, None] if shadow is None else [shadow.host, shadow.base, None]
        self._called(r, f"loop{self.plan.loops[pc]}", arguments)

    def _called(self, r: Reference, name: str, arguments: Sequence[Term]) -> None:
        number = len(r.events)
        r.events.append(Event(f"call {name}", 0, tuple(arguments)))
        r.failing = [*(r.failing or []), symbol(f"call {number} 0")]
        r.words[1:6] = [None] * 5
        r.shadows.update({n: None for n in range(1, 6) if n in r.shadows})
        self._put(r, 0, symbol(f"call {number} 1"), _Shadow(symbol(f"call {number} 2"), symbol(f"call {number} 3")))
        self._forget(r)


def _constant(value: int) -> z3.BitVecRef:
    """A constant."""
    return z3.BitVecVal(value, WORD_BITS)


def name_of(number: int) -> str:
    """The name of the variables with the shadow of a register or of a stack slot."""
    return str(number) if number >= 0 else f"slot{-number}"
