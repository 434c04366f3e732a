"""The suite of pairs: safe programs are proved, twins are not, and the evidence from outside of the verifier holds."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from prevail_py.objects.elf import load_object
from prevail_py.research import suite
from prevail_py.research.suite import Inputs, pairs
from prevail_py.verifier import verify
from prevail_py.vm.interpreter import run
from prevail_py.vm.kernel.engine import AnswerKind, ask_kernel_many
from prevail_py.vm.outcome import Returned, Trapped

PAIRS = pairs()
RUNS = [name for name, pair in PAIRS.items() if pair.runs is not None]
SHORT = 400
"""Runs of a program in the default tests; PREVAIL_PY_EXHAUSTIVE=1 makes them all."""


def test_it_is_as_large_as_it_says() -> None:
    assert sum(pair.proved for pair in PAIRS.values()) >= 60
    compiled = sum(pair.source.endswith(".c") for pair in PAIRS.values())
    assert 2 * compiled >= len(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_safe_programs_are_proved_and_twins_are_not(name: str) -> None:
    pair = PAIRS[name]
    assert verify(pair.safe).is_safe == pair.proved
    assert not verify(pair.twin).is_safe


@pytest.mark.parametrize("name", PAIRS)
def test_the_witness_traps(name: str) -> None:
    pair = PAIRS[name]
    outcome = run(pair.twin, packet=pair.witness).outcome
    assert isinstance(outcome, Trapped)
    assert outcome.trap.kind.value == pair.trap
    assert isinstance(run(pair.safe, packet=pair.witness).outcome, Returned)


def test_every_safe_program_has_evidence() -> None:
    assert not [name for name, pair in PAIRS.items() if not pair.kernel and pair.runs is None]


@pytest.mark.parametrize("name", RUNS)
def test_safe_programs_run(name: str) -> None:
    inputs = PAIRS[name].runs
    assert inputs is not None
    every = 1 if os.environ.get("PREVAIL_PY_EXHAUSTIVE") else 1 + _count(inputs) // SHORT
    for packet in islice(inputs, 0, None, every):
        outcome = run(PAIRS[name].safe, packet=packet).outcome
        assert isinstance(outcome, Returned), packet.hex()


def _count(inputs: Inputs) -> int:
    return sum(len(inputs.values) ** sum(place < length for place in inputs.places) for length in inputs.lengths)


def test_inputs_are_all_of_them() -> None:
    inputs = Inputs((0, 2), (0, 1), (1, 7))
    assert list(inputs) == [b"", b"\1\1", b"\1\7", b"\7\1", b"\7\7"]
    assert _count(inputs) == 5


@pytest.mark.usefixtures("kernel")
def test_linux_accepts_the_safe_programs() -> None:
    names = [name for name, pair in PAIRS.items() if pair.kernel]
    answers = ask_kernel_many([PAIRS[name].safe for name in names])
    assert not [name for name, found in zip(names, answers, strict=True) if found.kind is not AnswerKind.ACCEPT]


def test_objects_are_what_the_sources_compile_to(clang: str, tmp_path: Path) -> None:
    if not (shutil.which("make") and Path("/usr/include/bpf/bpf_helpers.h").exists() and clang.endswith("clang-19")):
        pytest.skip("clang: make, clang 19 and libbpf's headers are needed to rebuild the suite")
    subprocess.run(["make", "-s", "-C", str(suite.FOLDER), f"OUT={tmp_path}"], check=True, timeout=300)
    for path in suite.FOLDER.glob("*.o"):
        old, new = load_object(path).programs, load_object(tmp_path / path.name).programs
        assert {name: old[name].code for name in old} == {name: new[name].code for name in new}, path.name


def test_sources_are_spread() -> None:
    assert min(Counter(pair.source for pair in PAIRS.values()).values()) >= 7


def test_an_unknown_name_in_the_index_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "_assembled", dict)
    suite.pairs.cache_clear()
    try:
        with pytest.raises(ValueError, match="loop_jmp32"):
            pairs()
    finally:
        suite.pairs.cache_clear()
