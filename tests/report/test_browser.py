"""The pages in a browser: keys, clicks, search, themes, replay, and what hostile names may not do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prevail_py import examples
from prevail_py._render import Page
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program, SourceLine
from prevail_py.objects.text import assemble
from prevail_py.report.debugger import debugger
from prevail_py.report.explorer import explorer
from prevail_py.report.sources import whole_files
from prevail_py.research.browser import browser
from prevail_py.research.families import diamonds
from prevail_py.verifier import Verdict, verify
from prevail_py.verifier.recording import How, record
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

Opener = Callable[..., "Tab"]

HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"><b>bold</b>"
COUNT = "r1 = 0\nagain:\nr1 += 2\nif r1 < 100 goto again\nr0 = r1\nexit"
MIDDLE = """
    r6 = *(u32 *)(r1 + 0)
    r7 = *(u32 *)(r1 + 4)
    r2 = r6
    r2 += 16
    r0 = 0
    if r2 > r7 goto out
    r1 = *(u8 *)(r6 + 0)
    r2 = *(u8 *)(r6 + 1)
    if r1 < 16 goto low
    goto out
low:
    if r2 < 16 goto middle
    goto out
middle:
    r3 = r1
    r3 += r2
    r3 >>= 1
    if r1 > r2 goto swapped
    if r3 >= r1 goto inside
    goto beyond
swapped:
    if r3 >= r2 goto inside
beyond:
    r0 = *(u8 *)(r10 - 1)
inside:
    r0 &= 3
out:
    exit
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Callable[[], Browser]]:
    """A browser for all tests of this file, started by the first that has what it takes."""
    context = browser()
    started: list[Browser] = []

    def get() -> Browser:
        if not started:
            started.append(context.__enter__())
        return started[0]

    yield get
    if started:
        context.__exit__(None, None, None)


@pytest.fixture
def visit(chromium: str, running: Callable[[], Browser], tmp_path: Path) -> Iterator[Opener]:
    """Open a page; whatever it asks the network for, or reports as an error, fails the test."""
    trouble: list[str] = []
    tabs: list[Tab] = []

    def go(page: Page, fragment: str = "", **options: Any) -> Tab:
        file = tmp_path / f"page{len(tabs)}.html"
        page.save(file)
        tab = running().new_page(**{"viewport": {"width": 1500, "height": 900}, **options})
        tab.set_default_timeout(10_000)
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("console", lambda message: trouble.append(message.text))
        tab.on("request", lambda request: None if request.url.startswith("file:") else trouble.append(request.url))
        tab.goto(file.as_uri() + fragment)
        tabs.append(tab)
        return tab

    yield go
    for tab in tabs:
        tab.close()
    assert not trouble


def until(tab: Tab, condition: str) -> None:
    """Wait for a condition; Playwright's own way to wait evaluates text, which the policy of the pages forbids."""
    for _ in range(100):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"not within 5 s: {condition}")


def load(stem: str) -> Program:
    return next(iter(load_object(examples.path(stem)).programs.values()))


_verdicts: dict[str, Verdict] = {}


def report(stem: str) -> Page:
    if stem not in _verdicts:
        _verdicts[stem] = verify(load(stem))
    return explorer(f"{stem}.o", [_verdicts[stem]])


def chosen(tab: Tab) -> int:
    """The slot that is looked at."""
    return int(tab.locator('#code .row[aria-selected="true"] .at').inner_text())


def state(tab: Tab) -> list[str]:
    """The state that is shown, relations left out, without the names of symbols."""
    rows = tab.locator("#panel table.state tr").all()
    cells = [(row.locator("th").inner_text(), row.locator("td").inner_text()) for row in rows]
    return [re.sub(r"\b[sn]\d+", "s", f"{place} = {value}") for place, value in cells if place]


def test_the_failure_is_what_one_sees_first(visit: Opener) -> None:
    tab = visit(report("unsafe_helper_size"))
    assert tab.locator("#verdict").inner_text() == "UNSAFE"
    assert chosen(tab) == 40
    assert tab.locator('#tabs [aria-selected="true"]').inner_text().startswith("Failures")
    (explanation,) = _verdicts["unsafe_helper_size"].explanations()
    sliced = {str(step.pc) for step in explanation.slice}
    drawn = tab.locator("#code .row .at").all_inner_texts()
    assert set(tab.locator("#code .row.slice .at").all_inner_texts()) == sliced & set(drawn)
    assert "31" in sliced
    assert tab.locator("#source .row.slice").count() >= 5
    assert tab.locator('#source .row[aria-selected="true"]').inner_text().startswith("34")
    assert tab.locator("svg .block.bad.chosen").count() == 1
    tab.locator(".steps button", has_text="w4 <<= 2").click()
    assert chosen(tab) == 32
    assert tab.locator("#code .row.slice").count() >= 5  # the slice stays


def test_keys(visit: Opener) -> None:
    tab = visit(report("xdp_options"))
    assert chosen(tab) == 0
    for key, slot in (("j", 1), ("j", 2), ("ArrowDown", 3), ("k", 2), ("ArrowUp", 1), ("k", 0), ("k", 0)):
        tab.keyboard.press(key)
        assert chosen(tab) == slot
    last = max(pc for pc, each in enumerate(load("xdp_options").code) if each is not None)
    tab.keyboard.press("G")
    assert chosen(tab) == last
    tab.keyboard.press("j")
    assert chosen(tab) == last
    tab.keyboard.press("g")
    assert chosen(tab) == 0
    tab.keyboard.press("n")
    assert tab.locator("#announce").text_content() == "every assertion is proved"
    tab.keyboard.press("2")
    assert "Every assertion is proved" in tab.locator("#panel").inner_text()
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("j")
    assert chosen(tab) == 0
    tab.keyboard.press("Escape")
    assert not tab.locator("#help").is_visible()


def test_states_are_those_of_the_verdict(visit: Opener) -> None:
    page = report("xdp_options")
    verdict = _verdicts["xdp_options"]
    tab = visit(page)
    marked = 0
    for _ in range(12):
        found = verdict.invariants.before(chosen(tab))
        known = [[re.sub(r"\b[sn]\d+", "s", line) for line in each.splitlines()] for each in found]
        if known:
            assert state(tab) in known
        marked += tab.locator("#panel tr.changed").count()
        tab.keyboard.press("j")
    assert 5 < marked < 30


def test_failures_are_gone_through(visit: Opener) -> None:
    text = "r2 = *(u32 *)(r1 + 0)\nr3 = *(u8 *)(r2 + 0)\nr4 = *(u8 *)(r10 - 1)\nr0 = 0\nr0 += r5\nexit"
    verdict = verify(assemble(text), smt=False)
    slots = [failure.pc for failure in verdict.failures]
    assert len(slots) == 3
    tab = visit(explorer("three.o", [verdict]))
    seen = []
    for _ in range(4):
        seen.append(chosen(tab))
        tab.keyboard.press("n")
    assert seen == [*slots, slots[0]]
    tab.keyboard.press("p")
    assert chosen(tab) == slots[0]
    assert tab.locator(".card").count() == 3
    assert tab.locator(".card.chosen").count() == 1
    tab.locator(".card h3 button").nth(2).click()
    assert chosen(tab) == slots[2]
    assert not tab.locator("#source-pane").is_visible()  # there are no source lines


def test_clicks_in_every_pane(visit: Opener) -> None:
    tab = visit(report("xdp_options"))
    tab.locator("#slot-5").click()
    assert chosen(tab) == 5
    row = tab.locator("#source .row:not(.file)").nth(3)
    row.click()
    assert row.get_attribute("aria-selected") == "true"
    tab.keyboard.press("g")
    tab.locator('svg .block rect[data-slot="3"]').click()
    assert chosen(tab) == 3
    assert tab.evaluate("location.hash").endswith(":3")


def test_whole_source_files(visit: Opener) -> None:
    """Lines without instructions are there, and cannot be chosen."""
    program = load("xdp_options")
    files, _ = whole_files([program], examples.path("xdp_options").parent)
    tab = visit(explorer("xdp_options.o", [verify(program)], sources=files))
    tab.locator("#slot-30").click()
    row = tab.locator('#source .row[aria-selected="true"]')
    assert "if (!tcp->syn)" in row.inner_text()
    plain = row.locator("xpath=following-sibling::*[1]")
    assert "return XDP_PASS;" in plain.inner_text()
    plain.click()
    assert chosen(tab) == 30


def test_the_graph_moves_and_zooms(visit: Opener) -> None:
    tab = visit(report("xdp_parser"))
    world = tab.locator("svg .world")
    seen = [world.get_attribute("transform")]
    box = tab.locator("#graph").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.wheel(0, -400)
    until(tab, f"document.querySelector('.world').getAttribute('transform') !== {seen[0]!r}")
    seen.append(world.get_attribute("transform"))
    before = chosen(tab)
    tab.mouse.down()
    tab.mouse.move(x - 160, y - 60, steps=4)
    tab.mouse.up()
    seen.append(world.get_attribute("transform"))
    assert chosen(tab) == before  # a drag chooses nothing
    tab.locator("#fit").click()
    seen.append(world.get_attribute("transform"))
    assert len(set(seen)) == 4
    drawn = "document.querySelectorAll('svg .block').length"
    until(tab, f"{drawn} === {len(set_of_blocks('xdp_parser'))}")


def set_of_blocks(stem: str) -> set[int]:
    from prevail_py.cfg.builder import build

    return {block.start for function in build(load(stem)).functions for block in function.blocks}


def test_borders_between_panes_move(visit: Opener) -> None:
    tab = visit(report("xdp_options"))

    def width() -> float:
        box = tab.locator("#code-pane").bounding_box()
        assert box is not None
        return float(box["width"])

    before, border = width(), tab.locator("#split-code").bounding_box()
    assert border is not None
    tab.mouse.move(border["x"] + 5, 300)
    tab.mouse.down()
    tab.mouse.move(border["x"] - 100, 300, steps=3)
    tab.mouse.up()
    assert 90 < before - width() < 120
    narrow = width()
    tab.keyboard.press("ArrowRight")
    assert width() > narrow
    assert chosen(tab) == 0  # the arrow was the border's


def test_bounds_on_loops_stand_at_their_heads(visit: Opener) -> None:
    verdict = verify(load("xdp_options"), termination=True)
    assert verdict.termination is not None
    (loop,) = verdict.termination.loops
    tab = visit(explorer("xdp_options.o", [verdict]), f"#xdp_options:{loop.pc}")
    assert f"at most {loop.turns} turns" in tab.locator("#panel").inner_text()
    assert f"ends within {verdict.termination.instructions} instructions" in tab.locator("#facts").inner_text()
    assert f">{loop.turns}</td>" in verdict._repr_html_()


def test_search(visit: Opener) -> None:
    tab = visit(report("xdp_parser"))
    tab.keyboard.press("/")
    tab.keyboard.type("map_lookup")
    assert "bpf_map_lookup_elem" in tab.locator('#source .row[aria-selected="true"]').inner_text()
    assert tab.locator("#hits").inner_text().startswith("1 of ")
    for _ in range(6):
        if "bpf_map_lookup_elem" in tab.locator('#code .row[aria-selected="true"]').inner_text():
            break
        tab.keyboard.press("Enter")
    assert "call 1" in tab.locator('#code .row[aria-selected="true"]').inner_text()
    tab.locator("#query").fill("exit")
    first = chosen(tab)
    total = int(tab.locator("#hits").inner_text().split(" of ")[1])
    tab.keyboard.press("Enter")
    assert (chosen(tab) != first) == (total > 1)
    tab.keyboard.press("Shift+Enter")
    assert chosen(tab) == first
    tab.locator("#query").fill("no such thing")
    assert tab.locator("#hits").inner_text() == "nothing"
    tab.keyboard.press("Escape")
    assert tab.locator("#hits").inner_text() == ""
    tab.keyboard.press("j")
    assert tab.locator("#query").input_value() == ""


def test_dark_mode_follows_the_system_until_one_chooses(visit: Opener) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    tab = visit(report("xdp_options"), color_scheme="dark")
    dark = tab.evaluate(paper)
    tab.emulate_media(color_scheme="light")
    until(tab, f"{paper} !== {dark!r}")
    light = tab.evaluate(paper)
    tab.locator("#theme").click()
    assert tab.evaluate(paper) == dark
    tab.keyboard.press("t")
    assert tab.evaluate(paper) == light
    assert sum(map(int, re.findall(r"\d+", light)[:3])) > 700 > 200 > sum(map(int, re.findall(r"\d+", dark)[:3]))


def test_the_witness_is_replayed_step_by_step(visit: Opener) -> None:
    page = report("unsafe_bounds")
    verdict = _verdicts["unsafe_bounds"]
    assert verdict.witness is not None
    tab = visit(page)
    tab.keyboard.press("3")
    assert "here the run traps" in tab.locator("#panel").inner_text()
    assert verdict.witness.trap.message in tab.locator("#panel").inner_text()
    tab.get_by_role("button", name="first step").click()
    assert chosen(tab) == 0
    slots = [0]
    while not tab.get_by_role("button", name="one step on (.)").is_disabled():
        tab.keyboard.press(".")
        slots.append(chosen(tab))
    assert slots[-1] == verdict.witness.trap.pc
    assert f"step {len(slots)} of {len(slots)}" in tab.locator("#step").inner_text()
    registers = dict(
        line.split(None, 1) for line in tab.locator('table[aria-label="registers"]').inner_text().splitlines()
    )
    assert registers["r0"] == "0x2"
    tab.keyboard.press(",")
    assert chosen(tab) == slots[-2]


def test_queries_are_shown_on_demand(visit: Opener) -> None:
    verdict = verify(assemble(MIDDLE))
    assert verdict.is_safe
    assert verdict.discharged
    tab = visit(explorer("middle.o", [verdict]))
    assert tab.locator("#code .sign.good").all_inner_texts() == ["✓"] * len({each.pc for each in verdict.discharged})
    tab.get_by_role("tab", name="Proved").click()
    assert tab.locator("pre.query").count() == 0
    tab.locator("summary").first.click()
    assert "(assert" in tab.locator("pre.query").inner_text()
    assert tab.locator("pre.query").inner_text().strip() == verdict.discharged[0].query.strip()
    tab.locator("#panel button").first.click()
    assert chosen(tab) == verdict.discharged[0].pc


def test_the_log_of_the_kernel_stands_beside_our_state(visit: Opener) -> None:
    log = "func#0 @0\n0: R1=ctx() R10=fp0\n0: (b7) r1 = 0   ; R1=0\n1: (07) r1 += 2   ; R1=2\n" + "note\n" * 500
    answer = KernelAnswer(AnswerKind.REJECT, "it is infinite", log)
    verdict = verify(assemble(COUNT))
    tab = visit(explorer("count.o", [verdict], {verdict.program.name: answer}))
    tab.keyboard.press("5")
    assert "reject: it is infinite" in tab.locator(".compare").inner_text()
    tab.locator("#log .row", has_text="1: (07)").click()
    assert chosen(tab) == 1
    assert "r1 += 2   ; R1=2" in tab.locator(".compare").inner_text()
    assert re.search(r"r1\s+s\d+ in \[0, 98\]", tab.locator(".compare").inner_text())
    assert tab.locator("#log .row").count() < 100


def test_functions_and_programs_are_chosen(visit: Opener) -> None:
    sub = verify(load("xdp_subprogram"))
    tab = visit(explorer("two.o", [verify(assemble(COUNT)), sub]))
    assert tab.locator("#program").is_visible()
    tab.locator("#program").select_option("1")
    assert f"{sub.program.instruction_count} instructions" in tab.locator("#facts").inner_text()
    names = tab.locator("#function option").all_inner_texts()
    assert len(names) > 1
    tab.locator("#function").select_option("1")
    assert chosen(tab) == sub.program.subprograms[1].start
    assert tab.locator("#function").input_value() == "1"


def test_a_page_opens_where_its_address_says(visit: Opener) -> None:
    assert chosen(visit(report("xdp_options"), "#xdp_options:7")) == 7
    assert chosen(visit(report("xdp_options"), "#none:7")) == 0


def test_hostile_names_are_texts(visit: Opener) -> None:
    line = SourceLine(HOSTILE, 3, 1, HOSTILE)
    code = assemble("r1 = map[idx:0] ll\ncall local +1\nexit\nr0 = 0\nr3 = *(u8 *)(r10 - 1)\nexit").code
    program = Program(
        HOSTILE, HOSTILE, "xdp", code, maps=(MapSpec(HOSTILE, 2, 4, 8, 1),), lines={0: line}, assumptions=(HOSTILE,)
    )
    verdict = verify(program, smt=False)
    answer = KernelAnswer(AnswerKind.REJECT, HOSTILE, f"0: (b7) {HOSTILE}\n")
    tab = visit(explorer(HOSTILE, [verdict], {HOSTILE: answer}))
    for key in "2151":
        tab.keyboard.press(key)
    tab.keyboard.press("g")
    assert HOSTILE in tab.locator("#code").inner_text()
    assert HOSTILE in tab.locator("#source").inner_text()
    assert HOSTILE in tab.locator("#facts").inner_text()
    tab.keyboard.press("5")
    assert HOSTILE in tab.locator(".compare").inner_text()
    other = visit(debugger(record(program)))
    assert HOSTILE in other.locator("#title").inner_text()
    for each in (tab, other):
        assert each.locator("img, b").count() == 0
        assert each.title() != "pwned"


@pytest.mark.parametrize("policy", [True, False])
def test_scripts_that_are_not_of_the_page_do_not_run(
    policy: bool, chromium: str, running: Callable[[], Browser], tmp_path: Path
) -> None:
    html = report("xdp_options").html.replace("<header", "<script>document.title='pwned'</script><header", 1)
    assert "pwned" in html
    if not policy:
        html = html.replace('http-equiv="Content-Security-Policy"', "data-gone", 1)
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    tab = running().new_page()
    try:
        tab.goto((tmp_path / "page.html").as_uri())
        assert (tab.title() == "pwned") == (not policy)
        assert tab.locator("#verdict").inner_text() == "SAFE"
    finally:
        tab.close()


def test_large_programs_have_few_elements(visit: Opener) -> None:
    tab = visit(explorer("large.o", [verify(diamonds(840))]))
    assert "5044 instructions" in tab.locator("#facts").inner_text()
    tab.keyboard.press("G")
    assert chosen(tab) == 5043
    assert tab.locator("#code .row").count() < 120
    assert tab.evaluate("document.querySelectorAll('*').length") < 12_000
    tab.keyboard.press("/")
    tab.keyboard.type("5040:")
    assert chosen(tab) == 5040


def test_everything_has_a_name_and_a_role(visit: Opener) -> None:
    tab = visit(report("unsafe_bounds"))
    nameless = """[...document.querySelectorAll('button, select, input')].filter((each) =>
        !each.textContent.trim() && !each.getAttribute('aria-label') && !each.labels?.length)
        .map((each) => each.outerHTML)"""
    for key in ("1", "2", "3"):
        tab.keyboard.press(key)
        assert tab.evaluate(nameless) == []
    for role in ("banner", "main", "search", "tablist", "tabpanel", "listbox"):
        assert tab.get_by_role(role).count() >= 1, role
    active = tab.locator("#code").get_attribute("aria-activedescendant")
    assert active == f"slot-{chosen(tab)}"
    tab.locator('[role="tab"][aria-selected="true"]').focus()
    tab.keyboard.press("ArrowLeft")
    assert tab.evaluate("document.activeElement.id") == "tab-failures"
    assert tab.locator('[role="tab"][tabindex="0"]').count() == 1


def test_the_debugger_steps_through_the_fixpoint(visit: Opener) -> None:
    recording = record(assemble(COUNT))
    tab = visit(debugger(recording))
    for number, moment in enumerate(recording.moments):
        assert tab.locator("#count").inner_text() == f"{number + 1} of {len(recording.moments)}"
        assert f"slot {moment.pc}" in tab.locator("#what").inner_text()
        column = tab.locator("#states .columns > div").last
        for line in moment.after[0].lines() if moment.after else ():
            place, _, value = line.partition(" = ")
            row = column.locator("tr", has=tab.get_by_role("rowheader", name=place, exact=True))
            assert row.locator("td").inner_text() == value
        tab.keyboard.press("j")
    assert tab.locator("#on").is_disabled()
    tab.keyboard.press("g")
    assert tab.locator("#back").is_disabled()
    tab.keyboard.press("n")
    assert "joins" in tab.locator("#what").inner_text()
    tab.keyboard.press("n")
    assert "widens" in tab.locator("#what").inner_text()
    assert tab.locator("#history thead").inner_text().split() == ["enter", "join", "widen"]
    assert [each.split() for each in tab.locator("#history tbody tr").all_inner_texts()] == [
        ["r1", "0", "[0,", "2]", "[0,", "98]"]
    ]
    assert [moment.how for moment in recording.at(1)][1:3] == [How.JOIN, How.WIDEN]
    assert tab.locator("svg .block.chosen").count() == 1
    tab.locator("#range").fill("0")
    assert tab.locator("#count").inner_text().startswith("1 of")


def test_a_notebook_shows_the_debugger_in_a_frame(visit: Opener) -> None:
    inner = debugger(record(assemble(COUNT)))
    tab = visit(Page(f"<!doctype html><body>{inner._repr_html_()}"))
    frame = tab.frame_locator("iframe")
    frame.locator("#on").click()
    assert frame.locator("#count").inner_text().startswith("2 of")
