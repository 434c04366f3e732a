"""Pictures for notebooks and documents: control flow with invariants, intervals over iterations, zones as graphs.

Each function returns an :class:`~prevail_py._render.Svg`, which a notebook shows, ``str`` gives as text and ``save``
writes to a file.  They are drawn by this package alone, the same on every machine, and escape whatever names they show.

>>> from prevail_py import assemble, verify
>>> from prevail_py.verifier.recording import record
>>> program = assemble("r1 = 0\\nagain:\\nr1 += 2\\nif r1 < 100 goto again\\nr0 = r1\\nexit")
>>> control_flow(verify(program))
Svg(width=315, height=327, title='Control-flow graph of main', style=...)
>>> evolution(record(program), 1, "r1").title
'r1 before slot 1, iteration by iteration'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil, cos, log2, pi, sin
from typing import Final

from prevail_py._render import Svg
from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import ControlFlowGraph
from prevail_py.cfg.picture import CHARACTER, draw
from prevail_py.domains.lattice import NO_SYMBOL, Range, Symbol, Term
from prevail_py.domains.statements import Difference
from prevail_py.objects.program import Program
from prevail_py.verifier.blocks import CallString
from prevail_py.verifier.recording import How, Recording
from prevail_py.verifier.state import State
from prevail_py.verifier.values import STACK_SIZE, Pointer, Value
from prevail_py.verifier.verdict import Verdict
from prevail_py.words import to_signed

__all__ = ["control_flow", "evolution", "zones"]

_FONT: Final = "font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:11px"
_INK, _GREY, _FAINT = "#1f2328", "#6e7781", "#d8dee4"
_MAX_FACTS: Final = 10
_HOW: Final = {
    How.ENTER: "#8c959f",
    How.FINAL: "#1a7f37",
    How.JOIN: "#0969da",
    How.WIDEN: "#bc4c00",
    How.COVERED: "#8c959f",
    How.DESCEND: "#1a7f37",
    How.STABLE: "#1a7f37",
}


def control_flow(
    subject: Verdict | Program | ControlFlowGraph,
    *,
    functions: Sequence[int] | None = None,
    invariants: bool = True,
    annotations: Mapping[int, str] | None = None,
    source: bool = True,
    max_lines: int | None = 40,
) -> Svg:
    """The control-flow graph; of a verdict, with what holds at each block head where ``invariants`` says so.

    ``functions`` are the indices of those to draw, by default all; ``annotations`` has text to show below
    instructions, by slot; blocks with more instructions than ``max_lines`` are cut short.  Raises
    :class:`~prevail_py.cfg.graph.CfgError` for a program that has no such graph.
    """
    before: dict[int, str] = {}
    match subject:
        case Verdict():
            graph = build(subject.program)
            if invariants:
                before = _facts(subject)
        case Program():
            graph = build(subject)
        case ControlFlowGraph():
            graph = subject
    return draw(graph, functions=functions, before=before, annotations=annotations, source=source, max_lines=max_lines)


def _facts(verdict: Verdict) -> dict[int, str]:
    """What holds at each block head, whatever the calls that lead there, in a few lines."""
    found: dict[int, list[str]] = {}
    for (_, pc), states in sorted(verdict.invariants.items()):
        found.setdefault(pc, []).extend(states)
    out = {}
    for pc, texts in found.items():
        if not texts:
            out[pc] = "unreachable"
            continue
        lines = texts[0].splitlines()
        shown = lines[:_MAX_FACTS]
        if len(lines) > _MAX_FACTS:
            shown.append(f"… {len(lines) - _MAX_FACTS} more facts")
        if len(texts) > 1:
            shown.append("… or another state" if len(texts) == 2 else f"… or one of {len(texts) - 1} more states")
        out[pc] = "\n".join(shown)
    return out


# Intervals over iterations ----------------------------------------------------------------------------------------

_COLUMN: Final = 78.0
_TOP, _BOTTOM, _LEFT = 56.0, 44.0, 24.0
_PLOT: Final = 200.0


def evolution(recording: Recording, pc: int, place: int | str, calls: CallString = (), signed: bool = True) -> Svg:
    """How the interval of a register (``3``, ``"r3"``) or stack cell (``"r10-8"``) at a block head evolves.

    One bar per moment: what it is entered with, what joins and widening make of it, what the descent wins back.  The
    scale is linear where it can be, and logarithmic on either side of zero where not; an end at the edge of the
    machine word is drawn as an arrow.  Raises ValueError for a place that is none and where nothing happened.
    """
    steps = recording.evolution(pc, place, calls, signed)
    if not steps:
        raise ValueError(f"nothing happened at slot {pc}: it is no block head that was reached from {calls}")
    name = f"r{place}" if isinstance(place, int) else place
    low, high = (-(1 << 63), (1 << 63) - 1) if signed else (0, (1 << 64) - 1)
    ends = [end for _, found in steps if found for end in found if low < end < high] or [0]
    y_of = _scale(min(ends), max(ends))
    parts = [_text(_LEFT, 22, f"{name} before slot {pc}", _INK, weight=600, size=13)]
    width = round(2 * _LEFT + _COLUMN * len(steps))
    for value in sorted({min(ends), max(ends), *([0] if min(ends) < 0 < max(ends) else [])}):
        y = y_of(value)
        parts.append(f'<path d="M{_LEFT:g} {y:g}H{width - _LEFT:g}" stroke="{_FAINT}" stroke-dasharray="2 4"/>')
    last: tuple[float, float, float] | None = None
    for number, (how, found) in enumerate(steps):
        x = _LEFT + _COLUMN * (number + 0.5)
        colour = _HOW[how]
        parts.append(_text(x, _TOP + _PLOT + 34, how.value, colour, anchor="middle", weight=600))
        if found is None:
            parts.append(_text(x, _TOP + _PLOT / 2, "no number", _GREY, anchor="middle"))
            last = None
            continue
        top = _TOP - 8 if found.hi == high else y_of(found.hi)
        bottom = _TOP + _PLOT + 8 if found.lo == low else y_of(found.lo)
        if last is not None:
            before, upper, lower = last
            points = f"{before + 9:g},{upper:g} {x - 9:g},{top:g} {x - 9:g},{bottom:g} {before + 9:g},{lower:g}"
            parts.append(f'<polygon points="{points}" fill="{colour}" opacity="0.09"/>')
        parts.append(_bar(x, top, bottom, colour, found.hi == high, found.lo == low))
        if found.hi == found.lo:
            parts.append(_text(x, top - 6, _number(found.hi), _INK, anchor="middle"))
        else:
            parts.append(_text(x, top - 6, "" if found.hi == high else _number(found.hi), _INK, anchor="middle"))
            parts.append(_text(x, bottom + 13, "" if found.lo == low else _number(found.lo), _INK, anchor="middle"))
        last = x, top, bottom
    title = f"{name} before slot {pc}, iteration by iteration"
    return _card(width, round(_TOP + _PLOT + _BOTTOM), parts, title)


def _scale(low: int, high: int) -> Callable[[int], float]:
    """The height at which a number is drawn."""

    def curved(value: int) -> float:
        return (-1 if value < 0 else 1) * log2(1 + abs(value))

    straight = max(abs(low), abs(high)) <= 1 << 14
    least, most = (float(low), float(high)) if straight else (curved(low), curved(high))
    if least == most:
        least, most = least - 1, most + 1

    def place(value: int) -> float:
        at = float(value) if straight else curved(value)
        return round(_TOP + 16 + (_PLOT - 32) * (most - at) / (most - least), 1)

    return place


def _bar(x: float, top: float, bottom: float, colour: str, above: bool, below: bool) -> str:
    height = max(bottom - top, 4)
    top = top if bottom - top >= 4 else (top + bottom) / 2 - 2
    parts = [f'<rect x="{x - 9:g}" y="{top:g}" width="18" height="{height:g}" rx="4" fill="{colour}" opacity="0.85"/>']
    if above:
        parts.append(f'<path d="M{x - 9:g} {top + 4:g}L{x:g} {top - 9:g}L{x + 9:g} {top + 4:g}z" fill="{colour}"/>')
    if below:
        end = top + height
        parts.append(f'<path d="M{x - 9:g} {end - 4:g}L{x:g} {end + 9:g}L{x + 9:g} {end - 4:g}z" fill="{colour}"/>')
    return "".join(parts)


def _number(value: int) -> str:
    """A number; a large one as a power of two and a little, or roughly."""
    size, sign = abs(value), "-" if value < 0 else ""
    if size < 1_000_000:
        return str(value)
    for exponent in (size.bit_length() - 1, size.bit_length()):
        more = size - (1 << exponent)
        if abs(more) < 1000:
            return f"{sign}2^{exponent}{f'{more:+}' if more else ''}"
    return f"{value:.2e}".replace("e+", "e")


# Zones ------------------------------------------------------------------------------------------------------------


def zones(state: State) -> Svg:
    """What ``state`` knows of pairs of symbols: a node per symbol, with its range and the places that hold it.

    An edge between ``a`` and ``b`` says how far ``a - b`` may be; with an upper bound only, it is an arrow from ``b``
    to ``a`` that says ``a <= b + c``.  Symbols without a relation are left out.
    """
    most: dict[tuple[Symbol, Symbol], int] = {}
    for statement in state.facts.statements():
        if isinstance(statement, Difference):
            pair = statement.left, statement.right
            most[pair] = min(most.get(pair, statement.most), statement.most)
    symbols = sorted({symbol for pair in most for symbol in pair})
    if not symbols:
        return _card(360, 60, [_text(20, 35, "no two symbols are related here", _GREY)], "Zones: no relations")
    held = _places(state)
    labels = {symbol: _label(state, symbol, held.get(symbol, [])) for symbol in symbols}
    sizes = {
        s: (max(len(line) for line in label) * CHARACTER + 20, 15 * len(label) + 12) for s, label in labels.items()
    }
    widest = max(width for width, _ in sizes.values())
    count = len(symbols)
    rx, ry = max(widest * 1.1, 46.0 * count), 0.0 if count < 3 else 31.0 * count
    cx, cy = rx + widest / 2 + 20, ry + 50
    at = {
        symbol: (cx - rx * cos(2 * pi * number / count), cy - ry * sin(2 * pi * number / count))
        for number, symbol in enumerate(symbols)
    }
    parts = [
        f'<defs><marker id="zone" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0.5L8 4L0 7.5z" fill="{_GREY}"/></marker></defs>'
    ]
    words = []
    for (left, right), bound in sorted(most.items()):
        back = most.get((right, left))
        if back is not None and left < right:
            continue  # the other of the two says both
        start, end = at[right], at[left]
        tip = _border(start, end, sizes[left])
        marker = "" if back is not None else ' marker-end="url(#zone)"'
        parts.append(
            f'<path d="M{start[0]:.1f} {start[1]:.1f}L{tip[0]:.1f} {tip[1]:.1f}" stroke="{_GREY}" fill="none"{marker}/>'
        )
        if back is None:
            more = f" {'-' if bound < 0 else '+'} {abs(bound)}" if bound else ""
            text = f"s{left} ≤ s{right}{more}"
        else:
            distance = f"= {bound}" if bound == -back else f"∈ [{-back}, {bound}]"
            text = f"s{left} - s{right} {distance}"
        words.append(_tag((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, text))
    for symbol in symbols:
        (x, y), (width, height) = at[symbol], sizes[symbol]
        parts.append(
            f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:g}" rx="7" '
            f'fill="#eef4fb" stroke="#0550ae"/>'
        )
        for number, line in enumerate(labels[symbol]):
            weight = 600 if number == 0 else 400
            parts.append(_text(x, y - height / 2 + 18 + 15 * number, line, _INK, anchor="middle", weight=weight))
    return _card(ceil(2 * cx), ceil(2 * cy), [*parts, *words], "Zones: differences between symbols")


def _places(state: State) -> dict[Symbol, list[str]]:
    """Where each symbol is held, as texts that say what it is: ``r3 - 14`` where R3 holds it plus 14."""
    found: dict[Symbol, list[str]] = {}

    def note(name: str, value: Value) -> None:
        match value:
            case Pointer(offset=term):
                name = f"offset of {name}"
            case Term() as term:
                pass
            case _:
                return
        if term.symbol != NO_SYMBOL:
            shift = to_signed(term.offset, 64)
            less = f" {'-' if shift > 0 else '+'} {abs(shift)}" if shift else ""
            found.setdefault(term.symbol, []).append(name + less)

    note("packet size", state.packet_size)
    for number, value in enumerate(state.registers):
        note(f"r{number}", value)
    for offset, (_, value) in sorted(state.frames[-1].cells.items()):
        note(f"r10{offset - STACK_SIZE:+}", value)
    return found


def _label(state: State, symbol: Symbol, places: Sequence[str]) -> list[str]:
    low, high = _best(state, symbol)
    known = f"[{_number(low)}, {_number(high)}]"
    return [f"s{symbol}", *places[:2], *(["…"] if len(places) > 2 else []), known]


def _best(state: State, symbol: Symbol) -> Range:
    term = Term(symbol, 0)
    unsigned, signed = state.facts.range(term), state.facts.range(term, signed=True)
    return signed if signed.hi - signed.lo <= unsigned.hi - unsigned.lo else unsigned


def _border(start: tuple[float, float], end: tuple[float, float], size: tuple[float, float]) -> tuple[float, float]:
    """Where the line from ``start`` to the centre ``end`` of a box of ``size`` meets its border."""
    dx, dy = start[0] - end[0], start[1] - end[1]
    if not dx and not dy:
        return end
    share = min((size[0] / 2) / abs(dx) if dx else 1.0, (size[1] / 2) / abs(dy) if dy else 1.0)
    return end[0] + dx * share, end[1] + dy * share


def _tag(x: float, y: float, text: str) -> str:
    width = len(text) * CHARACTER + 10
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="18" rx="4" '
        f'fill="#ffffff" opacity="0.92"/>' + _text(x, y + 4, text, "#953800", anchor="middle")
    )


def _text(
    x: float, y: float, text: str, colour: str, *, anchor: str = "start", weight: int = 400, size: int = 11
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}" '
        f'font-size="{size}">{escape(text)}</text>'
    )


def _card(width: int, height: int, parts: Sequence[str], title: str) -> Svg:
    body = f'<rect width="100%" height="100%" rx="8" fill="#ffffff"/>{"".join(parts)}'
    return Svg(width, height, body, title, _FONT)
