"""Callbacks as a compiler writes them: the same results on every engine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.vm.engines import engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution
from prevail_py.vm.kernel.loader import possible_cpus
from prevail_py.vm.maps import Maps, create_maps
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.outcome import OutOfFuel, Returned

SOURCE = r"""
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, type) type *name
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static void *(*map_lookup)(void *, const void *) = (void *)1;
static long (*map_update)(void *, const void *, const void *, u64) = (void *)2;
static long (*map_delete)(void *, const void *) = (void *)3;
static long (*loop)(u32, void *, void *, u64) = (void *)181;
static long (*for_each)(void *, void *, void *, u64) = (void *)164;
static long (*load_bytes)(struct xdp_md *, u32, void *, u32) = (void *)189;

struct { __uint(type, 1); __uint(max_entries, 16); __type(key, u32); __type(value, u64); } seen SEC(".maps");
struct { __uint(type, 2); __uint(max_entries, 16); __type(key, u32); __type(value, u64); } counts SEC(".maps");
char _license[] SEC("license") = "GPL";

struct sum { struct xdp_md *ctx; u32 total, rounds; };

static long add(u32 index, struct sum *sum) {
  unsigned char byte;
  if (load_bytes(sum->ctx, index, &byte, 1)) return 1;
  u32 key = byte & 15;
  u64 one = 1, *known = map_lookup(&seen, &key);
  if (known) *known += 1; else map_update(&seen, &key, &one, 0);
  sum->total += byte * (index + 1);
  sum->rounds++;
  return 0;
}
static long gather(void *map, u32 *key, u64 *value, u64 *total) {
  u32 place = *key & 15;
  u64 *slot = map_lookup(&counts, &place);
  if (slot) *slot += *value * 100 + 1;
  *total += *value;
  if (*value > 3) map_delete(map, key);
  return 0;
}
SEC("xdp") int sums(struct xdp_md *ctx) {
  struct sum sum = {.ctx = ctx};
  u64 total = 0;
  long rounds = loop(100, add, &sum, 0);
  long elements = for_each(&seen, gather, &total, 0);
  return (rounds << 24 ^ elements << 16 ^ (u32)total << 8 ^ sum.rounds ^ sum.total << 2) & 0x7fffffff;
}
"""


@pytest.fixture
def sums(clang: str, tmp_path: Path) -> Program:
    source, target = tmp_path / "sums.c", tmp_path / "sums.o"
    source.write_text(SOURCE)
    subprocess.run([clang, "-target", "bpf", "-g", "-O2", "-mcpu=v3", "-c", str(source), "-o", str(target)], check=True)
    return load_object(target).programs["sums"]


def run(
    program: Program, name: str, packet: bytes, fuel: int = 1_000_000
) -> tuple[Execution, list[dict[bytes, object]]]:
    environment = Environment(cpus=possible_cpus())
    maps = create_maps(program.maps, environment)
    execution = engine(name).load(program).run(packet=packet, maps=maps, environment=environment, fuel=fuel)
    return execution, [dict(map.items()) for map in maps if isinstance(map, ArrayMap | HashMap)]


PACKETS = (b"", bytes(14), bytes(range(60)), bytes(range(120, 20, -1)) * 3, b"\7\7\7\3" * 9)


def test_interpreter_and_source(sums: Program) -> None:
    for packet in PACKETS:
        left, right = run(sums, "interpreter", packet), run(sums, "source", packet)
        assert isinstance(left[0].outcome, Returned)
        assert left[0]._replace(maps=Maps()) == right[0]._replace(maps=Maps())
        assert left[1] == right[1]


def test_fuel_runs_out_at_the_same_instruction(sums: Program) -> None:
    steps = run(sums, "interpreter", PACKETS[4])[0].steps
    for fuel in range(0, steps, 1 + steps // 25):
        left, right = (run(sums, name, PACKETS[4], fuel) for name in ("interpreter", "source"))
        assert isinstance(left[0].outcome, OutOfFuel)
        assert left[0]._replace(maps=Maps()) == right[0]._replace(maps=Maps())
        assert left[1] == right[1]


def test_kernel(sums: Program, kernel: None) -> None:
    for packet in PACKETS[1:]:
        (ours, ours_maps), (theirs, their_maps) = run(sums, "source", packet), run(sums, "kernel", packet)
        assert ours.outcome == theirs.outcome
        assert ours_maps == their_maps
