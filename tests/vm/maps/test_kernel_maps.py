"""The machine's maps against the kernel's own: the same commands, the same answers, error numbers included."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from prevail_py.objects.program import MapSpec
from prevail_py.platforms import platform
from prevail_py.vm.environment import Environment
from prevail_py.vm.kernel.kernel_maps import KernelTable
from prevail_py.vm.kernel.loader import possible_cpus
from prevail_py.vm.kernel.syscalls import BpfError
from prevail_py.vm.maps import Map, MapError, UnsupportedMap, UpdateFlag, commands, create_map
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.bloom import BloomFilter
from prevail_py.vm.maps.create import MODELLED
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.queue import QueueMap
from prevail_py.vm.maps.trie import PrefixMap

pytestmark = pytest.mark.usefixtures("kernel")

ALL = ("lookup", "update", "delete", "next_key", "take")
FLAGS = (0, 0, 0, 1, 2, 3, 4, 5, 8, 1 << 32)
"""ANY, NOEXIST, EXIST, LOCK and what is no flag; most updates shall succeed."""


@dataclass(frozen=True)
class Case:
    """A map to compare: its definition, keys and values to try, and what the order of its keys tells.

    ``values`` are those of one CPU; a per-CPU map gets a list of them.  ``ordered``: ``next_key`` gives the same keys
    in the same order.
    """

    spec: MapSpec
    keys: Sequence[bytes]
    values: st.SearchStrategy[bytes]
    ordered: bool = True
    commands: Sequence[str] = ALL

    @property
    def per_cpu(self) -> bool:
        found = platform().map_type(self.spec.type)
        return found is not None and found.per_cpu

    def __str__(self) -> str:
        return self.spec.name


Answer = tuple[str, object]


class Pair(RuleBasedStateMachine):
    """A map of each side, given the same commands."""

    case: ClassVar[Case]
    make: ClassVar[Callable[[MapSpec, int], Map]]

    @initialize()
    def start(self) -> None:
        cpus, spec = possible_cpus(), self.case.spec
        size = (spec.value_size + 7) // 8 * 8 * cpus if self.case.per_cpu else spec.value_size
        self.count = cpus if self.case.per_cpu else 1
        self.ours = type(self).make(spec, cpus)
        self.theirs = KernelTable(spec, size)

    def teardown(self) -> None:
        if hasattr(self, "theirs"):
            self.theirs.close()

    def compare(self, name: str, *arguments: Any, **options: Any) -> Answer:
        ours = answer(lambda: commands.COMMANDS[name](self.ours, *arguments, **options))
        theirs = answer(lambda: getattr(self.theirs, name)(*arguments, **options))
        assert ours == theirs, f"{name}{arguments}: {ours}, the kernel {theirs}"
        return ours

    def key(self, data: st.DataObject) -> bytes:
        return data.draw(st.sampled_from(self.case.keys)) if self.case.spec.key_size else b""

    @precondition(lambda self: "lookup" in self.case.commands)
    @rule(data=st.data(), flags=st.sampled_from([0, 0, 0, 1, 4]))
    def lookup(self, data: st.DataObject, flags: int) -> None:
        asked = {"value": data.draw(self.case.values)} if self.case.spec.type == 30 else {}
        self.compare("lookup", self.key(data), flags, **asked)

    @precondition(lambda self: "update" in self.case.commands)
    @rule(data=st.data(), flags=st.sampled_from(FLAGS))
    def update(self, data: st.DataObject, flags: int) -> None:
        self.set(data, flags)

    def set(self, data: st.DataObject, flags: int) -> None:
        values = [data.draw(self.case.values) for _ in range(self.count)]
        padding = bytes(-self.case.spec.value_size % 8) if self.case.per_cpu else b""
        self.compare("update", self.key(data), b"".join(value + padding for value in values), flags)

    @precondition(lambda self: "update" in self.case.commands)
    @rule(data=st.data())
    def store(self, data: st.DataObject) -> None:
        """An update that has no reason to fail but a full map: without these few maps ever get full."""
        self.set(data, 0)

    @precondition(lambda self: "delete" in self.case.commands)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.compare("delete", self.key(data))

    @precondition(lambda self: "next_key" in self.case.commands)
    @rule(data=st.data(), first=st.booleans())
    def next_key(self, data: st.DataObject, first: bool) -> None:
        if self.case.ordered:
            self.compare("next_key", None if first else self.key(data))

    @precondition(lambda self: "take" in self.case.commands)
    @rule(data=st.data(), flags=st.sampled_from([0, 0, 0, 1, 4]))
    def take(self, data: st.DataObject, flags: int) -> None:
        self.compare("take", self.key(data), flags)

    @invariant()
    def same_keys(self) -> None:
        if "next_key" in self.case.commands and hasattr(self, "theirs"):
            ours = walk(lambda key: commands.next_key(self.ours, key))
            theirs = walk(self.theirs.next_key)
            if not self.case.ordered:
                ours, theirs = sorted(ours), sorted(theirs)
            assert ours == theirs, f"keys {ours}, the kernel's {theirs}"


def answer(call: Callable[[], object]) -> Answer:
    """What a command gives: a value or an error number."""
    try:
        return "value", call()
    except (MapError, BpfError) as error:
        return "error", errno.errorcode.get(error.errno or 0, error.errno)


def walk(next_key: Callable[[bytes | None], bytes]) -> list[bytes]:
    """All keys; none for a map that does not list them."""
    found: list[bytes] = []
    key: bytes | None = None
    while len(found) < 64:
        try:
            key = next_key(key)
        except (MapError, BpfError):
            return found
        found.append(key)
    raise AssertionError(f"the walk does not end: {found}")


def run_pair(
    case: Case,
    make: Callable[[MapSpec, int], Map] | None = None,
    *,
    examples: int = 30,
    steps: int = 30,
    phases: Sequence[Phase] = tuple(Phase),
) -> None:
    """Compare on ``examples`` sequences of commands; AssertionError where answers differ."""

    def usual(spec: MapSpec, cpus: int) -> Map:
        return create_map(spec, Environment(cpus=cpus))

    machine = type("PairOf", (Pair,), {"case": case, "make": staticmethod(make or usual)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def numbers(*values: int) -> list[bytes]:
    return [value.to_bytes(4, "little") for value in values]


def prefixes(*values: tuple[int, str]) -> list[bytes]:
    return [length.to_bytes(4, "little") + bytes.fromhex(bits) for length, bits in values]


NAMES = [b"aa", b"bb", b"cc", b"dd", b"ee"]
INDICES = numbers(0, 1, 2, 3, 1 << 31)
NETWORKS = prefixes(
    (0, "0000"), (0, "ffff"), (1, "8000"), (8, "0a00"), (8, "0aff"), (9, "0a80"), (12, "0a10"), (15, "0a01"),
    (16, "0a01"), (16, "0a00"), (16, "0a81"), (16, "ffff"), (17, "0a01"), (1 << 31, "0a01"),
)  # fmt: skip


def some(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def few(size: int) -> st.SearchStrategy[bytes]:
    return st.integers(0, 99).map(lambda number: number.to_bytes(size, "big"))


TARGETS = st.sampled_from([bytes(4), (1).to_bytes(4, "little")])

CASES = [
    Case(MapSpec("hash", 1, 2, 6, 3), NAMES, some(6), ordered=False),
    Case(MapSpec("hash_alloc", 1, 2, 6, 3, flags=1), NAMES, some(6), ordered=False),
    Case(MapSpec("array", 2, 4, 6, 3), INDICES, some(6)),
    Case(MapSpec("prog_array", 3, 4, 4, 3), INDICES, some(4), commands=("delete", "next_key", "take")),
    Case(MapSpec("percpu_hash", 5, 2, 6, 3), NAMES, some(6), ordered=False),
    Case(MapSpec("percpu_array", 6, 4, 6, 3), INDICES, some(6)),
    Case(MapSpec("lru_hash", 9, 2, 6, 512), NAMES, some(6), ordered=False),
    Case(MapSpec("lru_percpu_hash", 10, 2, 6, 512), NAMES, some(6), ordered=False),
    Case(MapSpec("lpm_trie", 11, 6, 3, 5, flags=1), NETWORKS, some(3)),
    Case(MapSpec("devmap", 14, 4, 4, 3), INDICES, TARGETS),
    Case(MapSpec("cpumap", 16, 4, 4, 1), numbers(0, 1), st.sampled_from(numbers(0, 16385, 1 << 31))),
    Case(MapSpec("xskmap", 17, 4, 4, 3), INDICES, some(4), commands=("lookup", "delete", "next_key", "take")),
    Case(MapSpec("queue", 22, 0, 3, 2), [], some(3)),
    Case(MapSpec("stack", 23, 0, 3, 2), [], some(3)),
    Case(MapSpec("devmap_hash", 25, 4, 4, 3), INDICES, TARGETS, ordered=False),
    Case(MapSpec("ringbuf", 27, 0, 0, 4096), [], some(0), commands=("lookup", "delete", "next_key")),
    Case(MapSpec("bloom", 30, 0, 8, 3, flags=64, extra=2), [], few(8)),
    Case(MapSpec("bloom_odd", 30, 0, 13, 20, flags=64), [], few(13)),
]
BY_NAME = {case.spec.name: case for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kernel_agrees(case: Case) -> None:
    run_pair(case)


# Least recently used: Linux approximates, and counts free elements per CPU -------------------------------------------


@pytest.mark.parametrize("number", [9, 10])
def test_eviction(number: int) -> None:
    """Which element is evicted differs rightly.  What may not: no update is refused because the map is full, the map
    holds no more than it has room for, and what it holds is what was stored last under that key.
    """
    cpus, wanted = possible_cpus(), {}
    spec = MapSpec("lru", number, 2, 8, 4)
    per_cpu = number == 10
    ours = create_map(spec, Environment(cpus=cpus))
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with KernelTable(spec, 8 * cpus if per_cpu else 8) as theirs:
            for step in range(300):
                name = (step * 7 % 23).to_bytes(2, "little")
                value = (step + 1).to_bytes(8, "little") * (cpus if per_cpu else 1)
                commands.update(ours, name, value)
                theirs.update(name, value)
                wanted[name] = value
                for keys, lookup in (
                    (walk(lambda key: commands.next_key(ours, key)), lambda key: commands.lookup(ours, key)),
                    (walk(theirs.next_key), theirs.lookup),
                ):
                    assert name in keys
                    assert len(keys) <= 4
                    assert {key: lookup(key) for key in keys}.items() <= wanted.items()
    finally:
        os.sched_setaffinity(0, allowed)


# Bugs that the comparison must find ----------------------------------------------------------------------------------


class WrongErrno(HashMap):
    def put(self, key: bytes, values: list[bytes], flags: int) -> int:
        error = super().put(key, values, flags)
        return -errno.ENOSPC if error == -errno.E2BIG else error


class Unbounded(HashMap):
    def put(self, key: bytes, values: list[bytes], flags: int) -> int:
        error = super().put(key, values, flags)
        if error == -errno.E2BIG:
            self.remove(next(iter(self)))
            error = super().put(key, values, flags)
        return error


class NoexistIgnored(HashMap):
    def put(self, key: bytes, values: list[bytes], flags: int) -> int:
        return super().put(key, values, 0 if flags == UpdateFlag.NOEXIST else flags)


class FirstCpuOnly(ArrayMap):
    def put(self, key: bytes, values: list[bytes], flags: int) -> int:
        return super().put(key, values[:1], flags)


class PastTheEnd(ArrayMap):
    def find(self, key: bytes) -> int | None:
        return super().find(key) if int.from_bytes(key, "little") else None


class ShortestMatch(PrefixMap):
    def find(self, key: bytes) -> int | None:
        length, found = int.from_bytes(key[:4], "little"), None
        for shorter in range(min(length, 16), -1, -1):
            found = super().find(shorter.to_bytes(4, "little") + key[4:]) or found
        return found


class WrongWalk(PrefixMap):
    def __iter__(self) -> Iterator[bytes]:
        return reversed(list(super().__iter__()))


class DropsNewest(QueueMap):
    def push(self, value: bytes, flags: int = 0) -> int:
        if len(self) == self.spec.max_entries and flags == UpdateFlag.EXIST:
            self._length -= 1
        return super().push(value, flags)


class OneHashLess(BloomFilter):
    def _places(self, value: bytes) -> list[int]:
        return super()._places(value)[:-1]


PLANTED: Mapping[str, tuple[str, Callable[[MapSpec, int], Map]]] = {
    "the error number of a full table": ("hash", lambda spec, cpus: WrongErrno(spec)),
    "no check for a full table": ("hash", lambda spec, cpus: Unbounded(spec)),
    "NOEXIST ignored": ("hash", lambda spec, cpus: NoexistIgnored(spec)),
    "the value of one CPU stored": ("percpu_array", lambda spec, cpus: FirstCpuOnly(spec, cpus)),
    "element 0 not found": ("array", lambda spec, cpus: PastTheEnd(spec)),
    "the shortest match": ("lpm_trie", lambda spec, cpus: ShortestMatch(spec)),
    "the walk backwards": ("lpm_trie", lambda spec, cpus: WrongWalk(spec)),
    "a queue that is a stack": ("queue", lambda spec, cpus: QueueMap(spec, newest_first=True)),
    "the newest dropped": ("queue", lambda spec, cpus: DropsNewest(spec, newest_first=False)),
    "a hash too few": ("bloom", lambda spec, cpus: OneHashLess(spec)),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_are_found(bug: str) -> None:
    name, make = PLANTED[bug]
    with pytest.raises(AssertionError, match="the kernel"):
        run_pair(BY_NAME[name], make, examples=1000, phases=(Phase.generate,))


# Definitions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(MODELLED - {12, 13}))
def test_definitions(number: int) -> None:
    """A definition that the kernel takes is taken, and one that it refuses is refused for the same reason."""
    sizes = itertools.product([0, 1, 4, 5, 8, 260, 261], [0, 1, 4, 8, 9], [0, 1, 4096, 4097])
    for (key_size, value_size, entries), flags in itertools.product(sizes, FLAG_SETS):
        compare_definitions(MapSpec("m", number, key_size, value_size, entries, flags))
    for extra in (1, 15, 16):
        compare_definitions(MapSpec("m", number, 0, 4, 1, extra=extra))
        compare_definitions(MapSpec("m", number, 4, 4, 1, extra=extra))


FLAG_SETS = (0, *(1 << bit for bit in range(13)), 1 << 20, 0b11, 0b101, 0b110, 0x41, 0x180, 0x480)


def compare_definitions(spec: MapSpec) -> None:
    kind, created = answer(lambda: create_map(spec))
    if isinstance(created, UnsupportedMap):
        return  # as are maps that are write-only for programs
    if (spec.type, kind) == (4, "value") and spec.max_entries == 0:
        return  # the number of CPUs, which libbpf fills in
    if (spec.type, kind) == (16, "value") and spec.max_entries > 1:
        return  # no more than the kernel was built for
    theirs = answer(lambda: KernelTable(spec, 0).close())
    assert (kind, None if kind == "value" else created) == theirs, spec
