"""Every exhibit of the museum is a fault: something unsafe gets through with it, and an oracle says so."""

from __future__ import annotations

import doctest
import importlib
import sys

import pytest

import prevail_py.research.museum
from prevail_py.domains import halves
from prevail_py.objects.text import assemble
from prevail_py.research.differential import load_generated
from prevail_py.research.fuzz import planting
from prevail_py.research.museum import EXHIBITS, Exhibit, Part, planted
from prevail_py.research.museum.oracles import ORACLES, missing
from prevail_py.research.museum.switch import switched
from prevail_py.research.museum.tour import Finding, catches, control, survivors, table, tour
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import VerdictKind
from prevail_py.words import INT, IntAlgebra

WITH_SPECIMEN = [name for name, exhibit in EXHIBITS.items() if exhibit.specimen is not None]
COMPUTED = [name for name, exhibit in EXHIBITS.items() if exhibit.part in (Part.SEMANTICS, Part.ENGINE)]
NOT_RUN = {"middle of a socket"}
"""No run of the interpreter gets the socket that it takes."""


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


@pytest.mark.parametrize("name", [name for name in WITH_SPECIMEN if name not in NOT_RUN])
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
