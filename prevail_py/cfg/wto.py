"""Weak topological orders: in which order to iterate over a graph with cycles, and where to widen.

A weak topological order is a topological order with brackets.  Brackets enclose *components* (cycles and what is
tangled up in them); the first block of a component is its *head*.  What makes it one (Bourdoncle, "Efficient chaotic
iteration strategies with widenings", FMPA 1993): for every edge ``u -> v``, ``u`` comes before ``v`` or ``v`` is the
head of a component that contains ``u``.  Hence every cycle passes through a head, and widening at heads alone makes any
iteration stop.  In the notation of the literature::

    0 1 (2 3 (4 5) 6) 7

means: 4 5 again and again until 4 is stable, then 6, all of this from 2 on until 2 is stable, then 7.

Bourdoncle's algorithm searches each component anew and is quadratic in the depth of nesting.  This one finds the same
kind of order bottom-up with one depth-first search and disjoint sets, in nearly linear time (Ramalingam, "Identifying
loops in almost linear time", TOPLAS 1999; Kim, Venet and Thakur, "Deterministic parallel fixpoint computation", POPL
2020).  Irreducible graphs are no exception: the head is the block of the cycle that the search met first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from prevail_py.cfg.graph import Rooted

__all__ = ["Component", "Element", "Wto", "weak_topological_order"]


@dataclass(frozen=True, slots=True)
class Component:
    """A head and what follows it inside the brackets; a loop of one block has no further elements."""

    head: int
    elements: tuple[Element, ...] = ()


Element: TypeAlias = int | Component


@dataclass(frozen=True, slots=True)
class Wto:
    """A weak topological order of the nodes that the root reaches, stored flat.

    ``order`` is the order without its brackets.  ``ends[i]`` is the position just after the component that
    ``order[i]`` is the head of, and ``i`` where that node is no head.  A component is thus the range
    ``order[i:ends[i]]``, and an iteration needs no recursion however deep the nest is.
    """

    order: tuple[int, ...]
    ends: tuple[int, ...]
    _position: dict[int, int] = field(init=False, repr=False, compare=False)
    _enclosing: dict[int, int | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        enclosing: dict[int, int | None] = {}
        open_until: list[tuple[int, int]] = []
        for position, node in enumerate(self.order):
            while open_until and open_until[-1][0] <= position:
                open_until.pop()
            enclosing[node] = open_until[-1][1] if open_until else None
            if self.ends[position] > position:
                open_until.append((self.ends[position], node))
        object.__setattr__(self, "_position", {node: position for position, node in enumerate(self.order)})
        object.__setattr__(self, "_enclosing", enclosing)

    @property
    def elements(self) -> tuple[Element, ...]:
        """The order with its brackets, as nested components."""
        levels: list[tuple[int, list[Element]]] = [(-1, [])]
        ends = [len(self.order)]
        for position, node in enumerate(self.order):
            while ends[-1] == position:
                _close(levels, ends)
            if self.ends[position] > position:
                levels.append((node, []))
                ends.append(self.ends[position])
            else:
                levels[-1][1].append(node)
        while len(levels) > 1:
            _close(levels, ends)
        return tuple(levels[0][1])

    @property
    def heads(self) -> tuple[int, ...]:
        """The heads of all components, in order."""
        return tuple(node for position, node in enumerate(self.order) if self.ends[position] > position)

    def is_head(self, node: int) -> bool:
        """Whether ``node`` is the head of a component."""
        position = self._position[node]
        return self.ends[position] > position

    def __contains__(self, node: int) -> bool:
        """Whether the root reaches ``node``."""
        return node in self._position

    def position(self, node: int) -> int:
        """The index of ``node`` in ``order``."""
        return self._position[node]

    def members(self, head: int) -> tuple[int, ...]:
        """The nodes of the component that ``head`` is the head of, itself first; empty if it heads none."""
        position = self._position[head]
        return self.order[position : self.ends[position]]

    def contains(self, head: int, node: int) -> bool:
        """Whether ``node`` is in the component that ``head`` is the head of, the head included."""
        start = self._position[head]
        return start <= self._position[node] < self.ends[start]

    def enclosing(self, node: int) -> int | None:
        """The head of the innermost component around ``node``; for a head, of the one around its own."""
        return self._enclosing[node]

    def nesting(self, node: int) -> tuple[int, ...]:
        """The heads of the components that contain ``node``, outermost first; those of a head include itself."""
        heads = [node] if self.is_head(node) else []
        around = self._enclosing[node]
        while around is not None:
            heads.append(around)
            around = self._enclosing[around]
        return tuple(reversed(heads))

    def __str__(self) -> str:
        words = [str(node) for node in self.order]
        for position, end in enumerate(self.ends):
            if end > position:
                words[position] = "(" + words[position]
                words[end - 1] += ")"
        return " ".join(words)


def _is_ascending(graph: Rooted) -> bool:
    """Whether all edges lead to nodes of higher number and the root reaches all nodes: then their order is the one.

    Where every edge ascends, that every node but the root has a predecessor says that the root reaches it.
    """
    return all(node < target for node, targets in enumerate(graph.successors) for target in targets) and all(
        graph.predecessors[1:]
    )


def _close(levels: list[tuple[int, list[Element]]], ends: list[int]) -> None:
    head, elements = levels.pop()
    ends.pop()
    levels[-1][1].append(Component(head, tuple(elements)))


def weak_topological_order(graph: Rooted) -> Wto:
    """A weak topological order of the nodes of ``graph`` that node 0 reaches; the same for the same graph.

    On blocks numbered by the builder, elements at the same level are in ascending order.
    """
    if _is_ascending(graph):
        ascending = tuple(range(len(graph.successors)))
        return Wto(ascending, ascending)
    search = _search(graph)
    head_around = _nest(search, len(graph.successors))
    inside: dict[int, list[int]] = {head: [] for head in (_NONE, *search.back)}
    for node in search.post_order:  # the reverse of a topological order of each level: see _Search
        inside[head_around[node]].append(node)
    order: list[int] = []
    ends: list[int] = []
    closing: list[tuple[int, int]] = []  # (how much was pending before, position of the head) of the open components
    pending = inside[_NONE]
    while pending:
        while closing and closing[-1][0] == len(pending):
            ends[closing.pop()[1]] = len(order)
        node = pending.pop()
        if node in search.back:
            closing.append((len(pending), len(order)))
            pending.extend(inside[node])
        ends.append(len(order))
        order.append(node)
    for _, position in closing:
        ends[position] = len(order)
    return Wto(tuple(order), tuple(ends))


_NONE = -1


@dataclass(frozen=True, slots=True)
class _Search:
    """What a depth-first search from node 0 found.

    ``back[h]`` holds the sources of the edges to ``h`` from ``h`` itself or its descendants.  ``cross[h]`` holds the
    edges between nodes of which neither descends from the other, under their lowest common ancestor ``h``.  A head is
    the ancestor of all of its component, and every edge that is not a back edge leads to a node that is finished
    earlier; so reverse post-order is topological on the elements of any one level.
    """

    pre_order: list[int]
    post_order: list[int]
    parent: list[int]
    back: dict[int, list[int]]
    cross: dict[int, list[tuple[int, int]]]


def _search(graph: Rooted) -> _Search:
    successors = graph.successors
    unseen, active, finished = 0, 1, 2
    state = bytearray(len(successors))
    number = [0] * len(successors)
    search = _Search([], [], [_NONE] * len(successors), {}, {})
    # Finished nodes are merged into their parents, so that the representative of a finished node is its lowest ancestor
    # still active: the lowest common ancestor with whatever is being explored (Tarjan's off-line algorithm).
    representative = list(range(len(successors)))
    stack: list[tuple[int, list[int]]] = []

    def enter(node: int) -> None:
        state[node] = active
        number[node] = len(search.pre_order)
        search.pre_order.append(node)
        stack.append((node, list(successors[node])))

    enter(0)
    while stack:
        node, unexplored = stack[-1]
        if not unexplored:
            stack.pop()
            state[node] = finished
            search.post_order.append(node)
            if stack:
                representative[node] = stack[-1][0]
            continue
        target = unexplored.pop()
        if state[target] == unseen:
            search.parent[target] = node
            enter(target)
        elif state[target] == active:
            search.back.setdefault(target, []).append(node)
        elif number[target] < number[node]:
            search.cross.setdefault(_find(representative, target), []).append((node, target))
        # else: a forward edge adds nothing, since the tree has a path from node to target
    return search


def _find(representative: list[int], node: int) -> int:
    """The representative of the set that holds ``node``, with path halving."""
    while representative[node] != node:
        representative[node] = representative[representative[node]]
        node = representative[node]
    return node


def _nest(search: _Search, nodes: int) -> list[int]:
    """For each node the head of the innermost component around it (around its own component, for a head).

    Candidates for heads, the targets of back edges, are treated innermost first: those met later by the search before
    those met earlier.  Whatever reaches the sources of the back edges without passing through the head, found by
    walking edges backwards, is in the component, which is then contracted into its head.  Edges into a contracted
    component are those into its head, for a cross edge is put into the graph only when its common ancestor is treated,
    with the ends it then has; no component treated earlier could hold both ends.
    """
    around = [_NONE] * nodes
    representative = list(range(nodes))
    sources: dict[int, list[int]] = {}  # of cross edges, by what their targets were contracted into
    for head in reversed(search.pre_order):
        for source, target in search.cross.get(head, ()):
            sources.setdefault(_find(representative, target), []).append(source)
        if head not in search.back:
            continue
        worklist = [_find(representative, source) for source in search.back[head]]
        while worklist:
            node = worklist.pop()
            if node == head or around[node] == head:
                continue
            around[node] = head
            worklist.append(_find(representative, search.parent[node]))
            worklist.extend(_find(representative, source) for source in sources.pop(node, ()))
            representative[node] = head
    return around
