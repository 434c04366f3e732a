"""Why an assertion is not proved: the instructions it depends on, the facts that hold there, the fact that is missing.

The slice goes backwards from the failing instruction: along definitions of what the assertion reads (registers and
bytes of the stack, whose addresses come from the invariants), and to the branches that tell something about it, which
are those that compare a value made of the same symbols.  It goes on into callers; what a callee did is one instruction
of its caller.  It is minimal in the sense that each of its instructions had a part in what is known of the assertion's
operands, not that a shorter one would not fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final, TypeAlias

from prevail_py._render import Table
from prevail_py.cfg.graph import Block
from prevail_py.domains.lattice import NO_SYMBOL, Symbol, Term
from prevail_py.isa.disassembler import disassemble
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    Call,
    CallLocal,
    Exit,
    Instruction,
    Load,
    LoadAcquire,
    LoadImmediate64,
    MoveSignExtend,
    Operand,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.semantics import operands
from prevail_py.objects.program import Program, SourceLine
from prevail_py.platforms.model import ArgKind
from prevail_py.verifier.assertions import assertions_of
from prevail_py.verifier.blocks import CallString
from prevail_py.verifier.check import Finding, findings
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import State
from prevail_py.verifier.values import STACK_SIZE, Pointer, RegionKind, Value

if TYPE_CHECKING:
    from prevail_py.verifier.verdict import Failure

__all__ = ["Explanation", "SliceStep", "explain"]

_MAX_STATES: Final = 8
"""States per block that are looked at for the addresses of stores and loads."""

_DEFINITIONS_BACK: Final = 3
"""How far a value's symbols are followed to those that it was computed from."""

Place: TypeAlias = int | tuple[int, int]
"""A register, or (frame, byte) of a stack, from its lowest."""


@dataclass(frozen=True, slots=True)
class SliceStep:
    """An instruction with a part in a failure, in the function that the calls at the slots ``calls`` lead to."""

    pc: int
    instruction: str
    line: SourceLine | None = None
    calls: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one assertion is not proved.

    ``facts`` is what is known of its operands, one fact a line; ``needed`` and ``known`` are the missing fact and the
    nearest to it that holds; ``slice`` is in program order, callers first, and ends with the failing instruction.
    """

    failure: Failure
    facts: tuple[str, ...]
    slice: tuple[SliceStep, ...]
    calls: tuple[int, ...] = ()

    @property
    def needed(self) -> str:
        """The fact that would have been enough; empty where nothing would."""
        return self.failure.needed.partition("; known: ")[0]

    @property
    def known(self) -> str:
        """What holds of that fact's subject; empty for nothing."""
        return self.failure.needed.partition("; known: ")[2]

    def __str__(self) -> str:
        where = self.failure.line or f"slot {self.failure.pc}"
        return "\n".join([f"{where}: {self.failure.message}", *self.lines()])

    def lines(self) -> list[str]:
        """The fact that is missing, those that hold, the instructions between their source lines."""
        lines = []
        if self.needed:
            lines.append(f"  needs {self.needed}" + (f"; known: {self.known}" if self.known else ""))
        lines += [f"  fact  {fact}" for fact in self.facts]
        lines.append("  because of")
        source = ""
        for step in self.slice:
            if step.line is not None and str(step.line) != source:
                lines.append(f"    ; {step.line}: {step.line.text.strip()}")
            source = str(step.line or "")
            lines.append(f"    {step.pc:4}: {step.instruction}")
        return lines

    def _repr_html_(self) -> str:
        rows = tuple(
            (str(step.pc), step.instruction, str(step.line or ""), step.line.text.strip() if step.line else "")
            for step in self.slice
        )
        needed = f"<p>needs <code>{escape(self.needed)}</code></p>" if self.needed else ""
        known = f"<p>known: <code>{escape(self.known)}</code></p>" if self.known else ""
        facts = "".join(f"<li><code>{escape(fact)}</code></li>" for fact in self.facts)
        table = Table(("slot", "instruction", "where", "source"), rows, right=frozenset({0}))
        return f"<p>{escape(self.failure.message)}</p>{needed}{known}<ul>{facts}</ul>{table._repr_html_()}"


def explain(fixpoint: Fixpoint, failure: Failure) -> Explanation:
    """Explain one failure of the program that ``fixpoint`` has solved."""
    place = _place(fixpoint, failure)
    if place is None:
        return Explanation(failure, (), (_step(fixpoint.setting.program, (), failure.pc),))
    calls, state, finding = place
    slicer = _Slicer(fixpoint)
    wanted: set[Place] = {int(register) for register in finding.registers}
    if finding.violation.needed.endswith("initialised on every path"):
        # What was stored is of interest, where for other failures it is only the address.
        wanted |= slicer.touched(failure.pc, state, reads_only=True)
    slicer.start(calls, failure.pc, wanted)
    program = fixpoint.setting.program
    found = sorted(slicer.found, key=lambda step: (len(step[0]), step[0], step[1]))
    # The failing instruction comes last, in whatever function it is.
    steps = [step for step in found if step != (calls, failure.pc)] + [(calls, failure.pc)]
    return Explanation(
        failure,
        tuple(dict.fromkeys(_facts(fixpoint.setting, state, finding))),
        tuple(_step(program, *step) for step in steps),
        calls,
    )


def _step(program: Program, calls: CallString, pc: int) -> SliceStep:
    instruction = program.code[pc]
    text = "" if instruction is None else disassemble(instruction, pc)
    return SliceStep(pc, text, program.line_at(pc), calls)


def _place(fixpoint: Fixpoint, failure: Failure) -> tuple[CallString, State, Finding] | None:
    """Where the failure was found first: the calls that led there and the state."""
    instruction = fixpoint.setting.program.code[failure.pc]
    if instruction is None:
        return None
    block = fixpoint.graph.block_of(failure.pc)
    assertions = assertions_of(instruction)
    for calls, start in sorted(fixpoint.invariants):
        if start != block.start:
            continue
        for state in fixpoint.states_before(calls, failure.pc):
            for finding in findings(fixpoint.setting, state, assertions):
                same = finding.violation.kind.value == failure.assertion
                if same and _unnamed(finding.violation.message) == _unnamed(failure.message):
                    return calls, state, finding
    return None


def _unnamed(message: str) -> str:
    """The message without the names of symbols, which are others each time."""
    return re.sub(r"\b[sn][0-9]+\b", "s", message)


# Facts ------------------------------------------------------------------------------------------------------------


def _symbols(values: Iterable[Value]) -> set[Symbol]:
    found = set()
    for value in values:
        if isinstance(value, Term):
            found.add(value.symbol)
        elif isinstance(value, Pointer):
            found |= {value.base.symbol, value.offset.symbol}
    found.discard(NO_SYMBOL)
    return found


def _related(setting: Setting, symbols: set[Symbol]) -> set[Symbol]:
    """The symbols, and those that they were computed from."""
    found, newest = set(symbols), set(symbols)
    for _ in range(_DEFINITIONS_BACK):
        operands_of = (setting.definitions[symbol][1] for symbol in newest if symbol in setting.definitions)
        newest = {term.symbol for terms in operands_of for term in terms} - found - {NO_SYMBOL}
        found |= newest
    return found


def _facts(setting: Setting, state: State, finding: Finding) -> Iterator[str]:
    blamed = [state.registers[register] for register in finding.registers]
    packet = any(isinstance(value, Pointer) and value.region.kind is RegionKind.PACKET for value in blamed)
    relevant = _related(setting, _symbols(blamed))
    if packet:
        relevant.add(state.packet_size.symbol)
    for number, value in enumerate(state.registers[:10]):
        if number in finding.registers or (_symbols([value]) & relevant):
            yield f"r{number} = {state.show(value)}"
    if packet and state.packet_size.symbol != NO_SYMBOL:
        yield f"packet size = {state.show_term(state.packet_size)}"
    for symbol in sorted(relevant):
        # Ranges are in the lines above.
        yield from re.findall(r"s\d+ - s\d+ <= -?\d+", state.facts.describe(symbol))


# The slice --------------------------------------------------------------------------------------------------------


class _Slicer:
    """Walks backwards from an instruction and collects those that matter, as (calls, slot)."""

    def __init__(self, fixpoint: Fixpoint) -> None:
        self.fixpoint = fixpoint
        self.setting = fixpoint.setting
        self.found: set[tuple[CallString, int]] = set()
        self._states: dict[tuple[CallString, int], dict[int, list[State]]] = {}

    def start(self, calls: CallString, pc: int, wanted: set[Place]) -> None:
        """Collect what the places ``wanted`` before slot ``pc`` depend on."""
        while True:
            entry = self._function(calls, pc, wanted)
            if not calls:
                return
            # On with the caller: what the function was passed, and what it found on callers' stacks.
            depth = len(calls)
            pc, calls = calls[-1], calls[:-1]
            wanted = {p for p in entry if (p in range(1, 6) if isinstance(p, int) else p[0] < depth)}
            if not isinstance(self._instruction(pc), CallLocal):
                wanted |= {1, 2, 3, 4, 5} if entry & {1, 2, 3, 4} else set()
            self.found.add((calls, pc))

    def _function(self, calls: CallString, pc: int, wanted: set[Place]) -> set[Place]:
        graph = self.fixpoint.graph.function_at(pc)
        first = self.fixpoint.graph.block_of(pc)
        at_head: dict[int, set[Place]] = {}
        entry: set[Place] = set()
        waiting: list[tuple[Block, int, set[Place]]] = [(first, first.pcs.index(pc), wanted)]
        while waiting:
            block, until, after = waiting.pop()
            before = self._backwards(calls, block, until, after)
            if block.id == 0:
                entry |= before
            known = at_head.setdefault(block.id, set())
            if until == len(block.pcs) and before <= known and known:
                continue
            known |= before
            for predecessor in graph.predecessors[block.id]:
                other = graph.blocks[predecessor]
                if not known <= at_head.get(~predecessor, set()):
                    at_head.setdefault(~predecessor, set()).update(known)
                    waiting.append((other, len(other.pcs), set(at_head[~predecessor])))
        return entry

    def _backwards(self, calls: CallString, block: Block, until: int, wanted: set[Place]) -> set[Place]:
        wanted = set(wanted)
        states = self._walk(calls, block)
        for pc in reversed(block.pcs[:until]):
            instruction = self._instruction(pc)
            if isinstance(instruction, Branch):
                if any(self._tells(state, instruction, wanted) for state in states[pc]):
                    self.found.add((calls, pc))
                    wanted |= _registers(instruction.dst, instruction.src)
                continue
            written, certain = self._written(pc, instruction, states[pc])
            if not written & wanted and not self._moves_packet(instruction, states[pc], wanted):
                continue
            self.found.add((calls, pc))
            wanted -= written if certain else set(range(6)) if isinstance(instruction, Call | CallLocal) else set()
            for state in states[pc]:
                wanted |= self.touched(pc, state, reads_only=True)
            wanted |= _read(instruction)
            if isinstance(instruction, Call):
                prototype = self.setting.platform.helper(instruction.helper, self.setting.program.program_type)
                wanted |= set(range(1, 1 + (5 if prototype is None else len(prototype.args))))
        return wanted

    def _moves_packet(self, instruction: Instruction, states: Sequence[State], wanted: set[Place]) -> bool:
        """Whether a helper makes a pointer stale that is wanted."""
        if not isinstance(instruction, Call):
            return False
        prototype = self.setting.platform.helper(instruction.helper, self.setting.program.program_type)
        if prototype is None or not prototype.changes_packet:
            return False
        held = (self._content(state, place) for state in states for place in wanted)
        return any(isinstance(value, Pointer) and value.region.kind is RegionKind.PACKET for value in held)

    def _instruction(self, pc: int) -> Instruction:
        instruction = self.setting.program.code[pc]
        assert instruction is not None
        return instruction

    def _walk(self, calls: CallString, block: Block) -> dict[int, list[State]]:
        key = (calls, block.start)
        if key not in self._states:
            walked = self.fixpoint.walk(calls, block)
            self._states[key] = {pc: states[:_MAX_STATES] for pc, states in walked}
        return self._states[key]

    def _tells(self, state: State, branch: Branch, wanted: set[Place]) -> bool:
        """Whether the outcome says something about what is wanted."""
        compared = [state.registers[register] for register in _registers(branch.dst, branch.src)]
        values = [self._content(state, place) for place in wanted]
        symbols = _related(self.setting, _symbols(values))
        of_branch = _symbols(compared)
        if of_branch & (symbols - {state.packet_size.symbol}):
            return True
        # A check of a constant number of bytes is about the packet's size alone.
        in_packet = any(isinstance(value, Pointer) and value.region.kind is RegionKind.PACKET for value in values)
        return in_packet and of_branch == {state.packet_size.symbol}

    def _content(self, state: State, place: Place) -> Value:
        if not isinstance(place, tuple):
            return state.registers[place]
        frame, byte = place
        if frame < len(state.frames):
            for start, (size, value) in state.frames[frame].cells.items():
                if start <= byte < start + size:
                    return value
        return Term(NO_SYMBOL, 0)

    def touched(self, pc: int, state: State, reads_only: bool) -> set[Place]:
        """The bytes of stacks that the instruction reads (or, else, writes), where they are known."""
        match self._instruction(pc):
            case Load(_, base, offset, size) | LoadAcquire(_, base, offset, size):
                return _bytes(state, base, offset, size) if reads_only else set()
            case Store(base, offset, size) | StoreRelease(base, offset, size):
                return set() if reads_only else _bytes(state, base, offset, size)
            case Atomic(_, _, size, base, offset):
                return _bytes(state, base, offset, size)
            case Call(helper):
                prototype = self.setting.platform.helper(helper, self.setting.program.program_type)
                return {
                    place
                    for index, arg in enumerate(() if prototype is None else prototype.args, 1)
                    if (arg.reads if reads_only else arg.writes) or arg.kind is ArgKind.STACK_OR_NULL
                    for place in _bytes(state, Register(index), 0, STACK_SIZE)
                }
            case CallLocal():
                # Whatever the arguments point to may be read, and written.
                return {place for register in range(1, 6) for place in _bytes(state, Register(register), 0, STACK_SIZE)}
            case _:
                return set()

    def _written(self, pc: int, instruction: Instruction, states: Sequence[State]) -> tuple[set[Place], bool]:
        """The places written, and whether nothing of what was there is left in any of them."""
        match instruction:
            case Store() | StoreRelease() | Atomic():
                written: set[Place] = set()
                for state in states:
                    written |= self.touched(pc, state, reads_only=False)
                if isinstance(instruction, Atomic) and instruction.fetch:
                    written.add(int(Register.R0 if instruction.op is AtomicOp.CMPXCHG else instruction.src))
                return written, isinstance(instruction, Store) and len(written) == instruction.size
            case Call() | CallLocal():
                bytes_written = {place for state in states for place in self.touched(pc, state, reads_only=False)}
                return {0, *bytes_written}, False
            case _:
                register = _destination(instruction)
                return set() if register is None else {register}, True


def _registers(*sources: Operand) -> set[int]:
    return {int(source) for source in sources if isinstance(source, Register)}


def _bytes(state: State, base: Register, offset: int, size: int) -> set[Place]:
    value = state.registers[base]
    if not isinstance(value, Pointer) or value.region.kind is not RegionKind.STACK:
        return set()
    known = state.facts.range(value.offset, signed=True)
    lo, hi = max(known.lo + offset, 0), min(known.hi + offset + size, STACK_SIZE)
    return {(value.region.index, byte) for byte in range(lo, hi)}


def _destination(instruction: Instruction) -> int | None:
    destination = getattr(instruction, "dst", None)
    return int(destination) if isinstance(destination, Register) else None


def _read(instruction: Instruction) -> set[int]:
    """The registers from which an instruction makes what it writes."""
    match instruction:
        case Alu(AluOp.MOV, _, _, src):
            return _registers(src)
        case Load(_, base) | LoadAcquire(_, base):
            return {int(base)}
        case Store(base, _, _, src) | StoreRelease(base, _, _, src):
            return _registers(base, src)
        case Atomic(_, _, _, base, _, src):
            return _registers(base, src)
        case CallLocal():
            return {1, 2, 3, 4, 5}
        case Call() | LoadImmediate64() | Exit():
            return set()
        case MoveSignExtend(_, src):
            return {int(src)}
        case Alu():
            return _registers(*operands(instruction))
        case _:
            register = _destination(instruction)
            return set() if register is None else {register}
