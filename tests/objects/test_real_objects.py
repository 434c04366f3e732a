"""Objects that compilers wrote: compiled here, installed by Debian, and compared with what a peer saw in them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from prevail_py.isa.instructions import Call, CallLocal, LoadImmediate64, Pseudo
from prevail_py.objects.btf import Kind
from prevail_py.objects.elf import ObjectFile, load_object

SOURCE = r"""
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, type) type *name
#define __array(name, type) type *name[]
#define noinline __attribute__((noinline))
struct xdp_md { u32 data, data_end, data_meta; };
static void *(*map_lookup)(void *, const void *) = (void *)1;
static long (*trace_printk)(const char *, u32, ...) = (void *)6;
static long (*loop)(u32, void *, void *, u64) = (void *)181;

struct value { u64 packets; u32 flags[2]; };
struct { __uint(type, 1); __uint(max_entries, 64); __type(key, u32); __type(value, struct value); } flows SEC(".maps");
struct inner { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); };
struct { __uint(type, 12); __uint(max_entries, 2); __uint(key_size, 4); __array(values, struct inner); } outer SEC(".maps");

const volatile u32 limit = 7;
u32 counter;
u32 table[4] = {1, 2, 3, 4};
u32 special SEC(".data.special") = 9;
char _license[] SEC("license") = "Dual BSD/GPL";

static noinline int helper_a(u32 x) { return x * limit + counter; }
noinline int helper_b(u32 x) { counter += x; return helper_a(x) + table[x & 3]; }
static long callback(u32 index, void *context) { *(u32 *)context += index + special; return 0; }

SEC("xdp") int first(struct xdp_md *ctx) {
  u32 key = 0, sum = 0;
  struct value *value = map_lookup(&flows, &key);
  if (value) sum = value->flags[1];
  trace_printk("hello", 6);
  return helper_b(sum) & 1;
}
SEC("xdp") int second(struct xdp_md *ctx) {
  u32 sum = 0;
  loop(3, callback, &sum, 0);
  return helper_a(sum) & 1;
}
SEC("tc") int third(void *ctx) { u32 key = 0; return map_lookup(&outer, &key) ? 1 : 0; }
"""  # noqa: E501


@pytest.fixture(params=[["-mcpu=v3"], ["-mcpu=v4", "-O1"], ["-mcpu=v2"]], ids=" ".join)
def compiled(request: pytest.FixtureRequest, clang: str, tmp_path: Path) -> ObjectFile:
    source, target = tmp_path / "example.bpf.c", tmp_path / "example.bpf.o"
    source.write_text(SOURCE)
    command = [clang, "-target", "bpf", "-g", "-O2", *request.param, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return load_object(target)


def test_compiled_programs(compiled: ObjectFile) -> None:
    assert compiled.name == "example.bpf.o"
    assert compiled.licence == "Dual BSD/GPL"
    assert {name: p.program_type for name, p in compiled.programs.items()} == {
        "first": "xdp",
        "second": "xdp",
        "third": "sched_cls",
    }
    names = {name: [s.name for s in p.subprograms] for name, p in compiled.programs.items()}
    assert names == {
        "first": ["first", "helper_b", "helper_a"],
        "second": ["second", "callback", "helper_a"],
        "third": ["third"],
    }
    assert [s.is_global for s in compiled.programs["first"].subprograms] == [True, True, False]
    assert all(program.unsupported == () for program in compiled.programs.values())
    assert {spec.name for spec in compiled.programs["third"].maps} == {"outer"}
    starts = {s.start for s in compiled.programs["first"].subprograms}
    for pc, instruction in enumerate(compiled.programs["first"].code):
        if isinstance(instruction, CallLocal):
            assert pc + 1 + instruction.offset in starts
    helpers = {i.helper for i in compiled.programs["first"].code if isinstance(i, Call)}
    assert helpers == {1, 6}


def test_compiled_maps_and_data(compiled: ObjectFile) -> None:
    maps = {spec.name: spec for spec in compiled.maps}
    assert list(maps)[:2] == ["flows", "outer"]
    assert (maps["flows"].type, maps["flows"].key_size, maps["flows"].value_size) == (1, 4, 16)
    assert maps["outer"].inner is not None
    assert maps["outer"].inner.value_size == 8
    assert maps[".rodata"].initial == (7).to_bytes(4, "little")
    assert maps[".rodata"].read_only
    assert maps[".bss"].initial == bytes(4)
    assert maps[".data"].initial == b"".join(i.to_bytes(4, "little") for i in (1, 2, 3, 4))
    assert maps[".data.special"].initial == (9).to_bytes(4, "little")
    assert maps[".rodata.str1.1"].initial == b"hello\0"
    second = compiled.programs["second"]
    assert {spec.name for spec in second.maps} == {".rodata", ".bss", ".data.special"}
    pseudos = [i.pseudo for i in second.code if isinstance(i, LoadImmediate64)]
    assert pseudos.count(Pseudo.FUNCTION) == 1


def test_compiled_types_and_lines(compiled: ObjectFile) -> None:
    btf = compiled.btf
    assert btf is not None
    flows = compiled.maps[0]
    assert btf.spell(flows.value_btf) == "struct value"
    member = btf.member(flows.value_btf, "flags")
    assert member is not None
    assert (member.offset, btf.spell(member.type)) == (8, "u32[2]")
    first = btf.find("first", Kind.FUNC)
    assert first is not None
    assert [p.name for p in btf.type(first.type).parameters] == ["ctx"]
    program = compiled.programs["first"]
    lines = SOURCE.splitlines()
    for pc in range(len(program.code)):
        line = program.line_at(pc)
        assert line is not None
        assert line.file.endswith("example.bpf.c")
        assert lines[line.line - 1].strip() == line.text[: len(lines[line.line - 1].strip())]
    subprogram = program.subprograms[1]
    assert "helper_b" in str(program.line_at(subprogram.start).text)  # type: ignore[union-attr]


def test_big_endian_is_refused(clang: str, tmp_path: Path) -> None:
    source, target = tmp_path / "a.c", tmp_path / "a.o"
    source.write_text('__attribute__((section("xdp"))) int f(void) { return 0; }\n')
    subprocess.run([clang, "-target", "bpfeb", "-O2", "-c", str(source), "-o", str(target)], check=True)
    with pytest.raises(ValueError, match="big-endian"):
        load_object(target)
    subprocess.run([clang, "-O2", "-c", str(source), "-o", str(target)], check=True)
    with pytest.raises(ValueError, match=r"machine .* is not eBPF"):
        load_object(target)


def test_installed_objects_agree_with_a_peer(xdp_objects: tuple[Path, ...], shared_dir: Path) -> None:
    """Section, function, program type and number of slots of each program (the peer's count leaves out subprograms)."""
    peer: dict[str, set[tuple[str, str, str, int]]] = {}
    for text in (shared_dir / "facts" / "peer_verdicts.jsonl").read_text().splitlines():
        row = json.loads(text)
        if row["suite"].startswith("libxdp1"):
            key = (row["section"], row["function"], row["program_type"], row["insns"])
            peer.setdefault(row["object"], set()).add(key)
    compared = 0
    for path in xdp_objects:
        loaded = load_object(path)
        assert loaded.programs, path
        assert loaded.notes == ()
        if path.name in peer:
            ours = {(p.section, p.name, p.program_type, p.subprograms[0].end) for p in loaded.programs.values()}
            assert ours == peer[path.name]
            compared += len(ours)
    assert compared >= 13


def test_installed_objects_have_what_they_are_known_for(xdp_objects: tuple[Path, ...]) -> None:
    by_name = {path.name: path for path in xdp_objects}
    if "xdpfilt_dny_all.o" in by_name:
        maps = {spec.name for spec in load_object(by_name["xdpfilt_dny_all.o"]).maps}
        assert {"xdp_stats_map", "filter_ports", "filter_ipv4"} <= maps
    if "xdpdump_bpf.o" in by_name:
        programs = load_object(by_name["xdpdump_bpf.o"], btf=None).programs.values()
        assert all("co-re: no target BTF was given" in program.unsupported for program in programs)
    if "xdp-dispatcher.o" in by_name:
        dispatcher = load_object(by_name["xdp-dispatcher.o"]).programs["xdp_dispatcher"]
        assert [s.name for s in dispatcher.subprograms][:3] == ["xdp_dispatcher", "prog0", "prog1"]
        assert all(s.is_global for s in dispatcher.subprograms)
