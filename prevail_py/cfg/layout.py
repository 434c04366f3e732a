"""Where to draw the blocks and edges of a function: a layered layout, made for control flow and without graphviz.

The phases are those of Sugiyama, Tagawa and Toda ("Methods for visual understanding of hierarchical system structures",
IEEE SMC 1981): layers, order within layers, coordinates, routes.  What is special to control flow:

- Blocks are layered along a weak topological order, and whatever follows a loop is put below all of it.
- An edge that passes through layers has a *lane* in each, which all edges to the same block share: the ways to a common
  exit become one line, and the number of lanes is bounded by layers times targets rather than by layers times edges.
- Edges back to a head run upwards in a lane beside the loop.
- Edges are horizontal or vertical; each gap between layers has as many tracks as it takes to keep them apart.

Everything is deterministic, and takes near-linear time in blocks plus lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

from prevail_py.cfg.graph import FunctionGraph
from prevail_py.cfg.wto import Wto, weak_topological_order

__all__ = ["Box", "Frame", "Layout", "Route", "frames", "layout"]

_BETWEEN: Final = 26.0  # blocks of one layer
_LANE: Final = 14.0  # a lane and its neighbour
_MARGIN: Final = 16.0
_GAP: Final = 34.0  # between layers, without tracks
_TRACK: Final = 9.0
_INSET: Final = 14.0  # of a port from the corner of its block
_STRAIGHT: Final = 0.5
_ROUNDS: Final = 6

Point: TypeAlias = tuple[float, float]
_Lane: TypeAlias = tuple[bool, int]
"""Whether it leads back, and the block that it leads to."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a block is: its left upper corner and its size, in pixels."""

    block: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Route:
    """An edge as a polyline of horizontal and vertical pieces; ``taken`` is that of the edge."""

    source: int
    target: int
    taken: bool | None
    is_back: bool
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A function laid out: ``boxes`` by block, ``routes`` in the order of blocks and edges."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    routes: tuple[Route, ...]


@dataclass(slots=True)
class _Node:
    """A block or a piece of a lane, in its layer; ``links`` are (node, weight) in the layers above and below."""

    width: float
    layer: int
    block: int  # -1 for a lane
    loops: tuple[int, ...] = ()
    above: list[tuple[int, float]] = field(default_factory=list)
    below: list[tuple[int, float]] = field(default_factory=list)
    beside: int = -1  # the head of the loop that a lane leads back to
    lane: _Lane | None = None
    x: float = 0.0  # of the centre


@dataclass(frozen=True, slots=True)
class Frame:
    """The extent of a loop, a little more than that of its blocks; ``depth`` counts from 1 for an outermost one."""

    head: int
    depth: int
    x: float
    y: float
    width: float
    height: float


def frames(function: FunctionGraph, plan: Layout) -> tuple[Frame, ...]:
    """The loops of a function that is laid out, outer ones first."""
    wto = weak_topological_order(function)
    out = []
    for head in wto.heads:
        boxes = [plan.boxes[block] for block in wto.members(head)]
        depth = len(wto.nesting(head))
        pad = max(12.0 - 3 * (depth - 1), 4.0)
        left, top = min(box.x for box in boxes) - pad, min(box.y for box in boxes) - pad
        right, bottom = max(box.x + box.width for box in boxes) + pad, max(box.y + box.height for box in boxes) + pad
        out.append(Frame(head, depth, left, top, right - left, bottom - top))
    return tuple(out)


def layout(function: FunctionGraph, sizes: Sequence[tuple[float, float]]) -> Layout:
    """Lay out ``function``, whose blocks are as large as ``sizes`` says: (width, height) in pixels, by block."""
    plan = _Plan(function, sizes)
    plan.order_layers()
    plan.place_columns()
    return plan.routed()


class _Plan:
    """The layout in the making."""

    def __init__(self, function: FunctionGraph, sizes: Sequence[tuple[float, float]]) -> None:
        self.function = function
        self.sizes = sizes
        self.wto = weak_topological_order(function)
        self.layer_of = _layers(function, self.wto)
        self.nodes = [
            _Node(sizes[block.id][0], self.layer_of[block.id], block.id, self.wto.nesting(block.id))
            for block in function.blocks
        ]
        self.lanes: dict[tuple[_Lane, int], int] = {}
        self.middle: dict[_Lane, float] = {}
        self.layers: list[list[int]] = [[] for _ in range(max(self.layer_of) + 1)]
        self._add_edges()

    def is_back(self, source: int, target: int) -> bool:
        return self.wto.position(target) <= self.wto.position(source)

    def _add_edges(self) -> None:
        for block in self.function.blocks:
            for edge in block.edges:
                source, target = block.id, edge.target
                weight = 1.0 if edge.taken else 3.0
                if self.is_back(source, target):
                    for layer in range(self.layer_of[target], self.layer_of[source] + 1):
                        self._lane((True, target), layer, self.layer_of[target])
                else:
                    before = source
                    for layer in range(self.layer_of[source] + 1, self.layer_of[target]):
                        now = self._lane((False, target), layer, self.layer_of[source] + 1)
                        if before == source:
                            self._link(before, now, weight / 2)
                        before = now
                    self._link(before, target, weight if before == source else 1.0)
        for number in range(len(self.nodes)):
            if self.nodes[number].beside < 0:
                self.layers[self.nodes[number].layer].append(number)

    def _lane(self, lane: _Lane, layer: int, first: int) -> int:
        known = self.lanes.get((lane, layer))
        if known is None:
            back, target = lane
            known = self.lanes[lane, layer] = len(self.nodes)
            loops = self.wto.nesting(target)
            beside = target if back else -1
            self.nodes.append(_Node(0.0, layer, -1, loops if back else (), beside=beside, lane=lane))
        above = self.lanes.get((lane, layer - 1))
        if above is not None and layer > first and all(node != above for node, _ in self.nodes[known].above):
            self._link(above, known, 8.0)
        return known

    def _link(self, above: int, below: int, weight: float) -> None:
        self.nodes[above].below.append((below, weight))
        self.nodes[below].above.append((above, weight))

    # Order within layers ------------------------------------------------------------------------------------------

    def order_layers(self) -> None:
        """Sweep down and up, each layer in the order of the mean place of what it is linked to."""
        place: dict[int, float] = {}
        self._note(place)
        rounds = _ROUNDS if len(self.nodes) < 4000 else 2
        for turn in range(rounds):
            downwards = turn % 2 == 0
            for layer in self.layers if downwards else reversed(self.layers):

                def mean(number: int, downwards: bool = downwards) -> float:
                    links = self.nodes[number].above if downwards else self.nodes[number].below
                    return sum(place[other] for other, _ in links) / len(links) if links else place[number]

                layer.sort(key=mean)
                self._spread(layer, place)
        # Lanes that lead back stand to the right of their loop, those of inner loops further in.
        upwards: dict[int, list[tuple[int, int]]] = {}
        for ((back, target), at), lane in self.lanes.items():
            if back:
                upwards.setdefault(target, []).append((at, lane))
        for head in sorted(upwards, key=self.wto.position, reverse=True):
            for at, lane in upwards[head]:
                layer = self.layers[at]
                inside = [position for position, number in enumerate(layer) if head in self.nodes[number].loops]
                layer.insert(inside[-1] + 1 if inside else len(layer), lane)

    def _note(self, place: dict[int, float]) -> None:
        for layer in self.layers:
            self._spread(layer, place)

    def _spread(self, layer: list[int], place: dict[int, float]) -> None:
        step = 1.0 / (len(layer) + 1)
        for position, number in enumerate(layer, 1):
            place[number] = position * step

    # Columns ------------------------------------------------------------------------------------------------------

    def place_columns(self) -> None:
        """Give each node the x of its centre: near to its neighbours', in the order of its layer."""
        for layer in self.layers:
            x = 0.0
            for position, number in enumerate(layer):
                node = self.nodes[number]
                x += node.width / 2 + (self._separation(layer[position - 1], number) if position else 0.0)
                node.x = x
                x += node.width / 2
        for turn in range(2 * _ROUNDS if len(self.nodes) < 4000 else _ROUNDS):
            both = turn >= _ROUNDS
            self._straighten()
            for layer in self.layers if turn % 2 == 0 else reversed(self.layers):
                self._settle(layer, up=turn % 2 == 0 or both, down=turn % 2 == 1 or both)
        self._snap()
        left = min(node.x - node.width / 2 for node in self.nodes)
        for node in self.nodes:
            node.x = round(node.x - left + _MARGIN, 1)

    def _straighten(self) -> None:
        """Note where each lane is on the whole: all of its pieces want to be there."""
        pieces: dict[_Lane, list[float]] = {}
        for (lane, _), number in self.lanes.items():
            pieces.setdefault(lane, []).append(self.nodes[number].x)
        self.middle = {lane: sum(found) / len(found) for lane, found in pieces.items()}

    def _separation(self, left: int, right: int) -> float:
        return _LANE if self.nodes[left].block < 0 or self.nodes[right].block < 0 else _BETWEEN

    def _settle(self, layer: list[int], up: bool, down: bool) -> None:
        """Move the nodes of a layer to where they want to be, as near as their order and sizes allow.

        The least sum of weighted squares under a chain of least distances: pool adjacent violators.
        """
        pools: list[tuple[float, float, int]] = []  # (mean, weight, members) of what has to move together
        starts: list[float] = []
        x = 0.0
        for position, number in enumerate(layer):
            node = self.nodes[number]
            if position:
                before = self.nodes[layer[position - 1]]
                x += before.width / 2 + self._separation(layer[position - 1], number) + node.width / 2
            starts.append(x)
            wish, weight = self._wish(node, up, down)
            mean, members = wish - x, 1
            while pools and pools[-1][0] >= mean:
                other, much, many = pools.pop()
                mean = (mean * weight + other * much) / (weight + much)
                weight, members = weight + much, members + many
            pools.append((mean, weight, members))
        position = 0
        for mean, _, members in pools:
            for number in layer[position : position + members]:
                self.nodes[number].x = starts[position] + mean
                position += 1

    def _snap(self) -> None:
        """Put each piece of a lane straight below the one above it, where its neighbours leave room for that."""
        for at, layer in enumerate(self.layers):
            for position, number in enumerate(layer):
                lane = self.nodes[number].lane
                above = None if lane is None else self.lanes.get((lane, at - 1))
                if above is None:
                    continue
                wanted = self.nodes[above].x
                room = True
                for other, side in ((position - 1, 1), (position + 1, -1)):
                    if 0 <= other < len(layer):
                        near = self.nodes[layer[other]]
                        room &= (wanted - near.x) * side >= near.width / 2 + _LANE * 0.7
                if room:
                    self.nodes[number].x = wanted

    def _wish(self, node: _Node, up: bool, down: bool) -> tuple[float, float]:
        links: Iterable[tuple[int, float]] = (*(node.above if up else ()), *(node.below if down else ()))
        total = weight = 0.0
        for other, much in links:
            total += self.nodes[other].x * much
            weight += much
        if node.lane is not None:
            total += self.middle[node.lane] * 8
            weight += 8
        if node.beside >= 0:
            total += self.nodes[node.beside].x * 0.2  # as near to the loop as its blocks allow
            weight += 0.2
        return (total / weight, weight) if weight else (node.x, 0.05)

    # Routes -------------------------------------------------------------------------------------------------------

    def routed(self) -> Layout:
        """The finished layout."""
        blocks = self.function.blocks
        ports = {block.id: self._ports(block.id) for block in blocks}
        # What crosses the gap below each layer (or above all of them, -1) sideways, by lane.
        sideways: dict[int, dict[_Lane, list[float]]] = {}
        passes: list[tuple[int, int, bool | None, bool, list[tuple[int, float, float]]]] = []
        for block in blocks:
            for index, edge in enumerate(block.edges):
                back = self.is_back(block.id, edge.target)
                steps = self._steps(block.id, edge.target, ports[block.id][index], back)
                for gap, start, end in steps:
                    if abs(start - end) > _STRAIGHT:
                        sideways.setdefault(gap, {}).setdefault((back, edge.target), []).extend((start, end))
                passes.append((block.id, edge.target, edge.taken, back, steps))
        tracks = {gap: _tracks(spans) for gap, spans in sideways.items()}
        heights = [max(self.sizes[block][1] for block in members) for members in self._members()]
        y = _MARGIN + (_height(tracks.get(-1)) if -1 in tracks else 0.0)
        tops = []
        for at, height in enumerate(heights):
            tops.append(y)
            y += height + (_height(tracks.get(at)) if at + 1 < len(heights) or at in tracks else 0.0)
        boxes = tuple(
            Box(block.id, round(node.x - node.width / 2, 1), tops[node.layer], *self.sizes[block.id])
            for block, node in zip(blocks, self.nodes, strict=False)
        )

        def track_y(gap: int, lane: _Lane) -> float:
            top = tops[gap] + heights[gap] if gap >= 0 else 0.0
            return top + _GAP / 2 + tracks[gap][lane] * _TRACK

        routes = []
        for source, target, taken, back, steps in passes:
            points = [(steps[0][1], boxes[source].y + boxes[source].height)]
            for gap, start, end in steps:
                if abs(start - end) > _STRAIGHT:
                    across = track_y(gap, (back, target))
                    points += [(start, across), (end, across)]
            points.append((steps[-1][2], boxes[target].y))
            routes.append(Route(source, target, taken, back, tuple((round(a, 1), round(b, 1)) for a, b in points)))
        right = max(node.x + node.width / 2 for node in self.nodes) + _MARGIN
        return Layout(round(right, 1), round(y + _MARGIN, 1), boxes, tuple(routes))

    def _members(self) -> list[list[int]]:
        members: list[list[int]] = [[] for _ in self.layers]
        for block, layer in enumerate(self.layer_of):
            members[layer].append(block)
        return members

    def _steps(self, source: int, target: int, port: float, back: bool) -> list[tuple[int, float, float]]:
        """The gaps that an edge goes through, in order, with where it enters and leaves each sideways."""
        nodes, at = self.nodes, self.layer_of[source]
        if back:
            lanes = [nodes[self.lanes[(True, target), layer]].x for layer in range(at, self.layer_of[target] - 1, -1)]
            steps = [(at, port, lanes[0])]
            for number, (here, there) in enumerate(pairwise(lanes)):
                steps.append((at - 1 - number, here, there))
            return [*steps, (self.layer_of[target] - 1, lanes[-1], self._clamp(target, lanes[-1]))]
        x, steps = port, []
        for layer in range(at + 1, self.layer_of[target]):
            there = nodes[self.lanes[(False, target), layer]].x
            steps.append((layer - 1, x, there))
            x = there
        direct = self.layer_of[target] == at + 1
        return [*steps, (self.layer_of[target] - 1, x, self._clamp(target, x) if direct or steps else x)]

    def _clamp(self, block: int, x: float) -> float:
        node = self.nodes[block]
        return max(node.x - node.width / 2 + _INSET, min(x, node.x + node.width / 2 - _INSET))

    def _ports(self, block: int) -> list[float]:
        """Where the edges of a block leave it: above where they go, if it is wide enough."""
        towards = []
        for edge in self.function.blocks[block].edges:
            target = edge.target
            if self.is_back(block, target):
                towards.append(self.nodes[self.lanes[(True, target), self.layer_of[block]]].x)
            else:
                lane = self.lanes.get(((False, target), self.layer_of[block] + 1))
                direct = self.layer_of[target] == self.layer_of[block] + 1
                towards.append(self.nodes[target if direct or lane is None else lane].x)
        wanted = [self._clamp(block, x) for x in towards]
        if len(wanted) == 2 and abs(wanted[0] - wanted[1]) < _INSET:
            middle = self._clamp(block, sum(wanted) / 2)
            left, right = middle - _INSET / 2, middle + _INSET / 2
            wanted = [left, right] if towards[0] <= towards[1] else [right, left]
        return wanted


def _layers(function: FunctionGraph, wto: Wto) -> list[int]:
    """The layer of each block: below all blocks that lead to it, and below all loops that do."""
    layer = [0] * len(function.blocks)
    deepest: dict[int, int] = {}
    for block in wto.order:
        around = wto.nesting(block)
        inside = set(around)
        for source in function.predecessors[block]:
            if wto.position(source) < wto.position(block):
                left = [deepest[head] for head in wto.nesting(source) if head not in inside]
                layer[block] = max(layer[block], layer[source] + 1, *(depth + 1 for depth in left))
        for head in around:
            deepest[head] = max(deepest.get(head, 0), layer[block])
    return layer


def _tracks(spans: dict[_Lane, list[float]]) -> dict[_Lane, int]:
    """A track for each lane that crosses a gap sideways, none shared by two that overlap; those that go far below."""
    ends: list[list[tuple[float, float]]] = []
    found: dict[_Lane, int] = {}
    for lane in sorted(spans, key=lambda lane: (max(spans[lane]) - min(spans[lane]), min(spans[lane]), lane)):
        lo, hi = min(spans[lane]) - _LANE / 2, max(spans[lane]) + _LANE / 2
        for number, taken in enumerate(ends):
            if all(hi < left or right < lo for left, right in taken):
                taken.append((lo, hi))
                found[lane] = number
                break
        else:
            found[lane] = len(ends)
            ends.append([(lo, hi)])
    return found


def _height(tracks: dict[_Lane, int] | None) -> float:
    return _GAP + _TRACK * (max(tracks.values()) if tracks else 0)
