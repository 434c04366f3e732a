"""Deciding assertions in a state: the violations an instruction may commit there.

Checks run only on final invariants, never on iterates of a fixpoint that are not yet narrowed.  A violation that is
only due to a POISON value has its cause reported elsewhere and is marked ``consequential``; whoever makes the verdict
must not call a program SAFE on the strength of violations left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, assert_never

from prevail_py.domains.lattice import Range, Term
from prevail_py.isa.instructions import AluOp, Operand, Register
from prevail_py.verifier.assertions import (
    Access,
    Arithmetic,
    Assertion,
    AssertionKind,
    CallDepth,
    FramePointer,
    HelperContract,
    Initialised,
    LegacyLoad,
    NoLeak,
    Result,
    UserAssertion,
)
from prevail_py.verifier.contracts import contract_violations
from prevail_py.verifier.regions import Violation, offset_by, sign_extended, violation
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.values import MAX_FRAMES, ZERO, Pointer, RegionKind, Special, Value

__all__ = ["Finding", "findings"]


class Finding(NamedTuple):
    """A violation of an assertion that a state does not exclude; ``registers`` are those at fault."""

    assertion: Assertion
    violation: Violation
    consequential: bool = False
    registers: tuple[Register, ...] = ()


def findings(setting: Setting, state: State, assertions: Iterable[Assertion]) -> list[Finding]:
    """Those of an instruction's assertions that may fail in ``state``, the first one per cause."""
    found: list[Finding] = []
    blamed: set[Register] = set()
    for assertion in assertions:
        for problem, registers in _decide(setting, state, assertion):
            if blamed & set(registers):
                continue
            blamed.update(registers)
            poisoned = any(state.registers[register] is Special.POISON for register in registers)
            found.append(Finding(assertion, problem, poisoned, registers))
    return found


def _decide(setting: Setting, state: State, assertion: Assertion) -> list[tuple[Violation, tuple[Register, ...]]]:
    match assertion:
        case Initialised(register):
            if state.registers[register] is not Special.UNINITIALISED:
                return []
            reason = f"r{register} is read but may not have been written"
            return [(Violation(AssertionKind.UNINITIALISED_REGISTER, reason), (register,))]
        case FramePointer():
            return [(Violation(AssertionKind.READ_ONLY, "r10 is read-only"), ())]
        case Access(base, offset, size, mode, signed):
            value = state.registers[base]
            if isinstance(value, Pointer):
                value = offset_by(value, offset)
            problem = violation(setting, state, value, Range(size, size), mode, f"r{base}", offset)
            if problem is None and signed and isinstance(value, Pointer):
                problem = sign_extended(setting, state, value, size)
            return [] if problem is None else [(problem._replace(message=f"r{base}: {problem.message}"), (base,))]
        case NoLeak(base, source, size):
            return _leak(setting, state, base, source, size)
        case Arithmetic(op, width, dst, src):
            return _arithmetic(setting, state, op, width, dst, src)
        case HelperContract(helper):
            return [(problem, (register,)) for problem, register in contract_violations(setting, state, helper)]
        case CallDepth():
            if len(state.frames) < MAX_FRAMES:
                return []
            return [(Violation(AssertionKind.CALL_DEPTH, f"more than {MAX_FRAMES} nested calls"), ())]
        case UserAssertion():
            return [(Violation(AssertionKind.USER_ASSERTION, "an assertion of the program may not hold"), ())]
        case LegacyLoad(index):
            return _legacy_load(setting, state, index)
        case Result():
            if len(state.frames) == 1:
                return _result(setting, state)
            return _callback_result(state) if state.frames[-1].is_callback else []
        case _:
            assert_never(assertion)


def _may_be_pointer(value: Value) -> bool:
    return not isinstance(value, Term) and value is not Special.UNINITIALISED


def _leak(
    setting: Setting, state: State, base: Register, source: Register, size: int
) -> list[tuple[Violation, tuple[Register, ...]]]:
    target, value = state.registers[base], state.registers[source]
    if not isinstance(target, Pointer) or not _may_be_pointer(value):
        return []
    if target.region.kind is RegionKind.STACK:
        if size == 8:
            return []
        reason = f"{size} bytes of a pointer ({state.show(value)}) are stored on the stack"
    elif setting.policy.pointer_leaks:
        return []
    else:
        reason = f"a pointer ({state.show(value)}) is stored in {target.region} memory"
    return [(Violation(AssertionKind.POINTER_LEAK, reason, "a number"), (source,))]


def _arithmetic(
    setting: Setting, state: State, op: AluOp | None, width: int, dst: Register, src: Operand | None
) -> list[tuple[Violation, tuple[Register, ...]]]:
    right: Value | None = state.registers[src] if isinstance(src, Register) else None
    left: Value | None = None if op is AluOp.MOV else state.registers[dst]
    involved = tuple(
        register
        for register, value in ((dst, left), (src, right))
        if isinstance(register, Register) and value is not None and _may_be_pointer(value)
    )
    if not involved:
        return []
    if setting.policy.pointer_leaks and _gives_number(op, width, left, right):
        return []
    match op, width, left, right:
        case AluOp.ADD | AluOp.SUB, 64, Pointer(), Term() | None:
            return []
        case AluOp.ADD, 64, Term(), Pointer():
            return []
        case AluOp.SUB, _, Pointer() as a, Pointer() as b if a.region == b.region and a.base == b.base:
            return []
        case _:
            name = "sign extension, negation or byte swap" if op is None else f"{op.value} at {width} bits"
            values = " and ".join(state.show(state.registers[register]) for register in involved)
            return [
                (
                    Violation(AssertionKind.POINTER_ARITHMETIC, f"{name} on {values}", "64-bit addition of a number"),
                    involved,
                )
            ]


def _no_result() -> tuple[Violation, tuple[Register, ...]]:
    reason = "r0 is read but may not have been written"
    return Violation(AssertionKind.UNINITIALISED_REGISTER, reason), (Register.R0,)


def _legacy_load(
    setting: Setting, state: State, index: Register | None
) -> list[tuple[Violation, tuple[Register, ...]]]:
    """A load of the first instruction set: through R6, and where there is no such byte the function ends with 0."""
    if setting.program_type.context_struct != "__sk_buff":
        raise Unsupported(f"legacy packet loads in {setting.program_type.name} programs")
    context = state.registers[6]
    is_context = isinstance(context, Pointer) and context.region.kind is RegionKind.CONTEXT and context.offset == ZERO
    if not is_context:
        reason = f"r6 is {state.show(context)}, not the context"
        return [(Violation(AssertionKind.NOT_A_POINTER, reason, "the context in r6"), (Register.R6,))]
    if index is not None and _may_be_pointer(state.registers[index]):
        reason = f"the index is a pointer ({state.show(state.registers[index])})"
        return [(Violation(AssertionKind.POINTER_ARITHMETIC, reason, "a number"), (index,))]
    if len(state.frames) > 1:
        return []
    ended = state.copy()
    ended.registers[0] = ZERO
    return _result(setting, ended)


def _callback_result(state: State) -> list[tuple[Violation, tuple[Register, ...]]]:
    """What a function that a helper called returns: 0 to go on, 1 to stop."""
    value = state.registers[0]
    if value is Special.UNINITIALISED:
        return [_no_result()]
    if _may_be_pointer(value):
        reason = f"a function called by a helper returns a pointer ({state.show(value)})"
        return [(Violation(AssertionKind.POINTER_LEAK, reason, "a number in r0"), (Register.R0,))]
    if isinstance(value, Term) and state.facts.range(value).hi > 1:
        reason = f"a function called by a helper returns r0 = {state.show(value)}"
        return [(Violation(AssertionKind.RETURN_RANGE, reason, "r0 in [0, 1]"), (Register.R0,))]
    return []


def _gives_number(op: AluOp | None, width: int, left: Value | None, right: Value | None) -> bool:
    """Whether the operation turns pointers into numbers, as transfer has it where the policy lets pointers leak."""
    if Special.POISON in (left, right):
        return False
    match op:
        case None | AluOp.MOV:
            return True
        case AluOp.SUB:
            return width == 32 or not (isinstance(left, Term) or isinstance(right, Term | None))
        case _:
            return False


def _result(setting: Setting, state: State) -> list[tuple[Violation, tuple[Register, ...]]]:
    out: list[tuple[Violation, tuple[Register, ...]]] = []
    value = state.registers[0]
    if value is Special.UNINITIALISED:
        out.append(_no_result())
    elif _may_be_pointer(value):
        reason = f"the program returns a pointer ({state.show(value)})"
        if setting.policy.pointer_leaks and setting.program_type.return_range is None:
            return _references(state)
        out.append((Violation(AssertionKind.POINTER_LEAK, reason, "a number in r0"), (Register.R0,)))
    elif isinstance(value, Term) and setting.program_type.return_range is not None:
        lo, hi = setting.program_type.return_range
        known = state.facts.range(value, signed=True)
        if known.lo < lo or known.hi > hi:
            reason = f"r0 = {state.show(value)} is returned"
            out.append((Violation(AssertionKind.RETURN_RANGE, reason, f"r0 in [{lo}, {hi}]"), (Register.R0,)))
    return out + _references(state)


def _references(state: State) -> list[tuple[Violation, tuple[Register, ...]]]:
    if all(state.facts.range(base).hi == 0 for base in state.references):
        return []
    reason = "a reference acquired from a helper is not released on every path"
    return [(Violation(AssertionKind.UNRELEASED_REFERENCE, reason, "a call that releases it"), ())]
