"""The text of computing instructions and of conditions: :mod:`prevail_py.words` read in source text."""

from __future__ import annotations

from prevail_py.isa.instructions import Branch, MayGoto, Operand, Register
from prevail_py.isa.semantics import Computing, operands, operation
from prevail_py.vm.source.algebra import SOURCE, name
from prevail_py.vm.source.analysis import May, Value
from prevail_py.vm.source.writer import Site, Writer, term, uninitialised
from prevail_py.words import WORD_BITS, OpKind, compare, evaluate

__all__ = ["check_branch", "compute", "condition"]


def condition(instruction: Branch | MayGoto) -> str:
    """When the branch is taken."""
    if isinstance(instruction, MayGoto):
        return "frame.may_goto_left <= 0"
    dst, src = name(f"r{instruction.dst}"), term(instruction.src)
    return compare(SOURCE, instruction.comparison, dst, src, instruction.width)


def check_branch(w: Writer, at: Site, instruction: Branch) -> list[str]:
    """Trap where an operand of the condition was never written."""
    guards = [*uninitialised(at.state, instruction.dst), *uninitialised(at.state, instruction.src)]
    return w.guarded(guards, ["pass"], at) if guards else []


def compute(w: Writer, at: Site, instruction: Computing) -> list[str]:
    """``dst = op(sources)``, or a copy of the only source."""
    op, sources, dst, state = operation(instruction), operands(instruction), instruction.dst, at.state
    if dst == Register.R10:
        return w.reference(at)
    values = [state.value(source) for source in sources]
    guards = [guard for source in sources for guard in uninitialised(state, source)]
    terms = tuple(term(source) for source in sources)
    if op is None:
        pointer = w.pointer(sources[0]) if isinstance(sources[0], Register) and values[0].pointer else "None"
        return w.guarded(guards, [f"r{dst} = {terms[0]}", *w.set_provenance(state, dst, pointer)], at)
    result = [f"r{dst} = {evaluate(SOURCE, op, terms)}"]
    if not any(value.pointer for value in values):
        return w.guarded(guards, [*result, *w.set_provenance(state, dst, "None")], at)
    if len(sources) == 2 and op.width == WORD_BITS and op.kind in (OpKind.ADD, OpKind.SUB):
        kept = _kept(w, op.kind, values[0], values[1], dst, sources[1], guards)
        if kept != w.pointer(dst):
            result += w.set_provenance(state, dst, kept)
        return w.guarded(guards, result, at)
    if any(not value.may & May.NUMBER for value in values):
        return w.reference(at)
    for source, value in zip(sources, values, strict=True):
        if isinstance(source, Register) and value.pointer:
            guards.append(f"{w.pointer(source)} is not None")
    return w.guarded(guards, [*result, *w.set_provenance(state, dst, "None")], at)


def _kept(w: Writer, kind: OpKind, a: Value, b: Value, dst: Register, src: Operand, guards: list[str]) -> str:
    """The provenance of a 64-bit sum or difference of which an operand may be a pointer; adds to the guards."""
    left = w.pointer(dst)
    guards += _stale(a, left)
    if not b.pointer or not isinstance(src, Register):
        return left
    right = w.pointer(src)
    if kind is OpKind.SUB:
        if a.pointer:
            stale = "" if b.live and not b.may & (May.STACK | May.CONTEXT) else f" or not {right}.live"
            guards.append(f"({right} is not None and ({right} is not {left}{stale}))")
            return f"{left} if {right} is None else None"
        guards.append(f"{right} is not None")
        return left
    guards += _stale(b, right)
    if not a.pointer:
        return right
    guards.append(f"({left} is not None and {right} is not None)")
    return f"{left} or {right}"


def _stale(value: Value, pointer: str) -> list[str]:
    """The guard that a pointer's region is there still: the context and the own frame always are."""
    if value.live or not value.may & May.POINTER:
        return []
    return [f"not {pointer}.live" if value.may == May.POINTER else f"({pointer} is not None and not {pointer}.live)"]
