"""How symbols were computed, throughout one analysis: to know which of them are worth keeping."""

from __future__ import annotations

from prevail_py.domains.lattice import NO_SYMBOL, Symbol, Term
from prevail_py.isa.instructions import Alu, AluOp, Immediate
from prevail_py.isa.semantics import immediate_word
from prevail_py.objects.program import Program
from prevail_py.words import OpKind, WordOp

__all__ = ["Definitions", "masks_of"]


class Definitions(dict[Symbol, tuple[WordOp, tuple[Term, ...]]]):
    """How each symbol was computed.

    ``masks`` are the constants with which the program masks more than once: what ``x & c`` was found to be is kept for
    the next time.  ``known`` has the symbol that was last given to each expression.
    """

    def __init__(self, masks: frozenset[int]) -> None:
        super().__init__()
        self.masks = masks
        self.known: dict[tuple[WordOp, tuple[Term, ...]], Symbol] = {}

    def comes_again(self, symbol: Symbol, live: set[Symbol]) -> bool:
        """Whether the program may compute the same from a live symbol once more."""
        definition = self.get(symbol)
        if definition is None or definition[0].kind is not OpKind.AND:
            return False
        masked, by = definition[1]
        return by.symbol == NO_SYMBOL and by.offset in self.masks and masked.symbol in live


def masks_of(program: Program) -> frozenset[int]:
    """The constants with which the program masks more than once."""
    met: set[int] = set()
    again: set[int] = set()
    for instruction in program.code:
        if isinstance(instruction, Alu) and instruction.op is _AND and isinstance(instruction.src, Immediate):
            word = immediate_word(instruction.src.value)
            (again if word in met else met).add(word)
    return frozenset(again)


_AND = AluOp.AND
