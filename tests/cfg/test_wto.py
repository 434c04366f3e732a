from __future__ import annotations

from collections.abc import Callable

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import Digraph
from prevail_py.cfg.wto import Component, Element, Wto, weak_topological_order
from prevail_py.research.families import nested_loops


def digraph(*successors: tuple[int, ...]) -> Digraph:
    return Digraph(successors)


@st.composite
def digraphs(draw: st.DrawFn) -> Digraph:
    """Any small graph: irreducible loops, self-loops and unreachable nodes included."""
    count = draw(st.integers(1, 12))
    node = st.integers(0, count - 1)
    return Digraph(tuple(tuple(draw(st.lists(node, max_size=3))) for _ in range(count)))


def reachable(graph: Digraph) -> set[int]:
    found: set[int] = set()
    pending = [0]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending.extend(graph.successors[node])
    return found


def violations(graph: Digraph, wto: Wto) -> list[tuple[int, int]]:
    """The edges that break the defining property of a weak topological order."""
    return [
        (source, target)
        for source in wto.order
        for target in graph.successors[source]
        if not wto.position(source) < wto.position(target) and source not in wto.members(target)
    ]


def recursive(graph: Digraph) -> tuple[Element, ...]:
    """Bourdoncle's definition read as a program: strong components, each without its head again."""
    number: dict[int, int] = {}
    finished: list[int] = []

    def visit(node: int) -> None:
        number[node] = len(number)
        for successor in reversed(graph.successors[node]):
            if successor not in number:
                visit(successor)
        finished.append(node)

    visit(0)
    rank = {node: -position for position, node in enumerate(finished)}
    whole = networkx.DiGraph([(source, target) for source in number for target in graph.successors[source]])
    whole.add_nodes_from(number)

    def order(nodes: set[int]) -> tuple[Element, ...]:
        part = whole.subgraph(nodes)
        found: list[tuple[int, Element]] = []
        for members in networkx.strongly_connected_components(part):
            head = min(members, key=number.__getitem__)
            is_cycle = len(members) > 1 or part.has_edge(head, head)
            found.append((rank[head], Component(head, order(members - {head})) if is_cycle else head))
        return tuple(element for _, element in sorted(found, key=lambda pair: pair[0]))

    return order(set(number))


def test_notation() -> None:
    graph = digraph((1,), (2,), (3,), (4,), (5,), (4, 6), (2, 7), ())
    wto = weak_topological_order(graph)
    assert str(wto) == "0 1 (2 3 (4 5) 6) 7"
    assert wto.elements == (0, 1, Component(2, (3, Component(4, (5,)), 6)), 7)
    assert wto.heads == (2, 4)
    assert wto.members(4) == (4, 5)
    assert wto.members(3) == ()
    assert [wto.nesting(node) for node in (0, 2, 3, 4, 5, 7)] == [(), (2,), (2,), (2, 4), (2, 4), ()]
    assert [wto.enclosing(node) for node in (0, 2, 3, 4, 5, 7)] == [None, None, 2, 2, 4, None]
    assert [wto.is_head(node) for node in range(8)] == [False, False, True, False, True, False, False, False]
    assert wto.contains(2, 5)
    assert wto.contains(2, 2)
    assert not wto.contains(4, 6)
    assert not wto.contains(3, 3)


def test_the_example_of_bourdoncle() -> None:
    # The running example of the paper, its nodes renamed from 1-8 to 0-7.
    graph = digraph((1,), (2, 7), (3,), (4, 6), (5,), (4, 6), (2, 7), ())
    assert str(weak_topological_order(graph)) == "0 1 (2 3 (4 5) 6) 7"


@pytest.mark.parametrize(
    ("successors", "text"),
    [
        (((),), "0"),
        (((0,),), "(0)"),
        (((1,), (1,)), "0 (1)"),
        (((1,), (0, 1)), "(0 (1))"),
        (((1, 2), (2,), (1,)), "0 (2 1)"),  # irreducible: whichever the search meets first is the head
        (((1,), (2,), (0,), (0,)), "(0 1 2)"),  # node 3 is not reached
        (((1, 3), (2,), (1, 4), (4,), ()), "0 (1 2) 3 4"),
    ],
)
def test_small_graphs(successors: tuple[tuple[int, ...], ...], text: str) -> None:
    assert str(weak_topological_order(Digraph(successors))) == text


def test_members_of_one_level_are_ascending_for_blocks() -> None:
    function = build(nested_loops(3)).entry
    wto = weak_topological_order(function)
    assert str(wto) == "0 (1 (2 (3) 4) 5) 6"


@given(digraphs())
def test_every_edge_leads_on_or_back_to_a_head(graph: Digraph) -> None:
    wto = weak_topological_order(graph)
    assert set(wto.order) == reachable(graph)
    assert len(set(wto.order)) == len(wto.order)
    assert violations(graph, wto) == []


@given(digraphs())
def test_components_are_those_of_the_recursive_definition(graph: Digraph) -> None:
    expected = recursive(graph)
    if len(expected) == len(graph.successors) and all(
        node < target for node, targets in enumerate(graph.successors) for target in targets
    ):
        expected = tuple(range(len(graph.successors)))  # without loops, the order of the numbers is the one to find
    assert weak_topological_order(graph).elements == expected


@given(digraphs())
def test_flat_and_nested_forms_agree(graph: Digraph) -> None:
    wto = weak_topological_order(graph)

    def walk(elements: tuple[Element, ...], around: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
        found = []
        for element in elements:
            match element:
                case Component(head, inner):
                    found += [(head, (*around, head)), *walk(inner, (*around, head))]
                case node:
                    found.append((node, around))
        return found

    assert walk(wto.elements, ()) == [(node, wto.nesting(node)) for node in wto.order]
    for node, heads in walk(wto.elements, ()):
        assert {head for head in wto.heads if wto.contains(head, node)} == set(heads)


def test_the_check_itself_sees_wrong_orders() -> None:
    graph = digraph((1,), (2,), (1, 3), ())
    assert violations(graph, weak_topological_order(graph)) == []
    unbracketed = Wto((0, 1, 2, 3), (0, 1, 2, 3))
    assert violations(graph, unbracketed) == [(2, 1)]
    too_short = Wto((0, 1, 2, 3), (0, 2, 2, 3))
    assert violations(graph, too_short) == [(2, 1)]
    swapped = Wto((0, 2, 1, 3), (0, 3, 2, 3))
    assert violations(graph, swapped) == []  # the other head will do as well
    late = Wto((1, 2, 0, 3), (2, 1, 2, 3))
    assert violations(graph, late) == [(0, 1)]


def nest(depth: int) -> Digraph:
    """``depth`` loops inside one another, of two blocks each."""
    down = [(node + 1,) for node in range(depth)]
    up = [(depth + index + 1, depth - 1 - index) for index in range(depth)]
    return Digraph((*down, *up, ()))


def ladder(count: int) -> Digraph:
    """Two chains with steps both ways between them: irreducible all along."""
    left = [(2 * index + 2, 2 * index + 1) for index in range(count)]
    right = [(2 * index + 3, 2 * index) for index in range(count)]
    return Digraph((*[pair for pairs in zip(left, right, strict=True) for pair in pairs], (), ()))


@pytest.mark.parametrize("family", [nest, ladder])
def test_steps_are_nearly_linear(
    family: Callable[[int], Digraph], count_lines: Callable[[Callable[[], object]], int]
) -> None:
    small, large = family(100), family(1600)
    assert count_lines(lambda: weak_topological_order(large)) < 18 * count_lines(lambda: weak_topological_order(small))


def test_a_nest_of_fifty_thousand_loops() -> None:
    depth = 50_000
    wto = weak_topological_order(nest(depth))
    assert wto.heads == tuple(range(depth))
    assert len(wto.nesting(depth - 1)) == depth
    assert str(wto).count("(") == str(wto).count(")") == depth
    elements = wto.elements
    for level in range(depth):
        innermost = elements[0]
        assert isinstance(innermost, Component)
        assert innermost.head == level
        elements = innermost.elements
