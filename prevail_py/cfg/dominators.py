"""Dominators: which nodes lie on every path from the root.

The algorithm is the simple one of Lengauer and Tarjan ("A fast algorithm for finding dominators in a flowgraph",
TOPLAS 1979), with path compression on an explicit stack: O(m log n) whatever the graph, where the usual iteration to a
fixpoint is quadratic on graphs made to hurt it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prevail_py.cfg.graph import Rooted

__all__ = ["Dominators", "dominators"]


@dataclass(frozen=True, slots=True)
class Dominators:
    """The dominator tree: ``immediate[n]`` is the immediate dominator of node ``n``.

    It is None for the root and for nodes that the root does not reach.
    """

    immediate: tuple[int | None, ...]
    _first: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _last: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The nodes below n in the tree are those numbered _first[n] to _last[n] in pre-order.
        children: list[list[int]] = [[] for _ in self.immediate]
        for node, parent in enumerate(self.immediate):
            if parent is not None:
                children[parent].append(node)
        first = [-1] * len(self.immediate)
        last = [-2] * len(self.immediate)
        stack = [0]
        count = 0
        while stack:
            node = stack.pop()
            if node < 0:
                last[~node] = count - 1
                continue
            first[node] = count
            count += 1
            stack.append(~node)
            stack.extend(children[node])
        object.__setattr__(self, "_first", tuple(first))
        object.__setattr__(self, "_last", tuple(last))

    def dominates(self, a: int, b: int) -> bool:
        """Whether every path from the root to ``b`` passes through ``a``; a node dominates itself.

        False where the root does not reach ``a`` or ``b``.
        """
        return self._first[a] <= self._first[b] <= self._last[a]

    def chain(self, node: int) -> tuple[int, ...]:
        """All dominators of ``node`` from itself up to the root."""
        found = []
        at: int | None = node
        while at is not None:
            found.append(at)
            at = self.immediate[at]
        return tuple(found)


def dominators(graph: Rooted) -> Dominators:
    """The dominator tree of the nodes that node 0 reaches."""
    order, parent = _pre_order(graph)
    # From here on nodes are called by their number in pre-order; 0 is the root.
    number = {node: index for index, node in enumerate(order)}
    predecessors = [[number[p] for p in graph.predecessors[node] if p in number] for node in order]
    semi = list(range(len(order)))
    best = list(range(len(order)))  # on the compressed path to the root of its tree, the node with the least semi
    ancestor = [-1] * len(order)
    bucket: list[list[int]] = [[] for _ in order]
    immediate = [0] * len(order)

    def evaluate(node: int) -> int:
        """The node with the least ``semi`` on the path from ``node`` up to, but without, the root of its tree."""
        path = []
        while ancestor[node] >= 0 and ancestor[ancestor[node]] >= 0:
            path.append(node)
            node = ancestor[node]
        for below in reversed(path):
            above = ancestor[below]
            if semi[best[above]] < semi[best[below]]:
                best[below] = best[above]
            ancestor[below] = ancestor[above]
        return best[path[0] if path else node]

    for node in range(len(order) - 1, 0, -1):
        for predecessor in predecessors[node]:
            semi[node] = min(semi[node], semi[evaluate(predecessor)])
        bucket[semi[node]].append(node)
        ancestor[node] = parent[node]
        for waiting in bucket[parent[node]]:
            lowest = evaluate(waiting)
            immediate[waiting] = lowest if semi[lowest] < semi[waiting] else parent[node]
        bucket[parent[node]].clear()
    for node in range(1, len(order)):
        if immediate[node] != semi[node]:
            immediate[node] = immediate[immediate[node]]
    result: list[int | None] = [None] * len(graph.successors)
    for index in range(1, len(order)):
        result[order[index]] = order[immediate[index]]
    return Dominators(tuple(result))


def _pre_order(graph: Rooted) -> tuple[list[int], list[int]]:
    """The reachable nodes in depth-first pre-order, and for each position that of the parent in the tree."""
    order: list[int] = []
    parent: list[int] = []
    seen = bytearray(len(graph.successors))
    pending = [(0, -1)]
    while pending:
        node, parent_position = pending.pop()
        if seen[node]:
            continue
        seen[node] = 1
        position = len(order)
        order.append(node)
        parent.append(parent_position)
        pending.extend((successor, position) for successor in graph.successors[node] if not seen[successor])
    return order, parent
