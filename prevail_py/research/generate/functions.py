"""Subprograms and bounded loops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    CallLocal,
    Exit,
    Immediate,
    Load,
    LoadImmediate64,
    Operand,
    Pseudo,
    Register,
    Store,
)
from prevail_py.research.generate import statements
from prevail_py.research.generate.writer import (
    CONTEXT_SLOT,
    COUNTERS,
    CTX,
    FP,
    NUMBERS,
    PKT,
    POINTER_SLOT,
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R8,
    TMP,
    VALUE_SLOT,
    Known,
    Label,
    Writer,
)
from prevail_py.words import Comparison

# Subprograms ---------------------------------------------------------------------------------------------


def call_numbers(w: Writer) -> None:
    """A subprogram on numbers."""
    _call(w, "numbers", [w.number(), w.number()])


def call_memory(w: Writer) -> None:
    """A subprogram that is passed a part of the stack and an index, or a context to spill there."""
    w.emit(Store(FP, -NUMBERS, 8, w.operand()), Store(FP, -NUMBERS + 8, 8, Immediate(0)))
    w.wrote(-NUMBERS, 16)
    w.bounded(TMP, 15)
    if w.chance(0.3) and not w.subprogram:
        w.move(R1, FP)
        w.add(R1, CONTEXT_SLOT)
        w.move(R2, CTX)
        _called(w, "pointer")
        w.known.spilled_context = True
    else:
        w.move(R1, FP)
        w.add(R1, -NUMBERS)
        w.move(R2, TMP)
        _called(w, "memory")


def _call(w: Writer, name: str, arguments: Iterable[Operand]) -> None:
    for position, argument in enumerate(arguments, 1):
        w.emit(Store(FP, VALUE_SLOT + 8 * position, 8, argument))
    for position in (1, 2):
        w.emit(Load(Register(position), FP, VALUE_SLOT + 8 * position, 8))
    _called(w, name)


def _called(w: Writer, name: str) -> None:
    w.calls.append((len(w.code), name))
    w.emit(CallLocal(0))
    w.known.numbers -= {R1, R2, R3, R4, R5}
    w.known.numbers.add(R0)


def call_chain(w: Writer) -> None:
    """A subprogram that calls another one, and so on; at most eight functions may be active."""
    depth = w.random.choice((9, 8, 10)) if w.mistake(0.4) else w.random.choice((1, 2, 3, 5, 6))
    _call(w, f"{_LINK}{depth}", [w.number(), w.number()])
    if w.mistake(0.1):
        w.move(R0, w.random.choice((R1, R2, R3)))  # which a call leaves unwritten


_LINK: Final = "link "


def call_back(w: Writer) -> None:
    """A function that a helper calls: some times, or for each element of a map, with a part of the stack to work on."""
    w.emit(Store(FP, -NUMBERS, 8, w.operand()), Store(FP, -NUMBERS + 8, 8, Immediate(w.random.randrange(4))))
    w.wrote(-NUMBERS, 16)
    elements = w.chance(0.4)
    if elements:
        w.emit(LoadImmediate64(R1, w.random.choice((0, 1)), 0, Pseudo.MAP_INDEX))
    elif w.chance(0.5):
        w.bounded(TMP, w.random.choice((1, 3, 7)))
        w.move(R1, TMP)
    else:
        w.move(R1, w.random.choice((0, 1, 2, 5)))
    w.calls.append((len(w.code), "element" if elements else "turn"))
    w.emit(LoadImmediate64(R2, 0, 0, Pseudo.FUNCTION))
    w.move(R3, FP)
    w.add(R3, -NUMBERS)
    w.move(R4, 0)
    w.call(164 if elements else 181)
    if w.chance(0.5):
        dst = w.random.choice((R0, R1, R4, R5))
        w.emit(Load(dst, FP, -NUMBERS + w.random.choice((0, 8)), 8))
        w.known.numbers.add(dst)
        if w.mistake():
            w.move(TMP, dst)
            w.emit(Alu(AluOp.ADD, 64, TMP, FP), Store(TMP, -NUMBERS + 16, 1, Immediate(1)))


def write_subprogram(w: Writer, name: str, size: int) -> None:
    """R1 and R2 are what the callers agree on; the subprogram returns a number."""
    w.known, w.subprogram, w.out = Known({R1, R2}), True, Label()
    is_callback = False
    match name:
        case "numbers":
            w.statements(w, size)
            if w.loops and w.chance(0.5):
                loop(w)
        case "turn" | "element":
            _work_on(w, name, size)
            is_callback = True
        case "memory":
            w.known.numbers = {R2}
            w.move(TMP, R1)
            w.emit(Store(FP, POINTER_SLOT, 8, TMP))
            w.emit(Alu(AluOp.ADD, 64, R2, R1))
            w.known.numbers = set()
            w.emit(Load(R3, R2, 0, 1), Load(R4, R1, w.random.choice((0, 8)), 8))
            w.known.numbers = {R3, R4}
            w.emit(Store(R1, w.random.choice((0, 4)), 4, w.operand()), Store(R2, 0, 1, w.operand()))
            w.statements(w, size)
            w.emit(Load(TMP, FP, POINTER_SLOT, 8), Store(TMP, 8, 8, w.operand()))
        case _ if name.startswith(_LINK):
            left = int(name.removeprefix(_LINK))
            w.emit(Alu(AluOp.ADD, 64, R1, R2))
            if left > 1:
                _called(w, f"{_LINK}{left - 1}")
            else:
                w.move(R0, R1)
                w.known.numbers.add(R0)
        case _:
            w.emit(Store(R1, 0, 8, R2))
            w.known.numbers = set()
    if R0 not in w.known.numbers:
        w.move(R0, w.constant())
    if is_callback:
        w.move(R0, w.constant() if w.mistake() else w.random.choice((0, 0, 1)))
    end = Label()
    w.jump(end)
    w.place(w.out)
    w.move(R0, 1)
    w.place(end)
    w.emit(Exit())


def _work_on(w: Writer, name: str, size: int) -> None:
    """The body of a callback: the number of the turn, or map, key and value; then 16 bytes of another frame."""
    shared = R2 if name == "turn" else R4
    w.emit(Store(FP, POINTER_SLOT, 8, shared))
    if name == "turn":
        w.known.numbers = {R1}
    else:
        w.move(TMP, R3)
        w.emit(Load(R0, R2, 0, 4))
        w.known.numbers = {R0}
        statements.use_memory(w, TMP, 48)  # which is what the smaller of both maps has
        if w.mistake():
            w.emit(LoadImmediate64(R5, 0, 0, Pseudo.MAP_INDEX_VALUE), Alu(AluOp.SUB, 64, TMP, R5))
        w.known.numbers -= {R1, R2, R3, R4, R5}
    place = w.random.choice((0, 8))
    w.emit(Load(TMP, FP, POINTER_SLOT, 8), Load(R5, TMP, place, 8))
    w.known.numbers.add(R5)
    w.statements(w, min(size, 2))
    w.emit(Load(TMP, FP, POINTER_SLOT, 8))
    if w.chance(0.5):
        w.emit(Store(TMP, place, 8, w.operand()))
    else:
        w.emit(Atomic(AtomicOp.ADD, False, 8, TMP, place, w.number()))


# Loops ---------------------------------------------------------------------------------------------------------------


def loop(w: Writer) -> None:
    """A bounded loop of one of several forms, with a body of statements, some of which use the counter."""
    if w.looping == 2:
        return
    form = w.random.choice(("up", "up !=", "down", "down !=", "while", "packet"))
    if form == "packet" and not w.looping and not w.subprogram and w.surface.data is not None:
        _walk(w)
        return
    slot, narrow = COUNTERS - 8 * w.looping, w.random.choice((32, 64))
    step = w.random.choice((1, 1, 1, 2, 3, 4))
    turns = w.random.randrange(1, 5 if w.looping else 9)
    first, last = (step * turns, 0) if form.startswith("down") else (0, step * turns)
    w.features[f"loop: {form}"] += 1
    w.features[f"loop: {narrow} bits"] += 1
    w.features["loop: nested" if w.looping else f"loop: step {'1' if step == 1 else '> 1'}"] += 1
    head, end = Label(), Label()
    # The counter lives on the stack, as in code that was not optimised, or in R8 for the outermost loop.
    in_register = not w.looping and w.chance(0.5)
    counter = R8 if in_register else TMP
    w.move(counter, first)
    variable = form in ("up", "while") and w.chance(0.4)
    if variable:
        w.bounded(TMP, last)
        w.emit(Store(FP, slot - 32, 8, TMP))
        if not in_register:
            w.move(counter, first)
    if not in_register:
        w.emit(Store(FP, slot, 8, counter))
    before = w.known.copy()
    before.numbers.discard(R8)
    w.known = before.copy()
    w.place(head)

    def test(comparison: Comparison, label: Label) -> None:
        if variable:
            w.known.numbers.discard(R5)
            before.numbers.discard(R5)
            w.emit(Load(R5, FP, slot - 32, 8))
            w.branch(comparison, counter, R5, label, narrow)
        else:
            w.branch(comparison, counter, Immediate(last), label, narrow)

    if form == "while":
        if not in_register:
            w.emit(Load(TMP, FP, slot, 8))
        test(Comparison.UGE, end)
    w.looping += 1
    _indexed(w, counter, slot, in_register, max(first, last) - (0 if form.startswith("down") else step))
    outer, w.reserved = w.reserved, w.reserved | ({R8} if in_register else frozenset())
    w.statements(w, w.random.randrange(1, 4))
    if w.chance(0.3):
        loop(w)
    w.reserved = outer
    w.looping -= 1
    for lost in sorted(before.numbers - w.known.numbers):
        w.move(lost, w.constant())
    w.known = before.copy()
    if not in_register:
        w.emit(Load(TMP, FP, slot, 8))
    w.emit(Alu(AluOp.SUB if form.startswith("down") else AluOp.ADD, narrow, counter, Immediate(step)))
    if not in_register:
        w.emit(Store(FP, slot, 8, counter))
    match form:
        case "up":
            test(Comparison.ULT, head)
        case "down":
            w.branch(Comparison.SGT, counter, Immediate(0), head, narrow)
        case "while":
            w.jump(head)
            w.place(end)
        case _:
            w.branch(Comparison.NE, counter, Immediate(last), head, narrow)
    w.known = before


def _indexed(w: Writer, counter: Register, slot: int, in_register: bool, last: int) -> None:
    """Use the counter, at most ``last`` in this turn, as an index."""
    if last + w.slip() >= 56 or w.chance(0.3):
        return
    if in_register:
        w.move(TMP, counter)
    else:
        w.emit(Load(TMP, FP, slot, 8))
    room = last + 1
    w.emit(Alu(AluOp.ADD, 64, TMP, FP))
    offset = -room - w.random.choice((0, 0, 4)) + (1 if w.slip() else 0)
    w.emit(Store(TMP, offset, 1, w.operand()))


def _walk(w: Writer) -> None:
    """Walk over a packet by constant or by variable steps."""
    w.features["loop: packet"] += 1
    head, done = Label(), Label()
    w.known.numbers -= {R3, R4, R5}
    w.emit(statements.load_field(w.surface.data, PKT), statements.load_field(w.surface.end, R4))
    w.place(head)
    w.move(R3, PKT)
    w.add(R3, 4)
    w.branch(Comparison.UGT, R3, R4, done)
    w.emit(Load(R5, PKT, w.random.choice((0, 2, 3)) + w.slip(), 1))
    if w.chance(0.5):
        w.move(PKT, R3)
    else:
        w.emit(Alu(AluOp.AND, 64, R5, Immediate(w.random.choice((3, 15)))))
        w.add(PKT, 1)
        w.emit(Alu(AluOp.ADD, 64, PKT, R5))
    w.jump(head)
    w.place(done)
    w.known.packet = None
