"""Maps by name, as Python mappings with typed keys and values."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

import prevail_py
from prevail_py.objects.layout import Aggregate, Field, Scalar
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.values import CodecError
from prevail_py.vm.environment import Environment
from prevail_py.vm.maps import MapError, Maps, create_map, create_maps
from prevail_py.vm.maps.devices import XdpSocket
from prevail_py.vm.maps.streams import RingBuffer

FLOW = Aggregate(16, (Field("packets", Scalar(8), 0), Field("bytes", Scalar(8), 64)), name="flow")
KEY = Aggregate(8, (Field("address", Scalar(4), 0), Field("port", Scalar(2), 32)), name="endpoint")
FLOWS = MapSpec("flows", 1, 8, 16, 3, key_layout=KEY, value_layout=FLOW)
SPECS = (
    FLOWS,
    MapSpec("counts", 6, 4, 8, 2, value_layout=Scalar(8)),
    MapSpec("raw", 1, 2, 4, 2),
    MapSpec("routes", 11, 8, 4, 4, flags=1, value_layout=Scalar(4)),
    MapSpec("queue", 22, 0, 8, 2, value_layout=Scalar(8)),
    MapSpec("stack", 23, 0, 8, 2, value_layout=Scalar(8)),
    MapSpec("seen", 30, 0, 4, 100, value_layout=Scalar(4)),
    MapSpec("programs", 3, 4, 4, 2),
    MapSpec("outer", 12, 4, 4, 2, inner=MapSpec("inner", 2, 4, 8, 2, value_layout=Scalar(8))),
    MapSpec("sockets", 17, 4, 4, 2),
    MapSpec("events", 27, 0, 0, 4096),
)


@pytest.fixture
def maps() -> Maps:
    return create_maps(SPECS, Environment(cpus=2))


def test_by_name_and_by_number(maps: Maps) -> None:
    assert maps["flows"].raw is maps[0]
    assert list(maps) == list(maps[:])
    assert "flows" in maps  # type: ignore[comparison-overlap]
    assert "flaws" not in maps  # type: ignore[comparison-overlap]
    assert maps[0] in maps
    assert maps.names[:2] == ("flows", "counts")
    with pytest.raises(KeyError, match=r"no map 'flaws' .there are: flows, counts"):
        maps["flaws"]
    assert isinstance(maps["events"], RingBuffer)
    assert "flows: hash, 0 of 3" in repr(maps)
    assert "counts" in maps._repr_html_()


def test_a_mapping_of_structs(maps: Maps) -> None:
    flows = maps["flows"]
    flows[0x0A000001, 80] = {"packets": 1, "bytes": 60}
    flows[{"address": 1}] = (2, 120)
    flows[bytes(8)] = bytes(16)
    assert len(flows) == 3
    assert flows[0x0A000001, 80].bytes == 60
    assert {key.address for key in flows} == {0x0A000001, 1, 0}
    assert (1, 0) in flows
    assert (2, 0) not in flows
    assert flows.get((2, 0)) is None
    assert dict(flows.items())[next(iter(flows))].packets == 1
    assert maps[0][bytes(8)] == bytes(16)  # type: ignore[index]
    with pytest.raises(MapError, match="E2BIG"):
        flows[9, 9] = (0, 0)
    del flows[1, 0]
    with pytest.raises(KeyError):
        del flows[1, 0]
    with pytest.raises(KeyError):
        flows[1, 0]
    with pytest.raises(CodecError, match="no member 'colour'"):
        flows[{"colour": 1}]
    with pytest.raises(CodecError, match="packets: -1 is not in"):
        flows[1, 1] = {"packets": -1}


def test_how_it_is_shown(maps: Maps) -> None:
    flows = maps["flows"]
    assert "no elements" in flows._repr_html_()
    flows[1, 2] = (3, 4)
    assert repr(flows) == "<flows: hash, 1 of 3 {endpoint(address=1, port=2): flow(packets=3, bytes=4)}>"
    assert all(word in flows._repr_html_() for word in ("key.port", "value.packets", "<td"))


def test_per_cpu(maps: Maps) -> None:
    counts = maps["counts"]
    counts[1] = [5, 6]
    assert dict(counts) == {0: [0, 0], 1: [5, 6]}
    for wrong in (5, [5], [5, 6, 7]):
        with pytest.raises(CodecError, match="a list of 2 values, one per CPU"):
            counts[1] = wrong


def test_without_types(maps: Maps) -> None:
    raw = maps["raw"]
    raw[7] = 0x01020304
    raw[b"ab"] = b"cdef"
    assert dict(raw) == {b"\7\0": b"\4\3\2\1", b"ab": b"cdef"}
    with pytest.raises(CodecError, match="2 bytes are wanted, not 3 bytes"):
        raw[b"abc"]


def test_prefixes(maps: Maps) -> None:
    routes = maps["routes"]
    routes[IPv4Network("10.0.0.0/8")] = 1
    routes[16, b"\x0a\1\0\0"] = 2
    assert [key.prefixlen for key in routes] == [16, 8]
    assert routes.match((32, b"\x0a\1\2\3")) == 2
    assert routes.match(IPv4Network("10.9.9.9/32")) == 1
    assert routes.match((32, b"\x0b\0\0\0")) is None
    assert IPv4Network("10.1.0.0/16") in routes
    assert (32, b"\x0a\1\2\3") not in routes
    with pytest.raises(TypeError, match="no prefixes"):
        maps["flows"].match((1, 2))


def test_lists(maps: Maps) -> None:
    for name, order in (("queue", [1, 2]), ("stack", [2, 1])):
        values = maps[name]
        with pytest.raises(IndexError, match=f"map '{name}' is empty"):
            values.pop()
        values.push(1)
        values.push(2)
        with pytest.raises(MapError, match="E2BIG"):
            values.push(3)
        assert list(values) == order
        assert repr(values) == f"<{name}: {name}, 2 of 2 {order}>"
        assert "<td" in values._repr_html_()
        assert [values.peek(), values.pop(), values.pop(), len(values)] == [order[0], *order, 0]


def test_a_filter(maps: Maps) -> None:
    seen = maps["seen"]
    assert 5 not in seen
    seen.add(5)
    assert 5 in seen
    assert repr(seen) == "<seen: bloom_filter, 1 added>"


def test_programs_maps_and_sockets(maps: Maps) -> None:
    program = Program("p", "xdp", "xdp", ())
    maps["programs"][1] = program
    assert maps["programs"][1] is program
    with pytest.raises(CodecError, match="a program is wanted, not int"):
        maps["programs"][1] = 5
    template = SPECS[8].inner
    assert template is not None
    inner = create_map(template)
    maps["outer"][1] = inner
    maps["outer"][1][0] = 7
    assert maps["outer"][1].raw is inner
    assert dict(maps["outer"][1]) == {0: 7, 1: 0}
    maps["outer"][0] = maps["outer"][1]
    assert maps["outer"][0].raw is inner
    maps["sockets"][1] = 9
    assert maps["sockets"][1] == XdpSocket(9)


SOURCE = """
typedef unsigned int u32; typedef unsigned long long u64;
struct flow { u32 packets; u64 bytes; char name[8]; };
struct { int (*type)[1]; int (*max_entries)[8]; u32 *key; struct flow *value; } flows
    __attribute__((section(".maps"), used));
u64 runs = 40;
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*update)(void *, const void *, const void *, u64) = (void *)2;
__attribute__((section("xdp"), used)) int count(void *context) {
    u32 key = 7; struct flow fresh = {1, 60, "eth0"};
    struct flow *found = lookup(&flows, &key);
    runs++;
    if (found) { found->packets++; found->bytes += 60; } else { update(&flows, &key, &fresh, 0); }
    return 2;
}
char licence[] __attribute__((section("license"), used)) = "GPL";
"""


def test_in_the_public_interface(clang: str, tmp_path: Path) -> None:
    source, target = tmp_path / "count.c", tmp_path / "count.o"
    source.write_text(SOURCE)
    subprocess.run([clang, "-target", "bpf", "-g", "-O2", "-c", str(source), "-o", str(target)], check=True)
    program = prevail_py.load(target).programs["count"]
    execution = prevail_py.run(program, packet=bytes(64))
    assert dict(execution.maps["flows"]) == {7: {"packets": 1, "bytes": 60, "name": b"eth0"}}
    execution.maps["flows"][7] = execution.maps["flows"][7].replace(packets=10)
    again = prevail_py.run(program, packet=bytes(64), maps=execution.maps)
    assert again.maps["flows"][7].packets == 11
    assert again.maps[".data"][0].runs == 42
