"""The IR of computing instructions and of conditions: :mod:`prevail_py.words` read in LLVM IR."""

from __future__ import annotations

from prevail_py.isa.instructions import Branch, Register
from prevail_py.isa.semantics import Computing, operands, operation
from prevail_py.vm.jit.algebra import Bit, Value
from prevail_py.vm.jit.emitter import Emitter, Site, constant
from prevail_py.vm.jit.layout import NUMBER
from prevail_py.vm.source.analysis import May
from prevail_py.vm.source.analysis import Value as Fact
from prevail_py.words import WORD_BITS, OpKind, compare, evaluate

__all__ = ["compute", "condition"]


def condition(e: Emitter, at: Site, instruction: Branch) -> Bit:
    """Whether the branch is taken."""
    dst, src = instruction.dst, instruction.src
    e.begin(at, (dst, src))
    e.require_initialised(at, dst, src)
    e.finish(at)
    return compare(e.algebra, instruction.comparison, e.operand(dst), e.operand(src), instruction.width)


def compute(e: Emitter, at: Site, instruction: Computing) -> None:
    """``dst = op(sources)``, or a copy of the only source."""
    op, sources, dst = operation(instruction), operands(instruction), instruction.dst
    if dst == Register.R10:
        e.reference(at, ())
        return
    e.begin(at, sources)
    words = tuple(e.operand(source) for source in sources)
    if op is None:
        (source,) = sources
        e.require_initialised(at, source)
        tag = e.tag(source, at.state) if isinstance(source, Register) else constant(NUMBER)
        e.finish(at, dst, words[0], tag)
        return
    pointer = any(at.state.value(source).pointer for source in sources)
    if pointer and op.width == WORD_BITS and op.kind in (OpKind.ADD, OpKind.SUB):
        src = sources[1]
        right = e.tag(src, at.state) if isinstance(src, Register) else constant(NUMBER)
        tag = _kept(e, op.kind, (at.state.value(dst), at.state.value(src)), (e.tag(dst, at.state), right))
        e.finish(at, dst, evaluate(e.algebra, op, words), tag)
        return
    e.require_numbers(at, *sources)
    e.finish(at, dst, evaluate(e.algebra, op, words), NUMBER)


def _kept(e: Emitter, kind: OpKind, facts: tuple[Fact, Fact], tags: tuple[Value, Value]) -> Value:
    """The tag of a 64-bit sum or difference of which an operand may be a pointer, as in the reference.

    Only a number can be added to or subtracted from a pointer, and two pointers into the same region be subtracted
    from each other; what they point to must be there still.  An uninitialised register is not "there".
    """
    (left, right), b = tags, e.builder
    for fact, tag in zip(facts, tags, strict=True):
        if fact.may & May.UNINITIALISED or (fact.may & May.POINTER and not fact.live):
            e.require(b.icmp_unsigned("!=", e.live(tag), constant(0)))
    if not facts[1].pointer:
        return left
    left_number, right_number = (b.icmp_unsigned("==", tag, constant(NUMBER)) for tag in tags)
    if kind is OpKind.ADD:
        e.require(b.or_(left_number, right_number))
        return b.or_(left, right)
    e.require(b.or_(right_number, b.icmp_unsigned("==", left, right)))
    return b.select(right_number, left, constant(NUMBER))
