"""The XDP examples built for Windows, from the same sources: same verdicts, same decisions, same counters."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.host.xdp import XdpReport, replay
from prevail_py.include import FOLDER
from prevail_py.objects.elf import ObjectFile, load_object
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import Verdict
from prevail_py.vm.differential import contents
from prevail_py.vm.maps import create_maps, has_values
from prevail_py.vm.maps.targets import ProgramArray

LINUX_ONLY = {
    "tc_classifier": "there are no classifiers",
    "xdp_redirect": "there are no device maps",
}
PORTABLE = [name for name in examples.names() if name not in LINUX_ONLY]


def built(clang: str, name: str, out: Path) -> ObjectFile:
    headers = ("-I", FOLDER / "windows", "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu")
    command = [clang, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-Wno-unused-const-variable"]
    path = out / f"{name}.o"
    subprocess.run([*command, *headers, "-c", examples.source(name), "-o", path], check=True)
    return load_object(path, platform="windows")


@pytest.mark.parametrize("name", sorted(LINUX_ONLY))
def test_what_only_linux_has(clang: str, tmp_path: Path, name: str) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        built(clang, name, tmp_path)


@pytest.mark.parametrize("name", PORTABLE)
def test_one_source_for_both(clang: str, tmp_path: Path, name: str) -> None:
    objects = {"linux": load_object(examples.path(name)), "windows": built(clang, name, tmp_path)}
    verdicts = {each: [verify(p) for p in loaded.programs.values()] for each, loaded in objects.items()}
    summary = {
        each: [(v.program.name, v.kind, [f.assertion for f in v.failures]) for v in found]
        for each, found in verdicts.items()
    }
    assert summary["windows"] == summary["linux"]
    if not examples.EXAMPLES[name].safe:
        return
    reports = {each: run(objects[each], verdicts[each][0]) for each in objects}
    actions = {each: [result.action for result in report.results] for each, report in reports.items()}
    assert actions["windows"] == actions["linux"]
    assert len({result.value for result in reports["linux"].results}) >= len(set(actions["linux"]))
    assert held(reports["windows"]) == held(reports["linux"])
    assert "ABORTED" not in reports["windows"].counts
    numbers = {"PASS": 1, "DROP": 2, "TX": 3}
    assert all(result.value == numbers[result.action] for result in reports["windows"].results)


def run(loaded: ObjectFile, verdict: Verdict) -> XdpReport:
    """The example over the shipped capture, with rules for the firewall and links for tail calls."""
    maps = create_maps(verdict.program.maps)
    for each in maps:
        for key, value in examples.FIREWALL_RULES.get(each.spec.name, {}).items():
            each[key] = value  # type: ignore[index]
        if isinstance(each, ProgramArray):
            others = [program for program in loaded.programs.values() if program.name != verdict.program.name]
            for index, program in enumerate(others):
                own = [next(of for of in maps if of.spec.name == spec.name) for spec in program.maps]
                each.install(index.to_bytes(4, "little"), program, own)
    return replay(verdict.program, verdict, examples.TRAFFIC, maps=maps)


def held(report: XdpReport) -> Mapping[str, object]:
    """What the maps hold that the program may change."""
    return {each.spec.name: list(contents(each)) for each in report.maps if has_values(each) and each.writable}
