"""The IR of what instructions compute, from words and from pointers: one text of the semantics, over LLVM's algebra."""

from __future__ import annotations

from collections.abc import Sequence

from prevail_py.isa.instructions import Alu, EndianSwap, MoveSignExtend, Negate, Operand, Register
from prevail_py.isa.semantics import operands, operation
from prevail_py.vm.jit.proved.emission import Emission
from prevail_py.vm.jit.proved.model import Shadow
from prevail_py.vm.jit.proved.text import Word
from prevail_py.words import WORD_BITS, Comparison, OpKind, WordOp, compare, evaluate

__all__ = ["compute", "condition"]


def compute(f: Emission, pc: int, instruction: Alu | MoveSignExtend | Negate | EndianSwap) -> None:
    """``dst = op(sources)``, or a copy of the only source."""
    op, sources, dst = operation(instruction), operands(instruction), instruction.dst
    words = tuple(f.operand(source) for source in sources)
    shadow = None
    if dst in f.plan.shadowed:
        shadow = _moved_shadow(f, pc, dst, op, sources)
    f.put(dst, words[0] if op is None else evaluate(f.algebra, op, words), shadow)


def condition(f: Emission, comparison: Comparison, dst: Register, src: Operand, width: int) -> Word:
    """Whether a branch is taken."""
    result: Word = compare(f.algebra, comparison, f.word(dst), f.operand(src), width)
    return result


def _moved_shadow(f: Emission, pc: int, dst: Register, op: WordOp | None, sources: Sequence[Operand]) -> Shadow | None:
    """The shadow of what is computed, should it be a pointer."""
    if op is None:
        source = sources[0]
        return f.shadow(source) if isinstance(source, Register) else None
    if op.width != WORD_BITS or op.kind not in (OpKind.ADD, OpKind.SUB):
        return None
    source = sources[1]
    if op.kind is OpKind.ADD and pc in f.plan.facts.from_source and isinstance(source, Register):
        return f.shadow(source)
    return f.shadow(dst)
