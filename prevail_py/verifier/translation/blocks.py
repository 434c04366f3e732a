"""Whether the IR of a program computes what the semantics says, block by block, for all words and all memory.

For each basic block of a function the IR is executed over Z3 terms from the block's label to the labels of the blocks
that follow (:mod:`prevail_py.verifier.translation.execute`), and the instructions by the semantics (``words.py`` over
the algebra of Z3), both from the same unknown registers.  On every way through the IR must be equal: which block
follows, registers, the shadows of pointers, and the sequence of accesses to memory and fences, with their addresses and
values.  Addresses are where the region that the facts name is, plus the distance of the word from the region's address.

Taken for granted: the facts; what a helper does (in place or in Python), as one step whose result is unknown, for which
there are tests; R1 to R5 after a call, which no instruction reads; the scopes of accesses (``!alias.scope``,
``!noalias``), which are not compared with the regions of the facts; that the block of the run is aligned as words are.
The loop over packets is not a program's.  LLVM and its passes are not validated: this is about the IR that we emit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import z3

from prevail_py.isa.instructions import MayGoto
from prevail_py.objects.program import Program
from prevail_py.objects.region_facts import RegionFacts
from prevail_py.platforms import platform
from prevail_py.verifier.translation.equality import (
    Mistake,
    differences,
    event_differences,
    holds,
    is_status,
    undefined,
)
from prevail_py.verifier.translation.execute import End, State, Term, execute, symbol
from prevail_py.verifier.translation.loops import validate_loop
from prevail_py.verifier.translation.reader import Function, IrError, functions
from prevail_py.verifier.translation.semantics import Semantics, name_of
from prevail_py.vm.jit.proved.emission import MAY_GOTO
from prevail_py.vm.jit.proved.layout import Field, MapField, Status, block_words, map_field
from prevail_py.vm.jit.proved.model import Layout, Variant
from prevail_py.vm.jit.proved.module import layout_of, module_text
from prevail_py.vm.jit.proved.plan import Plan, plan
from prevail_py.vm.machine import prepare
from prevail_py.vm.maps import Map, create_maps
from prevail_py.vm.memory import CONTEXT_BASE
from prevail_py.vm.source.flow import Block
from prevail_py.words import WORD_BITS

__all__ = ["Mistake", "validate"]


def validate(
    program: Program,
    facts: RegionFacts,
    maps: Sequence[Map] | None = None,
    variant: Variant | None = None,
) -> tuple[Mistake, ...]:
    """Translate a program with these facts and check every block; empty where all are right.

    ``variant`` may count fuel, and may not be checked.  Raises
    :class:`~prevail_py.vm.jit.proved.plan.Ineligible` where the program has no proved code.
    """
    variant = variant or Variant()
    if variant.checked:
        raise ValueError("checked code has ways out that the semantics does not")
    host = platform(program.platform)
    given = tuple(create_maps(program.maps) if maps is None else maps)
    planned = plan(prepare(host, program, {}), host, facts, given)
    found: list[Mistake] = []
    try:
        written = functions(module_text(planned, given, variant, batch=False))
    except IrError as error:
        return (Mistake(0, str(error)),)
    for entry, blocks in planned.functions.items():
        function = written["main" if entry == 0 else f"f{entry}"]
        checker = _Checker(planned, layout_of(given), variant, function, entry, block_words(len(given)))
        found.extend(checker.entry_block())
        for block in blocks.values():
            found.extend(checker.block(block))
    for entry in sorted(set(planned.loops.values())):
        found.extend(validate_loop(planned, variant, written[f"loop{entry}"], entry))
    return tuple(found)


class _Checker:
    def __init__(
        self, planned: Plan, layout: Layout, variant: Variant, function: Function, entry: int, words: int
    ) -> None:
        self.plan = planned
        self.layout = layout
        self.variant = variant
        self.function = function
        self.entry = entry
        self.main = entry == 0
        self.semantics = Semantics(planned, layout, main=self.main, words=words)
        code, blocks = planned.code.instructions, planned.functions[entry]
        self._may_goto = any(isinstance(code[pc], MayGoto) for block in blocks.values() for pc in block.pcs)
        self.words = words

    # The two sides --------------------------------------------------------------------------------------------------

    def entry_block(self) -> Iterator[Mistake]:
        """What the function begins with: its arguments are in their registers."""
        try:
            ends = list(execute(self.function, "entry", self.words))
        except IrError as error:
            yield Mistake(self.entry, str(error))
            return
        for end, state in ends:
            wanted: list[tuple[str, Term, Term]] = []
            for number in (1,) if self.main else range(1, 6):
                word = _word(CONTEXT_BASE) if self.main else symbol(f"%a{number}")
                wanted.append((f"r{number}", state.cell(f"%w{number}.home"), word))
                if number in self.plan.shadowed:
                    host = symbol("%context") if self.main else symbol(f"%h{number}")
                    base = word if self.main else symbol(f"%v{number}")
                    wanted.append((f"where r{number} is", state.cell(f"%h{number}.home"), host))
                    wanted.append((f"the base of r{number}", state.cell(f"%v{number}.home"), base))
            if self._may_goto:
                wanted.append(("what is left of may_goto", state.cell(MAY_GOTO), symbol(f"cell {int(Field.MAY_GOTO)}")))
            for index in self.layout.single:
                place = map_field(index, MapField.VALUES)
                wanted.append((f"the value of map {index}", state.values.get(f"%m{index}"), symbol(f"cell {place}")))
            if end.to != f"s{self.entry}" or state.events:
                yield Mistake(self.entry, f"it begins at {end.to or 'its end'}")
            yield from differences(self.entry, state, wanted)

    def block(self, block: Block) -> Iterator[Mistake]:
        """Check one block."""
        try:
            ends = list(execute(self.function, f"s{block.start}", self.words))
            for end, state in ends:
                yield from self._compare(block, end, state)
        except IrError as error:
            yield Mistake(block.start, str(error))

    def _compare(self, block: Block, end: End, state: State) -> Iterator[Mistake]:
        reference = self.semantics.block(block, state)
        pc = block.start
        yield from undefined(pc, state)
        if not end.to:
            status = end.result if self.main else end.result[0]
            if self.variant.fuel and is_status(state, status, Status.OUT_OF_FUEL):
                return
            if reference.unreachable:
                if not is_status(state, status, Status.UNREACHABLE):
                    yield Mistake(pc, "a slot that no run reaches does not end the run")
                return
            if reference.failing is not None and not holds(state.path, _all_zero(reference.failing)):
                if not any(holds(state.path, status == each) for each in reference.failing):
                    yield Mistake(pc, "the status of a subprogram is lost")
                return
            if not reference.exits or not is_status(state, status, Status.RETURNED):
                yield Mistake(pc, f"the function ends with status {z3.simplify(status)}")
                return
            wanted = [("r0", state.cell(int(Field.RESULT)) if self.main else end.result[1], reference.words[0])]
            shadow = reference.shadows.get(0)
            if not self.main and shadow is not None and 0 in self.plan.shadowed:
                wanted += [("where r0 is", end.result[2], shadow.host), ("r0's base", end.result[3], shadow.base)]
            yield from differences(pc, state, wanted)
            yield from event_differences(pc, state, reference.events)
            return
        if reference.failing is not None and not holds(state.path, _all_zero(reference.failing)):
            yield Mistake(pc, "it goes on although a subprogram did not return")
        to = int(end.to[1:])
        if reference.exits or reference.unreachable or to not in reference.ways:
            yield Mistake(pc, f"it goes on at slot {to}")
            return
        if reference.condition is not None and reference.ways[0] != reference.ways[1]:
            taken = reference.condition if to == reference.ways[1] else z3.Not(reference.condition)
            if not holds(state.path, taken):
                yield Mistake(pc, f"it goes on at slot {to} where it must not")
        wanted = [
            (f"r{number}", state.cell(f"%w{number}.home"), word)
            for number, word in enumerate(reference.words[:10])
            if word is not None
        ]
        if self._may_goto:
            wanted.append(("what is left of may_goto", state.cell(MAY_GOTO), reference.may_goto))
        for number, shadow in reference.shadows.items():
            if shadow is not None:
                name = name_of(number)
                shown = f"r{name}" if number >= 0 else name
                wanted.append((f"where {shown} is", state.cell(f"%h{name}.home"), shadow.host))
                wanted.append((f"the base of {shown}", state.cell(f"%v{name}.home"), shadow.base))
        yield from differences(pc, state, wanted)
        yield from event_differences(pc, state, reference.events)


def _all_zero(terms: Sequence[Term]) -> z3.BoolRef:
    return z3.And([term == 0 for term in terms])


def _word(value: int) -> z3.BitVecRef:
    return z3.BitVecVal(value, WORD_BITS)
