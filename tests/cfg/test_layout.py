from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from prevail_py import examples
from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import FunctionGraph
from prevail_py.cfg.layout import Box, Layout, Point, layout
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.research.families import FAMILIES

TEXTS = {
    "one block": "exit",
    "self loop": "r1 = 0\nif r1 == 0 goto -1\nr0 = 0\nexit",
    "back to the entry": "r1 = 0\nif r1 == 0 goto -2\nr0 = 0\nexit",
    "both ways to one block": "r1 = 0\nif r1 == 0 goto +0\nr0 = 0\nexit",
    "two entries to a loop": (
        "if r1 == 0 goto +2\nr2 += 1\nif r2 == 0 goto +3\nr3 += 1\nif r3 == 7 goto -4\nr0 = 0\nr0 = 1\nexit"
    ),
}


def functions() -> dict[str, FunctionGraph]:
    found = {name: build(Program(name, "xdp", "xdp", assemble_text(text))).entry for name, text in TEXTS.items()}
    for name, family in FAMILIES.items():
        found[name] = build(family(6)).entry
    for stem in ("xdp_parser", "xdp_options", "unsafe_scan"):
        found[stem] = build(next(iter(load_object(examples.path(stem)).programs.values()))).entry
    return found


FUNCTIONS = functions()


def plan(function: FunctionGraph) -> Layout:
    return layout(function, [(60.0 + 37 * (block.id % 5), 15.0 * len(block.pcs) + 12) for block in function.blocks])


def meet(box: Box, low: Point, high: Point) -> bool:
    """Whether something of the rectangle between two points lies within a box."""
    return low[0] < box.x + box.width and high[0] > box.x and low[1] < box.y + box.height and high[1] > box.y


def faults(function: FunctionGraph, found: Layout) -> list[str]:
    """What is wrong with a layout as a picture."""
    out = []
    boxes = found.boxes
    for one in boxes:
        if one.x < 0 or one.y < 0 or one.x + one.width > found.width or one.y + one.height > found.height:
            out.append(f"block {one.block} lies outside")
        out += [
            f"blocks {one.block} and {other.block} overlap"
            for other in boxes[: one.block]
            if meet(one, (other.x, other.y), (other.x + other.width, other.y + other.height))
        ]
    edges = [(block.id, edge.target, edge.taken) for block in function.blocks for edge in block.edges]
    if [(route.source, route.target, route.taken) for route in found.routes] != edges:
        out.append("the edges are others")
    for route in found.routes:
        source, target = boxes[route.source], boxes[route.target]
        (x, y), (u, v) = route.points[0], route.points[-1]
        if y != source.y + source.height or not source.x <= x <= source.x + source.width:
            out.append(f"edge {route.source} starts elsewhere")
        if v != target.y or not target.x <= u <= target.x + target.width:
            out.append(f"edge to {route.target} ends elsewhere")
        for (a, b), (c, d) in pairwise(route.points):
            if abs(a - c) > 0.6 and b != d:
                out.append(f"edge {route.source} -> {route.target} is slanted: {(a, b)} {(c, d)}")
            out += [
                f"edge {route.source} -> {route.target} runs through block {box.block}"
                for box in boxes
                if meet(box, (min(a, c), min(b, d)), (max(a, c), max(b, d)))
            ]
    return out


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_overlaps(name: str) -> None:
    function = FUNCTIONS[name]
    assert not faults(function, plan(function))


def test_faults_are_noticed() -> None:
    function = FUNCTIONS["xdp_options"]
    found = plan(function)
    first, second, *rest = found.boxes
    crowded = replace(found, boxes=(first, replace(second, y=first.y, x=first.x), *rest))
    assert "blocks 1 and 0 overlap" in faults(function, crowded)
    # An edge drawn straight from block to block, as it would be without lanes.
    through = [
        replace(route, points=(route.points[0], (route.points[0][0], route.points[-1][1]), route.points[-1]))
        for route in found.routes
    ]
    assert any("runs through" in fault for fault in faults(function, replace(found, routes=tuple(through))))


def test_the_same_graph_has_the_same_layout() -> None:
    function = FUNCTIONS["xdp_parser"]
    assert plan(function) == plan(function)


def test_what_follows_a_loop_is_below_it() -> None:
    function = FUNCTIONS["self loop"]
    boxes = plan(function).boxes
    assert [box.y for box in boxes] == sorted(box.y for box in boxes)
    assert [route.is_back for route in plan(function).routes] == [False, False, True]
