"""The guard in front of the kernel: which programs must never be handed to its verifier.

Some kernels (seen: 6.18 stable with the change that lets the verifier fork a scalar) mishandle one pattern.  Where
AND or OR with a known operand meets a scalar known to lie in [-1, 0], the verifier pushes a state for "it is 0" and
goes on with "it is -1"; the pushed state claims a jump that is not there, and in a program with a loop, walking the
history back can follow a null pointer *inside the kernel*.  A program is no way to find out, so we refuse by its text.

The guard reads the very bytes that ``bpf(2)`` would get, with no decoder in between, and refuses a program that has a
back edge (any jump, may_goto or local call that can lead to a lower address, and any function used as a callback) and

1. *anywhere*: AND or OR on a register that holds, along some path, a value derived from a **source**: ARSH, except by
   the amounts of the sign-extension idiom, or NEG, at either width.  Derived: through moves, arithmetic, memory, calls.
2. *nearby*: AND or OR on the register of a **possible source**, or on a copy of it, at most :data:`WINDOW` instructions
   away in layout, before or after.  Possible sources are all of the above, ARSH by any amount, and whatever else turns
   a small range into [-1, 0]: minus one, not, subtraction of registers, multiplication, signed division, signed
   comparison with a bound that cuts at -1.

Both rules over-approximate; refusing is cheap, and an oops is not.  *Generated* programs, of which nobody knows what
they look like, must have no back edge at all and fewer than :data:`GENERATED_LIMIT` instructions.

:func:`escape` answers the other question, which accepted programs may not be *run*: those whose effects would leave
the test harness.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

__all__ = ["GENERATED_LIMIT", "WINDOW", "escape", "hazard"]

WINDOW: Final = 16
GENERATED_LIMIT: Final = 512


class _Class(IntEnum):
    """The low three bits of an opcode (RFC 9669 section 3)."""

    LD = 0
    LDX = 1
    ST = 2
    STX = 3
    ALU = 4
    JMP = 5
    JMP32 = 6
    ALU64 = 7


class _AluOp(IntEnum):
    """The high four bits of an ALU opcode, where the guard looks at it (RFC 9669 section 4.1)."""

    ADD = 0x00
    SUB = 0x10
    MUL = 0x20
    DIV = 0x30
    OR = 0x40
    AND = 0x50
    NEG = 0x80
    MOD = 0x90
    XOR = 0xA0
    MOV = 0xB0
    ARSH = 0xC0


class _JumpOp(IntEnum):
    """The high four bits of a jump's opcode (RFC 9669 section 4.3; may_goto is Linux's)."""

    JA = 0x00
    JSGT = 0x60
    JSGE = 0x70
    CALL = 0x80
    EXIT = 0x90
    JSLT = 0xC0
    JSLE = 0xD0
    MAY_GOTO = 0xE0


_FROM_REGISTER: Final = 0x08
_WIDE_LOAD: Final = 0x18
_INDIRECT: Final = frozenset({0x0D, 0x8D})
"""``gotox`` and ``callx``: where they lead is not in the text."""
_PSEUDO_CALL: Final = 1
_PSEUDO_FUNCTION: Final = 4
_ATOMIC_MODE: Final = 0xC0
_MODE_MASK: Final = 0xE0

_SIGN_EXTENSIONS: Final = {_Class.ALU64: frozenset({32, 48, 56}), _Class.ALU: frozenset({16, 24})}
"""``x <<= n; x s>>= n``: how compilers before ISA v4 extend a sign, which is [-1, 0] only where its input was."""

_BOUNDS_AT_MINUS_ONE: Final = frozenset(
    {(_JumpOp.JSLT, -1), (_JumpOp.JSGE, -1), (_JumpOp.JSGT, -2), (_JumpOp.JSLE, -2)}
)
"""Signed comparisons whose one outcome is ``x >= -1``."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """One instruction as the kernel reads it (``struct bpf_insn``), at slot ``pc``."""

    pc: int
    code: int
    dst: int
    src: int
    offset: int
    imm: int

    @property
    def cls(self) -> int:
        return self.code & 7

    @property
    def op(self) -> int:
        return self.code & 0xF0

    @property
    def is_alu(self) -> bool:
        return self.cls in (_Class.ALU, _Class.ALU64)

    @property
    def is_jump(self) -> bool:
        return self.cls in (_Class.JMP, _Class.JMP32)

    @property
    def is_local_call(self) -> bool:
        return self.is_jump and self.op == _JumpOp.CALL and self.src == _PSEUDO_CALL

    @property
    def is_function_address(self) -> bool:
        return self.code == _WIDE_LOAD and self.src == _PSEUDO_FUNCTION

    @property
    def reads_register(self) -> bool:
        return bool(self.code & _FROM_REGISTER)

    @property
    def target(self) -> int | None:
        """The slot that a jump, local call or function address leads to."""
        if self.is_local_call or self.is_function_address:
            return self.pc + 1 + self.imm
        if self.is_jump and self.op not in (_JumpOp.CALL, _JumpOp.EXIT):
            wide = self.cls == _Class.JMP32 and self.op == _JumpOp.JA
            return self.pc + 1 + (self.imm if wide else self.offset)
        return None


def hazard(code: bytes, *, generated: bool = False) -> str | None:
    """Why ``code`` (encoded, 8 bytes a slot) must not be given to the kernel, or None where it may be.

    ``generated`` says that a program generator or fuzzer made it.  Bytes that are no valid program are judged as
    well: the kernel reads them too.
    """
    if len(code) % 8:
        return "the code is not a whole number of 8-byte slots"
    slots = _slots(code)
    edge = next(_back_edges(slots), None)
    if generated:
        if len(code) // 8 >= GENERATED_LIMIT:
            return f"generated program of {len(code) // 8} slots: the limit is {GENERATED_LIMIT - 1}"
        if edge is not None:
            return f"generated program with a {edge}"
    if edge is None:
        return None
    pair = _nearby(slots) or _derived(slots)
    if pair is None:
        return None
    source, use = pair
    return (
        f"verifier crash pattern: {edge}, and AND/OR at slot {use} on a register that the instruction at slot "
        f"{source} may have left in [-1, 0]"
    )


_CONTAINED_TYPES: Final = frozenset({1, 3, 4, 6, 8, 10, 11, 12, 22})
"""Program types whose test run works on a packet of its own: socket_filter, sched_cls, sched_act, xdp, cgroup_skb,
lwt_in, lwt_out, lwt_xmit, flow_dissector."""

_ESCAPING_HELPERS: Final = {
    13: "bpf_clone_redirect",
    36: "bpf_probe_write_user",
    58: "bpf_override_return",
    109: "bpf_send_signal",
    117: "bpf_send_signal_thread",
    166: "bpf_sys_bpf",
}


def escape(code: bytes, program_type: int) -> str | None:
    """Why a test run of ``code`` could reach beyond its own packet and maps, or None where it cannot."""
    if program_type not in _CONTAINED_TYPES:
        return f"programs of type {program_type} are not run here: their effects are not confined to a packet"
    for slot in _slots(code):
        if slot.is_jump and slot.op == _JumpOp.CALL and slot.src == 0 and slot.imm in _ESCAPING_HELPERS:
            return f"{_ESCAPING_HELPERS[slot.imm]} at slot {slot.pc} reaches beyond the test run"
    return None


def _slots(code: bytes) -> tuple[_Slot, ...]:
    """The instructions, in order; the second slot of a wide load is not one, unless it pretends to be."""
    slots: list[_Slot] = []
    wide = False
    for pc, (opcode, registers, offset, imm) in enumerate(struct.iter_unpack("<BBhi", code)):
        second, wide = wide and opcode == 0, False
        if second:
            continue
        wide = opcode == _WIDE_LOAD
        slots.append(_Slot(pc, opcode, registers & 0xF, registers >> 4, offset, imm))
    return tuple(slots)


def _back_edges(slots: Sequence[_Slot]) -> Iterator[str]:
    for slot in slots:
        target = slot.target
        if slot.is_function_address:
            yield f"callback at slot {slot.pc}"  # the kernel verifies it as the body of a loop
        elif slot.is_jump and slot.op == _JumpOp.MAY_GOTO:
            yield f"may_goto at slot {slot.pc}"
        elif slot.code in _INDIRECT:
            yield f"indirect jump at slot {slot.pc}"
        elif target is not None and target <= slot.pc:
            yield f"back edge at slot {slot.pc}"


def _is_source(slot: _Slot) -> bool:
    """ARSH or NEG, but for the shift that ends a sign extension."""
    if not slot.is_alu:
        return False
    if slot.op == _AluOp.ARSH:
        return slot.reads_register or slot.imm not in _SIGN_EXTENSIONS[_Class(slot.cls)]
    return slot.op == _AluOp.NEG


def _is_possible_source(slot: _Slot) -> bool:
    """Whatever may narrow or move a small range to [-1, 0]."""
    if slot.is_jump:
        return not slot.reads_register and (slot.op, slot.imm) in _BOUNDS_AT_MINUS_ONE
    if not slot.is_alu:
        return False
    match slot.op:
        case _AluOp.ARSH | _AluOp.NEG:
            return True
        case _AluOp.ADD | _AluOp.XOR:
            return not slot.reads_register and slot.imm == -1
        case _AluOp.SUB:
            return slot.reads_register or slot.imm == 1
        case _AluOp.MUL:
            return slot.reads_register or slot.imm == -1
        case _AluOp.DIV | _AluOp.MOD:
            return slot.offset != 0  # the signed ones
        case _:
            return False


def _is_use(slot: _Slot) -> bool:
    return slot.is_alu and slot.op in (_AluOp.AND, _AluOp.OR)


def _nearby(slots: Sequence[_Slot]) -> tuple[int, int] | None:
    """Rule 2: (pc of a possible source, pc of an AND/OR on its register or a copy, within the window)."""
    for index, slot in enumerate(slots):
        if not _is_possible_source(slot):
            continue
        window = slots[max(0, index - WINDOW) : index + WINDOW + 1]
        same = 1 << slot.dst
        while True:  # registers that a move, in whatever order, links to it
            linked = same
            for other in window:
                if other.is_alu and other.op == _AluOp.MOV and other.reads_register and linked >> other.src & 1:
                    linked |= 1 << other.dst
            if linked == same:
                break
            same = linked
        for other in window:
            if other is not slot and _is_use(other) and same >> other.dst & 1:
                return slot.pc, other.pc
    return None


_MEMORY: Final = 1 << 16
"""Beside one bit per register: some memory holds a derived value.  One bit for all memory, never cleared."""


def _derived(slots: Sequence[_Slot]) -> tuple[int, int] | None:
    """Rule 1: (pc of a source, pc of an AND/OR on a value derived from it): forward data flow, union at joins."""
    if not any(_is_source(slot) for slot in slots):
        return None
    by_pc = {slot.pc: slot for slot in slots}
    after_calls = tuple(slot.pc + 1 for slot in slots if slot.is_local_call)
    state: dict[int, int] = {0: 0}
    # Callbacks and subprograms are reached by edges below; start everywhere else too, so that code which only the
    # kernel knows to be reachable is covered.
    for slot in slots:
        state[slot.pc] = 0
    work = [slot.pc for slot in reversed(slots)]
    while work:
        slot = by_pc[work.pop()]
        before = state[slot.pc]
        if _is_use(slot) and before >> slot.dst & 1:
            return _nearest_source(slots, slot.pc), slot.pc
        after = _transfer(slot, before)
        for successor in _successors(slot, after_calls):
            known = state.get(successor)
            if known is not None and after & ~known:
                state[successor] = known | after
                work.append(successor)
    return None


def _nearest_source(slots: Sequence[_Slot], pc: int) -> int:
    """A source to name in the message: the closest one in layout (the data flow does not keep which it was)."""
    return min((slot.pc for slot in slots if _is_source(slot)), key=lambda source: abs(source - pc))


def _successors(slot: _Slot, after_calls: tuple[int, ...]) -> tuple[int, ...]:
    following = slot.pc + (2 if slot.code == _WIDE_LOAD else 1)
    target = slot.target
    if slot.is_jump and slot.op == _JumpOp.EXIT:
        return after_calls
    if slot.is_jump and slot.op == _JumpOp.JA:
        return () if target is None else (target,)
    return (following,) if target is None else (following, target)


def _transfer(slot: _Slot, before: int) -> int:
    """Which registers (and memory) hold derived values after ``slot``."""
    dst, src = 1 << slot.dst, 1 << slot.src
    match slot.cls:
        case _Class.ALU | _Class.ALU64:
            derived = slot.reads_register and bool(before & src)
            if slot.op != _AluOp.MOV:
                derived = derived or _is_source(slot) or bool(before & dst)
            return before | dst if derived else before & ~dst
        case _Class.LDX:
            return before | dst if before & _MEMORY else before & ~dst
        case _Class.LD:  # constants; a legacy packet load clobbers r0 to r5, and keeping them is the careful side
            return before & ~dst if slot.code == _WIDE_LOAD else before
        case _Class.ST:
            return before
        case _Class.STX:
            after = before | (_MEMORY if before & src else 0)
            if slot.code & _MODE_MASK == _ATOMIC_MODE and after & _MEMORY:
                return after | dst | src | 1  # by operation, one of dst, src and r0 gets the old value
            return after
        case _:
            if slot.op == _JumpOp.CALL and not slot.is_local_call:
                return before & ~0b111111  # r0 is what the helper's prototype says, r1 to r5 are gone
            return before
