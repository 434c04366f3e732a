"""From a program to its control-flow graph, in time and memory linear in its slots and without recursion.

What is checked is what makes "the next instruction" well defined: the target of every jump and call is the start of an
instruction, jumps stay inside their function, calls reach the start of one, and no reachable path runs off a function's
end.  The first three hold for dead code too, as in Linux (kernel/bpf/verifier.c, check_subprogs); unreachable code
itself is only reported.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from prevail_py.cfg.graph import Block, CfgError, ControlFlowGraph, Edge, FunctionGraph
from prevail_py.isa.instructions import (
    Branch,
    CallLocal,
    Exit,
    Instruction,
    Jump,
    LoadImmediate64,
    MayGoto,
    Pseudo,
)
from prevail_py.objects.program import Program, Subprogram

__all__ = ["build"]

Code = Sequence[Instruction | None]
Sites = dict[int, list[tuple[int, int]]]
"""Call sites ``(pc, callee index)`` by the index of the calling function."""


def build(program: Program) -> ControlFlowGraph:
    """The control-flow graph of every function of ``program``.

    Functions are ``program.subprograms`` or, where there are none, whatever local calls and function addresses refer
    to.  Raises :class:`CfgError` for code that is empty or malformed in one of the ways the module describes.
    """
    code = program.code
    if not code:
        raise CfgError(0, "the program is empty")
    _check_wide_loads(code)
    subprograms = program.subprograms or _discover(program)
    index_at = _check_extents(code, subprograms)
    functions = []
    calls: Sites = {}
    references: Sites = {}
    unreachable: list[int] = []
    for index, subprogram in enumerate(subprograms):
        starts = _leaders(code, subprogram)
        function = FunctionGraph(index, subprogram.name, subprogram.start, subprogram.end, _blocks(code, starts))
        functions.append(function)
        calls[index], references[index] = [], []
        reached = bytearray(subprogram.end - subprogram.start)
        for block in function.blocks:
            for pc in block.pcs:
                reached[pc - subprogram.start] = 1
        for pc in range(subprogram.start, subprogram.end):
            instruction = code[pc]
            if instruction is None:
                continue
            callee = _callee(pc, instruction)
            if callee is not None and callee not in index_at:
                raise CfgError(pc, f"slot {callee} is not the start of a function")
            if not reached[pc - subprogram.start]:
                unreachable.append(pc)
            elif callee is not None:
                sites = calls if isinstance(instruction, CallLocal) else references
                sites[index].append((pc, index_at[callee]))
    return ControlFlowGraph(
        program=program,
        functions=tuple(functions),
        calls=_frozen(calls),
        references=_frozen(references),
        recursion=_cycle([[callee for _, callee in calls[i] + references[i]] for i in range(len(functions))]),
        unreachable=tuple(sorted(unreachable)),
    )


def _frozen(sites: Sites) -> Mapping[int, tuple[tuple[int, int], ...]]:
    return {index: tuple(pairs) for index, pairs in sites.items()}


# Functions ------------------------------------------------------------------------------------------------------------


def _callee(pc: int, instruction: Instruction) -> int | None:
    """The first slot of the function that ``instruction`` calls or takes the address of, None if it does neither.

    Both are relative to the next *slot*, for the two-slot load as well (kernel/bpf/verifier.c, add_subprog_and_kfunc).
    """
    match instruction:
        case CallLocal(offset=offset):
            return pc + 1 + offset
        case LoadImmediate64(pseudo=Pseudo.FUNCTION, low=offset):
            return pc + 1 + offset
        case _:
            return None


def _discover(program: Program) -> tuple[Subprogram, ...]:
    """The functions of a program that does not list any: each lasts until the next one starts."""
    starts = {0}
    for pc, instruction in enumerate(program.code):
        callee = None if instruction is None else _callee(pc, instruction)
        if callee is not None:
            _check_target(program.code, pc, callee, "call")
            starts.add(callee)
    bounds = [*sorted(starts), len(program.code)]
    return tuple(
        Subprogram(f"function_{start}" if start else program.name, start, end) for start, end in pairwise(bounds)
    )


def _check_wide_loads(code: Code) -> None:
    """Every two-slot load has its second slot, and nothing else has one."""
    second = False
    for pc, instruction in enumerate(code):
        if (instruction is None) != second:
            raise CfgError(pc, "this slot should be the second of a wide load" if second else "there is nothing here")
        second = type(instruction) is LoadImmediate64
    if second:
        raise CfgError(len(code) - 1, "the wide load lacks its second slot")


def _check_extents(code: Code, subprograms: Sequence[Subprogram]) -> Mapping[int, int]:
    """Function index by first slot, after a check that the functions are non-empty, disjoint and within the code."""
    if subprograms[0].start != 0:
        raise CfgError(0, f"the entry function {subprograms[0].name} starts at slot {subprograms[0].start}, not at 0")
    previous_end = 0
    for subprogram in sorted(subprograms, key=lambda subprogram: subprogram.start):
        if not previous_end <= subprogram.start < subprogram.end <= len(code):
            raise CfgError(
                subprogram.start,
                f"function {subprogram.name} (slots {subprogram.start} to {subprogram.end}, exclusive) is empty, "
                "overlaps another or exceeds the program",
            )
        if code[subprogram.start] is None:
            raise CfgError(subprogram.start, f"function {subprogram.name} starts in the middle of a wide load")
        previous_end = subprogram.end
    return {subprogram.start: index for index, subprogram in enumerate(subprograms)}


def _cycle(callees: Sequence[Iterable[int]]) -> tuple[int, ...]:
    """Some cycle of the call graph, as function indices in order of calling; empty if there is none."""
    done: set[int] = set()
    for root in range(len(callees)):
        path: dict[int, Iterable[int]] = {}  # the functions being explored, outermost first
        if root not in done:
            path[root] = iter(callees[root])
        while path:
            function, remaining = next(reversed(path.items()))
            callee = next(iter(remaining), None)
            if callee is None:
                del path[function]
                done.add(function)
            elif callee in path:
                entered = list(path)
                return tuple(entered[entered.index(callee) :])
            elif callee not in done:
                path[callee] = iter(callees[callee])
    return ()


# Blocks ---------------------------------------------------------------------------------------------------------------


def _check_target(code: Code, pc: int, target: int, what: str) -> None:
    if not 0 <= target < len(code):
        raise CfgError(pc, f"the {what} leads to slot {target}, outside of the program (slots 0 to {len(code) - 1})")
    if code[target] is None:
        raise CfgError(pc, f"the {what} leads into the middle of the wide load at slot {target - 1}")


def _leaders(code: Code, function: Subprogram) -> list[int]:
    """The first slots of the function's blocks, ascending, and its end: jump targets and what follows a transfer."""
    leaders = {function.start, function.end}
    for pc in range(function.start, function.end):
        match code[pc]:
            case Jump(offset=offset) | Branch(offset=offset) | MayGoto(offset=offset):
                target = pc + 1 + offset
                _check_target(code, pc, target, "jump")
                if not function.start <= target < function.end:
                    raise CfgError(pc, f"the jump to slot {target} leaves function {function.name}")
                leaders.add(target)
                leaders.add(pc + 1)
            case Exit():
                leaders.add(pc + 1)
            case _:
                pass
    return sorted(leaders)


def _blocks(code: Code, leaders: Sequence[int]) -> tuple[Block, ...]:
    """The blocks that begin at ``leaders`` (the last of which is the function's end), as far as the first reaches."""
    end = leaders[-1]
    pcs: dict[int, tuple[int, ...]] = {}  # by the block's first slot, as everything here
    ends: dict[int, int] = {}
    ways: dict[int, tuple[tuple[int, bool | None], ...]] = {}

    def discover(start: int) -> list[int]:
        """Fill in the block at ``start``; what may follow it, in the order in which to explore."""
        ends[start] = leaders[bisect_right(leaders, start)]
        pcs[start] = tuple(pc for pc in range(start, ends[start]) if code[pc] is not None)
        last = pcs[start][-1]
        match code[last]:
            case Exit():
                ways[start] = ()
            case Jump(offset=offset):
                ways[start] = ((last + 1 + offset, None),)
            case Branch(offset=offset) | MayGoto(offset=offset):
                ways[start] = ((last + 1, False), (last + 1 + offset, True))
            case _:
                ways[start] = ((ends[start], None),)
        if any(target == end for target, _ in ways[start]):
            raise CfgError(last, "execution runs off the end of the function here")
        return [target for target, _ in ways[start]]

    # Exploring the taken way first finishes it first, and so numbers the fall-through before it, as one reads code.
    post_order: list[int] = []
    stack = [(leaders[0], discover(leaders[0]))]
    while stack:
        start, unexplored = stack[-1]
        if not unexplored:
            post_order.append(start)
            stack.pop()
            continue
        target = unexplored.pop()
        if target not in ways:
            stack.append((target, discover(target)))
    order = post_order[::-1]
    ids = {start: block_id for block_id, start in enumerate(order)}
    return tuple(
        Block(ids[start], start, ends[start], pcs[start], tuple(Edge(ids[to], taken) for to, taken in ways[start]))
        for start in order
    )
