"""What maps hold, as JSON: each kind of map can be filled, and what is shown afterwards fills another the same way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prevail_py.cli.map_contents import contents_table, elements, fill
from prevail_py.cli.support import InputError
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.layout import Aggregate, Field, Scalar
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.vm.environment import Environment
from prevail_py.vm.maps import Maps, create_maps
from prevail_py.vm.maps.create import MODELLED

TWO_CPUS = Environment(cpus=2)
FLOW = Aggregate(8, (Field("packets", Scalar(4), 0), Field("bytes", Scalar(4), 32)), name="flow")
NUMBER, PORT = Scalar(4), Scalar(2, name="__be16")
SPECS = {
    "array": MapSpec("array", 2, 4, 8, 3, value_layout=FLOW),
    "hash": MapSpec("hash", 1, 2, 8, 3, key_layout=PORT, value_layout=FLOW),
    "lru_hash": MapSpec("lru_hash", 9, 4, 4, 3),
    "percpu_array": MapSpec("percpu_array", 6, 4, 4, 3, value_layout=NUMBER),
    "percpu_hash": MapSpec("percpu_hash", 5, 4, 4, 3, value_layout=NUMBER),
    "lru_percpu_hash": MapSpec("lru_percpu_hash", 10, 4, 4, 3, value_layout=NUMBER),
    "lpm_trie": MapSpec("lpm_trie", 11, 8, 4, 3, flags=1, value_layout=NUMBER),
    "queue": MapSpec("queue", 22, 0, 4, 3, value_layout=NUMBER),
    "stack": MapSpec("stack", 23, 0, 4, 3, value_layout=NUMBER),
    "bloom_filter": MapSpec("bloom_filter", 30, 0, 4, 3, value_layout=NUMBER),
    "prog_array": MapSpec("prog_array", 3, 4, 4, 3),
    "array_of_maps": MapSpec("array_of_maps", 12, 4, 4, 3, inner=MapSpec("inner", 2, 4, 4, 2, value_layout=NUMBER)),
    "hash_of_maps": MapSpec("hash_of_maps", 13, 4, 4, 3, inner=MapSpec("inner", 22, 0, 4, 2, value_layout=NUMBER)),
    "devmap": MapSpec("devmap", 14, 4, 4, 3, value_layout=NUMBER),
    "devmap_hash": MapSpec("devmap_hash", 25, 4, 4, 3, value_layout=NUMBER),
    "cpumap": MapSpec("cpumap", 16, 4, 4, 2, value_layout=NUMBER),
    "xskmap": MapSpec("xskmap", 17, 4, 4, 3),
    "ringbuf": MapSpec("ringbuf", 27, 0, 0, 4096),
    "perf_event_array": MapSpec("perf_event_array", 4, 4, 4, 2),
}
CONTENTS: dict[str, Any] = {
    "array": [{"key": 1, "value": {"packets": 2, "bytes": 120}}],
    "hash": [
        {"key": "0035", "value": {"packets": 1, "bytes": 60}},
        {"key": "0050", "value": {"packets": 0, "bytes": 0}},
    ],
    "lru_hash": [{"key": "01020304", "value": "05060708"}],
    "percpu_array": [{"key": 2, "value": [3, 4]}],
    "percpu_hash": [{"key": "01000000", "value": [3, 0]}],
    "lru_percpu_hash": [{"key": "01000000", "value": [3, 4]}],
    "lpm_trie": [{"key": {"prefixlen": 8, "data": "0a000000"}, "value": 7}],
    "queue": [1, 2, 3],
    "stack": [3, 2, 1],
    "bloom_filter": [1, 2],
    "prog_array": [{"key": 1, "value": {"program": "other"}}],
    "array_of_maps": [{"key": 0, "value": {"map": [{"key": 1, "value": 9}]}}],
    "hash_of_maps": [{"key": "01000000", "value": {"map": [1, 2]}}],
    "devmap": [{"key": 1, "value": 1}],
    "devmap_hash": [{"key": "09000000", "value": 1}],
    "cpumap": [{"key": 1, "value": 192}],
    "xskmap": [{"key": 2, "value": {"queue": 5}}],
}
OTHER = Program("other", "xdp", "xdp", assemble_text("r0 = 2\nexit"))


def filled(contents: object, tmp_path: Path) -> Maps:
    path = tmp_path / "maps.json"
    path.write_text(json.dumps(contents))
    maps = create_maps(SPECS.values(), TWO_CPUS)
    fill(maps, str(path), {"other": OTHER}, TWO_CPUS)
    return maps


def test_all_types_are_here() -> None:
    assert set(SPECS) == {platform().map_types[number].name for number in MODELLED}
    assert {spec.type for spec in SPECS.values()} == MODELLED


def test_what_is_shown_is_what_was_given(tmp_path: Path) -> None:
    maps = filled(CONTENTS, tmp_path)
    shown = {map.spec.name: elements(map) for map in maps}
    expected = {"ringbuf": [], "perf_event_array": [], **CONTENTS, "bloom_filter": None}
    assert shown == expected
    assert 2 in maps["bloom_filter"]
    assert maps["stack"].pop() == 3


def test_keys_in_hexadecimal(tmp_path: Path) -> None:
    maps = filled({"array": {"02000000": {"packets": 1}}, "hash": {"0035": "0100000002000000"}}, tmp_path)
    assert maps["array"][2].packets == 1
    assert elements(maps[1]) == [{"key": "0035", "value": {"packets": 1, "bytes": 2}}]


def test_the_table(tmp_path: Path) -> None:
    contents = {name: CONTENTS[name] for name in ("array", "hash", "percpu_array", "queue")}
    assert contents_table(filled(contents, tmp_path)).rows == (
        ("array", "1", '{"packets": 2, "bytes": 120}'),
        ("hash", "0035", '{"packets": 1, "bytes": 60}'),
        ("hash", "0050", '{"packets": 0, "bytes": 0}'),
        ("percpu_array", "2", "[3, 4]"),
        ("queue", "0", "1"),
        ("queue", "1", "2"),
        ("queue", "2", "3"),
    )


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ringbuf", ["00"], "no map 'ringbuf' that can be filled"),
        ("queue", {"00": 1}, "a list of values is wanted"),
        ("queue", [1, 2, 3, 4], "value 3: map 'queue': E2BIG"),
        ("stack", [1, "x"], "value 1: a number is wanted"),
        ("array", {"01": 1}, "key '01': 4 bytes in hexadecimal are wanted, or a list of pairs"),
        ("array", [{"key": 3, "value": {}}], "key 3: map 'array': E2BIG"),
        ("array", [{"key": -1, "value": {}}], "key -1: -1 is not in"),
        ("array", [{"key": 1}], "element 0: "),
        ("array", [{"key": 1, "value": {"bytes": 1.5}}], "key 1: bytes: a number is wanted"),
        ("percpu_array", [{"key": 1, "value": 1}], "a list of 2 values, one per CPU, is wanted"),
        ("percpu_array", [{"key": 1, "value": [1, 2, 3]}], "a list of 2 values, one per CPU, is wanted"),
        ("percpu_array", [{"key": 1, "value": [1, None]}], "key 1: a number is wanted"),
        ("lpm_trie", [{"key": {"prefixlen": 33}, "value": 1}], "EINVAL"),
        ("prog_array", [{"key": 1, "value": {"program": "none"}}], "no program 'none' (there are: other)"),
        ("prog_array", [{"key": 1, "value": 4}], '{"program": NAME} is wanted, not 4'),
        ("array_of_maps", [{"key": 1, "value": 4}], '{"map": CONTENTS} is wanted, not 4'),
        ("array_of_maps", {"00000000": {"map": [{"key": 7, "value": 1}]}}, "key '00000000': key 7: map 'inner': E2BIG"),
        ("xskmap", [{"key": 1, "value": 4}], '{"queue": NUMBER} is wanted, not 4'),
        ("xskmap", [{"key": 1, "value": {"queue": -1}}], "-1 is no number of a queue"),
    ],
)
def test_what_does_not_fit(name: str, given: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        filled({name: given}, tmp_path)
    assert message in str(caught.value)
