"""The kernels that native code is measured on: SAFE, with an end, and the same in every engine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.research import bench_jit
from prevail_py.research.bench_jit import KERNELS, Speeds, flow_rates, kernel, measure, traffic
from prevail_py.research.proved import compare, load
from prevail_py.vm.differential import Input
from prevail_py.vm.engines import EngineError
from prevail_py.vm.interpreter import Interpreter

FOLDER = Path(examples.__file__).parent / "kernels"


@pytest.mark.parametrize("name", [*KERNELS, "flow_counter"])
def test_kernels_are_proved_and_agree(name: str) -> None:
    chosen = kernel(name)
    assert chosen.facts.instructions is not None
    for mode in ("O2", "O0 fuel"):
        loaded = load(chosen.program, chosen.facts, mode)
        assert loaded.is_simple
        for packet in (chosen.packet, chosen.packet[:-1], b""):
            assert not compare(chosen.program, loaded, Input(packet, fuel=100_000))


def test_kernels_do_their_work() -> None:
    """Most instructions of the bound are executed: nothing ends early for want of input."""
    for name in KERNELS:
        chosen = kernel(name)
        steps = Interpreter(chosen.program).run(packet=chosen.packet, maps=chosen.maps()).steps
        assert chosen.facts.instructions is not None
        assert steps > chosen.facts.instructions / 2 or name == "sort", name


def test_objects_are_what_the_makefile_makes(tmp_path: Path, clang: str) -> None:
    if not clang.endswith("clang-19"):
        pytest.skip("clang: the objects are clang 19's")
    subprocess.run(["make", "-s", "-C", str(FOLDER), f"OUT={tmp_path}"], check=True, capture_output=True)
    for made in sorted(tmp_path.glob("*.o")):
        assert made.read_bytes() == (FOLDER / made.name).read_bytes(), made.name


def test_measuring(tmp_path: Path, clang: str) -> None:
    found = measure("checksum", 3, 1e-4, clang, with_kernel=False, folder=tmp_path, empty=lambda: 0.0)
    assert isinstance(found, Speeds)
    assert 0.1 < found.to_clang < 50
    assert found.to_kernel is None


def test_another_result_is_noticed(tmp_path: Path, clang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = bench_jit._Ours.run
    monkeypatch.setattr(bench_jit._Ours, "run", lambda self, count: (original(self, count)[0], {7}))
    with pytest.raises(EngineError, match="the interpreter"):
        measure("checksum", 1, 1e-4, clang, with_kernel=False, folder=tmp_path, empty=lambda: 0.0)


def test_flow_counter() -> None:
    batch = traffic(400, 50)
    assert len({batch[n] for n in range(400)}) == 50
    rate, theirs = flow_rates(20_000, 50, 1, with_kernel=False)
    assert rate > 100_000
    assert theirs is None


def test_a_kernel_that_is_not_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_jit, "_FOLDER", Path(examples.__file__).parent)
    with pytest.raises(EngineError, match="unsafe_bounds: UN"):
        kernel("unsafe_bounds")
