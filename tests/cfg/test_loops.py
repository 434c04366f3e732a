from __future__ import annotations

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.cfg.builder import build
from prevail_py.cfg.dominators import dominators
from prevail_py.cfg.graph import Digraph
from prevail_py.cfg.loops import Loop, loops
from prevail_py.cfg.wto import weak_topological_order
from prevail_py.research.families import diamonds, loops_in_sequence, nested_loops


@st.composite
def digraphs(draw: st.DrawFn) -> Digraph:
    count = draw(st.integers(1, 12))
    node = st.integers(0, count - 1)
    return Digraph(tuple(tuple(draw(st.lists(node, max_size=3))) for _ in range(count)))


def test_a_natural_loop() -> None:
    found = loops(Digraph(((1,), (2, 3), (1, 3), ())))
    assert found.heads == (1,)
    assert found.loop(1) == Loop(1, (1, 2), 1, ((2, 1),), ((1, 3), (2, 3)), ())
    assert found.loop(1).is_natural
    assert [found.depth(node) for node in range(4)] == [0, 1, 1, 0]
    assert [found.innermost(node) for node in range(4)] == [None, 1, 1, None]
    with pytest.raises(ValueError, match="node 2 is not the head of a loop"):
        found.loop(2)


def test_an_irreducible_loop_has_side_entries() -> None:
    found = loops(Digraph(((1, 2), (2, 3), (1,), ())))
    (head,) = found.heads
    loop = found.loop(head)
    assert not loop.is_natural
    assert loop.side_entries == ((0, ({1, 2} - {head}).pop()),)
    assert loop.exits == ((1, 3),)


def test_the_entry_is_no_side_entry() -> None:
    assert loops(Digraph(((0, 1), ()))).loop(0) == Loop(0, (0,), 1, ((0, 0),), ((0, 1),), ())


def test_families() -> None:
    assert len(loops(build(diamonds(5)).entry)) == 0
    assert len(loops(build(loops_in_sequence(5)).entry)) == 5
    nest = loops(build(nested_loops(5)).entry)
    assert [nest.loop(head).depth for head in nest.heads] == [1, 2, 3, 4, 5]
    assert all(nest.loop(head).is_natural for head in nest.heads)


def test_a_known_order_is_used() -> None:
    graph = Digraph(((0,),))
    wto = weak_topological_order(graph)
    assert loops(graph, wto).wto is wto


@given(digraphs())
def test_every_cycle_is_in_a_loop(graph: Digraph) -> None:
    found = loops(graph)
    reached = found.wto.order
    whole = networkx.DiGraph([(node, target) for node in reached for target in graph.successors[node]])
    for members in networkx.strongly_connected_components(whole):
        if len(members) > 1 or any(whole.has_edge(node, node) for node in members):
            assert members in [set(found.loop(head).body) for head in found.heads]
    back = {edge for head in found.heads for edge in found.loop(head).back_edges}
    whole.remove_edges_from(back)
    assert networkx.is_directed_acyclic_graph(whole)


@given(digraphs())
def test_the_head_of_a_natural_loop_dominates_its_body(graph: Digraph) -> None:
    tree = dominators(graph)
    found = loops(graph)
    for head in found.heads:
        loop = found.loop(head)
        assert loop.is_natural == all(tree.dominates(head, node) for node in loop.body)
