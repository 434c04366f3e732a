"""The IR of a proved program: one native function for each of its functions, without checks.

Nothing is undefined in it as long as the facts are right: words are computed by the one text of the semantics over the
algebra of :mod:`prevail_py.vm.jit.algebra`, and an access is to ``region + (address - base of the region)``, which the
facts say is within the region.  In *checked* mode every access tests that before, and the run ends with
:attr:`~prevail_py.vm.jit.proved.layout.Status.TRAPPED` where it is not so.

Memory of different regions is declared to be such, so that LLVM can keep words in registers and vectorise loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from prevail_py.isa.flow import successors, target
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
from prevail_py.isa.semantics import atomic_op, immediate_word, load_op, operands, operation
from prevail_py.objects.region_facts import Place, RegionFact
from prevail_py.platforms.model import FieldKind
from prevail_py.vm.jit.algebra import LlvmAlgebra
from prevail_py.vm.jit.proved import helpers
from prevail_py.vm.jit.proved.layout import Field, MapField, Status, map_field
from prevail_py.vm.jit.proved.plan import Plan, is_static
from prevail_py.vm.jit.proved.text import TEXT, TextBuilder, Word, word
from prevail_py.vm.memory import CONTEXT_BASE, FRAME_SIZE, STACK_BASE, WINDOW, map_object_base
from prevail_py.vm.source.flow import Block
from prevail_py.words import WORD_BITS, Comparison, OpKind, WordOp, compare, evaluate

__all__ = ["Function", "Layout", "Shadow", "Variant"]


@dataclass(frozen=True, slots=True)
class Variant:
    """How a program is compiled.

    ``fuel``: ways back in loops are counted, and the run ends when as many were taken as there was fuel.
    ``checked``: see the module's text.  ``concurrent``: several threads run it at a time, on the same maps.
    """

    fuel: bool = False
    checked: bool = False
    concurrent: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of the maps: the address of the first value of each, as the program sees it, the distance of
    values in memory, how many CPUs have their own, and how many bytes each value has."""

    first: tuple[int, ...]
    stride: tuple[int, ...]
    cpus: tuple[int, ...]
    size: tuple[int, ...]
    single: frozenset[int]
    arrays: frozenset[int]


@dataclass(frozen=True, slots=True)
class Shadow:
    """Where a region is in this process, its address as the program sees it, and in checked mode its size."""

    host: str
    base: Word
    size: Word


@dataclass(slots=True)
class _Known:
    word: Word | None = None
    shadow: Shadow | None = None
    word_dirty: bool = False
    shadow_dirty: bool = False


_SCOPES: Final = ("stack", "packet", "context", "run")
_FIELDS: Final = {
    FieldKind.PACKET: Field.DATA,
    FieldKind.PACKET_END: Field.DATA_END,
    FieldKind.PACKET_META: Field.DATA_META,
}
_ARGUMENTS: Final = {FieldKind.PACKET: "%data", FieldKind.PACKET_END: "%end", FieldKind.PACKET_META: "%meta"}
_Simple: TypeAlias = (
    Alu | MoveSignExtend | Negate | EndianSwap | Load | LoadAcquire | Store | StoreRelease | Atomic | LoadImmediate64
    | Call | CallLocal
)  # fmt: skip
_ATOMICS: Final[Mapping[AtomicOp, str]] = {
    AtomicOp.ADD: "add", AtomicOp.OR: "or", AtomicOp.AND: "and", AtomicOp.XOR: "xor", AtomicOp.XCHG: "xchg",
}  # fmt: skip


class Function:
    """The text of one function of a program."""

    def __init__(self, plan: Plan, layout: Layout, variant: Variant, entry: int) -> None:
        self.plan: Final = plan
        self.layout: Final = layout
        self.variant: Final = variant
        self.entry: Final = entry
        self.b: Final = TextBuilder()
        self.algebra: Final = LlvmAlgebra(self.b, TEXT)
        self.blocks: Final[Mapping[int, Block]] = plan.functions[entry]
        self.main: Final = entry == 0
        self._known: list[_Known] = [_Known() for _ in range(11)]
        # Only the main program's frame is known to Python.
        self._shared_stack: Final = self.main and bool(plan.called)
        self._ends: Final[list[str]] = []

    # The whole ------------------------------------------------------------------------------------------------------

    def text(self, apart: bool = False) -> str:
        """The definition; ``apart``: the main function is not to become a part of what calls it."""
        shadowed = sorted(number for number in self.plan.shadowed if number >= 0)
        lines = self.b.lines
        parameters = _PARAMETERS
        if self.main:
            memory = "ptr noalias %run, ptr noalias %packet, ptr noalias %context"
            kind = "noinline nounwind" if apart else "nounwind"
            head = f"define internal i64 @main({memory}, i64 %data, i64 %end, i64 %meta) {kind} {{"
        else:
            arguments = [f"i64 %a{number}" for number in range(1, 6)]
            for number in shadowed:
                if 1 <= number <= 5:
                    arguments += [f"ptr %h{number}", f"i64 %v{number}", f"i64 %z{number}"]
            head = (
                f"define internal {_RESULT} @f{self.entry}({parameters}, i64 %fp, {', '.join(arguments)}) nounwind {{"
            )
        self.b.label("entry")
        for number in range(10):
            self.b.line(f"%w{number}.home = alloca i64")
        for number in [*shadowed, *sorted(self.plan.shadowed.difference(shadowed))]:
            name = _home(number)
            self.b.line(f"%h{name}.home = alloca ptr")
            self.b.line(f"%v{name}.home = alloca i64")
            if self.variant.checked:
                self.b.line(f"%z{name}.home = alloca i64")
        if self._shared_stack:
            self.b.line(f"%stack = load ptr, ptr {self.field_pointer(Field.STACK)}, align 8")
        else:
            self.b.line(f"%stack = alloca [{FRAME_SIZE} x i8], align 16")
        for index in sorted(self.layout.single):
            self.b.line(f"%m{index} = load ptr, ptr {self.field_pointer(map_field(index, MapField.VALUES))}, align 8")
        if self.variant.fuel:
            self.b.line("%fuel = alloca i64")
            self._take_fuel()
        if self.main:
            self.put(1, word(CONTEXT_BASE), self.context_shadow())
        else:
            for number in range(1, 6):
                shadow = None
                if number in self.plan.shadowed:
                    shadow = Shadow(f"%h{number}", Word(f"%v{number}", 64), Word(f"%z{number}", 64))
                self.put(number, Word(f"%a{number}", 64), shadow)
        self._flush()
        self.b.line(f"br label %s{self.entry}")
        for start, block in self.blocks.items():
            self._known = [_Known() for _ in range(11)]
            self.b.label(f"s{start}")
            self._block(block)
        return "\n".join([head, *lines, *self._ends, "}", ""])

    def _block(self, block: Block) -> None:
        code = self.plan.code.instructions
        for pc in block.pcs:
            if pc not in self.plan.facts.reached:
                self.stop(Status.UNREACHABLE, pc)
                return
            instruction = code[pc]
            assert instruction is not None
            match instruction:
                case Branch(comparison, width, dst, src):
                    taken = self.condition(comparison, dst, src, width)
                    fall_through, jump = successors(code, pc)
                    self._flush()
                    ways = [self._way(pc, block, to) for to in (jump, fall_through)]
                    self.b.line(f"br i1 {taken.text}, label %{ways[0]}, label %{ways[1]}")
                    return
                case Jump():
                    self._flush()
                    self.b.line(f"br label %{self._way(pc, block, target(pc, instruction))}")
                    return
                case Exit():
                    self._exit()
                    return
                case MayGoto() | CallKfunc() | CallRegister() | LoadPacket() | AddressSpaceCast():
                    raise AssertionError(f"no proved code for {instruction}")
                case _:
                    self.instruction(pc, instruction)
        self._flush()
        self.b.line(f"br label %{self._way(block.pcs[-1], block, block.successors[0])}")

    def condition(self, comparison: Comparison, dst: Register, src: Operand, width: int) -> Word:
        """Whether a branch is taken."""
        result: Word = compare(self.algebra, comparison, self.word(dst), self.operand(src), width)
        return result

    def _way(self, pc: int, block: Block, to: int) -> str:
        """The label where control goes on at slot ``to``; on the way back in a loop that costs a unit of fuel."""
        if not self.variant.fuel or to > pc:
            return f"s{to}"
        label = f"back{pc}to{to}"
        # Counted down to zero by one, so that LLVM knows how many turns there may be, and still vectorises the loop.
        self._ends.extend(
            [
                f"{label}:",
                f"  %{label}.left = load i64, ptr %fuel, align 8",
                f"  %{label}.less = sub i64 %{label}.left, 1",
                f"  store i64 %{label}.less, ptr %fuel, align 8",
                f"  %{label}.short = icmp eq i64 %{label}.less, 0",
                f"  br i1 %{label}.short, label %{label}.out, label %s{to}, !prof !0",
                f"{label}.out:",
                *self._stop_lines(Status.OUT_OF_FUEL, to, label),
            ]
        )
        return label

    def _exit(self) -> None:
        if self.main:
            self.set_field(Field.RESULT, self.word(0))
            self.b.line(f"ret i64 {int(Status.RETURNED)}")
            return
        self._give_fuel()
        result = self.b.value(f"insertvalue {_RESULT} poison, i64 {int(Status.RETURNED)}, 0")
        result = self.b.value(f"insertvalue {_RESULT} {result}, i64 {self.word(0).text}, 1")
        shadow = self.shadow(0) if 0 in self.plan.shadowed else Shadow("null", word(0), word(0))
        for place, (kind, text) in enumerate(
            (("ptr", shadow.host), ("i64", shadow.base.text), ("i64", shadow.size.text)), 2
        ):
            result = self.b.value(f"insertvalue {_RESULT} {result}, {kind} {text}, {place}")
        self.b.line(f"ret {_RESULT} {result}")

    def stop(self, status: Status, pc: int) -> None:
        """End the run here."""
        self.b.lines.extend(self._stop_lines(status, pc, self.b.name()[1:]))

    def _stop_lines(self, status: Status, pc: int, name: str) -> list[str]:
        lines = [
            f"  %{name}.pc = getelementptr i64, ptr %run, i64 {int(Field.PC)}",
            f"  store i64 {pc}, ptr %{name}.pc, align 8{self.scope('run')}",
        ]
        return [*lines, self._return_status(str(int(status)))]

    def _return_status(self, status: str) -> str:
        if self.main:
            return f"  ret i64 {status}"
        if status.startswith("%"):
            name = self.b.name()
            return f"  {name} = insertvalue {_RESULT} zeroinitializer, i64 {status}, 0\n  ret {_RESULT} {name}"
        return f"  ret {_RESULT} {{ i64 {status}, i64 0, ptr null, i64 0, i64 0 }}"

    def _take_fuel(self) -> None:
        """Have what is left of the fuel in the function's own variable, where no pointer leads."""
        if self.variant.fuel:
            self.b.line(f"store i64 {self.field(Field.FUEL).text}, ptr %fuel, align 8")

    def _give_fuel(self) -> None:
        """Have it in the block of the run, for another function."""
        if self.variant.fuel:
            self.set_field(Field.FUEL, Word(self.b.value("load i64, ptr %fuel, align 8"), 64))

    def is_array(self, index: int) -> bool:
        """Whether a map is an array, shared or per CPU."""
        return index in self.layout.arrays

    # Registers ------------------------------------------------------------------------------------------------------

    @property
    def frame_base(self) -> Word:
        """The address of the own frame, as the program sees it."""
        return word(STACK_BASE) if self.main else Word("%fp", 64)

    def word(self, register: int) -> Word:
        """What is in a register."""
        known = self._known[register]
        if known.word is None:
            if register == Register.R10:
                known.word = self.b.add(self.frame_base, word(FRAME_SIZE))
                if self.main:
                    known.word = word(STACK_BASE + FRAME_SIZE)
            else:
                known.word = Word(self.b.value(f"load i64, ptr %w{register}.home, align 8"), 64)
        return known.word

    def operand(self, operand: Operand) -> Word:
        """The word that an operand stands for."""
        return self.word(operand) if isinstance(operand, Register) else word(immediate_word(operand.value))

    def shadow(self, register: int) -> Shadow:
        """Where what a register points to is."""
        if register == Register.R10:
            return self.stack_shadow()
        known = self._known[register]
        if known.shadow is None:
            known.shadow = self._home_shadow(register)
        return known.shadow

    def _home_shadow(self, number: int) -> Shadow:
        name = _home(number)
        host = self.b.value(f"load ptr, ptr %h{name}.home, align 8")
        base = Word(self.b.value(f"load i64, ptr %v{name}.home, align 8"), 64)
        size = word(0)
        if self.variant.checked:
            size = Word(self.b.value(f"load i64, ptr %z{name}.home, align 8"), 64)
        return Shadow(host, base, size)

    def _put_home_shadow(self, number: int, shadow: Shadow) -> None:
        name = _home(number)
        self.b.line(f"store ptr {shadow.host}, ptr %h{name}.home, align 8")
        self.b.line(f"store i64 {shadow.base.text}, ptr %v{name}.home, align 8")
        if self.variant.checked:
            self.b.line(f"store i64 {shadow.size.text}, ptr %z{name}.home, align 8")

    def put(self, register: int, value: Word, shadow: Shadow | None = None) -> None:
        """Change a register; ``shadow`` says where a pointer's region is, if the register is to know that.

        A number has no shadow, and what is left of an old one is never looked at.
        """
        known = self._known[register] = _Known(value, None, True)
        if shadow is not None and register in self.plan.shadowed:
            known.shadow, known.shadow_dirty = shadow, True

    def _flush(self) -> None:
        """Bring homes up to date, before a block ends."""
        for number, known in enumerate(self._known):
            if known.word_dirty and known.word is not None:
                self.b.line(f"store i64 {known.word.text}, ptr %w{number}.home, align 8")
            if known.shadow_dirty and known.shadow is not None:
                self._put_home_shadow(number, known.shadow)

    def stack_shadow(self) -> Shadow:
        """The own frame."""
        return Shadow("%stack", self.frame_base, word(FRAME_SIZE))

    def context_shadow(self) -> Shadow:
        """The context."""
        assert self.plan.code.program_type is not None
        return Shadow("%context", word(CONTEXT_BASE), word(self.plan.code.program_type.context_size))

    def packet_shadow(self) -> Shadow:
        """The packet.  In checked mode that is what may be accessed.

        Otherwise nothing is subtracted from addresses: ``%packet`` is where the packet's frame is, less its address for
        the program.  A constant base would not cancel where paths join, and be added again to each address.
        """
        if not self.variant.checked:
            return Shadow("%packet", word(0), word(0))
        start = self.extent(FieldKind.PACKET_META)
        host = self.b.value(f"getelementptr i8, ptr %packet, i64 {start.text}")
        return Shadow(host, start, self.b.sub(self.extent(FieldKind.PACKET_END), start))

    # Memory of the run ----------------------------------------------------------------------------------------------

    def field_pointer(self, field: int) -> str:
        """The address of a word of the block of the run."""
        return self.b.value(f"getelementptr i64, ptr %run, i64 {int(field)}")

    def field(self, field: int) -> Word:
        """A word of the block of the run."""
        return Word(self.b.value(f"load i64, ptr {self.field_pointer(field)}, align 8{self.scope('run')}"), 64)

    def extent(self, kind: FieldKind) -> Word:
        """Where the packet begins or ends: as the main function was told, unless a helper may have changed it."""
        if self.main and not self.plan.called:
            return Word(_ARGUMENTS[kind], 64)
        return self.field(_FIELDS[kind])

    def set_field(self, field: int, value: Word) -> None:
        """Change a word of the block of the run."""
        self.b.line(f"store i64 {value.text}, ptr {self.field_pointer(field)}, align 8{self.scope('run')}")

    def host_field(self, field: int) -> str:
        """A pointer in the block of the run."""
        return self.b.value(f"load ptr, ptr {self.field_pointer(field)}, align 8{self.scope('run')}")

    def scope(self, name: str) -> str:
        """What says that an access is to one kind of memory and to no other; ``""`` for what may be of any."""
        number = self._scope_number(name)
        return "" if number is None else f", !alias.scope !{2 * number + 10}, !noalias !{2 * number + 11}"

    def _scope_number(self, name: str) -> int | None:
        if name in _SCOPES:
            return _SCOPES.index(name)
        return len(_SCOPES) + int(name[3:]) if name.startswith("map") else None

    def place(self, pc: int, register: int, offset: int, size: int | None) -> tuple[str, str]:
        """Where an access is, and the scope of its region; ``size`` is None for what is not to be checked here."""
        fact = self.plan.fact(pc, register)
        scope = self._scope_of(fact)
        if fact.place is Place.STACK and fact.offset is not None and not self.variant.checked:
            where = fact.offset + offset
            if not 0 <= where <= FRAME_SIZE - (size or 0):
                raise AssertionError(f"slot {pc}: not within the frame")
            return self.b.value(f"getelementptr inbounds i8, ptr %stack, i64 {where}"), scope
        shadow = self._region_of(fact, register)
        distance = self.word(register)
        if shadow.base != word(0):
            distance = self.b.sub(distance, shadow.base)
        if offset:
            distance = self.b.add(distance, word(offset))
        if self.variant.checked and size is not None:
            self._check(pc, shadow, distance, size)
        return self.b.value(f"getelementptr i8, ptr {shadow.host}, i64 {distance.text}"), scope

    def _scope_of(self, fact: RegionFact) -> str:
        match fact.place:
            case Place.STACK:
                return self.scope("stack")
            case Place.PACKET:
                return self.scope("packet")
            case Place.CONTEXT:
                return self.scope("context")
            case Place.MAP_VALUE:
                return self.scope(f"map{fact.index}")
            case _:
                return ""

    def _region_of(self, fact: RegionFact, register: int) -> Shadow:
        if not is_static(fact, self.layout.single):
            return self.shadow(register)
        match fact.place:
            case Place.STACK:
                return self.stack_shadow()
            case Place.PACKET:
                return self.packet_shadow()
            case Place.CONTEXT:
                return self.context_shadow()
            case _:
                return self.value_shadow(fact.index)

    def value_shadow(self, index: int) -> Shadow:
        """The only value of a map."""
        return Shadow(f"%m{index}", word(self.layout.first[index]), word(self.layout.size[index]))

    def _check(self, pc: int, shadow: Shadow, distance: Word, size: int) -> None:
        """End the run unless an access is within its region."""
        b = self.b
        # No region is so large, nor so near to another one, that a difference of words could wrap into it.
        end = b.add(distance, word(size))
        within = b.and_(b.icmp_signed(">=", distance, word(0)), b.icmp_signed("<=", end, shadow.size))
        good, bad = b.name()[1:], b.name()[1:]
        b.line(f"br i1 {within.text}, label %{good}, label %{bad}")
        b.label(bad)
        self.stop(Status.TRAPPED, pc)
        b.label(good)

    # Instructions ---------------------------------------------------------------------------------------------------

    def instruction(self, pc: int, instruction: _Simple) -> None:
        """An instruction after which the next one follows."""
        match instruction:
            case Alu() | MoveSignExtend() | Negate() | EndianSwap():
                self.compute(pc, instruction)
            case Load(dst, base, offset, size, signed):
                self.load(pc, dst, base, offset, size, signed)
            case LoadAcquire(dst, base, offset, size):
                self.load(pc, dst, base, offset, size, False)
            case Store(base, offset, size, src):
                self.store(pc, base, offset, size, src)
            case StoreRelease(base, offset, size, src):
                self.store(pc, base, offset, size, src, " release")
            case Atomic():
                self.atomic(pc, instruction)
            case LoadImmediate64(dst, low, high, pseudo):
                if pseudo is Pseudo.IMMEDIATE:
                    self.put(dst, word(instruction.value))
                elif pseudo is Pseudo.MAP_INDEX:
                    self.put(dst, word(map_object_base(low)))
                else:
                    host = self.host_field(map_field(low, MapField.VALUES))
                    self.put(
                        dst,
                        word(self.layout.first[low] + (high & 0xFFFFFFFF)),
                        Shadow(host, word(self.layout.first[low]), word(self.layout.size[low])),
                    )
            case Call():
                # Translation validation (prevail_py.verifier.translation) takes what is between marks as one step.
                self.b.lines.append(f"; helper {pc}")
                helpers.call(self, pc)
                shadow = self._known[0].shadow
                names = [] if shadow is None else [shadow.host, shadow.base.text]
                self.b.lines.append(f"; end {' '.join([self.word(0).text, *names])}")
            case CallLocal():
                self._call(pc, instruction)
            case _:
                assert_never(instruction)

    def compute(self, pc: int, instruction: Alu | MoveSignExtend | Negate | EndianSwap) -> None:
        """``dst = op(sources)``, or a copy of the only source."""
        op, sources, dst = operation(instruction), operands(instruction), instruction.dst
        words = tuple(self.operand(source) for source in sources)
        shadow = None
        if dst in self.plan.shadowed:
            shadow = self._moved_shadow(pc, dst, op, sources)
        self.put(dst, words[0] if op is None else self.evaluate(op, words), shadow)

    def evaluate(self, op: WordOp, words: tuple[Word, ...]) -> Word:
        """What an operation computes."""
        result: Word = evaluate(self.algebra, op, words)
        return result

    def _moved_shadow(self, pc: int, dst: Register, op: WordOp | None, sources: Sequence[Operand]) -> Shadow | None:
        """The shadow of what is computed, should it be a pointer."""
        if op is None:
            source = sources[0]
            return self.shadow(source) if isinstance(source, Register) else None
        if op.width != WORD_BITS or op.kind not in (OpKind.ADD, OpKind.SUB):
            return None
        source = sources[1]
        if op.kind is OpKind.ADD and pc in self.plan.facts.from_source and isinstance(source, Register):
            return self.shadow(source)
        return self.shadow(dst)

    def load(self, pc: int, dst: Register, base: Register, offset: int, size: int, signed: bool) -> None:
        """``dst = *(base + offset)``."""
        fact, program_type = self.plan.fact(pc, base), self.plan.code.program_type
        assert program_type is not None
        if fact.place is Place.CONTEXT:
            assert fact.offset is not None
            kind = program_type.context_read(fact.offset + offset, size)
            if kind in _FIELDS:
                self.put(dst, self.extent(kind), self.packet_shadow())
                return
        pointer, scope = self.place(pc, base, offset, size)
        value = self._read(pointer, size, scope)
        shadow = None
        if pc in self.plan.facts.fills and dst in self.plan.shadowed:
            assert fact.offset is not None
            shadow = self._home_shadow(fact.offset + offset - FRAME_SIZE)
        op = load_op(size, signed=True) if signed else None
        self.put(dst, value if op is None else self.evaluate(op, (value,)), shadow)

    def _read(self, pointer: str, size: int, scope: str) -> Word:
        # Bytes in memory may not be aligned, and then an access cannot be atomic: nor is it in the reference.
        value = Word(self.b.value(f"load i{8 * size}, ptr {pointer}, align 1{scope}"), 8 * size)
        result: Word = self.algebra.zero_extend(value, 8 * size, WORD_BITS)
        return result

    def store(self, pc: int, base: Register, offset: int, size: int, src: Operand, order: str = "") -> None:
        """``*(base + offset) = src``."""
        value = self.operand(src)
        pointer, scope = self.place(pc, base, offset, size)
        if order:
            self.b.line("fence release")
        self._write(pointer, size, value, scope)
        fact = self.plan.fact(pc, base)
        if pc in self.plan.facts.spills and fact.offset is not None and isinstance(src, Register):
            slot = fact.offset + offset - FRAME_SIZE
            if slot in self.plan.shadowed:
                self._put_home_shadow(slot, self.shadow(src))

    def _write(self, pointer: str, size: int, value: Word, scope: str) -> None:
        part: Word = self.algebra.truncate(value, WORD_BITS, 8 * size)
        self.b.line(f"store i{8 * size} {part.text}, ptr {pointer}, align 1{scope}")

    def atomic(self, pc: int, instruction: Atomic) -> None:
        """An atomic operation; on the own frame, which no other thread knows, a load and a store."""
        op, size, src = instruction.op, instruction.size, instruction.src
        fact = self.plan.fact(pc, instruction.base)
        pointer, scope = self.place(pc, instruction.base, instruction.offset, size)
        operand, expected = self.word(src), self.word(0) if op is AtomicOp.CMPXCHG else word(0)
        if fact.place is Place.STACK:
            old = self._plain_atomic(instruction, pointer, scope, operand, expected)
        else:
            old = self._real_atomic(instruction, pointer, scope, operand, expected)
        if instruction.fetch:
            self.put(Register.R0 if op is AtomicOp.CMPXCHG else src, old)

    def _plain_atomic(self, instruction: Atomic, pointer: str, scope: str, operand: Word, expected: Word) -> Word:
        size = instruction.size
        old = self._read(pointer, size, scope)
        word_op = atomic_op(instruction.op, size)
        new = operand if word_op is None else self.evaluate(word_op, (old, operand))
        if instruction.op is AtomicOp.CMPXCHG:
            same = compare(self.algebra, Comparison.EQ, old, expected, 8 * size)
            new = self.b.select(same, new, old)
        self._write(pointer, size, new, scope)
        return old

    def _real_atomic(self, instruction: Atomic, pointer: str, scope: str, operand: Word, expected: Word) -> Word:
        """An operation of the machine where the address is aligned, as it must be for that; a plain one otherwise."""
        b, width, size = self.b, 8 * instruction.size, instruction.size
        aligned, crooked, further = (b.name()[1:] for _ in range(3))
        address = Word(b.value(f"ptrtoint ptr {pointer} to i64"), 64)
        straight = b.icmp_unsigned("==", b.and_(address, word(size - 1)), word(0))
        b.line(f"br i1 {straight.text}, label %{aligned}, label %{crooked}")
        b.label(aligned)
        part = self.algebra.truncate(operand, WORD_BITS, width)
        if instruction.op is AtomicOp.CMPXCHG:
            wanted = self.algebra.truncate(expected, WORD_BITS, width)
            pair = b.value(
                f"cmpxchg ptr {pointer}, i{width} {wanted.text}, i{width} {part.text} seq_cst seq_cst, "
                f"align {size}{scope}"
            )
            old = Word(b.value(f"extractvalue {{ i{width}, i1 }} {pair}, 0"), width)
        else:
            name = _ATOMICS[instruction.op]
            old = Word(
                b.value(f"atomicrmw {name} ptr {pointer}, i{width} {part.text} seq_cst, align {size}{scope}"), width
            )
        first = self.algebra.zero_extend(old, width, WORD_BITS)
        b.line(f"br label %{further}")
        b.label(crooked)
        second = self._plain_atomic(instruction, pointer, scope, operand, expected)
        b.line(f"br label %{further}")
        b.label(further)
        return Word(b.value(f"phi i64 [ {first.text}, %{aligned} ], [ {second.text}, %{crooked} ]"), 64)

    def _call(self, pc: int, instruction: CallLocal) -> None:
        """Call a subprogram; R1 to R5 cannot be used after it."""
        b = self.b
        arguments = [f"i64 {self.word(number).text}" for number in range(1, 6)]
        for number in range(1, 6):
            if number in self.plan.shadowed:
                shadow = self.shadow(number)
                arguments += [f"ptr {shadow.host}", f"i64 {shadow.base.text}", f"i64 {shadow.size.text}"]
        frame = b.add(self.frame_base, word(WINDOW))
        self._give_fuel()
        callee = target(pc, instruction)
        result = b.value(
            f"call {_RESULT} @f{callee}(ptr %run, ptr %packet, ptr %context, i64 {frame.text}, {', '.join(arguments)})"
        )
        status = Word(b.value(f"extractvalue {_RESULT} {result}, 0"), 64)
        further, out = b.name()[1:], b.name()[1:]
        b.line(f"br i1 {b.icmp_unsigned('==', status, word(0)).text}, label %{further}, label %{out}")
        b.label(out)
        b.lines.append(self._return_status(status.text))
        b.label(further)
        self._take_fuel()
        shadow = Shadow(
            b.value(f"extractvalue {_RESULT} {result}, 2"),
            Word(b.value(f"extractvalue {_RESULT} {result}, 3"), 64),
            Word(b.value(f"extractvalue {_RESULT} {result}, 4"), 64),
        )
        self.clobber_arguments()
        self.put(0, Word(b.value(f"extractvalue {_RESULT} {result}, 1"), 64), shadow)

    def clobber_arguments(self) -> None:
        """After a call nothing may be read from R1 to R5."""
        for number in range(1, 6):
            self._known[number] = _Known(word(0), None, False)


def _home(number: int) -> str:
    """The name of the place where the shadow of a register or of a stack slot is kept."""
    return str(number) if number >= 0 else f"slot{-number}"


_PARAMETERS: Final = "ptr %run, ptr %packet, ptr %context"
_RESULT: Final = "{ i64, i64, ptr, i64, i64 }"
"""Of a subprogram: its status, R0, and R0's shadow."""


def scopes(maps: int) -> list[str]:
    """The metadata that :meth:`Function.scope` speaks of, for a program with so many maps."""
    count = len(_SCOPES) + maps
    lines = ['!0 = !{!"branch_weights", i32 1, i32 2000}', "!1 = distinct !{!1}"]
    first = 10 + 2 * count
    for number in range(count):
        lines.append(f"!{first + number} = distinct !{{!{first + number}, !1}}")
        lines.append(f"!{10 + 2 * number} = !{{!{first + number}}}")
        others = ", ".join(f"!{first + other}" for other in range(count) if other != number)
        lines.append(f"!{11 + 2 * number} = !{{{others}}}")
    return lines
