from __future__ import annotations

from collections.abc import Callable

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.cfg.builder import build
from prevail_py.cfg.dominators import Dominators, dominators
from prevail_py.cfg.graph import Digraph
from prevail_py.research.families import diamonds


@st.composite
def digraphs(draw: st.DrawFn) -> Digraph:
    count = draw(st.integers(1, 12))
    node = st.integers(0, count - 1)
    return Digraph(tuple(tuple(draw(st.lists(node, max_size=3))) for _ in range(count)))


def as_networkx(graph: Digraph) -> networkx.DiGraph:
    result = networkx.DiGraph()
    result.add_nodes_from(range(len(graph.successors)))
    result.add_edges_from((node, target) for node, targets in enumerate(graph.successors) for target in targets)
    return result


def test_diamond() -> None:
    tree = dominators(Digraph(((1, 2), (3,), (3,), ())))
    assert tree.immediate == (None, 0, 0, 0)
    assert tree.chain(3) == (3, 0)
    assert tree.dominates(0, 3)
    assert tree.dominates(3, 3)
    assert not tree.dominates(1, 3)


def test_unreachable_nodes_have_no_dominators() -> None:
    tree = dominators(Digraph(((1,), (), (1,))))
    assert tree == Dominators((None, 0, None))
    assert not tree.dominates(0, 2)
    assert not tree.dominates(2, 1)
    assert not tree.dominates(2, 2)


def test_the_example_of_lengauer_and_tarjan() -> None:
    names = "RABCDEFGHIJKL"
    edges = "RA RB RC AD BA BD BE CF CG DL EH FI GI GJ HE HK IK JI KI KR LH"
    successors = tuple(tuple(names.index(pair[1]) for pair in edges.split() if pair[0] == name) for name in names)
    tree = dominators(Digraph(successors))
    assert "".join("-" if at is None else names[at] for at in tree.immediate) == "-RRRRRCCRRGRD"


@given(digraphs())
def test_the_same_as_networkx(graph: Digraph) -> None:
    expected = networkx.immediate_dominators(as_networkx(graph), 0)
    found = {node: above for node, above in enumerate(dominators(graph).immediate) if above is not None}
    assert found == {node: above for node, above in expected.items() if node != 0}


@given(digraphs())
def test_without_its_dominator_a_node_is_out_of_reach(graph: Digraph) -> None:
    whole = as_networkx(graph)
    reached = networkx.descendants(whole, 0) | {0}
    tree = dominators(graph)
    for a in whole:
        rest = whole.copy()
        rest.remove_node(a)
        left = set() if a == 0 else networkx.descendants(rest, 0) | {0}
        for b in whole:
            assert tree.dominates(a, b) == (a in reached and b in reached and b not in left)


def zigzag(count: int) -> Digraph:
    """A chain down, and a chain up again with a way in from every node of the first: hard for iteration."""
    down = [(node + 1, 2 * count - 1 - node) for node in range(count)]
    up = [(node + 1, node - 1) for node in range(count, 2 * count - 1)]
    return Digraph((*down, *up, (2 * count - 2,)))


@pytest.mark.parametrize("family", [zigzag, lambda count: build(diamonds(count)).entry])
def test_steps_are_nearly_linear(
    family: Callable[[int], Digraph], count_lines: Callable[[Callable[[], object]], int]
) -> None:
    small, large = family(100), family(1600)
    assert count_lines(lambda: dominators(large)) < 24 * count_lines(lambda: dominators(small))
