from __future__ import annotations

import os
import re
import xml.etree.ElementTree
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py._render import Page, Svg
from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import CfgError
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.text import assemble
from prevail_py.report.pictures import control_flow, evolution, zones
from prevail_py.verifier import verify
from prevail_py.verifier.recording import record
from prevail_py.vm.trace import record as trace

COUNT = "r1 = 0\nagain:\nr1 += 2\nif r1 < 100 goto again\nr0 = r1\nexit"
HEADER = """
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 34
    r0 = 2
    if r4 > r3 goto out
    r5 = *(u8 *)(r2 + 14)
    r5 &= 15
    r5 <<= 2
    r2 += r5
    r6 = r2
    r6 += 20
    if r6 > r3 goto out
    r7 = *(u8 *)(r2 + 8)
    if r7 >= r5 goto out
    r0 = 1
out:
    exit
"""
HOSTILE = "</script><b>&\"'"


def words(picture: Svg) -> list[str]:
    """The texts in a picture, which is well-formed."""
    root = xml.etree.ElementTree.fromstring(str(picture))
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def nameless(state: str) -> str:
    """A state whose symbols have no names."""
    return re.sub(r"\b[sn]\d+", "s", state)


def test_control_flow_shows_what_holds_at_each_block() -> None:
    program = assemble(COUNT)
    shown = words(control_flow(verify(program)))
    assert "r1 += 2" in shown
    assert shown.index("r1 = s4 in [0, 98]") < shown.index("r1 += 2")
    for subject in (program, build(program)):
        assert not any(" in [" in text for text in words(control_flow(subject)))
    assert "look here" in words(control_flow(program, annotations={1: "look here"}))
    assert "… 1 more" in words(control_flow(program, max_lines=1))


def test_every_block_of_real_programs_is_drawn() -> None:
    for stem in ("xdp_parser", "xdp_subprogram"):
        for program in load_object(examples.path(stem)).programs.values():
            cfg = build(program)
            root = xml.etree.ElementTree.fromstring(str(control_flow(cfg)))
            drawn = sum(group.get("class") == "block" for group in root.iter("{http://www.w3.org/2000/svg}g"))
            assert drawn == sum(len(function.blocks) for function in cfg.functions)


def test_control_flow_needs_a_graph() -> None:
    with pytest.raises(CfgError):
        control_flow(Program("main", "xdp", "xdp", ()))


def test_evolution_shows_each_moment() -> None:
    picture = evolution(record(assemble(COUNT)), 1, "r1")
    shown = words(picture)
    assert [text for text in shown if text in ("enter", "join", "widen", "covered", "stable")] == [
        "enter",
        "join",
        "widen",
        "covered",
        "stable",
    ]
    assert shown.count("98") == 3
    assert "no number" in words(evolution(record(assemble(COUNT)), 1, 7))
    with pytest.raises(ValueError, match="nothing happened at slot 2"):
        evolution(record(assemble(COUNT)), 2, "r1")


def test_evolution_of_large_numbers() -> None:
    text = "r1 = *(u32 *)(r1 + 12)\nagain:\nr1 += 1\nif r1 != 0 goto again\nr0 = 0\nexit"
    assert "2^32-1" in words(evolution(record(assemble(text)), 1, "r1"))


def test_zones_show_differences() -> None:
    verdict = verify(assemble(HEADER))
    (state,) = verdict.invariants.states(13)
    assert any("<= -20" in fact for fact in state.relations())
    shown = words(zones(state))
    assert "packet size" in shown
    assert any(text.endswith("- 20") and "≤" in text for text in shown)
    assert "offset of r2" in shown
    (entry,) = verdict.invariants.states(0)
    assert words(zones(entry)) == ["no two symbols are related here"]


def test_states_are_copies() -> None:
    verdict = verify(assemble(COUNT))
    (state,) = verdict.invariants.states(1)
    state.registers[1] = state.registers[10]
    assert verdict.invariants.before(1) != (str(state),)


def test_walk_agrees_with_before() -> None:
    verdict = verify(assemble(HEADER))
    seen = 0
    for calls, head in verdict.invariants:
        for pc, states in verdict.invariants.walk(head, calls):
            seen += 1
            again = verdict.invariants.before(pc, calls)  # which gives new symbols other names
            assert [nameless(str(state)) for state in states] == [nameless(state) for state in again]
    assert seen == 17


def test_rich_display_of_states_and_invariants() -> None:
    verdict = verify(assemble(HEADER))
    (state,) = verdict.invariants.states(13)
    assert "packet size" in state._repr_html_()
    assert "&lt;= -20" in state._repr_html_()
    shown = verdict.invariants._repr_html_()
    assert shown.count("<details>") == len(verdict.invariants)
    assert "slot 6: 1 state" in shown


def test_rich_display_of_traces() -> None:
    program = assemble(COUNT)
    shown = trace(program, "interpreter", packet=b"")._repr_html_()
    assert "r1 += 2" in shown
    assert "Returned(value=100)" in shown
    assert shown.count("<tr>") == 1 + 103
    assert "more" in trace(assemble(COUNT.replace("100", "300")), "interpreter", packet=b"")._repr_html_()


def test_names_are_escaped() -> None:
    program = Program(HOSTILE, "xdp", "xdp", assemble(COUNT).code)
    for text in (str(control_flow(program)), str(control_flow(verify(program))), verify(program)._repr_html_()):
        assert HOSTILE not in text
        assert "</script>" not in text
        assert "&lt;/script&gt;&lt;b&gt;&amp;" in text
    assert "<script>" not in Page("<script>1</script>", HOSTILE)._repr_html_()


def test_the_pictures_of_the_documents_are_what_is_drawn(root: Path) -> None:
    scan = next(iter(load_object(examples.path("unsafe_scan")).programs.values()))
    states = verify(assemble(HEADER)).invariants.states(13)
    drawn = {
        "control-flow": control_flow(verify(scan, smt=False)),
        "evolution": evolution(record(scan), 7, "r1"),
        "zones": zones(states[0]),
    }
    for name, picture in drawn.items():
        path = root / "docs" / "images" / f"{name}.svg"
        if os.environ.get("PREVAIL_PY_UPDATE_GOLDEN"):
            picture.save(path)
        assert str(picture) == path.read_text(encoding="utf-8"), "PREVAIL_PY_UPDATE_GOLDEN=1 draws it anew"


def test_pictures_and_pages_can_be_saved(tmp_path: Path) -> None:
    picture = control_flow(assemble("r0 = 0\nexit"))
    picture.save(tmp_path / "cfg.svg")
    assert (tmp_path / "cfg.svg").read_text(encoding="utf-8") == picture._repr_svg_() == str(picture)
    page = Page("<p>é</p>", "page", 300)
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == str(page) == "<p>é</p>"
    assert "height:300px" in page._repr_html_()
    assert "allow-same-origin" not in page._repr_html_()
