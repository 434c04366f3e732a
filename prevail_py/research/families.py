"""Families of generated programs: one shape each, as large as asked for.

They show how the cost of an analysis grows.  Every member is an XDP program that never faults and always returns
XDP_PASS or XDP_DROP; a sound verifier of reasonable precision accepts it.  Branches are short, so that no size runs
into the 16-bit limit of their offsets.

>>> straight_line(3).instruction_count
8
>>> sorted(FAMILIES)[:3]
['bounds_checks', 'call_tree', 'calls']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, cycle, islice
from typing import Final

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Branch,
    CallLocal,
    Exit,
    Immediate,
    Instruction,
    Jump,
    Load,
    Operand,
    Register,
    Store,
)
from prevail_py.objects.program import Program, Subprogram
from prevail_py.words import Comparison

__all__ = [
    "FAMILIES",
    "MAX_NESTING",
    "bounds_checks",
    "call_tree",
    "calls",
    "diamonds",
    "long_loop",
    "loop",
    "loops_in_sequence",
    "nested_loops",
    "stack_slots",
    "straight_line",
]

MAX_NESTING: Final = 64
"""How deep :func:`nested_loops` can be: every loop has its counter in a stack slot of 8 bytes."""

_XDP_DROP, _XDP_PASS = 1, 2
_DATA, _DATA_END, _INGRESS_IFINDEX = 0, 4, 12  # offsets in struct xdp_md, each of 4 bytes
R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register


def _operand(value: int | Register) -> Operand:
    return value if isinstance(value, Register) else Immediate(value)


def _set(dst: Register, value: int | Register) -> Alu:
    return Alu(AluOp.MOV, 64, dst, _operand(value))


def _alu(op: AluOp, dst: Register, value: int | Register) -> Alu:
    return Alu(op, 64, dst, _operand(value))


def _branch(dst: Register, comparison: Comparison, value: int | Register, offset: int) -> Branch:
    return Branch(comparison, 64, dst, _operand(value), offset)


def _return(value: int) -> list[Instruction]:
    return [_set(R0, value), Exit()]


def _slot(index: int) -> int:
    """The offset from R10 of the 8-byte stack slot number ``index % 64``."""
    return -8 * (index % 64 + 1)


def _program(name: str, code: Sequence[Instruction], subprograms: tuple[Subprogram, ...] = ()) -> Program:
    return Program(name, "xdp", "xdp", tuple(code), subprograms=subprograms, licence="MIT")


_SCALAR: Final = Load(R2, R1, _INGRESS_IFINDEX, 4)  # r2: any 32-bit value


def _check(n: int, most: int | None = None) -> None:
    if n < 1 or (most is not None and n > most):
        raise ValueError(f"the size of this family is at least 1{'' if most is None else f' and at most {most}'}: {n}")


def straight_line(n: int) -> Program:
    """``n`` ALU instructions on two unknown scalars, without a branch."""
    _check(n)
    step = [
        _alu(AluOp.ADD, R3, R2),
        _alu(AluOp.AND, R3, 0xFFFF),
        _alu(AluOp.LSH, R2, 3),
        _alu(AluOp.XOR, R2, R3),
        _alu(AluOp.RSH, R2, 1),
        _alu(AluOp.MUL, R3, 5),
        _alu(AluOp.OR, R3, 1),
        _alu(AluOp.SUB, R3, 7),
    ]
    return _program(
        f"straight_line_{n}", [_SCALAR, _set(R3, R2), *islice(cycle(step), n), _set(R0, R3), *_return(_XDP_PASS)]
    )


def diamonds(n: int) -> Program:
    """``n`` if-then-else in sequence, each on an unknown bit and with different constants added: 2 ** n paths."""
    _check(n)
    code: list[Instruction] = [_SCALAR, _set(R3, 0)]
    for index in range(n):
        code += [
            _set(R4, R2),
            _alu(AluOp.AND, R4, 1 << index % 31),
            _branch(R4, Comparison.EQ, 0, 2),
            _alu(AluOp.ADD, R3, 1),
            Jump(1),
            _alu(AluOp.ADD, R3, 2),
        ]
    return _program(f"diamonds_{n}", [*code, *_return(_XDP_PASS)])


def stack_slots(n: int) -> Program:
    """All 64 stack slots live across ``n`` joins; each overwrites one slot on one of two paths.  Their sum is read."""
    _check(n)
    code: list[Instruction] = [_SCALAR, *(Store(R10, _slot(index), 8, R2) for index in range(64))]
    for index in range(n):
        code += [
            _branch(R2, Comparison.UGT, index % 4096, 2),
            _set(R3, index),
            Store(R10, _slot(index), 8, R3),
        ]
    code.append(_set(R3, 0))
    for index in range(64):
        code += [Load(R4, R10, _slot(index), 8), _alu(AluOp.ADD, R3, R4)]
    return _program(f"stack_slots_{n}", [*code, *_return(_XDP_PASS)])


def bounds_checks(n: int) -> Program:
    """``n`` checks of the packet's length, each one byte further and followed by a load of that byte; at most 65534."""
    _check(n, 65534)
    code: list[Instruction] = [Load(R6, R1, _DATA, 4), Load(R7, R1, _DATA_END, 4), _set(R5, 0)]
    for index in range(n):
        code += [
            _set(R3, R6),
            _alu(AluOp.ADD, R3, index + 1),
            _branch(R3, Comparison.ULE, R7, 2),
            *_return(_XDP_DROP),
            Load(R4, R6, index, 1) if index < 32768 else Load(R4, R3, -1, 1),
            _alu(AluOp.ADD, R5, R4),
        ]
    return _program(f"bounds_checks_{n}", [*code, *_return(_XDP_PASS)])


def _counted(counter: Register, trips: int, body: Sequence[Instruction]) -> list[Instruction]:
    """``for (counter = 0; counter < trips; counter++) body``, tested at the end."""
    back = -(len(body) + 2)
    far = back < -0x8000
    again: list[Instruction] = (
        [_branch(counter, Comparison.UGE, trips, 1), Jump(back - 1, wide=True)]
        if far
        else [_branch(counter, Comparison.ULT, trips, back)]
    )
    return [_set(counter, 0), *body, _alu(AluOp.ADD, counter, 1), *again]


def loop(n: int) -> Program:
    """A loop of ``n`` trips that reads one of the 64 bytes of a stack buffer at an index kept in bounds by a mask."""
    _check(n)
    body: list[Instruction] = [
        _set(R4, R3),
        _alu(AluOp.AND, R4, 63),
        _set(R5, R10),
        _alu(AluOp.ADD, R5, -64),
        _alu(AluOp.ADD, R5, R4),
        Load(R0, R5, 0, 1),
    ]
    buffer = [Store(R10, _slot(index), 8, Immediate(0)) for index in range(8)]
    return _program(f"loop_{n}", [*buffer, *_counted(R3, n, body), *_return(_XDP_PASS)])


def long_loop(n: int) -> Program:
    """A loop of 16 trips over a body of ``n`` ALU instructions on an unknown scalar."""
    _check(n)
    body: list[Instruction] = [_alu(AluOp.ADD, R2, R3), _alu(AluOp.AND, R2, 0xFFFFFF), _alu(AluOp.XOR, R2, 0x55)]
    return _program(f"long_loop_{n}", [_SCALAR, *_counted(R3, 16, list(islice(cycle(body), n))), *_return(_XDP_PASS)])


def loops_in_sequence(n: int) -> Program:
    """``n`` loops of 16 trips one after another, each adding its counter to a byte-sized sum."""
    _check(n)
    code: list[Instruction] = [_SCALAR]
    for _ in range(n):
        code += _counted(R3, 16, [_alu(AluOp.ADD, R2, R3), _alu(AluOp.AND, R2, 0xFF)])
    return _program(f"loops_in_sequence_{n}", [*code, *_return(_XDP_PASS)])


def nested_loops(n: int) -> Program:
    """``n`` loops of two trips inside one another, with their counters on the stack: 2 ** n steps; at most 64 deep.

    One for verifiers only beyond a depth of some 20.
    """
    _check(n, MAX_NESTING)
    code: list[Instruction] = [_alu(AluOp.AND, R2, 0xFF)]
    for depth in range(n):
        tail: list[Instruction] = [
            Load(R3, R10, _slot(depth), 8),
            _alu(AluOp.ADD, R3, 1),
            Store(R10, _slot(depth), 8, R3),
        ]
        back = -(len(code) + len(tail) + 1)
        code = [Store(R10, _slot(depth), 8, Immediate(0)), *code, *tail, _branch(R3, Comparison.ULT, 2, back)]
    return _program(f"nested_loops_{n}", [_SCALAR, *code, *_return(_XDP_PASS)])


def calls(n: int) -> Program:
    """``n`` calls of one subprogram that masks its argument, which is the result of the call before."""
    _check(n)
    code: list[Instruction] = [_SCALAR, _set(R1, R2)]
    end = len(code) + 2 * n + 2
    for _ in range(n):
        code += [CallLocal(end - len(code) - 1), _set(R1, R0)]
    code += _return(_XDP_PASS)
    callee: list[Instruction] = [_set(R0, R1), _alu(AluOp.AND, R0, 0xFF), _alu(AluOp.ADD, R0, 1), Exit()]
    name = f"calls_{n}"
    return _program(name, [*code, *callee], (Subprogram(name, 0, end), Subprogram("mask", end, end + len(callee))))


def call_tree(n: int) -> Program:
    """``n`` calls of a subprogram that calls the next one twice, and so on for six levels: 127 calls in each.

    Each call is passed the result of the one before.
    """
    _check(n)
    once: list[Instruction] = [CallLocal(0), _set(R1, R0)]
    leaf: list[Instruction] = [_set(R0, R1), _alu(AluOp.AND, R0, 0xFF), _alu(AluOp.ADD, R0, 1), Exit()]
    functions = [[_SCALAR, _set(R1, R2), *once * n, *_return(_XDP_PASS)], *[[*once * 2, Exit()]] * 6, leaf]
    starts = list(accumulate(map(len, functions), initial=0))
    code: list[Instruction] = []
    for function, following in zip(functions, starts[1:], strict=True):
        for instruction in function:
            calls = isinstance(instruction, CallLocal)
            code.append(CallLocal(following - len(code) - 1) if calls else instruction)
    name = f"call_tree_{n}"
    names = [name, *[f"level_{level}" for level in range(1, len(functions))]]
    return _program(name, code, tuple(map(Subprogram, names, starts, starts[1:])))


FAMILIES: Final[Mapping[str, Callable[[int], Program]]] = {
    family.__name__: family
    for family in (
        straight_line,
        diamonds,
        stack_slots,
        bounds_checks,
        loop,
        long_loop,
        loops_in_sequence,
        nested_loops,
        calls,
        call_tree,
    )
}
"""Every family by name."""
