"""What the pages show of a program as it is: instructions, the source they come from, and the graph laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from prevail_py.cfg.graph import Block, ControlFlowGraph, FunctionGraph
from prevail_py.cfg.labels import callees_of, comment, condition
from prevail_py.cfg.layout import Route, frames, layout
from prevail_py.cfg.picture import CHARACTER, LINE, PADDING, path_of
from prevail_py.cfg.wto import weak_topological_order
from prevail_py.isa.disassembler import disassemble
from prevail_py.objects.program import Program
from prevail_py.report.compact import Strings

__all__ = ["METRICS", "Sources", "code_data", "graph_data", "unplaced_data"]

_BLOCK_LINES: Final = 120
"""Instructions of a block that the picture shows."""

METRICS: Final = {"character": CHARACTER, "line": LINE, "padding": PADDING, "lines": _BLOCK_LINES}
"""What the scripts have to know of how text is measured, in pixels."""


Sources: TypeAlias = Mapping[str, Sequence[str]]
"""The lines of files that are shown whole, by name."""


def code_data(
    program: Program, graph: ControlFlowGraph | None, strings: Strings, sources: Sources = MappingProxyType({})
) -> tuple[list[list[int]], list[list[int]]]:
    """The instructions as [slot, text, comment, place], and the places in the source as [file, line, text].

    Texts are numbers into ``strings``, and a place is an index into the second list, -1 for none.  Objects quote lines
    without what indents them, which is taken from ``sources``.
    """
    callees = {} if graph is None else callees_of(graph)
    places: dict[tuple[str, int, str], int] = {}
    code: list[list[int]] = []
    here = -1
    starts = {subprogram.start for subprogram in program.subprograms}
    for pc, instruction in enumerate(program.code):
        if pc in starts:
            here = -1
        line = program.lines.get(pc)
        if line is not None:
            whole = sources.get(line.file, ())
            words = whole[line.line - 1] if 1 <= line.line <= len(whole) else line.text
            here = places.setdefault((line.file, line.line, words), len(places))
        if instruction is not None:
            text = disassemble(instruction, pc)
            about = comment(program, callees, pc, instruction)
            code.append([pc, strings.number(text), strings.number(about), here])
    return code, [[strings.number(file), line, strings.number(text)] for file, line, text in places]


def unplaced_data(program: Program, sources: Sources, strings: Strings) -> list[list[int]]:
    """The lines of whole files that have no instructions, as [file, line, text]; texts are numbers into ``strings``."""
    placed = {(line.file, line.line) for line in program.lines.values()}
    return [
        [strings.number(file), number, strings.number(text)]
        for file in sorted({line.file for line in program.lines.values()})
        for number, text in enumerate(sources.get(file, ()), 1)
        if (file, number) not in placed
    ]


def graph_data(graph: ControlFlowGraph) -> list[dict[str, Any]]:
    """The functions, laid out: blocks as [start, end, x, y, width, height] and edges as paths, in pixels."""
    return [_function(graph, function) for function in graph.functions]


def _function(graph: ControlFlowGraph, function: FunctionGraph) -> dict[str, Any]:
    callees = callees_of(graph)
    plan = layout(function, [_size(graph, callees, block) for block in function.blocks])
    wto = weak_topological_order(function)
    return {
        "name": function.name,
        "entry": function.entry_pc,
        "end": function.end_pc,
        "size": [plan.width, plan.height],
        "blocks": [
            [block.start, block.end, box.x, box.y, box.width, box.height]
            for block, box in zip(function.blocks, plan.boxes, strict=True)
        ],
        "heads": [function.blocks[head].start for head in wto.heads],
        "edges": [_edge(graph, function, route) for route in plan.routes],
        "loops": [[frame.depth, frame.x, frame.y, frame.width, frame.height] for frame in frames(function, plan)],
    }


def _size(graph: ControlFlowGraph, callees: Mapping[int, str], block: Block) -> tuple[float, float]:
    """The extent of a block in the page, whose script writes ``slot: instruction  ; comment`` into it."""
    program = graph.program
    texts = []
    for pc in block.pcs[:_BLOCK_LINES]:
        instruction = program.code[pc]
        assert instruction is not None
        about = comment(program, callees, pc, instruction)
        texts.append(len(disassemble(instruction, pc)) + (len(about) + 4 if about else 0))
    lines = len(texts) + (len(block.pcs) > _BLOCK_LINES)
    columns = max(*texts, 14) if len(texts) > 1 else max(texts[0], 14)
    width = (columns + len(str(block.pcs[-1])) + 2) * CHARACTER + 2 * PADDING
    return round(width, 1), lines * LINE + 2 * PADDING - 4


def _edge(graph: ControlFlowGraph, function: FunctionGraph, route: Route) -> list[Any]:
    block = function.blocks[route.source]
    edge = next(edge for edge in block.edges if (edge.target, edge.taken) == (route.target, route.taken))
    kind = "back" if route.is_back else "flow" if route.taken is None else "taken" if route.taken else "not-taken"
    return [route.source, route.target, kind, path_of(route.points), condition(graph.program, block, edge)]
