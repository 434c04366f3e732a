"""Statements about what pointers lead to: values of maps, records, sockets, memory for helpers.

A careless programmer forgets a check here, makes it too late, or of something else, or uses what was given back.  Such
a program is not SAFE; a verifier that calls it SAFE does not check what it should.
"""

from __future__ import annotations

from prevail_py.isa.instructions import Alu, AluOp, Immediate, Load, LoadImmediate64, Pseudo, Register, Store
from prevail_py.platforms.contexts import FieldKind
from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype, ReturnKind
from prevail_py.research.generate.statements import Memory, call_by_prototype, use_memory
from prevail_py.research.generate.writer import (
    CTX,
    FP,
    KEY_SLOT,
    MAPS,
    NUMBERS,
    OBJECT_SLOT,
    R0,
    R1,
    R2,
    R3,
    R5,
    TMP,
    Label,
    Writer,
)
from prevail_py.words import Comparison

__all__ = ["helper_memory", "is_memory", "mixed", "record", "socket", "values"]

_VALUES = (0, 1, 2, 6)
_CONSTANTS, _GLOBALS, _RING = 3, 4, 5


def is_memory(argument: HelperArg) -> bool:
    """Whether an argument of a helper is memory, with what the helper is told of its size or knows."""
    return argument.kind in _MEMORY


_MEMORY = frozenset(
    {
        ArgKind.MEM_READ,
        ArgKind.MEM_READ_OR_NULL,
        ArgKind.MEM_WRITE,
        ArgKind.MEM_READ_WRITE,
        ArgKind.MEM_READ_WRITE_OR_NULL,
        ArgKind.FIXED_MEM,
    }
)


def _looked_up(w: Writer, index: int) -> None:
    key = w.number() if w.chance(0.5) else Immediate(w.random.randrange(6))
    w.emit(Store(FP, KEY_SLOT, 8, key))
    w.move(R2, FP)
    w.add(R2, KEY_SLOT)
    w.emit(LoadImmediate64(R1, index, 0, Pseudo.MAP_INDEX))
    w.call(1, result=False)


def values(w: Writer) -> None:
    """Values of one map, or of two, both alive: the first is spilled while the second is looked up."""
    first, second = w.random.choice(_VALUES), w.random.choice(_VALUES)
    missing = Label()
    _looked_up(w, first)
    w.move(TMP, R0)
    checked = w.random.choice((TMP, R0))
    if w.mistake():
        # Moved before the check: null and something is not null.
        w.add(TMP, w.random.choice((4, 8, -4)))
        checked = TMP
    w.branch(Comparison.EQ, checked, Immediate(0), missing)
    before = w.known.copy()
    if w.chance(0.5):
        w.emit(Store(FP, OBJECT_SLOT, 8, TMP))
        _looked_up(w, second)
        if not w.mistake():
            w.branch(Comparison.EQ, R0, Immediate(0), missing)
        sizes = [MAPS[index].value_size for index in (first, second)]
        room = max(sizes) if w.mistake() else sizes[1]
        w.emit(Load(R5, R0, w.random.randrange(0, room - 3, 4), 4))
        w.emit(Load(TMP, FP, OBJECT_SLOT, 8))
    if w.mistake(0.1):
        w.emit(LoadImmediate64(R5, w.random.choice((-8, -4, 0)), w.random.choice((0, 1, -1))))
        w.emit(Alu(AluOp.ADD, 64, TMP, R5))
    if w.mistake(0.1):
        w.emit(Store(TMP, 0, 8, w.random.choice((CTX, FP, TMP))))
    else:
        use_memory(w, TMP, MAPS[first].value_size)
    w.known.join(before)
    w.place(missing)
    w.move(R0, w.constant())
    w.known.numbers.add(R0)


def record(w: Writer) -> None:
    """A record of a ring buffer: reserved, written, given back."""
    missing = Label()
    size = w.random.choice((8, 16, 24))
    w.emit(LoadImmediate64(R1, w.random.choice(_VALUES) if w.mistake(0.15) else _RING, 0, Pseudo.MAP_INDEX))
    w.move(R2, size)
    w.move(R3, 0)
    w.call(131, result=False)
    w.branch(Comparison.EQ, R0, Immediate(0), missing)
    w.move(TMP, R0)
    before = w.known.copy()
    # Nothing may lead elsewhere before the record is given back.
    w.emit(Store(TMP, w.random.randrange(0, size, 4), 4, w.operand()))
    if not w.mistake(0.15):
        w.move(R1, TMP)
        if w.mistake(0.15):
            w.add(R1, 8)
        w.move(R2, 0)
        w.call(w.random.choice((132, 133)), result=False)
        if w.mistake(0.15):
            w.emit(Load(R5, TMP, 0, 8))
    w.known.join(before)
    w.place(missing)
    w.move(R0, w.constant())
    w.known.numbers.add(R0)


def socket(w: Writer) -> None:
    """The socket of the context, and what helpers know of it."""
    if w.subprogram:
        return
    field, missing = w.random.choice(w.surface.sockets), Label()
    w.emit(Load(TMP, CTX, field.offset, field.size))
    if field.kind is not FieldKind.SOCK and not w.mistake(0.1):
        w.branch(Comparison.EQ, TMP, Immediate(0), missing)
    before = w.known.copy()
    if w.chance(0.3):
        w.emit(Load(R5, TMP, 4, 4))
        w.known.numbers.add(R5)
    if w.surface.socket_helpers:
        helper = w.random.choice(w.surface.socket_helpers)
        if w.mistake():
            w.add(TMP, w.random.choice((4, 8)))
        w.move(R1, TMP)
        for position in range(1, len(helper.args)):
            w.move(Register(position + 1), w.constant())
        pointer = helper.returns is not ReturnKind.INTEGER
        w.call(helper.id, result=not pointer)
        if pointer:
            if not w.mistake(0.1):
                w.branch(Comparison.EQ, R0, Immediate(0), missing)
            w.emit(Load(R5, R0, w.random.choice((4, 8, 12)), 4))
            w.known.numbers.add(R5)
    w.known.join(before)
    w.place(missing)
    w.move(R0, w.constant())
    w.known.numbers.add(R0)


def helper_memory(w: Writer) -> None:
    """A helper by its prototype, on memory at an offset of the stack that varies, or in the data of a map."""
    helper = w.random.choice([each for each in w.surface.helpers if any(map(is_memory, each.args))])
    argument = next(filter(is_memory, helper.args))
    told = len(helper.args) > 1 and any(a.kind in (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO) for a in helper.args)
    size: int | Register = argument.size or w.random.choice((1, 2, 4, 8))
    if w.random.randrange(3):
        index = _CONSTANTS if w.mistake() or (not _writes(helper, argument) and w.chance(0.5)) else _GLOBALS
        room = MAPS[index].value_size
        if size > room:
            return
        w.emit(LoadImmediate64(TMP, index, w.random.randrange(0, room - size + 1 + w.slip()), Pseudo.MAP_INDEX_VALUE))
    else:
        if size > 16:
            return
        for offset in (-NUMBERS, -NUMBERS + 8):
            w.emit(Store(FP, offset, 8, w.operand()))
            w.wrote(offset, 8)
        if w.mistake():
            w.move(TMP, w.number())
        else:
            w.bounded(TMP, 16 - size)
        w.emit(Alu(AluOp.ADD, 64, TMP, FP))
        w.add(TMP, -NUMBERS)
    if told and w.chance(0.3):
        w.known.numbers.discard(R0)
        w.move(R0, w.number())
        most = 0xFF if w.mistake() else size - 1
        w.emit(Alu(AluOp.AND, 64, R0, Immediate(most)), Alu(AluOp.OR, 64, R0, Immediate(1)))
        size = R0
    call_by_prototype(w, helper, Memory(TMP, size))


def _writes(helper: HelperPrototype, argument: HelperArg) -> bool:
    return argument.writes or argument.kind not in (ArgKind.MEM_READ, ArgKind.MEM_READ_OR_NULL, ArgKind.FIXED_MEM)


def mixed(w: Writer) -> None:
    """What is a pointer on one path and a number on the other is not to be used."""
    if w.subprogram:
        return
    skip = Label()
    w.move(TMP, w.number())
    w.branch(w.random.choice((Comparison.EQ, Comparison.UGT, Comparison.SLT)), w.number(), w.operand(), skip)
    w.move(TMP, w.random.choice((CTX, FP)))
    w.place(skip)
    if w.mistake():
        w.emit(Alu(w.random.choice((AluOp.MUL, AluOp.XOR, AluOp.RSH)), 64, TMP, Immediate(3)))
