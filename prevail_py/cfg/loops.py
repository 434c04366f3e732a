"""Loops: the components of a weak topological order seen as what a reader of code calls a loop.

Every cycle is in a loop, reducible or not.  A loop that is entered only at its head is *natural*: its head dominates
its body.  What is inside loops is looked up on demand, since in a deep nest the bodies together are quadratic in size.
"""

from __future__ import annotations

from dataclasses import dataclass

from prevail_py.cfg.graph import Rooted
from prevail_py.cfg.wto import Wto, weak_topological_order

__all__ = ["Loop", "Loops", "loops"]


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop.

    ``body`` starts with the head.  ``back_edges`` lead from the body to the head, ``exits`` from the body out of it,
    ``side_entries`` from outside into the body past the head (none in a natural loop); all are (source, target).
    """

    head: int
    body: tuple[int, ...]
    depth: int
    back_edges: tuple[tuple[int, int], ...]
    exits: tuple[tuple[int, int], ...]
    side_entries: tuple[tuple[int, int], ...]

    @property
    def is_natural(self) -> bool:
        """Whether the head is the only way in."""
        return not self.side_entries


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops of a graph: ``heads`` in the order of ``wto``, outer loops before the ones they contain."""

    graph: Rooted
    wto: Wto

    @property
    def heads(self) -> tuple[int, ...]:
        """The heads of all loops."""
        return self.wto.heads

    def __len__(self) -> int:
        return len(self.heads)

    def depth(self, node: int) -> int:
        """How many loops ``node`` is in; a head is in its own."""
        return len(self.wto.nesting(node))

    def innermost(self, node: int) -> int | None:
        """The head of the innermost loop that ``node`` is in, itself if it is a head; None outside of loops."""
        return node if self.wto.is_head(node) else self.wto.enclosing(node)

    def loop(self, head: int) -> Loop:
        """The loop with this head; ValueError if there is none.  Takes time linear in the body and its edges."""
        if not self.wto.is_head(head):
            raise ValueError(f"node {head} is not the head of a loop")
        body = self.wto.members(head)
        inside = set(body)
        out = [(source, target) for source in body for target in self.graph.successors[source]]
        into = [(source, target) for target in body for source in self.graph.predecessors[target]]
        return Loop(
            head=head,
            body=body,
            depth=self.depth(head),
            back_edges=tuple(edge for edge in out if edge[1] == head),
            exits=tuple(edge for edge in out if edge[1] not in inside),
            side_entries=tuple(
                edge for edge in into if edge[0] not in inside and edge[0] in self.wto and edge[1] != head
            ),
        )


def loops(graph: Rooted, wto: Wto | None = None) -> Loops:
    """The loops of ``graph``; pass its weak topological order where it is known already."""
    return Loops(graph, weak_topological_order(graph) if wto is None else wto)
