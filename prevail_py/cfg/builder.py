"""From a program to its control-flow graph, in time and memory linear in its slots and without recursion.

What is checked is what makes "the next instruction" well defined: the target of every jump and call is the start of an
instruction, jumps stay inside their function, calls reach the start of one, and no reachable path runs off a function's
end.  The first three hold for dead code too, as in Linux (kernel/bpf/verifier.c, check_subprogs); unreachable code
itself is only reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, cast

from prevail_py.cfg.graph import Block, CfgError, ControlFlowGraph, Edge, FunctionGraph
from prevail_py.isa import flow
from prevail_py.isa.instructions import Branch, CallLocal, Instruction, Jump, LoadImmediate64, MayGoto, Pseudo
from prevail_py.objects.program import Program, Subprogram

__all__ = ["build"]

Code = Sequence[Instruction | None]
Sites = tuple[tuple[int, int], ...]
"""Where a function refers to others: ``(pc, index of the function referred to)``, in program order."""


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
    calls: dict[int, Sites] = {}
    references: dict[int, Sites] = {}
    reached = bytearray(len(code))
    for index, subprogram in enumerate(subprograms):
        _check_jumps(code, subprogram)
        blocks = _blocks(code, subprogram)
        for block in blocks:
            reached[block.start : block.end] = b"\1" * (block.end - block.start)
        functions.append(FunctionGraph(index, subprogram.name, subprogram.start, subprogram.end, blocks))
        calls[index], references[index] = _sites(code, subprogram, index_at, reached)
    return ControlFlowGraph(
        program=program,
        functions=tuple(functions),
        calls=calls,
        references=references,
        recursion=_cycle([[callee for _, callee in calls[i] + references[i]] for i in range(len(functions))]),
        unreachable=tuple([pc for pc, instruction in enumerate(code) if instruction is not None and not reached[pc]])
        if 0 in reached
        else (),
    )


# Functions ------------------------------------------------------------------------------------------------------------


_REFERRING: Final = frozenset({CallLocal, LoadImmediate64})


def _callee(pc: int, instruction: Instruction) -> int | None:
    """The first slot of the function that ``instruction`` calls or takes the address of, None if it does neither."""
    match instruction:
        case CallLocal():
            return flow.target(pc, instruction)
        case LoadImmediate64(pseudo=Pseudo.FUNCTION):
            return flow.function_address(pc, instruction)
        case _:
            return None


def _sites(code: Code, function: Subprogram, index_at: Mapping[int, int], reached: bytearray) -> tuple[Sites, Sites]:
    """The reachable local calls of a function and the addresses of functions that it takes."""
    calls: list[tuple[int, int]] = []
    references: list[tuple[int, int]] = []
    for pc in range(function.start, function.end):
        instruction = code[pc]
        if instruction.__class__ not in _REFERRING:
            continue
        callee = None if instruction is None else _callee(pc, instruction)
        if callee is None:
            continue
        if callee not in index_at:
            raise CfgError(pc, f"slot {callee} is not the start of a function")
        if reached[pc]:
            (calls if isinstance(instruction, CallLocal) else references).append((pc, index_at[callee]))
    return tuple(calls), tuple(references)


def _discover(program: Program) -> tuple[Subprogram, ...]:
    """The functions of a program that does not list any: each lasts until the next one starts."""
    starts = {0}
    for pc, instruction in enumerate(program.code):
        if instruction.__class__ not in _REFERRING:
            continue
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
        second = instruction.__class__ is LoadImmediate64
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
        for bound, what in ((subprogram.start, "starts"), (subprogram.end, "ends")):
            if bound < len(code) and code[bound] is None:
                raise CfgError(bound, f"function {subprogram.name} {what} in the middle of a wide load")
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


_edge = lru_cache(maxsize=4096)(Edge)


def _check_target(code: Code, pc: int, target: int, what: str) -> None:
    if not 0 <= target < len(code):
        raise CfgError(pc, f"the {what} leads to slot {target}, outside of the program (slots 0 to {len(code) - 1})")
    if code[target] is None:
        raise CfgError(pc, f"the {what} leads into the middle of the wide load at slot {target - 1}")


_JUMPING: Final = frozenset({Branch, Jump, MayGoto})


def _check_jumps(code: Code, function: Subprogram) -> None:
    """Jumps, in dead code too, lead to instructions of the function they are in."""
    for pc in range(function.start, function.end):
        instruction = code[pc]
        if instruction.__class__ in _JUMPING:
            target = flow.target(pc, cast(Branch | Jump | MayGoto, instruction))
            _check_target(code, pc, target, "jump")
            if not function.start <= target < function.end:
                raise CfgError(pc, f"the jump to slot {target} leaves function {function.name}")


def _blocks(code: Code, function: Subprogram) -> tuple[Block, ...]:
    """The blocks of a function as far as its first instruction reaches, in reverse post-order."""
    bounds = (*flow.leaders(code, function.start, function.end), function.end)
    end_of = dict(pairwise(bounds))
    pcs: dict[int, tuple[int, ...]] = {}  # by the block's first slot, as are the others
    targets: dict[int, tuple[int, ...]] = {}

    def explore(start: int) -> list[int]:
        """Fill in the block that starts there; returns what may follow it."""
        here = pcs[start] = tuple([pc for pc in range(start, end_of[start]) if code[pc] is not None])
        following = targets[start] = flow.successors(code, here[-1])
        if function.end in following:
            raise CfgError(here[-1], f"execution runs off the end of function {function.name} here")
        return list(following)

    # The last way is explored, and so finished, first: this numbers the fall-through before it, as one reads code.
    post_order: list[int] = []
    stack = [(function.start, explore(function.start))]
    while stack:
        start, unexplored = stack[-1]
        if not unexplored:
            post_order.append(start)
            stack.pop()
        elif (target := unexplored.pop()) not in targets:
            stack.append((target, explore(target)))
    order = post_order[::-1]
    ids = {start: block_id for block_id, start in enumerate(order)}

    def edges(start: int) -> tuple[Edge, ...]:
        following = [ids[target] for target in targets[start]]
        if len(following) == 2:
            return _edge(following[0], False), _edge(following[1], True)
        return tuple([_edge(target, None) for target in following])

    return tuple([Block(ids[start], start, end_of[start], pcs[start], edges(start)) for start in order])
