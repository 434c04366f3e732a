"""What the pages are made of; ``test_browser.py`` opens them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli.main import main
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program, SourceLine
from prevail_py.objects.text import assemble
from prevail_py.report.compact import States, Strings
from prevail_py.report.debugger import debugger, recording_data
from prevail_py.report.explorer import explorer, program_data
from prevail_py.report.page import embedded
from prevail_py.report.sources import whole_files
from prevail_py.verifier import Verdict, verify
from prevail_py.verifier.recording import record

HOSTILE = "</script><img src=x onerror=alert(1)>&\u2028\\\"'"


def verdict_of(stem: str) -> Verdict:
    return verify(next(iter(load_object(examples.path(stem)).programs.values())))


def data_of(html: str) -> object:
    """The data of a page, read as a browser finds them: up to the first end tag of a script."""
    start = html.index('id="data">') + len('id="data">')
    return json.loads(html[start : html.index("</script>", start)])


def nameless(line: str) -> str:
    return re.sub(r"\b[sn]\d+", "s", line)


def test_states_are_decoded_to_what_they_were() -> None:
    strings = Strings()
    states = States(strings)
    sequence = [["a", "b", "c"], ["a", "x", "c"], ["a", "c"], [], ["c"], ["a", "a", "a"], ["a", "a"], ["a", "b", "c"]]
    numbers: list[int] = []
    for lines in sequence:
        numbers.append(states.number(lines, numbers[-1] if numbers else -1))
    assert [states.lines(number) for number in numbers] == sequence
    assert numbers[-1] == numbers[0]
    assert states.coded[1] == (0, 1, 1, [strings.number("x")])
    for turn in range(200):  # chains are cut
        numbers.append(states.number(["a", str(turn)], numbers[-1]))
    assert sum(like < 0 for like, *_ in states.coded) > 2
    assert states.lines(numbers[-1]) == ["a", "199"]


@pytest.mark.parametrize("stem", ["xdp_options", "xdp_subprogram", "unsafe_scan"])
def test_the_page_has_the_states_that_the_verdict_has(stem: str) -> None:
    verdict = verdict_of(stem)
    data = program_data(verdict)
    coded, strings = data["states"], data["strings"]

    def decoded(number: int) -> list[str]:
        like, start, end, middle = coded[number]
        old = [] if like < 0 else decoded(like)
        return [*old[:start], *(strings[line] for line in middle), *(old[len(old) - end :] if like >= 0 else [])]

    seen = 0
    for context in data["contexts"]:
        for pc, numbers in context["at"].items():
            seen += 1
            shown = [[nameless(line) for line in decoded(number) if " = " in line] for number in numbers]
            known = verdict.invariants.states(pc, tuple(context["calls"]))
            assert {tuple(each) for each in shown} <= {tuple(map(nameless, state.lines())) for state in known}
            assert bool(shown) == bool(known)
    assert seen >= len(data["code"])


def test_failures_come_with_their_slices() -> None:
    verdict = verdict_of("unsafe_helper_size")
    data = program_data(verdict)
    (failure,) = data["failures"]
    (explanation,) = verdict.explanations()
    assert failure["slice"] == [[step.pc, list(step.calls)] for step in explanation.slice]
    assert failure["needed"] == "size <= 536870911"
    slots = {pc for pc, *_ in data["code"]}
    assert {pc for pc, _ in failure["slice"]} <= slots


def test_the_witness_is_replayed() -> None:
    verdict = verdict_of("unsafe_bounds")
    assert verdict.witness is not None
    shown = program_data(verdict)["witness"]
    assert shown["steps"][-1][0] == verdict.witness.trap.pc == shown["pc"]
    assert shown["steps"][0][0] == 0


def test_only_the_last_steps_of_a_long_witness_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = verdict_of("unsafe_helper_size")
    whole = program_data(verdict)
    monkeypatch.setattr("prevail_py.report.explorer._MAX_STEPS", 5)
    cut = program_data(verdict)

    def registers(data: dict[str, object], upto: int) -> dict[int, str | None]:
        witness, strings = data["witness"], data["strings"]
        assert isinstance(witness, dict)
        assert isinstance(strings, list)
        found = {}
        for _, _, changed in witness["steps"][: upto + 1]:
            found.update({register: None if text < 0 else strings[text] for register, text in changed})
        return found

    dropped = cut["witness"]["first"]
    assert dropped == len(whole["witness"]["steps"]) - 5
    assert len(cut["witness"]["steps"]) == 5
    for step in range(5):
        assert registers(cut, step) == registers(whole, dropped + step)


def test_data_mean_nothing_to_html() -> None:
    text = embedded({HOSTILE: [HOSTILE, "\udcff", 1, None]})
    assert not set("<>&\u2028\udcff") & set(text)
    assert json.loads(text) == {HOSTILE: [HOSTILE, "\udcff", 1, None]}


def hostile_program() -> Program:
    return Program(HOSTILE, HOSTILE, "xdp", assemble("r1 = 0\nagain:\nr1 += 1\nif r1 < 9 goto again\nexit").code)


def test_without_escapes_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prevail_py.report.page._ESCAPES", {})
    assert "<img" in explorer(HOSTILE, [verify(hostile_program())]).html


def test_names_of_objects_cannot_break_out() -> None:
    program = hostile_program()
    for page in (explorer(HOSTILE, [verify(program)]), debugger(record(program))):
        assert "<img" not in page.html
        assert page.html.count("<script") == page.html.count("</script>") == 2
        data = data_of(page.html)
        assert isinstance(data, dict)
        assert HOSTILE in (data.get("object"), data.get("name"))
        assert "default-src 'none'" in page.html
        page.html.encode("utf-8")


def _luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_can_be_read_in_both_themes(theme: int) -> None:
    css = (files("prevail_py.report") / "assets" / "common.css").read_text(encoding="utf-8")
    block = re.findall(r":root[^{]*\{([^}]*)\}", css)[theme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    assert len(colours) > 20
    pairs = [(ink, "panel") for ink in ("ink", "soft", "faint", "register", "number", "word", "accent", "bad", "good")]
    pairs += [(ink, paper) for ink in ("ink", "soft", "register", "number", "word") for paper in ("chosen", "slice")]
    pairs += [(mood, f"{mood}-soft") for mood in ("good", "bad", "unsure", "neutral")]
    for ink, paper in pairs:
        light, dark = sorted((_luminance(colours[ink]), _luminance(colours[paper])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)


def test_file_names_may_be_any_bytes() -> None:
    explorer("a\udcff.o", [verify(assemble("r0 = 0\nexit"))]).html.encode("utf-8")


def test_what_cannot_be_analysed_has_a_page() -> None:
    unsupported = verify(Program("main", "x", "no such type", assemble("exit").code))
    empty = verify(Program("main", "xdp", "xdp", ()))
    for verdict in (unsupported, empty):
        data = program_data(verdict)
        assert data["verdict"] == verdict.kind.value
        assert data["contexts"] == []
    assert explorer("nothing.o", []).html


def test_the_same_verdict_gives_the_same_page() -> None:
    pages = [re.sub(r'"seconds":[0-9.]+', "", explorer("a.o", [verdict_of("xdp_options")]).html) for _ in range(2)]
    assert pages[0] == pages[1]


def test_recordings_as_data() -> None:
    recording = record(next(iter(load_object(examples.path("unsafe_scan")).programs.values())))
    data = recording_data(recording)
    assert [moment[1:3] for moment in data["moments"]] == [[each.pc, each.how.value] for each in recording.moments]
    assert data["total"] == len(recording.moments)


def test_the_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.html"
    scan = str(examples.path("unsafe_scan"))
    assert main(["report", scan, "-o", str(target)]) == 0
    data = data_of(target.read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    assert [program["verdict"] for program in data["programs"]] == ["UNSAFE"]
    options = str(examples.path("xdp_options"))
    assert main(["report", options, "--termination", "-o", str(target)]) == 0
    loops = data_of(target.read_text(encoding="utf-8"))["programs"][0]["loops"]  # type: ignore[index]
    assert [words.split(":")[0] for _, _, words in loops] == ["at most 39 turns"]
    assert main(["report", scan, "--debugger", "--disjuncts", "2", "-o", str(target)]) == 0
    assert "moments" in str(data_of(target.read_text(encoding="utf-8")))
    capsys.readouterr()
    for arguments, message in (
        ([scan, "--program", "none", "-o", str(target)], "no program 'none'"),
        ([str(tmp_path / "missing.o"), "-o", str(target)], "missing.o"),
        ([scan, "-o", str(tmp_path / "no" / "such.html")], "No such file"),
        ([scan, "--domain", "polyhedra", "-o", str(target)], "unknown domain 'polyhedra'"),
        ([scan, "--debugger", "--kernel", "-o", str(target)], "without --kernel"),
        ([scan, "--source", str(tmp_path / "no"), "-o", str(target)], "no: not a folder"),
        ([scan], "-o"),
    ):
        assert main(["report", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_source_files_are_shown_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines with instructions as well, with what indents them; of a file that has changed only the quoted lines."""
    target, folder = tmp_path / "report.html", tmp_path / "src"
    folder.mkdir()
    text = examples.path("xdp_options").with_suffix(".c").read_text()
    (folder / "xdp_options.c").write_text(text)
    command = ["report", str(examples.path("xdp_options")), "--source", str(folder), "-o", str(target)]
    assert main(command) == 0
    (program,) = data_of(target.read_text(encoding="utf-8"))["programs"]  # type: ignore[index]
    shown = {(line, program["strings"][words]) for _, line, words in program["places"] + program["unplaced"]}
    assert shown == set(enumerate(text.splitlines(), 1))
    assert program["places"]
    (folder / "xdp_options.c").write_text("// another licence\n" + text)
    assert main(command) == 0
    assert "is another one than in the object" in capsys.readouterr().err
    (program,) = data_of(target.read_text(encoding="utf-8"))["programs"]  # type: ignore[index]
    assert program["unplaced"] == []
    assert program["places"]


@pytest.mark.parametrize("name", ["/secret.c", "../secret.c", "a/../../secret.c", "link.c", "C:\\x\\..\\..\\secret.c"])
def test_no_file_outside_of_the_folder_is_read(tmp_path: Path, name: str) -> None:
    """Whatever an object calls its source, and whatever links there are."""
    folder = tmp_path / "src"
    folder.mkdir()
    (tmp_path / "secret.c").write_text("secret\n")
    (folder / "link.c").symlink_to(tmp_path / "secret.c")
    program = replace(assemble("r0 = 0\nexit"), lines={0: SourceLine(name, 1)})
    assert whole_files([program], folder) == ({}, [f"{name}: not in {folder}"])
    (folder / "secret.c").write_text("no secret\n")
    files, _ = whole_files([replace(program, lines={0: SourceLine("/build/x/secret.c", 1)})], folder)
    assert files == {"/build/x/secret.c": ["no secret"]}


def test_the_kernel_is_asked(kernel: None, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    assert main(["report", str(examples.path("unsafe_bounds")), "--kernel", "-o", str(target)]) == 0
    data = data_of(target.read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    answer = data["programs"][0]["kernel"]
    assert answer["kind"] == "reject"
    assert any(line.startswith("0: (b4) w0 = 1") for line in answer["log"])
