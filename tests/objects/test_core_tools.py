"""CO-RE in tools that are installed: Debian's libbpf-tools against the running kernel, with two peers.

The kernel: it takes what was relocated, or stumbles over what was poisoned.  ``bpftool gen min_core_btf``: libbpf's own
matching decides which parts of a BTF an object needs, and with nothing but these the object must come out the same.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from prevail_py.objects import core_specs
from prevail_py.objects.carve import carve
from prevail_py.objects.elf import load_object
from prevail_py.objects.target import KERNEL_BTF
from prevail_py.verifier import verify
from prevail_py.vm.kernel.answer import AnswerKind
from prevail_py.vm.kernel.engine import Session

TOOLS = (
    *("bindsnoop", "biolatency", "execsnoop", "filelife", "gethostlatency", "ksnoop", "opensnoop", "runqlat"),
    *("runqlen", "tcpconnect", "tcpconnlat", "tcplife", "tcprtt", "vfsstat"),
)


@pytest.fixture(scope="module")
def tools() -> Mapping[str, bytes]:
    """The objects inside the tools, by name."""
    if not Path(KERNEL_BTF).exists():
        pytest.skip("kernel engine: the kernel shows no BTF")
    found = {name: Path("/usr/sbin") / name for name in TOOLS}
    objects = {name: [data for _, data in carve(path.read_bytes())] for name, path in found.items() if path.exists()}
    chosen = {name: carved[0] for name, carved in objects.items() if carved}
    if len(chosen) < 5:
        pytest.skip("libbpf_tools: the tools of Debian's libbpf-tools are not installed")
    return chosen


def test_all_of_them_are_relocated(tools: Mapping[str, bytes]) -> None:
    start = time.process_time()
    programs = [program for data in tools.values() for program in load_object(data).programs.values()]
    assert [program.unsupported for program in programs if program.unsupported] == []
    assert sum(bool(program.target_btf) for program in programs) > len(programs) / 3
    assert time.process_time() - start < 0.5 * len(tools)


def test_the_kernel_agrees(tools: Mapping[str, bytes], kernel: None) -> None:
    """Accepted, or rejected for the poison that the verifier finds reachable as well."""
    asked = 0
    with Session() as session:
        for name, data in tools.items():
            for program in load_object(data).programs.values():
                if not program.target_btf:
                    continue
                answer = session.ask(program)
                if answer.kind is AnswerKind.ACCEPT:
                    asked += 1
                elif answer.kind is AnswerKind.REJECT:
                    assert "195896080" in answer.reason, f"{name} {program.name}: {answer.reason}"
                    messages = [failure.message for failure in verify(program).failures]
                    assert set(messages) & set(program.poisoned.values()), f"{name} {program.name}"
    assert asked >= 10


@pytest.fixture
def minimal(tools: Mapping[str, bytes], tmp_path: Path) -> Mapping[str, Path]:
    """What libbpf says the objects need of the running kernel's BTF."""
    bpftool = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if bpftool is None:
        pytest.skip("bpftool: not installed")
    found = {}
    for name, data in tools.items():
        source, target = tmp_path / f"{name}.o", tmp_path / f"{name}.btf"
        source.write_bytes(data)
        made = subprocess.run(
            [bpftool, "gen", "min_core_btf", KERNEL_BTF, str(target), str(source)], capture_output=True, check=False
        )
        if made.returncode == 0:
            found[name] = target
    assert len(found) >= 5
    return found


def _differing(tools: Mapping[str, bytes], minimal: Mapping[str, Path]) -> list[str]:
    """Programs that come out another way with what libbpf says they need."""
    found = []
    for name, path in minimal.items():
        whole, part = load_object(tools[name]).programs, load_object(tools[name], btf=path).programs
        for label, program in whole.items():
            if (program.code, program.poisoned) != (part[label].code, part[label].poisoned):
                found.append(f"{name} {label}")
    return found


def test_nothing_else_than_what_libbpf_needs_is_used(tools: Mapping[str, bytes], minimal: Mapping[str, Path]) -> None:
    assert _differing(tools, minimal) == []


def test_a_planted_wrong_match_is_seen(
    tools: Mapping[str, bytes], minimal: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member before the one that is meant."""
    original = core_specs._match_member

    def planted(matcher: object, step: core_specs.Accessor, aggregate: object, found: core_specs.Spec) -> int | None:
        result = original(matcher, step, aggregate, found)  # type: ignore[arg-type]
        last = found.path[-1]
        members = found.btf.type(last.type).members
        if result is not None and last.name is not None and last.number > 0:
            found.move(members[last.number - 1].bit_offset - members[last.number].bit_offset)
        return result

    monkeypatch.setattr(core_specs, "_match_member", planted)
    assert _differing(tools, minimal)
