"""What eBPF for Windows adds to libbpf's functions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.hooks import Passive
from prevail_py.include import FOLDER
from prevail_py.libbpf import *
from prevail_py.libbpf import current
from tests.host.context.conftest import honest


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExecutionContext]:
    monkeypatch.setattr("prevail_py.libbpf.backend._current", None)
    with ExecutionContext(admissions=honest()) as context, context.session() as session:
        use(session)
        yield context


@pytest.fixture
def built(clang: str, tmp_path: Path) -> Path:
    """An example, built for Windows."""
    headers = ("-I", os.fspath(FOLDER / "windows"), "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu")
    path = tmp_path / "counter.o"
    command = [clang, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-Wno-unused-const-variable", *headers, "-c"]
    subprocess.run([*command, os.fspath(examples.source("xdp_counter")), "-o", os.fspath(path)], check=True)
    return path


def test_object_files(built: Path) -> None:
    infos: list[ebpf_api_program_info] = []
    assert ebpf_enumerate_programs(built, True, infos) == EBPF_SUCCESS
    (info,) = infos
    assert (info.section_name, info.program_name, info.program_type) == ("xdp", "xdp_counter", "xdp")
    assert info.stats["maps"] == 1
    assert info.raw_data_size == 8 * (info.stats["instructions"] + 1)  # one of them takes two slots
    ebpf_free_programs(infos)
    text: list[str] = []
    assert ebpf_api_elf_disassemble_program(built, None, None, text) == EBPF_SUCCESS
    assert ebpf_api_elf_disassemble_section(built, "xdp", text) == EBPF_SUCCESS
    assert text[0] == text[1]
    assert "*(u64 *)(r1 + 0)" in text[0]
    said: list[str] = []
    assert ebpf_api_elf_disassemble_program(built, "bind", None, text, said) == EBPF_OBJECT_NOT_FOUND
    assert "section bind" in said[0]
    assert ebpf_enumerate_programs("nothing.o", False, infos, said) == EBPF_OBJECT_NOT_FOUND
    assert ebpf_enumerate_sections(Path(__file__), False, infos, said) == EBPF_INVALID_ARGUMENT
    assert "not an ELF file" in said[-1]


def test_verification(built: Path) -> None:
    """Objects of Linux are read as those of Windows, and refused; its own are not."""
    report: list[str] = []
    stats = ebpf_api_verifier_stats()
    assert ebpf_api_elf_verify_program_from_file(built, None, None, None, 0, report, None, stats) == EBPF_SUCCESS
    assert (report, stats.total_warnings) == (["xdp_counter: SAFE"], 0)
    assert ebpf_api_elf_verify_section_from_file(built, "xdp", "xdp", 2, report) == EBPF_SUCCESS
    assert "slot 0" in report[1]
    data = examples.path("xdp_counter").read_bytes()
    arguments: Any = (data, len(data), None, "xdp_counter", None, 0, report, None, stats)
    assert ebpf_api_elf_verify_program_from_memory(*arguments) == EBPF_VERIFICATION_FAILED
    assert stats.total_warnings > 0
    assert "context-access" in report[2]
    said: list[str] = []
    assert ebpf_api_elf_verify_section_from_memory(data, None, "xdp", "tc", 0, report, said) == EBPF_INVALID_ARGUMENT
    assert said == ["no program type 'tc'"]


def test_objects_of_the_host(host: ExecutionContext, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obj = bpf_object__open_file(built, platform="windows")
    assert obj is not None
    assert ebpf_object_get_execution_type(obj) == EBPF_EXECUTION_JIT
    assert ebpf_object_set_execution_type(obj, 7) == EBPF_INVALID_ARGUMENT
    assert ebpf_object_set_execution_type(obj, EBPF_EXECUTION_ANY) == EBPF_SUCCESS
    assert ebpf_object_set_execution_type(obj, EBPF_EXECUTION_INTERPRET) == EBPF_SUCCESS
    assert bpf_object__load(obj) == 0
    assert ebpf_object_set_execution_type(obj, EBPF_EXECUTION_JIT) == EBPF_INVALID_ARGUMENT
    assert ebpf_object_get_execution_type(obj) == EBPF_EXECUTION_INTERPRET
    (program,) = obj.programs
    kinds, files, sections = list[int](), list[str](), list[str]()
    assert ebpf_program_query_info(program.fd, kinds, files, sections) == EBPF_SUCCESS
    assert (kinds, files, sections) == ([EBPF_EXECUTION_INTERPRET], [os.fspath(built)], ["xdp"])
    assert ebpf_program_query_info(obj.maps[0].fd, kinds, files, sections) == EBPF_INVALID_ARGUMENT
    for fd, path in ((program.fd, "/b"), (program.fd, "/d"), (obj.maps[0].fd, "/c")):
        assert bpf_obj_pin(fd, path) == 0
    place = bytearray(8)
    seen = []
    while ebpf_get_next_pinned_object_path(place.split(b"\0")[0].decode(), place) == EBPF_SUCCESS:
        seen.append(place.split(b"\0")[0].decode())
    assert seen == ["/b", "/c", "/d"]
    assert ebpf_get_next_pinned_program_path("/b", place) == EBPF_SUCCESS
    assert place[:3] == b"/d\0"
    assert ebpf_get_next_pinned_program_path("/d", place) == EBPF_NO_MORE_KEYS
    assert ebpf_get_next_pinned_program_path("", bytearray(2)) == EBPF_INSUFFICIENT_BUFFER
    found: list[bpf_map_info] = []
    assert ebpf_api_get_pinned_map_info(found) == EBPF_SUCCESS
    assert [each.name for each in found] == ["total"]
    ebpf_api_map_info_free(found)
    fd = ebpf_object_get("/b")
    info = bpf_prog_info()
    assert ebpf_object_get_info_by_fd(fd, info) == EBPF_SUCCESS
    assert info.name == "xdp_counter"
    assert ebpf_object_get_info_by_fd(fd, bpf_map_info()) == EBPF_INVALID_ARGUMENT
    again: list[int] = []
    assert ebpf_duplicate_fd(fd, again) == ebpf_close_fd(fd) == ebpf_api_close_handle(again[0]) == EBPF_SUCCESS
    assert ebpf_close_fd(fd) == 4  # EBPF_INVALID_FD
    assert ebpf_object_unpin("/b") == EBPF_SUCCESS
    assert ebpf_object_unpin("/b") == EBPF_OBJECT_NOT_FOUND
    hook: Any = Place()
    monkeypatch.setattr(ExecutionContext, "hook_for", lambda *arguments: hook)
    link: list[bpf_link] = []
    assert ebpf_program_attach(program, None, (7).to_bytes(4, "little"), 4, link) == EBPF_SUCCESS
    assert current().call("info", handle=link[0].fd)["parameters"] == {"ifindex": 7}
    assert ebpf_program_attach(program, None, b"x", 1, link) == EBPF_INVALID_ARGUMENT
    assert ebpf_link_close(link[0]) == ebpf_program_synchronize() == EBPF_SUCCESS
    assert not host.links


class Place:
    name = "place"

    def accepts(self, program: Any) -> bool:
        return True

    def attach(self, runner: Any, parameters: Any) -> Any:
        return Passive()


def test_records(host: ExecutionContext) -> None:
    ring = bpf_map_create(27, "ring", 0, 0, 4096)
    events = bpf_map_create(4, "events", 4, 4, 1)
    buffer = ebpf_ring_buffer__new(ring, lambda ctx, data, size: 0)
    assert buffer is not None
    assert ring_buffer__consume(buffer) == 0
    ring_buffer__free(buffer)
    other = ebpf_perf_buffer__new(events, 8, lambda ctx, cpu, data, size: None)
    assert other is not None
    perf_buffer__free(other)
    assert ebpf_ring_buffer__new(events, lambda ctx, data, size: 0) is None
