from __future__ import annotations

import stat
import xml.etree.ElementTree
from pathlib import Path

import networkx
import pytest

from prevail_py import examples
from prevail_py.cfg.builder import build
from prevail_py.cfg.dominators import dominators
from prevail_py.cfg.dot import GraphvizError, to_dot, to_networkx, to_svg
from prevail_py.cfg.graph import ControlFlowGraph
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program, SourceLine, Subprogram
from prevail_py.research.families import FAMILIES, calls, diamonds, nested_loops

EXAMPLES = Path(examples.__file__).parent


def graph(text: str, **options: object) -> ControlFlowGraph:
    return build(Program("main", "xdp", "xdp", assemble_text(text), **options))  # type: ignore[arg-type]


def cells(dot: str) -> list[str]:
    """The text of the second column of every block's table, tags removed."""
    import html
    import re

    rows = re.findall(r'<TD ALIGN="LEFT">(.*?)</TD>', dot)
    return [html.unescape(re.sub(r"<[^>]*>", "", row)) for row in rows]


def edges(dot: str) -> list[str]:
    return [line.strip() for line in dot.splitlines() if "->" in line]


def test_blocks_show_instructions_below_their_source_lines() -> None:
    line = SourceLine("main.c", 3, 5, "if (a < b && c)")
    same = SourceLine("main.c", 3, 18, "if (a < b && c)")
    other = SourceLine("main.c", 4, 1, 'return "x";')
    dot = to_dot(graph("r0 = 0\nr0 += 1\nexit", lines={0: line, 1: same, 2: other}))
    assert cells(dot) == ["if (a < b && c)", "r0 = 0", "r0 += 1", 'return "x";', "exit"]
    assert "if (a &lt; b &amp;&amp; c)" in dot
    assert cells(to_dot(graph("exit", lines={0: line}), source=False)) == ["exit"]


def test_every_block_names_the_source_line_it_continues() -> None:
    line = SourceLine("main.c", 3, 0, "while (go)")
    dot = to_dot(graph("r1 = 0\nif r1 == 0 goto -2\nr0 = 0\nexit", lines={0: line}))
    assert cells(dot).count("while (go)") == 2


def test_numbers_are_explained() -> None:
    text = "r1 = map[idx:0] ll\ncall 1\nr2 = subprog[+3] ll\ncall local +1\nexit\nr0 = 0\nexit"
    functions = (Subprogram("main", 0, 7), Subprogram("f<g>", 7, 9))
    dot = to_dot(graph(text, maps=(MapSpec("flows", 2, 4, 8, 1),), subprograms=functions))
    found = cells(dot)
    assert found[0] == "r1 = map[idx:0] ll  ; flows"
    assert found[1] == "call 1  ; bpf_map_lookup_elem"
    assert found[2].endswith("; f<g>")
    assert found[3] == "call local +1 <7>  ; f<g>"
    assert [edge for edge in edges(dot) if edge.startswith("f0b0 -> f1b0")] == [
        'f0b0 -> f1b0 [style=dotted, color="#6e7781", constraint=false];',
        'f0b0 -> f1b0 [style=dashed, color="#6e7781", constraint=false];',
    ]
    assert 'label="f<g>"' in dot


def test_edges_carry_their_conditions() -> None:
    dot = to_dot(graph("if w1 s> -1 goto +2\nif r1 & 8 goto +1\nif r2 == r3 goto +0\nexit"))
    labels = [edge.split('label="')[1].split('"')[0].strip() for edge in edges(dot)]
    assert labels == ["w1 s<= -1", "w1 s> -1", "not r1 & 8", "r1 & 8", "r2 != r3", "r2 == r3"]


def test_may_goto_has_a_budget() -> None:
    dot = to_dot(graph("may_goto +1\ngoto -2\nexit"))
    assert "budget left" in dot
    assert "budget spent" in dot


def test_loops_are_frames_within_one_another() -> None:
    dot = to_dot(build(nested_loops(2)))
    assert dot.count("loop at slot") == 2
    assert dot.index("cluster_f0loop1 ") < dot.index("cluster_f0loop2 ") < dot.index("f0b2 [")
    assert dot.count("{") == dot.count("}")
    assert sum("penwidth=2" in edge for edge in edges(dot)) == 2


def test_annotations_stand_below_their_instruction() -> None:
    dot = to_dot(graph("r0 = 0\nexit"), annotations={0: "r0: [0, 0]\nr1: <ctx>"})
    assert cells(dot) == ["r0 = 0", "r0: [0, 0]", "r1: <ctx>", "exit"]


def test_long_blocks_can_be_cut() -> None:
    assert cells(to_dot(graph("r0 = 0\n" * 9 + "exit"), max_lines=2)) == ["r0 = 0", "r0 = 0", "… 8 more"]


def test_one_function_of_several() -> None:
    cfg = build(calls(2))
    assert to_dot(cfg).count("subgraph cluster_f") == 2
    part = to_dot(cfg, functions=[1])
    assert part.count("subgraph cluster_f") == 1
    assert "f0b0" not in part


def test_the_same_text_every_time() -> None:
    assert to_dot(build(diamonds(9))) == to_dot(build(diamonds(9)))


def test_a_deep_nest_needs_no_recursion() -> None:
    depth = 2000
    text = "r1 = 0\n" * depth + "".join(f"if r1 > 0 goto {-2 * index - 2}\n" for index in range(depth))
    dot = to_dot(graph(text + "exit"))
    assert dot.count("{") == dot.count("}") == depth + 2


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_graphviz_draws_every_family(name: str, graphviz: str) -> None:
    cfg = build(FAMILIES[name](3))
    root = xml.etree.ElementTree.fromstring(to_svg(cfg))
    titles = {element.text for element in root.iter("{http://www.w3.org/2000/svg}title")}
    assert {f"f{function.index}b{block.id}" for function in cfg.functions for block in function.blocks} <= titles


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.o")), ids=lambda path: str(path.stem))
def test_graphviz_draws_every_example(path: Path, graphviz: str) -> None:
    for program in load_object(path).programs.values():
        cfg = build(program)
        svg = to_svg(cfg)
        root = xml.etree.ElementTree.fromstring(svg)
        drawn = sum(element.get("class") == "node" for element in root.iter("{http://www.w3.org/2000/svg}g"))
        assert drawn == sum(len(function.blocks) for function in cfg.functions)


def test_graphviz_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    cfg = build(diamonds(1))
    with pytest.raises(GraphvizError, match="graphviz's program 'dot' is not installed"):
        to_svg(cfg)


def fake_dot(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = directory / "dot"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(directory), prepend=":")


def test_graphviz_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(tmp_path, "cat > /dev/null; echo 'syntax error' >&2; exit 3", monkeypatch)
    cfg = build(diamonds(1))
    with pytest.raises(GraphvizError, match="dot failed: syntax error"):
        to_svg(cfg)


def test_graphviz_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(tmp_path, "exec sleep 60", monkeypatch)
    with pytest.raises(GraphvizError, match=r"dot did not finish within 0\.2 s; the graph has 4 blocks"):
        to_svg(build(diamonds(1)), timeout=0.2)


def test_notebooks_show_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # graphviz is not asked
    cfg = build(diamonds(1))
    picture = cfg._repr_svg_()
    assert picture is not None
    assert "<svg" in picture
    assert cfg._repr_html_() is None


def test_notebooks_show_a_table_of_what_is_too_large() -> None:
    cfg = build(diamonds(200))
    assert cfg._repr_svg_() is None
    table = cfg._repr_html_()
    assert table is not None
    assert "551 more blocks" in table


def test_networkx_of_a_function() -> None:
    function = build(diamonds(3)).entry
    graph = to_networkx(function)
    assert sorted(graph.nodes) == [block.id for block in function.blocks]
    assert graph.nodes[0] == {"start": 0, "end": 5, "pcs": (0, 1, 2, 3, 4)}
    assert list(graph.edges(0, data=True)) == [
        (0, 1, {"kind": "flow", "taken": False}),
        (0, 2, {"kind": "flow", "taken": True}),
    ]
    expected = networkx.immediate_dominators(networkx.DiGraph(graph), 0)
    found = {node: above for node, above in enumerate(dominators(function).immediate) if above is not None}
    assert found == {node: above for node, above in expected.items() if node != 0}


def test_networkx_keeps_both_edges_to_one_block() -> None:
    graph_ = to_networkx(graph("if r1 == 0 goto +0\nexit").entry)
    assert [data["taken"] for _, _, data in graph_.edges(data=True)] == [False, True]


def test_networkx_of_a_program() -> None:
    whole = to_networkx(build(calls(2)))
    assert sorted(whole.nodes) == [(0, 0), (1, 0)]
    assert sorted(data["pc"] for _, _, data in whole.edges(data=True) if data["kind"] == "call") == [2, 4]
