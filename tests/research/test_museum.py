"""Every exhibit of the museum is a fault: something unsafe gets through with it, and an oracle says so."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import prevail_py.research.museum
from prevail_py.domains import halves
from prevail_py.objects.text import assemble
from prevail_py.research.differential import load_generated
from prevail_py.research.fuzz import planting
from prevail_py.research.museum import EXHIBITS, Exhibit, Part, planted
from prevail_py.research.museum.hunt import Trophy, drawn, hunted, main, markdown, resumed
from prevail_py.research.museum.oracles import ORACLES, missing
from prevail_py.research.museum.switch import switched
from prevail_py.research.museum.tour import Finding, catches, control, survivors, table, tour
from prevail_py.research.oracle import examine
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import VerdictKind
from prevail_py.words import INT, IntAlgebra

WITH_SPECIMEN = [name for name, exhibit in EXHIBITS.items() if exhibit.specimen is not None]
COMPUTED = [name for name, exhibit in EXHIBITS.items() if exhibit.part in (Part.SEMANTICS, Part.ENGINE)]


def test_there_are_many() -> None:
    assert len(EXHIBITS) >= 40
    assert all(exhibit.source and exhibit.summary for exhibit in EXHIBITS.values())
    assert {exhibit.part for exhibit in EXHIBITS.values()} == set(Part)


@pytest.mark.parametrize("name", WITH_SPECIMEN)
def test_a_specimen_gets_through_with_the_mistake_only(name: str) -> None:
    exhibit = EXHIBITS[name]
    assert exhibit.specimen is not None
    program = exhibit.specimen.program(name)
    assert verify(program, smt=False).kind is VerdictKind.UNKNOWN
    with planted(exhibit):
        assert verify(program, smt=False).is_safe
    assert not verify(program).is_safe


@pytest.mark.parametrize("name", WITH_SPECIMEN)
def test_the_checker_refuses_what_is_certified_of_it(name: str) -> None:
    found = catches(name, "certificates", 30)
    assert found.is_caught, found


@pytest.mark.parametrize("name", WITH_SPECIMEN)
def test_running_it_shows_the_mistake(name: str) -> None:
    assert catches(name, "concrete", 30).is_caught


@pytest.mark.parametrize("name", COMPUTED)
def test_engines_differ(name: str) -> None:
    # Programs are made by seed: each is found at the same one every time.
    assert catches(name, "engines", 60).is_caught


@pytest.mark.parametrize("oracle", ["concrete", "certificates", "exhaustive"])
def test_an_oracle_is_silent_without_a_mistake(oracle: str) -> None:
    for name in ("packet off by one", "CVE-2017-16995"):
        assert not control(name, oracle, 1).is_caught


def test_fuzz_campaigns_find_a_mistake_by_its_name() -> None:
    assert catches("CVE-2020-8835", "fuzzing", 30).is_caught
    with pytest.raises(ValueError, match="no fault 'nobody'"), planting("nobody"):
        pass


# Hunts ----------------------------------------------------------------------------------------------------------------


def test_a_draw_can_be_repeated() -> None:
    names = drawn(15)
    assert names == drawn(15)
    assert len(set(names)) == 15
    assert set(names) <= set(EXHIBITS)
    assert names != drawn(15, seed=1)
    with pytest.raises(ValueError, match="exhibits to draw from"):
        drawn(len(EXHIBITS) + 1)


def test_a_hunt_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found, and what was not found in as long a time, is not looked for again."""
    keep, names = tmp_path / "kept", ["move of 32 bits", "widening"]
    calls: list[str] = []

    def hunt(name: str, seconds: float) -> Trophy:
        calls.append(name)
        found = name == "move of 32 bits"
        return Trophy(
            name, EXHIBITS[name].part.value, "engines" if found else "", "differ" if found else "", 5, seconds
        )

    monkeypatch.setattr("prevail_py.research.museum.hunt.hunted", hunt)
    first = list(resumed(names, 10, keep))
    assert list(resumed(names, 10, keep)) == first
    assert calls == names
    list(resumed(names, 20, keep))
    assert calls == [*names, "widening"]
    text = markdown(first, "By hand.", 10)
    assert "**1 of 2 found; " in text
    assert "| widening | verifier | - | nothing | 5 | 10.0 |" in text
    keep.write_text("something else\n")
    with pytest.raises(ValueError, match="kept: not what a hunt keeps"):
        list(resumed(names, 10, keep))


def test_a_campaign_finds_a_drawn_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "findings.json"
    assert main(["move of 32 bits", "--seconds", "60", "--json", str(document)]) == 0
    assert capsys.readouterr().out.startswith("move of 32 bits: ")
    (row,) = json.loads(document.read_text())["findings"]
    assert Finding(**row).is_caught
    with pytest.raises(SystemExit) as left:
        main(["nobody"])
    assert left.value.code == 2
    assert "no exhibit is called 'nobody'" in capsys.readouterr().err


def test_nothing_is_found_where_nothing_is_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    exhibit = replace(EXHIBITS["JMP32"], plant=lambda switch: None)
    monkeypatch.setitem(EXHIBITS, "JMP32", exhibit)
    assert not hunted("JMP32", 1).is_found


def test_known_bits_do_not_hide_a_mistake_in_bounds() -> None:
    """The verifier's word has both: the mistake is in what ships, and not in bounds alone that nobody believes."""
    code = "call 7\nr0 <<= 32\nr0 |= 5\nw0 &= 3\nr1 = r0\nr0 = 1\nexit"
    program = replace(assemble(code), program_type="kprobe", section="kprobe")
    assert not examine(program, verify(program, smt=False), 3).violations
    with planted(EXHIBITS["CVE-2021-3490"]):
        assert examine(program, verify(program, smt=False), 3).violations


# Planting -------------------------------------------------------------------------------------------------------------


def test_a_function_is_changed_wherever_it_was_imported() -> None:
    from prevail_py.verifier import fixpoint, merge, partition

    original = merge.subsumes
    places = [vars(module) for module in (merge, partition, fixpoint)]

    def never(old: object, new: object) -> bool:
        return False

    with switched() as switch:
        switch.function(original, never)
        assert all(names["subsumes"] is never for names in places)
    assert all(names["subsumes"] is original for names in places)


def test_who_imports_it_meanwhile_does_not_keep_it() -> None:
    name = "prevail_py.domains.halves"
    original = halves.reduce
    module = type(sys)("prevail_py.imported_later")
    try:
        with switched() as switch:
            switch.function(original, min)
            sys.modules[module.__name__] = module
            vars(module)["reduce"] = vars(sys.modules[name])["reduce"]
            assert vars(module)["reduce"] is min
        assert vars(module)["reduce"] is original
    finally:
        del sys.modules[module.__name__]


def test_nothing_stays_planted_after_an_error() -> None:
    original = IntAlgebra.add

    def fail() -> None:
        with switched() as switch:
            switch.attribute(IntAlgebra, "add", IntAlgebra.sub)
            assert INT.add(5, 3, 64) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert IntAlgebra.add is original
    assert INT.add(5, 3, 64) == 8


def test_what_is_nowhere_cannot_be_changed() -> None:
    with switched() as switch, pytest.raises(ValueError, match="no module has"):
        switch.function(lambda: None, min)


@pytest.mark.parametrize(
    ("exhibit", "name"),
    [("unmasked shifts", "source"), ("shift by zero", "jit-O0"), ("shift by zero", "proved-O0")],
)
def test_compiled_code_is_forgotten(exhibit: str, name: str) -> None:
    if name != "source":
        pytest.importorskip("llvmlite")
    program = assemble(f"r0 = 5\nr1 = {64 if name == 'source' else 0}\nr0 >>= r1\nr0 &= 1\nexit")

    def result() -> str:
        return str(load_generated(program, [name])[name].run(packet=b"").outcome)

    right = result()
    with planted(EXHIBITS[exhibit]):
        wrong = result()
    assert wrong != right == result()


# Tours ----------------------------------------------------------------------------------------------------------------


def _finding(exhibit: str, oracle: str, evidence: str) -> Finding:
    return Finding(exhibit, EXHIBITS[exhibit].part.value, oracle, evidence, 0.5)


def test_survivors_are_those_that_nobody_caught() -> None:
    found = [
        _finding("widening", "concrete", ""),
        _finding("widening", "fuzzing", "a trap"),
        _finding("narrowing", "fuzzing", ""),
    ]
    assert survivors(found) == ("narrowing",)
    shown = table(found, ("concrete", "fuzzing"))
    assert shown.rows == (("verifier", "widening", "-", "0.50"), ("verifier", "narrowing", "", "-"))


def test_a_tour_asks_who_could_see_it() -> None:
    total, coming = tour(["CVE-2017-16995", "unwritten stack"], ["proofs", "concrete", "engines"], 20)
    found = list(coming)
    assert total == len(found) == 2
    assert {(each.exhibit, each.oracle) for each in found} == {
        ("CVE-2017-16995", "proofs"),
        ("unwritten stack", "concrete"),
    }
    assert all(each.is_caught for each in found)


def test_every_oracle_says_what_it_lacks() -> None:
    assert [name for name, oracle in ORACLES.items() if missing(oracle)] in ([], ["kernel"])


def test_the_example() -> None:
    module = importlib.import_module(prevail_py.research.museum.__name__)
    assert doctest.testmod(module).failed == 0
    assert isinstance(EXHIBITS["widening"], Exhibit)
