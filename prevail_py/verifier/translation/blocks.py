"""Whether the IR of a program computes what the semantics says, block by block, for all words and all memory.

For each basic block of a function the IR is executed over Z3 terms from the block's label to the labels of the blocks
that follow (:mod:`prevail_py.verifier.translation.execute`), and the instructions by the semantics (``words.py`` over
the algebra of Z3), both from the same unknown registers.  On every way through the IR must be equal: which block
follows, registers, the shadows of pointers, and the sequence of accesses to memory and fences, with their addresses and
values.  Addresses are where the region that the facts name is, plus the distance of the word from the region's address.

Taken for granted: the facts; what a helper does (in place or in Python), as one step whose result is unknown, for which
there are tests; R1 to R5 after a call, which no instruction reads; the scopes of accesses (``!alias.scope``,
``!noalias``), which are not compared with the regions of the facts; that the block of the run is aligned as words are.
The loop over packets is not a program's.  LLVM and its passes are not validated: this is about the IR that we emit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from prevail_py.objects.program import Program
from prevail_py.objects.region_facts import Place, RegionFacts
from prevail_py.platforms import platform
from prevail_py.platforms.model import FieldKind
from prevail_py.verifier.smt.algebra import Z3Algebra
from prevail_py.verifier.translation.equality import (
    Mistake,
    differences,
    event_differences,
    holds,
    is_status,
    undefined,
)
from prevail_py.verifier.translation.execute import End, Event, State, Term, changed_block, division, execute, symbol
from prevail_py.verifier.translation.loops import validate_loop
from prevail_py.verifier.translation.reader import Function, IrError, functions
from prevail_py.vm.jit.proved.emission import MAY_GOTO
from prevail_py.vm.jit.proved.layout import SHADOW_SIZE, Field, MapField, Status, block_words, map_field
from prevail_py.vm.jit.proved.model import Layout, Variant
from prevail_py.vm.jit.proved.module import layout_of, module_text
from prevail_py.vm.jit.proved.plan import Plan, is_static, plan
from prevail_py.vm.machine import prepare
from prevail_py.vm.maps import Map, create_maps
from prevail_py.vm.memory import CONTEXT_BASE, FRAME_SIZE, STACK_BASE, WINDOW, function_base, map_object_base
from prevail_py.vm.source.flow import Block
from prevail_py.words import WORD_BITS, Comparison, OpKind, compare, evaluate

__all__ = ["Mistake", "validate"]


class _Semantics(Z3Algebra):
    """The algebra with division as an unknown function (:func:`division`), and RFC 9669's rules for zero around it."""

    def udiv(self, a: Term, b: Term, width: int) -> Term:
        return z3.If(b == 0, self.const(0, width), division("udiv", a, b))

    def umod(self, a: Term, b: Term, width: int) -> Term:
        return z3.If(b == 0, a, division("urem", a, b))

    def sdiv(self, a: Term, b: Term, width: int) -> Term:
        return z3.If(b == 0, self.const(0, width), division("sdiv", a, b))

    def smod(self, a: Term, b: Term, width: int) -> Term:
        return z3.If(b == 0, a, division("srem", a, b))


_ALGEBRA: Final = _Semantics()
_FIELDS: Final = {
    FieldKind.PACKET: ("%data", Field.DATA),
    FieldKind.PACKET_END: ("%end", Field.DATA_END),
    FieldKind.PACKET_META: ("%meta", Field.DATA_META),
}


def validate(
    program: Program,
    facts: RegionFacts,
    maps: Sequence[Map] | None = None,
    variant: Variant | None = None,
) -> tuple[Mistake, ...]:
    """Translate a program with these facts and check every block; empty where all are right.

    ``variant`` may count fuel, and may not be checked.  Raises
    :class:`~prevail_py.vm.jit.proved.plan.Ineligible` where the program has no proved code.
    """
    variant = variant or Variant()
    if variant.checked:
        raise ValueError("checked code has ways out that the semantics does not")
    host = platform(program.platform)
    given = tuple(create_maps(program.maps) if maps is None else maps)
    planned = plan(prepare(host, program, {}), host, facts, given)
    found: list[Mistake] = []
    try:
        written = functions(module_text(planned, given, variant, batch=False))
    except IrError as error:
        return (Mistake(0, str(error)),)
    for entry, blocks in planned.functions.items():
        function = written["main" if entry == 0 else f"f{entry}"]
        checker = _Checker(planned, layout_of(given), variant, function, entry, block_words(len(given)))
        found.extend(checker.entry_block())
        for block in blocks.values():
            found.extend(checker.block(block))
    for entry in sorted(set(planned.loops.values())):
        found.extend(validate_loop(planned, variant, written[f"loop{entry}"], entry))
    return tuple(found)


@dataclass(slots=True)
class _Shadow:
    host: Term
    base: Term


@dataclass(slots=True)
class _Reference:
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


class _Checker:
    def __init__(
        self, planned: Plan, layout: Layout, variant: Variant, function: Function, entry: int, words: int
    ) -> None:
        self.plan = planned
        self.layout = layout
        self.variant = variant
        self.function = function
        self.entry = entry
        self.main = entry == 0
        code, blocks = planned.code.instructions, planned.functions[entry]
        self._may_goto = any(isinstance(code[pc], MayGoto) for block in blocks.values() for pc in block.pcs)
        self.words = words

    # The two sides --------------------------------------------------------------------------------------------------

    def entry_block(self) -> Iterator[Mistake]:
        """What the function begins with: its arguments are in their registers."""
        try:
            ends = list(execute(self.function, "entry", self.words))
        except IrError as error:
            yield Mistake(self.entry, str(error))
            return
        for end, state in ends:
            wanted: list[tuple[str, Term, Term]] = []
            for number in (1,) if self.main else range(1, 6):
                word = _word(CONTEXT_BASE) if self.main else symbol(f"%a{number}")
                wanted.append((f"r{number}", state.cell(f"%w{number}.home"), word))
                if number in self.plan.shadowed:
                    host = symbol("%context") if self.main else symbol(f"%h{number}")
                    base = word if self.main else symbol(f"%v{number}")
                    wanted.append((f"where r{number} is", state.cell(f"%h{number}.home"), host))
                    wanted.append((f"the base of r{number}", state.cell(f"%v{number}.home"), base))
            if self._may_goto:
                wanted.append(("what is left of may_goto", state.cell(MAY_GOTO), symbol(f"cell {int(Field.MAY_GOTO)}")))
            for index in self.layout.single:
                place = map_field(index, MapField.VALUES)
                wanted.append((f"the value of map {index}", state.values.get(f"%m{index}"), symbol(f"cell {place}")))
            if end.to != f"s{self.entry}" or state.events:
                yield Mistake(self.entry, f"it begins at {end.to or 'its end'}")
            yield from differences(self.entry, state, wanted)

    def block(self, block: Block) -> Iterator[Mistake]:
        """Check one block."""
        try:
            ends = list(execute(self.function, f"s{block.start}", self.words))
            for end, state in ends:
                yield from self._compare(block, end, state)
        except IrError as error:
            yield Mistake(block.start, str(error))

    def _compare(self, block: Block, end: End, state: State) -> Iterator[Mistake]:
        reference = self._reference(block, state)
        pc = block.start
        yield from undefined(pc, state)
        if not end.to:
            status = end.result if self.main else end.result[0]
            if self.variant.fuel and is_status(state, status, Status.OUT_OF_FUEL):
                return
            if reference.unreachable:
                if not is_status(state, status, Status.UNREACHABLE):
                    yield Mistake(pc, "a slot that no run reaches does not end the run")
                return
            if reference.failing is not None and not holds(state.path, _all_zero(reference.failing)):
                if not any(holds(state.path, status == each) for each in reference.failing):
                    yield Mistake(pc, "the status of a subprogram is lost")
                return
            if not reference.exits or not is_status(state, status, Status.RETURNED):
                yield Mistake(pc, f"the function ends with status {z3.simplify(status)}")
                return
            wanted = [("r0", state.cell(int(Field.RESULT)) if self.main else end.result[1], reference.words[0])]
            shadow = reference.shadows.get(0)
            if not self.main and shadow is not None and 0 in self.plan.shadowed:
                wanted += [("where r0 is", end.result[2], shadow.host), ("r0's base", end.result[3], shadow.base)]
            yield from differences(pc, state, wanted)
            yield from event_differences(pc, state, reference.events)
            return
        if reference.failing is not None and not holds(state.path, _all_zero(reference.failing)):
            yield Mistake(pc, "it goes on although a subprogram did not return")
        to = int(end.to[1:])
        if reference.exits or reference.unreachable or to not in reference.ways:
            yield Mistake(pc, f"it goes on at slot {to}")
            return
        if reference.condition is not None and reference.ways[0] != reference.ways[1]:
            taken = reference.condition if to == reference.ways[1] else z3.Not(reference.condition)
            if not holds(state.path, taken):
                yield Mistake(pc, f"it goes on at slot {to} where it must not")
        wanted = [
            (f"r{number}", state.cell(f"%w{number}.home"), word)
            for number, word in enumerate(reference.words[:10])
            if word is not None
        ]
        if self._may_goto:
            wanted.append(("what is left of may_goto", state.cell(MAY_GOTO), reference.may_goto))
        for number, shadow in reference.shadows.items():
            if shadow is not None:
                name = _name(number)
                shown = f"r{name}" if number >= 0 else name
                wanted.append((f"where {shown} is", state.cell(f"%h{name}.home"), shadow.host))
                wanted.append((f"the base of {shown}", state.cell(f"%v{name}.home"), shadow.base))
        yield from differences(pc, state, wanted)
        yield from event_differences(pc, state, reference.events)

    # The semantics --------------------------------------------------------------------------------------------------

    def _reference(self, block: Block, ours: State) -> _Reference:
        words: list[Term | None] = [symbol(f"cell %w{number}.home") for number in range(10)]
        words.append(self._frame() + FRAME_SIZE)
        shadows: dict[int, _Shadow | None] = {
            number: _Shadow(symbol(f"cell %h{_name(number)}.home"), symbol(f"cell %v{_name(number)}.home"))
            for number in self.plan.shadowed
        }
        r = _Reference(words, shadows, [], {}, symbol(f"cell {MAY_GOTO}"))
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
        return _word(STACK_BASE) if self.main else symbol("%fp")

    def _step(self, r: _Reference, pc: int, instruction: Instruction, ours: State) -> None:
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

    def _forget(self, r: _Reference) -> None:
        r.cells = dict(changed_block(self.words, len(r.events)))

    def _operand(self, r: _Reference, operand: Operand) -> Term:
        if not isinstance(operand, Register):
            return _word(immediate_word(operand.value))
        word = r.words[operand]
        if word is None:
            raise IrError(f"r{int(operand)} is read after a call")
        return word

    def _shadow(self, r: _Reference, register: int) -> _Shadow | None:
        if register == Register.R10:
            return _Shadow(symbol("%stack"), self._frame())
        return r.shadows.get(register)

    def _address(self, r: _Reference, pc: int, base: Register, offset: int) -> Term:
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

    def _put(self, r: _Reference, register: int, word: Term, shadow: _Shadow | None = None) -> None:
        r.words[register] = word
        if register in r.shadows:
            r.shadows[register] = shadow

    def _compute(self, r: _Reference, pc: int, instruction: Alu | MoveSignExtend | Negate | EndianSwap) -> None:
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

    def _load(
        self, r: _Reference, pc: int, dst: Register, base: Register, offset: int, size: int, signed: bool
    ) -> None:
        fact, program_type = self.plan.fact(pc, base), self.plan.code.program_type
        assert program_type is not None
        if fact.place is Place.CONTEXT and fact.offset is not None:
            kind = program_type.context_read(fact.offset + offset, size)
            if kind in _FIELDS:
                argument, place = _FIELDS[kind]
                told = self.main and not self.plan.called
                word = symbol(argument) if told else r.cells.get(place, symbol(f"cell {int(place)}"))
                self._put(r, dst, word, _Shadow(symbol("%packet"), _word(0)))
                return
        r.events.append(Event("load", size, (self._address(r, pc, base, offset),)))
        value: Term = symbol(f"memory {len(r.events) - 1}", 8 * size)
        if size < 8:
            value = z3.ZeroExt(WORD_BITS - 8 * size, value)
        op = load_op(size, signed)
        shadow = self._fill(r, pc, base, offset) if pc in self.plan.facts.fills and dst in r.shadows else None
        self._put(r, dst, value if op is None else evaluate(_ALGEBRA, op, (value,)), shadow)

    def _spill(self, r: _Reference, pc: int, base: Register, offset: int, src: Register) -> None:
        """What is known of a pointer is kept, in a variable or in memory."""
        if self.plan.keeps_shadows:
            shadow, at = self._shadow(r, src), self._kept_at(r, base, offset)
            r.events.append(Event("store", 8, (at, None if shadow is None else shadow.host)))
            r.events.append(Event("store", 8, (at + 8, None if shadow is None else shadow.base)))
            return
        slot = self._slot(pc, base, offset)
        if slot in r.shadows:
            r.shadows[slot] = self._shadow(r, src)

    def _fill(self, r: _Reference, pc: int, base: Register, offset: int) -> _Shadow | None:
        if not self.plan.keeps_shadows:
            slot = self._slot(pc, base, offset)
            return None if slot is None else r.shadows.get(slot)
        number, at = len(r.events), self._kept_at(r, base, offset)
        r.events += [Event("load", 8, (at,)), Event("load", 8, (at + 8,))]
        return _Shadow(symbol(f"memory {number}"), symbol(f"memory {number + 1}"))

    def _kept_at(self, r: _Reference, base: Register, offset: int) -> Term:
        """Beside each of eight frames there is room for the shadow of every eighth byte."""
        address = self._operand(r, base) + offset
        number = z3.Extract(2, 0, z3.UDiv(address - STACK_BASE, _word(WINDOW)))
        within = z3.Extract(8, 3, address)
        place = z3.Concat(z3.BitVecVal(0, WORD_BITS - 9), number, within) * SHADOW_SIZE
        return r.cells.get(int(Field.SHADOWS), symbol(f"cell {int(Field.SHADOWS)}")) + place

    def _atomic(self, r: _Reference, pc: int, instruction: Atomic) -> None:
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

    def _wide(self, r: _Reference, pc: int, instruction: LoadImmediate64) -> None:
        dst, low = instruction.dst, instruction.low
        match instruction.pseudo:
            case Pseudo.IMMEDIATE:
                self._put(r, dst, _word(instruction.value))
            case Pseudo.FUNCTION:
                number = self.plan.code.functions.index(function_address(pc, instruction))
                self._put(r, dst, _word(function_base(number)))
            case Pseudo.MAP_INDEX:
                self._put(r, dst, _word(map_object_base(low)))
            case _:
                place = map_field(low, MapField.VALUES)
                first = _word(self.layout.first[low])
                shadow = _Shadow(r.cells.get(place, symbol(f"cell {place}")), first)
                self._put(r, dst, first + (instruction.high & 0xFFFFFFFF), shadow)

    def _call(self, r: _Reference, pc: int, instruction: CallLocal) -> None:
        arguments: list[Term] = [symbol("%packet"), symbol("%context"), self._frame() + WINDOW]
        arguments += [r.words[number] for number in range(1, 6)]
        for number in range(1, 6):
            if number in self.plan.shadowed:
                shadow = r.shadows.get(number)
                arguments += [None, None, None] if shadow is None else [shadow.host, shadow.base, None]
        self._called(r, f"f{target(pc, instruction)}", arguments)

    def _loop(self, r: _Reference, pc: int) -> None:
        """``bpf_loop`` is given its count, flags and context; its function and the number of turns are its own."""
        arguments: list[Term] = [symbol("%packet"), symbol("%context"), self._frame() + WINDOW]
        arguments += [r.words[number] for number in (1, 4, 3)]
        if Register.R2 in self.plan.shadowed:
            shadow = self._shadow(r, Register.R3)
            arguments += [None, None, None] if shadow is None else [shadow.host, shadow.base, None]
        self._called(r, f"loop{self.plan.loops[pc]}", arguments)

    def _called(self, r: _Reference, name: str, arguments: Sequence[Term]) -> None:
        number = len(r.events)
        r.events.append(Event(f"call {name}", 0, tuple(arguments)))
        r.failing = [*(r.failing or []), symbol(f"call {number} 0")]
        r.words[1:6] = [None] * 5
        r.shadows.update({n: None for n in range(1, 6) if n in r.shadows})
        self._put(r, 0, symbol(f"call {number} 1"), _Shadow(symbol(f"call {number} 2"), symbol(f"call {number} 3")))
        self._forget(r)


def _all_zero(terms: Sequence[Term]) -> z3.BoolRef:
    return z3.And([term == 0 for term in terms])


def _word(value: int) -> z3.BitVecRef:
    return z3.BitVecVal(value, WORD_BITS)


def _name(number: int) -> str:
    return str(number) if number >= 0 else f"slot{-number}"
