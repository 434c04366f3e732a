"""Control-flow graphs as SVG, drawn by this package alone: the same picture on every machine.

The colours are those of :mod:`prevail_py.cfg.dot`; loops are tinted, the deeper the darker.  Text is measured as
monospaced characters, six tenths of their size wide, as they are in all usual fonts of that kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from prevail_py._render import Svg
from prevail_py.cfg.graph import ControlFlowGraph, FunctionGraph
from prevail_py.cfg.labels import Kind, Line, callees_of, condition, lines_of
from prevail_py.cfg.layout import Layout, Point, Route, frames, layout
from prevail_py.isa.instructions import Exit

__all__ = ["CHARACTER", "LINE", "PADDING", "draw", "path_of"]

FONT: Final = 11
CHARACTER: Final = 6.65
"""The width of a character, in pixels."""

LINE: Final = 15.0
"""The height of a line of text."""

PADDING: Final = 8.0
"""Between the frame of a block and its text."""

_RADIUS: Final = 7.0
_TITLE: Final = 26.0
_TINTS: Final = ("#eef4fb", "#dfeaf7", "#cfdff2", "#bfd4ec")
_INK, _GREY, _BLUE, _GREEN, _RED = "#1f2328", "#6e7781", "#0550ae", "#1a7f37", "#cf222e"
_COLOURS: Final = {
    Kind.SOURCE: "#8250df",
    Kind.INSTRUCTION: _INK,
    Kind.FACT: "#953800",
    Kind.NOTE: "#953800",
    Kind.MORE: _GREY,
}


def draw(
    cfg: ControlFlowGraph,
    *,
    functions: Sequence[int] | None = None,
    before: Mapping[int, str] | None = None,
    annotations: Mapping[int, str] | None = None,
    source: bool = True,
    max_lines: int | None = None,
) -> Svg:
    """The graph as a picture; ``before`` is what is shown above instructions, by slot.

    The other options are those of :func:`prevail_py.cfg.dot.to_dot`.
    """
    parts: list[str] = []
    width, y = 0.0, 0.0
    callees = callees_of(cfg)
    for index in range(len(cfg.functions)) if functions is None else functions:
        function = cfg.functions[index]
        texts = [
            list(
                lines_of(
                    cfg.program,
                    callees,
                    block,
                    before=before,
                    annotations=annotations,
                    source=source,
                    max_lines=max_lines,
                )
            )
            for block in function.blocks
        ]
        plan = layout(function, [_size(lines) for lines in texts])
        parts.append(f'<g transform="translate(0 {y:g})">')
        parts.append(
            f'<text x="16" y="18" font-size="13" font-weight="600" fill="{_INK}">{escape(function.name)}</text>'
        )
        parts.append(f'<g transform="translate(0 {_TITLE:g})">')
        parts += _loops(function, plan)
        parts += (_edge(cfg, function, route) for route in plan.routes)
        for block, lines in enumerate(texts):
            parts += _block(cfg, function, plan, block, lines)
        parts.append("</g></g>")
        width, y = max(width, plan.width, 32 + 8 * len(function.name)), y + _TITLE + plan.height
    marker = "".join(
        f'<marker id="cfg-{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0.5L8 4L0 7.5z" fill="{colour}"/></marker>'
        for colour in (_BLUE, _GREY, _GREEN, _RED)
    )
    style = f"font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:{FONT}px"
    body = f'<defs>{marker}</defs><rect width="100%" height="100%" rx="8" fill="#ffffff"/>{"".join(parts)}'
    return Svg(round(width), round(y), body, f"Control-flow graph of {cfg.program.name}", style)


def _columns(lines: Sequence[Line]) -> int:
    return max((len(line.label) for line in lines), default=0)


def _size(lines: Sequence[Line]) -> tuple[float, float]:
    columns = (
        _columns(lines) + 1 + max(len(line.text) + (len(line.comment) + 4 if line.comment else 0) for line in lines)
    )
    return round(columns * CHARACTER + 2 * PADDING, 1), len(lines) * LINE + 2 * PADDING - 4


def _block(
    cfg: ControlFlowGraph, function: FunctionGraph, plan: Layout, block: int, lines: Sequence[Line]
) -> Iterator[str]:
    box = plan.boxes[block]
    ends = isinstance(cfg.program.code[function.blocks[block].last], Exit)
    yield f'<g class="block" transform="translate({box.x:g} {box.y:g})"><title>block {block}</title>'
    yield (
        f'<rect width="{box.width:g}" height="{box.height:g}" rx="5" fill="{"#f6f8fa" if ends else "#ffffff"}" '
        f'stroke="{_INK if block == 0 else "#8c959f"}" stroke-width="{1.6 if block == 0 else 1}"/>'
    )
    left = PADDING + _columns(lines) * CHARACTER
    for number, line in enumerate(lines):
        y = PADDING + number * LINE + 9
        if line.label:
            yield f'<text x="{left:g}" y="{y:g}" text-anchor="end" fill="{_GREY}">{escape(line.label)}</text>'
        style = ' font-style="italic"' if line.kind is Kind.SOURCE else ""
        tail = f'<tspan fill="{_GREY}">  ; {escape(line.comment)}</tspan>' if line.comment else ""
        yield (
            f'<text x="{left + CHARACTER:g}" y="{y:g}" xml:space="preserve" fill="{_COLOURS[line.kind]}"{style}>'
            f"{escape(line.text)}{tail}</text>"
        )
    yield "</g>"


def _loops(function: FunctionGraph, plan: Layout) -> Iterator[str]:
    for frame in frames(function, plan):
        tint = _TINTS[min(frame.depth, len(_TINTS)) - 1]
        yield (
            f'<rect x="{frame.x:g}" y="{frame.y:g}" width="{frame.width:g}" height="{frame.height:g}" rx="9" '
            f'fill="{tint}"/>'
        )


def _edge(cfg: ControlFlowGraph, function: FunctionGraph, route: Route) -> str:
    colour = _BLUE if route.is_back else _GREY if route.taken is None else _GREEN if route.taken else _RED
    block = function.blocks[route.source]
    edge = next(edge for edge in block.edges if (edge.target, edge.taken) == (route.target, route.taken))
    when = condition(cfg.program, block, edge)
    title = f"<title>{escape(when)}</title>" if when else ""
    width = 1.8 if route.is_back else 1.3
    return (
        f'<path d="{path_of(route.points)}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'marker-end="url(#cfg-{colour[1:]})">{title}</path>'
    )


def path_of(points: Sequence[Point]) -> str:
    """The ``d`` of a path along a polyline, its corners rounded."""
    (x, y), *rest = points
    out = [f"M{x:g} {y:g}"]
    for number, (a, b) in enumerate(rest):
        if number + 1 == len(rest):
            out.append(f"L{a:g} {b:g}")
            break
        c, d = rest[number + 1]
        before, after = abs(a - x) + abs(b - y), abs(c - a) + abs(d - b)
        r = min(_RADIUS, before / 2, after / 2)
        start = (a - r * _sign(a - x), b - r * _sign(b - y))
        end = (a + r * _sign(c - a), b + r * _sign(d - b))
        out.append(f"L{start[0]:g} {start[1]:g}Q{a:g} {b:g} {end[0]:g} {end[1]:g}")
        x, y = a, b
    return "".join(out)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
