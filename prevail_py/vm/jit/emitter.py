"""What the emitters of instructions have in common: registers with their tags, guards, the way to the reference.

Registers have a *home*: a stack slot of the native function, of which LLVM's passes make a register, or for code that
is not optimised their place in the block of the run.  Within a block of code they are the values last computed.

An instruction begins with guards, conditions for what is done in place; where one fails the reference executes the
instruction: registers go to the block of the run, a function of Python is called, and what the instruction may change
comes back.  So a trap is always the reference's own.  Leaving out a guard needs a fact from
:mod:`prevail_py.vm.source.analysis`, which over-approximates the reference on every program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from llvmlite import ir

from prevail_py.isa.instructions import Operand, Register
from prevail_py.isa.semantics import immediate_word
from prevail_py.platforms.model import ProgramType
from prevail_py.vm.jit.algebra import Bit, LlvmAlgebra, Value
from prevail_py.vm.jit.layout import ENTRY_WORDS, NUMBER, UNINITIALISED, Entry, Slot, Status
from prevail_py.vm.source.analysis import May, State

__all__ = ["I64", "POINTER", "Emitter", "Frame", "Site", "constant"]

I64: Final = ir.IntType(64)
POINTER: Final = ir.PointerType()
_RARELY: Final = (1, 2000)


def constant(value: int) -> Value:
    """A word."""
    return ir.Constant(I64, value & 0xFFFFFFFFFFFFFFFF)


class Site(NamedTuple):
    """An instruction: its slot, how many of its block were executed, itself included, the state before it."""

    pc: int
    steps: int
    state: State


@dataclass(slots=True)
class _Known:
    """The current value of a register, where this block of code has it; ``dirty`` where its home has not."""

    word: Value | None = None
    tag: Value | None = None
    dirty: bool = False


@dataclass(slots=True)
class Frame:
    """The homes of registers and tags, where the fuel is, and the basic blocks that every way out leads to.

    ``in_block``: homes are in the block of the run.
    """

    words: list[Value]
    tags: list[Value]
    left: Value
    dispatch: Any
    stop: Any
    in_block: bool


@dataclass(slots=True)
class Emitter:
    """Emits instructions into the native function ``function`` with ``builder``.

    ``leave`` is the IR function that brings the block of the run up to date, ``step`` the one that also lets the
    reference execute an instruction.  ``nested``: a pointer may lead to the frame of a caller.  ``plain``: pointers may
    be stored in the memory.  ``native``: memory is accessed in place; otherwise each access is the reference's.
    """

    builder: Any
    function: Any
    leave: Any
    step: Any
    frame: Frame
    nested: bool
    plain: bool
    native: bool
    program_type: ProgramType | None
    algebra: LlvmAlgebra = field(init=False)
    _known: list[_Known] = field(init=False)
    _slow: Any = None
    _before: list[_Known] = field(init=False)
    _state: State | None = None

    def __post_init__(self) -> None:
        self.algebra = LlvmAlgebra(self.builder)
        self._known = [_Known() for _ in range(11)]
        self._before = self._known

    @property
    def block(self) -> Value:
        """The address of the block of the run."""
        return self.function.args[0]

    # Blocks of code -------------------------------------------------------------------------------------------------

    def start(self, basic_block: Any) -> None:
        """Go on at the start of ``basic_block``: what registers hold is in their homes."""
        self.builder.position_at_end(basic_block)
        self._known = [_Known() for _ in range(11)]

    def flush(self) -> None:
        """Bring homes up to date, before the block of code ends."""
        self._store(self._known)
        for known in self._known:
            known.dirty = False

    def _store(self, values: Sequence[_Known]) -> None:
        for known, word, tag in zip(values, self.frame.words, self.frame.tags, strict=True):
            if known.dirty:
                self.builder.store(known.word, word)
                self.builder.store(known.tag, tag)

    def new_block(self, name: str = "") -> Any:
        """Another basic block of the function."""
        return self.function.append_basic_block(name)

    # Registers ------------------------------------------------------------------------------------------------------

    def word(self, register: Register) -> Value:
        """What is in a register; 0 while it is uninitialised."""
        known = self._known[register]
        if known.word is not None:
            return known.word
        word = self.builder.load(self.frame.words[register], typ=I64)
        if self._slow is None:  # what is loaded after a guard is not there on all ways that lead further
            known.word = word
        return word

    def tag(self, register: Register, state: State) -> Value:
        """Its tag: a constant where the state tells."""
        may = state.registers[register].may
        if may == May.NUMBER:
            return constant(NUMBER)
        if may == May.UNINITIALISED:
            return constant(UNINITIALISED)
        known = self._known[register]
        if known.tag is not None:
            return known.tag
        tag = self.builder.load(self.frame.tags[register], typ=I64)
        if self._slow is None:
            known.tag = tag
        return tag

    def operand(self, operand: Operand) -> Value:
        """The word that an operand stands for."""
        return self.word(operand) if isinstance(operand, Register) else constant(immediate_word(operand.value))

    def set(self, register: Register, word: Value, tag: Value) -> None:
        """Change a register."""
        self._known[register] = _Known(word, tag, True)

    # Guards ---------------------------------------------------------------------------------------------------------

    def begin(self, at: Site, reads: Iterable[Operand]) -> None:
        """Begin an instruction that reads these operands."""
        for operand in reads:
            if isinstance(operand, Register):
                self.word(operand)
                self.tag(operand, at.state)
        self._before = list(self._known)
        self._state = at.state

    def require(self, holds: Bit) -> None:
        """Leave the instruction to the reference unless this condition holds."""
        further = self.new_block()
        self.builder.cbranch(holds, further, self.slow()).set_weights(_RARELY[::-1])
        self.builder.position_at_end(further)

    def slow(self) -> Any:
        """Where the reference executes the instruction."""
        if self._slow is None:
            self._slow = self.new_block("slow")
        return self._slow

    def require_initialised(self, at: Site, *operands: Operand) -> None:
        """Leave the instruction to the reference where one of these registers was never written."""
        for operand in operands:
            if isinstance(operand, Register) and at.state.registers[operand].may & May.UNINITIALISED:
                self.require(self.builder.icmp_unsigned("!=", self.tag(operand, at.state), constant(UNINITIALISED)))

    def require_numbers(self, at: Site, *operands: Operand) -> None:
        """Leave it to the reference unless all of these are numbers."""
        for operand in operands:
            if isinstance(operand, Register) and at.state.registers[operand].may != May.NUMBER:
                self.require(self.builder.icmp_unsigned("==", self.tag(operand, at.state), constant(NUMBER)))

    def finish(self, at: Site, dst: Register | None = None, word: Value = None, tag: Value = None) -> None:
        """End an instruction that was done in place, and changed ``dst`` only.

        ``tag`` is an ``int`` where it is the same on the way through the reference.
        """
        fixed = constant(tag) if isinstance(tag, int) else None
        if self._slow is None:
            if dst is not None:
                self.set(dst, word, tag if fixed is None else fixed)
            return
        slow, self._slow = self._slow, None
        fast_end = self.builder.block
        further = self.new_block()
        self.builder.branch(further)
        self.builder.position_at_end(slow)
        self._call_reference(at, self._before)
        slow_end = self.builder.block
        changed = None
        if dst is not None:
            changed = self.of_run(Slot.WORDS + dst), self.of_run(Slot.TAGS + dst)
        self.builder.branch(further)
        self.builder.position_at_end(further)
        if dst is not None and changed is not None:
            joined = self._phi((word, fast_end), (changed[0], slow_end))
            self.set(dst, joined, self._phi((tag, fast_end), (changed[1], slow_end)) if fixed is None else fixed)

    def _phi(self, *ways: tuple[Value, Any]) -> Value:
        phi = self.builder.phi(I64)
        for value, block in ways:
            phi.add_incoming(value, block)
        return phi

    # The reference --------------------------------------------------------------------------------------------------

    def reference(self, at: Site, changes: Sequence[Register]) -> None:
        """Let the reference execute the instruction, which may change these registers and no other."""
        self._state = at.state
        self._call_reference(at, self._known)
        for register in changes:
            self.set(register, self.of_run(Slot.WORDS + register), self.of_run(Slot.TAGS + register))

    def go_to_reference(self, at: Site) -> None:
        """Let the reference execute the instruction, and go wherever that leads."""
        self._state = at.state
        self._call_reference(at, self._known, moves=True)

    def hand_over(self, pc: int, steps: int) -> None:
        """End native code before the instruction at ``pc``, with ``steps`` of this block executed."""
        self._state = None
        self.builder.call(self.leave, self._arguments(pc, steps, self._known))
        self.builder.ret(constant(Status.HAND_OVER))

    def _call_reference(self, at: Site, known: Sequence[_Known], *, moves: bool = False) -> None:
        status = self.builder.call(self.step, self._arguments(at.pc, at.steps, known))
        ways = self.builder.switch(status, self.frame.stop)
        ways.add_case(constant(Status.MOVED), self.frame.dispatch)
        if not moves:
            further = self.new_block()
            ways.add_case(constant(Status.NEXT), further)
            self.builder.position_at_end(further)

    def _arguments(self, pc: int, steps: int, known: Sequence[_Known]) -> list[Value]:
        left = self.builder.sub(self.builder.load(self.frame.left, typ=I64), constant(steps))
        if self.frame.in_block:
            self._store(known)
            return [self.block, constant(pc), left]
        words, tags = [], []
        for number in range(10):
            may = None if self._state is None else self._state.registers[number].may
            word, tag = known[number].word, known[number].tag
            if may == May.UNINITIALISED:
                word = constant(0)
            if may in (May.UNINITIALISED, May.NUMBER):
                tag = constant(UNINITIALISED if may == May.UNINITIALISED else NUMBER)
            words.append(self.builder.load(self.frame.words[number], typ=I64) if word is None else word)
            tags.append(self.builder.load(self.frame.tags[number], typ=I64) if tag is None else tag)
        return [self.block, constant(pc), left, *words, *tags]

    # Shared memory --------------------------------------------------------------------------------------------------

    def of_run(self, slot: int) -> Value:
        """A word of the block of the run."""
        return self.builder.load(self.builder.gep(self.block, [constant(slot)], source_etype=I64), typ=I64)

    def entry(self, tag: Value) -> Value:
        """The entry of a region in the table."""
        table = self.builder.inttoptr(self.of_run(Slot.TABLE), POINTER)
        return self.builder.gep(table, [self.builder.mul(tag, constant(ENTRY_WORDS))], source_etype=I64)

    def of_entry(self, entry: Value, place: Entry) -> Value:
        """A word of an entry."""
        return self.builder.load(self.builder.gep(entry, [constant(place)], source_etype=I64), typ=I64)

    def live(self, tag: Value) -> Value:
        """1 for a number and for a pointer to what is there still, otherwise 0."""
        return self.of_entry(self.entry(tag), Entry.LIVE)
