"""What is known while the text of one function is written: its registers, and how the block of the run is reached.

A register has a *home*, a variable of the function, and within a basic block what was last put in it is known by name.
Homes are brought up to date where a block ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prevail_py.isa.instructions import MayGoto, Operand, Register
from prevail_py.isa.semantics import immediate_word
from prevail_py.platforms.model import FieldKind
from prevail_py.vm.jit.algebra import LlvmAlgebra
from prevail_py.vm.jit.proved.layout import Field, Status
from prevail_py.vm.jit.proved.model import Layout, Shadow, Variant
from prevail_py.vm.jit.proved.plan import Plan
from prevail_py.vm.jit.proved.text import TEXT, TextBuilder, Word, word
from prevail_py.vm.memory import CONTEXT_BASE, FRAME_SIZE, STACK_BASE
from prevail_py.vm.source.flow import Block

__all__ = ["MAY_GOTO", "PACKET_FIELDS", "RESULT", "Emission", "home", "scopes"]


@dataclass(slots=True)
class _Known:
    word: Word | None = None
    shadow: Shadow | None = None
    word_dirty: bool = False
    shadow_dirty: bool = False


_SCOPES: Final = ("stack", "packet", "context", "run")
PACKET_FIELDS: Final = {
    FieldKind.PACKET: Field.DATA,
    FieldKind.PACKET_END: Field.DATA_END,
    FieldKind.PACKET_META: Field.DATA_META,
}
"""Where the block of the run says where the packet is, by what a field of the context means."""

_ARGUMENTS: Final = {FieldKind.PACKET: "%data", FieldKind.PACKET_END: "%end", FieldKind.PACKET_META: "%meta"}

MAY_GOTO: Final = "%may_goto.home"
"""The variable with how often this call's ``may_goto`` instructions may still fall through."""

RESULT: Final = "{ i64, i64, ptr, i64, i64 }"
"""Of a subprogram: its status, R0, and R0's shadow."""


class Emission:
    """The state of writing one function of a program: ``b`` has its lines, ``ends`` those behind its blocks."""

    def __init__(self, plan: Plan, layout: Layout, variant: Variant, entry: int) -> None:
        self.plan: Final = plan
        self.layout: Final = layout
        self.variant: Final = variant
        self.entry: Final = entry
        self.b: Final = TextBuilder()
        self.algebra: Final = LlvmAlgebra(self.b, TEXT)
        self.blocks: Final[Mapping[int, Block]] = plan.functions[entry]
        self.main: Final = entry == 0
        self.ends: Final[list[str]] = []
        self._known: list[_Known] = [_Known() for _ in range(11)]

    def begin_block(self, name: str) -> None:
        """Begin a basic block of the program: what is in the registers, their homes say."""
        self._known = [_Known() for _ in range(11)]
        self.b.label(name)

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
            known.shadow = self.home_shadow(register)
        return known.shadow

    def known_shadow(self, register: int) -> Shadow | None:
        """The shadow that was put beside a register in this block, if one was."""
        return self._known[register].shadow

    def home_shadow(self, number: int) -> Shadow:
        """What is kept of where the pointer in a register, or in a stack slot, leads."""
        name = home(number)
        host = self.b.value(f"load ptr, ptr %h{name}.home, align 8")
        base = Word(self.b.value(f"load i64, ptr %v{name}.home, align 8"), 64)
        size = word(0)
        if self.variant.checked:
            size = Word(self.b.value(f"load i64, ptr %z{name}.home, align 8"), 64)
        return Shadow(host, base, size)

    def put_home_shadow(self, number: int, shadow: Shadow) -> None:
        """Change what :meth:`home_shadow` gives."""
        name = home(number)
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

    def flush(self) -> None:
        """Bring homes up to date, before a block ends."""
        for number, known in enumerate(self._known):
            if known.word_dirty and known.word is not None:
                self.b.line(f"store i64 {known.word.text}, ptr %w{number}.home, align 8")
            if known.shadow_dirty and known.shadow is not None:
                self.put_home_shadow(number, known.shadow)

    def clobber_arguments(self) -> None:
        """After a call nothing may be read from R1 to R5."""
        for number in range(1, 6):
            self._known[number] = _Known(word(0), None, False)

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

    # The block of the run -------------------------------------------------------------------------------------------

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
        return self.field(PACKET_FIELDS[kind])

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

    @property
    def has_may_goto(self) -> bool:
        """Whether the function has such an instruction."""
        code = self.plan.code.instructions
        return any(isinstance(code[pc], MayGoto) for block in self.blocks.values() for pc in block.pcs)

    def may_goto(self) -> Word:
        """Whether a ``may_goto`` falls through, which counts."""
        left = Word(self.b.value(f"load i64, ptr {MAY_GOTO}, align 8"), 64)
        more = self.b.icmp_unsigned("!=", left, word(0))
        less = self.b.sub(left, self.b.zext(more, 64))
        self.b.line(f"store i64 {less.text}, ptr {MAY_GOTO}, align 8")
        return more

    # Ends and fuel --------------------------------------------------------------------------------------------------

    def stop(self, status: Status, pc: int) -> None:
        """End the run here."""
        self.b.lines.extend(self.stop_lines(status, pc, self.b.name()[1:]))

    def stop_lines(self, status: Status, pc: int, name: str) -> list[str]:
        """The instructions that end the run, with names that begin with ``name``."""
        lines = [
            f"  %{name}.pc = getelementptr i64, ptr %run, i64 {int(Field.PC)}",
            f"  store i64 {pc}, ptr %{name}.pc, align 8{self.scope('run')}",
        ]
        return [*lines, self.return_status(str(int(status)))]

    def return_status(self, status: str) -> str:
        """The instruction that leaves the function for a reason other than its own end."""
        if self.main:
            return f"  ret i64 {status}"
        if status.startswith("%"):
            name = self.b.name()
            return f"  {name} = insertvalue {RESULT} zeroinitializer, i64 {status}, 0\n  ret {RESULT} {name}"
        return f"  ret {RESULT} {{ i64 {status}, i64 0, ptr null, i64 0, i64 0 }}"

    def take_fuel(self) -> None:
        """Have what is left of the fuel in the function's own variable, where no pointer leads."""
        if self.variant.fuel:
            self.b.line(f"store i64 {self.field(Field.FUEL).text}, ptr %fuel, align 8")

    def give_fuel(self) -> None:
        """Have it in the block of the run, for another function."""
        if self.variant.fuel:
            self.set_field(Field.FUEL, Word(self.b.value("load i64, ptr %fuel, align 8"), 64))


def home(number: int) -> str:
    """The name of the place where the shadow of a register or of a stack slot is kept."""
    return str(number) if number >= 0 else f"slot{-number}"


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
