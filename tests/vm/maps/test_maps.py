"""Maps: what Linux answers to programs, what the user sees, and both against models."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.vm.environment import Environment
from prevail_py.vm.maps import MapError, UnsupportedMap, create_map, create_maps, has_values
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.devices import TargetMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.storage import MAX_STORAGE
from prevail_py.vm.maps.streams import PerfEventArray, PerfRecord, RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray

ARRAY, PERCPU_ARRAY = MapSpec("array", 2, 4, 6, 3), MapSpec("percpu", 6, 4, 8, 2)
HASH, PERCPU_HASH, LRU = MapSpec("hash", 1, 2, 6, 3), MapSpec("percpu", 5, 2, 8, 3), MapSpec("lru", 9, 2, 6, 3)


def key(index: int) -> bytes:
    return index.to_bytes(4, "little")


def test_array_of_the_user() -> None:
    array = ArrayMap(ARRAY)
    assert len(array) == 3
    assert dict(array) == {key(i): bytes(6) for i in range(3)}
    array[key(1)] = b"abcdef"
    assert array[key(1)] == b"abcdef"
    assert key(3) not in array
    with pytest.raises(KeyError):
        array[key(3)]
    with pytest.raises(MapError, match="map 'array': E2BIG") as caught:
        array[key(3)] = bytes(6)
    assert caught.value.errno == errno.E2BIG
    with pytest.raises(MapError, match="EINVAL"):
        del array[key(0)]


@pytest.mark.parametrize(
    ("given", "content", "reason"),
    [
        (b"abc", bytes(6), "a key has 4 bytes, not 3"),
        (7, bytes(6), "a key must be bytes, not int"),
        (key(0), bytes(5), "a value has 6 bytes, not 5"),
        (key(0), [bytes(6)], "one value in bytes is wanted"),
    ],
)
def test_what_the_user_gives_must_fit(given: Any, content: Any, reason: str) -> None:
    with pytest.raises(MapError, match=f"EINVAL: {reason}"):
        ArrayMap(ARRAY)[given] = content


def test_values_do_not_move_and_do_not_overlap() -> None:
    array = ArrayMap(ARRAY)
    values = [array.value(slot, 0) for slot in range(3)]
    for slot, value in enumerate(values):
        value[:] = bytes([slot + 1] * 6)
    assert list(array.values()) == [bytes([slot + 1] * 6) for slot in range(3)]
    assert array.find(key(2)) == 2
    assert array.find(key(3)) is None


def test_array_for_programs() -> None:
    array = ArrayMap(ARRAY)
    assert array.insert(key(0), b"abcdef", 0, 0) == 0
    assert array.insert(key(0), b"ABCDEF", 2, 0) == 0
    assert array.insert(key(0), b"??????", 1, 0) == -errno.EEXIST
    assert array.insert(key(0), b"??????", 3, 0) == -errno.EINVAL
    assert array.insert(key(0), b"??????", 4, 0) == -errno.EINVAL
    assert array.insert(key(0), b"??????", 1 << 32, 0) == -errno.EINVAL
    assert array.insert(key(3), b"??????", 1, 0) == -errno.E2BIG
    assert array.remove(key(0)) == -errno.EINVAL
    assert array[key(0)] == b"ABCDEF"


def test_global_data() -> None:
    spec = MapSpec(".rodata", 2, 4, 8, 1, initial=b"abc", read_only=True)
    array = ArrayMap(spec)
    assert array[key(0)] == b"abc" + bytes(5)
    assert not array.writable
    with pytest.raises(MapError, match="EPERM: the map is frozen"):
        array[key(0)] = bytes(8)
    assert ArrayMap(MapSpec(".data", 2, 4, 8, 1, initial=b"abc")).writable
    with pytest.raises(MapError, match="do not fit"):
        ArrayMap(MapSpec(".data", 2, 4, 2, 1, initial=b"abc"))


@pytest.mark.parametrize("spec", [PERCPU_ARRAY, PERCPU_HASH])
def test_per_cpu(spec: MapSpec) -> None:
    table = create_map(spec, Environment(cpus=3))
    assert has_values(table)
    assert isinstance(table, MutableMapping)
    name = bytes(spec.key_size)
    assert table.insert(name, b"one of 3", 0, 1) == 0
    assert table[name] == [bytes(8), b"one of 3", bytes(8)]
    assert table.insert(name, b"two of 3", 0, 2) == 0
    assert table[name] == [bytes(8), b"one of 3", b"two of 3"]
    table[name] = [b"11111111", b"22222222", b"33333333"]
    slot = table.find(name)
    assert slot is not None
    assert [bytes(table.value(slot, cpu)) for cpu in range(3)] == table[name]
    for wrong in ([bytes(8)] * 2, bytes(8)):
        with pytest.raises(MapError, match="a list of 3 values, one per CPU is wanted"):
            table[name] = wrong


def test_hash_for_programs() -> None:
    table = HashMap(HASH)
    assert table.remove(b"aa") == -errno.ENOENT
    assert table.insert(b"aa", b"111111", 2, 0) == -errno.ENOENT
    assert table.insert(b"aa", b"111111", 1, 0) == 0
    assert table.insert(b"aa", b"222222", 1, 0) == -errno.EEXIST
    assert table.insert(b"aa", b"222222", 3, 0) == -errno.EINVAL
    assert table.insert(b"aa", b"222222", 4, 0) == -errno.EINVAL
    assert table.insert(b"aa", b"222222", 2, 0) == 0
    assert table.insert(b"bb", b"333333", 0, 0) == table.insert(b"cc", b"444444", 0, 0) == 0
    assert table.insert(b"dd", b"555555", 0, 0) == -errno.E2BIG
    assert table.insert(b"cc", b"666666", 0, 0) == 0
    assert dict(table) == {b"aa": b"222222", b"bb": b"333333", b"cc": b"666666"}
    assert table.remove(b"bb") == 0
    assert b"bb" not in table
    with pytest.raises(KeyError):
        del table[b"bb"]


def test_a_deleted_value_stays_until_its_slot_is_used() -> None:
    table = HashMap(HASH)
    table[b"aa"] = b"111111"
    slot = table.find(b"aa")
    assert slot is not None
    value = table.value(slot, 0)
    del table[b"aa"]
    assert bytes(value) == b"111111"
    table[b"bb"] = b"222222"
    assert bytes(value) == b"222222"


def test_a_replaced_value_is_another_one() -> None:
    table = HashMap(HASH)
    table[b"aa"] = b"111111"
    slot = table.find(b"aa")
    assert slot is not None
    table[b"aa"] = b"222222"
    assert bytes(table.value(slot, 0)) == b"111111"
    assert table[b"aa"] == b"222222"


def test_devices() -> None:
    devices = create_map(MapSpec("devices", 14, 4, 4, 2))
    assert isinstance(devices, TargetMap)
    devices[key(1)] = key(7)
    assert not devices.writable
    assert list(devices) == [key(1)]
    with pytest.raises(MapError, match="E2BIG"):
        devices[key(2)] = key(7)


class Tables(RuleBasedStateMachine):
    """Hash tables of all sorts against ordered dictionaries."""

    keys = Bundle("keys")

    @initialize(evicts=st.booleans(), cpus=st.sampled_from([None, 1, 2]))
    def start(self, evicts: bool, cpus: int | None) -> None:
        self.evicts, self.cpus = evicts, cpus
        self.table = HashMap(HASH, cpus, evicts=evicts)
        self.model: OrderedDict[bytes, list[bytes]] = OrderedDict()

    @rule(target=keys, name=st.sampled_from([b"aa", b"bb", b"cc", b"dd", b"ee"]))
    def a_key(self, name: bytes) -> bytes:
        return name

    @rule(name=keys, value=st.binary(min_size=6, max_size=6), flags=st.integers(0, 4), cpu=st.integers(0, 1))
    def insert(self, name: bytes, value: bytes, flags: int, cpu: int) -> None:
        cpu %= self.cpus or 1
        if flags > 2:
            answer = -errno.EINVAL
        elif name in self.model and flags == 1:
            answer = -errno.EEXIST
        elif name not in self.model and flags == 2:
            answer = -errno.ENOENT
        elif name not in self.model and len(self.model) == 3 and not self.evicts:
            answer = -errno.E2BIG
        else:
            answer = 0
            if name not in self.model and len(self.model) == 3:
                self.model.popitem(last=False)
            values = self.model.setdefault(name, [bytes(6)] * (self.cpus or 1))
            self.model[name] = [value if place == cpu else old for place, old in enumerate(values)]
            self.used(name)
        assert self.table.insert(name, value, flags, cpu) == answer

    @rule(name=keys)
    def find(self, name: bytes) -> None:
        slot = self.table.find(name)
        assert (slot is not None) == (name in self.model)
        if slot is not None:
            values = [bytes(self.table.value(slot, cpu)) for cpu in range(self.cpus or 1)]
            assert values == self.model[name]
            self.used(name)

    @rule(name=keys)
    def remove(self, name: bytes) -> None:
        assert self.table.remove(name) == (0 if name in self.model else -errno.ENOENT)
        self.model.pop(name, None)

    def used(self, name: bytes) -> None:
        if self.evicts:
            self.model.move_to_end(name)

    @invariant()
    def same(self) -> None:
        contents = dict(self.table)
        assert contents == {n: v if self.cpus else v[0] for n, v in self.model.items()}


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_program_array() -> None:
    programs = ProgramArray(MapSpec("programs", 3, 4, 4, 2))
    program = Program("p", "xdp", "xdp", assemble_text("r0 = 0\nexit"), (ARRAY,))
    programs[key(1)] = program
    assert programs[key(1)] is program
    assert programs.target(0) is None
    with pytest.raises(MapError, match="E2BIG"):
        programs[key(2)] = program
    with pytest.raises(MapError, match="'p' uses 1 maps"):
        programs.install(key(0), program, ())
    maps = create_maps(program.maps)
    programs.install(key(0), program, maps)
    target = programs.target(0)
    assert target is not None
    assert target.maps == maps
    del programs[key(0)]
    assert list(programs) == [key(1)]


def test_map_of_maps() -> None:
    outer = create_map(MapSpec("outer", 13, 2, 4, 1, inner=ARRAY))
    assert isinstance(outer, MapOfMaps)
    inner = ArrayMap(ARRAY)
    outer[b"aa"] = inner
    assert outer.inner(b"aa") is outer[b"aa"] is inner
    assert outer.inner(b"bb") is None
    with pytest.raises(MapError, match="E2BIG"):
        outer[b"bb"] = inner
    with pytest.raises(MapError, match="differs from its template in type"):
        outer[b"aa"] = HashMap(MapSpec("inner", 1, 4, 6, 3))
    for wrong in (outer, ProgramArray(MapSpec("programs", 3, 4, 4, 2))):
        with pytest.raises(MapError, match="cannot be an inner map"):
            outer[b"aa"] = wrong
    del outer[b"aa"]
    assert len(outer) == 0


def test_perf_events() -> None:
    events = PerfEventArray(MapSpec("events", 4, 4, 4, 0), cpus=2)
    assert events.output(0, PerfRecord(0, b"x")) == 0
    assert events.output(1, PerfRecord(0, b"x")) == -errno.EOPNOTSUPP
    assert events.output(2, PerfRecord(0, b"x")) == -errno.E2BIG
    events.open.discard(0)
    assert events.output(0, PerfRecord(0, b"x")) == -errno.ENOENT
    assert events.records == [PerfRecord(0, b"x")]


def test_ring_buffer_keeps_order_and_room() -> None:
    ring = RingBuffer(MapSpec("ring", 27, 0, 0, 4096))
    first, second = ring.reserve(10), ring.reserve(0)
    assert first is not None
    assert second is not None
    assert ring.used == 24 + 8
    ring.submit(second, b"")
    assert list(ring.drain()) == []
    ring.submit(first, b"0123456789")
    assert list(ring.drain()) == [b"0123456789", b""]
    assert (ring.used, ring.consumed) == (0, 32)
    assert ring.reserve(4088) is None
    full = ring.reserve(4080)
    assert full is not None
    assert ring.reserve(0) is None
    ring.discard(full)
    assert list(ring.drain()) == []
    assert ring.used == 0


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (MapSpec("m", 2, 8, 8, 1), "EINVAL: the key of an array has 4 bytes"),
        (MapSpec("m", 2, 4, 0, 1), "EINVAL: values must have a size"),
        (MapSpec("m", 2, 4, 8, 0), "EINVAL: an array must have elements"),
        (MapSpec("m", 1, 0, 8, 1), "EINVAL: the key has the wrong size"),
        (MapSpec("m", 1, 4, 0, 1), "EINVAL: values must have a size"),
        (MapSpec("m", 1, 4, 8, 0), "EINVAL: a table must have room for an element"),
        (MapSpec("m", 3, 4, 8, 1), "EINVAL: values have 4 bytes"),
        (MapSpec("m", 4, 4, 8, 1), "EINVAL: keys and values have 4 bytes"),
        (MapSpec("m", 12, 8, 4, 1), "EINVAL: the key has the wrong size"),
        (MapSpec("m", 27, 0, 0, 4097), "EINVAL: the size is a power of 2"),
        (MapSpec("m", 27, 4, 4, 4096), "EINVAL: a ring buffer has neither keys nor values"),
        (MapSpec("m", 1, 4, 8, 1 << 31), f"ENOMEM: .* bytes of values are more than {MAX_STORAGE}"),
    ],
)
def test_definitions_that_are_refused(spec: MapSpec, reason: str) -> None:
    with pytest.raises(MapError, match=f"map 'm': {reason}"):
        create_map(spec)


def test_large_maps_cost_nothing_until_they_are_used() -> None:
    table = create_map(MapSpec("large", 1, 4, 1000, 1_000_000))
    assert isinstance(table, HashMap)
    table[bytes(4)] = bytes(1000)
    assert len(table) == 1


_SIZES = {
    "ringbuf": (0, 0, 4096),
    "queue": (0, 4, 1),
    "stack": (0, 4, 1),
    "bloom_filter": (0, 4, 1),
    "lpm_trie": (8, 4, 1),
}
MODELLED = {1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 16, 17, 22, 23, 25, 27, 30}


def test_every_map_type_can_be_created_or_is_unsupported() -> None:
    for number, kind in platform().map_types.items():
        sizes = _SIZES.get(kind.name, (4, 4, 1))
        table = create_map(MapSpec("m", number, *sizes, flags=kind.name == "lpm_trie"))
        assert table.spec.type == number
        assert repr(table)
        assert isinstance(table, UnsupportedMap) == (number not in MODELLED)
