"""What each instruction reads and overwrites: registers, and bytes of the function's own stack frame.

To know which bytes a load, a store or a helper touches one must know which registers hold an address in the frame.
:data:`Known` follows that forwards through a function: registers that hold ``r10 + constant``, a constant (the size
argument of a helper) or a map (whose key a helper reads), and those that *may* hold an address in the frame.  All of
it is an over-approximation of what may be read and an under-approximation of what is overwritten, which is what
liveness needs; nothing else may rest on it.

Sets are bit masks in one int: bit ``i`` is register ``ri``, bit ``STACK_SHIFT + k`` the byte at ``r10 - 512 + k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, TypeAlias, assert_never

from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
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
    Instruction,
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
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype, Platform
from prevail_py.words import mask, to_signed

__all__ = ["REGISTERS", "STACK", "STACK_BYTES", "STACK_SHIFT", "Effects", "Known", "stack_bytes"]

STACK_BYTES: Final = 512
STACK_SHIFT: Final = 11
REGISTERS: Final = mask(STACK_SHIFT)
STACK: Final = mask(STACK_BYTES) << STACK_SHIFT
_CALLER_SAVED: Final = mask(6)
_ARGUMENTS: Final = mask(6) & ~1


def stack_bytes(offset: int, size: int) -> int:
    """The set of bytes ``r10 + offset ... r10 + offset + size - 1`` as far as they are in the frame."""
    first = max(offset, -STACK_BYTES) + STACK_BYTES
    end = min(offset + size, 0) + STACK_BYTES
    return mask(end - first) << (first + STACK_SHIFT) if first < end else 0


class _Kind(Enum):
    """What is known of the value of a register; the number beside it is explained here."""

    OTHER = "no address in the frame"
    CONSTANT = "this signed 64-bit constant"
    MAP = "the map of this index"
    CONTEXT = "the program's context"
    STACK = "r10 plus this offset"
    ANYWHERE = "maybe an address in the frame"


Value: TypeAlias = tuple[_Kind, int]
# Up to Python 3.11 a member of an enumeration takes ten times as long to name as a variable.
_K_CONSTANT, _K_MAP, _K_CONTEXT = _Kind.CONSTANT, _Kind.MAP, _Kind.CONTEXT
_K_STACK, _K_ANYWHERE = _Kind.STACK, _Kind.ANYWHERE
_MOV, _ADD, _SUB = AluOp.MOV, AluOp.ADD, AluOp.SUB
_OTHER: Final[Value] = (_Kind.OTHER, 0)
_ANYWHERE: Final[Value] = (_Kind.ANYWHERE, 0)
_CONTEXT: Final[Value] = (_K_CONTEXT, 0)

Known: TypeAlias = tuple[tuple[Value, ...], bool]
"""The values of R0 to R10, and whether memory may hold an address in the frame: the latter makes loads suspect."""


def _in_frame(value: Value) -> bool:
    return value[0] is _K_STACK or value[0] is _K_ANYWHERE


def join(a: Known, b: Known) -> Known:
    """What is known where either ``a`` or ``b`` is.  Ascending chains have at most three steps per register."""
    if a == b:
        return a
    values = [
        x if x is y or x == y else _ANYWHERE if _in_frame(x) or _in_frame(y) else _OTHER
        for x, y in zip(a[0], b[0], strict=True)
    ]
    return tuple(values), a[1] or b[1]


def at_entry(function_index: int) -> Known:
    """What is known where a function starts: only the entry function is passed the context."""
    values = [_OTHER] * 11
    values[Register.R10] = (_K_STACK, 0)
    if function_index == 0:
        values[Register.R1] = _CONTEXT
    return tuple(values), False


class Effects:
    """A pass over the instructions of a basic block, from what is known at its start.

    ``step`` returns what an instruction reads and what it overwrites and moves on; ``known`` is then what holds after
    it.  Mutable, since this is the inner loop of liveness.
    """

    __slots__ = ("_escaped", "_maps", "_platform", "_program_type", "_values")

    def __init__(self, program: Program, platform: Platform | None) -> None:
        self._maps: Sequence[MapSpec] = program.maps
        self._program_type = program.program_type
        self._platform = platform
        self._values: list[Value] = []
        self._escaped = False

    def start(self, known: Known) -> None:
        """Begin a block."""
        self._values = list(known[0])
        self._escaped = known[1]

    @property
    def known(self) -> Known:
        """What is known after the instructions stepped over so far."""
        return tuple(self._values), self._escaped

    def step(self, instruction: Instruction) -> tuple[int, int]:
        """The sets that ``instruction`` (reads, overwrites)."""
        values = self._values
        match instruction:
            case Alu():
                return self._alu(instruction)
            case Load(dst, base, offset, size) | LoadAcquire(dst, base, offset, size):
                reads = 1 << base | self._accessed(values[base], offset, size)
                values[dst] = self._loaded(values[base])
                return reads, 1 << dst
            case Store(base, offset, size, src) | StoreRelease(base, offset, size, src):
                if isinstance(src, Register):
                    self._escaped |= _in_frame(values[src])
                return 1 << base | self._bit(src), self._overwritten(values[base], offset, size)
            case Branch(dst=dst, src=src):
                return 1 << dst | self._bit(src), 0
            case LoadImmediate64(dst=dst, pseudo=pseudo, low=low):
                if pseudo is Pseudo.MAP_INDEX:
                    values[dst] = (_K_MAP, low)
                elif pseudo is Pseudo.IMMEDIATE:
                    values[dst] = (_K_CONSTANT, to_signed(instruction.value, 64))
                else:
                    values[dst] = _OTHER
                return 0, 1 << dst
            case Jump() | MayGoto():
                return 0, 0
            case Exit():
                return 1 << Register.R0, 0
            case Call(helper=helper):
                return self._helper(helper)
            case CallLocal() | CallKfunc():
                return self._unknown_call()
            case CallRegister(register=register):
                reads, overwrites = self._unknown_call()
                return reads | 1 << register, overwrites
            case MoveSignExtend(dst=dst, src=src) | AddressSpaceCast(dst=dst, src=src):
                values[dst] = _ANYWHERE if _in_frame(values[src]) else _OTHER
                return 1 << src, 1 << dst
            case Negate(dst=dst) | EndianSwap(dst=dst):
                values[dst] = _ANYWHERE if _in_frame(values[dst]) else _OTHER
                return 1 << dst, 1 << dst
            case Atomic():
                return self._atomic(instruction)
            case LoadPacket(index=index):
                values[0:6] = [_OTHER] * 6
                return 1 << Register.R6 | (0 if index is None else 1 << index), _CALLER_SAVED
            case _:
                assert_never(instruction)

    # Registers --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _bit(operand: Operand) -> int:
        return 1 << operand if isinstance(operand, Register) else 0

    def _alu(self, instruction: Alu) -> tuple[int, int]:
        """The commonest step."""
        values = self._values
        op, dst, src = instruction.op, instruction.dst, instruction.src
        if isinstance(src, Immediate):
            reads, right = 0, (_K_CONSTANT, src.value)
        else:
            reads, right = 1 << src, values[src]
        if op is _MOV:
            if instruction.width == 64:
                values[dst] = right
            elif right[0] is _K_CONSTANT:
                values[dst] = _K_CONSTANT, right[1] & 0xFFFFFFFF
            else:
                values[dst] = _ANYWHERE if _in_frame(right) else _OTHER
            return reads, 1 << dst
        left = values[dst]
        kind = left[0]
        if (
            right[0] is _K_CONSTANT
            and (op is _ADD or op is _SUB)
            and instruction.width == 64
            and (kind is _K_STACK or kind is _K_CONSTANT)
        ):
            amount = right[1] if op is _ADD else -right[1]
            values[dst] = kind, to_signed(left[1] + amount, 64)
        else:
            values[dst] = _ANYWHERE if _in_frame(left) or _in_frame(right) else _OTHER
        return reads | 1 << dst, 1 << dst

    # Memory -----------------------------------------------------------------------------------------------------------

    def _accessed(self, base: Value, offset: int, size: int) -> int:
        """The bytes that an access may touch."""
        if base[0] is _K_STACK:
            return stack_bytes(base[1] + offset, size)
        return STACK if base[0] is _K_ANYWHERE else 0

    def _overwritten(self, base: Value, offset: int, size: int) -> int:
        """The bytes that a store is sure to overwrite."""
        return stack_bytes(base[1] + offset, size) if base[0] is _K_STACK else 0

    def _loaded(self, base: Value) -> Value:
        """What a load yields: an address in the frame perhaps, if one was ever stored.  The context holds none."""
        return _ANYWHERE if self._escaped and base[0] is not _K_CONTEXT else _OTHER

    def _atomic(self, instruction: Atomic) -> tuple[int, int]:
        values = self._values
        reads = 1 << instruction.base | 1 << instruction.src
        reads |= self._accessed(values[instruction.base], instruction.offset, instruction.size)
        self._escaped |= _in_frame(values[instruction.src])
        old = self._loaded(values[instruction.base])
        if instruction.op is AtomicOp.CMPXCHG:
            values[Register.R0] = old
            return reads | 1 << Register.R0, 1 << Register.R0
        if instruction.fetch or instruction.op is AtomicOp.XCHG:
            values[instruction.src] = old
            return reads, 1 << instruction.src
        return reads, 0

    # Calls ------------------------------------------------------------------------------------------------------------

    def _unknown_call(self) -> tuple[int, int]:
        """A callee that may do anything with its arguments: read what they point to, keep them, return them."""
        exposed = any(_in_frame(value) for value in self._values[1:6])
        self._escaped |= exposed
        reads = _ARGUMENTS | (STACK if self._escaped else 0)
        self._values[0:6] = [_ANYWHERE if self._escaped else _OTHER] + [_OTHER] * 5
        return reads, _CALLER_SAVED

    def _helper(self, number: int) -> tuple[int, int]:
        prototype = None if self._platform is None else self._platform.helper(number, self._program_type)
        if prototype is None:
            return self._unknown_call()
        reads, overwrites = 0, _CALLER_SAVED
        for position, arg in enumerate(prototype.args):
            register = position + 1
            reads |= 1 << register
            value = self._values[register]
            if not _in_frame(value):
                continue
            extent = self._extent(prototype, position)
            if extent is None:
                self._escaped = True
            elif value[0] is _K_ANYWHERE:
                reads |= STACK
            elif arg.writes and not arg.reads:
                overwrites |= stack_bytes(value[1], extent)
            else:
                reads |= stack_bytes(value[1], extent or STACK_BYTES)
        if self._escaped:
            reads |= STACK
        self._values[0:6] = [_OTHER] * 6
        return reads, overwrites

    def _extent(self, prototype: HelperPrototype, position: int) -> int | None:
        """How many bytes a helper may access through an argument: 0 for unknown (up to the end of the frame), None if
        it may do other things with the address, such as to pass it on to a callback."""
        arg: HelperArg = prototype.args[position]
        if arg.is_sized_memory and position + 1 < len(prototype.args):
            kind, size = self._values[position + 2]
            return size if kind is _K_CONSTANT and 0 < size <= STACK_BYTES else 0
        match arg.kind:
            case ArgKind.MAP_KEY:
                spec = self._map(prototype)
                return 0 if spec is None else spec.key_size
            case ArgKind.MAP_VALUE | ArgKind.MAP_VALUE_UNINIT | ArgKind.MAP_VALUE_OR_NULL:
                spec = self._map(prototype)
                return 0 if spec is None else spec.value_size
            case ArgKind.FIXED_MEM:
                return arg.size or 0
            case ArgKind.DYNPTR | ArgKind.DYNPTR_UNINIT:
                return 0
            case _:
                return None

    def _map(self, prototype: HelperPrototype) -> MapSpec | None:
        """The map that a call speaks of, where it is known."""
        for position, arg in enumerate(prototype.args):
            if arg.kind is ArgKind.MAP:
                kind, index = self._values[position + 1]
                if kind is _K_MAP and 0 <= index < len(self._maps):
                    return self._maps[index]
        return None
