"""Single instructions: what makes each safe, by ``docs/safety.md``, and what it does."""

from __future__ import annotations

from typing import Final

from prevail_py.checker.certificate import Bad, Pointer, Region, Value
from prevail_py.checker.memory import Memory
from prevail_py.checker.state import NEVER_NULL, NotSupported, Path
from prevail_py.checker.words import ZERO, Compare, Word, number, signed_between
from prevail_py.isa import instructions as isa
from prevail_py.isa.semantics import immediate_word, operands, operation
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["Steps"]

_NEAR: Final = (1 << 32) - 1
"""No region lies within 2**32 bytes of either end of the address space."""

_OFFSETS: Final = {
    Comparison.EQ: Comparison.EQ, Comparison.NE: Comparison.NE, Comparison.ULT: Comparison.SLT,
    Comparison.ULE: Comparison.SLE, Comparison.UGT: Comparison.SGT, Comparison.UGE: Comparison.SGE,
}  # fmt: skip
"""How offsets into one object compare where their addresses, unsigned, do."""


class Steps:
    """The instructions of one program that stay in their function."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def read(self, path: Path, source: isa.Operand) -> Value:
        """An operand, which must have been written."""
        if isinstance(source, isa.Immediate):
            return number(immediate_word(source.value))
        value = path.value(path.registers[source])
        if value is Bad.UNWRITTEN:
            raise path.impossible(f"r{int(source)} was written")
        return value

    def step(self, path: Path, instruction: isa.Instruction) -> None:
        """Execute one instruction.  Raises Dead, Refused, NotSupported."""
        match instruction:
            case isa.Alu() | isa.MoveSignExtend() | isa.Negate() | isa.EndianSwap():
                op = operation(instruction)
                values = [self.read(path, operand) for operand in operands(instruction)]
                words = tuple([value for value in values if isinstance(value, Word)])
                if op is None:
                    result = values[0]
                elif len(words) == len(values):
                    result = path.known.compute(op, words)
                else:
                    result = self._pointer_arithmetic(path, op, values)
                self._write(path, instruction.dst, result)
            case isa.Load(dst, base, offset, size) | isa.LoadAcquire(dst, base, offset, size):
                at = self._address(path, base, offset)
                self.memory.access(path, at, number(size), read=True, write=False)
                value = self.memory.load(path, at, size)
                if isinstance(instruction, isa.Load) and instruction.signed:
                    if at.region.kind == "context" and not isinstance(value, Word):
                        raise path.impossible("the sign of a pointer is not extended")
                    word = value if isinstance(value, Word) else path.some(size)
                    value = path.compute(OpKind.SEXT, word, source=8 * size)
                self._write(path, dst, value)
            case isa.Store(base, offset, size, src) | isa.StoreRelease(base, offset, size, src):
                value = self.read(path, src)
                at = self._address(path, base, offset)
                self.memory.access(path, at, number(size), read=False, write=True)
                self._no_leak(path, at, size, value)
                kept = path.compute(OpKind.ZEXT, value, width=8 * size) if isinstance(value, Word) else value
                self.memory.store(path, at, size, kept)
            case isa.Atomic(op=kind, size=size, src=src):
                value = self.read(path, src)
                exchanges = kind is isa.AtomicOp.CMPXCHG
                if exchanges:
                    self.read(path, isa.Register.R0)
                at = self._address(path, instruction.base, instruction.offset)
                self.memory.access(path, at, number(size), read=True, write=True, atomic=True)
                self._no_leak(path, at, size, value)
                old = self.memory.load(path, at, size)
                self.memory.store(path, at, size, path.some(size))
                if instruction.fetch:
                    fetched = old if isinstance(old, Word) else path.some(size)
                    self._write(path, isa.Register.R0 if exchanges else src, fetched)
            case isa.LoadImmediate64():
                if instruction.is_assertion:
                    raise path.impossible("what the program asserts holds")
                self._write(path, instruction.dst, self._wide(path, instruction))
            case isa.LoadPacket(size, offset, index):
                if self.memory.type.context_struct != "__sk_buff" or offset < 0:
                    raise NotSupported(path.slot, "a legacy load of such a packet, or relative to a header")
                if index is not None:
                    path.number(self.read(path, index), "the index is a number")
                value = self.read(path, isa.Register.R6)
                if not isinstance(value, Pointer) or value.region.kind != "context" or value.offset != ZERO:
                    raise path.impossible("r6 is the context")
                path.registers[:6] = [path.some(size)] + [Bad.UNWRITTEN] * 5
            case isa.Jump() | isa.MayGoto():
                pass
            case _:
                raise NotSupported(path.slot, f"the instruction {type(instruction).__name__}")

    def _write(self, path: Path, register: isa.Register, value: Value) -> None:
        if register == isa.Register.R10:
            raise path.impossible("r10 is not written")
        path.registers[register] = value

    def _pointer_arithmetic(self, path: Path, op: WordOp, values: list[Value]) -> Value:
        if op == WordOp(OpKind.ADD) and isinstance(values[0], Word):
            values.reverse()
        match op, values:
            case WordOp(OpKind.ADD | OpKind.SUB, 64), [Pointer() as pointer, Word() as amount]:
                return pointer._replace(offset=path.known.compute(op, (pointer.offset, amount)))
            case WordOp(OpKind.SUB), [Pointer() as left, Pointer() as right] if left[:2] == right[:2]:
                return path.known.compute(op, (left.offset, right.offset))
        raise path.impossible(f"{op} is not of a pointer")

    def _address(self, path: Path, base: isa.Register, offset: int) -> Pointer:
        pointer = self.memory.pointer(path, self.read(path, base), f"r{int(base)}")
        return pointer._replace(offset=pointer.offset.plus(offset))

    def _no_leak(self, path: Path, at: Pointer, size: int, value: Value) -> None:
        if not isinstance(value, Word) and (size != 8 or at.region.kind != "stack"):
            raise path.impossible("no pointer is stored in part, or outside of the stack")

    def _wide(self, path: Path, instruction: isa.LoadImmediate64) -> Value:
        program, index = self.memory.program, instruction.low
        match instruction.pseudo:
            case isa.Pseudo.IMMEDIATE:  # with a symbol, an address in the kernel
                return path.known.unknown() if path.slot in program.symbols else number(instruction.value)
            case isa.Pseudo.FUNCTION:
                return Pointer(Region("function", path.slot + 1 + index), NEVER_NULL, ZERO)
            case isa.Pseudo.MAP_INDEX if 0 <= index < len(program.maps):
                return Pointer(Region("map", index), NEVER_NULL, ZERO)
            case isa.Pseudo.MAP_INDEX_VALUE if 0 <= index < len(program.maps):
                map_type = self.memory.map_type(path, Region("map", index))
                if map_type.index_key and map_type.value_access and not map_type.per_cpu:
                    return Pointer(Region("map value", index), NEVER_NULL, number(instruction.high & 0xFFFFFFFF))
        raise NotSupported(path.slot, f"a wide load of kind {instruction.pseudo.name}")

    # Branches -------------------------------------------------------------------------------------------------------

    def branch(self, path: Path, instruction: isa.Branch, taken: bool) -> None:
        """Go on with the runs that go this way.  Raises Dead where there are none."""
        left, right = self.read(path, instruction.dst), self.read(path, instruction.src)
        comparison = instruction.comparison if taken else instruction.comparison.negation
        if isinstance(left, Word) and isinstance(right, Word):
            path.learn(Compare(comparison, left, right, instruction.width))
            return
        if instruction.width != 64:
            return
        if isinstance(left, Pointer) and isinstance(right, Pointer) and left[:2] == right[:2]:
            self._compare_offsets(path, comparison, left, right)
            return
        for one, other, relation in ((left, right, comparison), (right, left, comparison.swapped)):
            origin = one.base if isinstance(one, Pointer) and one.offset == ZERO else one
            if not isinstance(origin, Word):
                continue
            if other == ZERO and relation in (Comparison.EQ, Comparison.NE):
                path.learn(Compare(relation, origin, ZERO))
            elif isinstance(other, Pointer) and relation is Comparison.EQ and self._is_somewhere(path, other):
                path.learn(Compare(Comparison.NE, origin, ZERO))

    def _is_somewhere(self, path: Path, pointer: Pointer) -> bool:
        """Whether the address is not 0."""
        return self._not_null(path, pointer) and self._near(path, pointer, -_NEAR)

    def _near(self, path: Path, pointer: Pointer, lowest: int) -> bool:
        """Whether the address cannot wrap, nor be 0."""
        if path.known.bounds(pointer.offset.plus(-lowest))[1] <= _NEAR - lowest:
            return True
        return path.shows(signed_between(pointer.offset, lowest, _NEAR))

    def _not_null(self, path: Path, pointer: Pointer) -> bool:
        return path.known.bounds(pointer.base)[0] > 0

    def _compare_offsets(self, path: Path, comparison: Comparison, left: Pointer, right: Pointer) -> None:
        if comparison not in _OFFSETS:
            return  # signed comparisons of addresses say nothing of offsets
        offsets = _OFFSETS[comparison]
        # Below a null pointer addresses wrap: there only equality is the same.
        lowest = -_NEAR if offsets is comparison or self._not_null(path, left) else 0
        if self._near(path, left, lowest) and self._near(path, right, lowest):
            path.learn(Compare(offsets, left.offset, right.offset))
