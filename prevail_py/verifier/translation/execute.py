"""Executing the IR of proved code over Z3 terms, one basic block of a program at a time.

Memory is no part of a state: each access is an *event* with its address and value, and what a load yields is a symbol
that the number of its event names.  So two executions do the same to memory, whatever is in it, if their events are
equal.  Variables of a function (``alloca``) and words of the block of the run are cells of the state.

What LLVM leaves undefined is an *obligation*: a divisor that is zero, a quotient that overflows, a shift by the width,
an address that is not aligned as an access says it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import z3

from prevail_py.verifier.translation.reader import Function, Instruction, IrError

__all__ = ["Cell", "End", "Event", "State", "Term", "changed_block", "division", "execute", "symbol"]

Term: TypeAlias = Any
"""A Z3 bit vector (an address or a word) or Boolean (``i1``), a :class:`Cell`, or a list of terms (a structure)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A pointer to something that no other pointer leads to: a variable by its name, or a word of the block."""

    place: str | int


@dataclass(frozen=True, slots=True)
class Event:
    """An effect: what, how many bytes, and its operands (address, value; arguments)."""

    kind: str
    size: int
    operands: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class End:
    """Where an execution ended: ``to`` is the label that control goes to, "" where the function returns ``result``."""

    to: str
    result: Term = None


@dataclass(slots=True)
class State:
    """``words`` is the size of the block of the run.

    ``values`` are those of names, ``cells`` those that were changed, ``path`` the conditions under which it comes.

    ``owed`` are obligations: conditions that must hold on the path so far, with the line that they are about.
    """

    words: int
    values: dict[str, Term] = field(default_factory=dict)
    cells: dict[str | int, Term] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    path: list[z3.BoolRef] = field(default_factory=list)
    owed: list[tuple[tuple[z3.BoolRef, ...], z3.BoolRef, str]] = field(default_factory=list)
    steps: int = 0

    def copy(self) -> State:
        """One that goes on on its own."""
        return replace(
            self,
            values=dict(self.values),
            cells=dict(self.cells),
            events=list(self.events),
            path=list(self.path),
            owed=list(self.owed),
        )

    def cell(self, place: str | int, width: int = 64) -> Term:
        """What is in a cell: a symbol of the state before, where it was not changed."""
        return self.cells.get(place, symbol(f"cell {place}", width))

    def emit(self, kind: str, size: int, *operands: Term) -> int:
        """Note an event; the number of it."""
        self.events.append(Event(kind, size, operands))
        return len(self.events) - 1

    def forget_block(self) -> None:
        """After the last event, which may change anything but the function's variables."""
        self.cells = {place: value for place, value in self.cells.items() if isinstance(place, str)}
        self.cells.update(changed_block(self.words, len(self.events)))

    def owe(self, condition: z3.BoolRef, line: str) -> None:
        """Note an obligation."""
        self.owed.append((tuple(self.path), condition, line))


def symbol(name: str, width: int = 64) -> z3.BitVecRef:
    """The unknown word of this name."""
    return z3.BitVec(name, width)


def changed_block(words: int, events: int) -> Iterator[tuple[int, Term]]:
    """What is in a block of so many words when the last of so many events may have changed all of it."""
    return ((place, symbol(f"cell {place} {events}")) for place in range(words))


_MOST_STEPS: Final = 20_000


def execute(function: Function, label: str, words: int, stop: str = "s") -> Iterator[tuple[End, State]]:
    """All ways through a function from a label to the next one that begins a block of the program, or to its end.

    ``words`` is the size of the block of the run (:func:`~prevail_py.vm.jit.proved.layout.block_words`), all of which
    helpers and subprograms may change.  Raises :class:`IrError` for what does not come to an end or is not in the
    subset.
    """
    pending: list[tuple[str, str, State]] = [("", label, State(words))]
    while pending:
        before, here, state = pending.pop()
        if before and here.startswith(stop) and here[len(stop) :].isdigit():
            yield End(here), state
            continue
        if here not in function.blocks:
            raise IrError(f"no block {here}")
        yield from _block(function, before, here, state, pending)


def _block(
    function: Function, before: str, here: str, state: State, pending: list[tuple[str, str, State]]
) -> Iterator[tuple[End, State]]:
    for instruction in function.blocks[here].instructions:
        state.steps += 1
        if state.steps > _MOST_STEPS:
            raise IrError(f"no end from {here}")
        match instruction.op:
            case "jump":
                pending.append((here, instruction.operands[0], state))
                return
            case "branch":
                condition = _value(state, instruction.operands[0], "i1")
                for holds, to in zip((condition, z3.Not(condition)), instruction.operands[1:], strict=True):
                    way = state.copy()
                    way.path.append(holds)
                    pending.append((here, to, way))
                return
            case "ret":
                yield End("", _value(state, instruction.operands[0], instruction.types[0])), state
                return
            case _:
                _instruction(state, instruction, before)
    raise IrError(f"the block {here} has no end")


def _width(type_: str) -> int:
    return 64 if type_ == "ptr" else int(type_[1:])


def _value(state: State, text: str, type_: str) -> Term:
    if text in state.values:
        return state.values[text]
    if type_ == "i1":
        if text in ("true", "false"):
            return z3.BoolVal(text == "true")
        return state.values.setdefault(text, z3.Bool(text))
    if text.startswith("{"):
        return [z3.BitVecVal(int(part.split()[1].replace("null", "0")), 64) for part in text.strip("{} ").split(",")]
    if text in ("poison", "zeroinitializer"):
        return [z3.BitVecVal(0, 64)] * type_.count(",") + [z3.BitVecVal(0, 64)]
    if text == "null":
        return z3.BitVecVal(0, 64)
    if not text.startswith("%"):
        return z3.BitVecVal(int(text), _width(type_))
    if text.endswith(".home") or text == "%fuel":
        return Cell(text)
    if text == "%run":
        return Cell(0)
    return state.values.setdefault(text, symbol(text, _width(type_)))


def division(op: str, a: z3.BitVecRef, b: z3.BitVecRef) -> z3.BitVecRef:
    """A quotient or remainder as an unknown function of its operands, of which only what is known of 1 and -1 is said.

    What is proved for every such function is proved of division, and takes no circuits of it.
    """
    width = a.size()
    if z3.is_app_of(b, z3.Z3_OP_ITE):  # a guarded divisor: so that both sides name the same quotient
        condition, one, other = b.children()
        return choose(condition, division(op, a, one), division(op, a, other))
    if z3.is_bv_value(b) and b.as_long() == 1:
        return a if op.endswith("div") else z3.BitVecVal(0, width)
    sort = z3.BitVecSort(width)
    result = z3.Function(f"{op}{width}", sort, sort, sort)(a, b)
    if op in ("udiv", "urem"):
        return result
    least = z3.BitVecVal(1 << (width - 1), width)
    overflow = z3.And(a == least, b == z3.BitVecVal(-1, width))
    by_one = a if op == "sdiv" else z3.BitVecVal(0, width)
    return z3.If(b == 1, by_one, z3.If(overflow, least if op == "sdiv" else z3.BitVecVal(0, width), result))


def choose(condition: z3.BoolRef, a: Term, b: Term) -> Term:
    """``a`` where the condition holds, otherwise ``b``, of which only what is chosen without it is kept."""
    if z3.is_app_of(b, z3.Z3_OP_ITE) and b.arg(0).eq(condition):
        b = b.arg(2)
    return z3.If(condition, a, b)


_ARITHMETIC: Final = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "udiv": lambda a, b: division("udiv", a, b),
    "urem": lambda a, b: division("urem", a, b),
    "sdiv": lambda a, b: division("sdiv", a, b),
    "srem": lambda a, b: division("srem", a, b),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b,
    "lshr": z3.LShR,
    "ashr": lambda a, b: a >> b,
}
_BOOLEAN: Final = {"and": z3.And, "or": z3.Or, "xor": z3.Xor}
_COMPARISONS: Final = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "ult": z3.ULT,
    "ule": z3.ULE,
    "ugt": z3.UGT,
    "uge": z3.UGE,
    "slt": lambda a, b: a < b,
    "sle": lambda a, b: a <= b,
    "sgt": lambda a, b: a > b,
    "sge": lambda a, b: a >= b,
}


def _instruction(state: State, i: Instruction, before: str) -> None:
    operands, types = i.operands, i.types
    match i.op:
        case "binary":
            a, b = (_value(state, text, types[0]) for text in operands[1:])
            if types[0] == "i1":
                state.values[i.result] = _BOOLEAN[operands[0]](a, b)
                return
            _owe(state, operands[0], a, b, i.line)
            state.values[i.result] = _ARITHMETIC[operands[0]](a, b)
        case "icmp":
            a, b = (_value(state, text, types[0]) for text in operands[1:])
            state.values[i.result] = _COMPARISONS[operands[0]](a, b)
        case "select":
            condition = _value(state, operands[0], "i1")
            a, b = (_value(state, text, types[0]) for text in operands[1:])
            state.values[i.result] = choose(condition, a, b)
        case "cast":
            state.values[i.result] = _cast(operands[0], _value(state, operands[1], types[0]), _width(types[1]))
        case "ptrtoint":
            state.values[i.result] = _value(state, operands[0], "ptr")
        case "gep":
            base, index = _value(state, operands[0], "ptr"), _value(state, operands[1], "i64")
            if isinstance(base, Cell):
                if base != Cell(0) or types[0] != "i64":
                    raise IrError(f"a place in a variable: {i.line}")
                state.values[i.result] = Cell(z3.simplify(index).as_long())
            else:
                state.values[i.result] = base + index * (_width(types[0]) // 8)
        case "load":
            _load(state, i)
        case "store":
            pointer = _value(state, operands[1], "ptr")
            value = _value(state, operands[0], types[0])
            _owe_alignment(state, pointer, operands[2], i.line)
            if isinstance(pointer, Cell):
                state.cells[pointer.place] = value
            else:
                state.emit("store", _width(types[0]) // 8, pointer, value)
        case "atomicrmw" | "cmpxchg":
            _atomic(state, i)
        case "call":
            _call(state, i)
        case "extract":
            state.values[i.result] = _value(state, operands[0], types[0])[int(operands[1])]
        case "insert":
            whole = list(_value(state, operands[0], types[0]))
            whole[int(operands[2])] = _value(state, operands[1], types[1])
            state.values[i.result] = whole
        case "phi":
            state.values[i.result] = _value(state, _chosen(i, before), types[0])
        case "helper":
            state.emit("helper", int(operands[0]))
            state.values["helper"] = operands[0]
            state.forget_block()
        case "result":
            for number, text in enumerate(operands):
                state.values[f"result {state.values['helper']} {number}"] = _value(
                    state, text, "ptr" if number == 1 else "i64"
                )
        case "fence":
            state.emit(f"fence {operands[0]}", 0)
        case "alloca":
            pass
        case _:
            raise IrError(f"not executed: {i.line}")


def _owe(state: State, op: str, a: Term, b: Term, line: str) -> None:
    width = b.size()
    if op in ("udiv", "urem", "sdiv", "srem"):
        state.owe(b != 0, line)
    if op in ("sdiv", "srem"):
        overflow = z3.And(a == z3.BitVecVal(1 << (width - 1), width), b == z3.BitVecVal(-1, width))
        state.owe(z3.Not(overflow), line)
    if op in ("shl", "lshr", "ashr"):
        state.owe(z3.ULT(b, z3.BitVecVal(width, width)), line)


_CELL_ALIGNMENT: Final = 8
"""Of words of the block, and of the variables, which are words and pointers."""


def _owe_alignment(state: State, pointer: Term, align: str, line: str) -> None:
    """An access through a pointer says that it is a multiple of ``align``, and is undefined where it is not."""
    if isinstance(pointer, Cell):
        if int(align) > _CELL_ALIGNMENT:
            raise IrError(f"an alignment of more than a word: {line}")
    elif int(align) > 1:
        state.owe(pointer & (int(align) - 1) == 0, line)


def _cast(op: str, value: Term, to: int) -> Term:
    if z3.is_bool(value):
        value = z3.If(value, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))
    match op:
        case "trunc":
            return z3.Extract(to - 1, 0, value)
        case "zext":
            return z3.ZeroExt(to - value.size(), value)
        case _:
            return z3.SignExt(to - value.size(), value)


def _load(state: State, i: Instruction) -> None:
    pointer, width = _value(state, i.operands[0], "ptr"), _width(i.types[0])
    _owe_alignment(state, pointer, i.operands[1], i.line)
    if isinstance(pointer, Cell):
        state.values[i.result] = state.cell(pointer.place)
    else:
        number = state.emit("load", width // 8, pointer)
        state.values[i.result] = symbol(f"memory {number}", width)


def _atomic(state: State, i: Instruction) -> None:
    """An atomic operation is a load and a store with nothing between them."""
    align = i.operands[3]
    if int(align) * 8 != _width(i.types[0]):
        raise IrError(f"an alignment that is not the size: {i.line}")
    _owe_alignment(state, _value(state, i.operands[0 if i.op == "cmpxchg" else 1], "ptr"), align, i.line)
    if i.op == "cmpxchg":
        pointer, expected, new = (
            _value(state, text, kind) for text, kind in zip(i.operands, ("ptr", *i.types), strict=False)
        )
        width = _width(i.types[0])
        old = symbol(f"memory {state.emit('load', width // 8, pointer)}", width)
        state.emit("store", width // 8, pointer, z3.If(old == expected, new, old))
        state.values[i.result] = [old, old == expected]
        return
    op, width = i.operands[0], _width(i.types[0])
    pointer, value = _value(state, i.operands[1], "ptr"), _value(state, i.operands[2], i.types[0])
    old = symbol(f"memory {state.emit('load', width // 8, pointer)}", width)
    state.emit("store", width // 8, pointer, value if op == "xchg" else _ARITHMETIC[op](old, value))
    state.values[i.result] = old


def _call(state: State, i: Instruction) -> None:
    name, given = i.operands
    arguments = [part.rsplit(" ", 1) for part in given.split(", ")] if given else []
    if name.startswith("@llvm.bswap"):
        (kind, text) = arguments[0]
        value = _value(state, text, kind)
        parts = [z3.Extract(low + 7, low, value) for low in range(0, value.size(), 8)]
        state.values[i.result] = z3.Concat(*parts) if len(parts) > 1 else value
        return
    if not name.startswith(("@f", "@loop")):
        raise IrError(f"a call of {name}")
    terms = [_value(state, text, kind) for kind, text in arguments]
    number = state.emit(f"call {name[1:]}", 0, *[term for term in terms if not isinstance(term, Cell)])
    state.forget_block()
    state.values[i.result] = [symbol(f"call {number} {place}") for place in range(i.types[0].count(",") + 1)]


def _chosen(i: Instruction, before: str) -> str:
    for part in i.operands[0].split("], "):
        value, label = part.strip("[] ").split(", ")
        if label == f"%{before}":
            return value
    raise IrError(f"no way from {before}: {i.line}")
