"""Liveness: which registers and which bytes of its stack frame a function may still read, at the start of each block.

A verifier drops what is dead where paths join.  Forgetting is always sound, so only precision rests on this analysis;
it errs towards "live" (an address in the frame that reaches memory or another function makes every byte live where it
may be used).  Two passes over the blocks: addresses forwards (:mod:`prevail_py.cfg.effects`), reads backwards.  Both
climb lattices of bounded height, so the work is linear in the size of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from prevail_py.cfg.effects import REGISTERS, STACK_SHIFT, Effects, Known, at_entry, join
from prevail_py.cfg.graph import FunctionGraph
from prevail_py.isa.instructions import Register
from prevail_py.objects.program import Program
from prevail_py.platforms.model import Platform

__all__ = ["Liveness", "liveness"]


@dataclass(frozen=True, slots=True)
class Liveness:
    """What may be read before it is overwritten, for each block, on entry to it.

    ``registers[b]`` has bit ``i`` set where ``ri`` is live (R10 always is); ``stack[b]`` has bit ``k`` set where the
    byte at ``r10 - 512 + k`` of the function's own frame is.  What callers keep for themselves (R6 to R9 and their
    frames) is their matter and not counted.
    """

    registers: tuple[int, ...]
    stack: tuple[int, ...]


def liveness(function: FunctionGraph, program: Program, platform: Platform | None = None) -> Liveness:
    """Liveness in one function of ``program``.

    ``platform`` knows the helpers' prototypes; without it every helper may read whatever it is passed.
    """
    live = [0] * len(function.blocks)
    summaries = _summaries(function, program, Effects(program, platform))

    successors, predecessors = function.successors, function.predecessors

    def recompute(rank: int) -> Iterable[int]:
        """The last block first: it has rank 0."""
        block_id = last - rank
        after = 0
        for successor in successors[block_id]:
            after |= live[successor]
        reads, overwrites = summaries[block_id]
        before = reads | (after & ~overwrites)
        if before == live[block_id]:
            return ()
        live[block_id] = before
        return [last - predecessor for predecessor in predecessors[block_id]]

    last = len(live) - 1
    _work_off(range(len(live)), recompute)
    frame_pointer = 1 << Register.R10
    return Liveness(
        registers=tuple(sets & REGISTERS | frame_pointer for sets in live),
        stack=tuple(sets >> STACK_SHIFT for sets in live),
    )


def _summaries(function: FunctionGraph, program: Program, effects: Effects) -> Sequence[tuple[int, int]]:
    """What each block (reads before it overwrites it, overwrites)."""
    code = program.code
    entry: list[Known | None] = [None] * len(function.blocks)
    entry[0] = at_entry(function.index)
    summaries = [(0, 0)] * len(function.blocks)
    step = effects.step

    def pass_over(block_id: int) -> Iterable[int]:
        known = entry[block_id]
        if known is None:  # a later visit brings what is known: every block is reached from block 0
            return ()
        effects.start(known)
        reads = overwrites = 0
        for pc in function.blocks[block_id].pcs:
            instruction = code[pc]
            if instruction is not None:
                more_reads, more_overwrites = step(instruction)
                reads |= more_reads & ~overwrites
                overwrites |= more_overwrites
        summaries[block_id] = (reads, overwrites)
        known = effects.known
        changed = []
        for successor in function.successors[block_id]:
            before = entry[successor]
            joined = known if before is None else join(before, known)
            if before is None or joined != before:
                entry[successor] = joined
                changed.append(successor)
        return changed

    _work_off([0], pass_over)
    return summaries


def _work_off(initial: Iterable[int], visit: Callable[[int], Iterable[int]]) -> None:
    """Visit blocks in ascending order of their rank, as well as those that a visit returns, until none is left.

    ``initial`` is ascending, hence a heap.
    """
    queue = list(initial)
    queued = set(queue)
    while queue:
        rank = heappop(queue)
        queued.discard(rank)
        for other in visit(rank):
            if other not in queued:
                queued.add(other)
                heappush(queue, other)
