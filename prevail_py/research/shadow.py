"""Run a program and keep, beside every value, the term that says how it follows from the inputs.

The reference interpreter runs the program on a scenario while an observer computes a *shadow* of registers and memory:
a Z3 term where the value depends on an input, nothing where it does not.  What an instruction computes is read from the
one semantics with :class:`~prevail_py.verifier.smt.algebra.Z3Algebra`.  At every branch that depends on inputs the
condition that held is recorded; together they say which inputs take the same path.

All addresses are those of the run.  They do not depend on inputs, so that a pointer into the packet is a number plus a
term and its comparison with ``data_end`` a condition on the size.

Whatever the shadow does not follow it takes for constant: the results of most helpers, memory that a helper wrote, the
place that an access with a computed address hit (which is recorded as a condition that cannot be turned).  So a path
may be described too narrowly or, where a helper hides a dependence, wrongly.  That costs reach, never soundness: every
scenario made from it is simply run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import z3

from prevail_py.isa import flow
from prevail_py.isa.instructions import (
    Alu,
    Atomic,
    AtomicOp,
    Branch,
    Call,
    CallLocal,
    EndianSwap,
    Exit,
    Load,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.semantics import immediate_word, load_op
from prevail_py.objects.program import Program
from prevail_py.platforms.model import FieldKind
from prevail_py.research.paths import SIZE, Condition, Input, InputKind, Lookup, Term, Trace
from prevail_py.verifier.smt.algebra import Predicate, Word, Z3Algebra
from prevail_py.vm.machine import Frame, Machine
from prevail_py.vm.maps import has_values
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.targets import MapOfMaps
from prevail_py.vm.memory import Region, RegionKind
from prevail_py.vm.scenario import Scenario, play
from prevail_py.words import INT, WordOp, compare, evaluate

__all__ = ["Shadow", "trace"]

_LOOKUP, _UPDATE, _DELETE = 1, 2, 3
_LOAD_BYTES: Final = {26: -14, 189: -22}  # skb_load_bytes, xdp_load_bytes: what they return beyond the packet
_GET_LENGTH: Final = 188  # xdp_get_buff_len
_MASK: Final = (1 << 64) - 1
_WINDOW: Final = 32  # regions that begin in different windows of this many bits are different: see vm/memory.py
_SOME_ADDRESS: Final = 1 << 48  # what a look-up that failed would have returned: only that it is not null matters


def trace(program: Program, scenario: Scenario, context: z3.Context, limit: int = 1000) -> Trace:
    """Run ``program`` on ``scenario``; the shadow is no longer followed after ``limit`` conditions."""
    result = Trace(scenario, Z3Algebra(context), sizes=tuple(spec.value_size for spec in program.maps))
    play(program, scenario, (Shadow(program, result, limit),))
    return result


class _Source(NamedTuple):
    """Memory that holds inputs: ``initial`` bytes from ``base`` on, the input of the first being ``first``."""

    base: int
    initial: bytes
    first: Input


class Shadow:
    """The observer: called before each instruction, it does in terms what the instruction is about to do.

    ``registers`` holds the term of each register that depends on inputs.
    """

    def __init__(self, program: Program, result: Trace, limit: int) -> None:
        self.program = program
        self.trace = result
        self.algebra = result.algebra
        self._limit = limit
        self.stopped = False
        self._pending: Callable[[Machine], None] | None = None
        self.registers: list[Term | None] = [None] * 11
        self._saved: list[list[Term | None]] = []
        self._bytes: dict[int, tuple[int, Term | None]] = {}
        self._sources: dict[int, _Source] = {}
        self._changed: set[tuple[int, bytes]] = set()
        self._path = 0
        self._started = False

    def __call__(self, machine: Machine) -> None:
        if self.stopped or machine.program is not self.program:
            self.stopped = True
            return
        self.trace.visited.add(machine.pc)
        if not self._started:
            self._start(machine)
        pending, self._pending = self._pending, None
        if pending is not None:
            pending(machine)
        self._step(machine)

    def _start(self, machine: Machine) -> None:
        self._started = True
        if machine.packet is not None:
            self.trace.packet = bytes(machine.packet)
            self._register(machine.packet.data, self.trace.packet, Input(InputKind.PACKET))
        if machine.context is not None:
            region = machine.context.region
            self.trace.context = bytes(region.data)
            self._register(region.base, self.trace.context, Input(InputKind.CONTEXT))

    def _register(self, base: int, initial: bytes, first: Input) -> None:
        self._sources[base >> _WINDOW] = _Source(base, initial, first)

    def _step(self, machine: Machine) -> None:
        pc, registers = machine.pc, self.registers
        match self.program.code[pc]:
            case Alu(dst=dst) | MoveSignExtend(dst=dst) | Negate(dst=dst) | EndianSwap(dst=dst):
                code = machine.calls[-1].code
                registers[dst] = self._compute(machine, code.operations[pc], code.operands[pc])
            case Branch() as branch:
                self._branch(machine, branch)
            case Load(dst, base, offset, size, signed):
                registers[dst] = self._load(machine, base, offset, size, signed)
            case LoadAcquire(dst, base, offset, size):
                registers[dst] = self._load(machine, base, offset, size)
            case Store(base, offset, size, src):
                self._store(machine, base, offset, size, src)
            case StoreRelease(base, offset, size, src):
                self._store(machine, base, offset, size, src)
            case Atomic() as atomic:
                self._atomic(machine, atomic)
            case LoadImmediate64(dst) as wide:
                registers[dst] = None
                if wide.pseudo is Pseudo.MAP_INDEX_VALUE:
                    self._pending = partial(self._global, wide)
            case LoadPacket() as load:
                self._load_packet(machine, load)
            case Call(helper):
                self._call(machine, helper)
            case CallLocal():
                self._saved.append(registers[6:10])
                registers[0] = None
                registers[6:10] = [None] * 4
            case Exit() if self._saved:
                registers[1:6] = [None] * 5
                registers[6:10] = self._saved.pop()

    # Values ---------------------------------------------------------------------------------------------------------

    def _operand(self, operand: Operand) -> Term | None:
        return self.registers[operand] if isinstance(operand, Register) else None

    def _expression(self, machine: Machine, operand: Operand) -> Word:
        term = self._operand(operand)
        return self._const(_word(machine, operand)) if term is None else term.expression

    def _const(self, value: int, width: int = 64) -> Word:
        return self.algebra.const(value, width)

    def _compute(self, machine: Machine, op: WordOp | None, operands: tuple[Operand, ...]) -> Term | None:
        inputs = self._inputs(*map(self._operand, operands))
        if not inputs:
            return None
        if op is None:
            return self._operand(operands[0])
        expressions = tuple(self._expression(machine, operand) for operand in operands)
        return Term(evaluate(self.algebra, op, expressions), inputs)

    def _inputs(self, *terms: Term | None) -> frozenset[Input]:
        return frozenset().union(*(term.inputs for term in terms if term is not None))

    # Conditions -----------------------------------------------------------------------------------------------------

    def _record(self, pc: int, holds: Predicate, inputs: frozenset[Input], other: int | None, way: int) -> None:
        """``way`` tells apart what else could have held here: the direction of a branch, an address."""
        holds = z3.simplify(holds)
        if z3.is_true(holds):
            return
        turn = hash((self._path, pc, 2))
        self._path = hash((self._path, pc, way))
        conditions = self.trace.conditions
        # A condition that simplifies to false means that a helper did what the shadow missed: it knows no more.
        self.stopped = z3.is_false(holds) or len(conditions) >= self._limit
        if not self.stopped:
            conditions.append(Condition(pc, holds, inputs, other, turn, len(self.trace.lookups)))

    def _branch(self, machine: Machine, branch: Branch) -> None:
        inputs = self._inputs(self.registers[branch.dst], self._operand(branch.src))
        if not inputs:
            return
        comparison, width, pc = branch.comparison, branch.width, machine.pc
        taken = compare(INT, comparison, _word(machine, branch.dst), _word(machine, branch.src), width)
        condition = compare(
            self.algebra,
            comparison if taken else comparison.negation,
            self._expression(machine, branch.dst),
            self._expression(machine, branch.src),
            width,
        )
        self._record(pc, condition, inputs, pc + 1 if taken else flow.target(pc, branch), taken)

    def _pin(self, machine: Machine, register: int) -> None:
        """Record that a register holds what it holds."""
        term, value = self.registers[register], machine.registers[register]
        if term is not None and value is not None:
            self._record(machine.pc, term.expression == self._const(value), term.inputs, None, 3 + value)

    # Memory ---------------------------------------------------------------------------------------------------------

    def _place(self, machine: Machine, base: Register, offset: int) -> tuple[Region, int] | None:
        """Where an access goes; None where it will trap for want of a pointer."""
        region, value = machine.provenance[base], machine.registers[base]
        if region is None or value is None:
            return None
        self._pin(machine, base)
        return region, value + offset & _MASK

    def _load(self, machine: Machine, base: Register, offset: int, size: int, signed: bool = False) -> Term | None:
        place = self._place(machine, base, offset)
        if place is None:
            return None
        region, address = place
        if region.kind is RegionKind.CONTEXT and machine.context is not None:
            kind = machine.context.program_type.context_read(address - region.base, size)
            if kind is FieldKind.PACKET_END and machine.packet is not None:
                return self._plus_size(machine, machine.packet.data_end)
            if kind is not FieldKind.SCALAR:
                return None
        return self._read(region, address, size, signed)

    def _plus_size(self, machine: Machine, value: int) -> Term:
        """What is ``value`` in this run, and one more for each byte by which the packet is longer."""
        offset = self._const(value - len(self.trace.packet))
        return Term(self.trace.symbol(SIZE) + offset, frozenset({SIZE}))

    def _read(self, region: Region, address: int, size: int, signed: bool = False) -> Term | None:
        start = address - region.base
        if not 0 <= start <= region.size - size:
            return None
        content = region.data[start : start + size]
        terms = [self._byte(address + place, byte) for place, byte in enumerate(content)]
        inputs = self._inputs(*terms)
        if not inputs:
            return None
        parts = [
            self._const(byte, 8) if term is None else term.expression for term, byte in zip(terms, content, strict=True)
        ]
        word = self.algebra.zero_extend(parts[0] if size == 1 else z3.Concat(*reversed(parts)), 8 * size, 64)
        op = load_op(size, signed)
        return Term(z3.simplify(word if op is None else evaluate(self.algebra, op, (word,))), inputs)

    def _byte(self, address: int, value: int) -> Term | None:
        """The term of a byte in memory, which has this value; None where that is not what the shadow last saw."""
        if address in self._bytes:
            seen, term = self._bytes[address]
            return term if seen == value else None
        source = self._sources.get(address >> _WINDOW)
        if source is None or not 0 <= address - source.base < len(source.initial):
            return None
        offset = address - source.base
        if source.initial[offset] != value:
            return None
        input = source.first._replace(offset=offset)
        return Term(self.trace.symbol(input), frozenset({input}))

    def _store(self, machine: Machine, base: Register, offset: int, size: int, src: Operand) -> None:
        place = self._place(machine, base, offset)
        if place is not None:
            self._write(place[1], size, _word(machine, src), self._operand(src))

    def _write(self, address: int, size: int, value: int, term: Term | None) -> None:
        for place in range(size):
            part = None
            if term is not None:
                part = Term(z3.Extract(8 * place + 7, 8 * place, term.expression), term.inputs)
            self._bytes[address + place] = (value >> 8 * place & 0xFF, part)

    def _atomic(self, machine: Machine, atomic: Atomic) -> None:
        place = self._place(machine, atomic.base, atomic.offset)
        if place is None:
            return
        region, address = place
        size, src = atomic.size, atomic.src
        old = self._read(region, address, size)
        term = self.registers[src]
        op = machine.calls[-1].code.operations[machine.pc]
        if op is not None:
            inputs = self._inputs(old, term)
            before = _little(region, address, size)
            value = evaluate(INT, op, (before, _word(machine, src)))
            expressions = (self._const(before) if old is None else old.expression, self._expression(machine, src))
            self._write(address, size, value, Term(evaluate(self.algebra, op, expressions), inputs) if inputs else None)
        elif atomic.op is AtomicOp.XCHG:
            self._write(address, size, _word(machine, src), term)
        else:
            self._pending = partial(self._forget, region, address, size)
        if atomic.fetch:
            self.registers[Register.R0 if atomic.op is AtomicOp.CMPXCHG else src] = old

    def _forget(self, region: Region, address: int, size: int, machine: Machine) -> None:
        self._write(address, size, _little(region, address, size), None)

    # The packet, without a pointer ----------------------------------------------------------------------------------

    def _load_packet(self, machine: Machine, load: LoadPacket) -> None:
        """Legacy loads: outside of the packet they end the function, which is the other way to go."""
        registers, packet = self.registers, machine.packet
        if packet is None:
            return
        offset = load.offset
        if load.index is not None:
            self._pin(machine, load.index)
            offset += _word(machine, load.index)
        offset &= 0xFFFFFFFF
        registers[0:6] = [None] * 6
        inside = self._within(machine, offset + load.size)
        if offset + load.size > len(packet):
            other = machine.pc + 1
            self._record(machine.pc, z3.Not(inside), frozenset({SIZE}), other, 0)
            if self._saved:
                registers[6:10] = self._saved.pop()
            return
        self._record(machine.pc, inside, frozenset({SIZE}), None, 1)
        term = self._read(packet.region, packet.data + offset, load.size)
        if term is not None:
            swapped = self.algebra.bswap(self.algebra.truncate(term.expression, 64, 8 * load.size), 8 * load.size)
            registers[0] = Term(self.algebra.zero_extend(swapped, 8 * load.size, 64), term.inputs)

    def _within(self, machine: Machine, end: int) -> Predicate:
        """Whether the packet has ``end`` bytes."""
        assert machine.packet is not None
        return z3.UGE(self._plus_size(machine, len(machine.packet)).expression, self._const(end))

    # Helpers --------------------------------------------------------------------------------------------------------

    def _call(self, machine: Machine, helper: int) -> None:
        after: Callable[[Machine], None] | None = None
        if helper in (_LOOKUP, _UPDATE, _DELETE):
            found = self._key(machine)
            if found is not None and helper == _LOOKUP:
                after = partial(self._looked_up, *found)
            elif found is not None:
                self._changed.add(found[:2])
        elif helper in _LOAD_BYTES and machine.packet is not None:
            self._pin(machine, 2)
            arguments = tuple(_word(machine, Register(number)) for number in (2, 3, 4))
            after = partial(self._loaded_bytes, _LOAD_BYTES[helper], arguments)
        elif helper == _GET_LENGTH:
            after = self._got_length
        self.registers[0:6] = [None] * 6
        self._pending = partial(self._returned, machine.calls[-1], after)

    def _returned(self, frame: Frame, after: Callable[[Machine], None] | None, machine: Machine) -> None:
        if machine.calls[-1] is not frame:
            self.stopped = True  # a tail call
        elif after is not None:
            after(machine)

    def _key(self, machine: Machine) -> tuple[int, bytes, tuple[Term | None, ...]] | None:
        """The map and the key that a call is about; None where it is not one of the program's own maps."""
        handle, region, address = machine.provenance[1], machine.provenance[2], machine.registers[2]
        if handle is None or region is None or address is None or handle.map_index is None:
            return None
        if handle.kind is not RegionKind.MAP or handle.map_index >= len(self.program.maps):
            return None
        size = self.program.maps[handle.map_index].key_size
        start = address - region.base
        if not 0 <= start <= region.size - size:
            return None
        key = bytes(region.data[start : start + size])
        return handle.map_index, key, tuple(self._byte(address + place, byte) for place, byte in enumerate(key))

    def _looked_up(self, index: int, key: bytes, terms: tuple[Term | None, ...], machine: Machine) -> None:
        map, region, address = machine.maps[index], machine.provenance[0], machine.registers[0]
        if region is not None:
            self._sources.pop(region.base >> _WINDOW, None)  # a slot that may have been another key's
        if (index, key) in self._changed or self.program.maps[index].read_only:
            return
        if region is not None and has_values(map):
            self._value(region, index, key)
        if isinstance(map, ArrayMap):
            self.trace.lookups.append(Lookup(index, key, terms, region is not None))
            inputs = self._inputs(*terms)
            parts = [self._const(b, 8) if t is None else t.expression for t, b in zip(terms, key, strict=True)]
            exists = z3.ULT(z3.Concat(*reversed(parts)), self._const(map.spec.max_entries, 32))
        elif has_values(map) or isinstance(map, MapOfMaps):
            present = Input(InputKind.PRESENT, 0, index, key)
            self.trace.present[present] = region is not None
            self.trace.lookups.append(Lookup(index, key, terms, region is not None, present))
            inputs = frozenset({present})
            exists = self.trace.symbol(present)
        else:
            return
        if inputs:
            value = self._const(address or _SOME_ADDRESS)
            self.registers[0] = Term(z3.If(exists, value, self._const(0)), inputs)

    def _value(self, region: Region, index: int, key: bytes) -> None:
        """The memory of a value holds inputs: what was in it when the program first got hold of it."""
        initial = self.trace.values.setdefault((index, key), bytes(region.data))
        self._register(region.base, initial, Input(InputKind.VALUE, 0, index, key))

    def _global(self, wide: LoadImmediate64, machine: Machine) -> None:
        region = machine.provenance[wide.dst]
        if region is None or region.base >> _WINDOW in self._sources or self.program.maps[wide.low].read_only:
            return
        key = bytes(4)
        self._value(region, wide.low, key)
        self.trace.lookups.append(Lookup(wide.low, key, (None,) * 4, True))

    def _loaded_bytes(self, failure: int, arguments: tuple[int, ...], machine: Machine) -> None:
        offset, address, size = arguments
        packet = machine.packet
        assert packet is not None
        offset &= 0xFFFFFFFF
        if machine.registers[0] == 0:
            for place in range(size):
                byte = packet.frame[packet.start + offset + place]
                self._bytes[address + place] = (byte, self._byte(packet.data + offset + place, byte))
        result = z3.If(self._within(machine, offset + size), self._const(0), self._const(failure))
        self.registers[0] = Term(result, frozenset({SIZE}))

    def _got_length(self, machine: Machine) -> None:
        if machine.packet is not None:
            self.registers[0] = self._plus_size(machine, len(machine.packet))


def _word(machine: Machine, operand: Operand) -> int:
    """The concrete value of an operand; 0 for a register that was never written, on which the program will trap."""
    if isinstance(operand, Register):
        return machine.registers[operand] or 0
    return immediate_word(operand.value)


def _little(region: Region, address: int, size: int) -> int:
    start = address - region.base
    return int.from_bytes(region.data[start : start + size], "little")
