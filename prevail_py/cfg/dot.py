"""Control-flow graphs as pictures (graphviz) and as networkx graphs.

Every function is a frame, every loop a tinted frame within it; an instruction stands beside its slot, below the source
line it comes from.  Edges of a branch carry the condition under which they are taken: green where the branch jumps, red
where it falls through.  Heavy blue edges lead back to the head of a loop, dotted ones from a call to its function.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from prevail_py.cfg.graph import Block, ControlFlowGraph, Edge, FunctionGraph
from prevail_py.cfg.labels import Kind, callees_of, condition, lines_of
from prevail_py.cfg.wto import weak_topological_order
from prevail_py.isa.instructions import Exit

if TYPE_CHECKING:
    import networkx

__all__ = ["GraphvizError", "to_dot", "to_networkx", "to_svg"]

_INK, _GREY, _BLUE, _GREEN, _RED = "#1f2328", "#6e7781", "#0550ae", "#1a7f37", "#cf222e"
_PURPLE, _BROWN = "#8250df", "#953800"
_TINTS: Final = ("#eef4fb", "#dfeaf7", "#cfdff2", "#bfd4ec")  # of loops, by depth
_HEADER: Final = """digraph cfg {
  graph [bgcolor="white", fontname="monospace", fontsize=13, labeljust="l", nodesep=0.4, ranksep=0.45];
  node [shape=plain, fontname="monospace", fontsize=11];
  edge [fontname="monospace", fontsize=10, arrowsize=0.7];
"""


class GraphvizError(OSError):
    """Graphviz cannot draw the graph: it is not installed, failed, or took too long."""


def to_dot(
    cfg: ControlFlowGraph,
    *,
    functions: Sequence[int] | None = None,
    annotations: Mapping[int, str] | None = None,
    source: bool = True,
    max_lines: int | None = None,
) -> str:
    """The graph in graphviz's language.

    ``functions`` are the indices of those to draw, by default all.  ``annotations`` maps slots to text to show below
    the instruction there, as many lines as it has.  ``source`` shows source lines where the program has them.
    ``max_lines`` cuts blocks with more instructions than that short.
    """
    chosen = [cfg.functions[index] for index in (range(len(cfg.functions)) if functions is None else functions)]
    shown = {function.index for function in chosen}
    writer = _Writer(cfg, annotations or {}, source, max_lines)
    parts = [_HEADER]
    for function in chosen:
        parts.extend(writer.function(function))
    for function in chosen:
        for sites, style in ((cfg.calls, "dotted"), (cfg.references, "dashed")):
            for pc, callee in sites[function.index]:
                if callee in shown:
                    tail, head = _node(function, function.block_of(pc).id), _node(cfg.functions[callee], 0)
                    parts.append(f'  {tail} -> {head} [style={style}, color="{_GREY}", constraint=false];\n')
    return "".join([*parts, "}\n"])


def _node(function: FunctionGraph, block_id: int) -> str:
    return f"f{function.index}b{block_id}"


class _Writer:
    """Blocks and edges of one program in graphviz's language."""

    def __init__(
        self, cfg: ControlFlowGraph, annotations: Mapping[int, str], source: bool, max_lines: int | None
    ) -> None:
        self.program = cfg.program
        self.callees = callees_of(cfg)
        self.annotations = annotations
        self.source = source
        self.max_lines = max_lines

    def function(self, function: FunctionGraph) -> Iterator[str]:
        """The frame of a function, with the frames of its loops in it."""
        wto = weak_topological_order(function)
        yield f"  subgraph cluster_f{function.index} {{\n"
        yield f'  label="{_quoted(function.name)}"; style=rounded; color="{_GREY}"; fontcolor="{_INK}";\n'
        open_until: list[int] = []
        for position, block_id in enumerate(wto.order):
            while open_until and open_until[-1] == position:
                open_until.pop()
                yield "  }\n"
            if wto.is_head(block_id):
                tint = _TINTS[min(len(open_until), len(_TINTS) - 1)]
                open_until.append(wto.ends[position])
                yield f"  subgraph cluster_f{function.index}loop{block_id} {{\n"
                yield f'  label="loop at slot {function.blocks[block_id].start}"; style="rounded,filled"; '
                yield f'color="{_BLUE}"; fillcolor="{tint}"; fontcolor="{_BLUE}"; margin=14;\n'
            yield self._block(function, function.blocks[block_id], wto.is_head(block_id))
        yield "  }\n" * (len(open_until) + 1)
        for block in function.blocks:
            for edge in block.edges:
                is_back = wto.position(edge.target) <= wto.position(block.id)
                yield self._edge(function, block, edge, is_back)

    def _block(self, function: FunctionGraph, block: Block, is_head: bool) -> str:
        border, width = (_BLUE, 2) if is_head else (_INK, 2 if block.id == 0 else 1)
        fill = "#f6f8fa" if isinstance(self.program.code[block.last], Exit) else "white"
        rows = "".join(self._rows(block))
        return (
            f'  {_node(function, block.id)} [tooltip="block {block.id}", label=<<TABLE BORDER="{width}" '
            f'COLOR="{border}" BGCOLOR="{fill}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{rows}</TABLE>>];\n'
        )

    def _rows(self, block: Block) -> Iterator[str]:
        lines = lines_of(
            self.program,
            self.callees,
            block,
            annotations=self.annotations,
            source=self.source,
            max_lines=self.max_lines,
        )
        for kind, label, text, comment in lines:
            tail = f'<FONT COLOR="{_GREY}">  ; {escape(comment)}</FONT>' if comment else ""
            match kind:
                case Kind.SOURCE:
                    yield _row(label, f"<I>{escape(text)}</I>", _PURPLE, _PURPLE)
                case Kind.INSTRUCTION:
                    yield _row(label, escape(text) + tail, _GREY, _INK)
                case Kind.NOTE | Kind.FACT:
                    yield _row(label, escape(text), _GREY, _BROWN)
                case Kind.MORE:
                    yield _row(label, escape(text), _GREY, _GREY)
                case _:
                    assert_never(kind)

    def _edge(self, function: FunctionGraph, block: Block, edge: Edge, is_back: bool) -> str:
        colour = _BLUE if is_back else _GREY if edge.taken is None else _GREEN if edge.taken else _RED
        text = condition(self.program, block, edge)
        attributes = f'color="{colour}", fontcolor="{colour}", label="{_quoted(f" {text} " if text else "")}"'
        if is_back:
            attributes += ", penwidth=2"
        elif not edge.taken:
            attributes += ", weight=4"  # keeps what falls through in a straight line
        return f"  {_node(function, block.id)} -> {_node(function, edge.target)} [{attributes}];\n"


def _row(left: str, right: str, left_colour: str, right_colour: str) -> str:
    return (
        f'<TR><TD ALIGN="RIGHT"><FONT COLOR="{left_colour}">{left}</FONT></TD>'
        f'<TD ALIGN="LEFT"><FONT COLOR="{right_colour}">{right}</FONT></TD></TR>'
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def to_svg(
    cfg: ControlFlowGraph,
    *,
    functions: Sequence[int] | None = None,
    annotations: Mapping[int, str] | None = None,
    source: bool = True,
    max_lines: int | None = None,
    timeout: float = 120,
) -> str:
    """The graph as SVG, drawn by graphviz's ``dot``; the options are those of :func:`to_dot`.

    Raises :class:`GraphvizError` where ``dot`` is missing, fails or takes more than ``timeout`` seconds, which it may
    on graphs of thousands of blocks.
    """
    path = shutil.which("dot")
    if path is None:
        raise GraphvizError("graphviz's program 'dot' is not installed; to_dot() gives its input")
    text = to_dot(cfg, functions=functions, annotations=annotations, source=source, max_lines=max_lines)
    try:
        done = subprocess.run([path, "-Tsvg"], input=text.encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        blocks = sum(len(function.blocks) for function in cfg.functions)
        raise GraphvizError(f"dot did not finish within {timeout:g} s; the graph has {blocks} blocks") from None
    if done.returncode:
        raise GraphvizError(f"dot failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


NetworkxGraph: TypeAlias = "networkx.MultiDiGraph"


def to_networkx(graph: ControlFlowGraph | FunctionGraph) -> NetworkxGraph:
    """The graph as a ``networkx.MultiDiGraph``.

    Nodes are block ids for a function and ``(function index, block id)`` for a whole program; they carry ``start``,
    ``end`` and ``pcs``.  Edges carry ``kind``: ``"flow"`` (with ``taken`` as in :class:`Edge`) or, between functions of
    a program, ``"call"`` and ``"reference"`` (with the ``pc`` of the instruction).
    """
    import networkx

    result = networkx.MultiDiGraph()
    if isinstance(graph, FunctionGraph):
        for block in graph.blocks:
            result.add_node(block.id, start=block.start, end=block.end, pcs=block.pcs)
        for block in graph.blocks:
            for edge in block.edges:
                result.add_edge(block.id, edge.target, kind="flow", taken=edge.taken)
        return result
    for function in graph.functions:
        part = to_networkx(function)
        result.add_nodes_from(((function.index, node), data) for node, data in part.nodes(data=True))
        result.add_edges_from(
            ((function.index, source), (function.index, target), data) for source, target, data in part.edges(data=True)
        )
    for kind, sites in (("call", graph.calls), ("reference", graph.references)):
        for index, pairs in sites.items():
            for pc, callee in pairs:
                block_id = graph.functions[index].block_of(pc).id
                result.add_edge((index, block_id), (callee, 0), kind=kind, pc=pc)
    return result
