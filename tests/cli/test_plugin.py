"""The conformance plugin as a process, driven by the engine that speaks its protocol."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prevail_py.cli.plugin import main
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.decode import decode
from prevail_py.isa.encode import encode
from prevail_py.research.conformance import load_vectors
from prevail_py.vm.engines import EngineError
from prevail_py.vm.outcome import Returned
from prevail_py.vm.plugin import PluginEngine

_SUITE = Path(__file__).resolve().parents[3] / "shared" / "conformance"
VECTORS = load_vectors(_SUITE) if _SUITE.is_dir() else []
STRIDE = 1 if os.environ.get("PREVAIL_PY_ALL_VECTORS") else 8


@pytest.fixture
def plugin(tmp_path: Path, root: Path) -> Path:
    path = tmp_path / "plugin"
    run = f'PYTHONPATH="{root}" exec "{sys.executable}" -m prevail_py.cli.plugin "$@"'
    path.write_text(f"#!/bin/sh\n{run}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("engine", ["interpreter", "source"])
def test_vectors_through_the_process(engine: str, plugin: Path, shared_dir: Path) -> None:
    through = PluginEngine(plugin, ("--engine", engine))
    for vector in VECTORS[::STRIDE]:
        assert vector.result is not None
        assert through.run_memory(decode(vector.code), vector.memory).outcome == Returned(vector.result), vector.name


def test_failures_are_messages(plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="uninitialised-register at slot 0"):
        PluginEngine(plugin).run_memory(assemble_text("exit"))
    with pytest.raises(EngineError, match="No such file"):
        PluginEngine(tmp_path / "none").run_memory(assemble_text("exit"))


@pytest.mark.parametrize(
    ("arguments", "program", "code"),
    [
        ([], encode(assemble_text("r0 = 5\nexit")).hex(" "), 0),
        (["01 02", "--engine=source"], encode(assemble_text("r0 = r2\nexit")).hex(" "), 0),
        ([], "zz", 2),
        (["zz"], "", 2),
        ([], "00 00", 2),
        (["--engine", "native"], "95 00 00 00 00 00 00 00", 2),
        (["--nonsense"], "", 2),
        (["01", "02"], "", 2),
        ([], "95 00 00 00 00 00 00 00", 1),
    ],
)
def test_exit_codes(
    arguments: list[str],
    program: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(program + "\n"))
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert bool(captured.out) == (code == 0)
    assert bool(captured.err) == (code != 0)


NEEDED = """
    cli cli.plugin isa isa.decode isa.flow isa.instructions isa.opcodes isa.semantics objects objects.program
    platforms platforms.linux platforms.linux.availability platforms.linux.kernel_objects
    platforms.contexts platforms.contracts platforms.extensions
    platforms.linux.map_types platforms.linux.program_types platforms.linux.sections platforms.model vm
    vm.context vm.effects vm.engines vm.environment vm.fault vm.interpreter vm.machine vm.maps vm.memory
    vm.outcome vm.packet words
"""
ALLOWED = {"interpreter": set(NEEDED.split()), "source": {*NEEDED.split(), "vm.source"}}


@pytest.mark.parametrize("engine", ALLOWED)
def test_start_up_imports_no_more_than_it_needs(engine: str, root: Path) -> None:
    """Each module costs milliseconds, and a runner of the suite starts the plugin for every vector.

    A module more may be right: then it belongs into the list.
    """
    run = f"import sys; from prevail_py.cli.plugin import main; main(['--engine', '{engine}']); print(*sys.modules)"
    program = encode(assemble_text("r0 = 5\nexit")).hex(" ")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", run]
    done = subprocess.run(command, input=program, capture_output=True, text=True, env=environment, check=True)
    result, modules = done.stdout.split("\n", 1)
    assert result == "5"
    loaded = set(modules.split())
    assert not loaded & {"argparse", "asyncio", "ctypes", "logging", "networkx", "rich", "subprocess", "z3"}
    own = {name.removeprefix("prevail_py.") for name in loaded if name.startswith("prevail_py.")}
    assert {name for name in own if not name.startswith(("vm.maps.", "vm.source."))} <= ALLOWED[engine]
