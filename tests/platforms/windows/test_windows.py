"""One C source for two platforms: numbers are translated when an object is loaded, layouts are the platform's."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from prevail_py.cli.main import main
from prevail_py.examples import TRAFFIC
from prevail_py.host.gate import GateError
from prevail_py.host.service import Refused, Verifier
from prevail_py.host.service.lockdown import missing
from prevail_py.host.trust import Trust
from prevail_py.host.xdp import replay
from prevail_py.include import FOLDER
from prevail_py.isa.instructions import Call
from prevail_py.objects.elf import ObjectFile, load_object
from prevail_py.platforms import platform, windows
from prevail_py.platforms.model import FieldKind
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import VerdictKind

SOURCE = r"""
#include "prevail_bpf.h"

struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); }
	counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); }
	next SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");

SEC("xdp")
int filter(struct xdp_md *ctx)
{
	__u8 *data = PREVAIL_DATA(ctx), *end = PREVAIL_DATA_END(ctx);
	__u64 now = bpf_ktime_get_ns(), *count;
	__u32 kind;

	if (data + 24 > end)
		return XDP_DROP;
	kind = data[23] == 17;
	count = bpf_map_lookup_elem(&counts, &kind);
	if (count)
		*count += 1;
	bpf_ringbuf_output(&events, &now, sizeof(now), 0);
	if (ctx->ingress_ifindex == 4711)
		bpf_tail_call(ctx, &next, 0);
	return kind ? XDP_TX : XDP_PASS;
}

SEC("xdp/careless")
int careless(struct xdp_md *ctx)
{
	__u8 *data = PREVAIL_DATA(ctx);

	return data[23];
}
"""

BIND = r"""
#include "prevail_bpf.h"

SEC("bind")
int ports(struct bind_md *ctx)
{
	if (ctx->operation != BIND_OPERATION_BIND || ctx->app_id_start + 2 > ctx->app_id_end)
		return BIND_PERMIT;
	if (ctx->app_id_start[0] == 'x')
		return BIND_DENY;
	ctx->socket_address[2] = 31;
	return BIND_REDIRECT;
}
"""


def compiled(clang: str, directory: Path, source: str, *options: str) -> Path:
    (directory / "prog.c").write_text(source)
    out = directory / f"prog{len(options)}.o"
    command = [clang, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-Wno-unused-const-variable"]
    subprocess.run([*command, "-I", os.fspath(FOLDER), *options, "-c", "prog.c", "-o", out], cwd=directory, check=True)
    return out


@pytest.fixture
def both(clang: str, tmp_path: Path) -> dict[str, ObjectFile]:
    return {
        "linux": load_object(compiled(clang, tmp_path, SOURCE)),
        "windows": load_object(compiled(clang, tmp_path, SOURCE, "-DPREVAIL_WINDOWS"), platform="windows"),
    }


def test_one_source(both: dict[str, ObjectFile]) -> None:
    """The same verdicts, helpers and maps from different numbers, and the same packets."""
    udp, other, short = bytes(23) + b"\x11" + bytes(40), bytes(64), bytes(10)
    actions = {}
    for name, loaded in both.items():
        program = loaded.programs["filter"]
        assert program.platform == name
        verdict = verify(program)
        assert verdict.is_safe, verdict.failures
        careless = verify(loaded.programs["careless"])
        assert {failure.assertion for failure in careless.failures} == {"out-of-bounds"}
        report = replay(program, verdict, [udp, other, short])
        actions[name] = [result.action for result in report.results], [result.value for result in report.results]
    assert actions["linux"] == (["TX", "PASS", "DROP"], [3, 2, 1])
    assert actions["windows"] == (["TX", "PASS", "DROP"], [3, 1, 2])
    linux, windows_ = (both[name].programs["filter"] for name in ("linux", "windows"))
    assert {each.name: each.type for each in windows_.maps} == {each.name: each.type for each in linux.maps}
    called = [{each.helper for each in program.code if isinstance(each, Call)} for program in (linux, windows_)]
    assert called[0] == called[1] == {1, 5, 12, 130}


def test_a_program_read_for_the_wrong_platform(clang: str, tmp_path: Path) -> None:
    """Its layout has other fields, and its numbers mean other helpers: never SAFE by accident."""
    text = SOURCE.replace("PERCPU_ARRAY", "ARRAY").replace(
        "bpf_ringbuf_output(&events, &now, sizeof(now), 0);", "if (!now) return XDP_DROP;"
    )
    text = re.sub(r"struct { [^}]*} (events|next) [^;]*;|struct { [^}]*}\n\tnext [^;]*;", "", text)
    text = re.sub(r"if \(ctx->ingress_ifindex.*\n.*", "", text)
    for options, right, wrong in (((), "linux", "windows"), (("-DPREVAIL_WINDOWS",), "windows", "linux")):
        path = compiled(clang, tmp_path, text, *options)
        assert verify(load_object(path, platform=right).programs["filter"]).is_safe
        assert not verify(load_object(path, platform=wrong).programs["filter"]).is_safe


def test_bind_programs(clang: str, tmp_path: Path) -> None:
    path = compiled(clang, tmp_path, BIND, "-DPREVAIL_WINDOWS")
    (program,) = load_object(path, platform="windows").programs.values()
    assert (program.program_type, program.expected_attach_type) == ("bind", "bind")
    assert verify(program).is_safe
    assert load_object(path).programs["ports"].program_type == "unspec"  # Linux knows no such section


def test_helpers_that_are_not_known(clang: str, tmp_path: Path) -> None:
    """Number 44 is nobody's there, whatever it is in Linux: UNSUPPORTED, and no other helper is taken for it."""
    text = SOURCE.replace("(void *)PREVAIL_XDP", "(void *)44; //").replace(
        "__u64 now =", "bpf_unknown(ctx, 0); __u64 now ="
    )
    text = text.replace(
        'SEC("xdp")\nint filter',
        'static long (*const bpf_unknown)(void *ctx, int delta) = (void *)44;\nSEC("xdp")\nint filter',
    )
    path = compiled(clang, tmp_path, text, "-DPREVAIL_WINDOWS", "-Wno-declaration-after-statement")
    program = load_object(path, platform="windows").programs["filter"]
    assert program.unsupported == ("helper 44 of windows",)
    assert verify(program).kind is VerdictKind.UNSUPPORTED
    assert 44 not in {each.helper for each in program.code if isinstance(each, Call)}


def test_the_tables_hang_together() -> None:
    host, linux = platform("windows"), platform("linux")
    for number, name in windows.HELPER_NUMBERS.items():
        ours = host.helper_number(number, "xdp")
        assert ours is not None
        assert host.helper_name(ours) == name
        known = linux.helper_by_name(name)
        assert known is None or known.id == ours
    assert host.helper_number(0x10000, "xdp") == 44
    assert host.helper_number(0x10000, "cgroup_sock_addr") != 44
    assert host.helper_number(0x10000, "bind") is None
    assert host.unavailable(44, "bind") == "helper bpf_xdp_adjust_head is not available to bind programs"
    for number, name in windows.MAP_NUMBERS.items():
        found = host.map_type(host.map_number(number))
        assert found is not None
        assert found.name == name
    assert host.map_number(15) == -1
    for name, kind in windows.PROGRAM_TYPES.items():
        for row in (*kind.reads, *kind.writes):
            assert 0 <= row.first <= row.last <= kind.context_size - row.size, (name, row)
    assert [field.kind for field in host.program_types["xdp"].pointer_fields] == [
        FieldKind.PACKET,
        FieldKind.PACKET_END,
    ]


def test_the_header_has_the_numbers_of_the_tables() -> None:
    text = (FOLDER / "prevail_bpf.h").read_text(encoding="utf-8")
    there, here = text.split("#else")
    for part, numbers in (
        (there, {name: number for number, name in windows.MAP_NUMBERS.items()}),
        (here, {row.name: number for number, row in platform("linux").map_types.items()}),
    ):
        listed = {name.lower(): int(number) for name, number in re.findall(r"BPF_MAP_TYPE_(\w+) = (\d+)", part)}
        assert len(listed) == 15
        assert {name: numbers[name] for name in listed} == listed
    host = platform("windows")
    names = {name: int(number, 0) for name, number in re.findall(r"PREVAIL_(\w+) = (\w+),", there)}
    for name, number in re.findall(r"PREVAIL_(\w+) = (\w+),", here):
        known = platform("linux").helper_by_name(f"bpf_{name.lower()}", "xdp")
        assert known is not None
        assert known.id == int(number, 0) == host.helper_number(names[name], "xdp")


def test_on_the_command_line(clang: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = os.fspath(compiled(clang, tmp_path, SOURCE, "-DPREVAIL_WINDOWS"))
    assert main(["verify", "--platform", "windows", "--program", "filter", path]) == 0
    assert "SAFE" in capsys.readouterr().out
    assert main(["disasm", "--platform", "windows", "--program", "filter", path]) == 0
    assert "bpf_tail_call" in capsys.readouterr().out
    assert main(["list", "--platform", "windows", path]) == 0
    assert "percpu_array" in capsys.readouterr().out
    said = set()
    chosen = ["--platform", "windows", "--program", "filter"]
    for engine in ("interpreter", "source", "jit", "jit-O0"):
        line = ["run", *chosen, "--engine", engine, "--pcap", os.fspath(TRAFFIC), "--show-maps", path]
        assert main(line) == 0
        said.add(re.sub(r"events.*", "", capsys.readouterr().out))
        assert main(["test-run", *chosen, "--engine", engine, "--packet", "00" * 23 + "1100", path]) == 0
        assert "r0 = 0x3" in capsys.readouterr().out  # TX
    (table,) = said
    assert "ABORTED" not in table
    assert "total         150" in table
    assert main(["run", *chosen, "--engine", "kernel", "--pcap", os.fspath(TRAFFIC), path]) == 2
    assert "a program for windows" in capsys.readouterr().err


@pytest.mark.skipif(bool(missing()), reason=f"lockdown: {'; '.join(missing())}")
def test_in_the_verifier_process(clang: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It parses objects of both, and its token is for the platform that it verified for."""
    path = compiled(clang, tmp_path, SOURCE, "-DPREVAIL_WINDOWS")
    name = os.fspath(path)
    assert main(["verify", "--platform", "windows", "--service", "--program", "filter", name]) == 0
    assert main(["verify", "--service", "--program", "filter", name]) == 1
    capsys.readouterr()
    program = load_object(path, platform="windows").programs["filter"]
    with Verifier() as verifier:
        trust = Trust(verifier.key)
        asked = [
            verifier.verify_object(path, only="filter", platform="windows", nonce=trust.nonce())[0],
            verifier.verify(program, nonce=trust.nonce()),
        ]
        with pytest.raises(Refused, match="unknown platform 'plan9'"):
            verifier.verify_object(path, platform="plan9")
    for certified in asked:
        assert certified.token is not None
        with pytest.raises(GateError) as refused:
            trust.accept(replace(program, platform="linux"), certified.token)
        assert refused.value.field == "platform"
        trust.accept(program, certified.token)
